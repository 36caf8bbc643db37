/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 4A, the replicated state machine: a counter that every Submit increments; and appends to one
 * key by many (of 2023 and 2024). That every server has the right counter is checked by course_end:
 * all replicas are equal. */
#include "tests/course/course.h"

#define COUNTER 0

static void begin(struct course *c, unsigned nodes)
{
    course_begin(c, nodes);
    course_ready(c);
    call(c, client_of(c, 0), txn_put(client_of(c, 0), COUNTER, 0));
}

/* Asks for so many at once, at one node only (then once) or anywhere. */
static void submit_many(struct course *c, unsigned node, unsigned n, struct answer *ret)
{
    for (unsigned i = 0; i < n; i++) {
        struct sim_client *k = client_of(c, i % c->profile.clients);
        struct client_request *r = txn_add(k, COUNTER);
        ret[i] = (struct answer){0};
        r->user = &ret[i];
        r->target = node;
        r->once = node > 0;
        client_ask(k, r);
    }
}

static void wait_many(struct course *c, unsigned n, const struct answer *answers, uint64_t within)
{
    uint64_t deadline = c->s->now + within;
    for (unsigned i = 0; i < n; i++)
        CHECK(c->s, wait_answer(c, &answers[i], deadline - MIN(c->s->now, deadline)),
              "submission %u has not returned after %.1f s", i, (double)within / 1e9);
}

static uint64_t counter(struct course *c)
{
    struct sim_client *k = client_of(c, 1);
    struct model_reply r = call(c, k, txn_get(k, COUNTER));
    return number_in(&r.reads[0]);
}

static void check_counter(struct course *c, uint64_t want)
{
    uint64_t got = counter(c);
    CHECK(c->s, got == want,
          "the counter is %" G_GUINT64_FORMAT " after %" G_GUINT64_FORMAT " increments", got, want);
}

static unsigned n_ok(unsigned n, const struct answer *answers)
{
    unsigned ok = 0;
    for (unsigned i = 0; i < n; i++)
        ok += answers[i].known && answers[i].reply.status == 0;
    return ok;
}

static void increment_each(struct course *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct sim_client *k = client_of(c, i % c->profile.clients);
        CHECK(c->s, call(c, k, txn_add(k, COUNTER)).status == 0, "an increment fails");
    }
}

static void crash_all(struct course *c)
{
    for (unsigned i = 1; i <= c->n; i++)
        crash(c, i);
    for (unsigned i = 1; i <= c->n; i++)
        restart(c, i);
}

static void TestBasic4A(struct course *c)
{
    begin(c, 3);
    for (unsigned i = 1; i <= 10; i++) {
        increment_each(c, 1);
        check_counter(c, i);
    }
    course_end(c);
}

static void TestConcurrent4A(struct course *c)
{
    struct answer answers[50];
    begin(c, 3);
    submit_many(c, 0, 50, answers);
    wait_many(c, 50, answers, AGREE_WITHIN);
    CHECK(c->s, n_ok(50, answers) == 50, "%u of 50 succeed", n_ok(50, answers));
    check_counter(c, 50);
    course_end(c);
}

static void TestLeaderFailure4A(struct course *c)
{
    begin(c, 3);
    increment_each(c, 1);
    unsigned leader = one_leader(c);
    cut(c, leader);
    increment_each(c, 1);
    check_counter(c, 2);
    join(c, leader);
    course_run(c, ELECTION);
    check_counter(c, 2);
    course_end(c);
}

static void TestLeaderPartition4A(struct course *c)
{
    struct answer answers[100];
    begin(c, 3);
    increment_each(c, 10);
    unsigned leader = one_leader(c);
    cut(c, leader);
    submit_many(c, leader, 100, answers);
    increment_each(c, 10); /* the others have a leader of their own */
    CHECK(c->s, n_ok(100, answers) == 0, "a leader without a quorum says OK");
    join(c, leader);
    wait_many(c, 100, answers, SEC(1));
    CHECK(c->s, n_ok(100, answers) == 0, "what a leader without a quorum took is done later");
    check_counter(c, 20);
    course_end(c);
}

static void TestRestartReplay4A(struct course *c)
{
    begin(c, 3);
    increment_each(c, 100);
    crash_all(c);
    increment_each(c, 1);
    check_counter(c, 101);
    course_end(c);
}

static void TestShutdown4A(struct course *c)
{
    struct answer answers[100];
    begin(c, 3);
    unsigned leader = one_leader(c);
    submit_many(c, leader, 100, answers);
    course_run(c, US(200));
    for (unsigned i = 1; i <= 3; i++)
        host_stop(sim_node(c->s, i), END_KILLED);
    wait_many(c, 100, answers, SEC(11));
    unsigned ok = n_ok(100, answers);
    for (unsigned i = 1; i <= 3; i++)
        restart(c, i);
    course_ready(c);
    uint64_t got = counter(c);
    CHECK(c->s, got >= ok && got <= 100,
          "%u increments were answered, the counter is %" G_GUINT64_FORMAT, ok, got);
    course_end(c);
}

static void TestRestartSubmit4A(struct course *c)
{
    struct answer answers[100];
    begin(c, 3);
    increment_each(c, 100);
    crash_all(c);
    course_ready(c);
    /* In the middle of these it happens again: a retry is not a second increment. */
    submit_many(c, 0, 100, answers);
    course_run(c, MS(1) + rng_below(&c->rng, MS(5)));
    crash_all(c);
    wait_many(c, 100, answers, 3 * AGREE_WITHIN);
    CHECK(c->s, n_ok(100, answers) == 100, "%u of 100 succeed", n_ok(100, answers));
    check_counter(c, 200);
    course_end(c);
}

/* --- one key, many that append ---------------------------------------------------------------- */

#define APPENDERS 5
#define APPENDS   10

/* An append here is a write at the end, if the value is still as it was read. A byte says who
 * appended it, and that one's how many-th it is. */
struct appender {
    unsigned done;
    bool under_way;
};

static void append_next(struct course *c, struct sim_client *k)
{
    struct appender *all = c->user;
    const struct model_read *known = &k->known[0][0];
    if (all[k->id].done == APPENDS || all[k->id].under_way || k->session == 0)
        return;
    struct client_request *r = txn_get(k, 0);
    struct model_part *compare = &r->txn.compares[r->txn.n_compares++];
    compare->op = KV_VERSION;
    compare->arg = known->version;
    struct model_part *w = &r->txn.writes[r->txn.n_writes++];
    w->op = KV_WRITE;
    w->arg = known->n;
    w->n = 1;
    w->bytes[0] = (uint8_t)(k->id << 4 | all[k->id].done);
    all[k->id].under_way = true;
    client_ask(k, r);
}

static void on_append(struct course *c, struct sim_client *k, struct client_request *r,
                      const struct model_reply *reply)
{
    struct appender *all = c->user;
    CHECK(c->s, reply, "client %u lost its session", k->id);
    all[k->id].under_way = false;
    all[k->id].done += reply->status == 0;
}

static void append_all(struct course *c)
{
    for (unsigned i = 0; i < APPENDERS; i++)
        append_next(c, client_of(c, i));
}

static void TestUnreliableOneKey4A(struct course *c)
{
    struct appender all[APPENDERS] = {0};
    unsigned next[APPENDERS] = {0};
    c->profile.clients = APPENDERS;
    course_begin(c, 3);
    course_ready(c);
    course_unreliable(c, true);
    c->user = all;
    c->on_answer = on_append;
    c->each = append_all;
    uint64_t deadline = c->s->now + SEC(120);
    for (unsigned i = 0; i < APPENDERS; i++)
        while (all[i].done < APPENDS) {
            CHECK(c->s, c->s->now < deadline, "client %u has not finished after 120 s", i);
            course_run(c, MS(10));
        }
    c->each = NULL;
    c->on_answer = NULL;
    course_unreliable(c, false);
    struct model_reply r = call(c, client_of(c, 0), txn_get(client_of(c, 0), 0));
    CHECK(c->s, r.reads[0].n == APPENDERS * APPENDS, "the value has %u parts", r.reads[0].n);
    for (unsigned i = 0; i < r.reads[0].n; i++) {
        uint8_t b = r.reads[0].bytes[i];
        CHECK(c->s, b >> 4 < APPENDERS && (b & 15) == next[b >> 4]++,
              "append %u of client %u is doubled or out of order", b & 15, b >> 4);
    }
    course_end(c);
}

const struct course_test tests_4a[] = {
    COURSE(TestBasic4A),           COURSE(TestConcurrent4A),       COURSE(TestLeaderFailure4A),
    COURSE(TestLeaderPartition4A), COURSE(TestRestartReplay4A),    COURSE(TestShutdown4A),
    COURSE(TestRestartSubmit4A),   COURSE(TestUnreliableOneKey4A), {0},
};
