/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - which groups have a replica here: group 0, and those whose row in group 0's state
 * (kv/groups.h) names this node.
 *
 * A group is made by a GROUP command in group 0's log. Each node that has applied it and is named
 * makes its replica, in this order:
 *   1. the row becomes durable: group 0's state store is flushed. So whatever the log may ever hold
 *      of the group, the next start finds its row, and with it the first members;
 *   2. an empty state store in groups/<gid>, and a core with these members;
 *   3. its first log record. Until that is durable the replica neither hears nor says anything.
 * A crash in between leaves a row without a replica, or an empty one: the next start goes on from
 * there. A message for a group that is not here (yet) is dropped, the sender's core repeats it.
 *
 * Opening a state store takes some ms, so there is one new replica a tick. Should group 0's state
 * be behind its own log at the start, what the log holds of groups without a row is kept until
 * their rows are back; those replicas are silent meanwhile.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

/* At the start, group 0 is open: the other replicas. May take `rec` over (then it is empty). */
NODISCARD int place_open(struct node *n, struct wal_recovery *rec, struct errmsg *msg);
void place_finish(struct node *n);
/* Makes what is missing. Not between collect and apply. */
void place_tick(struct node *n);

/* The configuration of index 0: from the file for group 0, else from the group's row. */
struct raft_conf place_first_conf(const struct group *g);
/* How many voters of group 0 come before the node, counted by id, round and round, from the gid-th:
 * who comes first leads the group at its start, if it is a member. */
unsigned place_turn(const struct node *n, uint32_t gid, uint32_t id);

/* By the leader of group 0: proposes the group. 1: it is there already. -ERR_UNREACHABLE: not even
 * a majority of its members is there; -ERR_BUSY and those of groups_judge; with text. */
NODISCARD int place_make(struct group *g0, const struct msg_group_create *m, struct errmsg *msg);

/* --- requests; errors are for serve_frame to answer --- */
NODISCARD int place_create(struct conn *c, uint64_t id, const struct msg_group_create *m,
                           struct bytes body);
void serve_groups(struct conn *c, uint64_t id);
/* A group was asked for and its entry is not applied yet. */
bool place_is_busy(const struct group *g);
/* "1, 4, 5": the groups that live at the node, or shall; NULL: none. */
const char *place_of_node(const struct node *n, uint32_t id);
