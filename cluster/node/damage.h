/* SPDX-License-Identifier: Apache-2.0 */
/*
 * damage.h - replicas that find their log or their state store damaged, or one of them gone, and
 * repair themselves from their peers (DESIGN 3.5; why it is safe: cluster/raft/repair.c).
 *
 *   log damaged, or gone though the replica is known to have lived
 *       -> suspect: what it has applied is kept, for that is committed; its log is dropped, and it
 *          starts with a mark in the log that outlives crashes (wal_suspect)
 *   store unreadable, or without what lies before the start of the log
 *       -> the store is put aside (`<dir>.damaged`) and begins empty. A log that reaches back to
 *          its first entry fills it again, and as nothing that was promised is lost, the replica
 *          goes on as ever; else it is suspect, and filled by a snapshot
 *   neither peers nor another voter are known: nobody could repair it. Refused, nothing is touched.
 *
 * Which replicas: those of the groups that the damaged records name. If these cannot be named, or
 * the log is gone, all, also those of which the log does not know: a file `groups/lost` says so
 * until group 0 is whole again and has named all groups of this node, for only then it is known
 * that a group without a log is a new one.
 *
 * The store is read in parts as they are needed, so damage may show while the node runs: that ends
 * the process, and a note (`<dir>.unreadable`) tells the next start to put the store aside.
 *
 * Whatever a crash leaves of these steps says the same again: a store that is gone is as bad as one
 * that is damaged, and the marks are durable before a replica acts.
 */
#pragma once

#include "cluster/node/group.h"

/* At the start, before any group is opened: marks the damaged groups. They have no entries now. */
void damage_mark(struct node *n, struct wal_recovery *rec);

/* The store cannot be read, says msg (or the note). Puts it aside and opens an empty one;
 * -ERR_CORRUPT with text: refused. */
NODISCARD int damage_drop_store(struct group *g, struct errmsg *msg);
bool damage_noted(const struct group *g);
/* Is there nobody to be repaired from, as far as is known? */
bool damage_is_alone(const struct group *g);

/* The store is open: does what was found cover what may have been promised? If not, *w becomes
 * *anew, a suspect without entries. *ret_marked: and its mark is queued. -ERR_CORRUPT: refused. */
NODISCARD int damage_judge(struct group *g, const struct wal_group **w, struct wal_group *anew,
                           bool *ret_marked, struct errmsg *msg);

/* The core says that it is whole again, in the ticket that is being queued. */
void damage_repaired(struct group *g);
/* The replica has started well: what was put aside is removed. */
void damage_clean(struct group *g);
void damage_house(struct node *n);

/* The process ends because of this replica's store. */
NORETURN void group_fatal(struct group *g, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
