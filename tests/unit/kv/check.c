/* SPDX-License-Identifier: Apache-2.0 */
/* What kv_check refuses before a request is proposed. */
#include "tests/unit/kv/fixture.h"

#define CHECK(f, ...)                                                                              \
    kv_check((f)->kv, &(struct msg_txn){.client = 1, .seq = 1, .acked_below = 1, __VA_ARGS__})

static struct bytes long_bytes(struct kvt *f, size_t n)
{
    uint8_t *p = arena_zalloc(&f->arena, n);

    p[1] = 1; /* as a key: of shard 1 */
    return bytes_of(p, n);
}

TEST(a_key_names_a_shard_of_the_cluster)
{
    struct kvt *f = kvt_create();
    T_OK(CHECK(f, READ(get(Z)), COMPARE(exists(Z)), WRITE(put(Z, "1"))));
    T_ERR(ERR_INVALID, CHECK(f, READ(get(SHARD("\20")))));
    T_ERR(ERR_INVALID, CHECK(f, COMPARE(exists(SHARD("\20")))));
    T_ERR(ERR_INVALID, CHECK(f, WRITE(put(SHARD("\20"), ""))));
    T_ERR(ERR_INVALID, CHECK(f, READ(get(bytes_of("\377\377", 2)))));
    T_ERR(ERR_INVALID, CHECK(f, READ(get(bytes_of("\0", 1)))));
    T_ERR(ERR_INVALID, CHECK(f, READ(get(BYTES_NONE))));
    kvt_destroy(f);
}

TEST(a_key_has_a_length_limit)
{
    struct kvt *f = kvt_create();
    T_OK(CHECK(f, READ(get(long_bytes(f, KEY_MAX)))));
    T_ERR(ERR_TOO_BIG, CHECK(f, READ(get(long_bytes(f, KEY_MAX + 1)))));
    T_ERR(ERR_TOO_BIG, CHECK(f, READ(scan(A, long_bytes(f, KEY_MAX + 1), 1))));
    kvt_destroy(f);
}

TEST(a_range_lies_in_one_shard)
{
    struct kvt *f = kvt_create();
    T_OK(CHECK(f, READ(scan(A, B, 1), scan(A, A, 1), scan(A, SHARD("\2"), 1))));
    T_OK(CHECK(f, READ(scan(Z, SHARD("\20"), 1))));
    T_ERR(ERR_INVALID, CHECK(f, READ(scan(A, E, 1))));
    T_ERR(ERR_INVALID, CHECK(f, READ(scan(A, SHARD("\3"), 1))));
    T_ERR(ERR_INVALID, CHECK(f, READ(scan(B, A, 1))));
    T_ERR(ERR_INVALID, CHECK(f, READ(scan(E, B, 1))));
    T_ERR(ERR_INVALID, CHECK(f, READ(scan(A, BYTES_NONE, 1))));
    T_ERR(ERR_INVALID, CHECK(f, COMPARE(empty_range(A, E))));
    T_ERR(ERR_INVALID, CHECK(f, WRITE(del_range(A, E, 1))));
    kvt_destroy(f);
}

TEST(a_value_has_a_length_limit_whatever_writes_it)
{
    struct kvt *f = kvt_create();
    T_OK(CHECK(f, WRITE(put_bytes(A, long_bytes(f, VALUE_MAX)))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(put_bytes(A, long_bytes(f, VALUE_MAX + 1)))));
    T_OK(CHECK(f, WRITE(write_at(A, VALUE_MAX - 1, "x"), trunc_to(A, VALUE_MAX))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(write_at(A, VALUE_MAX, "x"))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(write_at(A, UINT64_MAX, "x"))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(trunc_to(A, VALUE_MAX + 1))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(number(f, KV_ADD64, A, VALUE_MAX - 7, 1))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(number(f, KV_TIME64, A, UINT64_MAX - 3, 1))));
    T_ERR(ERR_TOO_BIG, CHECK(f, COMPARE(holds(A, UINT64_MAX, "x"))));
    kvt_destroy(f);
}

TEST(a_number_is_eight_bytes)
{
    struct kvt *f = kvt_create();
    struct kv_write w = {.op = KV_ADD64, .key = A, .value = bytes_str("1234567")};
    T_ERR(ERR_INVALID, CHECK(f, .writes = &w, .n_writes = 1));
    w.op = KV_MAX64;
    T_ERR(ERR_INVALID, CHECK(f, .writes = &w, .n_writes = 1));
    kvt_destroy(f);
}

TEST(unknown_operations_are_refused)
{
    struct kvt *f = kvt_create();
    for (unsigned op = 0; op < 256; op++) {
        struct kv_compare c = {.op = (uint8_t)op, .key = A, .hi = B};
        struct kv_read r = {.op = (uint8_t)op, .key = A, .hi = B};
        struct kv_write w = {.op = (uint8_t)op, .key = A, .hi = B, .arg = 1};
        w.value = op == KV_ADD64 || op == KV_MAX64 ? bytes_str("12345678") : BYTES_NONE;
        assert_int_equal(CHECK(f, .compares = &c, .n_compares = 1),
                         op >= KV_ABSENT && op <= KV_EMPTY_RANGE ? 0 : -ERR_INVALID);
        assert_int_equal(CHECK(f, .reads = &r, .n_reads = 1),
                         op >= KV_GET && op <= KV_SCAN ? 0 : -ERR_INVALID);
        assert_int_equal(CHECK(f, .writes = &w, .n_writes = 1),
                         op >= KV_PUT && op <= KV_TIME64 ? 0 : -ERR_INVALID);
    }
    kvt_destroy(f);
}

TEST(a_scan_has_no_third_mode)
{
    struct kvt *f = kvt_create();
    struct kv_read r = scan(A, B, 1);
    r.off = 2;
    T_ERR(ERR_INVALID, CHECK(f, .reads = &r, .n_reads = 1));
    kvt_destroy(f);
}

TEST(a_delete_range_names_a_bounded_number_of_keys)
{
    struct kvt *f = kvt_create();
    T_OK(CHECK(f, WRITE(del_range(A, B, SCAN_ENTRIES_MAX))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(del_range(A, B, SCAN_ENTRIES_MAX + 1))));
    T_ERR(ERR_INVALID, CHECK(f, WRITE(del_range(A, B, 0))));
    kvt_destroy(f);
}

TEST(writes_need_a_client_and_an_outstanding_number)
{
    struct kvt *f = kvt_create();
    struct msg_txn t = {WRITE(put(A, "1"))};
    T_ERR(ERR_INVALID, kv_check(f->kv, &t));
    t.client = 1;
    T_OK(kv_check(f->kv, &t));
    t.seq = 3;
    t.acked_below = 4;
    T_ERR(ERR_INVALID, kv_check(f->kv, &t));
    t.acked_below = 3;
    T_OK(kv_check(f->kv, &t));
    kvt_destroy(f);
}

TEST(a_transaction_writes_to_sixteen_shards_at_most)
{
    struct kv_write w[17];
    struct arena a = {0};
    struct kv *kv;
    struct store *store = ram_store_create();
    T_OK(kv_open(store, 0, SHARDS_DEFAULT, &kv, NULL));

    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        uint8_t *p = arena_zalloc(&a, 2);
        put_be16(p, (uint16_t)(200 - i * 3));
        w[i] = put_bytes(bytes_of(p, 2), BYTES_NONE);
    }
    struct msg_txn t = {.client = 1, .writes = w, .n_writes = 16};
    T_OK(kv_check(kv, &t));
    t.n_writes = 17;
    T_ERR(ERR_TOO_BIG, kv_check(kv, &t));
    for (unsigned i = 0; i < 17; i++)
        w[i] = del_range(A, B, 1);
    T_ERR(ERR_TOO_BIG, kv_check(kv, &t));
    t.n_writes = 16;
    T_OK(kv_check(kv, &t));
    kv_close(kv);
    store->ops->close(store);
    arena_finish(&a);
}

TEST(a_transaction_has_a_total_limit)
{
    struct kvt *f = kvt_create();
    struct bytes half = long_bytes(f, TXN_BYTES_MAX / 2);
    T_OK(CHECK(f, WRITE(put_bytes(A, half))));
    T_ERR(ERR_TOO_BIG, CHECK(f, WRITE(put_bytes(A, half), put_bytes(B, half))));
    kvt_destroy(f);
}

TEST(an_entry_that_was_not_checked_is_answered_and_changes_nothing)
{
    struct kvt *f = kvt_create();
    assert_int_equal(AS(f, f->client, 1, 1, WRITE(put(A, "1"), trunc_to(A, VALUE_MAX + 1)))->status,
                     ERR_TOO_BIG);
    assert_int_equal(AS(f, f->client, 1, 1, WRITE(put(A, "1"), put(SHARD("\20"), "1")))->status,
                     ERR_INVALID);
    assert_null(kvt_get(f, A));
    /* Neither was a result: the number is still free. */
    assert_int_equal(AS(f, f->client, 1, 1, WRITE(put(A, "1")))->status, 0);
    kvt_destroy(f);
}

TEST(a_read_that_writes_is_refused)
{
    struct kvt *f = kvt_create();
    struct msg_txn t = {.client = 1, WRITE(put(A, "1"))};
    struct msg_txn_reply r;
    T_ERR(ERR_INVALID, kv_read(f->kv, &t, &f->arena, &r));
    kvt_destroy(f);
}

T_MAIN(T(a_key_names_a_shard_of_the_cluster), T(a_key_has_a_length_limit),
       T(a_range_lies_in_one_shard), T(a_value_has_a_length_limit_whatever_writes_it),
       T(a_number_is_eight_bytes), T(unknown_operations_are_refused), T(a_scan_has_no_third_mode),
       T(a_delete_range_names_a_bounded_number_of_keys),
       T(writes_need_a_client_and_an_outstanding_number),
       T(a_transaction_writes_to_sixteen_shards_at_most), T(a_transaction_has_a_total_limit),
       T(an_entry_that_was_not_checked_is_answered_and_changes_nothing),
       T(a_read_that_writes_is_refused))
