/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - bytes written to a file but not yet to the cluster (DESIGN 4.3). Pure.
 *
 * A sorted list of extents: none crosses a block's border, none overlaps or touches another of the
 * same block. So a sequential writer has one extent per block, which grows, and a flush turns each
 * extent into one write. Zero-initialised is empty. Not thread safe.
 */
#pragma once

#include "fs/volume.h"

struct extent {
    uint64_t off;
    uint32_t len, cap; /* bytes used and allocated */
    uint8_t *data;
};

struct buffer {
    GArray *extents; /* struct extent; NULL: empty */
    uint64_t bytes;  /* memory held: what the limits count */
};

static inline bool buffer_empty(const struct buffer *b)
{
    return !b->extents || b->extents->len == 0;
}
static inline unsigned buffer_count(const struct buffer *b)
{
    return b->extents ? b->extents->len : 0;
}
static inline const struct extent *buffer_at(const struct buffer *b, unsigned i)
{
    return &g_array_index(b->extents, struct extent, i);
}

void buffer_write(struct buffer *b, const void *p, size_t n, uint64_t off);
/* Lays what b has of [off, off + n) over p. */
void buffer_overlay(const struct buffer *b, void *p, size_t n, uint64_t off);
bool buffer_covers(const struct buffer *b, uint64_t off, uint64_t n);
/* The first part of [off, end) that b does not have; false if it has all. */
bool buffer_gap(const struct buffer *b, uint64_t off, uint64_t end, uint64_t *ret_off,
                uint64_t *ret_end);
uint64_t buffer_end(const struct buffer *b); /* behind the last byte; 0 if empty */
/* Lays `over` on b and empties it. */
void buffer_merge(struct buffer *b, struct buffer *over);
void buffer_finish(struct buffer *b); /* empty again, memory freed */
static inline UNUSED void buffer_finish_p(struct buffer *b)
{
    buffer_finish(b);
}
