/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/leave.h"
#include "cluster/node/group.h"
#include "cluster/node/table.h"

/* Is the group still ours to hand over, or without a leader that we know of? */
static bool waits(const struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    return g->leaving && (s.leader == RAFT_NONE || s.leader == s.id);
}

static void hand_over(struct group *g)
{
    raft_id to = raft_transfer_choice(g->raft);
    if (to == RAFT_NONE || !group_is_leader(g))
        return;
    int err = raft_transfer(g->raft, to);
    group_touch(g);
    g->leaving = err == 0 || err == -ERR_BUSY; /* an operator's is under way: as good */
    if (err == 0)
        node_log(g->node, LOG_INFO, "hand-over gid=%u to=%u", g->gid, to);
}

void leave_tick(struct node *n)
{
    bool busy = false;
    if (!n->left)
        return;
    for (guint i = 0; i < n->groups->len; i++)
        busy |= waits(g_ptr_array_index(n->groups, i));
    if (busy && n->now - n->leave_at < n->config.election_ticks)
        return;
    void (*left)(void *ctx) = n->left;
    n->left = NULL;
    left(n->left_ctx);
}

void node_leave(struct node *n, void (*left)(void *ctx), void *ctx)
{
    n->left = left;
    n->left_ctx = ctx;
    n->leave_at = n->now;
    for (guint i = 0; i < n->groups->len; i++)
        hand_over(g_ptr_array_index(n->groups, i));
    leave_tick(n);
}
