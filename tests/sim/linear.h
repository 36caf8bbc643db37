/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear.h - the history of a run, and whether it is linearizable.
 *
 * Each object's history is checked alone (linearizability is local: Herlihy, Wing 1990). The search
 * is Wing and Gong's with Lowe's list of entries and memory of the states already tried (set of
 * operations done, state). An operation that was never answered may have happened at any time after
 * its call, or never. A search that takes more than its budget counts as a failure, never as
 * success.
 */
#pragma once

#include "tests/sim/model.h"

struct sim;

struct hist_op {
    unsigned object, client;
    uint64_t seq;
    uint64_t called, returned;       /* stamps of the history; returned 0: never answered */
    uint64_t called_at, returned_at; /* simulated time, for reports */
    struct model_txn txn;
    struct model_reply reply;
};

struct history {
    unsigned n_objects;
    bool many;      /* struct model_state's */
    GPtrArray *ops; /* struct hist_op */
    uint64_t stamp;
};

struct history *history_create(unsigned n_objects);
void history_destroy(struct history *h);
struct hist_op *history_call(struct history *h, unsigned object, const struct model_txn *t,
                             uint64_t now);
/* ops stay in the history; one that is known to have had no effect is taken out. */
void history_return(struct history *h, struct hist_op *op, uint64_t now);
void history_drop(struct history *h, struct hist_op *op);

enum linear_verdict { LINEAR_OK, LINEAR_VIOLATION, LINEAR_BUDGET };
/* On a violation *ret_text gets the operations around the place where the search got furthest. */
enum linear_verdict history_check(const struct history *h, unsigned object, uint64_t budget,
                                  GString *ret_text);
