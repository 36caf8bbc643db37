/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/segment.h"

#include "cluster/base/codec.h"

/* --- one segment ------------------------------------------------------------------------------ */

struct segment *segment_create(uint64_t seq)
{
    struct segment *s = g_new0(struct segment, 1);
    s->seq = seq;
    s->marks = g_array_new(FALSE, FALSE, sizeof(struct segment_mark));
    return s;
}

static void close_file(struct segment *s)
{
    if (s->file)
        s->file->disk->ops->close(s->file);
    s->file = NULL;
}

void segment_destroy(struct segment *s)
{
    if (!s)
        return;
    close_file(s);
    g_array_free(s->marks, TRUE);
    g_free(s);
}

static struct segment_mark *find_mark(const struct segment *s, uint32_t gid)
{
    for (guint i = 0; i < s->marks->len; i++) {
        struct segment_mark *m = &g_array_index(s->marks, struct segment_mark, i);
        if (m->gid == gid)
            return m;
    }
    return NULL;
}

void segment_mark(struct segment *s, uint32_t gid, uint64_t index)
{
    struct segment_mark *m = find_mark(s, gid);
    if (m) {
        m->index = MAX(m->index, index);
        return;
    }
    struct segment_mark fresh = {gid, index};
    g_array_append_val(s->marks, fresh);
}

void segment_unmark(struct segment *s, uint32_t gid)
{
    struct segment_mark *m = find_mark(s, gid);
    if (m)
        m->index = 0;
}

char *segment_path(const char *dir, uint64_t seq)
{
    return g_strdup_printf("%s/%0*" G_GINT64_MODIFIER "x%s", dir, WAL_SEQ_DIGITS, seq,
                           WAL_SEGMENT_SUFFIX);
}

uint64_t segment_parse_name(const char *name)
{
    if (strlen(name) != WAL_SEQ_DIGITS + strlen(WAL_SEGMENT_SUFFIX) ||
        strcmp(name + WAL_SEQ_DIGITS, WAL_SEGMENT_SUFFIX) != 0 ||
        strspn(name, "0123456789abcdef") != WAL_SEQ_DIGITS)
        return 0;
    return g_ascii_strtoull(name, NULL, 16);
}

/* --- the pool --------------------------------------------------------------------------------- */

void segment_pool_init(struct segment_pool *p, struct disk *disk, const char *dir,
                       uint64_t segment_bytes)
{
    *p = (struct segment_pool){
        .disk = disk,
        .dir = g_strdup(dir),
        .segment_bytes = batch_length(segment_bytes - sizeof(struct wal_batch_head)),
        .next_seq = 1,
    };
    g_queue_init(&p->closed);
    g_queue_init(&p->ready);
}

static void destroy_each(gpointer s)
{
    segment_destroy(s);
}

void segment_pool_finish(struct segment_pool *p)
{
    segment_destroy(p->current);
    g_queue_clear_full(&p->closed, destroy_each);
    g_queue_clear_full(&p->ready, destroy_each);
    g_free(p->dir);
    *p = (struct segment_pool){0};
}

static int remove_synced(struct segment_pool *p, uint64_t seq)
{
    char *path = segment_path(p->dir, seq);
    int err = p->disk->ops->remove(p->disk, path);
    if (err == 0)
        err = p->disk->ops->sync_dir(p->disk, p->dir);
    g_free(path);
    return err;
}

/* Opens or creates s's file with at least `bytes` allocated, and its name durable. */
static int allocate_file(struct segment_pool *p, struct segment *s, int flags, uint64_t bytes)
{
    uint64_t size = MAX(p->segment_bytes, batch_length(bytes));
    char *path = segment_path(p->dir, s->seq);
    int err = p->disk->ops->open(p->disk, path, flags, &s->file);
    g_free(path);
    if (err == 0 && s->size < size) {
        err = p->disk->ops->allocate(s->file, size);
        if (err == 0)
            s->size = size;
    }
    if (err == 0)
        err = p->disk->ops->sync_dir(p->disk, p->dir);
    return err;
}

/* No space is the one error that leaves the log usable; for all else it is unknown what happened.
 */
static int final_error(int err)
{
    return err == -ERR_NO_SPACE ? -ERR_IO : err;
}

int segment_pool_make(struct segment_pool *p, uint64_t bytes)
{
    struct segment *s = segment_create(p->next_seq);
    int err = allocate_file(p, s, DISK_CREATE | DISK_EXCL, bytes);
    if (err == 0) {
        p->next_seq++;
        g_queue_push_tail(&p->ready, s);
        return 0;
    }
    if (err == -ERR_NO_SPACE && s->file) {
        close_file(s);
        /* Give back what was allocated, or nothing else can use it. The name is free again. */
        int undone = remove_synced(p, s->seq);
        if (undone < 0)
            err = final_error(undone);
    }
    segment_destroy(s);
    return err;
}

int segment_pool_recycle(struct segment_pool *p, struct segment *s)
{
    close_file(s);
    if (p->ready.length >= SEGMENTS_READY_MAX || s->size < p->segment_bytes) {
        int err = remove_synced(p, s->seq);
        segment_destroy(s);
        return final_error(err);
    }
    char *from = segment_path(p->dir, s->seq);
    char *to = segment_path(p->dir, p->next_seq);
    int err = p->disk->ops->rename(p->disk, from, to);
    g_free(from);
    g_free(to);
    if (err == 0) {
        s->seq = p->next_seq++;
        s->used = 0;
        g_array_set_size(s->marks, 0);
        err = allocate_file(p, s, 0, 0);
    }
    if (err < 0) {
        segment_destroy(s);
        return final_error(err);
    }
    g_queue_push_tail(&p->ready, s);
    return 0;
}

int segment_pool_roll(struct segment_pool *p, uint64_t bytes)
{
    int err = 0;
    if (p->ready.length == 0)
        err = segment_pool_make(p, bytes);
    if (err < 0)
        return err;
    struct segment *next = g_queue_peek_head(&p->ready);
    if (next->size < bytes) {
        err = p->disk->ops->allocate(next->file, batch_length(bytes));
        if (err < 0)
            return err;
        next->size = batch_length(bytes);
    }
    g_queue_pop_head(&p->ready);
    if (p->current) {
        close_file(p->current);
        g_queue_push_tail(&p->closed, p->current);
    }
    p->current = next;
    return 0;
}

/* --- batch heads ------------------------------------------------------------------------------ */

#define CRC_AT offsetof(struct wal_batch_head, crc)

uint64_t batch_length(uint64_t bytes)
{
    uint64_t n = sizeof(struct wal_batch_head) + bytes;
    return (n + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
}

void batch_encode(const struct batch *b, struct wal_batch_head *ret)
{
    *ret = (struct wal_batch_head){0};
    memcpy(ret->magic, WAL_MAGIC, sizeof(ret->magic));
    put_le32(ret->version, WAL_VERSION);
    put_le32(ret->flags, b->flags);
    put_le64(ret->seq, b->seq);
    put_le64(ret->number, b->number);
    put_le64(ret->offset, b->offset);
    put_le32(ret->bytes, b->bytes);
    put_le32(ret->records, b->records);
    put_le32(ret->crc, crc32c(0, ret, CRC_AT));
}

enum batch_verdict batch_decode(const uint8_t *p, uint64_t seq, uint64_t offset, uint64_t size,
                                struct batch *ret)
{
    static const uint8_t zeroes[sizeof(((struct wal_batch_head *)0)->reserved)];
    const struct wal_batch_head *h = (const struct wal_batch_head *)p;
    if (memcmp(h->magic, WAL_MAGIC, sizeof(h->magic)) != 0 ||
        get_le32(h->crc) != crc32c(0, h, CRC_AT))
        return BATCH_NONE;
    if (get_le32(h->version) > WAL_VERSION) {
        *ret = (struct batch){.version = get_le32(h->version)};
        return BATCH_NEWER;
    }
    const struct batch b = {
        .version = get_le32(h->version),
        .seq = get_le64(h->seq),
        .number = get_le64(h->number),
        .offset = get_le64(h->offset),
        .flags = get_le32(h->flags),
        .bytes = get_le32(h->bytes),
        .records = get_le32(h->records),
    };
    if (b.version < WAL_VERSION_OLD || b.offset != offset ||
        b.flags != (offset == 0 ? WAL_BATCH_FIRST : 0) || batch_length(b.bytes) > size - offset ||
        memcmp(h->reserved, zeroes, sizeof(zeroes)) != 0)
        return BATCH_NONE;
    *ret = b;
    return b.seq == seq ? BATCH_OK : BATCH_OTHER;
}
