/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.h - puts pieces of a byte stream together to whole lines, without copying most of them.
 *
 *   p = lines_reserve(&l, n);  read up to n bytes to p;
 *   rc = lines_commit(&l, k, &whole);      whole: complete lines, borrowed until the next reserve
 *   lines_end(&l, &whole)                  what is left, with a newline added; may be empty
 */
#pragma once

#include "cluster/base/err.h"
#include "mr/record.h"

struct line_buffer {
    uint8_t *p;
    size_t from, len, cap; /* p[from, len) is an unfinished line */
};

void lines_finish(struct line_buffer *l);
uint8_t *lines_reserve(struct line_buffer *l, size_t n);
/* -ERR_TOO_BIG: a line is longer than RECORD_MAX. */
NODISCARD int lines_commit(struct line_buffer *l, size_t n, struct bytes *ret);
void lines_end(struct line_buffer *l, struct bytes *ret);
