/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinate.h - transactions over several groups (DESIGN 3.2; cluster/kv/README.md tells the life
 * of one): what the coordinator group's leader does, and what a participant's does about those that
 * it hears no more of.
 *
 * In memory, per group that is led here: attempts, from their naming until their DECIDE is
 * answered; then tellings, of committed ones, until every participant has logged the outcome. Both
 * end with the leadership. The next leader finds the decisions in the state and tells them again;
 * an attempt without one is dead, and so is presumed aborted by whoever asks.
 *
 *   attempt:  the own part is free of others' locks -> PREPARE at all others at once -> all votes
 *             are there -> the own part is free -> DECIDE in the own log, once per txid -> the
 *             client's answer
 *             one is not prepared -> ABORT to all, and after a pause again under a new txid, until
 *             PATIENCE is over: BUSY to the client, which asks again under the same (client, seq)
 *
 * Who meets a lock waits for it where it met it (queue.h): as long as it holds none elsewhere, for
 * anybody; else for younger ones only, or it gives all of its own back and begins its next try where
 * it met that lock, with nothing in its hands. So there is no deadlock; its age stays that of the
 * first try, so that nobody is killed for ever.
 *
 * A DECIDE that is logged but not answered (the state store is out of room) leaves its attempt
 * under way until the leadership ends: what became of it is not known.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

struct coordinator *coordinator_create(struct group *g);
void coordinator_destroy(struct coordinator *c);

/* The request writes, names shards that g does not serve, and g leads. If the lowest shard written
 * is one of them (it left a moment ago) the client is told WRONG_GROUP. Errors are for serve_frame
 * to answer: -ERR_BUSY. */
NODISCARD int coordinate(struct conn *c, uint64_t id, struct group *g, const struct msg_txn *t,
                         struct bytes body);
/* Leadership is gone: answers what waits here, and forgets it. */
void coordinator_yield(struct coordinator *c);
void coordinator_tick(struct coordinator *c);
/* Of a group that is led here, each HOUSE_TICKS: asks after what is prepared here for long, and
 * forgets outcomes that nobody will ask for. */
void participant_house(struct coordinator *c);

/* For serve.c: TXN_ASK, at a confirmed read point. */
void read_txn_ask(struct group *g, struct request *r, const struct raft_read *read);
/* Under way here now, for tests and status. */
unsigned coordinator_attempts(const struct coordinator *c);
