/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/reader.h"

#define PIECE MIB(1)

int reader_init(struct reader *r, struct disk *disk, const char *dir, uint64_t seq)
{
    *r = (struct reader){.seq = seq};
    char *path = segment_path(dir, seq);
    int err = disk->ops->open(disk, path, DISK_READ, &r->file);
    g_free(path);
    if (err == 0)
        err = disk->ops->size(r->file, &r->size);
    if (err < 0) {
        reader_finish(r);
        return err;
    }
    r->size -= r->size % WAL_BLOCK;
    r->p = g_malloc(r->size); /* touched only as far as it is loaded */
    return 0;
}

void reader_finish(struct reader *r)
{
    if (r->file)
        r->file->disk->ops->close(r->file);
    g_free(r->p);
    *r = (struct reader){0};
}

static bool load(struct reader *r, uint64_t upto)
{
    if (upto > r->size)
        return false;
    while (r->err == 0 && r->loaded < upto) {
        size_t n = (size_t)MIN(PIECE, r->size - r->loaded);
        int64_t got = r->file->disk->ops->read(r->file, r->p + r->loaded, n, r->loaded);
        if (got == (int64_t)n)
            r->loaded += n;
        else
            r->err = got < 0 ? (int)got : -ERR_IO; /* or it became shorter */
    }
    return r->err == 0;
}

enum batch_verdict reader_head(struct reader *r, uint64_t at, struct batch *ret)
{
    if (!load(r, at + WAL_BLOCK))
        return BATCH_NONE;
    return batch_decode(r->p + at, r->seq, at, r->size, ret);
}

bool reader_find(struct reader *r, uint64_t at, uint64_t number, struct batch *ret)
{
    for (; at < r->size; at += WAL_BLOCK)
        if (reader_head(r, at, ret) == BATCH_OK && ret->number >= number)
            return true;
    return false;
}

struct bytes reader_records(struct reader *r, const struct batch *b)
{
    if (!load(r, b->offset + batch_length(b->bytes)))
        return BYTES_NONE;
    return bytes_of(r->p + b->offset + sizeof(struct wal_batch_head), b->bytes);
}

bool reader_whole(struct reader *r, const struct batch *b)
{
    struct bytes rest = reader_records(r, b);
    uint32_t salt = record_salt(b->seq, b->number);
    struct record rec;
    for (uint32_t i = 0; i < b->records; i++)
        if (rest.n == 0 || record_next(&rest, salt, &rec) != RECORD_OK)
            return false;
    return rest.n == 0 && r->err == 0;
}
