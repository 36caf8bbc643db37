/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.h - an operator moves a group's leader (LEADER_MOVE).
 *
 * The request is answered when it is known how it ended: 0 once the target leads, ERR_TIMEOUT with
 * a text if it does not. One at a time and group.
 */
#pragma once

#include "cluster/node/group.h"

/* Takes the request over. */
void move_leader(struct group *g, struct request *r, raft_id to);
void move_tick(struct group *g);
