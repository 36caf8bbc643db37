/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the membership, by the leader of group 0 (membership.h). */
#include "cluster/base/addr.h"
#include "cluster/base/identity.h"
#include "cluster/node/table.h"
#include "cluster/node/membership.h"
#include "cluster/node/met.h"
#include "cluster/node/peer.h"
#include "cluster/node/place.h"
#include "cluster/node/request.h"

/* A core that is busy with something else is asked again, each tick, for so long. */
#define BUSY_MS 3000

enum step { STEP_KNOWN, STEP_CONF, STEP_REMOVED, STEP_DONE };

struct member_change {
    struct request *request;
    enum member_op op;
    raft_id node;
    char *address;
    enum step step;
    raft_index index; /* of the step's entry; 0: not proposed yet */
    uint64_t asked_at;
};

static const char *op_name(enum member_op op)
{
    return op == MEMBER_ADD ? "add" : op == MEMBER_PROMOTE ? "promote" : "remove";
}

/* --- configurations --------------------------------------------------------------------------- */

static void drop(raft_id *ids, unsigned *n, raft_id id)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < *n; i++)
        if (ids[i] != id)
            ids[kept++] = ids[i];
    *n = kept;
}

/* What shall be in force after the change. There must be room (check_room). */
static struct raft_conf target(const struct raft_conf *now, enum member_op op, raft_id id)
{
    struct raft_conf to = *now;
    drop(to.learners, &to.n_learners, id);
    if (op == MEMBER_ADD)
        to.learners[to.n_learners++] = id;
    else
        drop(to.voters, &to.n_voters, id);
    if (op == MEMBER_PROMOTE)
        to.voters[to.n_voters++] = id;
    return to;
}

static bool is_voter(const struct raft_conf *conf, raft_id id)
{
    for (unsigned i = 0; i < conf->n_voters; i++)
        if (conf->voters[i] == id)
            return true;
    return false;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void change_free(struct group *g)
{
    g_free(g->change->address);
    g_free(g->change);
    g->change = NULL;
}

static void finish(struct group *g, int err, const char *why)
{
    struct member_change *c = g->change;
    node_log(g->node, LOG_INFO, "membership op=%s node=%u status=\"%s\"", op_name(c->op), c->node,
             err < 0 ? err_text(err) : "done");
    request_fail(c->request, err, err == -ERR_NOT_LEADER ? group_hint(g) : 0, why);
    change_free(g);
}

void change_destroy(struct group *g)
{
    if (!g->change)
        return;
    request_destroy(g->change->request);
    change_free(g);
}

void change_fail(struct group *g, int err)
{
    if (g->change)
        finish(g, err, NULL);
}

/* --- what is refused -------------------------------------------------------------------------- */

/* Voters of `ids` that this leader has not heard for an election time-out; names them. */
static unsigned silent_of(const struct group *g, const raft_id *ids, unsigned n, GString *names)
{
    struct raft_progress_view view[VOTERS_MAX * 3 + 1];
    unsigned count = raft_get_progress(g->raft, view, ARRAY_LEN(view)), silent = 0;
    for (unsigned i = 0; i < n; i++) {
        bool heard = ids[i] == g->node->config.id;
        for (unsigned k = 0; k < count && !heard; k++)
            heard =
                view[k].id == ids[i] && view[k].ticks_since_heard < g->node->config.election_ticks;
        if (heard)
            continue;
        silent++;
        g_string_append_printf(names, "%sn%u", names->len ? ", " : "", ids[i]);
    }
    return silent;
}

/* Entries need a majority of the old voters and of the new ones. */
static int check_quorum(const struct group *g, const struct raft_conf *to, struct errmsg *msg)
{
    const struct raft_conf *now = raft_get_conf(g->raft);
    g_autoptr(GString) names = g_string_new(NULL);
    unsigned silent = silent_of(g, to->voters, to->n_voters, names);
    if (silent * 2 >= to->n_voters)
        return errmsg_set(msg, -ERR_UNREACHABLE,
                          "the cluster would stop: of its %u voters then, %s would not answer; "
                          "start %s first",
                          to->n_voters, names->str, silent == 1 ? "it" : "them");
    g_string_truncate(names, 0);
    silent = silent_of(g, now->voters, now->n_voters, names);
    if (silent * 2 >= now->n_voters)
        return errmsg_set(msg, -ERR_UNREACHABLE, "%s of %u voters do not answer: start them first",
                          names->str, now->n_voters);
    return 0;
}

static int check_id(uint32_t id, struct errmsg *msg)
{
    if (id == 0 || id > NODE_ID_MAX)
        return errmsg_set(msg, -ERR_INVALID, "node id %u: ids are 1 to %u", id, NODE_ID_MAX);
    return 0;
}

/* "": it is not known. */
static const char *address_of(const struct node *n, uint32_t id)
{
    const char *at;
    for (unsigned i = 0; i <= n->n_peers; i++)
        if (peer_nth(n, i, &at) == id)
            return at;
    return "";
}

static int check_address(struct node *n, uint32_t id, const char *address, struct errmsg *msg)
{
    struct addr addr;
    if (addr_parse(address, msg, &addr) < 0)
        return errmsg_prefix(msg, -ERR_INVALID, "node n%u", id);
    if (!addr.local && addr.port == 0)
        return errmsg_set(msg, -ERR_INVALID, "node n%u: %s has no port", id, address);
    for (unsigned i = 0; i <= n->n_peers; i++) {
        const char *at;
        uint32_t other = peer_nth(n, i, &at);
        if (other == id && strcmp(at, address) != 0)
            return errmsg_set(msg, -ERR_EXISTS,
                              "node id n%u belongs to the member at %s: an id is never used twice, "
                              "take a new one",
                              id, at);
        if (other != id && strcmp(at, address) == 0)
            return errmsg_set(msg, -ERR_EXISTS, "n%u is at %s already", other, at);
    }
    return 0;
}

/* Not whoever is a peer: one of an addition that was truncated is one, too. */
static bool is_in_file(const struct node *n, uint32_t id)
{
    for (unsigned i = 0; i < n->config.n_peers; i++)
        if (n->config.peers[i].id == id && id != n->config.id)
            return true;
    return false;
}

/* Who is known, but not in the configuration, was in it and may have ended already, unless his
 * record is newer: then it was his addition that was interrupted. The first members have no record
 * before their removal begins. */
static bool has_been(const struct group *g, uint32_t id)
{
    const struct kv_node *record = kv_node(g->kv, id);
    uint64_t conf_index;
    (void)kv_conf(g->kv, &conf_index);
    return record ? record->index < conf_index : is_in_file(g->node, id);
}

/* 1: it is so already. */
static int check_add(struct group *g, uint32_t id, const char *address, struct errmsg *msg)
{
    struct node *n = g->node;
    const struct raft_conf *now = raft_get_conf(g->raft);
    if (membership_was_removed(n, id))
        return errmsg_set(msg, -ERR_REMOVED,
                          "node n%u was removed: an id is never used twice, take a new one", id);
    int err = check_address(n, id, address, msg);
    if (err < 0)
        return err;
    if (conf_has(now, id))
        return 1;
    if (has_been(g, id))
        return errmsg_set(msg, -ERR_REMOVED,
                          "node n%u is being removed: finish that, raftfsctl node remove n%u; then "
                          "take a new id",
                          id, id);
    if (now->n_learners == VOTERS_MAX || (!peer_find(n, id) && n->n_peers + 1 == NODES_MAX))
        return errmsg_set(
            msg, -ERR_TOO_BIG,
            "there are %u learners and %u nodes; at most %d and %d: promote or remove "
            "some first",
            now->n_learners, n->n_peers + 1, VOTERS_MAX, NODES_MAX);
    return 0;
}

static int behind(const struct group *g, uint32_t id, struct errmsg *msg)
{
    struct raft_progress_view view[VOTERS_MAX * 3 + 1];
    unsigned count = raft_get_progress(g->raft, view, ARRAY_LEN(view));
    struct raft_status s;
    raft_get_status(g->raft, &s);
    for (unsigned i = 0; i < count; i++) {
        if (view[i].id != id || view[i].caught_up)
            continue;
        if (view[i].ticks_since_heard >= g->node->config.election_ticks)
            return errmsg_set(msg, -ERR_BUSY,
                              "n%u does not answer: is its raftfsd running, and can the members "
                              "reach it?",
                              id);
        return errmsg_set(msg, -ERR_BUSY,
                          "n%u has not caught up: it has %" G_GUINT64_FORMAT
                          " of %" G_GUINT64_FORMAT " log entries",
                          id, view[i].match, s.last);
    }
    return 0;
}

static int check_promote(struct group *g, uint32_t id, struct errmsg *msg)
{
    const struct raft_conf *now = raft_get_conf(g->raft);
    if (is_voter(now, id))
        return 1;
    if (membership_was_removed(g->node, id))
        return errmsg_set(msg, -ERR_REMOVED, "node n%u was removed", id);
    if (!conf_has(now, id))
        return errmsg_set(msg, -ERR_NOT_FOUND, "n%u is no learner: add it first", id);
    if (now->n_voters == VOTERS_MAX)
        return errmsg_set(msg, -ERR_TOO_BIG,
                          "there are %d voters, more are not possible: remove "
                          "one first",
                          VOTERS_MAX);
    int err = behind(g, id, msg);
    if (err < 0)
        return err;
    const struct raft_conf to = target(now, MEMBER_PROMOTE, id);
    return check_quorum(g, &to, msg);
}

static int hand_over(struct group *g, struct errmsg *msg)
{
    struct raft_status s;
    raft_id to = raft_transfer_choice(g->raft);
    if (to == RAFT_NONE)
        return errmsg_set(msg, -ERR_UNREACHABLE,
                          "n%u leads and there is no voter who answers to hand over to",
                          g->node->config.id);
    int err = raft_transfer(g->raft, to);
    group_touch(g);
    if (err < 0 && err != -ERR_BUSY) /* that: it is handing over already */
        return errmsg_set(msg, err, "n%u cannot hand leadership over: %s", g->node->config.id,
                          err_text(err));
    raft_get_status(g->raft, &s);
    return errmsg_set(msg, -ERR_NOT_LEADER, "n%u hands leadership over to n%u before it is removed",
                      g->node->config.id, s.transfer_to);
}

static int check_remove(struct group *g, uint32_t id, struct errmsg *msg)
{
    const struct raft_conf *now = raft_get_conf(g->raft);
    struct node *n = g->node;
    if (membership_was_removed(n, id))
        return 1;
    if (!conf_has(now, id) && id == n->config.id)
        return errmsg_set(msg, -ERR_BUSY, "n%u is on its way out: ask again, its successor", id);
    if (!conf_has(now, id))
        return peer_find(n, id) ? 0 : errmsg_set(msg, -ERR_NOT_FOUND, "n%u is no member", id);
    if (!is_voter(now, id))
        return 0;
    if (now->n_voters == 1)
        return errmsg_set(msg, -ERR_INVALID, "n%u is the last voter: the data would be gone", id);
    const struct raft_conf to = target(now, MEMBER_REMOVE, id);
    int err = check_quorum(g, &to, msg);
    const char *groups = err == 0 ? place_of_node(n, id) : NULL;
    if (groups)
        return errmsg_set(msg, -ERR_MOVING,
                          "n%u has replicas of other groups (%s): they have to move first", id,
                          groups);
    if (err == 0 && id == n->config.id)
        err = hand_over(g, msg);
    return err;
}

static bool conf_is_applied(const struct group *g, const struct raft_conf *now)
{
    const struct raft_conf *applied = raft_conf_at(g->raft, g->applied);
    return applied && memcmp(applied, now, sizeof(*now)) == 0;
}

/* 0; 1: nothing is to be done; or an error with text. */
static int check(struct group *g, const struct msg_member_change *m, const char *address,
                 struct errmsg *msg)
{
    int err = check_id(m->node, msg);
    if (err < 0)
        return err;
    if (g->change)
        return errmsg_set(msg, -ERR_BUSY, "another change of the membership is under way: %s n%u",
                          op_name(g->change->op), g->change->node);
    if (place_is_busy(g))
        return errmsg_set(msg, -ERR_BUSY, "a group is being made");
    /* A joint configuration is left within a round or two. Its target would be a guess. */
    const struct raft_conf *now = raft_get_conf(g->raft);
    if (now->n_outgoing > 0 || !conf_is_applied(g, now))
        return errmsg_set(msg, -ERR_BUSY, "another change of the membership is under way");
    switch (m->op) {
    case MEMBER_ADD:
        return check_add(g, m->node, address, msg);
    case MEMBER_PROMOTE:
        return check_promote(g, m->node, msg);
    case MEMBER_REMOVE:
        return check_remove(g, m->node, msg);
    }
    return errmsg_set(msg, -ERR_INVALID, "no such change of the membership: %u", m->op);
}

/* --- steps ------------------------------------------------------------------------------------ */

/* Of the first members there is no record yet: whoever joined meanwhile has never heard of them,
 * and could not go on with a removal that was interrupted. */
static enum step first_step(const struct group *g, enum member_op op, uint32_t id)
{
    bool unknown = op == MEMBER_REMOVE && !kv_node(g->kv, id);
    return op == MEMBER_ADD || unknown ? STEP_KNOWN : STEP_CONF;
}

static enum step step_after(enum member_op op, enum step step)
{
    if (step == STEP_KNOWN)
        return STEP_CONF;
    return op == MEMBER_REMOVE && step == STEP_CONF ? STEP_REMOVED : STEP_DONE;
}

static int propose_record(struct group *g, raft_index *ret)
{
    struct node *n = g->node;
    const struct member_change *c = g->change;
    struct enc e = {0};
    struct msg_node_record m = {
        .node = c->node,
        .state = c->step == STEP_KNOWN ? NODE_MEMBER : NODE_REMOVED,
        .address = c->step == STEP_KNOWN ? bytes_str(c->address) : BYTES_NONE,
    };
    raft_term term;
    enc_node_record(&e, &m);
    int err = kv_node_check(g->kv, m.node, (enum node_state)m.state, m.address);
    if (err == 0) {
        struct buf *data = kv_command(KV_CMD_NODE, enc_view(&e));
        err = raft_propose(g->raft, data, n->env.wall_ns(n->env.ctx), ret, &term);
        buf_unref(data);
    }
    enc_finish(&e);
    return err;
}

static int propose_conf(struct group *g, raft_index *ret)
{
    struct node *n = g->node;
    const struct member_change *c = g->change;
    const struct raft_conf *now = raft_get_conf(g->raft);
    raft_term term;
    if (now->n_outgoing > 0)
        return -ERR_BUSY;
    if ((c->op == MEMBER_ADD) == conf_has(now, c->node) && c->op != MEMBER_PROMOTE)
        return -ERR_EXISTS;
    const struct raft_conf to = target(now, c->op, c->node);
    return raft_change_conf(g->raft, &to, n->env.wall_ns(n->env.ctx), ret, &term);
}

/* The step's entry has taken effect. Leadership and term are the same as when it was proposed, or
 * change_fail had been called: so it is this change's. */
static bool step_took_effect(const struct group *g)
{
    const struct member_change *c = g->change;
    struct raft_conf conf;
    uint64_t index;
    if (c->index == 0 || g->applied < c->index)
        return false;
    if (c->step != STEP_CONF)
        return true;
    (void)kv_conf(g->kv, &index);
    return index >= c->index && membership_conf(g, &conf) > 0 && conf.n_outgoing == 0;
}

static void next_step(struct group *g)
{
    struct member_change *c = g->change;
    c->step = step_after(c->op, c->step);
    c->index = 0;
    c->asked_at = g->node->now;
    if (c->step == STEP_DONE)
        finish(g, 0, NULL);
}

static void propose_step(struct group *g)
{
    struct member_change *c = g->change;
    raft_index index = 0;
    group_touch(g);
    int err = g->store_full          ? -ERR_NO_SPACE
              : c->step == STEP_CONF ? propose_conf(g, &index)
                                     : propose_record(g, &index);
    if (err == 0)
        c->index = index;
    else if (err == -ERR_EXISTS && c->step == STEP_CONF)
        next_step(g);
    else if (err != -ERR_BUSY || g->node->now - c->asked_at > TICKS(BUSY_MS))
        finish(g, err, err == -ERR_BUSY ? "the leader is busy with another change" : NULL);
}

void change_poll(struct group *g)
{
    if (g->change && step_took_effect(g))
        next_step(g);
}

void membership_tick(struct group *g)
{
    if (g->change && g->change->index == 0)
        propose_step(g);
}

/* --- the request ------------------------------------------------------------------------------ */

int membership_change(struct conn *c, uint64_t id, const struct msg_member_change *m)
{
    struct node *n = c->node;
    struct group *g = node_group(n, 0);
    struct errmsg msg = {""};
    struct raft_status s;
    if (!group_is_leader(g) || !g->leading) {
        conn_answer_status(n, c->token, id, -ERR_NOT_LEADER, group_hint(g), NULL);
        return 0;
    }
    char *address = m->op == MEMBER_REMOVE ? g_strdup(address_of(n, m->node))
                                           : g_strndup((const char *)m->address.p, m->address.n);
    int err = check(g, m, address, &msg);
    struct request *r = err == 0 ? request_create(n, c, id, MSG_member_change, BYTES_NONE) : NULL;
    if (!r) {
        raft_get_status(g->raft, &s);
        g_free(address);
        if (err == 0)
            return -ERR_BUSY;
        conn_answer_status(n, c->token, id, MIN(err, 0), err == -ERR_NOT_LEADER ? s.transfer_to : 0,
                           err == 1 ? "it is so already" : msg.text);
        return 0;
    }
    g->change = g_new0(struct member_change, 1);
    *g->change = (struct member_change){
        .request = r,
        .op = (enum member_op)m->op,
        .node = m->node,
        .address = address,
        .step = first_step(g, (enum member_op)m->op, m->node),
        .asked_at = n->now,
    };
    met_propose(g);
    propose_step(g);
    return 0;
}
