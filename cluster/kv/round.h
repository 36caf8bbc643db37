/* SPDX-License-Identifier: Apache-2.0 */
/*
 * round.h - the rows that the newest entries have changed and the store does not have yet.
 *
 * A row costs RocksDB several us of the thread, most of it in finding its place in the memtable; of
 * the four rows of a small transaction three (counter, results, applied) are soon written again. So
 * rows are gathered over many entries, a row that several of them change is written once, and all
 * go in order of their keys, which finds the places faster. That is safe: a batch takes effect as a
 * whole, its applied record is that of the last entry in it, and what a crash takes the log brings
 * back.
 *
 * The state is "the store, except for these rows": round_get and round_iter show that.
 *
 * It copies what is put.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/kv/overlay.h"
#include "cluster/store/store.h"

struct round {
    struct store *store;
    struct overlay rows; /* slot.data is the row as stored; slot.room is what there is for it */
    GArray *batch;       /* struct store_write */
    struct arena arena;  /* keys and values */
    size_t bytes;        /* in it */
    unsigned rows_max;   /* it is full with so many */
    uint64_t number;     /* steps when they are written */
};

/* Of one row, owned by whoever puts it. Zero: not known. */
struct round_place {
    uint64_t number; /* of the round that it is in */
    unsigned slot;
};

void round_init(struct round *r, struct store *store);
void round_finish(struct round *r);

/* As the store's get: the value is copied into the arena. */
NODISCARD int round_get(struct round *r, struct bytes key, struct arena *a, struct bytes *ret);
void round_put(struct round *r, struct bytes key, struct bytes value);
/* The same for a row that is put again and again: `at` remembers where it lies, so that most of the
 * time it need not be searched. */
void round_put_at(struct round *r, struct round_place *at, struct bytes key, struct bytes value);
/* A value of the data table: the head and `data` in one. */
void round_put_value(struct round *r, struct bytes key, uint64_t version, struct bytes data);
void round_delete(struct round *r, struct bytes key);

/* As the store's iterator, over both. Meanwhile rows beside the range and behind the iterator may
 * be put and deleted. */
struct round_iter;
struct round_iter *round_iter_open(struct round *r, struct bytes lo, struct bytes hi);
bool round_iter_next(struct round_iter *it, struct bytes *ret_key, struct bytes *ret_value);
NODISCARD int round_iter_close(struct round_iter *it);

/* It should be written: memory is bounded, and so is the time that one write takes. */
bool round_full(const struct round *r);
/* One batch of all rows; then it is empty. After an error, the store's, all rows are still here. */
NODISCARD int round_write(struct round *r);
