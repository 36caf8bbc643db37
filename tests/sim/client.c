/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/client.h"

#define STEP_MAX MS(20)
/* A session may end only after this much silence: the time-out, less generous slack for clocks that
 * run apart and for pauses. */
#define SILENCE_MIN (MS(SESSION_TIMEOUT_MS) * 2 / 3)

/* --- links ------------------------------------------------------------------------------------ */

void client_dial(struct sim_client *k, unsigned node)
{
    if (!k->links[node].conn)
        k->links[node] = (struct client_link){net_user_dial(k->sim, &k->end, node), false};
}

static unsigned node_of(const struct sim_client *k, const struct net_conn *nc)
{
    for (unsigned i = 1; i <= k->sim->n; i++)
        if (k->links[i].conn == nc)
            return i;
    return 0;
}

/* Mostly one that is still to be had. */
static void other_target(struct sim_client *k)
{
    struct sim *s = k->sim;
    for (unsigned i = 0; i < 8; i++) {
        k->target = 1 + (unsigned)rng_below(&s->client_rng, s->n);
        if (!host_is_gone(sim_node(s, k->target)) && !sim_node(s, k->target)->wiped)
            return;
    }
}

/* Whom to ask for the request's shard from now on; 0: nobody is named. */
static void learn_leader(struct sim_client *k, const struct client_request *r, uint32_t leader)
{
    struct sim *s = k->sim;
    unsigned shard = request_shard(r);
    if (s->profile.groups > 0 && shard < SIM_SHARDS)
        k->leads[shard] =
            leader >= 1 && leader <= s->n ? leader : 1 + (unsigned)rng_below(&s->client_rng, s->n);
    else if (leader >= 1 && leader <= s->n)
        k->target = leader;
    else
        other_target(k);
}

static void give_up(struct sim_client *k, struct client_request *r);

/* Of one that is asked once only, this is the end. */
static void again(struct sim_client *k, struct client_request *r)
{
    if (r->once) {
        give_up(k, r);
        return;
    }
    r->sent = false;
    r->near = 0;
    r->retry_at = k->sim->now + MS(10) + rng_below(&k->sim->client_rng, MS(150));
}

/* The link is no longer used; its close is still to come, and says nothing then. */
static void forget_link(struct sim_client *k, unsigned node)
{
    k->links[node] = (struct client_link){0};
    GPtrArray *lost = g_ptr_array_new();
    for (guint i = 0; i < k->requests->len; i++) {
        struct client_request *r = g_ptr_array_index(k->requests, i);
        if (r->sent ? r->sent_to == node : r->once && r->target == node)
            g_ptr_array_add(lost, r);
    }
    for (guint i = 0; i < lost->len; i++)
        again(k, g_ptr_array_index(lost, i));
    g_ptr_array_free(lost, TRUE);
}

static void hang_up(struct sim_client *k, unsigned node)
{
    struct net_conn *nc = k->links[node].conn;
    if (!nc)
        return;
    forget_link(k, node);
    nc->net->ops->close(nc);
}

static struct sim_client *client_of(struct net_user *u)
{
    return container_of(u, struct sim_client, end);
}

static void on_open(struct net_user *u, struct net_conn *nc)
{
    net_user_hello(nc, client_of(u)->anywhere ? HELLO_READ_ANYWHERE : HELLO_MAIN);
}

static void on_close(struct net_user *u, struct net_conn *nc)
{
    struct sim_client *k = client_of(u);
    unsigned node = node_of(k, nc);
    if (node == 0)
        return;
    forget_link(k, node);
    if (k->target == node)
        other_target(k);
}

/* --- the end of requests ---------------------------------------------------------------------- */

static void take_out(struct sim_client *k, struct client_request *r,
                     const struct model_reply *reply)
{
    g_ptr_array_remove(k->requests, r);
    if (k->on_done && (r->kind == ASK_TXN || r->kind == ASK_WAIT))
        k->on_done(k, r, reply);
    request_free(r);
}

/* Never answered: a write may have happened, anything else has done nothing. */
static void give_up(struct sim_client *k, struct client_request *r)
{
    struct sim *s = k->sim;
    if (r->hist && r->seq == 0)
        history_drop(s->history, r->hist);
    if (r->seq > 0)
        s->counters.unknown_ops++;
    take_out(k, r, NULL);
}

static void lose_session(struct sim_client *k)
{
    struct sim *s = k->sim;
    uint64_t silence = s->now - k->heard_at;
    CHECK(s, silence >= SILENCE_MIN,
          "client %u: session %" G_GUINT64_FORMAT " ended %.3f s after it was heard", k->id,
          k->session, (double)silence / 1e9);
    trace_line(s, "client %u lost session %" G_GUINT64_FORMAT, k->id, k->session);
    s->counters.sessions_lost++;
    for (guint i = k->requests->len; i-- > 0;) {
        struct client_request *r = g_ptr_array_index(k->requests, i);
        if (r->seq > 0 || r->kind == ASK_KEEPALIVE || r->kind == ASK_CLOSE)
            give_up(k, r);
    }
    k->session = 0;
}

static void heard(struct sim_client *k, const struct client_request *r)
{
    /* A read is answered without a session too, so its answer says nothing; nor does another
     * group's than group 0, which alone ends sessions. */
    bool by_group_0 = r->kind == ASK_KEEPALIVE || (r->seq > 0 && k->sim->profile.groups == 0);
    if (r->session == k->session && by_group_0)
        k->heard_at = MAX(k->heard_at, r->called_at);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void say_done(struct sim_client *k, const struct client_request *r)
{
    GString *text = g_string_new("");
    model_print(text, &r->txn, r->hist ? &r->hist->reply : NULL);
    trace_line(k->sim, "client %u #%" G_GUINT64_FORMAT " seq %" G_GUINT64_FORMAT " object %d:%s",
               k->id, r->number, r->seq, (int)r->object, text->str);
    g_string_free(text, TRUE);
}

static void remember(struct sim_client *k, const struct client_request *r,
                     const struct model_reply *reply)
{
    for (unsigned i = 0; i < r->txn.n_reads; i++)
        if (r->txn.reads[i].op == KV_GET)
            k->known[r->object][r->txn.reads[i].cell] = reply->reads[i];
}

static void finish_txn(struct sim_client *k, struct client_request *r, struct bytes body,
                       const struct msg_txn_reply *m)
{
    struct sim *s = k->sim;
    heard(k, r);
    s->counters.ops++;
    if (r->seq > 0)
        k->answers[r->number % ANSWERS_KEPT] =
            (struct client_answer){r->number, hash_bytes(0, body)};
    struct model_reply reply = {.status = m->status, .failed = m->failed, .time = m->time};
    if (r->hist) {
        request_reply(k, r, m, &r->hist->reply);
        reply = r->hist->reply;
        history_return(s->history, r->hist, s->now);
        remember(k, r, &r->hist->reply);
        CHECK(s, r->kind != ASK_WAIT || m->reads[0].version != r->wait_version,
              "client %u: WAIT answers with the version it waits to change", k->id);
    }
    say_done(k, r);
    take_out(k, r, &reply);
}

/* The request is done, so any further answer to it must be the same result, if it is one. */
static void second_answer(struct sim_client *k, uint64_t number, const struct frame *f)
{
    struct sim *s = k->sim;
    struct arena a = {0};
    struct msg_txn_reply m;
    const struct client_answer *known = &k->answers[number % ANSWERS_KEPT];
    if (known->number != number || f->type != MSG_txn_reply)
        return;
    CHECK(s, dec_txn_reply(f->body, &a, &m) == 0, "client %u: a malformed answer", k->id);
    s->counters.answers_twice++;
    if (m.status == 0 || m.status == ERR_FAILED)
        CHECK(s, hash_bytes(0, f->body) == known->hash,
              "client %u: two attempts of request #%" G_GUINT64_FORMAT " got different results",
              k->id, number);
    arena_finish(&a);
}

static void not_done(struct sim_client *k, struct client_request *r, unsigned status,
                     uint32_t leader)
{
    struct sim *s = k->sim;
    switch (status) {
    case ERR_NOT_LEADER:
        learn_leader(k, r, leader);
        again(k, r);
        return;
    case ERR_WRONG_GROUP:
        CHECK(s, s->profile.groups > 0, "client %u: WRONG_GROUP", k->id);
        s->counters.wrong_group++;
        learn_leader(k, r, 0);
        again(k, r);
        return;
    case ERR_BUSY:
    case ERR_NO_SPACE:
    case ERR_STOPPED:
        again(k, r);
        return;
    case ERR_TIMEOUT:
        CHECK(s, r->kind == ASK_WAIT, "client %u: TIMEOUT", k->id);
        heard(k, r);
        give_up(k, r);
        return;
    case ERR_NO_SESSION:
        if (r->kind == ASK_CLOSE) {
            k->session = 0;
            give_up(k, r);
            return;
        }
        CHECK(s, r->kind == ASK_KEEPALIVE || r->seq > 0, "client %u: NO_SESSION for a read", k->id);
        lose_session(k);
        return;
    }
    sim_fail(s, "client %u: request #%" G_GUINT64_FORMAT " is answered %s", k->id, r->number,
             err_name((int)status));
}

static void on_session_reply(struct sim_client *k, struct client_request *r,
                             const struct msg_session_reply *m)
{
    struct sim *s = k->sim;
    if (m->status != 0) {
        not_done(k, r, m->status, 0);
        return;
    }
    if (r->kind == ASK_CLOSE) {
        k->session = 0;
    } else {
        CHECK(s, r->kind == ASK_OPEN && m->client > 0, "client %u: a strange session", k->id);
        k->session = m->client;
        k->heard_at = r->called_at;
        k->last_seq = 0;
        k->next_keepalive_at = s->now + MS(SESSION_KEEPALIVE_MS);
    }
    trace_line(s, "client %u has session %" G_GUINT64_FORMAT, k->id, k->session);
    take_out(k, r, NULL);
}

static void on_answer(struct sim_client *k, struct client_request *r, unsigned node,
                      const struct frame *f, struct arena *a)
{
    struct sim *s = k->sim;
    struct msg_txn_reply reply;
    struct msg_session_reply session;
    struct msg_status status;
    if (f->type == MSG_txn_reply && dec_txn_reply(f->body, a, &reply) == 0) {
        if (reply.status == 0 || (reply.status == ERR_FAILED && r->kind == ASK_TXN)) {
            check_conf_served(s, node, r->called_at);
            finish_txn(k, r, f->body, &reply);
        } else {
            not_done(k, r, reply.status, 0);
        }
    } else if (f->type == MSG_session_reply && dec_session_reply(f->body, a, &session) == 0) {
        on_session_reply(k, r, &session);
    } else if (f->type == MSG_status && dec_status(f->body, a, &status) == 0) {
        if (status.status != 0) {
            not_done(k, r, status.status, status.leader);
            return;
        }
        CHECK(s, r->kind == ASK_KEEPALIVE, "client %u: status 0 for a request", k->id);
        heard(k, r);
        take_out(k, r, NULL);
    } else {
        sim_fail(s, "client %u: a malformed answer of type %u", k->id, f->type);
    }
}

static void on_frame(struct net_user *u, struct net_conn *nc, const struct frame *f)
{
    struct sim_client *k = client_of(u);
    unsigned node = node_of(k, nc);
    if (node == 0)
        return;
    if (f->type == MSG_hello) {
        k->links[node].greeted = true;
        return;
    }
    uint64_t number = f->id >> 8;
    for (guint i = 0; i < k->requests->len; i++) {
        struct client_request *r = g_ptr_array_index(k->requests, i);
        if (r->number != number)
            continue;
        struct arena a = {0};
        on_answer(k, r, node, f, &a);
        arena_finish(&a);
        return;
    }
    second_answer(k, number, f);
}

/* --- what it does by itself ------------------------------------------------------------------- */

static void begin(struct sim_client *k, struct client_request *r)
{
    struct sim *s = k->sim;
    bool writes = r->txn.n_writes > 0 || r->ballast > 0 || r->command > 0;
    if (writes)
        r->seq = ++k->last_seq;
    r->anywhere = k->anywhere && r->kind == ASK_TXN && !writes;
    if (r->object != NO_OBJECT) {
        r->hist = history_call(s->history, r->object, &r->txn, s->now);
        r->hist->client = k->id;
        r->hist->seq = r->seq;
    }
    g_ptr_array_add(k->requests, r);
}

static unsigned count(const struct sim_client *k, enum request_kind kind)
{
    unsigned n = 0;
    for (guint i = 0; i < k->requests->len; i++)
        n += ((const struct client_request *)g_ptr_array_index(k->requests, i))->kind == kind;
    return n;
}

/* A session first; then now and then a keepalive, operations, and rarely a new session. */
static void think(struct sim_client *k)
{
    struct sim *s = k->sim;
    if (count(k, ASK_OPEN) + count(k, ASK_CLOSE) > 0)
        return;
    if (k->session == 0) {
        struct client_request *r = request_new(k, ASK_OPEN);
        r->nonce = ++s->last_nonce;
        begin(k, r);
        return;
    }
    if (s->now >= k->next_keepalive_at && count(k, ASK_KEEPALIVE) == 0) {
        begin(k, request_new(k, ASK_KEEPALIVE));
        k->next_keepalive_at = s->now + MS(SESSION_KEEPALIVE_MS);
    }
    if (k->requests->len == 0 && k->ops_left > 0 && rng_below(&s->client_rng, 1000) == 0) {
        begin(k, request_new(k, ASK_CLOSE));
        return;
    }
    while (k->ops_left > 0 && s->now >= k->next_op_at && k->requests->len < s->profile.window) {
        k->ops_left--;
        k->next_op_at = MAX(k->next_op_at, s->now - MIN(s->now, s->profile.think)) +
                        sim_spread(&s->client_rng, s->profile.think);
        begin(k, workload_next(k));
    }
}

/* A read that any node may serve begins anywhere; each further attempt, too, or at the leader. */
static unsigned target_of(struct sim_client *k, struct client_request *r)
{
    struct sim *s = k->sim;
    if (r->target)
        return r->target;
    unsigned shard = request_shard(r);
    if (!r->anywhere)
        return shard < SIM_SHARDS && k->leads[shard] ? k->leads[shard] : k->target;
    if (r->near == 0)
        r->near =
            rng_below(&s->reads_rng, 3) ? 1 + (unsigned)rng_below(&s->reads_rng, s->n) : k->target;
    return r->near;
}

static void push(struct sim_client *k, struct client_request *r)
{
    struct sim *s = k->sim;
    if (r->sent && r->once)
        return;
    if (r->sent && s->now - r->sent_at > r->patience) {
        /* No answer: ask somebody else, sometimes with the first attempt still under way. */
        if (rng_below(&s->client_rng, 3) == 0)
            hang_up(k, r->sent_to);
        if (!k->stubborn)
            learn_leader(k, r, 0);
        again(k, r);
    }
    if (r->sent || s->now < r->retry_at)
        return;
    unsigned target = target_of(k, r);
    if (!k->links[target].conn)
        client_dial(k, target);
    if (k->links[target].greeted)
        request_send(k, r, target);
    else if (s->now - MAX(r->called_at, r->retry_at) > SEC(1) &&
             rng_below(&s->client_rng, 20) == 0) {
        learn_leader(k, r, 0);
        r->near = 0;
    }
}

static void client_run(struct sim *s, struct event *e);

static void client_later(struct sim_client *k, uint64_t delay)
{
    struct event *e = EVENT_NEW(struct event, client_run);
    e->life = k->id; /* of nobody's node */
    sim_post(k->sim, e, delay);
}

static void client_run(struct sim *s, struct event *e)
{
    struct sim_client *k = g_ptr_array_index(s->clients, (guint)e->life);
    if (!k->dead && s->now >= k->asleep_until) {
        think(k);
        for (guint i = 0; i < k->requests->len; i++)
            push(k, g_ptr_array_index(k->requests, i));
    }
    client_later(k, MS(1) + rng_below(&s->client_rng, STEP_MAX));
}

void client_ask(struct sim_client *k, struct client_request *r)
{
    ASSERT(k->session > 0);
    begin(k, r);
    push(k, r);
}

/* --- life ------------------------------------------------------------------------------------- */

static void revive_run(struct sim *s, struct event *e)
{
    struct sim_client *k = g_ptr_array_index(s->clients, (guint)e->life);
    k->dead = false;
}

void client_die(struct sim_client *k, uint64_t for_how_long)
{
    struct sim *s = k->sim;
    if (k->dead)
        return;
    trace_line(s, "client %u dies", k->id);
    s->counters.client_deaths++;
    k->dead = true;
    for (unsigned i = 1; i <= s->n; i++)
        hang_up(k, i);
    while (k->requests->len > 0)
        give_up(k, g_ptr_array_index(k->requests, 0));
    /* Who comes back is another client: it knows nothing of the session. */
    k->session = 0;
    struct event *e = EVENT_NEW(struct event, revive_run);
    e->life = k->id;
    sim_post(s, e, for_how_long);
}

void client_sleep(struct sim_client *k, uint64_t for_how_long)
{
    trace_line(k->sim, "client %u sleeps for %.3f s", k->id, (double)for_how_long / 1e9);
    k->asleep_until = k->sim->now + for_how_long;
}

void clients_init(struct sim *s)
{
    s->clients = g_ptr_array_new();
    unsigned objects = s->profile.histories ? s->profile.histories : workload_objects();
    s->history = history_create(objects);
    s->history->many = s->profile.groups > 0;
    for (unsigned i = 0; i < s->profile.clients; i++) {
        struct sim_client *k = g_new0(struct sim_client, 1);
        k->end = (struct net_user){ROLE_CLIENT, on_open, on_frame, on_close};
        k->sim = s;
        k->id = i;
        k->requests = g_ptr_array_new();
        k->ops_left = s->profile.ops_per_client;
        k->stubborn = !s->options.profile && rng_below(&s->client_rng, 3) == 0;
        k->next_op_at = rng_below(&s->client_rng, SEC(3));
        k->anywhere = rng_below(&s->reads_rng, 1000) < s->profile.anywhere;
        g_ptr_array_add(s->clients, k);
        other_target(k);
        client_later(k, rng_below(&s->client_rng, SEC(1)));
    }
}

void clients_finish(struct sim *s)
{
    for (guint i = 0; i < s->clients->len; i++) {
        struct sim_client *k = g_ptr_array_index(s->clients, i);
        for (guint j = 0; j < k->requests->len; j++)
            request_free(g_ptr_array_index(k->requests, j));
        g_ptr_array_free(k->requests, TRUE);
        g_free(k);
    }
    g_ptr_array_free(s->clients, TRUE);
    history_destroy(s->history);
}

bool clients_idle(struct sim *s)
{
    for (guint i = 0; i < s->clients->len; i++) {
        const struct sim_client *k = g_ptr_array_index(s->clients, i);
        if (k->dead || k->ops_left > 0 || k->session == 0 ||
            k->requests->len > count(k, ASK_KEEPALIVE))
            return false;
    }
    return true;
}

void clients_say_busy(struct sim *s)
{
    for (guint i = 0; i < s->clients->len; i++) {
        const struct sim_client *k = g_ptr_array_index(s->clients, i);
        trace_line(s, "client %u: session %" G_GUINT64_FORMAT ", %u operations left, target n%u",
                   k->id, k->session, k->ops_left, k->target);
        for (guint j = 0; j < k->requests->len; j++) {
            const struct client_request *r = g_ptr_array_index(k->requests, j);
            trace_line(s,
                       "  #%" G_GUINT64_FORMAT " kind %d seq %" G_GUINT64_FORMAT
                       " since %.3f, %u attempts",
                       r->number, (int)r->kind, r->seq, (double)r->called_at / 1e9, r->attempts);
        }
    }
}

void clients_last_ops(struct sim *s)
{
    for (guint i = 0; i < s->clients->len; i++) {
        struct sim_client *k = g_ptr_array_index(s->clients, i);
        k->ops_left = MIN(k->ops_left, 5);
        k->ops_left = MAX(k->ops_left, 2);
    }
}

void clients_audit(struct sim *s)
{
    struct sim_client *k = g_ptr_array_index(s->clients, 0);
    for (unsigned o = 0; o < workload_objects(); o++)
        for (unsigned shard = 0; shard < MODEL_SHARDS; shard++)
            begin(k, workload_read(k, o, shard));
}
