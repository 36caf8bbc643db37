/* SPDX-License-Identifier: Apache-2.0 */
/* lone.h - one core alone, fed by hand: node 2 of voters 1, 2, 3 and learner 4; an election
 * time-out is 10 ticks, a heartbeat 3. */
#pragma once

#include "cluster/raft/raft.h"

extern struct rng lone_rng;
extern struct buf *lone_payload; /* one byte, for all entries */

struct raft_entry lone_entry(raft_index index, raft_term term);
/* With entries of the terms of a string, in term t. lease: with a drift bound of 2. */
struct raft *lone_node(const char *terms, raft_term t, bool lease);
/* Elected in term 1; its no-op is durable, and nobody has answered. */
struct raft *lone_leader(bool lease);
void lone_tick(struct raft *r, unsigned n); /* of the newest node; its clock runs, too */
struct raft_status lone_status(const struct raft *r);
/* From node 1. */
struct raft_msg lone_append(raft_term term, raft_index prev, raft_term prev_term,
                            const struct raft_entry *e, unsigned n);
/* All readies, every write completed; the last message sent stays in *ret_last. */
void lone_settle(struct raft *r, struct raft_msg *ret_last);
