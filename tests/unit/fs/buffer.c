/* SPDX-License-Identifier: Apache-2.0 */
/* The write buffer against a flat array with a mark per byte. */
#include "tests/lib/t.h"
#include "fs/buffer.h"

TEST(a_sequential_writer_has_one_extent_per_block)
{
    struct buffer b CLEANUP(buffer_finish) = {0};
    for (uint64_t off = 0; off < 3 * FS_BLOCK; off += 1000)
        buffer_write(&b, "0123456789", 10, off), buffer_write(&b, (char[990]){0}, 990, off + 10);
    assert_int_equal(buffer_count(&b), 4); /* 196 KiB and a bit */
    assert_true(b.bytes < 5 * FS_BLOCK);
    assert_true(buffer_covers(&b, 0, 3 * FS_BLOCK));
}

TEST(extents_do_not_cross_blocks)
{
    struct buffer b CLEANUP(buffer_finish) = {0};
    buffer_write(&b, "abcd", 4, FS_BLOCK - 2);
    assert_int_equal(buffer_count(&b), 2);
    assert_int_equal(buffer_at(&b, 0)->len, 2);
    assert_int_equal(buffer_end(&b), FS_BLOCK + 2);
}

TEST(a_gap_is_what_was_not_written)
{
    struct buffer b CLEANUP(buffer_finish) = {0};
    uint64_t lo, hi;
    buffer_write(&b, "aa", 2, 10);
    buffer_write(&b, "bb", 2, 20);
    assert_true(buffer_gap(&b, 10, 22, &lo, &hi));
    assert_int_equal(lo, 12);
    assert_int_equal(hi, 20);
    assert_false(buffer_gap(&b, 20, 22, &lo, &hi));
    assert_true(buffer_gap(&b, 21, 30, &lo, &hi));
    assert_int_equal(lo, 22);
    assert_int_equal(hi, 30);
}

#define SPACE (5 * FS_BLOCK)

struct model {
    uint8_t byte[SPACE];
    bool there[SPACE];
};

static void check_extents(const struct buffer *b)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < buffer_count(b); i++) {
        const struct extent *e = buffer_at(b, i);
        assert_true(e->len > 0 && e->len <= e->cap);
        assert_int_equal(e->off / FS_BLOCK, (e->off + e->len - 1) / FS_BLOCK);
        if (i) {
            uint64_t end = e[-1].off + e[-1].len;
            assert_true(end < e->off || (end == e->off && end % FS_BLOCK == 0));
        }
        bytes += e->cap + sizeof(*e);
    }
    assert_int_equal(bytes, b->bytes);
}

static void check_model(const struct buffer *b, const struct model *m, struct rng *r)
{
    static uint8_t got[SPACE];
    uint64_t off = rng_below(r, SPACE), n = rng_between(r, 1, SPACE - off), lo, hi;
    memset(got, 0xaa, n);
    buffer_overlay(b, got, n, off);
    bool all = true;
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(got[i], m->there[off + i] ? m->byte[off + i] : 0xaa);
        all = all && m->there[off + i];
    }
    assert_int_equal(buffer_covers(b, off, n), all);
    if (buffer_gap(b, off, off + n, &lo, &hi)) {
        for (uint64_t i = off; i < lo; i++)
            assert_true(m->there[i]);
        for (uint64_t i = lo; i < hi; i++)
            assert_false(m->there[i]);
        assert_true(hi == off + n || m->there[hi]);
    }
}

static void random_write(struct buffer *b, struct model *m, struct rng *r)
{
    static uint8_t data[SPACE];
    uint64_t off = rng_below(r, SPACE);
    uint64_t most = rng_chance(r, 100000) ? SPACE : rng_chance(r, 500000) ? 8 : 3000;
    uint64_t n = rng_between(r, 1, MIN(most, SPACE - off));
    for (uint64_t i = 0; i < n; i++) {
        data[i] = m->byte[off + i] = (uint8_t)rng_next(r);
        m->there[off + i] = true;
    }
    buffer_write(b, data, n, off);
}

TEST(random_writes_match_the_model)
{
    struct rng r = t_rng();
    struct model *m = g_new(struct model, 1);
    for (unsigned round = 0; round < 30; round++) {
        struct buffer b CLEANUP(buffer_finish) = {0}, over CLEANUP(buffer_finish) = {0};
        memset(m, 0, sizeof(*m));
        for (unsigned i = 0; i < 60; i++) {
            random_write(&b, m, &r);
            check_extents(&b);
            check_model(&b, m, &r);
        }
        for (unsigned i = 0; i < 20; i++)
            random_write(&over, m, &r);
        buffer_merge(&b, &over);
        assert_true(buffer_empty(&over));
        check_extents(&b);
        check_model(&b, m, &r);
    }
    g_free(m);
}

T_MAIN(T(a_sequential_writer_has_one_extent_per_block), T(extents_do_not_cross_blocks),
       T(a_gap_is_what_was_not_written), T(random_writes_match_the_model))
