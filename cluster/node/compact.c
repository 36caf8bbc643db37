/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/compact.h"
#include "cluster/node/damage.h"
#include "cluster/node/table.h"
#include "cluster/node/outage.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/space.h"

/* Memory is cut at marks, so many in what is kept (log_keep_*). */
#define MARKS_IN_BYTES   32
#define MARKS_IN_ENTRIES 16

void compact_applied(struct group *g, uint64_t payload)
{
    const struct node_config *config = &g->node->config;
    const struct log_mark *last = g_queue_peek_tail(&g->marks);
    g->bytes_applied += payload;
    if (!last || g->bytes_applied - last->bytes >= config->log_keep_bytes / MARKS_IN_BYTES ||
        g->applied - last->index >= config->log_keep_entries / MARKS_IN_ENTRIES) {
        struct log_mark *m = g_new0(struct log_mark, 1);
        *m = (struct log_mark){g->applied, g->bytes_applied};
        g_queue_push_tail(&g->marks, m);
    }
}

static bool flush_due(const struct group *g)
{
    if (g->flushing || g->store_full || !space_for_flush(g->node))
        return false;
    return (g->flush_wanted && g->applied > g->flushed) ||
           g->bytes_applied - g->bytes_flushed >= g->node->config.flush_log_bytes;
}

void group_want_flush(struct group *g)
{
    g->flush_wanted = true;
    group_touch(g);
}

static void on_flushed(void *arg, int err)
{
    /* From inside the flush or from a later poll. What is cut is what was applied when it began,
     * whatever has been applied since. */
    struct group *g = arg;
    g->flush_done = true;
    g->flush_err = err;
    group_touch(g);
}

static void flush_start(struct group *g)
{
    g->flushing = true;
    g->flush_wanted = false;
    g->flush_index = g->applied;
    g->flush_term = g->applied_term;
    g->flush_time = g->applied_time;
    g->bytes_flushed = g->bytes_applied;
    g->node->counters.flushes++;
    int err = kv_settle(g->kv);
    if (err < 0)
        on_flushed(g, err);
    else
        g->store->ops->flush(g->store, on_flushed, g);
}

/* A mark may go if what follows it is flushed, old enough to be no use to a follower that lags a
 * little, and not behind a snapshot under way. */
static bool mark_may_go(const struct group *g, const struct log_mark *m)
{
    uint64_t behind = g->bytes_applied - m->bytes;
    raft_index hold = snapshots_hold(g);
    if (m->index > g->flushed)
        return false;
    if (hold > 0 && m->index > hold && behind <= LOG_HOLD_BYTES)
        return false;
    return behind > g->node->config.log_keep_bytes ||
           g->applied - m->index > g->node->config.log_keep_entries;
}

static void flush_finish(struct group *g)
{
    struct node *n = g->node;
    g->flushing = g->flush_done = false;
    if (g->flush_err == -ERR_NO_SPACE) {
        outage_flush_failed(g);
        return;
    }
    if (g->flush_err < 0)
        group_fatal(g, g->flush_err, "group %u: flush the state store in %s", g->gid, g->dir);
    g->flushed = g->flush_index;
    if (g->flushed == 0)
        return;
    wal_start(n->wal, g->gid, g->flush_index, g->flush_term, g->flush_time, false);
    raft_index upto = 0;
    struct log_mark *m;
    while ((m = g_queue_peek_head(&g->marks)) != NULL && mark_may_go(g, m)) {
        upto = m->index;
        g_free(g_queue_pop_head(&g->marks));
    }
    if (upto > 0)
        raft_compact(g->raft, upto);
}

void compact_poll(struct group *g)
{
    if (g->flush_done)
        flush_finish(g);
    if (flush_due(g))
        flush_start(g);
    if (g->flush_done)
        flush_finish(g);
}

bool compact_has_work(const struct group *g)
{
    return g->flush_done || flush_due(g);
}

void compact_reopened(struct group *g)
{
    g->flushing = g->flush_done = false;
}

void compact_reset(struct group *g)
{
    g_queue_clear_full(&g->marks, g_free);
    g_queue_init(&g->marks);
    g->bytes_flushed = g->bytes_applied;
    g->flushed = g->applied;
    g->flush_wanted = false;
}
