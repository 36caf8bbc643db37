/* SPDX-License-Identifier: Apache-2.0 */
/* A node that ends in order hands over what it leads. */
#include "tests/unit/node/cluster.h"

static unsigned left; /* how often it was said */

static void on_left(void *ctx)
{
    left++;
}

static struct cluster *nodes(unsigned n)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n});
    EVENTUALLY(c, cluster_leader(c) != 0);
    left = 0;
    return c;
}

TEST(a_leader_that_leaves_is_followed_in_the_next_term_without_a_time_out)
{
    struct cluster *c = nodes(3);
    unsigned leader = cluster_leader(c), ticks = 0;
    raft_term term = cluster_status(c, leader).term;

    node_leave(c->nodes[leader - 1].node, on_left, NULL);
    assert_int_equal(left, 0);
    for (; left == 0; ticks++)
        cluster_run(c, 1);
    assert_true(ticks < ELECTION_TICKS / 2);
    struct raft_status s = cluster_status(c, leader);
    assert_int_equal(s.term, term + 1);
    assert_int_not_equal(s.leader, RAFT_NONE);
    assert_int_not_equal(s.leader, leader);
    cluster_kill(c, leader);
    cluster_run(c, 3 * ELECTION_TICKS);
    assert_int_equal(cluster_leader(c), s.leader);
    assert_int_equal(cluster_status(c, s.leader).term, term + 1);
    assert_int_equal(left, 1);
    cluster_destroy(c);
}

/* Of two nodes the new one needs the vote of the one that leaves. */
TEST(one_of_two_leaves_when_the_other_leads)
{
    struct cluster *c = nodes(2);
    unsigned leader = cluster_leader(c);

    node_leave(c->nodes[leader - 1].node, on_left, NULL);
    EVENTUALLY(c, left == 1);
    assert_int_equal(cluster_status(c, leader).leader, 3 - leader);
    cluster_destroy(c);
}

TEST(what_was_written_is_read_from_the_next_leader)
{
    struct cluster *c = nodes(3);
    unsigned leader = cluster_leader(c);
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    const char *got;

    assert_int_equal(client_put(k, me, 1, "a", "one"), 0);
    uint64_t id = client_ask_put(k, me, 2, "b", bytes_str("two"));
    node_leave(c->nodes[leader - 1].node, on_left, NULL);
    struct frame f = client_wait(k, id);
    unsigned status = frame_status(c, f, NULL);
    EVENTUALLY(c, left == 1);
    cluster_kill(c, leader);
    EVENTUALLY(c, cluster_leader(c) != 0);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_true(status == 0 || status == ERR_NOT_LEADER || status == ERR_BUSY);
    assert_int_equal(client_put(k, me, 2, "b", "two"), 0);
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "one");
    assert_int_equal(client_get(k, "b", &got, NULL), 0);
    assert_string_equal(got, "two");
    cluster_destroy(c);
}

TEST(who_leads_nothing_has_left_at_once)
{
    struct cluster *c = nodes(3);
    unsigned other = cluster_leader(c) % 3 + 1;

    node_leave(c->nodes[other - 1].node, on_left, NULL);
    assert_int_equal(left, 1);
    cluster_destroy(c);
    c = nodes(1);
    node_leave(c->nodes[0].node, on_left, NULL); /* there is nobody else */
    assert_int_equal(left, 1);
    cluster_destroy(c);
}

TEST(a_hand_over_that_nobody_hears_is_waited_for_no_longer_than_an_election_time_out)
{
    struct cluster *c = nodes(3);
    unsigned leader = cluster_leader(c);

    cluster_cut_off(c, leader, true);
    node_leave(c->nodes[leader - 1].node, on_left, NULL);
    cluster_run(c, ELECTION_TICKS - 1);
    assert_int_equal(left, 0);
    cluster_run(c, 1);
    assert_int_equal(left, 1);
    cluster_destroy(c);
}

T_MAIN(T(a_leader_that_leaves_is_followed_in_the_next_term_without_a_time_out),
       T(one_of_two_leaves_when_the_other_leads), T(what_was_written_is_read_from_the_next_leader),
       T(who_leads_nothing_has_left_at_once),
       T(a_hand_over_that_nobody_hears_is_waited_for_no_longer_than_an_election_time_out))
