/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/reshape.h"
#include "cluster/node/ask.h"
#include "cluster/node/membership.h"
#include "cluster/node/place.h"
#include "cluster/node/request.h"
#include "cluster/node/table.h"

#define LOOK_TICKS 5
#define TELL_MS    5000

struct reshape {
    struct group *group;
    uint64_t told; /* ask: HELD is on its way; 0: it is not */
};

struct reshape *reshape_create(struct group *g)
{
    struct reshape *s = g_new0(struct reshape, 1);
    s->group = g;
    return s;
}

void reshape_yield(struct reshape *s)
{
    if (s->told && s->group->node->asks)
        ask_drop(s->group->node, s->told);
    s->told = 0;
}

void reshape_destroy(struct reshape *s)
{
    if (!s)
        return;
    reshape_yield(s);
    g_free(s);
}

static bool has(const uint32_t *ids, unsigned n, uint32_t id)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* --- telling ---------------------------------------------------------------------------------- */

static void on_told(void *ctx, int err, unsigned type, struct bytes body)
{
    struct reshape *s = ctx;
    s->told = 0; /* the next look tells whether it was heard */
}

static bool is_held(const struct kv_group *row, const struct raft_conf *conf)
{
    if (row->n_held != conf->n_voters + conf->n_learners)
        return false;
    for (unsigned i = 0; i < row->n_held; i++)
        if (!conf_has(conf, row->held[i]))
            return false;
    return true;
}

static void tell(struct reshape *s, const struct raft_conf *conf)
{
    struct group *g = s->group;
    CLEANUP(enc_finish) struct enc e = {0};
    struct group_member members[VOTERS_MAX];
    struct msg_group_home m = {.gid = g->gid, .members = members};
    for (unsigned i = 0; i < conf->n_voters && m.n_members < VOTERS_MAX; i++)
        members[m.n_members++].node = conf->voters[i];
    for (unsigned i = 0; i < conf->n_learners && m.n_members < VOTERS_MAX; i++)
        members[m.n_members++].node = conf->learners[i];
    enc_group_home(&e, &m);
    s->told = ask_command(g->node, 0, KV_CMD_HELD, enc_view(&e), TELL_MS, on_told, s);
}

/* --- steps ------------------------------------------------------------------------------------ */

static void change(struct group *g, const struct raft_conf *to, const char *what, uint32_t node)
{
    struct node *n = g->node;
    raft_index index;
    raft_term term;
    int err = raft_change_conf(g->raft, to, n->env.wall_ns(n->env.ctx), &index, &term);
    group_touch(g);
    if (err < 0 && err != -ERR_BUSY)
        node_log(n, LOG_WARN, "reshape gid=%u: %s", g->gid, err_text(err));
    if (err == 0)
        node_log(n, LOG_INFO, "reshape gid=%u op=%s node=%u voters=%u", g->gid, what, node,
                 to->n_voters);
}

/* True: a learner is being added, or there is no room for one now. */
static bool add_missing(struct group *g, const struct kv_group *row, const struct raft_conf *now)
{
    struct raft_conf to = *now;
    for (unsigned i = 0; i < row->n_home; i++) {
        if (conf_has(now, row->home[i]))
            continue;
        if (to.n_learners == VOTERS_MAX)
            return true;
        to.learners[to.n_learners++] = row->home[i];
        change(g, &to, "add", row->home[i]);
        return true;
    }
    return false;
}

/* Of home: those that have not caught up, and those not heard for an election time-out. */
static void look_at(const struct group *g, const struct kv_group *row, unsigned *ret_behind,
                    unsigned *ret_silent)
{
    struct raft_progress_view view[VOTERS_MAX * 3 + 1];
    unsigned count = raft_get_progress(g->raft, view, ARRAY_LEN(view));
    *ret_behind = *ret_silent = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!has(row->home, row->n_home, view[i].id) || view[i].id == g->node->config.id)
            continue;
        *ret_behind += !view[i].caught_up;
        *ret_silent += view[i].ticks_since_heard >= g->node->config.election_ticks;
    }
}

static bool same_voters(const struct raft_conf *a, const struct raft_conf *b)
{
    if (a->n_voters != b->n_voters || a->n_learners != b->n_learners)
        return false;
    for (unsigned i = 0; i < a->n_voters; i++)
        if (!has(b->voters, b->n_voters, a->voters[i]))
            return false;
    return true;
}

static void hand_over(struct group *g, const struct kv_group *row)
{
    raft_id to = raft_transfer_choice(g->raft);
    for (unsigned i = 0; i < row->n_home && !has(row->home, row->n_home, to); i++)
        to = row->home[i];
    if (to == RAFT_NONE || !has(row->home, row->n_home, to))
        return;
    if (raft_transfer(g->raft, to) == 0)
        group_touch(g);
}

/* Home are the voters, and for now this leader. */
static void change_voters(struct group *g, const struct kv_group *row, const struct raft_conf *now)
{
    struct raft_conf to = {.n_voters = row->n_home};
    unsigned behind, silent;
    bool at_home = has(row->home, row->n_home, g->node->config.id);
    memcpy(to.voters, row->home, row->n_home * sizeof(to.voters[0]));
    if (!at_home)
        to.voters[to.n_voters++] = g->node->config.id;
    if (same_voters(now, &to)) {
        if (!at_home)
            hand_over(g, row);
        return;
    }
    look_at(g, row, &behind, &silent);
    bool grows = now->n_learners > 0; /* who comes must have caught up */
    if ((grows && behind > 0) || silent * 2 >= to.n_voters)
        return;
    change(g, &to, "voters", 0);
}

static bool is_applied(const struct group *g, const struct raft_conf *now)
{
    const struct raft_conf *applied = raft_conf_at(g->raft, g->applied);
    return now->n_outgoing == 0 && applied && memcmp(applied, now, sizeof(*now)) == 0;
}

void reshape_tick(struct reshape *s)
{
    struct group *g = s->group, *g0 = node_group(g->node, 0);
    if (g->gid == 0 || g->node->now % LOOK_TICKS != 0 || !g->leading || g->paused ||
        g->store_full || !g0->kv)
        return;
    const struct kv_group *row = kv_group(g0->kv, g->gid);
    const struct raft_conf *now = raft_get_conf(g->raft);
    if (!row || row->home_index == 0 || !is_applied(g, now) || group_hands_over(g))
        return;
    if (!is_held(row, now)) {
        if (!s->told)
            tell(s, now);
        return;
    }
    if (!add_missing(g, row, now))
        change_voters(g, row, now);
}

/* --- requests --------------------------------------------------------------------------------- */

/* Members while it moves. */
static unsigned together(const struct kv_group *row, const struct msg_group_home *m)
{
    unsigned n = m->n_members;
    for (unsigned i = 0; i < row->n_held; i++) {
        bool stays = false;
        for (uint32_t k = 0; k < m->n_members; k++)
            stays |= m->members[k].node == row->held[i];
        n += !stays;
    }
    return n;
}

static int check(struct group *g0, const struct msg_group_home *m, struct errmsg *msg)
{
    const struct raft_conf *conf = raft_get_conf(g0->raft);
    int err = kv_home_check(g0->kv, m);
    if (err == -ERR_NOT_FOUND)
        return errmsg_set(msg, err, "there is no group %u", m->gid);
    if (err == -ERR_REMOVED)
        return errmsg_set(msg, err, "one of the nodes was removed from this cluster");
    if (err < 0 || m->n_members > HOME_MAX)
        return errmsg_set(msg, -ERR_INVALID, "a group lives on 1 to %d different nodes", HOME_MAX);
    for (uint32_t i = 0; i < m->n_members; i++)
        if (!conf_has(conf, m->members[i].node))
            return errmsg_set(msg, -ERR_NOT_FOUND, "n%u is no node of this cluster",
                              m->members[i].node);
    if (err > 0 && together(kv_group(g0->kv, m->gid), m) >= VOTERS_MAX)
        return errmsg_set(msg, -ERR_TOO_BIG, "too many nodes at once: move some first");
    if (g0->change || conf->n_outgoing > 0)
        return errmsg_set(msg, -ERR_BUSY, "a change of the membership is under way");
    return err;
}

int serve_group_home(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct group *g0 = node_group(n, 0);
    struct msg_group_home m;
    struct errmsg msg = {""};
    struct raft_status s;
    if (dec_group_home(body, &n->scratch, &m) < 0)
        return -ERR_INVALID;
    if (!group_is_leader(g0) || !g0->leading) {
        conn_answer_status(n, c->token, id, -ERR_NOT_LEADER, group_hint(g0), NULL);
        return 0;
    }
    int err = check(g0, &m, &msg);
    if (err <= 0) {
        conn_answer_status(n, c->token, id, err, 0, msg.text);
        return 0;
    }
    struct request *r = request_create(n, c, id, 0, BYTES_NONE);
    if (!r)
        return -ERR_BUSY;
    node_log(n, LOG_INFO, "home gid=%u nodes=%u", m.gid, m.n_members);
    group_propose(g0, KV_CMD_HOME, body, r);
    raft_get_status(g0->raft, &s);
    g0->group_asked = s.last;
    return 0;
}
