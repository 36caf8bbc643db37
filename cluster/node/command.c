/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/command.h"
#include "cluster/node/fence.h"
#include "cluster/node/group.h"
#include "cluster/node/queue.h"
#include "cluster/node/request.h"

static bool for_members(unsigned cmd)
{
    switch (cmd) {
    case KV_CMD_PREPARE:
    case KV_CMD_OUTCOME:
    case KV_CMD_FORGET:
    case KV_CMD_MOVE_BEGIN:
    case KV_CMD_MOVE_CLOSE:
    case KV_CMD_MOVE_FREEZE:
    case KV_CMD_MOVE_DELETE:
    case KV_CMD_SESSION_SET:
    case KV_CMD_MOVED:
    case KV_CMD_HELD:
        return true;
    default:
        return false;
    }
}

/* 0: of nobody. */
static uint64_t client_of(struct node *n, const struct msg_group_command *m)
{
    struct msg_prepare prepare;
    struct msg_txn part;
    if (m->gid == 0 || m->cmd != KV_CMD_PREPARE ||
        dec_prepare(m->body, &n->scratch, &prepare) < 0 ||
        dec_txn(prepare.part, &n->scratch, &part) < 0)
        return 0;
    return part.client;
}

int serve_group_command(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_group_command m;
    if (dec_group_command(body, &n->scratch, &m) < 0 || !for_members(m.cmd))
        return -ERR_INVALID;
    struct group *g = node_group(n, m.gid);
    if (!g) {
        conn_answer_leader(n, c->token, id, -ERR_NOT_LEADER, m.gid, 0, NULL);
        return 0;
    }
    /* Before its own term's first entry is applied its state is not the group's. */
    if (!group_is_leader(g) || !g->leading) {
        conn_answer_leader(n, c->token, id, -ERR_NOT_LEADER, g->gid, group_hint(g), NULL);
        return 0;
    }
    if (fence_awaits(g, c, id, MSG_group_command, body, client_of(n, &m)))
        return 0;
    if (m.cmd == KV_CMD_PREPARE)
        return queue_prepare(g, c, id, &m, body);
    if (m.cmd == KV_CMD_OUTCOME)
        queue_outcome(g->queue, m.body);
    struct request *r = request_create(n, c, id, 0, BYTES_NONE);
    if (!r)
        return -ERR_BUSY;
    group_propose(g, (enum kv_command)m.cmd, m.body, r);
    return 0;
}
