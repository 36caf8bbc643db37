/* SPDX-License-Identifier: Apache-2.0 */
/* Who may say what: hello, roles, malformed frames, bounds. */
#include "tests/unit/node/cluster.h"

static struct cluster *one(void)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 1});
    EVENTUALLY(c, cluster_leader(c) == 1);
    return c;
}

/* Says hello as `hello` with certificate `peer`; true if it is let in. */
static bool let_in(struct cluster *c, const struct net_peer *peer, const struct msg_hello *hello)
{
    struct test_client *k = client_raw(c, 1, peer);
    struct enc e = {0};
    FRAME(&e, hello, 0, hello);
    client_send(k, &e);
    cluster_run(c, 3);
    return !client_closed(k);
}

static const struct net_peer a_client = {ROLE_CLIENT, 0, false, -1, "client"};

TEST(a_hello_of_another_cluster_or_protocol_is_refused)
{
    struct cluster *c = one();
    struct msg_hello hello = {.protocol = HELLO_PROTOCOL, .cluster = CLUSTER_ID};
    assert_true(let_in(c, &a_client, &hello));
    hello.cluster = CLUSTER_ID + 1;
    assert_false(let_in(c, &a_client, &hello));
    hello = (struct msg_hello){.protocol = 9, .cluster = CLUSTER_ID};
    assert_false(let_in(c, &a_client, &hello));
    T_CONTAINS(c->nodes[0].log->str, "speaks protocol 9");
    cluster_destroy(c);
}

TEST(a_node_must_be_what_its_certificate_says)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    struct net_peer node2 = {ROLE_NODE, 2, false, -1, "node"};
    struct msg_hello hello = {
        .protocol = HELLO_PROTOCOL, .cluster = CLUSTER_ID, .node = 2, .incarnation = 200 + 1};
    cluster_kill(c, 2);
    cluster_run(c, 5);
    assert_true(let_in(c, &node2, &hello));
    assert_false(let_in(c, &a_client, &hello));
    hello.node = 3;
    assert_false(let_in(c, &node2, &hello));
    hello.node = 1;
    node2.node = 1;
    assert_false(let_in(c, &node2, &hello));
    cluster_destroy(c);
}

/* It may have been added while this one was down. */
TEST(a_node_with_a_certificate_that_is_not_known_as_a_member_is_a_guest)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    struct net_peer node8 = {ROLE_NODE, 8, false, -1, "node"};
    struct msg_hello hello = {.protocol = HELLO_PROTOCOL, .cluster = CLUSTER_ID, .node = 8, .incarnation = 801};
    struct msg_locate locate = {.shard = 1};
    struct msg_locate_reply reply;
    assert_true(let_in(c, &node8, &hello));
    hello.incarnation++; /* nothing is remembered of it */
    assert_true(let_in(c, &node8, &hello));
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, locate, &locate));
    T_OK(dec_locate_reply(f.body, &c->arena, &reply));
    assert_int_equal(reply.n_nodes, 3);
    node8.role = ROLE_CLIENT;
    assert_false(let_in(c, &node8, &hello));
    cluster_destroy(c);
}

TEST(a_data_directory_made_anew_under_an_old_id_is_refused)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_kill(c, 2);
    cluster_wipe(c, 2);
    cluster_start(c, 2);
    cluster_run(c, 200);
    T_CONTAINS(c->nodes[0].log->str, "another data directory");
    g_string_truncate(c->nodes[0].log, 0);
    cluster_kill(c, 1);
    cluster_start(c, 1);
    cluster_run(c, 200);
    T_CONTAINS(c->nodes[0].log->str, "another data directory");
    assert_int_equal(cluster_status(c, 2).applied, 0);
    cluster_destroy(c);
}

TEST(who_says_nothing_is_shown_out)
{
    struct cluster *c = one();
    struct test_client *k = client_raw(c, 1, &a_client);
    cluster_run(c, HANDSHAKE_TIMEOUT_MS / TICK_MS + 5);
    assert_true(client_closed(k));
    cluster_destroy(c);
}

TEST(a_garbage_body_is_answered_once_and_ends_the_connection)
{
    struct cluster *c = one();
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    struct enc e = {0};
    uint64_t id = client_next_id(k);
    size_t at = frame_begin(&e);
    enc_raw(&e, "garbage", 7);
    frame_end(&e, at, MSG_txn, id);
    client_send(k, &e);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_INVALID);
    cluster_run(c, 1);
    assert_true(client_closed(k));
    cluster_destroy(c);
}

TEST(a_read_only_certificate_reads_and_may_not_write)
{
    struct cluster *c = one();
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    struct test_client *reader = client_connect(c, 1, ROLE_CLIENT, true);
    assert_int_equal(client_put(reader, me, 2, "a", "y"), ERR_DENIED);
    struct msg_session_close close = {me};
    assert_int_equal(
        frame_status(c, client_wait(reader, CLIENT_ASK(reader, session_close, &close)), NULL),
        ERR_DENIED);
    assert_int_equal(client_get(reader, "a", &got, NULL), 0);
    assert_string_equal(got, "x");
    cluster_destroy(c);
}

TEST(a_client_may_not_send_raft_messages)
{
    struct cluster *c = one();
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    struct msg_raft_wire m = {.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 99};
    raft_term term = cluster_status(c, 1).term;
    assert_int_equal(frame_status(c, client_wait(k, CLIENT_ASK(k, raft_wire, &m)), NULL),
                     ERR_DENIED);
    assert_int_equal(cluster_status(c, 1).term, term);
    cluster_destroy(c);
}

TEST(an_unknown_type_is_answered)
{
    struct cluster *c = one();
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    struct msg_fetch m = {0};
    assert_int_equal(frame_status(c, client_wait(k, CLIENT_ASK(k, fetch, &m)), NULL), ERR_INVALID);
    assert_false(client_closed(k));
    cluster_destroy(c);
}

TEST(a_connection_with_too_many_requests_hears_busy)
{
    struct cluster *c = one();
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    struct msg_wait m = {.key = test_key(c, "a"), .timeout_ms = 1000};
    uint64_t last = 0;
    for (unsigned i = 0; i <= SESSION_WINDOW * 4; i++)
        last = CLIENT_ASK(k, wait, &m);
    assert_int_equal(frame_status(c, client_wait(k, last), NULL), ERR_BUSY);
    assert_int_equal(frame_status(c, client_wait(k, last - 1), NULL), ERR_TIMEOUT);
    assert_int_equal(client_get(k, "a", NULL, NULL), 0);
    cluster_destroy(c);
}

TEST(a_key_of_no_shard_is_invalid)
{
    struct cluster *c = one();
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    const uint8_t key[] = {0, TEST_SHARDS, 'x'};
    struct kv_read r = {.op = KV_GET, .key = bytes_of(key, sizeof(key))};
    struct msg_txn txn = {.n_reads = 1, .reads = &r};
    assert_int_equal(frame_status(c, client_wait(k, CLIENT_ASK(k, txn, &txn)), NULL), ERR_INVALID);
    cluster_destroy(c);
}

TEST(random_bodies_of_every_type_do_no_harm)
{
    struct cluster *c = one();
    struct rng rng = t_rng();
    const unsigned types[] = {MSG_txn,       MSG_wait,         MSG_session_open, MSG_session_close,
                              MSG_keepalive, MSG_session_list, MSG_locate,       MSG_node_status,
                              MSG_raft_wire, MSG_snap_chunk,   MSG_snap_ack,     MSG_hello,
                              MSG_check,     MSG_check_ask};
    for (unsigned i = 0; i < 500; i++) {
        struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
        uint8_t body[64];
        for (size_t b = 0; b < sizeof(body); b++)
            body[b] = (uint8_t)(rng_below(&rng, 3) ? 0 : rng_next(&rng));
        struct enc e = {0};
        uint64_t id = client_next_id(k);
        size_t at = frame_begin(&e);
        enc_raw(&e, body, rng_below(&rng, sizeof(body)));
        frame_end(&e, at, types[rng_below(&rng, ARRAY_LEN(types))], id);
        client_send(k, &e);
        cluster_run(c, 0);
        client_hang_up(k);
    }
    struct test_client *k = client_connect(c, 1, ROLE_CLIENT, false);
    assert_int_equal(client_put(k, client_open_session(k), 1, "a", "x"), 0);
    cluster_destroy(c);
}

/* A member whose program has gone mad, as far as its certificate lets it. Terms stay small, or the
 * rest would have to follow them. */
TEST(random_messages_of_a_member_end_no_process)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    struct rng rng = t_rng();
    cluster_kill(c, 2);
    EVENTUALLY(c, cluster_leader(c) == 1 || cluster_leader(c) == 3);
    const struct net_peer node2 = {ROLE_NODE, 2, false, -1, "node"};
    const struct msg_hello hello = {
        .protocol = HELLO_PROTOCOL, .cluster = CLUSTER_ID, .node = 2, .incarnation = 201};
    struct enc e = {0};
    struct test_client *k = client_raw(c, 1, &node2);
    FRAME(&e, hello, 0, &hello);
    client_send(k, &e);
    for (unsigned i = 0; i < 3000; i++) {
        struct msg_raft_wire m = {
            .type = (uint8_t)rng_between(&rng, RAFT_PREVOTE, RAFT_VOTE_RESP),
            .from = 2,
            .to = (uint32_t)rng_between(&rng, 1, 3),
            .term = rng_below(&rng, 12),
            .index = rng_below(&rng, 8),
            .log_term = rng_below(&rng, 4),
            .reject = (uint8_t)rng_below(&rng, 2),
            .read_round = rng_below(&rng, 50),
        };
        struct msg_snap_ack ack = {.id = rng_below(&rng, 3), .offset = rng_next(&rng)};
        struct msg_snap_chunk chunk = {.term = rng_below(&rng, 12),
                                       .index = rng_below(&rng, 30),
                                       .index_term = rng_below(&rng, 4),
                                       .id = rng_below(&rng, 3),
                                       .offset = rng_below(&rng, 3),
                                       .data = bytes_str("stuff")};
        struct beat_ask ask = {.gid = (uint32_t)rng_below(&rng, 3),
                               .term = rng_below(&rng, 12),
                               .commit = rng_below(&rng, 30),
                               .flags = (uint8_t)rng_below(&rng, 32)};
        struct beat_answer answer = {.gid = (uint32_t)rng_below(&rng, 3),
                                     .term = rng_below(&rng, 12),
                                     .index = rng_below(&rng, 30),
                                     .flags = (uint8_t)rng_below(&rng, 32)};
        struct msg_beat beat = {1, &ask, 1, &answer};
        unsigned what = (unsigned)rng_below(&rng, 11);
        if (what == 0)
            CLIENT_ASK(k, snap_ack, &ack);
        else if (what == 1)
            CLIENT_ASK(k, snap_chunk, &chunk);
        else if (what == 2)
            CLIENT_ASK(k, beat, &beat);
        else
            CLIENT_ASK(k, raft_wire, &m);
        cluster_run(c, i % 8 == 0);
    }
    client_hang_up(k);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_destroy(c);
}

T_MAIN(T(a_hello_of_another_cluster_or_protocol_is_refused),
       T(a_node_must_be_what_its_certificate_says),
       T(a_node_with_a_certificate_that_is_not_known_as_a_member_is_a_guest),
       T(a_data_directory_made_anew_under_an_old_id_is_refused), T(who_says_nothing_is_shown_out),
       T(a_garbage_body_is_answered_once_and_ends_the_connection),
       T(a_read_only_certificate_reads_and_may_not_write), T(a_client_may_not_send_raft_messages),
       T(an_unknown_type_is_answered), T(a_connection_with_too_many_requests_hears_busy),
       T(a_key_of_no_shard_is_invalid), T(random_bodies_of_every_type_do_no_harm),
       T(random_messages_of_a_member_end_no_process))
