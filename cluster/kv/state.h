/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - struct kv, between kv.c (life, reads, watches) and apply.c (entries). Private. */
#pragma once

#include "cluster/kv/kv.h"
#include "cluster/kv/layout.h"
#include "cluster/kv/overlay.h"
#include "cluster/kv/result.h"
#include "cluster/kv/session.h"
#include "cluster/kv/txn.h"

#define COUNTER_UNKNOWN UINT64_MAX

struct kv {
    struct store *store; /* borrowed */
    uint32_t gid;
    uint16_t shards;
    bool formatted;                /* the store has its format record */
    uint64_t index, term, time_ns; /* applied */

    struct sessions sessions;
    struct results results;
    uint64_t *counters;  /* by shard, as in the store; COUNTER_UNKNOWN: not read yet */
    GHashTable *watches; /* struct watch by its key */

    /* Scratch of the entry being applied, emptied for the next. */
    struct arena arena;
    struct overlay overlay;
    GArray *batch; /* struct store_write */
    struct enc reply, row;

    /* Reads have their own: a sink's callback may read. */
    struct overlay read_overlay;
    GArray *range; /* of DELETE_RANGE, see txn.h */
};

struct watch {
    struct bytes key; /* owned */
    unsigned count;
};

static inline bool kv_watched(struct kv *kv, struct bytes key)
{
    struct watch probe = {.key = key};

    return g_hash_table_contains(kv->watches, &probe);
}
