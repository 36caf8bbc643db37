/* SPDX-License-Identifier: Apache-2.0 */
/* Building transactions. Pure: no cluster. */
#include "cluster/client/client.h"
#include "tests/lib/t.h"

#define K(s) bytes_str(s)

static bool is(struct bytes b, const char *s)
{
    return bytes_eq(b, bytes_str(s));
}

TEST(each_list_counts_its_own_items)
{
    struct txn t CLEANUP(txn_finish) = {0};
    assert_int_equal(txn_absent(&t, K("a")), 0);
    assert_int_equal(txn_get(&t, K("b")), 0);
    assert_int_equal(txn_exists(&t, K("c")), 1);
    assert_int_equal(txn_get_part(&t, K("d"), 5, 6), 1);
    txn_put(&t, K("e"), K("v"));
    assert_int_equal(txn_version(&t, K("f"), 9), 2);
    assert_int_equal(t.m.n_compares, 3);
    assert_int_equal(t.m.n_reads, 2);
    assert_int_equal(t.m.n_writes, 1);
    assert_int_equal(t.m.compares[2].op, KV_VERSION);
    assert_int_equal(t.m.compares[2].arg, 9);
    assert_int_equal(t.m.reads[1].off, 5);
    assert_int_equal(t.m.reads[1].len, 6);
}

TEST(keys_are_copied_and_values_borrowed)
{
    struct txn t CLEANUP(txn_finish) = {0};
    char key[] = "key", value[] = "value";
    txn_put(&t, K(key), K(value));
    (void)txn_scan(&t, K(key), K(key), 10, true);
    memset(key, 'x', 3);
    value[0] = 'V';
    assert_true(is(t.m.writes[0].key, "key"));
    assert_true(is(t.m.writes[0].value, "Value"));
    assert_true(is(t.m.reads[0].key, "key"));
    assert_true(is(t.m.reads[0].hi, "key"));
    assert_int_equal(t.m.reads[0].off, 1); /* keys only */
    assert_int_equal(t.m.reads[0].len, 10);
}

TEST(a_list_grows_and_keeps_what_is_in_it)
{
    struct txn t CLEANUP(txn_finish) = {0};
    char key[16];
    for (unsigned i = 0; i < TXN_WRITES_MAX; i++) {
        g_snprintf(key, sizeof(key), "k%u", i);
        txn_delete(&t, K(key));
    }
    assert_int_equal(t.m.n_writes, TXN_WRITES_MAX);
    assert_true(is(t.m.writes[0].key, "k0"));
    assert_true(is(t.m.writes[TXN_WRITES_MAX - 1].key, "k511"));
}

TEST(operands_of_fields_are_eight_bytes_little_endian)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_add64(&t, K("a"), 8, -2);
    txn_max64(&t, K("a"), 16, 0x0102);
    txn_time64(&t, K("a"), 24);
    assert_int_equal(get_le64(t.m.writes[0].value.p), (uint64_t)-2);
    assert_int_equal(t.m.writes[1].value.p[0], 2);
    assert_int_equal(t.m.writes[1].value.n, 8);
    assert_int_equal(t.m.writes[1].arg, 16);
    assert_int_equal(t.m.writes[2].op, KV_TIME64);
    assert_int_equal(t.m.writes[2].value.n, 0);
}

TEST(a_range_delete_is_counted_among_range_deletes_only)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_put(&t, K("a"), K("v"));
    assert_int_equal(txn_delete_range(&t, K("b"), K("c"), 5), 0);
    txn_truncate(&t, K("d"), 7);
    assert_int_equal(txn_delete_range(&t, K("e"), K("f"), 5), 1);
    txn_write(&t, K("g"), 3, K("v"));
    assert_int_equal(t.m.writes[2].arg, 7);
    assert_int_equal(t.m.writes[4].arg, 3);
}

TEST(compares_carry_their_operands)
{
    struct txn t CLEANUP(txn_finish) = {0};
    assert_int_equal(txn_bytes_at(&t, K("a"), 4, K("xy")), 0);
    assert_int_equal(txn_empty_range(&t, K("b"), K("c")), 1);
    assert_int_equal(t.m.compares[0].op, KV_BYTES);
    assert_int_equal(t.m.compares[0].arg, 4);
    assert_true(is(t.m.compares[0].value, "xy"));
    assert_true(is(t.m.compares[1].hi, "c"));
}

TEST(a_reset_transaction_is_empty_and_can_be_built_again)
{
    struct txn t CLEANUP(txn_finish) = {0};
    for (unsigned i = 0; i < 3; i++) {
        txn_reset(&t);
        assert_int_equal(t.m.n_writes, 0);
        for (unsigned k = 0; k < 20; k++)
            txn_put(&t, K("key"), K("v"));
        assert_int_equal(t.m.n_writes, 20);
    }
}

TEST(an_untouched_transaction_can_be_finished_twice)
{
    struct txn t = {0};
    txn_finish(&t);
    txn_finish(&t);
}

T_MAIN(T(each_list_counts_its_own_items), T(keys_are_copied_and_values_borrowed),
       T(a_list_grows_and_keeps_what_is_in_it), T(operands_of_fields_are_eight_bytes_little_endian),
       T(a_range_delete_is_counted_among_range_deletes_only), T(compares_carry_their_operands),
       T(a_reset_transaction_is_empty_and_can_be_built_again),
       T(an_untouched_transaction_can_be_finished_twice))
