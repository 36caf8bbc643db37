/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/space.h"

uint64_t space_free(struct node *n)
{
    uint64_t bytes = 0;
    struct disk *d = n->env.disk;
    if (!d->ops->free_bytes || d->ops->free_bytes(d, n->config.data_dir, &bytes) < 0)
        return 0;
    return bytes;
}

static uint64_t reserve(const struct node *n)
{
    return 2 * n->config.segment_bytes + n->config.flush_log_bytes;
}

void space_house(struct node *n)
{
    uint64_t free = space_free(n);
    bool low = free > 0 && free < reserve(n);
    if (low != n->low_space)
        node_log(n, LOG_WARN,
                 "%s dir=%s free_mib=%" G_GUINT64_FORMAT " reserve_mib=%" G_GUINT64_FORMAT,
                 low ? "disk-nearly-full: writes are refused" : "disk-has-room-again",
                 n->config.data_dir, free >> 20, reserve(n) >> 20);
    n->low_space = low;
}

bool space_refuses(const struct node *n)
{
    return n->low_space;
}

bool space_paused(const struct node *n)
{
    return false;
}
