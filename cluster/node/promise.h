/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise.h - what this node may have promised in an earlier life (leases, cluster/raft/lease.c).
 *
 * With lease reads a node promises with each answer to a heartbeat to vote for nobody for an
 * election time-out. A core that starts again with the same options keeps silent for as long. One
 * that starts with the option turned off, or with a shorter time-out, would not know that it has
 * to. So before the first promise is given an empty file promise-TICKS is durable in the data
 * directory; the next life keeps silent for the largest there is, and removes those that are not
 * its own once that time is over. Thus the option may be turned on and off at any node at any time.
 *
 * Where the file cannot be made (no room), the node runs without lease reads and says so.
 */
#pragma once

#include "cluster/node/impl.h"

/* Before any group is opened: sets promised_ticks, and config.lease to false if need be. */
NODISCARD int promise_load(struct node *n, struct errmsg *msg);
void promise_house(struct node *n);
