/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold between logs, by what leaders send and what was acknowledged: an entry of an index
 * and term is one entry with one predecessor (log matching, by induction over the predecessors);
 * who is elected has all that was committed in earlier terms (leader completeness). What a node has
 * acknowledged and for whom it has voted is remembered here; check_conf.c counts it.
 */
#include "cluster/node/group.h"
#include "tests/sim/sim.h"

struct entry_name {
    uint64_t index, term;
};

struct entry_known {
    struct entry_name name;
    uint64_t before, hash; /* term of the entry before */
    unsigned node;         /* that sent it first */
};

struct upto {
    raft_term term;
    raft_index index;
};

struct check_log {
    GHashTable *entries;          /* struct entry_known by its name */
    GArray *committed;            /* struct upto, by term: by its leader */
    GArray *terms;                /* of committed entries, by index; 0: not seen yet */
    GArray *acked[SIM_NODES + 1]; /* struct upto, by term */
    GArray *votes[SIM_NODES + 1]; /* the same, its index being a node */
};

static guint name_hash(gconstpointer p)
{
    const struct entry_name *e = p;
    return (guint)hash_u64(e->index, e->term);
}

static gboolean name_equal(gconstpointer a, gconstpointer b)
{
    const struct entry_name *x = a, *y = b;
    return x->index == y->index && x->term == y->term;
}

void check_log_init(struct sim *s)
{
    struct check_log *c = s->check_log = g_new0(struct check_log, 1);
    c->entries = g_hash_table_new_full(name_hash, name_equal, NULL, g_free);
    c->committed = g_array_new(FALSE, FALSE, sizeof(struct upto));
    c->terms = g_array_new(FALSE, TRUE, sizeof(raft_term));
    for (unsigned i = 0; i <= SIM_NODES; i++) {
        c->acked[i] = g_array_new(FALSE, FALSE, sizeof(struct upto));
        c->votes[i] = g_array_new(FALSE, FALSE, sizeof(struct upto));
    }
}

void check_log_finish(struct sim *s)
{
    struct check_log *c = s->check_log;
    g_hash_table_destroy(c->entries);
    g_array_free(c->committed, TRUE);
    g_array_free(c->terms, TRUE);
    for (unsigned i = 0; i <= SIM_NODES; i++) {
        g_array_free(c->acked[i], TRUE);
        g_array_free(c->votes[i], TRUE);
    }
    g_free(c);
}

/* Terms of one list mostly rise, so the place is near its end. */
static void note_upto(GArray *a, raft_term term, raft_index index)
{
    guint i = a->len;
    while (i > 0 && g_array_index(a, struct upto, i - 1).term > term)
        i--;
    struct upto *last = i > 0 ? &g_array_index(a, struct upto, i - 1) : NULL;
    if (last && last->term == term) {
        last->index = MAX(last->index, index);
        return;
    }
    const struct upto u = {term, index};
    g_array_insert_val(a, i, u);
}

static raft_index upto_in(const GArray *a, raft_term term)
{
    for (guint i = a->len; i > 0; i--)
        if (g_array_index(a, struct upto, i - 1).term == term)
            return g_array_index(a, struct upto, i - 1).index;
    return 0;
}

/* --- log matching ----------------------------------------------------------------------------- */

static void check_entry(struct sim_node *sn, const struct raft_wire_entry *e, uint64_t before)
{
    struct sim *s = sn->sim;
    const struct entry_name name = {e->index, e->term};
    uint64_t hash = hash_bytes(hash_u64(e->type, e->time), e->data);
    struct entry_known *known = g_hash_table_lookup(s->check_log->entries, &name);
    if (!known) {
        known = g_new(struct entry_known, 1);
        *known = (struct entry_known){name, before, hash, sn->id};
        g_hash_table_insert(s->check_log->entries, &known->name, known);
        return;
    }
    CHECK(s, known->hash == hash,
          "entry %" G_GUINT64_FORMAT " of term %" G_GUINT64_FORMAT
          " is one on node %u, another one on node %u",
          e->index, e->term, known->node, sn->id);
    CHECK(s, known->before == before,
          "entry %" G_GUINT64_FORMAT " of term %" G_GUINT64_FORMAT
          " follows one of term %" G_GUINT64_FORMAT " on node %u, one of term %" G_GUINT64_FORMAT
          " on node %u",
          e->index, e->term, known->before, known->node, before, sn->id);
}

void check_log_append(struct sim_node *sn, const struct msg_raft_wire *m)
{
    uint64_t before = m->log_term;
    for (uint32_t i = 0; i < m->n_entries; i++) {
        CHECK(sn->sim, m->entries[i].term >= before && m->entries[i].index == m->index + 1 + i,
              "node %u sends entries out of order", sn->id);
        check_entry(sn, &m->entries[i], before);
        check_conf_entry(sn, m->entries[i].index, m->entries[i].term,
                         (enum raft_entry_type)m->entries[i].type, m->entries[i].data);
        before = m->entries[i].term;
    }
}

/* --- commit ----------------------------------------------------------------------------------- */

void check_log_acked(struct sim_node *sn, raft_term term, raft_index index)
{
    note_upto(sn->sim->check_log->acked[sn->id], term, index);
}

bool check_log_has(const struct sim *s, unsigned node, raft_term term, raft_index index)
{
    return upto_in(s->check_log->acked[node], term) >= index;
}

void check_log_voted(struct sim_node *sn, raft_term term, raft_id candidate)
{
    note_upto(sn->sim->check_log->votes[sn->id], term, candidate);
}

raft_id check_log_granted(const struct sim *s, unsigned node, raft_term term)
{
    return (raft_id)upto_in(s->check_log->votes[node], term);
}

void check_log_order(struct sim_node *sn, raft_term term, raft_id to)
{
    struct raft_status st;
    /* Else it was composed before term or transfer ended, and entries may have come since. */
    if (!node_group_status(sn->node, 0, &st) || st.term != term || st.transfer_to != to)
        return;
    CHECK(sn->sim, check_log_has(sn->sim, to, term, st.last),
          "node %u orders node %u to take over, which has not got entry %" G_GUINT64_FORMAT, sn->id,
          to, st.last);
    sn->sim->counters.timeouts_now++;
}

void check_log_elected(struct sim_node *sn, const struct raft_status *st)
{
    const GArray *committed = sn->sim->check_log->committed;
    for (guint i = 0; i < committed->len; i++) {
        const struct upto *u = &g_array_index(committed, struct upto, i);
        CHECK(sn->sim, u->term >= st->term || u->index <= st->last,
              "node %u is elected in term %" G_GUINT64_FORMAT
              " with entries up to %" G_GUINT64_FORMAT ", in term %" G_GUINT64_FORMAT
              " %" G_GUINT64_FORMAT " was committed",
              sn->id, st->term, st->last, u->term, u->index);
    }
}

void check_log_commit(struct sim_node *sn, const struct raft_status *st)
{
    check_conf_commit(sn, st);
    note_upto(sn->sim->check_log->committed, st->term, st->commit);
}

/* From where its last life or call has left it, as far as its log holds it. */
void check_log_immutable(struct sim_node *sn, const struct raft_status *st)
{
    struct sim *s = sn->sim;
    const struct raft *r = node_group(sn->node, 0)->raft;
    GArray *terms = s->check_log->terms;
    if (terms->len <= st->commit)
        g_array_set_size(terms, (guint)st->commit + 1);
    for (raft_index i = MAX(sn->seen[0].commit + 1, st->first); i <= st->commit; i++) {
        raft_term *known = &g_array_index(terms, raft_term, i), term = raft_term_at(r, i);
        CHECK(s, *known == 0 || *known == term,
              "entry %" G_GUINT64_FORMAT " was committed with term %" G_GUINT64_FORMAT
              ", node %u commits one of term %" G_GUINT64_FORMAT,
              i, *known, sn->id, term);
        *known = term;
    }
}
