/* SPDX-License-Identifier: Apache-2.0 */
/*
 * persist.c - tickets: what was given to the disk, what it has, and what waits for it.
 *
 * The disk completes tickets in order, but the log goes on changing meanwhile. So a completion says
 * "durable" only of what is still in the log: truncation lowers what each outstanding ticket covers
 * (the ABA of reference/raft.md 4.13: index 7 written, truncated and written anew before the first
 * write of 7 completes).
 */
#include "cluster/raft/core.h"

void raft_send(struct raft *r, struct raft_msg m)
{
    m.from = r->id;
    m.suspect = r->suspect && (m.type == RAFT_APPEND_RESP || m.type == RAFT_HEARTBEAT_RESP);
    g_array_append_val(r->out, m);
}

bool raft_must_persist(const struct raft *r)
{
    return r->hard.term != r->hard_handed.term || r->hard.vote != r->hard_handed.vote ||
           r->handed < raftlog_last(&r->log) || r->truncate_from != 0 || r->reset || r->repaired;
}

/* Says the new message all that the waiting one says? Then one answer per write is enough. */
static bool replaces(const struct raft_msg *old, const struct raft_msg *m)
{
    return old->type == m->type && old->to == m->to && old->term == m->term &&
           old->reject == m->reject && old->index <= m->index;
}

void raft_send_after(struct raft *r, struct raft_msg m)
{
    struct held h = {.ticket = r->ticket + raft_must_persist(r), .msg = m};

    h.msg.from = r->id;
    if (h.ticket <= r->done) {
        raft_send(r, m);
        return;
    }
    for (unsigned i = r->held->len; i-- > 0;) {
        struct held *o = &g_array_index(r->held, struct held, i);
        if (o->ticket != h.ticket)
            break;
        if (replaces(&o->msg, &m)) {
            o->msg = h.msg;
            return;
        }
    }
    g_array_append_val(r->held, h);
}

void raft_drop_held(struct raft *r)
{
    g_array_set_size(r->held, 0);
}

static void lower_writes(struct raft *r, raft_index to)
{
    for (unsigned i = 0; i < r->writes->len; i++) {
        struct write *w = &g_array_index(r->writes, struct write, i);
        w->last = MIN(w->last, to);
    }
    r->persisted = MIN(r->persisted, to);
}

void raft_log_truncated(struct raft *r, raft_index from)
{
    lower_writes(r, from - 1);
    if (from > r->handed)
        return; /* the disk never heard of it */
    if (r->truncate_from == 0 || from < r->truncate_from)
        r->truncate_from = from;
    r->handed = from - 1;
}

void raft_log_reset(struct raft *r)
{
    r->reset = true;
    r->truncate_from = 0;
    r->handed = r->log.base;
}

bool raft_disk_overdue(const struct raft *r)
{
    return r->writes->len > 0 &&
           r->now - g_array_index(r->writes, struct write, 0).since >= r->election_ticks;
}

void raft_hand_out(struct raft *r, struct raft_persist *ret)
{
    *ret = (struct raft_persist){.hard = r->hard};
    if (!raft_must_persist(r))
        return;

    raft_index last = raftlog_last(&r->log);
    struct write w = {.ticket = ++r->ticket, .last = last, .hard = r->hard, .since = r->now};
    ret->ticket = w.ticket;
    ret->hard_changed = r->hard.term != r->hard_handed.term || r->hard.vote != r->hard_handed.vote;
    ret->truncate_from = r->truncate_from;
    ret->repaired = r->repaired;
    if (r->handed < last) {
        ret->entries = raftlog_at(&r->log, r->handed + 1);
        ret->n_entries = (unsigned)(last - r->handed);
    }
    if (r->reset) {
        ret->reset = true;
        ret->reset_index = r->log.base;
        ret->reset_term = r->log.base_term;
    }
    g_array_append_val(r->writes, w);
    r->hard_handed = r->hard;
    r->handed = last;
    r->truncate_from = 0;
    r->reset = false;
    if (r->repaired)
        r->repaired_in = r->ticket;
    r->repaired = false;
}

static void release_held(struct raft *r)
{
    unsigned n = 0;

    while (n < r->held->len && g_array_index(r->held, struct held, n).ticket <= r->done)
        raft_send(r, g_array_index(r->held, struct held, n++).msg);
    if (n > 0)
        g_array_remove_range(r->held, 0, n);
}

void raft_persisted(struct raft *r, uint64_t ticket)
{
    unsigned n = 0;

    ASSERT(ticket <= r->ticket);
    while (n < r->writes->len && g_array_index(r->writes, struct write, n).ticket <= ticket) {
        const struct write *w = &g_array_index(r->writes, struct write, n++);
        r->persisted = MAX(r->persisted, w->last);
        r->hard_durable = w->hard;
    }
    if (n == 0)
        return;
    g_array_remove_range(r->writes, 0, n);
    r->done = ticket;
    ASSERT(r->persisted <= raftlog_last(&r->log));
    if (r->role == RAFT_LEADER) {
        progress_acked(raft_member(r, r->id), r->persisted);
        raft_advance_commit(r);
    }
    raft_repair_durable(r);
    release_held(r);
    raft_count_own_vote(r);
    raft_repair_check(r);
    raft_lead_on(r);
}
