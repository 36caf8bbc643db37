/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_disk.h - a disk in memory for tests of the log: fails the n-th operation, runs full, forgets
 * what was not synced, tears what was not synced at 512-byte sectors.
 *
 * Three ends of a process: kill (what was written stays visible, as in the page cache) is simply
 * opening again; crash (power loss) leaves what was synced, of the rest a random part. A sync that
 * fails marks the pages clean, as Linux does: they stay visible, but no later sync writes them.
 */
#pragma once

#include "cluster/base/disk.h"
#include "cluster/base/rng.h"

enum fake_loss { FAKE_LOSE_ALL, FAKE_KEEP_ALL, FAKE_TEAR };

struct fake_disk {
    struct disk disk; /* pass &fd->disk */
    struct rng rng;
    GHashTable *names;   /* path -> struct inode: as the process sees them */
    GHashTable *durable; /* as a crash leaves them, but for `changes` */
    GQueue changes;      /* of names since the last sync of the directory, in order */
    uint64_t space;      /* bytes that can be allocated in all; UINT64_MAX at first */
    unsigned ops;        /* changing operations so far */
    unsigned fail_at;    /* the operation with this number fails with -ERR_IO; 0: none */
    unsigned syncs, writes;
    bool deferred; /* syncs wait for fake_disk_complete */
    struct disk_file *waiting;
    disk_done_fn *waiting_done;
    void *waiting_arg;
};

void fake_disk_init(struct fake_disk *d, uint64_t seed);
void fake_disk_finish(struct fake_disk *d);
/* All files must be closed. */
void fake_disk_crash(struct fake_disk *d, enum fake_loss loss);
bool fake_disk_complete(struct fake_disk *d); /* the sync that waits, if any */
/* The bytes of a file, to be looked at and damaged; NULL if there is none. */
GByteArray *fake_disk_bytes(struct fake_disk *d, const char *path);
bool fake_disk_remove(struct fake_disk *d, const char *path);
void fake_disk_swap(struct fake_disk *d, const char *a, const char *b);
unsigned fake_disk_files(struct fake_disk *d);
