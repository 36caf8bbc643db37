/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reshape.h - replicas that move: the leader of a group makes the group's configuration what group
 * 0 says that it shall be (its home, kv/groups.h), while it serves.
 *
 *   add      a node of home that is no member yet, as a learner; it makes its replica by itself
 *            (place.h), and gets the log or a snapshot
 *   change   once all of home have caught up: home are the voters, by a joint configuration
 *   tell     group 0 who the members are now (HELD)
 *
 * A leader that is not of home stays a voter until it has handed over to one that is, who goes on.
 * Every step is decided from what is applied, so any leader goes on where another one stopped, and
 * home may change at any time. Nothing is done that would leave the group without a quorum.
 *
 * A replica that was left behind on a node that has gone on to other things stays there, silent:
 * its node is no member, and nobody listens to it. It is of nodes that are being removed, mostly.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

struct reshape *reshape_create(struct group *g);
void reshape_destroy(struct reshape *s);
void reshape_tick(struct reshape *s);
void reshape_yield(struct reshape *s);

/* GROUP_HOME, asked by an administrator of group 0's leader. */
NODISCARD int serve_group_home(struct conn *c, uint64_t id, struct bytes body);
