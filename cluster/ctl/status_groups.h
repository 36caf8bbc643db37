/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_groups.h - the groups besides group 0, put together from what each node says of its
 * replicas. Pure.
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/ctl/json.h"

struct status_node {
    uint32_t node;
    const struct msg_node_status_reply *reply; /* NULL: it did not answer */
};

struct status_groups {
    const struct status_node *nodes; /* borrowed */
    unsigned n_nodes;
    GArray *all; /* struct group_view, by gid */
};

struct group_view {
    uint32_t gid;
    uint32_t leader;                   /* of the highest term; 0: nobody says that it leads */
    const struct group_status *status; /* the leader's; without one the furthest */
    unsigned n_up;                     /* voters that the leader hears, itself included */
    bool quorum;
};

/* A member counts as up if its leader heard it within so long. */
void status_groups_make(struct status_groups *g, const struct status_node *nodes, unsigned n,
                        unsigned heard_ms_max);
void status_groups_finish(struct status_groups *g);
/* All are led, with a quorum. */
bool status_groups_well(const struct status_groups *g);
/* Nothing if there are none. */
void status_groups_text(const struct status_groups *g, GString *out);
/* An object for each, in the array that is open. */
void status_groups_json(const struct status_groups *g, struct json *j);
