/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that move between groups while they are used (take.h). */
#include "tests/unit/node/multi.h"

/* A value of so many bytes that tells which it is. */
static struct bytes large(struct cluster *c, unsigned which, size_t n)
{
    uint8_t *p = arena_alloc(&c->arena, n);
    memset(p, (int)('a' + which % 26), n);
    return bytes_of(p, n);
}

static void fill(struct cluster *c, uint64_t client, unsigned shard, unsigned n, size_t bytes)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(multi_put(c, client, i + 1, shard, arena_printf(&c->arena, "k%u", i),
                                   large(c, i, bytes)),
                         0);
}

static void is_filled(struct cluster *c, unsigned shard, unsigned n, size_t bytes)
{
    for (unsigned i = 0; i < n; i++) {
        const char *v = multi_get(c, shard, arena_printf(&c->arena, "k%u", i));
        assert_non_null(v);
        assert_int_equal(strlen(v), bytes);
        assert_int_equal(v[bytes - 1], 'a' + (int)(i % 26));
    }
}

static void all_owned_by(struct cluster *c, unsigned gid)
{
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        assert_int_equal(multi_owner(c, shard), gid);
}

TEST(the_first_group_that_joins_takes_every_shard_from_group_0)
{
    struct cluster *c = multi_serving(3, 1);
    uint64_t client = multi_session(c);
    fill(c, client, 3, 5, 10);
    multi_change(c, CONFIG_JOIN, 0, "1");
    EVENTUALLY(c, multi_settled(c));
    all_owned_by(c, 1);
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        assert_int_equal(multi_state(c, 0, shard), SHARD_FOREIGN);
    is_filled(c, 3, 5, 10);
    cluster_destroy(c);
}

TEST(a_shard_of_many_pieces_arrives_whole)
{
    struct cluster *c = multi_serving(3, 1);
    fill(c, multi_session(c), 3, 30, 100000);
    multi_change(c, CONFIG_JOIN, 0, "1");
    EVENTUALLY(c, multi_settled(c));
    assert_int_equal(multi_owner(c, 3), 1);
    is_filled(c, 3, 30, 100000);
    cluster_destroy(c);
}

TEST(groups_that_join_and_leave_share_the_shards_evenly)
{
    struct cluster *c = multi_serving(3, 3);
    unsigned owned[4] = {0};
    fill(c, multi_session(c), 7, 5, 1000);
    multi_change(c, CONFIG_JOIN, 0, "12");
    multi_change(c, CONFIG_JOIN, 0, "3");
    EVENTUALLY(c, multi_settled(c));
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        owned[multi_owner(c, shard)]++;
    for (unsigned gid = 1; gid <= 3; gid++)
        assert_in_range(owned[gid], 5, 6);
    multi_change(c, CONFIG_LEAVE, 0, "12");
    EVENTUALLY(c, multi_settled(c));
    all_owned_by(c, 3);
    is_filled(c, 7, 5, 1000);
    cluster_destroy(c);
}

TEST(a_shard_goes_there_and_back_again)
{
    struct cluster *c = multi_serving(3, 2);
    fill(c, multi_session(c), 5, 8, 50000);
    multi_change(c, CONFIG_JOIN, 0, "12");
    EVENTUALLY(c, multi_settled(c));
    for (unsigned i = 0; i < 4; i++) {
        unsigned to = multi_owner(c, 5) == 1 ? 2 : 1;
        multi_change(c, CONFIG_MOVE, 5, to == 1 ? "1" : "2");
        EVENTUALLY(c, multi_settled(c));
        assert_int_equal(multi_owner(c, 5), to);
        is_filled(c, 5, 8, 50000);
    }
    cluster_destroy(c);
}

/* --- crashes ---------------------------------------------------------------------------------- */

#define ROUNDS 48 /* of a move of ROWS; a test that dies later sees nothing of it */
#define ROWS   12

/* So many rounds after the move began. */
static struct cluster *moving(unsigned rounds)
{
    struct cluster *c = multi_serving(3, 1);
    fill(c, multi_session(c), 3, ROWS, 60000);
    multi_change(c, CONFIG_JOIN, 0, "1");
    while (!multi_moving(c, 3)) { /* it is one of the first */
        if (!cluster_rounds(c, 1))
            cluster_tick(c);
    }
    (void)cluster_rounds(c, rounds);
    return c;
}

static void ends_well(struct cluster *c)
{
    EVENTUALLY(c, multi_settled(c));
    all_owned_by(c, 1);
    is_filled(c, 3, ROWS, 60000);
    cluster_destroy(c);
}

/* The next leader goes on from the state alone. */
static void leader_dies(unsigned gid, unsigned rounds)
{
    struct cluster *c = moving(rounds);
    unsigned victim = multi_leader(c, gid);
    assert_int_not_equal(victim, 0);
    cluster_kill(c, victim);
    EVENTUALLY(c, multi_settled(c));
    cluster_start(c, victim);
    ends_well(c);
}

TEST(the_new_owners_leader_may_die_at_any_step)
{
    for (unsigned rounds = 0; rounds <= ROUNDS; rounds += 2)
        leader_dies(1, rounds);
}

TEST(the_old_owners_leader_may_die_at_any_step)
{
    for (unsigned rounds = 0; rounds <= ROUNDS; rounds += 2)
        leader_dies(0, rounds);
}

TEST(all_nodes_may_die_at_any_step)
{
    for (unsigned rounds = 0; rounds <= ROUNDS; rounds += 2) {
        struct cluster *c = moving(rounds);
        for (unsigned id = 1; id <= 3; id++)
            cluster_kill(c, id);
        for (unsigned id = 1; id <= 3; id++)
            cluster_start(c, id);
        ends_well(c);
    }
}

/* --- while it is used ------------------------------------------------------------------------- */

TEST(what_is_written_while_a_shard_is_copied_arrives_too)
{
    struct cluster *c = multi_serving(3, 1);
    uint64_t client = multi_session(c), ids[600];
    unsigned n = 0, written = 0;
    fill(c, client, 3, 60, 60000);
    multi_change(c, CONFIG_JOIN, 0, "1");
    struct test_client *k = client_connect(c, multi_leader(c, 0), ROLE_CLIENT, false);
    while (!multi_settled(c) && n < ARRAY_LEN(ids)) {
        struct kv_write w = {.op = KV_PUT,
                             .key = multi_key(c, 3, arena_printf(&c->arena, "w%u", n)),
                             .value = bytes_str("written")};
        struct msg_txn t = {.client = client,
                            .seq = 1000 + n,
                            .acked_below = 1000 + (n > 30 ? n - 30 : 0),
                            .n_writes = 1,
                            .writes = &w};
        ids[n++] = CLIENT_ASK(k, txn, &t);
        if (!cluster_rounds(c, 2) || n % 10 == 0)
            cluster_tick(c);
    }
    EVENTUALLY(c, multi_settled(c));
    for (unsigned i = 0; i < n; i++) {
        unsigned status = frame_status(c, client_wait(k, ids[i]), NULL);
        const char *v = multi_get(c, 3, arena_printf(&c->arena, "w%u", i));
        written += status == 0;
        if (status != 0 && status != ERR_WRONG_GROUP && status != ERR_NOT_LEADER &&
            status != ERR_BUSY)
            fail_msg("write %u: status %u is not one to ask again after", i, status);
        assert_int_equal(status == 0, v != NULL);
    }
    assert_in_range(written, 5, n - 1); /* some met the copying, some came too late */
    is_filled(c, 3, 60, 60000);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(who_waits_for_a_key_of_a_shard_that_leaves_is_told_so)
{
    struct cluster *c = multi_serving(3, 1);
    uint64_t client = multi_session(c);
    fill(c, client, 3, 1, 10);
    struct test_client *k = client_connect(c, multi_leader(c, 0), ROLE_CLIENT, false);
    struct msg_wait m = {.key = multi_key(c, 3, "k0"), .version = 1, .timeout_ms = 60000};
    uint64_t id = CLIENT_ASK(k, wait, &m);
    cluster_run(c, 5);
    assert_false(client_has(k, id));
    multi_change(c, CONFIG_JOIN, 0, "1");
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_WRONG_GROUP);
    client_hang_up(k);
    cluster_destroy(c);
}

T_MAIN(T(the_first_group_that_joins_takes_every_shard_from_group_0),
       T(a_shard_of_many_pieces_arrives_whole),
       T(groups_that_join_and_leave_share_the_shards_evenly), T(a_shard_goes_there_and_back_again),
       T(the_new_owners_leader_may_die_at_any_step), T(the_old_owners_leader_may_die_at_any_step),
       T(all_nodes_may_die_at_any_step), T(what_is_written_while_a_shard_is_copied_arrives_too),
       T(who_waits_for_a_key_of_a_shard_that_leaves_is_told_so))
