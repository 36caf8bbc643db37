/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/move.h"
#include "cluster/node/table.h"
#include "cluster/node/request.h"

static void refuse(struct group *g, struct request *r, raft_id to, int err)
{
    char text[100];
    switch (err) {
    case -ERR_NOT_FOUND:
        g_snprintf(text, sizeof(text), "n%u is no member of group %u", to, g->gid);
        break;
    case -ERR_INVALID:
        g_snprintf(text, sizeof(text), "n%u does not vote in group %u, it cannot lead it", to,
                   g->gid);
        break;
    default:
        g_snprintf(text, sizeof(text), "group %u is being moved to another node", g->gid);
    }
    request_fail(r, err, 0, text);
}

void move_leader(struct group *g, struct request *r, raft_id to)
{
    r->gid = g->gid;
    if (!group_is_leader(g)) {
        request_fail(r, -ERR_NOT_LEADER, group_hint(g), NULL);
        return;
    }
    int err = g->move ? -ERR_BUSY : raft_transfer(g->raft, to);
    if (err < 0) {
        refuse(g, r, to, err);
        return;
    }
    node_log(g->node, LOG_INFO, "move-leader gid=%u to=%u", g->gid, to);
    group_touch(g);
    g->move = r;
    g->move_to = to;
    /* It is given up after one time-out; another leader is then known within a few. */
    g->move_until = g->node->now + 4 * g->node->config.election_ticks;
    move_tick(g);
}

static void answer(struct group *g, int err, raft_id leader, const char *text)
{
    struct request *r = g->move;
    g->move = NULL;
    request_fail(r, err, leader, text);
}

void move_tick(struct group *g)
{
    struct raft_status s;
    char text[160];
    if (!g->move)
        return;
    raft_get_status(g->raft, &s);
    if (s.leader == g->move_to) {
        answer(g, 0, s.leader, NULL);
    } else if (s.role == RAFT_LEADER && s.transfer_to == RAFT_NONE) {
        g_snprintf(text, sizeof(text),
                   "n%u did not take over group %u within an election time-out; n%u leads on",
                   g->move_to, g->gid, s.id);
        answer(g, -ERR_TIMEOUT, s.id, text);
    } else if (s.role != RAFT_LEADER && s.leader != RAFT_NONE) {
        g_snprintf(text, sizeof(text), "n%u was elected in group %u instead of n%u", s.leader,
                   g->gid, g->move_to);
        answer(g, -ERR_TIMEOUT, s.leader, text);
    } else if (g->node->now >= g->move_until) {
        g_snprintf(text, sizeof(text), "group %u has no leader at the moment", g->gid);
        answer(g, -ERR_TIMEOUT, 0, text);
    }
}
