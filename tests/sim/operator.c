/* SPDX-License-Identifier: Apache-2.0 */
/* What administrators have in mind, and how they go about it. */
#include "tests/sim/operator.h"
#include "cluster/node/impl.h"

#define STEP_MAX MS(20)
/* How long a request may still be on its way, or be carried out, after it was given up: behind a
 * blocked link, at a paused node, in a log that is committed later. */
#define MAYBE SEC(60)

/* --- links ------------------------------------------------------------------------------------ */

static struct sim_operator *operator_of(struct net_user *u)
{
    return container_of(u, struct sim_operator, end);
}

static unsigned node_of(const struct sim_operator *o, const struct net_conn *nc)
{
    for (unsigned i = 1; i <= o->sim->n; i++)
        if (o->links[i].conn == nc)
            return i;
    return 0;
}

static void on_open(struct net_user *u, struct net_conn *nc)
{
    net_user_hello(nc, HELLO_MAIN);
}

static void on_close(struct net_user *u, struct net_conn *nc)
{
    struct sim_operator *o = operator_of(u);
    unsigned node = node_of(o, nc);
    if (node == 0)
        return;
    o->links[node] = (struct operator_link){0};
    if (o->asked && o->asked_node == node)
        operator_again(o, MS(50));
}

static void on_frame(struct net_user *u, struct net_conn *nc, const struct frame *f)
{
    struct sim_operator *o = operator_of(u);
    unsigned node = node_of(o, nc);
    if (node == 0)
        return;
    if (f->type == MSG_hello)
        o->links[node].greeted = true;
    else if (o->asked && f->id == o->asked && !g_queue_is_empty(&o->tasks))
        operator_answered(o, g_queue_peek_head(&o->tasks), f);
}

static void hang_up(struct sim_operator *o, unsigned node)
{
    struct net_conn *nc = o->links[node].conn;
    o->links[node] = (struct operator_link){0};
    if (nc)
        nc->net->ops->close(nc);
}

unsigned operator_some_node(struct sim_operator *o)
{
    const struct raft_conf *conf = check_conf_committed(o->sim);
    unsigned id = 1 + (unsigned)rng_below(&o->sim->client_rng, o->sim->n);
    for (unsigned i = 0; i < o->sim->n && !check_conf_has(conf, id); i++)
        id = id % o->sim->n + 1;
    return id;
}

/* --- tasks ------------------------------------------------------------------------------------ */

static const char *const task_names[] = {"start", "add",     "promote", "remove",  "retire",
                                         "move",  "members", "check",   "nonsense"};

static struct task *push(struct sim_operator *o, enum task_kind kind, unsigned node)
{
    struct task *t = g_new0(struct task, 1);
    t->kind = kind;
    t->node = node;
    g_queue_push_tail(&o->tasks, t);
    trace_line(o->sim, "operator %u shall %s n%u", o->id, task_names[kind], node);
    return t;
}

void operator_done(struct sim_operator *o)
{
    struct task *t = g_queue_pop_head(&o->tasks);
    struct sim *s = o->sim;
    o->asked = 0;
    o->retry_at = s->now;
    if (t->kind == TASK_REMOVE || t->kind == TASK_PROMOTE) {
        o->maybe[t->node] = t->kind == TASK_REMOVE ? MEMBER_REMOVE : MEMBER_PROMOTE;
        o->maybe_until[t->node] = s->now + MAYBE;
    }
    g_free(t);
}

void operator_again(struct sim_operator *o, uint64_t pause)
{
    struct task *t = g_queue_peek_head(&o->tasks);
    t->attempts++;
    o->asked = 0;
    o->retry_at = o->sim->now + rng_below(&o->sim->client_rng, 2 * pause);
}

static bool is_done(const struct sim *s, enum member_op op, unsigned id)
{
    return check_conf_removed(s, id) ||
           (op == MEMBER_PROMOTE && check_conf_is_voter(check_conf_committed(s), id));
}

static void add_pending(const struct sim *s, enum member_op op, unsigned id,
                        struct msg_member_change *ret, unsigned max, unsigned *n)
{
    for (unsigned i = 0; i < *n; i++)
        if (ret[i].op == op && ret[i].node == id)
            return;
    if (is_done(s, op, id))
        return;
    ASSERT(*n < max);
    ret[(*n)++] = (struct msg_member_change){.op = (uint8_t)op, .node = id};
}

unsigned operators_pending(const struct sim *s, struct msg_member_change *ret, unsigned max)
{
    unsigned n = 0;
    for (guint i = 0; s->operators && i < s->operators->len; i++) {
        const struct sim_operator *o = g_ptr_array_index(s->operators, i);
        for (const GList *l = o->tasks.head; l; l = l->next) {
            const struct task *t = l->data;
            if (t->kind == TASK_REMOVE || t->kind == TASK_PROMOTE)
                add_pending(s, t->kind == TASK_REMOVE ? MEMBER_REMOVE : MEMBER_PROMOTE, t->node,
                            ret, max, &n);
        }
        for (unsigned id = 1; id <= s->n; id++)
            if (o->maybe_until[id] > s->now)
                add_pending(s, o->maybe[id], id, ret, max, &n);
    }
    return n;
}

/* --- plans ------------------------------------------------------------------------------------ */

/* Room for what three plans may add to what is pending. */
static bool may_plan_change(const struct sim *s)
{
    struct msg_member_change pending[2 * SIM_NODES];
    return operators_pending(s, pending, ARRAY_LEN(pending)) <= 3;
}

static unsigned voters(const struct sim *s)
{
    return check_conf_committed(s)->n_voters;
}

/* One more node: a new one. False: there were too many. */
static bool plan_add(struct sim_operator *o, bool promote)
{
    struct sim *s = o->sim;
    const struct raft_conf *conf = check_conf_committed(s);
    unsigned members[SIM_NODES], n = 0;
    for (unsigned id = 1; id <= s->n; id++)
        if (check_conf_has(conf, id))
            members[n++] = id;
    const struct sim_node *sn = host_add(s, members, n);
    if (!sn)
        return false;
    bool early = rng_below(&s->client_rng, 2);
    if (early)
        push(o, TASK_START, sn->id);
    push(o, TASK_ADD, sn->id);
    if (!early)
        push(o, TASK_START, sn->id);
    if (promote)
        push(o, TASK_PROMOTE, sn->id);
    return true;
}

static void plan_remove(struct sim_operator *o, unsigned id)
{
    struct sim *s = o->sim;
    if (!lost_allows_removal(s, id))
        return;
    s->counters.leaders_removed += id == host_leader(s);
    push(o, TASK_REMOVE, id);
    if (sim_node(s, id)->wiped)
        push(o, TASK_RETIRE, id);
}

/* A member that is of no use any more; 0: none. */
static unsigned lost_member(const struct sim *s)
{
    for (unsigned id = 1; id <= s->n; id++)
        if (check_conf_has(check_conf_committed(s), id) && s->nodes[id - 1].wiped)
            return id;
    return 0;
}

static void plan_replace(struct sim_operator *o, unsigned id)
{
    if (plan_add(o, true) || voters(o->sim) > 3)
        plan_remove(o, id);
}

static void plan_change(struct sim_operator *o)
{
    struct sim *s = o->sim;
    struct rng *r = &s->client_rng;
    const struct raft_conf *conf = check_conf_committed(s);
    unsigned id = operator_some_node(o), lost = lost_member(s), leader = host_leader(s);
    if (!may_plan_change(s))
        return;
    if (lost && rng_below(r, 2)) {
        plan_replace(o, lost);
        return;
    }
    if (leader && rng_below(r, 3) == 0)
        id = leader;
    uint64_t what = rng_below(r, 6);
    if (!check_conf_is_voter(conf, id) && what < 4)
        what = rng_below(r, 2) ? 4 : 5;
    if (what < 2 && voters(s) < 5)
        plan_add(o, rng_below(r, 4) > 0);
    else if (what < 4 && voters(s) > (rng_below(r, 4) ? 3 : 1))
        plan_remove(o, id);
    else if (what == 4 && check_conf_is_voter(conf, id))
        plan_replace(o, id);
    else if (what == 4)
        plan_remove(o, id);
    else if (!check_conf_is_voter(conf, id) && voters(s) < 5)
        push(o, TASK_PROMOTE, id);
}

static void plan(struct sim_operator *o)
{
    struct sim *s = o->sim;
    struct rng *r = &s->client_rng;
    o->plan_at = s->now + sim_spread(r, 2 * s->profile.operator_pause);
    switch (rng_below(r, 8)) {
    case 0:
        push(o, TASK_MOVE,
             rng_below(r, 8) ? operator_some_node(o) : 1 + (unsigned)rng_below(r, SIM_NODES));
        return;
    case 1:
        push(o, TASK_CHECK, 0);
        return;
    case 2:
        push(o, TASK_MEMBERS, 1 + (unsigned)rng_below(r, s->n));
        return;
    case 3:
        push(o, TASK_NONSENSE, 0)->what = (unsigned)rng_below(r, 100);
        return;
    default:
        plan_change(o);
        return;
    }
}

/* In peace: replaces what is lost, then looks at everything. */
static void plan_last(struct sim_operator *o)
{
    struct sim *s = o->sim;
    unsigned lost = lost_member(s);
    if (o->compared || o->id > 0)
        return;
    for (guint i = 1; i < s->operators->len; i++)
        if (!g_queue_is_empty(&((struct sim_operator *)g_ptr_array_index(s->operators, i))->tasks))
            return;
    if (lost && s->n < SIM_NODES) {
        plan_replace(o, lost);
        return;
    }
    o->compared = true;
    push(o, TASK_CHECK, 0);
}

/* --- one step after another ------------------------------------------------------------------- */

static void retire(struct sim_node *sn);

static void retire_run(struct sim *s, struct event *e)
{
    retire(sim_node(s, (unsigned)e->life));
}

static void retire(struct sim_node *sn)
{
    if (host_is_gone(sn))
        return;
    if (sn->stopped) { /* in the middle of something: when it goes on */
        struct event *e = EVENT_NEW(struct event, retire_run);
        e->life = sn->id;
        sim_post(sn->sim, e, MS(100));
        return;
    }
    trace_line(sn->sim, "n%u is switched off", sn->id);
    sn->sim->counters.wiped_shut_out += sn->wiped;
    host_stop(sn, END_KILLED);
    sn->told = true;
}

/* Whom to ask about the task. */
static unsigned choose(struct sim_operator *o, const struct task *t)
{
    if (t->kind == TASK_MEMBERS)
        return t->node;
    if (t->kind == TASK_CHECK && t->index > 0)
        return t->asking;
    return o->target;
}

static void step(struct sim_operator *o)
{
    struct sim *s = o->sim;
    struct task *t = g_queue_peek_head(&o->tasks);
    if (!t && s->now >= o->plan_at) {
        if (o->last)
            plan_last(o);
        else
            plan(o);
        return;
    }
    if (!t)
        return;
    struct sim_node *sn = t->node >= 1 && t->node <= s->n ? sim_node(s, t->node) : NULL;
    if (t->kind == TASK_PROMOTE && !o->asked && sn->wiped) {
        operator_done(o); /* it will never catch up */
        return;
    }
    if (t->kind == TASK_START || t->kind == TASK_RETIRE) {
        if (t->kind == TASK_RETIRE)
            retire(sn);
        else
            host_restart_later(sn, rng_below(&s->client_rng, MS(100)));
        operator_done(o);
        return;
    }
    if (o->asked && s->now - o->asked_at > (s->profile.fast ? MS(500) : SEC(2))) {
        if (rng_below(&s->client_rng, 3) == 0)
            hang_up(o, o->asked_node);
        o->target = operator_some_node(o);
        operator_missed(o, t);
        return;
    }
    if (o->asked || s->now < o->retry_at)
        return;
    unsigned node = choose(o, t);
    if (!o->links[node].conn)
        o->links[node].conn = net_user_dial(s, &o->end, node);
    if (operator_ask(o, t, node) || s->now - o->retry_at < SEC(1))
        return;
    o->target = operator_some_node(o);
    operator_missed(o, t);
}

static void run(struct sim *s, struct event *e)
{
    struct sim_operator *o = g_ptr_array_index(s->operators, (guint)e->life);
    step(o);
    struct event *next = EVENT_NEW(struct event, run);
    next->life = o->id; /* of nobody's node */
    sim_post(s, next, MS(1) + rng_below(&s->client_rng, STEP_MAX));
}

/* --- life ------------------------------------------------------------------------------------- */

void operators_init(struct sim *s)
{
    s->operators = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < s->profile.operators; i++) {
        struct sim_operator *o = g_new0(struct sim_operator, 1);
        o->end = (struct net_user){ROLE_ADMIN, on_open, on_frame, on_close};
        o->sim = s;
        o->id = i;
        o->target = 1;
        o->plan_at = SEC(1) + rng_below(&s->client_rng, SEC(2));
        g_ptr_array_add(s->operators, o);
        struct event *e = EVENT_NEW(struct event, run);
        e->life = i;
        sim_post(s, e, MS(100));
    }
}

void operators_finish(struct sim *s)
{
    for (guint i = 0; i < s->operators->len; i++)
        g_queue_clear_full(&((struct sim_operator *)g_ptr_array_index(s->operators, i))->tasks,
                           g_free);
    g_ptr_array_free(s->operators, TRUE);
}

void operators_last(struct sim *s)
{
    for (guint i = 0; i < s->operators->len; i++)
        ((struct sim_operator *)g_ptr_array_index(s->operators, i))->last = true;
}

void operators_audit(struct sim *s)
{
    if (s->operators->len == 0)
        return;
    struct sim_operator *o = g_ptr_array_index(s->operators, 0);
    o->exact = true;
    for (unsigned id = 1; id <= s->n; id++)
        if (check_is_replica(s, sim_node(s, id)))
            push(o, TASK_MEMBERS, id);
}

bool operators_idle(const struct sim *s)
{
    for (guint i = 0; i < s->operators->len; i++) {
        const struct sim_operator *o = g_ptr_array_index(s->operators, i);
        if (!g_queue_is_empty((GQueue *)&o->tasks) || (o->id == 0 && o->last && !o->compared))
            return false;
    }
    return true;
}

void operators_say_busy(struct sim *s)
{
    for (guint i = 0; i < s->operators->len; i++) {
        const struct sim_operator *o = g_ptr_array_index(s->operators, i);
        for (const GList *l = o->tasks.head; l; l = l->next) {
            const struct task *t = l->data;
            trace_line(s, "operator %u still has to %s n%u, %u attempts", o->id,
                       task_names[t->kind], t->node, t->attempts);
        }
    }
}
