/* SPDX-License-Identifier: Apache-2.0 */
/* ready.c - what the host is to do next, and what can be asked at any time. */
#include "cluster/raft/core.h"

/* One batch at a time is with the state machine: the next is handed out when it was applied. */
static bool may_apply(const struct raft *r)
{
    return r->applying == r->applied && r->commit > r->applied;
}

static bool role_changed(const struct raft *r)
{
    return r->shown_role != r->role || r->shown_term != r->hard.term ||
           r->shown_leader != r->leader || r->forwards_lost;
}

bool raft_has_ready(const struct raft *r)
{
    return r->out->len > 0 || r->snap_needs->len > 0 || role_changed(r) || may_apply(r) ||
           raft_must_persist(r) || raft_reads_ready(r) || raft_may_compose(r);
}

static void swap(GArray **filled, GArray **shown)
{
    GArray *a = *shown;
    *shown = *filled;
    *filled = a;
    g_array_set_size(a, 0);
}

static void hand_to_apply(struct raft *r, struct raft_ready *ret)
{
    uint64_t bytes;

    if (!may_apply(r))
        return;
    raft_index from = r->applied + 1;
    size_t n = raftlog_fit(&r->log, from, r->commit, r->apply_bytes_max, UINT32_MAX, &bytes);
    ret->apply = raftlog_at(&r->log, from);
    ret->n_apply = (unsigned)n;
    r->applying = r->applied + n;
}

void raft_ready(struct raft *r, struct raft_ready *ret)
{
    *ret = (struct raft_ready){.role_changed = role_changed(r)};
    r->shown_role = r->role;
    r->shown_term = r->hard.term;
    r->shown_leader = r->leader;
    r->forwards_lost = false;

    raft_reads_begin(r);
    raft_forwards_begin(r);
    raft_compose(r);
    raft_hand_out(r, &ret->persist);
    hand_to_apply(r, ret);

    swap(&r->out, &r->shown_send);
    swap(&r->reads_done, &r->shown_reads);
    swap(&r->snap_needs, &r->shown_snaps);
    ret->send = (const struct raft_msg *)(void *)r->shown_send->data;
    ret->n_send = r->shown_send->len;
    ret->reads = (const struct raft_read *)(void *)r->shown_reads->data;
    ret->n_reads = r->shown_reads->len;
    ret->snapshots = (const raft_id *)(void *)r->shown_snaps->data;
    ret->n_snapshots = r->shown_snaps->len;
}

void raft_applied(struct raft *r, raft_index upto)
{
    ASSERT(upto <= r->applying);
    r->applied = MAX(r->applied, upto);
    raft_lead_on(r);
}

/* --- questions ------------------------------------------------------------------------------ */

void raft_get_status(const struct raft *r, struct raft_status *ret)
{
    *ret = (struct raft_status){
        .id = r->id,
        .leader = r->leader,
        .vote = r->hard.vote,
        .role = r->role,
        .term = r->hard.term,
        .first = raftlog_first(&r->log),
        .last = raftlog_last(&r->log),
        .persisted = r->persisted,
        .commit = r->commit,
        .applied = r->applied,
        .transfer_to = r->transfer.to,
        .suspect = r->suspect,
        .repair_goal = r->repair_goal,
        .leading = r->role == RAFT_LEADER && r->applied >= r->term_start,
    };
}

unsigned raft_get_progress(const struct raft *r, struct raft_progress_view *ret, unsigned max)
{
    unsigned n = 0;

    for (unsigned i = 0; r->role == RAFT_LEADER && i < r->n_members && n < max; i++) {
        const struct progress *p = &r->members[i];
        if (p->id == r->id)
            continue;
        ret[n++] = (struct raft_progress_view){
            .id = p->id,
            .match = p->match,
            .next = p->next,
            .ticks_since_heard = p->since_heard,
            .state = progress_letter(p),
            .voter = quorum_is_voter(&r->conf, p->id),
            .suspect = p->suspect,
            .caught_up = progress_caught_up(p, raftlog_last(&r->log), RAFT_CATCH_UP_ENTRIES,
                                            r->election_ticks)};
    }
    return n;
}

raft_term raft_term_at(const struct raft *r, raft_index index)
{
    return raftlog_term_at(&r->log, index);
}

const struct raft_entry *raft_entries(const struct raft *r, raft_index from, raft_index upto,
                                      uint64_t bytes, unsigned *ret_n)
{
    uint64_t sum;

    if (from < raftlog_first(&r->log) || upto > raftlog_last(&r->log) || from > upto)
        return NULL;
    *ret_n = (unsigned)raftlog_fit(&r->log, from, upto, bytes, UINT32_MAX, &sum);
    return raftlog_at(&r->log, from);
}

uint64_t raft_log_bytes(const struct raft *r)
{
    return r->log.bytes;
}
