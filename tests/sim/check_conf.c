/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold of the membership. All configurations and removals are noted as leaders append
 * them; from these the simulator knows by itself which configuration is in force on a node (the
 * newest in its log, committed or not), and demands that
 *   - the node thinks so, too;
 *   - elections and commits have a majority of it, of both halves while it is joint;
 *   - a leader proposes one change at a time, after an entry of its own term is committed, by the
 *     legal steps (a joint one before the voters change), and only what an operator has asked for;
 *   - who was removed never leads or serves again, never comes back, and nobody else is told so.
 */
#include "cluster/node/group.h"
#include "cluster/node/peer.h"
#include "tests/sim/sim.h"

/* A configuration, or the end of a node. */
struct decision {
    raft_index index;
    raft_term term;
    bool is_conf, committed;
    struct raft_conf conf;
    unsigned removed, member; /* node id of a record; one of both, or 0 */
};

struct out {
    bool removed;       /* by the configuration or the record, whichever came first */
    raft_term recorded; /* term of the record; 0: there is none */
    uint64_t recorded_at;
};

struct check_conf {
    GArray *all;                   /* struct decision, by index, then by term */
    struct decision newest;        /* committed configuration */
    struct raft_conf first;        /* of index 0 */
    unsigned asked[SIM_NODES + 1]; /* bits by member_op */
    struct out out[SIM_NODES + 1];
};

static struct decision *decision_at(const struct check_conf *c, guint i)
{
    return &g_array_index(c->all, struct decision, i);
}

void check_conf_init(struct sim *s)
{
    struct check_conf *c = s->check_conf = g_new0(struct check_conf, 1);
    c->all = g_array_new(FALSE, TRUE, sizeof(struct decision));
    c->newest.is_conf = c->newest.committed = true;
    for (unsigned i = 1; i <= s->n; i++)
        c->newest.conf.voters[c->newest.conf.n_voters++] = i;
    c->first = c->newest.conf;
}

void check_conf_finish(struct sim *s)
{
    g_array_free(s->check_conf->all, TRUE);
    g_free(s->check_conf);
}

/* --- configurations --------------------------------------------------------------------------- */

static bool among(const raft_id *ids, unsigned n, raft_id id)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

bool check_conf_is_voter(const struct raft_conf *conf, unsigned id)
{
    return among(conf->voters, conf->n_voters, id) || among(conf->outgoing, conf->n_outgoing, id);
}

bool check_conf_has(const struct raft_conf *conf, unsigned id)
{
    return check_conf_is_voter(conf, id) || among(conf->learners, conf->n_learners, id);
}

static unsigned roles(const struct raft_conf *c, unsigned id)
{
    return (among(c->voters, c->n_voters, id) ? MEMBER_VOTER : 0u) |
           (among(c->outgoing, c->n_outgoing, id) ? MEMBER_LEAVING : 0u) |
           (among(c->learners, c->n_learners, id) ? MEMBER_LEARNER : 0u);
}

static bool same(const struct raft_conf *a, const struct raft_conf *b)
{
    for (unsigned id = 1; id <= SIM_NODES; id++)
        if (roles(a, id) != roles(b, id))
            return false;
    return true;
}

typedef bool conf_says_fn(const void *ctx, raft_id voter);

static bool half(const raft_id *ids, unsigned n, conf_says_fn *says, const void *ctx)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < n; i++)
        yes += says(ctx, ids[i]);
    return yes > n / 2;
}

static bool majority(const struct raft_conf *c, conf_says_fn *says, const void *ctx)
{
    return half(c->voters, c->n_voters, says, ctx) &&
           (c->n_outgoing == 0 || half(c->outgoing, c->n_outgoing, says, ctx));
}

static const char *conf_text(const struct raft_conf *c)
{
    static char text[200];
    GString *t = g_string_new("voters");
    for (unsigned i = 0; i < c->n_voters; i++)
        g_string_append_printf(t, " %u", c->voters[i]);
    for (unsigned i = 0; i < c->n_outgoing; i++)
        g_string_append_printf(t, "%s %u", i ? "" : " outgoing", c->outgoing[i]);
    for (unsigned i = 0; i < c->n_learners; i++)
        g_string_append_printf(t, "%s %u", i ? "" : " learners", c->learners[i]);
    g_strlcpy(text, t->str, sizeof(text));
    g_string_free(t, TRUE);
    return text;
}

/* --- what is in force ------------------------------------------------------------------------- */

static struct raft *core_of(const struct sim_node *sn)
{
    return node_group(sn->node, 0)->raft;
}

static void file_conf(const struct sim_node *sn, struct raft_conf *ret)
{
    *ret = (struct raft_conf){0};
    for (unsigned i = 0; i < sn->n_peers; i++)
        if (!sn->joins || sn->peers[i] != sn->id)
            ret->voters[ret->n_voters++] = sn->peers[i];
}

/* The newest configuration at or before an index of a node's log; its index, 0: that of its file,
 * which may be newer than that of a snapshot from before the first change.
 * What a log does not hold any more is committed. */
static raft_index in_force(const struct sim_node *sn, raft_index upto, struct raft_conf *ret)
{
    const struct check_conf *c = sn->sim->check_conf;
    const struct raft *r = core_of(sn);
    struct raft_status st;
    raft_get_status(r, &st);
    for (guint i = c->all->len; i-- > 0;) {
        const struct decision *d = decision_at(c, i);
        if (!d->is_conf || d->index > upto)
            continue;
        raft_term term = raft_term_at(r, d->index);
        if (term == d->term || (term == 0 && d->index < st.first && d->committed)) {
            *ret = d->conf;
            return d->index;
        }
    }
    if (sn->from_snapshot && st.first > 1)
        *ret = c->first;
    else
        file_conf(sn, ret);
    return 0;
}

/* --- what leaders propose --------------------------------------------------------------------- */

/* What became of one node from one configuration to the next; 0: nothing. */
static enum member_op change_of(unsigned before, unsigned after)
{
    if (before == 0 && after == MEMBER_LEARNER)
        return MEMBER_ADD;
    if (before == MEMBER_LEARNER && after == MEMBER_VOTER)
        return MEMBER_PROMOTE;
    return after == 0 ? MEMBER_REMOVE : 0;
}

static void check_change(struct sim_node *sn, const struct raft_conf *before,
                         const struct raft_conf *after)
{
    struct sim *s = sn->sim;
    const struct check_conf *c = s->check_conf;
    struct raft_conf to = *after;
    unsigned changed = 0;
    to.n_outgoing = 0;
    for (unsigned id = 1; id <= SIM_NODES; id++) {
        unsigned was = roles(before, id), is = roles(&to, id);
        if (was == is)
            continue;
        enum member_op op = change_of(was, is);
        CHECK(s, op && c->asked[id] & 1u << op,
              "node %u makes node %u of %u into %u, which nobody has asked for", sn->id, id, was,
              is);
        CHECK(s, op != MEMBER_ADD || !c->out[id].removed, "node %u, removed, is added again", id);
        changed++;
    }
    CHECK(s, changed == 1, "node %u changes %u members at once: %s", sn->id, changed,
          conf_text(after));
    unsigned stay = 0, old = 0;
    for (unsigned i = 0; i < before->n_voters; i++) {
        stay += among(to.voters, to.n_voters, before->voters[i]);
        old += among(after->outgoing, after->n_outgoing, before->voters[i]);
    }
    bool voters = stay != before->n_voters || stay != to.n_voters;
    CHECK(s, after->n_outgoing == old && old == (voters ? before->n_voters : 0),
          "node %u changes the members by %s, from %u voters", sn->id, conf_text(after),
          before->n_voters);
}

/* The leader of the term has appended it, in the call that has just ended or goes on. */
static void check_proposed(struct sim_node *sn, const struct decision *d,
                           const struct raft_status *st)
{
    struct sim *s = sn->sim;
    struct raft_conf before, left;
    raft_index index = in_force(sn, d->index - 1, &before);
    CHECK(s, index <= st->commit,
          "node %u changes the members at %" G_GUINT64_FORMAT
          " while the change at %" G_GUINT64_FORMAT " is not committed",
          sn->id, d->index, index);
    CHECK(s, raft_term_at(core_of(sn), st->commit) == d->term,
          "node %u changes the members before an entry of its term %" G_GUINT64_FORMAT
          " is committed",
          sn->id, d->term);
    if (before.n_outgoing == 0) {
        check_change(sn, &before, &d->conf);
        return;
    }
    left = before;
    left.n_outgoing = 0;
    CHECK(s, same(&left, &d->conf), "node %u leaves the joint configuration for another one: %s",
          sn->id, conf_text(&d->conf));
}

static bool parse(raft_index index, raft_term term, enum raft_entry_type type, struct bytes data,
                  struct decision *ret)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_node_record m;
    *ret = (struct decision){.index = index, .term = term};
    ret->is_conf = type == RAFT_ENTRY_CONF;
    if (ret->is_conf)
        return raft_conf_decode(data, &ret->conf) == 0;
    if (type != RAFT_ENTRY_DATA || data.n == 0 || data.p[0] != KV_CMD_NODE ||
        dec_node_record(bytes_of(data.p + 1, data.n - 1), &a, &m) < 0)
        return false;
    if (m.node <= SIM_NODES)
        *(m.state == NODE_REMOVED ? &ret->removed : &ret->member) = m.node;
    return true;
}

void check_conf_entry(struct sim_node *sn, raft_index index, raft_term term,
                      enum raft_entry_type type, struct bytes data)
{
    struct sim *s = sn->sim;
    struct check_conf *c = s->check_conf;
    struct decision d;
    struct raft_status st;
    guint i = c->all->len;
    if (type == RAFT_ENTRY_NOOP || !parse(index, term, type, data, &d))
        return;
    for (; i > 0; i--) {
        const struct decision *e = decision_at(c, i - 1);
        if (e->index == index && e->term == term)
            return;
        if (e->index < index || (e->index == index && e->term < term))
            break;
    }
    raft_get_status(core_of(sn), &st);
    g_array_insert_val(c->all, i, d);
    if (!d.is_conf)
        return;
    s->counters.confs++;
    s->counters.confs_joint += d.conf.n_outgoing > 0;
    trace_line(s, "n%u appends at %" G_GUINT64_FORMAT " the configuration %s", sn->id, index,
               conf_text(&d.conf));
    if (st.role != RAFT_LEADER || st.term != term)
        return;
    check_proposed(sn, &d, &st);
    fault_at_change(sn);
}

static void scan(struct sim_node *sn, raft_index from, raft_index upto)
{
    const struct raft *r = core_of(sn);
    while (from <= upto) {
        unsigned n = 0;
        const struct raft_entry *e = raft_entries(r, from, upto, MIB(1), &n);
        if (!e)
            return;
        for (unsigned i = 0; i < n; i++)
            check_conf_entry(sn, e[i].index, e[i].term, e[i].type, buf_bytes(e[i].data));
        from += n;
    }
}

/* --- what is committed ------------------------------------------------------------------------ */

static void note_out(struct sim *s, unsigned id, const struct decision *d)
{
    struct out *o = &s->check_conf->out[id];
    if (id == 0)
        return;
    if (!d->is_conf && o->recorded == 0) {
        o->recorded = d->term;
        o->recorded_at = s->now;
    }
    if (o->removed)
        return;
    o->removed = true;
    s->counters.nodes_removed++;
    trace_line(s, "n%u is removed for good", id);
}

static void note_conf(struct sim *s, const struct decision *d)
{
    struct check_conf *c = s->check_conf;
    if (d->index <= c->newest.index)
        return;
    for (unsigned id = 1; id <= SIM_NODES; id++) {
        unsigned was = roles(&c->newest.conf, id), is = roles(&d->conf, id);
        if (was && !is)
            note_out(s, id, d);
        s->counters.nodes_added += !was && is;
        s->counters.nodes_promoted += !(was & MEMBER_VOTER) && is & MEMBER_VOTER;
    }
    c->newest = *d;
}

static void note_committed(struct sim_node *sn, const struct raft_status *st)
{
    struct check_conf *c = sn->sim->check_conf;
    for (guint i = 0; i < c->all->len; i++) {
        struct decision *d = decision_at(c, i);
        if (d->committed || d->index > st->commit || raft_term_at(core_of(sn), d->index) != d->term)
            continue;
        d->committed = true;
        if (d->is_conf)
            note_conf(sn->sim, d);
        else
            note_out(sn->sim, d->removed, d);
    }
}

/* --- after each call of a node ---------------------------------------------------------------- */

static void check_thinks_so(struct sim_node *sn, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    struct raft_conf want;
    raft_index index = in_force(sn, st->last, &want);
    const struct raft_conf *have = raft_get_conf(core_of(sn));
    if (index == 0 && st->first > 1 && same(&s->check_conf->first, have))
        return; /* of a snapshot; the node may have ended before it told of it */
    if (!same(&want, have)) {
        char text[200];
        g_strlcpy(text, conf_text(have), sizeof(text));
        sim_fail(s, "node %u obeys %s, the newest in its log (%" G_GUINT64_FORMAT ") is %s", sn->id,
                 text, index, conf_text(&want));
    }
    s->counters.confs_truncated += index < sn->conf_index;
    sn->conf_index = index;
}

void check_conf_started(struct sim_node *sn)
{
    struct raft_status st;
    raft_get_status(core_of(sn), &st);
    scan(sn, st.first, st.last);
    sn->conf_index = 0;
    sn->conf_known = false;
}

void check_conf_appended(struct sim_node *sn, const struct raft_status *st)
{
    if (st->last > sn->seen[0].last)
        scan(sn, MAX(sn->seen[0].last + 1, st->first), st->last);
}

void check_conf_node(struct sim_node *sn, const struct raft_status *st)
{
    if (st->commit > sn->seen[0].commit)
        note_committed(sn, st);
    if (sn->conf_known && st->last == sn->seen[0].last && st->first == sn->seen[0].first &&
        st->term == sn->seen[0].term)
        return;
    check_thinks_so(sn, st);
    sn->conf_known = true;
}

/* --- decisions by majority -------------------------------------------------------------------- */

struct question {
    const struct sim_node *sn;
    raft_term term;
    raft_index index, persisted;
};

static bool has_granted(const void *ctx, raft_id voter)
{
    const struct question *q = ctx;
    return voter == q->sn->id || check_log_granted(q->sn->sim, voter, q->term) == q->sn->id;
}

/* That was committed, or that its log has, or that it began with. */
static bool is_voter_of_some(const struct sim_node *sn)
{
    const struct check_conf *c = sn->sim->check_conf;
    struct raft_conf file;
    file_conf(sn, &file);
    bool is = check_conf_is_voter(&c->newest.conf, sn->id) || check_conf_is_voter(&file, sn->id);
    for (guint i = 0; i < c->all->len && !is; i++) {
        const struct decision *d = decision_at(c, i);
        is = d->is_conf && check_conf_is_voter(&d->conf, sn->id) &&
             (d->committed || raft_term_at(core_of(sn), d->index) == d->term);
    }
    return is;
}

void check_conf_elected(struct sim_node *sn, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    struct raft_conf conf;
    const struct question q = {sn, st->term, 0, 0};
    in_force(sn, sn->seen[0].last, &conf);
    CHECK(s, majority(&conf, has_granted, &q),
          "node %u is elected in term %" G_GUINT64_FORMAT " without a majority of %s", sn->id,
          st->term, conf_text(&conf));
    CHECK(s, is_voter_of_some(sn),
          "node %u, which is no voter, is elected in term %" G_GUINT64_FORMAT, sn->id, st->term);
    const struct out *o = &s->check_conf->out[sn->id];
    /* By the configuration alone it may still be needed (dissertation 4.2.2). */
    CHECK(s, !o->recorded || st->term <= o->recorded,
          "node %u was removed in term %" G_GUINT64_FORMAT
          " and is elected in term %" G_GUINT64_FORMAT,
          sn->id, o->recorded, st->term);
}

static bool has_entry(const void *ctx, raft_id voter)
{
    const struct question *q = ctx;
    return voter == q->sn->id ? q->persisted >= q->index
                              : check_log_has(q->sn->sim, voter, q->term, q->index);
}

/* By the configuration at the beginning of the call or that at its end: which of them, cannot be
 * seen. But one that is joint is left only after it was committed by itself. */
void check_conf_commit(struct sim_node *sn, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    struct raft_conf before, after;
    raft_index was = in_force(sn, sn->seen[0].last, &before), is = in_force(sn, st->last, &after);
    struct question q = {sn, st->term, st->commit, st->persisted};
    bool good = majority(&after, has_entry, &q) || majority(&before, has_entry, &q);
    if (good && was != is && before.n_outgoing > 0 && was > sn->seen[0].commit) {
        q.index = was;
        good = majority(&before, has_entry, &q);
    }
    CHECK(s, good,
          "node %u commits %" G_GUINT64_FORMAT " in term %" G_GUINT64_FORMAT
          " without a majority of %s",
          sn->id, q.index, st->term, conf_text(&before));
}

/* --- who was removed -------------------------------------------------------------------------- */

void check_conf_asked(struct sim *s, enum member_op op, unsigned id)
{
    s->check_conf->asked[id] |= 1u << op;
}

bool check_conf_removed(const struct sim *s, unsigned id)
{
    return s->check_conf->out[id].removed;
}

bool check_conf_recorded(const struct sim *s, unsigned id)
{
    return s->check_conf->out[id].recorded > 0;
}

bool check_conf_is_spent(const struct sim *s, unsigned id)
{
    const struct check_conf *c = s->check_conf;
    bool spent = c->out[id].removed;
    for (guint i = 0; i < c->all->len && !spent; i++) {
        const struct decision *d = decision_at(c, i);
        spent = d->committed && d->member == id && d->index < c->newest.index;
    }
    return spent;
}

void check_conf_served(struct sim *s, unsigned node, uint64_t asked_at)
{
    const struct out *o = &s->check_conf->out[node];
    /* Before its record it may be the only one that knows of its removal, lead once more, and serve
     * what it commits on the way to applying it. */
    CHECK(s, o->recorded == 0 || asked_at <= o->recorded_at,
          "node %u, removed at %.6f s, serves what was asked at %.6f s", node,
          (double)o->recorded_at / 1e9, (double)asked_at / 1e9);
}

void check_conf_told(struct sim_node *sn)
{
    CHECK(sn->sim, check_conf_removed(sn->sim, sn->id) || sn->wiped,
          "node %u ends as if it were removed, but it is not", sn->id);
}

/* A node that is running, out of the last configuration, and knows one that is in it and heard. */
static bool is_to_be_told(const struct sim *s, struct sim_node *sn)
{
    const struct raft_conf *conf = &s->check_conf->newest.conf;
    if (!sn->node || !check_conf_removed(s, sn->id) || sn->wiped)
        return false;
    for (unsigned i = 1; i <= s->n; i++) {
        const struct sim_node *other = &s->nodes[i - 1];
        if (check_conf_has(conf, i) && other->node && !other->wiped && peer_find(sn->node, i))
            return true;
    }
    return false;
}

bool check_conf_settled(struct sim *s)
{
    bool settled = s->check_conf->newest.conf.n_outgoing == 0;
    for (unsigned i = 0; i < s->n && settled; i++)
        settled = !is_to_be_told(s, &s->nodes[i]);
    return settled;
}

/* --- what is asked of it ---------------------------------------------------------------------- */

bool check_conf_changed(const struct sim *s)
{
    return s->check_conf->newest.index > 0;
}

bool check_conf_leads_joint(const struct sim_node *sn)
{
    struct raft_status st;
    raft_get_status(core_of(sn), &st);
    return st.role == RAFT_LEADER && raft_get_conf(core_of(sn))->n_outgoing > 0;
}

const struct raft_conf *check_conf_committed(const struct sim *s)
{
    return &s->check_conf->newest.conf;
}

void check_conf_each(const struct sim *s, void (*fn)(void *arg, const struct raft_conf *c),
                     void *arg)
{
    const struct check_conf *c = s->check_conf;
    fn(arg, &c->newest.conf);
    for (guint i = 0; i < c->all->len; i++)
        if (decision_at(c, i)->is_conf && decision_at(c, i)->index > c->newest.index)
            fn(arg, &decision_at(c, i)->conf);
}

static bool says(const struct msg_members_reply *m, const struct raft_conf *conf)
{
    for (uint32_t i = 0; i < m->n_members; i++)
        if (roles(conf, m->members[i].node) != m->members[i].roles)
            return false;
    return m->joint == (conf->n_outgoing > 0);
}

void check_conf_said(struct sim *s, unsigned node, const struct msg_members_reply *m, bool exact)
{
    const struct check_conf *c = s->check_conf;
    struct raft_conf file;
    bool found = says(m, &c->newest.conf);
    file_conf(&s->nodes[node - 1], &file);
    for (guint i = 0; i < c->all->len && !found && !exact; i++)
        found = decision_at(c, i)->is_conf && says(m, &decision_at(c, i)->conf);
    CHECK(s, found || (!exact && says(m, &file)),
          "node %u tells of members that no configuration has had; the last one is %s", node,
          conf_text(&c->newest.conf));
    /* Besides them it may know one of whom only the record was made. */
    for (unsigned id = 1; exact && id <= s->n; id++) {
        bool listed = false, member = check_conf_has(&c->newest.conf, id);
        for (uint32_t i = 0; i < m->n_members; i++)
            listed |= m->members[i].node == id;
        bool may = !check_conf_removed(s, id) && c->asked[id] & 1u << MEMBER_ADD;
        CHECK(s, member ? listed : !listed || may || id == node, "node %u %s node %u", node,
              listed ? "still tells of" : "does not tell of", id);
    }
}
