/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops_file.c - open files and directories, locks, extended attributes.
 *
 * A handle is a file of the volume or an open synthetic file. A handle on a spec (a *.job in /jobs)
 * also remembers who wrote through it: the job will run as that caller.
 *
 * Handles are counted: an operation that was answered early (request.c) may still be at work on one
 * when its RELEASE comes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include "cluster/base/log.h"
#include "fs/fuse/daemon.h"

struct handle {
    unsigned refs; /* __atomic */
    struct volume_file *file;
    const struct synth_ops *synth_ops;
    struct synth_file *synth;
    bool is_spec, wrote; /* wrote: since the last release */
    bool let_go; /* a flush was interrupted; its worker goes on: closing need not wait for it */
    struct spec_name spec;
    struct volume_caller writer;
    gid_t groups[64];
    pthread_mutex_t lock; /* wrote, writer */
};

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

/* For the length of one operation. */
static struct handle *handle_ref(const struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);

    (void)__atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
    return h;
}
static void handle_unref(struct handle *h);
DEFINE_CLEANUP(struct handle *, handle_unref)

static struct handle *handle_create(struct daemon *d, fuse_ino_t ino)
{
    struct handle *h = g_new0(struct handle, 1);

    h->refs = 1;
    pthread_mutex_init(&h->lock, NULL);
    h->is_spec = spec_find(d, ino, &h->spec);
    return h;
}

static void handle_unref(struct handle *h)
{
    if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (h->synth)
        h->synth_ops->release(h->synth);
    if (h->file)
        volume_file_close(h->file);
    pthread_mutex_destroy(&h->lock);
    g_free(h);
}

static void remember_writer(struct handle *h, struct request *r)
{
    request_groups(r);
    pthread_mutex_lock(&h->lock);
    h->wrote = true;
    h->writer = r->who;
    memcpy(h->groups, r->groups, sizeof(h->groups));
    h->writer.groups = h->groups;
    pthread_mutex_unlock(&h->lock);
}

/* --- files --- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct request r;
    struct handle *h;
    int err = 0;

    request_begin(&r, req);
    h = handle_create(r.d, ino);
    if (synth_is(ino)) {
        request_waits(&r);
        err = synth_open(r.d, ino, fi->flags, &r.who, &h->synth_ops, &h->synth);
        fi->direct_io = 1; /* the size is the snapshot's, not the kernel's */
        fi->nonseekable = 0;
    } else {
        if (h->is_spec && (fi->flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY)
            err =
                h->spec.overlay->ops->opening(h->spec.overlay->ctx, h->spec.dir, h->spec.name, ino);
        if (err == 0)
            err = volume_file_open(r.d->volume, ino, fi->flags, &r.who, &h->file);
        fi->direct_io = (fi->flags & O_DIRECT) != 0;
    }
    if (err < 0) {
        handle_unref(h);
        request_error(&r, err);
        return;
    }
    fi->fh = (uintptr_t)h;
    if (!request_end(&r) || fuse_reply_open(req, fi) == -ENOENT)
        handle_unref(h); /* the caller was killed: no RELEASE will come */
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct fuse_entry_param e = {0};
    struct volume_file *file;
    struct volume_attr a;
    struct request r;
    int err;

    request_begin(&r, req);
    if (mode & S_ISGID)
        request_groups(&r);
    err = synth_lookup(r.d, parent, name, &e.attr) == 0 ? -EEXIST : 0;
    if (err < 0)
        synth_forget(r.d, e.attr.st_ino, 1);
    else
        err = volume_create(r.d->volume, parent, name, &r.who, mode, fi->flags, &file, &a);
    /* It appeared since the kernel's LOOKUP: let the kernel look again and check (DESIGN 4.1). */
    if (err == -EEXIST && !(fi->flags & O_EXCL))
        err = -ESTALE;
    if (err < 0) {
        request_error(&r, err);
        return;
    }
    spec_remember(r.d, parent, name, a.ino);
    struct handle *h = handle_create(r.d, a.ino);
    h->file = file;
    fi->fh = (uintptr_t)h;
    fi->direct_io = (fi->flags & O_DIRECT) != 0;
    e.ino = a.ino;
    attr_to_stat(&a, &e.attr);
    if (!request_end(&r) || fuse_reply_create(req, &e, fi) == -ENOENT)
        handle_unref(h);
}

/* One I/O buffer per worker thread; freed with the thread. */
static void *io_buffer(void)
{
    static pthread_key_t key;
    static bool made;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    if (!made)
        made = pthread_key_create(&key, g_free) == 0;
    pthread_mutex_unlock(&lock);
    ASSERT(made);
    void *p = pthread_getspecific(key);
    if (!p) {
        p = g_malloc(MAX_IO);
        (void)pthread_setspecific(key, p);
    }
    return p;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    struct handle *h CLEANUP(handle_unref) = handle_ref(fi);
    struct request r;
    int64_t n;

    (void)ino;
    request_begin(&r, req);
    void *p = io_buffer();
    size = MIN(size, MAX_IO);
    if (h->synth) {
        request_waits(&r); /* `wait` blocks until the job ends */
        n = h->synth_ops->read(h->synth, p, size, (uint64_t)off);
    } else {
        n = volume_read(h->file, p, size, (uint64_t)off);
    }
    if (n < 0) {
        request_error(&r, (int)n);
        return;
    }
    if (request_end(&r))
        (void)fuse_reply_buf(req, p, (size_t)n);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    struct handle *h CLEANUP(handle_unref) = handle_ref(fi);
    struct request r;
    int64_t n;

    (void)ino;
    request_begin(&r, req);
    if (h->synth) {
        n = h->synth_ops->write(h->synth, p, size, (uint64_t)off, &r.who);
    } else {
        if (h->is_spec && !fi->writepage)
            remember_writer(h, &r);
        n = volume_write(h->file, p, size, (uint64_t)off, &r.who);
    }
    if (n < 0) {
        request_error(&r, (int)n);
        return;
    }
    if (request_end(&r))
        (void)fuse_reply_write(req, (size_t)n);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct handle *h CLEANUP(handle_unref) = handle_ref(fi);
    struct volume_lock unlock = {
        .owner = fi->lock_owner, .start = 0, .end = UINT64_MAX, .type = F_UNLCK};
    struct request r;
    int err = 0, lock_err = 0;
    bool wrote;

    request_begin(&r, req);
    if (__atomic_load_n(&h->let_go, __ATOMIC_RELAXED)) { /* an earlier flush still goes on */
        request_error(&r, -EINTR);
        return;
    }
    request_flushes(&r, &h->let_go);
    if (h->file) {
        err = volume_flush(h->file);
        pthread_mutex_lock(&h->lock);
        wrote = h->wrote;
        pthread_mutex_unlock(&h->lock);
        if (err == 0 && h->is_spec && wrote)
            err = h->spec.overlay->ops->check(h->spec.overlay->ctx, h->spec.dir, h->spec.name, ino,
                                              &h->writer);
        lock_err = volume_setlk(r.d->volume, ino, &unlock, false); /* POSIX: any close drops them */
    }
    request_error(&r, err < 0 ? err : lock_err);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);
    struct request r;

    request_begin(&r, req);
    if (fi->flock_release) {
        struct volume_lock unlock = {
            .flock = true, .owner = fi->lock_owner, .end = UINT64_MAX, .type = F_UNLCK};
        if (volume_setlk(r.d->volume, ino, &unlock, false) < 0) /* it goes with the session */
            log_limited(LOG_WARN, "unlock at release", "ino=%llu", (unsigned long long)ino);
    }
    if (h->file && h->is_spec && h->wrote && volume_flush(h->file) == 0)
        h->spec.overlay->ops->settled(h->spec.overlay->ctx, h->spec.dir, h->spec.name, ino,
                                      &h->writer);
    handle_unref(h);
    request_error(&r, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct handle *h CLEANUP(handle_unref) = handle_ref(fi);
    struct request r;

    (void)ino, (void)datasync;
    request_begin(&r, req);
    r.let_go = &h->let_go;
    request_error(&r, h->file ? volume_fsync(h->file) : 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    struct handle *h CLEANUP(handle_unref) = handle_ref(fi);
    struct request r;

    (void)ino;
    request_begin(&r, req);
    request_error(&r, h->file ? volume_fallocate(h->file, mode, (uint64_t)off, (uint64_t)len)
                              : -EOPNOTSUPP);
}

/* --- directories --- */

/* The reply of one READDIR. Entries that share a cookie (a hash) must not be split between replies:
 * `group` is where the last complete group ends. */
struct dir_reply {
    struct request *r;
    fuse_ino_t ino;
    char *p;
    size_t used, size, group;
    uint64_t cookie;
};

static bool dir_add(struct dir_reply *d, const char *name, fs_ino ino, uint32_t type,
                    uint64_t cookie)
{
    struct stat st = {.st_ino = ino, .st_mode = type & S_IFMT};

    if (cookie != d->cookie)
        d->group = d->used;
    d->cookie = cookie;
    size_t n =
        fuse_add_direntry(d->r->req, d->p + d->used, d->size - d->used, name, &st, (off_t)cookie);
    if (n > d->size - d->used) {
        if (d->group > 0)
            d->used = d->group;
        return false;
    }
    d->used += n;
    return true;
}

static bool dir_entry(void *arg, const char *name, fs_ino ino, uint32_t type, uint64_t cookie,
                      const struct volume_attr *attr)
{
    (void)attr;
    return dir_add(arg, name, ino, type, cookie);
}

/* ".", ".." and synthetic names have the cookies 1, 2, 3 ...; false when the reply is full. */
static bool dir_fixed(struct dir_reply *d, uint64_t after, GPtrArray *names)
{
    if (after < 1 && !dir_add(d, ".", d->ino, S_IFDIR, 1))
        return false;
    if (after < 2 && !dir_add(d, "..", d->ino, S_IFDIR, 2))
        return false;
    for (guint i = 0; i < names->len && i + 3 < COOKIE_FIRST; i++)
        if (after < i + 3 && !dir_add(d, names->pdata[i], FS_ROOT, S_IFREG, i + 3))
            return false;
    return true;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->fh = 0;
    (void)fuse_reply_open(req, fi);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    struct request r;
    int err = 0;

    (void)fi;
    request_begin(&r, req);
    struct dir_reply d = {.r = &r, .ino = ino, .p = io_buffer(), .size = MIN(size, MAX_IO)};
    uint64_t after = (uint64_t)off;
    bool room = true;
    if (after < COOKIE_FIRST) {
        err = synth_list(r.d, ino, names);
        room = err == 0 && dir_fixed(&d, after, names);
    }
    if (err == 0 && room)
        err = volume_readdir(r.d->volume, ino, after < COOKIE_FIRST ? 0 : after, false, dir_entry,
                             &d);
    g_ptr_array_unref(names);
    if (err < 0) {
        request_error(&r, err);
        return;
    }
    if (request_end(&r))
        (void)fuse_reply_buf(req, d.p, d.used);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    (void)fuse_reply_err(req, 0);
}

/* Every acknowledged change of a directory is durable already (DESIGN 4.3). */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino, (void)datasync, (void)fi;
    (void)fuse_reply_err(req, 0);
}

/* --- locks --- */

static struct volume_lock lock_of(const struct fuse_file_info *fi, const struct flock *f)
{
    return (struct volume_lock){.owner = fi->lock_owner,
                                .start = (uint64_t)f->l_start,
                                .end = f->l_len == 0 ? UINT64_MAX
                                                     : (uint64_t)(f->l_start + f->l_len - 1),
                                .type = f->l_type,
                                .pid = (uint32_t)f->l_pid};
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *f)
{
    struct volume_lock lock = lock_of(fi, f);
    struct request r;

    request_begin(&r, req);
    int err = volume_getlk(r.d->volume, ino, &lock);
    if (err < 0) {
        request_error(&r, err);
        return;
    }
    f->l_type = (short)lock.type;
    f->l_whence = SEEK_SET;
    f->l_start = (off_t)lock.start;
    f->l_len = lock.end == UINT64_MAX ? 0 : (off_t)(lock.end - lock.start + 1);
    f->l_pid = (pid_t)lock.pid;
    if (request_end(&r))
        (void)fuse_reply_lock(req, f);
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *f,
                     int sleep)
{
    struct volume_lock lock = lock_of(fi, f);
    struct request r;

    request_begin(&r, req);
    if (sleep)
        request_waits(&r);
    request_error(&r, volume_setlk(r.d->volume, ino, &lock, sleep != 0));
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
    struct volume_lock lock = {.flock = true, .owner = fi->lock_owner, .end = UINT64_MAX};
    struct request r;

    request_begin(&r, req);
    lock.pid = r.who.pid;
    lock.type = (op & LOCK_EX) ? F_WRLCK : (op & LOCK_SH) ? F_RDLCK : F_UNLCK;
    if (!(op & LOCK_NB))
        request_waits(&r);
    request_error(&r, volume_setlk(r.d->volume, ino, &lock, !(op & LOCK_NB)));
}

/* --- extended attributes --- */

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    struct request r;

    request_begin(&r, req);
    request_error(&r, synth_is(ino)
                          ? -EOPNOTSUPP
                          : volume_setxattr(r.d->volume, ino, name, value, size, flags, &r.who));
}

static void reply_xattr(struct request *r, int64_t n, const void *p, size_t size)
{
    if (n < 0) {
        request_error(r, (int)n);
        return;
    }
    if (!request_end(r))
        return;
    if (size == 0)
        (void)fuse_reply_xattr(r->req, (size_t)n);
    else
        (void)fuse_reply_buf(r->req, p, (size_t)n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct request r;
    int64_t n;

    request_begin(&r, req);
    size = MIN(size, MAX_IO);
    void *p = size ? io_buffer() : NULL;
    n = synth_is(ino) ? -ENODATA : volume_getxattr(r.d->volume, ino, name, p, size);
    reply_xattr(&r, n, p, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct request r;
    int64_t n;

    request_begin(&r, req);
    size = MIN(size, MAX_IO);
    void *p = size ? io_buffer() : NULL;
    n = synth_is(ino) ? 0 : volume_listxattr(r.d->volume, ino, p, size);
    reply_xattr(&r, n, p, size);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct request r;

    request_begin(&r, req);
    request_error(&r,
                  synth_is(ino) ? -ENODATA : volume_removexattr(r.d->volume, ino, name, &r.who));
}

void ops_file_fill(struct fuse_lowlevel_ops *ops)
{
    ops->open = op_open;
    ops->create = op_create;
    ops->read = op_read;
    ops->write = op_write;
    ops->flush = op_flush;
    ops->release = op_release;
    ops->fsync = op_fsync;
    ops->fallocate = op_fallocate;
    ops->opendir = op_opendir;
    ops->readdir = op_readdir;
    ops->releasedir = op_releasedir;
    ops->fsyncdir = op_fsyncdir;
    ops->getlk = op_getlk;
    ops->setlk = op_setlk;
    ops->flock = op_flock;
    ops->setxattr = op_setxattr;
    ops->getxattr = op_getxattr;
    ops->listxattr = op_listxattr;
    ops->removexattr = op_removexattr;
}
