/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - hashes of a range of rows, in bounded steps, so that replicas can be compared while
 * they serve (raftfsctl check).
 *
 * A digest walks [lo, hi) of a view of the store and cuts it into pieces; two replicas have equal
 * pieces if and only if they hold the same rows there (up to chance, see the end). How it cuts:
 *
 *   DIGEST_SHARDS   a piece for each shard that has rows; `at` is the shard's two bytes
 *   DIGEST_EVERY    a piece for each so many rows; `at` is its first row's key
 *   DIGEST_BOUNDS   given pieces: [lo, b0), [b0, b1) ... [bn, hi), also empty ones; `at` is the
 *                   lower bound. With the `at`s of another replica's pieces as bounds the pieces
 * can be compared whatever rows this one has.
 *
 * Beyond DIGEST_PIECES_MAX the last piece takes all that is left.
 *
 * The hash is of the bytes of keys and values in order, with their lengths: 64 bits, each word is
 * mixed in by a bijection, so two streams of words that differ in one word never have the same
 * hash, and other differences are missed with a chance of 2^-64 each. It finds errors, not enemies:
 * a replica that lies can lie about its hash, too. It is never stored and may change with the
 * version.
 *
 * One thread. Memory: the pieces.
 */
#pragma once

#include "cluster/base/limits.h"
#include "cluster/store/store.h"

#define DIGEST_PIECES_MAX (SHARDS_MAX + 1) /* the last is the group's own shard */
#define DIGEST_BOUNDS_MAX 64

struct digest_piece {
    struct bytes at;
    uint64_t hash;
    uint64_t rows, keys, bytes; /* keys: rows of the data table; bytes: of keys and values of all */
};

enum digest_cut { DIGEST_SHARDS, DIGEST_EVERY, DIGEST_BOUNDS };

struct digest;

/* lo and hi are internal keys (layout.h), hi empty: to the end. `every` >= 1 is looked at for
 * DIGEST_EVERY, bounds (ascending, within the range; at most DIGEST_BOUNDS_MAX) for DIGEST_BOUNDS.
 * All is copied. */
struct digest *digest_create(struct bytes lo, struct bytes hi, enum digest_cut cut, uint64_t every,
                             const struct bytes *bounds, unsigned n_bounds);
void digest_destroy(struct digest *d);

/* Goes on for at most so many rows, or until about so many bytes. 1: all is done, 0: not yet; the
 * store's error. The view must be the same each time. */
NODISCARD int digest_step(struct digest *d, struct store *store, struct store_view *view,
                          unsigned rows_max, size_t bytes_max);
uint64_t digest_rows(const struct digest *d); /* so far: to show progress */
/* Once done: borrowed, in order. */
const struct digest_piece *digest_pieces(const struct digest *d, unsigned *ret_n);
