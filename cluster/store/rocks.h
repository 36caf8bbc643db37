/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rocks.h - how raftfs sets RocksDB up (7.8.3, C API), and what its errors mean here.
 *
 * Memory of one store: two memtables of 16 MiB, and its share of one block cache of 32 MiB and of
 * two background threads, which all stores of the process use. Pure settings, no state of a store.
 */
#pragma once

#include <rocksdb/c.h>
#include "cluster/base/err.h"

#define ROCKS_MEMTABLE_BYTES MIB(16)
#define ROCKS_MEMTABLES      2
#define ROCKS_CACHE_BYTES    MIB(32)
#define ROCKS_OPEN_FILES     256
#define ROCKS_BLOB_MIN       KIB(16) /* values from here on live in blob files */
#define ROCKS_BLOB_FILE      MIB(64)

/* To be freed with rocksdb_options_destroy. Thread safe. */
rocksdb_options_t *rocks_options(void);

/* Frees the error string; returns its code with the text in msg, "what: text". */
int rocks_error(char *text, const char *what, struct errmsg *msg);
