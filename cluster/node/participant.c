/* SPDX-License-Identifier: Apache-2.0 */
/* participant.c - what is prepared here and hears no more; and what a coordinator says of its own.
 */
#include "cluster/node/coordinate_impl.h"
#include "cluster/node/route.h"

#define ASK_MS 3000

/* One question about one record. */
struct question {
    struct coordinator *coordinator;
    uint64_t ask;
    struct txid id;
};

static void questions_remove(struct coordinator *c, uint64_t ask)
{
    for (guint i = 0; i < c->asks->len; i++)
        if (g_array_index(c->asks, struct question *, i)->ask == ask) {
            g_free(g_array_index(c->asks, struct question *, i));
            g_array_remove_index_fast(c->asks, i);
            return;
        }
}

void questions_drop(struct coordinator *c)
{
    struct node *n = c->group->node;
    for (guint i = 0; i < c->asks->len; i++) {
        struct question *q = g_array_index(c->asks, struct question *, i);
        if (n->asks)
            ask_drop(n, q->ask);
        g_free(q);
    }
    g_array_set_size(c->asks, 0);
}

static void settle(struct group *g, const struct txid *id, const struct msg_txn_fate *m)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_outcome out = {
        .gid = id->gid,
        .term = id->term,
        .n = id->n,
        .below_term = 0, /* this one must be settled first */
        .commit = m->fate == FATE_COMMITTED,
        .time = m->time,
    };
    enc_outcome(&e, &out);
    node_log(g->node, LOG_INFO,
             "settle gid=%u txn=%u/%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT " commit=%u", g->gid,
             id->gid, id->term, id->n, out.commit);
    (void)group_propose(g, KV_CMD_OUTCOME, enc_view(&e), NULL);
}

static void fence(struct group *g, uint32_t gid, const struct msg_txn_fate *m)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_forget out = {.gid = gid, .below_term = m->below_term, .below_n = m->below_n};
    enc_forget(&e, &out);
    (void)group_propose(g, KV_CMD_FORGET, enc_view(&e), NULL);
}

static const struct txn_record *find(const struct group *g, const struct txid *id)
{
    unsigned n;
    const struct txn_record *const *all = kv_records(g->kv, &n);
    for (unsigned i = 0; i < n; i++)
        if (txid_order(&all[i]->id, id) == 0)
            return all[i];
    return NULL;
}

static void on_fate(void *ctx, int err, unsigned type, struct bytes body)
{
    struct question *q = ctx;
    struct coordinator *c = q->coordinator;
    struct group *g = c->group;
    struct txid id = q->id;
    struct msg_txn_fate m;
    questions_remove(c, q->ask);
    if (err < 0 || type != MSG_txn_fate || dec_txn_fate(body, &g->node->scratch, &m) < 0 ||
        m.status != 0 || !coordinator_leads(c))
        return;
    const struct txn_record *t = find(g, &id);
    const struct txid below = {id.gid, m.below_term, m.below_n};
    if (t && t->fate == FATE_PREPARED && m.fate != FATE_PREPARED)
        settle(g, &id, &m);
    else if (t && t->fate != FATE_PREPARED && txid_order(&id, &below) < 0)
        fence(g, id.gid, &m);
}

static void ask_fate(struct coordinator *c, const struct txid *id)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_txn_ask m = {id->gid, id->term, id->n};
    struct question *q = g_new0(struct question, 1);
    enc_txn_ask(&e, &m);
    q->coordinator = c;
    q->id = *id;
    g_array_append_val(c->asks, q);
    q->ask = ask_group(c->group->node, id->gid, MSG_txn_ask, enc_view(&e), ASK_MS, on_fate, q);
}

/* Those that were prepared before the last look, and of each coordinator the oldest that ended: its
 * answer says how far those may be forgotten. */
void participant_house(struct coordinator *c)
{
    struct group *g = c->group;
    unsigned n;
    uint32_t ended_gid = UINT32_MAX;
    raft_index old = c->seen;
    if (!coordinator_leads(c) || g->paused || g->store_full || c->asks->len > 0)
        return;
    const struct txn_record *const *all = kv_records(g->kv, &n);
    for (unsigned i = 0; i < n && c->asks->len < ATTEMPTS_MAX; i++) {
        const struct txn_record *t = all[i];
        if (t->fate == FATE_PREPARED && t->index <= old) {
            ask_fate(c, &t->id);
        } else if (t->fate != FATE_PREPARED && t->id.gid != ended_gid) {
            ended_gid = t->id.gid;
            ask_fate(c, &t->id);
        }
    }
    c->seen = g->applied;
}

/* --- the coordinator's answer ----------------------------------------------------------------- */

void read_txn_ask(struct group *g, struct request *r, const struct raft_read *read)
{
    struct coordinator *c = g->coordinator;
    struct msg_txn_ask m;
    struct msg_txn_fate reply = {.fate = FATE_ABORTED};
    if (dec_txn_ask(buf_bytes(r->body), &g->node->scratch, &m) < 0 || !coordinator_leads(c)) {
        request_fail(r, -ERR_NOT_LEADER, group_hint(g), NULL);
        return;
    }
    const struct txid id = {m.gid, m.term, m.n}, below = coordinator_below(c);
    const struct kv_decision *d = kv_decision(g->kv, &id);
    if (d) {
        reply.fate = FATE_COMMITTED;
        reply.time = d->time;
    } else if (coordinator_has(c, &id)) {
        reply.fate = FATE_PREPARED;
    }
    reply.below_term = below.term;
    reply.below_n = below.n;
    if (!group_read_holds(g, read, r))
        return;
    CONN_ANSWER(g->node, r->token, txn_fate, r->id, &reply);
    request_destroy(r);
}
