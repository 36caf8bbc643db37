/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raftfsctl group: makes groups; and lets them join and leave those that own shards.
 *
 * Gid and members are chosen here and named in the request, so a request whose answer was lost can
 * be repeated: the same group again is there already.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cluster/base/clock.h"
#include "cluster/base/identity.h"
#include "cluster/ctl/change.h"
#include "cluster/ctl/members.h"

#define MEMBERS_DEFAULT 3
#define ASK_MS          3000
#define PAUSE_US        50000
#define BUSY_US         200000

/* cluster/raft's roles, as GROUP_STATUS carries them. */
enum { ROLE_LEADER = 3 };

struct group_cmd {
    struct ctl *ctl;
    struct client *client;
    uint64_t deadline_ns;
    struct members cluster;
    struct arena arena;
    struct msg_groups_reply known; /* groups that there are */
    uint32_t given[VOTERS_MAX];    /* --members */
    unsigned n_given;
    unsigned replicas[NODES_MAX]; /* of each of cluster's members, group 0 not counted */
    struct group_place made[GROUPS_MAX];
    uint32_t leader[GROUPS_MAX]; /* of those made; 0: not known yet */
    unsigned n_made;
};

/* --- what there is ---------------------------------------------------------------------------- */

static int ask_known(struct group_cmd *c, struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct buf *CLEANUP(buf_unref) body = NULL;
    const struct msg_groups m = {0};
    unsigned type = 0;
    enc_groups(&e, &m);
    int err = client_ask_node_msg(c->client, c->cluster.reply.leader, MSG_groups, enc_view(&e),
                                  ASK_MS, &type, &body, msg);
    if (err < 0)
        return err;
    struct bytes copy = arena_copy(&c->arena, buf_bytes(body));
    if (type != MSG_groups_reply || dec_groups_reply(copy, &c->arena, &c->known) < 0)
        return errmsg_set(msg, -ERR_INVALID, "n%u does not tell which groups there are",
                          c->cluster.reply.leader);
    return 0;
}

static void count_replicas(struct group_cmd *c, const struct group_place *g)
{
    const struct msg_members_reply *r = &c->cluster.reply;
    for (uint32_t i = 0; i < g->n_members; i++)
        for (uint32_t k = 0; k < r->n_members; k++)
            c->replicas[k] += r->members[k].node == g->members[i].node;
}

static int look(struct group_cmd *c)
{
    struct errmsg msg = {""};
    if (members_ask(c->client, c->deadline_ns, &c->cluster, &msg) < 0 || ask_known(c, &msg) < 0)
        return ctl_error("group create: %s", msg.text);
    for (uint32_t i = 0; i < c->known.n_groups; i++)
        count_replicas(c, &c->known.groups[i]);
    return CTL_OK;
}

/* --- choosing --------------------------------------------------------------------------------- */

static bool is_known(const struct group_cmd *c, uint32_t gid)
{
    for (uint32_t i = 0; i < c->known.n_groups; i++)
        if (c->known.groups[i].gid == gid)
            return true;
    for (unsigned i = 0; i < c->n_made; i++)
        if (c->made[i].gid == gid)
            return true;
    return false;
}

static uint32_t free_gid(const struct group_cmd *c)
{
    uint32_t gid = 1;
    while (is_known(c, gid))
        gid++;
    return gid;
}

/* Voters with the fewest replicas, the lowest ids first. */
static void choose(struct group_cmd *c, struct group_place *g)
{
    const struct msg_members_reply *r = &c->cluster.reply;
    bool taken[NODES_MAX] = {false};
    while (g->n_members < MEMBERS_DEFAULT) {
        uint32_t best = UINT32_MAX;
        for (uint32_t k = 0; k < r->n_members; k++)
            if (!taken[k] && (r->members[k].roles & MEMBER_VOTER) &&
                (best == UINT32_MAX || c->replicas[k] < c->replicas[best]))
                best = k;
        if (best == UINT32_MAX)
            return;
        taken[best] = true;
        g->members[g->n_members++].node = r->members[best].node;
    }
}

static char *member_list(const struct group_place *g)
{
    GString *s = g_string_new(NULL);
    for (uint32_t i = 0; i < g->n_members; i++)
        g_string_append_printf(s, "%sn%" PRIu32, i ? ", " : "", g->members[i].node);
    return g_string_free(s, FALSE);
}

/* --- making ----------------------------------------------------------------------------------- */

static int make(struct group_cmd *c, uint32_t gid)
{
    struct group_place *g = &c->made[c->n_made];
    struct enc e CLEANUP(enc_finish) = {0};
    *g = (struct group_place){
        .gid = gid,
        .members = arena_array(&c->arena, VOTERS_MAX, sizeof(*g->members)),
    };
    for (unsigned i = 0; i < c->n_given; i++)
        g->members[g->n_members++].node = c->given[i];
    if (c->n_given == 0)
        choose(c, g);
    const struct msg_group_create m = {g->gid, g->n_members, g->members};
    enc_group_create(&e, &m);
    for (;;) {
        struct errmsg msg = {""};
        int err = members_tell(c->client, MSG_group_create, enc_view(&e), c->deadline_ns, &msg);
        if (err == 0)
            break;
        if (err != -ERR_BUSY || clock_mono_ns() >= c->deadline_ns)
            return ctl_error("group create: group %u: %s", gid,
                             msg.text[0] ? msg.text : err_text(err));
        g_usleep(BUSY_US);
    }
    count_replicas(c, g);
    c->n_made++;
    return CTL_OK;
}

/* --- until they are led ----------------------------------------------------------------------- */

static void see_leaders(struct group_cmd *c, const struct msg_node_status_reply *r)
{
    for (uint32_t i = 0; i < r->n_groups; i++)
        for (unsigned k = 0; k < c->n_made; k++)
            if (r->groups[i].gid == c->made[k].gid && r->groups[i].role == ROLE_LEADER &&
                r->groups[i].applied > 0)
                c->leader[k] = r->node;
}

static void ask_leaders(struct group_cmd *c, uint32_t node)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct arena CLEANUP(arena_finish) a = {0};
    struct buf *CLEANUP(buf_unref) body = NULL;
    const struct msg_node_status m = {0};
    struct msg_node_status_reply r;
    struct errmsg msg;
    unsigned type = 0;
    enc_node_status(&e, &m);
    if (client_ask_node_msg(c->client, node, MSG_node_status, enc_view(&e), ASK_MS, &type, &body,
                            &msg) == 0 &&
        type == MSG_node_status_reply && dec_node_status_reply(buf_bytes(body), &a, &r) == 0)
        see_leaders(c, &r);
}

static unsigned without_leader(const struct group_cmd *c)
{
    unsigned n = 0;
    for (unsigned k = 0; k < c->n_made; k++)
        n += c->leader[k] == 0;
    return n;
}

static int wait_led(struct group_cmd *c)
{
    const struct msg_members_reply *r = &c->cluster.reply;
    while (without_leader(c) > 0 && clock_mono_ns() < c->deadline_ns) {
        for (uint32_t i = 0; i < r->n_members; i++)
            ask_leaders(c, r->members[i].node);
        if (without_leader(c) > 0)
            g_usleep(PAUSE_US);
    }
    for (unsigned k = 0; k < c->n_made; k++) {
        g_autofree char *members = member_list(&c->made[k]);
        if (c->leader[k])
            printf("group %" PRIu32 ": members %s, led by n%" PRIu32 "\n", c->made[k].gid, members,
                   c->leader[k]);
        else
            printf("group %" PRIu32 ": members %s, no leader yet\n", c->made[k].gid, members);
    }
    if (without_leader(c) > 0)
        return ctl_error("group create: made, but %u of %u have no leader within %u s "
                         "(raftfsctl status shows more)",
                         without_leader(c), c->n_made, c->ctl->timeout_s);
    return CTL_OK;
}

/* --- the command ------------------------------------------------------------------------------ */

static bool parse_members(struct group_cmd *c, const char *text)
{
    g_auto(GStrv) names = g_strsplit(text, ",", -1);
    for (unsigned i = 0; names[i]; i++) {
        const char *digits = names[i][0] == 'n' ? names[i] + 1 : names[i];
        guint64 id;
        if (!g_ascii_string_to_unsigned(digits, 10, 1, NODE_ID_MAX, &id, NULL))
            return ctl_usage("group create: --members: \"%s\" is no node; one is written nID, "
                             "e.g. n2",
                             names[i]),
                   false;
        if (c->n_given == VOTERS_MAX)
            return ctl_usage("group create: --members: at most %d", VOTERS_MAX), false;
        c->given[c->n_given++] = (uint32_t)id;
    }
    return c->n_given > 0 || (ctl_usage("group create: --members: not enough members"), false);
}

static int create(struct group_cmd *c, int gid, int count)
{
    int status = look(c);
    for (int i = 0; i < count && status == CTL_OK; i++)
        status = make(c, gid ? (uint32_t)(gid + i) : free_gid(c));
    int led = c->n_made ? wait_led(c) : CTL_OK;
    return status == CTL_OK ? led : status;
}

static int join_or_leave(struct ctl *ctl, const struct change_options *o, const char *verb, int n,
                         char **names)
{
    struct group_id gids[GROUPS_MAX];
    g_autofree char *what = g_strdup_printf("group %s", verb);
    struct msg_config_change m = {
        .op = verb[0] == 'j' ? CONFIG_JOIN : CONFIG_LEAVE,
        .gids = gids,
    };
    if (n == 0)
        return ctl_usage("%s: which groups? e.g. raftfsctl %s 1 2", what, what);
    for (int i = 0; i < n; i++)
        if (!change_parse_gid(what, names[i], &gids[m.n_gids++].gid))
            return CTL_USAGE;
    return change_run(ctl, what, &m, o);
}

int cmd_group(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    int gid = 0, count = 1;
    struct change_options change = {false, false};
    g_autofree char *members = NULL;
    const GOptionEntry entries[] = {
        {"gid", 'g', 0, G_OPTION_ARG_INT, &gid, "Of the first one (the lowest that is free)", "N"},
        {"count", 'n', 0, G_OPTION_ARG_INT, &count, "How many (1)", "N"},
        {"members", 'm', 0, G_OPTION_ARG_STRING, &members, "Nodes, e.g. n1,n2,n3", "LIST"},
        CHANGE_OPTIONS(change),
        {NULL},
    };
    struct group_cmd c = {.ctl = ctl};
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 1, 1 + GROUPS_MAX))
        return CTL_USAGE;
    if (strcmp(argv[1], "join") == 0 || strcmp(argv[1], "leave") == 0) {
        if (gid != 0 || count != 1 || members)
            return ctl_usage("group %s: --gid, --count and --members are for group create",
                             argv[1]);
        return join_or_leave(ctl, &change, argv[1], argc - 2, argv + 2);
    }
    if (strcmp(argv[1], "create") != 0)
        return ctl_usage("group: unknown action \"%s\"; it is create, join or leave", argv[1]);
    if (argc > 2)
        return ctl_usage("group create: \"%s\" is too much", argv[2]);
    if (change.dry_run || change.no_wait)
        return ctl_usage("group create: --dry-run and --no-wait are for group join and leave");
    if (count < 1 || count > GROUPS_MAX)
        return ctl_usage("group create: --count %d: 1 to %d", count, GROUPS_MAX);
    if (gid < 0 || gid > GID_MAX + 1 - count)
        return ctl_usage("group create: --gid %d: gids are 1 to %d", gid, GID_MAX);
    if (members && !parse_members(&c, members))
        return CTL_USAGE;
    c.deadline_ns = clock_mono_ns() + ctl->timeout_s * UINT64_C(1000000000);
    c.client = ctl_connect(ctl, false);
    int status = c.client ? create(&c, gid, count) : CTL_FAILED;
    client_destroy(c.client);
    members_finish(&c.cluster);
    arena_finish(&c.arena);
    return status;
}
