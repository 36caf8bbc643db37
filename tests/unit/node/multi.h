/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multi.h - a cluster under test with several groups, changes of its configuration, and a client
 * that finds each shard's owner as the nodes tell. One thread; answers live as long as the cluster.
 */
#pragma once

#include "cluster/kv/kv.h"
#include "tests/unit/node/cluster.h"

/* n nodes; groups 1 to n_groups with replicas on nodes 1, 2 and 3. All have a leader; group 0 still
 * owns every shard. */
struct cluster *multi_serving(unsigned n, unsigned n_groups);
/* One more, on the nodes "124". */
void multi_make(struct cluster *c, unsigned gid, const char *nodes);
/* The node that leads the group and may serve; 0: nobody. */
unsigned multi_leader(struct cluster *c, unsigned gid);
/* Proposes the change, from the latest configuration, when no other is under way; on return it was
 * just made. gids: "12" is groups 1 and
 * 2; "": none. */
void multi_change(struct cluster *c, enum config_op op, unsigned shard, const char *gids);
/* No shard is on its way; also where nobody leads: not yet. */
bool multi_settled(struct cluster *c);
/* Sessions that have ended, and that some group may still take for alive, as group 0's leader
 * knows; SIZE_MAX: nobody leads it. */
size_t multi_fencing(struct cluster *c);
/* Entries applied by the group's leader. */
uint64_t multi_applied(struct cluster *c, unsigned gid);
/* It has begun to leave group 0. */
bool multi_moving(struct cluster *c, unsigned shard);
/* As the leader of the group has applied it. */
enum shard_state multi_state(struct cluster *c, unsigned gid, unsigned shard);

/* The only group that says it owns the shard; fails the test if there are none or several. */
unsigned multi_owner(struct cluster *c, unsigned shard);

struct bytes multi_key(struct cluster *c, unsigned shard, const char *name);
/* Sends the transaction to who seems to lead the owner until it gets another answer than
 * NOT_LEADER, WRONG_GROUP, BUSY or none: its status. *ret may be NULL. */
unsigned multi_txn(struct cluster *c, const struct msg_txn *t, struct msg_txn_reply *ret);
unsigned multi_put(struct cluster *c, uint64_t client, uint64_t seq, unsigned shard,
                   const char *name, struct bytes value);
/* The value as text; NULL: there is none. */
const char *multi_get(struct cluster *c, unsigned shard, const char *name);
uint64_t multi_session(struct cluster *c);
unsigned multi_close(struct cluster *c, uint64_t client);
