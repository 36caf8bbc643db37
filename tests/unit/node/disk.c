/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that hang or fill up. */
#include "tests/unit/node/cluster.h"

static struct cluster *start_flushing(unsigned n, uint64_t flush_log_bytes,
                                      struct test_client **ret, uint64_t *ret_me)
{
    struct cluster *c = cluster_create(&(struct cluster_options){
        .n = n, .flush_log_bytes = flush_log_bytes, .segment_bytes = 262144});
    EVENTUALLY(c, cluster_leader(c) != 0);
    *ret = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    *ret_me = client_open_session(*ret);
    return c;
}

static struct cluster *start(unsigned n, struct test_client **ret, uint64_t *ret_me)
{
    return start_flushing(n, 200000, ret, ret_me);
}

TEST(nothing_is_answered_before_it_is_on_disk)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    cluster_hold_syncs(c, 1, true);
    uint64_t id = client_ask_put(k, me, 1, "a", bytes_str("x"));
    cluster_run(c, 5);
    assert_false(client_has(k, id));
    cluster_hold_syncs(c, 1, false);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    cluster_destroy(c);
}

TEST(a_quorum_of_disks_is_enough)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    unsigned slow = cluster_leader(c) % 3 + 1;
    cluster_hold_syncs(c, slow, true);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    assert_int_equal(client_put(k, me, 2, "a", "y"), 0);
    cluster_hold_syncs(c, slow, false);
    EVENTUALLY(c, cluster_status(c, slow).applied >= cluster_status(c, cluster_leader(c)).applied);
    cluster_destroy(c);
}

/* The followers' disks suffice; the leader's own write may still be under way. */
TEST(a_put_does_not_wait_for_the_leaders_own_disk)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    cluster_hold_syncs(c, cluster_leader(c), true);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    cluster_hold_syncs(c, cluster_leader(c), false);
    cluster_destroy(c);
}

TEST(a_leader_whose_disk_hangs_makes_room_for_another)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    unsigned old = cluster_leader(c);
    cluster_hold_syncs(c, old, true);
    client_ask_put(k, me, 1, "a", bytes_str("x"));
    EVENTUALLY(c, cluster_leader(c) != old && cluster_leader(c) != 0);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_put(k, me, 1, "a", "again"), 0);
    assert_int_equal(client_put(k, me, 2, "a", "y"), 0);
    cluster_hold_syncs(c, old, false);
    EVENTUALLY(c, cluster_status(c, old).applied >= cluster_status(c, cluster_leader(c)).applied);
    cluster_destroy(c);
}

TEST(a_full_disk_refuses_writes_and_serves_again_when_there_is_room)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "kept"), 0);
    cluster_fill_disk(c, 1, true);
    cluster_run(c, 60);
    assert_int_equal(client_put(k, me, 2, "a", "refused"), ERR_NO_SPACE);
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "kept");
    cluster_fill_disk(c, 1, false);
    cluster_run(c, 60);
    assert_int_equal(client_put(k, me, 2, "a", "taken"), 0);
    cluster_destroy(c);
}

/* The disk fills up faster than housekeeping looks, and no flush has freed a segment. */
TEST(a_log_that_runs_out_of_room_acknowledges_nothing_and_loses_nothing)
{
    struct test_client *k;
    uint64_t me;
    static uint8_t value[60000];
    uint64_t ids[40];
    struct cluster *c = start_flushing(1, MIB(64), &k, &me);
    memset(value, 'x', sizeof(value));
    cluster_fill_disk(c, 1, true);
    for (unsigned i = 0; i < 40; i++) {
        char key[16];
        g_snprintf(key, sizeof(key), "k%u", i);
        ids[i] = client_ask_put(k, me, i + 1, key, bytes_of(value, sizeof(value)));
        cluster_run(c, 0);
    }
    cluster_run(c, 10);
    T_CONTAINS(c->nodes[0].log->str, "disk-full");
    assert_false(client_has(k, ids[39]) && frame_status(c, client_wait(k, ids[39]), NULL) == 0);
    cluster_fill_disk(c, 1, false);
    cluster_run(c, 120);
    for (unsigned i = 0; i < 40; i++) {
        unsigned status = frame_status(c, client_wait(k, ids[i]), NULL);
        if (status == ERR_NO_SPACE || status == ERR_BUSY)
            continue;
        assert_int_equal(status, 0);
    }
    assert_int_equal(client_put(k, me, 41, "after", "room"), 0);
    cluster_kill(c, 1);
    cluster_start(c, 1);
    EVENTUALLY(c, cluster_leader(c) == 1);
    const char *got;
    k = client_connect(c, 1, ROLE_CLIENT, false);
    assert_int_equal(client_get(k, "after", &got, NULL), 0);
    assert_string_equal(got, "room");
    cluster_destroy(c);
}

T_MAIN(T(nothing_is_answered_before_it_is_on_disk), T(a_quorum_of_disks_is_enough),
       T(a_put_does_not_wait_for_the_leaders_own_disk),
       T(a_leader_whose_disk_hangs_makes_room_for_another),
       T(a_full_disk_refuses_writes_and_serves_again_when_there_is_room),
       T(a_log_that_runs_out_of_room_acknowledges_nothing_and_loses_nothing))
