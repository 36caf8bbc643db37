/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 4C: the key-value service with snapshots: state stores are flushed each few KiB of log, and
 * the log must not grow with what was ever written. */
#include "tests/course/course.h"

#define FLUSH   KIB(8)
#define SEGMENT KIB(64)
/* A batch fills a block of 4 KiB at least, so 8 KiB of payload are many blocks. */
#define LOG_MAX (16 * SEGMENT)
/* Shard 0 is no object's. */
#define BIG_SLOT SIM_SHARDS

static void settings(struct course *c)
{
    c->profile.flush_log_bytes = FLUSH;
    c->profile.segment_bytes = SEGMENT;
}

static void check_logs(struct course *c, uint64_t max)
{
    for (unsigned i = 1; i <= c->n; i++)
        CHECK(c->s, log_bytes(c, i) <= max,
              "the log of node %u is %" G_GUINT64_FORMAT " bytes long", i, log_bytes(c, i));
}

static void crash_all(struct course *c)
{
    for (unsigned i = 1; i <= c->n; i++)
        crash(c, i);
    for (unsigned i = 1; i <= c->n; i++)
        restart(c, i);
}

/* A state machine that starts from what was flushed and goes on from there. */
static void TestSnapshot4C(struct course *c)
{
    settings(c);
    course_begin(c, 3);
    course_ready(c);
    struct sim_client *k = client_of(c, 0);
    call(c, k, txn_put(k, 0, 0));
    for (unsigned i = 0; i < 200; i++)
        call(c, k, txn_add(k, 0));
    CHECK(c->s, c->s->counters.flushes > 0, "nothing was flushed");
    check_logs(c, LOG_MAX);
    crash_all(c);
    call(c, k, txn_add(k, 0));
    struct model_reply r = call(c, k, txn_get(k, 0));
    CHECK(c->s, number_in(&r.reads[0]) == 201,
          "the counter is %" G_GUINT64_FORMAT " after 201 increments", number_in(&r.reads[0]));
    course_end(c);
}

/* Fills more of the log than a leader keeps in memory for those that lag. */
static void put_much(struct course *c)
{
    for (unsigned i = 0; i < 10; i++) {
        struct sim_client *k = client_of(c, 0);
        struct client_request *r = request_new(k, ASK_TXN);
        r->command = ++c->last_command;
        r->slot = BIG_SLOT;
        r->ballast = KIB(1000);
        call(c, k, r);
    }
}

static void TestSnapshotRPC4C(struct course *c)
{
    c->profile.flush_log_bytes = FLUSH;
    c->profile.segment_bytes = MIB(4);
    c->profile.histories = 100;
    c->slots = 1;
    course_begin(c, 3);
    course_ready(c);
    struct sim_client *k = client_of(c, 0);
    unsigned away = nth_after(c, one_leader(c), 1), other = nth_after(c, away, 1);
    call(c, k, txn_put(k, 0, 1));
    split(c, 1u << away);
    for (unsigned i = 1; i < 50; i++)
        call(c, k, txn_put(k, i, i));
    put_much(c);
    /* A silent minority holds the log of the others back no longer. */
    for (unsigned i = 1; i <= 3; i++)
        CHECK(c->s, log_bytes(c, i) <= 6 * MIB(4),
              "the log of node %u is %" G_GUINT64_FORMAT " bytes long", i, log_bytes(c, i));
    course_run(c, SEC(12)); /* until the connections end, and what is on its way is lost */
    CHECK(c->s, c->s->counters.snapshots == 0, "a snapshot reached one that is cut off");
    split(c, 0);
    CHECK(c->s, call(c, k, txn_put(k, 50, 50)).status == 0, "a put fails");
    uint64_t deadline = c->s->now + AGREE_WITHIN;
    while (c->s->counters.snapshots == 0 && c->s->now < deadline)
        course_run(c, MS(10));
    CHECK(c->s, c->s->counters.snapshots > 0, "no snapshot was installed");
    /* Now only with the one that has its state from a snapshot there is a majority. */
    course_run(c, ELECTION);
    split(c, 1u << other);
    call(c, k, txn_put(k, 51, 51));
    for (unsigned i = 1; i < 52; i++) {
        struct model_reply r = call(c, k, txn_get(k, i));
        CHECK(c->s, number_in(&r.reads[0]) == i, "key %u holds %" G_GUINT64_FORMAT, i,
              number_in(&r.reads[0]));
    }
    split(c, 0);
    course_end(c);
}

static uint64_t state_bytes(struct course *c, unsigned node)
{
    struct store *real = node_group_store(sim_node(c->s, node)->node, 0);
    struct bytes key, value;
    uint64_t n = 0;
    CHECK(c->s, real, "node %u cannot write its state", node);
    struct store_iter *it = real->ops->iter_open(real, NULL, BYTES_NONE, BYTES_NONE);
    while (real->ops->iter_next(it, &key, &value))
        n += key.n + value.n;
    real->ops->iter_close(it);
    return n;
}

/* One key written 400 times is one key in the state. Beside it: sessions, and the last result of
 * each. */
static void TestSnapshotSize4C(struct course *c)
{
    settings(c);
    c->profile.clients = 2;
    course_begin(c, 3);
    course_ready(c);
    struct sim_client *k = client_of(c, 0);
    for (unsigned i = 0; i < 200; i++) {
        call(c, k, txn_put(k, 0, 2 * i));
        call(c, k, txn_get(k, 0));
        call(c, k, txn_put(k, 0, 2 * i + 1));
    }
    check_logs(c, LOG_MAX);
    for (unsigned i = 1; i <= 3; i++)
        CHECK(c->s, state_bytes(c, i) <= 500, "the state of node %u is %" G_GUINT64_FORMAT " bytes",
              i, state_bytes(c, i));
    course_end(c);
}

static void TestSpeed4C(struct course *c)
{
    settings(c);
    course_begin(c, 3);
    course_ready(c);
    struct sim_client *k = client_of(c, 0);
    uint64_t since = c->s->now;
    for (unsigned i = 1; i <= 1000; i++)
        CHECK(c->s, call(c, k, txn_put(k, 0, i)).versions[0] == i, "put %u is not the %u-th", i, i);
    double each = (double)(c->s->now - since) / 1e6 / 1000;
    CHECK(c->s, each <= 100.0 / 3, "a put takes %.1f ms", each);
    check_logs(c, LOG_MAX);
    course_end(c);
}

static void run(struct course *c, struct generic g)
{
    g.nodes = g.nodes ? g.nodes : 5;
    g.keys = g.keys ? g.keys : 20;
    g.rounds = 3;
    g.round_ms = g.unreliable ? 5000 : 2000;
    g.log_max = LOG_MAX;
    settings(c);
    generic(c, &g);
}

static void TestSnapshotRecover4C(struct course *c)
{
    run(c, (struct generic){.clients = 1, .crash = true});
}

static void TestSnapshotRecoverManyClients4C(struct course *c)
{
    run(c, (struct generic){.clients = 20, .crash = true});
}

static void TestSnapshotUnreliable4C(struct course *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true});
}

static void TestSnapshotUnreliableRecover4C(struct course *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true, .crash = true});
}

static void TestSnapshotUnreliableRecoverConcurrentPartition4C(struct course *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true, .crash = true, .partitions = true});
}

static void TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable4C(struct course *c)
{
    run(c, (struct generic){.clients = 15,
                            .nodes = 7,
                            .keys = 100,
                            .unreliable = true,
                            .crash = true,
                            .partitions = true});
}

const struct course_test tests_4c[] = {
    COURSE(TestSnapshot4C),
    COURSE(TestSnapshotRPC4C),
    COURSE(TestSnapshotSize4C),
    COURSE(TestSpeed4C),
    COURSE(TestSnapshotRecover4C),
    COURSE(TestSnapshotRecoverManyClients4C),
    COURSE(TestSnapshotUnreliable4C),
    COURSE(TestSnapshotUnreliableRecover4C),
    COURSE(TestSnapshotUnreliableRecoverConcurrentPartition4C),
    COURSE(TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable4C),
    {0},
};
