/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/peer.h"
#include "cluster/node/ask.h"
#include "cluster/node/conn.h"
#include "cluster/node/members.h"
#include "cluster/node/membership.h"
#include "cluster/node/met.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/wire.h"

/* Pause before the next dial: 20 ms, so that nodes that are started together meet at once, doubled
 * up to 80 ms, and up to as much again by chance: far less than an election time-out, so that where
 * nodes are restarted one after the other, a leader meets the one that is back before it misses a
 * majority. A node that is down costs each other one some eight dials a second. */
#define DIAL_PAUSE_TICKS 1u
#define DIAL_DOUBLINGS   2u
/* Longer than the longest pause of the one whose turn it is. */
#define MISSED_MS 3000

/* Where it is, or where it belongs. */
static unsigned place_of(const struct node *n, uint32_t id)
{
    unsigned i = 0;
    while (i < n->n_peers && n->peers[i]->id < id)
        i++;
    return i;
}

struct peer *peer_find(struct node *n, uint32_t id)
{
    unsigned i = place_of(n, id);
    return i < n->n_peers && n->peers[i]->id == id ? n->peers[i] : NULL;
}

static bool is_guest(const struct peer *p)
{
    return p->address[0] == 0;
}

static struct peer *guest_find(const struct node *n, uint32_t id)
{
    for (unsigned i = 0; i < n->n_guests; i++)
        if (n->guests[i]->id == id)
            return n->guests[i];
    return NULL;
}

static struct peer *guest_add(struct node *n, uint32_t id)
{
    struct peer *p = guest_find(n, id);
    if (p || n->n_guests == NODES_MAX)
        return p;
    p = arena_zalloc(&n->memory, sizeof(*p));
    p->id = id;
    p->address = "";
    n->guests[n->n_guests++] = p;
    return p;
}

static void guest_drop(struct node *n, const struct peer *p)
{
    for (unsigned i = 0; i < n->n_guests; i++)
        if (n->guests[i] == p)
            n->guests[i--] = n->guests[--n->n_guests];
}

static void end_links(struct node *n, const struct peer *p, int err, const char *text)
{
    for (GList *l = n->conn_list.head; l; l = l->next) {
        struct conn *c = l->data;
        if (c->peer != p || !c->net)
            continue;
        conn_answer_status(n, c->token, 0, err, 0, text);
        conn_close(c, LOG_INFO, text);
    }
}

/* Under which it was first met; 0: not yet. */
static uint64_t first_met(const struct node *n, uint32_t id)
{
    uint64_t logged = met_logged(n, id);
    return logged ? logged : members_met(n, id);
}

/* A guest that is linked already stays so, unless it is not the one that was met under this id. */
static struct peer *peer_new(struct node *n, uint32_t id)
{
    struct peer *p = guest_find(n, id);
    uint64_t met = first_met(n, id);
    if (!p)
        p = arena_zalloc(&n->memory, sizeof(*p));
    else if (met && p->incarnation != met)
        end_links(n, p, -ERR_WRONG_CLUSTER, "it has another data directory than before");
    else if (p->link)
        met = p->incarnation;
    guest_drop(n, p);
    p->id = id;
    p->incarnation = met;
    p->missed_at = n->now;
    return p;
}

int peer_add(struct node *n, uint32_t id, const char *address)
{
    struct peer *p = peer_find(n, id);
    if (p && strcmp(p->address, address) == 0)
        return 0;
    if (!p) {
        if (n->n_peers + 1 == NODES_MAX)
            return -ERR_CONFIG;
        unsigned at = place_of(n, id);
        memmove(&n->peers[at + 1], &n->peers[at], (n->n_peers - at) * sizeof(n->peers[0]));
        p = n->peers[at] = peer_new(n, id);
        n->n_peers++;
        if (p->link)
            members_save(n);
    }
    p->address = arena_strdup(&n->memory, address);
    return 0;
}

void peer_met(struct node *n, uint32_t id, uint64_t incarnation)
{
    struct peer *p = peer_find(n, id);
    if (!p)
        p = guest_find(n, id);
    if (!p || p->incarnation == incarnation)
        return;
    if (p->incarnation) {
        node_log(n, LOG_WARN, "node %u was first met with another data directory", id);
        end_links(n, p, -ERR_WRONG_CLUSTER, "it has another data directory than before");
    }
    p->incarnation = incarnation;
    if (!is_guest(p))
        members_save(n);
}

void peer_remove(struct node *n, uint32_t id)
{
    struct peer *p = peer_find(n, id), *guest = guest_find(n, id);
    const char *text = membership_removed_text(&n->scratch, id);
    if (guest) {
        end_links(n, guest, -ERR_REMOVED, text);
        guest_drop(n, guest);
    }
    if (!p)
        return;
    unsigned at = place_of(n, id);
    n->n_peers--;
    memmove(&n->peers[at], &n->peers[at + 1], (n->n_peers - at) * sizeof(n->peers[0]));
    end_links(n, p, -ERR_REMOVED, text);
}

static const char *own_address(const struct node *n)
{
    for (unsigned i = 0; i < n->config.n_peers; i++)
        if (n->config.peers[i].id == n->config.id)
            return n->config.peers[i].address;
    return ""; /* not so: peers_init has looked */
}

uint32_t peer_nth(const struct node *n, unsigned i, const char **ret_address)
{
    unsigned self = place_of(n, n->config.id);
    ASSERT(i <= n->n_peers);
    if (i == self) {
        *ret_address = own_address(n);
        return n->config.id;
    }
    const struct peer *p = n->peers[i - (i > self)];
    *ret_address = p->address;
    return p->id;
}

int peers_init(struct node *n, struct errmsg *msg)
{
    const struct node_config *cf = &n->config;
    bool self = false;
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
        if (peer_add(n, p->id, p->address) < 0)
            return errmsg_set(msg, -ERR_CONFIG, "more than %d members", NODES_MAX);
    }
    if (!self)
        return errmsg_set(msg, -ERR_CONFIG, "this node (id %u) is not among the members", cf->id);
    return 0;
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
        struct peer *p = n->peers[i];
        bool ours = p->id > n->config.id || n->now - p->missed_at > TICKS(MISSED_MS);
        if (p->link || p->dialing || n->now < p->retry_at || !ours)
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
    if (membership_was_removed(n, h->node))
        return errmsg_set(msg, -ERR_REMOVED, "%s", membership_removed_text(&n->scratch, h->node));
    struct peer *p = peer_find(n, h->node);
    uint64_t logged = met_logged(n, h->node), met = first_met(n, h->node);
    if (!p && c->role == ROLE_NODE && (!met || met == h->incarnation))
        p = guest_add(n, h->node);
    if (!p)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER, "node %u is no member of this cluster", h->node);
    if (c->peer && c->peer != p)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER, "expected node %u at %s, found node %u",
                          c->peer->id, c->peer->address, h->node);
    bool known = p->incarnation && !is_guest(p);
    if ((logged && logged != h->incarnation) || (known && p->incarnation != h->incarnation))
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
    if (h->protocol != HELLO_PROTOCOL)
        return errmsg_set(msg, -ERR_FORMAT, "speaks protocol %u, this node %d", h->protocol,
                          HELLO_PROTOCOL);
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
        c->read_anywhere = h->purpose == HELLO_READ_ANYWHERE;
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
        if (!is_guest(p))
            members_save(n);
    }
    p->heard_at = n->now;
    c->role = ROLE_NODE;
    c->peer = p;
    c->greeted = true;
    link_up(p, c);
    return 0;
}

void peer_told(struct conn *c, struct bytes status)
{
    struct node *n = c->node;
    struct msg_status m;
    if (dec_status(status, &n->scratch, &m) < 0)
        return; /* a complaint; its text is in the other's log */
    if (m.status == ERR_REMOVED)
        membership_end(n);
}

void peer_closed(struct conn *c)
{
    struct peer *p = c->peer;
    struct node *n = c->node;
    if (p->link == c) {
        p->link = NULL;
        p->missed_at = n->now;
        beat_drop(p);
        asks_link_down(n, p->id);
    }
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
    if (!p)
        p = guest_find(n, m->to);
    if (!p || !p->link) {
        n->counters.raft_dropped++;
        return;
    }
    if (beat_takes(m)) {
        beat_put(n, p, gid, m);
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
        n->counters.sent[m->type]++;
}

static bool reach_majority(const struct node *n, const raft_id *ids, unsigned count)
{
    unsigned linked = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct peer *p = peer_find((struct node *)n, ids[i]);
        linked += ids[i] == n->config.id || (p && p->link);
    }
    return linked > count / 2;
}

bool peers_reach_majority(const struct node *n, const struct raft_conf *conf)
{
    return reach_majority(n, conf->voters, conf->n_voters) &&
           (conf->n_outgoing == 0 || reach_majority(n, conf->outgoing, conf->n_outgoing));
}

unsigned peers_silent(const struct node *n, const struct raft_conf *conf)
{
    unsigned silent = 0;
    for (unsigned i = 0; i < conf->n_voters; i++) {
        const struct peer *p = peer_find((struct node *)n, conf->voters[i]);
        if (conf->voters[i] != n->config.id &&
            (!p || p->heard_at == 0 || n->now - p->heard_at > n->config.election_ticks))
            silent++;
    }
    return silent;
}
