/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_conf.h - a raftfsd's configuration file as values (raftfs.conf(5)).
 *
 * Everything is checked here, so that a wrong file ends the start with one line that names file,
 * line and remedy. Strings live as long as the conf.
 */
#pragma once

#include "cluster/base/conf.h"
#include "cluster/base/limits.h"
#include "cluster/base/log.h"
#include "cluster/node/node.h"

#define LISTEN_MAX 4

struct daemon_conf {
    struct conf *conf; /* owns the strings */
    uint64_t cluster;
    uint32_t node;
    const char *data;
    const char *listen[LISTEN_MAX];
    unsigned n_listen;
    struct node_peer_config peers[NODES_MAX]; /* as of its making, this node included */
    unsigned n_peers;
    bool join;                   /* it came later: none of the first voters */
    const char *ca, *cert, *key; /* all or none */
    uint16_t shards;
    unsigned groups; /* besides group 0, of a new cluster */
    unsigned election_ticks, heartbeat_ticks;
    bool lease_reads;
    unsigned lease_drift_ticks;
    const char *job_user;         /* NULL: nobody */
    unsigned job_slots;           /* 0: one for each processor */
    unsigned snapshot_tick_bytes; /* 0: the node's default */
    enum log_level log_level;
};

/* -ERR_CONFIG and those of conf_load. */
NODISCARD int daemon_conf_load(const char *path, struct daemon_conf *ret, struct errmsg *msg);
void daemon_conf_finish(struct daemon_conf *c);
