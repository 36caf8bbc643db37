/* SPDX-License-Identifier: Apache-2.0 */
/*
 * round.h - the rows that entries applied together have changed, written as one batch.
 *
 * On RocksDB a put costs about 5 us of the thread, most of it in the memtable; of the four rows of
 * a small transaction three (counter, results, applied) are the same as, or near, those of the
 * entry before. So the entries of one kv_apply share a batch, and a row that several of them change
 * is written once. That is safe: a batch takes effect as a whole, and its applied record is that of
 * its last entry.
 *
 * Between two writes the state is "the store, except for these rows": round_get looks here first.
 * Iterators of the store do not know these rows, so who needs one writes the round before.
 *
 * It copies what is put. What round_get gives is borrowed until round_write.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/kv/overlay.h"
#include "cluster/store/store.h"

struct round {
    struct store *store;
    struct overlay rows; /* slot.data is the row as stored */
    GArray *batch;       /* struct store_write */
    struct arena arena;  /* keys and values */
    size_t bytes;        /* in it */
};

void round_init(struct round *r, struct store *store);
void round_finish(struct round *r);

/* As the store's get; a value found here is borrowed, not copied into the arena. */
NODISCARD int round_get(struct round *r, struct bytes key, struct arena *a, struct bytes *ret);
void round_put(struct round *r, struct bytes key, struct bytes value);
/* A value of the data table: the head and `data` in one. */
void round_put_value(struct round *r, struct bytes key, uint64_t version, struct bytes data);
void round_delete(struct round *r, struct bytes key);

static inline bool round_empty(const struct round *r)
{
    return r->rows.slots->len == 0;
}
/* One batch of all rows, in order of first change; then it is empty. The store's error. */
NODISCARD int round_write(struct round *r);
