/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions in a cluster of several groups (fence.h): known where they write, fenced when they end.
 */
#include "tests/unit/node/multi.h"

#define A_SECOND 50 /* ticks */

/* Three nodes; groups 1 and 2 share the shards. */
static struct cluster *sharing(void)
{
    struct cluster *c = multi_serving(3, 2);
    multi_change(c, CONFIG_JOIN, 0, "12");
    EVENTUALLY(c, multi_settled(c));
    return c;
}

static unsigned shard_of(struct cluster *c, unsigned gid)
{
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        if (multi_owner(c, shard) == gid)
            return shard;
    fail_msg("group %u owns nothing", gid);
    return 0;
}

static unsigned put(struct cluster *c, uint64_t client, uint64_t seq, unsigned gid)
{
    return multi_put(c, client, seq, shard_of(c, gid), "key", bytes_str("value"));
}

TEST(a_session_that_was_just_opened_writes_in_every_group)
{
    struct cluster *c = sharing();
    uint64_t client = multi_session(c);
    assert_int_equal(put(c, client, 1, 1), 0);
    assert_int_equal(put(c, client, 2, 2), 0);
    assert_string_equal(multi_get(c, shard_of(c, 2), "key"), "value");
    cluster_destroy(c);
}

#define NEW_CLIENTS 1000
#define PER_LINK    50 /* fewer than a connection may have under way */

TEST(a_thousand_new_sessions_need_few_entries_to_be_known)
{
    struct cluster *c = sharing();
    struct test_client *links[NEW_CLIENTS / PER_LINK], *opener;
    uint64_t clients[NEW_CLIENTS], ids[NEW_CLIENTS];
    unsigned shard = shard_of(c, 1);
    opener = client_connect(c, multi_leader(c, 0), ROLE_CLIENT, false);
    for (unsigned i = 0; i < NEW_CLIENTS; i++)
        clients[i] = client_open_session(opener);
    uint64_t before = multi_applied(c, 1);
    for (unsigned i = 0; i < ARRAY_LEN(links); i++)
        links[i] = client_connect(c, multi_leader(c, 1), ROLE_CLIENT, false);
    for (unsigned i = 0; i < NEW_CLIENTS; i++) {
        struct kv_write w = {
            .op = KV_PUT, .key = multi_key(c, shard, "key"), .value = bytes_str("v")};
        struct msg_txn t = {
            .client = clients[i], .seq = 1, .acked_below = 1, .n_writes = 1, .writes = &w};
        ids[i] = CLIENT_ASK(links[i / PER_LINK], txn, &t);
    }
    for (unsigned i = 0; i < NEW_CLIENTS; i++)
        assert_int_equal(frame_status(c, client_wait(links[i / PER_LINK], ids[i]), NULL), 0);
    assert_in_range(multi_applied(c, 1) - before, NEW_CLIENTS, NEW_CLIENTS + 3);
    for (unsigned i = 0; i < ARRAY_LEN(links); i++)
        client_hang_up(links[i]);
    client_hang_up(opener);
    cluster_destroy(c);
}

TEST(a_leader_that_steps_down_sends_those_who_wait_to_the_next_one)
{
    struct cluster *c = sharing();
    unsigned old = multi_leader(c, 1);
    struct test_client *k = client_connect(c, old, ROLE_CLIENT, false);
    struct kv_write w = {
        .op = KV_PUT, .key = multi_key(c, shard_of(c, 1), "key"), .value = bytes_str("v")};
    struct msg_txn t = {.client = 1000000, .seq = 1, .acked_below = 1, .n_writes = 1, .writes = &w};
    uint64_t id = CLIENT_ASK(k, txn, &t);
    cluster_run(c, 1);
    assert_false(client_has(k, id)); /* it waits */
    cluster_cut_off(c, old, true);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(a_client_that_nobody_has_registered_is_not_served)
{
    struct cluster *c = sharing();
    struct test_client *k = client_connect(c, multi_leader(c, 1), ROLE_CLIENT, false);
    struct kv_write w = {
        .op = KV_PUT, .key = multi_key(c, shard_of(c, 1), "key"), .value = bytes_str("v")};
    struct msg_txn t = {.client = 1000000, .seq = 1, .acked_below = 1, .n_writes = 1, .writes = &w};
    assert_int_equal(frame_status(c, client_wait(k, CLIENT_ASK(k, txn, &t)), NULL), ERR_BUSY);
    t.client = 1;
    assert_int_equal(put(c, multi_session(c), 1, 1), 0); /* the group knows the newest */
    assert_int_equal(frame_status(c, client_wait(k, CLIENT_ASK(k, txn, &t)), NULL), ERR_NO_SESSION);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(a_session_that_ended_is_refused_by_every_group_before_it_is_taken_off_the_list)
{
    struct cluster *c = sharing();
    uint64_t client = multi_session(c);
    assert_int_equal(put(c, client, 1, 1), 0);
    assert_int_equal(put(c, client, 2, 2), 0);
    assert_int_equal(multi_close(c, client), 0);
    assert_int_equal(multi_fencing(c), 1);
    EVENTUALLY(c, multi_fencing(c) == 0);
    assert_int_equal(put(c, client, 3, 1), ERR_NO_SESSION);
    assert_int_equal(put(c, client, 4, 2), ERR_NO_SESSION);
    cluster_destroy(c);
}

TEST(as_long_as_one_group_has_not_heard_it_a_session_stays_on_the_list)
{
    struct cluster *c = multi_serving(4, 1);
    multi_make(c, 2, "4");
    multi_change(c, CONFIG_JOIN, 0, "12");
    EVENTUALLY(c, multi_settled(c));
    uint64_t client = multi_session(c);
    assert_int_equal(put(c, client, 1, 2), 0);
    cluster_kill(c, 4);
    assert_int_equal(multi_close(c, client), 0);
    cluster_run(c, 700);
    assert_int_equal(multi_fencing(c), 1);
    cluster_start(c, 4);
    EVENTUALLY(c, multi_fencing(c) == 0);
    assert_int_equal(put(c, client, 2, 2), ERR_NO_SESSION);
    cluster_destroy(c);
}

TEST(a_group_that_cannot_be_reached_costs_the_others_no_entries)
{
    struct cluster *c = multi_serving(4, 1);
    multi_make(c, 2, "4");
    multi_change(c, CONFIG_JOIN, 0, "12");
    EVENTUALLY(c, multi_settled(c));
    uint64_t client = multi_session(c);
    cluster_kill(c, 4);
    uint64_t before = multi_applied(c, 1);
    assert_int_equal(multi_close(c, client), 0);
    cluster_run(c, 20 * A_SECOND);
    assert_int_equal(multi_fencing(c), 1);
    assert_int_equal(multi_applied(c, 1) - before, 1);
    cluster_destroy(c);
}

TEST(a_shard_arrives_where_its_clients_are_not_known_yet_and_repeats_no_request)
{
    struct cluster *c = sharing();
    unsigned shard = shard_of(c, 1);
    const char *ones = "\1\1\1\1\1\1\1\1";
    struct kv_write w = {.op = KV_ADD64, .key = multi_key(c, shard, "n"), .value = bytes_str(ones)};
    struct msg_txn t = {.client = multi_session(c), .seq = 2, .acked_below = 1};
    assert_int_equal(multi_put(c, t.client, 1, shard, "n", bytes_str(ones)), 0);
    struct msg_txn_reply first = {0}, again = {0};
    t.n_writes = 1;
    t.writes = &w;
    assert_int_equal(multi_txn(c, &t, &first), 0);
    multi_change(c, CONFIG_MOVE, shard, "2");
    EVENTUALLY(c, multi_settled(c));
    assert_int_equal(multi_txn(c, &t, &again), 0);
    assert_int_equal(again.versions[0].version, first.versions[0].version);
    assert_string_equal(multi_get(c, shard, "n"), "\2\2\2\2\2\2\2\2");
    assert_int_equal(multi_owner(c, shard), 2);
    cluster_destroy(c);
}

TEST(a_write_that_a_leader_without_followers_holds_is_never_made_once_its_session_has_ended)
{
    struct cluster *c = sharing();
    uint64_t client = multi_session(c);
    unsigned shard = shard_of(c, 1), old = multi_leader(c, 1);
    assert_int_equal(put(c, client, 1, 1), 0);
    struct test_client *k = client_connect(c, old, ROLE_CLIENT, false);
    struct kv_write w = {.op = KV_PUT, .key = multi_key(c, shard, "late"), .value = bytes_str("v")};
    struct msg_txn t = {.client = client, .seq = 2, .acked_below = 2, .n_writes = 1, .writes = &w};
    cluster_cut_off(c, old, true);
    uint64_t id = CLIENT_ASK(k, txn, &t);
    EVENTUALLY(c, cluster_leader(c) != old && cluster_leader(c) != 0 && multi_leader(c, 1) != old);
    assert_int_equal(multi_close(c, client), 0);
    EVENTUALLY(c, multi_fencing(c) == 0);
    cluster_cut_off(c, old, false);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    assert_int_equal(multi_txn(c, &t, NULL), ERR_NO_SESSION);
    assert_null(multi_get(c, shard, "late"));
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(the_leader_of_group_0_may_die_while_it_tells_the_others)
{
    for (unsigned ticks = 0; ticks <= A_SECOND; ticks += 2) {
        struct cluster *c = sharing();
        uint64_t client = multi_session(c);
        assert_int_equal(put(c, client, 1, 2), 0);
        assert_int_equal(multi_close(c, client), 0);
        for (unsigned i = 0; i < ticks; i++) {
            cluster_tick(c);
            (void)cluster_rounds(c, 2);
        }
        EVENTUALLY(c, multi_leader(c, 0) != 0);
        unsigned victim = multi_leader(c, 0);
        cluster_kill(c, victim);
        EVENTUALLY(c, multi_fencing(c) == 0);
        assert_int_equal(put(c, client, 2, 2), ERR_NO_SESSION);
        cluster_destroy(c);
    }
}

T_MAIN(T(a_session_that_was_just_opened_writes_in_every_group),
       T(a_thousand_new_sessions_need_few_entries_to_be_known),
       T(a_leader_that_steps_down_sends_those_who_wait_to_the_next_one),
       T(a_client_that_nobody_has_registered_is_not_served),
       T(a_session_that_ended_is_refused_by_every_group_before_it_is_taken_off_the_list),
       T(as_long_as_one_group_has_not_heard_it_a_session_stays_on_the_list),
       T(a_group_that_cannot_be_reached_costs_the_others_no_entries),
       T(a_shard_arrives_where_its_clients_are_not_known_yet_and_repeats_no_request),
       T(a_write_that_a_leader_without_followers_holds_is_never_made_once_its_session_has_ended),
       T(the_leader_of_group_0_may_die_while_it_tells_the_others))
