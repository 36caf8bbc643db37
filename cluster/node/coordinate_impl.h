/* SPDX-License-Identifier: Apache-2.0 */
/* coordinate_impl.h - what coordinate.c, telling.c and participant.c share. */
#pragma once

#include "cluster/node/ask.h"
#include "cluster/node/coordinate.h"
#include "cluster/node/request.h"

/* Of one group at once; beyond it BUSY. */
#define ATTEMPTS_MAX 1024

struct telling;

struct coordinator {
    struct group *group;
    raft_term term; /* that the rest belongs to; 0: of none, this node does not lead */
    /* Leadership that was given up, and what was forgotten with it. Should the core go on with that
     * term (outage.h), nothing is coordinated before all of that log is applied: then each DECIDE
     * of an attempt that was forgotten has left its decision, or never will. No n is named twice.
     */
    raft_term ended_term;
    raft_index ended_index; /* last of the log at that time */
    uint64_t ended_n;       /* last_n */
    uint64_t last_n;        /* of a txid of this term */
    GPtrArray *attempts;    /* struct attempt, in the order of their first try */
    GPtrArray *tellings;    /* struct telling */
    GArray *ended;          /* struct txid: every participant has logged it; to be FORGOTTEN */
    /* participant.c */
    raft_index seen; /* applied at the last house-keeping: what was prepared by then is old */
    GArray *asks;    /* struct question *: those that are not answered yet */
};

/* Every txid of this group under the result is over (kv_below). */
struct txid coordinator_below(const struct coordinator *c);
/* The leadership of this term begins, if it has. False: this node does not lead. */
bool coordinator_leads(struct coordinator *c);

/* The attempt is under way in memory. */
bool coordinator_has(const struct coordinator *c, const struct txid *id);

/* telling.c: what was decided, until each participant has logged it. */
void tell_commit(struct coordinator *c, const struct kv_decision *d);
/* ABORT, said once to each: who does not hear it asks. */
void tell_abort(struct coordinator *c, const struct txid *id, const uint32_t *gids, unsigned n);
void tellings_tick(struct coordinator *c);
void tellings_drop(struct coordinator *c);
/* participant.c */
void questions_drop(struct coordinator *c);
