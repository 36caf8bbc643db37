/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of the key-value service, and the course's GenericTest. An object has one key, in shards
 * of its own: its version counts its puts. */
#include "tests/course/course.h"

static struct model_part *first_write(struct model_txn *t, uint8_t op)
{
    struct model_part *p = &t->writes[t->n_writes++];
    p->op = op;
    p->n = 8;
    return p;
}

struct client_request *txn_get(struct sim_client *k, unsigned object)
{
    struct client_request *r = request_new(k, ASK_TXN);
    r->object = object;
    r->txn.reads[r->txn.n_reads++] = (struct model_part){.op = KV_GET};
    return r;
}

struct client_request *txn_put(struct sim_client *k, unsigned object, uint64_t value)
{
    struct client_request *r = request_new(k, ASK_TXN);
    r->object = object;
    put_le64(first_write(&r->txn, KV_PUT)->bytes, value);
    return r;
}

struct client_request *txn_put_known(struct sim_client *k, unsigned object)
{
    struct client_request *r = txn_get(k, object);
    struct model_part *p = &r->txn.compares[r->txn.n_compares++];
    p->op = KV_VERSION;
    p->arg = k->known[object][0].version;
    put_le64(first_write(&r->txn, KV_PUT)->bytes, ++k->sim->last_value);
    return r;
}

struct client_request *txn_add(struct sim_client *k, unsigned object)
{
    struct client_request *r = request_new(k, ASK_TXN);
    r->object = object;
    put_le64(first_write(&r->txn, KV_ADD64)->bytes, 1);
    return r;
}

bool wait_answer(struct course *c, const struct answer *a, uint64_t within)
{
    uint64_t deadline = c->s->now + within;
    while (!a->done && c->s->now < deadline)
        sim_step(c->s, c->s->now + US(100));
    return a->done;
}

struct model_reply call(struct course *c, struct sim_client *k, struct client_request *r)
{
    struct answer a = {0};
    r->user = &a;
    client_ask(k, r);
    CHECK(c->s, wait_answer(c, &a, 3 * AGREE_WITHIN) && a.known, "client %u gets no answer", k->id);
    return a.reply;
}

uint64_t number_in(const struct model_read *r)
{
    return r->n >= 8 ? get_le64(r->bytes) : 0;
}

/* --- GenericTest ------------------------------------------------------------------------------ */

struct generic_run {
    const struct generic *g;
    bool stopped;
    uint64_t ok[CLIENT_KNOWN], unknown[CLIENT_KNOWN];
    uint64_t answered;
};

static void next_op(struct course *c, struct sim_client *k)
{
    const struct generic_run *run = c->user;
    unsigned object = (unsigned)rng_below(&c->rng, run->g->keys);
    if (rng_below(&c->rng, 3) == 0)
        client_ask(k, txn_get(k, object));
    else
        client_ask(k, txn_put_known(k, object));
}

static void on_generic(struct course *c, struct sim_client *k, struct client_request *r,
                       const struct model_reply *reply)
{
    struct generic_run *run = c->user;
    run->answered += reply != NULL;
    if (r->txn.n_writes > 0 && !reply)
        run->unknown[r->object]++;
    if (r->txn.n_writes > 0 && reply && reply->status == 0) {
        run->ok[r->object]++;
        k->known[r->object][0].version = reply->versions[0];
    }
}

static bool busy(const struct sim_client *k)
{
    for (guint i = 0; i < k->requests->len; i++) {
        const struct client_request *r = g_ptr_array_index(k->requests, i);
        if (r->kind == ASK_TXN)
            return true;
    }
    return false;
}

/* Each pauses for some milliseconds: a history is judged as a whole. */
static void wake_clerks(struct course *c)
{
    const struct generic_run *run = c->user;
    for (unsigned i = 0; i < run->g->clients && !run->stopped; i++)
        if (client_of(c, i)->session > 0 && !busy(client_of(c, i)) && rng_below(&c->rng, 6) == 0)
            next_op(c, client_of(c, i));
}

static void wait_quiet(struct course *c)
{
    uint64_t deadline = c->s->now + SEC(60);
    for (unsigned i = 0; i < c->profile.clients; i++)
        while (busy(client_of(c, i))) {
            CHECK(c->s, c->s->now < deadline, "client %u is not answered in 60 s of peace", i);
            course_run(c, MS(10));
        }
}

static void one_round(struct course *c, struct generic_run *run)
{
    const struct generic *g = run->g;
    uint64_t until = c->s->now + MS(g->round_ms);
    run->stopped = false;
    course_unreliable(c, g->unreliable);
    while (c->s->now < until) {
        if (g->partitions)
            split(c, (unsigned)rng_below(&c->rng, 1u << (c->n + 1)));
        course_run(c, MIN(until - c->s->now, SEC(1) + rng_below(&c->rng, MS(200))));
    }
    run->stopped = true;
    split(c, 0);
    /* In the course, too, clients finish on a network that loses, but is whole. */
    wait_quiet(c);
}

static void read_all(struct course *c, const struct generic_run *run)
{
    for (unsigned o = 0; o < run->g->keys; o++) {
        struct model_reply r = call(c, client_of(c, 0), txn_get(client_of(c, 0), o));
        uint64_t v = r.reads[0].version;
        CHECK(c->s, v >= run->ok[o] && v <= run->ok[o] + run->unknown[o],
              "key %u has version %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT
              " puts were answered and %" G_GUINT64_FORMAT " not",
              o, v, run->ok[o], run->unknown[o]);
    }
}

void generic(struct course *c, const struct generic *g)
{
    struct generic_run run = {.g = g, .stopped = true};
    c->profile.clients = g->clients;
    c->profile.histories = g->keys;
    course_begin(c, g->nodes);
    course_ready(c);
    c->user = &run;
    c->on_answer = on_generic;
    c->each = wake_clerks;
    for (unsigned round = 0; round < g->rounds; round++) {
        one_round(c, &run);
        for (unsigned i = 1; g->log_max && i <= c->n; i++)
            CHECK(c->s, log_bytes(c, i) <= g->log_max,
                  "the log of node %u is %" G_GUINT64_FORMAT " bytes long", i, log_bytes(c, i));
        if (!g->crash)
            continue;
        for (unsigned i = 1; i <= c->n; i++)
            crash(c, i);
        course_run(c, ELECTION);
        for (unsigned i = 1; i <= c->n; i++)
            restart(c, i);
    }
    course_unreliable(c, false);
    course_ready(c);
    CHECK(c->s, run.answered > 10 * g->rounds, "only %" G_GUINT64_FORMAT " requests were answered",
          run.answered);
    read_all(c, &run);
    course_end(c);
}
