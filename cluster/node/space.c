/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/space.h"
#include "cluster/node/group.h"
#include "cluster/node/table.h"

uint64_t space_free(struct node *n)
{
    uint64_t bytes;
    struct disk *d = n->env.disk;
    if (!d->ops->free_bytes || d->ops->free_bytes(d, n->config.data_dir, &bytes) < 0)
        return SPACE_UNKNOWN;
    return bytes;
}

static uint64_t reserve(const struct node *n)
{
    return 2 * n->config.segment_bytes + n->config.flush_log_bytes;
}

/* Has the log room for a segment more? Asks the disk for one if not. */
static bool log_has_room(struct node *n)
{
    if (!n->log_full && wal_space(n->wal) >= n->config.segment_bytes)
        return true;
    int err = wal_reserve(n->wal);
    if (err < 0 && err != -ERR_NO_SPACE)
        node_fatal(n, err, "allocate a log segment in %s/wal", n->config.data_dir);
    return err == 0;
}

static void free_room(struct node *n)
{
    for (guint i = 0; i < n->groups->len; i++)
        group_want_flush(g_ptr_array_index(n->groups, i));
}

/* Somebody else may have room. Each gives way once, or those that have none would pass leadership
 * to and fro. */
static void give_way(struct group *g)
{
    raft_id to = group_is_leader(g) ? raft_transfer_choice(g->raft) : RAFT_NONE;
    if (to == RAFT_NONE || g->gave_way)
        return;
    g->gave_way = raft_transfer(g->raft, to) == 0;
    group_touch(g);
    if (g->gave_way)
        node_log(g->node, LOG_INFO, "hand-over gid=%u to=%u why=\"disk nearly full\"", g->gid, to);
}

void space_house(struct node *n)
{
    uint64_t free = n->free_bytes = space_free(n);
    bool room = log_has_room(n);
    bool low = !room || free < reserve(n);
    if (low != n->low_space)
        node_log(n, LOG_WARN,
                 "%s dir=%s free_mib=%" G_GUINT64_FORMAT " reserve_mib=%" G_GUINT64_FORMAT,
                 low ? "disk-nearly-full: writes are refused" : "disk-has-room-again",
                 n->config.data_dir, free >> 20, reserve(n) >> 20);
    n->low_space = low;
    for (guint i = 0; i < n->groups->len; i++) {
        struct group *g = g_ptr_array_index(n->groups, i);
        if (low)
            give_way(g);
        else
            g->gave_way = false;
    }
    if (room)
        n->log_full = false;
    else
        free_room(n);
}

void space_log_full(struct node *n)
{
    if (!n->log_full)
        node_log(n, LOG_ERROR, "disk-full: the log waits for room in %s/wal", n->config.data_dir);
    n->log_full = n->low_space = true;
    n->full_since = n->now;
}

bool space_refuses(const struct node *n)
{
    return n->low_space;
}

bool space_paused(const struct node *n)
{
    return n->log_full;
}

bool space_for_flush(const struct node *n)
{
    return n->free_bytes >= n->config.flush_log_bytes;
}
