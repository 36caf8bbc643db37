/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 3C: what survives SIGKILL. */
#include <poll.h>
#include "tests/course/real/real.h"

static void TestPersist13C(struct real *c)
{
    real_begin(c, 3);
    one(c, 3, true);
    crash_all(c);
    one(c, 3, true);
    unsigned leader = one_leader(c);
    crash(c, leader);
    restart(c, leader);
    one(c, 3, true);
    leader = one_leader(c);
    crash(c, leader);
    uint64_t index = one(c, 2, true);
    restart(c, leader);
    wait_applied(c, index, 3);
    unsigned follower = nth_after(c, one_leader(c), 1);
    crash(c, follower);
    one(c, 2, true);
    restart(c, follower);
    one(c, 3, true);
    real_end(c);
}

static void TestPersist23C(struct real *c)
{
    real_begin(c, 5);
    for (unsigned round = 0; round < (c->longer ? 5u : 2u); round++) {
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
        restart(c, nth_after(c, leader, 3));
        one(c, 3, true);
        restart(c, nth_after(c, leader, 4));
        restart(c, leader);
    }
    one(c, 5, true);
    real_end(c);
}

static void TestPersist33C(struct real *c)
{
    real_begin(c, 3);
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
    real_end(c);
}

/* Mostly before a round trip is over, now and then after an election. */
static void let_act(struct real *c)
{
    struct pollfd none = {.fd = -1};
    if (rng_below(&c->rng, 5) == 0)
        pass(c, (unsigned)rng_below(&c->rng, ELECTION_MS));
    else
        (void)poll(&none, 1, (int)rng_below(&c->rng, 13));
}

/* Offers a command to all; the last one that takes it. */
static unsigned start_everywhere(struct real *c)
{
    unsigned leader = 0;
    for (unsigned i = 1; i <= c->n; i++)
        if (start(c, i, 8) && !c->cut[i])
            leader = i;
    return leader;
}

static void TestFigure83C(struct real *c)
{
    real_begin(c, 5);
    one(c, 1, true);
    unsigned n_up = 5;
    struct deadline d = within(c->longer ? 60000 : 8000);
    while (!is_over(d)) {
        unsigned leader = start_everywhere(c);
        let_act(c);
        if (leader) {
            crash(c, leader);
            n_up--;
        }
        unsigned other = 1 + (unsigned)rng_below(&c->rng, 5);
        if (n_up < 3 && c->pid[other] == 0) {
            restart(c, other);
            n_up++;
        }
    }
    for (unsigned i = 1; i <= 5; i++)
        restart(c, i);
    one(c, 5, true);
    real_end(c);
}

/* Commands through clients that do not give up, on a network where connections break. */
static void TestUnreliableAgree3C(struct real *c)
{
    real_begin(c, 5);
    net_weather(c->net, true);
    increment(c, c->longer ? 250 : 60);
    CHECK(c, counter(c) == c->n_increments,
          "%" G_GUINT64_FORMAT " increments count %" G_GUINT64_FORMAT, c->n_increments, counter(c));
    net_weather(c->net, false);
    one(c, 5, true);
    real_end(c);
}

static void TestFigure8Unreliable3C(struct real *c)
{
    real_begin(c, 5);
    net_weather(c->net, true);
    one(c, 1, true);
    unsigned n_up = 5;
    struct deadline d = within(c->longer ? 60000 : 8000);
    while (!is_over(d)) {
        unsigned leader = start_everywhere(c);
        let_act(c);
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
    one(c, 5, true); /* the weather is as it was */
    real_end(c);
}

/* Commands are offered to whoever leads while nodes come and go. What is answered must be there in
 * the end (real_end). */
static void churn(struct real *c, bool unreliable)
{
    real_begin(c, 5);
    net_weather(c->net, unreliable);
    for (unsigned round = 0; round < (c->longer ? 20u : 8u); round++) {
        if (rng_below(&c->rng, 1000) < 200)
            cut(c, 1 + (unsigned)rng_below(&c->rng, 5));
        if (rng_below(&c->rng, 1000) < 500)
            restart(c, 1 + (unsigned)rng_below(&c->rng, 5));
        if (rng_below(&c->rng, 1000) < 300)
            crash(c, 1 + (unsigned)rng_below(&c->rng, 5));
        struct deadline d = within(ELECTION_MS * 7 / 20);
        while (!is_over(d)) {
            start_everywhere(c);
            pass(c, 30);
        }
    }
    net_weather(c->net, false);
    for (unsigned i = 1; i <= 5; i++)
        restart(c, i);
    one(c, 5, true);
    unsigned n_done = 0;
    for (guint i = 0; i < c->commands->len; i++)
        n_done += outcome_of(g_ptr_array_index(c->commands, i)) == DONE;
    CHECK(c, n_done > 1, "no command was answered");
    real_end(c);
}

static void TestReliableChurn3C(struct real *c)
{
    churn(c, false);
}

static void TestUnreliableChurn3C(struct real *c)
{
    churn(c, true);
}

const struct real_test real_3c[] = {
    REAL(TestPersist13C),      REAL(TestPersist23C),        REAL(TestPersist33C),
    REAL(TestFigure83C),       REAL(TestUnreliableAgree3C), REAL(TestFigure8Unreliable3C),
    REAL(TestReliableChurn3C), REAL(TestUnreliableChurn3C), {0},
};
