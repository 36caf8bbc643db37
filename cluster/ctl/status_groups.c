/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/status_groups.h"

#include <inttypes.h>

/* cluster/raft's roles, as GROUP_STATUS carries them. */
enum { ROLE_LEADER = 3 };
static const char *const role_names[] = {"follower", "pre-candidate", "candidate", "leader"};

static const char *role_name(unsigned role)
{
    return role < ARRAY_LEN(role_names) ? role_names[role] : "?";
}

/* --- putting together ------------------------------------------------------------------------- */

static struct group_view *at(const struct status_groups *g, guint i)
{
    return &g_array_index(g->all, struct group_view, i);
}

static struct group_view *view_of(struct status_groups *g, uint32_t gid)
{
    guint i = 0;
    while (i < g->all->len && at(g, i)->gid < gid)
        i++;
    if (i == g->all->len || at(g, i)->gid != gid) {
        const struct group_view v = {.gid = gid};
        g_array_insert_val(g->all, i, v);
    }
    return at(g, i);
}

static void see(struct group_view *v, uint32_t node, const struct group_status *s)
{
    bool leads = s->role == ROLE_LEADER;
    if (v->leader && (!leads || s->term <= v->status->term))
        return;
    if (!leads && v->status && s->applied <= v->status->applied)
        return;
    v->status = s;
    v->leader = leads ? node : 0;
}

/* Learners are told apart by nobody here: groups besides group 0 have none yet. */
static void judge(struct group_view *v, unsigned heard_ms_max)
{
    if (!v->leader)
        return;
    v->n_up = 1;
    for (uint32_t i = 0; i < v->status->n_members; i++)
        v->n_up += v->status->members[i].heard_ms <= heard_ms_max;
    v->quorum = v->n_up * 2 > v->status->n_voters;
}

void status_groups_make(struct status_groups *g, const struct status_node *nodes, unsigned n,
                        unsigned heard_ms_max)
{
    *g = (struct status_groups){nodes, n, g_array_new(FALSE, FALSE, sizeof(struct group_view))};
    for (unsigned i = 0; i < n; i++)
        for (uint32_t k = 0; nodes[i].reply && k < nodes[i].reply->n_groups; k++) {
            const struct group_status *s = &nodes[i].reply->groups[k];
            if (s->gid != 0)
                see(view_of(g, s->gid), nodes[i].node, s);
        }
    for (guint i = 0; i < g->all->len; i++)
        judge(at(g, i), heard_ms_max);
}

void status_groups_finish(struct status_groups *g)
{
    if (g->all)
        g_array_free(g->all, TRUE);
    *g = (struct status_groups){0};
}

bool status_groups_well(const struct status_groups *g)
{
    for (guint i = 0; i < g->all->len; i++)
        if (!at(g, i)->quorum)
            return false;
    return true;
}

/* --- for people ------------------------------------------------------------------------------- */

/* "1 4-6 9" of those that the leader leads (0: nobody) with or without a quorum; how many. */
static unsigned list(const struct status_groups *g, uint32_t leader, bool quorum, GString *out)
{
    unsigned n = 0;
    uint32_t from = 0, last = 0;
    for (guint i = 0; i <= g->all->len; i++) {
        const struct group_view *v = i < g->all->len ? at(g, i) : NULL;
        bool in = v && v->leader == leader && v->quorum == quorum;
        if (in && n > 0 && v->gid == last + 1) {
            last++;
            n++;
            continue;
        }
        if (v && !in)
            continue;
        if (n > 0 && last > from)
            g_string_append_printf(out, "-%" PRIu32, last);
        if (!in)
            break;
        g_string_append_printf(out, "%s%" PRIu32, n ? " " : "", v->gid);
        from = last = v->gid;
        n++;
    }
    return n;
}

static void tell(const struct status_groups *g, uint32_t leader, bool quorum, const char *what,
                 GString *out)
{
    g_autoptr(GString) gids = g_string_new(NULL);
    unsigned n = list(g, leader, quorum, gids);
    if (n > 0)
        g_string_append_printf(out, "%s %u: %s\n", what, n, gids->str);
}

static void tell_behind(const struct group_view *v, GString *out)
{
    for (uint32_t i = 0; v->leader && i < v->status->n_members; i++) {
        const struct member_status *m = &v->status->members[i];
        if (m->match < v->status->last)
            g_string_append_printf(
                out, "group %" PRIu32 ": n%" PRIu32 " is %" PRIu64 " entries behind\n", v->gid,
                m->node, v->status->last - m->match);
    }
}

void status_groups_text(const struct status_groups *g, GString *out)
{
    if (g->all->len == 0)
        return;
    g_string_append_printf(out, "%u groups besides group 0\n", g->all->len);
    for (unsigned i = 0; i < g->n_nodes; i++) {
        g_autofree char *leads = g_strdup_printf("n%" PRIu32 " leads", g->nodes[i].node);
        g_autofree char *alone =
            g_strdup_printf("NO QUORUM: n%" PRIu32 " leads without one", g->nodes[i].node);
        tell(g, g->nodes[i].node, true, leads, out);
        tell(g, g->nodes[i].node, false, alone, out);
    }
    tell(g, 0, false, "NO LEADER:", out);
    for (guint i = 0; i < g->all->len; i++)
        tell_behind(at(g, i), out);
}

/* --- for programs ----------------------------------------------------------------------------- */

static const struct member_status *member_of(const struct group_view *v, uint32_t node)
{
    for (uint32_t i = 0; v->leader && i < v->status->n_members; i++)
        if (v->status->members[i].node == node)
            return &v->status->members[i];
    return NULL;
}

static void json_replica(struct json *j, const struct group_view *v, uint32_t node,
                         const struct group_status *s)
{
    const struct member_status *m = member_of(v, node);
    json_open(j, NULL, '{');
    json_number(j, "node", node);
    json_string(j, "role", role_name(s->role));
    json_number(j, "term", s->term);
    json_number(j, "first", s->first);
    json_number(j, "last", s->last);
    json_number(j, "commit", s->commit);
    json_number(j, "applied", s->applied);
    if (node == v->leader)
        json_number(j, "lag", 0);
    else if (m)
        json_number(j, "lag", v->status->last - MIN(m->match, v->status->last));
    else
        json_null(j, "lag");
    if (m)
        json_number(j, "heard_ms", m->heard_ms);
    json_close(j, '}');
}

static void json_replicas(const struct status_groups *g, const struct group_view *v, struct json *j)
{
    json_open(j, "members", '[');
    for (unsigned i = 0; i < g->n_nodes; i++) {
        const struct msg_node_status_reply *r = g->nodes[i].reply;
        for (uint32_t k = 0; r && k < r->n_groups; k++)
            if (r->groups[k].gid == v->gid)
                json_replica(j, v, g->nodes[i].node, &r->groups[k]);
    }
    json_close(j, ']');
}

void status_groups_json(const struct status_groups *g, struct json *j)
{
    for (guint i = 0; i < g->all->len; i++) {
        const struct group_view *v = at(g, i);
        json_open(j, NULL, '{');
        json_number(j, "gid", v->gid);
        if (v->leader)
            json_number(j, "leader", v->leader);
        else
            json_null(j, "leader");
        json_bool(j, "quorum", v->quorum);
        json_number(j, "term", v->status->term);
        json_number(j, "commit", v->status->commit);
        json_number(j, "applied", v->status->applied);
        json_number(j, "shards", v->status->shards);
        json_number(j, "voters", v->status->n_voters);
        json_number(j, "voters_up", v->n_up);
        json_replicas(g, v, j);
        json_close(j, '}');
    }
}
