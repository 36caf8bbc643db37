/* SPDX-License-Identifier: Apache-2.0 */
/*
 * part.h - a transaction taken apart by who owns its shards, and its reply put together again.
 *
 * A part has the compares, reads and writes of some shards, in their order; its reply has reads,
 * deleted counts and `failed` for these alone. Everything is borrowed from the whole, but for the
 * arrays, which live in the arena.
 */
#pragma once

#include "cluster/base/msg.h"

/* By shard: who has it. */
typedef uint8_t part_map[SHARDS_MAX];
#define PARTS_MAX UINT8_MAX

/* The elements of `t`, which kv_check has accepted, that belong to `part`. */
void part_of(const struct msg_txn *t, const part_map map, uint8_t part, struct arena *a,
             struct msg_txn *ret);
/* The same whole, but values that only other parts need are left out (not numbers: kv_check looks
 * at them): what a DECIDE carries. */
void part_strip_others(const struct msg_txn *t, const part_map map, uint8_t part, struct arena *a,
                       struct msg_txn *ret);

/* The reply to the whole from those of its parts, replies[part]: 0 if all are; TOO_BIG if one is or
 * together they are; else FAILED, with the first compare or write that did. Reads and counts in the
 * order of the whole, versions by shard, `time` as given. -ERR_INVALID: they do not fit the parts.
 */
NODISCARD int part_merge(const struct msg_txn *t, const part_map map,
                         const struct msg_txn_reply *const replies[PARTS_MAX + 1], unsigned n_parts,
                         uint64_t time, struct arena *a, struct msg_txn_reply *ret);
