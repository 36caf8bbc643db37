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
    uint8_t newer[30] = {2};
    raw_put(f->store, layout_format_key(&f->arena), newer, sizeof(newer));
    T_ERR(ERR_FORMAT, open_again(f, 1, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "format 2");
    T_CONTAINS(msg.text, "newer");
    kvt_destroy(f);
}

TEST(the_state_of_another_group_or_cluster_shape_is_refused)
{
    struct kvt *f = kvt_create();
    struct errmsg msg;
    T_ERR(ERR_WRONG_CLUSTER, open_again(f, 2, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "group 1");
    T_ERR(ERR_WRONG_CLUSTER, open_again(f, 1, KVT_SHARDS * 2, NULL));
    T_OK(open_again(f, 1, KVT_SHARDS, NULL));
    kvt_destroy(f);
}

TEST(damaged_records_are_told_at_opening)
{
    struct kvt *f = kvt_create();
    struct arena *a = &f->arena;
    struct store_write drop = {STORE_DELETE, layout_format_key(a), BYTES_NONE};
    struct errmsg msg;
    raw_put(f->store, layout_session_key(a, 7), "short", 5);
    T_ERR(ERR_CORRUPT, open_again(f, 1, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "sessions");
    raw_put(f->store, layout_applied_key(a), "short", 5);
    T_ERR(ERR_CORRUPT, open_again(f, 1, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "applied");
    raw_put(f->store, layout_format_key(a), "abc", 3);
    T_ERR(ERR_CORRUPT, open_again(f, 1, KVT_SHARDS, &msg));
    T_OK(f->store->ops->write(f->store, &drop, 1));
    T_ERR(ERR_CORRUPT, open_again(f, 1, KVT_SHARDS, &msg));
    T_CONTAINS(msg.text, "format");
    kvt_destroy(f);
}

TEST(a_read_error_at_opening_is_passed_on)
{
    struct kvt *f = kvt_create();
    for (unsigned nth = 1; nth <= 2; nth++) {
        ram_store_fail(f->store, nth, 0);
        T_ERR(ERR_IO, open_again(f, 1, KVT_SHARDS, NULL));
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
    T_ERR(ERR_CORRUPT, apply_txn(f, &of_b));
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
       T(only_watched_keys_are_told_and_once_for_a_transaction), T(a_callback_may_read_and_unwatch),
       T(entries_are_applied_without_a_sink))
