/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - handing leadership over (dissertation 3.10).
 *
 * The leader stops taking proposals, lets the target catch up, and tells it to campaign at once.
 * The target skips the pre-vote, and its VOTE carries a flag, because the others still hear their
 * leader and would ignore it. Nothing is promised by any of it: a TIMEOUT_NOW that is lost, late or
 * doubled costs at most an election. So a transfer that takes longer than an election time-out is
 * simply forgotten.
 */
#include "cluster/raft/core.h"

static bool has_all(const struct raft *r, const struct progress *p)
{
    return !p->suspect && p->match == raftlog_last(&r->log);
}

void raft_transfer_tell(struct raft *r)
{
    if (r->transfer.to == RAFT_NONE || !has_all(r, raft_member(r, r->transfer.to)))
        return;
    r->transfer.told = r->transfer_told = true;
    raft_send(
        r, (struct raft_msg){.type = RAFT_TIMEOUT_NOW, .to = r->transfer.to, .term = r->hard.term});
}

void raft_transfer_go(struct raft *r)
{
    if (!r->transfer.told)
        raft_transfer_tell(r);
}

void raft_transfer_drop(struct raft *r)
{
    r->transfer = (struct transfer){0};
}

bool raft_transfer_expired(struct raft *r)
{
    if (r->transfer.to == RAFT_NONE || ++r->transfer.elapsed < r->election_ticks)
        return false;
    raft_transfer_drop(r);
    return true;
}

raft_id raft_transfer_choice(const struct raft *r)
{
    const struct progress *best = NULL;

    for (unsigned i = 0; r->role == RAFT_LEADER && i < r->n_members; i++) {
        const struct progress *p = &r->members[i];
        if (p->id == r->id || !quorum_is_incoming(&r->conf, p->id) || p->suspect ||
            p->since_heard >= r->election_ticks)
            continue;
        if (best == NULL || p->match > best->match)
            best = p;
    }
    return best ? best->id : RAFT_NONE;
}

static void begin(struct raft *r, raft_id to)
{
    r->transfer.to = to;
    raft_transfer_go(r);
}

int raft_transfer(struct raft *r, raft_id to)
{
    if (r->role != RAFT_LEADER)
        return -ERR_NOT_LEADER;
    if (!quorum_is_member(&r->conf, to))
        return -ERR_NOT_FOUND;
    if (!quorum_is_incoming(&r->conf, to))
        return -ERR_INVALID;
    if (to == r->id || to == r->transfer.to)
        return 0;
    if (r->transfer.to != RAFT_NONE)
        return -ERR_BUSY;
    if (raft_member(r, to)->suspect)
        return -ERR_UNREACHABLE;
    begin(r, to);
    return 0;
}

bool raft_hand_over(struct raft *r, bool expired)
{
    if (!expired && r->transfer.to == RAFT_NONE) {
        raft_id to = raft_transfer_choice(r);
        if (to != RAFT_NONE)
            begin(r, to);
    }
    return r->transfer.to == RAFT_NONE || r->transfer.told;
}
