/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/serve.h"
#include "cluster/node/check.h"
#include "cluster/node/controller.h"
#include "cluster/node/coordinate.h"
#include "cluster/node/damage.h"
#include "cluster/node/fence.h"
#include "cluster/node/table.h"
#include "cluster/node/move.h"
#include "cluster/node/membership.h"
#include "cluster/node/peer.h"
#include "cluster/node/place.h"
#include "cluster/node/command.h"
#include "cluster/node/route.h"
#include "cluster/node/ask.h"
#include "cluster/node/queue.h"
#include "cluster/node/request.h"
#include "cluster/node/reshape.h"
#include "cluster/node/session.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/space.h"
#include "cluster/node/take.h"
#include "cluster/node/wait.h"
#include "cluster/node/wire.h"

#define MAY(role) (1u << (role))
#define ANYONE    (MAY(ROLE_NODE) | MAY(ROLE_CLIENT) | MAY(ROLE_ADMIN))

/* A handler answers, parks the request, or returns an error for serve_frame to answer; MALFORMED
 * also ends the connection. */
#define MALFORMED (-1000)

/* --- helpers ---------------------------------------------------------------------------------- */

static void answer_not_leader(struct conn *c, uint64_t id, const struct group *g)
{
    conn_answer_leader(c->node, c->token, id, -ERR_NOT_LEADER, g->gid, group_hint(g), NULL);
}

/* No replica here: who leads the group that has the shard, as far as is known. */
static int answer_elsewhere(struct conn *c, uint64_t id, unsigned shard)
{
    uint32_t gid, next;
    if (!route_shard(c->node, shard, &gid, &next))
        return -ERR_INVALID;
    conn_answer_leader(c->node, c->token, id, -ERR_NOT_LEADER, gid, route_leader(c->node, gid),
                       NULL);
    return 0;
}

/* Parks the request for a read point. */
static int read_later(struct conn *c, struct group *g, uint64_t id, unsigned type,
                      struct bytes body)
{
    struct request *r = request_create(c->node, c, id, type, body);
    if (!r)
        return -ERR_BUSY;
    r->anywhere = type == MSG_txn && c->read_anywhere;
    group_read(g, r);
    return 0;
}

static int propose(struct conn *c, struct group *g, uint64_t id, enum kv_command cmd,
                   struct bytes body)
{
    struct request *r = request_create(c->node, c, id, 0, BYTES_NONE);
    if (!r)
        return -ERR_BUSY;
    group_propose(g, cmd, body, r);
    return 0;
}

static struct group *session_group(struct conn *c)
{
    return node_group(c->node, 0);
}

/* --- transactions ----------------------------------------------------------------------------- */

/* The shard that decides where a transaction goes: the lowest that is written, which also keeps the
 * result (DESIGN 3.2), else that of the first key. False: no key has one. */
static bool txn_shard(const struct msg_txn *t, unsigned *ret)
{
    struct bytes key = t->n_writes     ? t->writes[0].key
                       : t->n_reads    ? t->reads[0].key
                       : t->n_compares ? t->compares[0].key
                                       : BYTES_NONE;
    if (key.n < 2)
        return false;
    *ret = get_be16(key.p);
    for (uint32_t i = 1; i < t->n_writes; i++)
        if (t->writes[i].key.n >= 2)
            *ret = MIN(*ret, get_be16(t->writes[i].key.p));
    return true;
}

static bool only_deletes(const struct msg_txn *t)
{
    for (uint32_t i = 0; i < t->n_writes; i++)
        if (t->writes[i].op != KV_DELETE && t->writes[i].op != KV_DELETE_RANGE)
            return false;
    return true;
}

static int serve_txn(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_txn t;
    struct bytes known;
    if (dec_txn(body, &n->scratch, &t) < 0)
        return MALFORMED;
    unsigned shard;
    if (!txn_shard(&t, &shard) || shard >= n->config.shards)
        return -ERR_INVALID;
    struct group *g = route_shard_group(n, shard);
    if (!g)
        return answer_elsewhere(c, id, shard);
    if (t.n_writes > 0 && c->read_only)
        return -ERR_DENIED;
    int err = kv_check(g->kv, &t);
    if (err < 0)
        return err;
    if (g->store_full && t.n_writes > 0 && group_is_alone(g))
        return -ERR_NO_SPACE; /* there is nobody else to ask */
    if (t.n_writes == 0) {
        session_heard(g->sessions, t.client);
        return read_later(c, g, id, MSG_txn, body);
    }
    if (!group_is_leader(g)) {
        answer_not_leader(c, id, g);
        return 0;
    }
    session_heard(g->sessions, t.client);
    if (fence_awaits(g, c, id, MSG_txn, body, t.client))
        return 0;
    /* A kept result is final, so it needs no read point. */
    if (g->leading && kv_result(g->kv, &t, &n->scratch, &known)) {
        enc_reset(&n->out);
        size_t at = frame_begin(&n->out);
        enc_raw(&n->out, known.p, known.n);
        frame_end(&n->out, at, MSG_txn_reply, id);
        conn_answer(n, c->token, enc_view(&n->out));
        return 0;
    }
    if (space_paused(n) || (space_refuses(n) && !only_deletes(&t)))
        return group_hands_over(g) ? -ERR_BUSY : -ERR_NO_SPACE;
    if (!kv_serves(g->kv, &t))
        return g->leading ? coordinate(c, id, g, &t, body) : -ERR_BUSY;
    if (queue_txn(g, c, id, &t, body))
        return 0;
    return propose(c, g, id, KV_CMD_TXN, body);
}

static void read_txn(struct group *g, struct request *r, const struct raft_read *read)
{
    struct node *n = g->node;
    struct msg_txn t;
    struct msg_txn_reply reply = {0};
    int err = dec_txn(buf_bytes(r->body), &n->scratch, &t);
    if (err == 0)
        err = kv_read(g->kv, &t, &n->scratch, &reply);
    if (err == -ERR_IO || err == -ERR_CORRUPT)
        group_fatal(g, err, "group %u: read the state store in %s", g->gid, g->dir);
    if (err == -ERR_BUSY) { /* a lock: nothing was read */
        queue_read(g->queue, r, &t);
        return;
    }
    if (!group_read_holds(g, read, r))
        return;
    if (err < 0) {
        request_fail(r, err, 0, NULL);
        return;
    }
    CONN_ANSWER(n, r->token, txn_reply, r->id, &reply);
    request_destroy(r);
}

static int serve_wait(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_wait m;
    if (dec_wait(body, &n->scratch, &m) < 0)
        return MALFORMED;
    if (m.key.n < 2 || m.key.n > KEY_MAX)
        return -ERR_INVALID;
    unsigned shard = get_be16(m.key.p);
    if (shard >= n->config.shards)
        return -ERR_INVALID;
    struct group *g = route_shard_group(n, shard);
    if (!g)
        return answer_elsewhere(c, id, shard);
    return read_later(c, g, id, MSG_wait, body);
}

/* --- sessions --------------------------------------------------------------------------------- */

static int serve_session_open(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_session_open m;
    struct group *g = session_group(c);
    if (dec_session_open(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    if (kv_sessions(g->kv) >= SESSIONS_MAX)
        return -ERR_BUSY;
    return propose(c, g, id, KV_CMD_SESSION_OPEN, body);
}

static int serve_session_close(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_session_close m;
    if (dec_session_close(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    /* Anybody's session could be named, so it counts as a write; a reader's session times out. */
    if (c->read_only)
        return -ERR_DENIED;
    return propose(c, session_group(c), id, KV_CMD_SESSION_CLOSE, body);
}

static int serve_keepalive(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_keepalive m;
    if (dec_keepalive(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    return read_later(c, session_group(c), id, MSG_keepalive, body);
}

/* At a confirmed read point: a deposed leader must not tell a mount that its session lives. */
static void read_keepalive(struct group *g, struct request *r, const struct raft_read *read)
{
    struct msg_keepalive m;
    bool lives = dec_keepalive(buf_bytes(r->body), &g->node->scratch, &m) == 0 &&
                 kv_has_session(g->kv, m.client);
    if (!group_read_holds(g, read, r))
        return;
    if (!lives) {
        request_fail(r, -ERR_NO_SESSION, 0, NULL);
        return;
    }
    session_heard(g->sessions, m.client);
    request_fail(r, 0, 0, NULL);
}

static int serve_session_list(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_session_list m;
    if (dec_session_list(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    return read_later(c, session_group(c), id, MSG_session_list, body);
}

struct session_listing {
    struct counter *live;
    uint32_t n;
};

static void list_session(void *arg, uint64_t client, struct bytes name)
{
    struct session_listing *l = arg;
    l->live[l->n++] = (struct counter){.name = name, .value = client};
}

/* One that has ended counts as alive until every group refuses it: whoever asks breaks locks. */
static void list_fencing(void *arg, uint64_t client)
{
    struct session_listing *l = arg;
    l->live[l->n++] = (struct counter){.value = client};
}

static void read_session_list(struct group *g, struct request *r, const struct raft_read *read)
{
    struct arena *a = &g->node->scratch;
    uint64_t newest;
    size_t most = kv_sessions(g->kv) + kv_fencing(g->kv, &newest) + 1;
    struct session_listing l = {arena_array(a, most, sizeof(*l.live)), 0};
    kv_each_session(g->kv, list_session, &l);
    kv_each_fencing(g->kv, list_fencing, &l);
    if (!group_read_holds(g, read, r))
        return;
    if (l.n > SESSIONS_MAX) { /* of a store that a version with a higher limit wrote */
        /* A cut list would make living sessions look dead. */
        request_fail(r, -ERR_TOO_BIG, 0, "more sessions than one answer holds");
        return;
    }
    struct msg_session_reply reply = {.n_live = l.n, .live = l.live};
    CONN_ANSWER(g->node, r->token, session_reply, r->id, &reply);
    request_destroy(r);
}

/* --- about the node --------------------------------------------------------------------------- */

static int on_locate(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_locate m;
    if (dec_locate(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    serve_locate(c, id, &m);
    return 0;
}

static int on_node_status(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_node_status m;
    if (dec_node_status(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    serve_node_status(c, id);
    return 0;
}

static int on_check(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_check m;
    if (dec_check(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    return checks_start(c, id, &m);
}

static int on_check_ask(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_check_ask m;
    if (dec_check_ask(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    return checks_ask(c, id, &m, body);
}

static int on_leader_move(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_leader_move m;
    if (dec_leader_move(body, &n->scratch, &m) < 0)
        return MALFORMED;
    struct group *g = node_group(n, m.gid);
    struct request *r = request_create(n, c, id, MSG_leader_move, body);
    if (!r)
        conn_answer_status(n, c->token, id, -ERR_BUSY, 0, "too many requests are under way");
    else if (!g)
        request_fail(r, -ERR_WRONG_GROUP, 0, "there is no such group");
    else
        move_leader(g, r, m.node);
    return 0;
}

static int on_members(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_members m;
    if (dec_members(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    serve_members(c, id);
    return 0;
}

static int on_member_change(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_member_change m;
    if (dec_member_change(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    return membership_change(c, id, &m);
}

static int on_group_create(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_group_create m;
    if (dec_group_create(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    return place_create(c, id, &m, body);
}

static int on_groups(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_groups m;
    if (dec_groups(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    serve_groups(c, id);
    return 0;
}

/* --- between members -------------------------------------------------------------------------- */

static int on_raft(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_raft_wire w;
    struct raft_msg m;
    if (dec_raft_wire(body, &n->scratch, &w) < 0)
        return MALFORMED;
    struct group *g = node_group(n, w.gid);
    /* A member speaks for itself only; groups it knows and we do not may be ahead of us. */
    if (w.from != c->peer->id)
        return MALFORMED;
    if (!g || n->starting)
        return 0;
    if (wire_get_raft(&w, &n->scratch, &m) < 0)
        return MALFORMED;
    group_step(g, &m);
    wire_release(&m);
    return 0;
}

static int on_txn_ask(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_txn_ask m;
    if (dec_txn_ask(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    struct group *g = node_group(c->node, m.gid);
    if (g)
        return read_later(c, g, id, MSG_txn_ask, body);
    conn_answer_leader(c->node, c->token, id, -ERR_NOT_LEADER, m.gid, 0, NULL);
    return 0;
}

static int on_beat(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_beat m;
    if (dec_beat(body, &n->scratch, &m) < 0)
        return MALFORMED;
    if (n->starting)
        return 0;
    return beat_receive(n, c->peer, &m) < 0 ? MALFORMED : 0;
}

static int on_snap_chunk(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_snap_chunk m;
    if (dec_snap_chunk(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    struct group *g = node_group(c->node, m.gid);
    if (!g || g->starting || c->node->starting)
        return 0;
    snapshot_chunk(g, c, id, &m);
    group_touch(g);
    return 0;
}

static int on_snap_ack(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_snap_ack m;
    if (dec_snap_ack(body, &c->node->scratch, &m) < 0)
        return MALFORMED;
    struct group *g = node_group(c->node, m.gid);
    if (!g)
        return 0;
    snapshot_ack(g, c, &m);
    group_touch(g);
    return 0;
}

/* --- the table -------------------------------------------------------------------------------- */

struct service {
    unsigned type;
    unsigned roles;
    bool member; /* only over a link whose hello named a member */
    int (*handle)(struct conn *c, uint64_t id, struct bytes body);
};

static const struct service services[] = {
    {MSG_txn, ANYONE, false, serve_txn},
    {MSG_wait, ANYONE, false, serve_wait},
    {MSG_session_open, ANYONE, false, serve_session_open},
    {MSG_session_close, ANYONE, false, serve_session_close},
    {MSG_keepalive, ANYONE, false, serve_keepalive},
    {MSG_session_list, ANYONE, false, serve_session_list},
    {MSG_locate, ANYONE, false, on_locate},
    {MSG_node_status, ANYONE, false, on_node_status},
    {MSG_check, MAY(ROLE_ADMIN), false, on_check},
    {MSG_check_ask, MAY(ROLE_ADMIN), false, on_check_ask},
    {MSG_leader_move, MAY(ROLE_ADMIN), false, on_leader_move},
    {MSG_members, ANYONE, false, on_members},
    {MSG_member_change, MAY(ROLE_ADMIN), false, on_member_change},
    {MSG_group_home, MAY(ROLE_ADMIN), false, serve_group_home},
    {MSG_group_create, MAY(ROLE_ADMIN), false, on_group_create},
    {MSG_groups, ANYONE, false, on_groups},
    {MSG_config_change, MAY(ROLE_ADMIN), false, serve_config_change},
    {MSG_config_get, ANYONE, false, serve_config_get},
    {MSG_config_preview, ANYONE, false, serve_config_preview},
    {MSG_raft_wire, MAY(ROLE_NODE), true, on_raft},
    {MSG_txn_ask, MAY(ROLE_NODE), true, on_txn_ask},
    {MSG_shard_pull, MAY(ROLE_NODE), true, serve_shard_pull},
    {MSG_group_command, MAY(ROLE_NODE), true, serve_group_command},
    {MSG_beat, MAY(ROLE_NODE), true, on_beat},
    {MSG_snap_chunk, MAY(ROLE_NODE), true, on_snap_chunk},
    {MSG_snap_ack, MAY(ROLE_NODE), true, on_snap_ack},
};

static const struct service *find_service(unsigned type)
{
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (services[i].type == type)
            return &services[i];
    return NULL;
}

static void serve_other(struct conn *c, unsigned type, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    if (n->env.on_other)
        n->env.on_other(n->env.ctx, c->net, c->role, type, id, body);
    else
        conn_answer_status(n, c->token, id, -ERR_INVALID, 0, "unknown message type");
}

void serve_frame(struct conn *c, unsigned type, uint64_t id, struct bytes body)
{
    const struct service *s = find_service(type);
    if (!s && c->peer && asks_answer(c, type, id, body))
        return;
    if (!s && type != MSG_status) {
        serve_other(c, type, id, body);
        return;
    }
    if (!s) {
        if (c->peer)
            peer_told(c, body);
        return;
    }
    int err = -ERR_DENIED;
    if ((s->roles & MAY(c->role)) && (!s->member || c->peer))
        err = s->handle(c, id, body);
    if (err == 0)
        return;
    c->node->counters.refused++;
    if (err != MALFORMED) {
        conn_answer_status(c->node, c->token, id, err, 0, NULL);
        return;
    }
    char why[80];
    g_snprintf(why, sizeof(why), "malformed %s", msg_name(type));
    conn_answer_status(c->node, c->token, id, -ERR_INVALID, 0, why);
    conn_close(c, LOG_WARN, why);
}

void serve_read(struct group *g, struct request *r, const struct raft_read *read)
{
    arena_reset(&g->node->scratch);
    switch (r->type) {
    case MSG_txn:
        read_txn(g, r, read);
        return;
    case MSG_wait:
        wait_enter(g->waits, r, read);
        return;
    case MSG_txn_ask:
        read_txn_ask(g, r, read);
        return;
    case MSG_config_get:
    case MSG_config_preview:
        read_config(g, r, read);
        return;
    case MSG_shard_pull:
        read_shard_pull(g, r, read);
        return;
    case MSG_keepalive:
        read_keepalive(g, r, read);
        return;
    default:
        ASSERT(r->type == MSG_session_list); /* no other type is parked */
        read_session_list(g, r, read);
    }
}
