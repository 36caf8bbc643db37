/* SPDX-License-Identifier: Apache-2.0 */
/*
 * result.h - the kept results of one client in one shard: what makes a retry harmless (DESIGN 3.3).
 *
 * A row, as stored under TABLE_RESULT:
 *
 *   acked_below le64, then per kept result: seq le64, length le32, the reply body
 *
 * in the order the results came about. It is valid if and only if the lengths add up. Results below
 * acked_below are gone, at most SESSION_WINDOW stay. An idle client's row is one reply without
 * reads: 8 + 12 + 40 bytes.
 *
 * The cache holds rows as they are in round and store, in a fixed table (a later row takes the
 * place of an earlier one with the same hash), so that a busy client costs no get.
 */
#pragma once

#include "cluster/base/codec.h"
#include "cluster/base/err.h"
#include "cluster/kv/round.h"

enum result_state {
    RESULT_NEW,   /* not seen: to be executed */
    RESULT_KEPT,  /* executed: here is the reply */
    RESULT_STALE, /* released by the client */
    RESULT_FULL,  /* SESSION_WINDOW results are kept which the client has not released */
};

/* What the row (empty: none) says of request seq whose sender has answers to all below acked_below.
 * *ret_body is borrowed from the row. -ERR_CORRUPT, else a result_state. */
NODISCARD int result_find(struct bytes row, uint64_t seq, uint64_t acked_below,
                          struct bytes *ret_body);
/* The row that follows, into `ret` (reset first). The row was accepted by result_find. */
void result_add(struct bytes row, uint64_t seq, uint64_t acked_below, struct bytes body,
                struct enc *ret);

struct results {
    struct round *round; /* borrowed: where a row not cached is looked for */
    struct results_slot {
        uint64_t client;
        unsigned shard;
        bool used;
        struct enc row;        /* empty: the store has none */
        struct round_place at; /* of the row, in the round */
    } * slots;
};

void results_init(struct results *r, struct round *round);
void results_finish(struct results *r);
/* The row, borrowed from cache or arena until the next call; empty if there is none. */
NODISCARD int results_get(struct results *r, unsigned shard, uint64_t client, struct arena *a,
                          struct bytes *ret_row);
/* Into round and cache. */
void results_put(struct results *r, unsigned shard, uint64_t client, struct arena *a,
                 struct bytes row);
/* The client's rows are gone. */
void results_forget(struct results *r, uint64_t client);
/* The shard's rows are others, or gone. */
void results_forget_shard(struct results *r, unsigned shard);
