/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - one table says which message type which role may send and who answers it.
 *
 * A request of a role that is not in the table's row is answered ERR_DENIED; a body that does not
 * decode ERR_INVALID, once, and the connection is closed. Types that are not in the table go to
 * env.on_other.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

void serve_frame(struct conn *c, unsigned type, uint64_t id, struct bytes body);

/* Runs a request that waited for a read point, which is there now; takes it over. */
void serve_read(struct group *g, struct request *r, const struct raft_read *read);

/* status.c */
void serve_locate(struct conn *c, uint64_t id, const struct msg_locate *m);
void serve_node_status(struct conn *c, uint64_t id);
