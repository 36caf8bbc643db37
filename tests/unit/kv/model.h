/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - the state machine once more, as simple as it can be written: a table of all possible
 * keys, copied before each transaction and put back if it fails. What it answers, cluster/kv must
 * answer byte for byte.
 *
 * Universe: MODEL_KEYS keys in each of MODEL_SHARDS shards, named "a" "b" ...; values of at most
 * MODEL_VALUE_MAX bytes. Replies live in the arena given.
 */
#pragma once

#include "cluster/base/msg.h"

#define MODEL_SHARDS    3
#define MODEL_KEYS      6
#define MODEL_CLIENTS   4
#define MODEL_WINDOW    4 /* requests a client has under way */
#define MODEL_VALUE_MAX 64

struct model_value {
    bool exists;
    uint64_t version;
    size_t n;
    uint8_t p[MODEL_VALUE_MAX];
};

struct model {
    struct model_state {
        struct model_value values[MODEL_SHARDS][MODEL_KEYS];
        uint64_t counters[MODEL_SHARDS];
    } now;
    GHashTable *results; /* "client/shard/seq" -> GBytes of the encoded reply */
    GHashTable *bounds;  /* "client/shard" -> highest acked_below seen, as GSIZE */
};

void model_init(struct model *m);
void model_finish(struct model *m);
/* The encoded reply to a transaction of a live session. */
struct bytes model_txn(struct model *m, const struct msg_txn *t, uint64_t time, struct arena *a);
/* Every key's value equals what `got` (a GET of each key in order) says. */
bool model_agrees(const struct model *m, const struct msg_txn_reply *got);

/* A random transaction over the universe, with its bytes in the arena; no client or numbers. */
struct rng;
void model_draw(struct rng *rng, struct arena *a, bool writes, struct msg_txn *ret);
/* GETs of all keys. */
void model_all_keys(struct arena *a, struct msg_txn *ret);
