/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h - the file system without the kernel: POSIX operations as mini-transactions on keys
 * (DESIGN 4). fs/fuse puts libfuse in front of it; mr/ and tests use it directly.
 *
 * Every function returns 0 (or a count) or a negative errno and may be called from any thread.
 * Permission checks are the caller's (the kernel's default_permissions) except where said: the
 * sticky rule and suid/sgid clearing are done here, in the transaction. `who` is the caller's
 * identity: it owns what is created and decides about sgid inheritance. All operations wait for the
 * cluster as long as it takes unless the thread's cancel (volume_thread_cancel) fires: then -EINTR,
 * and the operation may still happen, once.
 *
 * Consistency: DESIGN 4.2. Data written through a handle sits in the volume's write buffer (4.3)
 * and is seen by every handle of this volume at once; flush, fsync and close make it durable and
 * visible elsewhere, and report a final error of the flush once per handle.
 */
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include "cluster/client/client.h"

struct volume;
struct volume_file; /* an open file */
typedef uint64_t fs_ino;

#define FS_ROOT         ((fs_ino)1)
#define FS_NAME_MAX     255
#define FS_SYMLINK_MAX  4095
#define FS_BLOCK        KIB(64)
#define FS_INODE_STRIPE KIB(128) /* stripe 0, with the inode */
#define FS_STRIPE       MIB(16)
#define FS_FILE_MAX     (UINT64_C(1) << 46) /* 64 TiB */
#define FS_APPEND_MAX   MIB(1)

struct volume_caller {
    uint32_t uid, gid, pid;
    uint32_t umask;
    const uint32_t *groups; /* supplementary, may be NULL */
    unsigned n_groups;
    bool capable; /* uid 0: may override ownership rules */
};

/* stat(2)'s fields plus birth time and the data version (4.1). */
struct volume_attr {
    fs_ino ino;
    uint32_t mode, uid, gid, nlink, rdev;
    uint64_t size, blocks;
    uint64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
    uint64_t data_version;
    fs_ino parent; /* directories */
    uint64_t entries;
};

struct volume_options {
    struct client *client;     /* borrowed */
    uint64_t buffer_inode_max; /* 0: 4 MiB */
    uint64_t buffer_total_max; /* 0: 32 MiB */
};

/* Makes the file system's root if the store is empty; takes a mount number. */
NODISCARD int volume_open(const struct volume_options *o, struct volume **ret, struct errmsg *msg);
void volume_close(struct volume *v); /* flushes, lets go of orphans and locks */
/* The calling thread's cancel for the operations it runs from now on (NULL: none). */
void volume_thread_cancel(struct client_cancel *x);
struct client_cancel *volume_cancel(void); /* the calling thread's, for others that wait */
struct client *volume_client(struct volume *v);

/* Names. */
NODISCARD int volume_lookup(struct volume *v, fs_ino dir, const char *name,
                            struct volume_attr *ret);
NODISCARD int volume_getattr(struct volume *v, fs_ino ino, struct volume_attr *ret);

enum { /* which fields of setattr count */
       VOLUME_MODE = 1,
       VOLUME_UID = 2,
       VOLUME_GID = 4,
       VOLUME_SIZE = 8,
       VOLUME_ATIME = 16,
       VOLUME_MTIME = 32,
       VOLUME_ATIME_NOW = 64,
       VOLUME_MTIME_NOW = 128,
       VOLUME_CTIME = 256,
};
NODISCARD int volume_setattr(struct volume *v, fs_ino ino, const struct volume_caller *who,
                             unsigned which, const struct volume_attr *a, struct volume_attr *ret);
/* A file, directory, symlink (target) or special file by the type bits of mode. -EEXIST if there.
 */
NODISCARD int volume_mknod(struct volume *v, fs_ino dir, const char *name,
                           const struct volume_caller *who, uint32_t mode, uint32_t rdev,
                           const char *target, struct volume_attr *ret);
NODISCARD int volume_mkdir(struct volume *v, fs_ino dir, const char *name,
                           const struct volume_caller *who, uint32_t mode, struct volume_attr *ret);
NODISCARD int volume_unlink(struct volume *v, fs_ino dir, const char *name,
                            const struct volume_caller *who);
NODISCARD int volume_rmdir(struct volume *v, fs_ino dir, const char *name,
                           const struct volume_caller *who);
NODISCARD int volume_link(struct volume *v, fs_ino ino, fs_ino dir, const char *name,
                          const struct volume_caller *who, struct volume_attr *ret);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. */
NODISCARD int volume_rename(struct volume *v, fs_ino from_dir, const char *from, fs_ino to_dir,
                            const char *to, unsigned flags, const struct volume_caller *who);
/* The target into buf (FS_SYMLINK_MAX + 1 bytes), NUL-terminated. */
NODISCARD int volume_readlink(struct volume *v, fs_ino ino, char *buf);

/* Directory entries after `cookie` (0: from the start); each returns false to stop. "." and ".."
 * are the caller's. A cookie is the name's hash; entries of one hash are never split (4.1). attr is
 * NULL unless with_attr. */
typedef bool volume_entry_fn(void *arg, const char *name, fs_ino ino, uint32_t type,
                             uint64_t cookie, const struct volume_attr *attr);
NODISCARD int volume_readdir(struct volume *v, fs_ino dir, uint64_t cookie, bool with_attr,
                             volume_entry_fn *each, void *arg);

/* Files. flags: O_ACCMODE, O_APPEND, O_TRUNC, O_SYNC, O_DIRECT count. create: *ret_attr is the new
 * file's; a name that exists: -EEXIST. -ESTALE: unlinked and not open here (4.1). */
NODISCARD int volume_create(struct volume *v, fs_ino dir, const char *name,
                            const struct volume_caller *who, uint32_t mode, int flags,
                            struct volume_file **ret, struct volume_attr *ret_attr);
NODISCARD int volume_file_open(struct volume *v, fs_ino ino, int flags,
                               const struct volume_caller *who, struct volume_file **ret);
NODISCARD int64_t volume_read(struct volume_file *f, void *p, size_t n, uint64_t off);
NODISCARD int64_t volume_write(struct volume_file *f, const void *p, size_t n, uint64_t off,
                               const struct volume_caller *who);
NODISCARD int volume_flush(struct volume_file *f); /* FLUSH: at each close(2) of a descriptor */
NODISCARD int volume_fsync(struct volume_file *f);
/* mode 0, FALLOC_FL_KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; others -EOPNOTSUPP. */
NODISCARD int volume_fallocate(struct volume_file *f, int mode, uint64_t off, uint64_t len);
/* Flushes what is left (its error is lost: callers flush first) and frees f. */
void volume_file_close(struct volume_file *f);
fs_ino volume_file_ino(const struct volume_file *f);

/* Extended attributes: XATTR_CREATE/XATTR_REPLACE; size 0 asks for the length. */
NODISCARD int volume_setxattr(struct volume *v, fs_ino ino, const char *name, const void *value,
                              size_t n, int flags, const struct volume_caller *who);
NODISCARD int64_t volume_getxattr(struct volume *v, fs_ino ino, const char *name, void *value,
                                  size_t n);
NODISCARD int64_t volume_listxattr(struct volume *v, fs_ino ino, char *list, size_t n);
NODISCARD int volume_removexattr(struct volume *v, fs_ino ino, const char *name,
                                 const struct volume_caller *who);

/* Locks over all mounts. owner: the kernel's lock owner; type F_RDLCK F_WRLCK F_UNLCK; wait: until
 * granted or cancelled. flock locks are a whole-file range in a space of their own. */
struct volume_lock {
    bool flock;
    uint64_t owner, start, end; /* end inclusive, UINT64_MAX: to the end */
    int type;
    uint32_t pid;
};
NODISCARD int volume_getlk(struct volume *v, fs_ino ino, struct volume_lock *lock);
NODISCARD int volume_setlk(struct volume *v, fs_ino ino, const struct volume_lock *lock, bool wait);

NODISCARD int volume_statfs(struct volume *v, struct statvfs *ret);

/* Path convenience for mr/ and tests: resolves from the root, following symlinks unless nofollow.
 */
NODISCARD int volume_resolve(struct volume *v, const char *path, bool nofollow,
                             struct volume_attr *ret);
/* Whether `who` may do `mask` (R_OK W_OK X_OK) on an inode with these attributes: the kernel's
 * rule, for callers that have no kernel in front (mr/). */
bool volume_access(const struct volume_attr *a, const struct volume_caller *who, int mask);
