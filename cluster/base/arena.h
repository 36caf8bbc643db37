/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - bump allocator for things that die together (one request, one round).
 *
 * Zero-initialised is a valid empty arena: `struct arena a = {0};` ... arena_finish(&a). arena_reset
 * keeps the largest chunk (up to 256 KiB) for the next use. Memory is aligned to 16 and not zeroed unless said.
 * Not thread safe. Allocation failure ends the process.
 */
#pragma once

#include "cluster/base/bytes.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *head; /* current chunk; older ones behind it */
    size_t used;              /* bytes used in head */
};

void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
void *arena_array(struct arena *a, size_t count, size_t size); /* zeroed; checks overflow */
struct bytes arena_copy(struct arena *a, struct bytes b);
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
void arena_reset(struct arena *a);
void arena_finish(struct arena *a);
static inline UNUSED void arena_finish_p(struct arena *a)
{
    arena_finish(a);
}
