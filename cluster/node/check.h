/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - comparing the replicas of a group while it serves (raftfsctl check).
 *
 * The leader logs a KV_CMD_CHECK; each replica that applies it keeps a view of its state as of that
 * entry (kv.h) and at once begins to hash it, shard by shard (kv/digest.h), CHECK_TICK_ROWS rows or
 * CHECK_TICK_BYTES a tick, so the loop is never held up for longer than a large apply. The asker
 * compares: it asks every node for its hashes, and where they differ for those of ever smaller
 * ranges of the same state, which are hashed the same way. A question is repeated until its answer
 * is ready; the same bytes are the same question.
 *
 * Views and hashes are in memory only. They go when nobody has asked for CHECK_KEEP_MS, when two
 * newer checks have begun, and with the state machine (restart, snapshot). A state that cannot be
 * read ends the process as any other read of it does, and the next start repairs it (damage.h); but
 * of a lone replica, which nobody could repair, it is an answer (its error). Administrators only.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

#define CHECK_TICK_ROWS  2000
#define CHECK_TICK_BYTES MIB(1)
#define CHECK_KEEP_MS    60000
#define CHECK_JOBS_MAX   16 /* questions whose answers are kept or made; further ones hear BUSY */

struct checks;
struct checks *checks_create(struct group *g);
void checks_destroy(struct checks *c);
void checks_tick(struct checks *c);

/* Both answer, or give an error for the caller to answer. */
NODISCARD int checks_start(struct conn *c, uint64_t id, const struct msg_check *m);
NODISCARD int checks_ask(struct conn *c, uint64_t id, const struct msg_check_ask *m,
                         struct bytes body);
