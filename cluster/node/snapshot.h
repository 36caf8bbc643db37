/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - a follower that is too far behind gets the whole state (paper section 7).
 *
 * Leader: a checkpoint of the store (checkpoint.h) is read as one byte stream and sent in chunks
 * over a link of its own, at most SNAP_WINDOW beyond what the follower has taken; all transfers of
 * the node together get snapshot_tick_bytes a tick, and SNAP_SENDS_MAX run at once. The first chunk
 * of each connection is empty: its SNAP_ACK names the offset from which to go on, so a broken
 * connection costs no byte twice, a restart of the follower one file. The transfer ends when the
 * follower has installed it, refuses it, or takes nothing for SNAP_IDLE_MS; until then the leader
 * keeps the log behind the checkpoint in memory (within LOG_HOLD_BYTES), never longer.
 *
 * Follower: writes the stream beside its store; when all is there: fsync, close the old store,
 * rename over it, open, tell the core, whose next ready resets the log. A crash before the rename
 * leaves the old state, and what has come in, with which the next start goes on if the sender still
 * does; a crash after it leaves a store ahead of the log, which is a legal state (group.h).
 *
 * All of this but the sending waits for the disk and is done by jobs (store.h), one after another;
 * what happens meanwhile (the transfer ends, another begins, the node ends) lets go of what the job
 * works on, and the job's end frees it.
 *
 * The stream itself (files one after another, with checksums) is the store's; see store.h.
 */
#pragma once

#include "cluster/node/group.h"

#define SNAP_SENDS_MAX  2  /* transfers of a node at once; further followers wait for their turn */
#define SNAP_WINDOW     4u /* chunks */
#define SNAP_TICK_BYTES MIB(1) /* 50 MB/s, beside the appends */
#define SNAP_IDLE_MS    20000

/* Of an earlier run: what was being received goes on, what was being sent is removed. */
void snapshots_restart(struct group *g);

/* --- leader --- */
void snapshot_send(struct group *g, raft_id to);
void snapshots_tick(struct group *g); /* also the follower's time-out */
void snapshots_stop(struct group *g); /* leadership went */
void snapshots_free(struct group *g); /* the node ends: files stay, links are the net's */
/* The log behind the oldest transfer is still needed; 0: no transfer. */
raft_index snapshots_hold(const struct group *g);
void snapshot_link_up(struct conn *c);
void snapshot_link_down(struct conn *c);
void snapshot_ack(struct group *g, struct conn *c, const struct msg_snap_ack *m);

/* --- follower --- */
void snapshot_chunk(struct group *g, struct conn *c, uint64_t id, const struct msg_snap_chunk *m);
void snapshot_recv_drop(struct group *g);
/* For `status`: bytes taken so far. False: nothing comes in. */
bool snapshot_incoming(const struct group *g, uint64_t *ret_bytes);
