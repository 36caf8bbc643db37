/* SPDX-License-Identifier: Apache-2.0 */
/*
 * combine.h - the combiner: folds the values of equal keys while a map task runs (paper 4.3).
 *
 * For the associative built-in reduces. An open-addressing table over a sort_buffer: each key is
 * one record there whose value is a little-endian int64, so that what comes out is sorted and
 * spilled like any run. Bounded: a full table is written out as a run and cleared. One thread.
 */
#pragma once

#include "mr/hash.h"
#include "mr/sort.h"

struct combine_slot {
    uint32_t tag; /* upper half of the hash */
    uint32_t ref; /* sort_buffer's ref + 1; 0: free */
};

struct combiner {
    struct sort_buffer buffer;
    struct combine_slot *slots;
    size_t n_slots, n_used; /* n_slots is a power of two */
    uint32_t partitions;
};

void combine_init(struct combiner *c, uint32_t partitions, size_t budget);
void combine_finish(struct combiner *c);
void combine_clear(struct combiner *c);

/* Adds `value` to the key's. 0; -ERR_BUSY: full, write a run and clear; -ERR_TOO_BIG: the sum does
 * not fit 64 bits. hash is mr_hash of the key. */
NODISCARD int combine_add(struct combiner *c, struct bytes key, uint64_t hash, int64_t value);

/*
 * For many keys at once: a lookup is two cache misses, so callers start all slots' loads, then all
 * records' loads, then add. Both are only hints.
 */
static inline void combine_prefetch_slot(const struct combiner *c, uint64_t hash)
{
    __builtin_prefetch(&c->slots[hash & (c->n_slots - 1)]);
}
static inline void combine_prefetch_record(const struct combiner *c, uint64_t hash)
{
    const struct combine_slot *s = &c->slots[hash & (c->n_slots - 1)];
    if (s->ref && s->tag == (uint32_t)(hash >> 32))
        __builtin_prefetch(c->buffer.base + s->ref - 1);
}
