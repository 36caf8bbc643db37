/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - the files of the log: names, heads of batches, and the pool of segments.
 *
 *             make / recycle            begin                rollover             needed by nobody
 *   (disk) ---------------> ready[] -------------> current ------------> closed[] ----------------+
 *             allocated, named with a seq of its own                                              |
 *                  ^------------------------------------------------------------------------------+
 *
 * A segment is made ready one rollover before it is needed, so that a full disk is met early and
 * the rollover itself costs no directory operation. Closed segments are freed oldest first, each
 * rename or removal synced before the next, so that what a crash leaves is always a row without a
 * hole.
 *
 * Zeroes are written ahead of the batches, ZERO_AHEAD at a time and in the same write: the first
 * sync into allocated but never written blocks costs a commit of the file system's journal, one
 * into written ones does not (measured, README.md).
 */
#pragma once

#include "cluster/base/disk.h"
#include "cluster/base/err.h"
#include "cluster/store/format.h"

/* Segments kept ready; more that become free are removed. */
#define SEGMENTS_READY_MAX 3
#define ZERO_AHEAD         MIB(1)

/* The highest entry of a group in a segment. */
struct segment_mark {
    uint32_t gid;
    uint64_t index;
};

struct segment {
    uint64_t seq, size;
    uint64_t used;          /* end of the last batch */
    uint64_t written;       /* [0, written) had bytes on the disk before */
    struct disk_file *file; /* open while ready or current */
    GArray *marks;          /* struct segment_mark */
};

struct segment *segment_create(uint64_t seq);
void segment_destroy(struct segment *s); /* closes the file */
void segment_mark(struct segment *s, uint32_t gid, uint64_t index);
void segment_unmark(struct segment *s, uint32_t gid);

/* "dir/<seq>.seg", to be freed with g_free. */
char *segment_path(const char *dir, uint64_t seq);
/* The seq in a file's name, 0 if it is not a segment's. */
uint64_t segment_parse_name(const char *name);

struct segment_pool {
    struct disk *disk;
    char *dir;
    uint64_t segment_bytes;
    uint64_t next_seq;
    struct segment *current; /* NULL until the first batch */
    GQueue closed, ready;    /* struct segment *, oldest first */
};

void segment_pool_init(struct segment_pool *p, struct disk *disk, const char *dir,
                       uint64_t segment_bytes);
void segment_pool_finish(struct segment_pool *p);

/* Allocates one more ready segment of at least `bytes`. -ERR_NO_SPACE leaves everything as it was;
 * other errors: the log must stop. */
NODISCARD int segment_pool_make(struct segment_pool *p, uint64_t bytes);
/* Gives the file of a segment that nobody needs its next life, or removes it if enough are ready.
 * Takes s, which is in no list any more. */
NODISCARD int segment_pool_recycle(struct segment_pool *p, struct segment *s);
/* Closes current and begins the first ready one, which must hold `bytes`; makes or enlarges one if
 * need be. Errors as segment_pool_make's; then current stays as it was. */
NODISCARD int segment_pool_roll(struct segment_pool *p, uint64_t bytes);

/* --- batch heads ------------------------------------------------------------------------------ */

struct batch {
    uint64_t seq, number, offset;
    uint32_t version, flags, bytes, records;
};

void batch_encode(const struct batch *b, struct wal_batch_head *ret);
/* Block-aligned length on disk. */
uint64_t batch_length(uint64_t bytes);

enum batch_verdict {
    BATCH_OK,
    BATCH_NONE,  /* not a valid head */
    BATCH_OTHER, /* a valid head, but of segment ret->seq */
    BATCH_NEWER, /* of the later format ret->version */
};
/* p: the 64 bytes at `offset` of segment seq, which is `size` long. */
enum batch_verdict batch_decode(const uint8_t *p, uint64_t seq, uint64_t offset, uint64_t size,
                                struct batch *ret);
