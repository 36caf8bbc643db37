/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - where a shard lies and who leads a group, as far as this node knows.
 *
 * Sources: what the replicas here say they serve; group 0's configuration, of which every node has
 * a replica, perhaps one that lags; and what other nodes answered. All of it is a hint: a group
 * checks at its own log whether it owns a shard, and only its leader serves. A wrong hint costs a
 * hop, never a wrong answer.
 */
#pragma once

#include "cluster/node/group.h"

/* The group that has the shard, and where it goes to (the same if it does not move). False: there
 * is no such shard. */
bool route_shard(struct node *n, unsigned shard, uint32_t *ret_gid, uint32_t *ret_next);
/* The replica here of the group that has the shard, else of the one that shall have it; NULL: none
 * of them is here, or there is no such shard. */
struct group *route_shard_group(struct node *n, unsigned shard);

/* The node that leads the group, 0: not known. */
uint32_t route_leader(const struct node *n, uint32_t gid);
/* Somebody said so; 0: it does not lead (any more). Of a group with a replica here that one is
 * asked, and this is not looked at. */
void route_learn(struct node *n, uint32_t gid, uint32_t leader);
/* The i-th member of the group, counted round and round; 0: the group is not known here. */
uint32_t route_member(const struct node *n, uint32_t gid, unsigned i);
