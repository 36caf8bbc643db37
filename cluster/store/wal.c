/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/wal.h"

#include "cluster/store/recover.h"

#define SEGMENT_BYTES_DEFAULT MIB(64)
/* A batch must fit with some room for heads; smaller ones make no sense even in tests. */
#define SEGMENT_BYTES_MIN KIB(8)
/* A buffer that one burst made longer than this is given back. */
#define BUFFER_KEEP MIB(4)

struct wal {
    struct segment_pool pool;
    struct wal_states queued;  /* as of the end of the queue: what the next record must follow */
    struct wal_states written; /* as of the last batch built: what a new segment begins with */
    uint64_t number;           /* of the next batch */
    int failed;                /* 0, or what every submit answers from now on */
    bool full;                 /* the last allocation failed for lack of space */

    struct enc queue;   /* records added since the last submit */
    struct enc sealed;  /* records of the submit under way, or of one that met a full disk */
    size_t sealed_done; /* bytes of it that are durable */

    bool busy;
    size_t batch_bytes; /* of sealed, in the batch that is being synced */
    GArray *resets;     /* uint32_t gid: groups that this batch made forget all entries */
    wal_done_fn *done;
    void *done_arg;
    struct enc groups; /* scratch: the GROUP records of a first batch */
};

/* --- opening and closing ---------------------------------------------------------------------- */

/* Also what is in it is durable then. A process may have ended between the rename of a segment and
 * the sync of that; were it renamed again before, a power loss could keep the later one alone, and
 * the file would have two names. */
static int make_dir(struct disk *d, const char *dir, struct errmsg *msg)
{
    char *parent = g_path_get_dirname(dir);
    int err = d->ops->make_dir(d, dir);
    if (err == 0)
        err = d->ops->sync_dir(d, parent);
    if (err == 0)
        err = d->ops->sync_dir(d, dir);
    if (err < 0)
        err = errmsg_set(msg, err, "make %s: %s", dir, err_text(err));
    g_free(parent);
    return err;
}

/* Files that hold nothing become ready segments, under new numbers: a batch that was torn in one of
 * them must not meet its own number again. */
static int reuse_files(struct wal *w, const GArray *unused)
{
    for (guint i = 0; i < unused->len; i++) {
        struct segment *s = segment_create(g_array_index(unused, uint64_t, i));
        s->size = w->pool.segment_bytes; /* or less: it is allocated again */
        int err = segment_pool_recycle(&w->pool, s);
        if (err < 0)
            return err;
    }
    return 0;
}

static int open_pool(struct wal *w, struct recovered *found, struct errmsg *msg)
{
    w->written = found->states;
    found->states = (struct wal_states){0};
    w->number = found->number;
    w->queue = found->again;
    found->again = (struct enc){0};
    states_copy(&w->queued, &w->written);
    struct bytes rest = enc_view(&w->queue);
    while (rest.n > 0) {
        struct record r;
        record_next_own(&rest, &r);
        state_apply(states_get(&w->queued, r.gid), &r);
    }
    int err = reuse_files(w, found->unused);
    if (err == 0 && w->pool.ready.length == 0)
        err = segment_pool_make(&w->pool, 0);
    if (err < 0)
        return errmsg_set(msg, err,
                          "allocate a log segment of %" G_GUINT64_FORMAT " bytes in %s: %s",
                          w->pool.segment_bytes, w->pool.dir, err_text(err));
    return 0;
}

int wal_open(struct disk *disk, const char *dir, const struct wal_options *options,
             struct wal **ret, struct wal_recovery *ret_recovery, struct errmsg *msg)
{
    uint64_t segment_bytes =
        options && options->segment_bytes > 0 ? options->segment_bytes : SEGMENT_BYTES_DEFAULT;
    int err = make_dir(disk, dir, msg);
    if (err < 0)
        return err;
    struct wal *w = g_new0(struct wal, 1);
    struct wal_recovery recovery = {0};
    struct recovered found = {0};
    w->resets = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    segment_pool_init(&w->pool, disk, dir, MAX(segment_bytes, SEGMENT_BYTES_MIN));
    err = wal_recover(&w->pool, NULL, &recovery, &found, msg);
    if (err == 0)
        err = open_pool(w, &found, msg);
    recovered_finish(&found);
    if (err < 0) {
        wal_recovery_finish(&recovery);
        wal_close(w);
        return err;
    }
    *ret = w;
    *ret_recovery = recovery;
    return 0;
}

void wal_recovery_finish(struct wal_recovery *r)
{
    for (size_t i = 0; i < r->n_groups; i++) {
        for (size_t k = 0; k < r->groups[i].n_entries; k++)
            buf_unref(r->groups[i].entries[k].data);
        g_free(r->groups[i].entries);
    }
    g_free(r->groups);
    *r = (struct wal_recovery){0};
}

void wal_close(struct wal *w)
{
    if (!w)
        return;
    segment_pool_finish(&w->pool);
    states_finish(&w->queued);
    states_finish(&w->written);
    enc_finish(&w->queue);
    enc_finish(&w->sealed);
    enc_finish(&w->groups);
    g_array_free(w->resets, TRUE);
    g_free(w);
}

/* --- queueing --------------------------------------------------------------------------------- */

static void add(struct wal *w, const struct record *r)
{
    struct wal_state *s = states_get(&w->queued, r->gid);
    ASSERT(state_allows(s, r));
    state_apply(s, r);
    record_add(&w->queue, r);
}

void wal_hard(struct wal *w, uint32_t gid, uint64_t term, uint32_t vote)
{
    const struct record r = {.type = WAL_RECORD_HARD, .gid = gid, .term = term, .vote = vote};
    add(w, &r);
}

void wal_append(struct wal *w, uint32_t gid, const struct wal_entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct record r = {
            .type = WAL_RECORD_ENTRY,
            .kind = e[i].type,
            .gid = gid,
            .term = e[i].term,
            .index = e[i].index,
            .time = e[i].time_ns,
            .data = buf_bytes(e[i].data),
        };
        add(w, &r);
    }
}

void wal_truncate(struct wal *w, uint32_t gid, uint64_t from_index)
{
    const struct record r = {.type = WAL_RECORD_TRUNCATE, .gid = gid, .index = from_index};
    add(w, &r);
}

void wal_start(struct wal *w, uint32_t gid, uint64_t index, uint64_t term, uint64_t time,
               bool reset)
{
    const struct wal_state *s = states_find(&w->queued, gid);
    if (!reset && s && index <= s->start_index)
        return;
    const struct record r = {.type = WAL_RECORD_START,
                             .kind = reset,
                             .gid = gid,
                             .term = term,
                             .index = index,
                             .time = time};
    add(w, &r);
}

void wal_suspect(struct wal *w, uint32_t gid, uint64_t term, uint32_t vote, uint64_t index,
                 uint64_t index_term, uint64_t time)
{
    const struct wal_state s = {
        .gid = gid,
        .vote = vote,
        .term = term,
        .start_index = index,
        .start_term = index_term,
        .start_time = time,
        .last_index = index,
        .suspect = true,
    };
    struct wal_group_data data;
    struct record r = state_record(&s, &data);
    r.type = WAL_RECORD_SUSPECT;
    add(w, &r);
}

void wal_repaired(struct wal *w, uint32_t gid)
{
    const struct record r = {.type = WAL_RECORD_SUSPECT, .gid = gid};
    add(w, &r);
}

size_t wal_queued_bytes(const struct wal *w)
{
    return w->queue.n + (w->busy ? 0 : w->sealed.n - w->sealed_done);
}

bool wal_busy(const struct wal *w)
{
    return w->busy;
}

/* --- freeing segments ------------------------------------------------------------------------- */

/* With these starts, does anybody need an entry of the segment? Hard states are in later ones. */
static bool segment_needed(const struct segment *s, const struct wal_states *states)
{
    for (guint i = 0; i < s->marks->len; i++) {
        const struct segment_mark *m = &g_array_index(s->marks, struct segment_mark, i);
        const struct wal_state *g = states_find(states, m->gid);
        if (g && m->index > g->start_index)
            return true;
    }
    return false;
}

/* After a submit: everything written is durable, and so is the first batch of the current segment.
 */
static void free_segments(struct wal *w)
{
    struct segment *s;
    while ((s = g_queue_peek_head(&w->pool.closed)) != NULL && !segment_needed(s, &w->written)) {
        g_queue_pop_head(&w->pool.closed);
        w->full = false;
        int err = segment_pool_recycle(&w->pool, s);
        if (err < 0) {
            w->failed = err;
            return;
        }
    }
}

int wal_reserve(struct wal *w)
{
    if (w->failed < 0)
        return w->failed;
    if (w->pool.ready.length > 0)
        return 0;
    int err = segment_pool_make(&w->pool, 0);
    w->full = err == -ERR_NO_SPACE;
    if (err < 0 && !w->full)
        w->failed = err;
    return err;
}

uint64_t wal_space(const struct wal *w)
{
    const struct segment *c = w->pool.current;
    uint64_t n = c ? c->size - c->used : 0;
    for (GList *l = w->pool.ready.head; l; l = l->next)
        n += ((const struct segment *)l->data)->size;
    return n;
}

/* --- one batch -------------------------------------------------------------------------------- */

static size_t group_records_bytes(const struct wal *w)
{
    return w->written.n * record_bytes(sizeof(struct wal_group_data));
}

/* How much of `rest` goes into one batch: whole records, at least one, at most a segment's worth.
 */
static size_t batch_prefix(const struct wal *w, struct bytes rest)
{
    uint64_t heads = sizeof(struct wal_batch_head) + group_records_bytes(w);
    uint64_t most = w->pool.segment_bytes > heads ? w->pool.segment_bytes - heads : 0;
    if (rest.n <= most)
        return rest.n;
    size_t n = 0;
    while (rest.n > 0) {
        struct record r;
        size_t before = rest.n;
        record_next_own(&rest, &r);
        if (n > 0 && n + (before - rest.n) > most)
            break;
        n += before - rest.n;
    }
    return n;
}

/* The state of each group before this batch. */
static uint32_t add_group_records(struct wal *w)
{
    for (size_t i = 0; i < w->written.n; i++) {
        struct wal_group_data data;
        const struct record r = state_record(&w->written.all[i], &data);
        record_add(&w->groups, &r);
    }
    return (uint32_t)w->written.n;
}

/* Follows the batch's records in `written` and in the marks of its segment; counts them. */
static uint32_t follow_records(struct wal *w, struct bytes rest)
{
    uint32_t n = 0;
    for (; rest.n > 0; n++) {
        struct record r;
        record_next_own(&rest, &r);
        state_apply(states_get(&w->written, r.gid), &r);
        if (r.type == WAL_RECORD_ENTRY)
            segment_mark(w->pool.current, r.gid, r.index);
        if ((r.type == WAL_RECORD_START && r.kind) || record_restates(&r))
            g_array_append_val(w->resets, r.gid);
    }
    return n;
}

/* The batch is durable: older segments hold nothing of the groups that were reset. */
static void forget_reset(struct wal *w)
{
    for (guint i = 0; i < w->resets->len; i++)
        for (GList *l = w->pool.closed.head; l; l = l->next)
            segment_unmark(l->data, g_array_index(w->resets, uint32_t, i));
    g_array_set_size(w->resets, 0);
}

#define ZERO_RUN KIB(64)
static const uint8_t zero_run[ZERO_RUN];

/* Zeroes for the padding up to `end` and, where the file was never written, for some way ahead. */
static int add_zeroes(struct iovec *iov, int n, struct segment *s, uint64_t from, uint64_t end)
{
    uint64_t to = end;
    if (end > s->written)
        to = s->written = MIN(s->size, (end + ZERO_AHEAD) / WAL_BLOCK * WAL_BLOCK);
    for (; from < to; n++) {
        size_t len = (size_t)MIN(to - from, ZERO_RUN);
        iov[n] = (struct iovec){(void *)(uintptr_t)zero_run, len};
        from += len;
    }
    return n;
}

static int write_batch(struct wal *w, size_t n)
{
    struct segment *s = w->pool.current;
    uint8_t *records = w->sealed.p + w->sealed_done;
    struct batch b = {.seq = s->seq, .number = w->number, .offset = s->used};
    enc_reset(&w->groups);
    if (s->used == 0) {
        b.flags = WAL_BATCH_FIRST;
        b.records = add_group_records(w);
    }
    b.records += follow_records(w, bytes_of(records, n));
    b.bytes = (uint32_t)(w->groups.n + n);
    uint32_t salt = record_salt(b.seq, b.number);
    records_seal(w->groups.p, w->groups.n, salt);
    records_seal(records, n, salt);
    struct wal_batch_head head;
    batch_encode(&b, &head);

    struct iovec iov[3 + 2 + ZERO_AHEAD / ZERO_RUN] = {
        {&head, sizeof(head)}, {w->groups.p, w->groups.n}, {records, n}};
    uint64_t end = s->used + batch_length(b.bytes);
    int n_iov = add_zeroes(iov, 3, s, s->used + sizeof(head) + b.bytes, end);
    int err = s->file->disk->ops->write(s->file, iov, n_iov, s->used);
    s->used = end;
    w->number++;
    w->batch_bytes = n;
    /* The space is allocated; where the disk lacks it all the same nobody knows what was written.
     */
    return err == -ERR_NO_SPACE ? -ERR_IO : err;
}

/* --- one submit ------------------------------------------------------------------------------- */

static void submit_done(struct wal *w, int err)
{
    if (err == 0) {
        w->sealed_done = 0;
        enc_reset(&w->sealed);
        if (w->sealed.cap > BUFFER_KEEP)
            enc_finish(&w->sealed);
    }
    w->busy = false;
    w->done(w->done_arg, err);
    if (err < 0 || w->busy)
        return;
    free_segments(w);
    if (w->failed == 0 && !w->full && w->pool.ready.length == 0 && wal_reserve(w) < 0)
        return; /* full, or failed: the next submit tells */
}

static void on_synced(void *arg, int err);

static void submit_next(struct wal *w)
{
    if (w->failed < 0 || w->sealed_done == w->sealed.n) {
        submit_done(w, w->failed);
        return;
    }
    struct segment *c = w->pool.current;
    size_t n =
        batch_prefix(w, bytes_of(w->sealed.p + w->sealed_done, w->sealed.n - w->sealed_done));
    int err = 0;
    if (!c || batch_length(n) > c->size - c->used)
        err = segment_pool_roll(&w->pool, batch_length(group_records_bytes(w) + n));
    if (err == -ERR_NO_SPACE) {
        w->full = true;
        submit_done(w, err);
        return;
    }
    if (err == 0)
        err = write_batch(w, n);
    if (err < 0) {
        w->failed = err;
        submit_done(w, err);
        return;
    }
    struct disk_file *f = w->pool.current->file;
    f->disk->ops->sync(f, on_synced, w);
}

static void on_synced(void *arg, int err)
{
    struct wal *w = arg;
    if (err < 0) {
        w->failed = err == -ERR_NO_SPACE ? -ERR_IO : err;
    } else {
        w->sealed_done += w->batch_bytes;
        forget_reset(w);
    }
    submit_next(w);
}

void wal_submit(struct wal *w, wal_done_fn *done, void *arg)
{
    ASSERT(!w->busy);
    w->busy = true;
    w->done = done;
    w->done_arg = arg;
    if (w->sealed.n == 0) {
        struct enc empty = w->sealed;
        w->sealed = w->queue;
        w->queue = empty;
    } else {
        enc_raw(&w->sealed, w->queue.p, w->queue.n);
        enc_reset(&w->queue);
    }
    submit_next(w);
}

/* --- what is kept ----------------------------------------------------------------------------- */

uint64_t wal_bytes(const struct wal *w)
{
    uint64_t n = w->pool.current ? w->pool.current->size : 0;
    for (GList *l = w->pool.closed.head; l; l = l->next)
        n += ((const struct segment *)l->data)->size;
    return n;
}

/* The mark that keeps the segment, counted with starts that are only queued: a flush that is on its
 * way to the disk needs no second one. */
static const struct segment_mark *pinning_mark(const struct wal *w, const struct segment *s,
                                               const uint32_t *gid)
{
    for (guint i = 0; i < s->marks->len; i++) {
        const struct segment_mark *m = &g_array_index(s->marks, struct segment_mark, i);
        const struct wal_state *g = states_find(&w->queued, m->gid);
        if (g && m->index > g->start_index && (!gid || *gid == m->gid))
            return m;
    }
    return NULL;
}

uint32_t wal_pinning_group(const struct wal *w, uint64_t *ret_bytes)
{
    const struct segment *oldest = g_queue_peek_head((GQueue *)(uintptr_t)&w->pool.closed);
    const struct segment_mark *m = oldest ? pinning_mark(w, oldest, NULL) : NULL;
    *ret_bytes = 0;
    if (!m)
        return 0;
    for (GList *l = w->pool.closed.head; l && pinning_mark(w, l->data, &m->gid); l = l->next)
        *ret_bytes += ((const struct segment *)l->data)->size;
    return m->gid;
}
