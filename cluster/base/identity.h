/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - which node of which cluster a data directory belongs to (DESIGN 3.5).
 *
 * DIR/identity is written once, when a cluster or a node is made (raftfsctl init), and never by
 * raftfsd: a daemon that finds none refuses to start, so an unmounted disk or a mistyped path
 * cannot become an empty voter. The incarnation is drawn at random with it; peers refuse another
 * one under a known node id, so a wiped and re-made directory cannot vote twice in one term.
 *
 * The file is text, one `key value` per line, in this order, and valid if and only if it is exactly
 *
 *     raftfs-identity 1
 *     cluster 16 hex digits
 *     node N                decimal, 1 .. NODE_ID_MAX
 *     incarnation 16 hex digits
 *
 * DIR/lock is held with flock(2) as long as a raftfsd runs on the directory.
 *
 * All calls block. Errors come with one line for the operator that names the directory.
 */
#pragma once

#include "cluster/base/err.h"

#define IDENTITY_VERSION 1
#define NODE_ID_MAX      1000000u

struct identity {
    uint64_t cluster;
    uint32_t node;
    uint64_t incarnation;
};

/* Into an existing directory; durable when it returns. -ERR_EXISTS: there is one. */
NODISCARD int identity_write(const char *dir, const struct identity *id, struct errmsg *msg);
/* -ERR_NOT_FOUND: no identity; -ERR_FORMAT: newer; -ERR_CORRUPT: not what the rule above says;
 * -ERR_IO: unreadable. */
NODISCARD int identity_read(const char *dir, struct identity *ret, struct errmsg *msg);
/* -ERR_WRONG_CLUSTER unless the directory belongs to this cluster and node. */
NODISCARD int identity_check(const char *dir, const struct identity *found, uint64_t cluster,
                             uint32_t node, struct errmsg *msg);
/* Takes the directory's lock, until the descriptor is closed or the process ends. -ERR_LOCKED. */
NODISCARD int identity_lock(const char *dir, int *ret_fd, struct errmsg *msg);
