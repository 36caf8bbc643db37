/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - who meets a lock of a transaction over several groups waits here, not at the client
 * (DESIGN 3.2). One queue per group.
 *
 * Locks are those that are prepared (kv_conflict) and, at the leader, those of each PREPARE that is
 * in the log and not applied yet. As a leader proposes nothing that meets one of them, nothing that
 * it proposed is refused for a lock when it is applied; only what it proposed before its term's
 * first entry was applied, or before an outage, may be, and a transaction of these comes here after
 * all.
 *
 * Each entry waits for one transaction whose lock it met. When its locks are gone
 * (kv_sink.released, a PREPARE that was refused), those who waited for it are tried again, the
 * oldest first, before anything that comes later; who meets another lock then goes on waiting, at
 * its old place.
 *
 * No deadlock: who holds locks elsewhere while it waits (`holds`) waits only for a younger one
 * (wait-die). Age is the time of a transaction's first try (then its txid), the same in all groups
 * and for all of its tries, so every wait of a holder points from older to younger and there is no
 * circle; clocks that differ make it unfair, never wrong. Who may not wait is BUSY, gives all back
 * and comes again under its first age: some day it is the oldest, and nothing kills that one. The
 * age of those that were prepared under an earlier leader is not known: holders do not wait for
 * them. Who holds nothing may wait for anybody, for nobody waits for it.
 *
 * Bounded: HELD_MAX entries, and in time: LOCK_PATIENCE_MS, PREPAREs less; then BUSY.
 *
 * With no lock about, all of this costs a request two comparisons.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

#define LOCK_PATIENCE_MS 2000
/* While locks are held elsewhere: others wait for these. */
#define HOLDER_PATIENCE_MS 500

struct lock_queue;
struct held;

struct lock_queue *queue_create(struct group *g);
void queue_destroy(struct lock_queue *q);

/* A transaction with writes, all of whose shards g serves; g leads. True: it waits (or was
 * refused); false: go on with it. */
bool queue_txn(struct group *g, struct conn *c, uint64_t id, const struct msg_txn *t,
               struct bytes body);
/* The same of a request that is here already (body: the transaction), which is taken over and
 * proposed, now or later. */
void queue_run(struct lock_queue *q, struct request *r);
/* kv_read said BUSY to t: the request, which is taken over, gets another read point (group_read)
 * when that lock is gone. Also at a node that follows. */
void queue_read(struct lock_queue *q, struct request *r, const struct msg_txn *t);
/* GROUP_COMMAND with a PREPARE (body: all of it): proposes it, now or later. Errors are for
 * serve_frame to answer. */
NODISCARD int queue_prepare(struct group *g, struct conn *c, uint64_t id,
                            const struct msg_group_command *m, struct bytes body);
/* An outcome is on its way to the log: a PREPARE of that transaction need not wait any more. */
void queue_outcome(struct lock_queue *q, struct bytes outcome);

/* For a coordinator: the part t of an attempt shall be free of others' locks. 0: it is. 1: it
 * waits; go is called once, at a moment when the group may be given proposals, with 0 or
 * -ERR_BUSY, unless queue_leave comes first. -ERR_BUSY: it may not wait. */
typedef void queue_go(void *ctx, int err);
struct lock_claim {
    struct txid id;
    uint64_t age;
    uint64_t until; /* tick: the attempt's patience; a holder's may be shorter */
    bool holds;
    queue_go *go;
    void *ctx;
};
NODISCARD int queue_await(struct lock_queue *q, const struct msg_txn *t,
                          const struct lock_claim *claim, struct held **ret);
void queue_leave(struct held *h); /* NULL: nothing happens */

/* From kv's sink; these only mark. */
void queue_released(struct lock_queue *q, const struct txid *id);
void queue_shard_changed(struct lock_queue *q);
/* The entry of a request (its command is `data`) is answered so. True: the request is taken over,
 * for it met a lock after all; else the caller answers it. */
bool queue_answered(struct lock_queue *q, struct request *r, struct bytes data, unsigned type,
                    struct bytes body);

/* Tries again what was marked. When the group may be given proposals. */
void queue_serve(struct lock_queue *q);
bool queue_has_work(const struct lock_queue *q);
void queue_tick(struct lock_queue *q);
/* Leadership or the state machine is gone: answers what waits, but for the coordinator's, which
 * leave by themselves. */
void queue_fail(struct lock_queue *q, int err);
void queue_drop_conn(struct lock_queue *q, uint64_t token);
size_t queue_count(const struct lock_queue *q); /* so many wait */
