/* SPDX-License-Identifier: Apache-2.0 */
/* Reads at a node that follows, and by leader lease. */
#include <sys/stat.h>
#include "tests/unit/node/cluster.h"

static struct cluster *three(bool lease)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3, .lease = lease});
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, 2 * HEARTBEAT_TICKS); /* all know the leader, and it has a lease */
    return c;
}

static unsigned follower(struct cluster *c)
{
    return cluster_leader(c) % 3 + 1;
}

static void put_one(struct cluster *c, const char *value)
{
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_put(k, client_open_session(k), 1, "a", value), 0);
}

/* --- at a node that follows ------------------------------------------------------------------- */

TEST(a_node_that_follows_serves_a_read_if_asked_for_that)
{
    struct cluster *c = three(false);
    struct test_client *k = client_connect_anywhere(c, follower(c));
    const char *got;
    put_one(c, "new");
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "new");
    assert_int_equal(client_counter(k, "follower_reads"), 1);
    cluster_destroy(c);
}

TEST(a_node_that_follows_serves_no_read_unasked)
{
    struct cluster *c = three(false);
    struct test_client *k = client_connect(c, follower(c), ROLE_CLIENT, false);
    assert_int_equal(client_get(k, "a", NULL, NULL), ERR_NOT_LEADER);
    cluster_destroy(c);
}

TEST(a_node_that_follows_takes_no_write_keepalive_or_wait)
{
    struct cluster *c = three(false);
    struct test_client *k = client_connect_anywhere(c, follower(c));
    struct msg_keepalive alive = {1};
    struct msg_wait wait = {test_key(c, "a"), 0, 1000};
    assert_int_equal(client_put(k, 1, 1, "a", "x"), ERR_NOT_LEADER);
    struct frame f = client_wait(k, CLIENT_ASK(k, keepalive, &alive));
    assert_int_equal(frame_status(c, f, NULL), ERR_NOT_LEADER);
    f = client_wait(k, CLIENT_ASK(k, wait, &wait));
    assert_int_equal(frame_status(c, f, NULL), ERR_NOT_LEADER);
    cluster_destroy(c);
}

TEST(reads_that_wait_for_a_leader_that_is_gone_are_refused)
{
    struct cluster *c = three(false);
    unsigned leader = cluster_leader(c), other = follower(c);
    struct test_client *k = client_connect_anywhere(c, other);
    cluster_run(c, 1);
    cluster_cut(c, leader, other, true);
    uint64_t id = client_ask_get(k, "a");
    cluster_run(c, HEARTBEAT_TICKS);
    assert_false(client_has(k, id));
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    cluster_destroy(c);
}

TEST(a_deposed_leader_serves_reads_as_the_follower_that_it_is_now)
{
    struct cluster *c = three(false);
    unsigned old = cluster_leader(c);
    struct test_client *k = client_connect_anywhere(c, old);
    const char *got;
    cluster_cut_off(c, old, true);
    EVENTUALLY(c, cluster_leader(c) != 0 && cluster_leader(c) != old);
    put_one(c, "new");
    cluster_cut_off(c, old, false);
    EVENTUALLY(c, cluster_status(c, old).leader == cluster_leader(c));
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "new");
    assert_int_equal(client_counter(k, "follower_reads"), 1);
    cluster_destroy(c);
}

TEST(the_leader_serves_those_who_ask_anywhere_too)
{
    struct cluster *c = three(false);
    struct test_client *k = client_connect_anywhere(c, cluster_leader(c));
    assert_int_equal(client_get(k, "a", NULL, NULL), 0);
    assert_int_equal(client_counter(k, "follower_reads"), 0);
    cluster_destroy(c);
}

/* --- by lease --------------------------------------------------------------------------------- */

static bool answers_cut_off(bool lease)
{
    struct cluster *c = three(lease);
    unsigned leader = cluster_leader(c);
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    put_one(c, "new");
    cluster_cut_off(c, leader, true);
    uint64_t id = client_ask_get(k, "a");
    cluster_run(c, 1);
    bool answered = client_has(k, id);
    assert_int_equal(client_counter(k, "lease_reads"), answered);
    cluster_destroy(c);
    return answered;
}

TEST(a_leader_with_a_lease_reads_without_a_message)
{
    assert_true(answers_cut_off(true));
}

TEST(without_the_option_no_read_is_by_lease)
{
    assert_false(answers_cut_off(false));
}

/* One that was stopped while the others chose another leader: its first input may be a read. */
TEST(a_leader_that_slept_through_its_lease_does_not_answer_by_it)
{
    struct cluster *c = three(true);
    unsigned leader = cluster_leader(c);
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    const char *got;
    put_one(c, "old");
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    cluster_cut_off(c, leader, true);
    c->nodes[leader - 1].slept = 10 * ELECTION_TICKS;
    uint64_t id = client_ask_get(k, "a");
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    assert_int_equal(client_counter(k, "lease_reads"), 1);
    cluster_destroy(c);
}

TEST(a_leader_that_slept_goes_on_to_lead_if_nobody_else_does)
{
    struct cluster *c = three(true);
    unsigned leader = cluster_leader(c);
    raft_term term = cluster_status(c, leader).term;
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    c->nodes[leader - 1].slept = 10 * ELECTION_TICKS;
    assert_int_equal(client_get(k, "a", NULL, NULL), 0); /* in a round */
    assert_int_equal(client_counter(k, "lease_reads"), 0);
    cluster_run(c, 2 * HEARTBEAT_TICKS);
    assert_int_equal(client_get(k, "a", NULL, NULL), 0);
    assert_int_equal(client_counter(k, "lease_reads"), 1);
    assert_int_equal(cluster_status(c, leader).term, term);
    cluster_destroy(c);
}

/* --- turned on and off ------------------------------------------------------------------------ */

static bool remembers(struct cluster *c, unsigned id)
{
    struct stat st;
    g_autofree char *path = g_strdup_printf("%s/promise-%d", c->nodes[id - 1].dir, ELECTION_TICKS);
    return stat(path, &st) == 0;
}

static void restart(struct cluster *c, unsigned id, bool lease)
{
    cluster_kill(c, id);
    c->options.lease = lease;
    cluster_start(c, id);
}

TEST(a_majority_with_the_option_is_enough_for_a_lease)
{
    struct cluster *c = three(false);
    unsigned leader = cluster_leader(c), other = follower(c);
    restart(c, leader, true);
    EVENTUALLY(c, cluster_leader(c) != 0);
    leader = cluster_leader(c);
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    cluster_run(c, 2 * HEARTBEAT_TICKS);
    assert_int_equal(client_get(k, "a", NULL, NULL), 0);
    assert_int_equal(client_counter(k, "lease_reads"), 0); /* it is alone with it, or has it not */
    for (other = 1; other <= 3; other++)
        restart(c, other, true);
    EVENTUALLY(c, cluster_leader(c) != 0);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    cluster_run(c, 2 * HEARTBEAT_TICKS);
    assert_int_equal(client_get(k, "a", NULL, NULL), 0);
    assert_int_equal(client_counter(k, "lease_reads"), 1);
    cluster_destroy(c);
}

/* Else its vote could elect a leader while an old one still has a lease. */
TEST(a_node_that_is_started_without_the_option_keeps_what_it_promised)
{
    struct cluster *c = three(true);
    unsigned leader = cluster_leader(c), a = leader % 3 + 1, b = a % 3 + 1;
    cluster_cut_off(c, leader, true); /* its lease has just been renewed, as far as it knows */
    restart(c, a, false);
    restart(c, b, false);
    assert_true(remembers(c, a));
    cluster_run(c, ELECTION_TICKS - 1);
    /* It hears nobody, and may have stepped down by now. */
    unsigned leads = cluster_leader(c);
    assert_true(leads == leader || leads == 0);
    assert_int_equal(cluster_status(c, a).term, cluster_status(c, leader).term);
    EVENTUALLY(c, cluster_leader(c) != leader);
    cluster_run(c, ELECTION_TICKS + 2 * 1000 / TICK_MS);
    assert_false(remembers(c, a)); /* it is over */
    cluster_destroy(c);
}

TEST(a_node_that_keeps_the_option_remembers_its_promise)
{
    struct cluster *c = three(true);
    cluster_run(c, 200);
    for (unsigned id = 1; id <= 3; id++)
        assert_true(remembers(c, id));
    cluster_destroy(c);
}

T_MAIN(T(a_node_that_follows_serves_a_read_if_asked_for_that),
       T(a_node_that_follows_serves_no_read_unasked),
       T(a_node_that_follows_takes_no_write_keepalive_or_wait),
       T(reads_that_wait_for_a_leader_that_is_gone_are_refused),
       T(a_deposed_leader_serves_reads_as_the_follower_that_it_is_now),
       T(the_leader_serves_those_who_ask_anywhere_too),
       T(a_leader_with_a_lease_reads_without_a_message), T(without_the_option_no_read_is_by_lease),
       T(a_leader_that_slept_through_its_lease_does_not_answer_by_it),
       T(a_leader_that_slept_goes_on_to_lead_if_nobody_else_does),
       T(a_majority_with_the_option_is_enough_for_a_lease),
       T(a_node_that_is_started_without_the_option_keeps_what_it_promised),
       T(a_node_that_keeps_the_option_remembers_its_promise))
