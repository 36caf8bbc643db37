/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impl.h - what the files of node/ share: struct node and the bounds that only the node knows.
 *
 * Who owns what: the node owns groups, peers and connections; a group owns its raft core, state
 * machine, store and the requests that wait in it; a request names its connection by token, never
 * by pointer, so a connection may go at any time.
 *
 * Two arenas: `scratch` lives for one frame or one served read, `round` for one phase of a round.
 * `out` is the one buffer in which frames are composed; net copies from it before send returns.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/base/codec.h"
#include "cluster/base/log.h"
#include "cluster/base/msg.h"
#include "cluster/node/node.h"
#include "cluster/raft/raft.h"
#include "cluster/store/wal.h"

/* Requests of one connection that wait here: four sessions' windows (a mount has one session). */
#define CONN_REQUESTS_MAX (SESSION_WINDOW * 4)
/* Of a member's link, which carries what many groups and clients ask. */
#define LINK_REQUESTS_MAX 8192
/* Bodies of all waiting requests (reads and WAITs; proposals are bounded by the raft core). */
#define REQUEST_BYTES_MAX MIB(64)
/* One ready's share of committed entries: larger ones make the round's other work late. */
#define APPLY_BYTES_MAX MIB(4)
/* Beyond this a running snapshot transfer no longer holds the log back. */
#define LOG_HOLD_BYTES MIB(128)
/* Housekeeping (sessions, space, pinned segments) runs once in so many ticks: 1 s. */
#define HOUSE_TICKS (1000 / TICK_MS)
#define TICKS(ms)   (((uint64_t)(ms) + TICK_MS - 1) / TICK_MS)

struct asks;
struct conn;
struct group;
struct peer;
struct peer_met;
struct request;

struct node_counters {
    uint64_t rounds, log_syncs, entries_applied, reads, proposals, refused;
    uint64_t lease_reads, follower_reads; /* answered so */
    uint64_t lock_waits, lock_refusals;   /* queue.h: had to wait; were BUSY all the same */
    uint64_t sent[RAFT_REPAIR_RESP + 1]; /* frames of one raft message, by its type */
    uint64_t beats_sent, beats_received; /* frames */
    uint64_t raft_dropped, raft_received;
    uint64_t snapshots_sent, snapshots_installed, snapshots_resumed, flushes, repairs;
    uint64_t checkpoints, snapshot_bytes_sent, snapshot_bytes_received;
};

/* A ticket of one group in a log write. */
struct log_ticket {
    struct group *group;
    uint64_t ticket;
};

/* Who was said to lead a group that has no replica here (route.h); gid 0: a free place. */
struct known_leader {
    uint32_t gid, node;
};

struct node {
    struct node_config config; /* strings and arrays in `memory` */
    struct node_env env;
    struct net_handler handler;
    struct arena memory, scratch, round;
    struct enc out;
    uint64_t now; /* ticks since creation: what the node's own times go by */
    bool beat_due, beat_urgent; /* beat.c: the round sends heartbeats; somebody waits for one */
    uint64_t created_ns;
    unsigned promised_ticks; /* promise.h */
    bool promises_old;       /* promise.h: there are files to remove */

    struct wal *wal;
    GArray *gathered;  /* struct log_ticket: queued in the wal, not submitted */
    GArray *submitted; /* struct log_ticket: in the write under way */
    bool log_busy;     /* a submit is under way */
    bool log_done;     /* it has completed; the tickets are still to be delivered */
    int log_err;
    uint64_t submitted_at; /* tick */
    bool starting;         /* until the first log write is durable no group may act */

    GPtrArray *groups;       /* struct group *, by gid */
    GPtrArray *ready, *turn; /* table.c: those that were touched; those of this phase */
    uint64_t placed;         /* place.c: group 0's rows up to this index have their replica here */
    struct wal_recovery waiting;   /* place.c: of groups that are not open yet */
    struct peer *peers[NODES_MAX]; /* the other members, by id; in `memory`, for ever */
    unsigned n_peers;
    struct peer
        *guests[NODES_MAX]; /* nodes of the cluster that are not known as members (peer.h) */
    unsigned n_guests;
    bool ending;          /* node_destroy: what comes to an end is only freed */
    bool removed;         /* from the cluster, for good: nothing is done any more */
    struct peer_met *met; /* members.c: incarnations of nodes that are no peers (yet) */
    unsigned n_met;
    struct disk_file *members_file; /* members.c: a write is under way */
    bool members_dirty;

    struct known_leader leaders[GROUPS_MAX];
    struct asks *asks; /* ask.h */

    GHashTable *conns; /* token -> struct conn */
    GQueue conn_list;  /* the same, in the order in which they came */
    uint64_t last_token;

    unsigned n_sends;     /* snapshot transfers of all groups that have begun */
    int64_t send_budget;  /* bytes of snapshots that may go now; below 0: of the next ticks, too */
    size_t request_bytes;
    uint64_t free_bytes; /* on the disk when housekeeping looked (space_free) */
    bool met_before;     /* there was a file of members at the start */
    bool log_lost;       /* damage.h: groups that the log does not know may be old */
    char damage[400];    /* what is wrong with the log, found at this start */
    bool low_space;      /* housekeeping found less free than the reserve */
    bool log_full;       /* a log write found no room and waits for it */
    uint64_t full_since; /* tick */
    struct node_counters counters;

    void (*left)(void *ctx); /* leave.c: not NULL while it leaves */
    void *left_ctx;
    uint64_t leave_at; /* tick */
};

void node_log(struct node *n, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
NORETURN void node_fatal(struct node *n, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Ticks since creation by env.mono_ns, also those that the host left out: what leases go by. */
uint64_t node_clock(const struct node *n);

/* A log write has been under way, or has waited for room, for longer than an election time-out: a
 * core that leads steps down by itself (reference/raft.md 4.8), the status says why. */
bool node_log_overdue(const struct node *n);
/* A ticket whose record was just queued in the wal. */
void node_log_ticket(struct node *n, struct group *g, uint64_t ticket);

struct group *node_group(struct node *n, uint32_t gid); /* NULL: no replica here */
