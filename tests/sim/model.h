/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - mini-transactions on a handful of short values, written down a second time and as
 * simply as possible: what the checker of histories runs beside the cluster.
 *
 * An object is what one history is checked for: up to MODEL_CELLS keys in up to MODEL_SHARDS
 * shards, which no other object touches. A register is an object of one cell; accounts between
 * which money moves are one of four.
 */
#pragma once

#include "cluster/base/msg.h"

#define MODEL_CELLS      4
#define MODEL_SHARDS     2
#define MODEL_VALUE      64 /* longest value */
#define MODEL_PARTS      4  /* most compares, reads or writes of one request */
#define CELL_SHARD(cell) ((cell) / 2)
/* A range begins at its part's cell and ends with the cells of that shard. */
#define RANGE_END(cell) (((unsigned)(cell) / 2 + 1) * 2)

/* One compare, read or write; the op is msg.def.h's. */
struct model_part {
    uint8_t op, cell, n;
    uint64_t arg;
    uint8_t bytes[MODEL_VALUE];
};

struct model_txn {
    unsigned n_compares, n_reads, n_writes;
    struct model_part compares[MODEL_PARTS], reads[MODEL_PARTS], writes[MODEL_PARTS];
};

/* Of a SCAN: how many pairs (version), whether there are more (size), and a hash of them. */
struct model_read {
    uint64_t version;
    uint64_t size;
    uint8_t n;
    uint8_t bytes[MODEL_VALUE];
};

/* An answer: 0 or ERR_FAILED. */
struct model_reply {
    unsigned status, failed;
    uint64_t time; /* 0: of a read */
    struct model_read reads[MODEL_PARTS];
    uint64_t versions[MODEL_SHARDS]; /* 0: not written */
    uint64_t deleted;                /* by all DELETE_RANGEs */
};

struct model_cell {
    uint64_t version; /* 0: absent */
    uint64_t n;
    uint8_t bytes[MODEL_VALUE];
};

/* many: the shards may lie in several groups. Then times rise for each shard on its own, and a
 * version is any higher than the cell's one before: a transaction over groups takes it when it is
 * prepared, and that may come to nothing. */
#define MODEL_UNSEEN UINT64_MAX /* a version that nobody was told */
struct model_state {
    bool many;
    struct model_cell cells[MODEL_CELLS];
    uint64_t counters[MODEL_SHARDS]; /* not of many */
    uint64_t times[MODEL_SHARDS];    /* of the last entry known to have come before */
};

/* Of many: the time of this answer stands in the shard's order of times. An answer FAILED over
 * several shards is known to the one that decided only. */
bool model_is_timed(const struct model_txn *t, const struct model_reply *reply, unsigned shard);
/* Runs t on the state. With `want` (an answer that was given) false if it could not have been given
 * here; NULL: whatever comes out. The state is changed only on true. */
bool model_step(struct model_state *state, const struct model_txn *t,
                const struct model_reply *want);
/* What a SCAN's answer is made of: one pair after another; of many the version is 0. */
void model_scan_pair(struct model_read *r, unsigned cell, uint64_t version, struct bytes value);
uint64_t model_hash(const struct model_state *state);
void model_print(GString *s, const struct model_txn *t, const struct model_reply *reply);
