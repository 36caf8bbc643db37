/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raftfsctl node: nodes come and go while the cluster serves.
 *
 * Each step can be repeated: the leader answers "it is so already", and files that are there are
 * kept. So a command that was interrupted, or whose answer was lost, is given again and goes on.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cluster/base/clock.h"
#include "cluster/ctl/cluster_add.h"
#include "cluster/ctl/drain.h"
#include "cluster/ctl/members.h"

#define NODE_TIMEOUT_S 60
#define PROGRESS_MS    1000
#define RETRY_US       200000

struct node_cmd {
    struct ctl *ctl;
    char *conf, *dir; /* admin.conf, absolute, and where it lies */
    struct client *client;
    uint64_t deadline_ns;
    bool learner;
};

static bool open_cmd(struct node_cmd *c)
{
    if (!c->ctl->conf)
        return ctl_error("which cluster? Give its configuration: raftfsctl -c DIR/admin.conf ..."),
               false;
    c->conf = realpath(c->ctl->conf, NULL);
    if (!c->conf)
        return ctl_error("configuration %s: no such file", c->ctl->conf), false;
    c->dir = g_path_get_dirname(c->conf);
    if (!c->ctl->timeout_given)
        c->ctl->timeout_s = NODE_TIMEOUT_S;
    c->deadline_ns = clock_mono_ns() + c->ctl->timeout_s * UINT64_C(1000000000);
    c->client = ctl_connect(c->ctl, false);
    return c->client != NULL;
}

static void close_cmd(struct node_cmd *c)
{
    client_destroy(c->client);
    free(c->conf);
    g_free(c->dir);
}

/* --- configurations of clients ---------------------------------------------------------------- */

/* A new node may be the leader soon: whoever starts now should know it. */
static int tell_clients(struct node_cmd *c, uint32_t node, const char *address)
{
    struct errmsg msg = {""};
    g_autofree char *mounts = g_strdup_printf("%s/client.conf", c->dir);
    int err = cluster_conf_peer(c->conf, node, address, &msg);
    if (err == 0)
        err = cluster_conf_peer(mounts, node, address, &msg);
    if (err < 0)
        return ctl_error("node: %s", msg.text);
    client_destroy(c->client);
    c->client = ctl_connect(c->ctl, false);
    return c->client ? CTL_OK : CTL_FAILED;
}

/* --- the leader ------------------------------------------------------------------------------- */

struct progress {
    struct errmsg now;   /* why it is not done yet */
    struct errmsg shown; /* and what of that was printed last */
    uint64_t shown_ns;
};

static void show_progress(struct progress *p)
{
    uint64_t now = clock_mono_ns();
    if (strcmp(p->now.text, p->shown.text) == 0 ||
        now < p->shown_ns + PROGRESS_MS * UINT64_C(1000000))
        return;
    p->shown = p->now;
    p->shown_ns = now;
    printf("  %s\n", p->now.text);
    fflush(stdout);
}

/* Other groups have replicas there. False: told. */
static bool drain(struct node_cmd *c, const struct cluster_init_node *node, const char *what)
{
    struct errmsg msg = {""};
    int err = drain_node(c->client, node->id, c->ctl->timeout_s, &msg);
    if (err < 0)
        (void)ctl_error("node %s n%u: %s; the same command goes on from here", what, node->id,
                        msg.text[0] ? msg.text : err_text(err));
    c->deadline_ns = clock_mono_ns() + c->ctl->timeout_s * UINT64_C(1000000000);
    return err == 0;
}

/* Until it is done, refused for good, or time is over. BUSY passes by itself; it is shown. */
static int change(struct node_cmd *c, enum member_op op, const struct cluster_init_node *node,
                  const char *what)
{
    struct progress p = {0};
    for (;;) {
        struct errmsg msg = {""};
        int err = members_change(c->client, op, node->id, node->address, c->deadline_ns, &msg);
        const char *why = msg.text[0] ? msg.text : err_text(err);
        bool over = clock_mono_ns() >= c->deadline_ns;
        if (err == 0)
            return CTL_OK;
        if (err == -ERR_MOVING && op == MEMBER_REMOVE) {
            if (!drain(c, node, what))
                return CTL_FAILED;
            continue;
        }
        if (err == -ERR_BUSY)
            errmsg_set(&p.now, err, "%s", why);
        if (over && p.now.text[0])
            return ctl_error("node %s n%u: not within %u s: %s; the same command goes on from here",
                             what, node->id, c->ctl->timeout_s, p.now.text);
        if (err != -ERR_BUSY)
            return ctl_error("node %s n%u: %s", what, node->id, why);
        show_progress(&p);
        g_usleep(RETRY_US);
    }
}

/* --- the verbs -------------------------------------------------------------------------------- */

static int add_files(struct node_cmd *c, struct cluster_add *o, const struct members *m)
{
    struct cluster_init_node peers[NODES_MAX];
    struct errmsg msg = {""};
    for (uint32_t i = 0; i < m->reply.n_members; i++)
        if (m->reply.members[i].roles & MEMBER_VOTER)
            peers[o->n_peers++] = (struct cluster_init_node){
                m->reply.members[i].node, members_address(m, m->reply.members[i].node)};
    o->peers = peers;
    o->shards = m->reply.shards;
    int err = cluster_add(o, &msg);
    if (err < 0)
        return ctl_error("node add n%u: %s", o->node.id, msg.text[0] ? msg.text : err_text(err));
    return tell_clients(c, o->node.id, o->node.address);
}

static unsigned roles_of(const struct members *m, uint32_t node)
{
    for (uint32_t i = 0; i < m->reply.n_members; i++)
        if (m->reply.members[i].node == node)
            return m->reply.members[i].roles;
    return 0;
}

static int add(struct node_cmd *c, const struct cluster_init_node *node)
{
    struct cluster_add o = {.dir = c->dir, .cluster = client_cluster(c->client), .node = *node};
    struct members m CLEANUP(members_finish) = {0};
    struct errmsg msg = {""};
    if (cluster_add_check(&o, &msg) < 0)
        return ctl_error("node add n%u: %s", node->id, msg.text);
    if (members_ask(c->client, c->deadline_ns, &m, &msg) < 0)
        return ctl_error("node add n%u: %s", node->id, msg.text);
    int status = change(c, MEMBER_ADD, node, "add");
    if (status == CTL_OK)
        status = add_files(c, &o, &m);
    if (status != CTL_OK)
        return status;
    if (roles_of(&m, node->id) & MEMBER_VOTER) {
        printf("n%u is a voter already.\n", node->id);
        return CTL_OK;
    }
    printf("n%u is added as a learner. Start it where %s is:\n\n    raftfsd -c %s/n%u.conf &\n\n",
           node->id, node->address, c->dir, node->id);
    printf("On another machine it needs, at the same paths: n%u.conf, n%u.crt, n%u.key, ca.crt and "
           "the directory n%u.\n",
           node->id, node->id, node->id, node->id);
    fflush(stdout);
    if (c->learner)
        return CTL_OK;
    printf("Waiting until it has caught up:\n");
    fflush(stdout);
    status = change(c, MEMBER_PROMOTE, node, "add");
    if (status == CTL_OK)
        printf("n%u has caught up and is a voter.\n", node->id);
    return status;
}

static int promote(struct node_cmd *c, const struct cluster_init_node *node)
{
    int status = change(c, MEMBER_PROMOTE, node, "promote");
    if (status == CTL_OK)
        printf("n%u is a voter.\n", node->id);
    return status;
}

static int remove_node(struct node_cmd *c, const struct cluster_init_node *node)
{
    int status = change(c, MEMBER_REMOVE, node, "remove");
    if (status == CTL_OK)
        status = tell_clients(c, node->id, NULL);
    if (status == CTL_OK)
        printf("n%u is removed, and its id is not used again. Its raftfsd ends when it hears of "
               "it;\nits files in %s (n%u, n%u.*) are of no more use.\n",
               node->id, c->dir, node->id, node->id);
    return status;
}

static int replace(struct node_cmd *c, const struct cluster_init_node *old,
                   const struct cluster_init_node *node)
{
    struct members m CLEANUP(members_finish) = {0};
    struct errmsg msg = {""};
    int status = CTL_OK;
    if (members_ask(c->client, c->deadline_ns, &m, &msg) < 0)
        return ctl_error("node replace n%u: %s", old->id, msg.text);
    /* Nothing is added in the place of one that never was; an earlier call may have removed it. */
    if (roles_of(&m, old->id) == 0)
        status = change(c, MEMBER_REMOVE, old, "replace");
    if (status == CTL_OK)
        status = add(c, node);
    return status == CTL_OK ? remove_node(c, old) : status;
}

/* --- the command ------------------------------------------------------------------------------ */

static bool parse_id(const char *text, struct cluster_init_node *ret)
{
    g_autofree char *full = g_strdup_printf("%s=", text);
    struct errmsg msg;
    if (strchr(text, '=') || cluster_init_parse_node(full, ret, &msg) < 0)
        return ctl_usage("node: \"%s\": expected the id of a node, e.g. n4", text), false;
    ret->address = "";
    return true;
}

static bool parse_node(char *text, struct cluster_init_node *ret)
{
    struct errmsg msg = {""};
    if (cluster_init_parse_node(text, ret, &msg) < 0)
        return ctl_usage("node: %s", msg.text), false;
    return true;
}

static int run(struct node_cmd *c, int argc, char **argv)
{
    static const char *const verbs[] = {"add", "promote", "remove", "replace", NULL};
    struct cluster_init_node a = {0}, b = {0};
    const char *verb = argv[1];
    bool is_replace = strcmp(verb, "replace") == 0, is_add = strcmp(verb, "add") == 0;
    if (!g_strv_contains(verbs, verb)) {
        const char *near = ctl_nearest(verb, verbs);
        return near ? ctl_usage("node: unknown verb \"%s\": did you mean %s?", verb, near)
                    : ctl_usage("node: unknown verb \"%s\"; see raftfsctl node --help", verb);
    }
    if (argc - 2 != 1 + is_replace)
        return ctl_usage("node %s: expected %s; see raftfsctl node --help", verb,
                         is_replace ? "nOLD nNEW=HOST:PORT"
                         : is_add   ? "nID=HOST:PORT"
                                    : "nID");
    if (c->learner && !is_add)
        return ctl_usage("node %s: --learner is for node add", verb);
    if (is_add ? !parse_node(argv[2], &a) : !parse_id(argv[2], &a))
        return CTL_USAGE;
    if (is_replace && !parse_node(argv[3], &b))
        return CTL_USAGE;
    if (!open_cmd(c))
        return CTL_FAILED;
    if (is_replace)
        return replace(c, &a, &b);
    if (is_add)
        return add(c, &a);
    return strcmp(verb, "promote") == 0 ? promote(c, &a) : remove_node(c, &a);
}

int cmd_node(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    gboolean learner = FALSE;
    struct node_cmd c = {.ctl = ctl};
    const GOptionEntry entries[] = {
        {"learner", 0, 0, G_OPTION_ARG_NONE, &learner, "add: leave it a learner", NULL},
        {NULL},
    };
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 2, 3))
        return CTL_USAGE;
    c.learner = learner;
    int status = run(&c, argc, argv);
    close_cmd(&c);
    return status;
}
