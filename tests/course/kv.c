/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 4B: the key-value service without snapshots. Many keys over many shards in each. */
#include "tests/course/course.h"

#define KEYS 20

static void run(struct course *c, struct generic g)
{
    g.nodes = g.nodes ? g.nodes : 5;
    g.keys = g.keys ? g.keys : KEYS;
    g.rounds = 3;
    g.round_ms = g.unreliable ? 5000 : 2000;
    c->profile.flush_log_bytes = MIB(64); /* never */
    c->profile.segment_bytes = MIB(1);
    generic(c, &g);
}

static void TestBasic4B(struct course *c)
{
    run(c, (struct generic){.clients = 1});
}

static void TestSpeed4B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    struct sim_client *k = client_of(c, 0);
    uint64_t since = c->s->now;
    for (unsigned i = 1; i <= 1000; i++)
        CHECK(c->s, call(c, k, txn_put(k, 0, i)).versions[0] == i, "put %u is not the %u-th", i, i);
    /* Three in a heartbeat: none waits for one. */
    double each = (double)(c->s->now - since) / 1e6 / 1000;
    CHECK(c->s, each <= 100.0 / 3, "a put takes %.1f ms", each);
    course_end(c);
}

static void TestConcurrent4B(struct course *c)
{
    run(c, (struct generic){.clients = 5});
}

static void TestUnreliable4B(struct course *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true});
}

static void TestOnePartition4B(struct course *c)
{
    course_begin(c, 5);
    course_ready(c);
    struct sim_client *major = client_of(c, 0), *minor = client_of(c, 1), *reader = client_of(c, 2);
    call(c, major, txn_put(major, 0, 13));
    /* The old leader is in the minority, and with it two clients. */
    unsigned old = one_leader(c), side = 1u << old | 1u << nth_after(c, old, 1);
    split(c, side);
    struct answer put = {0}, get = {0};
    struct client_request *r = txn_put(minor, 0, 15);
    r->user = &put;
    r->target = old;
    client_ask(minor, r);
    r = txn_get(reader, 0);
    r->user = &get;
    r->target = old;
    client_ask(reader, r);
    /* It still believes that it leads. */
    course_run(c, SEC(1));
    CHECK(c->s, !put.done && !get.done, "a request completes in the minority");
    one_leader(c);
    CHECK(c->s, call(c, major, txn_put(major, 0, 14)).status == 0,
          "the majority makes no progress");
    struct model_reply seen = call(c, major, txn_get(major, 0));
    CHECK(c->s, number_in(&seen.reads[0]) == 14, "the majority reads another value");
    CHECK(c->s, call(c, major, txn_put(major, 0, 16)).status == 0,
          "the majority makes no progress");
    split(c, 0);
    for (unsigned i = 1; i <= 2; i++) /* they may ask anybody now */
        for (guint j = 0; j < client_of(c, i)->requests->len; j++)
            ((struct client_request *)g_ptr_array_index(client_of(c, i)->requests, j))->target = 0;
    CHECK(c->s, wait_answer(c, &put, SEC(3)) && put.known,
          "the put is not answered after the heal");
    CHECK(c->s, wait_answer(c, &get, SEC(3)) && get.known,
          "the get is not answered after the heal");
    seen = call(c, major, txn_get(major, 0));
    CHECK(c->s, number_in(&seen.reads[0]) == 15, "the last put is not there");
    course_end(c);
}

static void TestManyPartitionsOneClient4B(struct course *c)
{
    run(c, (struct generic){.clients = 1, .partitions = true});
}

static void TestManyPartitionsManyClients4B(struct course *c)
{
    run(c, (struct generic){.clients = 5, .partitions = true});
}

static void TestPersistOneClient4B(struct course *c)
{
    run(c, (struct generic){.clients = 1, .crash = true});
}

static void TestPersistConcurrent4B(struct course *c)
{
    run(c, (struct generic){.clients = 5, .crash = true});
}

static void TestPersistConcurrentUnreliable4B(struct course *c)
{
    run(c, (struct generic){.clients = 5, .crash = true, .unreliable = true});
}

static void TestPersistPartition4B(struct course *c)
{
    run(c, (struct generic){.clients = 5, .crash = true, .partitions = true});
}

static void TestPersistPartitionUnreliable4B(struct course *c)
{
    run(c, (struct generic){.clients = 5, .crash = true, .partitions = true, .unreliable = true});
}

static void TestPersistPartitionUnreliableLinearizable4B(struct course *c)
{
    run(c, (struct generic){.clients = 15,
                            .nodes = 7,
                            .keys = 100,
                            .crash = true,
                            .partitions = true,
                            .unreliable = true});
}

const struct course_test tests_4b[] = {
    COURSE(TestBasic4B),
    COURSE(TestSpeed4B),
    COURSE(TestConcurrent4B),
    COURSE(TestUnreliable4B),
    COURSE(TestOnePartition4B),
    COURSE(TestManyPartitionsOneClient4B),
    COURSE(TestManyPartitionsManyClients4B),
    COURSE(TestPersistOneClient4B),
    COURSE(TestPersistConcurrent4B),
    COURSE(TestPersistConcurrentUnreliable4B),
    COURSE(TestPersistPartition4B),
    COURSE(TestPersistPartitionUnreliable4B),
    COURSE(TestPersistPartitionUnreliableLinearizable4B),
    {0},
};
