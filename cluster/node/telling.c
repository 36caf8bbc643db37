/* SPDX-License-Identifier: Apache-2.0 */
/* telling.c - the outcomes of transactions over several groups, told to the participants. */
#include "cluster/node/coordinate_impl.h"

#define TELL_MS     5000
#define AGAIN_TICKS 5
/* Ended ones are forgotten together: so many, or after so long. */
#define FORGET_MANY 256
#define FORGET_MS   200

struct told {
    struct telling *telling;
    uint32_t gid;
    uint64_t ask;      /* 0: none is under way */
    uint64_t again_at; /* tick: after an error */
    bool done;
};

struct telling {
    struct coordinator *coordinator;
    struct txid id;
    uint64_t time;
    unsigned n, n_done;
    struct told told[GROUPS_MAX];
};

static void enc_outcome_of(struct coordinator *c, const struct txid *id, bool commit, uint64_t time,
                           struct enc *e)
{
    struct txid below = coordinator_below(c);
    const struct msg_outcome m = {
        .gid = id->gid,
        .term = id->term,
        .n = id->n,
        .below_term = below.term,
        .below_n = below.n,
        .commit = commit,
        .time = time,
    };
    enc_outcome(e, &m);
}

static void on_told(void *ctx, int err, unsigned type, struct bytes body);

static void tell(struct told *to)
{
    struct telling *t = to->telling;
    struct node *n = t->coordinator->group->node;
    CLEANUP(enc_finish) struct enc e = {0};
    enc_outcome_of(t->coordinator, &t->id, true, t->time, &e);
    to->ask = ask_command(n, to->gid, KV_CMD_OUTCOME, enc_view(&e), TELL_MS, on_told, to);
}

static void telling_end(struct telling *t)
{
    struct coordinator *c = t->coordinator;
    g_array_append_val(c->ended, t->id);
    g_ptr_array_remove(c->tellings, t);
    g_free(t);
}

static void on_told(void *ctx, int err, unsigned type, struct bytes body)
{
    struct told *to = ctx;
    struct telling *t = to->telling;
    struct node *n = t->coordinator->group->node;
    to->ask = 0;
    if (err == -ERR_STALE || err == -ERR_NOT_FOUND)
        node_fatal(n, err,
                   "group %u did not keep what it had promised to transaction %u/%" G_GUINT64_FORMAT
                   "/%" G_GUINT64_FORMAT,
                   to->gid, t->id.gid, t->id.term, t->id.n);
    if (err < 0) {
        to->again_at = n->now + AGAIN_TICKS; /* for as long as it takes */
        return;
    }
    to->done = true;
    if (++t->n_done == t->n)
        telling_end(t);
}

void tell_commit(struct coordinator *c, const struct kv_decision *d)
{
    struct telling *t = g_new0(struct telling, 1);
    t->coordinator = c;
    t->id = d->id;
    t->time = d->time;
    t->n = d->n_gids;
    g_ptr_array_add(c->tellings, t);
    for (unsigned i = 0; i < t->n; i++) {
        t->told[i] = (struct told){.telling = t, .gid = d->gids[i]};
        tell(&t->told[i]);
    }
}

static void on_abort_told(void *ctx, int err, unsigned type, struct bytes body)
{
}

void tell_abort(struct coordinator *c, const struct txid *id, const uint32_t *gids, unsigned n)
{
    CLEANUP(enc_finish) struct enc e = {0};
    enc_outcome_of(c, id, false, 0, &e);
    for (unsigned i = 0; i < n; i++)
        ask_command(c->group->node, gids[i], KV_CMD_OUTCOME, enc_view(&e), TELL_MS, on_abort_told,
                    NULL);
}

static void forget(struct coordinator *c)
{
    struct group *g = c->group;
    unsigned n = MIN(c->ended->len, TXIDS_ENDED_MAX);
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_forget m = {
        .gid = g->gid, .n_ended = n, .ended = (struct txid *)(void *)c->ended->data};
    enc_forget(&e, &m);
    if (group_propose(g, KV_CMD_FORGET, enc_view(&e), NULL) == 0)
        g_array_remove_range(c->ended, 0, n);
}

void tellings_tick(struct coordinator *c)
{
    uint64_t now = c->group->node->now;
    for (guint i = 0; i < c->tellings->len; i++) {
        struct telling *t = g_ptr_array_index(c->tellings, i);
        for (unsigned k = 0; k < t->n; k++)
            if (t->told[k].ask == 0 && !t->told[k].done && now >= t->told[k].again_at)
                tell(&t->told[k]);
    }
    if (c->ended->len >= FORGET_MANY ||
        (c->ended->len > 0 && c->group->node->now % TICKS(FORGET_MS) == 0))
        forget(c);
}

void tellings_drop(struct coordinator *c)
{
    struct node *n = c->group->node;
    for (guint i = 0; i < c->tellings->len; i++) {
        struct telling *t = g_ptr_array_index(c->tellings, i);
        for (unsigned k = 0; n->asks && k < t->n; k++)
            ask_drop(n, t->told[k].ask);
        g_free(t);
    }
    g_ptr_array_set_size(c->tellings, 0);
    g_array_set_size(c->ended, 0);
}
