/* SPDX-License-Identifier: Apache-2.0 */
/* What a node makes of the membership, whether it leads or not (membership.h). */
#include "cluster/node/membership.h"
#include "cluster/node/conn.h"
#include "cluster/node/damage.h"
#include "cluster/node/met.h"
#include "cluster/node/peer.h"

/* --- configurations --------------------------------------------------------------------------- */

static bool has(const raft_id *ids, unsigned n, raft_id id)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

bool conf_has(const struct raft_conf *conf, raft_id id)
{
    return has(conf->voters, conf->n_voters, id) || has(conf->outgoing, conf->n_outgoing, id) ||
           has(conf->learners, conf->n_learners, id);
}

bool group_is_alone(const struct group *g)
{
    const struct raft_conf *conf = raft_get_conf(g->raft);
    return conf->n_voters == 1 && conf->n_outgoing == 0 && conf->voters[0] == g->node->config.id;
}

int membership_conf(const struct group *g, struct raft_conf *ret)
{
    uint64_t index;
    struct bytes data = kv_conf(g->kv, &index);
    if (index == 0)
        return 0;
    return raft_conf_decode(data, ret) < 0 ? -ERR_CORRUPT : 1;
}

/* --- who was removed -------------------------------------------------------------------------- */

bool membership_was_removed(const struct node *n, uint32_t id)
{
    const struct group *g = node_group((struct node *)n, 0);
    const struct kv_node *known = g ? kv_node(g->kv, id) : NULL;
    return known && known->state == NODE_REMOVED;
}

const char *membership_removed_text(struct arena *a, uint32_t id)
{
    return arena_printf(a,
                        "node n%u was removed from this cluster; its id is not used again: wipe "
                        "its data directory, or add the machine under a new id",
                        id);
}

static void end(struct node *n, const char *text)
{
    if (n->removed)
        return;
    n->removed = true;
    struct group *g = node_group(n, 0);
    if (g)
        change_fail(g, -ERR_NOT_LEADER);
    if (n->env.on_removed)
        n->env.on_removed(n->env.ctx, text);
    else
        node_log(n, LOG_ERROR, "removed text=\"%s\"", text);
}

void membership_end(struct node *n)
{
    end(n, membership_removed_text(&n->memory, n->config.id));
}

/* --- what is applied -------------------------------------------------------------------------- */

static int follow_record(struct node *n, const struct kv_node *r)
{
    if (r->id == n->config.id)
        return r->state == NODE_REMOVED ? -ERR_REMOVED : 0;
    if (r->state == NODE_REMOVED) {
        peer_remove(n, r->id);
        return 0;
    }
    return peer_add(n, r->id, r->address);
}

void membership_appended(struct group *g, const struct raft_entry *entries, size_t count)
{
    struct node *n = g->node;
    for (size_t i = 0; i < count && g->gid == 0; i++) {
        struct bytes data = buf_bytes(entries[i].data);
        struct msg_node_record m;
        if (entries[i].type != RAFT_ENTRY_DATA || data.n == 0)
            continue;
        if (data.p[0] == KV_CMD_MET)
            met_appended(g, bytes_of(data.p + 1, data.n - 1));
        if (data.p[0] != KV_CMD_NODE)
            continue;
        if (dec_node_record(bytes_of(data.p + 1, data.n - 1), &n->scratch, &m) < 0 ||
            m.state != NODE_MEMBER || m.node == n->config.id || peer_find(n, m.node) ||
            kv_node_check(g->kv, m.node, NODE_MEMBER, m.address) < 0)
            continue;
        if (peer_add(
                n, m.node,
                arena_printf(&n->scratch, "%.*s", (int)m.address.n, (const char *)m.address.p)) < 0)
            node_log(n, LOG_WARN, "node %u is one too many to be reached", m.node);
    }
}

static int follow_records(struct group *g)
{
    unsigned count;
    uint64_t index;
    const struct kv_node *all = kv_nodes(g->kv, &count, &index);
    int err = 0;
    if (index == g->nodes_seen)
        return 0;
    for (unsigned i = 0; i < count && err == 0; i++)
        if (all[i].index > g->nodes_seen)
            err = follow_record(g->node, &all[i]);
    g->nodes_seen = index;
    return err;
}

/* A node that was in the configuration and is not any more is out for good: ids do not come back.
 * One that joins applies older configurations first, in which it is not yet. */
static int follow_conf(struct group *g)
{
    struct raft_conf conf;
    uint64_t index;
    (void)kv_conf(g->kv, &index);
    if (index == g->conf_seen)
        return 0;
    g->conf_seen = index;
    int err = membership_conf(g, &conf);
    if (err < 0)
        return err;
    if (conf_has(&conf, g->node->config.id))
        g->was_member = true;
    else if (g->was_member)
        return -ERR_REMOVED;
    return 0;
}

static int follow(struct group *g)
{
    int err = follow_records(g);
    if (err == 0)
        err = met_follow(g);
    return err < 0 ? err : follow_conf(g);
}

int membership_load(struct group *g, struct errmsg *msg)
{
    struct node *n = g->node;
    if (g->gid != 0)
        return 0;
    g->was_member = !n->config.join;
    int err = follow(g);
    if (err == -ERR_REMOVED)
        return errmsg_set(msg, err, "%s", membership_removed_text(&n->memory, n->config.id));
    if (err == -ERR_WRONG_CLUSTER)
        return errmsg_set(msg, err, "%s", met_anew_text(&n->memory, n->config.id));
    if (err < 0)
        return errmsg_set(msg, err, "group %u: the members that its state names: %s", g->gid,
                          err_text(err));
    return 0;
}

void membership_applied(struct group *g)
{
    int err = g->gid == 0 ? follow(g) : 0;
    if (err == -ERR_REMOVED)
        membership_end(g->node);
    else if (err == -ERR_WRONG_CLUSTER)
        end(g->node, met_anew_text(&g->node->memory, g->node->config.id));
    else if (err < 0)
        group_fatal(g, err, "group %u: follow the membership", g->gid);
    change_poll(g);
}

/* --- what is told ----------------------------------------------------------------------------- */

static uint8_t roles_of(const struct raft_conf *conf, raft_id id)
{
    unsigned roles = 0;
    if (has(conf->voters, conf->n_voters, id))
        roles |= MEMBER_VOTER;
    if (has(conf->outgoing, conf->n_outgoing, id))
        roles |= MEMBER_LEAVING;
    if (has(conf->learners, conf->n_learners, id))
        roles |= MEMBER_LEARNER;
    return (uint8_t)roles;
}

static void fill_progress(const struct group *g, struct member *m)
{
    struct raft_progress_view view[VOTERS_MAX * 3 + 1];
    unsigned count = raft_get_progress(g->raft, view, ARRAY_LEN(view));
    for (unsigned i = 0; i < count; i++) {
        if (view[i].id != m->node)
            continue;
        m->match = view[i].match;
        m->caught_up = view[i].caught_up;
        m->heard_ms =
            m->node == g->node->config.id ? 0 : (uint64_t)view[i].ticks_since_heard * TICK_MS;
    }
}

void serve_members(struct conn *c, uint64_t id)
{
    struct node *n = c->node;
    const struct group *g = node_group(n, 0);
    const struct raft_conf *conf = raft_get_conf(g->raft);
    struct raft_status s;
    raft_get_status(g->raft, &s);
    struct msg_members_reply reply = {
        .leader = group_hint(g),
        .shards = n->config.shards,
        .last = s.last,
        .joint = conf->n_outgoing > 0,
        .n_members = n->n_peers + 1,
        .members = arena_array(&n->scratch, n->n_peers + 1, sizeof(*reply.members)),
    };
    (void)kv_conf(g->kv, &reply.index);
    for (unsigned i = 0; i <= n->n_peers; i++) {
        struct member *m = &reply.members[i];
        const char *address;
        m->node = peer_nth(n, i, &address);
        m->address = bytes_str(address);
        m->roles = roles_of(conf, m->node);
        if (s.role == RAFT_LEADER)
            fill_progress(g, m);
    }
    CONN_ANSWER(n, c->token, members_reply, id, &reply);
}
