/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.h - a clean end (node_leave in node.h): what this node leads goes to somebody else first,
 * so that its groups lose no election time-out. Only group leadership is put in order; the data is
 * in the state in which a crash would leave it.
 */
#pragma once

#include "cluster/node/impl.h"

/* Per tick, after the groups'. */
void leave_tick(struct node *n);
