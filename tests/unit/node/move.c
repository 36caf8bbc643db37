/* SPDX-License-Identifier: Apache-2.0 */
/* LEADER_MOVE: who may ask, and what the answer says. */
#include "tests/unit/node/cluster.h"

static struct cluster *three(void)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, 10); /* the others have heard of it */
    return c;
}

static struct msg_status move(struct cluster *c, unsigned at, enum role role, uint32_t gid,
                              uint32_t to)
{
    const struct msg_leader_move m = {.gid = gid, .node = to};
    struct test_client *k = client_connect(c, at, role, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, leader_move, &m));
    struct msg_status s;

    assert_int_equal(f.type, MSG_status);
    T_OK(dec_status(f.body, &c->arena, &s));
    return s;
}

TEST(an_admin_moves_the_leader_in_one_term)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c), to = old % 3 + 1;
    raft_term term = cluster_status(c, old).term;

    struct msg_status s = move(c, old, ROLE_ADMIN, 0, to);
    assert_int_equal(s.status, 0);
    assert_int_equal(s.leader, to);
    EVENTUALLY(c, cluster_leader(c) == to);
    assert_int_equal(cluster_status(c, to).term, term + 1);
    assert_int_equal(move(c, to, ROLE_ADMIN, 0, to).status, 0); /* it leads already */
    assert_int_equal(cluster_status(c, to).term, term + 1);
    cluster_destroy(c);
}

TEST(nobody_else_may)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c);

    assert_int_equal(move(c, old, ROLE_CLIENT, 0, old % 3 + 1).status, ERR_DENIED);
    assert_int_equal(cluster_leader(c), old);
    cluster_destroy(c);
}

TEST(a_follower_names_the_leader_that_must_be_asked)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c), other = old % 3 + 1;

    struct msg_status s = move(c, other, ROLE_ADMIN, 0, other);
    assert_int_equal(s.status, ERR_NOT_LEADER);
    assert_int_equal(s.leader, old);
    cluster_destroy(c);
}

TEST(strangers_and_unknown_groups_are_refused_with_a_reason)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c);

    struct msg_status s = move(c, old, ROLE_ADMIN, 0, 9);
    assert_int_equal(s.status, ERR_NOT_FOUND);
    assert_int_equal(s.detail.n, strlen("n9 is no member of group 0"));
    assert_memory_equal(s.detail.p, "n9 is no member of group 0", s.detail.n);
    assert_int_equal(move(c, old, ROLE_ADMIN, 7, old).status, ERR_WRONG_GROUP);
    cluster_destroy(c);
}

TEST(a_move_to_who_does_not_answer_is_given_up_and_the_old_one_serves_on)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c), to = old % 3 + 1;
    raft_term term = cluster_status(c, old).term;
    struct test_client *k = client_connect(c, old, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);

    cluster_cut_off(c, to, true);
    assert_int_equal(move(c, old, ROLE_ADMIN, 0, to).status, ERR_TIMEOUT);
    assert_int_equal(cluster_leader(c), old);
    assert_int_equal(cluster_status(c, old).term, term);
    assert_int_equal(client_put(k, me, 1, "a", "one"), 0);
    cluster_destroy(c);
}

TEST(one_move_at_a_time)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c), to = old % 3 + 1;
    const struct msg_leader_move m = {.node = to};
    struct test_client *k = client_connect(c, old, ROLE_ADMIN, false);

    cluster_cut_off(c, to, true);
    uint64_t first = CLIENT_ASK(k, leader_move, &m);
    cluster_run(c, 2);
    assert_int_equal(move(c, old, ROLE_ADMIN, 0, to % 3 + 1).status, ERR_BUSY);
    assert_int_equal(frame_status(c, client_wait(k, first), NULL), ERR_TIMEOUT);
    cluster_destroy(c);
}

T_MAIN(T(an_admin_moves_the_leader_in_one_term), T(nobody_else_may),
       T(a_follower_names_the_leader_that_must_be_asked),
       T(strangers_and_unknown_groups_are_refused_with_a_reason),
       T(a_move_to_who_does_not_answer_is_given_up_and_the_old_one_serves_on),
       T(one_move_at_a_time))
