/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h - a whole Raft group in one thread: cores, their disks, and the wire between them.
 *
 * Nothing happens by itself. The caller (a random test, or a text trace) decides when a node's
 * ready is taken, when a write completes, which message is delivered, lost or doubled, who crashes.
 * What is true of every correct run is checked at each step, and its breach ends the process with
 * `name`:
 *   - election safety: one leader per term
 *   - leader completeness: who is elected has all that was committed in terms before
 *   - state machine safety: one entry per index is applied, in order, by everybody
 *   - log matching (group_check_logs)
 *   - a promise that leaves (vote, acknowledgement) is on the sender's disk when it leaves
 *   - a read is served at an index not below what anybody had committed when it was asked
 *   - what a leader commits is on the disks of a majority of its voters (of both halves)
 *   - each configuration that is applied may follow the one before; a leader has at most one that
 *     is not committed
 * A disk forgets on a crash what was not completed; the state machine what was not flushed. The
 * flushed state may be ahead of the own log, as in the real node (reference/raft.md 4.12).
 */
#pragma once

#include "cluster/raft/raft.h"

enum { GROUP_MAX = 2 * VOTERS_MAX };

struct disk {
    struct raft_hard hard;
    raft_index base;
    GArray *entries; /* struct raft_entry with references: base + 1 .. */
    bool suspect;    /* was damaged, and is not repaired */
    GHashTable *had; /* index and term of what damage took from it, as text: a set */
};

struct write_job {
    uint64_t ticket;
    struct raft_persist p; /* entries: own copy */
    struct raft_entry *entries;
};

struct member {
    raft_id id;
    struct raft *r; /* NULL: down */
    struct rng rng;
    struct disk disk;
    GQueue *writes; /* struct write_job */
    bool hold;      /* the trace's persist-hold: writes do not complete by themselves */
    raft_index applied, flushed;
    raft_index commit; /* as last seen */
    bool retired;      /* removed, and gone for ever */
    unsigned rate;     /* of its clock, in thousandths of the group's time */
    uint64_t ticks;    /* passed so far, by its clock */
    uint64_t clock;    /* the same since it started */
    enum raft_role role;
    raft_term term;
};

/* A message on the wire; a snapshot travels as one too (type 0). */
struct parcel {
    struct raft_msg m;
    struct raft_entry *entries;
    bool snapshot;
    uint64_t time_ns; /* of a snapshot; m.index and m.log_term name it, m.term is the sender's */
};

struct committed {
    raft_term term;
    uint64_t time_ns, hash;
    raft_term known_in; /* the first applier's term: committed in it or before */
};

struct conf_known {
    raft_index index;
    struct raft_conf conf;
};

struct read_asked {
    raft_id node;
    uint64_t ctx;
    raft_index floor; /* the highest commit index anywhere when it was asked */
};

struct group {
    const char *name;      /* printed when a check fails */
    struct raft_conf conf; /* of index 0 */
    GArray *confs;         /* struct conf_known: committed, by index; the first is conf */
    unsigned election_ticks, heartbeat_ticks;
    uint64_t apply_bytes_max;
    bool lease;
    unsigned lease_drift;
    uint64_t time; /* with leases clocks must run: group_catch_up */
    struct member members[GROUP_MAX];
    unsigned n;
    GPtrArray *wire; /* struct parcel, in the order of sending */
    GArray *history; /* struct committed, [0] is index 1 */
    GArray *leaders; /* raft_id by term */
    GArray *reads;   /* struct read_asked */
    raft_index max_commit;
    bool cut[GROUP_MAX + 1][GROUP_MAX + 1]; /* [from][to]: messages are lost */
    uint64_t seed, clock_ns, reads_served, reads_by_lease, reads_invalid, reads_forwarded,
        elections, installs, transfers, changes, repairs;
    GString *out; /* not NULL: every event is told here, one line each */
    GString *why; /* scratch */
    bool manual;  /* the caller sends the snapshots that are needed */
};

void group_init(struct group *g, const char *name, unsigned voters, unsigned learners,
                uint64_t seed);
/* As group_init, all nodes created; call it once options are set. */
void group_start(struct group *g);
/* One more node, up and empty, in no configuration: told of the one of index 0. */
struct member *group_add(struct group *g);
void group_finish(struct group *g);
struct member *group_node(struct group *g, raft_id id);

/* Takes one ready of a node, if it has one: sends, queues the write, applies. */
bool group_ready(struct group *g, struct member *m);
/* Completes the oldest write of a node. */
bool group_complete(struct group *g, struct member *m);
/* Readies and completions (but of held nodes) until nobody has anything to do. */
void group_settle(struct group *g);
/* Takes the i-th parcel from the wire and hands it over, or loses it when the way is cut, the
 * receiver is down, or drop is set. keep: it stays on the wire, to come again. */
void group_deliver(struct group *g, unsigned i, bool drop, bool keep);
/* 0 or the core's error. */
int group_propose(struct group *g, struct member *m, struct bytes data);
int group_change(struct group *g, struct member *m, const struct raft_conf *to);
/* The newest configuration that anybody has applied. */
const struct raft_conf *group_conf(const struct group *g);
bool group_is_member(const struct group *g, raft_id id);  /* of that one */
bool group_was_member(const struct group *g, raft_id id); /* of that one or one before */
int group_transfer(struct group *g, struct member *m, raft_id to);
void group_tick(struct member *m); /* one that is up */
/* The time by m's clock, and the ticks that are due, but after a pause not all of them. Every input
 * to a core with a lease begins with it. */
void group_catch_up(struct group *g, struct member *m);
/* any: also at a follower. */
int group_read_any(struct group *g, struct member *m, uint64_t ctx);
int group_read(struct group *g, struct member *m, uint64_t ctx);
/* The state machine is flushed up to what it has applied; entries <= upto are forgotten. */
void group_compact(struct group *g, struct member *m, raft_index upto);
/* kept_writes: how many writes that were not reported made it to the disk all the same. */
void group_crash(struct group *g, struct member *m, unsigned kept_writes);
/* A new disk: nothing is remembered. */
void group_wipe(struct group *g, struct member *m);
/* Crashes it and takes its log and hard state away, all but what is given (what it really had at
 * some time); store: its state machine, too. It starts suspect. */
void group_damage(struct group *g, struct member *m, struct raft_hard left, bool store);
bool group_is_suspect(const struct member *m);
void group_restart(struct group *g, struct member *m);
/* Puts a snapshot of from's applied state on the wire. */
void group_send_snapshot(struct group *g, struct member *from, raft_id to);
void group_check_logs(struct group *g);
struct member *group_leader(struct group *g); /* of the highest term that has one up; NULL */
