/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - transactions of a real client, recorded so that they can be judged
 * (tests/sim/linear.h).
 *
 * Objects are those of the simulator's checker (tests/sim/model.h). Object i has the cells of its
 * own shards, from 1 + 2 i on; nobody else may touch them. Any thread may record; what is judged
 * must be at rest.
 */
#pragma once

#include <pthread.h>
#include "cluster/client/client.h"
#include "tests/sim/linear.h"

struct record {
    pthread_mutex_t lock; /* guards the history */
    struct history *history;
};

enum recorded {
    RECORD_ANSWERED, /* *ret_reply holds the answer */
    RECORD_REFUSED,  /* nothing has happened: a read without an answer, or no space at the first try
                      */
    RECORD_UNKNOWN,  /* it may have happened, or will */
};

void record_init(struct record *r, unsigned n_objects);
void record_finish(struct record *r);

/* Parts of a transaction on an object. */
void record_get(struct model_txn *t, unsigned cell);
void record_absent(struct model_txn *t, unsigned cell);
void record_version(struct model_txn *t, unsigned cell, uint64_t version);
void record_write(struct model_txn *t, uint8_t op, unsigned cell, uint64_t v); /* PUT, ADD64 */

/* Runs it. *ret_err: what the client said (0 and -ERR_FAILED are answers). */
enum recorded record_run(struct record *r, struct client *c, unsigned object,
                         const struct model_txn *m, unsigned deadline_ms,
                         struct model_reply *ret_reply, int *ret_err);

/* A transaction without writes at one node, and at no other; not answered: refused. */
enum recorded record_read_at(struct record *r, struct client *c, uint32_t node, unsigned object,
                             const struct model_txn *m, unsigned timeout_ms,
                             struct model_reply *ret_reply);

/* Each object within so many steps of the search. False: some history is not linearizable, or could
 * not be judged; printed. */
bool record_judge(const struct record *r, uint64_t budget);
