/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - the inside of one raft. Only cluster/raft includes it.
 *
 * Who may change what: core.c the role, term and commit; elect.c the ballots; append.c follower's
 * log and the leader's sending; persist.c everything about tickets; read.c the three read queues;
 * snap.c installation; ready.c what has been shown. progress.c alone changes a progress, log.c
 * alone a log, transfer.c a transfer, repair.c whether this replica is suspect.
 *
 * Three cursors run over the log:   persisted <= handed <= last   (given to the disk, on the disk)
 *                                   applied <= applying <= commit (given to the state machine, in
 * it) The two rows are independent: what a majority has is applied even before the own disk has it.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/raft/log.h"
#include "cluster/raft/progress.h"

/* Nonsense is told from sense by bounds that no honest log reaches and no sum overflows. */
#define RAFT_NUMBER_MAX (1ull << 62)

/* A ticket that is out: what will be durable once it is done. Truncation lowers `last`. */
struct write {
    uint64_t ticket;
    raft_index last;
    struct raft_hard hard;
    uint64_t since; /* tick of the hand-over */
};

/* A message that may leave only when `ticket` is done. */
struct held {
    uint64_t ticket;
    struct raft_msg msg;
};

/* A read that waits for a round: the host's own (from RAFT_NONE), or one of a follower, whose
 * number is ctx. */
struct asking {
    uint64_t ctx;
    raft_id from;
};

struct asked {
    uint64_t ctx, round;
    raft_index index;
    raft_id from;
};

/* When a round began, by the clock. */
struct round {
    uint64_t number, tick;
};

struct conf_at {
    raft_index index;
    struct raft_conf conf;
};

/* Leadership that is being handed over. */
struct transfer {
    raft_id to;       /* RAFT_NONE: none */
    unsigned elapsed; /* ticks since it began */
    bool told;        /* TIMEOUT_NOW was sent */
};

struct raft {
    raft_id id;
    struct raft_conf conf; /* in force: the last of confs */
    raft_index conf_index;
    GArray *confs; /* struct conf_at: of the log's base, and of its CONF entries */
    unsigned election_ticks, heartbeat_ticks;
    bool beats; /* raft_config */
    uint64_t apply_bytes_max;
    struct rng *rng; /* borrowed */

    enum raft_role role;
    raft_id leader;
    struct raft_hard hard;
    uint64_t now;              /* ticks since the start, those left out not counted */
    unsigned elapsed, timeout; /* ticks since the leader was heard or the election began; limit */

    struct raftlog log;
    raft_index commit, applied, applying;
    raft_index matched; /* follower: the log agrees with this term's leader up to here */

    raft_index handed, persisted;
    raft_index truncate_from; /* of the next ticket */
    bool reset;               /* of the next ticket: the log starts anew after its base */
    uint64_t ticket, done;    /* newest handed out, newest completed */
    struct raft_hard hard_handed, hard_durable;
    GArray *writes; /* struct write, oldest first */
    GArray *held;   /* struct held, tickets rising */

    struct progress members[3 * VOTERS_MAX + 1]; /* incoming, outgoing, learners; always self */
    unsigned n_members;
    unsigned heartbeat_elapsed;
    raft_index term_start; /* leader: index of the own-term no-op */
    uint64_t uncommitted;  /* leader: payload bytes beyond commit */
    struct transfer transfer;

    uint64_t read_round;   /* newest; never goes back, over terms too */
    GArray *reads_waiting; /* struct asking: for the no-op's commit and the next round */
    GArray *reads_asked;   /* struct asked: for a quorum's confirmation */
    GArray *reads_done;    /* struct raft_read: for the next ready */

    GArray *forwards_waiting; /* uint64_t ctx: a follower's reads, for the next READ */
    GArray *forwards_asked;   /* struct asked: for the leader's answer, round = number */
    uint64_t forward_number;  /* newest; 0: none yet */
    uint64_t forward_at;      /* tick of the newest READ */
    bool forwards_lost;       /* since the last ready: they never come back */

    bool lease; /* raft_config */
    unsigned lease_drift;
    uint64_t clock;          /* raft_clock's ticks: what promises and leases go by */
    uint64_t promised_until; /* by it: no vote before */
    GArray *rounds;          /* struct round, not confirmed; one a tick */
    bool lease_known;        /* a round was confirmed in this term and configuration */
    uint64_t lease_start;    /* when it began, by the clock */
    bool transfer_told;      /* TIMEOUT_NOW was sent in this term: no lease any more */

    bool suspect;           /* repair.c: may have forgotten a promise */
    uint64_t repair_number; /* of this life */
    raft_index repair_goal; /* of this term; 0: not told yet */
    uint64_t repair_at;     /* tick of the newest REPAIR */
    bool repaired;          /* of the next ticket */
    uint64_t repaired_in;   /* the ticket that makes it durable; 0: none */

    GArray *out;        /* struct raft_msg: for the next ready */
    GArray *snap_needs; /* raft_id */
    GArray *shown_send, *shown_reads, *shown_snaps;
    enum raft_role shown_role;
    raft_term shown_term;
    raft_id shown_leader;
};

/* core.c */
void raft_become_follower(struct raft *r, raft_term term, raft_id leader);
void raft_become_pre_candidate(struct raft *r);
void raft_become_candidate(struct raft *r);
void raft_become_leader(struct raft *r);
void raft_set_commit(struct raft *r, raft_index index);
/* A quorum may have moved: leader only. */
void raft_advance_commit(struct raft *r);
struct progress *raft_member(const struct raft *r, raft_id id); /* NULL if no member */
void raft_append(struct raft *r, const struct raft_entry *e);   /* to the log; obeys a CONF */
/* Is this node all voters there are? Then there is nobody to hear, or to leave to. */
bool raft_is_alone(const struct raft *r);
static inline bool raft_is_voter(const struct raft *r)
{
    return quorum_is_voter(&r->conf, r->id);
}

/* conf.c */
/* The configuration as of an index (all before it are forgotten, those of later entries stay). */
void raft_conf_start(struct raft *r, const struct raft_conf *conf, raft_index index);
void raft_conf_appended(struct raft *r, const struct raft_entry *e);
void raft_conf_truncated(struct raft *r, raft_index from);
void raft_conf_compacted(struct raft *r, raft_index upto);
bool raft_conf_needs_us(
    const struct raft *r);                   /* voter of what is committed, or of something later */
void raft_conf_leave_joint(struct raft *r);  /* leader: proposes C_new when it is time */
bool raft_conf_is_out(const struct raft *r); /* leader: one without us is committed, and applied */

/* check.c: -ERR_INVALID for what no correct peer could have sent to this node. */
NODISCARD int raft_check_msg(const struct raft *r, const struct raft_msg *m);

/* elect.c */
bool raft_hears_leader(const struct raft *r);
void raft_elect_tick(struct raft *r);
void raft_handle_prevote(struct raft *r, const struct raft_msg *m);
void raft_handle_vote(struct raft *r, const struct raft_msg *m);
void raft_handle_ballot(struct raft *r, const struct raft_msg *m); /* (PRE)VOTE_RESP */
void raft_handle_timeout_now(struct raft *r);
void raft_count_own_vote(struct raft *r); /* once the own vote is durable */

/* append.c */
void raft_lead_tick(struct raft *r);
/* Leader: have the majorities of conf, all of them members now, answered within a time-out? */
bool raft_reaches(const struct raft *r, const struct raft_conf *conf);
void raft_lead_on(struct raft *r); /* after each input: what a leader does by itself */
void raft_handle_append(struct raft *r, const struct raft_msg *m);
void raft_handle_append_resp(struct raft *r, const struct raft_msg *m);
void raft_handle_heartbeat(struct raft *r, const struct raft_msg *m);
void raft_handle_heartbeat_resp(struct raft *r, const struct raft_msg *m);
void raft_send_heartbeat(struct raft *r, raft_id to, bool urgent);
void raft_add_entry(struct raft *r, enum raft_entry_type type, struct buf *data, uint64_t now_ns);
bool raft_may_compose(const struct raft *r);
void raft_compose(struct raft *r); /* everything that may be sent to everybody, now */

/* persist.c */
void raft_send(struct raft *r, struct raft_msg m);       /* at the next ready */
void raft_send_after(struct raft *r, struct raft_msg m); /* once all that is known now is durable */
void raft_drop_held(struct raft *r);
void raft_log_truncated(struct raft *r, raft_index from); /* call before the log forgets */
void raft_log_reset(struct raft *r); /* call after it; nothing of it is durable */
bool raft_disk_overdue(const struct raft *r);
bool raft_must_persist(const struct raft *r);
void raft_hand_out(struct raft *r, struct raft_persist *ret);

/* transfer.c: leader only */
void raft_transfer_go(struct raft *r);      /* tells the target, once it has all */
void raft_transfer_tell(struct raft *r);    /* the same again, in case that was lost */
void raft_transfer_drop(struct raft *r);    /* no longer leader */
bool raft_transfer_expired(struct raft *r); /* per tick: was it given up just now? */
/* This node should not lead any more. Hands over to the best voter; true when all was done that can
 * be: step down. */
bool raft_hand_over(struct raft *r, bool expired);

/* read.c */
void raft_reads_begin(struct raft *r);   /* a new round, if reads wait and the no-op is committed */
void raft_reads_confirm(struct raft *r); /* a quorum may have answered a round */
void raft_reads_drop(struct raft *r);
bool raft_reads_ready(const struct raft *r);
void raft_round_begin(struct raft *r);
/* A confirmed read point; to RAFT_NONE: this host's own. */
void raft_read_answer(struct raft *r, raft_id to, uint64_t ctx, raft_index index);

/* forward.c */
void raft_forwards_begin(struct raft *r); /* asks the leader for all that waits */
void raft_forwards_tick(struct raft *r);  /* again, in case that was lost */
void raft_forwards_drop(struct raft *r);  /* another role, term or leader */
void raft_handle_read(struct raft *r, const struct raft_msg *m);
void raft_handle_read_resp(struct raft *r, const struct raft_msg *m);

/* repair.c */
void raft_suspect(struct raft *r);      /* from now on */
void raft_repair_begin(struct raft *r); /* a leader was heard for the first time */
void raft_repair_tick(struct raft *r);
void raft_repair_check(struct raft *r);   /* commit or the disk may have come to the goal */
void raft_repair_durable(struct raft *r); /* a ticket is done */
void raft_handle_repair(struct raft *r, const struct raft_msg *m);
void raft_handle_repair_resp(struct raft *r, const struct raft_msg *m);

/* lease.c */
void raft_promise(struct raft *r); /* this node heard its leader, or may have before it restarted */
bool raft_promised(const struct raft *r);
void raft_lease_round(struct raft *r);   /* the round read_round begins */
void raft_lease_confirm(struct raft *r); /* a quorum may have answered one */
void raft_lease_void(struct raft *r);    /* what was confirmed counts no more */
