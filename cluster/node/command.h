/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - what members ask a group's leader to log (GROUP_COMMAND): the steps of transactions
 * over several groups, of shards that move, and the live sessions. Clients cannot: these commands
 * trust whoever sends them.
 *
 * Answered as the command answers, or by a status: NOT_LEADER (also where no replica of that
 * group is), INVALID.
 */
#pragma once

#include "cluster/node/conn.h"

/* For the table of serve.c. */
NODISCARD int serve_group_command(struct conn *c, uint64_t id, struct bytes body);
