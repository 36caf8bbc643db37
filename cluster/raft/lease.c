/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.c - leader leases (dissertation 6.4.1), an option.
 *
 * A follower that answers a heartbeat promises not to vote, but for whom the leader sent, for an
 * election time-out from then on, and says how long that is for it. So a majority that answered a
 * round gives its leader a lease, which runs from the tick in which the round began, not from the
 * answers, and is shorter than the promise by the drift bound and by one tick (both sides count
 * whole ticks). Within it no other leader can be, and reads need no round.
 *
 * All of it goes by `clock`, never by `now`: a process that was stopped may be spared the ticks
 * that it missed, but its lease has ended, and so have promises. A clock that was not read for a
 * while is behind. For the start of a round that is safe, the lease ends the earlier; a promise
 * must not end early, and a lease not late, so it is read before a message and after a read.
 *
 * What ends a promise too early would break it: so it outlives a change of term, and a restarted
 * server, which may have promised, keeps silent for as long, also one that thinks it is the whole
 * group: its log may lack what says otherwise. What goes around it ends the lease:
 * once TIMEOUT_NOW was sent the term has none any more, for that message may arrive at any time. A
 * new configuration starts anew, because other voters count in it.
 */
#include "cluster/raft/core.h"

void raft_clock(struct raft *r, uint64_t ticks)
{
    r->clock = MAX(r->clock, ticks);
}

void raft_promise(struct raft *r)
{
    if (r->lease)
        r->promised_until = MAX(r->promised_until, r->clock + r->election_ticks);
}

bool raft_promised(const struct raft *r)
{
    return r->clock < r->promised_until;
}

void raft_lease_void(struct raft *r)
{
    r->lease_known = false;
    g_array_set_size(r->rounds, 0);
}

void raft_lease_round(struct raft *r)
{
    struct round n = {.number = r->read_round, .tick = r->clock};

    if (!r->lease)
        return;
    while (r->rounds->len > 0 && /* too old for any lease */
           g_array_index(r->rounds, struct round, 0).tick + r->election_ticks <= r->clock)
        g_array_remove_index(r->rounds, 0);
    if (r->rounds->len == 0 ||
        g_array_index(r->rounds, struct round, r->rounds->len - 1).tick < r->clock)
        g_array_append_val(r->rounds, n); /* who answers a later one of this tick answers it too */
}

static uint64_t promised_round(const void *ctx, raft_id voter)
{
    const struct raft *r = ctx;
    const struct progress *p = raft_member(r, voter);
    if (voter == r->id)
        return r->read_round;
    return p->suspect ? 0 : p->lease_acked;
}

void raft_lease_confirm(struct raft *r)
{
    if (!r->lease)
        return;
    uint64_t number = quorum_reached(&r->conf, promised_round, r);
    unsigned n = 0;
    while (n < r->rounds->len && g_array_index(r->rounds, struct round, n).number <= number)
        n++;
    if (n == 0)
        return;
    r->lease_known = true;
    r->lease_start = g_array_index(r->rounds, struct round, n - 1).tick;
    g_array_remove_range(r->rounds, 0, n);
}

bool raft_lease_holds(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->lease && r->lease_known && !r->transfer_told &&
           r->commit >= r->term_start &&
           r->clock + 1 + r->lease_drift < r->lease_start + r->election_ticks;
}

bool raft_read_valid(const struct raft *r, const struct raft_read *read)
{
    return !read->lease || (read->term == r->hard.term && raft_lease_holds(r));
}
