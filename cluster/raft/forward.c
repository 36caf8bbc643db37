/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward.c - reads at a follower (dissertation 6.4): the leader is asked for the read point.
 *
 * As at the leader, what waits at one ready shares one number, and no number is used twice: an
 * answer to n is good for all that was asked with a number up to n, because it was confirmed after
 * all of that was asked. So a READ that may be lost is repeated under a new number and serves the
 * older ones too. The numbers begin at a random place, so that an answer from before a restart
 * fits nothing (reference/raft.md 4.9).
 */
#include "cluster/raft/core.h"

int raft_read_any(struct raft *r, uint64_t ctx)
{
    if (r->role == RAFT_LEADER)
        return raft_read(r, ctx);
    if (r->leader == RAFT_NONE)
        return -ERR_NOT_LEADER;
    g_array_append_val(r->forwards_waiting, ctx);
    return 0;
}

static void ask(struct raft *r)
{
    if (r->forward_number == 0)
        r->forward_number = rng_next(r->rng) / 8; /* far below RAFT_NUMBER_MAX */
    r->forward_number++;
    r->forward_at = r->now;
    raft_send(r, (struct raft_msg){.type = RAFT_READ,
                                   .to = r->leader,
                                   .term = r->hard.term,
                                   .read_round = r->forward_number});
}

void raft_forwards_begin(struct raft *r)
{
    if (r->forwards_waiting->len == 0)
        return;
    ask(r);
    for (unsigned i = 0; i < r->forwards_waiting->len; i++) {
        struct asked a = {.ctx = g_array_index(r->forwards_waiting, uint64_t, i),
                          .round = r->forward_number};
        g_array_append_val(r->forwards_asked, a);
    }
    g_array_set_size(r->forwards_waiting, 0);
}

void raft_forwards_tick(struct raft *r)
{
    if (r->forwards_asked->len > 0 && r->now - r->forward_at >= r->heartbeat_ticks)
        ask(r);
}

void raft_forwards_drop(struct raft *r)
{
    r->forwards_lost |= r->forwards_waiting->len + r->forwards_asked->len > 0;
    g_array_set_size(r->forwards_waiting, 0);
    g_array_set_size(r->forwards_asked, 0);
}

/* --- the leader's side, and its answer ------------------------------------------------------ */

void raft_handle_read(struct raft *r, const struct raft_msg *m)
{
    struct asking a = {.ctx = m->read_round, .from = m->from};

    if (r->role != RAFT_LEADER || !quorum_is_member(&r->conf, m->from))
        return;
    /* The clock was read after the question came, so nobody else had committed anything by then. */
    if (raft_lease_holds(r))
        raft_read_answer(r, a.from, a.ctx, r->commit);
    else
        g_array_append_val(r->reads_waiting, a);
}

void raft_handle_read_resp(struct raft *r, const struct raft_msg *m)
{
    unsigned n = 0;

    if (r->leader != m->from || m->read_round > r->forward_number)
        return;
    while (n < r->forwards_asked->len) {
        const struct asked *a = &g_array_index(r->forwards_asked, struct asked, n);
        if (a->round > m->read_round)
            break;
        struct raft_read done = {.ctx = a->ctx, .index = m->index, .term = r->hard.term};
        g_array_append_val(r->reads_done, done);
        n++;
    }
    if (n > 0)
        g_array_remove_range(r->forwards_asked, 0, n);
}
