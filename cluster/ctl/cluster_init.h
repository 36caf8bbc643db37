/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster_init.h - makes a new cluster's files: certificates, configurations, data directories.
 *
 * In DIR (made with mode 0700 if absent, else it must be empty):
 *
 *     nK/identity                   data directory of each node, 0700
 *     ca.crt ca.key                 the cluster's certificate authority
 *     nK.crt nK.key  client.crt client.key  admin.crt admin.key
 *     nK.conf  client.conf  admin.conf      for raftfsd, raftfs and raftfsctl (raftfs.conf(5))
 *
 * An embedded cluster (raftfs's own, all nodes on this machine) listens on Unix sockets DIR/nK.sock
 * and has no certificates. Keys have mode 0600 from their creation. client.conf is written last: if
 * it is there, all is there. A call that fails leaves nothing behind.
 *
 * Everything is synced when it returns. Blocks for some 10 ms.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/base/limits.h"

struct cluster_init_node {
    uint32_t id;
    const char *address; /* where it listens and where the others find it */
};

struct cluster_init {
    const char *dir;
    const char *name; /* for comments in the files; NULL: the directory's name */
    const struct cluster_init_node *nodes;
    unsigned n_nodes;
    unsigned embedded; /* not 0: so many nodes on Unix sockets; nodes is not looked at */
    unsigned shards;   /* 0: SHARDS_DEFAULT */
    unsigned groups;   /* besides group 0, which has all shards if there are none */
};

/* How many groups there should be: one for each node to lead, none if there is one node. */
unsigned cluster_init_groups(unsigned n_nodes, unsigned shards);

/* -ERR_CONFIG: what was asked for is wrong; -ERR_EXISTS: DIR is not empty; -ERR_IO and the like.
 * All with one line for the operator. */
NODISCARD int cluster_init(const struct cluster_init *o, struct errmsg *msg);

/* "n1=127.0.0.1:7001", split in place: ret->address points into text. -ERR_CONFIG. */
NODISCARD int cluster_init_parse_node(char *text, struct cluster_init_node *ret,
                                      struct errmsg *msg);
