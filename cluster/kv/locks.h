/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locks.h - the locks of the transactions that are prepared here (DESIGN 3.2).
 *
 * A lock is a function of what was prepared, so it is not stored by itself: the rows of prepared
 * transactions (prepared.h) are, and at opening this table is made from them. There are four modes:
 *
 *              EXISTS  READ  DELTA  WRITE
 *   EXISTS       +      +      +      -      the compare EXISTS
 *   READ         +      +      -      -      other compares, GET, SCAN
 *   DELTA        +      -      +      -      ADD64, MAX64, TIME64: they commute
 *   WRITE        -      -      -      -      all other writes
 *
 * The ranges of EMPTY_RANGE, SCAN and DELETE_RANGE are locked as ranges, whatever a limit makes of
 * them. Nobody waits here: who meets another's lock is told so.
 *
 * Keys are client keys, copied. One thread. A transaction's own locks do not conflict.
 */
#pragma once

#include "cluster/base/msg.h"

struct lock;
struct locks {
    GHashTable *keys;  /* first struct lock of each key that is locked by itself */
    GPtrArray *ranges; /* struct lock */
    unsigned n;        /* of both; 0 spares everybody a look */
};

void locks_init(struct locks *s);
void locks_finish(struct locks *s);

/* For all keys and ranges of t, in the name of `owner` (which is only ever compared). */
void locks_take(struct locks *s, const struct msg_txn *t, const void *owner);
/* All that locks_take took; t may be another copy of the same. */
void locks_release(struct locks *s, const struct msg_txn *t, const void *owner);
/* An owner whose lock one of t's keys or ranges meets, and which (in t); NULL: none. */
const void *locks_conflict(const struct locks *s, const struct msg_txn *t, struct bytes *ret_key);
