/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair.c - a replica that may have forgotten what it promised (raft.md 4.15; protocol-aware
 * recovery, FAST '18; Michael et al., "Recovering Shared Objects Without Stable Storage", 2017).
 *
 * A *suspect* replica found its log damaged, or gone, when it started. Votes, a term and
 * acknowledged entries may be lost; what it still has is a prefix of what was committed. It gives
 * no vote and no pre-vote, does not campaign, and its answers carry a flag: the leader sends to it
 * as to anybody, but counts it for no quorum. What it acknowledged before may have been counted,
 * and rightly so: see below.
 *
 * It is repaired when it durably holds the log of a leader L, of term T, up to an entry G of term T
 * that was made after the replica asked for it (REPAIR, under a number drawn at this start) and
 * that was committed without it. Let Q be the majority, nobody of it suspect, that acknowledged G
 * in term T.
 *
 *   A vote it forgot, for C in a term T' > T: C stood before the damage, so its log, which does not
 *   change while it stands, lacks G. Who of Q is asked by C after it acknowledged G refuses, for
 * its log is newer; who voted for C before it would not have acknowledged anything in T < T'. Every
 *   majority but for one vote meets Q: C is never elected, and voting again in T' harms nobody.
 *   A vote it forgot in a term before T counts no more. In T itself it gives none: its log holds
 *   an entry of T, and no candidate's of T does.
 *
 *   Entries it forgot, acknowledged to L' of term T': T' > T is impossible, as L' would have been
 *   elected without G. If T' < T and they are ever committed, then L has them (next paragraph) and
 *   they lie before G; if T' = T, L sent them before it made G. So it holds them again.
 *
 *   Leader completeness while some are suspect: an entry that k of them helped to commit is on a
 *   majority less k of the others, and a candidate needs a full majority of those that are not
 *   suspect: the two meet. So any number may be damaged without loss as long as the group still
 *   elects, that is, a majority of all voters is not suspect; when it is not, it stops.
 *
 * All this needs the mark to outlive crashes: it is durable before the replica acts, and the
 * replica acts as any other only once a record behind all that ended it has cleared it. A leader
 * that is told by an answer without the flag, which may also be one from before the damage that was
 * late, begins anew with that member: an honest acknowledgement of then counts as it would have
 * then, and one that was given under suspicion never counts.
 */
#include "cluster/raft/core.h"

/* --- the suspect ------------------------------------------------------------------------------ */

void raft_suspect(struct raft *r)
{
    r->suspect = true;
    r->repair_number = 1 + rng_next(r->rng) / 8; /* below RAFT_NUMBER_MAX */
}

static void ask(struct raft *r)
{
    r->repair_at = r->now;
    raft_send(r, (struct raft_msg){.type = RAFT_REPAIR,
                                   .to = r->leader,
                                   .term = r->hard.term,
                                   .read_round = r->repair_number});
}

void raft_repair_begin(struct raft *r)
{
    if (r->suspect && r->repair_goal == 0)
        ask(r);
}

void raft_repair_tick(struct raft *r)
{
    if (!r->suspect || r->leader == RAFT_NONE)
        return;
    if (r->elapsed >= r->timeout)
        raft_become_follower(r, r->hard.term, RAFT_NONE);
    else if (r->repair_goal == 0 && r->now - r->repair_at >= r->heartbeat_ticks)
        ask(r);
}

void raft_handle_repair_resp(struct raft *r, const struct raft_msg *m)
{
    if (r->suspect && m->read_round == r->repair_number)
        r->repair_goal = m->index;
}

void raft_repair_check(struct raft *r)
{
    raft_index goal = r->repair_goal;

    if (!r->suspect || r->repaired || r->repaired_in != 0)
        return;
    if (goal == 0 || r->commit < goal || r->persisted < goal ||
        r->hard_durable.term != r->hard.term)
        return;
    r->repaired = true;
}

void raft_repair_durable(struct raft *r)
{
    if (r->repaired_in == 0 || r->repaired_in > r->done)
        return;
    r->suspect = false;
    r->repaired_in = r->repair_goal = 0;
}

/* --- its leader ------------------------------------------------------------------------------- */

void raft_handle_repair(struct raft *r, const struct raft_msg *m)
{
    struct progress *p = raft_member(r, m->from);

    if (r->role != RAFT_LEADER || p == NULL || r->transfer.to != RAFT_NONE)
        return; /* it asks again */
    if (p->repair_number != m->read_round) {
        raft_add_entry(r, RAFT_ENTRY_NOOP, NULL, 0);
        p->repair_number = m->read_round;
        p->repair_goal = raftlog_last(&r->log);
    }
    raft_send(r, (struct raft_msg){.type = RAFT_REPAIR_RESP,
                                   .to = m->from,
                                   .term = r->hard.term,
                                   .index = p->repair_goal,
                                   .read_round = m->read_round});
}
