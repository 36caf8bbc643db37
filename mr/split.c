/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/split.h"

#include <string.h>

void split_init(struct line_split *l, uint64_t start, uint64_t end)
{
    *l = (struct line_split){
        .end = end,
        .at = start ? start - 1 : 0,
        .skipping = start > 0,
        .done = start >= end,
    };
}

void split_feed(struct line_split *l, const uint8_t *p, size_t n, size_t *ret_from, size_t *ret_to)
{
    size_t from = 0, to;
    *ret_from = *ret_to = 0;
    uint64_t base = l->at;
    l->at += n;
    if (l->done || !n)
        return;
    if (l->skipping) {
        const uint8_t *nl = memchr(p, '\n', n);
        from = nl ? (size_t)(nl - p) + 1 : n;
        /* The line after that newline starts at base + from: is it still ours? */
        l->skipping = !nl;
        l->done = base + from >= l->end;
        if (l->done || l->skipping)
            return;
    }
    to = n;
    /* The first newline at or after end - 1 ends the last line that started before end. */
    if (base + n >= l->end) {
        size_t look = l->end - 1 > base ? (size_t)(l->end - 1 - base) : 0;
        if (look < from)
            look = from;
        const uint8_t *nl = look < n ? memchr(p + look, '\n', n - look) : NULL;
        if (nl) {
            to = (size_t)(nl - p) + 1;
            l->done = true;
        }
    }
    if (to > from)
        l->open_line = p[to - 1] != '\n';
    *ret_from = from;
    *ret_to = to;
}
