/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - the contract of client.h: transactions, waits, other requests. */
#include "cluster/client/impl.h"

int client_create(const struct client_options *o, struct client **ret, struct errmsg *msg)
{
    struct client *c = g_new0(struct client, 1);
    pthread_condattr_t attr;
    int r;

    c->options = *o;
    c->name = g_strdup(o->name ? o->name : "client");
    c->keeper_cancel.fd = -1;
    c->n_groups = 1; /* group 0 has every shard, until a node says otherwise */
    g_queue_init(&c->abandoned);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_cond_init(&c->keeper_work, &attr);
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
    pthread_cond_destroy(&c->keeper_work);
    pthread_mutex_destroy(&c->lock);
    g_free(c->name);
    g_free(c);
}

/* --- transactions --- */

/* Calls that this thread has started and not yet waited for. A thread that must wait for a place in
 * the window first receives the answers of these, so that it never waits for itself. */
static _Thread_local GQueue started = G_QUEUE_INIT;

static void started_add(struct client_call *call)
{
    call->started_by = &started;
    call->started_link.data = call;
    g_queue_push_tail_link(&started, &call->started_link);
}

static void started_remove(struct client_call *call)
{
    ASSERT(call->started_by == &started); /* this thread has started it */
    call->started_by = NULL;
    g_queue_unlink(&started, &call->started_link);
}

static int run_and_release(struct client *c, struct client_call *call, uint64_t deadline_ns,
                           struct client_cancel *cancel)
{
    bool had = call->reply != NULL;
    int r = call_run(c, call, deadline_ns, cancel);

    if (r == 0 && !had && call->seq)
        session_release_seq(c, call->client, call->seq);
    return r;
}

static int drain_started(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel)
{
    for (GList *l = started.head; l; l = l->next) {
        struct client_call *call = l->data;
        if (call->owner == c && call->seq) {
            int r = run_and_release(c, call, deadline_ns, cancel);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* What the transaction does to a connection that it shares: the most its answer can be, and whether
 * that or the request is known to be large. */
static void measure(struct client_call *call, const struct msg_txn *m)
{
    uint64_t most = KIB(64), known = 0;

    for (uint32_t i = 0; !m->n_writes && i < m->n_reads; i++) {
        const struct kv_read *r = &m->reads[i];
        uint64_t size = r->op == KV_SCAN ? SCAN_BYTES_MAX + VALUE_MAX : MIN(r->len, VALUE_MAX);
        known += size;
        most += size ? size : VALUE_MAX;
    }
    if (m->n_writes)
        most += RESULT_BYTES_MAX;
    call->answer_max = MIN(most, FRAME_BODY_MAX);
    call->kind = MAX(known, call->frame.n) >= LARGE_FRAME ? CALL_LARGE : CALL_SMALL;
}

/* Encodes the transaction; a write has its name. What belongs to an ended session is not sent under
 * its successor. */
static int encode(struct client *c, struct client_call *call)
{
    const struct msg_txn *m = &call->txn->m;

    if (m->n_writes && call->txn->session && call->txn->session != m->client) {
        session_release_seq(c, m->client, m->seq);
        return -ERR_NO_SESSION;
    }
    call->client = call->txn->m.client;
    call->seq = call->txn->m.seq;
    FRAME(&call->frame, txn, call->ticket.id, m);
    measure(call, m);
    return 0;
}

/* Without waiting: -ERR_BUSY if there is no session yet or no place in the window. */
static int name_now(struct client *c, struct client_call *call)
{
    struct msg_txn *m = &call->txn->m;
    int r = 0;

    if (m->n_writes)
        r = session_take_seq(c, &m->client, &m->seq, &m->acked_below);
    return r < 0 ? r : encode(c, call);
}

static int name_in_time(struct client *c, struct client_call *call, uint64_t deadline_ns,
                        struct client_cancel *cancel)
{
    struct msg_txn *m = &call->txn->m;
    int r = session_need(c, deadline_ns, cancel);

    if (r == 0)
        r = name_now(c, call);
    if (r != -ERR_BUSY)
        return r;
    r = drain_started(c, deadline_ns, cancel);
    if (r == 0)
        r = session_wait_seq(c, deadline_ns, cancel, &m->client, &m->seq, &m->acked_below);
    return r < 0 ? r : encode(c, call);
}

/* The lowest that is written has the result and so decides, as at the nodes (DESIGN 3.2). */
static uint16_t shard_of_txn(const struct msg_txn *m)
{
    struct bytes key = m->n_writes  ? m->writes[0].key
                       : m->n_reads ? m->reads[0].key
                                    : m->compares[0].key;
    uint16_t shard = key.n >= 2 ? get_be16(key.p) : 0;

    for (uint32_t i = 1; i < m->n_writes; i++)
        if (m->writes[i].key.n >= 2)
            shard = MIN(shard, get_be16(m->writes[i].key.p));
    return shard;
}

static int start(struct client *c, struct txn *t, uint64_t deadline_ns,
                 struct client_cancel *cancel)
{
    ASSERT(!t->call);
    ASSERT(t->m.n_compares + t->m.n_reads + t->m.n_writes > 0);
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_txn_reply);
    int r;

    call->txn = t;
    call->anywhere = c->read_any && t->m.n_writes == 0;
    call->shard = shard_of_txn(&t->m);
    call_aim(c, call);
    buf_unref(TAKE(t->reply_buf));
    r = name_now(c, call);
    if (r < 0 && r != -ERR_BUSY)
        return r;
    if (r == 0)
        call_send(c, call, deadline_ns, cancel);
    started_add(call);
    t->call = TAKE(call);
    __atomic_fetch_add(&c->stats.txns, 1, __ATOMIC_RELAXED);
    return 0;
}

/* Decodes the answer into t; it must have n_reads reads. */
static int take_reply(struct client *c, struct txn *t, struct client_call *call, uint32_t n_reads)
{
    unsigned status = call_status(call);

    if (status == ERR_NO_SESSION)
        session_lose(c, call->client);
    if (call->reply_type != MSG_txn_reply) /* a result always comes in one */
        return status && status != ERR_FAILED ? -(int)status : -ERR_INVALID;
    t->reply_buf = buf_ref(call->reply);
    if (dec_txn_reply(buf_bytes(t->reply_buf), &t->arena, &t->reply) < 0 ||
        (status == 0 && t->reply.n_reads != n_reads))
        return -ERR_INVALID;
    return -(int)status;
}

static int finish(struct client *c, struct txn *t, uint64_t deadline_ns,
                  struct client_cancel *cancel)
{
    struct client_call *call = TAKE(t->call);
    int r = 0;

    ASSERT(call && call->owner == c);
    if (!call->frame.n)
        r = name_in_time(c, call, deadline_ns, cancel);
    if (!call->ever_sent)
        call_aim(c, call); /* time may have passed since it was made */
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
        r = take_reply(c, t, call, t->m.n_reads);
    call_destroy(call);
    return r;
}

int txn_start(struct client *c, struct txn *t)
{
    return start(c, t, 0, NULL);
}

int txn_wait(struct client *c, struct txn *t, unsigned deadline_ms, struct client_cancel *cancel)
{
    return finish(c, t, deadline_in(deadline_ms), cancel);
}

int txn_run(struct client *c, struct txn *t, unsigned deadline_ms, struct client_cancel *cancel)
{
    uint64_t deadline_ns = deadline_in(deadline_ms);
    int r = start(c, t, deadline_ns, cancel);

    return r < 0 ? r : finish(c, t, deadline_ns, cancel);
}

int client_wait_key(struct client *c, struct txn *t, struct bytes key, uint64_t version,
                    unsigned timeout_ms, struct client_cancel *cancel)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_txn_reply);
    struct msg_wait m = {.key = key, .version = version, .timeout_ms = timeout_ms};

    /* The node answers by itself at the end of the time; allow for the way. A request that is sent
     * again in between has the whole time in it, the deadline ends it. */
    call->attempt_ms = MIN(timeout_ms, 24u * 3600 * 1000) + WAIT_GRACE_MS;
    call->patience_ms = WAIT_PATIENCE_MS;
    call->timeout_is_answer = true;
    call->kind = CALL_WAIT;
    call->answer_max = VALUE_MAX + KIB(64);
    call->shard = key.n >= 2 ? get_be16(key.p) : 0;
    call_aim(c, call);
    txn_reset(t);
    FRAME(&call->frame, wait, call->ticket.id, &m);
    int r = call_run(c, call, deadline_in(call->attempt_ms), cancel);
    return r < 0 ? r : take_reply(c, t, call, 1);
}

/* --- other requests --- */

int client_sessions(struct client *c, struct arena *a, struct counter **ret, size_t *ret_n)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_session_reply);
    struct msg_session_list m = {0};
    struct msg_session_reply reply;

    FRAME(&call->frame, session_list, call->ticket.id, &m);
    int r = call_run(c, call, deadline_in(UNASKED_MS), NULL);
    if (r < 0)
        return r;
    if (call_status(call) != 0)
        return -(int)call_status(call);
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
    struct client_call *call CLEANUP(call_destroy) = call_create(c, 0);
    int at = pool_find(c, node);

    if (at < 0)
        return errmsg_set(msg, -ERR_NOT_FOUND, "no node n%u in the configuration", node);
    size_t begin = frame_begin(&call->frame);
    enc_raw(&call->frame, body.p, body.n);
    frame_end(&call->frame, begin, type, call->ticket.id);
    int r = call_ask(c, call, (unsigned)at, deadline_in(timeout_ms), NULL, msg);
    if (r < 0)
        return r;
    *ret_type = call->reply_type;
    *ret = TAKE(call->reply);
    return 0;
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
    unsigned n = MIN(max, client_known(c));

    for (unsigned i = 0; i < n; i++)
        ret_ids[i] = c->nodes[i].id;
    return n;
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
