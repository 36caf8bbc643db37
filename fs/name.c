/* SPDX-License-Identifier: Apache-2.0 */
/* Lookup, and everything that makes a name: mknod, create, mkdir, symlink, link. */
#include "fs/volume_impl.h"

#define LOOKUP_TRIES 16

struct key name_key(struct volume *v, fs_ino dir, const char *name)
{
    return key_dentry(dir, schema_name_hash(&v->name_key, name), name);
}

static void learn_name(struct volume *v, fs_ino dir, const char *name, fs_ino ino)
{
    hint_set_name(&v->hints, dir, schema_name_hash(&v->name_key, name), ino);
}

static int dentry_of_result(const struct txn *t, fs_ino *ret_ino, uint32_t *ret_type)
{
    if (t->reply.n_reads < 1)
        return -EIO;
    if (t->reply.reads[0].version == 0)
        return -ENOENT;
    return dentry_decode(t->reply.reads[0].value, ret_ino, ret_type);
}

int dentry_get(struct volume *v, fs_ino dir, const char *name, fs_ino *ret_ino, uint32_t *ret_type)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_get(&t, KEY(name_key(v, dir, name)));
    int rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    rc = dentry_of_result(&t, ret_ino, ret_type);
    learn_name(v, dir, name, rc == 0 ? *ret_ino : 0);
    return rc;
}

/* --- lookup ----------------------------------------------------------------------------------- */

/* Name and the inode it led to last time, in one request (one shard) or two at once. 0: *ret is
 * right; 1: the hint was wrong, *ret_ino is what the name says; or an errno. */
static int lookup_hinted(struct volume *v, fs_ino dir, const char *name, fs_ino hint,
                         struct inode *ret, fs_ino *ret_ino)
{
    struct txn a CLEANUP(txn_finish) = {0}, b CLEANUP(txn_finish) = {0};
    bool together = ino_shard(hint) == ino_shard(dir);
    uint64_t session = volume_session(v);
    txn_get(&a, KEY(name_key(v, dir, name)));
    txn_get_part(together ? &a : &b, KEY(key_inode(hint)), 0, INODE_SIZE);
    int rb = together ? 0 : volume_outcome(v, txn_start(v->client, &b), session);
    if (rb)
        return rb < 0 ? rb : -EIO;
    int rc = volume_run(v, &a);
    if (!together)
        rb = volume_outcome(v, txn_wait(v->client, &b, 0, volume_cancel()), session);
    rc = rc ? rc : rb;
    if (rc)
        return rc < 0 ? rc : -EIO;
    uint32_t type;
    fs_ino ino;
    rc = dentry_of_result(&a, &ino, &type);
    if (rc)
        return rc;
    *ret_ino = ino;
    const struct txn *t = together ? &a : &b;
    if (t->reply.n_reads != (together ? 2u : 1u))
        return -EIO;
    const struct kv_result *r = &t->reply.reads[together ? 1 : 0];
    if (ino != hint || r->version == 0)
        return 1;
    return inode_decode(ino, r->value, ret);
}

int name_get(struct volume *v, fs_ino dir, const char *name, struct inode *ret)
{
    fs_ino ino, hint = hint_name(&v->hints, dir, schema_name_hash(&v->name_key, name));
    uint32_t type;
    if (hint) {
        int rc = lookup_hinted(v, dir, name, hint, ret, &ino);
        learn_name(v, dir, name, rc >= 0 ? ino : 0);
        if (rc == 0 && S_ISDIR(ret->mode))
            hint_set_dir(&v->hints, ret);
        if (rc <= 0)
            return rc;
    } else {
        int rc = dentry_get(v, dir, name, &ino, &type);
        if (rc)
            return rc;
    }
    return inode_get(v, ino, NULL, ret);
}

int volume_lookup(struct volume *v, fs_ino dir, const char *name, struct volume_attr *ret)
{
    int rc = volume_check_name(name);
    for (unsigned tries = 0; rc == 0 && tries < LOOKUP_TRIES; tries++) {
        struct inode n;
        rc = name_get(v, dir, name, &n);
        if (rc == 0) {
            struct vnode *busy CLEANUP(vnode_put) = vnode_find(v, n.ino);
            if (busy) /* what is buffered here is part of its size and times */
                return volume_getattr(v, n.ino, ret);
            inode_to_attr(&n, ret);
            return 0;
        }
        if (rc != -ESTALE)
            return rc;
        rc = volume_backoff(tries); /* removed in between: the name says something else now */
    }
    return rc ? rc : -EIO; /* a name without an inode */
}

/* --- making names ----------------------------------------------------------------------------- */

/* Why a transaction that compares {0: directory's head, 1: name absent} failed. 0: look again. */
static int why_not(struct volume *v, const struct txn *t, fs_ino dir, struct inode *ret_parent)
{
    if (t->reply.failed == 1)
        return -EEXIST;
    return inode_get_dir(v, dir, false, ret_parent);
}

static bool member_of(const struct volume_caller *who, uint32_t gid)
{
    bool found = who->capable || who->gid == gid;
    for (unsigned i = 0; !found && who->groups && i < who->n_groups; i++)
        found = who->groups[i] == gid;
    return found;
}

static void plan_inode(const struct inode *parent, const struct volume_caller *who,
                       const struct making *what, struct inode *n)
{
    uint32_t mode = what->mode;
    uint32_t bits = S_ISLNK(mode) ? 0777 : mode & 07777 & ~who->umask;
    *n = (struct inode){
        .ino = n->ino,
        .mode = (mode & S_IFMT) | bits,
        .uid = who->uid,
        .gid = who->gid,
        .nlink = S_ISDIR(mode) ? 2 : 1,
        .rdev = S_ISCHR(mode) || S_ISBLK(mode) ? what->rdev : 0,
        .parent = S_ISDIR(mode) ? parent->ino : 0,
        .size = what->target ? strlen(what->target) : 0,
    };
    if (!(parent->mode & S_ISGID))
        return;
    n->gid = parent->gid;
    if (S_ISDIR(mode))
        n->mode |= S_ISGID;
    else if ((n->mode & S_ISGID) && (n->mode & S_IXGRP) && !member_of(who, n->gid))
        n->mode &= ~(uint32_t)S_ISGID;
}

static void put_inode(struct txn *t, const struct inode *n, const char *target)
{
    size_t len = target ? strlen(target) : 0;
    uint8_t *value = arena_alloc(&t->arena, INODE_SIZE + len);
    inode_encode(n, value);
    if (len)
        memcpy(value + INODE_SIZE, target, len);
    struct bytes key = KEY(key_inode(n->ino));
    txn_put(t, key, bytes_of(value, INODE_SIZE + len));
    txn_time64(t, key, INODE_ATIME);
    txn_touch(t, key);
    txn_time64(t, key, INODE_BTIME);
}

static void put_dentry(struct volume *v, struct txn *t, fs_ino dir, const char *name,
                       const struct inode *n)
{
    uint8_t *value = arena_alloc(&t->arena, DENTRY_SIZE);
    dentry_encode(n->ino, n->mode, value);
    txn_put(t, KEY(name_key(v, dir, name)), bytes_of(value, DENTRY_SIZE));
    struct bytes key = KEY(key_inode(dir));
    txn_add64(t, key, INODE_ENTRIES, 1);
    if (S_ISDIR(n->mode))
        txn_add64(t, key, INODE_NLINK, 1);
    txn_touch(t, key);
}

static int new_number(struct volume *v, const struct inode *parent, uint32_t mode, fs_ino *ret)
{
    bool near = !S_ISDIR(mode) && parent->entries < LARGE_DIRECTORY;
    return volume_new_ino(v, near ? ino_shard(parent->ino) : NO_SHARD, ret);
}

/* One try. *parent is read anew when it had changed. 0; 1: look again; or an errno. */
static int make_once(struct volume *v, struct inode *parent, const char *name,
                     const struct volume_caller *who, const struct making *what, struct inode *n)
{
    plan_inode(parent, who, what, n);
    struct txn t CLEANUP(txn_finish) = {0};
    txn_head(&t, parent);
    txn_absent(&t, KEY(name_key(v, parent->ino, name)));
    put_inode(&t, n, what->target);
    put_dentry(v, &t, parent->ino, name, n);
    int rc = volume_run(v, &t);
    if (rc > 0) {
        rc = why_not(v, &t, parent->ino, parent);
        return rc ? rc : 1;
    }
    n->atime = n->mtime = n->ctime = n->btime = t.reply.time;
    return rc;
}

int name_make(struct volume *v, fs_ino dir, const char *name, const struct volume_caller *who,
              const struct making *what, struct inode *ret)
{
    struct inode parent, n = {0};
    int rc = volume_check_name(name);
    if (rc == 0)
        rc = inode_get_dir(v, dir, true, &parent);
    if (rc == 0)
        rc = new_number(v, &parent, what->mode, &n.ino);
    if (rc)
        return rc;
    struct vnode *vn CLEANUP(vnode_put) = what->open ? vnode_get(v, n.ino) : NULL;
    for (unsigned tries = 0;; tries++) {
        rc = make_once(v, &parent, name, who, what, &n);
        if (rc <= 0)
            break;
        rc = volume_backoff(tries);
        if (rc)
            break;
    }
    if (rc)
        return rc;
    parent.entries++;
    hint_set_dir(&v->hints, &parent);
    if (S_ISDIR(n.mode))
        hint_set_dir(&v->hints, &n);
    learn_name(v, dir, name, n.ino);
    if (what->open) {
        vnode_learn(vn, &n);
        *what->open = TAKE(vn);
    }
    *ret = n;
    return 0;
}

int volume_mknod(struct volume *v, fs_ino dir, const char *name, const struct volume_caller *who,
                 uint32_t mode, uint32_t rdev, const char *target, struct volume_attr *ret)
{
    if (S_ISDIR(mode))
        return volume_mkdir(v, dir, name, who, mode, ret);
    if ((mode & S_IFMT) == 0)
        mode |= S_IFREG;
    if (S_ISLNK(mode) != (target != NULL))
        return -EINVAL;
    if (target && target[0] == '\0')
        return -ENOENT;
    if (target && strlen(target) > FS_SYMLINK_MAX)
        return -ENAMETOOLONG;
    struct inode n;
    struct making what = {.mode = mode, .rdev = rdev, .target = target};
    int rc = name_make(v, dir, name, who, &what, &n);
    if (rc == 0)
        inode_to_attr(&n, ret);
    return rc;
}

int volume_mkdir(struct volume *v, fs_ino dir, const char *name, const struct volume_caller *who,
                 uint32_t mode, struct volume_attr *ret)
{
    struct inode n;
    struct making what = {.mode = S_IFDIR | (mode & (01777 | S_ISGID))};
    int rc = name_make(v, dir, name, who, &what, &n);
    if (rc == 0)
        inode_to_attr(&n, ret);
    return rc;
}

int volume_link(struct volume *v, fs_ino ino, fs_ino dir, const char *name,
                const struct volume_caller *who, struct volume_attr *ret)
{
    struct inode parent, n;
    int rc = volume_check_name(name);
    if (rc == 0)
        rc = inode_flush(v, ino);
    if (rc == 0)
        rc = inode_get_dir(v, dir, true, &parent);
    for (unsigned tries = 0; rc == 0; tries++) {
        rc = inode_get(v, ino, NULL, &n);
        if (rc)
            return rc;
        if (S_ISDIR(n.mode))
            return -EPERM;
        if (n.nlink == 0)
            return -ENOENT;
        if (n.nlink >= LINK_MAX_NLINK)
            return -EMLINK;
        struct txn t CLEANUP(txn_finish) = {0};
        struct bytes key = KEY(key_inode(ino));
        uint8_t nlink[8];
        put_le64(nlink, n.nlink);
        txn_head(&t, &parent);
        txn_absent(&t, KEY(name_key(v, dir, name)));
        txn_bytes_at(&t, key, INODE_NLINK, bytes_of(nlink, 8)); /* not 0 meanwhile */
        txn_add64(&t, key, INODE_NLINK, 1);
        txn_time64(&t, key, INODE_CTIME);
        put_dentry(v, &t, dir, name, &n);
        rc = volume_run(v, &t);
        if (rc == 0) {
            n.nlink++;
            n.ctime = t.reply.time;
            learn_name(v, dir, name, ino);
            inode_to_attr(&n, ret);
            return 0;
        }
        if (rc > 0)
            rc = t.reply.failed == 2 ? 0 : why_not(v, &t, dir, &parent);
        if (rc == 0)
            rc = volume_backoff(tries);
    }
    return rc;
}
