/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shards.h - which shards this group owns, and as of which configuration (DESIGN 3.7).
 *
 *   FOREIGN - STAGING - OWNED            a shard that comes
 *   OWNED - MOVING - CLOSING - FROZEN - DELETING - FOREIGN          a shard that goes
 *
 * It is served while OWNED, MOVING (it is being copied; keys that are written are recorded) and
 * CLOSING (no new prepared transactions). Every step is an entry which names the configuration that
 * wants it; `num` is the newest such, so an older step is refused and a repeated one changes
 * nothing.
 *
 * A shard without a row: group 0 owns it since configuration 0, every other group does not. So
 * nothing is stored until the first move.
 *
 * A row, as stored under TABLE_SHARD:
 *
 *   u8 state, le64 num, le32 peer, le64 index, le64 staged, cursor
 */
#pragma once

#include "cluster/kv/round.h"

enum shard_state {
    SHARD_FOREIGN = 0,
    SHARD_OWNED = 1,
    SHARD_MOVING = 2,
    SHARD_CLOSING = 3,
    SHARD_FROZEN = 4,
    SHARD_DELETING = 5,
    SHARD_STAGING = 6,
};

struct kv_shard {
    enum shard_state state;
    uint64_t num;        /* configuration that it is so for */
    uint32_t peer;       /* where it goes to, comes from or came from */
    uint64_t index;      /* of the entry that made it so */
    uint64_t staged;     /* STAGING: pieces that were taken; the next one's number */
    struct bytes cursor; /* STAGING: where the next piece begins (export.h); empty: all is here.
                          * DELETING: the last row that was deleted */
};

struct shards {
    struct kv_shard *all; /* by shard; cursors are owned */
    unsigned n;
    unsigned unserved;  /* so many are not served here: 0 spares a look at each key */
    unsigned recording; /* MOVING or CLOSING: what is written to these is recorded */
};

static inline bool shard_served(const struct kv_shard *s)
{
    return s->state == SHARD_OWNED || s->state == SHARD_MOVING || s->state == SHARD_CLOSING;
}

void shards_init(struct shards *s, unsigned n, bool owned);
void shards_finish(struct shards *s);
/* -ERR_IO, -ERR_CORRUPT. */
NODISCARD int shards_load(struct shards *s, struct store *store, struct arena *a);
/* Copies the cursor. */
void shards_set(struct shards *s, unsigned shard, const struct kv_shard *to);
/* As shards_set, and into the round. */
void shards_put(struct shards *s, unsigned shard, const struct kv_shard *to, struct round *r,
                struct arena *a);
