/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold between logs, by what leaders send and what was acknowledged: an entry of an index
 * and term is one entry with one predecessor (log matching, by induction over the predecessors);
 * who is elected has all that was committed in earlier terms (leader completeness); what a leader
 * commits is durable on a majority.
 */
#include "cluster/base/msg.h"
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
    GArray *acked[SIM_NODES + 1]; /* struct upto, by term */
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
    for (unsigned i = 0; i <= SIM_NODES; i++)
        c->acked[i] = g_array_new(FALSE, FALSE, sizeof(struct upto));
}

void check_log_finish(struct sim *s)
{
    struct check_log *c = s->check_log;
    g_hash_table_destroy(c->entries);
    g_array_free(c->committed, TRUE);
    for (unsigned i = 0; i <= SIM_NODES; i++)
        g_array_free(c->acked[i], TRUE);
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
        before = m->entries[i].term;
    }
}

/* --- commit ----------------------------------------------------------------------------------- */

void check_log_acked(struct sim_node *sn, raft_term term, raft_index index)
{
    note_upto(sn->sim->check_log->acked[sn->id], term, index);
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
    struct sim *s = sn->sim;
    struct check_log *c = s->check_log;
    unsigned have = st->persisted >= st->commit;
    for (unsigned i = 1; i <= s->n; i++)
        have += i != sn->id && upto_in(c->acked[i], st->term) >= st->commit;
    CHECK(s, have > s->n / 2,
          "node %u commits %" G_GUINT64_FORMAT " in term %" G_GUINT64_FORMAT
          ", %u of %u nodes have it",
          sn->id, st->commit, st->term, have, s->n);
    note_upto(c->committed, st->term, st->commit);
}
