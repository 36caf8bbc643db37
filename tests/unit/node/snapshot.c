/* SPDX-License-Identifier: Apache-2.0 */
/* A follower that the log can no longer help. */
#include "tests/unit/node/cluster.h"

/* Small limits do not cut the log in memory below log_keep_*: write enough to pass it. */
static struct cluster *busy_at(unsigned tick_bytes, struct test_client **ret, uint64_t *ret_me)
{
    struct cluster *c =
        cluster_create(&(struct cluster_options){.n = 3,
                                                 .flush_log_bytes = 200000,
                                                 .segment_bytes = 262144,
                                                 .snapshot_tick_bytes = tick_bytes});
    EVENTUALLY(c, cluster_leader(c) != 0);
    *ret = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    *ret_me = client_open_session(*ret);
    return c;
}

static struct cluster *busy(struct test_client **ret, uint64_t *ret_me)
{
    return busy_at(0, ret, ret_me);
}

static void write_many(struct cluster *c, struct test_client *k, uint64_t me, unsigned rounds)
{
    static uint8_t value[64 * 1024];
    memset(value, 'x', sizeof(value));
    for (unsigned i = 0; i < rounds; i++) {
        char key[16];
        g_snprintf(key, sizeof(key), "k%u", i % 50);
        uint64_t id = client_ask_put(k, me, i + 1, key, bytes_of(value, sizeof(value)));
        assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    }
}

static unsigned a_follower(struct cluster *c)
{
    return cluster_leader(c) % 3 + 1;
}

static bool caught_up(struct cluster *c, unsigned id)
{
    return cluster_status(c, id).applied >= cluster_status(c, cluster_leader(c)).applied;
}

TEST(a_follower_behind_the_log_gets_a_snapshot_and_then_the_log)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = busy(&k, &me);
    unsigned late = a_follower(c);
    cluster_kill(c, late);
    write_many(c, k, me, 250); /* 16 MiB, twice what is kept */
    raft_index before = cluster_status(c, cluster_leader(c)).first;
    assert_true(before > 50);
    cluster_start(c, late);
    EVENTUALLY(c, caught_up(c, late));
    T_CONTAINS(c->nodes[late - 1].log->str, "snapshot-installed");
    assert_true(cluster_status(c, late).first >= before);
    assert_int_equal(client_put(k, me, 1000, "after", "snapshot"), 0);
    EVENTUALLY(c, caught_up(c, late));
    cluster_destroy(c);
}

TEST(an_installed_snapshot_survives_crashes_and_can_lead)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = busy(&k, &me);
    unsigned late = a_follower(c), third = 6 - late - cluster_leader(c);
    cluster_kill(c, late);
    write_many(c, k, me, 200);
    assert_int_equal(client_put(k, me, 1000, "mark", "here"), 0);
    cluster_start(c, late);
    EVENTUALLY(c, caught_up(c, late));
    cluster_kill(c, late);
    cluster_start(c, late);
    EVENTUALLY(c, caught_up(c, late));
    unsigned old = cluster_leader(c);
    cluster_kill(c, third);
    cluster_run(c, 20);
    EVENTUALLY(c, caught_up(c, late));
    /* The third cannot win any more; the late one must carry the data on with it later. */
    cluster_kill(c, old);
    cluster_start(c, third);
    EVENTUALLY(c, cluster_leader(c) != 0);
    const char *got;
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_get(k, "mark", &got, NULL), 0);
    assert_string_equal(got, "here");
    cluster_destroy(c);
}

TEST(a_transfer_goes_on_after_its_connection_broke)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = busy(&k, &me);
    unsigned leader = cluster_leader(c), late = a_follower(c);
    cluster_kill(c, late);
    write_many(c, k, me, 250);
    cluster_start(c, late);
    EVENTUALLY(c, strstr(c->nodes[late - 1].log->str, "snapshot-receive") != NULL);
    cluster_cut(c, leader, late, true);
    cluster_run(c, 5);
    cluster_cut(c, leader, late, false);
    EVENTUALLY(c, caught_up(c, late));
    const char *first = strstr(c->nodes[late - 1].log->str, "snapshot-receive");
    assert_null(strstr(first + 1, "snapshot-receive"));
    cluster_destroy(c);
}

/* Also when it dies before the head of the stream has come. */
TEST(a_follower_that_dies_in_a_transfer_goes_on_with_it)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = busy(&k, &me);
    unsigned late = a_follower(c);
    cluster_kill(c, late);
    write_many(c, k, me, 250);
    cluster_start(c, late);
    EVENTUALLY(c, strstr(c->nodes[late - 1].log->str, "snapshot-receive") != NULL);
    cluster_kill(c, late);
    cluster_start(c, late);
    EVENTUALLY(c, caught_up(c, late));
    cluster_destroy(c);
}

TEST(a_follower_catches_up_while_others_go_on_writing)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = busy(&k, &me);
    unsigned late = a_follower(c);
    cluster_kill(c, late);
    write_many(c, k, me, 250);
    cluster_start(c, late);
    static uint8_t value[64 * 1024];
    for (unsigned i = 0; !caught_up(c, late) || i < 300; i++) {
        assert_true(i < 3000);
        uint64_t id = client_ask_put(k, me, 1000 + i, "busy", bytes_of(value, sizeof(value)));
        assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
        cluster_run(c, 1);
    }
    const char *first = strstr(c->nodes[late - 1].log->str, "snapshot-installed");
    assert_non_null(first);
    assert_null(strstr(first + 1, "snapshot-installed"));
    cluster_destroy(c);
}

TEST(one_checkpoint_serves_all_who_need_one)
{
    struct cluster *c = cluster_create(
        &(struct cluster_options){.n = 5, .flush_log_bytes = 200000, .segment_bytes = 262144});
    EVENTUALLY(c, cluster_leader(c) != 0);
    unsigned leader = cluster_leader(c), one = leader % 5 + 1, other = one % 5 + 1;
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    cluster_kill(c, one);
    cluster_kill(c, other);
    write_many(c, k, me, 250);
    cluster_start(c, one);
    cluster_start(c, other);
    EVENTUALLY(c, caught_up(c, one) && caught_up(c, other));
    assert_int_equal(client_counter(k, "snapshots_sent"), 2);
    assert_int_equal(client_counter(k, "checkpoints"), 1);
    cluster_destroy(c);
}

TEST(a_transfer_takes_no_more_than_its_share_of_each_tick)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = busy_at(KIB(32), &k, &me);
    unsigned late = a_follower(c), ticks = 0;
    cluster_kill(c, late);
    write_many(c, k, me, 250);
    cluster_start(c, late);
    for (; !strstr(c->nodes[late - 1].log->str, "snapshot-installed"); ticks++) {
        assert_true(ticks < PATIENCE);
        cluster_run(c, 1);
    }
    uint64_t sent = client_counter(k, "snapshot_bytes_sent");
    assert_true(sent > MIB(3));
    /* The last chunk may begin as long as something is left. */
    assert_true(sent <= ticks * KIB(32) + SNAPSHOT_CHUNK);
    cluster_destroy(c);
}

T_MAIN(T(a_follower_behind_the_log_gets_a_snapshot_and_then_the_log),
       T(an_installed_snapshot_survives_crashes_and_can_lead),
       T(a_transfer_goes_on_after_its_connection_broke),
       T(a_follower_that_dies_in_a_transfer_goes_on_with_it),
       T(a_follower_catches_up_while_others_go_on_writing),
       T(one_checkpoint_serves_all_who_need_one),
       T(a_transfer_takes_no_more_than_its_share_of_each_tick))
