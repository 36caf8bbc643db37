/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - what runs in a raftfsd beside the node (the job service of mr/): main.c has the table
 * of them and knows nothing else about them.
 *
 * Everything but stop is called on the loop's thread. A service with threads of its own comes back
 * to it with host_post and answers requests there with node_answer. start comes when the node exists
 * and does not run yet. stop is the last call and comes on another thread, while the loop goes on:
 * what the service still has to say to the cluster may have to go through this very node. No thread
 * of the service may be left when it returns, but what it has posted may run later, as long as the
 * node exists. NULL members are skipped.
 */
#pragma once

#include "cluster/node/daemon_conf.h"
#include "cluster/node/host_uv.h"

struct service_env {
    const struct daemon_conf *conf;
    const char *conf_path; /* absolute: also a client's conf (client.h) */
    struct host *host;
    struct node *node;
};

struct service {
    const char *name;
    /* On failure the daemon does not start; msg gets one line. */
    int (*start)(const struct service_env *env, void **ret, struct errmsg *msg);
    void (*on_lead)(void *s, uint32_t gid, bool leading); /* node_env.on_lead */
    /* node_env.on_other; true if the message is this service's. */
    bool (*on_other)(void *s, struct net_conn *c, enum role role, unsigned type, uint64_t id,
                     struct bytes body);
    void (*stop)(void *s);
};
