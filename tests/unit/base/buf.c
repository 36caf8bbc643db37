/* SPDX-License-Identifier: Apache-2.0 */
/* buf.h and arena.h */
#include "tests/lib/t.h"

#include <pthread.h>
#include "cluster/base/arena.h"
#include "cluster/base/buf.h"

TEST(a_copy_holds_the_bytes_and_null_stays_null)
{
    struct buf *b = buf_copy(bytes_str("hello"));
    assert_true(bytes_eq(buf_bytes(b), bytes_str("hello")));
    assert_ptr_equal(buf_ref(b), b);
    buf_unref(b);
    assert_int_equal(b->refs, 1);
    buf_unref(b);
    assert_null(buf_ref(NULL));
    assert_int_equal(buf_bytes(NULL).n, 0);
    buf_unref(NULL);
}

static void *ref_and_unref(void *arg)
{
    struct buf *b = arg;
    for (int i = 0; i < 10000; i++)
        buf_unref(buf_ref(b));
    buf_unref(b);
    return NULL;
}

TEST(references_of_two_threads_are_all_counted)
{
    struct buf *b = buf_copy(bytes_str("shared"));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, ref_and_unref, buf_ref(b)), 0);
    ref_and_unref(buf_ref(b));
    pthread_join(thread, NULL);
    assert_int_equal(b->refs, 1);
    buf_unref(b);
}

TEST(arena_memory_is_aligned_and_never_overlaps)
{
    CLEANUP(arena_finish) struct arena a = {0};
    struct rng r = t_rng();
    struct bytes got[300];
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        size_t n = (size_t)rng_below(&r, rng_chance(&r, 50000) ? 100000 : 200);
        uint8_t *p = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, (int)(i & 0xff), n);
        got[i] = bytes_of(p, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        for (size_t k = 0; k < got[i].n; k++)
            assert_int_equal(got[i].p[k], i & 0xff);
}

TEST(an_arena_is_usable_again_after_reset_and_after_finish)
{
    struct arena a = {0};
    arena_reset(&a);
    void *first = arena_alloc(&a, 10);
    arena_alloc(&a, 1 << 20);
    arena_reset(&a);
    assert_ptr_equal(arena_alloc(&a, 10), first);
    arena_finish(&a);
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    assert_string_equal(arena_strdup(&a, "dup"), "dup");
    arena_finish(&a);
    arena_finish(&a);
}

TEST(zeroed_memory_is_zero_also_in_a_chunk_used_before)
{
    CLEANUP(arena_finish) struct arena a = {0};
    memset(arena_alloc(&a, 1000), 0xff, 1000);
    arena_reset(&a);
    const uint8_t *p = arena_array(&a, 10, 100);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
}

TEST(keys_order_like_memcmp_with_a_prefix_first)
{
    assert_true(bytes_cmp(bytes_str("ab"), bytes_str("abc")) < 0);
    assert_true(bytes_cmp(bytes_str("\xff"), bytes_str("abc")) > 0);
    assert_int_equal(bytes_cmp(BYTES_NONE, BYTES_NONE), 0);
    assert_true(bytes_cmp(BYTES_NONE, bytes_str("a")) < 0);
    assert_true(bytes_has_prefix(bytes_str("abc"), bytes_str("ab")));
    assert_false(bytes_has_prefix(bytes_str("a"), bytes_str("ab")));
}

T_MAIN(T(a_copy_holds_the_bytes_and_null_stays_null), T(references_of_two_threads_are_all_counted),
       T(arena_memory_is_aligned_and_never_overlaps),
       T(an_arena_is_usable_again_after_reset_and_after_finish),
       T(zeroed_memory_is_zero_also_in_a_chunk_used_before),
       T(keys_order_like_memcmp_with_a_prefix_first))
