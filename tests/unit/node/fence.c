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

TEST(many_new_sessions_need_few_entries_to_be_known)
{
    struct cluster *c = sharing();
    uint64_t clients[60], ids[60];
    unsigned shard = shard_of(c, 1);
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        clients[i] = multi_session(c);
    uint64_t before = multi_applied(c, 1);
    struct test_client *k = client_connect(c, multi_leader(c, 1), ROLE_CLIENT, false);
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++) {
        struct kv_write w = {
            .op = KV_PUT, .key = multi_key(c, shard, "key"), .value = bytes_str("v")};
        struct msg_txn t = {
            .client = clients[i], .seq = 1, .acked_below = 1, .n_writes = 1, .writes = &w};
        ids[i] = CLIENT_ASK(k, txn, &t);
    }
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        assert_int_equal(frame_status(c, client_wait(k, ids[i]), NULL), 0);
    assert_in_range(multi_applied(c, 1) - before, ARRAY_LEN(clients), ARRAY_LEN(clients) + 3);
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
       T(many_new_sessions_need_few_entries_to_be_known),
       T(a_client_that_nobody_has_registered_is_not_served),
       T(a_session_that_ended_is_refused_by_every_group_before_it_is_taken_off_the_list),
       T(as_long_as_one_group_has_not_heard_it_a_session_stays_on_the_list),
       T(the_leader_of_group_0_may_die_while_it_tells_the_others))
