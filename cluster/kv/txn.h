/* SPDX-License-Identifier: Apache-2.0 */
/*
 * txn.h - evaluates one mini-transaction (DESIGN 3.2) without changing the store.
 *
 * Compares and reads see the state before the writes. Writes are carried out in order in the
 * overlay, each seeing the ones before it; only if all succeed does the caller turn the overlay's
 * dirty slots into a batch. The outcome depends on the store's content, the message and `time`
 * only.
 *
 * A value an operation needs but which is not there (a compare; ADD64, MAX64 or TIME64 on an absent
 * key or beyond the value's end) makes the outcome ERR_FAILED. A reply over the limit, or more than
 * TXN_WORK_MAX bytes of values to be rewritten, makes it ERR_TOO_BIG. Both leave nothing dirty that
 * counts: the caller drops the overlay.
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/kv/overlay.h"
#include "cluster/kv/round.h"
#include "cluster/store/store.h"

/* A reply's place for all that is not reads: status, versions, delete counts, heads. */
#define REPLY_ROOM KIB(4)
/* Of a transaction without writes: must fit a frame with its head. */
#define READ_BYTES_MAX (FRAME_BODY_MAX - KIB(64))
/* A small request may ask for much work (one byte at the end of a 1 MiB value): values rewritten by
 * one entry are bounded, so that one entry cannot hold up a group. */
#define TXN_WORK_MAX MIB(16)

struct txn_run {
    struct round *round;     /* the state */
    struct arena *arena;     /* where the reply lives, and values that are not the round's */
    struct overlay *overlay; /* empty at the start */
    const struct msg_txn *txn;
    bool part; /* of a transaction with writes, which may lie elsewhere */
    uint64_t time;
    /* Private. */
    struct msg_txn_reply *reply;
    size_t reply_left, work_left;
    GArray *range; /* of DELETE_RANGE: slots in the range */
};

/* `txn` has passed kv_check. Fills `ret`: status, failed, time, reads and deleted; versions are the
 * caller's. Errors are the store's: -ERR_IO, -ERR_CORRUPT. */
NODISCARD int kv_txn_run(struct txn_run *r, struct msg_txn_reply *ret);

/* What kv_check does, for a cluster of `shards` shards. */
NODISCARD int txn_check(const struct msg_txn *t, unsigned shards);

/* The distinct shards it writes to, ascending. At most VERSIONS_MAX after txn_check. */
#define VERSIONS_MAX 16
unsigned txn_shards_written(const struct msg_txn *t, uint16_t ret_shards[VERSIONS_MAX + 1]);
