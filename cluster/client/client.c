/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - the contract of client.h: transactions, waits, probes, other requests. */
#include <unistd.h>
#include "cluster/client/impl.h"

int client_create(const struct client_options *o, struct client **ret, struct errmsg *msg)
{
    struct client *c = g_new0(struct client, 1);
    pthread_condattr_t attr;
    int r;

    c->options = *o;
    c->name = g_strdup(o->name ? o->name : "client");
    c->keeper_cancel.fd = -1;
    g_queue_init(&c->abandoned);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);

    r = client_cancel_init(&c->keeper_cancel);
    if (r == 0)
        r = client_conf_load(c, o->conf, msg);
    if (r < 0) {
        client_destroy(c);
        return r;
    }
    *ret = c;
    return 0;
}

void client_destroy(struct client *c)
{
    if (!c)
        return;
    session_finish(c);
    pool_finish(c);
    tls_ctx_destroy(c->tls);
    client_cancel_finish(&c->keeper_cancel);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    g_free(c->name);
    g_free(c);
}

/* --- transactions --- */

/* Calls that this thread has started and not yet waited for. A thread that must wait for a place in
 * the window first receives the answers of these, so that it never waits for itself. */
static _Thread_local GPtrArray *started;

static void started_add(struct client_call *call)
{
    if (!started)
        started = g_ptr_array_new();
    g_ptr_array_add(started, call);
}

static void started_remove(struct client_call *call)
{
    if (started && g_ptr_array_remove(started, call) && started->len == 0) {
        g_ptr_array_unref(started);
        started = NULL;
    }
}

static int run_and_release(struct client *c, struct client_call *call, uint64_t deadline_ns,
                           struct client_cancel *cancel)
{
    bool had = call->reply != NULL;
    int r = call_run(c, call, deadline_ns, cancel, NULL);

    if (r == 0 && !had && call->seq)
        session_release_seq(c, call->client, call->seq);
    return r;
}

static int drain_started(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel)
{
    for (guint i = 0; started && i < started->len; i++) {
        struct client_call *call = started->pdata[i];
        if (call->seq) {
            int r = run_and_release(c, call, deadline_ns, cancel);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Gives a write its name and encodes it. */
static int name_call(struct client *c, struct client_call *call, bool block, uint64_t deadline_ns,
                     struct client_cancel *cancel)
{
    struct txn *t = call->txn;

    if (t->m.n_writes) {
        int r = session_need(c, cancel);
        if (r == 0)
            r = session_take_seq(c, false, 0, NULL, &t->m.client, &t->m.seq, &t->m.acked_below);
        if (r == -ERR_BUSY && block) {
            r = drain_started(c, deadline_ns, cancel);
            if (r == 0)
                r = session_take_seq(c, true, deadline_ns, cancel, &t->m.client, &t->m.seq,
                                     &t->m.acked_below);
        }
        if (r < 0)
            return r;
        call->client = t->m.client;
        call->seq = t->m.seq;
    }
    FRAME(&call->frame, txn, call->request, &t->m);
    return 0;
}

int txn_start(struct client *c, struct txn *t)
{
    ASSERT(!t->call);
    ASSERT(t->m.n_compares + t->m.n_reads + t->m.n_writes > 0);
    struct client_call *call CLEANUP(call_destroy) = call_create(c, ATTEMPT_MS);
    int r;

    call->txn = t;
    buf_unref(TAKE(t->reply_buf));
    r = name_call(c, call, false, 0, NULL);
    if (r < 0 && r != -ERR_BUSY)
        return r;
    if (r == 0)
        call_send(c, call, deadline_in(call->attempt_ms), NULL);
    started_add(call);
    t->call = TAKE(call);
    __atomic_fetch_add(&c->stats.txns, 1, __ATOMIC_RELAXED);
    return 0;
}

static int take_reply(struct client *c, struct txn *t, struct client_call *call)
{
    unsigned status = call_status(call, NULL);

    if (status == ERR_NO_SESSION)
        session_lose(c, call->client);
    if (call->reply_type != MSG_txn_reply)
        return status ? -(int)status : -ERR_INVALID;
    t->reply_buf = buf_ref(call->reply);
    if (dec_txn_reply(buf_bytes(t->reply_buf), &t->arena, &t->reply) < 0)
        return -ERR_INVALID;
    return -(int)t->reply.status;
}

int txn_wait(struct client *c, struct txn *t, unsigned deadline_ms, struct client_cancel *cancel)
{
    struct client_call *call = TAKE(t->call);
    uint64_t deadline_ns = deadline_in(deadline_ms);
    int r = 0;

    ASSERT(call);
    if (!call->frame.n)
        r = name_call(c, call, true, deadline_ns, cancel);
    if (r == 0)
        r = run_and_release(c, call, deadline_ns, cancel);
    started_remove(call);
    if (r < 0 && call->seq && call->ever_sent) {
        session_abandon(c, call);
        return r;
    }
    if (r < 0 && call->seq)
        session_release_seq(c, call->client, call->seq);
    if (r == 0)
        r = take_reply(c, t, call);
    call_destroy(call);
    return r;
}

int txn_run(struct client *c, struct txn *t, unsigned deadline_ms, struct client_cancel *cancel)
{
    int r = txn_start(c, t);

    return r < 0 ? r : txn_wait(c, t, deadline_ms, cancel);
}

int client_wait_key(struct client *c, struct txn *t, struct bytes key, uint64_t version,
                    unsigned timeout_ms, struct client_cancel *cancel)
{
    /* The node answers by itself at its time-out; the attempt allows for that and a while more. */
    struct client_call *call CLEANUP(call_destroy) = call_create(c, timeout_ms + ATTEMPT_MS);
    struct msg_wait m = {.key = key, .version = version, .timeout_ms = timeout_ms};

    txn_reset(t);
    FRAME(&call->frame, wait, call->request, &m);
    int r = call_run(c, call, deadline_in(timeout_ms + 2 * ATTEMPT_MS), cancel, NULL);
    return r < 0 ? r : take_reply(c, t, call);
}

/* --- other requests --- */

int client_sessions(struct client *c, struct arena *a, struct counter **ret, size_t *ret_n)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, ATTEMPT_MS);
    struct msg_session_list m = {0};
    struct msg_session_reply reply;

    FRAME(&call->frame, session_list, call->request, &m);
    int r = call_run(c, call, 0, NULL, NULL);
    if (r < 0)
        return r;
    if (call_status(call, NULL) != 0)
        return -(int)call_status(call, NULL);
    struct bytes body = arena_copy(a, buf_bytes(call->reply));
    if (call->reply_type != MSG_session_reply || dec_session_reply(body, a, &reply) < 0)
        return -ERR_INVALID;
    *ret = reply.live;
    *ret_n = reply.n_live;
    return 0;
}

int client_ask_node(struct client *c, uint32_t node, unsigned type, struct bytes body,
                    unsigned timeout_ms, unsigned *ret_type, struct buf **ret)
{
    return client_ask_node_msg(c, node, type, body, timeout_ms, ret_type, ret, NULL);
}

int client_ask_node_msg(struct client *c, uint32_t node, unsigned type, struct bytes body,
                        unsigned timeout_ms, unsigned *ret_type, struct buf **ret,
                        struct errmsg *msg)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, timeout_ms);
    uint64_t deadline_ns = deadline_in(timeout_ms);
    int at = pool_find(c, node);
    struct frame f;
    int r;

    if (at < 0)
        return errmsg_set(msg, -ERR_NOT_FOUND, "no node n%u in the configuration", node);
    size_t begin = frame_begin(&call->frame);
    enc_raw(&call->frame, body.p, body.n);
    frame_end(&call->frame, begin, type, call->request);

    call->node = (unsigned)at;
    r = pool_take(c, call->node, deadline_ns, NULL, &call->wire, &call->generation, msg);
    if (r == 0) {
        r = wire_send(call->wire, enc_view(&call->frame), deadline_ns, NULL);
        if (r == 0)
            r = wire_recv(call->wire, &f, deadline_ns, NULL);
        errmsg_set(msg, r, "node n%u at %s: %s", node, c->nodes[at].address, err_text(r));
    }
    if (r < 0) {
        pool_failed(c, call->node, call->generation);
        return r;
    }
    *ret_type = f.type;
    *ret = buf_copy(f.body);
    pool_give(c, call->node, TAKE(call->wire), call->generation);
    return 0;
}

/* Asks each node once who leads; remembers what it hears. */
static bool probe_once(struct client *c, GString *why)
{
    struct msg_locate m = {0};

    for (unsigned i = 0; i < c->n_nodes; i++) {
        struct client_call *call CLEANUP(call_destroy) = call_create(c, CONNECT_MS);
        struct arena a CLEANUP(arena_finish) = {0};
        struct msg_locate_reply reply;
        struct errmsg msg = {0};
        struct frame f;

        FRAME(&call->frame, locate, call->request, &m);
        call->node = i;
        int r = pool_take(c, i, 0, NULL, &call->wire, &call->generation, &msg);
        if (r == 0)
            r = wire_send(call->wire, enc_view(&call->frame), deadline_in(CONNECT_MS), NULL);
        if (r == 0)
            r = wire_recv(call->wire, &f, deadline_in(CONNECT_MS), NULL);
        if (r == 0)
            r = f.type == MSG_locate_reply ? dec_locate_reply(f.body, &a, &reply) : -ERR_INVALID;
        if (r < 0) {
            g_string_append_printf(why, "%s%s", why->len ? "; " : "",
                                   msg.text[0] ? msg.text : err_text(r));
            continue;
        }
        __atomic_store_n(&c->shards, reply.shards, __ATOMIC_RELAXED);
        __atomic_store_n(&c->leader, reply.leader, __ATOMIC_RELAXED);
        pool_give(c, i, TAKE(call->wire), call->generation);
        if (reply.leader)
            return true;
        g_string_append_printf(why, "%snode n%u knows no leader", why->len ? "; " : "",
                               c->nodes[i].id);
    }
    return false;
}

int client_probe(struct client *c, unsigned timeout_ms, struct errmsg *msg)
{
    uint64_t deadline_ns = deadline_in(timeout_ms);
    GString *why = g_string_new(NULL);
    int r = 0;

    while (!probe_once(c, why)) {
        if (cancel_sleep(NULL, BACKOFF_MIN_MS, deadline_ns) < 0) {
            r = errmsg_set(msg, -ERR_UNREACHABLE, "%.500s", why->str);
            break;
        }
        g_string_truncate(why, 0);
    }
    g_string_free(why, TRUE);
    return r;
}

uint16_t client_shards(struct client *c)
{
    return __atomic_load_n(&c->shards, __ATOMIC_RELAXED);
}

uint64_t client_cluster(struct client *c)
{
    return c->cluster;
}

unsigned client_nodes(struct client *c, uint32_t *ret_ids, unsigned max)
{
    for (unsigned i = 0; i < MIN(max, c->n_nodes); i++)
        ret_ids[i] = c->nodes[i].id;
    return MIN(max, c->n_nodes);
}

const char *client_node_address(struct client *c, uint32_t node)
{
    int at = pool_find(c, node);

    return at < 0 ? NULL : c->nodes[at].address;
}

void client_get_stats(struct client *c, struct client_stats *ret)
{
    ret->txns = __atomic_load_n(&c->stats.txns, __ATOMIC_RELAXED);
    ret->retries = __atomic_load_n(&c->stats.retries, __ATOMIC_RELAXED);
    ret->reconnects = __atomic_load_n(&c->stats.reconnects, __ATOMIC_RELAXED);
    ret->bytes_out = __atomic_load_n(&c->stats.bytes_out, __ATOMIC_RELAXED);
    ret->bytes_in = __atomic_load_n(&c->stats.bytes_in, __ATOMIC_RELAXED);
}
