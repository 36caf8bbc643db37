/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split.h - which bytes of a file belong to a split: the line rule (DESIGN 5). Pure.
 *
 * A split [start, end) owns the lines that start in it. At start > 0 reading begins at start - 1
 * and skips through the first newline; it goes on beyond end until the last owned line is complete.
 * So the splits of a file, however cut, own every line exactly once, in order.
 *
 *   split_init(&l, start, end);
 *   for (off = split_first(&l); !l.done && data at off; off += n)
 *       split_feed(&l, data, n, &from, &to);   -> data[from, to) is owned
 *   if (split_needs_newline(&l)) ...            the file ended in the middle of an owned line
 */
#pragma once

#include "cluster/base/defs.h"

struct line_split {
    uint64_t end;
    uint64_t at;    /* the offset of the next byte to be fed */
    bool skipping;  /* the newline that ends somebody else's line is still to come */
    bool done;      /* nothing more is owned; no need to read on */
    bool open_line; /* the last owned byte so far was no newline */
};

void split_init(struct line_split *l, uint64_t start, uint64_t end);
static inline uint64_t split_first(const struct line_split *l)
{
    return l->at;
}
/* The next n bytes of the file; *ret_from == *ret_to: none of them is owned. */
void split_feed(struct line_split *l, const uint8_t *p, size_t n, size_t *ret_from, size_t *ret_to);
static inline bool split_needs_newline(const struct line_split *l)
{
    return l->open_line;
}
