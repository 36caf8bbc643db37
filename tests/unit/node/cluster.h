/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - a few nodes in one thread, for unit tests of cluster/node: an in-memory net that
 * keeps order and loses nothing but what tests cut off, real log files in a temporary directory,
 * state stores in memory that forget what was not flushed ($NODE_STORE=rocks: real ones).
 *
 * cluster_run moves time: all frames are delivered, each node runs its rounds, then a tick passes.
 * Everything is a function of the seed. (tests/sim is the place for faults; this is for examples.)
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/base/net.h"
#include "cluster/node/node.h"
#include "cluster/raft/raft.h"
#include "tests/lib/t.h"

#define CLUSTER_ID  0xc1u
#define TEST_SHARDS 16
#define PATIENCE    3000 /* ticks that EVENTUALLY waits */

struct cluster_options {
    unsigned n;
    unsigned groups;              /* that the first leader makes; of nodes that start from now on */
    uint64_t flush_log_bytes;     /* 0: the node's default */
    unsigned rows_held;           /* 0: the node's default */
    uint64_t segment_bytes;       /* 0: 1 MiB */
    unsigned snapshot_tick_bytes; /* 0: the node's default */
    bool lease; /* of nodes that start from now on; clocks may differ by 2 ticks */
};

struct test_conn;
struct test_node {
    unsigned id;
    char *dir, *address;
    struct node *node; /* NULL: down */
    struct disk *disk; /* disk_posix with some calls replaced */
    struct disk_ops disk_ops, real_disk;
    bool hold_syncs, full;
    uint64_t slept; /* ticks that its clock made while it did not run */
    GQueue held;    /* struct held_sync */
    struct store_mem_disk *mem;
    struct store_maker *stores;
    struct rng rng;
    uint64_t incarnation;
    struct cluster *cluster;
    bool leading; /* group 0, env.on_lead */
    GString *log;
    char fatal[600];
    unsigned known;    /* bit set of the nodes that its configuration names; 0: the first ones */
    char removed[600]; /* what it said when it ended because it was removed */
    struct net *net;
};

struct cluster {
    unsigned n;    /* nodes made, also those that joined later */
    unsigned gone; /* bit set: a node that is made now knows nothing of them */
    struct cluster_options options;
    struct test_node nodes[8]; /* nodes[0] is node 1 */
    GQueue events;
    GPtrArray *conns;
    bool cut[9][9];
    uint64_t now, last_nonce;
    struct arena arena; /* answers live as long as the cluster */
};

struct cluster *cluster_create(const struct cluster_options *o); /* all nodes started */
void cluster_destroy(struct cluster *c);
int cluster_try_start(struct cluster *c, unsigned id, struct errmsg *msg);
void cluster_start(struct cluster *c, unsigned id);
/* A new node with an empty directory that joins, started; nobody has been asked. */
unsigned cluster_join(struct cluster *c);
void cluster_kill(struct cluster *c,
                  unsigned id); /* unflushed store state and all memory are lost */
void cluster_wipe(struct cluster *c, unsigned id); /* of a killed node: an empty directory */
/* Syncs of its files take for ever, until let go again. */
void cluster_hold_syncs(struct cluster *c, unsigned id, bool hold);
void cluster_fill_disk(struct cluster *c, unsigned id, bool full);
void cluster_cut(struct cluster *c, unsigned a, unsigned b, bool cut);
void cluster_cut_off(struct cluster *c, unsigned id, bool cut);
/* So many rounds of each node, without a tick; false: there was less to do. */
bool cluster_rounds(struct cluster *c, unsigned rounds);
void cluster_tick(struct cluster *c); /* and nothing else */
void cluster_run(struct cluster *c, unsigned ticks);
unsigned cluster_leader(struct cluster *c); /* that may serve, of the highest term; 0: none */
struct raft_status cluster_status(struct cluster *c, unsigned id);

#define EVENTUALLY(c, cond)                                                                        \
    do {                                                                                           \
        for (unsigned ticks_ = 0; !(cond); ticks_++) {                                             \
            if (ticks_ == PATIENCE)                                                                \
                fail_msg("never came true: %s", #cond);                                            \
            cluster_run((c), 1);                                                                   \
        }                                                                                          \
    } while (0)

/* slow_disk.c */
void test_disk_make(struct test_node *tn);
void test_disk_crash(struct test_node *tn); /* what was held never completes */

/* A connection of a client (or of whoever a test plays), greeted. */
struct test_client *client_connect(struct cluster *c, unsigned id, enum role role, bool read_only);
/* One that wants its reads from this very node. */
struct test_client *client_connect_anywhere(struct cluster *c, unsigned id);
/* The same without a word: the test sends its own first frame. */
struct test_client *client_raw(struct cluster *c, unsigned id, const struct net_peer *peer);
void client_hang_up(struct test_client *k);
bool client_closed(const struct test_client *k);
uint64_t client_send(struct test_client *k, struct enc *frame); /* takes and frees it */
uint64_t client_next_id(struct test_client *k);
bool client_has(struct test_client *k, uint64_t id);
/* Runs until the answer came; fails the test if it never does. The body lives in the cluster. */
struct frame client_wait(struct test_client *k, uint64_t id);

#define CLIENT_ASK(k, name, m)                                                                     \
    ({                                                                                             \
        struct enc ask_ = {0};                                                                     \
        uint64_t ask_id_ = client_next_id(k);                                                      \
        FRAME(&ask_, name, ask_id_, (m));                                                          \
        client_send((k), &ask_);                                                                   \
        ask_id_;                                                                                   \
    })

/* Requests: status of the answer (0, or a positive ERR_ number), from TXN_REPLY or STATUS. */
uint64_t client_open_session(struct test_client *k); /* asserts success */
uint64_t client_ask_put(struct test_client *k, uint64_t client, uint64_t seq, const char *key,
                        struct bytes value);
unsigned client_put(struct test_client *k, uint64_t client, uint64_t seq, const char *key,
                    const char *value);
unsigned client_get(struct test_client *k, const char *key, const char **ret,
                    uint64_t *ret_version);
uint64_t client_ask_get(struct test_client *k, const char *key);
uint64_t client_counter(struct test_client *k, const char *name); /* of its node's status */
unsigned frame_status(struct cluster *c, struct frame f, struct msg_txn_reply *ret);
struct bytes test_key(struct cluster *c, const char *name); /* in shard 1 */
