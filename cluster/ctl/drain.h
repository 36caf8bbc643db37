/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.h - moves the replicas of all groups besides group 0 away from a node, to those with the
 * fewest; where there is no other node a group lives on one replica less.
 *
 * It asks, looks, and asks again, so it may be interrupted and repeated; the groups go on by
 * themselves with what was asked.
 */
#pragma once

#include "cluster/ctl/ctl.h"

/* Returns when no group lives at the node. Prints how far it is. -ERR_TIMEOUT: nothing has moved
 * for `timeout_s`; -ERR_INVALID: a group has its only replica there and there is no other node;
 * those of members_ask and members_tell; with text. */
NODISCARD int drain_node(struct client *c, uint32_t node, unsigned timeout_s, struct errmsg *msg);
