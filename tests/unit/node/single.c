/* SPDX-License-Identifier: Apache-2.0 */
/* One node alone: the shortest way of a request. */
#include "tests/unit/node/cluster.h"

static struct cluster *one(struct test_client **ret)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 1});
    EVENTUALLY(c, cluster_leader(c) == 1);
    *ret = client_connect(c, 1, ROLE_CLIENT, false);
    return c;
}

TEST(a_value_that_was_put_is_read)
{
    struct test_client *k;
    struct cluster *c = one(&k);
    uint64_t me = client_open_session(k);
    const char *got;
    uint64_t version;
    assert_int_equal(client_put(k, me, 1, "a", "hello"), 0);
    assert_int_equal(client_get(k, "a", &got, &version), 0);
    assert_string_equal(got, "hello");
    assert_true(version > 0);
    cluster_destroy(c);
}

TEST(an_absent_key_has_version_0)
{
    struct test_client *k;
    struct cluster *c = one(&k);
    uint64_t version = 7;
    assert_int_equal(client_get(k, "nothing", NULL, &version), 0);
    assert_int_equal(version, 0);
    cluster_destroy(c);
}

TEST(the_same_seq_writes_once)
{
    struct test_client *k;
    struct cluster *c = one(&k);
    uint64_t me = client_open_session(k);
    const char *got;
    uint64_t v1, v2;
    assert_int_equal(client_put(k, me, 1, "a", "first"), 0);
    assert_int_equal(client_get(k, "a", &got, &v1), 0);
    assert_int_equal(client_put(k, me, 1, "a", "second"), 0);
    assert_int_equal(client_get(k, "a", &got, &v2), 0);
    assert_string_equal(got, "first");
    assert_int_equal(v1, v2);
    cluster_destroy(c);
}

TEST(requests_of_one_round_share_one_log_write)
{
    struct test_client *k;
    struct cluster *c = one(&k);
    uint64_t me = client_open_session(k);
    struct raft_status before = cluster_status(c, 1);
    uint64_t last = 0;
    for (uint64_t seq = 1; seq <= 20; seq++)
        last = client_ask_put(k, me, seq, "a", bytes_str("x"));
    struct msg_node_status ask = {0};
    struct msg_node_status_reply reply;
    client_wait(k, last);
    assert_int_equal(cluster_status(c, 1).commit, before.commit + 20);
    T_OK(dec_node_status_reply(client_wait(k, CLIENT_ASK(k, node_status, &ask)).body, &c->arena,
                               &reply));
    for (uint32_t i = 0; i < reply.n_counters; i++)
        if (bytes_eq(reply.counters[i].name, bytes_str("log_syncs")))
            assert_true(reply.counters[i].value < 10);
    cluster_destroy(c);
}

TEST(what_was_answered_is_there_after_a_crash)
{
    struct test_client *k;
    struct cluster *c = one(&k);
    uint64_t me = client_open_session(k);
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "kept"), 0);
    cluster_kill(c, 1);
    cluster_start(c, 1);
    EVENTUALLY(c, cluster_leader(c) == 1);
    k = client_connect(c, 1, ROLE_CLIENT, false);
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "kept");
    assert_int_equal(client_put(k, me, 1, "a", "again"), 0);
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "kept");
    cluster_destroy(c);
}

TEST(a_flushed_log_is_cut_and_the_rest_replayed)
{
    struct cluster *c = cluster_create(
        &(struct cluster_options){.n = 1, .flush_log_bytes = 20000, .segment_bytes = 65536});
    EVENTUALLY(c, cluster_leader(c) == 1);
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    char value[2000], key[16];
    memset(value, 'v', sizeof(value));
    for (unsigned i = 1; i <= 200; i++) {
        g_snprintf(key, sizeof(key), "k%u", i);
        uint64_t id = client_ask_put(k, me, i, key, bytes_of(value, sizeof(value)));
        assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    }
    for (unsigned round = 0; round < 3; round++) {
        cluster_kill(c, 1);
        cluster_start(c, 1);
        EVENTUALLY(c, cluster_leader(c) == 1);
        assert_true(cluster_status(c, 1).first > 150);
        k = client_connect(c, 1, ROLE_CLIENT, false);
        for (unsigned i = 1; i <= 200; i++) {
            const char *got;
            g_snprintf(key, sizeof(key), "k%u", i);
            assert_int_equal(client_get(k, key, &got, NULL), 0);
            assert_int_equal(strlen(got), sizeof(value));
        }
    }
    cluster_destroy(c);
}

TEST(a_lost_log_is_refused_not_replaced)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 1, .flush_log_bytes = 1000});
    EVENTUALLY(c, cluster_leader(c) == 1);
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    char value[2000];
    memset(value, 'v', sizeof(value));
    client_wait(k, client_ask_put(k, me, 1, "a", bytes_of(value, sizeof(value))));
    cluster_run(c, 1);
    cluster_kill(c, 1);
    t_rmtree(t_path(c->nodes[0].dir, "wal"));
    struct errmsg msg = {""};
    T_ERR(ERR_CORRUPT, cluster_try_start(c, 1, &msg));
    T_CONTAINS(msg.text, "damaged");
    T_CONTAINS(msg.text, "backup");
    cluster_destroy(c);
}

TEST(status_tells_role_index_and_sessions)
{
    struct test_client *k;
    struct cluster *c = one(&k);
    client_open_session(k);
    struct msg_node_status ask = {0};
    struct msg_node_status_reply reply;
    struct frame f = client_wait(k, CLIENT_ASK(k, node_status, &ask));
    T_OK(dec_node_status_reply(f.body, &c->arena, &reply));
    assert_int_equal(reply.node, 1);
    assert_int_equal(reply.n_groups, 1);
    assert_int_equal(reply.groups[0].role, RAFT_LEADER);
    assert_int_equal(reply.groups[0].sessions, 1);
    assert_true(reply.groups[0].applied > 0);
    assert_int_equal(reply.note.n, 0);
    cluster_destroy(c);
}

T_MAIN(T(a_value_that_was_put_is_read), T(an_absent_key_has_version_0), T(the_same_seq_writes_once),
       T(requests_of_one_round_share_one_log_write), T(what_was_answered_is_there_after_a_crash),
       T(a_flushed_log_is_cut_and_the_rest_replayed), T(a_lost_log_is_refused_not_replaced),
       T(status_tells_role_index_and_sessions))
