/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.h - WAIT: requests parked until the version of a key differs.
 *
 * A waiter enters after a confirmed read point, at which its key had the version it names; the
 * state machine then tells each change (kv_watch), so every value that is answered was the newest
 * at some moment of the wait. It leaves by an answer: the change, its time-out, the loss of
 * leadership; or with its connection.
 */
#pragma once

#include "cluster/node/group.h"

struct wait_table *waits_create(struct group *g);
void waits_destroy(struct wait_table *w);

/* At a read point; takes the request over. */
void wait_enter(struct wait_table *w, struct request *r, const struct raft_read *read);
/* From kv's sink: only marks; the state is between two entries. */
void wait_changed(struct wait_table *w, struct bytes key);
/* Also from the sink: the shard is served from here on, or no longer. */
void wait_shard_changed(struct wait_table *w, unsigned shard);
/* After an apply: answers the marked ones. */
void waits_serve(struct wait_table *w);
void waits_tick(struct wait_table *w);
void waits_fail(struct wait_table *w, int err);
void waits_drop_conn(struct wait_table *w, uint64_t token);
size_t waits_count(const struct wait_table *w);
