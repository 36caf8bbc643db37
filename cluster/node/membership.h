/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membership.h - who belongs to the cluster: what a node makes of it, and changes by its leader.
 *
 * Two things change together. The configuration of group 0 says who counts (raft.h); it is decided
 * by CONF entries. The record of a node (kv/nodes.h) says under which address it is found and, once
 * it was removed, that its id is never used again; it is decided by NODE commands. A node is added
 * by its record first, so that everybody can reach it when the configuration names it, and removed
 * from the configuration first, so that nobody waits for one who may no longer speak. Members that
 * the cluster was made with have no record until their removal begins: all know them from their
 * file, but who joined meanwhile knows only members of his day.
 *
 * Group 0 has every node; what follows is about it. Other groups have the members that group 0 names
 * (place.h, reshape.h). A node where one lives cannot be removed.
 *
 * Each replica follows by what it applies (membership_applied): peers come and go, and one that is
 * removed ends. Who missed its own removal is told by the first member that it meets: a hello of a
 * removed node is answered ERR_REMOVED.
 *
 * The leader takes one change at a time (membership_change) and answers it when it is committed and
 * applied, or says why not. It is a sequence of entries, each of which leaves a legal state;
 * whoever was interrupted asks again and it goes on where it stopped, an addition as long as no
 * other change came between:
 *
 *   add       NODE member; CONF with it as a learner
 *   promote   CONF with it as a voter; only a learner that has caught up
 *   remove    NODE member, if there is no record; CONF without it; NODE removed
 *
 * A leader that shall be removed hands over first; it does not remove itself.
 */
#pragma once

#include "cluster/node/group.h"

/* Start, state and core open: peers by the records, of which the configuration file knows nothing.
 * -ERR_REMOVED, with text: this node is not a member any more; -ERR_WRONG_CLUSTER, with text: the
 * cluster knows it with another data directory; -ERR_CONFIG: more than NODES_MAX. */
NODISCARD int membership_load(struct group *g, struct errmsg *msg);
/* Entries that are in the log now, committed or not: nodes that they add can be reached from here
 * on. Else those who need each other to commit them could not find each other after a restart. */
void membership_appended(struct group *g, const struct raft_entry *entries, size_t n);
/* Something was applied, or another state was installed. Cheap if nothing changed. */
void membership_applied(struct group *g);
/* Time for a change that is still to be proposed. */
void membership_tick(struct group *g);
/* The configuration of the applied state: 1 and *ret; 0: none was logged yet. -ERR_CORRUPT. */
int membership_conf(const struct group *g, struct raft_conf *ret);

bool conf_has(const struct raft_conf *conf, raft_id id); /* as voter of either half or learner */
/* The one voter is this node. */
bool group_is_alone(const struct group *g);

/* Was it removed for ever? */
bool membership_was_removed(const struct node *n, uint32_t id);
/* One line for whoever started that node. */
const char *membership_removed_text(struct arena *a, uint32_t id);
/* Told by a member, or found out: this node ends (env.on_removed). */
void membership_end(struct node *n);

/* --- requests --- */
void serve_members(struct conn *c, uint64_t id);
/* Answers now or later; or an error for serve_frame to answer. */
NODISCARD int membership_change(struct conn *c, uint64_t id, const struct msg_member_change *m);

/* member_change.c, for membership.c and group.c */
void change_poll(struct group *g);
void change_fail(struct group *g, int err); /* leadership is lost, or the node ends */
void change_destroy(struct group *g);       /* without an answer */
