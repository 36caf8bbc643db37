/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, formats, damage, failing stores, no-ops, watches. */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/layout.h"

static void raw_put(struct store *s, struct bytes key, const void *p, size_t n)
{
    struct store_write w = {STORE_PUT, key, bytes_of(p, n)};

    T_OK(s->ops->write(s, &w, 1));
}

static int open_again(struct kvt *f, uint32_t gid, uint16_t shards, struct errmsg *msg)
{
    struct kv *kv;
    int err = kv_open(f->store, gid, shards, &kv, msg);

    if (!err)
        kv_close(kv);
    return err;
}

TEST(a_fresh_store_has_nothing_applied_and_opening_writes_nothing)
{
    struct kvt *f = kvt_on(ram_store_create());
    uint64_t index, term, time;
    kv_applied(f->kv, &index, &term, &time);
    assert_int_equal(index, 0);
    assert_int_equal(term, 0);
    assert_int_equal(ram_store_batches(f->store), 0);
    kvt_destroy(f);
}

TEST(each_entry_is_one_batch_and_moves_the_applied_index)
{
    struct kvt *f = kvt_create();
    uint64_t index, term, time;
    EXEC(f, WRITE(put(A, "1"), put(E, "2"), del(Z)));
    T_OK(kvt_apply(f, BYTES_NONE)); /* a no-op */
    assert_int_equal(f->n_replies, 0);
    assert_int_equal(ram_store_batches(f->store), 3);
    kvt_reopen(f);
    kv_applied(f->kv, &index, &term, &time);
    assert_int_equal(index, 3);
    assert_int_equal(term, 1);
    assert_int_equal(time, f->time);
    kvt_destroy(f);
}

TEST(a_newer_format_is_refused_with_a_clear_text)
{
    struct kvt *f = kvt_create();
    struct errmsg msg;
    uint8_t newer[30] = {LAYOUT_FORMAT + 1};
    raw_put(f->store, layout_format_key(&f->arena), newer, sizeof(newer));
    T_ERR(ERR_FORMAT, open_again(f, 0, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "format 3");
    T_CONTAINS(msg.text, "newer");
    kvt_destroy(f);
}

TEST(the_state_of_another_group_or_cluster_shape_is_refused)
{
    struct kvt *f = kvt_create();
    struct errmsg msg;
    T_ERR(ERR_WRONG_CLUSTER, open_again(f, 2, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "group 0");
    T_ERR(ERR_WRONG_CLUSTER, open_again(f, 0, KVT_SHARDS * 2, NULL));
    T_OK(open_again(f, 0, KVT_SHARDS, NULL));
    kvt_destroy(f);
}

TEST(damaged_records_are_told_at_opening)
{
    struct kvt *f = kvt_create();
    struct arena *a = &f->arena;
    struct store_write drop = {STORE_DELETE, layout_format_key(a), BYTES_NONE};
    struct errmsg msg;
    raw_put(f->store, layout_session_key(a, 7), "short", 5);
    T_ERR(ERR_CORRUPT, open_again(f, 0, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "sessions");
    raw_put(f->store, layout_applied_key(a), "short", 5);
    T_ERR(ERR_CORRUPT, open_again(f, 0, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "applied");
    raw_put(f->store, layout_format_key(a), "abc", 3);
    T_ERR(ERR_CORRUPT, open_again(f, 0, KVT_SHARDS, &msg));
    T_OK(f->store->ops->write(f->store, &drop, 1));
    T_ERR(ERR_CORRUPT, open_again(f, 0, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "format");
    kvt_destroy(f);
}

TEST(a_read_error_at_opening_is_passed_on)
{
    struct kvt *f = kvt_create();
    for (unsigned nth = 1; nth <= 2; nth++) {
        ram_store_fail(f->store, nth, 0);
        T_ERR(ERR_IO, open_again(f, 0, KVT_SHARDS, NULL));
    }
    kvt_destroy(f);
}

static int apply_txn(struct kvt *f, const struct msg_txn *t)
{
    CLEANUP(enc_finish) struct enc e = {0};

    enc_txn(&e, t);
    CLEANUP(buf_unref) struct buf *b = kv_command(KV_CMD_TXN, enc_view(&e));
    return kvt_apply(f, buf_bytes(b));
}

TEST(damaged_values_stop_the_replica)
{
    struct kvt *f = kvt_create();
    raw_put(f->store, layout_data_key(&f->arena, A), "\1reference", 10);
    raw_put(f->store, layout_data_key(&f->arena, B), "", 0);
    struct msg_txn of_a = {.client = f->client, .seq = 1, READ(get(A)), WRITE(put(C, "1"))};
    struct msg_txn of_b = {.client = f->client, .seq = 1, COMPARE(absent(B)), WRITE(put(C, "1"))};
    struct msg_txn scanned = {READ(scan(A, D, 0))};
    struct msg_txn_reply r;
    T_ERR(ERR_CORRUPT, apply_txn(f, &of_a));
    kvt_reopen(f);
    T_ERR(ERR_CORRUPT, apply_txn(f, &of_b));
    kvt_reopen(f);
    T_ERR(ERR_CORRUPT, kv_read(f->kv, &scanned, &f->arena, &r));
    assert_null(kvt_get(f, C));
    kvt_destroy(f);
}

TEST(damaged_result_rows_stop_the_replica)
{
    struct kvt *f = kvt_create();
    struct msg_txn t = {.client = f->client, .seq = 1, WRITE(put(A, "1"))};
    raw_put(f->store, layout_result_key(&f->arena, 1, f->client), "123456789", 9);
    T_ERR(ERR_CORRUPT, apply_txn(f, &t));
    kvt_destroy(f);
}

TEST(an_error_of_the_store_leaves_no_trace_of_the_entry)
{
    struct kvt *f = kvt_create();
    struct kv_write add = number(f, KV_ADD64, A, 0, 1);
    EXEC(f, WRITE(put_bytes(A, le64_bytes(f, 0))));
    struct msg_txn t = {.client = f->client, .seq = 2, .acked_below = 2, WRITE(add)};
    kv_watch(f->kv, A);
    /* Fail each operation in turn until it passes untouched. */
    for (unsigned nth = 1;; nth++) {
        kvt_reopen(f); /* what an operator does: no store error is survived */
        kv_watch(f->kv, A);
        ram_store_fail(f->store, nth, 0);
        int err = apply_txn(f, &t);
        ram_store_fail(f->store, 0, 0);
        if (!err)
            break;
        assert_int_equal(err, -ERR_IO);
        assert_int_equal(f->n_replies, 0);
        assert_string_equal(f->changed->str, "");
        assert_in_range(nth, 1, 10);
    }
    t.seq = t.acked_below = 3;
    ram_store_fail(f->store, 0, 1);
    T_ERR(ERR_IO, apply_txn(f, &t));
    assert_int_equal(f->n_replies, 0);
    kvt_reopen(f);
    T_OK(apply_txn(f, &t));
    assert_int_equal(kvt_version(f, A), 3);
    assert_int_equal(get_le64(ASK(f, READ(get(A)))->reads[0].value.p), 2);
    kvt_destroy(f);
}

TEST(after_an_error_everything_is_refused_until_it_is_opened_again)
{
    struct kvt *f = kvt_create();
    struct msg_txn t = {.client = f->client, .seq = 1, WRITE(put(A, "1"))}, read = {READ(get(A))};
    struct msg_txn_reply r;
    struct bytes body;
    ram_store_fail(f->store, 0, 1);
    T_ERR(ERR_IO, apply_txn(f, &t));
    f->index++; /* memory has counted it */
    T_ERR(ERR_IO, apply_txn(f, &t));
    T_ERR(ERR_IO, kv_read(f->kv, &read, &f->arena, &r));
    assert_false(kv_result(f->kv, &t, &f->arena, &body));
    kvt_reopen(f);
    f->index--;
    assert_null(kvt_get(f, A));
    T_OK(apply_txn(f, &t));
    kvt_destroy(f);
}

struct order {
    struct kv *kv;
    GString *seen;
};

static void order_reply(void *ctx, uint64_t index, unsigned msg_type, struct bytes body)
{
    struct order *o = ctx;

    g_string_append_printf(o->seen, "%llu ", (unsigned long long)index);
}

static void order_changed(void *ctx, struct bytes key, uint64_t v)
{
    struct order *o = ctx;

    g_string_append_printf(o->seen, "%c=%llu ", key.p[2], (unsigned long long)v);
}

/* Requests 1.. of the fixture's session as entries from f->index + 1 on. */
static void make_entries(struct kvt *f, const struct msg_txn *t, size_t n, struct kv_entry *ret)
{
    CLEANUP(enc_finish) struct enc e = {0};

    for (size_t i = 0; i < n; i++) {
        struct msg_txn named = t[i];
        named.client = f->client;
        named.seq = named.acked_below = i + 1;
        enc_reset(&e);
        enc_u8(&e, KV_CMD_TXN);
        enc_txn(&e, &named);
        struct bytes data = arena_copy(&f->arena, enc_view(&e));
        ret[i] = (struct kv_entry){++f->index, 1, ++f->time, data};
    }
}

TEST(entries_share_a_batch_and_see_each_other)
{
    struct kvt *f = kvt_create();
    kvt_hold_rows(f, 100);
    struct order o = {f->kv, g_string_new(NULL)};
    struct kv_sink sink = {.reply = order_reply, .changed = order_changed, .ctx = &o};
    struct kv_entry e[5];
    struct msg_txn t[5] = {
        {WRITE(put(A, "12345678"))},
        {COMPARE(version(A, 1)), WRITE(number(f, KV_ADD64, A, 0, 0), write_at(B, 0, "b"))},
        {COMPARE(absent(A)), WRITE(put(A, "never"))},
        {COMPARE(version(A, 2), holds(A, 0, "12345678")), WRITE(del(A))},
        {COMPARE(absent(A), exists(B)), WRITE(put(C, "c"))},
    };
    size_t before = ram_store_batches(f->store);
    make_entries(f, t, 5, e);
    kv_watch(f->kv, A);
    T_OK(kv_apply(f->kv, e, 5, &sink));
    assert_int_equal(ram_store_batches(f->store), before);
    assert_string_equal(o.seen->str, "a=1 2 a=2 3 4 a=0 5 6 ");
    assert_null(kvt_get(f, A));
    assert_string_equal(kvt_get(f, C), "c");
    T_OK(kv_settle(f->kv));
    T_OK(kv_settle(f->kv)); /* there is nothing left to write */
    assert_int_equal(ram_store_batches(f->store), before + 1);
    assert_null(kvt_get(f, A));
    assert_string_equal(kvt_get(f, C), "c");
    g_string_free(o.seen, true);
    kvt_destroy(f);
}

/* Settling fails; what was applied is still shown and settles later. */
TEST(a_store_without_room_keeps_what_is_held_readable)
{
    struct kvt *f = kvt_create();
    kvt_hold_rows(f, 100);
    EXEC(f, WRITE(put(A, "1"), put(B, "2")));
    ram_store_fail(f->store, 0, 1);
    T_ERR(ERR_IO, kv_settle(f->kv));
    assert_string_equal(kvt_get(f, A), "1");
    assert_int_equal(ASK(f, READ(scan(A, D, 0)))->reads[0].n_pairs, 2);
    kvt_reopen(f);
    assert_string_equal(kvt_get(f, B), "2");
    kvt_destroy(f);
}

TEST(an_entry_that_iterates_sees_the_entries_applied_with_it)
{
    struct kvt *f = kvt_create();
    kvt_hold_rows(f, 100);
    struct kv_entry e[4];
    struct msg_txn t[4] = {
        {WRITE(put(A, "1"), put(B, "2"))},
        {COMPARE(empty_range(A, D)), WRITE(put(D, "never"))},
        {WRITE(del_range(A, D, 1))},
        {COMPARE(empty_range(A, B)), READ(scan(A, D, 0)), WRITE(put(D, "4"))},
    };
    make_entries(f, t, 4, e);
    T_OK(kv_apply(f->kv, e, 4, NULL));
    assert_null(kvt_get(f, A));
    assert_string_equal(kvt_get(f, B), "2");
    assert_string_equal(kvt_get(f, D), "4");
    kvt_destroy(f);
}

TEST(a_session_closed_together_with_its_first_request_leaves_nothing)
{
    struct kvt *f = kvt_create();
    struct kv_entry e[2];
    struct msg_txn t = {COMPARE(exists(A)), WRITE(put(A, "1"), put(Z, "1"))};
    struct msg_session_close close = {.client = f->client};
    CLEANUP(enc_finish) struct enc enc = {0};
    struct bytes value, keys[2] = {layout_result_key(&f->arena, 1, f->client),
                                   layout_trace_key(&f->arena, f->client, 1)};
    make_entries(f, &t, 1, e);
    enc_u8(&enc, KV_CMD_SESSION_CLOSE);
    enc_session_close(&enc, &close);
    e[1] = (struct kv_entry){++f->index, 1, ++f->time, enc_view(&enc)};
    T_OK(kv_apply(f->kv, e, 2, NULL));
    for (unsigned i = 0; i < 2; i++)
        T_ERR(ERR_NOT_FOUND, f->store->ops->get(f->store, NULL, keys[i], &f->arena, &value));
    kvt_destroy(f);
}

TEST(large_entries_applied_together_are_written_in_several_batches)
{
    struct kvt *f = kvt_create();
    kvt_hold_rows(f, 100);
    struct kv_entry e[8];
    struct msg_txn t[8];
    struct bytes keys[] = {A, B, C, D};
    struct kv_write w[8];
    for (unsigned i = 0; i < 8; i++) {
        w[i] = write_at(keys[i % 4], MIB(1) / 2, "x");
        t[i] = (struct msg_txn){.writes = &w[i], .n_writes = 1};
    }
    size_t before = ram_store_batches(f->store);
    make_entries(f, t, 8, e);
    T_OK(kv_apply(f->kv, e, 8, NULL));
    assert_in_range(ram_store_batches(f->store) - before, 3, 7);
    kvt_destroy(f);
}

TEST(only_watched_keys_are_told_and_once_for_a_transaction)
{
    struct kvt *f = kvt_create();
    kv_watch(f->kv, A);
    kv_watch(f->kv, A);
    kv_watch(f->kv, C);
    EXEC(f, WRITE(put(B, "1"), put(A, "1"), write_at(A, 0, "2")));
    assert_string_equal(f->changed->str, "a=1 ");
    EXEC(f, COMPARE(absent(A)), WRITE(put(A, "2")));
    assert_string_equal(f->changed->str, "");
    kv_unwatch(f->kv, A);
    EXEC(f, READ(get(A)), WRITE(put(C, "x"), del(A)));
    assert_string_equal(f->changed->str, "a=0 c=2 ");
    EXEC(f, WRITE(put(A, "x"), del_range(C, D, 1)));
    assert_string_equal(f->changed->str, "a=3 c=0 ");
    kv_unwatch(f->kv, A);
    kv_unwatch(f->kv, C);
    EXEC(f, WRITE(put(A, "x"), put(C, "y")));
    assert_string_equal(f->changed->str, "");
    kvt_destroy(f);
}

struct reader {
    struct kv *kv;
    struct arena arena;
    unsigned seen;
};

static void read_when_changed(void *ctx, struct bytes key, uint64_t v)
{
    struct reader *r = ctx;
    struct msg_txn t = {READ(get(key), get(B))};
    struct msg_txn_reply reply;

    T_OK(kv_read(r->kv, &t, &r->arena, &reply));
    assert_int_equal(reply.reads[0].version, v);
    kv_unwatch(r->kv, key);
    r->seen++;
}

TEST(a_callback_may_read_and_unwatch)
{
    struct kvt *f = kvt_create();
    struct reader reader = {.kv = f->kv};
    struct kv_sink sink = {.changed = read_when_changed, .ctx = &reader};
    struct msg_txn t = {.client = f->client, .seq = 1, WRITE(put(A, "1"), put(B, "2"), put(C, ""))};
    CLEANUP(enc_finish) struct enc e = {0};
    enc_txn(&e, &t);
    CLEANUP(buf_unref) struct buf *b = kv_command(KV_CMD_TXN, enc_view(&e));
    struct kv_entry entry = {.index = ++f->index, .term = 1, .time_ns = 1, .data = buf_bytes(b)};
    kv_watch(f->kv, A);
    kv_watch(f->kv, C);
    T_OK(kv_apply(f->kv, &entry, 1, &sink));
    assert_int_equal(reader.seen, 2);
    arena_finish(&reader.arena);
    kvt_destroy(f);
}

TEST(entries_are_applied_without_a_sink)
{
    struct kvt *f = kvt_create();
    struct kv_entry e[2] = {{.index = 2, .term = 1}, {.index = 3, .term = 2, .time_ns = 9}};
    uint64_t index, term, time;
    T_OK(kv_apply(f->kv, e, 2, NULL));
    kv_applied(f->kv, &index, &term, &time);
    assert_int_equal(index, 3);
    assert_int_equal(term, 2);
    assert_int_equal(time, 9);
    kvt_destroy(f);
}

T_MAIN(T(a_fresh_store_has_nothing_applied_and_opening_writes_nothing),
       T(each_entry_is_one_batch_and_moves_the_applied_index),
       T(a_newer_format_is_refused_with_a_clear_text),
       T(the_state_of_another_group_or_cluster_shape_is_refused),
       T(damaged_records_are_told_at_opening), T(a_read_error_at_opening_is_passed_on),
       T(damaged_values_stop_the_replica), T(damaged_result_rows_stop_the_replica),
       T(an_error_of_the_store_leaves_no_trace_of_the_entry),
       T(after_an_error_everything_is_refused_until_it_is_opened_again),
       T(entries_share_a_batch_and_see_each_other),
       T(a_store_without_room_keeps_what_is_held_readable),
       T(an_entry_that_iterates_sees_the_entries_applied_with_it),
       T(a_session_closed_together_with_its_first_request_leaves_nothing),
       T(large_entries_applied_together_are_written_in_several_batches),
       T(only_watched_keys_are_told_and_once_for_a_transaction), T(a_callback_may_read_and_unwatch),
       T(entries_are_applied_without_a_sink))
