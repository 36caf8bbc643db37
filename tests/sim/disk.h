/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - a disk that forgets what was not synced.
 *
 * A file has the bytes that reads see (the page cache) and those that a power loss leaves. A write
 * goes to the first and is remembered; a sync that began after it carries it to the second. Killing
 * the process loses nothing; a power loss decides for each write that was never synced, and for
 * each of its 512-byte sectors, on its own: kept or lost. The same for the file's length and for
 * each name that was made, moved or removed since its directory's last sync. After a failed sync
 * the written pages count as clean: readable, never to be durable (reference/raft.md 4.18). Any
 * call may fail once; the power may go in the middle of any write, before any other change of the
 * disk.
 */
#pragma once

#include "cluster/base/disk.h"
#include "tests/sim/sim.h"

#define SIM_SECTOR 512

struct sim_disk {
    struct disk disk;
    struct sim_node *node;
    GHashTable *names;   /* char *path -> struct inode; directories have one too */
    GHashTable *durable; /* the same after a power loss */
    GPtrArray *changes;  /* struct change: names not yet durable */
    GPtrArray *files;    /* struct sim_file, open or leaked by a node that died inside */

    uint64_t sync_time; /* mean; 0: at once */
    uint64_t hung_until;
    bool full;
    unsigned fail_sync_in;  /* the n-th sync from now fails; 0: none */
    unsigned fail_op_in;    /* the same of any other call that may */
    unsigned crash_sync_in; /* the power goes during the n-th sync from now; 0: never */
    unsigned crash_op_in;   /* the same of a write or another change */
    bool failed;            /* a call has failed since the node started */
};

struct sim_disk *sim_disk_create(struct sim_node *sn);
void sim_disk_destroy(struct sim_disk *d);
void sim_disk_wipe(struct sim_disk *d);         /* its process has ended */
void sim_disk_process_gone(struct sim_disk *d); /* its descriptors are closed */
/* Lengths of all files whose path begins so. */
uint64_t sim_disk_bytes(const struct sim_disk *d, const char *prefix);
void sim_disk_power_loss(struct sim_disk *d);
void sim_disk_peace(struct sim_disk *d); /* no fault is to come */
/* What a power loss leaves of a file, to be damaged; NULL: no such file. Then the reads of the next
 * start shall see it. */
uint8_t *sim_disk_durable(struct sim_disk *d, const char *path);
void sim_disk_forget_cache(struct sim_disk *d);
/* A file is gone, or two have changed their places. */
void sim_disk_lose(struct sim_disk *d, const char *path);
void sim_disk_swap(struct sim_disk *d, const char *a, const char *b);
