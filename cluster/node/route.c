/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/route.h"

static struct group *controller(const struct node *n)
{
    return node_group((struct node *)n, 0);
}

bool route_shard(struct node *n, unsigned shard, uint32_t *ret_gid, uint32_t *ret_next)
{
    uint32_t from;
    if (shard >= n->config.shards)
        return false;
    const struct kv *kv = controller(n)->kv;
    *ret_next = kv_config(kv)->owner[shard];
    *ret_gid = kv_config_is_pending(kv, shard, &from) ? from : *ret_next;
    const struct group *next = node_group(n, *ret_next);
    if (next && next->kv && shard_served(kv_shard(next->kv, shard)))
        *ret_gid = *ret_next; /* it has arrived */
    return true;
}

struct group *route_shard_group(struct node *n, unsigned shard)
{
    uint32_t gid, next;
    if (!route_shard(n, shard, &gid, &next))
        return NULL;
    struct group *g = node_group(n, gid);
    return g ? g : node_group(n, next);
}

uint32_t route_leader(const struct node *n, uint32_t gid)
{
    struct group *g = node_group((struct node *)n, gid);
    if (g)
        return group_hint(g);
    for (unsigned i = 0; i < ARRAY_LEN(n->leaders); i++)
        if (n->leaders[i].gid == gid)
            return n->leaders[i].node;
    return 0;
}

void route_learn(struct node *n, uint32_t gid, uint32_t leader)
{
    unsigned at = 0;
    while (at < ARRAY_LEN(n->leaders) && n->leaders[at].gid != gid && n->leaders[at].gid != 0)
        at++;
    if (gid != 0 && at < ARRAY_LEN(n->leaders)) {
        n->leaders[at].gid = gid;
        n->leaders[at].node = leader;
    }
}

uint32_t route_member(const struct node *n, uint32_t gid, unsigned i)
{
    const struct group *g0 = controller(n);
    if (gid == 0) {
        const struct raft_conf *conf = raft_get_conf(g0->raft);
        return conf->n_voters > 0 ? conf->voters[i % conf->n_voters] : 0;
    }
    const struct kv_group *row = kv_group(g0->kv, gid);
    return row ? row->held[i % row->n_held] : 0;
}
