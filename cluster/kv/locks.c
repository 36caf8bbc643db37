/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/locks.h"

enum mode { MODE_EXISTS = 1, MODE_READ = 2, MODE_DELTA = 4, MODE_WRITE = 8 };

struct lock {
    struct bytes key, hi; /* owned; hi empty: the key alone, else [key, hi) */
    unsigned modes;
    const void *owner;
    struct lock *next; /* on the same key */
};

/* What a request wants of one key or range. */
struct want {
    struct bytes key, hi;
    enum mode mode;
};

/* --- what a transaction wants ----------------------------------------------------------------- */

static struct want compare_wants(const struct kv_compare *c)
{
    if (c->op == KV_EMPTY_RANGE)
        return (struct want){c->key, c->hi, MODE_READ};
    return (struct want){c->key, BYTES_NONE, c->op == KV_EXISTS ? MODE_EXISTS : MODE_READ};
}

static struct want read_wants(const struct kv_read *r)
{
    return (struct want){r->key, r->op == KV_SCAN ? r->hi : BYTES_NONE, MODE_READ};
}

static struct want write_wants(const struct kv_write *w)
{
    bool delta = w->op == KV_ADD64 || w->op == KV_MAX64 || w->op == KV_TIME64;

    return (struct want){w->key, w->op == KV_DELETE_RANGE ? w->hi : BYTES_NONE,
                         delta ? MODE_DELTA : MODE_WRITE};
}

static unsigned wants_of(const struct msg_txn *t)
{
    return t->n_compares + t->n_reads + t->n_writes;
}

static struct want want_at(const struct msg_txn *t, unsigned i)
{
    if (i < t->n_compares)
        return compare_wants(&t->compares[i]);
    i -= t->n_compares;
    if (i < t->n_reads)
        return read_wants(&t->reads[i]);
    return write_wants(&t->writes[i - t->n_reads]);
}

/* --- life ------------------------------------------------------------------------------------- */

static guint key_hash(const void *p)
{
    const struct bytes *key = p;

    return crc32c(0, key->p, key->n);
}

static gboolean key_equal(const void *a, const void *b)
{
    return bytes_eq(*(const struct bytes *)a, *(const struct bytes *)b);
}

void locks_init(struct locks *s)
{
    *s = (struct locks){
        .keys = g_hash_table_new(key_hash, key_equal),
        .ranges = g_ptr_array_new(),
    };
}

static void lock_free(struct lock *l)
{
    g_free((void *)l->key.p);
    g_free((void *)l->hi.p);
    g_free(l);
}

void locks_finish(struct locks *s)
{
    GHashTableIter it;
    gpointer first;

    if (!s->keys)
        return;
    g_hash_table_iter_init(&it, s->keys);
    while (g_hash_table_iter_next(&it, NULL, &first)) {
        for (struct lock *l = first, *next; l; l = next) {
            next = l->next;
            lock_free(l);
        }
    }
    for (unsigned i = 0; i < s->ranges->len; i++)
        lock_free(g_ptr_array_index(s->ranges, i));
    g_hash_table_destroy(s->keys);
    g_ptr_array_free(s->ranges, true);
    *s = (struct locks){0};
}

/* --- taking and releasing --------------------------------------------------------------------- */

static struct bytes own(struct bytes b)
{
    return bytes_of(g_memdup2(b.p, b.n), b.n);
}

static struct lock *lock_new(const struct want *w, const void *owner)
{
    struct lock *l = g_new(struct lock, 1);

    *l = (struct lock){own(w->key), own(w->hi), w->mode, owner, NULL};
    return l;
}

static void take_key(struct locks *s, const struct want *w, const void *owner)
{
    struct lock *first = g_hash_table_lookup(s->keys, &w->key);

    for (struct lock *l = first; l; l = l->next) {
        if (l->owner == owner) {
            l->modes |= w->mode;
            return;
        }
    }
    struct lock *l = lock_new(w, owner);
    if (first) { /* behind it: the table's key is the first one's */
        l->next = first->next;
        first->next = l;
    } else {
        g_hash_table_insert(s->keys, &l->key, l);
    }
    s->n++;
}

void locks_take(struct locks *s, const struct msg_txn *t, const void *owner)
{
    for (unsigned i = 0; i < wants_of(t); i++) {
        struct want w = want_at(t, i);

        if (w.hi.n == 0) {
            take_key(s, &w, owner);
            continue;
        }
        g_ptr_array_add(s->ranges, lock_new(&w, owner));
        s->n++;
    }
}

static void release_key(struct locks *s, struct bytes key, const void *owner)
{
    struct lock *first = g_hash_table_lookup(s->keys, &key), *rest = first;

    for (struct lock **at = &rest; *at; at = &(*at)->next) {
        struct lock *l = *at;

        if (l->owner != owner)
            continue;
        *at = l->next;
        s->n--;
        if (l == first) { /* the table's key goes with it */
            g_hash_table_remove(s->keys, &key);
            if (rest)
                g_hash_table_insert(s->keys, &rest->key, rest);
        }
        lock_free(l);
        return;
    }
}

void locks_release(struct locks *s, const struct msg_txn *t, const void *owner)
{
    for (unsigned i = 0; i < wants_of(t); i++) {
        struct want w = want_at(t, i);

        if (w.hi.n == 0)
            release_key(s, w.key, owner);
    }
    for (unsigned i = s->ranges->len; i > 0; i--) {
        struct lock *l = g_ptr_array_index(s->ranges, i - 1);

        if (l->owner != owner)
            continue;
        g_ptr_array_remove_index_fast(s->ranges, i - 1);
        lock_free(l);
        s->n--;
    }
}

/* --- conflicts -------------------------------------------------------------------------------- */

static bool excludes(enum mode mode, unsigned modes)
{
    switch (mode) {
    case MODE_EXISTS:
        return modes & MODE_WRITE;
    case MODE_READ:
        return modes & (MODE_DELTA | MODE_WRITE);
    case MODE_DELTA:
        return modes & (MODE_READ | MODE_WRITE);
    case MODE_WRITE:
        return modes != 0;
    }
    return true;
}

static bool overlaps(const struct lock *l, const struct want *w)
{
    if (l->hi.n == 0 && w->hi.n == 0)
        return bytes_eq(l->key, w->key);
    if (l->hi.n == 0)
        return bytes_cmp(l->key, w->key) >= 0 && bytes_cmp(l->key, w->hi) < 0;
    if (w->hi.n == 0)
        return bytes_cmp(w->key, l->key) >= 0 && bytes_cmp(w->key, l->hi) < 0;
    return bytes_cmp(l->key, w->hi) < 0 && bytes_cmp(w->key, l->hi) < 0;
}

static const struct lock *in_chain(const struct lock *l, const struct want *w)
{
    while (l && !(overlaps(l, w) && excludes(w->mode, l->modes)))
        l = l->next;
    return l;
}

static const struct lock *conflict(const struct locks *s, const struct want *w)
{
    const struct lock *l = NULL;
    GHashTableIter it;
    gpointer first;

    if (w->hi.n == 0) {
        l = in_chain(g_hash_table_lookup(s->keys, &w->key), w);
    } else {
        g_hash_table_iter_init(&it, s->keys);
        while (!l && g_hash_table_iter_next(&it, NULL, &first))
            l = in_chain(first, w);
    }
    for (unsigned i = 0; !l && i < s->ranges->len; i++)
        l = in_chain(g_ptr_array_index(s->ranges, i), w);
    return l;
}

const void *locks_conflict(const struct locks *s, const struct msg_txn *t, struct bytes *ret_key)
{
    for (unsigned i = 0; s->n > 0 && i < wants_of(t); i++) {
        struct want w = want_at(t, i);
        const struct lock *l = conflict(s, &w);

        if (l) {
            *ret_key = w.key;
            return l->owner;
        }
    }
    return NULL;
}
