/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - one process's share of the cluster: drives Raft groups over one log, their state stores
 * and the network (DESIGN 3.6). The same code runs in raftfsd and in the simulator.
 *
 * The host (node/host_uv.c in raftfsd, tests/sim in the simulator) calls: node_tick each TICK_MS;
 * the net handler's callbacks as input comes; and node_round after it has delivered all input that
 * was there. A round: send the appends; write and sync the log once for all groups; send what
 * waited for it; apply; reply. What arrives meanwhile is the next round's batch.
 *
 * All entropy and I/O goes through node_env. One thread. A failed log write or sync, or a store
 * error, ends in env.fatal, which must not return to the node (the daemon exits, the simulator
 * marks the node dead).
 */
#pragma once

#include "cluster/base/disk.h"
#include "cluster/base/err.h"
#include "cluster/base/limits.h"
#include "cluster/base/net.h"
#include "cluster/base/rng.h"
#include "cluster/store/store.h"

struct node_peer_config {
    uint32_t id;
    const char *address; /* "host:port" or "unix:/path" */
};

struct node_config {
    uint64_t cluster;
    uint32_t id;
    uint64_t incarnation; /* of this data directory */
    const char *data_dir; /* holds identity, wal/, groups/<gid>/ */
    uint16_t shards;
    unsigned groups; /* besides group 0, of a new cluster (bootstrap.h); at most GROUPS_MAX */
    const struct node_peer_config *peers; /* the members as of its making, this node included */
    unsigned n_peers;
    bool join; /* it is none of the first voters: log or snapshot tell it its place */
    unsigned election_ticks, heartbeat_ticks; /* 0: limits.h */
    uint64_t flush_log_bytes; /* flush the store and cut the log each so many bytes; 0: 16 MiB */
    uint64_t segment_bytes;   /* of the WAL; 0: 64 MiB */
    unsigned rows_held;       /* by each state machine, see kv.h; 0: its default */
    /* What a leader keeps of the flushed log in memory, so that a follower that was away for a
     * moment needs no snapshot; 0: 8 MiB, 4096 entries. Snapshots go in chunks of so many bytes, up
     * to so many a tick; 0: SNAPSHOT_CHUNK, SNAP_TICK_BYTES. */
    uint64_t log_keep_bytes;
    unsigned log_keep_entries;
    unsigned snapshot_chunk, snapshot_tick_bytes;
    /* Reads by leader lease (raft.h): by how many ticks the clocks of two nodes may differ over an
     * election time-out. */
    bool lease;
    unsigned lease_drift_ticks;
};

struct node_env {
    struct disk *disk;
    struct net *net;
    struct store_maker *stores;
    struct rng *rng;
    /* Leases go by it: it must neither jump nor stop, not even while the process or the machine
     * sleeps (CLOCK_BOOTTIME). */
    uint64_t (*mono_ns)(void *ctx);
    uint64_t (*wall_ns)(void *ctx); /* entry timestamps, and who came first */
    NORETURN void (*fatal)(void *ctx, int err, const char *text);
    void (*log)(void *ctx, int level, const char *text); /* log.h levels */
    /* Leadership of a group came (true: own no-op applied, may serve) or went. May be NULL. */
    void (*on_lead)(void *ctx, uint32_t gid, bool leading);
    /* Message types the node does not know (mr's FETCH): answer later with node_answer. Null:
     * refused. */
    void (*on_other)(void *ctx, struct net_conn *c, enum role role, unsigned type, uint64_t id,
                     struct bytes body);
    /* This node was removed from the cluster, or was told so by a member; text is for the operator.
     * The process should end: the node does nothing any more. May be NULL. */
    void (*on_removed)(void *ctx, const char *text);
    void *ctx;
};

struct node;

/* Opens log and stores in config.data_dir (config is copied). Errors with text for the operator. */
NODISCARD int node_create(const struct node_config *config, const struct node_env *env,
                          struct node **ret, struct errmsg *msg);
/* Shutdown and crash are one path: nothing is flushed, but a flush under way is waited for. Calls
 * nothing of env.net; the host has ended its connections or will, and lets no callback or
 * completion reach this node any more. */
void node_destroy(struct node *n);

/* The callbacks for the net implementation; ctx is the node. */
const struct net_handler *node_net_handler(struct node *n);

/* For each time-out of the node. After a pause of the process some ticks may be left out, or the
 * node would call elections out of the past: it heard nothing because it did not listen. */
void node_tick(struct node *n);
void node_round(struct node *n);
/* True while a round would do something without new input (e.g. a batch became ready). */
bool node_has_work(const struct node *n);

/* A clean end: hands over what this node leads to the voter with the longest log, and calls left
 * once another leads it, if it leads nothing at once, in any case after an election time-out. It
 * may be called from inside. The host goes on with input, ticks and rounds until then. */
void node_leave(struct node *n, void (*left)(void *ctx), void *ctx);

/* Answers a request of on_other; the conn may be gone (then nothing happens): name it by its token.
 */
uint64_t node_conn_token(struct node *n, struct net_conn *c);
void node_answer(struct node *n, uint64_t conn_token, struct bytes frame);

/* For tests and checkers: the raft status and the applied state of a group. */
struct raft_status;
bool node_group_status(struct node *n, uint32_t gid, struct raft_status *ret);
/* All that was applied is written to it first; NULL if that fails. */
struct store *node_group_store(struct node *n, uint32_t gid);
