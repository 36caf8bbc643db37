/* SPDX-License-Identifier: Apache-2.0 */
/* core.c - life cycle, roles and terms, commit index, dispatch of messages and ticks. */
#include "cluster/raft/core.h"

struct progress *raft_member(const struct raft *r, raft_id id)
{
    for (unsigned i = 0; i < r->n_members; i++)
        if (r->members[i].id == id)
            return (struct progress *)&r->members[i];
    return NULL;
}

void raft_append(struct raft *r, const struct raft_entry *e)
{
    raftlog_append(&r->log, e);
    if (e->type == RAFT_ENTRY_CONF)
        raft_conf_appended(r, e);
}

bool raft_is_alone(const struct raft *r)
{
    const struct raft_conf *c = &r->conf;

    return c->n_voters == 1 && c->voters[0] == r->id &&
           (c->n_outgoing == 0 || (c->n_outgoing == 1 && c->outgoing[0] == r->id));
}

static int check_restore(const struct raft_restore *s)
{
    raft_index last = s->snap_index + s->n_entries;
    raft_term term = s->snap_term;
    uint64_t time_ns = s->snap_time_ns;

    if ((s->snap_index == 0) != (s->snap_term == 0) || s->snap_index > RAFT_NUMBER_MAX)
        return -ERR_INVALID;
    for (size_t i = 0; i < s->n_entries; i++) {
        const struct raft_entry *e = &s->entries[i];
        struct raft_conf conf;
        if (!raft_entry_follows(e, s->snap_index + i, term, time_ns))
            return -ERR_INVALID;
        if (e->type == RAFT_ENTRY_CONF && raft_conf_decode(buf_bytes(e->data), &conf) < 0)
            return -ERR_INVALID;
        term = e->term;
        time_ns = e->time_ns;
    }
    if (s->conf && quorum_check(s->conf) < 0)
        return -ERR_INVALID;
    return s->applied < s->snap_index || s->applied > last ? -ERR_INVALID : 0;
}

static void restore(struct raft *r, const struct raft_config *c, const struct raft_restore *s)
{
    raftlog_init(&r->log, s->snap_index, s->snap_term, s->snap_time_ns);
    raft_conf_start(r, &c->conf, s->snap_index);
    for (size_t i = 0; i < s->n_entries; i++)
        raft_append(r, &s->entries[i]);
    if (s->conf)
        raft_conf_start(r, s->conf, s->applied);
    r->commit = r->applied = r->applying = r->matched = s->applied;
    r->handed = r->persisted = raftlog_last(&r->log);
    r->hard = r->hard_handed = r->hard_durable = s->hard;
    /* A crash between the installation of a snapshot and the write of the term that came with it.
     */
    if (raftlog_last_term(&r->log) > r->hard.term)
        r->hard = (struct raft_hard){raftlog_last_term(&r->log), RAFT_NONE};
}

int raft_create(const struct raft_config *config, const struct raft_restore *from,
                struct raft **ret)
{
    static const struct raft_restore nothing;
    const struct raft_restore *s = from ? from : &nothing;

    if (config->id == RAFT_NONE || config->rng == NULL || config->heartbeat_ticks == 0 ||
        config->election_ticks <= config->heartbeat_ticks)
        return -ERR_INVALID;
    if (config->lease && config->lease_drift_ticks > config->election_ticks - 2)
        return -ERR_INVALID;
    if (quorum_check(&config->conf) < 0 || check_restore(s) < 0)
        return -ERR_INVALID;

    struct raft *r = g_new0(struct raft, 1);
    r->id = config->id;
    r->election_ticks = config->election_ticks;
    r->heartbeat_ticks = config->heartbeat_ticks;
    r->beats = config->beats;
    r->apply_bytes_max = config->apply_bytes_max;
    r->rng = config->rng;
    r->lease = config->lease;
    r->lease_drift = config->lease_drift_ticks;
    r->confs = g_array_new(false, false, sizeof(struct conf_at));
    r->writes = g_array_new(false, false, sizeof(struct write));
    r->held = g_array_new(false, false, sizeof(struct held));
    r->reads_waiting = g_array_new(false, false, sizeof(struct asking));
    r->forwards_waiting = g_array_new(false, false, sizeof(uint64_t));
    r->forwards_asked = g_array_new(false, false, sizeof(struct asked));
    r->rounds = g_array_new(false, false, sizeof(struct round));
    r->reads_asked = g_array_new(false, false, sizeof(struct asked));
    r->reads_done = g_array_new(false, false, sizeof(struct raft_read));
    r->shown_reads = g_array_new(false, false, sizeof(struct raft_read));
    r->out = g_array_new(false, false, sizeof(struct raft_msg));
    r->shown_send = g_array_new(false, false, sizeof(struct raft_msg));
    r->snap_needs = g_array_new(false, false, sizeof(raft_id));
    r->shown_snaps = g_array_new(false, false, sizeof(raft_id));
    restore(r, config, s);
    if (s->suspect)
        raft_suspect(r);
    r->promised_until = config->promised_ticks;
    if (r->hard.term > 0 || r->suspect)
        raft_promise(r);
    raft_become_follower(r, r->hard.term, RAFT_NONE);
    if (raft_is_alone(r))
        raft_campaign(r); /* nobody to wait for */
    *ret = r;
    return 0;
}

void raft_destroy(struct raft *r)
{
    if (r == NULL)
        return;
    GArray *arrays[] = {r->forwards_waiting, r->forwards_asked, r->rounds,        r->confs,
                        r->writes,           r->held,           r->reads_waiting, r->reads_asked,
                        r->reads_done,       r->shown_reads,    r->out,           r->shown_send,
                        r->snap_needs,       r->shown_snaps};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        g_array_unref(arrays[i]);
    raftlog_finish(&r->log);
    g_free(r);
}

/* --- roles and terms ---------------------------------------------------------------------- */

/* Row: from, bit: allowed next (figure 4 of the paper, with the pre-candidate before the candidate;
 * a follower that was told to campaign skips it). */
#define TO(role) (1u << (role))
static const unsigned allowed[] = {
    [RAFT_FOLLOWER] = TO(RAFT_FOLLOWER) | TO(RAFT_PRE_CANDIDATE) | TO(RAFT_CANDIDATE),
    [RAFT_PRE_CANDIDATE] = TO(RAFT_FOLLOWER) | TO(RAFT_PRE_CANDIDATE) | TO(RAFT_CANDIDATE),
    [RAFT_CANDIDATE] = TO(RAFT_FOLLOWER) | TO(RAFT_PRE_CANDIDATE) | TO(RAFT_LEADER),
    [RAFT_LEADER] = TO(RAFT_FOLLOWER),
};

static void become(struct raft *r, enum raft_role role, raft_id leader)
{
    ASSERT(allowed[r->role] & TO(role));
    if (role != RAFT_FOLLOWER || leader != r->leader)
        raft_forwards_drop(r);
    r->role = role;
    r->leader = leader;
    r->elapsed = 0;
    r->timeout = r->election_ticks + (unsigned)rng_below(r->rng, r->election_ticks);
    for (unsigned i = 0; i < r->n_members; i++)
        r->members[i].ballot = BALLOT_NONE;
}

/* What was promised or learned within a term ends with it. */
static void set_term(struct raft *r, raft_term term, raft_id vote)
{
    ASSERT(term > r->hard.term);
    r->hard = (struct raft_hard){term, vote};
    r->matched = r->commit;
    r->repair_goal = 0;
    raft_drop_held(r);
    raft_forwards_drop(r);
}

void raft_become_follower(struct raft *r, raft_term term, raft_id leader)
{
    unsigned elapsed = r->elapsed;
    bool keep_timer = r->role == RAFT_FOLLOWER && leader == RAFT_NONE;

    if (r->role == RAFT_LEADER) {
        raft_reads_drop(r);
        raft_transfer_drop(r);
        g_array_set_size(r->snap_needs, 0);
    }
    if (term != r->hard.term)
        set_term(r, term, RAFT_NONE);
    become(r, RAFT_FOLLOWER, leader);
    if (keep_timer) /* a higher term alone is no sign of a leader (paper 5.2) */
        r->elapsed = elapsed;
}

void raft_become_pre_candidate(struct raft *r)
{
    become(r, RAFT_PRE_CANDIDATE, RAFT_NONE);
}

void raft_become_candidate(struct raft *r)
{
    set_term(r, r->hard.term + 1, r->id);
    become(r, RAFT_CANDIDATE, RAFT_NONE);
}

void raft_become_leader(struct raft *r)
{
    raft_index last = raftlog_last(&r->log);

    become(r, RAFT_LEADER, r->id);
    raft_lease_void(r);
    r->transfer_told = false;
    r->heartbeat_elapsed = 0;
    for (unsigned i = 0; i < r->n_members; i++)
        progress_reset(&r->members[i], last + 1);
    progress_acked(raft_member(r, r->id), r->persisted);
    r->uncommitted = 0;
    raftlog_fit(&r->log, r->commit + 1, last, UINT64_MAX, SIZE_MAX, &r->uncommitted);
    r->term_start = last + 1;
    raft_add_entry(r, RAFT_ENTRY_NOOP, NULL, 0);
}

/* --- commit --------------------------------------------------------------------------------- */

void raft_set_commit(struct raft *r, raft_index index)
{
    ASSERT(index <= raftlog_last(&r->log));
    if (index <= r->commit)
        return;
    if (r->role == RAFT_LEADER) {
        uint64_t bytes;
        raftlog_fit(&r->log, r->commit + 1, index, UINT64_MAX, SIZE_MAX, &bytes);
        ASSERT(bytes <= r->uncommitted);
        r->uncommitted -= bytes;
    }
    r->commit = index;
}

static uint64_t match_of(const void *ctx, raft_id voter)
{
    const struct progress *p = raft_member(ctx, voter);
    return p->suspect ? 0 : p->match;
}

/* Paper 5.4.2: an entry of an older term is committed only by one of this term after it. */
void raft_advance_commit(struct raft *r)
{
    raft_index index = quorum_reached(&r->conf, match_of, r);

    if (index > r->commit && raftlog_term_at(&r->log, index) == r->hard.term)
        raft_set_commit(r, index);
}

/* --- dispatch ------------------------------------------------------------------------------- */

void raft_tick(struct raft *r)
{
    r->now++;
    if (r->role == RAFT_LEADER)
        raft_lead_tick(r);
    else
        raft_elect_tick(r);
    raft_lead_on(r);
}

/* A message of a term that is over. The sender is told of ours: a leader that was cut off steps
 * down, and a member whose term ran ahead of its group gets a new election instead of being stuck.
 */
static void answer_old_term(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg a = {.to = m->from, .term = r->hard.term, .reject = true};

    switch (m->type) {
    case RAFT_APPEND:
    case RAFT_HEARTBEAT:
        a.type = RAFT_APPEND_RESP;
        break;
    case RAFT_PREVOTE:
        a.type = RAFT_PREVOTE_RESP;
        break;
    case RAFT_VOTE:
        a.type = RAFT_VOTE_RESP;
        break;
    default:
        return;
    }
    raft_send(r, a);
}

/* Does m's term become ours? False: m is not to be handled further. */
static bool enter_term(struct raft *r, const struct raft_msg *m)
{
    if (m->term < r->hard.term) {
        answer_old_term(r, m);
        return false;
    }
    if (m->term == r->hard.term || m->type == RAFT_PREVOTE)
        return true;
    if (m->type == RAFT_PREVOTE_RESP && !m->reject)
        return true; /* names the term that it would vote in */
    /* Dissertation 4.2.3: disruptive servers are ignored; 3.10: but for whom the leader sent. */
    if (m->type == RAFT_VOTE && !m->transfer && raft_hears_leader(r))
        return false;
    raft_become_follower(r, m->term, RAFT_NONE);
    return true;
}

/* From the leader of this term: whoever was looking for one stops. */
static void follow(struct raft *r, raft_id leader)
{
    if (r->role != RAFT_FOLLOWER || r->leader != leader) {
        raft_become_follower(r, r->hard.term, leader);
        raft_repair_begin(r);
    }
    r->elapsed = 0;
    raft_promise(r);
}

static bool is_answer(const struct raft_msg *m)
{
    return m->type == RAFT_PREVOTE_RESP || m->type == RAFT_VOTE_RESP ||
           m->type == RAFT_APPEND_RESP || m->type == RAFT_HEARTBEAT_RESP;
}

int raft_step(struct raft *r, const struct raft_msg *m)
{
    int e = raft_check_msg(r, m);
    if (e < 0)
        return e;
    if (is_answer(m) && !raft_member(r, m->from))
        return 0; /* it was one when we asked */
    if (r->suspect && (m->type == RAFT_PREVOTE || m->type == RAFT_VOTE))
        return 0; /* neither yes nor no: it may have said either */
    if (!enter_term(r, m))
        return 0;

    switch (m->type) {
    case RAFT_PREVOTE:
        raft_handle_prevote(r, m);
        break;
    case RAFT_VOTE:
        raft_handle_vote(r, m);
        break;
    case RAFT_PREVOTE_RESP:
    case RAFT_VOTE_RESP:
        raft_handle_ballot(r, m);
        break;
    case RAFT_APPEND:
        follow(r, m->from);
        raft_handle_append(r, m);
        break;
    case RAFT_HEARTBEAT:
        follow(r, m->from);
        raft_handle_heartbeat(r, m);
        break;
    case RAFT_TIMEOUT_NOW:
        follow(r, m->from);
        raft_handle_timeout_now(r);
        break;
    case RAFT_READ:
        raft_handle_read(r, m);
        break;
    case RAFT_READ_RESP:
        raft_handle_read_resp(r, m);
        break;
    case RAFT_REPAIR:
        raft_handle_repair(r, m);
        break;
    case RAFT_REPAIR_RESP:
        follow(r, m->from);
        raft_handle_repair_resp(r, m);
        break;
    case RAFT_APPEND_RESP:
        raft_handle_append_resp(r, m);
        break;
    case RAFT_HEARTBEAT_RESP:
        raft_handle_heartbeat_resp(r, m);
        break;
    }
    raft_repair_check(r);
    raft_lead_on(r);
    return 0;
}
