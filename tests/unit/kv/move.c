/* SPDX-License-Identifier: Apache-2.0 */
/* A shard that moves while it is in use, step by step: DESIGN 3.7. Shard 2 has the keys E and F. */
#include "tests/unit/kv/cluster.h"
#include "cluster/kv/export.h"
#include "cluster/kv/layout.h"

#define MOVED 2

struct mv {
    struct kvc *c;
    uint64_t client, seq;
};

static struct mv mv_create(void)
{
    struct mv m = {kvc_create(3)};

    m.client = kvc_session(m.c);
    return m;
}

static void mv_destroy(struct mv *m)
{
    for (unsigned i = 0; i < m->c->n; i++)
        kvc_check_replica(m->c, i);
    kvc_destroy(m->c);
}

static struct msg_txn *named(struct mv *m, struct msg_txn t)
{
    struct msg_txn *p = arena_zalloc(&m->c->arena, sizeof(*p));

    *p = t;
    p->client = m->client;
    p->seq = p->acked_below = ++m->seq;
    return p;
}

static unsigned txn_status(struct mv *m, unsigned group, struct msg_txn t)
{
    return kvc_txn(m->c, group, named(m, t))->status;
}
#define DO(m, group, ...) txn_status((m), (group), (struct msg_txn){__VA_ARGS__})

static unsigned step(struct mv *m, enum kv_command cmd)
{
    return kvc_step(m->c, 0, cmd, MOVED, 1, 1);
}

static void begin(struct mv *m)
{
    assert_int_equal(step(m, KV_CMD_MOVE_BEGIN), 0);
}

static void freeze(struct mv *m)
{
    assert_int_equal(step(m, KV_CMD_MOVE_CLOSE), 0);
    assert_int_equal(step(m, KV_CMD_MOVE_FREEZE), 0);
}

static int stage(struct mv *m)
{
    return kvc_stage(m->c, 0, 1, MOVED, 1);
}

static void finish(struct mv *m)
{
    while (kv_shard(m->c->g[1].kv, MOVED)->state != SHARD_STAGING ||
           kv_shard(m->c->g[1].kv, MOVED)->cursor.n)
        T_OK(stage(m));
    assert_int_equal(kvc_install(m->c, 1, MOVED, 1), 0);
}

static enum shard_state state_at(struct mv *m, unsigned group)
{
    return kv_shard(m->c->g[group].kv, MOVED)->state;
}

static unsigned rows_of(struct mv *m, unsigned group)
{
    struct kvc_group *g = &m->c->g[group];
    struct bytes lo, hi, key, value;
    unsigned n = 0;

    T_OK(kv_settle(g->kv));
    layout_shard_bounds(&m->c->arena, MOVED, 0, &lo);
    layout_shard_bounds(&m->c->arena, MOVED + 1, 0, &hi);
    struct store_iter *it = g->store->ops->iter_open(g->store, NULL, lo, hi);
    while (g->store->ops->iter_next(it, &key, &value))
        n++;
    T_OK(g->store->ops->iter_close(it));
    return n;
}

/* --- the whole way ---------------------------------------------------------------------------- */

TEST(a_shard_arrives_with_its_keys_counter_and_results)
{
    struct mv m = mv_create();
    assert_int_equal(DO(&m, 0, WRITE(put(E, "e"), put(A, "a"))), 0);
    struct msg_txn *last = named(&m, (struct msg_txn){WRITE(put(F, "f"))});
    kvc_txn(m.c, 0, last);
    struct bytes first = m.c->g[0].reply;
    kvc_move(m.c, 0, 1, MOVED, 1);
    assert_int_equal(kvc_owner(m.c, MOVED), 1);
    assert_string_equal(kvc_get(m.c, E), "e");
    assert_string_equal(kvc_get(m.c, A), "a"); /* others stay */
    kvc_txn(m.c, 1, last);                     /* a retry, at the new owner */
    assert_true(bytes_eq(m.c->g[1].reply, first));
    struct msg_txn_reply *r = kvc_txn(m.c, 1, named(&m, (struct msg_txn){WRITE(put(E, "2"))}));
    assert_int_equal(r->versions[0].version, 3);
    assert_int_equal(rows_of(&m, 0), 0);
    kvc_move(m.c, 1, 2, MOVED, 2);
    kvc_move(m.c, 2, 0, MOVED, 3);
    assert_string_equal(kvc_get(m.c, E), "2");
    mv_destroy(&m);
}

TEST(what_is_written_during_the_move_arrives)
{
    struct mv m = mv_create();
    DO(&m, 0, WRITE(put(E, "old"), put(F, "goes")));
    begin(&m);
    T_OK(stage(&m)); /* the pages */
    assert_int_equal(DO(&m, 0, WRITE(put(E, "new"), del(F), put(KEY("\2", "g"), "comes"))), 0);
    T_OK(stage(&m)); /* a pass */
    assert_int_equal(DO(&m, 0, WRITE(put(E, "newest"))), 0);
    freeze(&m);
    finish(&m);
    assert_string_equal(kvc_get(m.c, E), "newest");
    assert_null(kvc_get(m.c, F));
    assert_string_equal(kvc_get(m.c, KEY("\2", "g")), "comes");
    mv_destroy(&m);
}

TEST(a_pass_that_began_before_the_freeze_is_not_the_last)
{
    struct mv m = mv_create();
    begin(&m);
    T_OK(stage(&m)); /* the pages: none */
    DO(&m, 0, WRITE(put(E, "e"), put(F, "f")));
    m.c->piece = SHARD_PIECE_LEAST;
    T_OK(stage(&m)); /* the counter, and perhaps E */
    T_OK(stage(&m));
    DO(&m, 0, WRITE(put(E, "written behind its back")));
    freeze(&m);
    finish(&m);
    assert_string_equal(kvc_get(m.c, E), "written behind its back");
    assert_string_equal(kvc_get(m.c, F), "f");
    mv_destroy(&m);
}

TEST(a_shard_in_tiny_pieces_arrives_whole_whatever_changes_meanwhile)
{
    struct mv m = mv_create();
    char text[120];
    memset(text, 'x', sizeof(text));
    text[119] = 0;
    DO(&m, 0, WRITE(put(E, text), put(F, text)));
    m.c->piece = SHARD_PIECE_LEAST;
    begin(&m);
    for (unsigned i = 0; i < 60; i++) {
        T_OK(stage(&m));
        if (i % 7 == 0)
            DO(&m, 0, WRITE(i % 2 ? del(E) : put(E, text + i % 100), put(F, text + i)));
    }
    DO(&m, 0, WRITE(put(E, text + 3), put(F, text + 90)));
    freeze(&m);
    finish(&m);
    assert_string_equal(kvc_get(m.c, E), text + 3);
    assert_string_equal(kvc_get(m.c, F), text + 90);
    mv_destroy(&m);
}

TEST(the_results_of_the_last_requests_before_the_freeze_arrive)
{
    struct mv m = mv_create();
    begin(&m);
    T_OK(stage(&m));
    struct msg_txn *last = named(&m, (struct msg_txn){WRITE(put(E, "once"))});
    kvc_txn(m.c, 0, last);
    struct bytes first = m.c->g[0].reply;
    freeze(&m);
    finish(&m);
    kvc_txn(m.c, 1, last);
    assert_true(bytes_eq(m.c->g[1].reply, first));
    mv_destroy(&m);
}

TEST(a_row_larger_than_a_piece_and_many_small_ones_arrive)
{
    struct mv m = mv_create();
    uint8_t big[KIB(50)] = {1}, name[40] = {0, MOVED};
    DO(&m, 0, WRITE(put_bytes(E, bytes_of(big, sizeof(big)))));
    for (unsigned i = 0; i < 40; i++) { /* results that together are larger than a piece */
        struct msg_txn *t = named(&m, (struct msg_txn){READ(get(E)), WRITE(put(F, "f"))});
        t->acked_below = 2;
        assert_int_equal(kvc_txn(m.c, 0, t)->status, 0);
    }
    uint64_t other = kvc_session(m.c);
    for (unsigned i = 0; i < 5000; i++) {
        struct kv_write w = put_bytes(bytes_of(name, sizeof(name)), bytes_of(name, sizeof(name)));
        struct msg_txn t = {.client = other, .seq = i + 1, .acked_below = i + 1, .n_writes = 1};
        t.writes = &w;
        put_be64(name + 2, i);
        assert_int_equal(kvc_txn(m.c, 0, &t)->status, 0);
    }
    begin(&m);
    unsigned before = rows_of(&m, 0), pieces = 0;
    freeze(&m);
    do
        T_OK(stage(&m));
    while (pieces++ < 20 && kv_shard(m.c->g[1].kv, MOVED)->cursor.n);
    assert_in_range(pieces, 4, 20);
    assert_int_equal(kvc_install(m.c, 1, MOVED, 1), 0);
    assert_int_equal(rows_of(&m, 1), before);
    unsigned steps = 1;
    while (step(&m, KV_CMD_MOVE_DELETE) == ERR_BUSY && steps++ < 10)
        assert_int_equal(state_at(&m, 0), SHARD_DELETING);
    assert_int_equal(state_at(&m, 0), SHARD_FOREIGN);
    assert_in_range(steps, 2, 9);
    assert_int_equal(rows_of(&m, 0), 0);
    kvc_check_replica(m.c, 1);
    kvc_destroy(m.c);
}

TEST(large_rows_are_deleted_in_several_steps)
{
    struct mv m = mv_create();
    static uint8_t big[KIB(400)];
    const struct bytes keys[] = {
        E, F, KEY("\2", "g"), KEY("\2", "h"), KEY("\2", "i"), KEY("\2", "j"), KEY("\2", "k")};
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        assert_int_equal(DO(&m, 0, WRITE(put_bytes(keys[i], bytes_of(big, sizeof(big))))), 0);
    begin(&m);
    freeze(&m);
    finish(&m);
    unsigned steps = 1;
    while (step(&m, KV_CMD_MOVE_DELETE) == ERR_BUSY && steps++ < 10)
        assert_int_equal(state_at(&m, 0), SHARD_DELETING);
    assert_int_equal(steps, 3); /* 1.2 MB and 1.2 MB, and the rest */
    assert_int_equal(rows_of(&m, 0), 0);
    mv_destroy(&m);
}

/* --- who serves when -------------------------------------------------------------------------- */

TEST(the_old_owner_serves_until_the_freeze_and_the_new_one_from_the_install)
{
    struct mv m = mv_create();
    struct msg_txn ask = {READ(get(E))};
    struct msg_txn_reply r;
    DO(&m, 0, WRITE(put(E, "e")));
    begin(&m);
    assert_int_equal(DO(&m, 0, WRITE(put(E, "1"))), 0);
    T_OK(stage(&m));
    assert_int_equal(DO(&m, 1, WRITE(put(E, "x"))), ERR_WRONG_GROUP);
    assert_int_equal(step(&m, KV_CMD_MOVE_CLOSE), 0);
    assert_int_equal(DO(&m, 0, WRITE(put(E, "2"))), 0);
    T_OK(kv_read(m.c->g[0].kv, &ask, &m.c->arena, &r));
    assert_int_equal(step(&m, KV_CMD_MOVE_FREEZE), 0);
    assert_int_equal(DO(&m, 0, WRITE(put(E, "x"))), ERR_WRONG_GROUP);
    T_ERR(ERR_WRONG_GROUP, kv_read(m.c->g[0].kv, &ask, &m.c->arena, &r));
    T_ERR(ERR_WRONG_GROUP, kv_read(m.c->g[1].kv, &ask, &m.c->arena, &r));
    finish(&m);
    assert_int_equal(DO(&m, 1, COMPARE(holds(E, 0, "2")), WRITE(put(E, "3"))), 0);
    assert_int_equal(DO(&m, 0, WRITE(put(E, "x"))), ERR_WRONG_GROUP);
    assert_string_equal(kvc_get(m.c, E), "3");
    mv_destroy(&m);
}

TEST(a_prepared_transaction_holds_the_freeze_up_and_closing_lets_no_new_one_in)
{
    struct mv m = mv_create();
    const struct txid id = {2, 1, 1}, late = {2, 1, 2};
    begin(&m);
    struct msg_txn *part = named(&m, (struct msg_txn){WRITE(put(E, "prepared"))});
    assert_int_equal(kvc_prepare(m.c, 0, id, part)->status, 0);
    assert_int_equal(step(&m, KV_CMD_MOVE_CLOSE), 0);
    assert_int_equal(kvc_prepare(m.c, 0, late, part)->status, ERR_BUSY);
    assert_int_equal(step(&m, KV_CMD_MOVE_FREEZE), ERR_BUSY);
    assert_int_equal(DO(&m, 0, WRITE(put(F, "still served"))), 0);
    assert_int_equal(kvc_outcome(m.c, 0, id, true, 1), 0);
    assert_int_equal(step(&m, KV_CMD_MOVE_FREEZE), 0);
    finish(&m);
    assert_string_equal(kvc_get(m.c, E), "prepared");
    assert_string_equal(kvc_get(m.c, F), "still served");
    mv_destroy(&m);
}

TEST(a_decide_on_a_frozen_shard_aborts_and_is_decided_at_the_new_owner)
{
    struct mv m = mv_create();
    const struct txid id = {0, 1, 1}, again = {1, 1, 1};
    kvc_move(m.c, 0, 2, 15, 1); /* Z is group 2's */
    struct msg_txn *t = named(&m, (struct msg_txn){WRITE(put(E, "e"), put(Z, "z"))});
    struct msg_txn_reply *vote = kvc_prepare(m.c, 2, id, kvc_part(m.c, 2, t));
    begin(&m);
    freeze(&m);
    struct msg_decided *d = kvc_decide(m.c, 0, id, t, (unsigned[]){2}, &vote, 1);
    assert_int_equal(d->commit, 0);
    assert_int_equal(kvc_reply(m.c, d->reply)->status, ERR_WRONG_GROUP);
    kvc_outcome(m.c, 2, id, false, 0);
    finish(&m);
    vote = kvc_prepare(m.c, 2, again, kvc_part(m.c, 2, t));
    assert_int_equal(kvc_decide(m.c, 1, again, t, (unsigned[]){2}, &vote, 1)->commit, 1);
    assert_int_equal(kvc_outcome(m.c, 2, again, true, 1), 0);
    assert_string_equal(kvc_get(m.c, Z), "z");
    mv_destroy(&m);
}

/* --- again, late, out of order ---------------------------------------------------------------- */

TEST(every_step_may_come_again_at_any_time)
{
    struct mv m = mv_create();
    struct bytes stale = BYTES_NONE;
    DO(&m, 0, WRITE(put(E, "e")));
    begin(&m);
    begin(&m);
    T_OK(stage(&m));
    const struct kv_entry *staged =
        &g_array_index(m.c->g[1].log, struct kv_entry, m.c->g[1].log->len - 1);
    stale = bytes_of(staged->data.p + 1, staged->data.n - 1);
    DO(&m, 0, WRITE(put(E, "newer")));
    freeze(&m);
    freeze(&m);
    begin(&m); /* what was frozen stays frozen */
    assert_int_equal(state_at(&m, 0), SHARD_FROZEN);
    kvc_restart(m.c, 0);
    finish(&m);
    kvc_entry(m.c, 1, KV_CMD_MOVE_STAGE, stale);
    assert_int_equal(DO(&m, 1, WRITE(put(F, "f"))), 0);
    assert_int_equal(kvc_install(m.c, 1, MOVED, 1), 0);
    kvc_entry(m.c, 1, KV_CMD_MOVE_STAGE, stale);
    assert_string_equal(kvc_get(m.c, E), "newer");
    assert_string_equal(kvc_get(m.c, F), "f");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(step(&m, KV_CMD_MOVE_DELETE), 0);
    freeze(&m);
    begin(&m);
    assert_int_equal(state_at(&m, 0), SHARD_FOREIGN);
    mv_destroy(&m);
}

TEST(steps_that_do_not_follow_are_refused)
{
    struct mv m = mv_create();
    assert_int_equal(step(&m, KV_CMD_MOVE_FREEZE), ERR_CONFIG_NUM);
    assert_int_equal(step(&m, KV_CMD_MOVE_DELETE), ERR_CONFIG_NUM);
    assert_int_equal(kvc_step(m.c, 1, KV_CMD_MOVE_BEGIN, MOVED, 1, 2), ERR_WRONG_GROUP);
    assert_int_equal(kvc_step(m.c, 0, KV_CMD_MOVE_BEGIN, KVT_SHARDS, 1, 2), ERR_INVALID);
    assert_int_equal(kvc_install(m.c, 1, MOVED, 1), ERR_NOT_FOUND);
    T_ERR(ERR_CONFIG_NUM, stage(&m));
    begin(&m);
    assert_int_equal(step(&m, KV_CMD_MOVE_FREEZE), ERR_INVALID);
    assert_int_equal(step(&m, KV_CMD_MOVE_DELETE), ERR_INVALID);
    T_OK(stage(&m));
    assert_int_equal(kvc_install(m.c, 1, MOVED, 1), ERR_INVALID); /* not all is here */
    assert_int_equal(state_at(&m, 0), SHARD_MOVING);
    mv_destroy(&m);
}

TEST(a_step_for_an_older_configuration_is_refused)
{
    struct mv m = mv_create();
    kvc_move(m.c, 0, 1, MOVED, 5);
    kvc_move(m.c, 1, 0, MOVED, 6);
    assert_int_equal(kvc_step(m.c, 0, KV_CMD_MOVE_BEGIN, MOVED, 5, 1), ERR_CONFIG_NUM);
    assert_int_equal(kvc_step(m.c, 0, KV_CMD_MOVE_BEGIN, MOVED, 4, 1), ERR_CONFIG_NUM);
    assert_int_equal(kvc_step(m.c, 0, KV_CMD_MOVE_DELETE, MOVED, 5, 1), ERR_CONFIG_NUM);
    assert_int_equal(kvc_install(m.c, 1, MOVED, 5), ERR_CONFIG_NUM);
    assert_int_equal(kvc_step(m.c, 0, KV_CMD_MOVE_BEGIN, MOVED, 7, 1), 0);
    assert_int_equal(kvc_step(m.c, 0, KV_CMD_MOVE_BEGIN, MOVED, 8, 2), ERR_MOVING);
    assert_int_equal(kvc_owner(m.c, MOVED), 0);
    mv_destroy(&m);
}

TEST(leaders_of_both_groups_die_after_each_step_and_the_move_goes_on)
{
    struct mv m = mv_create();
    DO(&m, 0, WRITE(put(E, "e"), put(F, "f")));
    kvc_restart(m.c, 0);
    begin(&m);
    for (unsigned i = 0; i < 3; i++) {
        DO(&m, 0, WRITE(put(E, "again")));
        kvc_restart(m.c, 0);
        T_OK(stage(&m));
        kvc_restart(m.c, 1);
    }
    freeze(&m);
    kvc_restart(m.c, 0);
    finish(&m);
    kvc_restart(m.c, 1);
    assert_int_equal(step(&m, KV_CMD_MOVE_DELETE), 0);
    kvc_restart(m.c, 0);
    assert_int_equal(step(&m, KV_CMD_MOVE_DELETE), 0);
    assert_string_equal(kvc_get(m.c, E), "again");
    assert_int_equal(kvc_owner(m.c, MOVED), 1);
    mv_destroy(&m);
}

TEST(pieces_and_cursors_that_are_none_are_refused)
{
    struct mv m = mv_create();
    struct msg_shard_piece p;
    const uint8_t junk[30] = {9};
    struct shard_row bad[] = {
        {.key = bytes_str("\x50 session")}, /* no row of a shard */
        {.key = BYTES_NONE},
        {.key = bytes_str("\x41touched")},
        {.at = 5, .key = bytes_str("\x10rest of nothing")},
    };
    begin(&m);
    T_ERR(ERR_INVALID, kv_export(m.c->g[0].kv, MOVED, 1, bytes_of(junk, 30), 99, &m.c->arena, &p));
    T_ERR(ERR_INVALID, kv_export(m.c->g[0].kv, KVT_SHARDS, 1, BYTES_NONE, 99, &m.c->arena, &p));
    T_ERR(ERR_CONFIG_NUM, kv_export(m.c->g[0].kv, MOVED, 2, BYTES_NONE, 99, &m.c->arena, &p));
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct enc e = {0};
        struct msg_shard_stage s = {MOVED, 1, 0, 0, bytes_str("c"), 1, &bad[i]};
        enc_shard_stage(&e, &s);
        assert_int_equal(kvc_status(m.c, 1, KV_CMD_MOVE_STAGE, &e), ERR_INVALID);
    }
    assert_int_equal(state_at(&m, 1), SHARD_FOREIGN);
    mv_destroy(&m);
}

/* --- sessions --------------------------------------------------------------------------------- */

static void end_session(struct mv *m, uint64_t client)
{
    struct msg_session_close close = {client};
    CLEANUP(enc_finish) struct enc e = {0};

    enc_session_close(&e, &close);
    kvc_entry(m->c, 0, KV_CMD_SESSION_CLOSE, enc_view(&e));
}

TEST(results_of_sessions_that_have_ended_do_not_arrive_or_go_when_that_is_heard)
{
    struct mv m = mv_create();
    uint64_t dead = kvc_session(m.c), dies = kvc_session(m.c);
    struct msg_txn t = {.client = dead, .seq = 1, .acked_below = 1, WRITE(put(E, "1"))};
    kvc_txn(m.c, 0, &t);
    t.client = dies;
    kvc_txn(m.c, 0, &t);
    begin(&m);
    T_OK(stage(&m));
    end_session(&m, dead);
    kvc_tell_sessions(m.c);
    freeze(&m);
    finish(&m);
    assert_int_equal(rows_of(&m, 1), 3); /* counter, E, the result of the one that lives */
    end_session(&m, dies);
    assert_int_equal(rows_of(&m, 1), 3);
    kvc_tell_sessions(m.c);
    assert_int_equal(rows_of(&m, 1), 2);
    mv_destroy(&m);
}

TEST(results_of_a_session_too_new_to_be_known_arrive_and_go_when_it_has_ended)
{
    struct mv m = mv_create();
    struct msg_session_open open = {.name = bytes_str("new"), .nonce = 7};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_reply r;
    enc_session_open(&e, &open);
    kvc_entry(m.c, 0, KV_CMD_SESSION_OPEN, enc_view(&e)); /* group 1 is not told */
    T_OK(dec_session_reply(m.c->g[0].reply, &m.c->arena, &r));
    struct msg_txn t = {.client = r.client, .seq = 1, .acked_below = 1, WRITE(put(E, "1"))};
    kvc_txn(m.c, 0, &t);
    struct bytes first = m.c->g[0].reply;
    kvc_move(m.c, 0, 1, MOVED, 1);
    assert_int_equal(rows_of(&m, 1), 3);
    assert_int_equal(kvc_txn(m.c, 1, &t)->status, ERR_BUSY); /* who knows? */
    kvc_tell_sessions(m.c);
    kvc_txn(m.c, 1, &t);
    assert_true(bytes_eq(first, m.c->g[1].reply));
    kvc_move(m.c, 1, 2, MOVED, 2);
    end_session(&m, r.client);
    kvc_tell_sessions(m.c);
    assert_int_equal(rows_of(&m, 2), 2);
    mv_destroy(&m);
}

/* The shard is at group 0, and all is ready for the INSTALL at group `to`. */
static void move_nearly(struct mv *m, unsigned from, unsigned to, uint64_t num)
{
    assert_int_equal(kvc_step(m->c, from, KV_CMD_MOVE_BEGIN, MOVED, num, to), 0);
    assert_int_equal(kvc_step(m->c, from, KV_CMD_MOVE_CLOSE, MOVED, num, to), 0);
    assert_int_equal(kvc_step(m->c, from, KV_CMD_MOVE_FREEZE, MOVED, num, to), 0);
    while (kv_shard(m->c->g[to].kv, MOVED)->num != num || kv_shard(m->c->g[to].kv, MOVED)->cursor.n)
        T_OK(kvc_stage(m->c, from, to, MOVED, num));
}

/* Group 0 lists who has ended once there is a configuration. */
static void make_configuration(struct mv *m)
{
    struct group_member member = {1};
    struct group_id gid = {1};
    struct enc e = {0};
    const struct msg_group_create g = {.gid = 1, .n_members = 1, .members = &member};
    const struct msg_config_change c = {.op = CONFIG_JOIN, .n_gids = 1, .gids = &gid};
    enc_group_create(&e, &g);
    assert_int_equal(kvc_status(m->c, 0, KV_CMD_GROUP, &e), 0);
    e = (struct enc){0};
    enc_config_change(&e, &c);
    assert_int_equal(kvc_status(m->c, 0, KV_CMD_CONFIG, &e), 0);
}

TEST(a_shard_is_not_installed_where_a_session_lives_whose_results_the_old_owner_has_dropped)
{
    struct mv m = mv_create();
    kvc_move(m.c, 0, 1, MOVED, 1);
    struct msg_txn *t = named(&m, (struct msg_txn){WRITE(put(E, "1"))});
    assert_int_equal(kvc_txn(m.c, 1, t)->status, 0);
    end_session(&m, m.client);
    kvc_tell(m.c, 1);
    move_nearly(&m, 1, 2, 2);
    assert_int_equal(kvc_install(m.c, 2, MOVED, 2), ERR_BUSY);
    assert_int_equal(kvc_owner(m.c, MOVED), -1);
    kvc_tell(m.c, 2);
    assert_int_equal(kvc_install(m.c, 2, MOVED, 2), 0);
    assert_int_equal(kvc_txn(m.c, 2, t)->status, ERR_NO_SESSION);
    mv_destroy(&m);
}

TEST(a_shard_of_group_0_is_installed_where_its_ended_sessions_have_been_heard_of)
{
    struct mv m = mv_create();
    make_configuration(&m);
    struct msg_txn *t = named(&m, (struct msg_txn){WRITE(put(E, "1"))});
    assert_int_equal(kvc_txn(m.c, 0, t)->status, 0);
    end_session(&m, m.client);
    move_nearly(&m, 0, 1, 1);
    assert_int_equal(kvc_install(m.c, 1, MOVED, 1), ERR_BUSY);
    kvc_tell(m.c, 1);
    uint64_t told = kv_sessions_as_of(m.c->g[1].kv);
    (void)kvc_session(m.c); /* who was opened later is no reason to wait */
    assert_int_equal(m.c->as_of <= told, 1);
    assert_int_equal(kvc_install(m.c, 1, MOVED, 1), 0);
    assert_int_equal(kvc_txn(m.c, 1, t)->status, ERR_NO_SESSION);
    mv_destroy(&m);
}

TEST(a_session_may_end_between_two_pieces_of_its_results)
{
    for (unsigned before = 1; before < 12; before++) {
        struct mv m = mv_create();
        kvc_move(m.c, 0, 1, MOVED, 1);
        for (uint64_t seq = 1; seq <= 9; seq++) {
            struct msg_txn t = {
                .client = m.client, .seq = seq, .acked_below = 1, WRITE(put(E, "1"))};
            assert_int_equal(kvc_txn(m.c, 1, &t)->status, 0);
        }
        m.c->piece = SHARD_PIECE_LEAST;
        assert_int_equal(kvc_step(m.c, 1, KV_CMD_MOVE_BEGIN, MOVED, 2, 2), 0);
        for (unsigned i = 0; i < before; i++)
            T_OK(kvc_stage(m.c, 1, 2, MOVED, 2));
        end_session(&m, m.client);
        kvc_tell(m.c, 2); /* and not yet the old owner */
        move_nearly(&m, 1, 2, 2);
        assert_int_equal(kvc_install(m.c, 2, MOVED, 2), 0);
        assert_int_equal(rows_of(&m, 2), 2); /* counter, E */
        mv_destroy(&m);
    }
}

T_MAIN(T(a_shard_arrives_with_its_keys_counter_and_results),
       T(what_is_written_during_the_move_arrives),
       T(a_pass_that_began_before_the_freeze_is_not_the_last),
       T(a_shard_in_tiny_pieces_arrives_whole_whatever_changes_meanwhile),
       T(the_results_of_the_last_requests_before_the_freeze_arrive),
       T(a_row_larger_than_a_piece_and_many_small_ones_arrive),
       T(large_rows_are_deleted_in_several_steps),
       T(the_old_owner_serves_until_the_freeze_and_the_new_one_from_the_install),
       T(a_prepared_transaction_holds_the_freeze_up_and_closing_lets_no_new_one_in),
       T(a_decide_on_a_frozen_shard_aborts_and_is_decided_at_the_new_owner),
       T(every_step_may_come_again_at_any_time), T(steps_that_do_not_follow_are_refused),
       T(a_step_for_an_older_configuration_is_refused),
       T(leaders_of_both_groups_die_after_each_step_and_the_move_goes_on),
       T(pieces_and_cursors_that_are_none_are_refused),
       T(results_of_sessions_that_have_ended_do_not_arrive_or_go_when_that_is_heard),
       T(results_of_a_session_too_new_to_be_known_arrive_and_go_when_it_has_ended),
       T(a_shard_is_not_installed_where_a_session_lives_whose_results_the_old_owner_has_dropped),
       T(a_shard_of_group_0_is_installed_where_its_ended_sessions_have_been_heard_of),
       T(a_session_may_end_between_two_pieces_of_its_results))
