/* SPDX-License-Identifier: Apache-2.0 */
/* elect.c - elections: time-outs, pre-vote (dissertation 9.6), votes (paper 5.2, 5.4.1). */
#include "cluster/raft/core.h"

/* A leader counts: check-quorum makes it step down when it no longer reaches a majority. */
bool raft_hears_leader(const struct raft *r)
{
    return r->role == RAFT_LEADER || raft_promised(r) ||
           (r->leader != RAFT_NONE && r->elapsed < r->election_ticks);
}

void raft_elect_tick(struct raft *r)
{
    r->elapsed++;
    raft_forwards_tick(r);
    raft_repair_tick(r);
    if (r->elapsed >= r->timeout)
        raft_campaign(r);
}

static enum ballot ballot_of(const void *ctx, raft_id voter)
{
    return raft_member(ctx, voter)->ballot;
}

static void ask_votes(struct raft *r, enum raft_msg_type type, raft_term term, bool transfer)
{
    for (unsigned i = 0; i < r->n_members; i++) {
        struct raft_msg m = {.type = type,
                             .to = r->members[i].id,
                             .term = term,
                             .transfer = transfer,
                             .index = raftlog_last(&r->log),
                             .log_term = raftlog_last_term(&r->log)};
        if (m.to == r->id || !quorum_is_voter(&r->conf, m.to))
            continue;
        if (type == RAFT_VOTE)
            raft_send_after(r, m); /* a candidate that forgot its term could run in it twice */
        else
            raft_send(r, m);
    }
}

static void count(struct raft *r)
{
    enum quorum_vote v = quorum_count(&r->conf, ballot_of, r);

    if (v == QUORUM_LOST) {
        raft_become_follower(r, r->hard.term, RAFT_NONE);
    } else if (v == QUORUM_WON && r->role == RAFT_CANDIDATE) {
        raft_become_leader(r);
    } else if (v == QUORUM_WON) {
        raft_become_candidate(r);
        ask_votes(r, RAFT_VOTE, r->hard.term, false);
    }
}

/* Who cannot write could not lead (reference/raft.md 4.8). A group of one has nobody better. */
static bool may_lead(const struct raft *r)
{
    return !r->suspect && raft_conf_needs_us(r) && (raft_is_alone(r) || !raft_disk_overdue(r));
}

void raft_campaign(struct raft *r)
{
    if (r->role == RAFT_LEADER || !may_lead(r) || raft_promised(r))
        return;
    raft_become_pre_candidate(r);
    raft_member(r, r->id)->ballot = BALLOT_GRANTED; /* no promise, so nothing to persist */
    ask_votes(r, RAFT_PREVOTE, r->hard.term + 1, false);
    count(r);
}

/* Dissertation 3.10: "as if its election timer had fired"; the leader itself says that it goes, so
 * there is nobody whom a pre-vote would protect. */
void raft_handle_timeout_now(struct raft *r)
{
    if (!may_lead(r))
        return;
    raft_become_candidate(r);
    ask_votes(r, RAFT_VOTE, r->hard.term, true);
    count(r);
}

void raft_count_own_vote(struct raft *r)
{
    if (r->role != RAFT_CANDIDATE || r->hard_durable.term != r->hard.term ||
        r->hard_durable.vote != r->id)
        return;
    raft_member(r, r->id)->ballot = BALLOT_GRANTED;
    count(r);
}

/* Paper 5.4.1: is the candidate's log at least as up to date as ours? */
static bool up_to_date(const struct raft *r, const struct raft_msg *m)
{
    raft_term term = raftlog_last_term(&r->log);

    return m->log_term > term || (m->log_term == term && m->index >= raftlog_last(&r->log));
}

/* Two whose time-outs end together ask each other; if both got what they ask for both would stand,
 * split the votes of the next term and wait for another time-out. So of two with equal logs the one
 * with the lower id waits for the other, while that one may still get its answer. */
static bool goes_first(const struct raft *r, const struct raft_msg *m)
{
    const struct progress *rival = raft_member(r, m->from);

    return r->role == RAFT_PRE_CANDIDATE && r->elapsed < r->heartbeat_ticks && m->from < r->id &&
           m->log_term == raftlog_last_term(&r->log) && m->index == raftlog_last(&r->log) &&
           rival && rival->ballot != BALLOT_REFUSED;
}

/* Would it get our vote? Not while a leader is heard; and nothing is promised by the answer.
 * Whether this node has a vote is the asker's to know: its configuration may be newer
 * (dissertation 4.1). */
void raft_handle_prevote(struct raft *r, const struct raft_msg *m)
{
    bool grant =
        m->term > r->hard.term && !raft_hears_leader(r) && up_to_date(r, m) && !goes_first(r, m);
    struct raft_msg a = {.type = RAFT_PREVOTE_RESP,
                         .to = m->from,
                         .term = grant ? m->term : r->hard.term,
                         .reject = !grant};
    if (a.term > 0) /* in term 0 there is nothing to tell */
        raft_send(r, a);
}

void raft_handle_vote(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg a = {.type = RAFT_VOTE_RESP, .to = m->from, .term = r->hard.term};
    bool may = r->hard.vote == m->from || (r->hard.vote == RAFT_NONE && r->leader == RAFT_NONE);

    if (raft_promised(r) && !m->transfer) /* that outlives the term in which it was given */
        may = false;
    if (!may || !up_to_date(r, m)) {
        a.reject = true;
        raft_send(r, a);
        return;
    }
    r->hard.vote = m->from;
    r->elapsed = 0;
    raft_send_after(r, a); /* figure 2: updated on stable storage before responding */
}

void raft_handle_ballot(struct raft *r, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_PREVOTE_RESP;
    raft_term term = r->hard.term + (pre && !m->reject ? 1 : 0);

    if (r->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE) || m->term != term)
        return;
    struct progress *p = raft_member(r, m->from);
    if (p->ballot == BALLOT_NONE)
        p->ballot = m->reject ? BALLOT_REFUSED : BALLOT_GRANTED;
    count(r);
}
