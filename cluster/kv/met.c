/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/met.h"

#include "cluster/base/identity.h"
#include "cluster/kv/layout.h"
#include "cluster/kv/nodes.h"

#define VALUE_LEN 16 /* index, incarnation */

void met_init(struct met *s)
{
    s->all = g_array_new(false, false, sizeof(struct kv_met));
}

void met_finish(struct met *s)
{
    if (s->all)
        g_array_free(s->all, true);
    *s = (struct met){0};
}

static struct kv_met *at(const struct met *s, unsigned i)
{
    return &g_array_index(s->all, struct kv_met, i);
}

/* The first with an id not below `id`. */
static unsigned lower_bound(const struct met *s, uint32_t id)
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

const struct kv_met *met_find(const struct met *s, uint32_t id)
{
    unsigned i = lower_bound(s, id);

    return i < s->all->len && at(s, i)->id == id ? at(s, i) : NULL;
}

static bool well_formed(uint32_t id, uint64_t incarnation)
{
    return id > 0 && id <= NODE_ID_MAX && incarnation > 0;
}

int met_judge(const struct met *s, uint32_t id, uint64_t incarnation)
{
    const struct kv_met *known = met_find(s, id);

    if (!well_formed(id, incarnation))
        return -ERR_INVALID;
    if (known)
        return known->incarnation == incarnation ? 0 : -ERR_EXISTS;
    return s->all->len < NODES_EVER_MAX ? 1 : -ERR_TOO_BIG;
}

void met_set(struct met *s, const struct kv_met *m)
{
    unsigned i = lower_bound(s, m->id);

    ASSERT(i == s->all->len || at(s, i)->id != m->id);
    g_array_insert_val(s->all, i, *m);
    s->index = MAX(s->index, m->index);
}

struct bytes met_value(struct arena *a, const struct kv_met *m)
{
    uint8_t *p = arena_alloc(a, VALUE_LEN);

    put_le64(p, m->index);
    put_le64(p + 8, m->incarnation);
    return bytes_of(p, VALUE_LEN);
}

static int load_one(struct met *s, struct bytes key, struct bytes value)
{
    struct kv_met m;
    int err = layout_met_id(key, &m.id);

    if (err || value.n != VALUE_LEN)
        return -ERR_CORRUPT;
    m.index = get_le64(value.p);
    m.incarnation = get_le64(value.p + 8);
    if (!well_formed(m.id, m.incarnation))
        return -ERR_CORRUPT;
    met_set(s, &m);
    return 0;
}

int met_load(struct met *s, struct store *store, struct arena *a)
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_table_range(a, TABLE_MET, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value))
        err = load_one(s, key, value);
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}
