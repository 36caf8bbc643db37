/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/groups.h"

#include "cluster/base/identity.h"
#include "cluster/kv/layout.h"

#define VALUE_HEAD_LEN 9  /* index, number of members */
#define HOME_HEAD_LEN  10 /* index, numbers of home and held */

void groups_init(struct groups *s)
{
    s->all = g_array_new(false, false, sizeof(struct kv_group));
}

void groups_finish(struct groups *s)
{
    if (s->all)
        g_array_free(s->all, true);
    *s = (struct groups){0};
}

static struct kv_group *at(const struct groups *s, unsigned i)
{
    return &g_array_index(s->all, struct kv_group, i);
}

/* The first with a gid not below `gid`. */
static unsigned lower_bound(const struct groups *s, uint32_t gid)
{
    unsigned lo = 0, hi = s->all->len;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (at(s, mid)->gid < gid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct kv_group *groups_find(const struct groups *s, uint32_t gid)
{
    unsigned i = lower_bound(s, gid);

    return i < s->all->len && at(s, i)->gid == gid ? at(s, i) : NULL;
}

/* In its place. False: no node's id, there already, or one too many. */
static bool add_member(struct kv_group *g, uint32_t id)
{
    unsigned i = g->n_members;

    if (id == 0 || id > NODE_ID_MAX || g->n_members == VOTERS_MAX)
        return false;
    while (i > 0 && g->members[i - 1] > id)
        i--;
    if (i > 0 && g->members[i - 1] == id)
        return false;
    memmove(&g->members[i + 1], &g->members[i], (g->n_members - i) * sizeof(g->members[0]));
    g->members[i] = id;
    g->n_members++;
    return true;
}

static bool same_members(const struct kv_group *a, const struct kv_group *b)
{
    return a->n_members == b->n_members &&
           memcmp(a->members, b->members, a->n_members * sizeof(a->members[0])) == 0;
}

static bool names_removed(const struct nodes *nodes, const uint32_t *ids, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct kv_node *known = nodes_find(nodes, ids[i]);

        if (known && known->state == NODE_REMOVED)
            return true;
    }
    return false;
}

int groups_judge(const struct groups *s, const struct nodes *nodes,
                 const struct msg_group_create *m, struct kv_group *ret)
{
    const struct kv_group *known = groups_find(s, m->gid);
    struct kv_group g = {.gid = m->gid};

    if (m->gid == 0 || m->gid > GID_MAX || m->n_members == 0)
        return -ERR_INVALID;
    for (uint32_t i = 0; i < m->n_members; i++) {
        if (!add_member(&g, m->members[i].node))
            return -ERR_INVALID;
    }
    if (known)
        return same_members(known, &g) ? 0 : -ERR_EXISTS;
    if (names_removed(nodes, g.members, g.n_members))
        return -ERR_REMOVED;
    if (s->all->len >= GROUPS_MAX)
        return -ERR_TOO_BIG;
    *ret = g;
    return 1;
}

void groups_set(struct groups *s, const struct kv_group *g)
{
    unsigned i = lower_bound(s, g->gid);

    ASSERT(i == s->all->len || at(s, i)->gid != g->gid);
    g_array_insert_val(s->all, i, *g);
    struct kv_group *new = at(s, i);
    new->n_home = new->n_held = g->n_members;
    memcpy(new->home, g->members, sizeof(g->members));
    memcpy(new->held, g->members, sizeof(g->members));
    s->index = MAX(s->index, g->index);
}

/* --- where the replicas live ------------------------------------------------------------------ */

bool group_home_has(const struct kv_group *g, uint32_t node)
{
    bool has = false;

    for (unsigned i = 0; i < g->n_home; i++)
        has |= g->home[i] == node;
    for (unsigned i = 0; i < g->n_held; i++)
        has |= g->held[i] == node;
    return has;
}

int groups_judge_home(const struct groups *s, const struct nodes *nodes,
                      const struct msg_group_home *m, bool held, struct kv_group *ret)
{
    const struct kv_group *known = groups_find(s, m->gid);
    struct kv_group named = {0}, g;

    if (!known)
        return -ERR_NOT_FOUND;
    if (m->n_members == 0)
        return -ERR_INVALID;
    for (uint32_t i = 0; i < m->n_members; i++) {
        if (!add_member(&named, m->members[i].node))
            return -ERR_INVALID;
    }
    if (!held && names_removed(nodes, named.members, named.n_members))
        return -ERR_REMOVED;
    g = *known;
    memcpy(held ? g.held : g.home, named.members, sizeof(named.members));
    *(held ? &g.n_held : &g.n_home) = named.n_members;
    const unsigned n = held ? known->n_held : known->n_home;
    if (n == named.n_members &&
        memcmp(held ? known->held : known->home, named.members, n * sizeof(named.members[0])) == 0)
        return 0;
    *ret = g;
    return 1;
}

void groups_set_home(struct groups *s, const struct kv_group *g)
{
    unsigned i = lower_bound(s, g->gid);

    ASSERT(i < s->all->len && at(s, i)->gid == g->gid);
    *at(s, i) = *g;
    s->home_index = MAX(s->home_index, g->home_index);
}

struct bytes home_value(struct arena *a, const struct kv_group *g)
{
    size_t n = HOME_HEAD_LEN + 4u * (g->n_home + g->n_held);
    uint8_t *p = arena_alloc(a, n), *at_id = p + HOME_HEAD_LEN;

    put_le64(p, g->home_index);
    p[8] = (uint8_t)g->n_home;
    p[9] = (uint8_t)g->n_held;
    for (unsigned i = 0; i < g->n_home; i++, at_id += 4)
        put_le32(at_id, g->home[i]);
    for (unsigned i = 0; i < g->n_held; i++, at_id += 4)
        put_le32(at_id, g->held[i]);
    return bytes_of(p, n);
}

static bool read_ids(const uint8_t *p, unsigned n, uint32_t ret[VOTERS_MAX])
{
    struct kv_group named = {0};

    for (unsigned i = 0; i < n; i++) {
        if (!add_member(&named, get_le32(p + 4u * i)))
            return false;
    }
    memcpy(ret, named.members, sizeof(named.members));
    return n > 0;
}

static int load_home(struct groups *s, struct bytes key, struct bytes value)
{
    uint32_t gid;
    int err = layout_group_gid(key, &gid);
    const struct kv_group *known = err ? NULL : groups_find(s, gid);

    if (!known || value.n < HOME_HEAD_LEN ||
        value.n != HOME_HEAD_LEN + 4u * ((size_t)value.p[8] + value.p[9]))
        return -ERR_CORRUPT;
    struct kv_group g = *known;
    g.home_index = get_le64(value.p);
    g.n_home = value.p[8];
    g.n_held = value.p[9];
    if (!read_ids(value.p + HOME_HEAD_LEN, g.n_home, g.home) ||
        !read_ids(value.p + HOME_HEAD_LEN + 4u * g.n_home, g.n_held, g.held))
        return -ERR_CORRUPT;
    groups_set_home(s, &g);
    return 0;
}

/* --- the store -------------------------------------------------------------------------------- */

struct bytes group_value(struct arena *a, const struct kv_group *g)
{
    size_t n = VALUE_HEAD_LEN + 4u * g->n_members;
    uint8_t *p = arena_alloc(a, n);

    put_le64(p, g->index);
    p[8] = (uint8_t)g->n_members;
    for (unsigned i = 0; i < g->n_members; i++)
        put_le32(p + VALUE_HEAD_LEN + 4u * i, g->members[i]);
    return bytes_of(p, n);
}

static int load_one(struct groups *s, struct bytes key, struct bytes value)
{
    struct kv_group g = {0};
    int err = layout_group_gid(key, &g.gid);

    if (err || g.gid == 0 || value.n < VALUE_HEAD_LEN || value.p[8] == 0 ||
        value.n != VALUE_HEAD_LEN + 4u * value.p[8])
        return -ERR_CORRUPT;
    g.index = get_le64(value.p);
    for (unsigned i = 0; i < value.p[8]; i++) {
        if (!add_member(&g, get_le32(value.p + VALUE_HEAD_LEN + 4u * i)))
            return -ERR_CORRUPT;
    }
    groups_set(s, &g);
    return 0;
}

typedef int load_fn(struct groups *s, struct bytes key, struct bytes value);

static int load_table(struct groups *s, struct store *store, struct arena *a, enum kv_table table,
                      load_fn *load)
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_table_range(a, table, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value))
        err = load(s, key, value);
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}

int groups_load(struct groups *s, struct store *store, struct arena *a)
{
    int err = load_table(s, store, a, TABLE_GROUP, load_one);

    return err ? err : load_table(s, store, a, TABLE_HOME, load_home);
}
