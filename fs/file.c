/* SPDX-License-Identifier: Apache-2.0 */
/* Open files: create, open, read, write, append, flush, close. */
#include "fs/volume_impl.h"

#include "cluster/base/clock.h"

#define READ_TRIES 4 /* then the reader keeps flushes away */

static bool bypasses(int flags)
{
    return flags & (O_SYNC | O_DSYNC | O_DIRECT);
}

static struct volume_file *file_create(struct vnode *vn, int flags)
{
    struct volume_file *f = g_new0(struct volume_file, 1);
    f->vn = vn;
    f->flags = flags;
    pthread_mutex_lock(&vn->v->lock);
    vn->opens++;
    pthread_mutex_unlock(&vn->v->lock);
    pthread_mutex_lock(&vn->lock);
    f->errors_seen = vn->errors;
    pthread_mutex_unlock(&vn->lock);
    return f;
}

int volume_create(struct volume *v, fs_ino dir, const char *name, const struct volume_caller *who,
                  uint32_t mode, int flags, struct volume_file **ret, struct volume_attr *ret_attr)
{
    struct inode n;
    struct vnode *vn;
    struct making what = {.mode = S_IFREG | (mode & 07777), .open = &vn};
    int rc = volume_need_session(v);
    if (rc == 0)
        rc = name_make(v, dir, name, who, &what, &n);
    if (rc)
        return rc;
    *ret = file_create(vn, flags);
    inode_to_attr(&n, ret_attr);
    return 0;
}

static bool is_open(struct vnode *vn)
{
    pthread_mutex_lock(&vn->v->lock);
    bool open = vn->opens > 0;
    pthread_mutex_unlock(&vn->v->lock);
    return open;
}

int volume_file_open(struct volume *v, fs_ino ino, int flags, const struct volume_caller *who,
                     struct volume_file **ret)
{
    int rc = volume_need_session(v);
    if (rc)
        return rc;
    /* In use here before the link count is read: a reclaimer that asks later hears of it. */
    struct vnode *vn CLEANUP(vnode_put) = vnode_get(v, ino);
    struct inode n;
    rc = vnode_refresh(vn, &n);
    if (rc)
        return rc;
    if (S_ISDIR(n.mode))
        return -EISDIR;
    if (n.nlink == 0 && !is_open(vn))
        return -ESTALE;
    if (S_ISLNK(n.mode))
        return -ELOOP;
    if ((flags & O_TRUNC) && S_ISREG(n.mode)) {
        struct volume_attr a = {0};
        rc = volume_setattr(v, ino, who, VOLUME_SIZE, &a, &a);
        if (rc)
            return rc;
    }
    *ret = file_create(TAKE(vn), flags);
    return 0;
}

void volume_file_close(struct volume_file *f)
{
    if (!f)
        return;
    struct vnode *vn = f->vn;
    (void)!vnode_flush(vn);
    pthread_mutex_lock(&vn->v->lock);
    vn->opens--;
    pthread_mutex_unlock(&vn->v->lock);
    vnode_put(vn);
    g_free(f);
}

fs_ino volume_file_ino(const struct volume_file *f)
{
    return f->vn->ino;
}

/* The error of a flush that this handle has not reported yet; 0 if none. */
static int report_error(struct volume_file *f)
{
    struct vnode *vn = f->vn;
    pthread_mutex_lock(&vn->lock);
    int rc = vn->lost ? -EIO : 0;
    if (f->errors_seen != vn->errors) {
        f->errors_seen = vn->errors;
        rc = rc ? rc : vn->error;
    }
    pthread_mutex_unlock(&vn->lock);
    return rc;
}

int volume_flush(struct volume_file *f)
{
    int rc = vnode_flush(f->vn);
    int seen = report_error(f);
    return seen ? seen : rc;
}

int volume_fsync(struct volume_file *f)
{
    return volume_flush(f);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct view { /* of a file, as one read begins */
    uint64_t drops;
    uint64_t size; /* with what is buffered */
    bool buffered; /* all of the range is in the newest buffer */
};

static void look(struct vnode *vn, void *p, size_t n, uint64_t off, struct view *ret)
{
    pthread_mutex_lock(&vn->lock);
    uint64_t buffered = MAX(buffer_end(&vn->dirty), buffer_end(&vn->flushing));
    ret->drops = vn->drops;
    ret->size = MAX(vn->known ? vn->last.size : 0, buffered);
    ret->buffered = !buffer_empty(&vn->dirty) && buffer_covers(&vn->dirty, off, n);
    if (ret->buffered)
        buffer_overlay(&vn->dirty, p, n, off);
    pthread_mutex_unlock(&vn->lock);
}

/* What is buffered over what was read; false if a flush ended in between. */
static bool overlay(struct vnode *vn, uint64_t drops, void *p, size_t n, uint64_t off)
{
    pthread_mutex_lock(&vn->lock);
    bool valid = vn->drops == drops;
    buffer_overlay(&vn->flushing, p, n, off);
    buffer_overlay(&vn->dirty, p, n, off);
    pthread_mutex_unlock(&vn->lock);
    return valid;
}

/* The size now, when a read goes beyond the one that was known: the file may have grown elsewhere.
 */
static uint64_t newest_size(struct vnode *vn, const struct view *view, const struct inode *fresh)
{
    vnode_learn(vn, fresh);
    pthread_mutex_lock(&vn->lock);
    uint64_t size = MAX(view->size, fresh->size);
    if (vn->drops == view->drops)
        size = MAX(vn->last.size, MAX(buffer_end(&vn->dirty), buffer_end(&vn->flushing)));
    pthread_mutex_unlock(&vn->lock);
    return size;
}

/* One try: a count, or -EAGAIN if a flush ended meanwhile. */
static int64_t read_once(struct vnode *vn, void *p, size_t n, uint64_t off)
{
    struct view view;
    struct inode fresh;
    look(vn, p, n, off, &view);
    if (view.buffered)
        return (int64_t)n;
    int rc = 0;
    size_t done = 0;
    if (off + n > view.size && off < FS_INODE_STRIPE) { /* size and data in one request */
        done = MIN(n, FS_INODE_STRIPE - off);
        rc = data_read_small(vn->v, vn->ino, p, done, off, &fresh);
    } else if (off + n > view.size) {
        rc = inode_get(vn->v, vn->ino, NULL, &fresh);
    }
    if (rc)
        return rc;
    if (off + n > view.size)
        view.size = newest_size(vn, &view, &fresh);
    if (off >= view.size)
        return 0;
    n = MIN(n, view.size - off);
    if (done < n)
        rc = data_read(vn->v, vn->ino, (uint8_t *)p + done, n - done, off + done);
    if (rc)
        return rc;
    return overlay(vn, view.drops, p, n, off) ? (int64_t)n : -EAGAIN;
}

int64_t volume_read(struct volume_file *f, void *p, size_t n, uint64_t off)
{
    struct vnode *vn = f->vn;
    /* Once the session has ended, what is open under it may be reclaimed. */
    (void)volume_session_ended(vn->v);
    pthread_mutex_lock(&vn->lock);
    bool lost = vn->lost;
    pthread_mutex_unlock(&vn->lock);
    if (lost)
        return -EIO;
    if (off >= FS_FILE_MAX || n == 0)
        return 0;
    n = MIN(n, FS_FILE_MAX - off);
    for (unsigned tries = 0; tries < READ_TRIES; tries++) {
        int64_t got = read_once(vn, p, n, off);
        if (got != -EAGAIN)
            return got;
    }
    int rc = vnode_claim(vn);
    if (rc)
        return rc;
    int64_t got = read_once(vn, p, n, off);
    vnode_release(vn);
    return got;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Room for n more bytes: at a limit the writer flushes, its own file first. */
static int make_room(struct vnode *vn, size_t n)
{
    struct volume *v = vn->v;
    pthread_mutex_lock(&vn->lock);
    bool full = vn->dirty.bytes > 0 && (vn->dirty.bytes + n > v->buffer_inode_max ||
                                        buffer_count(&vn->dirty) >= EXTENTS_MAX);
    pthread_mutex_unlock(&vn->lock);
    if (full) {
        int rc = vnode_flush(vn);
        if (rc)
            return rc;
    }
    while (__atomic_load_n(&v->dirty_bytes, __ATOMIC_RELAXED) + n > v->buffer_total_max) {
        pthread_mutex_lock(&v->lock);
        struct vnode *oldest CLEANUP(vnode_put) = g_queue_peek_head(&v->dirty);
        if (oldest)
            oldest->refs++;
        pthread_mutex_unlock(&v->lock);
        if (!oldest)
            return vnode_flush(vn); /* others are flushing what there is */
        pthread_mutex_lock(&oldest->lock);
        bool empty = buffer_empty(&oldest->dirty);
        pthread_mutex_unlock(&oldest->lock);
        /* Its error is its own handles' business. */
        if (vnode_flush(oldest) == -EINTR)
            return -EINTR;
        if (empty)
            break;
    }
    return 0;
}

static int buffer_up(struct vnode *vn, const void *p, size_t n, uint64_t off)
{
    struct volume *v = vn->v;
    pthread_mutex_lock(&vn->lock);
    if (vn->lost) {
        pthread_mutex_unlock(&vn->lock);
        return -EIO;
    }
    uint64_t before = vn->dirty.bytes;
    buffer_write(&vn->dirty, p, n, off);
    __atomic_add_fetch(&v->dirty_bytes, vn->dirty.bytes - before, __ATOMIC_RELAXED);
    vn->written_ns = clock_wall_ns();
    /* Half full: the flusher starts while the writer goes on. */
    bool urgent = vn->dirty.bytes >= v->buffer_inode_max / 2 && !vn->claimed;
    vnode_mark_dirty(vn, urgent);
    pthread_mutex_unlock(&vn->lock);
    return 0;
}

static int append_once(struct vnode *vn, struct inode *n, const struct buffer *b)
{
    struct volume *v = vn->v;
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes key = KEY(key_inode(n->ino));
    uint64_t end = buffer_end(b);
    txn_same_data(&t, n);
    for (unsigned i = 0; i < buffer_count(b); i++)
        data_put_extent(v, &t, n->ino, buffer_at(b, i));
    txn_set64(&t, key, INODE_BYTES, end);
    txn_max64(&t, key, INODE_HI, end);
    txn_add64(&t, key, INODE_DATA_VERSION, 1);
    txn_touch(&t, key);
    int rc = volume_run(v, &t);
    if (rc)
        return rc;
    n->size = end;
    n->hi = MAX(n->hi, end);
    n->data_version++;
    n->mtime = n->ctime = t.reply.time;
    vnode_learn(vn, n);
    return 0;
}

/* The caller has the flush slot, so appends of this mount go one after another. */
static int append_claimed(struct vnode *vn, const void *p, size_t n)
{
    int rc = vnode_flush_claimed(vn);
    for (unsigned tries = 0; rc == 0; tries++) {
        struct inode at;
        rc = tries == 0 ? vnode_known(vn, &at) : vnode_refresh(vn, &at);
        if (rc == 0 && at.size + n > FS_FILE_MAX)
            rc = -EFBIG;
        if (rc)
            break;
        struct buffer b CLEANUP(buffer_finish) = {0};
        buffer_write(&b, p, n, at.size);
        rc = append_once(vn, &at, &b);
        if (rc <= 0)
            break;
        rc = volume_backoff(tries);
    }
    return rc;
}

static int64_t append(struct vnode *vn, const void *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        size_t part = MIN(n - done, FS_APPEND_MAX);
        int rc = vnode_claim(vn);
        if (rc == 0) {
            rc = append_claimed(vn, (const uint8_t *)p + done, part);
            vnode_release(vn);
        }
        if (rc)
            return done ? (int64_t)done : rc;
        done += part;
    }
    return (int64_t)done;
}

int64_t volume_write(struct volume_file *f, const void *p, size_t n, uint64_t off,
                     const struct volume_caller *who)
{
    struct vnode *vn = f->vn;
    int rc = report_error(f);
    if (rc)
        return rc;
    if (n == 0)
        return 0;
    if (!who->capable) {
        rc = inode_drop_privilege(vn);
        if (rc)
            return rc;
    }
    if (f->flags & O_APPEND)
        return append(vn, p, n);
    if (off >= FS_FILE_MAX)
        return -EFBIG;
    n = MIN(n, FS_FILE_MAX - off);
    for (size_t done = 0; done < n;) { /* a caller without a kernel may write more than a buffer */
        size_t part = MIN(n - done, MAX(vn->v->buffer_inode_max / 4, FS_BLOCK));
        rc = make_room(vn, part);
        if (rc == 0)
            rc = buffer_up(vn, (const uint8_t *)p + done, part, off + done);
        if (rc)
            return done ? (int64_t)done : rc;
        done += part;
    }
    if (bypasses(f->flags)) {
        rc = volume_flush(f);
        if (rc)
            return rc;
    }
    return (int64_t)n;
}
