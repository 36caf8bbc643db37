/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl check: do all replicas hold the same? */
#include <inttypes.h>
#include <stdio.h>
#include "cluster/ctl/compare.h"
#include "cluster/ctl/compare_text.h"
#include "cluster/ctl/ctl.h"

#define PAUSE_MS      100
#define ASK_TIMEOUT_S 5 /* for one answer of one node; none of them takes long to make */

struct check {
    struct client *client;
    unsigned ask_ms, timeout_s;
    bool as_json;
};

/* --- asking ------------------------------------------------------------------------------------
 */

/* One message to one node. 0: an answer of type `want`, in *ret; else told in msg. */
static int ask_node(const struct check *k, uint32_t node, unsigned type, const struct enc *e,
                    unsigned want, struct buf **ret, uint32_t *ret_leader, struct errmsg *msg)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_status refusal;
    struct buf *CLEANUP(buf_unref) body = NULL;
    unsigned got = 0;
    int err = client_ask_node_msg(k->client, node, type, enc_view(e), k->ask_ms, &got, &body, msg);
    if (err < 0)
        return err;
    if (got == want) {
        *ret = TAKE(body);
        return 0;
    }
    if (got != MSG_status || dec_status(buf_bytes(body), &a, &refusal) < 0)
        return errmsg_set(msg, -ERR_INVALID, "it does not know this request: its version is older");
    *ret_leader = refusal.leader;
    return errmsg_set(msg, -(int)refusal.status, "%s", err_text((int)refusal.status));
}

static int ask_pieces(void *ctx, uint32_t node, const struct msg_check_ask *m, struct arena *a,
                      struct msg_check_pieces *ret, struct errmsg *msg)
{
    struct enc CLEANUP(enc_finish) e = {0};
    struct buf *CLEANUP(buf_unref) body = NULL;
    uint32_t leader;
    enc_check_ask(&e, m);
    int err = ask_node(ctx, node, MSG_check_ask, &e, MSG_check_pieces, &body, &leader, msg);
    if (err < 0)
        return err;
    struct bytes copy = arena_copy(a, buf_bytes(body));
    if (dec_check_pieces(copy, a, ret) < 0)
        return errmsg_set(msg, -ERR_INVALID, "its answer makes no sense");
    return 0;
}

static void let_time_pass(void *ctx UNUSED)
{
    g_usleep(PAUSE_MS * 1000);
}

/* Has the entry logged by whoever leads. Told in msg. */
static int start_once(const struct check *k, uint32_t gid, const uint32_t *nodes, unsigned n,
                      uint64_t *ret, struct errmsg *msg)
{
    int err = -ERR_UNREACHABLE;
    uint32_t leader = 0;
    for (unsigned i = 0; i <= n; i++) {
        struct arena CLEANUP(arena_finish) a = {0};
        struct enc CLEANUP(enc_finish) e = {0};
        struct buf *CLEANUP(buf_unref) body = NULL;
        const struct msg_check m = {gid};
        struct msg_check_started reply;
        uint32_t node = leader ? leader : nodes[i % n], hint = 0;
        leader = 0;
        enc_check(&e, &m);
        err = ask_node(k, node, MSG_check, &e, MSG_check_started, &body, &hint, msg);
        if (err == 0 && dec_check_started(buf_bytes(body), &a, &reply) < 0)
            err = errmsg_set(msg, -ERR_INVALID, "n%u: its answer makes no sense", node);
        if (err == 0) {
            *ret = reply.index;
            return 0;
        }
        if (err == -ERR_DENIED)
            return errmsg_set(msg, err, "only an administrator may check: use admin.conf");
        leader = hint;
    }
    return err;
}

static int start(const struct check *k, uint32_t gid, const uint32_t *nodes, unsigned n,
                 unsigned timeout_s, uint64_t *ret, struct errmsg *msg)
{
    int err = -ERR_UNREACHABLE;
    for (unsigned i = 0; i <= timeout_s * 1000 / PAUSE_MS; i++) {
        err = start_once(k, gid, nodes, n, ret, msg);
        if (err == 0 || err == -ERR_DENIED || err == -ERR_INVALID || err == -ERR_TLS)
            return err;
        let_time_pass(NULL);
    }
    return err;
}

/* --- the command --------------------------------------------------------------------------------
 */

/* The groups besides group 0, from whoever answers first. */
static int ask_groups(const struct check *k, const uint32_t *nodes, unsigned n, struct arena *a,
                      struct msg_groups_reply *ret, struct errmsg *msg)
{
    int err = -ERR_UNREACHABLE;
    for (unsigned i = 0; i < n; i++) {
        struct enc CLEANUP(enc_finish) e = {0};
        struct buf *CLEANUP(buf_unref) body = NULL;
        const struct msg_groups m = {0};
        uint32_t leader;
        enc_groups(&e, &m);
        err = ask_node(k, nodes[i], MSG_groups, &e, MSG_groups_reply, &body, &leader, msg);
        if (err == 0 && dec_groups_reply(arena_copy(a, buf_bytes(body)), a, ret) == 0)
            return 0;
    }
    return err < 0 ? err : errmsg_set(msg, -ERR_INVALID, "its answer makes no sense");
}

/* Prints what came of it. */
static int check_group(struct check *k, uint32_t gid, const uint32_t *nodes, unsigned n)
{
    struct errmsg msg = {""};
    uint64_t index = 0;
    if (start(k, gid, nodes, n, k->timeout_s, &index, &msg) < 0)
        return gid ? ctl_error("check: group %u: %s", gid, msg.text)
                   : ctl_error("check: %s", msg.text);
    const struct compare_io io = {
        .ask = ask_pieces,
        .pause = let_time_pass,
        .patience = k->timeout_s * 1000 / PAUSE_MS,
        .ctx = k,
    };
    struct compare *c = g_new(struct compare, 1);
    compare_init(c, nodes, n);
    compare_run(c, &io, gid, index);
    bool good = c->differences->len == 0 && compare_checked(c) == c->n;
    g_autofree char *text = k->as_json ? compare_json(c, gid, index) : compare_text(c, index);
    if (gid && !k->as_json)
        printf("group %u:%c", gid, good ? ' ' : '\n');
    fputs(text, stdout);
    fflush(stdout);
    compare_finish(c);
    g_free(c);
    return good ? CTL_OK : CTL_FAILED;
}

static int check_all(struct check *k, const uint32_t *nodes, unsigned n)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_groups_reply groups;
    struct errmsg msg = {""};
    int status = check_group(k, 0, nodes, n);
    if (ask_groups(k, nodes, n, &a, &groups, &msg) < 0)
        return ctl_error("check: which groups there are: %s", msg.text);
    for (uint32_t i = 0; i < groups.n_groups; i++) {
        uint32_t members[VOTERS_MAX];
        for (uint32_t m = 0; m < groups.groups[i].n_members; m++)
            members[m] = groups.groups[i].members[m].node;
        if (check_group(k, groups.groups[i].gid, members, groups.groups[i].n_members) != CTL_OK)
            status = CTL_FAILED;
    }
    return status;
}

int cmd_check(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    uint32_t nodes[NODES_MAX];
    gboolean as_json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &as_json, "One JSON object a group, for programs",
         NULL},
        {NULL},
    };
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 0, 0))
        return CTL_USAGE;
    struct client *CLEANUP(client_destroy) client = ctl_connect(ctl, true);
    if (!client)
        return CTL_FAILED;
    struct check k = {client, MIN(ctl->timeout_s, ASK_TIMEOUT_S) * 1000, ctl->timeout_s, as_json};
    unsigned n = client_nodes(client, nodes, NODES_MAX);
    return check_all(&k, nodes, n);
}
