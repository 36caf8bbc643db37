/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.h - reads the log back: the algorithm of format.h.
 *
 * Changes nothing on the disk. The pool gets the segments in use as closed, with their marks, and
 * next_seq; the numbers of the files not in use are returned.
 */
#pragma once

#include "cluster/store/record.h"
#include "cluster/store/segment.h"
#include "cluster/store/wal.h"

/* Where writing goes on. */
struct recovered {
    struct wal_states states; /* as of the end of the batch before `number` */
    uint64_t number;          /* of the next batch */
    struct enc again;         /* records of the last batch found, to be written again */
    GArray *unused;           /* uint64_t seq of files that hold nothing */
};
void recovered_finish(struct recovered *r);

/* `o` (inspect.h) is told what is seen; NULL: nobody looks on. */
struct wal_observer;
NODISCARD int wal_recover(struct segment_pool *pool, const struct wal_observer *o,
                          struct wal_recovery *ret, struct recovered *ret_writer,
                          struct errmsg *msg);
