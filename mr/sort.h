/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sort.h - records in memory, sorted by partition and key without moving them.
 *
 * Record bytes lie in one bounded buffer; what is sorted is an array of 16-byte items that carry
 * the next 8 bytes of the key as a number (multikey quicksort: most comparisons never touch the
 * record). Keys are compared as bytes, a shorter prefix first; records of equal key keep the order
 * in which they were added. One thread.
 */
#pragma once

#include "mr/record.h"

struct sort_item {
    uint64_t chunk; /* 8 bytes of the key, big endian, zero padded */
    uint32_t ref;   /* where in the buffer */
    uint32_t partition;
};

struct sort_buffer {
    uint8_t *base;
    size_t used, cap, budget;
    struct sort_item *items;
    size_t n_items, cap_items;
};

/* budget: bytes of records and items together; a single record may exceed it in an empty buffer. */
void sort_init(struct sort_buffer *s, size_t budget);
void sort_finish(struct sort_buffer *s);
void sort_clear(struct sort_buffer *s); /* keeps the memory */

/* False: no room; write a run (sort, iterate, clear) and add again. */
NODISCARD bool sort_add(struct sort_buffer *s, uint32_t partition, const struct record *r);
/* As sort_add; *ret_ref names the record until sort_clear: its value can be changed in place. */
NODISCARD bool sort_add_ref(struct sort_buffer *s, uint32_t partition, const struct record *r,
                            uint32_t *ret_ref);
void sort_run(struct sort_buffer *s);

/*
 * A record in the buffer: u32 key length, u32 value length + 1 (0: no value), key, value; the next
 * one begins at a multiple of 4. Integers are the machine's own.
 */
#define SORT_HEAD 8

static inline uint32_t sort_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* Borrowed until sort_clear or the next sort_add. */
static inline struct record sort_record(const struct sort_buffer *s, uint32_t ref)
{
    const uint8_t *p = s->base + ref;
    uint32_t k = sort_load32(p), v = sort_load32(p + 4);
    return (struct record){
        .key = {p + SORT_HEAD, k},
        .value = {p + SORT_HEAD + k, v ? v - 1 : 0},
        .has_value = v != 0,
    };
}

/* The value's bytes of a record, to be changed in place. */
static inline uint8_t *sort_value(struct sort_buffer *s, uint32_t ref)
{
    return s->base + ref + SORT_HEAD + sort_load32(s->base + ref);
}
