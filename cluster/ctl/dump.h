/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump.h - a stopped node's files as text, for people (raftfsctl dump, raftfsctl(8)).
 *
 * Opens nothing for writing. Files are input from a stranger: damaged ones are described, never
 * believed. What is printed goes to `out` as it is found; with options.json one JSON object a line,
 * its "is" says what it describes.
 */
#pragma once

#include <stdio.h>
#include "cluster/base/err.h"

enum dump_what { DUMP_WAL, DUMP_STATE };

struct dump_options {
    bool json;
    bool keys, values; /* state: list the keys; with the first bytes of their values */
    int shard;         /* only what concerns this shard; -1: all */
    uint64_t from;     /* wal: only entries from this index on; 0: all records */
};

/* The directory to read, and the node's lock while it is read. */
struct dump_place {
    char *dir;
    int lock_fd; /* -1: no lock file */
};

/*
 * dir is a data directory, its wal/ or groups/<gid>/, or a copy of one of these two. What is asked
 * for in a data directory is found in it, of the groups number 0. While the place is held no
 * raftfsd can start on the data directory. -ERR_LOCKED: a node runs on it; -ERR_NOT_FOUND: not a
 * directory of ours; -ERR_FORMAT and those of identity_read. All with one line.
 */
NODISCARD int dump_place_open(const char *dir, enum dump_what what, struct dump_place *ret,
                              struct errmsg *msg);
void dump_place_close(struct dump_place *p);

/* dir: with the segments. -ERR_CORRUPT: there is damage, all has been told; else as wal_inspect. */
NODISCARD int dump_wal(const char *dir, const struct dump_options *o, FILE *out,
                       struct errmsg *msg);
/* dir: of a store. -ERR_CORRUPT: there is damage; else as store_rocks_open_read. */
NODISCARD int dump_state(const char *dir, const struct dump_options *o, FILE *out,
                         struct errmsg *msg);
