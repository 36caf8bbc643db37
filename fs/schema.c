/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/schema.h"

#include <errno.h>
#include <sys/stat.h>

_Static_assert(1 + INO_SHARD_BITS + INO_MOUNT_BITS + INO_COUNTER_BITS == 64, "an ino has 64 bits");
_Static_assert(SHARDS_MAX <= 1u << INO_SHARD_BITS, "an ino can name every shard");
_Static_assert(FS_BLOCK <= VALUE_MAX && INODE_SIZE + FS_SYMLINK_MAX <= VALUE_MAX, "values fit");
_Static_assert(sizeof(struct key) <= KEY_MAX, "keys fit");
_Static_assert(BLOCKS_MAX <= UINT32_MAX, "a block number has 32 bits");
_Static_assert(INODE_DATA_VERSION == INODE_BYTES + 8, "compared together");

/* --- values ----------------------------------------------------------------------------------- */

void inode_head(const struct inode *n, uint8_t ret[INODE_HEAD])
{
    memset(ret, 0, INODE_HEAD);
    ret[INODE_FORMAT] = FS_FORMAT;
    ret[INODE_TYPE] = (uint8_t)(n->mode >> 12);
    put_le32(ret + INODE_MODE, n->mode & 07777);
    put_le32(ret + INODE_UID, n->uid);
    put_le32(ret + INODE_GID, n->gid);
}

void inode_encode(const struct inode *n, uint8_t ret[INODE_SIZE])
{
    memset(ret, 0, INODE_SIZE);
    inode_head(n, ret);
    put_le64(ret + INODE_NLINK, n->nlink);
    put_le64(ret + INODE_BYTES, n->size);
    put_le64(ret + INODE_DATA_VERSION, n->data_version);
    put_le64(ret + INODE_HI, n->hi);
    put_le64(ret + INODE_ATIME, n->atime);
    put_le64(ret + INODE_MTIME, n->mtime);
    put_le64(ret + INODE_CTIME, n->ctime);
    put_le64(ret + INODE_BTIME, n->btime);
    put_le64(ret + INODE_RDEV, n->rdev);
    put_le64(ret + INODE_PARENT, n->parent);
    put_le64(ret + INODE_ENTRIES, n->entries);
}

int inode_decode(fs_ino ino, struct bytes value, struct inode *ret)
{
    const uint8_t *p = value.p;
    if (value.n < INODE_SIZE || p[INODE_FORMAT] != FS_FORMAT)
        return -EIO;
    *ret = (struct inode){
        .ino = ino,
        .mode = (uint32_t)p[INODE_TYPE] << 12 | (get_le32(p + INODE_MODE) & 07777),
        .uid = get_le32(p + INODE_UID),
        .gid = get_le32(p + INODE_GID),
        .nlink = get_le64(p + INODE_NLINK),
        .size = get_le64(p + INODE_BYTES),
        .data_version = get_le64(p + INODE_DATA_VERSION),
        .hi = get_le64(p + INODE_HI),
        .atime = get_le64(p + INODE_ATIME),
        .mtime = get_le64(p + INODE_MTIME),
        .ctime = get_le64(p + INODE_CTIME),
        .btime = get_le64(p + INODE_BTIME),
        .rdev = (uint32_t)get_le64(p + INODE_RDEV),
        .parent = get_le64(p + INODE_PARENT),
        .entries = get_le64(p + INODE_ENTRIES),
        .target = bytes_of(p + INODE_SIZE, value.n - INODE_SIZE),
    };
    return 0;
}

void inode_to_attr(const struct inode *n, struct volume_attr *ret)
{
    uint64_t size = S_ISDIR(n->mode) ? 4096 : n->size;
    *ret = (struct volume_attr){
        .ino = n->ino,
        .mode = n->mode,
        .uid = n->uid,
        .gid = n->gid,
        .nlink = (uint32_t)MIN(n->nlink, UINT32_MAX),
        .rdev = n->rdev,
        .size = size,
        .blocks = S_ISLNK(n->mode) ? 0 : (size + 511) / 512,
        .atime_ns = n->atime,
        .mtime_ns = n->mtime,
        .ctime_ns = n->ctime,
        .btime_ns = n->btime,
        .data_version = n->data_version,
        .parent = n->parent,
        .entries = n->entries,
    };
}

void dentry_encode(fs_ino ino, uint32_t mode, uint8_t ret[DENTRY_SIZE])
{
    put_le64(ret, ino);
    ret[8] = (uint8_t)((mode & S_IFMT) >> 12);
}

int dentry_decode(struct bytes value, fs_ino *ret_ino, uint32_t *ret_type)
{
    if (value.n != DENTRY_SIZE)
        return -EIO;
    *ret_ino = get_le64(value.p);
    *ret_type = (uint32_t)value.p[8] << 12;
    return 0;
}

/* 0 "raftfs\0\0"; 8 le32 format; 12 le16 shards; 14 0; 16 le64 k0; 24 le64 k1; 32 le64 created */
static const uint8_t magic[8] = "raftfs\0";

void superblock_encode(const struct superblock *s, uint8_t ret[SUPERBLOCK_SIZE])
{
    memset(ret, 0, SUPERBLOCK_SIZE);
    memcpy(ret, magic, 8);
    put_le32(ret + 8, s->format);
    ret[12] = (uint8_t)s->shards;
    ret[13] = (uint8_t)(s->shards >> 8);
    put_le64(ret + 16, s->name_key.k0);
    put_le64(ret + 24, s->name_key.k1);
    put_le64(ret + 32, s->created_ns);
}

int superblock_decode(struct bytes value, struct superblock *ret, struct errmsg *msg)
{
    if (value.n < SUPERBLOCK_SIZE || memcmp(value.p, magic, 8) != 0)
        return errmsg_set(msg, -ERR_FORMAT, "the store holds no raftfs volume (bad superblock)");
    uint32_t format = get_le32(value.p + 8);
    if (format != FS_FORMAT)
        return errmsg_set(msg, -ERR_FORMAT,
                          "the volume has format %u, this raftfs knows format %u: use the raftfs "
                          "that wrote it or a newer one",
                          format, FS_FORMAT);
    *ret = (struct superblock){
        .format = format,
        .shards = (uint16_t)(value.p[12] | value.p[13] << 8),
        .name_key = {get_le64(value.p + 16), get_le64(value.p + 24)},
        .created_ns = get_le64(value.p + 32),
    };
    if (ret->shards == 0 || ret->shards > SHARDS_MAX)
        return errmsg_set(msg, -ERR_FORMAT, "the superblock names %u shards", ret->shards);
    return 0;
}

/* --- keys ------------------------------------------------------------------------------------- */

static struct key key_start(unsigned shard, uint8_t tag)
{
    struct key k = {.n = 3};
    put_be16(k.p, (uint16_t)shard);
    k.p[2] = tag;
    return k;
}

static void key_add64(struct key *k, uint64_t v)
{
    put_be64(k->p + k->n, v);
    k->n = (uint16_t)(k->n + 8);
}

static void key_add_name(struct key *k, const char *name)
{
    size_t n = strlen(name);
    ASSERT(n <= FS_NAME_MAX);
    memcpy(k->p + k->n, name, n);
    k->n = (uint16_t)(k->n + n);
}

static struct key key_of_ino(fs_ino ino, uint8_t tag)
{
    struct key k = key_start(ino_shard(ino), tag);
    key_add64(&k, ino);
    return k;
}

static struct key key_volume(uint8_t what)
{
    struct key k = key_start(0, 'V');
    k.p[k.n++] = what;
    return k;
}

struct key key_inode(fs_ino ino)
{
    return key_of_ino(ino, 'I');
}

struct key key_dentry(fs_ino dir, uint64_t hash, const char *name)
{
    struct key k = key_of_ino(dir, 'E');
    key_add64(&k, hash);
    key_add_name(&k, name);
    return k;
}

struct key key_block(unsigned shard, fs_ino ino, uint32_t block)
{
    struct key k = key_start(shard, 'C');
    key_add64(&k, ino);
    put_be32(k.p + k.n, block);
    k.n = (uint16_t)(k.n + 4);
    return k;
}

struct key key_xattr(fs_ino ino, const char *name)
{
    struct key k = key_of_ino(ino, 'X');
    key_add_name(&k, name);
    return k;
}

struct key key_lock(fs_ino ino)
{
    return key_of_ino(ino, 'L');
}

struct key key_orphan(fs_ino ino)
{
    return key_of_ino(ino, 'O');
}

struct key key_super(void)
{
    return key_volume('s');
}

struct key key_mounts(void)
{
    return key_volume('m');
}

struct key key_renames(void)
{
    return key_volume('r');
}

struct key key_member(uint64_t session)
{
    struct key k = key_volume('w');
    key_add64(&k, session);
    return k;
}

struct key key_question(uint64_t session)
{
    struct key k = key_volume('q');
    key_add64(&k, session);
    return k;
}

struct key key_answer(uint64_t asker, uint64_t session)
{
    struct key k = key_volume('a');
    key_add64(&k, asker);
    key_add64(&k, session);
    return k;
}

void range_dentries(fs_ino dir, uint64_t after_hash, struct key *ret_lo, struct key *ret_hi)
{
    *ret_lo = key_of_ino(dir, 'E');
    key_add64(ret_lo, after_hash ? after_hash + 1 : 0);
    *ret_hi = key_start(ino_shard(dir), 'E');
    key_add64(ret_hi, dir + 1);
}

void range_blocks(unsigned shard, fs_ino ino, uint64_t from, uint64_t to, struct key *ret_lo,
                  struct key *ret_hi)
{
    *ret_lo = key_block(shard, ino, (uint32_t)MIN(from, UINT32_MAX));
    if (to <= UINT32_MAX) {
        *ret_hi = key_block(shard, ino, (uint32_t)to);
    } else {
        *ret_hi = key_start(shard, 'C');
        key_add64(ret_hi, ino + 1);
    }
}

void range_xattrs(fs_ino ino, struct key *ret_lo, struct key *ret_hi)
{
    *ret_lo = key_of_ino(ino, 'X');
    *ret_hi = key_start(ino_shard(ino), 'X');
    key_add64(ret_hi, ino + 1);
}

void range_orphans(unsigned shard, struct key *ret_lo, struct key *ret_hi)
{
    *ret_lo = key_start(shard, 'O');
    *ret_hi = key_start(shard, 'O' + 1);
}

void range_members(struct key *ret_lo, struct key *ret_hi)
{
    *ret_lo = key_volume('w');
    *ret_hi = key_volume('w' + 1);
}

void range_questions(struct key *ret_lo, struct key *ret_hi)
{
    *ret_lo = key_volume('q');
    *ret_hi = key_volume('q' + 1);
}

void range_answers(uint64_t asker, struct key *ret_lo, struct key *ret_hi)
{
    *ret_lo = key_volume('a');
    key_add64(ret_lo, asker);
    *ret_hi = key_volume('a');
    key_add64(ret_hi, asker + 1);
}

int key_parse_dentry(struct bytes key, uint64_t *ret_hash, struct bytes *ret_name)
{
    if (key.n < 20 || key.n > 19 + FS_NAME_MAX || key.p[2] != 'E')
        return -EIO;
    *ret_hash = get_be64(key.p + 11);
    *ret_name = bytes_of(key.p + 19, key.n - 19);
    return 0;
}

int key_parse_block(struct bytes key, uint32_t *ret_block)
{
    if (key.n != 15 || key.p[2] != 'C')
        return -EIO;
    *ret_block = get_be32(key.p + 11);
    return 0;
}

int key_parse_ino(struct bytes key, uint8_t tag, fs_ino *ret_ino)
{
    if (key.n != 11 || key.p[2] != tag)
        return -EIO;
    *ret_ino = get_be64(key.p + 3);
    return 0;
}

int key_parse_session(struct bytes key, uint64_t *ret_session)
{
    if (key.n < 12 || key.p[2] != 'V')
        return -EIO;
    *ret_session = get_be64(key.p + key.n - 8);
    return 0;
}

/* --- hashes ----------------------------------------------------------------------------------- */

uint64_t schema_name_hash(const struct siphash_key *key, const char *name)
{
    uint64_t h = siphash24(key, bytes_str(name)) >> 1;
    return h < NAME_HASH_MIN ? h + NAME_HASH_MIN : h;
}

/* splitmix64's finaliser. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

unsigned schema_block_shard(fs_ino ino, uint64_t block, unsigned shards)
{
    if (block < BLOCKS_WITH_INODE)
        return ino_shard(ino);
    return (unsigned)(mix(mix(ino) + block / BLOCKS_PER_STRIPE) % shards);
}

unsigned schema_dir_shard(uint64_t mount, uint64_t counter, unsigned shards)
{
    return (unsigned)(mix(mix(mount) + counter) % shards);
}
