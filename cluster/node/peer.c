/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/peer.h"
#include "cluster/node/conn.h"
#include "cluster/node/members.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/wire.h"

/* Pause before the next dial: 20 ms, so that nodes that are started together meet at once, doubled
 * up to 1.3 s, and up to as much again by chance. */
#define DIAL_PAUSE_TICKS 1u
#define DIAL_DOUBLINGS   6u

static int cmp_peer(const void *a, const void *b)
{
    uint32_t x = ((const struct peer *)a)->id, y = ((const struct peer *)b)->id;
    return (x > y) - (x < y);
}

int peers_init(struct node *n, struct errmsg *msg)
{
    const struct node_config *cf = &n->config;
    bool self = false;
    n->peers = arena_array(&n->memory, MAX(cf->n_peers, 1), sizeof(*n->peers));
    for (unsigned i = 0; i < cf->n_peers; i++) {
        const struct node_peer_config *p = &cf->peers[i];
        if (p->id == 0)
            return errmsg_set(msg, -ERR_CONFIG, "a member has node id 0; ids begin at 1");
        if (p->id == cf->id) {
            self = true;
            continue;
        }
        if (peer_find(n, p->id))
            return errmsg_set(msg, -ERR_CONFIG, "node id %u is given to two members", p->id);
        n->peers[n->n_peers++] = (struct peer){.id = p->id, .address = p->address};
    }
    if (!self)
        return errmsg_set(msg, -ERR_CONFIG, "this node (id %u) is not among the members", cf->id);
    qsort(n->peers, n->n_peers, sizeof(*n->peers), cmp_peer);
    return 0;
}

struct peer *peer_find(struct node *n, uint32_t id)
{
    for (unsigned i = 0; i < n->n_peers; i++)
        if (n->peers[i].id == id)
            return &n->peers[i];
    return NULL;
}

static void dial_later(struct node *n, struct peer *p)
{
    unsigned pause = DIAL_PAUSE_TICKS << MIN(p->failures, DIAL_DOUBLINGS);
    p->retry_at = n->now + pause + rng_below(n->env.rng, pause);
    p->failures++;
}

void peers_tick(struct node *n)
{
    for (unsigned i = 0; i < n->n_peers; i++) {
        struct peer *p = &n->peers[i];
        if (p->id < n->config.id || p->link || p->dialing || n->now < p->retry_at)
            continue;
        p->dialing = conn_dial(n, p, HELLO_MAIN);
        if (!p->dialing)
            dial_later(n, p);
    }
}

/* --- hello ------------------------------------------------------------------------------------ */

static int check_member(struct conn *c, const struct msg_hello *h, struct peer **ret,
                        struct errmsg *msg)
{
    struct node *n = c->node;
    if (c->role != ROLE_NODE && c->role != ROLE_NONE)
        return errmsg_set(msg, -ERR_DENIED, "says it is node %u, but has no node's certificate",
                          h->node);
    if (c->role == ROLE_NODE && c->cert_node != h->node)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER, "says it is node %u, its certificate names %u",
                          h->node, c->cert_node);
    if (h->node == n->config.id)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "node id %u is in use twice: is a copy of the data directory running?",
                          h->node);
    struct peer *p = peer_find(n, h->node);
    if (!p)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER, "node %u is no member of this cluster", h->node);
    if (c->peer && c->peer != p)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER, "expected node %u at %s, found node %u",
                          c->peer->id, c->peer->address, h->node);
    if (p->incarnation && p->incarnation != h->incarnation)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "node %u has another data directory than before; remove the node and add "
                          "it under a new id",
                          h->node);
    *ret = p;
    return 0;
}

static void link_up(struct peer *p, struct conn *c)
{
    struct node *n = c->node;
    if (c->purpose == HELLO_BULK) {
        snapshot_link_up(c);
        return;
    }
    if (p->dialing == c)
        p->dialing = NULL;
    struct conn *old = p->link;
    p->link = c;
    p->failures = 0;
    p->reported = false;
    if (old && old != c)
        conn_close(old, LOG_INFO, "replaced by a newer link");
    node_log(n, LOG_INFO, "link node=%u peer=\"%s\"", p->id, c->text);
}

int peer_greet(struct conn *c, const struct msg_hello *h, struct errmsg *msg)
{
    struct node *n = c->node;
    if (h->protocol != NODE_PROTOCOL)
        return errmsg_set(msg, -ERR_FORMAT, "speaks protocol %u, this node %d", h->protocol,
                          NODE_PROTOCOL);
    if (h->cluster != n->config.cluster && (h->node != 0 || h->cluster != 0))
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "belongs to cluster %016" G_GINT64_MODIFIER
                          "x, this node to %016" G_GINT64_MODIFIER "x",
                          h->cluster, n->config.cluster);
    if (h->node == 0) {
        if (c->peer)
            return errmsg_set(msg, -ERR_WRONG_CLUSTER, "is no node");
        if (c->role == ROLE_NONE)
            c->role = ROLE_ADMIN; /* the owner of the Unix socket */
        c->greeted = true;
        return 0;
    }
    struct peer *p = NULL;
    int err = check_member(c, h, &p, msg);
    if (err < 0)
        return err;
    if (!c->dialed)
        c->purpose = h->purpose;
    if (p->incarnation != h->incarnation) {
        p->incarnation = h->incarnation;
        members_save(n);
    }
    p->heard_at = n->now;
    c->role = ROLE_NODE;
    c->peer = p;
    c->greeted = true;
    link_up(p, c);
    return 0;
}

void peer_closed(struct conn *c)
{
    struct peer *p = c->peer;
    struct node *n = c->node;
    if (p->link == c)
        p->link = NULL;
    if (p->dialing == c) {
        p->dialing = NULL;
        if (!p->reported)
            node_log(n, LOG_WARN, "unreachable node=%u address=%s", p->id, p->address);
        p->reported = true;
    }
    if (c->dialed && c->purpose == HELLO_MAIN)
        dial_later(n, p);
}

/* --- messages --------------------------------------------------------------------------------- */

void peer_send_raft(struct node *n, uint32_t gid, const struct raft_msg *m)
{
    struct peer *p = peer_find(n, m->to);
    if (!p || !p->link) {
        n->counters.raft_dropped++;
        return;
    }
    /* Entries stop at half of the queue's bound, so that heartbeats and votes still find room. */
    struct net_conn *nc = p->link->net;
    if (m->n_entries > 0 && nc->net->ops->queued(nc) > CONN_OUT_BYTES_MAX / 2) {
        n->counters.raft_dropped++;
        return;
    }
    enc_reset(&n->out);
    wire_put_raft(&n->out, &n->round, gid, m);
    if (conn_send(p->link, enc_view(&n->out)) < 0)
        n->counters.raft_dropped++;
    else
        n->counters.raft_sent++;
}

bool peers_reach_majority(const struct node *n)
{
    unsigned linked = 1;
    for (unsigned i = 0; i < n->n_peers; i++)
        linked += n->peers[i].link != NULL;
    return linked > (n->n_peers + 1) / 2;
}

unsigned peers_silent(const struct node *n)
{
    unsigned silent = 0;
    for (unsigned i = 0; i < n->n_peers; i++)
        if (n->peers[i].heard_at == 0 || n->now - n->peers[i].heard_at > n->config.election_ticks)
            silent++;
    return silent;
}
