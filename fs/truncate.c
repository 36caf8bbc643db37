/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies beyond the end of a file, and holes made in it.
 *
 * Blocks are written before the size that shows them, and a truncate sets the size before it frees
 * blocks. So between size and `hi` there may be bytes that a crash or an unfinished truncate left:
 * garbage, which nobody reads. Who raises the size over it without overwriting it must first make
 * it zeros (clean_tail), and must not destroy what another mount writes there at the same time:
 *
 * - what a scan finds beyond the size is garbage or belongs to a flush under way whose last
 *   transaction compares the data version;
 * - the claim bumps the data version, if it is still the one read before the scan: from here such a
 *   flush fails its compare and writes everything again;
 * - then each block found is removed only if its version is still the one the scan saw.
 *
 * A sequential writer covers all bytes from the old size to the new one and never comes here.
 */
#include "fs/volume_impl.h"

#include <linux/falloc.h>

void txn_same_data(struct txn *t, const struct inode *n)
{
    uint8_t *p = arena_alloc(&t->arena, 16);
    put_le64(p, n->size);
    put_le64(p + 8, n->data_version);
    txn_bytes_at(t, KEY(key_inode(n->ino)), INODE_BYTES, bytes_of(p, 16));
}

/* A block found beyond the size (or, the first, across it). */
struct found {
    uint32_t block;
    uint64_t version;
};

/* One page of keys; *from moves on. */
static int scan_blocks(struct volume *v, fs_ino ino, const struct block_range *r, uint64_t *from,
                       GArray *ret)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    range_blocks(r->shard, ino, *from, r->to, &lo, &hi);
    txn_scan(&t, key_view(&lo), key_view(&hi), SCAN_ENTRIES_MAX, true);
    int rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (t.reply.n_reads != 1)
        return -EIO;
    const struct kv_result *res = &t.reply.reads[0];
    for (uint32_t i = 0; i < res->n_pairs; i++) {
        struct found f = {.version = res->pairs[i].version};
        rc = key_parse_block(res->pairs[i].key, &f.block);
        if (rc)
            return rc;
        g_array_append_val(ret, f);
        *from = (uint64_t)f.block + 1;
    }
    if (!res->more)
        *from = r->to;
    return 0;
}

/* Whether the block that the size cuts has bytes behind it. */
static int tail_used(struct volume *v, const struct inode *n, unsigned shard, bool *ret)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key key = key_block(shard, n->ino, (uint32_t)(n->size / FS_BLOCK));
    txn_get_part(&t, key_view(&key), 0, 1);
    int rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (t.reply.n_reads != 1)
        return -EIO;
    *ret = t.reply.reads[0].version != 0 && t.reply.reads[0].size > n->size % FS_BLOCK;
    return 0;
}

/* Drops from `found` what needs no cleaning: covered by what will be written, or short enough. */
static int keep_garbage(struct volume *v, const struct inode *n, uint64_t end, unsigned shard,
                        const struct buffer *except, GArray *found)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < found->len; i++) {
        struct found f = g_array_index(found, struct found, i);
        uint64_t start = (uint64_t)f.block * FS_BLOCK, lo, hi;
        bool dirty = !except ||
                     buffer_gap(except, MAX(start, n->size), MIN(start + FS_BLOCK, end), &lo, &hi);
        if (dirty && start < n->size) {
            int rc = tail_used(v, n, shard, &dirty);
            if (rc)
                return rc;
        }
        if (dirty)
            g_array_index(found, struct found, kept++) = f;
    }
    g_array_set_size(found, kept);
    return 0;
}

static int claim_tail(struct volume *v, struct inode *n)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_same_data(&t, n);
    txn_add64(&t, KEY(key_inode(n->ino)), INODE_DATA_VERSION, 1);
    int rc = volume_run(v, &t);
    if (rc == 0)
        n->data_version++;
    return rc;
}

static int remove_found(struct volume *v, const struct inode *n, unsigned shard, GArray *found)
{
    for (unsigned i = 0; i < found->len;) {
        struct txn t CLEANUP(txn_finish) = {0};
        for (unsigned k = 0; k < TXN_COMPARES_MAX && i < found->len; k++, i++) {
            struct found f = g_array_index(found, struct found, i);
            struct key key = key_block(shard, n->ino, f.block);
            txn_version(&t, key_view(&key), f.version);
            if ((uint64_t)f.block * FS_BLOCK < n->size)
                txn_truncate(&t, key_view(&key), n->size % FS_BLOCK);
            else
                txn_delete(&t, key_view(&key));
        }
        int rc = volume_run(v, &t);
        if (rc)
            return rc;
    }
    return 0;
}

static int clean_range(struct volume *v, struct inode *n, uint64_t end, const struct buffer *except,
                       const struct block_range *r)
{
    GArray *found = g_array_new(FALSE, FALSE, sizeof(struct found));
    int rc = 0;
    for (uint64_t from = r->from; from < r->to && rc == 0;) {
        g_array_set_size(found, 0);
        rc = scan_blocks(v, n->ino, r, &from, found);
        if (rc == 0)
            rc = keep_garbage(v, n, end, r->shard, except, found);
        if (rc == 0 && found->len)
            rc = claim_tail(v, n);
        if (rc == 0 && found->len)
            rc = remove_found(v, n, r->shard, found);
    }
    g_array_free(found, TRUE);
    return rc;
}

int clean_tail(struct volume *v, struct inode *n, uint64_t end, const struct buffer *except)
{
    end = MIN(end, n->hi);
    uint64_t lo, hi;
    if (n->size >= end || (except && !buffer_gap(except, n->size, end, &lo, &hi)))
        return 0;
    GArray *ranges = data_ranges(v, n->ino, n->size / FS_BLOCK, (end + FS_BLOCK - 1) / FS_BLOCK);
    int rc = 0;
    for (unsigned i = 0; i < ranges->len && rc == 0; i++)
        rc = clean_range(v, n, end, except, &g_array_index(ranges, struct block_range, i));
    g_array_free(ranges, TRUE);
    return rc;
}

/* --- holes ------------------------------------------------------------------------------------ */

/* Zeros over a part of one block, if there is one. */
static int zero_part(struct volume *v, fs_ino ino, uint64_t off, uint64_t n)
{
    if (n == 0)
        return 0;
    static const uint8_t zeros[FS_BLOCK];
    uint64_t block = off / FS_BLOCK;
    struct key key = key_block(schema_block_shard(ino, block, v->shards), ino, (uint32_t)block);
    struct txn t CLEANUP(txn_finish) = {0};
    txn_exists(&t, key_view(&key));
    txn_write(&t, key_view(&key), off % FS_BLOCK, bytes_of(zeros, n));
    int rc = volume_run(v, &t);
    return rc > 0 ? 0 : rc; /* a hole already */
}

static int delete_blocks(struct volume *v, fs_ino ino, uint64_t from, uint64_t to)
{
    GArray *ranges = data_ranges(v, ino, from, to);
    int rc = 0;
    for (unsigned i = 0; i < ranges->len && rc == 0; i++) {
        const struct block_range *r = &g_array_index(ranges, struct block_range, i);
        struct key lo, hi;
        range_blocks(r->shard, ino, r->from, r->to, &lo, &hi);
        rc = delete_range(v, key_view(&lo), key_view(&hi));
    }
    g_array_free(ranges, TRUE);
    return rc;
}

static int zero_range(struct volume *v, const struct inode *n, uint64_t off, uint64_t end)
{
    end = MIN(end, MIN(n->size, n->hi));
    if (off >= end)
        return 0;
    uint64_t first = (off + FS_BLOCK - 1) / FS_BLOCK, last = end / FS_BLOCK;
    if (first > last) /* within one block */
        return zero_part(v, n->ino, off, end - off);
    int rc = zero_part(v, n->ino, off, first * FS_BLOCK - off);
    if (rc == 0)
        rc = delete_blocks(v, n->ino, first, last);
    if (rc == 0)
        rc = zero_part(v, n->ino, last * FS_BLOCK, end - last * FS_BLOCK);
    return rc;
}

/* Data changed without a change of size. */
static int touch_data(struct vnode *vn)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes key = KEY(key_inode(vn->ino));
    txn_add64(&t, key, INODE_DATA_VERSION, 1);
    txn_touch(&t, key);
    int rc = volume_run(vn->v, &t);
    struct inode n;
    if (rc == 0)
        rc = vnode_refresh(vn, &n);
    return rc > 0 ? -ESTALE : rc;
}

static int punch_claimed(struct vnode *vn, uint64_t off, uint64_t end)
{
    struct inode n;
    int rc = vnode_flush_claimed(vn);
    if (rc == 0)
        rc = vnode_refresh(vn, &n);
    if (rc == 0)
        rc = zero_range(vn->v, &n, off, end);
    if (rc == 0)
        rc = touch_data(vn);
    return rc;
}

static int grow(struct vnode *vn, uint64_t end)
{
    struct volume_attr a;
    int rc = volume_getattr(vn->v, vn->ino, &a);
    if (rc || a.size >= end)
        return rc;
    struct volume_caller daemon = {.capable = true};
    a.size = end;
    return volume_setattr(vn->v, vn->ino, &daemon, VOLUME_SIZE, &a, &a);
}

int volume_fallocate(struct volume_file *f, int mode, uint64_t off, uint64_t len)
{
    bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    bool zero = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
    if (!punch && !zero && (mode & ~FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    if (len == 0)
        return -EINVAL;
    if (off > FS_FILE_MAX || len > FS_FILE_MAX - off)
        return -EFBIG;
    struct vnode *vn = f->vn;
    int rc = inode_drop_privilege(vn); /* whoever it is: the kernel does not say */
    if (rc)
        return rc;
    if (punch || zero) {
        rc = vnode_claim(vn);
        if (rc)
            return rc;
        rc = punch_claimed(vn, off, off + len);
        vnode_release(vn);
    }
    if (rc == 0 && !(mode & FALLOC_FL_KEEP_SIZE))
        rc = grow(vn, off + len);
    return rc;
}
