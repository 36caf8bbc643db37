/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/inspect.h"

#include "cluster/store/recover.h"

void inspect_records(const struct wal_observer *o, const struct batch *b, struct bytes rest)
{
    uint32_t salt = record_salt(b->seq, b->number);
    uint32_t seen = 0;
    for (; rest.n > 0 && seen < b->records; seen++) {
        struct record rec;
        const char *fault = record_head_fault(rest, salt);
        if (fault) {
            o->record(o->ctx, NULL, fault);
            return;
        }
        enum record_verdict v = record_next(&rest, salt, &rec);
        o->record(o->ctx, &rec, v == RECORD_OK ? NULL : "its data has a wrong checksum");
    }
    if (seen < b->records)
        o->record(o->ctx, NULL, "the batch ends before its last record");
    else if (rest.n > 0)
        o->record(o->ctx, NULL, "the batch is longer than its records");
}

static bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

void inspect_rest(const struct wal_observer *o, struct reader *r, struct wal_rest_seen rest)
{
    bool zeroes = true;
    rest.seq = r->seq;
    rest.bytes = r->size - MIN(rest.offset, r->size);
    if (rest.bytes == 0)
        rest.what = REST_NONE;
    for (uint64_t at = rest.offset; rest.what != REST_TORN && at < r->size; at += WAL_BLOCK) {
        struct batch b;
        enum batch_verdict v = reader_head(r, at, &b);
        if (r->err < 0)
            return; /* recovery tells */
        zeroes = zeroes && is_zero(r->p + at, WAL_BLOCK);
        rest.what = zeroes ? REST_ZEROES : REST_OTHER;
        if (v == BATCH_OTHER && b.seq < r->seq) {
            rest.what = REST_STALE;
            rest.holds = b.seq;
            break;
        }
    }
    o->rest(o->ctx, &rest);
}

static void see_name(void *arg, const char *name)
{
    *(bool *)arg |= segment_parse_name(name) > 0;
}

int wal_inspect(struct disk *disk, const char *dir, const struct wal_observer *o,
                struct wal_recovery *ret_recovery, struct errmsg *msg)
{
    bool ours = false;
    int err = disk->ops->list(disk, dir, see_name, &ours);
    if (err < 0)
        return errmsg_set(msg, err, "list %s: %s", dir, err_text(err));
    if (!ours)
        return errmsg_set(msg, -ERR_NOT_FOUND, "%s holds no log segments (*%s)", dir,
                          WAL_SEGMENT_SUFFIX);
    struct segment_pool pool;
    struct recovered writer = {0};
    segment_pool_init(&pool, disk, dir, WAL_BLOCK);
    err = wal_recover(&pool, o, ret_recovery, &writer, msg);
    recovered_finish(&writer);
    segment_pool_finish(&pool);
    return err;
}
