/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raft.h - the consensus core of one group: computes, never acts.
 *
 * The extended Raft paper (Ongaro, Ousterhout 2014) and chapters 4, 6 and 10 of Ongaro's
 * dissertation. Inputs are function calls: a message, a tick, a proposal, a read, "persisted
 * (ticket)", "applied (index)". Output is one struct raft_ready per call of raft_ready(). No clock,
 * fd, thread, global, rand() or log sink: time is ticks, chance is an rng handed in, so the same
 * core runs in the daemon, under a text trace and in the simulator.
 *
 * The host's duties, in order, for each ready (DESIGN.md 3.6):
 *   1. send `send` (a message may be lost, doubled or reordered; the core copes);
 *   2. make `persist` durable, hard state and entries in one step, and then call
 *      raft_persisted(ticket). Tickets complete in the order in which they were handed out.
 *      Messages that depend on the write are kept inside the core and appear in `send` of a
 *      later ready;
 *   3. apply `apply` in order and call raft_applied. Committed entries may be handed out before
 *      this node's own disk has them (dissertation 10.2.1);
 *   4. serve `reads` when applied >= their index.
 *
 * Invariants (asserted): term and commit never go back; applied <= commit <= last; at most one vote
 * per term; a leader never overwrites its own log; only entries of the current term are committed
 * by counting (5.4.2, figure 8); an acknowledgement never names an index that is not persisted here
 * with the term that is acknowledged: completions carry a ticket, and truncation drops what a
 * ticket covered (the ABA of reference/raft.md 4.13).
 *
 * Threads: none; one caller at a time. Memory: entries keep a reference on their buf; what a ready
 * shows is borrowed until the next call on the same raft.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/base/buf.h"
#include "cluster/base/limits.h"
#include "cluster/base/rng.h"

typedef uint64_t raft_term;
typedef uint64_t raft_index;
typedef uint32_t raft_id; /* node id, never 0, never reused */

#define RAFT_NONE 0u

/* A transaction and what the state machine wraps around it. */
#define RAFT_ENTRY_BYTES_MAX (TXN_BYTES_MAX + KIB(64))

enum raft_entry_type {
    RAFT_ENTRY_NOOP = 1, /* first entry of each leader (dissertation 6.4) */
    RAFT_ENTRY_DATA = 2,
    RAFT_ENTRY_CONF = 3, /* a configuration (raft_conf_encode), in force once it is appended */
};

struct raft_entry {
    raft_term term;
    raft_index index;
    uint64_t time_ns; /* max(leader's clock at proposal, time of the entry before + 1) */
    enum raft_entry_type type;
    struct buf *data; /* NULL for a NOOP */
};

/* Who counts. Learners replicate but never count. While outgoing is not empty the configuration is
 * joint (paper 6, C_old,new): voters are C_new, outgoing are C_old, and every decision needs a
 * majority of both. An outgoing voter may stay, as a voter or as a learner. */
struct raft_conf {
    unsigned n_voters, n_outgoing, n_learners;
    raft_id voters[VOTERS_MAX];
    raft_id outgoing[VOTERS_MAX];
    raft_id learners[VOTERS_MAX];
};

/* Version 1, u8; then three lists: count u8, ids u32 little-endian. At most 112 bytes. What decodes
 * is valid: voters there, nobody twice. -ERR_INVALID; -ERR_FORMAT: another version. */
struct buf *raft_conf_encode(const struct raft_conf *conf);
NODISCARD int raft_conf_decode(struct bytes in, struct raft_conf *ret);

enum raft_msg_type {
    RAFT_PREVOTE = 1,
    RAFT_PREVOTE_RESP,
    RAFT_VOTE,
    RAFT_VOTE_RESP,
    RAFT_APPEND,
    RAFT_APPEND_RESP,
    RAFT_HEARTBEAT,
    RAFT_HEARTBEAT_RESP,
    RAFT_TIMEOUT_NOW, /* leadership is handed over to you: campaign (dissertation 3.10) */
    RAFT_READ,        /* from a follower: which index must my state have for a read? */
    RAFT_READ_RESP,
    RAFT_REPAIR, /* from a suspect: up to where must I hold your log to be trusted again? */
    RAFT_REPAIR_RESP,
};

/* One message. Which fields mean something is said per type in cluster/raft/README.md. */
struct raft_msg {
    enum raft_msg_type type;
    raft_id from, to;
    raft_term term;
    raft_index index;   /* APPEND: prev index; VOTE: last index; APPEND_RESP: match or rejected
                           prev; HEARTBEAT_RESP: received, durable or not */
    raft_term log_term; /* APPEND: prev term; VOTE: last term */
    raft_index commit;  /* APPEND, HEARTBEAT */
    bool reject;
    bool transfer; /* VOTE: the leader asked for this election, hear of it though you hear the
                      leader */
    bool urgent;   /* HEARTBEAT, HEARTBEAT_RESP: a read waits for it (raft_config.beats) */
    bool suspect;  /* APPEND_RESP, HEARTBEAT_RESP: count this for nothing (raft_restore.suspect) */
    unsigned promise; /* HEARTBEAT_RESP: I vote for nobody for so many ticks (lease.c); 0: I may */
    raft_index hint;  /* rejecting APPEND_RESP: fast conflict back-up (paper 5.3, end);
                         HEARTBEAT_RESP: match */
    raft_term hint_term;
    uint64_t read_round; /* HEARTBEAT(_RESP): newest read round; READ(_RESP): the follower's; never
                            reused (raft.md 4.9); REPAIR(_RESP): of the suspect's life */
    const struct raft_entry *entries;
    unsigned n_entries;
};

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

/* What must be durable before a promise leaves this node. */
struct raft_hard {
    raft_term term;
    raft_id vote;
};

struct raft_persist {
    uint64_t ticket; /* 0: nothing to persist */
    bool hard_changed;
    struct raft_hard hard;
    raft_index truncate_from; /* 0, or: forget entries >= this one first (logged: raft.md 4.17) */
    const struct raft_entry *entries;
    unsigned n_entries;
    bool reset; /* a snapshot was installed: the log now starts after reset_index */
    raft_index reset_index;
    raft_term reset_term;
    bool repaired; /* the mark is to go, after all else of this ticket */
};

struct raft_read {
    uint64_t ctx;
    raft_index index; /* serve when applied >= index */
    bool lease;       /* by lease: ask raft_read_valid once it was served, before it is answered */
    raft_term term;
};

struct raft_ready {
    const struct raft_msg *send;
    unsigned n_send;
    struct raft_persist persist;
    const struct raft_entry *apply;
    unsigned n_apply;
    const struct raft_read *reads;
    unsigned n_reads;
    const raft_id *snapshots; /* followers that need a snapshot; each shown once per need */
    unsigned n_snapshots;
    bool role_changed; /* role, term or known leader differ from the last ready, or did in
                          between: the host fails its waiting proposals and reads when no
                          longer leader, and reads that were asked of another leader */
};

struct raft_status {
    raft_id id, leader; /* leader RAFT_NONE: unknown */
    raft_id vote;       /* given in this term, RAFT_NONE: none */
    enum raft_role role;
    raft_term term;
    raft_index first, last, persisted, commit, applied;
    bool leading;        /* leader with its own-term no-op applied: may serve */
    raft_id transfer_to; /* leadership is being handed over to it; RAFT_NONE: no */
    bool suspect;        /* until it durably holds the log up to repair_goal (0: not known yet) */
    raft_index repair_goal;
};

#define RAFT_CATCH_UP_ENTRIES APPEND_ENTRIES_MAX /* one message may make up for it */

/* What a leader knows of one member, for `status`. */
struct raft_progress_view {
    raft_id id;
    raft_index match, next;
    unsigned ticks_since_heard;
    char state;   /* 'p'robe 'r'eplicate 's'napshot */
    bool voter;   /* of either half */
    bool suspect; /* it says so: counts for nothing until it is repaired */
    /* Dissertation 4.2.1: it was brought up to what the log held at some moment in less than an
     * election time-out, lacks at most RAFT_CATCH_UP_ENTRIES of what it holds now, and answers.
     * Promote no learner before. */
    bool caught_up;
};

struct raft_config {
    raft_id id;
    /* Of index 0. A node that joins is told of the members that there are; it is at most a learner
     * in it, and hears the truth from the log. */
    struct raft_conf conf;
    unsigned election_ticks, heartbeat_ticks; /* election time-out is drawn from [e, 2e) */
    /* The host says when heartbeats are due (raft_beat), each heartbeat_ticks, so that those of all
     * its groups fall on one tick. It may keep heartbeats and their answers back until then, but
     * for urgent ones. */
    bool beats;
    uint64_t apply_bytes_max; /* bound of one ready's `apply` */
    struct rng *rng;          /* borrowed */
    /* Reads by leader lease (dissertation 6.4.1). lease_drift_ticks: by how many ticks any two
     * nodes' clocks may differ over an election time-out; at most election_ticks - 2. What the host
     * owes for it is raft_clock. A leader counts only voters that have the option too, and no
     * shorter an election time-out, so it can be turned on node by node. A group of one that is
     * created anew waits for an election time-out too. */
    bool lease;
    unsigned lease_drift_ticks;
    /* For so long after its creation this node votes for nobody: with the option turned off, or
     * shorter times, an earlier life may have promised more than this one would. */
    unsigned promised_ticks;
};

/* State found on disk: hard state, snapshot point (everything <= snap_index is in the state
 * machine; applied starts there) and entries snap_index+1 .. in order. The core takes references.
 * The host leaves out a log whose entry at snap_index has another term than the state machine says:
 * it is the log of before an installation whose `reset` was not written any more. NULL: a new
 * replica. */
struct raft_restore {
    struct raft_hard hard;
    raft_index snap_index;
    raft_term snap_term;
    uint64_t snap_time_ns;
    raft_index applied; /* >= snap_index: entries up to it are not handed out again */
    /* The configuration as of `applied`: the host keeps the newest CONF entry's data in the batch
     * that applies it, and it travels with a snapshot. NULL: raft_config.conf was still in force at
     * snap_index; then CONF entries count from there on. */
    const struct raft_conf *conf;
    const struct raft_entry *entries;
    size_t n_entries;
    /* The log was damaged, or is gone, in this life or in an earlier one that did not end in
     * raft_persist.repaired: a vote, a term or acknowledged entries may be missing (repair.c has
     * what follows from that, and why it is safe). The host gives what is certainly committed,
     * that is, what was applied, and what was logged after the mark became durable; it makes the
     * mark durable before it calls the core again. */
    bool suspect;
};

struct raft;

/* ERR_INVALID: no voters, doubled ids, a gap, a falling term or a time that does not rise in the
 * restored entries, a CONF entry that is none, applied outside of snap_index .. last. A group of
 * one campaigns at once. Also for impossible numbers of ticks. */
NODISCARD int raft_create(const struct raft_config *config, const struct raft_restore *restore,
                          struct raft **ret);
void raft_destroy(struct raft *r);

/* --- inputs --- */

/* Counts for every time-out. A host that was stopped itself may leave ticks out: it read no input
 * meanwhile, so what it did not hear says nothing of the others. */
void raft_tick(struct raft *r);
/* Leader: a heartbeat to each member. Nothing elsewhere, and without raft_config.beats. */
void raft_beat(struct raft *r);
/* Counts for leases alone, which end whether this process runs or not: so many ticks have passed
 * since the core was made, by a clock that never stops nor jumps (a smaller number than before is
 * ignored). With the lease option the host reads that clock, and tells, before each raft_step
 * (after the message came in) and before each raft_read_valid (after the read was served). */
void raft_clock(struct raft *r, uint64_t ticks);

/* A message from the network. Anything may come; nonsense (wrong `to`, impossible fields) is
 * dropped with -ERR_INVALID and changes nothing. The sender need not be a member: who asks may know
 * of a newer configuration (dissertation 4.1), so the host lets only nodes of its cluster speak.
 * Answers of strangers are ignored. The entries' data is referenced. */
int raft_step(struct raft *r, const struct raft_msg *m);

/* Leader only. Takes a reference on data. -ERR_NOT_LEADER; -ERR_BUSY over UNCOMMITTED_BYTES_MAX and
 * while leadership is handed over; -ERR_TOO_BIG over RAFT_ENTRY_BYTES_MAX; -ERR_INVALID without
 * data. Appends are composed when raft_ready is called, so what is proposed between two readies
 * travels in one message. *ret_index/_term name the entry: it was committed if and only if an entry
 * of that index and term is applied. */
NODISCARD int raft_propose(struct raft *r, struct buf *data, uint64_t now_ns, raft_index *ret_index,
                           raft_term *ret_term);

/* Leader only: changes the membership to `to`, which is not joint. A change of voters goes through
 * C_old,new; the leader proposes C_new itself once that is committed (paper 6). *ret_index/_term
 * name the first entry; the change is done when a CONF entry that is not joint is applied after it.
 * A leader that is not in it leads until it has applied it, then hands over and steps down.
 * -ERR_INVALID: no configuration; -ERR_NOT_LEADER; -ERR_BUSY: the last change is not applied, the
 * own-term no-op not committed, or leadership is handed over: try again; -ERR_NOT_FOUND: a voter
 * that is no member yet, add it as a learner first; -ERR_EXISTS: it is so already;
 * -ERR_UNREACHABLE: a majority of the new voters has not answered for an election time-out, so that
 * the group would stop. Whether new voters have caught up is for the host to ask before
 * (raft_get_progress). */
NODISCARD int raft_change_conf(struct raft *r, const struct raft_conf *to, uint64_t now_ns,
                               raft_index *ret_index, raft_term *ret_term);

/* Leader only: asks for a linearizable read point (ReadIndex, dissertation 6.4). ctx comes back in
 * `reads`, or never if leadership is lost. While a lease holds that is at once, without a message.
 * -ERR_NOT_LEADER also before the own-term no-op commits is NOT returned: the read waits for it.
 * All reads of one round share one heartbeat exchange. */
NODISCARD int raft_read(struct raft *r, uint64_t ctx);
/* The same at any node: one that follows asks its leader, whose answer is final, be it confirmed in
 * a round or by lease, and serves the read itself once it has applied that much. -ERR_NOT_LEADER:
 * no leader is known. ctx never comes back if role, term or leader change first, be it for a moment
 * only; then role_changed is set. */
NODISCARD int raft_read_any(struct raft *r, uint64_t ctx);
/* After a read was served, before it is answered: was it good? A read by lease is not if the lease
 * has ended, by a clock read after it: the process may have been stopped in between (raft.md 4.10),
 * and raft_read itself goes by the time that it was told last. Then ask anew with raft_read. */
bool raft_read_valid(const struct raft *r, const struct raft_read *read);
bool raft_lease_holds(const struct raft *r); /* for `status` */

void raft_persisted(struct raft *r, uint64_t ticket);
void raft_applied(struct raft *r, raft_index upto);

/* Forgets entries <= upto (which must be applied): the host has them in a flushed state store. */
void raft_compact(struct raft *r, raft_index upto);

/* The state machine now is the snapshot (durably). Ask raft_wants_snapshot first; false, and
 * nothing changed, when commit has already passed it, this node leads, or the arguments make no
 * sense. conf is that of the snapshot, as of index. Keeps a suffix that agrees (index, term), drops
 * the log otherwise; the next ready's `persist` has reset set and lists the kept suffix again. The
 * leader learns of it by an APPEND_RESP for `index` once that is persisted. */
bool raft_wants_snapshot(const struct raft *r, raft_index index, raft_term term);
bool raft_install(struct raft *r, raft_id from, raft_term from_term, raft_index index,
                  raft_term term, uint64_t time_ns, const struct raft_conf *conf);
/* Leader: streaming to `to` ended. Appends go on when the follower says that it is installed (or
 * says nothing of it for an election time-out); on failure it is probed again at its next answer.
 */
void raft_snapshot_sent(struct raft *r, raft_id to, raft_index index, bool ok);

/* Leader only: hands leadership over to voter `to` (dissertation 3.10). Proposals are refused with
 * -ERR_BUSY until it leads (this node then learns of a higher term), or until an election time-out
 * has passed and it is given up: both end with raft_status.transfer_to = RAFT_NONE. 0 as well if
 * `to` is this node, or the target already. -ERR_NOT_LEADER; -ERR_NOT_FOUND: no member;
 * -ERR_INVALID: a learner, or a voter that is leaving; -ERR_BUSY: under way to another;
 * -ERR_UNREACHABLE: it is suspect. */
NODISCARD int raft_transfer(struct raft *r, raft_id to);
/* The voter to hand over to: of those heard within an election time-out the one with the longest
 * log. RAFT_NONE: nobody is there, or this node does not lead. */
raft_id raft_transfer_choice(const struct raft *r);

/* Tries to become leader now, if a majority hears no leader. For tests: an operator uses
 * raft_transfer, a core alone knows when its leader is gone. */
void raft_campaign(struct raft *r);

/* --- outputs --- */

/* True if raft_ready would show anything. */
bool raft_has_ready(const struct raft *r);
void raft_ready(struct raft *r, struct raft_ready *ret);

void raft_get_status(const struct raft *r, struct raft_status *ret);
unsigned raft_get_progress(const struct raft *r, struct raft_progress_view *ret, unsigned max);
/* The term of an entry, 0 if compacted or beyond the end. */
raft_term raft_term_at(const struct raft *r, raft_index index);
/* Entries from..upto, at least one and no more than fit into `bytes` of payload, for a host whose
 * state machine fell back behind `applied`. NULL: not all of the range is in memory. They live
 * until the next input. */
const struct raft_entry *raft_entries(const struct raft *r, raft_index from, raft_index upto,
                                      uint64_t bytes, unsigned *ret_n);
/* The configuration in force: the newest in the log, committed or not. */
const struct raft_conf *raft_get_conf(const struct raft *r);
/* As of an entry at or after the log's base and restore's `applied`, for a snapshot that ends
 * there. NULL: before that. Borrowed until the next input. */
const struct raft_conf *raft_conf_at(const struct raft *r, raft_index index);
uint64_t raft_log_bytes(const struct raft *r); /* payload held in memory */

const char *raft_role_name(enum raft_role role);
const char *raft_msg_name(enum raft_msg_type type);
