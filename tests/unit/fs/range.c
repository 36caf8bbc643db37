/* SPDX-License-Identifier: Apache-2.0 */
/* The algebra of locks: each rule of fcntl(2), then random steps against a table of bytes. */
#include "tests/lib/t.h"
#include "cluster/base/codec.h"
#include "fs/range.h"

static GArray *list_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(struct range));
}

static struct range range(uint64_t owner, uint64_t start, uint64_t end, bool write)
{
    return (struct range){.session = 1, .owner = owner, .start = start, .end = end, .write = write};
}

static void lock(GArray *l, uint64_t owner, uint64_t start, uint64_t end, bool write)
{
    struct range r = range(owner, start, end, write);
    ranges_set(l, &r, false);
}

static void unlock(GArray *l, uint64_t owner, uint64_t start, uint64_t end)
{
    struct range r = range(owner, start, end, false);
    ranges_set(l, &r, true);
}

static int by_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->owner != y->owner ? (x->owner > y->owner) - (x->owner < y->owner)
                                : (x->start > y->start) - (x->start < y->start);
}

/* "owner:start-end(r|w) ..." */
static void is(GArray *l, const char *want)
{
    GString *s = g_string_new(NULL);
    g_array_sort(l, by_place);
    for (unsigned i = 0; i < l->len; i++) {
        const struct range *r = &g_array_index(l, struct range, i);
        g_string_append_printf(s, "%s%d:%d-%d%c", i ? " " : "", (int)r->owner, (int)r->start,
                               r->end == UINT64_MAX ? -1 : (int)r->end, r->write ? 'w' : 'r');
    }
    assert_string_equal(s->str, want);
    g_string_free(s, TRUE);
}

TEST(an_unlock_in_the_middle_splits)
{
    GArray *l = list_new();
    lock(l, 1, 0, 99, true);
    unlock(l, 1, 40, 49);
    is(l, "1:0-39w 1:50-99w");
    unlock(l, 1, 0, UINT64_MAX);
    is(l, "");
    g_array_free(l, TRUE);
}

TEST(locks_that_touch_merge_if_of_one_type)
{
    GArray *l = list_new();
    lock(l, 1, 0, 9, true);
    lock(l, 1, 10, 19, true);
    is(l, "1:0-19w");
    lock(l, 1, 20, 29, false);
    is(l, "1:0-19w 1:20-29r");
    lock(l, 1, 5, UINT64_MAX, false);
    is(l, "1:0-4w 1:5--1r");
    g_array_free(l, TRUE);
}

TEST(an_upgrade_replaces_its_part)
{
    GArray *l = list_new();
    lock(l, 1, 0, 99, false);
    lock(l, 1, 10, 19, true);
    is(l, "1:0-9r 1:10-19w 1:20-99r");
    g_array_free(l, TRUE);
}

TEST(readers_share_and_writers_do_not)
{
    GArray *l = list_new();
    lock(l, 1, 10, 19, false);
    struct range want = range(2, 0, 10, false);
    assert_null(ranges_conflict(l, &want));
    want.write = true;
    assert_non_null(ranges_conflict(l, &want));
    want.end = 9;
    assert_null(ranges_conflict(l, &want));
    want = range(1, 0, UINT64_MAX, true); /* its own */
    assert_null(ranges_conflict(l, &want));
    want.session = 2; /* the same owner number in another mount */
    assert_non_null(ranges_conflict(l, &want));
    want.flock = true; /* a space of its own */
    assert_null(ranges_conflict(l, &want));
    g_array_free(l, TRUE);
}

TEST(a_list_survives_the_round_trip)
{
    GArray *l = list_new(), *got = list_new();
    struct enc e CLEANUP(enc_finish) = {0};
    lock(l, 1, 0, 99, false);
    lock(l, 2, 10, UINT64_MAX, true);
    ranges_encode(l, &e);
    assert_int_equal(e.n, 2 * LOCK_RECORD);
    assert_int_equal(ranges_decode(enc_view(&e), got), 0);
    is(got, "1:0-99r 2:10--1w");
    assert_true(ranges_decode(bytes_of(e.p, LOCK_RECORD + 1), got) < 0);
    e.p[36] = 7;
    assert_true(ranges_decode(enc_view(&e), got) < 0);
    g_array_free(l, TRUE);
    g_array_free(got, TRUE);
}

#define BYTES  40
#define OWNERS 3

static void check_table(GArray *l, char table[OWNERS][BYTES])
{
    char got[OWNERS][BYTES] = {0};
    for (unsigned i = 0; i < l->len; i++) {
        const struct range *r = &g_array_index(l, struct range, i);
        for (uint64_t at = r->start; at <= r->end; at++) {
            assert_int_equal(got[r->owner][at], 0); /* none twice */
            got[r->owner][at] = r->write ? 'w' : 'r';
        }
    }
    assert_memory_equal(got, table, sizeof(got));
    for (unsigned i = 0; i < l->len; i++) { /* as few as possible */
        const struct range *a = &g_array_index(l, struct range, i);
        for (unsigned k = 0; k < l->len; k++) {
            const struct range *b = &g_array_index(l, struct range, k);
            assert_false(a->owner == b->owner && a->write == b->write && a->end + 1 == b->start);
        }
    }
}

TEST(random_locks_match_a_table_of_bytes)
{
    struct rng r = t_rng();
    char table[OWNERS][BYTES] = {0};
    GArray *l = list_new();
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t owner = rng_below(&r, OWNERS), start = rng_below(&r, BYTES);
        uint64_t end = rng_between(&r, start, BYTES - 1);
        bool un = rng_chance(&r, 400000), write = rng_chance(&r, 500000), clash = false;
        for (uint64_t at = start; at <= end; at++) {
            for (unsigned o = 0; o < OWNERS; o++)
                clash |= o != owner && (table[o][at] == 'w' || (write && table[o][at]));
        }
        struct range want = range(owner, start, end, write);
        if (!un)
            assert_int_equal(ranges_conflict(l, &want) != NULL, clash);
        if (!un && clash)
            continue;
        ranges_set(l, &want, un);
        memset(table[owner] + start, un ? 0 : write ? 'w' : 'r', end - start + 1);
        check_table(l, table);
    }
    g_array_free(l, TRUE);
}

T_MAIN(T(an_unlock_in_the_middle_splits), T(locks_that_touch_merge_if_of_one_type),
       T(an_upgrade_replaces_its_part), T(readers_share_and_writers_do_not),
       T(a_list_survives_the_round_trip), T(random_locks_match_a_table_of_bytes))
