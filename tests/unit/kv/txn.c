/* SPDX-License-Identifier: Apache-2.0 */
/* Compares, reads and writes of one transaction: DESIGN 3.2, a sentence each. */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/txn.h"

#define FAILS_AT(r, i)                                                                             \
    do {                                                                                           \
        struct msg_txn_reply *r_ = (r);                                                            \
        assert_int_equal(r_->status, ERR_FAILED);                                                  \
        assert_int_equal(r_->failed, (i));                                                         \
        assert_int_equal(r_->n_versions, 0);                                                       \
        assert_int_equal(r_->n_deleted, 0);                                                        \
    } while (0)
#define SUCCEEDS(r) assert_int_equal((r)->status, 0)
#define VALUE(f, key, want)                                                                        \
    do {                                                                                           \
        const char *value_ = kvt_get((f), (key));                                                  \
        assert_non_null(value_);                                                                   \
        assert_string_equal(value_, (want));                                                       \
    } while (0)
#define GONE(f, key) assert_null(kvt_get((f), (key)))
#define IS(b, s)     assert_true(bytes_eq((b), bytes_str(s)))

static uint64_t le64_at(struct kvt *f, struct bytes key, uint64_t off)
{
    struct kv_result *r = &ASK(f, READ(get_part(key, off, 8)))->reads[0];

    assert_int_equal(r->value.n, 8);
    return get_le64(r->value.p);
}

/* --- compares --------------------------------------------------------------------------------- */

TEST(absent_holds_only_while_the_key_does_not_exist)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, COMPARE(absent(A)), WRITE(put(A, "1"))));
    FAILS_AT(EXEC(f, COMPARE(absent(A)), WRITE(put(A, "2"))), 0);
    VALUE(f, A, "1");
    SUCCEEDS(EXEC(f, WRITE(del(A))));
    SUCCEEDS(EXEC(f, COMPARE(absent(A)), WRITE(put(A, "3"))));
    kvt_destroy(f);
}

TEST(exists_holds_also_for_an_empty_value)
{
    struct kvt *f = kvt_create();
    FAILS_AT(EXEC(f, COMPARE(exists(A)), WRITE(put(B, "1"))), 0);
    SUCCEEDS(EXEC(f, WRITE(put(A, ""))));
    SUCCEEDS(EXEC(f, COMPARE(exists(A)), WRITE(put(B, "1"))));
    kvt_destroy(f);
}

TEST(version_holds_for_the_last_write_and_zero_means_absent)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, COMPARE(version(A, 0)), WRITE(put(A, "1"))));
    FAILS_AT(EXEC(f, COMPARE(version(A, 0)), WRITE(put(A, "2"))), 0);
    SUCCEEDS(EXEC(f, COMPARE(version(A, 1)), WRITE(put(A, "2"))));
    FAILS_AT(EXEC(f, COMPARE(version(A, 1)), WRITE(put(A, "3"))), 0);
    kvt_destroy(f);
}

TEST(bytes_holds_where_the_value_has_them_at_the_offset)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, WRITE(put(A, "hello"))));
    SUCCEEDS(EXEC(f, COMPARE(holds(A, 1, "ell"), holds(A, 0, "hello"), holds(A, 5, "")),
                  WRITE(put(B, "1"))));
    FAILS_AT(EXEC(f, COMPARE(holds(A, 1, "elL")), WRITE(put(B, "2"))), 0);
    FAILS_AT(EXEC(f, COMPARE(holds(A, 3, "lo!")), WRITE(put(B, "2"))), 0);
    FAILS_AT(EXEC(f, COMPARE(holds(A, 6, "")), WRITE(put(B, "2"))), 0);
    FAILS_AT(EXEC(f, COMPARE(holds(C, 0, "")), WRITE(put(B, "2"))), 0);
    kvt_destroy(f);
}

TEST(empty_range_includes_its_low_and_excludes_its_high_bound)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, WRITE(put(B, "1"))));
    FAILS_AT(EXEC(f, COMPARE(empty_range(B, C)), WRITE(put(E, "1"))), 0);
    SUCCEEDS(EXEC(f, COMPARE(empty_range(A, B), empty_range(C, D), empty_range(B, B)),
                  WRITE(put(E, "1"))));
    kvt_destroy(f);
}

TEST(empty_range_to_the_end_of_a_shard_does_not_see_the_next_shard)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, WRITE(put(E, "1"))));
    SUCCEEDS(EXEC(f, COMPARE(empty_range(SHARD("\1"), SHARD("\2"))), WRITE(put(F, "1"))));
    FAILS_AT(EXEC(f, COMPARE(empty_range(SHARD("\2"), SHARD("\3"))), WRITE(put(F, "1"))), 0);
    kvt_destroy(f);
}

TEST(the_index_of_the_first_compare_that_fails_is_told)
{
    struct kvt *f = kvt_create();
    FAILS_AT(EXEC(f, COMPARE(absent(A), absent(B), exists(C), exists(D)), WRITE(put(A, "1"))), 2);
    kvt_destroy(f);
}

TEST(compares_see_the_state_before_the_writes)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, COMPARE(absent(A)), WRITE(put(A, "1"), del(A), put(A, "2"))));
    VALUE(f, A, "2");
    kvt_destroy(f);
}

/* --- reads ------------------------------------------------------------------------------------ */

TEST(get_gives_value_size_and_version)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(B, "x")));
    EXEC(f, WRITE(put(A, "hello")));
    struct msg_txn_reply *r = ASK(f, READ(get(A), get(C)));
    SUCCEEDS(r);
    assert_int_equal(r->n_reads, 2);
    IS(r->reads[0].value, "hello");
    assert_int_equal(r->reads[0].size, 5);
    assert_int_equal(r->reads[0].version, 2);
    assert_int_equal(r->reads[1].version, 0);
    assert_int_equal(r->reads[1].value.n, 0);
    assert_int_equal(r->time, 0);
    kvt_destroy(f);
}

TEST(get_of_a_part_gives_what_there_is_of_it)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "hello")));
    struct msg_txn_reply *r = ASK(f, READ(get_part(A, 1, 3), get_part(A, 3, 10), get_part(A, 2, 0),
                                          get_part(A, 9, 1), get_part(A, UINT64_MAX, UINT64_MAX)));
    IS(r->reads[0].value, "ell");
    IS(r->reads[1].value, "lo");
    IS(r->reads[2].value, "llo");
    IS(r->reads[3].value, "");
    IS(r->reads[4].value, "");
    assert_int_equal(r->reads[3].size, 5);
    kvt_destroy(f);
}

TEST(reads_see_the_state_before_the_writes)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "old"), put(B, "12345678")));
    struct msg_txn_reply *r =
        EXEC(f, READ(get(A), get(B), get(C), scan(A, D, 10)),
             WRITE(put(A, "new"), number(f, KV_ADD64, B, 0, 1), put(C, "c"), write_at(A, 0, "N")));
    SUCCEEDS(r);
    IS(r->reads[0].value, "old");
    IS(r->reads[1].value, "12345678");
    assert_int_equal(r->reads[2].version, 0);
    assert_int_equal(r->reads[3].n_pairs, 2);
    IS(r->reads[3].pairs[0].value, "old");
    VALUE(f, A, "New");
    kvt_destroy(f);
}

TEST(a_failed_transaction_still_tells_what_it_read)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "x")));
    struct msg_txn_reply *r = EXEC(f, COMPARE(absent(A)), READ(get(A)), WRITE(put(A, "y")));
    FAILS_AT(r, 0);
    IS(r->reads[0].value, "x");
    kvt_destroy(f);
}

TEST(scan_gives_pairs_in_order_up_to_its_limit)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(C, "3"), put(A, "1"), put(B, "22")));
    EXEC(f, WRITE(put(B, "2"), put(E, "5")));
    struct msg_txn_reply *r = ASK(
        f, READ(scan(A, D, 0), scan(A, D, 2), scan(B, C, 9), scan_keys(A, D, 0), scan(B, B, 1)));
    struct kv_result *all = &r->reads[0];
    assert_int_equal(all->n_pairs, 3);
    assert_int_equal(all->more, 0);
    assert_true(bytes_eq(all->pairs[0].key, A) && bytes_eq(all->pairs[2].key, C));
    IS(all->pairs[1].value, "2");
    assert_int_equal(all->pairs[1].version, 2);
    assert_int_equal(all->pairs[2].version, 1);
    assert_int_equal(r->reads[1].n_pairs, 2);
    assert_int_equal(r->reads[1].more, 1);
    assert_int_equal(r->reads[2].n_pairs, 1);
    assert_int_equal(r->reads[2].more, 0);
    assert_int_equal(r->reads[3].n_pairs, 3);
    assert_int_equal(r->reads[3].pairs[1].value.n, 0);
    assert_int_equal(r->reads[3].pairs[1].version, 2);
    assert_int_equal(r->reads[4].n_pairs, 0);
    kvt_destroy(f);
}

TEST(scan_of_a_whole_shard_ends_with_it)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1"), put(E, "2"), put(Z, "3")));
    struct msg_txn_reply *r =
        ASK(f, READ(scan(SHARD("\1"), SHARD("\2"), 0), scan(SHARD("\17"), SHARD("\20"), 0)));
    assert_int_equal(r->reads[0].n_pairs, 1);
    assert_int_equal(r->reads[1].n_pairs, 1);
    assert_true(bytes_eq(r->reads[1].pairs[0].key, Z));
    kvt_destroy(f);
}

/* Puts n values of the same size under shard 1. */
static void put_many(struct kvt *f, unsigned n, size_t size)
{
    uint8_t *value = arena_zalloc(&f->arena, size);

    for (unsigned i = 0; i < n; i++) {
        struct bytes key = bytes_str(arena_printf(&f->arena, "%c%ck%04u", 'x', 'x', i));
        put_be16((uint8_t *)key.p, 1);
        SUCCEEDS(EXEC(f, WRITE(put_bytes(key, bytes_of(value, size)))));
    }
}

TEST(scan_is_cut_at_its_limits_and_the_reply_fits_a_frame)
{
    struct kvt *f = kvt_create();
    put_many(f, 5, VALUE_MAX);
    struct kv_read whole = scan(SHARD("\1"), SHARD("\2"), 0);
    struct msg_txn_reply *r = ASK(f, READ(whole, whole, whole, whole, whole));
    CLEANUP(enc_finish) struct enc e = {0};
    enc_txn_reply(&e, r);
    assert_true(e.n <= FRAME_BODY_MAX);
    assert_int_equal(r->reads[0].n_pairs, 1); /* a value of VALUE_MAX is gathered, then no more */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(r->reads[i].more, 1);
    assert_int_equal(r->reads[4].n_pairs, 0);
    kvt_destroy(f);
}

TEST(gets_that_do_not_fit_a_frame_together_are_too_big)
{
    struct kvt *f = kvt_create();
    put_many(f, 1, VALUE_MAX);
    struct kv_read one = get(KEY("\1", "k0000"));
    SUCCEEDS(ASK(f, READ(one, one, one)));
    struct msg_txn_reply *r = ASK(f, READ(one, one, one, one));
    assert_int_equal(r->status, ERR_TOO_BIG);
    assert_int_equal(r->n_reads, 0);
    kvt_destroy(f);
}

TEST(a_result_too_large_to_keep_is_too_big_and_changes_nothing)
{
    struct kvt *f = kvt_create();
    put_many(f, 1, RESULT_BYTES_MAX);
    struct kv_read one = get(KEY("\1", "k0000"));
    struct msg_txn_reply *r = EXEC(f, READ(one), WRITE(put(A, "1")));
    assert_int_equal(r->status, ERR_TOO_BIG);
    GONE(f, A);
    assert_true(f->reply_body.n < RESULT_BYTES_MAX);
    kvt_destroy(f);
}

TEST(a_scan_beside_writes_is_cut_to_what_may_be_kept)
{
    struct kvt *f = kvt_create();
    put_many(f, 20, KIB(10));
    struct msg_txn_reply *r = EXEC(f, READ(scan(SHARD("\1"), SHARD("\2"), 0)), WRITE(put(A, "1")));
    SUCCEEDS(r);
    assert_int_equal(r->reads[0].more, 1);
    assert_in_range(r->reads[0].n_pairs, 1, 6);
    assert_true(f->reply_body.n <= RESULT_BYTES_MAX);
    kvt_destroy(f);
}

/* --- writes ----------------------------------------------------------------------------------- */

TEST(put_replaces_and_delete_leaves_version_zero)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "long value")));
    EXEC(f, WRITE(put(A, "x")));
    VALUE(f, A, "x");
    EXEC(f, WRITE(del(A)));
    GONE(f, A);
    assert_int_equal(kvt_version(f, A), 0);
    SUCCEEDS(EXEC(f, WRITE(del(A))));
    kvt_destroy(f);
}

TEST(write_changes_a_part_and_grows_with_zeros)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "hello")));
    EXEC(f, WRITE(write_at(A, 1, "EL")));
    VALUE(f, A, "hELlo");
    EXEC(f, WRITE(write_at(A, 4, "O!")));
    VALUE(f, A, "hELlO!");
    EXEC(f, WRITE(write_at(A, 8, "z")));
    SUCCEEDS(ASK(f, COMPARE(holds(A, 0, "hELlO!")), READ(get(A))));
    struct kv_result *r = &ASK(f, READ(get(A)))->reads[0];
    assert_true(bytes_eq(r->value, bytes_of("hELlO!\0\0z", 9)));
    kvt_destroy(f);
}

TEST(write_creates_an_absent_key)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(write_at(A, 2, "x")));
    assert_true(bytes_eq(ASK(f, READ(get(A)))->reads[0].value, bytes_of("\0\0x", 3)));
    kvt_destroy(f);
}

TEST(truncate_cuts_grows_with_zeros_and_leaves_an_absent_key_absent)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "hello")));
    EXEC(f, WRITE(trunc_to(A, 2)));
    VALUE(f, A, "he");
    EXEC(f, WRITE(trunc_to(A, 4)));
    assert_true(bytes_eq(ASK(f, READ(get(A)))->reads[0].value, bytes_of("he\0\0", 4)));
    SUCCEEDS(EXEC(f, WRITE(trunc_to(B, 4))));
    GONE(f, B);
    kvt_destroy(f);
}

TEST(what_a_truncate_cut_off_never_comes_back)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "secret!!"), write_at(A, 0, "S"), trunc_to(A, 1), write_at(A, 4, "x"),
                  trunc_to(A, 6)));
    assert_true(bytes_eq(ASK(f, READ(get(A)))->reads[0].value, bytes_of("S\0\0\0x\0", 6)));
    kvt_destroy(f);
}

TEST(add64_adds_modulo_two_to_the_sixty_fourth)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put_bytes(A, bytes_of("\0\0\0\0\0\0\0\0\0\0", 10))));
    SUCCEEDS(EXEC(f, WRITE(number(f, KV_ADD64, A, 2, 5), number(f, KV_ADD64, A, 2, 2))));
    assert_int_equal(le64_at(f, A, 2), 7);
    SUCCEEDS(EXEC(f, WRITE(number(f, KV_ADD64, A, 2, (uint64_t)-8))));
    assert_int_equal(le64_at(f, A, 2), UINT64_MAX);
    kvt_destroy(f);
}

TEST(max64_never_lowers)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put_bytes(A, le64_bytes(f, 10))));
    SUCCEEDS(EXEC(f, WRITE(number(f, KV_MAX64, A, 0, 9))));
    assert_int_equal(le64_at(f, A, 0), 10);
    SUCCEEDS(EXEC(f, WRITE(number(f, KV_MAX64, A, 0, UINT64_MAX))));
    assert_int_equal(le64_at(f, A, 0), UINT64_MAX);
    kvt_destroy(f);
}

TEST(time64_is_the_time_of_the_entry_everywhere)
{
    struct kvt *f = kvt_create();
    struct msg_txn_reply *r =
        EXEC(f, WRITE(put(A, "12345678"), put(E, "xx12345678"), number(f, KV_TIME64, A, 0, 0),
                      number(f, KV_TIME64, E, 2, 0)));
    SUCCEEDS(r);
    assert_int_equal(r->time, f->time);
    assert_int_equal(le64_at(f, A, 0), f->time);
    assert_int_equal(le64_at(f, E, 2), f->time);
    kvt_destroy(f);
}

TEST(numbers_of_an_absent_key_fail_the_whole_transaction)
{
    struct kvt *f = kvt_create();
    enum kv_write_op ops[] = {KV_ADD64, KV_MAX64, KV_TIME64};

    for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
        FAILS_AT(EXEC(f, COMPARE(absent(A), absent(B)), READ(get(A)),
                      WRITE(put(A, "1"), number(f, ops[i], B, 0, 1), put(C, "1"))),
                 3);
        GONE(f, A);
        GONE(f, C);
        FAILS_AT(EXEC(f, WRITE(put(A, "12345678"), del(A), number(f, ops[i], A, 0, 1))), 2);
    }
    kvt_destroy(f);
}

TEST(numbers_beyond_the_end_of_a_value_fail_too)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "12345678"), put(B, "1234567")));
    FAILS_AT(EXEC(f, WRITE(number(f, KV_ADD64, A, 1, 1))), 0);
    FAILS_AT(EXEC(f, WRITE(number(f, KV_ADD64, B, 0, 1))), 0);
    VALUE(f, A, "12345678");
    kvt_destroy(f);
}

TEST(numbers_see_a_key_made_earlier_in_the_transaction)
{
    struct kvt *f = kvt_create();
    SUCCEEDS(EXEC(f, WRITE(put_bytes(A, le64_bytes(f, 1)), number(f, KV_ADD64, A, 0, 1))));
    assert_int_equal(le64_at(f, A, 0), 2);
    kvt_destroy(f);
}

TEST(writes_to_one_key_happen_in_order)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "0")));
    EXEC(f, WRITE(write_at(A, 1, "1"), del(A), write_at(A, 0, "a"), write_at(A, 1, "b"),
                  put(B, "x"), put(B, "y"), put(C, "c"), del(C)));
    VALUE(f, A, "ab");
    VALUE(f, B, "y");
    GONE(f, C);
    kvt_destroy(f);
}

TEST(delete_range_deletes_in_order_up_to_its_limit_and_counts)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1"), put(B, "2"), put(C, "3"), put(D, "4"), put(E, "5")));
    struct msg_txn_reply *r = EXEC(f, WRITE(del_range(A, D, 2), del_range(A, A, 5)));
    assert_int_equal(r->n_deleted, 2);
    assert_int_equal(r->deleted[0].value, 2);
    assert_int_equal(r->deleted[1].value, 0);
    GONE(f, A);
    GONE(f, B);
    VALUE(f, C, "3");
    r = EXEC(f, WRITE(del_range(SHARD("\1"), SHARD("\2"), SCAN_ENTRIES_MAX)));
    assert_int_equal(r->deleted[0].value, 2);
    VALUE(f, E, "5");
    kvt_destroy(f);
}

TEST(delete_range_sees_the_writes_before_it)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1"), put(C, "3")));
    struct msg_txn_reply *r = EXEC(f, WRITE(put(B, "2"), del(A), del_range(A, D, 2), put(A, "new"),
                                            put(D, "4"), del_range(B, D, 9)));
    assert_int_equal(r->deleted[0].value, 2); /* B and C: A was gone already */
    assert_int_equal(r->deleted[1].value, 0);
    VALUE(f, A, "new");
    GONE(f, B);
    GONE(f, C);
    VALUE(f, D, "4");
    kvt_destroy(f);
}

TEST(delete_range_takes_thousands_of_keys)
{
    struct kvt *f = kvt_create();
    put_many(f, 3000, 1);
    struct msg_txn_reply *r =
        EXEC(f, WRITE(put(D, "kept"), del_range(KEY("\1", "k"), KEY("\1", "l"), 2999),
                      del_range(KEY("\1", "k"), KEY("\1", "l"), 10)));
    assert_int_equal(r->deleted[0].value, 2999);
    assert_int_equal(r->deleted[1].value, 1);
    assert_int_equal(ASK(f, READ(scan(SHARD("\1"), SHARD("\2"), 0)))->reads[0].n_pairs, 1);
    kvt_destroy(f);
}

TEST(one_small_request_cannot_ask_for_unbounded_work)
{
    struct kvt *f = kvt_create();
    struct kv_write w[TXN_WRITES_MAX];

    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        struct bytes key = bytes_str(arena_printf(&f->arena, "%c%ck%04u", 'x', 'x', i));
        put_be16((uint8_t *)key.p, 1);
        w[i] = write_at(key, VALUE_MAX - 1, "x");
    }
    struct msg_txn_reply *r = EXEC(f, .writes = w, .n_writes = ARRAY_LEN(w));
    assert_int_equal(r->status, ERR_TOO_BIG);
    GONE(f, w[0].key);
    r = EXEC(f, .writes = w, .n_writes = TXN_WORK_MAX / VALUE_MAX);
    SUCCEEDS(r);
    kvt_destroy(f);
}

TEST(a_value_built_of_many_small_writes_is_cheap)
{
    struct kvt *f = kvt_create();
    struct kv_write w[TXN_WRITES_MAX];
    size_t piece = MIB(1) / TXN_WRITES_MAX;
    struct bytes zeros = bytes_of(arena_zalloc(&f->arena, piece), piece);

    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        w[i] = (struct kv_write){.op = KV_WRITE, .key = A, .arg = i * piece, .value = zeros};
    SUCCEEDS(EXEC(f, .writes = w, .n_writes = ARRAY_LEN(w)));
    assert_int_equal(ASK(f, READ(get_part(A, 0, 1)))->reads[0].size, MIB(1));
    kvt_destroy(f);
}

/* --- versions --------------------------------------------------------------------------------- */

TEST(all_values_of_a_transaction_and_shard_get_one_version)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(E, "5")));
    struct msg_txn_reply *r = EXEC(f, WRITE(put(F, "1"), put(A, "2"), put(E, "3"), put(F, "4")));
    assert_int_equal(r->n_versions, 2);
    assert_int_equal(r->versions[0].shard, 1);
    assert_int_equal(r->versions[0].version, 1);
    assert_int_equal(r->versions[1].shard, 2);
    assert_int_equal(r->versions[1].version, 2);
    assert_int_equal(kvt_version(f, A), 1);
    assert_int_equal(kvt_version(f, E), 2);
    assert_int_equal(kvt_version(f, F), 2);
    kvt_destroy(f);
}

TEST(a_key_made_again_never_gets_an_old_version)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1")));
    EXEC(f, WRITE(del(A)));
    EXEC(f, WRITE(put(A, "1")));
    assert_int_equal(kvt_version(f, A), 3);
    kvt_destroy(f);
}

TEST(a_failed_transaction_takes_no_step)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1")));
    EXEC(f, COMPARE(absent(A)), WRITE(put(A, "2")));
    EXEC(f, WRITE(put(A, "3")));
    assert_int_equal(kvt_version(f, A), 2);
    kvt_destroy(f);
}

TEST(versions_go_on_after_reopening)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1"), put(E, "1")));
    kvt_reopen(f);
    struct msg_txn_reply *r = EXEC(f, WRITE(put(A, "2")));
    assert_int_equal(r->versions[0].version, 2);
    assert_int_equal(kvt_version(f, E), 1);
    kvt_destroy(f);
}

TEST(the_empty_rest_of_a_key_is_a_key)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(SHARD("\1"), "root"), put(A, "a")));
    VALUE(f, SHARD("\1"), "root");
    assert_int_equal(ASK(f, READ(scan(SHARD("\1"), SHARD("\2"), 0)))->reads[0].n_pairs, 2);
    kvt_destroy(f);
}

T_MAIN(T(absent_holds_only_while_the_key_does_not_exist), T(exists_holds_also_for_an_empty_value),
       T(version_holds_for_the_last_write_and_zero_means_absent),
       T(bytes_holds_where_the_value_has_them_at_the_offset),
       T(empty_range_includes_its_low_and_excludes_its_high_bound),
       T(empty_range_to_the_end_of_a_shard_does_not_see_the_next_shard),
       T(the_index_of_the_first_compare_that_fails_is_told),
       T(compares_see_the_state_before_the_writes), T(get_gives_value_size_and_version),
       T(get_of_a_part_gives_what_there_is_of_it), T(reads_see_the_state_before_the_writes),
       T(a_failed_transaction_still_tells_what_it_read),
       T(scan_gives_pairs_in_order_up_to_its_limit), T(scan_of_a_whole_shard_ends_with_it),
       T(scan_is_cut_at_its_limits_and_the_reply_fits_a_frame),
       T(gets_that_do_not_fit_a_frame_together_are_too_big),
       T(a_result_too_large_to_keep_is_too_big_and_changes_nothing),
       T(a_scan_beside_writes_is_cut_to_what_may_be_kept),
       T(put_replaces_and_delete_leaves_version_zero), T(write_changes_a_part_and_grows_with_zeros),
       T(write_creates_an_absent_key),
       T(truncate_cuts_grows_with_zeros_and_leaves_an_absent_key_absent),
       T(what_a_truncate_cut_off_never_comes_back), T(add64_adds_modulo_two_to_the_sixty_fourth),
       T(max64_never_lowers), T(time64_is_the_time_of_the_entry_everywhere),
       T(numbers_of_an_absent_key_fail_the_whole_transaction),
       T(numbers_beyond_the_end_of_a_value_fail_too),
       T(numbers_see_a_key_made_earlier_in_the_transaction), T(writes_to_one_key_happen_in_order),
       T(delete_range_deletes_in_order_up_to_its_limit_and_counts),
       T(delete_range_sees_the_writes_before_it), T(delete_range_takes_thousands_of_keys),
       T(one_small_request_cannot_ask_for_unbounded_work),
       T(a_value_built_of_many_small_writes_is_cheap),
       T(all_values_of_a_transaction_and_shard_get_one_version),
       T(a_key_made_again_never_gets_an_old_version), T(a_failed_transaction_takes_no_step),
       T(versions_go_on_after_reopening), T(the_empty_rest_of_a_key_is_a_key))
