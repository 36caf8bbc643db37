/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes.h - every node that was added to the cluster or removed from it, for ever: in the store
 * under TABLE_NODE and, for who asks at each hello, in memory, ascending by id.
 *
 * A node's life: absent - member, under one address - removed. There is no way back: an id that was
 * given to a node is never given to another one, or a node that comes back from the dead would be
 * taken for it (DESIGN 3.5). Members that the cluster was made with are absent until their removal
 * begins: they are in everybody's configuration.
 *
 * Addresses live as long as this (a chunk each); threads: one.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/store/store.h"

/* Ever; a cluster that changes a node each day takes eleven years. */
#define NODES_EVER_MAX 4096

enum node_state { NODE_MEMBER = 1, NODE_REMOVED = 2 };

struct kv_node {
    uint32_t id;
    enum node_state state;
    uint64_t index;      /* of the entry that made it so */
    const char *address; /* of a member; "" once removed */
};

struct nodes {
    GArray *all;        /* struct kv_node */
    uint64_t index;     /* of the newest entry that changed one; 0: none */
    GPtrArray *strings; /* owned */
};

void nodes_init(struct nodes *s);
void nodes_finish(struct nodes *s);
/* Reads them all from the store. -ERR_IO, -ERR_CORRUPT. */
NODISCARD int nodes_load(struct nodes *s, struct store *store, struct arena *a);

const struct kv_node *nodes_find(const struct nodes *s, uint32_t id); /* NULL: absent */

/* What a command would do: 1 changes the node; 0 it is so already; -ERR_EXISTS: a member under
 * another address; -ERR_REMOVED: it was removed; -ERR_INVALID: no such command; -ERR_TOO_BIG. */
int nodes_judge(const struct nodes *s, uint32_t id, unsigned state, struct bytes address);
void nodes_set(struct nodes *s, uint32_t id, enum node_state state, uint64_t index,
               struct bytes address);

/* The stored form. */
struct bytes node_value(struct arena *a, enum node_state state, uint64_t index,
                        struct bytes address);
