/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/config.h"

#include <stdlib.h>

#define CONFIG_VERSION 1

void config_init(struct config *c, unsigned n_shards)
{
    ASSERT(n_shards > 0 && n_shards <= SHARDS_MAX);
    *c = (struct config){.n_shards = n_shards};
}

/* --- looking ---------------------------------------------------------------------------------- */

/* Its place among the groups, or n_groups. */
static unsigned group_index(const struct config *c, uint32_t gid)
{
    unsigned i = 0;

    while (i < c->n_groups && c->groups[i] != gid)
        i++;
    return i;
}

bool config_has_group(const struct config *c, uint32_t gid)
{
    return group_index(c, gid) < c->n_groups;
}

unsigned config_count(const struct config *c, uint32_t gid)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->n_shards; i++)
        n += c->owner[i] == gid;
    return n;
}

unsigned config_distance(const struct config *a, const struct config *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->n_shards; i++)
        n += a->owner[i] != b->owner[i];
    return n;
}

/* --- balance ---------------------------------------------------------------------------------- */

struct share {
    uint32_t gid;
    unsigned has, due;
};

/* Who has most comes first, for it shall keep most. */
static int share_order(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    if (x->has != y->has)
        return x->has > y->has ? -1 : 1;
    return x->gid < y->gid ? -1 : x->gid > y->gid;
}

static int gid_order(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    return x->gid < y->gid ? -1 : x->gid > y->gid;
}

/* What each group is due: n / groups, and one more for those that have most, so that the fewest
 * move. In order of gid. */
static void shares_of(const struct config *c, struct share ret[GROUPS_MAX])
{
    for (unsigned i = 0; i < c->n_groups; i++)
        ret[i] = (struct share){c->groups[i], config_count(c, c->groups[i]), 0};
    qsort(ret, c->n_groups, sizeof(*ret), share_order);
    for (unsigned i = 0; i < c->n_groups; i++)
        ret[i].due = c->n_shards / c->n_groups + (i < c->n_shards % c->n_groups);
    qsort(ret, c->n_groups, sizeof(*ret), gid_order);
}

/* Shards of no member, and those that a member has too many of, go to members with too few. */
static void balance(struct config *c)
{
    struct share shares[GROUPS_MAX] = {{0}};
    unsigned kept[GROUPS_MAX] = {0}, taker = 0;
    bool free[SHARDS_MAX] = {false};

    shares_of(c, shares);
    for (unsigned s = 0; s < c->n_shards; s++) {
        unsigned i = group_index(c, c->owner[s]);

        free[s] = i == c->n_groups || kept[i] == shares[i].due;
        if (!free[s])
            kept[i]++;
    }
    for (unsigned s = 0; s < c->n_shards; s++) {
        if (!free[s])
            continue;
        while (kept[taker] == shares[taker].due)
            taker++;
        c->owner[s] = shares[taker].gid;
        kept[taker]++;
    }
}

/* --- changes ---------------------------------------------------------------------------------- */

static bool named_twice(const uint32_t *gids, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (gids[i] == gids[k])
                return true;
        }
    }
    return false;
}

static void add_group(struct config *c, uint32_t gid)
{
    unsigned i = c->n_groups++;

    for (; i > 0 && c->groups[i - 1] > gid; i--)
        c->groups[i] = c->groups[i - 1];
    c->groups[i] = gid;
}

static void remove_group(struct config *c, uint32_t gid)
{
    c->n_groups--;
    for (unsigned i = group_index(c, gid); i < c->n_groups; i++)
        c->groups[i] = c->groups[i + 1];
}

int config_join(const struct config *c, const uint32_t *gids, unsigned n, struct config *ret)
{
    if (n == 0)
        return -ERR_INVALID;
    if (named_twice(gids, n))
        return -ERR_EXISTS;
    for (unsigned i = 0; i < n; i++) {
        if (config_has_group(c, gids[i]))
            return -ERR_EXISTS;
    }
    if (n > GROUPS_MAX - c->n_groups)
        return -ERR_TOO_BIG;
    *ret = *c;
    ret->num++;
    for (unsigned i = 0; i < n; i++)
        add_group(ret, gids[i]);
    balance(ret);
    return 0;
}

int config_leave(const struct config *c, const uint32_t *gids, unsigned n, struct config *ret)
{
    if (n == 0 || named_twice(gids, n))
        return -ERR_INVALID;
    for (unsigned i = 0; i < n; i++) {
        if (!config_has_group(c, gids[i]))
            return -ERR_NOT_FOUND;
    }
    if (n == c->n_groups)
        return -ERR_NO_OWNER;
    *ret = *c;
    ret->num++;
    for (unsigned i = 0; i < n; i++)
        remove_group(ret, gids[i]);
    balance(ret);
    return 0;
}

int config_move(const struct config *c, unsigned shard, uint32_t gid, struct config *ret)
{
    if (shard >= c->n_shards)
        return -ERR_INVALID;
    if (!config_has_group(c, gid))
        return -ERR_NOT_FOUND;
    *ret = *c;
    ret->num++;
    ret->owner[shard] = gid;
    return 0;
}

int config_rebalance(const struct config *c, struct config *ret)
{
    if (c->n_groups == 0)
        return -ERR_NO_OWNER;
    *ret = *c;
    ret->num++;
    balance(ret);
    return 0;
}

int config_change(const struct config *c, const struct msg_config_change *m, struct config *ret)
{
    uint32_t gids[GROUPS_MAX];

    if (m->n_gids > GROUPS_MAX)
        return -ERR_TOO_BIG;
    for (unsigned i = 0; i < m->n_gids; i++)
        gids[i] = m->gids[i].gid;
    switch (m->op) {
    case CONFIG_JOIN:
        return config_join(c, gids, m->n_gids, ret);
    case CONFIG_LEAVE:
        return config_leave(c, gids, m->n_gids, ret);
    case CONFIG_MOVE:
        return m->n_gids == 1 ? config_move(c, m->shard, gids[0], ret) : -ERR_INVALID;
    case CONFIG_REBALANCE:
        return m->n_gids == 0 ? config_rebalance(c, ret) : -ERR_INVALID;
    }
    return -ERR_INVALID;
}

/* --- bytes ------------------------------------------------------------------------------------ */

void config_encode(const struct config *c, struct enc *e)
{
    enc_u8(e, CONFIG_VERSION);
    enc_u64(e, c->num);
    enc_u16(e, (uint16_t)c->n_shards);
    enc_u16(e, (uint16_t)c->n_groups);
    for (unsigned i = 0; i < c->n_groups; i++)
        enc_u32(e, c->groups[i]);
    for (unsigned i = 0; i < c->n_shards; i++)
        enc_u32(e, c->owner[i]);
}

static bool well_formed(const struct config *c)
{
    for (unsigned i = 1; i < c->n_groups; i++) {
        if (c->groups[i - 1] >= c->groups[i])
            return false;
    }
    for (unsigned i = 0; i < c->n_shards; i++) {
        if (c->num == 0 ? c->owner[i] != 0 : !config_has_group(c, c->owner[i]))
            return false;
    }
    return c->num > 0 || c->n_groups == 0;
}

int config_decode(struct bytes in, struct config *ret)
{
    struct dec d = dec_of(in);
    struct config c = {0};

    if (dec_u8(&d) != CONFIG_VERSION)
        return dec_ok(&d) ? -ERR_FORMAT : -ERR_CORRUPT;
    c.num = dec_u64(&d);
    c.n_shards = dec_u16(&d);
    c.n_groups = dec_u16(&d);
    if (c.n_shards == 0 || c.n_shards > SHARDS_MAX || c.n_groups > GROUPS_MAX)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < c.n_groups; i++)
        c.groups[i] = dec_u32(&d);
    for (unsigned i = 0; i < c.n_shards; i++)
        c.owner[i] = dec_u32(&d);
    if (!dec_done(&d) || !well_formed(&c))
        return -ERR_CORRUPT;
    *ret = c;
    return 0;
}
