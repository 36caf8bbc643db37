/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster_add.h - the files of a node that comes to a cluster later (raftfsctl node).
 *
 * They are made in the directory of cluster_init.h, beside ca.key: the data directory nK with its
 * identity, nK.crt, nK.key, and nK.conf last. What is there already and belongs to this node is
 * kept, so a call that was interrupted is simply repeated.
 */
#pragma once

#include "cluster/ctl/cluster_init.h"

struct cluster_add {
    const char *dir; /* absolute */
    uint64_t cluster;
    struct cluster_init_node node;
    const struct cluster_init_node *peers; /* the voters */
    unsigned n_peers;
    unsigned shards;
};

/* Could they be made? ca.key is there, and nothing of another node is in their place. Looks only at
 * dir, cluster and node. -ERR_CONFIG, -ERR_NOT_FOUND, -ERR_EXISTS and those of identity.h. */
NODISCARD int cluster_add_check(const struct cluster_add *o, struct errmsg *msg);
NODISCARD int cluster_add(const struct cluster_add *o, struct errmsg *msg);

/* The `peer` line of a node in a configuration: put or changed, with address NULL taken out. No
 * error if the file does not exist, for an administrator may keep client.conf elsewhere. A file
 * that would name no peer any more is left as it is. */
NODISCARD int cluster_conf_peer(const char *path, uint32_t node, const char *address,
                                struct errmsg *msg);
