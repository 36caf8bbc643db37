/* SPDX-License-Identifier: Apache-2.0 */
/*
 * met.h - the data directory under which each member was first met, known to all members.
 *
 * A member whose data directory was made anew under its old id has forgotten its votes and must
 * not be heard (DESIGN 3.5). Each node writes down whom it met (members.h), but who joins later has
 * met nobody: so the leader of group 0 logs the incarnation of each member that it knows, its own
 * too (MET, kv/met.h), each second and before a node is added. The log has them before the new
 * node's configuration, so who counts as a voter has them.
 *
 * The first one that is logged wins for ever. What a node has written down itself counts only as
 * long as there is none; an entry that is not committed yet counts as if it were written down.
 * A node that finds another incarnation than its own there ends.
 *
 * Group 0; other replicas have nothing to do with it.
 */
#pragma once

#include "cluster/node/group.h"

/* Of the applied state; 0: none. */
uint64_t met_logged(const struct node *n, uint32_t id);
/* A MET in the log now, committed or not. */
void met_appended(struct group *g, struct bytes body);
/* Something was applied: links to who was not met first end. -ERR_WRONG_CLUSTER: this node is one.
 */
NODISCARD int met_follow(struct group *g);
/* One line for whoever started such a node. */
const char *met_anew_text(struct arena *a, uint32_t id);

/* By the leader: proposes what is missing, unless that was just done. */
void met_propose(struct group *g);
