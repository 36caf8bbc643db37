/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/volume_impl.h"

static bool ino_possible(struct volume *v, fs_ino ino)
{
    return ino != 0 && ino >> 63 == 0 && ino_shard(ino) < v->shards;
}

int inode_get(struct volume *v, fs_ino ino, struct txn *t, struct inode *ret)
{
    if (!ino_possible(v, ino))
        return -ESTALE;
    struct txn own CLEANUP(txn_finish) = {0};
    struct txn *use = t ? t : &own;
    txn_reset(use);
    if (t)
        txn_get(use, KEY(key_inode(ino)));
    else
        txn_get_part(use, KEY(key_inode(ino)), 0, INODE_SIZE);
    int rc = volume_run(v, use);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (use->reply.n_reads != 1)
        return -EIO;
    const struct kv_result *r = &use->reply.reads[0];
    if (r->version == 0) {
        hint_drop_dir(&v->hints, ino);
        return -ESTALE;
    }
    struct inode n;
    rc = inode_decode(ino, r->value, &n);
    if (rc)
        return rc;
    if (!t)
        n.target = BYTES_NONE;
    if (S_ISDIR(n.mode))
        hint_set_dir(&v->hints, &n);
    *ret = n;
    return 0;
}

int inode_get_dir(struct volume *v, fs_ino ino, bool hinted, struct inode *ret)
{
    if (hinted && hint_dir(&v->hints, ino, ret))
        return 0;
    struct inode n;
    int rc = inode_get(v, ino, NULL, &n);
    if (rc)
        return rc == -ESTALE ? -ENOENT : rc;
    if (!S_ISDIR(n.mode))
        return -ENOTDIR;
    *ret = n;
    return 0;
}

unsigned txn_head(struct txn *t, const struct inode *n)
{
    uint8_t *head = arena_alloc(&t->arena, INODE_HEAD);
    inode_head(n, head);
    return txn_bytes_at(t, KEY(key_inode(n->ino)), 0, bytes_of(head, INODE_HEAD));
}

void txn_touch(struct txn *t, struct bytes key)
{
    txn_time64(t, key, INODE_MTIME);
    txn_time64(t, key, INODE_CTIME);
}

static void txn_set32(struct txn *t, struct bytes key, uint64_t off, uint32_t value)
{
    uint8_t *p = arena_alloc(&t->arena, 4);
    put_le32(p, value);
    txn_write(t, key, off, bytes_of(p, 4));
}

void txn_set64(struct txn *t, struct bytes key, uint64_t off, uint64_t value)
{
    uint8_t *p = arena_alloc(&t->arena, 8);
    put_le64(p, value);
    txn_write(t, key, off, bytes_of(p, 8));
}

bool sticky_forbids(const struct inode *dir, const struct inode *victim,
                    const struct volume_caller *who)
{
    return (dir->mode & S_ISVTX) && !who->capable && who->uid != dir->uid &&
           who->uid != victim->uid;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Lays what is buffered here over an inode; false if a flush ended since drops was read. */
static bool overlay_attr(struct vnode *vn, uint64_t drops, struct inode *n)
{
    pthread_mutex_lock(&vn->lock);
    bool valid = vn->drops == drops;
    if (!buffer_empty(&vn->dirty) || !buffer_empty(&vn->flushing)) {
        n->size = MAX(n->size, MAX(buffer_end(&vn->dirty), buffer_end(&vn->flushing)));
        n->mtime = (uint64_t)MAX((int64_t)n->mtime, (int64_t)vn->written_ns);
        n->ctime = (uint64_t)MAX((int64_t)n->ctime, (int64_t)vn->written_ns);
    }
    pthread_mutex_unlock(&vn->lock);
    return valid;
}

int volume_getattr(struct volume *v, fs_ino ino, struct volume_attr *ret)
{
    struct vnode *vn CLEANUP(vnode_put) = vnode_find(v, ino);
    struct inode n;
    for (unsigned tries = 0;; tries++) {
        uint64_t drops = 0;
        if (vn) {
            pthread_mutex_lock(&vn->lock);
            drops = vn->drops;
            pthread_mutex_unlock(&vn->lock);
        }
        int rc = vn ? vnode_refresh(vn, &n) : inode_get(v, ino, NULL, &n);
        if (rc)
            return rc;
        if (!vn || overlay_attr(vn, drops, &n))
            break;
        rc = volume_backoff(tries);
        if (rc)
            return rc;
    }
    inode_to_attr(&n, ret);
    return 0;
}

int volume_readlink(struct volume *v, fs_ino ino, char *buf)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct inode n;
    int rc = inode_get(v, ino, &t, &n);
    if (rc)
        return rc;
    if (!S_ISLNK(n.mode))
        return -EINVAL;
    if (n.target.n > FS_SYMLINK_MAX)
        return -EIO;
    memcpy(buf, n.target.p, n.target.n);
    buf[n.target.n] = '\0';
    return 0;
}

/* --- setattr ---------------------------------------------------------------------------------- */

static bool in_group(const struct volume_caller *who, uint32_t gid)
{
    if (who->gid == gid)
        return true;
    for (unsigned i = 0; i < who->n_groups; i++) {
        if (who->groups && who->groups[i] == gid)
            return true;
    }
    return false;
}

static uint32_t without_privilege(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

/* Mode, uid and gid as they shall become. */
static void plan_head(struct inode *n, const struct volume_caller *who, unsigned which,
                      const struct volume_attr *a)
{
    bool chown = which & (VOLUME_UID | VOLUME_GID);
    if (!S_ISDIR(n->mode) && (chown || ((which & VOLUME_SIZE) && !who->capable)))
        n->mode = without_privilege(n->mode);
    if (which & VOLUME_UID)
        n->uid = a->uid;
    if (which & VOLUME_GID)
        n->gid = a->gid;
    if (which & VOLUME_MODE) {
        n->mode = (n->mode & S_IFMT) | (a->mode & 07777);
        if (!who->capable && !S_ISDIR(n->mode) && !in_group(who, n->gid))
            n->mode &= ~(uint32_t)S_ISGID;
    }
}

static void write_time(struct txn *t, struct bytes key, uint64_t off, unsigned which, unsigned set,
                       unsigned now, uint64_t ns)
{
    if (which & now)
        txn_time64(t, key, off);
    else if (which & set)
        txn_set64(t, key, off, ns);
}

static void write_attr(struct txn *t, const struct inode *old, const struct inode *n,
                       unsigned which, const struct volume_attr *a)
{
    struct bytes key = KEY(key_inode(n->ino));
    if (n->mode != old->mode)
        txn_set32(t, key, INODE_MODE, n->mode & 07777);
    if (n->uid != old->uid)
        txn_set32(t, key, INODE_UID, n->uid);
    if (n->gid != old->gid)
        txn_set32(t, key, INODE_GID, n->gid);
    write_time(t, key, INODE_ATIME, which, VOLUME_ATIME, VOLUME_ATIME_NOW, a->atime_ns);
    if (which & VOLUME_SIZE)
        txn_time64(t, key, INODE_MTIME);
    write_time(t, key, INODE_MTIME, which, VOLUME_MTIME, VOLUME_MTIME_NOW, a->mtime_ns);
    if (which & VOLUME_CTIME)
        txn_set64(t, key, INODE_CTIME, a->ctime_ns);
    else
        txn_time64(t, key, INODE_CTIME);
}

/* The new size and what goes with it in one shard. Blocks beyond it elsewhere are cleaned later. */
static void write_size(struct volume *v, struct txn *t, const struct inode *old, uint64_t size)
{
    struct bytes key = KEY(key_inode(old->ino));
    txn_same_data(t, old);
    txn_set64(t, key, INODE_BYTES, size);
    txn_add64(t, key, INODE_DATA_VERSION, 1);
    if (size >= old->size || size >= FS_INODE_STRIPE)
        return;
    uint64_t block = size / FS_BLOCK, whole = (size + FS_BLOCK - 1) / FS_BLOCK;
    unsigned shard = ino_shard(old->ino);
    if (size % FS_BLOCK && size < old->hi) {
        struct bytes data = KEY(key_block(shard, old->ino, (uint32_t)block));
        txn_truncate(t, data, size % FS_BLOCK);
    }
    for (uint64_t b = whole; b < BLOCKS_WITH_INODE && b * FS_BLOCK < old->hi; b++)
        txn_delete(t, KEY(key_block(shard, old->ino, (uint32_t)b)));
}

/* What the transaction made of the inode: its state before, which the reply has, and our changes.
 */
static int take_result(const struct txn *t, const struct inode *planned, unsigned which,
                       const struct volume_attr *a, struct inode *n)
{
    struct inode now;
    int rc = t->reply.n_reads == 1 ? inode_decode(n->ino, t->reply.reads[0].value, &now) : -EIO;
    if (rc)
        return rc;
    now.mode = planned->mode;
    now.uid = planned->uid;
    now.gid = planned->gid;
    now.target = BYTES_NONE;
    if (which & VOLUME_SIZE) {
        now.size = a->size;
        now.data_version++;
        now.mtime = t->reply.time;
    }
    if (which & (VOLUME_MTIME | VOLUME_MTIME_NOW))
        now.mtime = which & VOLUME_MTIME_NOW ? t->reply.time : a->mtime_ns;
    if (which & (VOLUME_ATIME | VOLUME_ATIME_NOW))
        now.atime = which & VOLUME_ATIME_NOW ? t->reply.time : a->atime_ns;
    now.ctime = which & VOLUME_CTIME ? a->ctime_ns : t->reply.time;
    *n = now;
    return 0;
}

/* One try: 0, 1: lost a race. *n becomes the state after it. */
static int setattr_once(struct volume *v, struct inode *n, const struct volume_caller *who,
                        unsigned which, const struct volume_attr *a)
{
    struct inode old = *n, planned = *n;
    plan_head(&planned, who, which, a);
    if ((which & VOLUME_SIZE) && a->size > old.size) {
        int rc = clean_tail(v, &old, a->size, NULL);
        if (rc)
            return rc;
    }
    struct txn t CLEANUP(txn_finish) = {0};
    txn_head(&t, &old);
    if (which & VOLUME_SIZE)
        write_size(v, &t, &old, a->size);
    write_attr(&t, &old, &planned, which, a);
    txn_get_part(&t, KEY(key_inode(n->ino)), 0, INODE_SIZE);
    int rc = volume_run(v, &t);
    return rc ? rc : take_result(&t, &planned, which, a, n);
}

/* The caller has the flush slot of a regular file. */
static int setattr_claimed(struct vnode *vn, const struct volume_caller *who, unsigned which,
                           const struct volume_attr *a, struct inode *ret)
{
    int rc = vnode_flush_claimed(vn);
    if (rc)
        return rc;
    uint64_t old_size;
    struct inode n;
    for (unsigned tries = 0;; tries++) {
        /* Open here, its state is known: the transaction compares what it takes from that. */
        rc = tries == 0 ? vnode_known(vn, &n) : vnode_refresh(vn, &n);
        if (rc)
            return rc;
        if ((which & VOLUME_SIZE) && !S_ISREG(n.mode))
            return S_ISDIR(n.mode) ? -EISDIR : -EINVAL;
        old_size = n.size;
        rc = setattr_once(vn->v, &n, who, which, a);
        if (rc <= 0)
            break;
        rc = volume_backoff(tries);
        if (rc)
            return rc;
    }
    if (rc)
        return rc;
    vnode_learn(vn, &n);
    if (S_ISDIR(n.mode))
        hint_set_dir(&vn->v->hints, &n);
    *ret = n;
    /* What lies beyond the new end is freed now; whoever grows the file before that (or after a
     * crash here) cleans it first, so a failure is not an error. */
    if ((which & VOLUME_SIZE) && n.size < old_size && n.hi > FS_INODE_STRIPE) {
        struct inode tail = n;
        (void)!clean_tail(vn->v, &tail, tail.hi, NULL);
        vnode_learn(vn, &tail);
    }
    return 0;
}

int volume_setattr(struct volume *v, fs_ino ino, const struct volume_caller *who, unsigned which,
                   const struct volume_attr *a, struct volume_attr *ret)
{
    if (which == 0)
        return volume_getattr(v, ino, ret);
    if ((which & VOLUME_SIZE) && a->size > FS_FILE_MAX)
        return -EFBIG;
    struct vnode *vn CLEANUP(vnode_put) = vnode_get(v, ino);
    int rc = vnode_claim(vn);
    if (rc)
        return rc;
    struct inode n;
    rc = setattr_claimed(vn, who, which, a, &n);
    if (rc == 0) {
        /* Written since the flush, by others in this mount. */
        pthread_mutex_lock(&vn->lock);
        n.size = MAX(n.size, buffer_end(&vn->dirty));
        pthread_mutex_unlock(&vn->lock);
    }
    vnode_release(vn);
    if (rc == 0)
        inode_to_attr(&n, ret);
    return rc;
}

int inode_drop_privilege(struct vnode *vn)
{
    for (unsigned tries = 0;; tries++) {
        struct inode n;
        int rc = tries == 0 ? vnode_known(vn, &n) : vnode_refresh(vn, &n);
        if (rc)
            return rc;
        uint32_t mode = without_privilege(n.mode);
        if (mode == n.mode)
            return 0;
        struct txn t CLEANUP(txn_finish) = {0};
        txn_head(&t, &n);
        txn_set32(&t, KEY(key_inode(n.ino)), INODE_MODE, mode & 07777);
        txn_time64(&t, KEY(key_inode(n.ino)), INODE_CTIME);
        rc = volume_run(vn->v, &t);
        if (rc == 0) {
            n.mode = mode;
            n.ctime = t.reply.time;
            vnode_learn(vn, &n);
            return 0;
        }
        if (rc < 0 || (rc = volume_backoff(tries)))
            return rc;
    }
}
