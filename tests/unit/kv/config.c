/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations of shards: first the course's tests of its shard controller (shardctrler of
 * 2021-2024, shardcfg of 2025) under their names, against group 0's state machine; then what they
 * leave out. Their group 0 is "nobody", ours is a group like others, and the last member cannot
 * leave.
 */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/configs.h"
#include "cluster/kv/layout.h"

/* --- words ------------------------------------------------------------------------------------ */

static struct msg_config_change *change(struct kvt *f, enum config_op op, const uint32_t *gids,
                                        unsigned n)
{
    struct msg_config_change *m = arena_zalloc(&f->arena, sizeof(*m));

    m->op = (uint8_t)op;
    m->num = kv_config(f->kv)->num;
    m->n_gids = n;
    m->gids = arena_array(&f->arena, n, sizeof(*m->gids));
    for (unsigned i = 0; i < n; i++)
        m->gids[i].gid = gids[i];
    return m;
}

/* Groups exist before they join. */
static void make_groups(struct kvt *f, const struct msg_config_change *m)
{
    for (uint32_t i = 0; m->op == CONFIG_JOIN && i < m->n_gids; i++) {
        CLEANUP(enc_finish) struct enc e = {0};
        struct group_member node = {1};
        struct msg_group_create g = {.gid = m->gids[i].gid, .n_members = 1, .members = &node};
        enc_group_create(&e, &g);
        assert_int_equal(kvt_command(f, KV_CMD_GROUP, enc_view(&e)), 0);
    }
}

static unsigned send(struct kvt *f, const struct msg_config_change *m)
{
    CLEANUP(enc_finish) struct enc e = {0};

    enc_config_change(&e, m);
    return kvt_command(f, KV_CMD_CONFIG, enc_view(&e));
}

/* As the controller does once the shards are where they shall be. */
static void settle(struct kvt *f)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_config_moved m = {.num = kv_config(f->kv)->num};
    struct shard_id shards[SHARDS_MAX];
    uint32_t from;

    m.shards = shards;
    for (unsigned s = 0; s < KVT_SHARDS; s++) {
        if (kv_config_is_pending(f->kv, s, &from))
            shards[m.n_shards++].shard = (uint16_t)s;
    }
    enc_config_moved(&e, &m);
    assert_int_equal(kvt_command(f, KV_CMD_MOVED, enc_view(&e)), 0);
    assert_int_equal(kv_config_pending(f->kv), 0);
}

#define GIDS(...)                                                                                  \
    (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)
#define JOIN(f, ...)  done(f, send_made(f, change(f, CONFIG_JOIN, GIDS(__VA_ARGS__))))
#define LEAVE(f, ...) done(f, send(f, change(f, CONFIG_LEAVE, GIDS(__VA_ARGS__))))

static unsigned send_made(struct kvt *f, const struct msg_config_change *m)
{
    make_groups(f, m);
    return send(f, m);
}

static void done(struct kvt *f, unsigned status)
{
    assert_int_equal(status, 0);
    settle(f);
}

static unsigned move(struct kvt *f, unsigned shard, uint32_t gid)
{
    struct msg_config_change *m = change(f, CONFIG_MOVE, &gid, 1);

    m->shard = (uint16_t)shard;
    return send(f, m);
}

/* The course's check(): exactly these members, no shard without one, and balanced. */
static void check(const struct config *c, const uint32_t *gids, unsigned n)
{
    unsigned least = SHARDS_MAX, most = 0;

    assert_int_equal(c->n_groups, n);
    for (unsigned i = 0; i < n; i++) {
        assert_true(config_has_group(c, gids[i]));
        unsigned count = config_count(c, gids[i]);
        least = MIN(least, count);
        most = MAX(most, count);
    }
    for (unsigned s = 0; s < c->n_shards; s++)
        assert_true(config_has_group(c, c->owner[s]));
    assert_true(most <= least + 1);
}
#define CHECK(f, ...) check(kv_config((f)->kv), GIDS(__VA_ARGS__))

static bool same_config(const struct config *a, const struct config *b)
{
    return a->num == b->num && a->n_groups == b->n_groups && config_distance(a, b) == 0 &&
           memcmp(a->groups, b->groups, a->n_groups * sizeof(a->groups[0])) == 0;
}

/* Shards that a group had before and after, but which went elsewhere in between. */
static unsigned needless(const struct config *a, const struct config *b, uint32_t stays)
{
    unsigned n = 0;

    for (unsigned s = 0; s < a->n_shards; s++)
        n += a->owner[s] == stays && b->owner[s] != stays;
    return n;
}

/* --- the course's ----------------------------------------------------------------------------- */

/* Historical queries; concurrent joins and leaves are one after another in a log. */
static void expect_history(struct kvt *f, const struct config *was, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct config c;
        T_OK(kv_config_at(f->kv, was[i].num, &c));
        assert_true(same_config(&c, &was[i]));
    }
}

static void minimal_transfers(struct kvt *f)
{
    struct config before = *kv_config(f->kv);

    for (uint32_t gid = 1001; gid <= 1005; gid++)
        JOIN(f, gid);
    for (unsigned i = 0; i < before.n_groups; i++) { /* joins take, they do not shuffle */
        uint32_t gid = before.groups[i];
        for (unsigned s = 0; s < KVT_SHARDS; s++)
            assert_true(kv_config(f->kv)->owner[s] != gid || before.owner[s] == gid);
    }
    before = *kv_config(f->kv);
    for (uint32_t gid = 1001; gid <= 1005; gid++)
        LEAVE(f, gid);
    for (unsigned i = 0; i < before.n_groups; i++) { /* leaves give, they do not shuffle */
        uint32_t gid = before.groups[i];
        assert_true(gid >= 1001 || needless(&before, kv_config(f->kv), gid) == 0);
    }
}

TEST(TestBasic)
{
    struct kvt *f = kvt_create();
    struct config was[6];
    unsigned n = 0;
    assert_int_equal(kv_config(f->kv)->num, 0);
    assert_int_equal(kv_config(f->kv)->n_groups, 0);
    was[n++] = *kv_config(f->kv);
    JOIN(f, 1);
    CHECK(f, 1);
    was[n++] = *kv_config(f->kv);
    JOIN(f, 2);
    CHECK(f, 1, 2);
    was[n++] = *kv_config(f->kv);
    LEAVE(f, 1);
    CHECK(f, 2);
    was[n++] = *kv_config(f->kv);
    kvt_reopen(f);
    expect_history(f, was, n);

    JOIN(f, 503);
    JOIN(f, 504);
    for (unsigned s = 0; s < KVT_SHARDS; s++) {
        uint64_t num = kv_config(f->kv)->num;
        uint32_t to = s < KVT_SHARDS / 2 ? 503 : 504;
        done(f, move(f, s, to));
        assert_true(kv_config(f->kv)->num > num);
        assert_int_equal(kv_config(f->kv)->owner[s], to);
    }
    for (unsigned s = 0; s < KVT_SHARDS; s++)
        assert_int_equal(kv_config(f->kv)->owner[s], s < KVT_SHARDS / 2 ? 503 : 504);
    LEAVE(f, 503);
    LEAVE(f, 504);
    CHECK(f, 2);
    for (uint32_t gid = 100; gid < 110; gid++) {
        JOIN(f, gid, gid + 1000);
        LEAVE(f, gid + 1000);
    }
    CHECK(f, 2, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109);
    minimal_transfers(f);
    kvt_destroy(f);
}

TEST(TestMulti)
{
    struct kvt *f = kvt_create();
    struct config was[6];
    unsigned n = 0;
    was[n++] = *kv_config(f->kv);
    JOIN(f, 1, 2);
    CHECK(f, 1, 2);
    was[n++] = *kv_config(f->kv);
    JOIN(f, 3);
    CHECK(f, 1, 2, 3);
    was[n++] = *kv_config(f->kv);
    LEAVE(f, 1, 3);
    CHECK(f, 2);
    was[n++] = *kv_config(f->kv);
    expect_history(f, was, n);
    JOIN(f, 10, 11, 12, 13, 14);
    CHECK(f, 2, 10, 11, 12, 13, 14);
    minimal_transfers(f);
    struct config last = *kv_config(f->kv);
    kvt_reopen(f); /* another server, after the leader was shut down */
    assert_true(same_config(&last, kv_config(f->kv)));
    kvt_destroy(f);
}

TEST(TestMinimalAgain)
{
    struct kvt *f = kvt_create();
    JOIN(f, 1);
    JOIN(f, 2);
    struct config before = *kv_config(f->kv);
    JOIN(f, 3);
    assert_true(config_distance(&before, kv_config(f->kv)) <= KVT_SHARDS / 3 + 1);
    for (unsigned s = 0; s < KVT_SHARDS; s++) {
        uint32_t owner = kv_config(f->kv)->owner[s];
        assert_true(owner == before.owner[s] || owner == 3);
    }
    kvt_destroy(f);
}

/* shardcfg's TestBasic of 2025: JoinBalance, LeaveBalance, CheckConfig, String and back. */
TEST(TestShardcfgBasic)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct config c, next, back;
    config_init(&c, 12);
    T_OK(config_join(&c, GIDS(1), &next));
    check(&next, GIDS(1));
    c = next;
    T_OK(config_join(&c, GIDS(2), &next));
    check(&next, GIDS(1, 2));
    c = next;
    T_OK(config_leave(&c, GIDS(1), &next));
    check(&next, GIDS(2));
    config_encode(&next, &e);
    T_OK(config_decode(enc_view(&e), &back));
    assert_true(same_config(&next, &back));
}

/* --- ours ------------------------------------------------------------------------------------- */

/* The fewest moves that balance allows: who has more than the larger share keeps that, and so on.
 */
static unsigned fewest(const struct config *c, const struct config *next)
{
    unsigned kept = 0, larger = c->n_shards % next->n_groups, base = c->n_shards / next->n_groups;

    for (unsigned i = 0; i < next->n_groups; i++) {
        unsigned has = config_count(c, next->groups[i]);
        kept += MIN(has, base);
        if (has > base && larger > 0) {
            kept++;
            larger--;
        }
    }
    return c->n_shards - kept;
}

TEST(any_joins_and_leaves_end_balanced_with_the_fewest_moves)
{
    struct rng rng = t_rng();
    struct config c, next;
    config_init(&c, 256);
    for (unsigned step = 0; step < 2000; step++) {
        uint32_t gid = (uint32_t)rng_below(&rng, 80);
        int err;
        if (rng_below(&rng, 4) == 0 && c.n_groups) {
            err = config_move(&c, (unsigned)rng_below(&rng, 256), gid, &next);
            if (!err)
                c = next;
            continue;
        }
        err = config_has_group(&c, gid) ? config_leave(&c, &gid, 1, &next)
                                        : config_join(&c, &gid, 1, &next);
        if (err) {
            assert_true(err == -ERR_NO_OWNER || err == -ERR_TOO_BIG);
            continue;
        }
        check(&next, next.groups, next.n_groups);
        assert_int_equal(config_distance(&c, &next), fewest(&c, &next));
        assert_int_equal(next.num, c.num + 1);
        c = next;
    }
}

TEST(more_groups_than_shards_leave_some_without)
{
    struct config c, next;
    config_init(&c, 2);
    T_OK(config_join(&c, GIDS(5, 3, 4), &next));
    check(&next, GIDS(3, 4, 5));
    c = next;
    T_OK(config_leave(&c, GIDS(3), &next));
    check(&next, GIDS(4, 5));
}

TEST(group_0_can_join_like_any_other)
{
    struct config c, next;
    config_init(&c, 16);
    T_OK(config_join(&c, GIDS(0, 1), &next));
    check(&next, GIDS(0, 1));
    assert_int_equal(config_distance(&c, &next), 8);
}

TEST(a_move_lasts_until_the_next_rebalance)
{
    struct config c, next;
    config_init(&c, 4);
    T_OK(config_join(&c, GIDS(1, 2), &next));
    T_OK(config_move(&next, 0, 1, &c));
    T_OK(config_move(&c, 1, 1, &next));
    T_OK(config_move(&next, 2, 1, &c));
    assert_true(config_count(&c, 1) >= 3);
    T_OK(config_rebalance(&c, &next));
    check(&next, GIDS(1, 2));
}

TEST(what_cannot_be_done_is_refused_and_changes_nothing)
{
    struct kvt *f = kvt_create();
    JOIN(f, 1, 2);
    struct config was = *kv_config(f->kv);
    assert_int_equal(send_made(f, change(f, CONFIG_JOIN, GIDS(2))), ERR_EXISTS);
    assert_int_equal(send_made(f, change(f, CONFIG_JOIN, GIDS(3, 3))), ERR_EXISTS);
    assert_int_equal(send(f, change(f, CONFIG_LEAVE, GIDS(7))), ERR_NOT_FOUND);
    assert_int_equal(send(f, change(f, CONFIG_LEAVE, GIDS(1, 2))), ERR_NO_OWNER);
    assert_int_equal(send(f, change(f, CONFIG_LEAVE, GIDS(1, 1))), ERR_INVALID);
    assert_int_equal(send(f, change(f, CONFIG_JOIN, NULL, 0)), ERR_INVALID);
    assert_int_equal(send(f, change(f, (enum config_op)9, GIDS(3))), ERR_INVALID);
    assert_int_equal(move(f, KVT_SHARDS, 1), ERR_INVALID);
    assert_int_equal(move(f, 0, 9), ERR_NOT_FOUND);
    assert_true(same_config(&was, kv_config(f->kv)));
    kvt_reopen(f);
    assert_true(same_config(&was, kv_config(f->kv)));
    kvt_destroy(f);
}

TEST(a_group_that_was_never_made_cannot_join)
{
    struct kvt *f = kvt_create();
    assert_int_equal(send(f, change(f, CONFIG_JOIN, GIDS(1))), ERR_NOT_FOUND);
    make_groups(f, change(f, CONFIG_JOIN, GIDS(1)));
    assert_int_equal(send(f, change(f, CONFIG_JOIN, GIDS(1, 2))), ERR_NOT_FOUND);
    assert_int_equal(send(f, change(f, CONFIG_JOIN, GIDS(0, 1))), 0);
    kvt_destroy(f);
}

TEST(a_change_made_for_an_older_configuration_is_refused)
{
    struct kvt *f = kvt_create();
    struct msg_config_change *stale = change(f, CONFIG_JOIN, GIDS(2)), *ahead;
    JOIN(f, 1);
    assert_int_equal(send_made(f, stale), ERR_CONFIG_NUM);
    ahead = change(f, CONFIG_JOIN, GIDS(2));
    ahead->num++;
    assert_int_equal(send_made(f, ahead), ERR_CONFIG_NUM);
    assert_int_equal(kv_config(f->kv)->num, 1);
    kvt_destroy(f);
}

static unsigned moved(struct kvt *f, uint64_t num, unsigned shard)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct shard_id id = {(uint16_t)shard};
    struct msg_config_moved m = {.num = num, .n_shards = 1, .shards = &id};

    enc_config_moved(&e, &m);
    return kvt_command(f, KV_CMD_MOVED, enc_view(&e));
}

TEST(a_second_change_waits_until_all_shards_have_moved)
{
    struct kvt *f = kvt_create();
    uint32_t from = 9;
    assert_int_equal(moved(f, 0, 0), ERR_INVALID); /* nobody moves to number 0 */
    kvt_reopen(f);
    assert_int_equal(send_made(f, change(f, CONFIG_JOIN, GIDS(1))), 0);
    assert_int_equal(kv_config_pending(f->kv), KVT_SHARDS);
    assert_true(kv_config_is_pending(f->kv, 3, &from));
    assert_int_equal(from, 0);
    for (unsigned s = 0; s < KVT_SHARDS; s++) {
        assert_int_equal(send_made(f, change(f, CONFIG_JOIN, GIDS(2))), ERR_MOVING);
        assert_int_equal(moved(f, 1, s), 0);
        assert_int_equal(moved(f, 1, s), 0); /* told twice */
        kvt_reopen(f);
        assert_int_equal(kv_config_pending(f->kv), KVT_SHARDS - 1 - s);
        assert_false(kv_config_is_pending(f->kv, s, &from));
    }
    assert_int_equal(send_made(f, change(f, CONFIG_JOIN, GIDS(2))), 0);
    assert_int_equal(moved(f, 1, 0), ERR_CONFIG_NUM);
    assert_int_equal(moved(f, 2, KVT_SHARDS), ERR_INVALID);
    kvt_destroy(f);
}

TEST(history_is_bounded)
{
    struct kvt *f = kvt_create();
    struct config c;
    JOIN(f, 1, 2);
    for (unsigned i = 0; i < CONFIGS_KEPT; i++)
        done(f, move(f, i % KVT_SHARDS, 1 + i / KVT_SHARDS % 2));
    T_ERR(ERR_NOT_FOUND, kv_config_at(f->kv, 1, &c));
    T_OK(kv_config_at(f->kv, 2, &c));
    assert_int_equal(c.num, 2);
    T_OK(kv_config_at(f->kv, 0, &c));
    T_ERR(ERR_NOT_FOUND, kv_config_at(f->kv, CONFIGS_KEPT + 2, &c));
    kvt_destroy(f);
}

TEST(another_group_keeps_no_configurations)
{
    struct errmsg msg;
    struct kvt *f = kvt_on(ram_store_create());
    kv_close(f->kv);
    T_OK_MSG(kv_open(f->store, 7, KVT_SHARDS, &f->kv, &msg), &msg);
    assert_int_equal(send_made(f, change(f, CONFIG_JOIN, GIDS(1))), ERR_INVALID);
    kvt_destroy(f);
}

TEST(bytes_that_are_no_configuration_are_told)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct config c, next;
    config_init(&c, 4);
    T_OK(config_join(&c, GIDS(1, 2), &next));
    config_encode(&next, &e);
    T_OK(config_decode(enc_view(&e), &c));
    T_ERR(ERR_CORRUPT, config_decode(bytes_of(e.p, e.n - 1), &c));
    put_le32(e.p + e.n - 4, 3); /* an owner that is no member */
    T_ERR(ERR_CORRUPT, config_decode(enc_view(&e), &c));
    e.p[0] = 2;
    T_ERR(ERR_FORMAT, config_decode(enc_view(&e), &c));
}

/* --- sessions --------------------------------------------------------------------------------- */

static void note_client(void *arg, uint64_t client)
{
    *(uint64_t *)arg = client;
}

TEST(a_session_that_ended_is_listed_until_every_group_has_forgotten_it)
{
    struct kvt *f = kvt_create();
    uint64_t other = kvt_session(f, "other"), listed = 0, newest;
    assert_int_equal(kvt_close_session(f, other), 0);
    assert_int_equal(kv_fencing(f->kv, &newest), 0); /* there is no other group */
    JOIN(f, 1);
    assert_int_equal(kvt_close_session(f, f->client), 0);
    uint64_t closed = f->index;
    assert_false(kv_has_session(f->kv, f->client));
    for (unsigned i = 0; i < 2; i++) {
        struct enc e = {0};
        struct msg_sessions_fenced m = {closed - 1};
        kvt_reopen(f);
        assert_int_equal(kv_fencing(f->kv, &newest), 1);
        assert_int_equal(newest, closed);
        kv_each_fencing(f->kv, note_client, &listed);
        assert_int_equal(listed, f->client);
        enc_sessions_fenced(&e, &m);
        assert_int_equal(kvt_command(f, KV_CMD_SESSIONS_FENCED, enc_view(&e)), 0);
        enc_finish(&e);
    }
    struct enc e = {0};
    struct msg_sessions_fenced m = {closed};
    enc_sessions_fenced(&e, &m);
    assert_int_equal(kvt_command(f, KV_CMD_SESSIONS_FENCED, enc_view(&e)), 0);
    enc_finish(&e);
    assert_int_equal(kv_fencing(f->kv, &newest), 0);
    kvt_reopen(f);
    assert_int_equal(kv_fencing(f->kv, &newest), 0);
    kvt_destroy(f);
}

/* --- ownership -------------------------------------------------------------------------------- */

TEST(a_store_stays_in_the_first_format_until_a_row_needs_the_second)
{
    struct kvt *f = kvt_create();
    struct bytes v;
    EXEC(f, WRITE(put(A, "1")));
    T_OK(f->store->ops->get(f->store, NULL, layout_format_key(&f->arena), &f->arena, &v));
    assert_int_equal(get_le32(v.p), 1);
    JOIN(f, 1);
    kvt_reopen(f);
    T_OK(f->store->ops->get(f->store, NULL, layout_format_key(&f->arena), &f->arena, &v));
    assert_int_equal(get_le32(v.p), 2);
    assert_string_equal(kvt_get(f, A), "1");
    kvt_destroy(f);
}

TEST(group_0_owns_all_shards_at_first_and_every_other_group_none)
{
    struct errmsg msg;
    struct kvt *f = kvt_create();
    struct msg_txn t = {READ(get(A))};
    struct msg_txn_reply r;
    assert_int_equal(kv_shard(f->kv, 1)->state, SHARD_OWNED);
    kvt_destroy(f);
    f = kvt_on(ram_store_create());
    kv_close(f->kv);
    T_OK_MSG(kv_open(f->store, 7, KVT_SHARDS, &f->kv, &msg), &msg);
    assert_int_equal(kv_shard(f->kv, 1)->state, SHARD_FOREIGN);
    T_ERR(ERR_WRONG_GROUP, kv_read(f->kv, &t, &f->arena, &r));
    f->client = 1;
    assert_int_equal(EXEC(f, WRITE(put(A, "1")))->status, ERR_WRONG_GROUP);
    assert_int_equal(EXEC(f, COMPARE(absent(A)))->status, ERR_WRONG_GROUP);
    assert_int_equal(EXEC(f, READ(get(A)))->status, ERR_WRONG_GROUP);
    kvt_destroy(f);
}

T_MAIN(T(TestBasic), T(TestMulti), T(TestMinimalAgain), T(TestShardcfgBasic),
       T(any_joins_and_leaves_end_balanced_with_the_fewest_moves),
       T(more_groups_than_shards_leave_some_without), T(group_0_can_join_like_any_other),
       T(a_move_lasts_until_the_next_rebalance),
       T(what_cannot_be_done_is_refused_and_changes_nothing),
       T(a_group_that_was_never_made_cannot_join),
       T(a_change_made_for_an_older_configuration_is_refused),
       T(a_second_change_waits_until_all_shards_have_moved), T(history_is_bounded),
       T(another_group_keeps_no_configurations), T(bytes_that_are_no_configuration_are_told),
       T(a_session_that_ended_is_listed_until_every_group_has_forgotten_it),
       T(a_store_stays_in_the_first_format_until_a_row_needs_the_second),
       T(group_0_owns_all_shards_at_first_and_every_other_group_none))
