/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - file operations behind an interface, so that the log runs on a real disk and on the
 * simulator's, which loses, tears and corrupts.
 *
 * Paths are absolute or relative to the process (the simulator keeps a tree of its own). All calls
 * block except sync, whose completion may come later: `done(arg, err)` is called exactly once, maybe
 * before sync returns. What was written is durable only after a sync of the file that began after
 * the write; a new, renamed or removed name only after sync_dir of its directory. A failed write or
 * sync leaves the file in an unknown state: the caller must stop using it (DESIGN 3.5: the process
 * ends). Errors are -ERR_IO, -ERR_NO_SPACE, -ERR_NOT_FOUND, -ERR_EXISTS, -ERR_NO_MEMORY.
 *
 * One thread per disk object.
 */
#pragma once

#include <sys/uio.h>
#include "cluster/base/bytes.h"

struct disk;
struct disk_file;

typedef void disk_done_fn(void *arg, int err);
typedef void disk_name_fn(void *arg, const char *name);

enum {
    DISK_CREATE = 1, /* create if absent, mode 0600 */
    DISK_EXCL = 2,
    DISK_READ = 4, /* read only */
};

struct disk_ops {
    int (*open)(struct disk *d, const char *path, int flags, struct disk_file **ret);
    void (*close)(struct disk_file *f);
    /* Bytes read (fewer only at the end of the file), or an error. */
    int64_t (*read)(struct disk_file *f, void *p, size_t n, uint64_t off);
    int (*write)(struct disk_file *f, const struct iovec *iov, int n, uint64_t off); /* all of it */
    int (*allocate)(struct disk_file *f, uint64_t size); /* space and length, zeroes read back */
    int (*size)(struct disk_file *f, uint64_t *ret);
    void (*sync)(struct disk_file *f, disk_done_fn *done, void *arg); /* data and length */
    int (*rename)(struct disk *d, const char *from, const char *to); /* replaces */
    int (*remove)(struct disk *d, const char *path);
    int (*make_dir)(struct disk *d, const char *path); /* 0700; an existing one is fine */
    int (*sync_dir)(struct disk *d, const char *path);
    int (*list)(struct disk *d, const char *path, disk_name_fn *each, void *arg);
    int (*free_bytes)(struct disk *d, const char *path, uint64_t *ret);
};

/* Implementations embed these as their first member. */
struct disk {
    const struct disk_ops *ops;
};
struct disk_file {
    struct disk *disk;
};

struct disk *disk_posix_create(void); /* disk_posix.c */
void disk_posix_destroy(struct disk *d);
