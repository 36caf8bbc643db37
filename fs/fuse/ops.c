/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.c - names and attributes: each operation decodes, calls the volume, replies. No policy.
 *
 * The volume does one mini-transaction per operation; the kernel checks permissions before it asks
 * (default_permissions). Replies carry time-out 0.
 */
#include <errno.h>
#include <stdlib.h>
#include "fs/fuse/daemon.h"

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    /* The data is in our memory: splicing would only add pipes. */
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    /* Without cached attributes a READDIRPLUS entry is asked for again at once. */
    conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
    conn->max_write = (unsigned)MAX_IO;
    conn->max_readahead = (unsigned)MAX_IO;
    conn->max_background = 64;
    conn->congestion_threshold = 48;
    conn->time_gran = 1;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {0};
    struct volume_attr a;
    struct request r;
    int err;

    request_begin(&r, req);
    err = synth_lookup(r.d, parent, name, &e.attr);
    if (err == 0) {
        e.ino = e.attr.st_ino;
        if (request_end(&r))
            (void)fuse_reply_entry(req, &e);
        else
            synth_forget(r.d, e.ino, 1);
        return;
    }
    if (err == -ENOENT)
        err = volume_lookup(r.d->volume, parent, name, &a);
    if (err == 0)
        spec_remember(r.d, parent, name, a.ino);
    request_entry(&r, err, &a);
}

static void forget_one(struct daemon *d, fuse_ino_t ino, uint64_t n)
{
    if (synth_is(ino))
        synth_forget(d, ino, n);
    else
        spec_forget(d, ino);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    forget_one(daemon_of(req), ino, n);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget_one(daemon_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct volume_attr a;
    struct request r;
    struct stat st;
    int err;

    (void)fi;
    request_begin(&r, req);
    if (!synth_is(ino)) {
        err = volume_getattr(r.d->volume, ino, &a);
        request_attr(&r, err, &a);
        return;
    }
    err = synth_getattr(r.d, ino, &st);
    if (err < 0) {
        request_error(&r, err);
        return;
    }
    if (request_end(&r))
        (void)fuse_reply_attr(req, &st, 0);
}

static uint64_t from_timespec(struct timespec t)
{
    return (uint64_t)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
    static const struct {
        int fuse;
        unsigned volume;
    } flags[] = {{FUSE_SET_ATTR_MODE, VOLUME_MODE},
                 {FUSE_SET_ATTR_UID, VOLUME_UID},
                 {FUSE_SET_ATTR_GID, VOLUME_GID},
                 {FUSE_SET_ATTR_SIZE, VOLUME_SIZE},
                 {FUSE_SET_ATTR_ATIME, VOLUME_ATIME},
                 {FUSE_SET_ATTR_MTIME, VOLUME_MTIME},
                 {FUSE_SET_ATTR_ATIME_NOW, VOLUME_ATIME_NOW},
                 {FUSE_SET_ATTR_MTIME_NOW, VOLUME_MTIME_NOW}};
    struct volume_attr in = {.mode = st->st_mode,
                             .uid = st->st_uid,
                             .gid = st->st_gid,
                             .size = (uint64_t)st->st_size,
                             .atime_ns = from_timespec(st->st_atim),
                             .mtime_ns = from_timespec(st->st_mtim)};
    struct volume_attr out;
    struct request r;
    unsigned which = 0;
    struct stat synth;
    int err;

    (void)fi;
    request_begin(&r, req);
    if (synth_is(ino)) { /* `echo kill > ctl` truncates first: nothing to do */
        err = synth_getattr(r.d, ino, &synth);
        if (err < 0) {
            request_error(&r, err);
            return;
        }
        if (request_end(&r))
            (void)fuse_reply_attr(req, &synth, 0);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (to_set & flags[i].fuse)
            which |= flags[i].volume;
    if (which & VOLUME_ATIME_NOW)
        which &= ~(unsigned)VOLUME_ATIME;
    if (which & VOLUME_MTIME_NOW)
        which &= ~(unsigned)VOLUME_MTIME;
    if (which & VOLUME_MODE)
        request_groups(&r);
    err = volume_setattr(r.d->volume, ino, &r.who, which, &in, &out);
    request_attr(&r, err, &out);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[FS_SYMLINK_MAX + 1];
    struct request r;

    request_begin(&r, req);
    int err = volume_readlink(r.d->volume, ino, target);
    if (err < 0) {
        request_error(&r, err);
        return;
    }
    if (request_end(&r))
        (void)fuse_reply_readlink(req, target);
}

/* A synthetic name cannot be made, renamed onto or linked over. */
static bool taken(struct request *r, fuse_ino_t dir, const char *name)
{
    struct stat st;

    if (synth_lookup(r->d, dir, name, &st) < 0)
        return false;
    synth_forget(r->d, st.st_ino, 1);
    return true;
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
                 const char *target)
{
    struct volume_attr a;
    struct request r;
    int err = -EEXIST;

    request_begin(&r, req);
    if (mode & S_ISGID)
        request_groups(&r);
    if (taken(&r, parent, name))
        err = -EEXIST;
    else if (S_ISDIR(mode))
        err = volume_mkdir(r.d->volume, parent, name, &r.who, mode, &a);
    else
        err = volume_mknod(r.d->volume, parent, name, &r.who, mode, (uint32_t)rdev, target, &a);
    if (err == 0)
        spec_remember(r.d, parent, name, a.ino);
    request_entry(&r, err, &a);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make(req, parent, name, mode, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make(req, parent, name, S_IFLNK | 0777, 0, target);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct request r;
    int err = 0; /* of a synthetic file: it goes with its directory */

    request_begin(&r, req);
    if (!taken(&r, parent, name))
        err = volume_unlink(r.d->volume, parent, name, &r.who);
    request_error(&r, err);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct request r;

    request_begin(&r, req);
    request_error(&r, volume_rmdir(r.d->volume, parent, name, &r.who));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    struct request r;
    int err;

    request_begin(&r, req);
    if (taken(&r, parent, name) || taken(&r, new_parent, new_name)) {
        request_error(&r, -EPERM);
        return;
    }
    err = volume_rename(r.d->volume, parent, name, new_parent, new_name, flags, &r.who);
    if (err == 0) {
        request_groups(&r);
        spec_renamed(r.d, parent, name, new_parent, new_name, &r.who);
    }
    request_error(&r, err);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct volume_attr a;
    struct request r;
    int err = -EPERM;

    request_begin(&r, req);
    if (taken(&r, parent, name))
        err = -EEXIST;
    else if (!synth_is(ino))
        err = volume_link(r.d->volume, ino, parent, name, &r.who, &a);
    request_entry(&r, err, &a);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = {0};
    struct request r;
    int err;

    (void)ino;
    request_begin(&r, req);
    err = volume_statfs(r.d->volume, &st);
    if (err < 0) {
        request_error(&r, err);
        return;
    }
    if (request_end(&r))
        (void)fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops *daemon_ops(void)
{
    static struct fuse_lowlevel_ops ops = {
        .init = op_init,
        .lookup = op_lookup,
        .forget = op_forget,
        .forget_multi = op_forget_multi,
        .getattr = op_getattr,
        .setattr = op_setattr,
        .readlink = op_readlink,
        .mknod = op_mknod,
        .mkdir = op_mkdir,
        .symlink = op_symlink,
        .unlink = op_unlink,
        .rmdir = op_rmdir,
        .rename = op_rename,
        .link = op_link,
        .statfs = op_statfs,
    };

    ops_file_fill(&ops);
    return &ops;
}
