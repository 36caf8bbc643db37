/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state store on RocksDB: one column family, its own WAL off. With one column family memtables
 * are flushed in order and a batch never spans two, so what a crash leaves is a prefix of the
 * batches.
 *
 * rocksdb_flush waits for the disk, so it runs on a thread of the maker (job_thread.h), which all
 * its stores share as they share RocksDB's own; meanwhile batches go into the next memtable.
 * rocks.h says how many of those there may be before a write has to wait.
 */
#include "cluster/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "cluster/store/dir.h"
#include "cluster/store/image.h"
#include "cluster/store/rocks.h"
#include "cluster/store/job_thread.h"

#define FORMAT_FILE    "FORMAT"
#define FORMAT_TEXT    "raftfs store 1\n"
#define FORMAT_PATTERN "raftfs store %u\n"
#define FORMAT_VERSION 1u

/* Deleted keys: how many, and the least and the greatest of them. */
struct deleted {
    size_t n;
    GByteArray *lo, *hi;
};

struct rocks {
    struct store store;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_writebatch_t *batch;
    rocksdb_flushoptions_t *flush;
    struct job_thread *flusher; /* NULL: flushes run on the caller's thread */
    struct store_job flushing;
    int flush_err;
    struct deleted deleted; /* since the last flush */
    struct deleted
        flushed;         /* since the one before, by the flush under way; the flusher's, as is: */
    bool collects;       /* blob files */
    store_done_fn *done; /* of the flush under way */
    void *done_arg;
    int failed; /* the first error of a write or flush: it is unknown what is on disk */
};

struct store_view {
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read;
};

struct store_iter {
    rocksdb_readoptions_t *read;
    rocksdb_iterator_t *it;
    char *hi; /* RocksDB borrows the bound */
    bool started;
};

static struct rocks *rocks_of(struct store *s)
{
    return container_of(s, struct rocks, store);
}

static const char *chars(struct bytes b)
{
    return (const char *)b.p;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int rocks_get(struct store *s, struct store_view *view, struct bytes key, struct arena *a,
                     struct bytes *ret)
{
    struct rocks *r = rocks_of(s);
    char *text = NULL;
    if (r->failed < 0 && r->failed != -ERR_NO_SPACE)
        return r->failed;
    rocksdb_pinnableslice_t *v =
        rocksdb_get_pinned(r->db, view ? view->read : r->read, chars(key), key.n, &text);
    if (text)
        return rocks_error(text, "get", NULL);
    if (!v)
        return -ERR_NOT_FOUND;
    size_t n = 0;
    const char *p = rocksdb_pinnableslice_value(v, &n);
    *ret = arena_copy(a, bytes_of(p, n));
    rocksdb_pinnableslice_destroy(v);
    return 0;
}

static struct store_view *rocks_view_open(struct store *s)
{
    struct store_view *v = g_new(struct store_view, 1);
    v->snapshot = rocksdb_create_snapshot(rocks_of(s)->db);
    v->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(v->read, v->snapshot);
    return v;
}

static void rocks_view_close(struct store *s, struct store_view *v)
{
    if (!v)
        return;
    rocksdb_readoptions_destroy(v->read);
    rocksdb_release_snapshot(rocks_of(s)->db, v->snapshot);
    g_free(v);
}

static struct store_iter *rocks_iter_open(struct store *s, struct store_view *view, struct bytes lo,
                                          struct bytes hi)
{
    struct rocks *r = rocks_of(s);
    struct store_iter *it = g_new0(struct store_iter, 1);
    it->read = rocksdb_readoptions_create();
    if (view) {
        rocksdb_readoptions_set_snapshot(it->read, view->snapshot);
        /* Views are walked from end to end: that must not push out what others read often. */
        rocksdb_readoptions_set_fill_cache(it->read, 0);
    }
    if (hi.n > 0) {
        it->hi = g_memdup2(hi.p, hi.n);
        rocksdb_readoptions_set_iterate_upper_bound(it->read, it->hi, hi.n);
    }
    it->it = rocksdb_create_iterator(r->db, it->read);
    if (lo.n > 0)
        rocksdb_iter_seek(it->it, chars(lo), lo.n);
    else
        rocksdb_iter_seek_to_first(it->it);
    return it;
}

static bool rocks_iter_next(struct store_iter *it, struct bytes *ret_key, struct bytes *ret_value)
{
    if (it->started && rocksdb_iter_valid(it->it))
        rocksdb_iter_next(it->it);
    it->started = true;
    if (!rocksdb_iter_valid(it->it))
        return false;
    size_t n = 0;
    const char *p = rocksdb_iter_key(it->it, &n);
    *ret_key = bytes_of(p, n);
    p = rocksdb_iter_value(it->it, &n);
    *ret_value = bytes_of(p, n);
    return true;
}

static int rocks_iter_close(struct store_iter *it)
{
    if (!it)
        return 0;
    char *text = NULL;
    rocksdb_iter_get_error(it->it, &text);
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    g_free(it->hi);
    g_free(it);
    return text ? rocks_error(text, "scan", NULL) : 0;
}

static uint64_t rocks_approximate_bytes(struct store *s)
{
    static const char *const parts[] = {
        "rocksdb.estimate-live-data-size",
        "rocksdb.live-blob-file-size",
        "rocksdb.cur-size-all-mem-tables",
    };
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        uint64_t n = 0;
        if (rocksdb_property_int(rocks_of(s)->db, parts[i], &n) == 0)
            sum += n;
    }
    return sum;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_write(rocksdb_writebatch_t *b, const struct store_write *w)
{
    switch (w->op) {
    case STORE_PUT:
        rocksdb_writebatch_put(b, chars(w->key), w->key.n, chars(w->value), w->value.n);
        break;
    case STORE_DELETE:
        rocksdb_writebatch_delete(b, chars(w->key), w->key.n);
        break;
    case STORE_DELETE_RANGE:
        if (bytes_cmp(w->key, w->value) < 0)
            rocksdb_writebatch_delete_range(b, chars(w->key), w->key.n, chars(w->value),
                                            w->value.n);
        break;
    }
}

static void deleted_init(struct deleted *d)
{
    *d = (struct deleted){0, g_byte_array_new(), g_byte_array_new()};
}

static void deleted_finish(struct deleted *d)
{
    g_byte_array_free(d->lo, TRUE);
    g_byte_array_free(d->hi, TRUE);
}

static void set_bytes(GByteArray *to, struct bytes b)
{
    g_byte_array_set_size(to, 0);
    g_byte_array_append(to, b.p, (guint)b.n);
}

static void count_deleted(struct deleted *d, struct bytes key)
{
    if (d->n == 0 || bytes_cmp(key, bytes_of(d->lo->data, d->lo->len)) < 0)
        set_bytes(d->lo, key);
    if (d->n == 0 || bytes_cmp(key, bytes_of(d->hi->data, d->hi->len)) > 0)
        set_bytes(d->hi, key);
    d->n++;
}

static int rocks_write(struct store *s, const struct store_write *w, size_t n)
{
    struct rocks *r = rocks_of(s);
    char *text = NULL;
    if (r->failed < 0)
        return r->failed;
    rocksdb_writebatch_clear(r->batch);
    for (size_t i = 0; i < n; i++) {
        add_write(r->batch, &w[i]);
        if (w[i].op == STORE_DELETE)
            count_deleted(&r->deleted, w[i].key);
    }
    rocksdb_write(r->db, r->write, r->batch, &text);
    if (text)
        r->failed = rocks_error(text, "write", NULL);
    return r->failed;
}

/* A deleted row takes its space until a compaction meets it, and who deletes much and then writes
 * nothing would wait for that for ever. */
static void give_space_back(rocksdb_t *db, const struct deleted *d)
{
    char *text = NULL;
    if (d->n < ROCKS_DELETES_MANY)
        return;
    rocksdb_suggest_compact_range(db, (const char *)d->lo->data, d->lo->len,
                                  (const char *)d->hi->data, d->hi->len, &text);
    rocksdb_free(text); /* a hint: another compaction will do it */
}

/* On the flusher's thread: touches nothing of r that changes after opening but the result and what
 * is the flusher's. */
static void flush_now(struct store_job *j)
{
    struct rocks *r = container_of(j, struct rocks, flushing);
    char *text = NULL;
    rocksdb_flush(r->db, r->flush, &text);
    r->flush_err = text ? rocks_error(text, "flush", NULL) : 0;
    if (r->flush_err < 0)
        return;
    give_space_back(r->db, &r->flushed);
    rocks_tend_blobs(r->db, &r->collects);
}

static void flush_ended(struct store_job *j)
{
    struct rocks *r = container_of(j, struct rocks, flushing);
    store_done_fn *done = TAKE(r->done);
    if (r->failed == 0)
        r->failed = r->flush_err;
    done(r->done_arg, r->failed);
}

static void rocks_flush(struct store *s, store_done_fn *done, void *arg)
{
    struct rocks *r = rocks_of(s);
    ASSERT(!r->done);
    r->done = done;
    r->done_arg = arg;
    r->flushing = (struct store_job){.work = flush_now, .done = flush_ended};
    struct deleted old = r->flushed;
    r->flushed = r->deleted;
    r->deleted = (struct deleted){0, old.lo, old.hi};
    if (r->failed == 0 && r->flusher) {
        job_thread_submit(r->flusher, &r->flushing);
        return;
    }
    if (r->failed == 0)
        flush_now(&r->flushing);
    flush_ended(&r->flushing);
}

static int rocks_checkpoint(struct store *s, const char *dir, struct errmsg *msg)
{
    /* Maybe in a job: r->failed is the owner's. RocksDB refuses what it cannot flush by itself. */
    char *text = NULL;
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(rocks_of(s)->db, &text);
    /* 0: flush first; there is no WAL whose tail could be copied instead. */
    if (!text)
        rocksdb_checkpoint_create(c, dir, 0, &text);
    if (c)
        rocksdb_checkpoint_object_destroy(c);
    if (text)
        return rocks_error(text, dir, msg);
    int err = dir_write_file(dir, FORMAT_FILE, bytes_str(FORMAT_TEXT));
    if (err < 0)
        return errmsg_set(msg, err, "checkpoint %s: %s", dir, err_text(err));
    return 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void rocks_close(struct store *s)
{
    if (!s)
        return;
    struct rocks *r = rocks_of(s);
    if (r->flusher)
        job_thread_forget(r->flusher, &r->flushing);
    if (r->db)
        rocksdb_close(r->db);
    rocksdb_options_destroy(r->options);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_writeoptions_destroy(r->write);
    rocksdb_flushoptions_destroy(r->flush);
    rocksdb_writebatch_destroy(r->batch);
    deleted_finish(&r->deleted);
    deleted_finish(&r->flushed);
    g_free(r);
}

static const struct store_ops rocks_ops = {
    .get = rocks_get,
    .write = rocks_write,
    .view_open = rocks_view_open,
    .view_close = rocks_view_close,
    .iter_open = rocks_iter_open,
    .iter_next = rocks_iter_next,
    .iter_close = rocks_iter_close,
    .flush = rocks_flush,
    .checkpoint = rocks_checkpoint,
    .close = rocks_close,
    .approximate_bytes = rocks_approximate_bytes,
};

static bool is_of_a_store(const char *name)
{
    return g_str_has_suffix(name, ".sst") || g_str_has_suffix(name, ".blob") ||
           g_str_has_prefix(name, "MANIFEST-");
}

/* A new directory gets the version file before anything else; any other must have it. */
static int make_format(const char *dir, struct errmsg *msg)
{
    GPtrArray *files = NULL;
    int err = dir_files(dir, &files);
    if (err < 0)
        return errmsg_set(msg, err, "list %s: %s", dir, err_text(err));
    bool foreign = false, damaged = false;
    for (guint i = 0; i < files->len; i++) {
        foreign |= !g_str_has_prefix(files->pdata[i], FORMAT_FILE);
        damaged |= is_of_a_store(files->pdata[i]);
    }
    g_ptr_array_free(files, TRUE);
    if (damaged)
        return errmsg_set(msg, -ERR_CORRUPT, "%s holds a store, but no %s file", dir, FORMAT_FILE);
    if (foreign)
        return errmsg_set(msg, -ERR_FORMAT,
                          "%s is not empty and has no %s file: not a store of ours", dir,
                          FORMAT_FILE);
    err = dir_write_file(dir, FORMAT_FILE, bytes_str(FORMAT_TEXT));
    if (err < 0)
        return errmsg_set(msg, err, "write %s/%s: %s", dir, FORMAT_FILE, err_text(err));
    return 0;
}

/* make: a new directory becomes a store. */
static int check_format(const char *dir, bool make, struct errmsg *msg)
{
    char *path = g_strdup_printf("%s/%s", dir, FORMAT_FILE);
    char *text = NULL;
    unsigned version = 0;
    bool there = g_file_get_contents(path, &text, NULL, NULL);
    bool read = there && sscanf(text, FORMAT_PATTERN, &version) == 1;
    int err = 0;
    if (!there && make)
        err = make_format(dir, msg);
    else if (!there)
        err = errmsg_set(msg, -ERR_NOT_FOUND, "%s has no %s file: not a store of ours", dir,
                         FORMAT_FILE);
    else if (!read)
        err = errmsg_set(msg, -ERR_CORRUPT, "%s: not a version file", path);
    else if (version != FORMAT_VERSION)
        err = errmsg_set(msg, -ERR_FORMAT, "%s: store format %u, this version of raftfs knows %u",
                         path, version, FORMAT_VERSION);
    g_free(text);
    g_free(path);
    return err;
}

/* Opens the database of a directory whose format is known to be ours. */
static int open_db(const char *dir, bool read_only, struct rocks **ret, struct errmsg *msg)
{
    struct rocks *r = g_new0(struct rocks, 1);
    char *text = NULL;
    r->store.ops = &rocks_ops;
    r->options = rocks_options();
    r->read = rocksdb_readoptions_create();
    r->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write, 1);
    r->flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(r->flush, 1);
    r->batch = rocksdb_writebatch_create();
    deleted_init(&r->deleted);
    deleted_init(&r->flushed);
    if (read_only)
        r->db = rocksdb_open_for_read_only(r->options, dir, 0, &text);
    else
        r->db = rocksdb_open(r->options, dir, &text);
    if (text) {
        r->db = NULL;
        rocks_close(&r->store);
        return rocks_error(text, dir, msg);
    }
    *ret = r;
    return 0;
}

static int open_store(const char *dir, struct rocks **ret, struct errmsg *msg)
{
    int err = dir_heal(dir);
    if (err == 0)
        err = dir_make(dir);
    if (err < 0)
        return errmsg_set(msg, err, "make %s: %s", dir, err_text(err));
    err = check_format(dir, true, msg);
    return err < 0 ? err : open_db(dir, false, ret, msg);
}

int store_rocks_open(const char *dir, struct store **ret, struct errmsg *msg)
{
    struct rocks *r;
    int err = open_store(dir, &r, msg);
    if (err == 0)
        *ret = &r->store;
    return err;
}

int store_rocks_open_read(const char *dir, struct store **ret, struct errmsg *msg)
{
    struct rocks *r;
    int err = check_format(dir, false, msg);
    if (err == 0)
        err = open_db(dir, true, &r, msg);
    if (err == 0)
        *ret = &r->store;
    return err;
}

/* --- the maker -------------------------------------------------------------------------------- */

struct rocks_maker {
    struct store_maker maker;
    struct job_thread *flusher, *jobs; /* made when they are first needed: `wake` is set by then */
};

static struct rocks_maker *maker_of(struct store_maker *m)
{
    return container_of(m, struct rocks_maker, maker);
}

static struct job_thread *thread_of(struct store_maker *m, struct job_thread **which)
{
    if (!*which)
        *which = job_thread_create(m->wake, m->wake_arg);
    return *which;
}

/* In a job, too: then an earlier opening has made the flusher, or m has no wake. */
static int maker_open(struct store_maker *m, const char *dir, struct store **ret,
                      struct errmsg *msg)
{
    struct rocks *r;
    int err = open_store(dir, &r, msg);
    if (err < 0)
        return err;
    if (m->wake)
        r->flusher = thread_of(m, &maker_of(m)->flusher);
    *ret = &r->store;
    return 0;
}

static int maker_destroy(struct store_maker *m UNUSED, const char *dir)
{
    return dir_remove(dir);
}

static int maker_replace(struct store_maker *m UNUSED, const char *from, const char *to)
{
    return dir_replace(from, to);
}

static int maker_peek(struct store_maker *m UNUSED, const char *dir, struct bytes key,
                      struct arena *a, struct bytes *ret)
{
    struct store *s;
    int err = store_rocks_open_read(dir, &s, NULL);
    if (err < 0)
        return err;
    err = rocks_get(s, NULL, key, a, ret);
    rocks_close(s);
    return err;
}

static struct store_image *maker_image_open(struct store_maker *m UNUSED, const char *dir)
{
    return image_open(dir);
}

static int maker_image_create(struct store_maker *m UNUSED, const char *dir, struct bytes tag,
                              struct store_image **ret)
{
    return image_create(dir, tag, ret);
}

static int maker_image_resume(struct store_maker *m UNUSED, const char *dir, struct arena *a,
                              struct bytes *ret_tag, uint64_t *ret_offset, struct store_image **ret)
{
    return image_resume(dir, a, ret_tag, ret_offset, ret);
}

static void maker_submit(struct store_maker *m, struct store_job *j)
{
    job_thread_submit(thread_of(m, &maker_of(m)->jobs), j);
}

static void maker_poll(struct store_maker *m)
{
    if (maker_of(m)->flusher)
        job_thread_poll(maker_of(m)->flusher);
    if (maker_of(m)->jobs)
        job_thread_poll(maker_of(m)->jobs);
}

static void maker_drain(struct store_maker *m)
{
    if (maker_of(m)->jobs)
        job_thread_drain(maker_of(m)->jobs);
}

static void maker_free(struct store_maker *m)
{
    job_thread_destroy(maker_of(m)->flusher);
    job_thread_destroy(maker_of(m)->jobs);
    g_free(maker_of(m));
}

struct store_maker *store_rocks_maker_create(void)
{
    struct rocks_maker *m = g_new0(struct rocks_maker, 1);
    m->maker = (struct store_maker){
        .open = maker_open,
        .destroy = maker_destroy,
        .replace = maker_replace,
        .peek = maker_peek,
        .image_open = maker_image_open,
        .image_size = image_size,
        .image_read = image_read,
        .image_close = image_close,
        .image_create = maker_image_create,
        .image_resume = maker_image_resume,
        .image_write = image_write,
        .image_finish = image_finish,
        .submit = maker_submit,
        .poll = maker_poll,
        .drain = maker_drain,
        .free = maker_free,
    };
    return &m->maker;
}
