/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold at every moment: one leader per term; after the same entry the same state on every
 * node, of an entry of the same term and time (log matching and a deterministic state machine in
 * one); commit and applied never go back within a life. Nodes apply several entries in one batch,
 * each as it pleases: they are compared where batches of two of them end at one index, and since an
 * effect stays, no difference is lost for long. What must hold between logs: check_log.c.
 */
#include "cluster/base/msg.h"
#include "cluster/kv/layout.h"
#include "tests/sim/sim.h"

/* The state after an entry, as whoever came there first had it. */
struct applied {
    uint64_t term, time, state;
    unsigned node;
};

/* Of one group. */
struct check_group {
    GHashTable *leaders; /* term (boxed) -> node id */
    GPtrArray *applied;  /* struct applied, by index - 1; NULL: no batch ended there */
};

struct check {
    struct check_group groups[SIM_GROUPS];
};

void check_init(struct sim *s)
{
    struct check *c = s->check = g_new0(struct check, 1);
    for (unsigned gid = 0; gid < SIM_GROUPS; gid++) {
        c->groups[gid].leaders = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        c->groups[gid].applied = g_ptr_array_new_with_free_func(g_free);
    }
    check_log_init(s);
    check_conf_init(s);
    check_owner_init(s);
}

void check_finish(struct sim *s)
{
    struct check *c = s->check;
    for (unsigned gid = 0; gid < SIM_GROUPS; gid++) {
        g_hash_table_destroy(c->groups[gid].leaders);
        g_ptr_array_free(c->groups[gid].applied, TRUE);
    }
    g_free(c);
    check_log_finish(s);
    check_conf_finish(s);
    check_owner_finish(s);
}

/* --- terms and indices ------------------------------------------------------------------------ */

static void check_term_leader(struct sim_node *sn, uint32_t gid, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    raft_term term = st->term;
    struct check_group *c = &s->check->groups[gid];
    unsigned known = GPOINTER_TO_UINT(g_hash_table_lookup(c->leaders, &term));
    CHECK(s, known == 0 || known == sn->id,
          "term %" G_GUINT64_FORMAT " of group %u has two leaders: node %u and node %u", term, gid,
          known, sn->id);
    if (known)
        return;
    g_hash_table_insert(c->leaders, g_memdup2(&term, sizeof(term)), GUINT_TO_POINTER(sn->id));
    if (gid == 0) {
        check_log_elected(sn, st);
        check_conf_elected(sn, st);
    }
    s->counters.elections++;
    trace_line(s, "n%u is elected in term %" G_GUINT64_FORMAT " of group %u", sn->id, term, gid);
}

static void check_progress(struct sim_node *sn, uint32_t gid, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    struct seen *seen = &sn->seen[gid];
    CHECK(s, st->term >= seen->term, "node %u, group %u: went back from term %" G_GUINT64_FORMAT,
          sn->id, gid, seen->term);
    CHECK(s, st->commit >= seen->commit,
          "node %u, group %u: went back from commit %" G_GUINT64_FORMAT, sn->id, gid, seen->commit);
    CHECK(s, st->applied >= seen->applied,
          "node %u, group %u: went back from applied %" G_GUINT64_FORMAT, sn->id, gid,
          seen->applied);
    CHECK(s,
          st->first <= st->applied + 1 && st->applied <= st->commit && st->commit <= st->last &&
              st->persisted <= st->last,
          "node %u, group %u: first %" G_GUINT64_FORMAT " applied %" G_GUINT64_FORMAT
          " commit %" G_GUINT64_FORMAT " persisted %" G_GUINT64_FORMAT " last %" G_GUINT64_FORMAT,
          sn->id, gid, st->first, st->applied, st->commit, st->persisted, st->last);
    CHECK(s, st->term > seen->term || seen->vote == RAFT_NONE || st->vote == seen->vote,
          "node %u, group %u: takes its vote of term %" G_GUINT64_FORMAT " back", sn->id, gid,
          st->term);
    *seen = (struct seen){st->term, st->vote, st->commit, st->applied, st->first, st->last};
}

/* A replica that is still to be opened may be so, too. */
static bool may_be_suspect(struct sim_node *sn)
{
    struct raft_status st;
    for (unsigned gid = 0; gid <= sn->sim->profile.groups; gid++)
        if (!node_group_status(sn->node, gid, &st) || st.suspect)
            return true;
    return false;
}

static void check_group_0(struct sim_node *sn, const struct raft_status *st)
{
    check_conf_appended(sn, st);
    if (st->role == RAFT_LEADER)
        check_term_leader(sn, 0, st);
    if (st->role == RAFT_LEADER && st->commit > sn->seen[0].commit)
        check_log_commit(sn, st);
    if (st->commit > sn->seen[0].commit)
        check_log_immutable(sn, st);
    check_conf_node(sn, st);
    check_progress(sn, 0, st);
}

void check_node(struct sim_node *sn)
{
    struct raft_status st;
    if (sn->node && node_group_status(sn->node, 0, &st)) {
        check_group_0(sn, &st);
        check_owner(sn, 0, &st);
    }
    if (sn->node && !may_be_suspect(sn))
        sn->damaged = false; /* whole again, and its log says so */
    for (unsigned gid = 1; gid <= sn->sim->profile.groups; gid++) {
        if (!sn->node || !node_group_status(sn->node, gid, &st))
            continue;
        if (st.suspect) /* it may have been opened long after the start */
            sn->promised[gid] = (struct promises){0};
        if (st.role == RAFT_LEADER)
            check_term_leader(sn, gid, &st);
        check_progress(sn, gid, &st);
        check_owner(sn, gid, &st);
    }
}

bool check_has_led(const struct sim *s, unsigned node, raft_term since)
{
    GHashTableIter it;
    gpointer term, leader;
    g_hash_table_iter_init(&it, s->check->groups[0].leaders);
    while (g_hash_table_iter_next(&it, &term, &leader))
        if (*(const raft_term *)term >= since && GPOINTER_TO_UINT(leader) == node)
            return true;
    return false;
}

/* --- promises --------------------------------------------------------------------------------- */

/* What it says now it said before it was asked: its answers tell themselves. */
static bool is_suspect(struct sim_node *sn, uint32_t gid)
{
    struct raft_status st;
    return sn->node && node_group_status(sn->node, gid, &st) && st.suspect;
}

static void promise_vote(struct sim_node *sn, uint32_t gid, raft_term term, raft_id candidate)
{
    struct promises *p = &sn->promised[gid];
    CHECK(sn->sim, !is_suspect(sn, gid), "node %u votes, and may have voted before it was damaged",
          sn->id);
    CHECK(sn->sim, term > p->vote_term || (term == p->vote_term && candidate == p->vote),
          "node %u votes for node %u in term %" G_GUINT64_FORMAT
          ", after node %u in term %" G_GUINT64_FORMAT,
          sn->id, candidate, term, p->vote, p->vote_term);
    p->vote_term = term;
    p->vote = candidate;
    if (gid == 0)
        check_log_voted(sn, term, candidate);
}

static void promise_entries(struct sim_node *sn, uint32_t gid, raft_term term, raft_index index)
{
    struct promises *p = &sn->promised[gid];
    CHECK(sn->sim, term >= p->ack_term && term >= p->vote_term,
          "node %u acknowledges in term %" G_GUINT64_FORMAT " after a promise in a later one",
          sn->id, term);
    if (gid == 0)
        check_log_acked(sn, term, index);
    p->ack = term > p->ack_term ? index : MAX(p->ack, index);
    p->ack_term = term;
}

enum { SUSPECT_FLAG = 8 }; /* msg.def.h: of a raft_wire's reject */

static bool is_ask(unsigned type)
{
    return type == RAFT_PREVOTE || type == RAFT_VOTE || type == RAFT_APPEND ||
           type == RAFT_HEARTBEAT;
}

/* The first chunk on a link is empty: it asks where to go on. */
static void note_chunk(struct sim_node *sn, struct bytes body)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_snap_chunk m;
    if (dec_snap_chunk(body, &a, &m) < 0)
        return;
    if (m.data.n == 0 && !m.last) {
        sn->snap_asked = m.id;
        return;
    }
    sn->sim->counters.snapshots_resumed += sn->snap_asked == m.id && m.offset > 0;
    sn->snap_asked = 0;
}

static void check_beat(struct sim_node *sn, struct bytes body)
{
    struct arena a = {0};
    struct msg_beat m;
    if (dec_beat(body, &a, &m) == 0) {
        sn->traffic.asks += m.n_asks > 0;
        for (uint32_t i = 0; i < m.n_answers; i++)
            if (m.answers[i].gid < SIM_GROUPS && m.answers[i].hint > 0)
                promise_entries(sn, m.answers[i].gid, m.answers[i].term, m.answers[i].hint);
    }
    arena_finish(&a);
}

void check_sent(struct sim_node *sn, struct bytes bytes)
{
    struct arena a = {0};
    struct msg_raft_wire m;
    struct frame f;
    size_t used;
    if (frame_parse(bytes, &f, &used) < 0)
        return;
    if (f.type == MSG_snap_chunk) {
        sn->traffic.snap_bytes += bytes.n;
        note_chunk(sn, f.body);
    }
    if (f.type == MSG_beat) {
        sn->traffic.frames++;
        sn->traffic.bytes += bytes.n;
        check_beat(sn, f.body);
    }
    if (f.type != MSG_raft_wire || dec_raft_wire(f.body, &a, &m) < 0)
        return;
    CHECK(sn->sim, m.gid < SIM_GROUPS, "node %u speaks of group %u", sn->id, m.gid);
    sn->traffic.asks += is_ask(m.type);
    sn->traffic.frames++;
    sn->traffic.bytes += bytes.n;
    if (sn->wiped)
        CHECK(sn->sim,
              !(sn->known_to >> m.to & 1u) ||
                  (m.type != RAFT_VOTE_RESP && m.type != RAFT_APPEND_RESP &&
                   m.type != RAFT_HEARTBEAT_RESP),
              "node %u has lost its data, and node %u hears its answers", sn->id, m.to);
    if (m.type == RAFT_APPEND && m.gid == 0)
        check_log_append(sn, &m);
    if (m.type == RAFT_TIMEOUT_NOW && m.gid == 0)
        check_log_order(sn, m.term, m.to);
    if (m.type == RAFT_VOTE)
        promise_vote(sn, m.gid, m.term, sn->id);
    else if (m.type == RAFT_VOTE_RESP && !m.reject)
        promise_vote(sn, m.gid, m.term, m.to);
    else if (m.type == RAFT_APPEND_RESP && !m.reject)
        promise_entries(sn, m.gid, m.term, m.index);
    else if (m.type == RAFT_HEARTBEAT_RESP && m.hint > 0 && !(m.reject & SUSPECT_FLAG))
        promise_entries(sn, m.gid, m.term, m.hint);
    arena_finish(&a);
}

/* What it says that it has must cover what it has promised. */
static void check_promises(struct sim_node *sn, uint32_t gid, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    struct promises *p = &sn->promised[gid];
    CHECK(s, !st->suspect || sn->damaged, "node %u is suspect, and was not damaged", sn->id);
    if (st->suspect) { /* what it promised it may have forgotten, and it says so */
        s->counters.suspects++;
        *p = (struct promises){0};
    }
    CHECK(s, st->term >= MAX(p->vote_term, p->ack_term),
          "node %u, group %u: starts in term %" G_GUINT64_FORMAT ", it voted in %" G_GUINT64_FORMAT
          " and acknowledged in %" G_GUINT64_FORMAT,
          sn->id, gid, st->term, p->vote_term, p->ack_term);
    CHECK(s, st->term > p->vote_term || st->vote == p->vote,
          "node %u, group %u: starts in term %" G_GUINT64_FORMAT
          " with a vote for node %u, it has voted for node %u",
          sn->id, gid, st->term, st->vote, p->vote);
    CHECK(s, st->term > p->ack_term || st->last >= p->ack,
          "node %u, group %u: starts with entries up to %" G_GUINT64_FORMAT
          ", it has acknowledged %" G_GUINT64_FORMAT,
          sn->id, gid, st->last, p->ack);
}

void check_node_started(struct sim_node *sn)
{
    struct raft_status st;
    memset(sn->seen, 0, sizeof(sn->seen));
    for (unsigned gid = 0; gid <= sn->sim->profile.groups; gid++) {
        if (!node_group_status(sn->node, gid, &st))
            continue;
        sn->seen[gid].first = st.first;
        sn->seen[gid].last = st.last;
        if (gid == 0)
            check_conf_started(sn);
        check_promises(sn, gid, &st);
    }
}

void check_lead(struct sim_node *sn, bool leading)
{
    CHECK(sn->sim, sn->leading != leading, "node %u is told twice that it %s", sn->id,
          leading ? "leads" : "does not lead");
    sn->leading = leading;
}

/* --- states ----------------------------------------------------------------------------------- */

/* Does not depend on the order of keys, so it could be kept up to date; it is small anyway. */
static uint64_t state_hash(struct store *real, uint64_t *ret_index)
{
    struct arena a = {0};
    struct bytes key, value, applied = layout_applied_key(&a);
    uint64_t h = 1;
    *ret_index = 0;
    struct store_iter *it = real->ops->iter_open(real, NULL, BYTES_NONE, BYTES_NONE);
    while (real->ops->iter_next(it, &key, &value)) {
        h = hash_bytes(hash_bytes(h, key), value);
        if (bytes_eq(key, applied))
            *ret_index = get_le64(value.p);
    }
    real->ops->iter_close(it);
    arena_finish(&a);
    return h;
}

static struct applied *applied_at(const struct check_group *c, uint64_t index)
{
    return index > 0 && index <= c->applied->len ? g_ptr_array_index(c->applied, index - 1) : NULL;
}

void check_state(struct sim_node *sn, uint32_t gid)
{
    struct sim *s = sn->sim;
    uint64_t index;
    uint64_t h = state_hash(state_real(sn, gid), &index);
    const struct applied *known = applied_at(&s->check->groups[gid], index);
    if (index == 0 || (s->planted == sn->id && gid == 0))
        return;
    CHECK(s, known, "node %u opens a state of entry %" G_GUINT64_FORMAT " that nobody applied",
          sn->id, index);
    CHECK(s, known->state == h,
          "node %u opens a state of entry %" G_GUINT64_FORMAT " that differs from all others'",
          sn->id, index);
}

/* --- batches ---------------------------------------------------------------------------------- */

/* The last entry of a batch: each must say it (raft.md 4.22). */
static bool batch_entry(const struct store_write *w, size_t n, uint64_t *ret_index,
                        struct applied *ret)
{
    struct arena a = {0};
    struct bytes applied = layout_applied_key(&a);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (w[i].op != STORE_PUT || !bytes_eq(w[i].key, applied) || w[i].value.n != 24)
            continue;
        found = true;
        *ret_index = get_le64(w[i].value.p);
        ret->term = get_le64(w[i].value.p + 8);
        ret->time = get_le64(w[i].value.p + 16);
    }
    arena_finish(&a);
    return found;
}

static void first_there(struct sim *s, uint32_t gid, uint64_t index, const struct applied *e)
{
    struct check_group *c = &s->check->groups[gid];
    const struct applied *before = NULL;
    for (uint64_t i = MIN(index - 1, c->applied->len); i > 0 && !before; i--)
        before = applied_at(c, i);
    CHECK(s, !before || (before->term <= e->term && before->time < e->time),
          "entry %" G_GUINT64_FORMAT " has a lower term or time than one before it", index);
    if (index > c->applied->len)
        g_ptr_array_set_size(c->applied, (gint)index);
    g_ptr_array_index(c->applied, index - 1) = g_memdup2(e, sizeof(*e));
    trace_mix(s, e->state);
}

void check_batch(struct sim_node *sn, uint32_t gid, const struct store_write *w, size_t n)
{
    struct sim *s = sn->sim;
    struct applied e = {.node = sn->id};
    uint64_t index = 0, stored;
    CHECK(s, batch_entry(w, n, &index, &e) && index > 0,
          "node %u writes a batch without its applied index", sn->id);
    e.state = state_hash(state_real(sn, gid), &stored);
    if (s->on_batch && gid == 0)
        s->on_batch(sn, index, w, n);
    if (s->planted == sn->id && gid == 0)
        return;
    const struct applied *known = applied_at(&s->check->groups[gid], index);
    if (!known) {
        first_there(s, gid, index, &e);
        return;
    }
    CHECK(s, known->term == e.term && known->time == e.time,
          "entry %" G_GUINT64_FORMAT " is of term %" G_GUINT64_FORMAT
          " on node %u, of term %" G_GUINT64_FORMAT " on node %u",
          index, known->term, known->node, e.term, sn->id);
    CHECK(s, known->state == e.state,
          "after entry %" G_GUINT64_FORMAT " node %u has one state, node %u another one", index,
          known->node, sn->id);
}

/* --- at the end ------------------------------------------------------------------------------- */

bool check_is_replica(const struct sim *s, const struct sim_node *sn)
{
    return check_conf_has(check_conf_committed(s), sn->id) && !sn->wiped;
}

static bool group_settled(struct sim *s, uint32_t gid)
{
    uint64_t applied = 0;
    for (unsigned i = 0; i < s->n; i++) {
        struct raft_status st;
        struct sim_node *sn = &s->nodes[i];
        if (!check_is_replica(s, sn))
            continue;
        if (!sn->node || !node_group_status(sn->node, gid, &st) || st.suspect ||
            st.applied < s->check->groups[gid].applied->len || st.last != st.applied ||
            st.applied == 0 || (applied > 0 && st.applied != applied))
            return false;
        applied = st.applied;
    }
    return true;
}

void check_say_unsettled(struct sim *s)
{
    check_owner_say(s);
    for (uint32_t gid = 0; gid <= s->profile.groups; gid++)
        for (unsigned i = 0; i < s->n; i++) {
            struct raft_status st;
            if (s->nodes[i].node && node_group_status(s->nodes[i].node, gid, &st))
                trace_line(s,
                           "group %u at n%u: term %" G_GUINT64_FORMAT " last %" G_GUINT64_FORMAT
                           " applied %" G_GUINT64_FORMAT "%s, of %u entries",
                           gid, i + 1, st.term, st.last, st.applied, st.leading ? ", leads" : "",
                           s->check->groups[gid].applied->len);
        }
}

bool check_replicas_settled(struct sim *s)
{
    if (!check_conf_settled(s) || !check_owner_settled(s))
        return false;
    for (uint32_t gid = 0; gid <= s->profile.groups; gid++)
        if (!group_settled(s, gid))
            return false;
    return true;
}

static void group_equal(struct sim *s, uint32_t gid)
{
    const struct check_group *c = &s->check->groups[gid];
    for (unsigned i = 0; i < s->n; i++)
        CHECK(s, !check_is_replica(s, &s->nodes[i]) || node_group_store(s->nodes[i].node, gid),
              "node %u cannot write its state", i + 1);
    uint64_t want = c->applied->len;
    for (unsigned i = 0; i < s->n; i++) {
        uint64_t index;
        if (!check_is_replica(s, &s->nodes[i]))
            continue;
        uint64_t h = state_hash(state_real(&s->nodes[i], gid), &index);
        CHECK(s, index == want, "node %u ends group %u at entry %" G_GUINT64_FORMAT, i + 1, gid,
              index);
        CHECK(s, h == applied_at(c, index)->state, "node %u ends group %u with another state",
              i + 1, gid);
    }
}

void check_replicas_equal(struct sim *s)
{
    for (uint32_t gid = 0; gid <= s->profile.groups; gid++)
        group_equal(s, gid);
    check_owner_end(s);
}
