/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/lines.h"

#include <string.h>

void lines_finish(struct line_buffer *l)
{
    g_free(l->p);
    *l = (struct line_buffer){0};
}

uint8_t *lines_reserve(struct line_buffer *l, size_t n)
{
    if (l->from) {
        memmove(l->p, l->p + l->from, l->len - l->from);
        l->len -= l->from;
        l->from = 0;
    }
    if (l->len + n + 1 > l->cap) {
        l->cap = MAX(l->len + n + 1, l->cap * 2);
        l->p = g_realloc(l->p, l->cap);
    }
    return l->p + l->len;
}

int lines_commit(struct line_buffer *l, size_t n, struct bytes *ret)
{
    const uint8_t *fresh = l->p + l->len;
    l->len += n;
    const uint8_t *nl = n ? memrchr(fresh, '\n', n) : NULL;
    if (!nl) {
        *ret = BYTES_NONE;
        return l->len - l->from > RECORD_MAX ? -ERR_TOO_BIG : 0;
    }
    size_t end = (size_t)(nl + 1 - l->p);
    *ret = bytes_of(l->p + l->from, end - l->from);
    l->from = end;
    return 0;
}

void lines_end(struct line_buffer *l, struct bytes *ret)
{
    *ret = BYTES_NONE;
    if (l->len == l->from)
        return;
    l->p[l->len++] = '\n'; /* reserve kept a byte */
    *ret = bytes_of(l->p + l->from, l->len - l->from);
    l->from = l->len;
}
