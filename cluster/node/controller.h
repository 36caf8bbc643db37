/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controller.h - what an operator asks of group 0 about shards (DESIGN 3.7): the next configuration
 * (Join, Leave, Move, Rebalance), what one would be, and which there were. The leader of group 0
 * answers; take.h moves the shards afterwards.
 *
 * A change is refused before it is logged whenever what is applied says so, with a line that tells
 * what to do. The log decides: of two that were asked at the same time one is refused there.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

/* For the table of serve.c. CONFIG_CHANGE is answered by a status: 0 once it is applied. */
NODISCARD int serve_config_change(struct conn *c, uint64_t id, struct bytes body);
/* CONFIG_GET and CONFIG_PREVIEW, parked for a read point; and then. A preview is of the latest,
 * whatever number it names. */
NODISCARD int serve_config_get(struct conn *c, uint64_t id, struct bytes body);
NODISCARD int serve_config_preview(struct conn *c, uint64_t id, struct bytes body);
void read_config(struct group *g0, struct request *r, const struct raft_read *read);
