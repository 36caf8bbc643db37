/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - struct kv, between kv.c (life, reads, watches) and apply.c (entries). Private. */
#pragma once

#include "cluster/kv/groups.h"
#include "cluster/kv/configs.h"
#include "cluster/kv/kv.h"
#include "cluster/kv/layout.h"
#include "cluster/kv/met.h"
#include "cluster/kv/nodes.h"
#include "cluster/kv/locks.h"
#include "cluster/kv/overlay.h"
#include "cluster/kv/part.h"
#include "cluster/kv/prepared.h"
#include "cluster/kv/result.h"
#include "cluster/kv/round.h"
#include "cluster/kv/session.h"
#include "cluster/kv/shards.h"
#include "cluster/kv/txn.h"

#define COUNTER_UNKNOWN UINT64_MAX

/* The state as of a KV_CMD_CHECK entry. */
struct kept_view {
    uint64_t index; /* 0: unused */
    struct store_view *view;
};

/* A session that has ended here, and which other groups may still know (apply_session.c). */
struct kv_fencing {
    uint64_t client, index; /* of the close */
};

struct kv {
    struct store *store; /* borrowed */
    uint32_t gid;
    uint16_t shards;
    unsigned format;               /* of the store's format record; 0: it has none yet */
    uint64_t index, term, time_ns; /* applied */

    struct sessions sessions;
    struct nodes nodes;
    struct groups groups;
    struct met met;
    struct configs *configs; /* group 0's */
    struct shards owned;
    struct prepared prepared;
    struct locks locks;
    uint64_t time_floor;     /* later than the applied time only when clocks differ; see apply.h */
    uint64_t sessions_as_of; /* entry of group 0; of other groups */
    GArray *fencing;         /* struct kv_fencing; of group 0 */
    struct enc conf;         /* of the newest configuration entry */
    uint64_t conf_index;
    struct results results;
    struct counter_state *counters; /* by shard */
    GHashTable *watches;            /* struct watch by its key */

    struct round round; /* what the store does not have yet */
    struct round_place applied_at;
    GArray *notices;            /* struct notice, for the sink before kv_apply returns */
    struct arena notices_arena; /* their bytes */
    size_t notices_bytes;
    struct kept_view kept[KV_KEPT_MAX]; /* oldest first; unused ones behind them */
    int broken; /* the error that ended it: memory may be ahead of the store */

    /* Scratch of one entry. */
    struct arena arena;
    struct overlay overlay;
    struct enc reply, row;

    /* Reads have their own: a sink's callback may read. */
    struct overlay read_overlay;
    GArray *range; /* of DELETE_RANGE, see txn.h */
};

struct counter_state {
    uint64_t value; /* COUNTER_UNKNOWN: not read yet */
    struct round_place at;
};

struct notice {
    enum { NOTICE_REPLY, NOTICE_CHANGED, NOTICE_RELEASED, NOTICE_SHARD } kind;
    uint64_t index;     /* REPLY: of the entry */
    uint64_t version;   /* CHANGED: of the key */
    unsigned msg_type;  /* REPLY */
    unsigned shard;     /* SHARD */
    struct txid txid;   /* RELEASED */
    struct bytes bytes; /* REPLY: body; CHANGED: key */
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
