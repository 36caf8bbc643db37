/* SPDX-License-Identifier: Apache-2.0 */
/*
 * met.h - the incarnation (data directory) under which each node was first met, of group 0's state:
 * in the store under TABLE_MET and, for who asks at each hello, in memory, ascending by id.
 *
 * The first one that is logged wins for ever, also when the node is removed: a data directory that
 * was made anew under the same id has forgotten its votes, and who joined later must know that, too
 * (DESIGN 3.5, node/met.h). Threads: one.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/store/store.h"

struct kv_met {
    uint32_t id;
    uint64_t incarnation; /* never 0 */
    uint64_t index;       /* of the entry that said so */
};

struct met {
    GArray *all;    /* struct kv_met */
    uint64_t index; /* of the newest; 0: none */
};

void met_init(struct met *s);
void met_finish(struct met *s);
/* Reads them all from the store. -ERR_IO, -ERR_CORRUPT. */
NODISCARD int met_load(struct met *s, struct store *store, struct arena *a);

const struct kv_met *met_find(const struct met *s, uint32_t id); /* NULL: not met yet */

/* What a command would do: 1: its node is met for the first time; 0: it is known so already;
 * -ERR_EXISTS: under another incarnation, which stays; -ERR_INVALID: no node's id, or 0;
 * -ERR_TOO_BIG: NODES_EVER_MAX. */
int met_judge(const struct met *s, uint32_t id, uint64_t incarnation);
void met_set(struct met *s, const struct kv_met *m);

/* The stored form. */
struct bytes met_value(struct arena *a, const struct kv_met *m);
