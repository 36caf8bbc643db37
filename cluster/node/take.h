/* SPDX-License-Identifier: Apache-2.0 */
/*
 * take.h - shards that come to a group (DESIGN 3.7): the new owner's leader drives each move, all
 * of its steps, at both groups.
 *
 * Group 0's configuration says what is to come, and every node has a replica of it. How far a move
 * is, is read from the state of the shard here (kv/shards.h), so any leader goes on where the one
 * before it stopped; only how the end approaches is in memory. Each step is an entry of one of the
 * groups, may be logged twice, and is refused when it comes too late.
 *
 *   BEGIN at the old owner; then, piece by piece, PULL there and STAGE here, while it serves
 *   a pass over what was written meanwhile was short
 *   CLOSE and FREEZE at the old owner: from here nobody serves the shard
 *   the last pieces; the live sessions, if the old owner knows better (fence_reaches)
 *   INSTALL here: it is served
 *   DELETE at the old owner until nothing is left there, MOVED at group 0
 *
 * A move that cannot go on waits and tries again, for ever: it is group 0's configuration that
 * demands it, and no shard is lost on the way. Bounded: TAKES_MAX at once per group, one piece of
 * each in memory.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

struct takes *takes_create(struct group *g);
void takes_destroy(struct takes *t);

void takes_tick(struct takes *t);
/* Leadership is gone: the next leader goes on. */
void takes_yield(struct takes *t);
/* So many shards are coming. */
unsigned takes_under_way(const struct takes *t);

/* For serve.c, of the old owner: SHARD_PULL, parked for a read point; and then. */
NODISCARD int serve_shard_pull(struct conn *c, uint64_t id, struct bytes body);
void read_shard_pull(struct group *g, struct request *r, const struct raft_read *read);
