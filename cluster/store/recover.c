/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/recover.h"

#include "cluster/store/inspect.h"
#include "cluster/store/reader.h"
#include "cluster/store/replay.h"

#define NO_LIMIT UINT64_MAX

/* A file of the log, before and while it is replayed. */
struct found {
    uint64_t seq;
    bool in_use; /* see format.h */
    bool unsure; /* its first batch is not whole: one behind it would make it in use */
    bool headed; /* but has a valid head, with the number `first` */
    uint64_t first;
    uint64_t size, holds; /* of another segment's head at its beginning, 0: none */
};

struct recovery {
    struct segment_pool *pool;
    const struct wal_observer *observer; /* or NULL */
    struct errmsg *msg;
    GArray *files; /* struct found, by seq */
    struct replay replay;
    uint64_t expected; /* number of the next batch; 0: none seen yet */
    bool torn;

    /* The segment being read. */
    struct found *file;
    struct segment *segment;
    struct reader reader;

    /* The last valid batch, held back until it is known not to be the last one of all. */
    bool pending;
    uint64_t pending_number;
    uint32_t pending_salt;
    struct bytes pending_records; /* in the reader's, or in pending_copy */
    struct enc pending_copy;
};

void recovered_finish(struct recovered *r)
{
    states_finish(&r->states);
    enc_finish(&r->again);
    if (r->unused)
        g_array_free(r->unused, TRUE);
    *r = (struct recovered){0};
}

static struct found *file_at(const struct recovery *r, guint i)
{
    return &g_array_index(r->files, struct found, i);
}

/* --- files ------------------------------------------------------------------------------------ */

static int segment_error(struct recovery *r, int err, uint64_t seq)
{
    return errmsg_set(r->msg, err, "read segment %016" G_GINT64_MODIFIER "x in %s: %s", seq,
                      r->pool->dir, err_text(err));
}

static int open_reader(struct recovery *r, uint64_t seq)
{
    int err = reader_init(&r->reader, r->pool->disk, r->pool->dir, seq);
    return err < 0 ? segment_error(r, err, seq) : 0;
}

/* Also the end of everything that was concluded from what was not found: a read may have failed. */
static int close_reader(struct recovery *r)
{
    int err = r->reader.err < 0 ? segment_error(r, r->reader.err, r->reader.seq) : 0;
    reader_finish(&r->reader);
    return err;
}

static void note_name(void *arg, const char *name)
{
    struct recovery *r = arg;
    struct found f = {.seq = segment_parse_name(name)};
    if (f.seq > 0)
        g_array_append_val(r->files, f);
}

static gint by_seq(gconstpointer a, gconstpointer b)
{
    const struct found *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int list_segments(struct recovery *r)
{
    struct disk *d = r->pool->disk;
    int err = d->ops->list(d, r->pool->dir, note_name, r);
    if (err < 0)
        return errmsg_set(r->msg, err, "list %s: %s", r->pool->dir, err_text(err));
    g_array_sort(r->files, by_seq);
    if (r->files->len > 0)
        r->pool->next_seq = file_at(r, r->files->len - 1)->seq + 1;
    return 0;
}

/* What the file holds, by its first batch. */
static int classify(struct recovery *r, struct found *file)
{
    int err = open_reader(r, file->seq);
    if (err < 0)
        return err;
    struct batch b = {0};
    enum batch_verdict v = reader_head(&r->reader, 0, &b);
    if (v == BATCH_OTHER && b.seq > file->seq) {
        replay_damage(&r->replay,
                      "file %016" G_GINT64_MODIFIER "x%s holds segment %016" G_GINT64_MODIFIER "x",
                      file->seq, WAL_SEGMENT_SUFFIX, b.seq);
        r->pool->next_seq = MAX(r->pool->next_seq, b.seq + 1); /* that one was used, too */
        replay_damaged_anywhere(&r->replay);
    }
    file->size = r->reader.size;
    file->holds = v == BATCH_OTHER ? b.seq : 0;
    file->headed = v == BATCH_OK;
    file->first = file->headed ? b.number : 0;
    file->in_use = file->headed && reader_whole(&r->reader, &b);
    file->unsure = !file->in_use;
    r->torn |= file->headed && file->unsure;
    err = close_reader(r);
    if (err == 0 && v == BATCH_NEWER)
        err = errmsg_set(r->msg, -ERR_FORMAT,
                         "%s/%016" G_GINT64_MODIFIER "x%s has log format %u, this version of "
                         "raftfs knows %u: use the newer version that wrote it",
                         r->pool->dir, file->seq, WAL_SEGMENT_SUFFIX, b.version, WAL_VERSION);
    return err;
}

/* A first batch that is not whole was torn, unless a batch stands behind it. */
static int look_behind(struct recovery *r, struct found *file)
{
    int err = open_reader(r, file->seq);
    if (err < 0)
        return err;
    struct batch b;
    file->in_use = reader_find(&r->reader, WAL_BLOCK, file->headed ? file->first + 1 : 0, &b);
    if (file->in_use && !file->headed)
        file->first = b.number;
    return close_reader(r);
}

/* Each file is searched that does not begin as one in use: what a start before this one had found
 * ready may still be there (its removal was lost with the power), though later ones are in use. */
static int classify_all(struct recovery *r)
{
    int err = 0;
    for (guint i = 0; err == 0 && i < r->files->len; i++)
        err = classify(r, file_at(r, i));
    for (guint i = 0; err == 0 && i < r->files->len; i++)
        if (file_at(r, i)->unsure)
            err = look_behind(r, file_at(r, i));
    return err;
}

/* --- telling ---------------------------------------------------------------------------------- */

static void tell_segment(const struct recovery *r, const struct found *f)
{
    if (!r->observer)
        return;
    struct wal_segment_seen s = {f->seq, f->size, SEGMENT_READY, f->holds};
    if (f->in_use)
        s.use = SEGMENT_IN_USE;
    else if (f->headed)
        s.use = SEGMENT_TORN;
    else if (f->holds > 0)
        s.use = f->holds > f->seq ? SEGMENT_SWAPPED : SEGMENT_STALE;
    r->observer->segment(r->observer->ctx, &s);
}

static void tell_batch(const struct recovery *r, const struct batch *b, struct bytes records,
                       enum wal_batch_state state)
{
    const struct wal_observer *o = r->observer;
    if (!o)
        return;
    o->batch(o->ctx, b, state);
    if (state != BATCH_SUPERSEDED)
        inspect_records(o, b, records);
}

/* What stands behind the batches of this segment that count, from `at` on. */
static void tell_rest(struct recovery *r, uint64_t at, uint64_t limit, bool torn)
{
    if (!r->observer)
        return;
    struct batch b;
    while (limit != NO_LIMIT && reader_head(&r->reader, at, &b) == BATCH_OK) {
        tell_batch(r, &b, BYTES_NONE, BATCH_SUPERSEDED);
        at += batch_length(b.bytes);
    }
    const struct wal_rest_seen rest = {
        .offset = at,
        .next = r->expected,
        .last = limit == NO_LIMIT,
        .what = torn ? REST_TORN : REST_NONE,
    };
    inspect_rest(r->observer, &r->reader, rest);
}

/* --- batches ---------------------------------------------------------------------------------- */

static void mark_entry(struct recovery *r, const struct record *rec)
{
    if (rec->type == WAL_RECORD_ENTRY)
        segment_mark(r->segment, rec->gid, rec->index);
    if ((rec->type == WAL_RECORD_START && rec->kind) || record_restates(rec))
        for (GList *l = r->pool->closed.head; l; l = l->next)
            segment_unmark(l->data, rec->gid);
}

static void commit_pending(struct recovery *r)
{
    if (!r->pending)
        return;
    struct bytes rest = r->pending_records;
    struct record rec;
    while (rest.n > 0 && record_next(&rest, r->pending_salt, &rec) == RECORD_OK)
        if (rec.type != WAL_RECORD_GROUP)
            replay_record(&r->replay, &rec);
    r->pending = false;
}

static void take_batch(struct recovery *r, const struct batch *b, struct bytes records)
{
    commit_pending(r);
    tell_batch(r, b, records, BATCH_WHOLE);
    r->pending = true;
    r->pending_number = b->number;
    r->pending_salt = record_salt(b->seq, b->number);
    r->pending_records = records;
    struct bytes rest = records;
    struct record rec;
    while (rest.n > 0 && record_next(&rest, r->pending_salt, &rec) == RECORD_OK) {
        /* These tell of the time before this batch. */
        if (rec.type == WAL_RECORD_GROUP)
            replay_record(&r->replay, &rec);
        mark_entry(r, &rec);
    }
    r->expected = b->number + 1;
    r->segment->used = b->offset + batch_length(b->bytes);
}

/* A damaged batch with a valid head: uses its good records, names the groups of the bad ones. */
static void salvage_batch(struct recovery *r, const struct batch *b, struct bytes rest)
{
    uint32_t salt = record_salt(b->seq, b->number);
    commit_pending(r);
    replay_damage(&r->replay,
                  "segment %016" G_GINT64_MODIFIER "x, offset %" G_GUINT64_FORMAT
                  ": batch %" G_GUINT64_FORMAT " has a bad checksum, valid ones follow it",
                  b->seq, b->offset, b->number);
    tell_batch(r, b, rest, BATCH_DAMAGED);
    for (uint32_t i = 0; i < b->records; i++) {
        struct record rec;
        enum record_verdict v = record_next(&rest, salt, &rec);
        if (v == RECORD_BAD_HEAD) {
            replay_damaged_all(&r->replay);
            break;
        }
        mark_entry(r, &rec);
        if (v == RECORD_OK)
            replay_record(&r->replay, &rec);
        else
            replay_damaged(&r->replay, rec.gid);
    }
    r->expected = b->number + 1;
    r->segment->used = b->offset + batch_length(b->bytes);
}

/* Between this file and the next one in use, where a batch should stand: is there a file missing?
 */
static bool file_missing(const struct recovery *r)
{
    uint64_t next = 0;
    for (guint i = 0; next == 0 && i < r->files->len; i++)
        if (file_at(r, i)->seq > r->file->seq && file_at(r, i)->in_use)
            next = file_at(r, i)->seq;
    for (guint i = 0; i < r->files->len; i++)
        if (file_at(r, i)->seq > r->file->seq && file_at(r, i)->seq < next)
            return false;
    return next > r->file->seq + 1;
}

/* What stands at `at` in place of the batch expected there. */
static const char *gap_reason(struct recovery *r, uint64_t at)
{
    struct batch b;
    uint64_t head = at + sizeof(struct wal_batch_head);
    enum batch_verdict v = reader_head(&r->reader, at, &b);
    if (v == BATCH_OTHER)
        return "a batch of another segment stands there: a write was lost or went elsewhere";
    if (v == BATCH_OK)
        return "a batch of another number stands there";
    for (uint64_t i = at; i < head && head <= r->reader.loaded; i++)
        if (r->reader.p[i] != 0)
            return "no valid head of a batch stands there";
    return at < r->reader.size ? "zeroes stand there: a write was lost" : "the file ends there";
}

static void note_gap(struct recovery *r, uint64_t at, uint64_t next, bool here)
{
    uint64_t seq = r->file->seq;
    commit_pending(r);
    if (!here && file_missing(r))
        replay_damage(&r->replay,
                      "segment %016" G_GINT64_MODIFIER "x is missing, and with it batches "
                      "%" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT,
                      seq + 1, r->expected, next - 1);
    else if (next == r->expected)
        replay_damage(&r->replay,
                      "segment %016" G_GINT64_MODIFIER "x: its first batch is damaged (%s), valid "
                      "ones follow it",
                      seq, gap_reason(r, at));
    else
        replay_damage(&r->replay,
                      "segment %016" G_GINT64_MODIFIER "x, offset %" G_GUINT64_FORMAT
                      ": batches %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT
                      " are damaged or missing (%s), valid ones follow them",
                      seq, at, r->expected, next - 1, gap_reason(r, at));
    replay_damaged_all(&r->replay);
    r->expected = next;
}

/* A batch with a valid head at its place. False: the log ends here, torn. */
static bool replay_batch(struct recovery *r, const struct batch *b, uint64_t limit)
{
    struct bytes records = reader_records(&r->reader, b);
    struct batch later;
    if (reader_whole(&r->reader, b)) {
        take_batch(r, b, records);
        return true;
    }
    bool last = limit == NO_LIMIT &&
                !reader_find(&r->reader, b->offset + batch_length(b->bytes), b->number + 1, &later);
    if (last) {
        tell_batch(r, b, records, BATCH_TORN);
        r->torn = true;
        return false;
    }
    salvage_batch(r, b, records);
    return true;
}

static void replay_segment(struct recovery *r, uint64_t limit)
{
    uint64_t at = 0;
    bool torn = false;
    struct batch b;
    while (at < r->reader.size && r->expected < limit && r->reader.err == 0) {
        if (reader_head(&r->reader, at, &b) == BATCH_OK && b.number == r->expected) {
            torn = !replay_batch(r, &b, limit);
            if (torn)
                break;
            at += batch_length(b.bytes);
            continue;
        }
        if (!reader_find(&r->reader, at, r->expected, &b) || b.number >= limit)
            break;
        if (b.number > r->expected)
            note_gap(r, at, b.number, true);
        at = b.offset;
    }
    if (limit != NO_LIMIT && r->expected < limit)
        note_gap(r, at, limit, false);
    tell_rest(r, at, limit, torn);
}

static uint64_t limit_of(const struct recovery *r, guint i)
{
    uint64_t limit = NO_LIMIT;
    for (guint k = i + 1; k < r->files->len; k++) {
        const struct found *f = file_at(r, k);
        if (f->in_use)
            limit = MIN(limit, f->first);
    }
    return limit;
}

/* The pending batch must outlive the segment's memory. */
static void keep_pending(struct recovery *r)
{
    if (!r->pending)
        return;
    enc_reset(&r->pending_copy);
    enc_raw(&r->pending_copy, r->pending_records.p, r->pending_records.n);
    r->pending_records = enc_view(&r->pending_copy);
}

static int replay_file(struct recovery *r, guint i)
{
    r->file = file_at(r, i);
    uint64_t limit = limit_of(r, i);
    tell_segment(r, r->file);
    int err = open_reader(r, r->file->seq);
    if (err < 0)
        return err;
    r->segment = segment_create(r->file->seq);
    r->segment->size = r->reader.size;
    if (r->expected == 0) {
        /* Nothing before the oldest segment is needed; but its own beginning is. */
        r->expected = MIN(r->file->first, limit);
        if (!r->file->headed)
            note_gap(r, 0, r->expected, true);
    }
    replay_segment(r, limit);
    keep_pending(r);
    r->segment->written = r->segment->used;
    g_queue_push_tail(&r->pool->closed, TAKE(r->segment));
    return close_reader(r);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void finish_writer(struct recovery *r, struct recovered *ret)
{
    *ret = (struct recovered){.unused = g_array_new(FALSE, FALSE, sizeof(uint64_t))};
    for (guint i = 0; i < r->files->len; i++) {
        const struct found *f = file_at(r, i);
        if (!f->in_use)
            g_array_append_val(ret->unused, f->seq);
    }
    replay_states(&r->replay, &ret->states);
    bool again = r->pending;
    commit_pending(r);
    replay_check(&r->replay);
    ret->number = again ? r->pending_number : MAX(r->expected, 1);
    struct bytes rest = again ? r->pending_records : BYTES_NONE;
    struct record rec;
    while (rest.n > 0 && record_next(&rest, r->pending_salt, &rec) == RECORD_OK)
        if (rec.type != WAL_RECORD_GROUP && !replay_is_damaged(&r->replay, rec.gid))
            record_add(&ret->again, &rec);
}

static int run(struct recovery *r)
{
    int err = list_segments(r);
    if (err == 0)
        err = classify_all(r);
    for (guint i = 0; err == 0 && i < r->files->len; i++) {
        if (file_at(r, i)->in_use)
            err = replay_file(r, i);
        else
            tell_segment(r, file_at(r, i));
    }
    return err;
}

int wal_recover(struct segment_pool *pool, const struct wal_observer *o, struct wal_recovery *ret,
                struct recovered *ret_writer, struct errmsg *msg)
{
    struct recovery r = {
        .pool = pool,
        .observer = o,
        .msg = msg,
        .files = g_array_new(FALSE, FALSE, sizeof(struct found)),
    };
    replay_init(&r.replay);
    if (o) {
        r.replay.on_damage = o->damage;
        r.replay.ctx = o->ctx;
    }
    int err = run(&r);
    if (err == 0) {
        finish_writer(&r, ret_writer);
        *ret = (struct wal_recovery){.torn_tail = r.torn};
        replay_result(&r.replay, ret);
    }
    segment_destroy(r.segment);
    reader_finish(&r.reader);
    enc_finish(&r.pending_copy);
    replay_finish(&r.replay);
    g_array_free(r.files, TRUE);
    return err;
}
