/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - files as keys and values, byte by byte (DESIGN 4.1). Pure.
 *
 * A key begins with its shard (be16) and a tag. Numbers within keys are big endian, so that memcmp
 * orders them; numbers within values are little endian at fixed offsets, so that ADD64, MAX64,
 * TIME64 and BYTES reach single fields.
 *
 *   key                                            value
 *   shard 'I' ino64                                inode: INODE_SIZE bytes, then a symlink's target
 *   shard 'E' dir64 hash64 name                    dentry: le64 ino, u8 type (mode >> 12)
 *   shard 'C' ino64 block32                        up to 64 KiB of data; what is missing at its end
 *                                                  is zeros; absent: a hole
 *   shard 'X' ino64 name                           extended attribute
 *   shard 'L' ino64                                locks (lock.c)
 *   shard 'O' ino64                                empty: unlinked, waiting for reclaim
 *   0     'V' 's'                                  superblock
 *   0     'V' 'm'                                  le64: the next mount number
 *   0     'V' 'r'                                  le64: directory renames across parents so far
 *   0     'V' 'w' session64                        empty: a mounted volume (reclaim.c)
 *   0     'V' 'q' session64                        question of a reclaimer: le64 round, le64
 * inos... 0     'V' 'a' asker64 session64                the answer: le64 round, le64 inos held
 * here...
 *
 * Inode, dentries of a directory, attributes, locks and orphan mark of an inode lie in the shard
 * that its number names; so do its blocks 0 and 1 (128 KiB). Block b >= 2 lies in the shard of its
 * 16 MiB stripe b / 256, see schema_block_shard. All blocks of one inode in one shard are one
 * range, in order.
 *
 * Inode number: bit 63 is 0; 10 bits of shard; 23 bits of mount number; 30 bits of counter. Number
 * 1 is the root.
 *
 * Format rules: a reader refuses a superblock with a newer format and an inode with another one.
 */
#pragma once

#include "cluster/base/codec.h"
#include "fs/siphash.h"
#include "fs/volume.h"

#define FS_FORMAT 1

#define INO_COUNTER_BITS 30
#define INO_MOUNT_BITS   23
#define INO_SHARD_BITS   10
#define INO_COUNTERS     (UINT64_C(1) << INO_COUNTER_BITS)
#define INO_MOUNTS       (UINT64_C(1) << INO_MOUNT_BITS)

static inline fs_ino ino_make(unsigned shard, uint64_t mount, uint64_t counter)
{
    return (uint64_t)shard << (INO_MOUNT_BITS + INO_COUNTER_BITS) | mount << INO_COUNTER_BITS |
           counter;
}
static inline unsigned ino_shard(fs_ino ino)
{
    return (unsigned)(ino >> (INO_MOUNT_BITS + INO_COUNTER_BITS)) & 0x3ff;
}

/* Offsets in an inode's value. The first INODE_HEAD bytes change by chmod and chown only: they are
 * what directory operations compare. SIZE and DATA_VERSION are compared together. */
enum inode_offset {
    INODE_FORMAT = 0,        /* u8, FS_FORMAT */
    INODE_TYPE = 1,          /* u8, mode >> 12; never changes */
    INODE_FLAGS = 2,         /* u16, 0 */
    INODE_MODE = 4,          /* u32, permission bits (07777) */
    INODE_UID = 8,           /* u32 */
    INODE_GID = 12,          /* u32 */
    INODE_NLINK = 16,        /* u64 */
    INODE_BYTES = 24,        /* u64, the file's size */
    INODE_DATA_VERSION = 32, /* u64, one step per change of the data */
    INODE_HI = 40,           /* u64: no block at or beyond it was ever written; only grows */
    INODE_ATIME = 48,        /* i64 nanoseconds since 1970, as all times */
    INODE_MTIME = 56,
    INODE_CTIME = 64,
    INODE_BTIME = 72,
    INODE_RDEV = 80,    /* u64 */
    INODE_PARENT = 88,  /* u64, directories */
    INODE_ENTRIES = 96, /* u64, directories: number of dentries */
    INODE_SIZE = 128,   /* bytes 104..127 are 0: room for later */
};
#define INODE_HEAD 16

struct inode {
    fs_ino ino;    /* not stored */
    uint32_t mode; /* with the type bits */
    uint32_t uid, gid;
    uint64_t nlink, size, data_version, hi;
    uint64_t atime, mtime, ctime, btime;
    uint32_t rdev;
    fs_ino parent;
    uint64_t entries;
    struct bytes target; /* symlinks; borrowed */
};

void inode_encode(const struct inode *n, uint8_t ret[INODE_SIZE]);
/* -EIO: not an inode of this format. target is borrowed from `value`. */
NODISCARD int inode_decode(fs_ino ino, struct bytes value, struct inode *ret);
/* The bytes that a compare of the head wants. */
void inode_head(const struct inode *n, uint8_t ret[INODE_HEAD]);
void inode_to_attr(const struct inode *n, struct volume_attr *ret);

#define DENTRY_SIZE 9
void dentry_encode(fs_ino ino, uint32_t mode, uint8_t ret[DENTRY_SIZE]);
NODISCARD int dentry_decode(struct bytes value, fs_ino *ret_ino, uint32_t *ret_type);

struct superblock {
    uint32_t format;
    uint16_t shards;
    struct siphash_key name_key;
    uint64_t created_ns;
};
#define SUPERBLOCK_SIZE 48
void superblock_encode(const struct superblock *s, uint8_t ret[SUPERBLOCK_SIZE]);
/* -ERR_FORMAT with a text. */
NODISCARD int superblock_decode(struct bytes value, struct superblock *ret, struct errmsg *msg);

/* A key by value. */
struct key {
    uint16_t n;
    uint8_t p[2 + 1 + 8 + 8 + FS_NAME_MAX];
};
static inline struct bytes key_view(const struct key *k)
{
    return bytes_of(k->p, k->n);
}
/* For a key made within a call: KEY(key_inode(ino)). */
#define KEY(made) key_view(&(struct key[1]){made}[0])

struct key key_inode(fs_ino ino);
struct key key_dentry(fs_ino dir, uint64_t hash, const char *name);
struct key key_block(unsigned shard, fs_ino ino, uint32_t block);
struct key key_xattr(fs_ino ino, const char *name);
struct key key_lock(fs_ino ino);
struct key key_orphan(fs_ino ino);
struct key key_super(void);
struct key key_mounts(void);
struct key key_renames(void);
struct key key_member(uint64_t session);
struct key key_question(uint64_t session);
struct key key_answer(uint64_t asker, uint64_t session);

/* Bounds [lo, hi). */
void range_dentries(fs_ino dir, uint64_t after_hash, struct key *ret_lo, struct key *ret_hi);
void range_blocks(unsigned shard, fs_ino ino, uint64_t from, uint64_t to, struct key *ret_lo,
                  struct key *ret_hi); /* blocks [from, to); to UINT64_MAX: all */
void range_xattrs(fs_ino ino, struct key *ret_lo, struct key *ret_hi);
void range_orphans(unsigned shard, struct key *ret_lo, struct key *ret_hi);
void range_members(struct key *ret_lo, struct key *ret_hi);
void range_questions(struct key *ret_lo, struct key *ret_hi);
void range_answers(uint64_t asker, struct key *ret_lo, struct key *ret_hi);

/* Parts of keys that a scan gave; -EIO if it is not such a key. */
NODISCARD int key_parse_dentry(struct bytes key, uint64_t *ret_hash, struct bytes *ret_name);
NODISCARD int key_parse_block(struct bytes key, uint32_t *ret_block);
NODISCARD int key_parse_ino(struct bytes key, uint8_t tag, fs_ino *ret_ino); /* I, L, O */
NODISCARD int key_parse_session(struct bytes key, uint64_t *ret_session);    /* the last 8 bytes */
#define KEY_XATTR_NAME 11 /* where an xattr key's name begins */

/* 63 bits, at least NAME_HASH_MIN: it is a readdir cookie, and small ones are the caller's. */
#define NAME_HASH_MIN 16
uint64_t schema_name_hash(const struct siphash_key *key, const char *name);

#define BLOCKS_WITH_INODE (FS_INODE_STRIPE / FS_BLOCK)
#define BLOCKS_PER_STRIPE (FS_STRIPE / FS_BLOCK)
#define BLOCKS_MAX        (FS_FILE_MAX / FS_BLOCK)
unsigned schema_block_shard(fs_ino ino, uint64_t block, unsigned shards);
/* The shard for a new directory (or a file of a large one); nothing but its number depends on it.
 */
unsigned schema_dir_shard(uint64_t mount, uint64_t counter, unsigned shards);
