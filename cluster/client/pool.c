/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - which connection a call goes on.
 *
 * While fewer than so many (`at_once`) of the call's kind are in use, it gets one of its own: of
 * the idle ones the last used, because its memory and its peer's are warm, or a new one. Else it
 * joins the one that has the most calls and admits it: the more share one, the more a write and a
 * read carry, and the less each costs. The kinds do not mix: a small call does not come behind
 * megabytes (of LARGE there is no limit, each has its own), and its answer is not read by a thread
 * that waits for hours (WAIT). Threads that find no connection but others who are opening one wait
 * for them.
 *
 * What a connection admits is bounded by what the node does to one that asks for too much: at most
 * MUX_CALLS_MAX calls and ANSWERS_MAX bytes of answers at once, also of those that were given up,
 * because their answers may still come. A connection with such is closed when its last call leaves.
 *
 * A node's generation steps when one of its connections breaks. All that were opened before are
 * then as good as broken, too: idle ones are closed at once, those in use take no more calls.
 */
#include "cluster/client/impl.h"

/* The node cuts off a client for which 32 MiB lie queued (CONN_OUT_BYTES_MAX). */
#define ANSWERS_MAX MIB(24)

_Static_assert(ANSWERS_MAX + FRAME_BODY_MAX < CONN_OUT_BYTES_MAX, "the node can queue all answers");

/* So many connections of a kind are opened before calls share them. */
static const unsigned at_once[CALL_KINDS] = {
    [CALL_SMALL] = WIRES_MAX, [CALL_WAIT] = 1, [CALL_LARGE] = G_MAXUINT};

struct conn {
    struct mux *mux;
    enum call_kind kind;
    uint64_t generation;
    bool listed;         /* others may join; a call that is alone on an unlisted one closes it */
    GList link;          /* in idle, or in busy[kind] while listed */
    unsigned n_calls;    /* under way */
    unsigned n_lost;     /* given up */
    size_t answer_bytes; /* the most that may come, also for the lost */
};

int pool_find(struct client *c, uint32_t id)
{
    for (unsigned i = 0; id && i < client_known(c); i++)
        if (c->nodes[i].id == id)
            return (int)i;
    return -1;
}

static void conn_close(struct conn *x)
{
    if (!x)
        return;
    mux_destroy(x->mux);
    g_free(x);
}

/* --- taking; the lock is held ------------------------------------------------------------------
 */

static bool admits(const struct conn *x, const struct client_call *call)
{
    return x->n_calls + x->n_lost < MUX_CALLS_MAX &&
           x->answer_bytes + call->answer_max <= ANSWERS_MAX;
}

static struct conn *fullest(struct client_node *n, const struct client_call *call)
{
    struct conn *best = NULL;

    for (GList *l = n->busy[call->kind].head; l; l = l->next) {
        struct conn *x = l->data;
        if (admits(x, call) && (!best || x->n_calls > best->n_calls))
            best = x;
    }
    return best;
}

static void join(struct client_call *call, struct conn *x)
{
    x->n_calls++;
    x->answer_bytes += call->answer_max;
    call->conn = x;
    call->generation = x->generation;
}

static void list(struct client_node *n, struct conn *x, enum call_kind kind)
{
    x->kind = kind;
    x->listed = true;
    g_queue_push_tail_link(&n->busy[kind], &x->link);
}

static void unlist(struct client_node *n, struct conn *x)
{
    if (x->listed)
        g_queue_unlink(&n->busy[x->kind], &x->link);
    x->listed = false;
}

/* A connection that is there. NULL: none, or none that may be used. */
static struct conn *choose(struct client_node *n, const struct client_call *call)
{
    struct conn *x = NULL;

    if (n->busy[call->kind].length + n->n_opening[call->kind] >= at_once[call->kind])
        x = fullest(n, call);
    if (!x && n->idle.head) {
        x = n->idle.head->data;
        g_queue_unlink(&n->idle, &x->link);
        list(n, x, call->kind);
    }
    return x;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Until somebody's attempt to open one of this kind has ended; its failure is ours, too. The lock
 * is held, but not meanwhile. */
static int await_opening(struct client *c, struct client_call *call, uint64_t deadline_ns,
                         struct client_cancel *cancel)
{
    struct client_node *n = &c->nodes[call->node];
    uint32_t *word = cancel ? &cancel->events : &call->ticket.events;
    int r = 0;

    call->opened = 0;
    call->opening = word;
    g_queue_push_tail(&n->waiting, call);
    while (call->opening && r == 0) {
        uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        pthread_mutex_unlock(&c->lock);
        r = nap(word, seen, deadline_ns, cancel);
        pthread_mutex_lock(&c->lock);
    }
    if (!call->opening)
        return call->opened;
    call->opening = NULL;
    g_queue_remove(&n->waiting, call);
    return r;
}

/* The lock is held: this is rare. */
static void tell_waiting(struct client_node *n, enum call_kind kind, int opened)
{
    for (GList *l = n->waiting.head, *next; l; l = next) {
        struct client_call *call = l->data;
        next = l->next;
        if (call->kind != kind)
            continue;
        call->opened = opened;
        nap_step(call->opening);
        nap_wake(TAKE(call->opening));
        g_queue_delete_link(&n->waiting, l);
    }
}

static int open_one(struct client *c, struct client_call *call, uint64_t deadline_ns,
                    struct client_cancel *cancel, struct errmsg *msg)
{
    struct client_node *n = &c->nodes[call->node];
    uint64_t generation = call->generation;
    struct wire *wire;
    struct mux *mux;

    int r = wire_open(n->address, c->tls, c->cluster, n->id,
                      c->read_any ? HELLO_READ_ANYWHERE : HELLO_MAIN,
                      deadline_first(deadline_ns, deadline_in(CONNECT_MS)), cancel, &wire, msg);
    if (r == 0)
        r = mux_create(wire, &mux);
    bool own = r == -ERR_CANCELED || (r == -ERR_TIMEOUT && deadline_over(deadline_ns));

    pthread_mutex_lock(&c->lock);
    n->n_opening[call->kind]--;
    if (r == 0) {
        struct conn *x = g_new0(struct conn, 1);
        *x = (struct conn){.mux = mux, .kind = call->kind, .generation = generation};
        x->link.data = x;
        if (generation == n->generation)
            list(n, x, call->kind);
        join(call, x);
    }
    tell_waiting(n, call->kind, own ? 0 : r);
    pthread_mutex_unlock(&c->lock);
    if (r == 0)
        __atomic_fetch_add(&c->stats.reconnects, 1, __ATOMIC_RELAXED);
    return r;
}

int pool_take(struct client *c, struct client_call *call, uint64_t deadline_ns,
              struct client_cancel *cancel, struct errmsg *msg)
{
    struct client_node *n = &c->nodes[call->node];
    struct conn *x;
    int r = 0;

    ASSERT(!call->conn);
    pthread_mutex_lock(&c->lock);
    do {
        call->generation = n->generation;
        x = choose(n, call);
        if (x || n->n_opening[call->kind] == 0 ||
            n->busy[call->kind].length + n->n_opening[call->kind] < at_once[call->kind])
            break;
        r = await_opening(c, call, deadline_ns, cancel);
    } while (r == 0);
    call->reused = x != NULL;
    if (x)
        join(call, x);
    else if (r == 0)
        n->n_opening[call->kind]++;
    pthread_mutex_unlock(&c->lock);
    if (x)
        return 0;
    if (r == 0)
        r = open_one(c, call, deadline_ns, cancel, msg);
    else
        errmsg_set(msg, r, "%s", err_text(r));
    return r < 0 ? errmsg_prefix(msg, r, "node n%u at %s", n->id, n->address) : 0;
}

/* --- leaving ---------------------------------------------------------------------------------- */

/* lost: its answer may still come. */
static void leave(struct client *c, struct client_call *call, bool lost, bool closing)
{
    struct client_node *n = &c->nodes[call->node];
    struct conn *x = TAKE(call->conn), *dead = NULL;

    pthread_mutex_lock(&c->lock);
    if (closing)
        unlist(n, x);
    x->n_calls--;
    if (lost)
        x->n_lost++;
    else
        x->answer_bytes -= call->answer_max;
    if (x->n_calls == 0) {
        bool keep = x->listed && x->n_lost == 0 && n->idle.length < IDLE_WIRES_MAX;
        unlist(n, x);
        if (keep && mux_rest(x->mux))
            g_queue_push_head_link(&n->idle, &x->link);
        else
            dead = x;
    }
    pthread_mutex_unlock(&c->lock);
    conn_close(dead);
}

void pool_give(struct client *c, struct client_call *call)
{
    leave(c, call, false, false);
}

void pool_quit(struct client *c, struct client_call *call, bool silent)
{
    if (call->conn)
        leave(c, call, mux_leave(&call->ticket), silent);
}

void pool_failed(struct client *c, struct client_call *call)
{
    struct client_node *n = &c->nodes[call->node];
    GQueue dead = G_QUEUE_INIT;
    GList *l;

    if (call->conn)
        mux_break(call->conn->mux, -ERR_CLOSED);
    pthread_mutex_lock(&c->lock);
    if (call->generation == n->generation) {
        n->generation++;
        dead = n->idle;
        g_queue_init(&n->idle);
        for (unsigned kind = 0; kind < CALL_KINDS; kind++)
            while ((l = n->busy[kind].head))
                unlist(n, l->data);
    }
    pthread_mutex_unlock(&c->lock);
    pool_quit(c, call, true);
    while ((l = g_queue_pop_head_link(&dead)))
        conn_close(l->data);
}

void pool_finish(struct client *c)
{
    GList *l;

    for (unsigned i = 0; i < client_known(c); i++) {
        while ((l = g_queue_pop_head_link(&c->nodes[i].idle)))
            conn_close(l->data);
        g_free(c->nodes[i].address);
    }
}

int pool_send(struct client_call *call, uint64_t deadline_ns, struct client_cancel *cancel)
{
    return mux_send(call->conn->mux, &call->ticket, enc_view(&call->frame), deadline_ns, cancel);
}
