/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synth.h - synthetic files: content made by a function, laid over real directories by fs/fuse
 * (DESIGN 4.4, 5). mr/ provides /jobs, fs/fuse provides /.raftfs.
 *
 * An overlay names files in real directories. The daemon asks it before the volume on LOOKUP and
 * mixes its listed names into READDIR. Opened, a file's content is a snapshot taken at open (or
 * made by read, for `wait`); the daemon uses direct_io and timeout 0, reports the size of the
 * snapshot, and answers unlink with 0.
 *
 * Functions return 0 or a negative errno, may be called from any thread, and may block with the
 * thread's cancel (volume_thread_cancel) honoured.
 */
#pragma once

#include "fs/volume.h"

struct synth_node {   /* what lookup finds */
    const char *name; /* static or owned by the overlay */
    uint64_t id;      /* the overlay's own; with the directory it names the file */
    uint32_t mode;    /* S_IFREG | permissions; S_IFDIR for a synthetic directory */
    uint32_t uid, gid;
    bool hidden; /* found by name, not listed (wait, tasks' input) */
};

struct synth_file; /* an open synthetic file, the overlay's */

struct synth_ops {
    /* Is there a synthetic `name` in real directory `dir`? -ENOENT: ask the volume. */
    int (*lookup)(void *ctx, fs_ino dir, const char *name, struct synth_node *ret);
    /* Calls each for the listed synthetic files of `dir`; none is fine. */
    int (*readdir)(void *ctx, fs_ino dir, bool (*each)(void *arg, const struct synth_node *n),
                   void *arg);
    int (*open)(void *ctx, fs_ino dir, uint64_t id, int flags, const struct volume_caller *who,
                struct synth_file **ret);
    /* Size known after open (a `wait` says 0). */
    uint64_t (*size)(struct synth_file *f);
    int64_t (*read)(struct synth_file *f, void *p, size_t n, uint64_t off);
    int64_t (*write)(struct synth_file *f, const void *p, size_t n, uint64_t off,
                     const struct volume_caller *who);
    void (*release)(struct synth_file *f);

    /*
     * Submission (DESIGN 5): the daemon tells of real files in directories for which `watches` is
     * true. check: a FLUSH of a handle that wrote (a negative errno goes to close(2)); settled: its
     * RELEASE, or a rename onto `name` from a name that was not a job's. opening: before an open
     * for write or truncate (-ETXTBSY).
     */
    bool (*watches)(void *ctx, fs_ino dir, const char *name);
    int (*check)(void *ctx, fs_ino dir, const char *name, fs_ino ino,
                 const struct volume_caller *who);
    void (*settled)(void *ctx, fs_ino dir, const char *name, fs_ino ino,
                    const struct volume_caller *who);
    int (*opening)(void *ctx, fs_ino dir, const char *name, fs_ino ino);
};

struct synth_overlay {
    const struct synth_ops *ops;
    void *ctx;
};
