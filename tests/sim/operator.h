/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operator.h - an administrator: adds, promotes, removes and replaces nodes, moves the leader, asks
 * for the members, compares replicas, asks for nonsense. It works through a list of tasks, asks one
 * node at a time and asks again until it is answered, so most requests are made more than once.
 * A refusal is an answer; what was not asked for must not happen (check_conf.c).
 */
#pragma once

#include "tests/sim/sim.h"

enum task_kind {
    TASK_START,   /* the node's process */
    TASK_ADD,     /* as a learner */
    TASK_PROMOTE, /* to a voter */
    TASK_REMOVE,
    TASK_RETIRE, /* a node that is of no use any more is switched off */
    TASK_MOVE,   /* leadership to it */
    TASK_MEMBERS,
    TASK_CHECK,
    TASK_NONSENSE
};

struct task {
    enum task_kind kind;
    unsigned node;     /* whom it is about, or (members) who is asked; 0: nobody, anybody */
    unsigned what;     /* which nonsense */
    unsigned attempts; /* answers that were refusals, or none */
    uint64_t index;    /* of a check that was begun */
    unsigned asking;   /* whom about it */
    uint64_t hash;     /* what the first one said; 0: nobody yet */
    unsigned said_by;
};

struct operator_link {
    struct net_conn *conn;
    bool greeted;
};

struct sim_operator {
    struct net_user end;
    struct sim *sim;
    unsigned id;
    struct operator_link links[SIM_NODES + 1];
    GQueue tasks; /* struct task */
    unsigned target;
    uint64_t last_number, asked; /* frame ids; 0: nothing is asked */
    unsigned asked_node;
    uint64_t asked_at, retry_at, plan_at;
    bool last, compared; /* the faults are over; and the replicas were compared */
    bool exact;          /* they are at rest: each must tell the last configuration */
    /* Asked for, not known to be done: the answer may be on its way for so long. */
    uint64_t maybe_until[SIM_NODES + 1];
    enum member_op maybe[SIM_NODES + 1];
};

/* operator_answer.c: asks what the task at the head is about, if there is a link; false: none. */
bool operator_ask(struct sim_operator *o, struct task *t, unsigned node);
/* The answer to it. */
void operator_answered(struct sim_operator *o, struct task *t, const struct frame *f);

/* No link, or no answer for too long. */
void operator_missed(struct sim_operator *o, struct task *t);

/* operator.c: the task at the head has ended, or is to be tried again. */
void operator_done(struct sim_operator *o);
void operator_again(struct sim_operator *o, uint64_t pause);
unsigned operator_some_node(struct sim_operator *o); /* that is in the configuration */
