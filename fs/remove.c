/* SPDX-License-Identifier: Apache-2.0 */
/* unlink and rmdir; and what rename does to a target it replaces. */
#include "fs/remove.h"

void txn_drop_victim(struct volume *v, struct txn *t, const struct inode *victim)
{
    struct bytes key = KEY(key_inode(victim->ino));
    if (S_ISDIR(victim->mode)) {
        struct key lo, hi;
        range_dentries(victim->ino, 0, &lo, &hi);
        txn_empty_range(t, key_view(&lo), key_view(&hi));
        txn_head(t, victim);
        txn_delete(t, key);
        /* Few directories have attributes; those that do pay this one write. */
        range_xattrs(victim->ino, &lo, &hi);
        txn_delete_range(t, key_view(&lo), key_view(&hi), TXN_WRITES_MAX);
        return;
    }
    uint8_t *nlink = arena_alloc(&t->arena, 8);
    put_le64(nlink, victim->nlink);
    txn_head(t, victim);
    txn_bytes_at(t, key, INODE_NLINK, bytes_of(nlink, 8));
    txn_add64(t, key, INODE_NLINK, -1);
    txn_time64(t, key, INODE_CTIME);
    if (victim->nlink == 1)
        txn_put(t, KEY(key_orphan(victim->ino)), BYTES_NONE);
}

void victim_gone(struct volume *v, const struct inode *victim)
{
    if (S_ISDIR(victim->mode))
        hint_drop_dir(&v->hints, victim->ino);
    else if (victim->nlink == 1)
        orphan_add(v, victim->ino);
}

unsigned txn_dentry_is(struct volume *v, struct txn *t, fs_ino dir, const char *name,
                       const struct inode *n)
{
    uint8_t *value = arena_alloc(&t->arena, DENTRY_SIZE);
    dentry_encode(n->ino, n->mode, value);
    return txn_bytes_at(t, KEY(name_key(v, dir, name)), 0, bytes_of(value, DENTRY_SIZE));
}

static int removal(struct volume *v, struct inode *parent, const char *name,
                   const struct volume_caller *who, bool rmdir)
{
    struct inode victim;
    int rc = name_get(v, parent->ino, name, &victim);
    if (rc)
        return rc == -ESTALE ? 1 : rc;
    if (rmdir && !S_ISDIR(victim.mode))
        return -ENOTDIR;
    if (!rmdir && S_ISDIR(victim.mode))
        return -EISDIR;
    if (sticky_forbids(parent, &victim, who))
        return -EPERM;
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes dir = KEY(key_inode(parent->ino));
    unsigned head = txn_head(&t, parent);
    txn_dentry_is(v, &t, parent->ino, name, &victim);
    txn_drop_victim(v, &t, &victim); /* of a directory the first compare: it is empty */
    txn_delete(&t, KEY(name_key(v, parent->ino, name)));
    txn_add64(&t, dir, INODE_ENTRIES, -1);
    if (rmdir)
        txn_add64(&t, dir, INODE_NLINK, -1);
    txn_touch(&t, dir);
    rc = volume_run(v, &t);
    if (rc > 0 && t.reply.failed == head) {
        rc = inode_get_dir(v, parent->ino, false, parent);
        return rc ? rc : 1;
    }
    if (rc > 0 && rmdir && t.reply.failed == head + 2)
        return -ENOTEMPTY;
    if (rc)
        return rc;
    hint_set_name(&v->hints, parent->ino, schema_name_hash(&v->name_key, name), 0);
    victim_gone(v, &victim);
    return 0;
}

static int remove_name(struct volume *v, fs_ino dir, const char *name,
                       const struct volume_caller *who, bool rmdir)
{
    struct inode parent;
    int rc = volume_check_name(name);
    if (rc == 0)
        rc = inode_get_dir(v, dir, true, &parent);
    if (rc)
        return rc;
    for (unsigned tries = 0;; tries++) {
        rc = removal(v, &parent, name, who, rmdir);
        if (rc <= 0)
            return rc;
        rc = volume_backoff(tries);
        if (rc)
            return rc;
    }
}

int volume_unlink(struct volume *v, fs_ino dir, const char *name, const struct volume_caller *who)
{
    return remove_name(v, dir, name, who, false);
}

int volume_rmdir(struct volume *v, fs_ino dir, const char *name, const struct volume_caller *who)
{
    if (strcmp(name, "..") == 0)
        return -ENOTEMPTY;
    return remove_name(v, dir, name, who, true);
}
