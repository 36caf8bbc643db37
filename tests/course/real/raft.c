/* SPDX-License-Identifier: Apache-2.0 */
/* Labs 3A, elections, and 3B, the log. */
#include <stdio.h>
#include "tests/course/real/real.h"

static uint64_t last_of(struct real *c, unsigned node)
{
    struct group_status s = {0};
    CHECK(c, status_of(c, node, &s), "n%u does not answer", node);
    return s.last;
}

static uint64_t commit_of(struct real *c, unsigned node)
{
    struct group_status s = {0};
    CHECK(c, status_of(c, node, &s), "n%u does not answer", node);
    return s.commit;
}

/* --- 3A --------------------------------------------------------------------------------------- */

static void TestInitialElection3A(struct real *c)
{
    real_begin(c, 3);
    one_leader(c);
    uint64_t term = one_term(c);
    pass(c, 2 * ELECTION_MS);
    /* The course only warns. On a machine that is too busy for heartbeats there may be a reason. */
    if (one_term(c) != term)
        printf("%s: the term changed though nothing happened (a busy machine?)\n", c->name);
    one_leader(c);
    real_end(c);
}

static void TestReElection3A(struct real *c)
{
    real_begin(c, 3);
    unsigned first = one_leader(c);
    cut(c, first);
    one_leader(c);
    join(c, first);
    unsigned second = one_leader(c);
    cut(c, second);
    cut(c, nth_after(c, second, 1));
    no_leader(c);
    join(c, nth_after(c, second, 1));
    one_leader(c);
    join(c, second);
    one_leader(c);
    real_end(c);
}

static void TestManyElections3A(struct real *c)
{
    real_begin(c, 7);
    for (unsigned round = 0; round < (c->longer ? 9u : 3u); round++) {
        unsigned gone[3];
        for (unsigned i = 0; i < 3; i++)
            cut(c, gone[i] = 1 + (unsigned)rng_below(&c->rng, c->n));
        one_leader(c); /* the old one is still there, or four others have elected one */
        for (unsigned i = 0; i < 3; i++)
            join(c, gone[i]);
    }
    one_leader(c);
    real_end(c);
}

/* --- 3B --------------------------------------------------------------------------------------- */

/* Who begins to lead also begins to coordinate jobs, and reads what there is. */
static void wait_quiet(struct real *c)
{
    struct deadline d = within(LEADER_WITHIN_MS);
    for (uint64_t before = 0, now; (now = net_bytes_sent(c->net)) - before > 5000; before = now)
        for (unsigned i = 0; i < 10; i++)
            tick(c, d, "the network is quiet");
}

static void TestBasicAgree3B(struct real *c)
{
    real_begin(c, 3);
    one(c, 3, true);
    wait_quiet(c);
    unsigned leader = one_leader(c);
    uint64_t last = last_of(c, leader);
    for (unsigned i = 1; i <= 3; i++) {
        uint64_t index = one(c, 3, false);
        /* Others may write as well, sessions say; but seldom. */
        CHECK(c, index >= last + i && (!leads(c, leader) || index <= last + i + 5),
              "command %u is at %" G_GUINT64_FORMAT ", not behind %" G_GUINT64_FORMAT, i, index,
              last + i - 1);
    }
    real_end(c);
}

static void TestRPCBytes3B(struct real *c)
{
    real_begin(c, 3);
    one(c, 3, true);
    wait_quiet(c);
    unsigned leader = one_leader(c);
    uint64_t before = net_bytes_sent(c->net);
    for (unsigned i = 0; i < 10; i++) {
        struct command *k = start(c, leader, 5000);
        CHECK(c, k && wait_command(k, COMMAND_WITHIN_MS) == DONE, "no agreement");
    }
    uint64_t sent = net_bytes_sent(c->net) - before;
    /* Two followers get it, once; the course allows 50,000 more than three times. Here that is for
     * TLS, TCP and the statuses that are asked meanwhile. */
    CHECK(c, sent <= 3 * 50000 + 50000, "%" G_GUINT64_FORMAT " bytes for 50,000 bytes of commands",
          sent);
    if (c->longer)
        printf("%s: %" G_GUINT64_FORMAT " bytes for 50,000\n", c->name, sent);
    real_end(c);
}

/* A leader that is cut off takes it, as far as it knows, and cannot commit it. */
static struct command *start_in_vain(struct real *c, unsigned leader)
{
    uint64_t last = last_of(c, leader), commit;
    struct command *k = start(c, leader, 8);
    CHECK(c, k, "n%u no longer leads", leader);
    struct deadline d = within(COMMAND_WITHIN_MS);
    while (last_of(c, leader) == last && outcome_of(k) == UNDER_WAY)
        tick(c, d, "the leader takes the command");
    commit = commit_of(c, leader);
    pass(c, 2 * ELECTION_MS);
    CHECK(c, outcome_of(k) != DONE && commit_of(c, leader) == commit, "committed without a quorum");
    return k;
}

static void TestFollowerFailure3B(struct real *c)
{
    real_begin(c, 3);
    one(c, 3, true);
    cut(c, nth_after(c, one_leader(c), 1));
    one(c, 2, true);
    one(c, 2, true);
    unsigned leader = one_leader(c);
    for (unsigned i = 1; i <= 3; i++)
        if (i != leader && !c->cut[i])
            cut(c, i);
    start_in_vain(c, leader);
    real_end(c);
}

static void TestLeaderFailure3B(struct real *c)
{
    real_begin(c, 3);
    one(c, 3, true);
    cut(c, one_leader(c));
    one(c, 2, true);
    unsigned second = one_leader(c);
    cut(c, second);
    start_in_vain(c, second);
    no_leader(c);
    real_end(c);
}

static void TestFailAgree3B(struct real *c)
{
    real_begin(c, 3);
    one(c, 3, true);
    unsigned away = nth_after(c, one_leader(c), 1);
    cut(c, away);
    for (unsigned i = 0; i < 4; i++)
        one(c, 2, true);
    join(c, away);
    one(c, 3, true);
    one(c, 3, true);
    real_end(c);
}

static void TestFailNoAgree3B(struct real *c)
{
    struct group_status s;
    real_begin(c, 5);
    one(c, 5, true);
    unsigned leader = one_leader(c);
    CHECK(c, status_of(c, leader, &s), "n%u does not answer", leader);
    uint64_t last = s.last, term = s.term;
    for (unsigned i = 1; i <= 3; i++)
        cut(c, nth_after(c, leader, i));
    start_in_vain(c, leader);
    for (unsigned i = 1; i <= 3; i++)
        join(c, nth_after(c, leader, i));
    uint64_t index = one(c, 5, true);
    CHECK(c, status_of(c, one_leader(c), &s), "the leader does not answer");
    /* Behind the first, if that survived, entries of clients' sessions, and one of each leader. */
    CHECK(c, index >= last + 2 && index <= last + 8 + 2 * (s.term - term),
          "the next command is at %" G_GUINT64_FORMAT ", the first may be at %" G_GUINT64_FORMAT,
          index, last + 1);
    one(c, 5, true);
    real_end(c);
}

static void TestConcurrentStarts3B(struct real *c)
{
    real_begin(c, 3);
    for (unsigned try = 0; try < 5; try++) {
        struct command *commands[6];
        struct group_status s, after;
        bool all = true;
        unsigned leader = one_leader(c);
        CHECK(c, status_of(c, leader, &s), "n%u does not answer", leader);
        for (unsigned i = 0; i < 6; i++)
            commands[i] = start(c, leader, 8);
        for (unsigned i = 0; i < 6; i++)
            all &= commands[i] && wait_command(commands[i], COMMAND_WITHIN_MS) == DONE;
        if (!status_of(c, leader, &after) || after.term != s.term)
            continue; /* another leader: it says nothing */
        CHECK(c, all, "concurrent commands of one term are not all answered");
        real_end(c);
        return;
    }
    real_fail(c, "the term changed too often");
}

static void start_many(struct real *c, unsigned leader, unsigned n, struct command **ret)
{
    uint64_t last = last_of(c, leader);
    struct deadline d = within(COMMAND_WITHIN_MS);
    for (unsigned i = 0; i < n; i++)
        ret[i] = start(c, leader, 8);
    while (leads(c, leader) && last_of(c, leader) < last + n)
        tick(c, d, "the leader takes the commands");
}

/* Those that a leader took alone, and that a later leader has overwritten. */
static void check_lost(struct real *c, struct command *const *commands, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!commands[i])
            continue; /* it stepped down before */
        CHECK(c, outcome_of(commands[i]) != DONE, "a leader without a quorum has answered");
        check_absent(c, commands[i]);
    }
}

static void TestRejoin3B(struct real *c)
{
    struct command *lost[3];
    real_begin(c, 3);
    one(c, 3, true);
    unsigned first = one_leader(c);
    cut(c, first);
    start_many(c, first, 3, lost);
    one(c, 2, true);
    unsigned second = one_leader(c);
    cut(c, second);
    join(c, first);
    one(c, 2, true);
    join(c, second);
    one(c, 3, true);
    check_lost(c, lost, 3);
    real_end(c);
}

static void TestBackup3B(struct real *c)
{
    struct command *lost[50];
    real_begin(c, 5);
    one(c, 5, true);
    unsigned first = one_leader(c), with = nth_after(c, first, 1);
    /* The leader and one more, whose logs get 50 entries that nobody else has. */
    for (unsigned i = 2; i <= 4; i++)
        cut(c, nth_after(c, first, i));
    start_many(c, first, 50, lost);
    cut(c, first);
    cut(c, with);
    for (unsigned i = 2; i <= 4; i++)
        join(c, nth_after(c, first, i));
    for (unsigned i = 0; i < 50; i++)
        one(c, 3, true);
    /* Now only with those two there is a majority. */
    unsigned second = one_leader(c);
    for (unsigned i = 1; i <= 5; i++)
        if (i != second && i != first && i != with)
            cut(c, i);
    join(c, first);
    join(c, with);
    for (unsigned i = 0; i < 20; i++)
        one(c, 3, true);
    for (unsigned i = 1; i <= 5; i++)
        join(c, i);
    one(c, 5, true);
    check_lost(c, lost, 50);
    real_end(c);
}

const struct real_test real_3a[] = {
    REAL(TestInitialElection3A),
    REAL(TestReElection3A),
    REAL(TestManyElections3A),
    {0},
};

const struct real_test real_3b[] = {
    REAL(TestBasicAgree3B),       REAL(TestRPCBytes3B),
    REAL(TestFollowerFailure3B),  REAL(TestLeaderFailure3B),
    REAL(TestFailAgree3B),        REAL(TestFailNoAgree3B),
    REAL(TestConcurrentStarts3B), REAL(TestRejoin3B),
    REAL(TestBackup3B),           {0},
};
