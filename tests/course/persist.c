/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 3C: what survives. A crash is a power loss. */
#include "tests/course/course.h"

static void TestPersist13C(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, true);
    for (unsigned i = 1; i <= 3; i++)
        crash(c, i);
    for (unsigned i = 1; i <= 3; i++)
        restart(c, i);
    one(c, 3, true);
    unsigned leader = one_leader(c);
    crash(c, leader);
    restart(c, leader);
    one(c, 3, true);
    leader = one_leader(c);
    crash(c, leader);
    one(c, 2, true);
    uint64_t last = c->last_command;
    restart(c, leader);
    CHECK(c->s, wait_applied(c, last, 3, AGREE_WITHIN), "a restarted leader does not catch up");
    unsigned follower = nth_after(c, one_leader(c), 1);
    crash(c, follower);
    one(c, 2, true);
    restart(c, follower);
    one(c, 3, true);
    course_end(c);
}

static void TestPersist23C(struct course *c)
{
    course_begin(c, 5);
    course_ready(c);
    for (unsigned round = 0; round < 5; round++) {
        one(c, 5, true);
        unsigned leader = one_leader(c);
        crash(c, nth_after(c, leader, 1));
        crash(c, nth_after(c, leader, 2));
        one(c, 3, true);
        crash(c, leader);
        crash(c, nth_after(c, leader, 3));
        crash(c, nth_after(c, leader, 4));
        restart(c, nth_after(c, leader, 1));
        restart(c, nth_after(c, leader, 2));
        course_run(c, ELECTION);
        restart(c, nth_after(c, leader, 3));
        one(c, 3, true);
        restart(c, nth_after(c, leader, 4));
        restart(c, leader);
    }
    one(c, 5, true);
    course_end(c);
}

static void TestPersist33C(struct course *c)
{
    course_begin(c, 3);
    course_ready(c);
    one(c, 3, true);
    unsigned leader = one_leader(c);
    cut(c, nth_after(c, leader, 2));
    one(c, 2, true);
    crash(c, leader);
    crash(c, nth_after(c, leader, 1));
    join(c, nth_after(c, leader, 2));
    restart(c, leader);
    one(c, 2, true);
    restart(c, nth_after(c, leader, 1));
    one(c, 3, true);
    course_end(c);
}

/* Mostly before a round trip is over, now and then after an election. */
static void sleep_some(struct course *c)
{
    bool longer = rng_below(&c->rng, 10) == 0;
    course_run(c, rng_below(&c->rng, longer ? ELECTION / 2 : MS(13)));
}

/* Offers a command to all; the last one that takes it. */
static unsigned start_everywhere(struct course *c)
{
    unsigned leader = 0;
    for (unsigned i = 1; i <= c->n; i++)
        if (start(c, i, 8) > 0 && !c->cut[i])
            leader = i;
    return leader;
}

static void TestFigure83C(struct course *c)
{
    course_begin(c, 5);
    course_ready(c);
    one(c, 1, true);
    unsigned n_up = 5;
    for (unsigned round = 0; round < 1000; round++) {
        unsigned leader = start_everywhere(c);
        sleep_some(c);
        if (leader && up(c, leader)) {
            crash(c, leader);
            n_up--;
        }
        unsigned other = 1 + (unsigned)rng_below(&c->rng, 5);
        if (n_up < 3 && !up(c, other)) {
            restart(c, other);
            n_up++;
        }
    }
    for (unsigned i = 1; i <= 5; i++)
        restart(c, i);
    one(c, 5, true);
    course_end(c);
}

static void TestUnreliableAgree3C(struct course *c)
{
    course_begin(c, 5);
    course_ready(c);
    course_unreliable(c, true);
    uint64_t first = c->last_command + 1;
    for (unsigned round = 1; round < 50; round++) {
        for (unsigned i = 0; i < 4; i++)
            ask(c, 8);
        CHECK(c->s, wait_acked(c, ask(c, 8), 3 * AGREE_WITHIN), "a command is not answered");
    }
    course_unreliable(c, false);
    for (uint64_t i = first; i <= c->last_command; i++)
        CHECK(c->s, wait_acked(c, i, 3 * AGREE_WITHIN),
              "command %" G_GUINT64_FORMAT " is not answered", i);
    one(c, 5, true);
    course_end(c);
}

static void TestFigure8Unreliable3C(struct course *c)
{
    course_begin(c, 5);
    course_ready(c);
    course_unreliable(c, true);
    one(c, 1, true);
    unsigned n_up = 5;
    for (unsigned round = 0; round < 1000; round++) {
        if (round == 200)
            course_late_answers(c, true);
        unsigned leader = start_everywhere(c);
        sleep_some(c);
        if (leader && rng_below(&c->rng, 2)) {
            cut(c, leader);
            n_up--;
        }
        unsigned other = 1 + (unsigned)rng_below(&c->rng, 5);
        if (n_up < 3 && c->cut[other]) {
            join(c, other);
            n_up++;
        }
    }
    for (unsigned i = 1; i <= 5; i++)
        join(c, i);
    /* Answers are still late; an election has two rounds of them here (pre-vote), not one. */
    c->agree_within = 3 * AGREE_WITHIN;
    one(c, 5, true);
    course_end(c);
}

/* Three clients, each with one command under way. What is answered must be there in the end
 * (course_end). */
static void ask_next(struct course *c, struct sim_client *k)
{
    struct raft_status st;
    /* Half of them, like the course's, at a server that says it leads, and then never again. */
    unsigned node = 1 + (unsigned)rng_below(&c->rng, c->n);
    struct client_request *next = request_new(k, ASK_TXN);
    next->command = next->slot = ++c->last_command;
    if (rng_below(&c->rng, 2) && status_of(c, node, &st) && st.role == RAFT_LEADER) {
        next->target = node;
        next->once = true;
    }
    client_ask(k, next);
}

static void wake_clients(struct course *c)
{
    for (unsigned i = 0; i < 3; i++) {
        struct sim_client *k = client_of(c, i);
        if (k->requests->len == 0 && k->session > 0 && rng_below(&c->rng, 25) == 0)
            ask_next(c, k);
    }
}

static void churn(struct course *c, bool unreliable)
{
    course_begin(c, 5);
    course_ready(c);
    course_unreliable(c, unreliable);
    c->each = wake_clients;
    for (unsigned round = 0; round < 20; round++) {
        if (rng_below(&c->rng, 1000) < 200)
            cut(c, 1 + (unsigned)rng_below(&c->rng, 5));
        if (rng_below(&c->rng, 1000) < 500)
            restart(c, 1 + (unsigned)rng_below(&c->rng, 5));
        if (rng_below(&c->rng, 1000) < 200)
            crash(c, 1 + (unsigned)rng_below(&c->rng, 5));
        course_run(c, ELECTION * 7 / 20);
    }
    course_run(c, ELECTION);
    course_unreliable(c, false);
    for (unsigned i = 1; i <= 5; i++)
        restart(c, i);
    c->each = NULL;
    course_run(c, ELECTION);
    CHECK(c->s, g_hash_table_size(c->acked) > 0, "no command was answered");
    one(c, 5, true);
    course_end(c);
}

static void TestReliableChurn3C(struct course *c)
{
    churn(c, false);
}

static void TestUnreliableChurn3C(struct course *c)
{
    churn(c, true);
}

const struct course_test tests_3c[] = {
    COURSE(TestPersist13C),      COURSE(TestPersist23C),        COURSE(TestPersist33C),
    COURSE(TestFigure83C),       COURSE(TestUnreliableAgree3C), COURSE(TestFigure8Unreliable3C),
    COURSE(TestReliableChurn3C), COURSE(TestUnreliableChurn3C), {0},
};
