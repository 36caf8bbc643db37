/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the buffer to the cluster (DESIGN 4.3). Data within the inode's shard goes in the one
 * transaction that sets size and times, so a small file costs one request; so do a few
 * bytes anywhere. More blocks elsewhere are written before it, and `hi` is raised before them.
 *
 * The transaction compares the size, so that it is known which bytes it makes visible, and when it
 * raises the size the data version too (truncate.c says why). When it loses a race all is done
 * again with what is then known: blocks are written by extents and hold the same bytes again.
 */
#include "fs/volume_impl.h"

#include <time.h>
#include "cluster/base/clock.h"

#define ONE_TXN_BYTES   KIB(128)
#define ONE_TXN_STRIPES 4

static uint64_t hi_step(uint64_t end)
{
    return end <= FS_INODE_STRIPE ? end : (end + FS_STRIPE - 1) / FS_STRIPE * FS_STRIPE;
}

/* Steps the data version too: whoever knows size and version of the file knows its hi. 0; 1: it
 * changed under us. */
static int raise_hi(struct vnode *vn, struct inode *n, uint64_t end)
{
    if (end <= n->hi)
        return 0;
    struct txn t CLEANUP(txn_finish) = {0};
    uint64_t hi = hi_step(end);
    txn_same_data(&t, n);
    txn_max64(&t, KEY(key_inode(n->ino)), INODE_HI, hi);
    txn_add64(&t, KEY(key_inode(n->ino)), INODE_DATA_VERSION, 1);
    int rc = volume_run(vn->v, &t);
    if (rc == 0) {
        n->hi = hi;
        n->data_version++;
    }
    return rc;
}

static void compare_size(struct txn *t, const struct inode *n)
{
    uint8_t *p = arena_alloc(&t->arena, 8);
    put_le64(p, n->size);
    txn_bytes_at(t, KEY(key_inode(n->ino)), INODE_BYTES, bytes_of(p, 8));
}

/* Few bytes in few shards: blocks, size and times are one transaction wherever they lie, so that a
 * database's page in a large file costs one round. */
static bool fits_one(const struct buffer *b)
{
    uint64_t bytes = 0, last = UINT64_MAX;
    unsigned stripes = 0;
    for (unsigned i = 0; i < buffer_count(b); i++) {
        uint64_t stripe = buffer_at(b, i)->off / FS_STRIPE;
        stripes += stripe != last;
        last = stripe;
        bytes += buffer_at(b, i)->len;
    }
    return bytes <= ONE_TXN_BYTES && stripes <= ONE_TXN_STRIPES;
}

/* The last transaction of a flush, with the extents below `below`. On success *n is the state after
 * it. */
static int finish_flush(struct vnode *vn, struct inode *n, const struct buffer *b, uint64_t below)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes key = KEY(key_inode(n->ino));
    uint64_t end = buffer_end(b);
    bool raise = end > n->size;
    if (raise)
        txn_same_data(&t, n);
    else
        compare_size(&t, n);
    txn_get_part(&t, key, 0, INODE_SIZE);
    for (unsigned i = 0; i < buffer_count(b) && buffer_at(b, i)->off < below; i++)
        data_put_extent(vn->v, &t, n->ino, buffer_at(b, i));
    if (raise)
        txn_set64(&t, key, INODE_BYTES, end);
    if (end > n->hi)
        txn_max64(&t, key, INODE_HI, hi_step(end));
    txn_add64(&t, key, INODE_DATA_VERSION, 1);
    txn_touch(&t, key);
    int rc = volume_run(vn->v, &t);
    if (rc)
        return rc;
    if (t.reply.n_reads != 1)
        return -EIO;
    struct inode before;
    rc = inode_decode(n->ino, t.reply.reads[0].value, &before);
    if (rc)
        return rc;
    *n = before;
    n->target = BYTES_NONE;
    n->size = MAX(before.size, end);
    n->hi = end > before.hi ? hi_step(end) : before.hi;
    n->data_version = before.data_version + 1;
    n->mtime = n->ctime = t.reply.time;
    return 0;
}

static int flush_once(struct vnode *vn, struct inode *n, const struct buffer *b)
{
    uint64_t end = buffer_end(b);
    int rc = clean_tail(vn->v, n, end, b);
    if (rc == 0 && fits_one(b))
        return finish_flush(vn, n, b, UINT64_MAX);
    if (rc == 0 && end > FS_INODE_STRIPE) {
        rc = raise_hi(vn, n, end);
        if (rc == 0)
            rc = data_write(vn->v, n->ino, b);
    }
    return rc ? rc : finish_flush(vn, n, b, FS_INODE_STRIPE);
}

static int flush_buffer(struct vnode *vn, const struct buffer *b)
{
    struct inode n;
    int rc = vnode_known(vn, &n);
    for (unsigned tries = 0; rc == 0; tries++) {
        rc = flush_once(vn, &n, b);
        if (rc <= 0)
            break;
        rc = volume_backoff(tries);
        if (rc == 0)
            rc = vnode_refresh(vn, &n);
    }
    if (rc == 0)
        vnode_learn(vn, &n);
    return rc;
}

/* Moves what is dirty to `flushing`; false if there is nothing. */
static bool take_dirty(struct vnode *vn)
{
    pthread_mutex_lock(&vn->lock);
    ASSERT(buffer_empty(&vn->flushing));
    vn->flushing = vn->dirty;
    vn->dirty = (struct buffer){0};
    bool some = !buffer_empty(&vn->flushing);
    pthread_mutex_unlock(&vn->lock);
    return some;
}

static void drop_flushed(struct vnode *vn, int rc)
{
    pthread_mutex_lock(&vn->lock);
    __atomic_sub_fetch(&vn->v->dirty_bytes, vn->flushing.bytes, __ATOMIC_RELAXED);
    buffer_finish(&vn->flushing);
    vn->drops++;
    if (rc) {
        vn->error = rc;
        vn->errors++;
    }
    pthread_mutex_unlock(&vn->lock);
}

int vnode_flush_claimed(struct vnode *vn)
{
    /* Read before the data is taken: a loss of the session drops what is dirty before a new one is
     * known. So what is taken was written under this session or a later one, and is sent under no
     * later one than this (DESIGN 4.3: never replayed under a new session). */
    uint64_t session = volume_session(vn->v);
    if (!take_dirty(vn))
        return 0;
    /* A flush that was begun ends, however long it takes: a block write that were left behind could
     * land on top of a later one. */
    struct client_cancel *x = volume_cancel();
    volume_thread_cancel(NULL);
    volume_thread_session(session);
    int rc = flush_buffer(vn, &vn->flushing);
    volume_thread_session(0);
    volume_thread_cancel(x);
    drop_flushed(vn, rc);
    return rc;
}

int vnode_flush(struct vnode *vn)
{
    pthread_mutex_lock(&vn->lock);
    bool clean = !vn->claimed && buffer_empty(&vn->dirty) && !vn->lost;
    pthread_mutex_unlock(&vn->lock);
    if (clean)
        return 0;
    int rc = vnode_claim(vn);
    if (rc)
        return rc;
    rc = vnode_flush_claimed(vn);
    vnode_release(vn);
    return rc;
}

int inode_flush(struct volume *v, fs_ino ino)
{
    struct vnode *vn CLEANUP(vnode_put) = vnode_find(v, ino);
    return vn ? vnode_flush(vn) : 0;
}

/* --- the flusher ------------------------------------------------------------------------------ */

void vnode_mark_dirty(struct vnode *vn, bool urgent)
{
    struct volume *v = vn->v;
    pthread_mutex_lock(&v->lock);
    if (!vn->queued) {
        vn->queued = true;
        vn->refs++;
        vn->dirty_since = clock_mono_ns();
        g_queue_push_tail(&v->dirty, vn);
        if (v->dirty.length == 1)
            pthread_cond_signal(&v->flusher_wake);
    }
    if (urgent && vn->dirty_since) {
        vn->dirty_since = 0; /* due at once */
        g_queue_remove(&v->dirty, vn);
        g_queue_push_head(&v->dirty, vn);
        pthread_cond_signal(&v->flusher_wake);
    }
    pthread_mutex_unlock(&v->lock);
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

/* Waits for the first vnode that is due; NULL: stop. The queue's reference goes to the caller. */
static struct vnode *next_due(struct volume *v)
{
    struct vnode *vn = NULL;
    pthread_mutex_lock(&v->lock);
    while (!vn && !v->stopping) {
        struct vnode *first = g_queue_peek_head(&v->dirty);
        if (!first) {
            pthread_cond_wait(&v->flusher_wake, &v->lock);
            continue;
        }
        uint64_t due = first->dirty_since ? first->dirty_since + DIRTY_NS : 0;
        if (due <= clock_mono_ns()) {
            vn = g_queue_pop_head(&v->dirty);
            vn->queued = false;
        } else {
            struct timespec until = timespec_of(due);
            pthread_cond_timedwait(&v->flusher_wake, &v->lock, &until);
        }
    }
    pthread_mutex_unlock(&v->lock);
    return vn;
}

void *flusher_main(void *arg)
{
    struct volume *v = arg;
    struct vnode *vn;
    while ((vn = next_due(v))) {
        (void)!vnode_flush(vn); /* the error waits in the vnode for its handles */
        vnode_put(vn);
    }
    return NULL;
}
