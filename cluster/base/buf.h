/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a payload that wanders between network, log, state machine and caller.
 *
 * Reference counted, immutable once shared. buf_alloc gives one reference to the caller, who fills
 * data[0..len) before handing it on; every holder takes its own reference with buf_ref and drops it
 * with buf_unref; at zero the memory is freed. The count is atomic, so a buf may cross threads.
 * Allocation failure ends the process (as in GLib): a node that cannot allocate is better dead.
 */
#pragma once

#include "cluster/base/bytes.h"

struct buf {
    unsigned refs; /* __atomic */
    size_t len;
    uint8_t data[];
};

struct buf *buf_alloc(size_t len);
struct buf *buf_copy(struct bytes b);
struct buf *buf_ref(struct buf *b); /* NULL stays NULL */
void buf_unref(struct buf *b);
DEFINE_CLEANUP(struct buf *, buf_unref)

static inline struct bytes buf_bytes(const struct buf *b)
{
    return b ? (struct bytes){b->data, b->len} : BYTES_NONE;
}
