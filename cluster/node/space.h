/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - a disk that fills up must cost service, never data.
 *
 * The log allocates one segment ahead (wal.h). When that fails, or less than the reserve is free
 * (two segments and one flush), the leader hands over to another member, which may have room; if it
 * leads on, or again, it refuses transactions that could grow the store
 * (ERR_NO_SPACE), still takes those that only delete, sessions and reads, and the groups are
 * flushed so that old segments can be used again. Should the log run out all the same, its write
 * fails cleanly and is tried again each second: until then this node acknowledges nothing and takes
 * no write, and a leader stands down like one whose disk hangs.
 */
#pragma once

#include "cluster/node/impl.h"

void space_house(struct node *n);
void space_log_full(struct node *n);      /* the log's write found no room */
bool space_refuses(const struct node *n); /* no growth, please */
bool space_paused(const struct node *n);  /* the log waits for room: no write at all */
/* What a flush and an opening of a store need is there, as far as is known. A flush that fails
 * costs an outage (outage.h), so none is begun without. */
bool space_for_flush(const struct node *n);
#define SPACE_UNKNOWN UINT64_MAX
uint64_t space_free(struct node *n); /* SPACE_UNKNOWN: the disk does not tell */
