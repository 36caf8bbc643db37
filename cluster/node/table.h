/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - the replicas of this node: by gid, and which of them have something to do.
 *
 * Of many groups most are idle at any moment, so a round visits only those on the ready list. A
 * group is put on it by whoever gives its core an input (group_touch), by its tick if it has work
 * then, and by the round itself while it is not done. So a forgotten touch costs a tick of delay,
 * no more; a needless one costs a look.
 */
#pragma once

#include "cluster/node/impl.h"

void table_init(struct node *n);
void table_finish(struct node *n); /* destroys the replicas */
void table_add(struct node *n, struct group *g);
void table_each(struct node *n, void (*fn)(struct group *g)); /* by gid */

/* A round should look at it. May be called at any time, also from inside a round. */
void group_touch(struct group *g);
/* What was touched since the last call, for one phase of a round; valid until the next call. */
GPtrArray *table_turn(struct node *n);
/* Those of a phase that are not done are looked at again. */
void table_again(struct node *n);
/* A round would do something for one of those that were touched. */
bool table_have_work(const struct node *n);
