/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect.h - a log told piece by piece, as recovery reads it: for `raftfsctl dump wal`.
 *
 * wal_inspect runs the recovery of format.h (the very code that a start runs) with somebody looking
 * on, so what is told is what a node would believe. It opens files for reading only and changes
 * nothing. The log must not be in use; whoever calls sees to that.
 *
 * Order of the calls: `damage` whenever something is wrong; for each file in order of its number
 * `segment`; if it is in use, then for each batch in it `batch` and its records, as far as they can
 * be read; then `rest`, what follows the last batch that counts. Batches that a later segment holds
 * once more are told with BATCH_SUPERSEDED and without records. `damage` may also come before the
 * first segment (files that hold another one's bytes) and after the last (entries that are
 * missing).
 *
 * What is shown is borrowed until the callback returns.
 */
#pragma once

#include "cluster/store/reader.h"
#include "cluster/store/record.h"
#include "cluster/store/segment.h"
#include "cluster/store/wal.h"

enum wal_segment_use {
    SEGMENT_IN_USE,
    SEGMENT_READY,   /* made ready, nothing was ever written to it */
    SEGMENT_STALE,   /* made ready: it has bytes of its earlier life as segment `holds` */
    SEGMENT_TORN,    /* its first batch was torn: it was never begun */
    SEGMENT_SWAPPED, /* it holds the later segment `holds`: damage */
};

struct wal_segment_seen {
    uint64_t seq, size; /* size: whole blocks */
    enum wal_segment_use use;
    uint64_t holds; /* of another segment's batch at its beginning, 0: none */
};

enum wal_batch_state {
    BATCH_WHOLE,
    BATCH_DAMAGED,    /* not whole, but acknowledged: a valid batch follows */
    BATCH_TORN,       /* not whole, nothing valid follows: the log ends before it */
    BATCH_SUPERSEDED, /* a later segment begins with it again */
};

/* What stands behind the last batch of a segment that counts. */
enum wal_rest {
    REST_NONE,   /* the file ends there */
    REST_ZEROES, /* never written */
    REST_STALE,  /* bytes of an earlier life, as segment `holds` */
    REST_TORN,   /* a batch that was told as BATCH_TORN */
    REST_OTHER,  /* no batch: a write that was torn in its head, or the rest of an earlier life */
};

struct wal_rest_seen {
    uint64_t seq, offset, bytes;
    uint64_t next; /* number of the batch that would come next */
    bool last;     /* the log ends here; else it goes on in a later segment */
    enum wal_rest what;
    uint64_t holds;
};

struct wal_observer {
    void (*segment)(void *ctx, const struct wal_segment_seen *s);
    void (*batch)(void *ctx, const struct batch *b, enum wal_batch_state state);
    /* fault NULL: valid. Else what is wrong with it; with `r` NULL its head cannot be trusted, and
     * neither can anything behind it in this batch be found. */
    void (*record)(void *ctx, const struct record *r, const char *fault);
    void (*damage)(void *ctx, const char *text);
    void (*rest)(void *ctx, const struct wal_rest_seen *r);
    void *ctx;
};

/* -ERR_NOT_FOUND: no segment in the directory, or no directory; -ERR_FORMAT: newer; -ERR_IO. All
 * with text. Damage is no error: see ret_recovery, which is freed with wal_recovery_finish. */
NODISCARD int wal_inspect(struct disk *disk, const char *dir, const struct wal_observer *o,
                          struct wal_recovery *ret_recovery, struct errmsg *msg);

/* For recover.c; o may be NULL. */
void inspect_records(const struct wal_observer *o, const struct batch *b, struct bytes records);
/* The part of a segment from `at` on. */
void inspect_rest(const struct wal_observer *o, struct reader *r, struct wal_rest_seen rest);
