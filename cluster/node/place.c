/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/place.h"
#include "cluster/node/membership.h"
#include "cluster/node/peer.h"
#include "cluster/node/request.h"
#include "cluster/node/space.h"
#include "cluster/node/table.h"

/* --- replicas --------------------------------------------------------------------------------- */

static bool names(const struct kv_group *row, uint32_t id)
{
    for (unsigned i = 0; i < row->n_members; i++)
        if (row->members[i] == id)
            return true;
    return false;
}

struct raft_conf place_first_conf(const struct group *g)
{
    const struct node *n = g->node;
    struct raft_conf conf = {0};
    if (g->gid == 0) {
        for (unsigned i = 0; i < n->config.n_peers; i++)
            if (!n->config.join || n->config.peers[i].id != n->config.id)
                conf.voters[conf.n_voters++] = n->config.peers[i].id;
        return conf;
    }
    const struct kv_group *row = kv_group(node_group((struct node *)n, 0)->kv, g->gid);
    ASSERT(row); /* it is what this replica was made for */
    for (unsigned i = 0; i < row->n_members; i++)
        conf.voters[conf.n_voters++] = row->members[i];
    return conf;
}

unsigned place_turn(const struct node *n, uint32_t gid, uint32_t id)
{
    const struct raft_conf *all = raft_get_conf(node_group((struct node *)n, 0)->raft);
    unsigned count = MAX(all->n_voters, 1), before = 0;
    for (unsigned i = 0; i < all->n_voters; i++)
        before += all->voters[i] < id;
    return (before + count - gid % count) % count;
}

/* What the log held of it at the start, NULL: nothing. */
static const struct wal_group *logged(const struct wal_recovery *rec, uint32_t gid)
{
    for (size_t i = 0; i < rec->n_groups; i++)
        if (rec->groups[i].gid == gid)
            return &rec->groups[i];
    return NULL;
}

static int make(struct node *n, const struct kv_group *row, const struct wal_recovery *rec,
                struct errmsg *msg)
{
    struct group *g = NULL;
    int err = group_open(n, row->gid, logged(rec, row->gid), &g, msg);
    if (err == 0)
        table_add(n, g);
    return err;
}

/* Who was named once keeps its replica. */
static bool is_missing(struct node *n, const struct kv_group *row)
{
    return (names(row, n->config.id) || group_home_has(row, n->config.id)) &&
           !node_group(n, row->gid);
}

/* Of the entry that says so last. */
static uint64_t row_index(const struct kv_group *row)
{
    return MAX(row->index, row->home_index);
}

static uint64_t rows_index(const struct group *g0)
{
    unsigned count;
    uint64_t index;
    (void)kv_groups(g0->kv, &count, &index);
    return MAX(index, kv_homes_index(g0->kv));
}

int place_open(struct node *n, struct wal_recovery *rec, struct errmsg *msg)
{
    unsigned count;
    uint64_t index;
    const struct kv_group *rows = kv_groups(node_group(n, 0)->kv, &count, &index);
    n->placed = rows_index(node_group(n, 0));
    for (unsigned i = 0; i < count; i++) {
        int err = is_missing(n, &rows[i]) ? make(n, &rows[i], rec, msg) : 0;
        if (err < 0)
            return err;
    }
    bool all_here = true;
    for (size_t i = 0; i < rec->n_groups; i++)
        if (!node_group(n, rec->groups[i].gid)) {
            all_here = false;
            node_log(n, LOG_WARN, "group-waits gid=%u: group 0 does not name it yet",
                     rec->groups[i].gid);
        }
    if (!all_here) {
        n->waiting = *rec;
        *rec = (struct wal_recovery){0};
    }
    return 0;
}

void place_finish(struct node *n)
{
    wal_recovery_finish(&n->waiting);
}

/* The oldest that is missing, of those made after `placed`. */
static const struct kv_group *next_missing(struct node *n, const struct group *g0)
{
    unsigned count;
    uint64_t index;
    const struct kv_group *rows = kv_groups(g0->kv, &count, &index), *found = NULL;
    for (unsigned i = 0; i < count; i++)
        if (row_index(&rows[i]) > n->placed && is_missing(n, &rows[i]) &&
            (!found || row_index(&rows[i]) < row_index(found)))
            found = &rows[i];
    if (!found)
        n->placed = rows_index(g0);
    return found;
}

void place_tick(struct node *n)
{
    struct group *g0 = node_group(n, 0);
    struct errmsg msg = {""};
    if (g0->paused || rows_index(g0) == n->placed)
        return;
    const struct kv_group *row = next_missing(n, g0);
    if (!row)
        return;
    if (row_index(row) > g0->flushed) {
        if (!g0->flushing)
            group_want_flush(g0);
        return;
    }
    if (space_refuses(n))
        return; /* again when there is room */
    int err = make(n, row, &n->waiting, &msg);
    if (err == 0)
        n->placed = MAX(n->placed, row_index(row));
    else if (err != -ERR_NO_SPACE)
        node_fatal(n, err, "make a replica of group %u: %s", row->gid, msg.text);
}

/* --- requests --------------------------------------------------------------------------------- */

static bool in_reach(const struct node *n, uint32_t id)
{
    const struct peer *p = peer_find((struct node *)n, id);
    return id == n->config.id ||
           (p && p->heard_at > 0 && n->now - p->heard_at <= n->config.election_ticks);
}

/* Who is named must have group 0, and a majority of them must be there to elect a leader. */
static int check_members(const struct group *g0, const struct msg_group_create *m,
                         struct errmsg *msg)
{
    const struct node *n = g0->node;
    const struct raft_conf *conf = raft_get_conf(g0->raft);
    g_autoptr(GString) silent = g_string_new(NULL);
    unsigned there = 0;
    for (uint32_t i = 0; i < m->n_members; i++) {
        uint32_t id = m->members[i].node;
        if (!conf_has(conf, id))
            return errmsg_set(msg, -ERR_NOT_FOUND, "n%u is no node of this cluster", id);
        if (in_reach(n, id))
            there++;
        else
            g_string_append_printf(silent, "%sn%u", silent->len ? ", " : "", id);
    }
    if (there * 2 <= m->n_members)
        return errmsg_set(msg, -ERR_UNREACHABLE,
                          "not enough members: %s of %u would not answer, so that group %u would "
                          "have no leader: start them first",
                          silent->str, m->n_members, m->gid);
    return 0;
}

static int refused(const struct group *g0, const struct msg_group_create *m, int err,
                   struct errmsg *msg)
{
    const struct kv_group *known = kv_group(g0->kv, m->gid);
    switch (err) {
    case -ERR_EXISTS: {
        g_autoptr(GString) list = g_string_new(NULL);
        for (unsigned i = 0; i < known->n_members; i++)
            g_string_append_printf(list, "%sn%u", i ? ", " : "", known->members[i]);
        return errmsg_set(msg, err, "gid %u is in use: group %u was made with %s; take another one",
                          m->gid, m->gid, list->str);
    }
    case -ERR_TOO_BIG:
        return errmsg_set(msg, err, "there are %d groups besides group 0, more are not possible",
                          GROUPS_MAX);
    case -ERR_REMOVED:
        return errmsg_set(msg, err, "one of the members was removed from this cluster");
    default:
        return errmsg_set(msg, err,
                          "a group has a gid of 1 to %d and 1 to %d different nodes as members",
                          GID_MAX, VOTERS_MAX);
    }
}

bool place_is_busy(const struct group *g)
{
    return g->applied < g->group_asked;
}

/* 0, 1 if it is there already, or an error with text. */
static int check(const struct group *g0, const struct msg_group_create *m, struct errmsg *msg)
{
    int verdict = kv_group_check(g0->kv, m);
    if (verdict < 0)
        return refused(g0, m, verdict, msg);
    if (verdict == 0)
        return 1;
    /* A node must not be on its way out while it is given a replica. */
    if (g0->change || raft_get_conf(g0->raft)->n_outgoing > 0)
        return errmsg_set(msg, -ERR_BUSY, "a change of the membership is under way");
    return check_members(g0, m, msg);
}

static int propose(struct group *g0, const struct msg_group_create *m, struct bytes body,
                   struct request *r)
{
    struct raft_status s;
    node_log(g0->node, LOG_INFO, "create gid=%u members=%u", m->gid, m->n_members);
    int err = group_propose(g0, KV_CMD_GROUP, body, r);
    raft_get_status(g0->raft, &s);
    g0->group_asked = s.last;
    return err;
}

int place_make(struct group *g0, const struct msg_group_create *m, struct errmsg *msg)
{
    CLEANUP(enc_finish) struct enc e = {0};
    int err = check(g0, m, msg);
    if (err != 0)
        return err;
    enc_group_create(&e, m);
    return propose(g0, m, enc_view(&e), NULL);
}

int place_create(struct conn *c, uint64_t id, const struct msg_group_create *m, struct bytes body)
{
    struct node *n = c->node;
    struct group *g0 = node_group(n, 0);
    struct errmsg msg = {""};
    if (!group_is_leader(g0) || !g0->leading) {
        conn_answer_status(n, c->token, id, -ERR_NOT_LEADER, group_hint(g0), NULL);
        return 0;
    }
    int err = check(g0, m, &msg);
    if (err != 0) {
        conn_answer_status(n, c->token, id, MIN(err, 0), 0,
                           err == 1 ? "it is there already" : msg.text);
        return 0;
    }
    struct request *r = request_create(n, c, id, 0, BYTES_NONE);
    if (!r)
        return -ERR_BUSY;
    (void)propose(g0, m, body, r); /* an error was answered */
    return 0;
}

static struct group_member *ids(struct node *n, const uint32_t *from, unsigned count,
                                uint32_t *ret_n)
{
    struct group_member *to = arena_array(&n->scratch, count, sizeof(*to));
    for (unsigned i = 0; i < count; i++)
        to[i].node = from[i];
    *ret_n = count;
    return to;
}

void serve_groups(struct conn *c, uint64_t id)
{
    struct node *n = c->node;
    unsigned count;
    uint64_t index;
    const struct kv_group *rows = kv_groups(node_group(n, 0)->kv, &count, &index);
    struct msg_groups_reply reply = {
        .n_groups = count,
        .groups = arena_array(&n->scratch, count + 1, sizeof(*reply.groups)),
    };
    for (unsigned i = 0; i < count; i++) {
        struct group_place *p = &reply.groups[i];
        *p = (struct group_place){.gid = rows[i].gid};
        p->members = ids(n, rows[i].members, rows[i].n_members, &p->n_members);
        p->home = ids(n, rows[i].home, rows[i].n_home, &p->n_home);
        p->held = ids(n, rows[i].held, rows[i].n_held, &p->n_held);
    }
    CONN_ANSWER(n, c->token, groups_reply, id, &reply);
}

const char *place_of_node(const struct node *n, uint32_t id)
{
    unsigned count;
    uint64_t index;
    const struct kv_group *rows = kv_groups(node_group((struct node *)n, 0)->kv, &count, &index);
    const char *list = NULL;
    struct arena *a = &((struct node *)n)->scratch;
    for (unsigned i = 0; i < count; i++)
        if (group_home_has(&rows[i], id))
            list = list ? arena_printf(a, "%s, %u", list, rows[i].gid)
                        : arena_printf(a, "%u", rows[i].gid);
    return list;
}
