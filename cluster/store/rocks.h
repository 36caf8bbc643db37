/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rocks.h - how raftfs sets RocksDB up (7.8.3, C API), and what its errors mean here.
 *
 * Memory of one store: one memtable that fills and one that is being flushed, and its share of one
 * block cache of 32 MiB and of two background threads, which all stores of the process use. The
 * node flushes each 16 MiB of log (FLUSH_LOG_BYTES), which is some 20 MiB of memtable, so a
 * memtable is never full while the disk keeps up. If a flush takes longer than 32 MiB of log,
 * RocksDB begins one of its own behind it; only a disk that lies three memtables behind its own log
 * makes writes slow (ROCKS_MEMTABLES - 1) and then wait. Pure settings, no state of a store.
 */
#pragma once

#include <rocksdb/c.h>
#include "cluster/base/err.h"

#define ROCKS_MEMTABLE_BYTES MIB(32)
#define ROCKS_MEMTABLES      4
#define ROCKS_L0_SLOW        64 /* files in level 0 */
#define ROCKS_L0_STOP        128
#define ROCKS_CACHE_BYTES    MIB(32)
#define ROCKS_OPEN_FILES     256
#define ROCKS_BLOB_MIN       KIB(16) /* values from here on live in blob files */
#define ROCKS_BLOB_FILE      MIB(64)
#define ROCKS_DELETES_MANY   1024 /* so many in one flush are worth a compaction */

/* To be freed with rocksdb_options_destroy. Thread safe. */
rocksdb_options_t *rocks_options(void);

/* After each flush, *collects is false at first: has blob files collected while more than a third
 * of their bytes is garbage, until it is less than a fifth. While RocksDB collects, each compaction
 * copies the oldest half of all blobs whether garbage lies among them or not, and there is a
 * compaction for each 64 MiB of log: left on, a store of n bytes writes some n^2 / 256 MiB. */
void rocks_tend_blobs(rocksdb_t *db, bool *collects);

/* Frees the error string; returns its code with the text in msg, "what: text". */
int rocks_error(char *text, const char *what, struct errmsg *msg);
