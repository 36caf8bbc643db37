/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lab 3D: log compaction, at the sizes that users get: the state store is flushed each 16 MiB of
 * log, and a follower needs a snapshot when it lacks more than the 8 MiB that a leader keeps.
 */
#include <stdio.h>
#include "tests/course/real/real.h"

#define BIG        1000000
#define FLUSH_WITH 18 /* of those fill what is flushed at a time */

static uint64_t sum_of(struct real *c, const char *counter_name)
{
    uint64_t sum = 0;
    for (unsigned i = 1; i <= c->n; i++)
        sum += counter_of(c, i, counter_name);
    return sum;
}

static void fill(struct real *c, unsigned n_nodes)
{
    for (unsigned i = 0; i < FLUSH_WITH; i++)
        one_of_bytes(c, n_nodes, true, BIG);
}

/* So that one that is cut off needs a snapshot: what is on its way to it when the cut comes arrives
 * when it joins, and that is as much as a leader sends ahead. */
static void fill_past(struct real *c, unsigned n_nodes)
{
    fill(c, n_nodes);
    fill(c, n_nodes);
}

static void wait_cut(struct real *c)
{
    struct deadline d = within(SETTLE_WITHIN_MS);
    struct group_status s;
    for (unsigned i = 1; i <= c->n; i++)
        while (c->pid[i] && !c->cut[i] && (!status_of(c, i, &s) || s.first <= 1))
            tick(c, d, "state stores are flushed and logs are cut");
}

static void TestSnapshotBasic3D(struct real *c)
{
    real_begin(c, 3);
    for (unsigned round = 0; round < (c->longer ? 10u : 2u); round++)
        fill(c, 3);
    wait_cut(c);
    CHECK(c, sum_of(c, "flushes") >= 3, "the log is never cut");
    CHECK(c, sum_of(c, "snapshots_installed") == 0, "a snapshot is sent though nobody lags");
    real_end(c);
}

static void install(struct real *c, bool unreliable, bool crashes)
{
    real_begin(c, 3);
    net_weather(c->net, unreliable);
    one(c, 3, true);
    for (unsigned round = 0; round < (c->longer ? 6u : 1u); round++) {
        unsigned leader = one_leader(c);
        unsigned victim = round % 3 == 1 ? leader : nth_after(c, leader, 1);
        if (crashes)
            crash(c, victim);
        else
            cut(c, victim);
        if (crashes)
            fill(c, 2);
        else
            fill_past(c, 2);
        wait_cut(c);
        uint64_t before = crashes ? 0 : counter_of(c, victim, "snapshots_installed");
        if (crashes)
            restart(c, victim);
        else
            join(c, victim);
        one(c, 3, true);
        CHECK(c, counter_of(c, victim, "snapshots_installed") > before,
              "n%u was far behind and has installed no snapshot", victim);
    }
    real_end(c);
}

static void TestSnapshotInstall3D(struct real *c)
{
    install(c, false, false);
}

static void TestSnapshotInstallUnreliable3D(struct real *c)
{
    install(c, true, false);
}

static void TestSnapshotInstallCrash3D(struct real *c)
{
    install(c, false, true);
}

static void TestSnapshotInstallUnCrash3D(struct real *c)
{
    install(c, true, true);
}

static void TestSnapshotAllCrash3D(struct real *c)
{
    real_begin(c, 3);
    uint64_t before = one(c, 3, true);
    for (unsigned round = 0; round < (c->longer ? 5u : 2u); round++) {
        fill(c, 2);
        crash_all(c);
        uint64_t after = one(c, 3, true);
        CHECK(c, after > before, "the index went from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
              before, after);
        before = after;
    }
    wait_cut(c);
    real_end(c);
}

/* What a replica has from its state store, not from its log, must outlive a later write and crash.
 */
static void TestSnapshotInit3D(struct real *c)
{
    real_begin(c, 3);
    fill(c, 3);
    wait_cut(c);
    crash_all(c);
    one(c, 3, true);
    crash_all(c);
    one(c, 3, true);
    real_end(c);
}

const struct real_test real_3d[] = {
    REAL(TestSnapshotBasic3D),
    REAL(TestSnapshotInstall3D),
    REAL(TestSnapshotInstallUnreliable3D),
    REAL(TestSnapshotInstallCrash3D),
    REAL(TestSnapshotInstallUnCrash3D),
    REAL(TestSnapshotAllCrash3D),
    REAL(TestSnapshotInit3D),
    {0},
};

/* --- 4C: what is asked of the log and of snapshots beside the GenericTest ------------------------
 */

static void TestSnapshot4C(struct real *c)
{
    real_begin(c, 3);
    increment(c, 100);
    fill(c, 3);
    wait_cut(c);
    crash_all(c);
    increment(c, 1);
    CHECK(c, counter(c) == 101, "the counter is %" G_GUINT64_FORMAT " after 101 increments",
          counter(c));
    real_end(c);
}

/* One that lags gets a snapshot, and then a majority can rest on it. */
static void TestSnapshotRPC4C(struct real *c)
{
    real_begin(c, 3);
    unsigned away = nth_after(c, one_leader(c), 1), other = nth_after(c, away, 1);
    increment(c, 1);
    cut(c, away);
    increment(c, 49);
    fill_past(c, 2);
    wait_cut(c); /* a silent minority holds nobody's log back */
    join(c, away);
    one(c, 3, true);
    CHECK(c, counter_of(c, away, "snapshots_installed") > 0, "no snapshot was installed");
    cut(c, other);
    increment(c, 1);
    CHECK(c, counter(c) == 51, "the counter is %" G_GUINT64_FORMAT " after 51 increments",
          counter(c));
    real_end(c);
}

static void run(struct real *c, struct generic g)
{
    g.nodes = g.nodes ? g.nodes : 5;
    g.ballast = true;
    generic(c, &g);
}

static void TestSnapshotRecover4C(struct real *c)
{
    run(c, (struct generic){.clients = 1, .crash = true});
}

static void TestSnapshotRecoverManyClients4C(struct real *c)
{
    run(c, (struct generic){.clients = 20, .crash = true});
}

static void TestSnapshotUnreliable4C(struct real *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true});
}

static void TestSnapshotUnreliableRecover4C(struct real *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true, .crash = true});
}

static void TestSnapshotUnreliableRecoverConcurrentPartition4C(struct real *c)
{
    run(c, (struct generic){.clients = 5, .unreliable = true, .crash = true, .partitions = true});
}

static void TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable4C(struct real *c)
{
    run(c, (struct generic){
               .clients = 15, .nodes = 7, .unreliable = true, .crash = true, .partitions = true});
}

const struct real_test real_4c[] = {
    REAL(TestSnapshot4C),
    REAL(TestSnapshotRPC4C),
    REAL(TestSnapshotRecover4C),
    REAL(TestSnapshotRecoverManyClients4C),
    REAL(TestSnapshotUnreliable4C),
    REAL(TestSnapshotUnreliableRecover4C),
    REAL(TestSnapshotUnreliableRecoverConcurrentPartition4C),
    REAL(TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable4C),
    {0},
};
