/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transaction per rename. A directory that gets another parent could make a loop together with
 * another such rename elsewhere, so these alone take turns (DESIGN 4.1): the version of one key of
 * the volume is read first, then the new parent's ancestors are walked, and the transaction
 * compares that version and bumps it.
 */
#include <stdio.h>
#include "fs/remove.h"

struct rename {
    struct volume *v;
    const struct volume_caller *who;
    const char *from, *to;
    unsigned flags;
    struct inode from_dir, to_dir;
    struct inode moved, target; /* target.ino 0: the new name is free */
    uint64_t turn;              /* version of the renames key, when a directory changes parents */
};

static bool across(const struct rename *r)
{
    return r->from_dir.ino != r->to_dir.ino;
}

static int read_turn(struct rename *r)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_get(&t, KEY(key_renames()));
    int rc = volume_run(r->v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (t.reply.n_reads != 1 || t.reply.reads[0].version == 0)
        return -EIO;
    r->turn = t.reply.reads[0].version;
    return 0;
}

/* -EINVAL (or `found`): `ino` is dir or above it. 1: changed while we looked. */
static int check_ancestors(struct volume *v, fs_ino ino, fs_ino dir, int found)
{
    while (dir != ino) {
        if (dir == FS_ROOT)
            return 0;
        struct inode n;
        int rc = inode_get(v, dir, NULL, &n);
        if (rc)
            return rc == -ESTALE ? 1 : rc;
        dir = n.parent;
    }
    return found;
}

static int read_names(struct rename *r)
{
    int rc = name_get(r->v, r->from_dir.ino, r->from, &r->moved);
    if (rc)
        return rc == -ESTALE ? 1 : rc;
    rc = name_get(r->v, r->to_dir.ino, r->to, &r->target);
    if (rc == -ENOENT) {
        r->target = (struct inode){0};
        rc = 0;
    }
    return rc == -ESTALE ? 1 : rc;
}

static int check_rules(struct rename *r)
{
    bool exchange = r->flags & RENAME_EXCHANGE, moved_dir = S_ISDIR(r->moved.mode);
    if (sticky_forbids(&r->from_dir, &r->moved, r->who))
        return -EPERM;
    if (r->target.ino == 0)
        return exchange ? -ENOENT : 0;
    if (r->flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (r->target.ino != r->moved.ino && sticky_forbids(&r->to_dir, &r->target, r->who))
        return -EPERM;
    if (exchange)
        return 0;
    if (moved_dir && !S_ISDIR(r->target.mode))
        return -ENOTDIR;
    if (!moved_dir && S_ISDIR(r->target.mode))
        return -EISDIR;
    return 0;
}

/* Loops, for directories that get another parent. */
static int check_loops(struct rename *r)
{
    r->turn = 0;
    bool exchange = r->flags & RENAME_EXCHANGE;
    bool moves = S_ISDIR(r->moved.mode), back = exchange && S_ISDIR(r->target.mode);
    if (!across(r) || (!moves && !back))
        return 0;
    int rc = read_turn(r);
    if (rc == 0 && moves)
        rc = check_ancestors(r->v, r->moved.ino, r->to_dir.ino, -EINVAL);
    if (rc == 0 && back)
        rc = check_ancestors(r->v, r->target.ino, r->from_dir.ino, -EINVAL);
    /* The name to be replaced contains what is moved: it is not empty, say so as Linux does. */
    if (rc == 0 && moves && !exchange && r->target.ino)
        rc = check_ancestors(r->v, r->target.ino, r->from_dir.ino, -ENOTEMPTY);
    return rc;
}

static void put_name(struct rename *r, struct txn *t, const struct inode *dir, const char *name,
                     const struct inode *n)
{
    uint8_t *value = arena_alloc(&t->arena, DENTRY_SIZE);
    dentry_encode(n->ino, n->mode, value);
    txn_put(t, KEY(name_key(r->v, dir->ino, name)), bytes_of(value, DENTRY_SIZE));
}

/* The moved inode: change time, and the parent of a directory. */
static void move_inode(struct rename *r, struct txn *t, const struct inode *n,
                       const struct inode *to)
{
    struct bytes key = KEY(key_inode(n->ino));
    txn_head(t, n);
    txn_time64(t, key, INODE_CTIME);
    if (S_ISDIR(n->mode) && across(r))
        txn_set64(t, key, INODE_PARENT, to->ino);
}

static void count(struct txn *t, const struct inode *dir, int64_t entries, int64_t nlink)
{
    struct bytes key = KEY(key_inode(dir->ino));
    if (entries)
        txn_add64(t, key, INODE_ENTRIES, entries);
    if (nlink)
        txn_add64(t, key, INODE_NLINK, nlink);
    txn_touch(t, key);
}

static void add_counts(struct rename *r, struct txn *t)
{
    bool exchange = r->flags & RENAME_EXCHANGE;
    bool has_target = r->target.ino != 0;
    int64_t moved_dir = S_ISDIR(r->moved.mode), target_dir = has_target && S_ISDIR(r->target.mode);
    int64_t from_n = exchange ? 0 : -1, to_n = exchange || has_target ? 0 : 1;
    int64_t from_links = exchange ? target_dir - moved_dir : -moved_dir;
    int64_t to_links = moved_dir - target_dir;
    if (across(r)) {
        count(t, &r->from_dir, from_n, from_links);
        count(t, &r->to_dir, to_n, to_links);
    } else {
        count(t, &r->from_dir, from_n + to_n, from_links + to_links);
    }
}

/* Compares 0 and 1 are the directories' heads; *ret_empty is "the target is an empty directory". */
static void build(struct rename *r, struct txn *t, unsigned *ret_empty)
{
    struct volume *v = r->v;
    txn_head(t, &r->from_dir);
    txn_head(t, &r->to_dir);
    txn_dentry_is(v, t, r->from_dir.ino, r->from, &r->moved);
    if (r->turn) {
        txn_version(t, KEY(key_renames()), r->turn);
        txn_add64(t, KEY(key_renames()), 0, 1);
    }
    *ret_empty = UINT_MAX;
    if (r->target.ino == 0)
        txn_absent(t, KEY(name_key(v, r->to_dir.ino, r->to)));
    else
        *ret_empty = txn_dentry_is(v, t, r->to_dir.ino, r->to, &r->target) + 1;
    if (r->flags & RENAME_EXCHANGE) {
        put_name(r, t, &r->from_dir, r->from, &r->target);
        move_inode(r, t, &r->target, &r->from_dir);
    } else {
        if (r->target.ino)
            txn_drop_victim(v, t, &r->target);
        txn_delete(t, KEY(name_key(v, r->from_dir.ino, r->from)));
    }
    put_name(r, t, &r->to_dir, r->to, &r->moved);
    move_inode(r, t, &r->moved, &r->to_dir);
    add_counts(r, t);
}

static void learn(struct rename *r)
{
    struct hints *h = &r->v->hints;
    bool exchange = r->flags & RENAME_EXCHANGE;
    hint_set_name(h, r->from_dir.ino, schema_name_hash(&r->v->name_key, r->from),
                  exchange ? r->target.ino : 0);
    hint_set_name(h, r->to_dir.ino, schema_name_hash(&r->v->name_key, r->to), r->moved.ino);
    if (!exchange && r->target.ino)
        victim_gone(r->v, &r->target);
}

/* 0; 1: look again; or an errno. */
static int rename_once(struct rename *r)
{
    int rc = read_names(r);
    if (rc == 0)
        rc = check_rules(r);
    if (rc)
        return rc;
    /* Written, closed and renamed into place: the data is there before the name. */
    rc = inode_flush(r->v, r->moved.ino);
    if (rc)
        return rc;
    if (r->moved.ino == r->target.ino) /* two names of one file, or the same name twice */
        return 0;
    rc = check_loops(r);
    if (rc)
        return rc;
    struct txn t CLEANUP(txn_finish) = {0};
    unsigned empty;
    build(r, &t, &empty);
    rc = volume_run(r->v, &t);
    if (rc == 0) {
        learn(r);
        return 0;
    }
    if (rc < 0)
        return rc;
    if (t.reply.failed <= 1) {
        rc = inode_get_dir(r->v, r->from_dir.ino, false, &r->from_dir);
        if (rc == 0)
            rc = inode_get_dir(r->v, r->to_dir.ino, false, &r->to_dir);
        return rc ? rc : 1;
    }
    bool empties = S_ISDIR(r->target.mode) && !(r->flags & RENAME_EXCHANGE);
    return empties && t.reply.failed == empty ? -ENOTEMPTY : 1;
}

int volume_rename(struct volume *v, fs_ino from_dir, const char *from, fs_ino to_dir,
                  const char *to, unsigned flags, const struct volume_caller *who)
{
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    struct rename r = {.v = v, .who = who, .from = from, .to = to, .flags = flags};
    int rc = volume_check_name(from);
    if (rc == 0)
        rc = volume_check_name(to);
    if (rc == 0)
        rc = inode_get_dir(v, from_dir, true, &r.from_dir);
    if (rc == 0)
        rc = inode_get_dir(v, to_dir, true, &r.to_dir);
    for (unsigned tries = 0; rc == 0; tries++) {
        rc = rename_once(&r);
        if (rc <= 0)
            return rc;
        rc = volume_backoff(tries);
    }
    return rc;
}
