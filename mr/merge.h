/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge.h - many sorted sections become one sorted stream: a loser tree (Knuth 5.4.1).
 *
 * Records of equal key come out in the order of their sections, then of their position, so the
 * stream is the same whenever the sections are. One thread.
 */
#pragma once

#include "mr/spill.h"

/* Sections open at once, each with a block or two in memory. More are merged in passes. */
#define MERGE_WAYS 128

struct merge_source {
    int fd;
    uint64_t off, bytes;
};

struct merge;
/* Up to MERGE_WAYS sources; the fds stay the caller's. */
NODISCARD int merge_create(const struct merge_source *s, size_t n, struct merge **ret);
void merge_destroy(struct merge *m);
DEFINE_CLEANUP(struct merge *, merge_destroy)
/* 1 and the next record, borrowed until the next call; 0 at the end; or an error. */
NODISCARD int merge_next(struct merge *m, struct record *ret);

/* As merge_next, but folds records of one key whose values are le64 sums. *ret_sum is the total.
 * -ERR_TOO_BIG: it does not fit; -ERR_CORRUPT: a value is no sum. The key is borrowed. */
NODISCARD int merge_next_sum(struct merge *m, struct bytes *ret_key, int64_t *ret_sum);
