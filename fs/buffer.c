/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/buffer.h"

#define EXTENT_OVERHEAD sizeof(struct extent)
#define EXTENT_MIN      512

static struct extent *at(const struct buffer *b, unsigned i)
{
    return &g_array_index(b->extents, struct extent, i);
}

static uint64_t end_of(const struct extent *e)
{
    return e->off + e->len;
}

/* Index of the first extent that ends at or behind off. */
static unsigned first_ending_at(const struct buffer *b, uint64_t off)
{
    unsigned lo = 0, hi = buffer_count(b);
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (end_of(at(b, mid)) < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void reserve(struct buffer *b, struct extent *e, uint32_t want)
{
    if (want <= e->cap)
        return;
    uint32_t cap = MAX(e->cap, EXTENT_MIN);
    while (cap < want)
        cap *= 2;
    cap = (uint32_t)MIN(cap, FS_BLOCK);
    e->data = g_realloc(e->data, cap);
    b->bytes += cap - e->cap;
    e->cap = cap;
}

/* Joins extents [first, last) and [off, off + n) into one at place `first`. */
static void join(struct buffer *b, unsigned first, unsigned last, const uint8_t *p, uint32_t n,
                 uint64_t off)
{
    uint64_t lo = off, hi = off + n;
    if (first < last) {
        lo = MIN(lo, at(b, first)->off);
        hi = MAX(hi, end_of(at(b, last - 1)));
    }
    if (first < last && at(b, first)->off == lo) { /* the first one grows */
        struct extent *e = at(b, first);
        reserve(b, e, (uint32_t)(hi - lo));
    } else {
        struct extent e = {.off = lo};
        reserve(b, &e, (uint32_t)(hi - lo));
        g_array_insert_val(b->extents, first, e);
        b->bytes += EXTENT_OVERHEAD;
        last++;
    }
    struct extent *into = at(b, first);
    for (unsigned i = first + 1; i < last; i++) {
        struct extent *e = at(b, i);
        memcpy(into->data + (e->off - lo), e->data, e->len);
        b->bytes -= e->cap + EXTENT_OVERHEAD;
        g_free(e->data);
    }
    memcpy(into->data + (off - lo), p, n);
    into->len = (uint32_t)(hi - lo);
    if (last > first + 1)
        g_array_remove_range(b->extents, first + 1, last - first - 1);
}

static void write_in_block(struct buffer *b, const uint8_t *p, uint32_t n, uint64_t off)
{
    uint64_t block = off / FS_BLOCK;
    unsigned first = first_ending_at(b, off);
    /* One that touches from the block before stays apart. */
    while (first < b->extents->len && at(b, first)->off / FS_BLOCK < block)
        first++;
    unsigned last = first;
    while (last < b->extents->len && at(b, last)->off <= off + n &&
           at(b, last)->off / FS_BLOCK == block)
        last++;
    join(b, first, last, p, n, off);
}

void buffer_write(struct buffer *b, const void *p, size_t n, uint64_t off)
{
    const uint8_t *from = p;
    if (!b->extents)
        b->extents = g_array_new(FALSE, FALSE, sizeof(struct extent));
    while (n > 0) {
        uint32_t part = (uint32_t)MIN(n, FS_BLOCK - off % FS_BLOCK);
        write_in_block(b, from, part, off);
        from += part;
        off += part;
        n -= part;
    }
}

void buffer_overlay(const struct buffer *b, void *p, size_t n, uint64_t off)
{
    uint64_t end = off + n;
    for (unsigned i = first_ending_at(b, off); i < buffer_count(b); i++) {
        const struct extent *e = at(b, i);
        if (e->off >= end)
            break;
        uint64_t lo = MAX(e->off, off), hi = MIN(end_of(e), end);
        if (lo < hi)
            memcpy((uint8_t *)p + (lo - off), e->data + (lo - e->off), hi - lo);
    }
}

bool buffer_gap(const struct buffer *b, uint64_t off, uint64_t end, uint64_t *ret_off,
                uint64_t *ret_end)
{
    for (unsigned i = first_ending_at(b, off); i < buffer_count(b) && off < end; i++) {
        const struct extent *e = at(b, i);
        if (e->off > off) {
            *ret_off = off;
            *ret_end = MIN(e->off, end);
            return true;
        }
        off = MAX(off, end_of(e));
    }
    if (off >= end)
        return false;
    *ret_off = off;
    *ret_end = end;
    return true;
}

bool buffer_covers(const struct buffer *b, uint64_t off, uint64_t n)
{
    uint64_t lo, hi;
    return !buffer_gap(b, off, off + n, &lo, &hi);
}

uint64_t buffer_end(const struct buffer *b)
{
    return buffer_empty(b) ? 0 : end_of(at(b, b->extents->len - 1));
}

void buffer_merge(struct buffer *b, struct buffer *over)
{
    for (unsigned i = 0; i < buffer_count(over); i++)
        buffer_write(b, at(over, i)->data, at(over, i)->len, at(over, i)->off);
    buffer_finish(over);
}

void buffer_finish(struct buffer *b)
{
    for (unsigned i = 0; i < buffer_count(b); i++)
        g_free(at(b, i)->data);
    if (b->extents)
        g_array_free(b->extents, TRUE);
    *b = (struct buffer){0};
}
