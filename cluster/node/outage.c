/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/outage.h"
#include "cluster/node/checkpoint.h"
#include "cluster/node/compact.h"
#include "cluster/node/damage.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/space.h"

static void note_full(struct group *g)
{
    if (!g->store_full)
        node_log(g->node, LOG_ERROR, "store-full gid=%u: the state store waits for room in %s",
                 g->gid, g->dir);
    g->store_full = true;
}

void outage_flush_failed(struct group *g)
{
    note_full(g);
}

void outage_apply_failed(struct group *g)
{
    note_full(g);
    g->paused = true;
    group_yield(g);
    snapshot_recv_drop(g);
}

/* Applies (g->applied, upto] from the log in memory, for nobody: all of it was answered before, or
 * its requests were failed. */
static int apply_again(struct group *g, raft_index upto)
{
    struct node *n = g->node;
    while (g->applied < upto) {
        uint64_t payload;
        unsigned count;
        const struct raft_entry *e =
            raft_entries(g->raft, g->applied + 1, upto, APPLY_BYTES_MAX, &count);
        ASSERT(e); /* the log is cut behind what was flushed only */
        arena_reset(&n->round);
        int err = group_apply_to_state(g, e, count, NULL, &payload);
        if (err < 0)
            return err;
    }
    return 0;
}

/* Of the batch that was refused: some of its entries may have got through. */
static void skip_applied(struct group *g)
{
    if (g->n_to_apply == 0)
        return;
    while (g->n_to_apply > 0 && g->to_apply[0].index <= g->applied) {
        g->to_apply++;
        g->n_to_apply--;
    }
    raft_applied(g->raft, g->applied);
}

/* What was being sent ended when the outage began, and the core, which was left alone, may lead
 * still and wait for it. */
static void send_again(struct group *g)
{
    struct raft_progress_view view[3 * VOTERS_MAX + 1];
    unsigned n = raft_get_progress(g->raft, view, ARRAY_LEN(view));
    for (unsigned i = 0; i < n; i++)
        if (view[i].state == 's')
            raft_snapshot_sent(g->raft, view[i].id, 0, false);
}

static void end_outage(struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    group_fail_requests(g, -ERR_NOT_LEADER); /* WAITs: the state machine forgets its watches */
    group_reopen(g);
    compact_reopened(g);
    raft_index flushed = g->applied;
    int err = apply_again(g, s.applied);
    if (err == -ERR_NO_SPACE)
        return; /* again at the next housekeeping */
    if (err < 0)
        group_fatal(g, err, "group %u: apply again in %s", g->gid, g->dir);
    skip_applied(g);
    if (g->paused)
        send_again(g);
    g->store_full = g->paused = false;
    group_want_flush(g);
    node_log(g->node, LOG_INFO,
             "store-has-room-again gid=%u: applied %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT
             " again",
             g->gid, flushed + 1, s.applied);
    group_apply(g);
}

void outage_house(struct group *g)
{
    if (!g->store_full || !space_for_flush(g->node) || checkpoint_busy(g))
        return;
    end_outage(g);
}
