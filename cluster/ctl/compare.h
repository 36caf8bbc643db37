/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare.h - finds out whether the replicas of a group hold the same, and if not, where
 * (raftfsctl check; what the nodes do for it is said in cluster/node/check.h).
 *
 * All are asked for the hashes of each shard's state as of one log entry. Where these differ the
 * shard is cut into some 60 pieces at keys of the replica that has most rows, all are asked for the
 * hashes of the pieces, and the first that differs is cut again, until it has at most
 * COMPARE_LEAF_ROWS rows; those are compared one by one. So a difference costs a few passes over
 * one shard on each node, and no data is moved.
 *
 * It asks through an interface, so that it can be tested without a cluster.
 */
#pragma once

#include "cluster/base/msg.h"

#define COMPARE_LEAF_ROWS  48
#define COMPARE_SHARDS_MAX 8 /* so many differing shards are looked into, the others only named */

struct compare_io {
    /* One question to one node, asked once. An error with text: the node cannot be asked. What the
     * answer points to lives in the arena. msg may be NULL. */
    int (*ask)(void *ctx, uint32_t node, const struct msg_check_ask *m, struct arena *a,
               struct msg_check_pieces *ret, struct errmsg *msg);
    void (*pause)(void *ctx); /* between two questions for the same */
    unsigned patience;        /* a node that does not get on for so many pauses is given up */
    void *ctx;
};

struct compare_replica {
    uint32_t node;
    bool checked; /* else msg says why not; with it, msg says why it could not be asked any more */
    struct errmsg msg;
    struct msg_check_pieces shards;
    uint64_t keys, bytes;
};

/* A row that not all have, or not the same. */
struct compare_row {
    struct bytes key;    /* internal, see kv/layout.h */
    bool has[NODES_MAX]; /* by place in compare.replicas; false also for the unchecked */
    uint64_t hash[NODES_MAX];
};

struct compare_difference {
    unsigned shard;
    bool has[NODES_MAX];
    uint64_t hash[NODES_MAX]; /* of the shard */
    struct bytes lo, hi;      /* the part that was looked into last; hi empty: to the end */
    struct compare_row *rows; /* in it; NULL: it was not looked into */
    unsigned n_rows;
    bool more; /* there are other differing parts */
};

struct compare {
    struct compare_replica replicas[NODES_MAX];
    unsigned n;
    GArray *differences; /* struct compare_difference */
    struct arena arena;
};

void compare_init(struct compare *c, const uint32_t *nodes, unsigned n);
void compare_finish(struct compare *c);
/* Asks all and compares. Takes as long as the nodes need to hash their state. */
void compare_run(struct compare *c, const struct compare_io *io, uint32_t gid, uint64_t index);
unsigned compare_checked(const struct compare *c);

/* Which of the checked replicas are not with the majority, given each one's (has, hash). Their
 * number, in ret_odd by place; 0 if there is no majority, so that nobody can tell. */
unsigned compare_odd(const struct compare *c, const bool *has, const uint64_t *hash,
                     bool ret_odd[NODES_MAX]);
