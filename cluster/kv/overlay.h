/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay.h - the keys one transaction has touched, as it sees them.
 *
 * A slot is made by the first load or write of a key and holds the key's state from then on: what
 * the store had, changed by the transaction's writes so far. So a key costs at most one get however
 * often it is compared, read and written, and nothing reaches the store before all writes
 * succeeded. Slots stay in order of first touch, which is the order they are written in.
 *
 * Keys are internal keys. All bytes are borrowed from the transaction's arena or message. One
 * thread; reset keeps the memory for the next transaction.
 */
#pragma once

#include "cluster/base/bytes.h"

struct overlay_slot {
    struct bytes key;
    struct bytes data; /* when exists */
    uint64_t version;  /* in the store; 0 absent; meaningful while !dirty */
    size_t room;       /* > 0: data is the transaction's own, with room for so many bytes */
    uint32_t hash;
    bool exists;
    bool dirty; /* to be written: put if exists, else deleted */
};

struct overlay {
    GArray *slots; /* struct overlay_slot */
    struct overlay_place {
        uint32_t round, slot;
    } * places; /* open addressing; a place of an older round is free */
    uint32_t n_places, round;
};

void overlay_init(struct overlay *o);
void overlay_finish(struct overlay *o);
void overlay_reset(struct overlay *o);

static inline struct overlay_slot *overlay_at(struct overlay *o, unsigned i)
{
    return &g_array_index(o->slots, struct overlay_slot, i);
}

static inline unsigned overlay_index(const struct overlay *o, const struct overlay_slot *slot)
{
    return (unsigned)(slot - (const struct overlay_slot *)(const void *)o->slots->data);
}

/* NULL if the key was not touched. Slots move when one is added: keep indices, not pointers. */
struct overlay_slot *overlay_find(struct overlay *o, struct bytes key);
/* The key's slot; a new one is absent and clean. `key` must live on. */
struct overlay_slot *overlay_touch(struct overlay *o, struct bytes key);
/* Indices of the slots within [lo, hi), in key order. */
void overlay_range(struct overlay *o, struct bytes lo, struct bytes hi, GArray *ret_slots);
