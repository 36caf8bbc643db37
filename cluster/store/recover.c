/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/recover.h"

#include "cluster/store/replay.h"

#define NO_LIMIT UINT64_MAX

/* A file of the log, before and while it is replayed. */
struct found {
    uint64_t seq, size;
    bool in_use;    /* has a valid batch head */
    uint64_t first; /* its number */
};

struct recovery {
    struct segment_pool *pool;
    struct errmsg *msg;
    GArray *files; /* struct found, by seq */
    struct replay replay;
    uint64_t expected; /* number of the next batch; 0: none seen yet */
    bool torn;

    /* The segment being read. */
    struct found *file;
    struct segment *segment;
    uint8_t *p;

    /* The last valid batch, held back until it is known not to be the last one of all. */
    bool pending;
    uint64_t pending_number;
    uint32_t pending_salt;
    struct bytes pending_records; /* in p, or in pending_copy */
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

/* --- files ------------------------------------------------------------------------------------ */

static int open_segment(struct recovery *r, uint64_t seq, struct disk_file **ret)
{
    char *path = segment_path(r->pool->dir, seq);
    int err = r->pool->disk->ops->open(r->pool->disk, path, DISK_READ, ret);
    if (err < 0)
        err = errmsg_set(r->msg, err, "open %s: %s", path, err_text(err));
    g_free(path);
    return err;
}

/* The first `n` bytes of a segment: 64 MiB at a time, given back at once. */
static int load_segment(struct recovery *r, const struct found *file, uint64_t n, uint8_t **ret)
{
    struct disk_file *f = NULL;
    int err = open_segment(r, file->seq, &f);
    if (err < 0)
        return err;
    uint8_t *p = g_malloc(n);
    int64_t got = f->disk->ops->read(f, p, n, 0);
    f->disk->ops->close(f);
    if (got == (int64_t)n) {
        *ret = p;
        return 0;
    }
    g_free(p);
    err = got < 0 ? (int)got : -ERR_IO;
    return errmsg_set(r->msg, err, "read segment %016" G_GINT64_MODIFIER "x of %s: %s", file->seq,
                      r->pool->dir, got < 0 ? err_text(err) : "it ends early");
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
    for (guint i = 0; i < r->files->len; i++) {
        struct found *file = &g_array_index(r->files, struct found, i);
        struct disk_file *f = NULL;
        err = open_segment(r, file->seq, &f);
        if (err < 0)
            return err;
        err = d->ops->size(f, &file->size);
        f->disk->ops->close(f);
        if (err < 0)
            return errmsg_set(r->msg, err, "size of segment %016" G_GINT64_MODIFIER "x: %s",
                              file->seq, err_text(err));
        file->size -= file->size % WAL_BLOCK;
        r->pool->next_seq = file->seq + 1;
    }
    return 0;
}

/* The next valid batch head of the segment at or after `at`, with a number of at least `number`. */
static bool find_head(const struct found *file, const uint8_t *p, uint64_t at, uint64_t number,
                      struct batch *ret)
{
    for (; at < file->size; at += WAL_BLOCK)
        if (batch_decode(p + at, file->seq, at, file->size, ret) == BATCH_OK &&
            ret->number >= number)
            return true;
    return false;
}

static bool batch_whole(const struct batch *b, const uint8_t *p)
{
    struct bytes rest = bytes_of(p + b->offset + sizeof(struct wal_batch_head), b->bytes);
    uint32_t salt = record_salt(b->seq, b->number);
    struct record rec;
    for (uint32_t i = 0; i < b->records; i++)
        if (rest.n == 0 || record_next(&rest, salt, &rec) != RECORD_OK)
            return false;
    return rest.n == 0;
}

/* A first batch that is not whole was torn, unless a batch stands behind it. first: its head, or
 * NULL if that is not valid either. */
static int search_behind(struct recovery *r, struct found *file, const struct batch *first)
{
    uint8_t *p = NULL;
    int err = load_segment(r, file, file->size, &p);
    if (err < 0)
        return err;
    struct batch b;
    file->in_use = find_head(file, p, WAL_BLOCK, first ? first->number + 1 : 0, &b);
    if (file->in_use)
        file->first = first ? first->number : b.number;
    g_free(p);
    return 0;
}

static int check_first(struct recovery *r, struct found *file, const struct batch *first)
{
    uint8_t *p = NULL;
    int err = load_segment(r, file, batch_length(first->bytes), &p);
    if (err < 0)
        return err;
    file->in_use = batch_whole(first, p);
    file->first = first->number;
    g_free(p);
    if (file->in_use)
        return 0;
    r->torn = true;
    return search_behind(r, file, first);
}

/* What the file holds, by its first valid batch head. */
static int classify(struct recovery *r, struct found *file)
{
    if (file->size == 0)
        return 0;
    uint8_t *p = NULL;
    int err = load_segment(r, file, WAL_BLOCK, &p);
    if (err < 0)
        return err;
    struct batch b = {0};
    enum batch_verdict v = batch_decode(p, file->seq, 0, file->size, &b);
    g_free(p);
    if (v == BATCH_NEWER)
        return errmsg_set(r->msg, -ERR_FORMAT,
                          "segment %016" G_GINT64_MODIFIER "x of %s was written by a newer version "
                          "of raftfs (this one knows format %u): use that version",
                          file->seq, r->pool->dir, WAL_VERSION);
    if (v == BATCH_OTHER && b.seq > file->seq) {
        replay_damage(&r->replay,
                      "file %016" G_GINT64_MODIFIER "x%s holds segment %016" G_GINT64_MODIFIER "x",
                      file->seq, WAL_SEGMENT_SUFFIX, b.seq);
        replay_suspect_all(&r->replay);
    }
    return v == BATCH_OK ? check_first(r, file, &b) : search_behind(r, file, NULL);
}

/* --- batches ---------------------------------------------------------------------------------- */

static void mark_entry(struct recovery *r, const struct record *rec)
{
    if (rec->type == WAL_RECORD_ENTRY)
        segment_mark(r->segment, rec->gid, rec->index);
    if (rec->type == WAL_RECORD_START && rec->kind)
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
    for (uint32_t i = 0; i < b->records; i++) {
        struct record rec;
        enum record_verdict v = record_next(&rest, salt, &rec);
        if (v == RECORD_BAD_HEAD) {
            replay_suspect_all(&r->replay);
            break;
        }
        mark_entry(r, &rec);
        if (v == RECORD_OK)
            replay_record(&r->replay, &rec);
        else
            replay_suspect(&r->replay, rec.gid);
    }
    r->expected = b->number + 1;
    r->segment->used = b->offset + batch_length(b->bytes);
}

static void note_gap(struct recovery *r, uint64_t at, uint64_t next)
{
    commit_pending(r);
    replay_damage(&r->replay,
                  "segment %016" G_GINT64_MODIFIER "x, offset %" G_GUINT64_FORMAT
                  ": batches %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT
                  " are damaged or missing, valid ones follow them",
                  r->file->seq, at, r->expected, next - 1);
    replay_suspect_all(&r->replay);
    r->expected = next;
}

/* A batch with a valid head at its place. False: the log ends here, torn. */
static bool replay_batch(struct recovery *r, const struct batch *b, uint64_t limit)
{
    struct bytes records = bytes_of(r->p + b->offset + sizeof(struct wal_batch_head), b->bytes);
    struct batch later;
    if (batch_whole(b, r->p)) {
        take_batch(r, b, records);
        return true;
    }
    bool last = limit == NO_LIMIT && !find_head(r->file, r->p, b->offset + batch_length(b->bytes),
                                                b->number + 1, &later);
    if (last) {
        r->torn = true;
        return false;
    }
    salvage_batch(r, b, records);
    return true;
}

static void replay_segment(struct recovery *r, uint64_t limit)
{
    uint64_t at = 0;
    struct batch b;
    while (at < r->file->size && r->expected < limit) {
        if (batch_decode(r->p + at, r->file->seq, at, r->file->size, &b) == BATCH_OK &&
            b.number == r->expected) {
            if (!replay_batch(r, &b, limit))
                break;
            at += batch_length(b.bytes);
            continue;
        }
        if (!find_head(r->file, r->p, at, r->expected, &b) || b.number >= limit)
            break;
        if (b.number > r->expected)
            note_gap(r, at, b.number);
        at = b.offset;
    }
    if (limit != NO_LIMIT && r->expected < limit)
        note_gap(r, at, limit);
}

static uint64_t limit_of(const struct recovery *r, guint i)
{
    uint64_t limit = NO_LIMIT;
    for (guint k = i + 1; k < r->files->len; k++) {
        const struct found *f = &g_array_index(r->files, struct found, k);
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
    r->file = &g_array_index(r->files, struct found, i);
    uint64_t limit = limit_of(r, i);
    int err = load_segment(r, r->file, r->file->size, &r->p);
    if (err < 0)
        return err;
    r->segment = segment_create(r->file->seq);
    r->segment->size = r->file->size;
    if (r->expected == 0) {
        /* Nothing before the oldest segment is needed; but its own beginning is. */
        r->expected = MIN(r->file->first, limit);
        struct batch b;
        if (batch_decode(r->p, r->file->seq, 0, r->file->size, &b) != BATCH_OK)
            note_gap(r, 0, r->expected);
    }
    replay_segment(r, limit);
    keep_pending(r);
    r->segment->written = r->segment->used;
    g_queue_push_tail(&r->pool->closed, TAKE(r->segment));
    g_free(TAKE(r->p));
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void finish_writer(struct recovery *r, struct recovered *ret)
{
    *ret = (struct recovered){.unused = g_array_new(FALSE, FALSE, sizeof(uint64_t))};
    for (guint i = 0; i < r->files->len; i++) {
        const struct found *f = &g_array_index(r->files, struct found, i);
        if (!f->in_use)
            g_array_append_val(ret->unused, f->seq);
    }
    replay_states(&r->replay, &ret->states);
    ret->number = MAX(r->expected, 1);
    if (!r->pending)
        return;
    ret->number = r->pending_number;
    struct bytes rest = r->pending_records;
    struct record rec;
    while (rest.n > 0 && record_next(&rest, r->pending_salt, &rec) == RECORD_OK)
        if (rec.type != WAL_RECORD_GROUP)
            record_add(&ret->again, &rec);
    commit_pending(r);
}

static int run(struct recovery *r)
{
    int err = list_segments(r);
    for (guint i = 0; err == 0 && i < r->files->len; i++)
        err = classify(r, &g_array_index(r->files, struct found, i));
    for (guint i = 0; err == 0 && i < r->files->len; i++)
        if (g_array_index(r->files, struct found, i).in_use)
            err = replay_file(r, i);
    return err;
}

int wal_recover(struct segment_pool *pool, struct wal_recovery *ret, struct recovered *ret_writer,
                struct errmsg *msg)
{
    struct recovery r = {
        .pool = pool,
        .msg = msg,
        .files = g_array_new(FALSE, FALSE, sizeof(struct found)),
    };
    replay_init(&r.replay);
    int err = run(&r);
    if (err == 0) {
        finish_writer(&r, ret_writer);
        *ret = (struct wal_recovery){.torn_tail = r.torn};
        replay_result(&r.replay, ret);
    }
    segment_destroy(r.segment);
    g_free(r.p);
    enc_finish(&r.pending_copy);
    replay_finish(&r.replay);
    g_array_free(r.files, TRUE);
    return err;
}
