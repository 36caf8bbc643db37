/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"
#include "cluster/raft/quorum.h"

/* Voters 1..n with the values v[0..n). */
static uint64_t value_of(const void *ctx, raft_id voter)
{
    return ((const uint64_t *)ctx)[voter - 1];
}

static enum ballot ballot_of(const void *ctx, raft_id voter)
{
    switch (((const char *)ctx)[voter - 1]) {
    case 'y':
        return BALLOT_GRANTED;
    case 'n':
        return BALLOT_REFUSED;
    default:
        return BALLOT_NONE;
    }
}

static struct raft_conf voters(unsigned n)
{
    struct raft_conf c = {.n_voters = n};
    for (unsigned i = 0; i < n; i++)
        c.voters[i] = i + 1;
    return c;
}

static uint64_t reached(unsigned n, const uint64_t *v)
{
    struct raft_conf c = voters(n);
    return quorum_reached(&c, value_of, v);
}

static enum quorum_vote counted(const char *ballots)
{
    struct raft_conf c = voters((unsigned)strlen(ballots));
    return quorum_count(&c, ballot_of, ballots);
}

TEST(an_index_is_reached_when_a_majority_has_it)
{
    assert_int_equal(reached(1, (uint64_t[]){7}), 7);
    assert_int_equal(reached(2, (uint64_t[]){7, 5}), 5);
    assert_int_equal(reached(3, (uint64_t[]){9, 3, 5}), 5);
    assert_int_equal(reached(4, (uint64_t[]){9, 8, 5, 1}), 5);
    assert_int_equal(reached(5, (uint64_t[]){9, 8, 7, 0, 0}), 7);
    assert_int_equal(reached(9, (uint64_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9}), 5);
}

TEST(the_order_of_voters_does_not_matter)
{
    struct rng r = t_rng();

    for (int round = 0; round < 1000; round++) {
        uint64_t v[VOTERS_MAX], q;
        unsigned n = (unsigned)rng_between(&r, 1, VOTERS_MAX), have = 0, more = 0;
        for (unsigned i = 0; i < n; i++)
            v[i] = rng_below(&r, 6);
        q = reached(n, v);
        for (unsigned i = 0; i < n; i++) { /* the definition itself */
            have += v[i] >= q;
            more += v[i] > q;
        }
        assert_true(have > n / 2);
        assert_true(more <= n / 2);
    }
}

TEST(learners_are_never_asked)
{
    struct raft_conf c = voters(3);
    uint64_t v[] = {5, 4, 3, 99, 99};

    c.n_learners = 2;
    c.learners[0] = 4;
    c.learners[1] = 5;
    assert_int_equal(quorum_reached(&c, value_of, v), 4);
    assert_int_equal(quorum_count(&c, ballot_of, "ynnyy"), QUORUM_LOST);
    assert_false(quorum_is_voter(&c, 4));
    assert_true(quorum_is_member(&c, 4));
    assert_false(quorum_is_member(&c, 6));
}

TEST(an_election_is_won_by_a_majority)
{
    assert_int_equal(counted("y"), QUORUM_WON);
    assert_int_equal(counted("yy-"), QUORUM_WON);
    assert_int_equal(counted("yyn-"), QUORUM_PENDING);
    assert_int_equal(counted("yyny"), QUORUM_WON);
    assert_int_equal(counted("yyy--"), QUORUM_WON);
}

TEST(an_election_is_lost_as_soon_as_it_cannot_be_won)
{
    assert_int_equal(counted("yn"), QUORUM_LOST);
    assert_int_equal(counted("yn-"), QUORUM_PENDING);
    assert_int_equal(counted("nn-"), QUORUM_LOST);
    assert_int_equal(counted("yynn"), QUORUM_LOST);
    assert_int_equal(counted("ynn--"), QUORUM_PENDING);
    assert_int_equal(counted("nnn--"), QUORUM_LOST);
}

/* Voters 1..n, and the outgoing ones 1..m and then those from 6 on. */
static struct raft_conf joint(unsigned n, unsigned shared, unsigned others)
{
    struct raft_conf c = voters(n);
    for (unsigned i = 0; i < shared; i++)
        c.outgoing[c.n_outgoing++] = i + 1;
    for (unsigned i = 0; i < others; i++)
        c.outgoing[c.n_outgoing++] = i + 6;
    return c;
}

/* Paper 6: agreement requires separate majorities from both. */
TEST(a_joint_configuration_needs_both_majorities)
{
    struct raft_conf c = joint(3, 1, 2); /* 1 2 3, outgoing 1 6 7 */

    assert_int_equal(quorum_reached(&c, value_of, (uint64_t[]){9, 9, 9, 0, 0, 2, 1}), 2);
    assert_int_equal(quorum_reached(&c, value_of, (uint64_t[]){9, 1, 0, 0, 0, 9, 9}), 1);
    assert_int_equal(quorum_reached(&c, value_of, (uint64_t[]){5, 5, 0, 0, 0, 5, 0}), 5);
    assert_int_equal(quorum_count(&c, ballot_of, "yyy----"), QUORUM_PENDING);
    assert_int_equal(quorum_count(&c, ballot_of, "yyy--nn"), QUORUM_LOST);
    assert_int_equal(quorum_count(&c, ballot_of, "-----yy"), QUORUM_PENDING);
    assert_int_equal(quorum_count(&c, ballot_of, "-nn--yy"), QUORUM_LOST);
    assert_int_equal(quorum_count(&c, ballot_of, "yy---y-"), QUORUM_WON);
    assert_true(quorum_is_voter(&c, 7));
    assert_false(quorum_is_incoming(&c, 7));
    assert_true(quorum_is_incoming(&c, 3));
}

TEST(a_voter_that_leaves_may_become_a_learner)
{
    struct raft_conf c = joint(3, 3, 1);
    c.n_learners = 1;
    c.learners[0] = 6;
    T_OK(quorum_check(&c));
    c.learners[0] = 1; /* this one stays a voter */
    T_ERR(ERR_INVALID, quorum_check(&c));
    c = joint(3, 3, 1);
    c.outgoing[3] = 1;
    T_ERR(ERR_INVALID, quorum_check(&c));
    c.n_outgoing = VOTERS_MAX + 1;
    T_ERR(ERR_INVALID, quorum_check(&c));
}

TEST(nobody_decides_nothing)
{
    struct raft_conf c = {0};
    assert_int_equal(quorum_reached(&c, value_of, NULL), 0);
    assert_int_not_equal(quorum_count(&c, ballot_of, NULL), QUORUM_WON);
}

TEST(a_configuration_names_each_member_once)
{
    struct raft_conf c = voters(3);
    T_OK(quorum_check(&c));
    c.n_learners = 1;
    c.learners[0] = 4;
    T_OK(quorum_check(&c));
    c.learners[0] = 3;
    T_ERR(ERR_INVALID, quorum_check(&c));
    c.learners[0] = RAFT_NONE;
    T_ERR(ERR_INVALID, quorum_check(&c));
    c.n_learners = 0;
    c.voters[1] = 1;
    T_ERR(ERR_INVALID, quorum_check(&c));
    c = voters(0);
    T_ERR(ERR_INVALID, quorum_check(&c));
    c.n_voters = VOTERS_MAX + 1;
    T_ERR(ERR_INVALID, quorum_check(&c));
}

T_MAIN(T(an_index_is_reached_when_a_majority_has_it), T(the_order_of_voters_does_not_matter),
       T(learners_are_never_asked), T(an_election_is_won_by_a_majority),
       T(an_election_is_lost_as_soon_as_it_cannot_be_won), T(nobody_decides_nothing),
       T(a_joint_configuration_needs_both_majorities), T(a_voter_that_leaves_may_become_a_learner),
       T(a_configuration_names_each_member_once))
