/* SPDX-License-Identifier: Apache-2.0 */
/* The overlay's table and the result rows, apart from any store. */
#include "tests/lib/t.h"
#include "cluster/base/codec.h"
#include "cluster/kv/overlay.h"
#include "cluster/kv/result.h"

static struct bytes numbered(struct arena *a, uint64_t i)
{
    uint8_t p[8];

    put_be64(p, i);
    return arena_copy(a, bytes_of(p, 8));
}

TEST(a_slot_is_found_again_after_the_table_has_grown)
{
    struct arena a = {0};
    struct overlay o;
    overlay_init(&o);
    for (unsigned round = 0; round < 3; round++) {
        assert_null(overlay_find(&o, numbered(&a, 7)));
        for (unsigned i = 0; i < 10000; i++) {
            assert_null(overlay_find(&o, numbered(&a, i)));
            overlay_touch(&o, numbered(&a, i))->version = i;
        }
        for (unsigned i = 0; i < 10000; i++)
            assert_int_equal(overlay_find(&o, numbered(&a, i))->version, i);
        assert_null(overlay_find(&o, numbered(&a, 10000)));
        overlay_reset(&o);
    }
    overlay_finish(&o);
    arena_finish(&a);
}

TEST(slots_keep_the_order_of_first_touch_and_a_range_is_in_key_order)
{
    struct arena a = {0};
    struct overlay o;
    unsigned order[] = {5, 1, 9, 3};
    GArray *range = g_array_new(false, false, sizeof(unsigned));
    overlay_init(&o);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        overlay_touch(&o, numbered(&a, order[i]))->version = order[i];
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        assert_int_equal(overlay_at(&o, i)->version, order[i]);
    overlay_range(&o, numbered(&a, 1), numbered(&a, 9), range);
    assert_int_equal(range->len, 3);
    assert_int_equal(g_array_index(range, unsigned, 0), 1);
    assert_int_equal(g_array_index(range, unsigned, 1), 3);
    assert_int_equal(g_array_index(range, unsigned, 2), 0);
    g_array_free(range, true);
    overlay_finish(&o);
    arena_finish(&a);
}

TEST(a_row_cut_anywhere_is_damaged)
{
    struct enc one = {0}, two = {0};
    struct bytes body;
    result_add(BYTES_NONE, 3, 3, bytes_str("three"), &one);
    result_add(enc_view(&one), 4, 3, bytes_str("four"), &two);
    assert_int_equal(result_find(enc_view(&two), 3, 3, &body), RESULT_KEPT);
    assert_true(bytes_eq(body, bytes_str("three")));
    assert_int_equal(result_find(enc_view(&two), 5, 3, &body), RESULT_NEW);
    assert_int_equal(result_find(enc_view(&two), 2, 2, &body), RESULT_STALE);
    for (size_t n = 1; n < two.n; n++) {
        int whole = n == 8 || n == one.n; /* as long as a shorter row */
        int got = result_find(bytes_of(two.p, n), 5, 3, &body);
        assert_int_equal(got, whole ? RESULT_NEW : -ERR_CORRUPT);
    }
    enc_finish(&one);
    enc_finish(&two);
}

T_MAIN(T(a_slot_is_found_again_after_the_table_has_grown),
       T(slots_keep_the_order_of_first_touch_and_a_range_is_in_key_order),
       T(a_row_cut_anywhere_is_damaged))
