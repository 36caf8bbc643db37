/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl status: asks every node itself, so that it also tells who is cut off, and why. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "cluster/ctl/ctl.h"
#include "cluster/ctl/json.h"
#include "cluster/ctl/members.h"
#include "cluster/ctl/owners.h"
#include "cluster/ctl/status_groups.h"

/* A voter counts as up when the leader heard it within this; when we could not reach it ourselves,
 * only if that was at its last heartbeats. */
#define HEARD_MS_MAX   3000
#define HEARD_MS_DOUBT 500

/* cluster/raft's roles, as GROUP_STATUS carries them. */
enum { ROLE_LEADER = 3 };
static const char *const role_names[] = {"follower", "pre-candidate", "candidate", "leader"};

struct answer {
    struct client *client;
    uint32_t node;
    unsigned timeout_ms;
    pthread_t thread;
    struct arena arena;
    struct buf *buf;
    struct msg_node_status_reply reply;  /* valid if error is 0 */
    const struct group_status *group;    /* of gid 0; NULL: the node has no replica of it */
    const struct member_status *follows; /* what the leader knows of this member, or NULL */
    int error;
    struct errmsg msg;
};

struct status {
    struct client *client;
    struct answer answers[NODES_MAX];
    unsigned n;
    const struct answer *leader; /* the one of the highest term, or NULL */
    unsigned n_up;               /* voters that count and the leader hears, itself included */
    unsigned n_suspect;          /* nodes that say that they are damaged, and not repaired yet */
    bool quorum;
    struct members members; /* as the leader says; empty if nobody does */
    struct owners owners;   /* the same; no owners if nobody does */
    struct status_node nodes[NODES_MAX];
    struct status_groups groups; /* besides group 0 */
};

/* --- asking ------------------------------------------------------------------------------------
 */

static int decode(struct answer *a, unsigned type)
{
    struct msg_status refusal;
    if (type == MSG_status && dec_status(buf_bytes(a->buf), &a->arena, &refusal) == 0)
        return errmsg_set(&a->msg, -(int)refusal.status, "%.*s", (int)MIN(refusal.detail.n, 400u),
                          (const char *)refusal.detail.p);
    if (type != MSG_node_status_reply ||
        dec_node_status_reply(buf_bytes(a->buf), &a->arena, &a->reply) < 0)
        return errmsg_set(&a->msg, -ERR_INVALID, "it answers something else than its status");
    for (uint32_t i = 0; i < a->reply.n_groups; i++)
        if (a->reply.groups[i].gid == 0)
            a->group = &a->reply.groups[i];
    return 0;
}

/* "node n1 at ADDRESS: " stands in the line already. */
static void cut_place(struct answer *a)
{
    g_autofree char *place =
        g_strdup_printf("node n%u at %s: ", a->node, client_node_address(a->client, a->node));
    if (g_str_has_prefix(a->msg.text, place)) {
        size_t n = strlen(place);
        memmove(a->msg.text, a->msg.text + n, strlen(a->msg.text + n) + 1);
    }
}

static void *ask(void *arg)
{
    struct answer *a = arg;
    struct enc CLEANUP(enc_finish) e = {0};
    const struct msg_node_status m = {0};
    unsigned type = 0;
    enc_node_status(&e, &m);
    a->error = client_ask_node_msg(a->client, a->node, MSG_node_status, enc_view(&e), a->timeout_ms,
                                   &type, &a->buf, &a->msg);
    if (a->error == 0)
        a->error = decode(a, type);
    if (a->error < 0 && !a->msg.text[0])
        (void)errmsg_set(&a->msg, a->error, "%s", err_text(a->error));
    cut_place(a);
    return NULL;
}

static bool is_leader(const struct answer *a)
{
    return a->error == 0 && a->group && a->group->role == ROLE_LEADER;
}

static bool is_suspect(const struct answer *a)
{
    return a->error == 0 && a->group && a->group->suspect;
}

static struct answer *find_answer(struct status *s, uint32_t node)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->answers[i].node == node)
            return &s->answers[i];
    return NULL;
}

/* A learner is heard as well, but does not count. */
static bool is_voter(const struct status *s, uint32_t node)
{
    for (uint32_t i = 0; i < s->members.reply.n_members; i++)
        if (s->members.reply.members[i].node == node)
            return s->members.reply.members[i].roles & MEMBER_VOTER;
    return s->members.reply.n_members == 0;
}

static void judge(struct status *s, unsigned timeout_ms)
{
    for (unsigned i = 0; i < s->n; i++) {
        const struct answer *a = &s->answers[i];
        s->n_suspect += is_suspect(a);
        if (is_leader(a) && (!s->leader || a->group->term > s->leader->group->term))
            s->leader = a;
    }
    if (!s->leader)
        return;
    struct errmsg msg;
    const struct group_status *g = s->leader->group;
    if (members_ask_node(s->client, s->leader->node, timeout_ms, &s->members, &msg) < 0)
        s->members = (struct members){0}; /* it has gone meanwhile: all are taken for voters */
    s->n_up = is_voter(s, s->leader->node);
    for (uint32_t i = 0; i < g->n_members; i++) {
        const struct member_status *m = &g->members[i];
        struct answer *a = find_answer(s, m->node);
        if (a)
            a->follows = m;
        uint64_t max_ms = a && a->error == 0 ? HEARD_MS_MAX : HEARD_MS_DOUBT;
        s->n_up += m->node != s->leader->node && m->heard_ms <= max_ms && !m->suspect &&
                   is_voter(s, m->node);
    }
    s->quorum = s->n_up * 2 > g->n_voters;
    /* It answers this when a quorum has confirmed that it leads. */
    if (s->quorum && owners_get_node(s->client, s->leader->node, timeout_ms, &s->owners, &msg) < 0)
        owners_finish(&s->owners);
}

static void collect(struct status *s, unsigned timeout_s)
{
    uint32_t ids[NODES_MAX];
    s->n = client_nodes(s->client, ids, NODES_MAX);
    for (unsigned i = 0; i < s->n; i++) {
        struct answer *a = &s->answers[i];
        a->client = s->client;
        a->node = ids[i];
        a->timeout_ms = timeout_s * 1000;
        /* Side by side: one that hangs does not hold up the others. */
        if (pthread_create(&a->thread, NULL, ask, a) != 0) {
            ask(a);
            a->thread = pthread_self();
        }
    }
    for (unsigned i = 0; i < s->n; i++)
        if (!pthread_equal(s->answers[i].thread, pthread_self()))
            pthread_join(s->answers[i].thread, NULL);
    judge(s, timeout_s * 1000);
    for (unsigned i = 0; i < s->n; i++) {
        const struct answer *a = &s->answers[i];
        s->nodes[i] = (struct status_node){a->node, a->error == 0 ? &a->reply : NULL};
    }
    status_groups_make(&s->groups, s->nodes, s->n, HEARD_MS_MAX);
}

/* --- for people --------------------------------------------------------------------------------
 */

static const char *role_name(const struct status *s, const struct answer *a)
{
    const struct group_status *g = a->group;
    for (uint32_t i = 0; i < s->members.reply.n_members; i++)
        if (s->members.reply.members[i].node == a->node &&
            s->members.reply.members[i].roles == MEMBER_LEARNER)
            return "learner";
    return g->role < ARRAY_LEN(role_names) ? role_names[g->role] : "?";
}

/* Entries that the leader has and this one has not: -1 if nobody can tell. */
static int64_t lag_of(const struct status *s, const struct answer *a)
{
    if (!s->leader)
        return -1;
    uint64_t last = s->leader->group->last;
    uint64_t has = a == s->leader ? last : a->follows ? a->follows->match : UINT64_MAX;
    if (has == UINT64_MAX)
        return -1;
    return has < last ? (int64_t)(last - has) : 0;
}

static void print_head(const struct status *s)
{
    printf("cluster %016" PRIx64 ": ", client_cluster(s->client));
    if (s->leader && s->quorum)
        printf("leader n%u, term %" PRIu64 ", %u of %u voters up%s\n", s->leader->node,
               s->leader->group->term, s->n_up, s->leader->group->n_voters,
               s->leader->group->lease == LEASE_HOLDS ? ", reads by lease" : "");
    else if (s->leader)
        printf("NO QUORUM: n%u leads in term %" PRIu64 " but hears only %u of %u voters\n",
               s->leader->node, s->leader->group->term, s->n_up, s->leader->group->n_voters);
    else {
        unsigned up = 0;
        for (unsigned i = 0; i < s->n; i++)
            up += s->answers[i].error == 0;
        printf("NO LEADER: %u of %u nodes answer%s\n", up, s->n,
               (up - s->n_suspect) * 2 > s->n ? "; an election should end this in a few seconds"
                                              : ", a quorum needs more than half");
        if (s->n_suspect > 0)
            printf("%u of them %s damaged and cannot vote before %s repaired, which needs a leader "
                   "elected by the others; %s\n",
                   s->n_suspect, s->n_suspect == 1 ? "is" : "are",
                   s->n_suspect == 1 ? "it is" : "they are",
                   s->n_suspect * 2 < s->n
                       ? "start those that are down"
                       : "start those that are down, with their data directories; if half of the "
                         "voters or more are damaged, a backup has to be restored");
    }
}

/* "n1, n2" of those that have one of these roles; unless `not`. */
static char *list_members(const struct status *s, unsigned roles, unsigned not )
{
    GString *out = g_string_new(NULL);
    for (uint32_t i = 0; i < s->members.reply.n_members; i++) {
        const struct member *m = &s->members.reply.members[i];
        if ((m->roles & roles) && !(m->roles & not ))
            g_string_append_printf(out, "%sn%u", out->len ? ", " : "", m->node);
    }
    return g_string_free(out, FALSE);
}

static bool in_conf(const struct status *s, uint32_t node)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->answers[i].node == node)
            return true;
    return false;
}

static void show_members(const struct status *s)
{
    const struct msg_members_reply *r = &s->members.reply;
    if (r->n_members == 0)
        return;
    g_autofree char *voters = list_members(s, MEMBER_VOTER, 0);
    g_autofree char *learners = list_members(s, MEMBER_LEARNER, 0);
    g_autofree char *leaving = list_members(s, MEMBER_LEAVING, MEMBER_VOTER);
    printf("voters %s", voters);
    if (*learners)
        printf("; learners %s", learners);
    if (*leaving)
        printf("; leaving %s", leaving);
    if (r->joint)
        printf("; a change is under way (joint configuration)");
    putchar('\n');
    for (uint32_t i = 0; i < r->n_members; i++)
        if (!in_conf(s, r->members[i].node))
            printf("n%u at %s is not in the configuration of this command, add: peer n%u %s\n",
                   r->members[i].node, members_address(&s->members, r->members[i].node),
                   r->members[i].node, members_address(&s->members, r->members[i].node));
}

static void print_up(const struct status *s, const struct answer *a)
{
    const struct group_status *g = a->group;
    int64_t lag = lag_of(s, a);
    char lag_text[24] = "-";
    if (lag >= 0)
        g_snprintf(lag_text, sizeof(lag_text), "%" PRId64, lag);
    if (!g) {
        printf("no replica of group 0");
        return;
    }
    printf("%-13s %6" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8s %9" PRIu64, role_name(s, a), g->term,
           g->commit, g->applied, lag_text, g->sessions);
    if (a->reply.note.n)
        printf("  %.*s", (int)MIN(a->reply.note.n, 400u), (const char *)a->reply.note.p);
}

static void print_text(const struct status *s)
{
    int width = (int)strlen("ADDRESS");
    for (unsigned i = 0; i < s->n; i++)
        width = MAX(width, (int)strlen(client_node_address(s->client, s->answers[i].node)));
    print_head(s);
    show_members(s);
    printf("%-6s %-*s %-13s %6s %10s %10s %8s %9s  NOTE\n", "NODE", width, "ADDRESS", "ROLE",
           "TERM", "COMMIT", "APPLIED", "LAG", "SESSIONS");
    for (unsigned i = 0; i < s->n; i++) {
        const struct answer *a = &s->answers[i];
        char node[16];
        g_snprintf(node, sizeof(node), "n%u", a->node);
        printf("%-6s %-*s ", node, width, client_node_address(s->client, a->node));
        if (a->error == 0)
            print_up(s, a);
        else
            printf("%-13s %s", "unreachable", a->msg.text);
        putchar('\n');
    }
    g_autoptr(GString) groups = g_string_new(NULL);
    status_groups_text(&s->groups, groups);
    if (s->owners.reply.n_owners > 0 && s->groups.all->len > 0)
        owners_text_counts(&s->owners, groups);
    fputs(groups->str, stdout);
}

/* --- for programs ------------------------------------------------------------------------------
 */

static void json_place(struct json *j, const struct status *s, const struct answer *a)
{
    json_number(j, "node", a->node);
    json_string(j, "address", client_node_address(s->client, a->node));
    json_bool(j, "reachable", a->error == 0);
    if (a->error < 0)
        json_string(j, "error", a->msg.text);
}

static void json_member(struct json *j, const struct status *s, const struct answer *a)
{
    const struct group_status *g = a->error == 0 ? a->group : NULL;
    int64_t lag = lag_of(s, a);
    json_open(j, NULL, '{');
    json_place(j, s, a);
    if (g) {
        json_string(j, "role", role_name(s, a));
        json_number(j, "term", g->term);
        json_number(j, "first", g->first);
        json_number(j, "last", g->last);
        json_number(j, "persisted", g->persisted);
        json_number(j, "commit", g->commit);
        json_number(j, "applied", g->applied);
        json_bool(j, "suspect", g->suspect);
        if (g->suspect && g->repair_goal > 0)
            json_number(j, "repair_goal", g->repair_goal);
    }
    if (lag >= 0)
        json_number(j, "lag", (uint64_t)lag);
    else
        json_null(j, "lag");
    if (a->follows && a != s->leader)
        json_number(j, "heard_ms", a->follows->heard_ms);
    json_close(j, '}');
}

static void json_ids(struct json *j, const struct status *s, const char *name, unsigned roles)
{
    json_open(j, name, '[');
    for (uint32_t i = 0; i < s->members.reply.n_members; i++)
        if (s->members.reply.members[i].roles & roles)
            json_number(j, NULL, s->members.reply.members[i].node);
    json_close(j, ']');
}

static const char *lease_name(unsigned lease)
{
    return lease == LEASE_HOLDS ? "holds" : lease == LEASE_ENDED ? "ended" : "off";
}

/* Without a leader: the furthest that anybody knows of. */
static void json_group(struct json *j, const struct status *s)
{
    struct group_status g = {0};
    for (unsigned i = 0; i < s->n && !s->leader; i++) {
        const struct group_status *other = s->answers[i].group;
        if (s->answers[i].error < 0 || !other)
            continue;
        g.term = MAX(g.term, other->term);
        g.commit = MAX(g.commit, other->commit);
        g.applied = MAX(g.applied, other->applied);
        g.sessions = MAX(g.sessions, other->sessions);
        g.n_voters = other->n_voters;
        g.shards = other->shards;
    }
    if (s->leader)
        g = *s->leader->group;
    json_open(j, NULL, '{');
    json_number(j, "gid", 0);
    if (s->leader)
        json_number(j, "leader", s->leader->node);
    else
        json_null(j, "leader");
    json_bool(j, "quorum", s->quorum);
    json_number(j, "term", g.term);
    json_number(j, "commit", g.commit);
    json_number(j, "applied", g.applied);
    json_number(j, "sessions", g.sessions);
    json_number(j, "shards", g.shards);
    json_number(j, "voters", g.n_voters);
    json_number(j, "voters_up", s->n_up);
    json_number(j, "suspect", s->n_suspect);
    if (s->leader)
        json_string(j, "lease", lease_name(g.lease));
    json_bool(j, "joint", s->members.reply.joint);
    json_ids(j, s, "voter_ids", MEMBER_VOTER);
    json_ids(j, s, "learner_ids", MEMBER_LEARNER);
    json_ids(j, s, "leaving_ids", MEMBER_LEAVING);
    json_open(j, "members", '[');
    for (unsigned i = 0; i < s->n; i++)
        json_member(j, s, &s->answers[i]);
    json_close(j, ']');
    json_close(j, '}');
}

static void json_node(struct json *j, const struct status *s, const struct answer *a)
{
    json_open(j, NULL, '{');
    json_place(j, s, a);
    if (a->error == 0) {
        json_bytes(j, "note", a->reply.note);
        json_number(j, "uptime_ms", a->reply.uptime_ms);
        json_number(j, "disk_free", a->reply.disk_free);
        json_open(j, "counters", '{');
        for (uint32_t i = 0; i < a->reply.n_counters; i++) {
            const struct counter *c = &a->reply.counters[i];
            g_autofree char *name = g_strndup((const char *)c->name.p, c->name.n);
            json_number(j, name, c->value);
        }
        json_close(j, '}');
    }
    json_close(j, '}');
}

static void json_owners(struct json *j, const struct status *s)
{
    const struct msg_config_reply *r = &s->owners.reply;
    if (r->n_owners == 0) {
        json_null(j, "config");
        return;
    }
    json_number(j, "config", r->num);
    json_number(j, "shards", r->n_owners);
    json_number(j, "shards_moving", r->n_pending);
}

static void print_json(const struct status *s)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_printf_string(&j, "cluster", "%016" PRIx64, client_cluster(s->client));
    json_owners(&j, s);
    json_open(&j, "groups", '[');
    json_group(&j, s);
    status_groups_json(&s->groups, &j);
    json_close(&j, ']');
    json_open(&j, "nodes", '[');
    for (unsigned i = 0; i < s->n; i++)
        json_node(&j, s, &s->answers[i]);
    json_close(&j, ']');
    json_close(&j, '}');
    puts(j.text->str);
    json_finish(&j);
}

/* --- the command --------------------------------------------------------------------------------
 */

/* The longest a node is waited for: people look at status when something is wrong. */
#define STATUS_TIMEOUT_S 5

int cmd_status(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    gboolean as_json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &as_json, "One JSON object, for programs", NULL},
        {NULL},
    };
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 0, 0))
        return CTL_USAGE;
    struct client *CLEANUP(client_destroy) c = ctl_connect(ctl, false);
    if (!c)
        return CTL_FAILED;
    struct status s = {.client = c};
    collect(&s, MIN(ctl->timeout_s, STATUS_TIMEOUT_S));
    if (as_json)
        print_json(&s);
    else
        print_text(&s);
    bool well = s.leader && s.quorum && status_groups_well(&s.groups);
    int status = well ? CTL_OK : CTL_FAILED;
    status_groups_finish(&s.groups);
    for (unsigned i = 0; i < s.n; i++) {
        arena_finish(&s.answers[i].arena);
        buf_unref(s.answers[i].buf);
    }
    members_finish(&s.members);
    owners_finish(&s.owners);
    return status;
}
