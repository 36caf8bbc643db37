/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - a request that waits: for its entry, for a read point, or for a key to change.
 *
 * It is counted against its connection and the node from create to destroy. Whoever holds it
 * answers it once and destroys it; request_fail does both. Token 0 is the node's own (a session's
 * expiry): its answer goes nowhere.
 */
#pragma once

#include "cluster/node/conn.h"

struct request {
    struct node *node;
    uint64_t token, id;
    unsigned type;
    uint32_t gid;        /* of the group that it was given to */
    bool anywhere;       /* a read that a node which follows may serve */
    uint64_t lock_until; /* tick; 0: it has met no lock, else its patience with locks (queue.h) */
    struct buf *body;    /* encoded message; NULL for a proposal, whose bytes are in the log */
};

/* NULL over a bound: answer ERR_BUSY. c NULL: the node's own. */
struct request *request_create(struct node *n, struct conn *c, uint64_t id, unsigned type,
                               struct bytes body);
void request_destroy(struct request *r);
/* A body that is already encoded, as message `type`. */
void request_answer(struct request *r, unsigned type, struct bytes body);
void request_fail(struct request *r, int err, uint32_t leader, const char *detail);
