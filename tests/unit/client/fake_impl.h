/* SPDX-License-Identifier: Apache-2.0 */
/* fake_impl.h - what the files of the fake share: fake_node.c serves, fake_orders.c is fake_node.h.
 */
#pragma once

#include <pthread.h>
#include "cluster/base/tls.h"
#include "tests/unit/client/fake_node.h"

#define NODES  3
#define GROUPS 4

struct fake_shard {
    uint32_t gid, next;
};

struct held {
    struct fake_conn *conn; /* NULL: it is gone */
    struct buf *body;
    struct buf *rest; /* of an answer that has begun; else body is the request */
    unsigned type;
    uint64_t id;
};

struct script {
    enum fake_step step;
    uint32_t arg;
};

struct fake_node {
    uint32_t id; /* its address in the conf */
    int listener;
    GQueue script;
    uint32_t tell;
    bool tell_set, hang, lags;
    uint64_t hello_cluster;
    uint32_t hello_node, hello_protocol;
    unsigned accepted, closed;
    struct tls_ctx *tls;
};

struct fake_conn {
    struct fake_node *node;
    int fd;
    struct tls_conn *tls; /* NULL over a Unix socket */
    bool ready, greeted, closing;
    bool anywhere; /* its hello wants reads from whichever node */
    GByteArray *in;
};

struct fake {
    pthread_mutex_t lock;
    pthread_t thread;
    int wake;
    bool stop, release, backwards;
    const char *dir, *conf;
    struct fake_node nodes[NODES];
    unsigned n_nodes;
    bool tells;                            /* LOCATE lists the nodes */
    uint32_t leader, led[GROUPS];          /* group 0's; the others', by gid */
    struct fake_shard shards[FAKE_SHARDS]; /* next other than gid: frozen */
    GPtrArray *conns, *held;
    GArray *seen;        /* struct fake_seen */
    GHashTable *results; /* "client.seq" -> struct buf, the request's body */
    uint64_t last_session, live_above;
    unsigned changed_bytes;
};

void *fake_main(void *fake); /* the thread */
void fake_conn_free(struct fake *f, struct fake_conn *c);
