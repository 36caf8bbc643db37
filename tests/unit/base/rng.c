/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <string.h>

TEST(the_same_seed_gives_the_same_numbers)
{
    struct rng a, b;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    for (int i = 0; i < 1000; i++)
        assert_true(rng_next(&a) == rng_next(&b));
}

/* From the reference implementation's recurrence with state 1, 2, 3, 4. */
TEST(numbers_are_those_of_xoshiro256starstar)
{
    struct rng r = {{1, 2, 3, 4}};
    assert_true(rng_next(&r) == 11520);
    assert_true(rng_next(&r) == 0);
    assert_true(rng_next(&r) == 1509978240);
    assert_true(rng_next(&r) == 1215971899390074240u);
}

TEST(a_bounded_number_stays_in_bounds_and_reaches_them)
{
    struct rng r = t_rng();
    bool lo = false, hi = false;
    for (int i = 0; i < 10000; i++) {
        uint64_t v = rng_between(&r, 5, 8);
        assert_in_range(v, 5, 8);
        lo |= v == 5;
        hi |= v == 8;
        assert_true(rng_below(&r, 1) == 0);
        assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
    }
    assert_true(lo && hi);
    rng_between(&r, 0, UINT64_MAX);
    assert_true(rng_between(&r, 7, 7) == 7);
}

TEST(a_chance_of_none_never_and_of_all_always_happens)
{
    struct rng r = t_rng();
    for (int i = 0; i < 1000; i++) {
        assert_false(rng_chance(&r, 0));
        assert_true(rng_chance(&r, 1000000));
    }
}

TEST(two_seeds_from_the_system_differ)
{
    struct rng a, b;
    rng_seed_os(&a);
    rng_seed_os(&b);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

T_MAIN(T(the_same_seed_gives_the_same_numbers), T(numbers_are_those_of_xoshiro256starstar),
       T(a_bounded_number_stays_in_bounds_and_reaches_them),
       T(a_chance_of_none_never_and_of_all_always_happens), T(two_seeds_from_the_system_differ))
