/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lab 3D: log compaction. The course's "snapshot every 10 entries" is here a flush of the state
 * store each few KiB of log, after which the log on disk is cut. A follower needs a snapshot when
 * the leader has dropped what it lacks from memory too: a node keeps 8 MiB, so the commands of
 * these tests are large.
 */
#include "tests/course/course.h"

#define SNAPSHOT_INTERVAL 10
#define BIG               KIB(1000)
#define SEGMENT           MIB(4)
/* What was sent to one that is cut off arrives when it joins, unless its connections have ended. */
#define LINK_LOST SEC(12)
/* Files of a log that is cut in time: the segment in use, the next one, some that are not free yet.
 */
#define LOG_MAX (6 * SEGMENT)

static void begin(struct course *c)
{
    c->profile.flush_log_bytes = KIB(8);
    c->profile.segment_bytes = SEGMENT;
    course_begin(c, 3);
    course_ready(c);
}

static void check_logs(struct course *c, uint64_t max)
{
    for (unsigned i = 1; i <= c->n; i++)
        CHECK(c->s, log_bytes(c, i) <= max,
              "the log of node %u is %" G_GUINT64_FORMAT " bytes long", i, log_bytes(c, i));
}

static void many(struct course *c, unsigned node, unsigned n, uint32_t bytes)
{
    for (unsigned i = 0; i < n; i++)
        start(c, node, bytes);
}

static void TestSnapshotBasic3D(struct course *c)
{
    c->profile.flush_log_bytes = KIB(8);
    c->profile.segment_bytes = KIB(16);
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, true);
    unsigned leader = one_leader(c);
    for (unsigned round = 0; round < 30; round++) {
        unsigned sender = round % 3 == 1 ? nth_after(c, leader, 1) : leader;
        many(c, sender, SNAPSHOT_INTERVAL / 2 + (unsigned)rng_below(&c->rng, SNAPSHOT_INTERVAL),
             200);
        one(c, 3, true);
        check_logs(c, 24 * KIB(16));
    }
    CHECK(c->s, c->s->counters.flushes > 6, "the log is never cut");
    CHECK(c->s, c->s->counters.snapshots == 0, "a snapshot is sent though nobody lags");
    course_end(c);
}

static void install(struct course *c, bool unreliable, bool crashes)
{
    c->slots = 4;
    begin(c);
    course_unreliable(c, unreliable);
    one(c, 3, true);
    unsigned leader = one_leader(c);
    const unsigned rounds = 6;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned victim = round % 3 == 1 ? leader : nth_after(c, leader, 1);
        if (crashes)
            crash(c, victim);
        else
            cut(c, victim);
        one(c, 2, true);
        /* More than what the log keeps in memory for one that was away for a moment. */
        for (unsigned i = 0; i < 10; i++)
            one_of_bytes(c, 2, true, BIG);
        one(c, 2, true);
        check_logs(c, LOG_MAX);
        course_run(c, c->cut[victim] ? LINK_LOST : 0);
        if (crashes)
            restart(c, victim);
        else
            join(c, victim);
        one(c, 3, true);
        leader = one_leader(c);
    }
    CHECK(c->s, c->s->counters.snapshots >= rounds,
          "%u rounds, %" G_GUINT64_FORMAT " snapshots were installed", rounds,
          c->s->counters.snapshots);
    course_end(c);
}

static void TestSnapshotInstall3D(struct course *c)
{
    install(c, false, false);
}

static void TestSnapshotInstallUnreliable3D(struct course *c)
{
    install(c, true, false);
}

static void TestSnapshotInstallCrash3D(struct course *c)
{
    install(c, false, true);
}

static void TestSnapshotInstallUnCrash3D(struct course *c)
{
    install(c, true, true);
}

static void crash_all(struct course *c)
{
    for (unsigned i = 1; i <= c->n; i++)
        crash(c, i);
    for (unsigned i = 1; i <= c->n; i++)
        restart(c, i);
}

static void TestSnapshotAllCrash3D(struct course *c)
{
    begin(c);
    one(c, 3, true);
    for (unsigned round = 0; round < 5; round++) {
        unsigned n = SNAPSHOT_INTERVAL / 2 + (unsigned)rng_below(&c->rng, SNAPSHOT_INTERVAL);
        many(c, one_leader(c), n, 2000);
        uint64_t before = one(c, 3, true);
        crash_all(c);
        uint64_t after = one(c, 3, true);
        CHECK(c->s, after > before,
              "the index went from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, before, after);
    }
    CHECK(c->s, c->s->counters.flushes > 5, "the log is never cut");
    course_end(c);
}

/* What a replica has from its state store, not from its log, must outlive a later write and crash.
 */
static void TestSnapshotInit3D(struct course *c)
{
    begin(c);
    for (unsigned i = 0; i <= SNAPSHOT_INTERVAL; i++)
        one_of_bytes(c, 3, true, 2000);
    CHECK(c->s, c->s->counters.flushes > 0, "the log is never cut");
    unsigned before = g_hash_table_size(c->applied);
    crash_all(c);
    one(c, 3, true);
    crash_all(c);
    one(c, 3, true);
    /* course_end looks whether all of them are still there. */
    CHECK(c->s, before > SNAPSHOT_INTERVAL && g_hash_table_size(c->applied) >= before + 2,
          "%u commands were applied, then %u", before, g_hash_table_size(c->applied));
    course_end(c);
}

const struct course_test tests_3d[] = {
    COURSE(TestSnapshotBasic3D),
    COURSE(TestSnapshotInstall3D),
    COURSE(TestSnapshotInstallUnreliable3D),
    COURSE(TestSnapshotInstallCrash3D),
    COURSE(TestSnapshotInstallUnCrash3D),
    COURSE(TestSnapshotAllCrash3D),
    COURSE(TestSnapshotInit3D),
    {0},
};
