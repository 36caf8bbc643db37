/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state store in memory. Every batch makes a new version of a persistent tree (tree.h), so a
 * view is a reference to a root, and what a crash may leave, a prefix of the batches, is one of the
 * roots since the last flush.
 */
#include "cluster/store/store.h"

#include "cluster/base/codec.h"
#include "cluster/store/tree.h"
#include "cluster/store/job_thread.h"

struct store_mem_disk {
    GHashTable *images;   /* char *dir -> struct image */
    GHashTable *partials; /* char *dir -> struct partial */
    enum store_mem_room room;
};

/* What is durable under a name. */
struct image {
    struct tree *root;
};

/* The part of a stream that has been written to a directory. */
struct partial {
    struct enc tag, stream;
};

struct mem {
    struct store store;
    struct store_mem_disk *disk;
    char *dir;
    struct tree *root;
    GQueue unflushed; /* struct tree *: the root after each batch since the last flush */
    bool full;        /* a flush or batch found no room: for good, as with RocksDB */
};

struct store_view {
    struct tree *root;
};

struct store_iter {
    struct tree *root;
    struct tree_iter at;
    uint8_t *hi;
    size_t hi_n;
};

/* --- the disk --------------------------------------------------------------------------------- */

static void image_free(gpointer p)
{
    struct image *i = p;
    tree_unref(i->root);
    g_free(i);
}

static void partial_free(gpointer p)
{
    struct partial *i = p;
    enc_finish(&i->tag);
    enc_finish(&i->stream);
    g_free(i);
}

struct store_mem_disk *store_mem_disk_create(void)
{
    struct store_mem_disk *d = g_new0(struct store_mem_disk, 1);
    d->images = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, image_free);
    d->partials = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, partial_free);
    return d;
}

void store_mem_disk_destroy(struct store_mem_disk *d)
{
    if (!d)
        return;
    g_hash_table_destroy(d->images);
    g_hash_table_destroy(d->partials);
    g_free(d);
}

void store_mem_disk_set_room(struct store_mem_disk *d, enum store_mem_room room)
{
    d->room = room;
}

/* Takes the root. */
static void disk_set(struct store_mem_disk *d, const char *dir, struct tree *root)
{
    struct image *i = g_new(struct image, 1);
    i->root = root;
    g_hash_table_replace(d->images, g_strdup(dir), i);
}

/* --- the store -------------------------------------------------------------------------------- */

static struct mem *mem_of(struct store *s)
{
    return container_of(s, struct mem, store);
}

static const struct tree *root_of(struct store *s, const struct store_view *view)
{
    return view ? view->root : mem_of(s)->root;
}

static int mem_get(struct store *s, struct store_view *view, struct bytes key, struct arena *a,
                   struct bytes *ret)
{
    struct bytes value;
    if (!tree_get(root_of(s, view), key, &value))
        return -ERR_NOT_FOUND;
    *ret = arena_copy(a, value);
    return 0;
}

static int mem_write(struct store *s, const struct store_write *w, size_t n)
{
    struct mem *m = mem_of(s);
    m->full |= m->disk->room == STORE_MEM_FULL;
    if (m->full)
        return -ERR_NO_SPACE;
    for (size_t i = 0; i < n; i++) {
        switch (w[i].op) {
        case STORE_PUT:
            m->root = tree_put(m->root, w[i].key, w[i].value);
            break;
        case STORE_DELETE:
            m->root = tree_delete(m->root, w[i].key);
            break;
        case STORE_DELETE_RANGE:
            m->root = tree_delete_range(m->root, w[i].key, w[i].value);
            break;
        }
    }
    /* The reference that the history takes makes the next batch copy instead of change. */
    g_queue_push_tail(&m->unflushed, tree_ref(m->root));
    return 0;
}

static struct store_view *mem_view_open(struct store *s)
{
    struct store_view *v = g_new(struct store_view, 1);
    v->root = tree_ref(mem_of(s)->root);
    return v;
}

static void mem_view_close(struct store *s UNUSED, struct store_view *v)
{
    if (!v)
        return;
    tree_unref(v->root);
    g_free(v);
}

static struct store_iter *mem_iter_open(struct store *s, struct store_view *view, struct bytes lo,
                                        struct bytes hi)
{
    struct store_iter *it = g_new0(struct store_iter, 1);
    it->root = tree_ref((struct tree *)(uintptr_t)root_of(s, view));
    it->hi = g_memdup2(hi.p, hi.n);
    it->hi_n = hi.n;
    tree_iter_init(&it->at, it->root, lo);
    return it;
}

static bool mem_iter_next(struct store_iter *it, struct bytes *ret_key, struct bytes *ret_value)
{
    struct bytes key, value;
    if (!tree_iter_next(&it->at, &key, &value))
        return false;
    if (it->hi_n > 0 && bytes_cmp(key, bytes_of(it->hi, it->hi_n)) >= 0)
        return false;
    *ret_key = key;
    *ret_value = value;
    return true;
}

static int mem_iter_close(struct store_iter *it)
{
    if (!it)
        return 0;
    tree_iter_finish(&it->at);
    tree_unref(it->root);
    g_free(it->hi);
    g_free(it);
    return 0;
}

static void drop_root(gpointer t)
{
    tree_unref(t);
}

static void forget_history(struct mem *m)
{
    g_queue_clear_full(&m->unflushed, drop_root);
}

static void mem_flush(struct store *s, store_done_fn *done, void *arg)
{
    struct mem *m = mem_of(s);
    m->full |= m->disk->room != STORE_MEM_ROOM;
    if (!m->full) {
        disk_set(m->disk, m->dir, tree_ref(m->root));
        forget_history(m);
    }
    done(arg, m->full ? -ERR_NO_SPACE : 0);
}

static int mem_checkpoint(struct store *s, const char *dir, struct errmsg *msg)
{
    struct mem *m = mem_of(s);
    if (m->full || m->disk->room != STORE_MEM_ROOM)
        return errmsg_set(msg, -ERR_NO_SPACE, "checkpoint %s: no space", dir);
    if (g_hash_table_contains(m->disk->images, dir))
        return errmsg_set(msg, -ERR_EXISTS, "checkpoint %s: it exists", dir);
    disk_set(m->disk, dir, tree_ref(m->root));
    return 0;
}

static uint64_t mem_approximate_bytes(struct store *s)
{
    return tree_bytes(mem_of(s)->root);
}

static void mem_close(struct store *s)
{
    if (s)
        store_mem_crash(s, 0);
}

static const struct store_ops mem_ops = {
    .get = mem_get,
    .write = mem_write,
    .view_open = mem_view_open,
    .view_close = mem_view_close,
    .iter_open = mem_iter_open,
    .iter_next = mem_iter_next,
    .iter_close = mem_iter_close,
    .flush = mem_flush,
    .checkpoint = mem_checkpoint,
    .close = mem_close,
    .approximate_bytes = mem_approximate_bytes,
};

int store_mem_open(struct store_mem_disk *d, const char *dir, struct store **ret)
{
    struct image *i = g_hash_table_lookup(d->images, dir);
    if (!i)
        disk_set(d, dir, NULL);
    struct mem *m = g_new0(struct mem, 1);
    *m = (struct mem){
        .store = {.ops = &mem_ops},
        .disk = d,
        .dir = g_strdup(dir),
        .root = tree_ref(i ? i->root : NULL),
    };
    g_queue_init(&m->unflushed);
    *ret = &m->store;
    return 0;
}

void store_mem_crash(struct store *s, size_t extra_batches)
{
    struct mem *m = mem_of(s);
    ASSERT(s->ops == &mem_ops);
    size_t kept = MIN(extra_batches, (size_t)m->unflushed.length);
    if (kept > 0)
        disk_set(m->disk, m->dir, tree_ref(g_queue_peek_nth(&m->unflushed, (guint)kept - 1)));
    forget_history(m);
    tree_unref(m->root);
    g_free(m->dir);
    g_free(m);
}

/* --- the maker -------------------------------------------------------------------------------- */

struct mem_maker {
    struct store_maker maker;
    struct store_mem_disk *disk;
    struct job_thread *jobs; /* without a thread */
};

/* Stream: count u64, then key and value as bytes fields, in order, then the CRC32C of it all. */
struct store_image {
    struct store_mem_disk *disk;
    char *dir;
    struct enc stream;       /* read */
    struct partial *partial; /* written; the disk's */
};

/* As on a real disk: the last piece of what was written is not trusted. */
#define RESUME_UNIT 1000

static struct mem_maker *maker_of(struct store_maker *m)
{
    return container_of(m, struct mem_maker, maker);
}

static struct store_mem_disk *disk_of(struct store_maker *m)
{
    return maker_of(m)->disk;
}

static int maker_open(struct store_maker *m, const char *dir, struct store **ret,
                      struct errmsg *msg UNUSED)
{
    return store_mem_open(disk_of(m), dir, ret);
}

static int maker_destroy(struct store_maker *m, const char *dir)
{
    g_hash_table_remove(disk_of(m)->images, dir);
    g_hash_table_remove(disk_of(m)->partials, dir);
    return 0;
}

static int maker_replace(struct store_maker *m, const char *from, const char *to)
{
    struct store_mem_disk *d = disk_of(m);
    struct image *i = g_hash_table_lookup(d->images, from);
    if (!i)
        return -ERR_NOT_FOUND;
    struct image *old = g_hash_table_lookup(d->images, to);
    struct tree *root = tree_ref(i->root);
    if (old)
        disk_set(d, from, tree_ref(old->root));
    else
        g_hash_table_remove(d->images, from);
    disk_set(d, to, root);
    return 0;
}

static int maker_peek(struct store_maker *m, const char *dir, struct bytes key, struct arena *a,
                      struct bytes *ret)
{
    struct image *i = g_hash_table_lookup(disk_of(m)->images, dir);
    struct bytes value;
    if (!i || !tree_get(i->root, key, &value))
        return -ERR_NOT_FOUND;
    *ret = arena_copy(a, value);
    return 0;
}

static struct store_image *image_new(struct store_maker *m, const char *dir)
{
    struct store_image *i = g_new0(struct store_image, 1);
    i->disk = disk_of(m);
    i->dir = g_strdup(dir);
    return i;
}

static void image_close(struct store_image *i)
{
    if (!i)
        return;
    enc_finish(&i->stream);
    g_free(i->dir);
    g_free(i);
}

static struct store_image *image_open(struct store_maker *m, const char *dir)
{
    struct image *from = g_hash_table_lookup(disk_of(m)->images, dir);
    if (!from)
        return NULL;
    struct store_image *i = image_new(m, dir);
    struct tree_iter it;
    struct bytes key, value;
    enc_u64(&i->stream, tree_count(from->root));
    tree_iter_init(&it, from->root, BYTES_NONE);
    while (tree_iter_next(&it, &key, &value)) {
        enc_bytes(&i->stream, key);
        enc_bytes(&i->stream, value);
    }
    tree_iter_finish(&it);
    enc_u32(&i->stream, crc32c(0, i->stream.p, i->stream.n));
    return i;
}

static uint64_t image_size(struct store_image *i)
{
    return i->stream.n;
}

static int64_t image_read(struct store_image *i, void *p, size_t n, uint64_t off)
{
    if (off >= i->stream.n)
        return 0;
    n = MIN(n, i->stream.n - (size_t)off);
    memcpy(p, i->stream.p + off, n);
    return (int64_t)n;
}

static int image_create(struct store_maker *m, const char *dir, struct bytes tag,
                        struct store_image **ret)
{
    maker_destroy(m, dir);
    struct partial *p = g_new0(struct partial, 1);
    enc_raw(&p->tag, tag.p, tag.n);
    g_hash_table_replace(disk_of(m)->partials, g_strdup(dir), p);
    *ret = image_new(m, dir);
    (*ret)->partial = p;
    return 0;
}

static int image_resume(struct store_maker *m, const char *dir, struct arena *a,
                        struct bytes *ret_tag, uint64_t *ret_offset, struct store_image **ret)
{
    struct partial *p = g_hash_table_lookup(disk_of(m)->partials, dir);
    if (!p)
        return -ERR_NOT_FOUND;
    p->stream.n -= p->stream.n % RESUME_UNIT;
    *ret_tag = arena_copy(a, enc_view(&p->tag));
    *ret_offset = p->stream.n;
    *ret = image_new(m, dir);
    (*ret)->partial = p;
    return 0;
}

static int image_write(struct store_image *i, const void *p, size_t n)
{
    enc_raw(&i->partial->stream, p, n);
    return 0;
}

static int decode_image(struct bytes in, struct tree **ret)
{
    if (in.n < 12)
        return -ERR_CORRUPT;
    struct dec d = dec_of(bytes_of(in.p, in.n - 4));
    if (get_le32(in.p + d.n) != crc32c(0, d.p, d.n))
        return -ERR_CORRUPT;
    struct tree *root = NULL;
    for (uint64_t left = dec_u64(&d); left > 0 && dec_ok(&d); left--) {
        struct bytes key = dec_bytes(&d);
        struct bytes value = dec_bytes(&d);
        if (dec_ok(&d))
            root = tree_put(root, key, value);
    }
    if (!dec_done(&d)) {
        tree_unref(root);
        return -ERR_CORRUPT;
    }
    *ret = root;
    return 0;
}

static int image_finish(struct store_image *i)
{
    struct tree *root = NULL;
    int err = i->disk->room == STORE_MEM_ROOM ? decode_image(enc_view(&i->partial->stream), &root)
                                              : -ERR_NO_SPACE;
    if (err == 0)
        disk_set(i->disk, i->dir, root);
    g_hash_table_remove(i->disk->partials, i->dir);
    image_close(i);
    return err;
}

static void maker_submit(struct store_maker *m, struct store_job *j)
{
    job_thread_submit(maker_of(m)->jobs, j);
}

static void maker_poll(struct store_maker *m)
{
    job_thread_poll(maker_of(m)->jobs);
}

static void maker_drain(struct store_maker *m)
{
    job_thread_drain(maker_of(m)->jobs);
}

static void maker_free(struct store_maker *m)
{
    job_thread_destroy(maker_of(m)->jobs);
    g_free(maker_of(m));
}

struct store_maker *store_mem_maker_create(struct store_mem_disk *d)
{
    struct mem_maker *m = g_new0(struct mem_maker, 1);
    *m = (struct mem_maker){
        .maker =
            {
                .open = maker_open,
                .destroy = maker_destroy,
                .replace = maker_replace,
                .peek = maker_peek,
                .image_open = image_open,
                .image_size = image_size,
                .image_read = image_read,
                .image_close = image_close,
                .image_create = image_create,
                .image_resume = image_resume,
                .image_write = image_write,
                .image_finish = image_finish,
                .submit = maker_submit,
                .poll = maker_poll,
                .drain = maker_drain,
                .free = maker_free,
            },
        .disk = d,
        .jobs = job_thread_create(NULL, NULL),
    };
    return &m->maker;
}
