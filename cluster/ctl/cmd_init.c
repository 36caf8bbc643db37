/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl init: cluster_init with options in front and the next steps behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cluster/base/addr.h"
#include "cluster/ctl/cluster_init.h"
#include "cluster/ctl/ctl.h"

struct init_options {
    char **nodes;
    char *name;
    int shards, embedded;
    int groups; /* -1: not given */
};

/* Whether all nodes are of this machine, as far as their addresses tell. */
static bool one_machine(const struct cluster_init_node *nodes, unsigned n)
{
    struct addr first, other;
    bool same = addr_parse(nodes[0].address, NULL, &first) == 0;
    for (unsigned i = 1; i < n && same; i++)
        same =
            addr_parse(nodes[i].address, NULL, &other) == 0 && strcmp(first.host, other.host) == 0;
    return same;
}

static void print_next_steps(const struct cluster_init *o)
{
    g_autofree char *dir = realpath(o->dir, NULL);
    unsigned n = o->embedded ? o->embedded : o->n_nodes;
    printf("A new cluster of %u %s in %s.", n, n == 1 ? "node" : "nodes", dir);
    if (o->groups > 0)
        printf(" It will share its data among %u %s.", o->groups,
               o->groups == 1 ? "group" : "groups");
    printf("\nStart its nodes:\n\n");
    for (unsigned i = 0; i < n; i++)
        printf("    raftfsd -c %s/n%u.conf &\n", dir, o->embedded ? i + 1 : o->nodes[i].id);
    printf("\nand mount it:\n\n    raftfs -o conf=%s/client.conf /mnt/kv\n", dir);
    printf("\nIts state: raftfsctl -c %s/admin.conf status\n", dir);
    if (!o->embedded && !one_machine(o->nodes, n))
        printf("Each node nK needs on its machine, at the same paths: nK.conf, nK.crt, nK.key, "
               "ca.crt and the directory nK;\na mount needs client.conf, client.crt, client.key "
               "and ca.crt.\n");
    if (!o->embedded)
        printf("Keep %s/ca.key in a safe place: it is what new certificates are signed with.\n",
               dir);
}

static int run_init(const struct init_options *in, const char *dir)
{
    struct cluster_init_node nodes[VOTERS_MAX];
    struct cluster_init o = {.dir = dir, .name = in->name, .nodes = nodes};
    struct errmsg msg = {""};
    for (char **at = in->nodes; at && *at; at++) {
        if (o.n_nodes == VOTERS_MAX)
            return ctl_usage("init: more than %d nodes", VOTERS_MAX);
        if (cluster_init_parse_node(*at, &nodes[o.n_nodes++], &msg) < 0)
            return ctl_usage("init: %s", msg.text);
    }
    if (in->embedded < 0 || in->embedded > VOTERS_MAX)
        return ctl_usage("init: --embedded %d: expected 1 to %d nodes", in->embedded, VOTERS_MAX);
    if (in->shards < 1 || in->shards > SHARDS_MAX)
        return ctl_usage("init: --shards %d: expected 1 to %d", in->shards, SHARDS_MAX);
    if (in->groups < -1 || in->groups > MIN(in->shards, GROUPS_MAX))
        return ctl_usage("init: --groups %d: expected 0 to %d, and no more than the %d shards",
                         in->groups, GROUPS_MAX, in->shards);
    if (in->embedded && o.n_nodes)
        return ctl_usage("init: --embedded and --node exclude each other");
    if (!in->embedded && o.n_nodes == 0)
        return ctl_usage("init: no nodes: give --node n1=127.0.0.1:7001 and so on");
    o.embedded = (unsigned)in->embedded;
    o.shards = (unsigned)in->shards;
    o.groups = in->groups >= 0 ? (unsigned)in->groups : cluster_init_groups(o.n_nodes, o.shards);
    int err = cluster_init(&o, &msg);
    if (err < 0)
        return ctl_error("init: %s", msg.text[0] ? msg.text : err_text(err));
    print_next_steps(&o);
    return CTL_OK;
}

int cmd_init(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct init_options o = {.shards = SHARDS_DEFAULT, .groups = -1};
    const GOptionEntry entries[] = {
        {"node", 'n', 0, G_OPTION_ARG_STRING_ARRAY, &o.nodes, "A member and where it listens",
         "nID=HOST:PORT"},
        {"shards", 0, 0, G_OPTION_ARG_INT, &o.shards, "Shards, fixed for ever (256)", "N"},
        {"groups", 0, 0, G_OPTION_ARG_INT, &o.groups,
         "Groups that share them (as many as nodes); 0: all in group 0", "N"},
        {"name", 0, 0, G_OPTION_ARG_STRING, &o.name, "Name, for comments in the files", "NAME"},
        {"embedded", 0, 0, G_OPTION_ARG_INT, &o.embedded,
         "N nodes on Unix sockets in DIR, without certificates", "N"},
        {NULL},
    };
    int status = CTL_USAGE;
    if (ctl_parse(ctl, self, entries, &argc, &argv, 1, 1))
        status = run_init(&o, argv[1]);
    g_strfreev(o.nodes);
    g_free(o.name);
    return status;
}
