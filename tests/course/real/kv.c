/* SPDX-License-Identifier: Apache-2.0 */
/* Labs 4A, the replicated state machine (here a counter), and 4B, the key-value service. */
#include <poll.h>
#include <stdio.h>
#include "cluster/base/clock.h"
#include "tests/course/real/real.h"

#define AT_ONCE 50

static void check_counter(struct real *c, uint64_t least, uint64_t most)
{
    uint64_t got = counter(c);
    CHECK(c, got >= least && got <= most,
          "the counter is %" G_GUINT64_FORMAT ", not %" G_GUINT64_FORMAT " .. %" G_GUINT64_FORMAT,
          got, least, most);
}

static unsigned n_outcome(struct command *const *commands, unsigned n, enum outcome what)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++)
        count += commands[i] && outcome_of(commands[i]) == what;
    return count;
}

static void submit_many(struct real *c, unsigned node, struct command **ret)
{
    for (unsigned i = 0; i < AT_ONCE; i++)
        ret[i] = start_add(c, node);
}

static void wait_many(struct real *c, struct command *const *commands)
{
    struct deadline d = within(AGREE_WITHIN_MS);
    while (n_outcome(commands, AT_ONCE, UNDER_WAY) > 0)
        tick(c, d, "all submissions return");
}

static void TestBasic4A(struct real *c)
{
    real_begin(c, 3);
    for (unsigned i = 1; i <= 10; i++) {
        increment(c, 1);
        check_counter(c, i, i);
    }
    real_end(c);
}

static void TestConcurrent4A(struct real *c)
{
    struct command *commands[AT_ONCE];
    real_begin(c, 3);
    increment(c, 1);
    submit_many(c, one_leader(c), commands);
    wait_many(c, commands);
    unsigned ok = n_outcome(commands, AT_ONCE, DONE);
    CHECK(c, ok > 0, "none of %d submissions succeeds", AT_ONCE);
    check_counter(c, 1 + ok, 1 + AT_ONCE);
    real_end(c);
}

static void TestLeaderFailure4A(struct real *c)
{
    real_begin(c, 3);
    increment(c, 1);
    unsigned leader = one_leader(c);
    cut(c, leader);
    increment(c, 1);
    check_counter(c, 2, 2);
    join(c, leader);
    pass(c, ELECTION_MS);
    check_counter(c, 2, 2);
    real_end(c);
}

static void TestLeaderPartition4A(struct real *c)
{
    struct command *commands[AT_ONCE];
    real_begin(c, 3);
    increment(c, 10);
    unsigned leader = one_leader(c);
    cut(c, leader);
    submit_many(c, leader, commands);
    increment(c, 10); /* the others have a leader of their own */
    CHECK(c, n_outcome(commands, AT_ONCE, DONE) == 0, "a leader without a quorum says OK");
    join(c, leader);
    wait_many(c, commands);
    CHECK(c, n_outcome(commands, AT_ONCE, DONE) == 0,
          "what a leader without a quorum took is done later");
    check_counter(c, 20, 20);
    real_end(c);
}

static void TestRestartReplay4A(struct real *c)
{
    real_begin(c, 3);
    increment(c, 100);
    crash_all(c);
    increment(c, 1);
    check_counter(c, 101, 101);
    real_end(c);
}

static void TestShutdown4A(struct real *c)
{
    struct command *commands[AT_ONCE];
    real_begin(c, 3);
    increment(c, 1);
    submit_many(c, one_leader(c), commands);
    for (unsigned i = 1; i <= 3; i++)
        crash(c, i);
    wait_many(c, commands);
    unsigned ok = n_outcome(commands, AT_ONCE, DONE);
    for (unsigned i = 1; i <= 3; i++)
        restart(c, i);
    check_counter(c, 1 + ok, 1 + AT_ONCE);
    real_end(c);
}

static void TestRestartSubmit4A(struct real *c)
{
    struct command *commands[AT_ONCE];
    real_begin(c, 3);
    increment(c, 50);
    crash_all(c);
    increment(c, 1);
    submit_many(c, one_leader(c), commands);
    crash_all(c); /* in the middle of them */
    increment(c, 20);
    wait_many(c, commands);
    unsigned ok = n_outcome(commands, AT_ONCE, DONE);
    check_counter(c, 71 + ok, 71 + AT_ONCE);
    real_end(c);
}

/* One key, clients that increment it, connections that break: a retry is not a second increment. */
static void *increment_some(void *arg)
{
    struct real *c = arg;
    struct pollfd none = {.fd = -1};
    struct deadline d = within(c->longer ? 30000 : 4000);
    while (!is_over(d)) {
        increment(c, 1);
        (void)poll(&none, 1, 5);
    }
    return NULL;
}

static void TestUnreliableOneKey4A(struct real *c)
{
    struct real side[5];
    pthread_t threads[ARRAY_LEN(side)];
    uint64_t sum = 1;
    real_begin(c, 3);
    increment(c, 1);
    net_weather(c->net, true);
    for (unsigned i = 0; i < ARRAY_LEN(side); i++) {
        side[i] = *c;
        side[i].clerk = client_open(c, "clerk");
        CHECK(c, pthread_create(&threads[i], NULL, increment_some, &side[i]) == 0, "no thread");
    }
    for (unsigned i = 0; i < ARRAY_LEN(side); i++) {
        pthread_join(threads[i], NULL);
        sum += side[i].n_increments - 1;
    }
    net_weather(c->net, false);
    check_counter(c, sum, sum);
    real_end(c);
}

const struct real_test real_4a[] = {
    REAL(TestBasic4A),           REAL(TestConcurrent4A),       REAL(TestLeaderFailure4A),
    REAL(TestLeaderPartition4A), REAL(TestRestartReplay4A),    REAL(TestShutdown4A),
    REAL(TestRestartSubmit4A),   REAL(TestUnreliableOneKey4A), {0},
};

/* --- 4B --------------------------------------------------------------------------------------- */

static void run(struct real *c, struct generic g)
{
    g.nodes = g.nodes ? g.nodes : 5;
    generic(c, &g);
}

static void TestBasic4B(struct real *c)
{
    run(c, (struct generic){.clients = 1});
}

/* The course's bound: three in a heartbeat of 100 ms, none waits for one. */
static void TestSpeed4B(struct real *c)
{
    unsigned n = c->longer ? 1000 : 200;
    real_begin(c, 3);
    increment(c, 1);
    uint64_t since = clock_mono_ns();
    increment(c, n);
    double each = (double)(clock_mono_ns() - since) / 1e6 / n;
    CHECK(c, each <= 100.0 / 3, "a put takes %.1f ms", each);
    real_end(c);
}

static void TestConcurrent4B(struct real *c)
{
    run(c, (struct generic){.clients = 5});
}

static void TestUnreliable4B(struct real *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true});
}

static void TestOnePartition4B(struct real *c)
{
    uint64_t seen;
    real_begin(c, 5);
    increment(c, 1);
    /* The old leader is in the minority, and what it believes is frozen. */
    unsigned old = one_leader(c);
    split(c, 1u << old | 1u << nth_after(c, old, 1));
    struct command *minor = start_add(c, old);
    freeze(c, old, true);
    increment(c, 2);
    freeze(c, old, false);
    while (counter_at(c, old, &seen))
        CHECK(c, seen >= 3, "the old leader answers a read with what is overwritten");
    CHECK(c, !minor || outcome_of(minor) != DONE, "a request completes in the minority");
    check_counter(c, 3, 3);
    split(c, 0);
    CHECK(c, !minor || wait_command(minor, COMMAND_WITHIN_MS) != UNDER_WAY,
          "a request of the minority does not return after the heal");
    check_counter(c, 3, 3);
    increment(c, 1);
    check_counter(c, 4, 4);
    real_end(c);
}

static void TestManyPartitionsOneClient4B(struct real *c)
{
    run(c, (struct generic){.clients = 1, .partitions = true});
}

static void TestManyPartitionsManyClients4B(struct real *c)
{
    run(c, (struct generic){.clients = 5, .partitions = true});
}

static void TestPersistOneClient4B(struct real *c)
{
    run(c, (struct generic){.clients = 1, .crash = true});
}

static void TestPersistConcurrent4B(struct real *c)
{
    run(c, (struct generic){.clients = 5, .crash = true});
}

static void TestPersistConcurrentUnreliable4B(struct real *c)
{
    run(c, (struct generic){.clients = 5, .crash = true, .unreliable = true});
}

static void TestPersistPartition4B(struct real *c)
{
    run(c, (struct generic){.clients = 5, .crash = true, .partitions = true});
}

static void TestPersistPartitionUnreliable4B(struct real *c)
{
    run(c, (struct generic){.clients = 5, .crash = true, .partitions = true, .unreliable = true});
}

static void TestPersistPartitionUnreliableLinearizable4B(struct real *c)
{
    run(c, (struct generic){
               .clients = 15, .nodes = 7, .crash = true, .partitions = true, .unreliable = true});
}

const struct real_test real_4b[] = {
    REAL(TestBasic4B),
    REAL(TestSpeed4B),
    REAL(TestConcurrent4B),
    REAL(TestUnreliable4B),
    REAL(TestOnePartition4B),
    REAL(TestManyPartitionsOneClient4B),
    REAL(TestManyPartitionsManyClients4B),
    REAL(TestPersistOneClient4B),
    REAL(TestPersistConcurrent4B),
    REAL(TestPersistConcurrentUnreliable4B),
    REAL(TestPersistPartition4B),
    REAL(TestPersistPartitionUnreliable4B),
    REAL(TestPersistPartitionUnreliableLinearizable4B),
    {0},
};
