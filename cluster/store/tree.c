/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/tree.h"

#include "cluster/base/codec.h"

/* A key and its value, shared by all versions of the tree that hold them. */
struct cell {
    unsigned refs;
    uint32_t priority;
    size_t key, value;
    uint8_t data[];
};

struct tree {
    unsigned refs;
    struct cell *cell;
    struct tree *left, *right;
    uint64_t bytes, count; /* of the whole tree below */
};

/* --- nodes ------------------------------------------------------------------------------------ */

static uint32_t priority_of(struct bytes key)
{
    /* A CRC alone keeps some order of similar keys; mix it (the finalizer of MurmurHash3). */
    uint32_t h = crc32c(0, key.p, key.n);
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    return h ^ (h >> 16);
}

static struct cell *cell_create(struct bytes key, struct bytes value)
{
    struct cell *c = g_malloc(sizeof(*c) + key.n + value.n);
    *c = (struct cell){.refs = 1, .priority = priority_of(key), .key = key.n, .value = value.n};
    if (key.n > 0)
        memcpy(c->data, key.p, key.n);
    if (value.n > 0)
        memcpy(c->data + key.n, value.p, value.n);
    return c;
}

static void cell_unref(struct cell *c)
{
    if (--c->refs == 0)
        g_free(c);
}

static struct bytes key_of(const struct tree *t)
{
    return bytes_of(t->cell->data, t->cell->key);
}

struct tree *tree_ref(struct tree *t)
{
    if (t)
        t->refs++;
    return t;
}

void tree_unref(struct tree *t)
{
    if (!t || --t->refs > 0)
        return;
    tree_unref(t->left);
    tree_unref(t->right);
    cell_unref(t->cell);
    g_free(t);
}

uint64_t tree_bytes(const struct tree *t)
{
    return t ? t->bytes : 0;
}

uint64_t tree_count(const struct tree *t)
{
    return t ? t->count : 0;
}

/* Takes left, right and the reference on cell. */
static struct tree *node(struct cell *c, struct tree *left, struct tree *right)
{
    struct tree *t = g_new(struct tree, 1);
    *t = (struct tree){.refs = 1, .cell = c, .left = left, .right = right};
    return t;
}

/* A node that may be changed: t itself, or a copy if others hold it too. Takes t. */
static struct tree *own(struct tree *t)
{
    if (t->refs == 1)
        return t;
    t->cell->refs++;
    struct tree *copy = node(t->cell, tree_ref(t->left), tree_ref(t->right));
    tree_unref(t);
    return copy;
}

static struct tree *sum(struct tree *t)
{
    t->bytes = t->cell->key + t->cell->value + tree_bytes(t->left) + tree_bytes(t->right);
    t->count = 1 + tree_count(t->left) + tree_count(t->right);
    return t;
}

/* Heap order; ties by key keep the shape a function of the contents. */
static bool above(const struct tree *a, const struct tree *b)
{
    if (a->cell->priority != b->cell->priority)
        return a->cell->priority > b->cell->priority;
    return bytes_cmp(key_of(a), key_of(b)) < 0;
}

/* --- split and merge -------------------------------------------------------------------------- */

/* Takes t; left gets the keys < key, right the rest. */
static void split(struct tree *t, struct bytes key, struct tree **ret_left, struct tree **ret_right)
{
    if (!t) {
        *ret_left = *ret_right = NULL;
        return;
    }
    t = own(t);
    if (bytes_cmp(key_of(t), key) < 0) {
        split(t->right, key, &t->right, ret_right);
        *ret_left = sum(t);
    } else {
        split(t->left, key, ret_left, &t->left);
        *ret_right = sum(t);
    }
}

/* Takes both; every key of left is less than every key of right. */
static struct tree *merge(struct tree *left, struct tree *right)
{
    if (!left || !right)
        return left ? left : right;
    if (above(left, right)) {
        left = own(left);
        left->right = merge(left->right, right);
        return sum(left);
    }
    right = own(right);
    right->left = merge(left, right->left);
    return sum(right);
}

/* --- changes ---------------------------------------------------------------------------------- */

static struct tree *insert(struct tree *t, struct tree *fresh)
{
    if (!t)
        return sum(fresh);
    int c = bytes_cmp(key_of(fresh), key_of(t));
    if (c == 0) {
        t = own(t);
        cell_unref(t->cell);
        t->cell = fresh->cell;
        g_free(fresh);
        return sum(t);
    }
    if (above(fresh, t)) {
        /* The key is not below: equal keys have equal priorities. */
        split(t, key_of(fresh), &fresh->left, &fresh->right);
        return sum(fresh);
    }
    t = own(t);
    if (c < 0)
        t->left = insert(t->left, fresh);
    else
        t->right = insert(t->right, fresh);
    return sum(t);
}

struct tree *tree_put(struct tree *t, struct bytes key, struct bytes value)
{
    return insert(t, node(cell_create(key, value), NULL, NULL));
}

/* The key is there. */
static struct tree *remove_key(struct tree *t, struct bytes key)
{
    int c = bytes_cmp(key, key_of(t));
    if (c == 0) {
        struct tree *rest = merge(tree_ref(t->left), tree_ref(t->right));
        tree_unref(t);
        return rest;
    }
    t = own(t);
    if (c < 0)
        t->left = remove_key(t->left, key);
    else
        t->right = remove_key(t->right, key);
    return sum(t);
}

struct tree *tree_delete(struct tree *t, struct bytes key)
{
    struct bytes old;
    return tree_get(t, key, &old) ? remove_key(t, key) : t;
}

struct tree *tree_delete_range(struct tree *t, struct bytes lo, struct bytes hi)
{
    struct tree *left, *middle, *right;
    if (bytes_cmp(lo, hi) >= 0)
        return t;
    split(t, lo, &left, &middle);
    split(middle, hi, &middle, &right);
    tree_unref(middle);
    return merge(left, right);
}

/* --- reading ---------------------------------------------------------------------------------- */

static struct bytes value_of(const struct tree *t)
{
    return bytes_of(t->cell->data + t->cell->key, t->cell->value);
}

bool tree_get(const struct tree *t, struct bytes key, struct bytes *ret_value)
{
    while (t) {
        int c = bytes_cmp(key, key_of(t));
        if (c == 0) {
            *ret_value = value_of(t);
            return true;
        }
        t = c < 0 ? t->left : t->right;
    }
    return false;
}

void tree_iter_init(struct tree_iter *it, const struct tree *t, struct bytes lo)
{
    it->stack = g_ptr_array_new();
    while (t) {
        if (bytes_cmp(key_of(t), lo) < 0) {
            t = t->right;
        } else {
            g_ptr_array_add(it->stack, (void *)(uintptr_t)t);
            t = t->left;
        }
    }
}

bool tree_iter_next(struct tree_iter *it, struct bytes *ret_key, struct bytes *ret_value)
{
    if (it->stack->len == 0)
        return false;
    const struct tree *t = g_ptr_array_steal_index(it->stack, it->stack->len - 1);
    *ret_key = key_of(t);
    *ret_value = value_of(t);
    for (t = t->right; t; t = t->left)
        g_ptr_array_add(it->stack, (void *)(uintptr_t)t);
    return true;
}

void tree_iter_finish(struct tree_iter *it)
{
    if (it->stack)
        g_ptr_array_free(it->stack, TRUE);
    it->stack = NULL;
}
