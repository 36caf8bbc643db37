/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.h - where a map task's output goes: partitioned, combined or buffered, sorted, spilled.
 *
 * Bounded memory: a full table or buffer is written as a sorted run to an unnamed file in the
 * current directory; at the end the runs are merged into the one spill file of the attempt. With a
 * single run, the usual case, records are written once. One thread.
 */
#pragma once

#include "mr/combine.h"
#include "mr/spill.h"

enum combine_op { COMBINE_NONE, COMBINE_COUNT, COMBINE_SUM };

struct collector;

/* out_fd: an empty regular file, stays the caller's. budget: bytes of memory. */
struct collector *collector_create(uint32_t partitions, enum combine_op op, size_t budget,
                                   int out_fd);
void collector_destroy(struct collector *c);

/* Errors: of the files; -ERR_CONFIG with the text of a value that cannot be summed. */
NODISCARD int collect_record(struct collector *c, const struct record *r, struct errmsg *msg);
/* The same as n records {key, "1"}; n is at most COLLECT_BATCH. */
#define COLLECT_BATCH 32
NODISCARD int collect_ones(struct collector *c, const struct bytes *keys, size_t n,
                           struct errmsg *msg);
/* Writes the spill file. Nothing may be collected after it. */
NODISCARD int collector_complete(struct collector *c, struct errmsg *msg);

struct collect_stats {
    uint64_t records; /* collected */
    uint64_t spilled; /* in the spill file: after combining */
    uint64_t runs;
};
void collector_get_stats(const struct collector *c, struct collect_stats *ret);

/* A decimal 64-bit integer and nothing else. */
bool parse_int64(struct bytes b, int64_t *ret);
/* "@sum: value "x" of key "y" ..." into msg; the pair is escaped and cut. */
int sum_error(struct bytes key, struct bytes value, struct errmsg *msg);
