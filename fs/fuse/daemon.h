/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - what the files of the FUSE daemon share (DESIGN 4.4).
 *
 *   main.c       options, start-up, shut-down
 *   mount.c      the mount point: checks, stale mounts, going to the background
 *   embedded.c   the private store: its directory, its raftfsd processes
 *   ops.c        the table of low-level operations; names and attributes
 *   ops_file.c   open files, directories, locks, extended attributes
 *   request.c    the frame around each operation: caller, cancel, one reply
 *   synthetic.c  inodes of synthetic files; which inode is which job's spec
 *
 * A worker thread of libfuse's loop runs one operation top to bottom. libfuse starts another worker
 * when all are busy, so an operation that waits (no quorum, a lock, `wait`) holds only its own
 * thread; WORKERS_MAX bounds them. Nothing is cached in the kernel: all time-outs are 0 until there
 * are leases (DESIGN 4.5).
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include "fs/synth.h"
#include "fs/volume.h"

#define WORKERS_MAX  1000
#define WORKERS_IDLE 8
#define OVERLAYS_MAX 4
#define MAX_IO       MIB(1)
/* A reply of READDIR keeps cookies below this for ".", ".." and synthetic names. */
#define COOKIE_FIRST 1024

struct daemon {
    struct volume *volume;
    struct client *client;
    struct fuse_session *session;
    struct synth_overlay overlays[OVERLAYS_MAX];
    unsigned n_overlays;
    struct synth_table *synthetic;
    struct request_watch *watch;
};

/* --- request.c --- */

/* Starts a thread that watches interrupted requests (see request.c for the rule). */
NODISCARD int request_watch_create(struct request_watch **ret);
void request_watch_destroy(struct request_watch *w);

/* One operation in progress, on its worker's stack. */
struct request {
    fuse_req_t req;
    struct daemon *d;
    struct volume_caller who;
    gid_t groups[64];
    struct client_cancel *cancel; /* the worker thread's; NULL: cannot be ended */
    uint64_t began_ns;
    bool waits;   /* may wait without bound by its nature (locks, `wait`): any signal ends it */
    bool flushes; /* of a close: an exiting caller is not kept waiting */
    bool *let_go; /* set when the watch answers for the worker; may be NULL */
    bool interrupted, answered, ending; /* watch lock */
};

/* Every operation is `struct request r; request_begin(&r, req); ... request_xxx(&r, ...)`: exactly
 * one of the reply functions ends it. */
void request_begin(struct request *r, fuse_req_t req);
void request_waits(struct request *r);
void request_flushes(struct request *r, bool *let_go);
void request_groups(struct request *r); /* fills who.groups: reads /proc, so only where needed */
void request_error(struct request *r, int err); /* 0 or negative errno */
void request_entry(struct request *r, int err, const struct volume_attr *a);
void request_attr(struct request *r, int err, const struct volume_attr *a);
/* Before a fuse_reply_* of one's own; false: the watch has answered already (EINTR), reply nothing
 * and take back what the reply would have given away. */
NODISCARD bool request_end(struct request *r);
void attr_to_stat(const struct volume_attr *a, struct stat *st);

/* --- synthetic.c --- */

NODISCARD int synth_table_create(struct daemon *d, struct synth_table **ret);
void synth_table_destroy(struct synth_table *t);
bool synth_is(fuse_ino_t ino);
/* An overlay's name in a real directory: -ENOENT, or its entry with one lookup counted. */
int synth_lookup(struct daemon *d, fs_ino dir, const char *name, struct stat *ret);
void synth_forget(struct daemon *d, fuse_ino_t ino, uint64_t n);
int synth_getattr(struct daemon *d, fuse_ino_t ino, struct stat *ret);
int synth_open(struct daemon *d, fuse_ino_t ino, int flags, const struct volume_caller *who,
               const struct synth_ops **ret_ops, struct synth_file **ret);
/* Listed synthetic names of a directory, in a fixed order. */
int synth_list(struct daemon *d, fs_ino dir, GPtrArray *ret_names);

/* Specs: a name that an overlay watches is remembered with its inode when it is looked up. */
struct spec_name {
    const struct synth_overlay *overlay;
    fs_ino dir;
    char name[FS_NAME_MAX + 1];
};
void spec_remember(struct daemon *d, fs_ino dir, const char *name, fs_ino ino);
bool spec_find(struct daemon *d, fs_ino ino, struct spec_name *ret);
void spec_forget(struct daemon *d, fs_ino ino);
/* A rename within or into a watched directory: tells the overlay. */
void spec_renamed(struct daemon *d, fs_ino from_dir, const char *from, fs_ino dir, const char *name,
                  const struct volume_caller *who);

/* --- ops_file.c --- */

void ops_file_fill(struct fuse_lowlevel_ops *ops);
const struct fuse_lowlevel_ops *daemon_ops(void); /* ops.c; called once */

static inline struct daemon *daemon_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}
