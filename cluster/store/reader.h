/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h - one segment as recovery looks at it: read in pieces, as far as somebody asks.
 *
 * Most of a segment is often not in use, so nothing is read that nobody needs. A failed read
 * sticks: from then on there are no batches, and reader_err tells; whoever acts on what was not
 * found asks for it first. Bytes stay at their place until reader_finish.
 */
#pragma once

#include "cluster/store/record.h"
#include "cluster/store/segment.h"

struct reader {
    uint64_t seq, size; /* size: whole blocks */
    struct disk_file *file;
    uint8_t *p;
    uint64_t loaded;
    int err;
};

NODISCARD int reader_init(struct reader *r, struct disk *disk, const char *dir, uint64_t seq);
void reader_finish(struct reader *r); /* also of a zeroed one */

/* The batch head at `at`. */
enum batch_verdict reader_head(struct reader *r, uint64_t at, struct batch *ret);
/* The next valid one of this segment at or after `at`, with a number of at least `number`. */
bool reader_find(struct reader *r, uint64_t at, uint64_t number, struct batch *ret);
/* The records of a batch with a valid head; empty after an error. */
struct bytes reader_records(struct reader *r, const struct batch *b);
/* Is the batch valid (format.h)? */
bool reader_whole(struct reader *r, const struct batch *b);
