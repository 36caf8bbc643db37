/* SPDX-License-Identifier: Apache-2.0 */
/* An administrator's questions as frames, and which answers are right. */
#include "cluster/base/identity.h"
#include "tests/sim/operator.h"

/* A task is given up after so many attempts while things go wrong. A removal never is: it may have
 * happened. */
#define ATTEMPTS_MAX 40
#define MISSES_MAX   5

/* --- nonsense --------------------------------------------------------------------------------- */

/* Never done; each with the refusal that it deserves. */
static const struct nonsense {
    uint8_t op;
    enum { NOBODY, REMOVED, OUT, MEMBER, TOO_HIGH } whom; /* out: of the configuration at least */
    unsigned refusal;
} nonsenses[] = {
    {MEMBER_ADD, OUT, ERR_REMOVED},
    {MEMBER_ADD, REMOVED, ERR_REMOVED},
    {MEMBER_ADD, MEMBER, ERR_EXISTS},
    {MEMBER_ADD, TOO_HIGH, ERR_INVALID},
    {MEMBER_PROMOTE, NOBODY, ERR_NOT_FOUND},
    {MEMBER_PROMOTE, REMOVED, ERR_REMOVED},
    {MEMBER_REMOVE, NOBODY, ERR_NOT_FOUND},
    {MEMBER_REMOVE, TOO_HIGH, ERR_INVALID},
    {99, MEMBER, ERR_INVALID},
};

static const struct nonsense *nonsense_of(const struct task *t)
{
    return &nonsenses[t->what % ARRAY_LEN(nonsenses)];
}

static unsigned nonsense_node(const struct sim *s, const struct nonsense *n)
{
    if (n->whom == NOBODY)
        return SIM_NODES + 1;
    if (n->whom == TOO_HIGH)
        return NODE_ID_MAX + 1;
    unsigned found = 0; /* the newest: its removal may have stopped half-way */
    for (unsigned id = 1; id <= s->n; id++)
        if (n->whom == OUT       ? check_conf_removed(s, id)
            : n->whom == REMOVED ? check_conf_recorded(s, id)
                                 : check_conf_has(check_conf_committed(s), id))
            found = id;
    return found;
}

/* Under an address that is not its own, but for who is out. */
static bool put_nonsense(struct sim_operator *o, struct task *t, struct enc *e, uint64_t id)
{
    const struct nonsense *n = nonsense_of(t);
    t->node = nonsense_node(o->sim, n);
    if (t->node == 0)
        return false;
    struct msg_member_change m = {n->op, t->node, bytes_str("elsewhere:1")};
    if (n->whom == OUT)
        m.address = bytes_str(sim_node(o->sim, t->node)->address);
    FRAME(e, member_change, id, &m);
    return true;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void put_change(struct sim_operator *o, const struct task *t, struct enc *e, uint64_t id)
{
    static const enum member_op ops[] = {
        [TASK_ADD] = MEMBER_ADD, [TASK_PROMOTE] = MEMBER_PROMOTE, [TASK_REMOVE] = MEMBER_REMOVE};
    struct msg_member_change m = {.op = (uint8_t)ops[t->kind], .node = t->node};
    if (t->kind == TASK_ADD)
        m.address = bytes_str(sim_node(o->sim, t->node)->address);
    check_conf_asked(o->sim, ops[t->kind], t->node);
    FRAME(e, member_change, id, &m);
}

static void put_check(const struct task *t, struct enc *e, uint64_t id)
{
    if (t->index == 0) {
        struct msg_check m = {0};
        FRAME(e, check, id, &m);
        return;
    }
    struct msg_check_ask m = {.index = t->index};
    FRAME(e, check_ask, id, &m);
}

static bool put(struct sim_operator *o, struct task *t, struct enc *e, uint64_t id)
{
    switch (t->kind) {
    case TASK_MOVE: {
        struct msg_leader_move m = {0, t->node};
        FRAME(e, leader_move, id, &m);
        return true;
    }
    case TASK_MEMBERS: {
        struct msg_members m = {0};
        FRAME(e, members, id, &m);
        return true;
    }
    case TASK_CHECK:
        put_check(t, e, id);
        return true;
    case TASK_NONSENSE:
        return put_nonsense(o, t, e, id);
    default:
        put_change(o, t, e, id);
        return true;
    }
}

bool operator_ask(struct sim_operator *o, struct task *t, unsigned node)
{
    struct sim *s = o->sim;
    struct enc e = {0};
    struct net_conn *nc = o->links[node].conn;
    if (!o->links[node].greeted)
        return false;
    uint64_t id = ++o->last_number;
    if (put(o, t, &e, id)) {
        nc->net->ops->send(nc, enc_view(&e));
        o->asked = id;
        o->asked_node = node;
        o->asked_at = s->now;
    } else {
        operator_done(o);
    }
    enc_finish(&e);
    return true;
}

/* --- status ----------------------------------------------------------------------------------- */

/* A refusal that says "not now" or "not here". */
static bool is_passing(unsigned status)
{
    return status == ERR_NOT_LEADER || status == ERR_BUSY || status == ERR_UNREACHABLE ||
           status == ERR_NO_SPACE || status == ERR_STOPPED;
}

/* For good: what the task wants will never be, and the node knows why. */
static bool is_final(struct sim *s, const struct task *t, unsigned status)
{
    switch (t->kind) {
    case TASK_ADD: /* or half-way, and others changed something since */
        return status == ERR_REMOVED && check_conf_is_spent(s, t->node);
    case TASK_PROMOTE:
        return status == ERR_NOT_FOUND || (status == ERR_REMOVED && check_conf_removed(s, t->node));
    case TASK_REMOVE: /* the last voter; one whose addition was given up */
        return status == ERR_INVALID ||
               (status == ERR_NOT_FOUND && !check_conf_has(check_conf_committed(s), t->node));
    case TASK_MOVE:
        return status == ERR_TIMEOUT || status == ERR_INVALID || status == ERR_NOT_FOUND;
    default:
        return false;
    }
}

static void check_claim(struct sim *s, const struct task *t)
{
    const struct raft_conf *conf = check_conf_committed(s);
    bool removed = t->node <= SIM_NODES && check_conf_removed(s, t->node);
    bool true_ = t->kind == TASK_ADD       ? removed || check_conf_has(conf, t->node)
                 : t->kind == TASK_PROMOTE ? removed || check_conf_is_voter(conf, t->node)
                 : t->kind == TASK_REMOVE  ? removed
                                           : t->kind != TASK_MOVE || check_has_led(s, t->node, 1);
    CHECK(s, true_, "an operator is told that what it wants of node %u is done; it is not",
          t->node);
}

static void on_status(struct sim_operator *o, struct task *t, const struct msg_status *m)
{
    struct sim *s = o->sim;
    struct sim_counters *c = &s->counters;
    CHECK(s,
          t->kind != TASK_NONSENSE || is_passing(m->status) || m->status == nonsense_of(t)->refusal,
          "an operator's nonsense (op %u, node %u) is answered %s", nonsense_of(t)->op, t->node,
          err_name(m->status));
    if (t->kind == TASK_NONSENSE && !is_passing(m->status)) {
        c->nonsense_refused++;
        operator_done(o);
        return;
    }
    if (m->status == 0) {
        check_claim(s, t);
        c->transfers += t->kind == TASK_MOVE;
        operator_done(o);
        return;
    }
    c->changes_refused += t->kind <= TASK_REMOVE;
    c->transfers_failed += t->kind == TASK_MOVE && m->status == ERR_TIMEOUT;
    if (is_final(s, t, m->status)) {
        operator_done(o);
        return;
    }
    /* A leader that was stopped, and is none any more, may not know of an addition. */
    bool stale = t->kind == TASK_REMOVE && m->status == ERR_NOT_FOUND;
    CHECK(s, stale || is_passing(m->status), "an operator's request about node %u is answered %s",
          t->node, err_name(m->status));
    if (m->status == ERR_NOT_LEADER)
        o->target = m->leader >= 1 && m->leader <= s->n ? m->leader : operator_some_node(o);
    operator_missed(o, t);
}

/* --- comparing -------------------------------------------------------------------------------- */

static void ask_next(struct sim_operator *o, struct task *t)
{
    struct sim *s = o->sim;
    t->attempts = 0;
    o->asked = 0;
    o->retry_at = s->now;
    do
        t->asking++;
    while (t->asking <= s->n && !check_conf_has(check_conf_committed(s), t->asking));
    if (t->asking > s->n)
        operator_done(o);
}

/* Nobody is waited for but for a removal, and in peace. */
void operator_missed(struct sim_operator *o, struct task *t)
{
    bool asks_one = t->kind == TASK_CHECK && t->index > 0;
    if (asks_one && t->attempts >= MISSES_MAX)
        ask_next(o, t);
    else if (t->kind == TASK_MEMBERS && t->attempts >= MISSES_MAX && !o->exact)
        operator_done(o);
    else if (t->attempts >= ATTEMPTS_MAX && !o->last && t->kind != TASK_REMOVE)
        operator_done(o);
    else
        operator_again(o, MS(50));
}

static void on_pieces(struct sim_operator *o, struct task *t, const struct msg_check_pieces *m)
{
    struct sim *s = o->sim;
    uint64_t h = 1;
    if (m->status == ERR_BUSY || (m->status == ERR_NOT_FOUND && m->applied < t->index)) {
        if (t->attempts < ATTEMPTS_MAX)
            operator_again(o, MS(20));
        else
            ask_next(o, t);
        return;
    }
    CHECK(s, m->status == 0 || m->status == ERR_NOT_FOUND, "a check is answered %s",
          err_name(m->status));
    for (uint32_t i = 0; m->status == 0 && i < m->n_pieces; i++) {
        const struct check_piece *p = &m->pieces[i];
        h = hash_bytes(hash_u64(hash_u64(hash_u64(h, p->hash), p->rows), p->bytes), p->at);
    }
    CHECK(s, m->status != 0 || t->hash == 0 || t->hash == h,
          "as of entry %" G_GUINT64_FORMAT " node %u tells other hashes than node %u", t->index,
          t->asking, t->said_by);
    if (m->status == 0) {
        s->counters.checks_compared += t->hash != 0;
        t->hash = h;
        t->said_by = t->asking;
    }
    ask_next(o, t);
}

void operator_answered(struct sim_operator *o, struct task *t, const struct frame *f)
{
    struct sim *s = o->sim;
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_status status;
    struct msg_members_reply members;
    struct msg_check_started started;
    struct msg_check_pieces pieces;
    if (f->type == MSG_status && dec_status(f->body, &a, &status) == 0) {
        on_status(o, t, &status);
    } else if (f->type == MSG_members_reply && t->kind == TASK_MEMBERS &&
               dec_members_reply(f->body, &a, &members) == 0) {
        s->counters.members_told++;
        check_conf_said(s, t->node, &members, o->exact);
        operator_done(o);
    } else if (f->type == MSG_check_started && t->kind == TASK_CHECK && t->index == 0 &&
               dec_check_started(f->body, &a, &started) == 0 && started.status == 0) {
        s->counters.checks++;
        t->index = started.index;
        ask_next(o, t);
    } else if (f->type == MSG_check_pieces && t->kind == TASK_CHECK && t->index > 0 &&
               dec_check_pieces(f->body, &a, &pieces) == 0) {
        on_pieces(o, t, &pieces);
    } else {
        sim_fail(s, "an operator gets a malformed answer of type %u", f->type);
    }
}
