/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/nodes.h"

#include "cluster/base/addr.h"
#include "cluster/base/identity.h"
#include "cluster/kv/layout.h"

#define VALUE_MIN 9

void nodes_init(struct nodes *s)
{
    s->all = g_array_new(false, false, sizeof(struct kv_node));
    s->strings = g_ptr_array_new_with_free_func(g_free);
}

void nodes_finish(struct nodes *s)
{
    if (s->all)
        g_array_free(s->all, true);
    if (s->strings)
        g_ptr_array_free(s->strings, true);
    *s = (struct nodes){0};
}

static struct kv_node *at(const struct nodes *s, unsigned i)
{
    return &g_array_index(s->all, struct kv_node, i);
}

/* The first with an id not below `id`. */
static unsigned lower_bound(const struct nodes *s, uint32_t id)
{
    unsigned lo = 0, hi = s->all->len;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (at(s, mid)->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct kv_node *nodes_find(const struct nodes *s, uint32_t id)
{
    unsigned i = lower_bound(s, id);

    return i < s->all->len && at(s, i)->id == id ? at(s, i) : NULL;
}

static bool well_formed(uint32_t id, unsigned state, struct bytes address)
{
    if (id == 0 || id > NODE_ID_MAX)
        return false;
    if (state == NODE_REMOVED)
        return address.n == 0;
    return state == NODE_MEMBER && address.n > 0 && address.n < ADDR_TEXT_MAX &&
           memchr(address.p, 0, address.n) == NULL;
}

int nodes_judge(const struct nodes *s, uint32_t id, unsigned state, struct bytes address)
{
    const struct kv_node *n = nodes_find(s, id);

    if (!well_formed(id, state, address))
        return -ERR_INVALID;
    if (!n)
        return s->all->len < NODES_EVER_MAX ? 1 : -ERR_TOO_BIG;
    if (n->state == NODE_REMOVED)
        return state == NODE_REMOVED ? 0 : -ERR_REMOVED;
    if (state == NODE_REMOVED)
        return 1;
    return bytes_eq(bytes_str(n->address), address) ? 0 : -ERR_EXISTS;
}

void nodes_set(struct nodes *s, uint32_t id, enum node_state state, uint64_t index,
               struct bytes address)
{
    unsigned i = lower_bound(s, id);
    char *text = g_strndup((const char *)address.p, address.n);
    struct kv_node node = {.id = id, .state = state, .index = index, .address = text};

    g_ptr_array_add(s->strings, text);
    if (i < s->all->len && at(s, i)->id == id)
        *at(s, i) = node;
    else
        g_array_insert_val(s->all, i, node);
    s->index = MAX(s->index, index);
}

struct bytes node_value(struct arena *a, enum node_state state, uint64_t index,
                        struct bytes address)
{
    uint8_t *p = arena_alloc(a, VALUE_MIN + address.n);

    p[0] = (uint8_t)state;
    put_le64(p + 1, index);
    if (address.n)
        memcpy(p + VALUE_MIN, address.p, address.n);
    return bytes_of(p, VALUE_MIN + address.n);
}

static int load_one(struct nodes *s, struct bytes key, struct bytes value)
{
    uint32_t id;
    int err = layout_node_id(key, &id);

    if (err || value.n < VALUE_MIN)
        return -ERR_CORRUPT;
    struct bytes address = bytes_of(value.p + VALUE_MIN, value.n - VALUE_MIN);
    if (!well_formed(id, value.p[0], address))
        return -ERR_CORRUPT;
    nodes_set(s, id, (enum node_state)value.p[0], get_le64(value.p + 1), address);
    return 0;
}

int nodes_load(struct nodes *s, struct store *store, struct arena *a)
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_node_range(a, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value))
        err = load_one(s, key, value);
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}
