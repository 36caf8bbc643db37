/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network: connections keep the order of their frames; a loss costs the connection, as with
 * TCP. A blocked direction holds frames back, and after a time-out without acknowledgements both
 * ends give up. Besides that, frames of raft between nodes may be lost, doubled or overtaken
 * without any harm to the connection: more than TCP does, but no more than raft must bear.
 */
#include "cluster/node/impl.h"
#include "tests/sim/sim.h"

#define UNACKED   SEC(10) /* as net_uv.c */
#define DIAL_WAIT SEC(3)  /* into the void */
#define NET_CHECK MS(500)

struct sim_net {
    struct net net;
    struct sim_node *node;
};

struct sim_conn {
    struct net_conn conn;
    struct sim *sim;
    struct sim_conn *other; /* NULL: nobody answered */
    unsigned at, far;       /* places: node id, 0 is a client */
    struct sim_node *node;  /* whose end this is */
    struct net_user *user;  /* or: who it belongs to */
    uint64_t life;
    struct net_peer peer;
    bool dialed, opened, closed; /* closed: on_close was called, or its owner has ended */
    bool broken;                 /* what is on its way here is lost */
    bool closing;                /* closed by its owner, on_close is to come */
    uint64_t last_arrival, resumed_at;
    size_t queued; /* bytes on their way from here */
    GQueue held;   /* struct arrival: behind a blocked link */
};

enum arrival_kind { ARRIVE_OPEN, ARRIVE_FRAME, ARRIVE_END };

struct arrival {
    struct event event;
    enum arrival_kind kind;
    struct sim_conn *to;
    struct bytes frame; /* owned */
    int err;
    bool loose; /* keeps no order, waits for nothing */
};

static struct sim_conn *conn_of(const struct net_conn *nc)
{
    return container_of(nc, struct sim_conn, conn);
}

static bool owner_alive(const struct sim_conn *c)
{
    return c->user || (c->node->node && c->node->life == c->life);
}

/* --- delivery --------------------------------------------------------------------------------- */

struct delivery {
    struct arrival *arrival;
    struct frame frame;
};

static void deliver_node(struct sim_node *sn, void *arg)
{
    struct delivery *d = arg;
    struct sim_conn *c = d->arrival->to;
    const struct net_handler *h = node_net_handler(sn->node);
    switch (d->arrival->kind) {
    case ARRIVE_OPEN:
        h->on_open(h->ctx, &c->conn, &c->peer, c->dialed);
        return;
    case ARRIVE_FRAME:
        h->on_frame(h->ctx, &c->conn, d->frame.type, d->frame.id, d->frame.body);
        return;
    case ARRIVE_END:
        h->on_close(h->ctx, &c->conn, d->arrival->err);
        return;
    }
}

static void deliver_user(const struct delivery *d)
{
    struct sim_conn *c = d->arrival->to;
    switch (d->arrival->kind) {
    case ARRIVE_OPEN:
        c->user->on_open(c->user, &c->conn);
        return;
    case ARRIVE_FRAME:
        c->user->on_frame(c->user, &c->conn, &d->frame);
        return;
    case ARRIVE_END:
        c->user->on_close(c->user, &c->conn);
        return;
    }
}

static void note_frame(struct sim *s, const struct sim_conn *c, const struct frame *f)
{
    trace_mix(s, hash_bytes(f->type, f->body));
    s->counters.frames++;
    if (!s->trace.verbose) {
        if (f->type != MSG_raft_wire)
            trace_line(s, "%u>%u %s %zu", c->far, c->at, msg_name(f->type), f->body.n);
        return;
    }
    GString *text = g_string_new("");
    msg_print(text, f->type, f->body);
    trace_line(s, "%u>%u %s %s", c->far, c->at, msg_name(f->type), text->str);
    g_string_free(text, TRUE);
}

static void deliver(struct sim *s, struct arrival *a)
{
    struct sim_conn *c = a->to;
    struct delivery d = {a, {0}};
    size_t used;
    if (c->closed || !owner_alive(c))
        return;
    if (a->kind != ARRIVE_END && (c->broken || c->closing))
        return;
    if (a->kind == ARRIVE_FRAME) {
        if (!c->opened)
            return;
        ASSERT(frame_parse(a->frame, &d.frame, &used) == 0 && used == a->frame.n);
        note_frame(s, c, &d.frame);
    }
    if (c->node && c->far == 0 && c->node->leading && host_leader(s) != c->at)
        s->counters.old_leader_asked++;
    c->opened |= a->kind == ARRIVE_OPEN;
    c->closed |= a->kind == ARRIVE_END;
    if (c->user)
        deliver_user(&d);
    else
        host_enter(c->node, deliver_node, &d);
}

static void arrival_drop(struct event *e)
{
    struct arrival *a = (struct arrival *)e;
    if (a->to->other)
        a->to->other->queued -= MIN(a->to->other->queued, a->frame.n);
    g_free((void *)(uintptr_t)a->frame.p);
}

static bool arrival_is_local(const struct arrival *a)
{
    return a->kind == ARRIVE_END && a->err != -ERR_CLOSED;
}

/* The queue frees the event that runs: what lives on is a copy. */
static struct arrival *arrival_move(struct arrival *a)
{
    struct arrival *copy = g_memdup2(a, sizeof(*a));
    a->frame = BYTES_NONE;
    return copy;
}

static void arrival_run(struct sim *s, struct event *e)
{
    struct arrival *a = (struct arrival *)e;
    struct sim_conn *c = a->to;
    if (c->resumed_at > s->now && !a->loose) {
        /* Behind those that waited for the paused node. */
        queue_push(&s->queue, &arrival_move(a)->event, c->resumed_at);
        return;
    }
    bool blocked = s->blocked[c->far][c->at];
    if (a->loose ? !blocked : arrival_is_local(a) || (!blocked && c->held.length == 0)) {
        deliver(s, a);
        return;
    }
    if (!a->loose)
        g_queue_push_tail(&c->held, arrival_move(a));
}

static void held_free(gpointer a)
{
    event_free(a);
}

static void drain_run(struct sim *s, struct event *e)
{
    struct sim_conn *c = ((struct arrival *)e)->to;
    struct arrival *a;
    while (!s->blocked[c->far][c->at] && (a = g_queue_pop_head(&c->held)) != NULL) {
        deliver(s, a);
        event_free(&a->event);
    }
}

static void post_arrival(struct sim_conn *to, struct arrival *a, uint64_t delay)
{
    struct sim *s = to->sim;
    uint64_t at = s->now + delay;
    a->to = to;
    a->event.drop = arrival_drop;
    if (to->node) {
        a->event.node = to->node;
        a->event.life = to->life;
    }
    if (!a->loose) {
        at = MAX(at, to->last_arrival);
        to->last_arrival = at;
    }
    queue_push(&s->queue, &a->event, at);
}

bool net_waits(const struct sim *s, const struct event *e)
{
    const struct arrival *a = (const struct arrival *)e;
    return e->drop == arrival_drop && !a->loose && a->to->resumed_at > s->now;
}

uint64_t net_resume_at(struct sim *s, struct event *e)
{
    if (e->drop != arrival_drop)
        return s->now + rng_below(&s->net_rng, MS(1));
    struct sim_conn *c = ((struct arrival *)e)->to;
    if (c->resumed_at < s->now) {
        c->resumed_at = s->now + rng_below(&s->net_rng, MS(3));
        c->last_arrival = MAX(c->last_arrival, c->resumed_at);
    }
    return c->resumed_at;
}

static uint64_t net_delay(struct sim *s)
{
    return s->profile.net_delay + sim_spread(&s->net_rng, s->profile.net_jitter);
}

static void post_kind(struct sim_conn *to, enum arrival_kind kind, int err, uint64_t delay)
{
    struct arrival *a = EVENT_NEW(struct arrival, arrival_run);
    a->kind = kind;
    a->err = err;
    post_arrival(to, a, delay);
}

/* --- ends ------------------------------------------------------------------------------------- */

/* Both ends learn of it on their own; what is under way is lost. */
static void conn_break(struct sim_conn *c)
{
    struct sim *s = c->sim;
    struct sim_conn *ends[2] = {c, c->other};
    for (unsigned i = 0; i < 2; i++) {
        struct sim_conn *e = ends[i];
        if (!e || e->broken || e->closed)
            continue;
        e->broken = true;
        g_queue_clear_full(&e->held, held_free);
        struct arrival *a = EVENT_NEW(struct arrival, arrival_run);
        a->kind = ARRIVE_END;
        a->err = -ERR_IO; /* not behind a blocked link */
        post_arrival(e, a, net_delay(s));
    }
}

void net_node_gone(struct sim_node *sn, bool silently)
{
    struct sim *s = sn->sim;
    for (guint i = 0; i < s->conns->len; i++) {
        struct sim_conn *c = g_ptr_array_index(s->conns, i);
        if (c->node != sn || c->closed || c->life != sn->life)
            continue;
        c->closed = true;
        g_queue_clear_full(&c->held, held_free);
        if (!c->other || c->other->closed)
            continue;
        uint64_t delay = silently ? rng_below(&s->net_rng, SEC(8)) : net_delay(s);
        post_kind(c->other, ARRIVE_END, silently ? -ERR_IO : -ERR_CLOSED, delay);
    }
}

void net_block(struct sim *s, unsigned from, unsigned to, bool blocked)
{
    if (s->blocked[from][to] == blocked)
        return;
    s->blocked[from][to] = blocked;
    s->blocked_since[from][to] = s->now;
    for (guint i = 0; !blocked && i < s->conns->len; i++) {
        struct sim_conn *c = g_ptr_array_index(s->conns, i);
        if (c->far != from || c->at != to || c->held.length == 0)
            continue;
        struct arrival *a = EVENT_NEW(struct arrival, drain_run);
        post_arrival(c, a, net_delay(s));
    }
}

void net_break_some(struct sim *s)
{
    for (guint i = 0; i < s->conns->len; i++) {
        struct sim_conn *c = g_ptr_array_index(s->conns, i);
        if (!c->closed && c->opened && rng_below(&s->net_rng, 4) == 0)
            conn_break(c);
    }
}

bool net_linked(const struct sim *s, unsigned a, unsigned b)
{
    for (guint i = 0; i < s->conns->len; i++) {
        const struct sim_conn *c = g_ptr_array_index(s->conns, i);
        if (c->at == a && c->far == b && c->opened && !c->closed && !c->broken && c->other &&
            c->other->opened && !c->other->closed && !c->other->broken)
            return true;
    }
    return false;
}

/* Nothing acknowledged for too long. */
static void check_run(struct sim *s, struct event *e)
{
    for (guint i = 0; i < s->conns->len; i++) {
        struct sim_conn *c = g_ptr_array_index(s->conns, i);
        if (!c->closed && !c->broken &&
            ((s->blocked[c->at][c->far] && s->now - s->blocked_since[c->at][c->far] > UNACKED) ||
             (s->blocked[c->far][c->at] && s->now - s->blocked_since[c->far][c->at] > UNACKED)))
            conn_break(c);
    }
    sim_post(s, EVENT_NEW(struct event, check_run), NET_CHECK);
}

/* --- the interface ---------------------------------------------------------------------------- */

static struct sim_conn *conn_new(struct sim *s, unsigned at, unsigned far)
{
    struct sim_conn *c = g_new0(struct sim_conn, 1);
    c->sim = s;
    c->at = at;
    c->far = far;
    if (at > 0) {
        c->node = sim_node(s, at);
        c->conn.net = c->node->net;
        c->life = c->node->life;
    }
    g_queue_init(&c->held);
    g_ptr_array_add(s->conns, c);
    return c;
}

/* The far end, if somebody listens there and the packets pass. */
static void connect_to(struct sim_conn *c, const struct net_peer *me)
{
    struct sim *s = c->sim;
    struct sim_node *far = sim_node(s, c->far);
    if (!far->node || s->blocked[c->at][c->far] || s->blocked[c->far][c->at]) {
        bool refused = !far->node && !s->blocked[c->at][c->far];
        post_kind(c, ARRIVE_END, -ERR_UNREACHABLE, refused ? net_delay(s) : DIAL_WAIT);
        return;
    }
    struct sim_conn *o = conn_new(s, c->far, c->at);
    o->other = c;
    c->other = o;
    o->peer = *me;
    uint64_t delay = net_delay(s);
    post_kind(o, ARRIVE_OPEN, 0, delay);
    post_kind(c, ARRIVE_OPEN, 0, 2 * delay);
}

static struct net client_net; /* the interface, for the clients' ends */

static struct net_conn *op_dial(struct net *net, const char *address, void *user)
{
    struct sim_node *from = container_of(net, struct sim_net, net)->node;
    unsigned to = (unsigned)g_ascii_strtoull(address + strlen("node:"), NULL, 10);
    struct sim_conn *c = conn_new(from->sim, from->id, to);
    const struct net_peer me = {ROLE_NODE, from->id, false, -1, "a node"};
    c->dialed = true;
    c->conn.user = user;
    c->peer = (struct net_peer){ROLE_NODE, to, false, -1, "a node"};
    connect_to(c, &me);
    return &c->conn;
}

struct net_conn *net_user_dial(struct sim *s, struct net_user *u, unsigned node)
{
    struct sim_conn *c = conn_new(s, 0, node);
    const struct net_peer me = {u->role, 0, false, -1, "a user"};
    c->user = u;
    c->conn.net = &client_net;
    c->dialed = true;
    connect_to(c, &me);
    return &c->conn;
}

void net_user_hello(struct net_conn *nc, enum hello_purpose purpose)
{
    struct msg_hello hello = {
        .protocol = HELLO_PROTOCOL, .cluster = SIM_CLUSTER, .purpose = (uint8_t)purpose};
    struct enc e = {0};
    FRAME(&e, hello, 0, &hello);
    nc->net->ops->send(nc, enc_view(&e));
    enc_finish(&e);
}

static void post_frame(struct sim_conn *to, struct bytes frame, bool loose, uint64_t delay)
{
    struct arrival *a = EVENT_NEW(struct arrival, arrival_run);
    a->kind = ARRIVE_FRAME;
    a->loose = loose;
    a->frame = bytes_of(g_memdup2(frame.p, frame.n), frame.n);
    to->other->queued += frame.n;
    post_arrival(to, a, delay);
}

static unsigned frame_type(struct bytes frame)
{
    return frame.p[6] | (unsigned)frame.p[7] << 8;
}

static bool is_answer(struct bytes frame)
{
    struct frame f;
    size_t used;
    if (frame_parse(frame, &f, &used) < 0 || f.body.n <= 4)
        return false;
    if (f.type == MSG_beat)
        return get_le32(f.body.p) == 0; /* no heartbeats, so answers to some */
    /* gid, type */
    return (f.body.p[4] == RAFT_APPEND_RESP || f.body.p[4] == RAFT_HEARTBEAT_RESP ||
            f.body.p[4] == RAFT_VOTE_RESP || f.body.p[4] == RAFT_PREVOTE_RESP);
}

/* Of a frame between nodes that raft must be able to lose, get twice or late. */
static bool meddle(struct sim *s, struct sim_conn *to, struct bytes frame)
{
    const struct profile *p = &s->profile;
    struct rng *r = &s->net_rng;
    unsigned type = frame_type(frame);
    if (s->quiet || to->at == 0 || to->far == 0 || (type != MSG_raft_wire && type != MSG_beat))
        return false;
    if (rng_chance(r, p->raft_drop)) {
        s->counters.frames_lost++;
        return true;
    }
    if (p->raft_late && is_answer(frame) && rng_chance(r, p->raft_late)) {
        post_frame(to, frame, true, MS(200) + rng_below(r, SEC(2)));
        return true;
    }
    if (rng_chance(r, p->raft_dup)) {
        s->counters.frames_doubled++;
        post_frame(to, frame, true, net_delay(s) + rng_below(r, MS(200)));
    }
    if (!rng_chance(r, p->raft_reorder))
        return false;
    s->counters.frames_late++;
    post_frame(to, frame, true, net_delay(s) + sim_spread(r, MS(100)));
    return true;
}

static bool costs_connection(struct sim *s, const struct sim_conn *c, struct bytes frame)
{
    const struct profile *p = &s->profile;
    struct rng *r = &s->net_rng;
    bool client = c->at == 0 || c->far == 0;
    if (s->quiet)
        return false;
    return rng_chance(r, p->conn_break) || (client && rng_chance(r, p->client_break)) ||
           (frame_type(frame) == MSG_snap_chunk && rng_chance(r, p->snap_break));
}

static int op_send(struct net_conn *nc, struct bytes frame)
{
    struct sim_conn *c = conn_of(nc);
    struct sim *s = c->sim;
    if (c->closed || c->closing)
        return -ERR_CLOSED;
    if (c->queued + frame.n > CONN_OUT_BYTES_MAX)
        return -ERR_BUSY;
    if (c->node && c->far > 0)
        check_sent(c->node, frame);
    if (!c->other || c->other->closed || c->broken || c->other->broken)
        return 0; /* into the void: the close is on its way */
    if (costs_connection(s, c, frame)) {
        conn_break(c);
        return 0;
    }
    if (!meddle(s, c->other, frame))
        post_frame(c->other, frame, false, net_delay(s));
    return 0;
}

static size_t op_queued(const struct net_conn *nc)
{
    return conn_of(nc)->queued;
}

static void op_close(struct net_conn *nc)
{
    struct sim_conn *c = conn_of(nc);
    if (c->closed || c->closing)
        return;
    c->closing = true;
    post_kind(c, ARRIVE_END, -ERR_CANCELED, 0);
    if (c->other && !c->other->closed)
        post_kind(c->other, ARRIVE_END, -ERR_CLOSED, net_delay(c->sim));
}

static const struct net_ops net_ops = {op_dial, op_send, op_queued, op_close};

void net_init(struct sim *s)
{
    client_net.ops = &net_ops;
    s->conns = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < SIM_NODES; i++) {
        struct sim_net *net = g_new0(struct sim_net, 1);
        *net = (struct sim_net){{&net_ops}, &s->nodes[i]};
        s->nodes[i].net = &net->net;
    }
    sim_post(s, EVENT_NEW(struct event, check_run), NET_CHECK);
}

void net_finish(struct sim *s)
{
    for (guint i = 0; i < s->conns->len; i++)
        g_queue_clear_full(&((struct sim_conn *)g_ptr_array_index(s->conns, i))->held, held_free);
    g_ptr_array_free(s->conns, TRUE);
    for (unsigned i = 0; i < SIM_NODES; i++)
        g_free(container_of(s->nodes[i].net, struct sim_net, net));
}
