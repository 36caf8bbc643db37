/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl leader move: asks whoever leads to hand over. */
#include <stdio.h>
#include <string.h>
#include "cluster/ctl/ctl.h"

struct asked {
    uint32_t status, leader;
    char detail[400];
};

/* -ERR_x: it gave no answer. */
static int ask(struct ctl *ctl, struct client *c, uint32_t node, const struct msg_leader_move *m,
               struct asked *ret)
{
    struct enc CLEANUP(enc_finish) e = {0};
    struct arena a = {0};
    struct buf *CLEANUP(buf_unref) body = NULL;
    struct errmsg msg = {""};
    struct msg_status s;
    unsigned type;
    enc_leader_move(&e, m);
    int err = client_ask_node_msg(c, node, MSG_leader_move, enc_view(&e), ctl->timeout_s * 1000,
                                  &type, &body, &msg);
    if (err < 0)
        return err;
    if (type == MSG_status && dec_status(buf_bytes(body), &a, &s) == 0) {
        *ret = (struct asked){.status = s.status, .leader = s.leader};
        (void)snprintf(ret->detail, sizeof(ret->detail), "%.*s", (int)MIN(s.detail.n, 399u),
                       (const char *)s.detail.p);
    } else {
        err = -ERR_INVALID;
    }
    arena_finish(&a);
    return err;
}

/* Asks node by node, first whom another one names as the leader, until one says something else than
 * that it does not lead. */
static int ask_leader(struct ctl *ctl, struct client *c, const struct msg_leader_move *m,
                      struct asked *ret)
{
    uint32_t ids[NODES_MAX], named = 0;
    unsigned n = client_nodes(c, ids, NODES_MAX);
    for (unsigned i = 0; i < n;) {
        uint32_t node = named ? named : ids[i++];
        named = 0;
        int err = ask(ctl, c, node, m, ret);
        if (err < 0)
            continue;
        if (ret->status == ERR_WRONG_GROUP && i < n)
            continue; /* no replica there */
        if (ret->status != ERR_NOT_LEADER)
            return 0;
        named = ret->leader != node ? ret->leader : 0;
    }
    return -ERR_NOT_LEADER;
}

static bool parse_node(const char *text, uint32_t *ret)
{
    guint64 v;
    if (text[0] == 'n')
        text++;
    if (!g_ascii_string_to_unsigned(text, 10, 1, UINT32_MAX, &v, NULL))
        return false;
    *ret = (uint32_t)v;
    return true;
}

int cmd_leader(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    int gid = 0;
    const GOptionEntry entries[] = {
        {"group", 'g', 0, G_OPTION_ARG_INT, &gid, "Of which group (0)", "G"},
        {NULL},
    };
    struct msg_leader_move m = {0};
    struct asked got = {0};
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 2, 2))
        return CTL_USAGE;
    if (strcmp(argv[1], "move") != 0)
        return ctl_usage("leader: unknown action \"%s\"; the one there is is move", argv[1]);
    if (!parse_node(argv[2], &m.node))
        return ctl_usage("leader move: \"%s\" is no node; one is written nID, e.g. n2", argv[2]);
    if (gid < 0)
        return ctl_usage("leader move: --group %d: groups are numbered from 0", gid);
    m.gid = (uint32_t)gid;
    struct client *CLEANUP(client_destroy) c = ctl_connect(ctl, false);
    if (!c)
        return CTL_FAILED;
    if (ask_leader(ctl, c, &m, &got) < 0)
        return ctl_error("no node says that it leads group %d (raftfsctl status shows more)", gid);
    if (got.status != 0)
        return ctl_error("%s", got.detail[0] ? got.detail : err_text(-(int)got.status));
    printf("n%u leads group %d\n", m.node, gid);
    return CTL_OK;
}
