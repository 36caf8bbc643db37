/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - a numbered configuration: which group owns which shard, and how Join, Leave, Move and
 * a rebalance make the next one (the course's shard controller; DESIGN 3.7). Pure.
 *
 * Configuration 0, before anybody has joined: no groups, and group 0 owns every shard. A group
 * that is no member owns nothing: the first join takes all from group 0 (which can be joined like
 * any other). Afterwards there is always a member: the last one cannot leave.
 *
 * Join, Leave and Rebalance spread the shards evenly (most minus least is at most one) and move as
 * few as that allows. Move gives one shard to one group; the next of the others may undo it. The
 * result depends on the arguments only, so every replica makes the same.
 *
 * Where a group's replicas live is not said here: groups exist before they join (CREATE, group 0).
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/base/codec.h"
#include "cluster/base/err.h"
#include "cluster/base/limits.h"
#include "cluster/base/msg.h"

struct config {
    uint64_t num;
    unsigned n_shards, n_groups;
    uint32_t groups[GROUPS_MAX]; /* ascending */
    uint32_t owner[SHARDS_MAX];  /* by shard: a member; in configuration 0: 0 */
};

void config_init(struct config *c, unsigned n_shards); /* number 0 */
bool config_has_group(const struct config *c, uint32_t gid);
unsigned config_count(const struct config *c, uint32_t gid); /* shards it owns */
/* How many shards have another owner in b. */
unsigned config_distance(const struct config *a, const struct config *b);

/* Each makes configuration c->num + 1 in *ret (never c itself). Join: -ERR_EXISTS one is a member
 * already or named twice, -ERR_TOO_BIG. Leave: -ERR_NOT_FOUND one is no member, -ERR_NO_OWNER none
 * would be left. Move: -ERR_NOT_FOUND it is no member. None named or no such shard: -ERR_INVALID.
 * Rebalance before anybody has joined: -ERR_NO_OWNER. */
NODISCARD int config_join(const struct config *c, const uint32_t *gids, unsigned n,
                          struct config *ret);
NODISCARD int config_leave(const struct config *c, const uint32_t *gids, unsigned n,
                           struct config *ret);
NODISCARD int config_move(const struct config *c, unsigned shard, uint32_t gid, struct config *ret);
NODISCARD int config_rebalance(const struct config *c, struct config *ret);
/* One of these, as the message says; its `num` is not looked at. */
NODISCARD int config_change(const struct config *c, const struct msg_config_change *m,
                            struct config *ret);

/*
 * As stored and sent:
 *
 *   u8 1 (version), le64 num, le16 shards, le16 groups, le32 for each group, le32 for each shard
 *
 * valid if and only if: the length is right, groups ascend, owners are members (0 in number 0).
 */
void config_encode(const struct config *c, struct enc *e);
NODISCARD int config_decode(struct bytes in, struct config *ret); /* -ERR_FORMAT, -ERR_CORRUPT */
