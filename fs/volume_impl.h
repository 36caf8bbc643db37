/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_impl.h - what the files of fs/ share behind volume.h.
 *
 * Threads: any thread runs an operation top to bottom. volume.lock guards the table of open inodes,
 * the queue of dirty ones and the small counters; it is a leaf: nothing waits and no other lock is
 * taken under it. vnode.lock guards one inode's buffers and what is known of it; volume.lock may be
 * taken under it, the network is never used under it. Whoever changes the data of an inode in the
 * cluster (flush, append, truncate, punch) first takes its flush slot (vnode_claim), which is not a
 * mutex, so that it may be held over the network and waited for with a cancel.
 *
 * Two threads of the volume's own: the flusher (1 s after the first dirty byte) and the keeper
 * (reclaim of orphans, answers to other mounts' questions).
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include "cluster/base/rng.h"
#include "fs/buffer.h"
#include "fs/hint.h"
#include "fs/schema.h"

#define BLOCKS_PER_TXN  8 /* 512 KiB: half the limit, so that a node overlaps log and network */
#define TXNS_IN_FLIGHT  8
#define DIRTY_NS        UINT64_C(1000000000)
#define KEEPER_NS       UINT64_C(2000000000)
#define LARGE_DIRECTORY 4096 /* entries beyond which new files' inodes go to hashed shards */
#define LINK_MAX_NLINK  UINT32_C(0x7fffffff)
#define EXTENTS_MAX     256 /* of one buffer: what lies in the inode's shard is one transaction */
#define DELETE_STEP     256
#define XATTR_VALUE_MAX KIB(64)

struct volume {
    struct client *client;
    unsigned shards;
    struct siphash_key name_key;
    uint64_t buffer_inode_max, buffer_total_max;
    struct hints hints;

    pthread_mutex_t session_lock; /* one thread at a time opens a new session; before `lock` */
    pthread_mutex_t lock;
    uint64_t session;        /* that buffers, locks and open handles belong to */
    bool registered;         /* the session is asked before orphans are reclaimed */
    uint64_t mount, counter; /* the next inode number's parts */
    GHashTable *nodes;       /* ino -> vnode, every one with refs > 0 and not lost */
    GQueue dirty;            /* vnodes, each with a reference, by dirty_since */
    uint64_t dirty_bytes;    /* of all buffers; atomic */
    uint64_t statfs_ns;      /* when statfs_free was asked for */
    uint64_t statfs_free;

    pthread_t flusher, keeper;
    bool has_flusher, has_keeper;
    struct client_cancel keeper_cancel;
    pthread_cond_t flusher_wake, keeper_wake; /* with lock */
    bool stopping;
    GHashTable *orphans; /* ino -> itself: unlinked inodes this volume shall reclaim */
    bool scan_orphans;   /* look for those that ended mounts left */
    uint64_t round;      /* of questions asked */
};

/* An inode in use here: open, dirty, locked, or just being worked on. */
struct vnode {
    struct volume *v;
    fs_ino ino;
    unsigned refs, opens; /* volume.lock */
    bool unlinked;        /* volume.lock: nlink became 0 here */
    bool queued;          /* volume.lock: in volume.dirty */
    uint64_t dirty_since; /* volume.lock */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* the flush slot became free */
    bool claimed;           /* somebody has the flush slot */
    bool known;             /* `last` holds something */
    struct inode last;      /* the newest state seen of the cluster's inode (no target) */
    struct buffer dirty, flushing;
    uint64_t drops;      /* flushes ended: what was read before may miss what they dropped */
    uint64_t written_ns; /* wall time of the last buffered write */
    int error;           /* of the last failed flush; each handle reports it once */
    uint64_t errors;
    bool lost;       /* its session ended: -EIO for good */
    GArray *lockers; /* struct locker: who may hold locks through this volume */
};

struct volume_file {
    struct vnode *vn;
    int flags;
    uint64_t errors_seen; /* vnode.lock */
};

/* --- volume.c --- */
/* The session that writes run by this thread belong to; 0: whichever is open. */
void volume_thread_session(uint64_t session);
/* Runs a transaction: 0; 1: a compare did not hold (t->reply.failed), look again; or an errno. */
NODISCARD int volume_run(struct volume *v, struct txn *t);
/* The same with the outcome of txn_wait and friends; session: volume_session() before the start. */
NODISCARD int volume_start(struct volume *v, struct txn *t, uint64_t session); /* txn_start */
NODISCARD int volume_outcome(struct volume *v, int rc, uint64_t session);
uint64_t volume_session(struct volume *v);
/* Sees to it that a session is alive and registered before something is held open under it. */
NODISCARD int volume_need_session(struct volume *v);
/* Whether the session has ended; what belonged to it is dropped then. */
bool volume_session_ended(struct volume *v);
/* After a lost race, the n-th: waits a little. 0 or -EINTR. */
NODISCARD int volume_backoff(unsigned n);
/* A number never used before, in this shard; NO_SHARD: in a hashed one. */
#define NO_SHARD UINT_MAX
NODISCARD int volume_new_ino(struct volume *v, unsigned shard, fs_ino *ret);
NODISCARD int volume_check_name(const char *name);

/* --- attr.c --- */
/* The inode from the cluster. -ESTALE: none. ret->target lies in `t`, which the caller finishes;
 * t NULL: no target wanted. */
NODISCARD int inode_get(struct volume *v, fs_ino ino, struct txn *t, struct inode *ret);
/* The same where a directory is needed: from the hints if `hinted`, -ENOENT for one removed. */
NODISCARD int inode_get_dir(struct volume *v, fs_ino ino, bool hinted, struct inode *ret);
/* Appends compare "head of n unchanged"; returns its index. */
unsigned txn_head(struct txn *t, const struct inode *n);
/* Appends TIME64 of mtime and ctime. */
void txn_touch(struct txn *t, struct bytes key);
void txn_set64(struct txn *t, struct bytes key, uint64_t off, uint64_t value);
bool sticky_forbids(const struct inode *dir, const struct inode *victim,
                    const struct volume_caller *who);
/* Removes suid/sgid after a change by somebody unprivileged; no-op if they are not set. */
NODISCARD int inode_drop_privilege(struct vnode *vn);

/* --- name.c --- */
NODISCARD int dentry_get(struct volume *v, fs_ino dir, const char *name, fs_ino *ret_ino,
                         uint32_t *ret_type);
struct key name_key(struct volume *v, fs_ino dir, const char *name);
/* The inode behind a name, without what is buffered here; one request when this mount has seen the
 * name before. -ENOENT; -ESTALE: the name was changed while we looked, look again. */
NODISCARD int name_get(struct volume *v, fs_ino dir, const char *name, struct inode *ret);
/* What a new name shall lead to. */
struct making {
    uint32_t mode, rdev;
    const char *target;  /* symlinks */
    struct vnode **open; /* NULL, or: in use here before anybody can see it; put it if made */
};
/* The one way in which inodes and their first names are made. */
NODISCARD int name_make(struct volume *v, fs_ino dir, const char *name,
                        const struct volume_caller *who, const struct making *what,
                        struct inode *ret);

/* --- vnode.c --- */
struct vnode *vnode_get(struct volume *v, fs_ino ino);  /* makes it if need be */
struct vnode *vnode_find(struct volume *v, fs_ino ino); /* NULL if not in use */
void vnode_put(struct vnode *vn);
DEFINE_CLEANUP(struct vnode *, vnode_put)
/* The flush slot. -EINTR; -EIO when lost. */
NODISCARD int vnode_claim(struct vnode *vn);
void vnode_release(struct vnode *vn);
/* Takes what was read of the cluster's inode, unless something newer is known. */
void vnode_learn(struct vnode *vn, const struct inode *n);
NODISCARD int vnode_refresh(struct vnode *vn, struct inode *ret); /* inode_get + learn */
/* The last state known, asked for if there is none. */
NODISCARD int vnode_known(struct vnode *vn, struct inode *ret);
void vnode_lose_all(struct volume *v); /* the session ended */

/* --- data.c --- */
/* Blocks of [off, off + n) as the cluster has them, zeros for holes. */
NODISCARD int data_read(struct volume *v, fs_ino ino, void *p, size_t n, uint64_t off);
/* The same and the inode in one request, for a range within the inode's shard. */
NODISCARD int data_read_small(struct volume *v, fs_ino ino, void *p, size_t n, uint64_t off,
                              struct inode *ret);
/* Writes the extents of b that lie outside the inode's shard, several requests at a time. */
NODISCARD int data_write(struct volume *v, fs_ino ino, const struct buffer *b);
/* Appends the write of one extent. */
void data_put_extent(struct volume *v, struct txn *t, fs_ino ino, const struct extent *e);
/* Deletes every key of [lo, hi), in bounded steps. */
NODISCARD int delete_range(struct volume *v, struct bytes lo, struct bytes hi);
/* Runs of blocks that one range in one shard can name: see data_ranges. */
struct block_range {
    unsigned shard;
    uint64_t from, to;
};
/* [from, to) of blocks as ranges of one shard each, at most one per shard and one more. */
GArray *data_ranges(struct volume *v, fs_ino ino, uint64_t from, uint64_t to);

/* --- flush.c --- */
NODISCARD int vnode_flush(struct vnode *vn);
NODISCARD int vnode_flush_claimed(struct vnode *vn);     /* the caller has the slot */
NODISCARD int inode_flush(struct volume *v, fs_ino ino); /* if it is in use here */
void vnode_mark_dirty(struct vnode *vn, bool urgent);
void *flusher_main(void *arg);

/* --- truncate.c --- */
/* Makes the bytes of [n->size, end) that `except` does not cover zeros, where they may hold what a
 * crash or an unfinished truncate left. *n is the inode as read; its data version may step. 0; 1:
 * it changed under us, read again; or an errno. */
NODISCARD int clean_tail(struct volume *v, struct inode *n, uint64_t end,
                         const struct buffer *except);
/* Appends "size and data version are n's". */
void txn_same_data(struct txn *t, const struct inode *n);

/* --- reclaim.c --- */
void orphan_add(struct volume *v, fs_ino ino);
void *keeper_main(void *arg);
NODISCARD int member_register(struct volume *v);
NODISCARD int member_leave(struct volume *v);
NODISCARD int live_sessions(struct volume *v, GHashTable **ret);

/* --- lock.c --- */
void vnode_free_locks(struct vnode *vn);
/* They were the session's; with vnode.lock held. How many references they held: drop those. */
unsigned vnode_forget_lockers(struct vnode *vn);
