/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/arena.h"

#include <stdarg.h>
#include <stdio.h>

/* Under AddressSanitizer what is not handed out is poisoned, so that a pointer that outlives a
 * reset is reported like any use after free. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN     16
#define CHUNK_MIN KIB(2)
#define CHUNK_MAX KIB(256)

struct arena_chunk {
    struct arena_chunk *older;
    size_t size;
    _Alignas(ALIGN) uint8_t data[];
};

static void chunk_free(struct arena_chunk *c)
{
    ASAN_UNPOISON_MEMORY_REGION(c->data, c->size);
    g_free(c);
}

static void grow(struct arena *a, size_t n)
{
    size_t size = a->head ? MIN(a->head->size * 2, CHUNK_MAX) : CHUNK_MIN;
    size = MAX(size, n);
    struct arena_chunk *c = g_malloc(sizeof(*c) + size);
    ASSERT((uintptr_t)c->data % ALIGN == 0);
    c->older = a->head;
    c->size = size;
    ASAN_POISON_MEMORY_REGION(c->data, size);
    a->head = c;
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
    ASSERT(n <= SIZE_MAX / 2);
    n = n ? (n + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    if (!a->head || n > a->head->size - a->used)
        grow(a, n);
    uint8_t *p = a->head->data + a->used;
    a->used += n;
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t n;
    ASSERT(!__builtin_mul_overflow(count, size, &n));
    return arena_zalloc(a, n);
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    if (b.n == 0)
        return BYTES_NONE;
    return bytes_of(memcpy(arena_alloc(a, b.n), b.p, b.n), b.n);
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(arena_alloc(a, n), s, n);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    char *s = arena_alloc(a, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

/* Of the chunks the largest stays that is not one of its own for something large: so who fills the
 * arena as full the next time allocates little or nothing. */
void arena_reset(struct arena *a)
{
    struct arena_chunk *kept = NULL, *older;
    for (struct arena_chunk *c = a->head; c; c = older) {
        struct arena_chunk *dropped = c;
        older = c->older;
        if (c->size <= CHUNK_MAX && (!kept || c->size > kept->size)) {
            dropped = kept;
            kept = c;
        }
        if (dropped)
            chunk_free(dropped);
    }
    if (kept) {
        kept->older = NULL;
        ASAN_POISON_MEMORY_REGION(kept->data, kept->size);
    }
    a->head = kept;
    a->used = 0;
}

void arena_finish(struct arena *a)
{
    arena_reset(a);
    if (a->head)
        chunk_free(a->head);
    *a = (struct arena){0};
}
