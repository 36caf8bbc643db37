/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.h - what a shard's old owner hands to the new one, in pieces of about a MiB, while it goes
 * on serving (DESIGN 3.7).
 *
 * The new owner asks with a cursor, logs the piece (STAGE) with the cursor that follows, and asks
 * with that: so any leader of either group goes on where the last one stopped, and any replica that
 * has applied far enough may answer. First come pages: all rows in order, each as it is when it is
 * read. Then passes over the rows touched since the move began: a pass sends those touched since
 * the one before began, so that what was read too early is sent again. A pass that begins after the
 * freeze is the last one; its last piece has no cursor to follow. The last pass costs what was
 * written during the one before: who moves a shard freezes it when a pass was short.
 *
 * A row is [table u8][rest] of layout.h, without its shard: the counter, data and results.
 *
 * A cursor, opaque to others:
 *
 *   u8 phase, le64 since, le64 upto, le32 at, [table][rest] of the next row (empty: the first)
 *
 * since, upto: entries; the pass sends what was touched after `since`, and began as of `upto` (0:
 * it begins now). at: of the next row's value so many bytes were sent. The empty cursor asks for
 * the beginning; a piece whose next cursor is empty is the last.
 */
#pragma once

#include "cluster/kv/kv.h"

/* One piece: with its STAGE command it is no larger than the largest transaction. */
#define SHARD_PIECE_BYTES (TXN_BYTES_MAX - KIB(64))
#define SHARD_PIECE_LEAST 64 /* a counter is never cut */

/* The piece at `cursor` of the move to configuration `num`, in the arena: about `bytes`
 * (SHARD_PIECE_LEAST to SHARD_PIECE_BYTES) of rows, or what is left. ret->last_pass: it
 * belongs to the last one. ret->time, as_of: for INSTALL. -ERR_CONFIG_NUM: the shard
 * is not leaving for this configuration (any more, or not yet: the replica may lag); -ERR_BUSY: the
 * replica lags behind the cursor; -ERR_INVALID: no such shard, no cursor. -ERR_IO, -ERR_CORRUPT. */
NODISCARD int kv_export(struct kv *kv, unsigned shard, uint64_t num, struct bytes cursor,
                        size_t bytes, struct arena *a, struct msg_shard_piece *ret);
