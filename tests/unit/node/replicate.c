/* SPDX-License-Identifier: Apache-2.0 */
/* Three nodes: elections, replication, fail-over. */
#include "tests/unit/node/cluster.h"

static struct cluster *three(void)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    EVENTUALLY(c, cluster_leader(c) != 0);
    return c;
}

static bool all_applied(struct cluster *c, raft_index index)
{
    for (unsigned i = 1; i <= c->n; i++)
        if (c->nodes[i - 1].node && cluster_status(c, i).applied < index)
            return false;
    return true;
}

TEST(three_nodes_elect_one_leader_and_replicate)
{
    struct cluster *c = three();
    unsigned leader = cluster_leader(c);
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "one"), 0);
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "one");
    raft_index index = cluster_status(c, leader).applied;
    EVENTUALLY(c, all_applied(c, index));
    cluster_destroy(c);
}

TEST(nodes_started_together_elect_before_an_election_time_out)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    for (unsigned ticks = 0; ticks < ELECTION_TICKS / 2 && !cluster_leader(c); ticks++)
        cluster_run(c, 1);
    assert_int_equal(cluster_leader(c), 1);
    assert_int_equal(cluster_status(c, 1).term, 1);
    cluster_destroy(c);
}

TEST(a_node_that_starts_again_does_not_disturb_the_leader)
{
    struct cluster *c = three();
    unsigned leader = cluster_leader(c), first = leader == 1 ? 2 : 1;
    raft_term term = cluster_status(c, leader).term;
    cluster_kill(c, first);
    cluster_run(c, 10);
    cluster_start(c, first);
    cluster_run(c, 200);
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_status(c, first).leader, leader);
    assert_int_equal(cluster_status(c, leader).term, term);
    cluster_destroy(c);
}

TEST(a_quiet_cluster_keeps_its_leader)
{
    struct cluster *c = three();
    unsigned leader = cluster_leader(c);
    raft_term term = cluster_status(c, leader).term;
    cluster_run(c, 1000);
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_status(c, leader).term, term);
    cluster_destroy(c);
}

TEST(a_follower_names_the_leader)
{
    struct cluster *c = three();
    unsigned leader = cluster_leader(c), other = leader % 3 + 1;
    struct test_client *k = client_connect(c, other, ROLE_CLIENT, false);
    struct msg_status status;
    cluster_run(c, 20);
    struct frame f = client_wait(k, client_ask_put(k, 5, 1, "a", bytes_str("x")));
    assert_int_equal(f.type, MSG_status);
    T_OK(dec_status(f.body, &c->arena, &status));
    assert_int_equal(status.status, ERR_NOT_LEADER);
    assert_int_equal(status.leader, leader);

    struct msg_locate locate = {.shard = 1};
    struct msg_locate_reply reply;
    f = client_wait(k, CLIENT_ASK(k, locate, &locate));
    T_OK(dec_locate_reply(f.body, &c->arena, &reply));
    assert_int_equal(reply.leader, leader);
    assert_int_equal(reply.shards, TEST_SHARDS);
    assert_int_equal(reply.n_nodes, 3);
    cluster_destroy(c);
}

TEST(the_next_leader_answers_the_same_seq_with_the_first_result)
{
    struct cluster *c = three();
    unsigned first = cluster_leader(c);
    struct test_client *k = client_connect(c, first, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k), v1, v2;
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "first"), 0);
    assert_int_equal(client_get(k, "a", &got, &v1), 0);
    cluster_kill(c, first);
    EVENTUALLY(c, cluster_leader(c) != 0);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_put(k, me, 1, "a", "second"), 0);
    assert_int_equal(client_get(k, "a", &got, &v2), 0);
    assert_string_equal(got, "first");
    assert_int_equal(v1, v2);
    assert_int_equal(client_put(k, me, 2, "a", "third"), 0);
    cluster_start(c, first);
    raft_index index = cluster_status(c, cluster_leader(c)).applied;
    EVENTUALLY(c, all_applied(c, index));
    cluster_destroy(c);
}

TEST(a_leader_cut_off_answers_no_read_and_gives_up_its_proposals)
{
    struct cluster *c = three();
    unsigned old = cluster_leader(c);
    struct test_client *k = client_connect(c, old, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "old"), 0);
    cluster_cut_off(c, old, true);
    uint64_t put = client_ask_put(k, me, 2, "a", bytes_str("lost?"));
    struct kv_read read = {.op = KV_GET, .key = test_key(c, "a")};
    struct msg_txn get = {.n_reads = 1, .reads = &read};
    uint64_t got_id = CLIENT_ASK(k, txn, &get);
    assert_int_equal(frame_status(c, client_wait(k, put), NULL), ERR_NOT_LEADER);
    assert_int_equal(frame_status(c, client_wait(k, got_id), NULL), ERR_NOT_LEADER);
    EVENTUALLY(c, cluster_leader(c) != 0 && cluster_leader(c) != old);

    struct test_client *k2 = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_put(k2, me, 2, "a", "new"), 0);
    cluster_cut_off(c, old, false);
    raft_index index = cluster_status(c, cluster_leader(c)).applied;
    EVENTUALLY(c, all_applied(c, index));
    k2 = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_get(k2, "a", &got, NULL), 0);
    assert_string_equal(got, "new");
    cluster_destroy(c);
}

TEST(without_a_quorum_the_status_says_so)
{
    struct cluster *c = three();
    unsigned keep = cluster_leader(c);
    for (unsigned i = 1; i <= 3; i++)
        if (i != keep)
            cluster_kill(c, i);
    EVENTUALLY(c, cluster_leader(c) == 0);
    cluster_run(c, 100);
    struct test_client *k = client_connect(c, keep, ROLE_CLIENT, false);
    struct msg_node_status ask = {0};
    struct msg_node_status_reply reply;
    struct frame f = client_wait(k, CLIENT_ASK(k, node_status, &ask));
    T_OK(dec_node_status_reply(f.body, &c->arena, &reply));
    T_CONTAINS(arena_printf(&c->arena, "%.*s", (int)reply.note.n, (const char *)reply.note.p),
               "no quorum: 2 of 3 members silent");
    cluster_destroy(c);
}

TEST(all_crash_and_nothing_answered_is_lost)
{
    struct cluster *c = three();
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    for (unsigned round = 1; round <= 5; round++) {
        char value[16];
        const char *got;
        g_snprintf(value, sizeof(value), "value %u", round);
        k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
        assert_int_equal(client_put(k, me, round, "a", value), 0);
        for (unsigned i = 1; i <= 3; i++)
            cluster_kill(c, i);
        for (unsigned i = 1; i <= 3; i++)
            cluster_start(c, i);
        EVENTUALLY(c, cluster_leader(c) != 0);
        k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
        assert_int_equal(client_get(k, "a", &got, NULL), 0);
        assert_string_equal(got, value);
    }
    cluster_destroy(c);
}

T_MAIN(T(three_nodes_elect_one_leader_and_replicate),
       T(nodes_started_together_elect_before_an_election_time_out),
       T(a_node_that_starts_again_does_not_disturb_the_leader), T(a_quiet_cluster_keeps_its_leader),
       T(a_follower_names_the_leader),
       T(the_next_leader_answers_the_same_seq_with_the_first_result),
       T(a_leader_cut_off_answers_no_read_and_gives_up_its_proposals),
       T(without_a_quorum_the_status_says_so), T(all_crash_and_nothing_answered_is_lost))
