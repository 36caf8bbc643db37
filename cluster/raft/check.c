/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - what a message must look like before the core looks at what it says.
 *
 * A peer is authenticated but may be broken. Every field that a handler uses is bounded here, so
 * handlers compute with trusted numbers, and only contradictions of Raft itself are asserted there.
 */
#include "cluster/raft/core.h"

static bool number_ok(uint64_t n)
{
    return n <= RAFT_NUMBER_MAX;
}

/* An (index, term) pair names an entry, or nothing: index 0 and only index 0 has term 0. */
static bool place_ok(raft_index index, raft_term term)
{
    return (index == 0) == (term == 0);
}

static bool entry_ok(const struct raft_entry *e, const struct raft_msg *m)
{
    struct raft_conf conf;

    if (e->term > m->term || !number_ok(e->time_ns))
        return false;
    switch (e->type) {
    case RAFT_ENTRY_NOOP:
        return buf_bytes(e->data).n == 0;
    case RAFT_ENTRY_DATA:
        return e->data != NULL && e->data->len <= RAFT_ENTRY_BYTES_MAX;
    case RAFT_ENTRY_CONF:
        return raft_conf_decode(buf_bytes(e->data), &conf) == 0;
    }
    return false;
}

static bool append_ok(const struct raft_msg *m)
{
    raft_term term = m->log_term;
    uint64_t time_ns = 0;

    if (m->n_entries > APPEND_ENTRIES_MAX || (m->n_entries > 0 && m->entries == NULL))
        return false;
    if (!place_ok(m->index, m->log_term) || m->log_term > m->term)
        return false;
    for (unsigned i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (!raft_entry_follows(e, m->index + i, term, time_ns) || !entry_ok(e, m))
            return false;
        term = e->term;
        time_ns = e->time_ns;
    }
    return true;
}

/* Where m continues our log, its times must rise there too. (Where it does not agree with our log
 * it will be refused, and where it repeats it, it changes nothing.) */
static bool times_ok(const struct raft *r, const struct raft_msg *m)
{
    const struct raftlog *l = &r->log;

    for (unsigned i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        raft_index prev = e->index - 1;
        if (e->index <= l->base || raftlog_term_at(l, e->index) == e->term)
            continue;
        if (prev > raftlog_last(l) || (i == 0 && raftlog_term_at(l, prev) != m->log_term))
            return true;
        return e->time_ns > (prev == l->base ? l->base_time : raftlog_at(l, prev)->time_ns);
    }
    return true;
}

/* From the leader of its term, of which there is one, and it is not us. */
static bool sender_leads(const struct raft *r, const struct raft_msg *m)
{
    if (m->term != r->hard.term)
        return true;
    return r->role != RAFT_LEADER && (r->leader == RAFT_NONE || r->leader == m->from);
}

/* An answer to what we say as this term's leader cannot know more than we do. */
static bool answer_ok(const struct raft *r, const struct raft_msg *m)
{
    if (r->role != RAFT_LEADER || m->term != r->hard.term)
        return true;
    return m->index <= raftlog_last(&r->log) && m->hint <= raftlog_last(&r->log) &&
           m->read_round <= r->read_round;
}

int raft_check_msg(const struct raft *r, const struct raft_msg *m)
{
    bool ok = m->to == r->id && m->from != r->id && m->from != RAFT_NONE && m->term > 0 &&
              number_ok(m->term) && number_ok(m->index) && number_ok(m->commit) &&
              number_ok(m->hint) && (m->n_entries == 0 || m->type == RAFT_APPEND) &&
              (!m->transfer || m->type == RAFT_VOTE) &&
              (!m->promise || m->type == RAFT_HEARTBEAT_RESP) &&
              (!m->suspect || m->type == RAFT_APPEND_RESP || m->type == RAFT_HEARTBEAT_RESP);
    if (!ok)
        return -ERR_INVALID;

    switch (m->type) {
    case RAFT_PREVOTE:
    case RAFT_VOTE: /* the term asked for is newer than anything the candidate has */
        ok = place_ok(m->index, m->log_term) && m->log_term < m->term;
        break;
    case RAFT_PREVOTE_RESP:
    case RAFT_VOTE_RESP:
        break;
    case RAFT_APPEND:
        ok = sender_leads(r, m) && append_ok(m) && times_ok(r, m);
        break;
    case RAFT_APPEND_RESP:
        ok = answer_ok(r, m) &&
             (!m->reject || (m->hint <= m->index && place_ok(m->hint, m->hint_term)));
        break;
    case RAFT_HEARTBEAT: /* commit never exceeds what we acknowledged, if we remember it */
        ok = sender_leads(r, m) && (r->suspect || m->commit <= raftlog_last(&r->log));
        break;
    case RAFT_READ:
    case RAFT_REPAIR:
        ok = number_ok(m->read_round) && m->read_round > 0;
        break;
    case RAFT_READ_RESP:
    case RAFT_REPAIR_RESP:
        ok = sender_leads(r, m) && number_ok(m->read_round);
        break;
    case RAFT_TIMEOUT_NOW:
        ok = sender_leads(r, m);
        break;
    case RAFT_HEARTBEAT_RESP:
        ok = answer_ok(r, m) && m->hint <= m->index;
        break;
    default:
        ok = false;
    }
    return ok ? 0 : -ERR_INVALID;
}
