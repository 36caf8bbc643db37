/* SPDX-License-Identifier: Apache-2.0 */
/* coordinate.c - attempts at transactions over several groups: from the request to the decision. */
#include "cluster/node/coordinate_impl.h"
#include "cluster/node/queue.h"
#include "cluster/node/route.h"

/* A request that meets locks is tried again for so long; then its client hears BUSY. */
#define PATIENCE_MS 2000
/* How long one PREPARE may take, elections included. */
#define PREPARE_MS 3000
/* Pauses between attempts, in ticks: from 1 to 2, then 4, then 8 at most. */
#define PAUSE_TICKS_MAX 8

enum attempt_state {
    ATTEMPT_PAUSED,    /* until retry_at */
    ATTEMPT_PREPARING, /* votes are missing */
    ATTEMPT_DECIDING,  /* DECIDE is proposed */
    ATTEMPT_UNKNOWN,   /* DECIDE is logged and will not be answered in this leadership */
};

struct attempt;
struct part {
    struct attempt *attempt;
    uint32_t gid;
    uint64_t ask; /* 0: none is under way */
    bool sent;    /* it may be prepared there */
    struct buf *vote;
};

struct attempt {
    struct coordinator *coordinator;
    struct request *request; /* body: the txn */
    uint64_t client, seq;
    uint64_t age; /* when it was tried first */
    enum attempt_state state;
    struct txid id;
    unsigned tries;
    uint64_t retry_at, until; /* ticks */
    uint64_t decide;          /* the ask of the DECIDE */
    struct held *held;        /* it waits for locks on our own part */
    bool has_first;           /* the last try met a lock at `first` ... */
    uint32_t first;           /* ... which this one asks before the others */
    part_map map;             /* 0: ours, i + 1: parts[i] */
    unsigned n_parts;
    struct part parts[GROUPS_MAX];
};

struct coordinator *coordinator_create(struct group *g)
{
    struct coordinator *c = g_new0(struct coordinator, 1);
    c->group = g;
    c->attempts = g_ptr_array_new();
    c->tellings = g_ptr_array_new();
    c->ended = g_array_new(FALSE, FALSE, sizeof(struct txid));
    c->asks = g_array_new(FALSE, FALSE, sizeof(void *));
    return c;
}

static void parts_drop(struct attempt *a)
{
    struct node *n = a->coordinator->group->node;
    for (unsigned i = 0; i < a->n_parts; i++) {
        if (n->asks)
            ask_drop(n, a->parts[i].ask);
        buf_unref(a->parts[i].vote);
    }
    a->n_parts = 0;
}

static void attempt_free(struct attempt *a)
{
    struct node *n = a->coordinator->group->node;
    parts_drop(a);
    queue_leave(a->held);
    if (n->asks)
        ask_drop(n, a->decide);
    request_destroy(a->request);
    g_free(a);
}

void coordinator_destroy(struct coordinator *c)
{
    if (!c)
        return;
    for (guint i = 0; i < c->attempts->len; i++)
        attempt_free(g_ptr_array_index(c->attempts, i));
    tellings_drop(c);
    questions_drop(c);
    g_ptr_array_free(c->attempts, TRUE);
    g_ptr_array_free(c->tellings, TRUE);
    g_array_free(c->ended, TRUE);
    g_array_free(c->asks, TRUE);
    g_free(c);
}

/* --- leadership ------------------------------------------------------------------------------- */

bool coordinator_leads(struct coordinator *c)
{
    struct group *g = c->group;
    if (!g->leading || g->paused || g->role != RAFT_LEADER)
        return false;
    if (c->term == g->term)
        return true;
    bool again = g->term == c->ended_term;
    if (again && g->applied < c->ended_index)
        return false;
    ASSERT(c->term == 0); /* coordinator_yield came between */
    unsigned n;
    c->term = g->term;
    c->last_n = again ? c->ended_n : 0;
    c->seen = 0;
    const struct kv_decision *const *all = kv_decisions(g->kv, &n);
    for (unsigned i = 0; i < n; i++)
        tell_commit(c, all[i]);
    return true;
}

void coordinator_yield(struct coordinator *c)
{
    for (guint i = 0; i < c->attempts->len; i++) {
        struct attempt *a = g_ptr_array_index(c->attempts, i);
        if (a->request)
            request_fail(TAKE(a->request), -ERR_NOT_LEADER, group_hint(c->group), NULL);
        attempt_free(a);
    }
    g_ptr_array_set_size(c->attempts, 0);
    tellings_drop(c);
    questions_drop(c);
    if (c->term > 0) {
        struct raft_status s;
        raft_get_status(c->group->raft, &s);
        c->ended_term = c->term;
        c->ended_index = s.last;
        c->ended_n = c->last_n;
    }
    c->term = 0;
}

/* A paused attempt's txid is over: it was aborted. */
static bool may_be_prepared(const struct attempt *a)
{
    return a->state != ATTEMPT_PAUSED;
}

struct txid coordinator_below(const struct coordinator *c)
{
    struct txid oldest = {c->group->gid, c->term, c->last_n + 1};
    for (guint i = 0; i < c->attempts->len; i++) {
        const struct attempt *a = g_ptr_array_index(c->attempts, i);
        if (may_be_prepared(a) && a->id.n < oldest.n)
            oldest.n = a->id.n;
    }
    return kv_below(c->group->kv, &oldest);
}

bool coordinator_has(const struct coordinator *c, const struct txid *id)
{
    for (guint i = 0; i < c->attempts->len; i++) {
        const struct attempt *a = g_ptr_array_index(c->attempts, i);
        if (may_be_prepared(a) && txid_order(&a->id, id) == 0)
            return true;
    }
    return false;
}

unsigned coordinator_attempts(const struct coordinator *c)
{
    return c->attempts->len;
}

/* --- the end of an attempt -------------------------------------------------------------------- */

static void attempt_end(struct attempt *a)
{
    g_ptr_array_remove(a->coordinator->attempts, a);
    attempt_free(a);
}

static void abort_parts(struct attempt *a)
{
    uint32_t gids[GROUPS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < a->n_parts; i++)
        if (a->parts[i].sent)
            gids[n++] = a->parts[i].gid;
    a->state = ATTEMPT_PAUSED; /* from here on its txid is over */
    tell_abort(a->coordinator, &a->id, gids, n);
    parts_drop(a);
}

static void fail(struct attempt *a, int err)
{
    request_fail(TAKE(a->request), err, 0, NULL);
    attempt_end(a);
}

/* Aborted; again after a pause, if that may help. */
static void try_again(struct attempt *a, int err)
{
    struct node *n = a->coordinator->group->node;
    abort_parts(a);
    if (err != -ERR_BUSY && err != -ERR_WRONG_GROUP && err != -ERR_STALE && err != -ERR_TIMEOUT) {
        fail(a, err);
        return;
    }
    if (n->now >= a->until) {
        fail(a, -ERR_BUSY);
        return;
    }
    uint64_t most = MIN(UINT64_C(1) << MIN(a->tries, 10u), PAUSE_TICKS_MAX);
    a->retry_at = n->now + 1 + rng_below(n->env.rng, most);
}

/* --- DECIDE ----------------------------------------------------------------------------------- */

static void on_decided(void *ctx, int err, unsigned type, struct bytes body)
{
    struct attempt *a = ctx;
    struct coordinator *c = a->coordinator;
    struct msg_decided m;
    struct msg_txn_reply reply;
    struct arena *scratch = &c->group->node->scratch;
    a->decide = 0;
    if (err < 0 || type != MSG_decided || dec_decided(body, scratch, &m) < 0 ||
        dec_txn_reply(m.reply, scratch, &reply) < 0) {
        /* Logged, and not answered: -ERR_NOT_LEADER has ended all of this already. */
        request_fail(TAKE(a->request), -ERR_NOT_LEADER, 0, NULL);
        a->state = ATTEMPT_UNKNOWN;
        return;
    }
    const struct kv_decision *d = kv_decision(c->group->kv, &a->id);
    if (m.commit && d) {
        tell_commit(c, d);
    } else {
        ASSERT(!m.commit);
        if (reply.status == ERR_BUSY || reply.status == ERR_WRONG_GROUP) {
            try_again(a, -(int)reply.status);
            return;
        }
        abort_parts(a);
    }
    request_answer(a->request, MSG_txn_reply, m.reply);
    attempt_end(a);
}

static void on_own_free(void *ctx, int err);

/* For the locks of others on our own part; others' parts may be prepared (`holds`). 0: there are
 * none; 1: on_own_free will be called; -ERR_BUSY. */
static int await_own(struct attempt *a, const struct msg_txn *t, bool holds)
{
    struct coordinator *c = a->coordinator;
    struct arena arena CLEANUP(arena_finish) = {0};
    struct msg_txn own;
    const struct lock_claim claim = {a->id, a->age, a->until, holds, on_own_free, a};
    part_of(t, a->map, 0, &arena, &own);
    return queue_await(c->group->queue, &own, &claim, &a->held);
}

static void fill_votes(const struct attempt *a, struct arena *arena, struct msg_decide *m)
{
    unsigned shards = a->coordinator->group->node->config.shards;
    m->n_votes = a->n_parts;
    m->votes = arena_array(arena, a->n_parts, sizeof(*m->votes));
    for (unsigned i = 0; i < a->n_parts; i++) {
        struct decide_vote *v = &m->votes[i];
        *v = (struct decide_vote){.gid = a->parts[i].gid, .reply = buf_bytes(a->parts[i].vote)};
        v->shards = arena_array(arena, shards, sizeof(*v->shards));
        for (unsigned s = 0; s < shards; s++)
            if (a->map[s] == i + 1)
                v->shards[v->n_shards++].shard = (uint16_t)s;
    }
}

/* Once per txid; when our own part is free. */
static void decide(struct attempt *a)
{
    struct group *g = a->coordinator->group;
    struct node *n = g->node;
    struct arena arena CLEANUP(arena_finish) = {0};
    CLEANUP(enc_finish) struct enc whole = {0}, e = {0};
    struct msg_txn t, stripped;
    struct msg_decide m = {.term = a->id.term, .n = a->id.n};
    int err = dec_txn(buf_bytes(a->request->body), &arena, &t);
    ASSERT(err == 0); /* it was decoded when it came */
    err = await_own(a, &t, true);
    if (err < 0)
        try_again(a, err);
    if (err != 0)
        return;
    part_strip_others(&t, a->map, 0, &arena, &stripped);
    enc_txn(&whole, &stripped);
    m.txn = enc_view(&whole);
    fill_votes(a, &arena, &m);
    enc_decide(&e, &m);
    struct request *r = ask_self(n, on_decided, a);
    if (!r) {
        try_again(a, -ERR_BUSY);
        return;
    }
    a->decide = r->id;
    a->state = ATTEMPT_DECIDING;
    err = group_propose(g, KV_CMD_DECIDE, enc_view(&e), r);
    if (err == 0)
        return;
    ask_drop(n, a->decide); /* not logged: nobody will hear of it */
    a->decide = 0;
    try_again(a, -ERR_BUSY);
}

/* --- PREPARE ---------------------------------------------------------------------------------- */

static bool all_sent(const struct attempt *a)
{
    for (unsigned i = 0; i < a->n_parts; i++)
        if (!a->parts[i].sent)
            return false;
    return true;
}

static bool all_answered(const struct attempt *a)
{
    for (unsigned i = 0; i < a->n_parts; i++)
        if (a->parts[i].ask != 0)
            return false;
    return true;
}

static void send_rest(struct attempt *a);

static void on_vote(void *ctx, int err, unsigned type, struct bytes body)
{
    struct part *p = ctx;
    struct attempt *a = p->attempt;
    struct msg_txn_reply reply;
    p->ask = 0;
    if (err == 0 && (type != MSG_txn_reply ||
                     dec_txn_reply(body, &a->coordinator->group->node->scratch, &reply) < 0))
        err = -ERR_INVALID;
    if (err == 0 && reply.status != 0 && reply.status != ERR_FAILED && reply.status != ERR_TOO_BIG)
        err = -(int)reply.status;
    if (err == 0)
        p->vote = buf_copy(body);
    p->sent = err == 0 || err == -ERR_TIMEOUT; /* else it said that it is not prepared */
    if (err < 0) {
        a->has_first = err == -ERR_BUSY;
        a->first = p->gid;
        try_again(a, err); /* those that have not answered hear ABORT, too */
        return;
    }
    send_rest(a);
    if (all_answered(a))
        decide(a);
}

static void send_prepare(struct attempt *a, unsigned i, const struct msg_txn *t,
                         enum prepare_wait wait)
{
    struct coordinator *c = a->coordinator;
    struct arena arena CLEANUP(arena_finish) = {0};
    CLEANUP(enc_finish) struct enc part_enc = {0}, e = {0};
    struct txid below = coordinator_below(c);
    struct msg_txn part;
    part_of(t, a->map, (uint8_t)(i + 1), &arena, &part);
    enc_txn(&part_enc, &part);
    const struct msg_prepare m = {
        .gid = a->id.gid,
        .term = a->id.term,
        .n = a->id.n,
        .below_term = below.term,
        .below_n = below.n,
        .part = enc_view(&part_enc),
    };
    enc_prepare(&e, &m);
    a->parts[i].sent = true;
    a->parts[i].ask = ask_prepare(c->group->node, a->parts[i].gid, wait, a->age, enc_view(&e),
                                  PREPARE_MS, on_vote, &a->parts[i]);
}

/* To all at once; but if the last try met a lock somewhere, then there first, where it may wait as
 * long as nothing else is held. */
static void send_prepares(struct attempt *a, const struct msg_txn *t)
{
    for (unsigned i = 0; a->n_parts > 1 && a->has_first && i < a->n_parts; i++)
        if (a->parts[i].gid == a->first) {
            send_prepare(a, i, t, PREPARE_WAITS);
            return;
        }
    for (unsigned i = 0; i < a->n_parts; i++)
        send_prepare(a, i, t, a->n_parts > 1 ? PREPARE_WAITS_FOR_YOUNGER : PREPARE_WAITS);
}

/* Those that send_prepares left out. */
static void send_rest(struct attempt *a)
{
    struct arena arena CLEANUP(arena_finish) = {0};
    struct msg_txn t;
    if (all_sent(a))
        return;
    int err = dec_txn(buf_bytes(a->request->body), &arena, &t);
    ASSERT(err == 0); /* it was decoded when it came */
    for (unsigned i = 0; i < a->n_parts; i++)
        if (!a->parts[i].sent)
            send_prepare(a, i, &t, PREPARE_WAITS_FOR_YOUNGER);
}

/* Puts the shard among the parts. A shard that moves is looked for at both groups in turn. */
static int map_shard(struct attempt *a, struct bytes key)
{
    struct group *g = a->coordinator->group;
    unsigned shard = get_be16(key.p), i;
    uint32_t gid, next;
    if (shard_served(kv_shard(g->kv, shard)))
        return 0;
    if (!route_shard(g->node, shard, &gid, &next))
        return -ERR_INVALID;
    if (a->tries % 2 == 0 || gid == g->gid)
        gid = next;
    if (gid == g->gid)
        return -ERR_WRONG_GROUP;
    for (i = 0; i < a->n_parts && a->parts[i].gid != gid; i++)
        ;
    if (i == GROUPS_MAX)
        return -ERR_TOO_BIG;
    if (i == a->n_parts)
        a->parts[a->n_parts++] = (struct part){.attempt = a, .gid = gid};
    a->map[shard] = (uint8_t)(i + 1);
    return 0;
}

static int map_all(struct attempt *a, const struct msg_txn *t)
{
    int err = 0;
    memset(a->map, 0, sizeof(a->map));
    for (uint32_t i = 0; err == 0 && i < t->n_compares; i++)
        err = map_shard(a, t->compares[i].key);
    for (uint32_t i = 0; err == 0 && i < t->n_reads; i++)
        err = map_shard(a, t->reads[i].key);
    for (uint32_t i = 0; err == 0 && i < t->n_writes; i++)
        err = map_shard(a, t->writes[i].key);
    return err;
}

/* The result is kept with the lowest shard written, and looked for there: only its owner may
 * coordinate. */
static bool result_is_elsewhere(const struct attempt *a, const struct msg_txn *t)
{
    unsigned lowest = get_be16(t->writes[0].key.p);
    for (uint32_t i = 1; i < t->n_writes; i++)
        lowest = MIN(lowest, get_be16(t->writes[i].key.p));
    return a->map[lowest] != 0;
}

/* The shards that it needs have come here meanwhile: it is like any other. */
static void run_alone(struct attempt *a)
{
    struct request *r = TAKE(a->request);
    queue_run(a->coordinator->group->queue, r);
    attempt_end(a);
}

/* Nothing is prepared: it begins when our own part is free, or after a pause. */
static void pause_for_own(struct attempt *a, int err)
{
    a->state = ATTEMPT_PAUSED;
    a->retry_at = UINT64_MAX;
    if (err < 0)
        try_again(a, err);
}

static void attempt_begin(struct attempt *a)
{
    struct coordinator *c = a->coordinator;
    struct arena arena CLEANUP(arena_finish) = {0};
    struct msg_txn t;
    int err = dec_txn(buf_bytes(a->request->body), &arena, &t);
    ASSERT(err == 0); /* it was decoded when it came */
    a->tries++;
    err = map_all(a, &t);
    if (err < 0) {
        a->n_parts = 0;
        try_again(a, err);
        return;
    }
    if (result_is_elsewhere(a, &t)) { /* the shard left us a moment ago */
        a->n_parts = 0;
        fail(a, -ERR_WRONG_GROUP);
        return;
    }
    if (a->n_parts == 0) {
        run_alone(a);
        return;
    }
    err = await_own(a, &t, false);
    if (err != 0) {
        a->n_parts = 0;
        pause_for_own(a, err);
        return;
    }
    a->id = (struct txid){c->group->gid, c->term, ++c->last_n};
    a->state = ATTEMPT_PREPARING;
    send_prepares(a, &t);
}

static void on_own_free(void *ctx, int err)
{
    struct attempt *a = ctx;
    a->held = NULL;
    if (err < 0)
        try_again(a, err);
    else if (a->state == ATTEMPT_PAUSED)
        attempt_begin(a);
    else
        decide(a);
}

/* --- requests --------------------------------------------------------------------------------- */

/* The client asks again, because a link broke or it heard nothing: the answer goes there. */
static bool joined(struct coordinator *c, const struct msg_txn *t, struct request *r)
{
    for (guint i = 0; i < c->attempts->len; i++) {
        struct attempt *a = g_ptr_array_index(c->attempts, i);
        if (a->client != t->client || a->seq != t->seq || !a->request)
            continue;
        /* What was prepared is what is decided: the first one's bytes stay. */
        struct buf *first = a->request->body;
        a->request->body = r->body;
        r->body = first;
        request_destroy(a->request);
        a->request = r;
        return true;
    }
    return false;
}

int coordinate(struct conn *c, uint64_t id, struct group *g, const struct msg_txn *t,
               struct bytes body)
{
    struct coordinator *k = g->coordinator;
    if (!coordinator_leads(k) || k->attempts->len >= ATTEMPTS_MAX)
        return -ERR_BUSY;
    struct request *r = request_create(g->node, c, id, MSG_txn, body);
    if (!r)
        return -ERR_BUSY;
    r->gid = g->gid;
    if (joined(k, t, r))
        return 0;
    struct attempt *a = g_new0(struct attempt, 1);
    a->coordinator = k;
    a->request = r;
    a->client = t->client;
    a->seq = t->seq;
    a->age = g->node->env.wall_ns(g->node->env.ctx);
    a->until = g->node->now + TICKS(PATIENCE_MS);
    g_ptr_array_add(k->attempts, a);
    attempt_begin(a);
    return 0;
}

void coordinator_tick(struct coordinator *c)
{
    uint64_t now = c->group->node->now;
    if (!coordinator_leads(c))
        return;
    for (guint i = 0; i < c->attempts->len;) {
        struct attempt *a = g_ptr_array_index(c->attempts, i);
        if (a->state == ATTEMPT_PAUSED && now >= a->retry_at)
            attempt_begin(a);
        if (i < c->attempts->len && g_ptr_array_index(c->attempts, i) == a)
            i++;
    }
    tellings_tick(c);
}
