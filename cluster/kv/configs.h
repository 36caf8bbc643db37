/* SPDX-License-Identifier: Apache-2.0 */
/*
 * configs.h - group 0's record of the configurations: the latest, its history by number, and which
 * shards are still on their way to the owner that the latest names.
 *
 * One change at a time: a configuration can be made only when all moves of the one before are done,
 * so a shard that is on its way comes from its owner in the configuration before. Every other group
 * has an empty one of these.
 */
#pragma once

#include "cluster/kv/config.h"
#include "cluster/kv/round.h"

/* Older ones are forgotten: at 1,024 shards 2 MiB. */
#define CONFIGS_KEPT 512

struct configs {
    struct config latest;
    bool pending[SHARDS_MAX]; /* on its way */
    uint32_t from[SHARDS_MAX];
    unsigned n_pending;
};

void configs_init(struct configs *s, unsigned n_shards);
/* -ERR_IO, -ERR_CORRUPT, -ERR_FORMAT. */
NODISCARD int configs_load(struct configs *s, struct store *store, struct arena *a);

/* What a change would do, without doing it: 0 and the next configuration; -ERR_CONFIG_NUM: it was
 * made for another than the latest; -ERR_MOVING: moves are under way; else as config_change. */
NODISCARD int configs_judge(const struct configs *s, const struct msg_config_change *m,
                            struct config *ret);
/* Makes `next` the latest. */
void configs_put(struct configs *s, const struct config *next, struct round *r, struct arena *a);
/* These shards have arrived. -ERR_CONFIG_NUM: of another configuration; -ERR_INVALID: no such
 * shard. What has arrived already is skipped. */
NODISCARD int configs_moved(struct configs *s, const struct msg_config_moved *m, struct round *r,
                            struct arena *a);
/* By number. -ERR_NOT_FOUND: never made, or forgotten. */
NODISCARD int configs_at(const struct configs *s, uint64_t num, struct round *r, struct arena *a,
                         struct config *ret);
