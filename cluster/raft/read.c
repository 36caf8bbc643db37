/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read.c - ReadIndex (dissertation 6.4), in rounds.
 *
 * A read waits until the leader has committed an entry of its own term (before that it may not know
 * the newest commit), then takes the commit index and a round number. All reads that wait at one
 * ready share the round. Heartbeats carry the newest round, followers echo it, and a majority of
 * echoes proves that no later leader existed when the round began. A round number is used once: an
 * echo of an earlier round says nothing of a later read (reference/raft.md 4.9). A repeated
 * heartbeat may carry the same number, because it is sent after the round began all the same.
 */
#include "cluster/raft/core.h"

int raft_read(struct raft *r, uint64_t ctx)
{
    if (r->role != RAFT_LEADER)
        return -ERR_NOT_LEADER;
    if (raft_lease_holds(r)) {
        struct raft_read done = {
            .ctx = ctx, .index = r->commit, .lease = true, .term = r->hard.term};
        g_array_append_val(r->reads_done, done);
        return 0;
    }
    struct asking a = {.ctx = ctx};
    g_array_append_val(r->reads_waiting, a);
    return 0;
}

bool raft_reads_ready(const struct raft *r)
{
    return r->reads_done->len > 0 || r->forwards_waiting->len > 0 ||
           (r->role == RAFT_LEADER && r->reads_waiting->len > 0 && r->commit >= r->term_start);
}

void raft_round_begin(struct raft *r)
{
    r->read_round++;
    raft_lease_round(r);
}

void raft_reads_begin(struct raft *r)
{
    if (r->role != RAFT_LEADER || r->reads_waiting->len == 0 || r->commit < r->term_start)
        return;
    raft_round_begin(r);
    for (unsigned i = 0; i < r->reads_waiting->len; i++) {
        const struct asking *w = &g_array_index(r->reads_waiting, struct asking, i);
        struct asked a = {
            .ctx = w->ctx, .from = w->from, .round = r->read_round, .index = r->commit};
        g_array_append_val(r->reads_asked, a);
    }
    g_array_set_size(r->reads_waiting, 0);
    for (unsigned i = 0; i < r->n_members; i++)
        if (r->members[i].id != r->id && quorum_is_voter(&r->conf, r->members[i].id))
            raft_send_heartbeat(r, r->members[i].id, true);
    raft_reads_confirm(r); /* a group of one has confirmed it already */
}

static uint64_t read_acked(const void *ctx, raft_id voter)
{
    const struct raft *r = ctx;
    const struct progress *p = raft_member(r, voter);
    if (voter == r->id)
        return r->read_round;
    return p->suspect ? 0 : p->read_acked;
}

void raft_read_answer(struct raft *r, raft_id to, uint64_t ctx, raft_index index)
{
    struct raft_read done = {.ctx = ctx, .index = index, .term = r->hard.term};

    if (to == RAFT_NONE)
        g_array_append_val(r->reads_done, done);
    else
        raft_send(r, (struct raft_msg){.type = RAFT_READ_RESP,
                                       .to = to,
                                       .term = r->hard.term,
                                       .index = index,
                                       .read_round = ctx});
}

void raft_reads_confirm(struct raft *r)
{
    uint64_t round = quorum_reached(&r->conf, read_acked, r);
    unsigned n = 0;

    while (n < r->reads_asked->len) {
        const struct asked *a = &g_array_index(r->reads_asked, struct asked, n);
        if (a->round > round)
            break;
        raft_read_answer(r, a->from, a->ctx, a->index);
        n++;
    }
    if (n > 0)
        g_array_remove_range(r->reads_asked, 0, n);
    raft_lease_confirm(r);
}

/* No longer leader: what is confirmed stays confirmed, the rest is never answered. */
void raft_reads_drop(struct raft *r)
{
    g_array_set_size(r->reads_waiting, 0);
    g_array_set_size(r->reads_asked, 0);
}
