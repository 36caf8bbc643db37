/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/met.h"
#include "cluster/node/peer.h"

uint64_t met_logged(const struct node *n, uint32_t id)
{
    const struct group *g = node_group((struct node *)n, 0);
    const struct kv_met *m = g ? kv_met(g->kv, id) : NULL;
    return m ? m->incarnation : 0;
}

const char *met_anew_text(struct arena *a, uint32_t id)
{
    return arena_printf(a,
                        "the data directory of node n%u was made anew; the cluster knows it with "
                        "another one and does not hear this one: remove node n%u, and add the "
                        "machine under a new id",
                        id, id);
}

void met_appended(struct group *g, struct bytes body)
{
    struct node *n = g->node;
    struct msg_node_met m;
    if (dec_node_met(body, &n->scratch, &m) < 0 || kv_met(g->kv, m.node))
        return;
    struct peer *p = peer_find(n, m.node);
    if (p && p->incarnation == 0)
        peer_met(n, m.node, m.incarnation);
}

int met_follow(struct group *g)
{
    struct node *n = g->node;
    unsigned count;
    uint64_t index;
    const struct kv_met *all = kv_met_all(g->kv, &count, &index);
    if (index == g->met_seen)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        if (all[i].index <= g->met_seen)
            continue;
        if (all[i].id != n->config.id)
            peer_met(n, all[i].id, all[i].incarnation);
        else if (all[i].incarnation != n->config.incarnation)
            return -ERR_WRONG_CLUSTER;
    }
    g->met_seen = index;
    return 0;
}

static void propose(struct group *g, uint32_t id, uint64_t incarnation)
{
    struct enc e = {0};
    struct msg_node_met m = {id, incarnation};
    struct raft_status s;
    if (incarnation == 0 || kv_met_check(g->kv, id, incarnation) != 1)
        return;
    enc_node_met(&e, &m);
    group_propose(g, KV_CMD_MET, enc_view(&e), NULL);
    enc_finish(&e);
    raft_get_status(g->raft, &s);
    g->met_asked = s.last;
}

void met_propose(struct group *g)
{
    struct node *n = g->node;
    if (g->gid != 0 || !g->leading || g->paused || g->store_full || g->applied < g->met_asked)
        return;
    propose(g, n->config.id, n->config.incarnation);
    for (unsigned i = 0; i < n->n_peers; i++)
        propose(g, n->peers[i]->id, n->peers[i]->incarnation);
}
