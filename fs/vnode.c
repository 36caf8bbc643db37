/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/volume_impl.h"

#include <time.h>

static struct vnode *vnode_create(struct volume *v, fs_ino ino)
{
    struct vnode *vn = g_new0(struct vnode, 1);
    vn->v = v;
    vn->ino = ino;
    vn->refs = 1;
    pthread_mutex_init(&vn->lock, NULL);
    pthread_cond_init(&vn->changed, NULL);
    return vn;
}

static void vnode_destroy(struct vnode *vn)
{
    ASSERT(buffer_empty(&vn->dirty) && buffer_empty(&vn->flushing));
    buffer_finish(&vn->dirty);
    vnode_free_locks(vn);
    pthread_cond_destroy(&vn->changed);
    pthread_mutex_destroy(&vn->lock);
    g_free(vn);
}

struct vnode *vnode_find(struct volume *v, fs_ino ino)
{
    pthread_mutex_lock(&v->lock);
    struct vnode *vn = g_hash_table_lookup(v->nodes, &ino);
    if (vn)
        vn->refs++;
    pthread_mutex_unlock(&v->lock);
    return vn;
}

struct vnode *vnode_get(struct volume *v, fs_ino ino)
{
    pthread_mutex_lock(&v->lock);
    struct vnode *vn = g_hash_table_lookup(v->nodes, &ino);
    if (vn) {
        vn->refs++;
    } else {
        vn = vnode_create(v, ino);
        g_hash_table_insert(v->nodes, &vn->ino, vn);
    }
    pthread_mutex_unlock(&v->lock);
    return vn;
}

void vnode_put(struct vnode *vn)
{
    if (!vn)
        return;
    struct volume *v = vn->v;
    pthread_mutex_lock(&v->lock);
    ASSERT(vn->refs > 0);
    bool last = --vn->refs == 0;
    if (last && g_hash_table_lookup(v->nodes, &vn->ino) == vn)
        g_hash_table_remove(v->nodes, &vn->ino);
    if (last && vn->unlinked)
        pthread_cond_signal(&v->keeper_wake);
    pthread_mutex_unlock(&v->lock);
    if (last)
        vnode_destroy(vn);
}

int vnode_claim(struct vnode *vn)
{
    int rc = 0;
    pthread_mutex_lock(&vn->lock);
    while (vn->claimed && rc == 0) {
        /* Woken by vnode_release; the bound is for looking at the cancel. */
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50 * 1000 * 1000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (pthread_cond_timedwait(&vn->changed, &vn->lock, &until) == ETIMEDOUT) {
            pthread_mutex_unlock(&vn->lock);
            rc = volume_backoff(0);
            pthread_mutex_lock(&vn->lock);
        }
    }
    if (rc == 0 && vn->lost)
        rc = -EIO;
    if (rc == 0)
        vn->claimed = true;
    pthread_mutex_unlock(&vn->lock);
    return rc;
}

void vnode_release(struct vnode *vn)
{
    pthread_mutex_lock(&vn->lock);
    vn->claimed = false;
    pthread_cond_signal(&vn->changed);
    pthread_mutex_unlock(&vn->lock);
}

void vnode_learn(struct vnode *vn, const struct inode *n)
{
    pthread_mutex_lock(&vn->lock);
    /* Answers may arrive in another order than they were made. */
    if (!vn->known || n->data_version > vn->last.data_version ||
        (n->data_version == vn->last.data_version && n->ctime >= vn->last.ctime)) {
        uint64_t hi = MAX(vn->known ? vn->last.hi : 0, n->hi);
        vn->last = *n;
        vn->last.hi = hi;
        vn->last.target = BYTES_NONE;
        vn->known = true;
    }
    pthread_mutex_unlock(&vn->lock);
}

int vnode_refresh(struct vnode *vn, struct inode *ret)
{
    int rc = inode_get(vn->v, vn->ino, NULL, ret);
    if (rc == 0)
        vnode_learn(vn, ret);
    return rc;
}

int vnode_known(struct vnode *vn, struct inode *ret)
{
    pthread_mutex_lock(&vn->lock);
    bool known = vn->known;
    if (known)
        *ret = vn->last;
    pthread_mutex_unlock(&vn->lock);
    return known ? 0 : vnode_refresh(vn, ret);
}

static void vnode_lose(struct vnode *vn)
{
    pthread_mutex_lock(&vn->lock);
    unsigned refs = vnode_forget_lockers(vn);
    vn->lost = true;
    __atomic_sub_fetch(&vn->v->dirty_bytes, vn->dirty.bytes, __ATOMIC_RELAXED);
    buffer_finish(&vn->dirty);
    pthread_mutex_unlock(&vn->lock);
    while (refs--)
        vnode_put(vn);
}

void vnode_lose_all(struct volume *v)
{
    GPtrArray *all = g_ptr_array_new();
    pthread_mutex_lock(&v->lock);
    GHashTableIter it;
    void *value;
    g_hash_table_iter_init(&it, v->nodes);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        ((struct vnode *)value)->refs++;
        g_ptr_array_add(all, value);
    }
    /* Later opens start afresh under the new session. */
    g_hash_table_remove_all(v->nodes);
    struct vnode *vn;
    while ((vn = g_queue_pop_head(&v->dirty))) {
        vn->queued = false;
        g_ptr_array_add(all, vn); /* with the queue's reference */
    }
    pthread_mutex_unlock(&v->lock);
    for (guint i = 0; i < all->len; i++) {
        vnode_lose(all->pdata[i]);
        vnode_put(all->pdata[i]);
    }
    g_ptr_array_free(all, TRUE);
}
