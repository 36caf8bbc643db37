/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of data to and from the cluster, several requests under way at once. */
#include "fs/volume_impl.h"

/* A request of consecutive blocks of one shard. */
struct piece {
    struct txn t;
    uint64_t off;
    size_t n;
};

/* Requests in the order they were started; at most TXNS_IN_FLIGHT. */
struct pipeline {
    struct volume *v;
    uint64_t session;
    struct piece pieces[TXNS_IN_FLIGHT];
    unsigned head, count;
    int (*done)(void *arg, struct piece *p); /* of a request that was answered well */
    void *arg;
};

static int pipeline_wait(struct pipeline *q, bool cancelable)
{
    struct piece *p = &q->pieces[q->head];
    q->head = (q->head + 1) % TXNS_IN_FLIGHT;
    q->count--;
    struct client_cancel *x = cancelable ? volume_cancel() : NULL;
    int rc = volume_outcome(q->v, txn_wait(q->v->client, &p->t, 0, x), q->session);
    if (rc == 0 && q->done)
        rc = q->done(q->arg, p);
    return rc > 0 ? -EIO : rc;
}

/* The next piece to fill; waits for the oldest when all are under way. */
static int pipeline_next(struct pipeline *q, bool cancelable, struct piece **ret)
{
    int rc = 0;
    if (q->count == TXNS_IN_FLIGHT)
        rc = pipeline_wait(q, cancelable);
    if (rc)
        return rc;
    *ret = &q->pieces[(q->head + q->count) % TXNS_IN_FLIGHT];
    txn_reset(&(*ret)->t);
    return 0;
}

static int pipeline_start(struct pipeline *q, struct piece *p)
{
    int rc = volume_start(q->v, &p->t, q->session);
    if (rc == 0)
        q->count++;
    return rc > 0 ? -EIO : rc;
}

/* Waits for all, whatever happened; the first error counts. */
static int pipeline_end(struct pipeline *q, bool cancelable, int rc)
{
    while (q->count) {
        int got = pipeline_wait(q, cancelable);
        rc = rc ? rc : got;
    }
    for (unsigned i = 0; i < TXNS_IN_FLIGHT; i++)
        txn_finish(&q->pieces[i].t);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reading {
    uint8_t *p;
    uint64_t off; /* of p[0] */
};

static int take_blocks(void *arg, struct piece *piece)
{
    struct reading *r = arg;
    uint64_t at = piece->off, end = piece->off + piece->n;
    for (uint32_t i = 0; at < end; i++) {
        if (i >= piece->t.reply.n_reads)
            return -EIO;
        uint64_t next = MIN(end, (at / FS_BLOCK + 1) * FS_BLOCK);
        struct bytes value = piece->t.reply.reads[i].value;
        size_t n = MIN(value.n, next - at);
        uint8_t *to = r->p + (at - r->off);
        if (n)
            memcpy(to, value.p, n);
        memset(to + n, 0, next - at - n);
        at = next;
    }
    return 0;
}

/* Where the request that begins at off ends: same shard, at most BLOCKS_PER_TXN blocks. */
static uint64_t piece_end(uint64_t off, uint64_t end)
{
    uint64_t block = off / FS_BLOCK;
    uint64_t border = block < BLOCKS_WITH_INODE
                          ? BLOCKS_WITH_INODE
                          : (block / BLOCKS_PER_STRIPE + 1) * BLOCKS_PER_STRIPE;
    border = MIN(border, block + BLOCKS_PER_TXN);
    return MIN(end, border * FS_BLOCK);
}

/* Appends a GET per block of the piece. */
static void get_blocks(struct volume *v, fs_ino ino, struct piece *piece)
{
    uint64_t end = piece->off + piece->n;
    for (uint64_t at = piece->off; at < end;) {
        uint64_t next = MIN(end, (at / FS_BLOCK + 1) * FS_BLOCK);
        unsigned shard = schema_block_shard(ino, at / FS_BLOCK, v->shards);
        struct key key = key_block(shard, ino, (uint32_t)(at / FS_BLOCK));
        txn_get_part(&piece->t, key_view(&key), at % FS_BLOCK, next - at);
        at = next;
    }
}

int data_read_small(struct volume *v, fs_ino ino, void *p, size_t n, uint64_t off,
                    struct inode *ret)
{
    struct piece piece = {.off = off, .n = n};
    struct reading reading = {p, off};
    ASSERT(off + n <= FS_INODE_STRIPE);
    get_blocks(v, ino, &piece);
    unsigned at = txn_get_part(&piece.t, KEY(key_inode(ino)), 0, INODE_SIZE);
    int rc = volume_run(v, &piece.t);
    if (rc == 0 && piece.t.reply.n_reads != at + 1)
        rc = -EIO;
    if (rc == 0)
        rc = take_blocks(&reading, &piece);
    if (rc == 0 && piece.t.reply.reads[at].version == 0)
        rc = -ESTALE;
    if (rc == 0)
        rc = inode_decode(ino, piece.t.reply.reads[at].value, ret);
    if (rc == 0)
        ret->target = BYTES_NONE;
    txn_finish(&piece.t);
    return rc > 0 ? -EIO : rc;
}

int data_read(struct volume *v, fs_ino ino, void *p, size_t n, uint64_t off)
{
    struct reading reading = {p, off};
    struct pipeline q = {
        .v = v, .session = volume_session(v), .done = take_blocks, .arg = &reading};
    uint64_t end = off + n;
    int rc = 0;
    while (off < end && rc == 0) {
        struct piece *piece;
        rc = pipeline_next(&q, true, &piece);
        if (rc)
            break;
        piece->off = off;
        piece->n = piece_end(off, end) - off;
        off += piece->n;
        get_blocks(v, ino, piece);
        rc = pipeline_start(&q, piece);
    }
    return pipeline_end(&q, true, rc);
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

void data_put_extent(struct volume *v, struct txn *t, fs_ino ino, const struct extent *e)
{
    uint64_t block = e->off / FS_BLOCK;
    unsigned shard = schema_block_shard(ino, block, v->shards);
    struct key key = key_block(shard, ino, (uint32_t)block);
    if (e->len < FS_BLOCK) {
        txn_write(t, key_view(&key), e->off % FS_BLOCK, bytes_of(e->data, e->len));
        return;
    }
    uint32_t len = e->len;
    while (len > 0 && all_zero(e->data + len - KIB(4), KIB(4)))
        len -= (uint32_t)KIB(4);
    if (len == 0)
        txn_delete(t, key_view(&key)); /* a hole */
    else
        txn_put(t, key_view(&key), bytes_of(e->data, len));
}

/* Extents [i, ...) that fit one request; returns the index behind them. */
static unsigned fill_piece(struct volume *v, fs_ino ino, const struct buffer *b, unsigned i,
                           struct piece *piece)
{
    const struct extent *first = buffer_at(b, i);
    uint64_t end = piece_end(first->off, UINT64_MAX);
    for (unsigned writes = 0; i < buffer_count(b) && writes < TXN_WRITES_MAX / 2; i++, writes++) {
        const struct extent *e = buffer_at(b, i);
        if (e->off >= end)
            break;
        data_put_extent(v, &piece->t, ino, e);
    }
    return i;
}

int data_write(struct volume *v, fs_ino ino, const struct buffer *b)
{
    struct pipeline q = {.v = v, .session = volume_session(v)};
    int rc = 0;
    unsigned i = 0;
    while (i < buffer_count(b) && buffer_at(b, i)->off < FS_INODE_STRIPE)
        i++;
    while (i < buffer_count(b) && rc == 0) {
        struct piece *piece;
        rc = pipeline_next(&q, false, &piece);
        if (rc)
            break;
        i = fill_piece(v, ino, b, i, piece);
        rc = pipeline_start(&q, piece);
    }
    /* Never given up: a request left behind could land on top of a later write. */
    return pipeline_end(&q, false, rc);
}

int delete_range(struct volume *v, struct bytes lo, struct bytes hi)
{
    for (;;) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_delete_range(&t, lo, hi, DELETE_STEP);
        int rc = volume_run(v, &t);
        if (rc)
            return rc < 0 ? rc : -EIO;
        if (t.reply.n_deleted != 1)
            return -EIO;
        if (t.reply.deleted[0].value < DELETE_STEP)
            return 0;
    }
}

/* --- ranges ----------------------------------------------------------------------------------- */

GArray *data_ranges(struct volume *v, fs_ino ino, uint64_t from, uint64_t to)
{
    GArray *ranges = g_array_new(FALSE, FALSE, sizeof(struct block_range));
    if (from >= to)
        return ranges;
    uint64_t first = from / BLOCKS_PER_STRIPE, last = (to - 1) / BLOCKS_PER_STRIPE;
    if (from < BLOCKS_WITH_INODE) {
        struct block_range r = {ino_shard(ino), from, MIN(to, BLOCKS_WITH_INODE)};
        g_array_append_val(ranges, r);
        from = BLOCKS_WITH_INODE;
    }
    if (from >= to)
        return ranges;
    if (last - first >= v->shards) { /* every shard may have some: one range each */
        for (unsigned shard = 0; shard < v->shards; shard++) {
            struct block_range r = {shard, from, to};
            g_array_append_val(ranges, r);
        }
        return ranges;
    }
    for (uint64_t s = first; s <= last; s++) {
        struct block_range r = {
            schema_block_shard(ino, MAX(s * BLOCKS_PER_STRIPE, BLOCKS_WITH_INODE), v->shards),
            MAX(from, s * BLOCKS_PER_STRIPE), MIN(to, (s + 1) * BLOCKS_PER_STRIPE)};
        g_array_append_val(ranges, r);
    }
    return ranges;
}
