/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arranger.h - who has a run's groups made, and then lets them join and leave and moves shards, at
 * random and without looking whether it is a good moment. It asks as raftfsctl does, one thing at a
 * time, of whoever is said to lead; a refusal is an answer.
 *
 * And what must hold of shards at every moment: at most one group serves one (check_owner.c).
 */
#pragma once

#include "tests/sim/sim.h"

struct arranger_link {
    struct net_conn *conn;
    bool greeted;
};

struct sim_arranger {
    struct net_user end;
    struct sim *sim;
    struct arranger_link links[SIM_NODES + 1];
    unsigned target;
    uint64_t last_number, asked; /* frame ids; 0: nothing is asked */
    unsigned asked_node;
    uint64_t asked_at, next_at;
    unsigned made; /* groups */
    /* The configuration, if known: of this moment. */
    bool known;
    uint64_t num;
    unsigned n_groups, n_pending;
    uint32_t groups[SIM_GROUPS];
    bool last; /* the faults are over: nothing new is begun */
};
