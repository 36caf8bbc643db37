/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 3B: the log. */
#include "tests/course/course.h"

static uint64_t last_of(struct course *c, unsigned node)
{
    struct raft_status st = {0};
    CHECK(c->s, status_of(c, node, &st), "node %u is down", node);
    return st.last;
}

static raft_term term_of(struct course *c, unsigned node)
{
    struct raft_status st = {0};
    CHECK(c->s, status_of(c, node, &st), "node %u is down", node);
    return st.term;
}

/* Many at once at one node that leads, or believes so. */
static void start_many(struct course *c, unsigned node, unsigned n, uint64_t *ret_commands)
{
    for (unsigned i = 0; i < n; i++)
        ret_commands[i] = start(c, node, 8);
}

static void TestBasicAgree3B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    course_quiet(c);
    uint64_t last = last_of(c, one_leader(c));
    for (unsigned i = 1; i <= 3; i++) {
        CHECK(c->s, n_applied(c, c->last_command + 1, NULL) == 0, "applied before it is submitted");
        uint64_t index = one(c, 3, false);
        CHECK(c->s, index == last + i,
              "command %u is at %" G_GUINT64_FORMAT ", not behind %" G_GUINT64_FORMAT, i, index,
              last + i - 1);
    }
    course_end(c);
}

static void TestRPCBytes3B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, false);
    uint64_t before = 0, after = 0, payload = 0;
    for (unsigned i = 1; i <= 3; i++)
        before += sim_node(c->s, i)->traffic.bytes;
    for (unsigned i = 0; i < 10; i++, payload += 5000)
        one_of_bytes(c, 3, false, 5000);
    for (unsigned i = 1; i <= 3; i++)
        after += sim_node(c->s, i)->traffic.bytes;
    CHECK(c->s, after - before <= 3 * payload + 50000,
          "%" G_GUINT64_FORMAT " bytes for %" G_GUINT64_FORMAT " bytes of commands", after - before,
          payload);
    course_end(c);
}

static void TestFollowerFailure3B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    course_quiet(c);
    one(c, 3, false);
    unsigned leader = one_leader(c);
    cut(c, nth_after(c, leader, 1));
    one(c, 2, false);
    course_run(c, ELECTION);
    one(c, 2, false);
    leader = one_leader(c);
    cut(c, nth_after(c, leader, 1));
    cut(c, nth_after(c, leader, 2));
    uint64_t last = last_of(c, leader), command = start(c, leader, 8);
    course_run(c, MS(50));
    CHECK(c->s, command && last_of(c, leader) == last + 1, "the leader does not take the command");
    course_run(c, 2 * ELECTION);
    CHECK(c->s, n_applied(c, command, NULL) == 0, "committed without a quorum");
    course_end(c);
}

static void TestLeaderFailure3B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, false);
    cut(c, one_leader(c));
    one(c, 2, false);
    course_run(c, ELECTION);
    one(c, 2, false);
    cut(c, one_leader(c));
    uint64_t commands[3];
    for (unsigned i = 1; i <= 3; i++)
        commands[i - 1] = start(c, i, 8);
    course_run(c, 2 * ELECTION);
    for (unsigned i = 0; i < 3; i++)
        CHECK(c->s, n_applied(c, commands[i], NULL) == 0, "committed without a quorum");
    course_end(c);
}

static void TestFailAgree3B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, false);
    unsigned away = nth_after(c, one_leader(c), 1);
    cut(c, away);
    one(c, 2, false);
    one(c, 2, false);
    course_run(c, ELECTION);
    one(c, 2, false);
    one(c, 2, false);
    join(c, away);
    one(c, 3, true);
    course_run(c, ELECTION);
    one(c, 3, true);
    course_end(c);
}

static void TestFailNoAgree3B(struct course *c)
{
    course_begin(c, 5);
    course_ready(c);
    course_quiet(c);
    one(c, 5, false);
    unsigned leader = one_leader(c);
    for (unsigned i = 1; i <= 3; i++)
        cut(c, nth_after(c, leader, i));
    uint64_t last = last_of(c, leader), term = term_of(c, leader), command = start(c, leader, 8);
    course_run(c, MS(50));
    CHECK(c->s, command && last_of(c, leader) == last + 1, "the leader does not take the command");
    course_run(c, 2 * ELECTION);
    CHECK(c->s, n_applied(c, command, NULL) == 0, "committed without a quorum");
    for (unsigned i = 1; i <= 3; i++)
        join(c, nth_after(c, leader, i));
    unsigned next = one_leader(c);
    uint64_t second = start(c, next, 8), index = 0;
    CHECK(c->s, second && wait_applied(c, second, 5, AGREE_WITHIN),
          "the healed cluster does nothing");
    n_applied(c, second, &index);
    /* Behind the first, if that survived, and the own entries of leaders since. */
    CHECK(c->s, index >= last + 2 && index <= last + 2 + term_of(c, next) - term,
          "the next command is at %" G_GUINT64_FORMAT ", the first may be at %" G_GUINT64_FORMAT,
          index, last + 1);
    one(c, 5, true);
    course_end(c);
}

static void TestConcurrentStarts3B(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    for (unsigned try = 0; try < 5; try++) {
        uint64_t commands[6];
        bool all = true;
        unsigned leader = one_leader(c);
        raft_term term = term_of(c, leader);
        start_many(c, leader, 6, commands);
        for (unsigned i = 0; i < 6; i++)
            all &= commands[i] && wait_applied(c, commands[i], 3, COMMAND_WITHIN);
        if (term_of(c, leader) != term)
            continue; /* another leader: it says nothing */
        CHECK(c->s, all, "concurrent commands of one term are not all applied");
        course_end(c);
        return;
    }
    sim_fail(c->s, "the term changed too often");
}

static void TestRejoin3B(struct course *c)
{
    uint64_t lost[3];
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, true);
    unsigned first = one_leader(c);
    cut(c, first);
    start_many(c, first, 3, lost);
    course_run(c, MS(50));
    one(c, 2, true);
    unsigned second = one_leader(c);
    cut(c, second);
    join(c, first);
    one(c, 2, true);
    join(c, second);
    one(c, 3, true);
    for (unsigned i = 0; i < 3; i++)
        CHECK(c->s, lost[i] && n_applied(c, lost[i], NULL) == 0,
              "an entry that was never committed is applied");
    course_end(c);
}

/* Not necessarily one that may serve already. */
static void wait_elected(struct course *c)
{
    uint64_t deadline = c->s->now + 3 * ELECTION;
    for (;;) {
        for (unsigned i = 1; i <= c->n; i++) {
            struct raft_status st;
            if (!c->cut[i] && status_of(c, i, &st) && st.role == RAFT_LEADER)
                return;
        }
        CHECK(c->s, c->s->now < deadline, "nobody is elected");
        course_run(c, MS(1));
    }
}

static void TestBackup3B(struct course *c)
{
    uint64_t lost[2][50];
    course_begin(c, 5);
    course_ready(c);
    course_quiet(c);
    one(c, 5, true);
    unsigned first = one_leader(c);
    for (unsigned i = 2; i <= 4; i++)
        cut(c, nth_after(c, first, i));
    uint64_t last = last_of(c, first);
    start_many(c, first, 50, lost[0]);
    course_run(c, ELECTION / 2);
    CHECK(c->s, last_of(c, first) >= last + 50, "the leader does not take the commands");
    cut(c, first);
    cut(c, nth_after(c, first, 1));
    for (unsigned i = 2; i <= 4; i++)
        join(c, nth_after(c, first, i));
    for (unsigned i = 0; i < 50; i++)
        one(c, 3, true);
    unsigned second = one_leader(c), other = nth_after(c, first, 2);
    if (second == other)
        other = nth_after(c, second, 1);
    cut(c, other);
    start_many(c, second, 50, lost[1]);
    course_run(c, ELECTION / 2);
    for (unsigned i = 1; i <= 5; i++)
        cut(c, i);
    join(c, first);
    join(c, nth_after(c, first, 1));
    join(c, other);
    /* Entry by entry it would take dozens of round trips of 200 ms. */
    uint64_t delay = c->s->profile.net_delay;
    c->s->profile.net_delay = MS(100);
    wait_elected(c);
    uint64_t since = c->s->now;
    one(c, 3, true);
    CHECK(c->s, c->s->now - since < MS(2500), "the logs take %.1f s to agree",
          (double)(c->s->now - since) / 1e9);
    c->s->profile.net_delay = delay;
    for (unsigned i = 0; i < 50; i++)
        one(c, 3, true);
    for (unsigned i = 1; i <= 5; i++)
        join(c, i);
    one(c, 5, true);
    for (unsigned i = 0; i < 50; i++)
        CHECK(c->s, n_applied(c, lost[0][i], NULL) == 0, "an overwritten entry is applied");
    course_end(c);
}

static void TestCount3B(struct course *c)
{
    struct raft_status st;
    course_begin(c, 3);
    uint64_t sent = asks_sent(c);
    for (unsigned leader = 0; leader == 0; course_run(c, MS(5)))
        leader = host_leader(c->s);
    CHECK(c->s, asks_sent(c) <= 30 && asks_sent(c) > 0, "%" G_GUINT64_FORMAT " requests to elect",
          asks_sent(c));
    course_ready(c);
    for (unsigned i = 0; i < c->profile.clients; i++)
        client_of(c, i)->next_keepalive_at = UINT64_MAX; /* each is a round of heartbeats */
    for (unsigned try = 0; try < 5; try++) {
        uint64_t commands[10];
        unsigned leader = one_leader(c);
        raft_term term = term_of(c, leader);
        sent = asks_sent(c);
        start_many(c, leader, 10, commands);
        for (unsigned i = 0; i < 10; i++)
            CHECK(c->s, wait_applied(c, commands[i], 3, COMMAND_WITHIN), "no agreement");
        uint64_t after = asks_sent(c);
        if (!status_of(c, leader, &st) || st.term != term)
            continue;
        CHECK(c->s, after - sent <= (10 + 1 + 3) * 3,
              "%" G_GUINT64_FORMAT " requests for 10 entries", after - sent);
        course_run(c, SEC(1));
        CHECK(c->s, asks_sent(c) - after <= 3 * 20,
              "%" G_GUINT64_FORMAT " requests in an idle second", asks_sent(c) - after);
        course_end(c);
        return;
    }
    sim_fail(c->s, "the term changed too often");
}

const struct course_test tests_3b[] = {
    COURSE(TestBasicAgree3B),
    COURSE(TestRPCBytes3B),
    COURSE(TestFollowerFailure3B),
    COURSE(TestLeaderFailure3B),
    COURSE(TestFailAgree3B),
    COURSE(TestFailNoAgree3B),
    COURSE(TestConcurrentStarts3B),
    COURSE(TestRejoin3B),
    COURSE(TestBackup3B),
    COURSE(TestCount3B),
    {0},
};
