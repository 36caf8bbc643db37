/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fence.h - sessions in a cluster of several groups (DESIGN 3.3): how the other groups hear of the
 * new ones, and how group 0 makes sure that all have forgotten those that ended.
 *
 * Every node has a replica of group 0, and the live set as of any entry of group 0 is the same on
 * all. So a group's leader that meets a client it cannot know yet lets its request wait until the
 * replica of group 0 here has come as far as that client's session, and logs the set
 * (SESSION_SET): nobody is asked, and many new sessions need one entry.
 *
 * Ended sessions: each second group 0's leader tells the set to every other group that has not
 * logged one since the newest end (kv_fencing), and as far as all have, logs SESSIONS_FENCED. A
 * group that cannot be reached is told again, and costs the others nothing.
 *
 * A set is logged only from a replica of group 0 that knows a configuration and this group: before
 * that, sessions end for good without this group being told, so such a set could bring one back to
 * life.
 */
#pragma once

#include "cluster/node/conn.h"
#include "cluster/node/group.h"

struct fence *fence_create(struct group *g);
void fence_destroy(struct fence *f);

/* The request is of a client that g, which leads, has not heard of: it waits, is served as if it
 * came later, and is answered BUSY if that takes too long. False: go on with it. */
bool fence_awaits(struct group *g, struct conn *c, uint64_t id, unsigned type, struct bytes body,
                  uint64_t client);
/* The group's set is as of that entry of group 0, or later. False: it will be; ask again. */
bool fence_reaches(struct group *g, uint64_t as_of);
void fence_tick(struct fence *f);
void fence_house(struct fence *f); /* each HOUSE_TICKS */
void fence_yield(struct fence *f); /* leadership is gone: answers what waits */
