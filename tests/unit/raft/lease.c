/* SPDX-License-Identifier: Apache-2.0 */
/* What a lease rests on, and reads at followers: single messages to one core. */
#include "tests/lib/t.h"
#include "tests/unit/raft/lone.h"

static struct raft_msg heartbeat(raft_term term)
{
    return (struct raft_msg){.type = RAFT_HEARTBEAT, .from = 1, .to = 2, .term = term};
}

static struct raft_msg vote(raft_term term)
{
    return (struct raft_msg){
        .type = RAFT_VOTE, .from = 3, .to = 2, .term = term, .index = 3, .log_term = 2};
}

/* A leader whose round, begun now, was answered by node 1. */
static struct raft *leader_with_answer(unsigned promise)
{
    struct raft *r = lone_leader(true);
    struct raft_msg a = {.type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 1, .index = 1};
    T_OK(raft_step(r, &a));
    lone_tick(r, 3);
    lone_settle(r, NULL);
    a = (struct raft_msg){.type = RAFT_HEARTBEAT_RESP,
                          .from = 1,
                          .to = 2,
                          .term = 1,
                          .index = 1,
                          .hint = 1,
                          .read_round = 1,
                          .promise = promise};
    T_OK(raft_step(r, &a));
    return r;
}

TEST(a_promise_outlives_its_term)
{
    struct raft *r = lone_node("112", 2, true);
    struct raft_msg m = heartbeat(3), last = {0};

    T_OK(raft_step(r, &m));
    m = (struct raft_msg){.type = RAFT_PREVOTE_RESP, .from = 3, .to = 2, .term = 5, .reject = true};
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).term, 5);
    lone_tick(r, 9);
    m = vote(5);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).vote, RAFT_NONE);
    m = vote(6);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).term, 5);
    lone_tick(r, 1);
    m = vote(6);
    T_OK(raft_step(r, &m));
    lone_settle(r, &last);
    assert_int_equal(last.type, RAFT_VOTE_RESP);
    assert_false(last.reject);
    raft_destroy(r);
}

TEST(a_restarted_voter_keeps_silent_for_what_it_may_have_promised)
{
    struct raft *r = lone_node("112", 2, true);
    struct raft_msg m = vote(3);

    lone_tick(r, 9);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).term, 2);
    lone_tick(r, 1);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).vote, 3);
    raft_destroy(r);
}

TEST(a_promise_does_not_stand_in_the_way_of_a_transfer)
{
    struct raft *r = lone_node("112", 2, true);
    struct raft_msg m = heartbeat(3);

    T_OK(raft_step(r, &m));
    m = vote(4);
    m.transfer = true;
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).vote, 3);
    raft_destroy(r);
}

TEST(who_has_the_option_says_so_with_each_answer)
{
    for (int lease = 0; lease < 2; lease++) {
        struct raft *r = lone_node("112", 2, lease);
        struct raft_msg m = heartbeat(3), last = {0};
        T_OK(raft_step(r, &m));
        lone_settle(r, &last);
        assert_int_equal(last.type, RAFT_HEARTBEAT_RESP);
        assert_int_equal(last.promise, lease ? 10 : 0);
        raft_destroy(r);
    }
}

TEST(an_answer_without_a_promise_gives_no_lease)
{
    struct raft *r = leader_with_answer(0);
    assert_false(raft_lease_holds(r));
    raft_destroy(r);
    r = leader_with_answer(10);
    assert_true(raft_lease_holds(r));
    raft_destroy(r);
}

/* Its election time-out is set shorter than the leader's. */
TEST(a_promise_that_is_too_short_gives_no_lease)
{
    struct raft *r = leader_with_answer(9);
    assert_false(raft_lease_holds(r));
    raft_destroy(r);
}

/* A host that was stopped spares its core the ticks; the lease has ended all the same. */
TEST(the_clock_alone_ends_a_lease_and_is_no_time_out)
{
    struct raft *r = leader_with_answer(10);

    raft_clock(r, 3 + 6);
    assert_true(raft_lease_holds(r));
    raft_clock(r, 3 + 7);
    assert_false(raft_lease_holds(r));
    raft_clock(r, 3); /* it does not go back */
    assert_false(raft_lease_holds(r));
    raft_clock(r, 1000);
    assert_int_equal(lone_status(r).role, RAFT_LEADER);
    raft_destroy(r);
}

TEST(the_clock_alone_ends_a_promise)
{
    struct raft *r = lone_node("112", 2, true);
    struct raft_msg m = vote(3);

    raft_clock(r, 9);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).vote, RAFT_NONE);
    raft_clock(r, 10);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).vote, 3);
    raft_destroy(r);
}

/* It was turned off, or its time-out was made shorter: what it promised before binds it. */
TEST(what_an_earlier_life_may_have_promised_is_kept_without_the_option)
{
    struct raft_config c = {.id = 2,
                            .conf = {.n_voters = 3, .voters = {1, 2, 3}},
                            .election_ticks = 10,
                            .heartbeat_ticks = 3,
                            .apply_bytes_max = 1000,
                            .promised_ticks = 15,
                            .rng = &lone_rng};
    struct raft_msg m = vote(3), hb = heartbeat(2), last = {0};
    struct raft *r = NULL;

    T_OK(raft_create(&c, NULL, &r));
    T_OK(raft_step(r, &hb)); /* it promises nothing new */
    lone_settle(r, &last);
    assert_int_equal(last.promise, 0);
    raft_clock(r, 14);
    for (unsigned i = 0; i < 14; i++)
        raft_tick(r);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).term, 2);
    assert_int_equal(lone_status(r).role, RAFT_FOLLOWER);
    raft_clock(r, 15);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).vote, 3);
    raft_destroy(r);
}

/* reference/raft.md 4.10: a process that was stopped still believes in its lease. */
TEST(a_read_by_lease_is_no_good_if_the_lease_ended_meanwhile)
{
    struct raft *r = leader_with_answer(10);
    struct raft_ready rd;

    T_OK(raft_read(r, 7));
    raft_ready(r, &rd);
    assert_int_equal(rd.n_reads, 1);
    struct raft_read read = rd.reads[0];
    assert_int_equal(read.ctx, 7);
    assert_true(read.lease);
    lone_tick(r, 6); /* the round began at tick 3: it holds for 10 - 1 - 2 ticks */
    assert_true(raft_read_valid(r, &read));
    lone_tick(r, 1);
    assert_false(raft_read_valid(r, &read));
    raft_destroy(r);
}

TEST(a_read_by_lease_is_no_good_in_another_term)
{
    struct raft *r = leader_with_answer(10);
    struct raft_read read = {.lease = true, .term = 1};

    assert_true(raft_read_valid(r, &read));
    read.term = 2;
    assert_false(raft_read_valid(r, &read));
    read.lease = false; /* confirmed by a round: it stays good */
    assert_true(raft_read_valid(r, &read));
    raft_destroy(r);
}

TEST(a_new_configuration_needs_a_new_round)
{
    struct raft *r = leader_with_answer(10);
    const struct raft_conf to = {.n_voters = 3, .voters = {1, 2, 3}};
    raft_index index;
    raft_term term;

    lone_settle(r, NULL);
    T_OK(raft_change_conf(r, &to, 1, &index, &term));
    assert_false(raft_lease_holds(r));
    raft_destroy(r);
}

TEST(a_drift_that_leaves_no_lease_is_refused)
{
    struct raft_config c = {.id = 1,
                            .conf = {.n_voters = 1, .voters = {1}},
                            .election_ticks = 10,
                            .heartbeat_ticks = 3,
                            .apply_bytes_max = 1000,
                            .lease = true,
                            .lease_drift_ticks = 9,
                            .rng = &lone_rng};
    struct raft *r = NULL;

    T_ERR(ERR_INVALID, raft_create(&c, NULL, &r));
    c.lease_drift_ticks = 8;
    T_OK(raft_create(&c, NULL, &r));
    raft_destroy(r);
}

/* --- reads at a follower -------------------------------------------------------------------- */

static struct raft *asking(uint64_t ctx, struct raft_msg *ret_question)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = heartbeat(3);

    T_ERR(ERR_NOT_LEADER, raft_read_any(r, ctx));
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    T_OK(raft_read_any(r, ctx));
    lone_settle(r, ret_question);
    assert_int_equal(ret_question->type, RAFT_READ);
    return r;
}

static unsigned answered(struct raft *r, struct raft_msg q, uint64_t number)
{
    struct raft_msg a = {.type = RAFT_READ_RESP,
                         .from = q.to,
                         .to = q.from,
                         .term = q.term,
                         .index = 3,
                         .read_round = number};
    struct raft_ready rd;

    T_OK(raft_step(r, &a));
    raft_ready(r, &rd);
    return rd.n_reads;
}

/* reference/raft.md 4.9 */
TEST(an_answer_to_what_was_not_asked_serves_nothing)
{
    struct raft_msg q;
    struct raft *r = asking(7, &q);

    assert_int_equal(answered(r, q, q.read_round + 1), 0);
    assert_int_equal(answered(r, q, q.read_round - 1), 0);
    assert_int_equal(answered(r, q, q.read_round), 1);
    assert_int_equal(answered(r, q, q.read_round), 0);
    raft_destroy(r);
}

TEST(numbers_of_another_life_do_not_fit)
{
    struct raft_msg q1, q2;
    struct raft *r = asking(7, &q1);

    raft_destroy(r);
    r = lone_node("112", 2, false);
    rng_seed(&lone_rng, 99); /* as chance has it */
    struct raft_msg m = heartbeat(3);
    T_OK(raft_step(r, &m));
    T_OK(raft_read_any(r, 8));
    lone_settle(r, &q2);
    assert_true(q1.read_round > 1ull << 40 && q2.read_round > 1ull << 40);
    assert_int_not_equal(q1.read_round, q2.read_round);
    raft_destroy(r);
}

/* It looks for a leader, and before anybody asks finds the one that it had. */
TEST(a_question_that_was_dropped_for_a_moment_is_told)
{
    struct raft_msg q, m = heartbeat(3);
    struct raft *r = asking(7, &q);
    struct raft_ready rd;

    lone_tick(r, 20);
    assert_int_equal(lone_status(r).role, RAFT_PRE_CANDIDATE);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).leader, 1);
    raft_ready(r, &rd);
    assert_true(rd.role_changed);
    assert_int_equal(answered(r, q, q.read_round), 0);
    raft_destroy(r);
}

TEST(a_leader_asks_nobody)
{
    struct raft *r = lone_leader(false);
    struct raft_msg a = {.type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 1, .index = 1};
    struct raft_msg last = {0};

    T_OK(raft_step(r, &a));
    T_OK(raft_read_any(r, 7));
    lone_settle(r, &last);
    assert_int_equal(last.type, RAFT_HEARTBEAT);
    raft_destroy(r);
}

static void ask_as_follower(struct raft *r, struct raft_msg *ret_last)
{
    struct raft_msg m = {.type = RAFT_READ, .from = 1, .to = 2, .term = 1, .read_round = 5};

    lone_settle(r, NULL);
    T_OK(raft_step(r, &m));
    lone_settle(r, ret_last);
}

TEST(a_followers_question_is_answered_at_once_while_a_lease_holds)
{
    struct raft *r = leader_with_answer(10);
    struct raft_msg last = {0};

    raft_clock(r, 3 + 6);
    ask_as_follower(r, &last);
    assert_int_equal(last.type, RAFT_READ_RESP);
    assert_int_equal(last.index, 1);
    raft_clock(r, 3 + 7);
    ask_as_follower(r, &last);
    assert_int_equal(last.type, RAFT_HEARTBEAT);
    raft_destroy(r);
}

TEST(a_strangers_question_is_not_answered)
{
    struct raft *r = lone_leader(false);
    struct raft_msg m = {.type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 1, .index = 1};

    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    m = (struct raft_msg){.type = RAFT_READ, .from = 9, .to = 2, .term = 1, .read_round = 5};
    T_OK(raft_step(r, &m));
    assert_false(raft_has_ready(r));
    m.read_round = 0;
    T_ERR(ERR_INVALID, raft_step(r, &m));
    raft_destroy(r);
}

T_MAIN(T(a_promise_outlives_its_term),
       T(a_restarted_voter_keeps_silent_for_what_it_may_have_promised),
       T(a_promise_does_not_stand_in_the_way_of_a_transfer),
       T(who_has_the_option_says_so_with_each_answer),
       T(an_answer_without_a_promise_gives_no_lease), T(a_promise_that_is_too_short_gives_no_lease),
       T(the_clock_alone_ends_a_lease_and_is_no_time_out), T(the_clock_alone_ends_a_promise),
       T(what_an_earlier_life_may_have_promised_is_kept_without_the_option),
       T(a_read_by_lease_is_no_good_if_the_lease_ended_meanwhile),
       T(a_read_by_lease_is_no_good_in_another_term), T(a_new_configuration_needs_a_new_round),
       T(a_drift_that_leaves_no_lease_is_refused),
       T(an_answer_to_what_was_not_asked_serves_nothing), T(numbers_of_another_life_do_not_fit),
       T(a_question_that_was_dropped_for_a_moment_is_told), T(a_leader_asks_nobody),
       T(a_followers_question_is_answered_at_once_while_a_lease_holds),
       T(a_strangers_question_is_not_answered))
