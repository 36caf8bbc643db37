/* SPDX-License-Identifier: Apache-2.0 */
/* append.c - replication: appends, heartbeats and their answers; the leader's timer. */
#include "cluster/raft/core.h"

/* --- leader --------------------------------------------------------------------------------- */

void raft_send_heartbeat(struct raft *r, raft_id to, bool urgent)
{
    struct raft_msg m = {.type = RAFT_HEARTBEAT,
                         .to = to,
                         .term = r->hard.term,
                         .commit = MIN(raft_member(r, to)->match, r->commit),
                         .read_round = r->read_round,
                         .urgent = urgent};

    for (unsigned i = 0; i < r->out->len; i++) { /* one that has not left yet says it as well */
        struct raft_msg *o = &g_array_index(r->out, struct raft_msg, i);
        if (o->type == m.type && o->to == to && o->term == m.term) {
            o->commit = m.commit;
            o->read_round = m.read_round;
            o->urgent |= urgent;
            return;
        }
    }
    raft_send(r, m);
}

static uint64_t heard_lately(const void *ctx, raft_id voter)
{
    const struct raft *r = ctx;
    const struct progress *p = raft_member(r, voter);
    return voter == r->id || (!p->suspect && p->since_heard < r->election_ticks);
}

bool raft_reaches(const struct raft *r, const struct raft_conf *conf)
{
    return quorum_reached(conf, heard_lately, r) > 0;
}

/* Dissertation 6.2: a leader that does not reach a majority steps down. One whose disk hangs hands
 * over, then steps down: its heartbeats would keep a better one from being elected
 * (reference/raft.md 4.8). */
static bool must_step_down(struct raft *r)
{
    bool expired = raft_transfer_expired(r);

    if (!raft_reaches(r, &r->conf))
        return true;
    return ((!raft_is_alone(r) && raft_disk_overdue(r)) || raft_conf_is_out(r)) &&
           raft_hand_over(r, expired);
}

static void send_heartbeats(struct raft *r)
{
    if (r->lease)
        raft_round_begin(r);
    for (unsigned i = 0; i < r->n_members; i++)
        if (r->members[i].id != r->id)
            raft_send_heartbeat(r, r->members[i].id, false);
    raft_transfer_tell(r);
}

void raft_lead_tick(struct raft *r)
{
    for (unsigned i = 0; i < r->n_members; i++)
        progress_tick(&r->members[i], raftlog_last(&r->log), r->election_ticks);
    if (must_step_down(r)) {
        raft_become_follower(r, r->hard.term, RAFT_NONE);
        return;
    }
    if (r->beats || ++r->heartbeat_elapsed < r->heartbeat_ticks)
        return;
    r->heartbeat_elapsed = 0;
    send_heartbeats(r);
}

void raft_beat(struct raft *r)
{
    if (r->beats && r->role == RAFT_LEADER)
        send_heartbeats(r);
}

void raft_lead_on(struct raft *r)
{
    if (r->role != RAFT_LEADER)
        return;
    raft_conf_leave_joint(r);
    raft_transfer_go(r);
    if (raft_conf_is_out(r) && raft_hand_over(r, false))
        raft_become_follower(r, r->hard.term, RAFT_NONE);
}

void raft_add_entry(struct raft *r, enum raft_entry_type type, struct buf *data, uint64_t now_ns)
{
    struct raft_entry e = {.term = r->hard.term,
                           .index = raftlog_last(&r->log) + 1,
                           .time_ns = MAX(now_ns, raftlog_last_time(&r->log) + 1),
                           .type = type,
                           .data = data};
    raft_append(r, &e);
    r->uncommitted += buf_bytes(data).n;
}

int raft_propose(struct raft *r, struct buf *data, uint64_t now_ns, raft_index *ret_index,
                 raft_term *ret_term)
{
    if (data == NULL || now_ns > RAFT_NUMBER_MAX)
        return -ERR_INVALID;
    if (r->role != RAFT_LEADER)
        return -ERR_NOT_LEADER;
    if (data->len > RAFT_ENTRY_BYTES_MAX)
        return -ERR_TOO_BIG;
    if (r->transfer.to != RAFT_NONE || r->uncommitted + data->len > UNCOMMITTED_BYTES_MAX)
        return -ERR_BUSY;
    raft_add_entry(r, RAFT_ENTRY_DATA, data, now_ns);
    *ret_index = raftlog_last(&r->log);
    *ret_term = r->hard.term;
    return 0;
}

static bool log_serves(const struct raft *r, const struct progress *p)
{
    return p->next > r->log.base;
}

/* A snapshot is only begun for somebody who is there to take it. */
static bool has_work(const struct raft *r, const struct progress *p)
{
    return p->id != r->id && p->next <= raftlog_last(&r->log) && progress_may_send(p) &&
           (log_serves(r, p) || p->since_heard < r->election_ticks);
}

static void send_append(struct raft *r, struct progress *p)
{
    uint64_t bytes;
    size_t n = raftlog_fit(&r->log, p->next, raftlog_last(&r->log), APPEND_BYTES_MAX,
                           APPEND_ENTRIES_MAX, &bytes);
    struct raft_msg m = {.type = RAFT_APPEND,
                         .to = p->id,
                         .term = r->hard.term,
                         .index = p->next - 1,
                         .log_term = raftlog_term_at(&r->log, p->next - 1),
                         .commit = r->commit,
                         .entries = raftlog_at(&r->log, p->next),
                         .n_entries = (unsigned)n};
    progress_sent(p, m.index + n, bytes);
    raft_send(r, m);
}

bool raft_may_compose(const struct raft *r)
{
    for (unsigned i = 0; r->role == RAFT_LEADER && i < r->n_members; i++)
        if (has_work(r, &r->members[i]))
            return true;
    return false;
}

/* Called at raft_ready, not at each proposal: what came in since the last one shares a message. */
void raft_compose(struct raft *r)
{
    for (unsigned i = 0; r->role == RAFT_LEADER && i < r->n_members; i++) {
        struct progress *p = &r->members[i];
        while (has_work(r, p) && log_serves(r, p))
            send_append(r, p);
        if (has_work(r, p)) {
            progress_need_snapshot(p);
            g_array_append_val(r->snap_needs, p->id);
        }
    }
}

/* The member that answered our message of this very term; NULL if that is over. */
static struct progress *answering(struct raft *r, const struct raft_msg *m)
{
    if (r->role != RAFT_LEADER)
        return NULL;
    struct progress *p = raft_member(r, m->from);
    if (p->suspect != m->suspect) /* what was known of it is of another life, or did not count */
        progress_doubt(p, (m->reject ? m->hint : m->index) + 1, m->suspect);
    if (p->suspect && r->transfer.to == p->id)
        raft_transfer_drop(r);
    p->since_heard = 0;
    return p;
}

static void acked(struct raft *r, struct progress *p, raft_index index)
{
    if (!progress_acked(p, index))
        return;
    if (p->state == PROGRESS_SNAPSHOT && p->match >= r->log.base)
        progress_resume(p);
    raft_advance_commit(r);
}

void raft_handle_append_resp(struct raft *r, const struct raft_msg *m)
{
    struct progress *p = answering(r, m);

    if (p == NULL)
        return;
    if (!m->reject) {
        acked(r, p, m->index);
        return;
    }
    /* Paper 5.3, end: skip all entries of ours that are newer than the newest the follower may
     * share. Below our log's base we cannot compare; what the follower says is as good as it gets.
     */
    raft_index hint = m->hint;
    if (p->suspect && hint < p->match) /* damaged once more, before it was repaired */
        progress_doubt(p, hint + 1, true);
    if (hint > r->log.base)
        hint = raftlog_floor(&r->log, hint, m->hint_term);
    progress_rejected(p, m->index, hint);
}

void raft_handle_heartbeat_resp(struct raft *r, const struct raft_msg *m)
{
    struct progress *p = answering(r, m);

    if (p == NULL)
        return;
    if (m->hint > p->match) /* the acknowledgement was lost, or overtaken */
        acked(r, p, m->hint);
    /* What it says may be one heartbeat old if it was kept back. */
    progress_heard(p, m->index, r->heartbeat_ticks * (r->beats ? 2 : 1), r->election_ticks);
    if (m->read_round > p->read_acked) {
        p->read_acked = m->read_round;
        if (m->promise >= r->election_ticks)
            p->lease_acked = m->read_round;
        raft_reads_confirm(r);
    }
}

/* --- follower ------------------------------------------------------------------------------- */

static void acknowledge(struct raft *r, raft_id leader, raft_index index)
{
    raft_send_after(
        r, (struct raft_msg){
               .type = RAFT_APPEND_RESP, .to = leader, .term = r->hard.term, .index = index});
}

/* Paper 5.3: the entry before is not ours. The newest entry that may still agree is the newest one
 * at or before it whose term is not greater; committed entries agree for certain. */
static void refuse(struct raft *r, const struct raft_msg *m)
{
    raft_index hint = raftlog_floor(&r->log, m->index, m->log_term);

    hint = MAX(hint, r->commit);
    raft_send(r, (struct raft_msg){.type = RAFT_APPEND_RESP,
                                   .to = m->from,
                                   .term = r->hard.term,
                                   .reject = true,
                                   .index = m->index,
                                   .hint = hint,
                                   .hint_term = raftlog_term_at(&r->log, hint)});
}

/* Entries that are here already are kept, also those after them: m may be old (paper 5.3, figure 2,
 * AppendEntries 3 and 4: delete only on conflict). */
static void take_entries(struct raft *r, const struct raft_entry *e, unsigned n)
{
    unsigned i = 0;

    while (i < n && e[i].index <= raftlog_last(&r->log) &&
           raftlog_term_at(&r->log, e[i].index) == e[i].term)
        i++;
    if (i < n && e[i].index <= raftlog_last(&r->log)) {
        ASSERT(e[i].index >
               r->commit); /* leader completeness: nobody takes back what is committed */
        raft_log_truncated(r, e[i].index);
        raftlog_truncate(&r->log, e[i].index);
        raft_conf_truncated(r, e[i].index);
    }
    for (; i < n; i++) {
        struct raft_entry copy = e[i];
        if (copy.type == RAFT_ENTRY_NOOP)
            copy.data = NULL;
        raft_append(r, &copy);
    }
}

void raft_handle_append(struct raft *r, const struct raft_msg *m)
{
    const struct raft_entry *e = m->entries;
    raft_index prev = m->index, end = m->index + m->n_entries;
    unsigned n = m->n_entries;

    if (prev < r->log.base) { /* what lies before the base is committed, hence the same */
        unsigned skip = (unsigned)MIN((raft_index)n, r->log.base - prev);
        if (prev + skip == r->log.base)
            ASSERT(e[skip - 1].term == r->log.base_term);
        e += skip;
        n -= skip;
    } else if (prev > raftlog_last(&r->log) || raftlog_term_at(&r->log, prev) != m->log_term) {
        ASSERT(prev > r->commit);
        refuse(r, m);
        return;
    }
    take_entries(r, e, n);
    r->matched = MAX(r->matched, MAX(end, r->commit));
    raft_set_commit(r, MIN(m->commit, end));
    acknowledge(r, m->from, MAX(end, r->commit));
}

/* Answered at once: a slow disk is no reason to elect another leader. What is durable rides along,
 * so that a lost acknowledgement is made good, but only once the term is durable too: before that
 * we could forget that we follow this leader, and undo for an older one what we acknowledged here.
 */
void raft_handle_heartbeat(struct raft *r, const struct raft_msg *m)
{
    bool promised = r->hard_durable.term == r->hard.term;

    /* A leader that has not heard yet that we are suspect goes by what we had. */
    raft_set_commit(r, r->suspect ? MIN(m->commit, r->matched) : m->commit);
    r->matched = MAX(r->matched, r->commit);
    raft_send(r, (struct raft_msg){.type = RAFT_HEARTBEAT_RESP,
                                   .to = m->from,
                                   .term = r->hard.term,
                                   .promise = r->lease ? r->election_ticks : 0,
                                   .index = r->matched,
                                   .hint = promised ? MIN(r->matched, r->persisted) : 0,
                                   .read_round = m->read_round,
                                   .urgent = m->urgent});
}
