/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/arranger.h"

#define STEP_MAX MS(20)
#define PATIENCE SEC(2)
/* Where clients work (request.c): moves of others are seen by nobody. */
#define BUSY_SHARDS 12

/* --- links ------------------------------------------------------------------------------------ */

static struct sim_arranger *arranger_of(struct net_user *u)
{
    return container_of(u, struct sim_arranger, end);
}

static void ask_later(struct sim_arranger *a, uint64_t delay)
{
    a->asked = 0;
    a->next_at = a->sim->now + delay;
}

static void other_target(struct sim_arranger *a)
{
    a->target = 1 + (unsigned)rng_below(&a->sim->reads_rng, a->sim->n);
}

static void on_open(struct net_user *u, struct net_conn *nc)
{
    net_user_hello(nc, HELLO_MAIN);
}

static unsigned node_of(const struct sim_arranger *a, const struct net_conn *nc)
{
    for (unsigned i = 1; i <= a->sim->n; i++)
        if (a->links[i].conn == nc)
            return i;
    return 0;
}

static void on_close(struct net_user *u, struct net_conn *nc)
{
    struct sim_arranger *a = arranger_of(u);
    unsigned node = node_of(a, nc);
    if (node == 0)
        return;
    a->links[node] = (struct arranger_link){0};
    if (a->asked && a->asked_node == node)
        ask_later(a, MS(50));
    if (a->target == node)
        other_target(a);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void take_config(struct sim_arranger *a, const struct msg_config_reply *m)
{
    a->known = true;
    a->num = m->num;
    a->n_pending = m->n_pending;
    a->n_groups = m->n_groups;
    for (unsigned i = 0; i < m->n_groups && i < SIM_GROUPS; i++)
        a->groups[i] = m->groups[i].gid;
}

static void on_status(struct sim_arranger *a, const struct msg_status *m)
{
    struct sim *s = a->sim;
    if (m->status == ERR_NOT_LEADER) {
        if (m->leader >= 1 && m->leader <= s->n)
            a->target = m->leader;
        else
            other_target(a);
        ask_later(a, MS(20));
        return;
    }
    if (a->made < s->profile.groups)
        a->made += m->status == 0;
    else
        s->counters.configs += m->status == 0;
    a->known = false;
    ask_later(a, sim_spread(&s->reads_rng, s->profile.arrange_pause));
}

static void on_frame(struct net_user *u, struct net_conn *nc, const struct frame *f)
{
    struct sim_arranger *a = arranger_of(u);
    struct arena CLEANUP(arena_finish) memory = {0};
    unsigned node = node_of(a, nc);
    struct msg_config_reply config;
    struct msg_status status;
    if (node == 0)
        return;
    if (f->type == MSG_hello) {
        a->links[node].greeted = true;
        return;
    }
    if (f->id != a->asked)
        return;
    if (f->type == MSG_config_reply && dec_config_reply(f->body, &memory, &config) == 0) {
        take_config(a, &config);
        ask_later(a, MS(1));
    } else if (f->type == MSG_status && dec_status(f->body, &memory, &status) == 0) {
        on_status(a, &status);
    } else {
        sim_fail(a->sim, "the arranger gets a malformed answer of type %u", f->type);
    }
}

/* --- questions -------------------------------------------------------------------------------- */

static void make_group(struct sim_arranger *a, struct enc *e, uint64_t id)
{
    struct group_member members[SIM_NODES];
    struct msg_group_create m = {.gid = a->made + 1, .members = members};
    for (unsigned i = 1; i <= a->sim->n; i++)
        members[m.n_members++].node = i;
    FRAME(e, group_create, id, &m);
}

static bool has_joined(const struct sim_arranger *a, uint32_t gid)
{
    for (unsigned i = 0; i < a->n_groups; i++)
        if (a->groups[i] == gid)
            return true;
    return false;
}

/* Those that have (not) joined; 0: there are none. */
static unsigned candidates(const struct sim_arranger *a, bool joined, struct group_id *ret)
{
    unsigned n = 0;
    for (uint32_t gid = 0; gid <= a->sim->profile.groups; gid++)
        if (has_joined(a, gid) == joined)
            ret[n++].gid = gid;
    return n;
}

static void change(struct sim_arranger *a, struct enc *e, uint64_t id)
{
    struct rng *r = &a->sim->reads_rng;
    struct group_id gids[SIM_GROUPS];
    struct msg_config_change m = {.op = CONFIG_REBALANCE, .num = a->num, .gids = gids};
    uint64_t what = rng_below(r, 10);
    if (a->n_groups == 0 || what < 3) {
        m.op = CONFIG_JOIN;
        m.n_gids = candidates(a, false, gids);
    } else if (what < 5) {
        m.op = CONFIG_LEAVE;
        m.n_gids = candidates(a, true, gids);
    } else if (what < 9) {
        m.op = CONFIG_MOVE;
        m.shard = (uint16_t)rng_below(r, BUSY_SHARDS);
        m.n_gids = candidates(a, true, gids);
    }
    if (m.n_gids > 1) { /* one of them */
        gids[0] = gids[rng_below(r, m.n_gids)];
        m.n_gids = 1;
    }
    trace_line(a->sim, "arranger: op %u gid %u shard %u from configuration %" G_GUINT64_FORMAT,
               m.op, m.n_gids ? gids[0].gid : 0, m.shard, m.num);
    FRAME(e, config_change, id, &m);
}

static bool is_done(const struct sim_arranger *a)
{
    return a->last && a->known && a->n_pending == 0;
}

static void ask(struct sim_arranger *a)
{
    struct sim *s = a->sim;
    struct enc CLEANUP(enc_finish) e = {0};
    struct net_conn *nc = a->links[a->target].conn;
    a->asked = ++a->last_number;
    a->asked_node = a->target;
    a->asked_at = s->now;
    if (a->made < s->profile.groups) {
        make_group(a, &e, a->asked);
    } else if (a->known && !a->last) {
        change(a, &e, a->asked);
        a->known = false;
    } else {
        const struct msg_config_get m = {CONFIG_LATEST};
        FRAME(&e, config_get, a->asked, &m);
    }
    nc->net->ops->send(nc, enc_view(&e));
}

static void arranger_run(struct sim *s, struct event *e)
{
    struct sim_arranger *a = s->arranger;
    struct arranger_link *l = &a->links[a->target];
    if (a->asked && s->now - a->asked_at > PATIENCE) {
        other_target(a);
        ask_later(a, MS(50));
    }
    l = &a->links[a->target];
    if (!a->asked && s->now >= a->next_at && !is_done(a)) {
        if (!l->conn)
            *l = (struct arranger_link){net_user_dial(s, &a->end, a->target), false};
        else if (l->greeted)
            ask(a);
        else if (rng_below(&s->reads_rng, 50) == 0)
            other_target(a);
    }
    sim_post(s, EVENT_NEW(struct event, arranger_run), MS(1) + rng_below(&s->reads_rng, STEP_MAX));
}

/* --- life ------------------------------------------------------------------------------------- */

void arranger_init(struct sim *s)
{
    if (s->profile.groups == 0)
        return;
    struct sim_arranger *a = s->arranger = g_new0(struct sim_arranger, 1);
    a->end = (struct net_user){ROLE_ADMIN, on_open, on_frame, on_close};
    a->sim = s;
    other_target(a);
    sim_post(s, EVENT_NEW(struct event, arranger_run), MS(100));
}

void arranger_finish(struct sim *s)
{
    g_free(s->arranger);
}

void arranger_last(struct sim *s)
{
    if (!s->arranger)
        return;
    s->arranger->last = true;
    s->arranger->known = false;
}

bool arranger_idle(const struct sim *s)
{
    return !s->arranger || is_done(s->arranger);
}
