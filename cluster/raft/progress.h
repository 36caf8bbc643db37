/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - what a leader knows of one member, as a state machine. ALL its transitions are here.
 *
 *   PROBE      where the member's log agrees is being looked for: one append at a time, `next` does
 *              not move until it is answered
 *   REPLICATE  it agrees up to next - 1 if nothing was lost: appends are pipelined, `next` runs
 * ahead, the inflight ring bounds messages and bytes SNAPSHOT   it needs entries that are gone
 * here: no appends until the snapshot has been sent or the member turns out to have got far enough
 *
 *     any --progress_reset--> PROBE
 *     PROBE --acked--> REPLICATE --rejected, or an append was lost--> PROBE
 *     PROBE, REPLICATE --log is compacted--> SNAPSHOT --sent, failed, or resumed--> PROBE
 *
 * Invariants: match < next; in REPLICATE the inflight ring covers (match, next); match only grows
 * within a term. A leader keeps one progress for itself too: its match is what its own disk has.
 * Pure: ticks come from outside, nothing is allocated.
 */
#pragma once

#include "cluster/raft/quorum.h"

enum progress_state { PROGRESS_PROBE, PROGRESS_REPLICATE, PROGRESS_SNAPSHOT };

struct inflight {
    raft_index last; /* the last index of an append that was sent */
    uint64_t bytes;
};

struct progress {
    raft_id id;
    enum progress_state state;
    raft_index match, next;
    enum ballot ballot;   /* of a candidate's election */
    uint64_t read_acked;  /* newest read round it confirmed */
    uint64_t lease_acked; /* newest one with a promise (lease.c) */
    unsigned since_heard; /* ticks since an answer of this term */
    unsigned quiet;       /* ticks since the last append, or change of state */
    bool wait_heard;      /* after a snapshot: what came of it? */
    /* Catching up in rounds (dissertation 4.2.1): this one is for all up to round_goal. */
    raft_index round_goal;
    unsigned round_ticks; /* since it began */
    bool round_fast;      /* the last one took less than an election time-out */
    struct inflight ring[INFLIGHT_MSGS_MAX];
    unsigned ring_head, ring_n;
    uint64_t ring_bytes;
    bool suspect;           /* says so of itself: match and rounds steer, but do not count */
    uint64_t repair_number; /* of its newest REPAIR; 0: none in this term */
    raft_index repair_goal; /* the entry that was made for it */
};

/* A new leader knows nothing of anybody: PROBE at next, match 0. */
void progress_reset(struct progress *p, raft_index next);

/* It turned out to be suspect, or not to be so any more: as a new leader knows it. */
void progress_doubt(struct progress *p, raft_index next, bool suspect);

/* May one more append be sent now? (Whether there is anything to send is the caller's question.) */
bool progress_may_send(const struct progress *p);
/* An append up to `last` (>= next) was sent. */
void progress_sent(struct progress *p, raft_index last, uint64_t bytes);

/* The member has everything up to `index` durably. True if match grew. */
bool progress_acked(struct progress *p, raft_index index);
/* It refused an append after `rejected`; it may agree at `hint`. False: the answer is out of date.
 */
bool progress_rejected(struct progress *p, raft_index rejected, raft_index hint);
/* It answered a heartbeat, and has received everything up to `received` (durably or not). If what
 * was sent beyond that was sent more than `patience` ticks ago it was lost: probe again. Without an
 * append under way (a snapshot was sent, and nothing came of it yet) `patience_idle` is granted. */
void progress_heard(struct progress *p, raft_index received, unsigned patience,
                    unsigned patience_idle);

void progress_need_snapshot(struct progress *p);
/* In SNAPSHOT, and the log can serve the member from match + 1 after all. */
void progress_resume(struct progress *p);
void progress_snapshot_sent(struct progress *p, raft_index index, bool ok);
/* last: of the leader's log. */
void progress_tick(struct progress *p, raft_index last, unsigned election_ticks);

/* May a learner be promoted? Its last round was fast, this one is not slow, it lacks no more than
 * `lag` entries, was heard within an election time-out, and is not suspect. */
bool progress_caught_up(const struct progress *p, raft_index last, raft_index lag,
                        unsigned election_ticks);

char progress_letter(const struct progress *p); /* p r s */
