/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.h - every group that was made, of group 0's state: in the store under TABLE_GROUP and in
 * memory, ascending by gid.
 *
 * A row names the first members: the configuration of index 0 of that group's log, which its later
 * ones (CONF entries there) start from. It never changes and never goes, so a gid is never used
 * again.
 *
 * Replicas can move. Another row (TABLE_HOME) says at which nodes they shall live, the group's
 * home, and at which they do, as its leader has said (held). Without that row both are the first
 * members. The leader makes the configuration what home says (node/reshape.h); each node that is
 * named by home has a replica (node/place.h).
 *
 * Group 0 itself has no row: its first members are in everybody's configuration. Threads: one.
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/kv/nodes.h"

/* Of a home: while a group moves, its leader may be one more voter. */
#define HOME_MAX (VOTERS_MAX - 2)

struct kv_group {
    uint32_t gid;
    uint64_t index; /* of the entry that made it */
    unsigned n_members;
    uint32_t members[VOTERS_MAX]; /* node ids, rising */
    uint64_t home_index;          /* of the entry that changed what follows; 0: none did */
    unsigned n_home, n_held;
    uint32_t home[VOTERS_MAX], held[VOTERS_MAX]; /* rising */
};

struct groups {
    GArray *all;         /* struct kv_group */
    uint64_t index;      /* of the newest; 0: none */
    uint64_t home_index; /* the highest of all */
};

void groups_init(struct groups *s);
void groups_finish(struct groups *s);
/* Reads them all from the store. -ERR_IO, -ERR_CORRUPT. */
NODISCARD int groups_load(struct groups *s, struct store *store, struct arena *a);

const struct kv_group *groups_find(const struct groups *s, uint32_t gid); /* NULL: never made */

/* What a command would do: 1 and *ret, the group to be made (without its index); 0: it was made
 * with the same members; -ERR_EXISTS: with others; -ERR_INVALID: gid 0 or over GID_MAX, no member,
 * one twice, or no node's id; -ERR_REMOVED: a member was removed; -ERR_TOO_BIG: GROUPS_MAX. */
int groups_judge(const struct groups *s, const struct nodes *nodes,
                 const struct msg_group_create *m, struct kv_group *ret);
void groups_set(struct groups *s, const struct kv_group *g);

/* What a HOME (held: a HELD) command would do: 1 and *ret; 0: it is so already; -ERR_NOT_FOUND no
 * such group; -ERR_INVALID no member, one twice, or no node's id; -ERR_REMOVED (HOME) a member was
 * removed. */
int groups_judge_home(const struct groups *s, const struct nodes *nodes,
                      const struct msg_group_home *m, bool held, struct kv_group *ret);
/* Of a group that is known. */
void groups_set_home(struct groups *s, const struct kv_group *g);
bool group_home_has(const struct kv_group *g, uint32_t node); /* home or held names it */
struct bytes home_value(struct arena *a, const struct kv_group *g);

/* The stored form. */
struct bytes group_value(struct arena *a, const struct kv_group *g);
