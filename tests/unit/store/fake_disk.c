/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/fake_disk.h"

#include "cluster/base/err.h"

#define SECTOR 512u

struct inode {
    unsigned refs;
    GByteArray *now, *durable;
    GArray *dirty; /* struct range: written since the last sync */
};

struct range {
    uint64_t off, n;
};

struct change {
    char *from, *to; /* from NULL: create `to` as inode; to NULL: remove from */
    struct inode *inode;
};

struct fake_file {
    struct disk_file file;
    struct inode *inode;
};

static struct fake_disk *disk_of(struct disk *d)
{
    return container_of(d, struct fake_disk, disk);
}

static struct inode *inode_of(struct disk_file *f)
{
    return container_of(f, struct fake_file, file)->inode;
}

static struct inode *inode_ref(struct inode *i)
{
    i->refs++;
    return i;
}

static void inode_unref(void *p)
{
    struct inode *i = p;
    if (--i->refs > 0)
        return;
    g_byte_array_unref(i->now);
    g_byte_array_unref(i->durable);
    g_array_free(i->dirty, TRUE);
    g_free(i);
}

static void resize(GByteArray *b, uint64_t size)
{
    guint old = b->len;
    g_byte_array_set_size(b, (guint)size);
    if (size > old)
        memset(b->data + old, 0, size - old);
}

/* --- names ------------------------------------------------------------------------------------ */

static void do_change(GHashTable *names, const struct change *c)
{
    struct inode *i = c->inode;
    if (c->from && c->to)
        i = g_hash_table_lookup(names, c->from);
    if (c->to && i)
        g_hash_table_replace(names, g_strdup(c->to), inode_ref(i));
    if (c->from)
        g_hash_table_remove(names, c->from);
}

static void free_change(void *p)
{
    struct change *c = p;
    g_free(c->from);
    g_free(c->to);
    if (c->inode)
        inode_unref(c->inode);
    g_free(c);
}

static void add_change(struct fake_disk *d, const char *from, const char *to, struct inode *i)
{
    struct change *c = g_new(struct change, 1);
    *c = (struct change){g_strdup(from), g_strdup(to), i ? inode_ref(i) : NULL};
    do_change(d->names, c);
    g_queue_push_tail(&d->changes, c);
}

static bool fails(struct fake_disk *d)
{
    return ++d->ops == d->fail_at;
}

static int fake_open(struct disk *disk, const char *path, int flags, struct disk_file **ret)
{
    struct fake_disk *d = disk_of(disk);
    struct inode *i = g_hash_table_lookup(d->names, path);
    if (i && flags & DISK_EXCL)
        return -ERR_EXISTS;
    if (!i && !(flags & DISK_CREATE))
        return -ERR_NOT_FOUND;
    if (!i) {
        if (fails(d))
            return -ERR_IO;
        i = g_new(struct inode, 1);
        *i = (struct inode){1, g_byte_array_new(), g_byte_array_new(),
                            g_array_new(FALSE, FALSE, sizeof(struct range))};
        add_change(d, NULL, path, i);
        inode_unref(i);
    }
    struct fake_file *f = g_new(struct fake_file, 1);
    *f = (struct fake_file){{disk}, inode_ref(i)};
    *ret = &f->file;
    return 0;
}

static void fake_close(struct disk_file *f)
{
    if (!f)
        return;
    struct fake_disk *d = disk_of(f->disk);
    if (d->waiting == f)
        d->waiting = NULL;
    inode_unref(inode_of(f));
    g_free(container_of(f, struct fake_file, file));
}

static int fake_rename(struct disk *disk, const char *from, const char *to)
{
    struct fake_disk *d = disk_of(disk);
    if (fails(d))
        return -ERR_IO;
    if (!g_hash_table_contains(d->names, from))
        return -ERR_NOT_FOUND;
    add_change(d, from, to, NULL);
    return 0;
}

static int fake_remove(struct disk *disk, const char *path)
{
    struct fake_disk *d = disk_of(disk);
    if (fails(d))
        return -ERR_IO;
    if (!g_hash_table_contains(d->names, path))
        return -ERR_NOT_FOUND;
    add_change(d, path, NULL, NULL);
    return 0;
}

static int fake_make_dir(struct disk *disk, const char *path UNUSED)
{
    return fails(disk_of(disk)) ? -ERR_IO : 0;
}

static void settle(struct fake_disk *d, guint n)
{
    for (; n > 0; n--) {
        struct change *c = g_queue_pop_head(&d->changes);
        do_change(d->durable, c);
        free_change(c);
    }
}

static int fake_sync_dir(struct disk *disk, const char *path UNUSED)
{
    struct fake_disk *d = disk_of(disk);
    if (fails(d))
        return -ERR_IO;
    settle(d, d->changes.length);
    return 0;
}

static int fake_list(struct disk *disk, const char *path, disk_name_fn *each, void *arg)
{
    GHashTableIter it;
    gpointer name;
    size_t n = strlen(path);
    g_hash_table_iter_init(&it, disk_of(disk)->names);
    while (g_hash_table_iter_next(&it, &name, NULL))
        if (g_str_has_prefix(name, path) && ((char *)name)[n] == '/')
            each(arg, (char *)name + n + 1);
    return 0;
}

/* --- contents --------------------------------------------------------------------------------- */

static int64_t fake_read(struct disk_file *f, void *p, size_t n, uint64_t off)
{
    const GByteArray *b = inode_of(f)->now;
    if (off >= b->len)
        return 0;
    n = MIN(n, (size_t)(b->len - off));
    memcpy(p, b->data + off, n);
    return (int64_t)n;
}

static int fake_write(struct disk_file *f, const struct iovec *iov, int n, uint64_t off)
{
    struct inode *i = inode_of(f);
    struct fake_disk *d = disk_of(f->disk);
    bool failed = fails(d);
    struct range r = {off, 0};
    d->writes++;
    for (int k = 0; k < n; k++) {
        if (failed && k >= n / 2)
            break; /* a part of it went through */
        if (off + iov[k].iov_len > i->now->len)
            resize(i->now, off + iov[k].iov_len);
        if (iov[k].iov_len > 0)
            memcpy(i->now->data + off, iov[k].iov_base, iov[k].iov_len);
        off += iov[k].iov_len;
    }
    r.n = off - r.off;
    g_array_append_val(i->dirty, r);
    return failed ? -ERR_IO : 0;
}

static uint64_t used_bytes(struct fake_disk *d)
{
    GHashTableIter it;
    gpointer i;
    uint64_t n = 0;
    g_hash_table_iter_init(&it, d->names);
    while (g_hash_table_iter_next(&it, NULL, &i))
        n += ((struct inode *)i)->now->len;
    return n;
}

static int fake_allocate(struct disk_file *f, uint64_t size)
{
    struct fake_disk *d = disk_of(f->disk);
    struct inode *i = inode_of(f);
    if (fails(d))
        return -ERR_IO;
    if (size <= i->now->len)
        return 0;
    uint64_t used = used_bytes(d);
    if (used + size - i->now->len > d->space) {
        resize(i->now, i->now->len + (d->space > used ? d->space - used : 0));
        return -ERR_NO_SPACE;
    }
    resize(i->now, size);
    return 0;
}

static int fake_size(struct disk_file *f, uint64_t *ret)
{
    *ret = inode_of(f)->now->len;
    return 0;
}

static void copy_range(struct inode *i, uint64_t off, uint64_t n)
{
    n = off < i->durable->len ? MIN(n, i->durable->len - off) : 0;
    if (n > 0)
        memcpy(i->durable->data + off, i->now->data + off, n);
}

static int sync_now(struct disk_file *f)
{
    struct inode *i = inode_of(f);
    struct fake_disk *d = disk_of(f->disk);
    bool failed = fails(d);
    d->syncs++;
    resize(i->durable, i->now->len);
    for (guint k = 0; k < i->dirty->len && !failed; k++) {
        const struct range *r = &g_array_index(i->dirty, struct range, k);
        copy_range(i, r->off, r->n);
    }
    g_array_set_size(i->dirty, 0);
    return failed ? -ERR_IO : 0;
}

static void fake_sync(struct disk_file *f, disk_done_fn *done, void *arg)
{
    struct fake_disk *d = disk_of(f->disk);
    if (!d->deferred) {
        done(arg, sync_now(f));
        return;
    }
    ASSERT(!d->waiting);
    d->waiting = f;
    d->waiting_done = done;
    d->waiting_arg = arg;
}

bool fake_disk_complete(struct fake_disk *d)
{
    struct disk_file *f = TAKE(d->waiting);
    if (!f)
        return false;
    d->waiting_done(d->waiting_arg, sync_now(f));
    return true;
}

static int fake_free_bytes(struct disk *disk, const char *path UNUSED, uint64_t *ret)
{
    struct fake_disk *d = disk_of(disk);
    *ret = d->space - MIN(d->space, used_bytes(d));
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static const struct disk_ops fake_ops = {
    .open = fake_open,
    .close = fake_close,
    .read = fake_read,
    .write = fake_write,
    .allocate = fake_allocate,
    .size = fake_size,
    .sync = fake_sync,
    .rename = fake_rename,
    .remove = fake_remove,
    .make_dir = fake_make_dir,
    .sync_dir = fake_sync_dir,
    .list = fake_list,
    .free_bytes = fake_free_bytes,
};

static GHashTable *new_names(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, inode_unref);
}

void fake_disk_init(struct fake_disk *d, uint64_t seed)
{
    *d = (struct fake_disk){.disk = {&fake_ops}, .space = UINT64_MAX};
    rng_seed(&d->rng, seed);
    d->names = new_names();
    d->durable = new_names();
    g_queue_init(&d->changes);
}

void fake_disk_finish(struct fake_disk *d)
{
    g_hash_table_destroy(d->names);
    g_hash_table_destroy(d->durable);
    g_queue_clear_full(&d->changes, free_change);
}

/* Decides for each dirty sector whether it reached the disk. */
static void lose(struct fake_disk *d, struct inode *i, enum fake_loss loss)
{
    if (loss != FAKE_LOSE_ALL || i->durable->len > i->now->len)
        resize(i->durable, i->now->len);
    for (guint k = 0; k < i->dirty->len && loss != FAKE_LOSE_ALL; k++) {
        const struct range *r = &g_array_index(i->dirty, struct range, k);
        for (uint64_t at = r->off; at < r->off + r->n; at += SECTOR)
            if (loss == FAKE_KEEP_ALL || rng_below(&d->rng, 2) == 0)
                copy_range(i, at, MIN(SECTOR, r->off + r->n - at));
    }
    g_array_set_size(i->dirty, 0);
    g_byte_array_set_size(i->now, 0);
    g_byte_array_append(i->now, i->durable->data, i->durable->len);
}

void fake_disk_crash(struct fake_disk *d, enum fake_loss loss)
{
    GHashTableIter it;
    gpointer name, inode;
    d->waiting = NULL;
    /* A journal keeps the order of changes of names: a prefix of them survives. */
    guint n = d->changes.length;
    settle(d, loss == FAKE_KEEP_ALL ? n
              : loss == FAKE_TEAR   ? (guint)rng_below(&d->rng, (uint64_t)n + 1)
                                    : 0);
    g_queue_clear_full(&d->changes, free_change);
    g_hash_table_remove_all(d->names);
    g_hash_table_iter_init(&it, d->durable);
    while (g_hash_table_iter_next(&it, &name, &inode)) {
        lose(d, inode, loss);
        g_hash_table_replace(d->names, g_strdup(name), inode_ref(inode));
    }
}

GByteArray *fake_disk_bytes(struct fake_disk *d, const char *path)
{
    struct inode *i = g_hash_table_lookup(d->names, path);
    return i ? i->now : NULL;
}

bool fake_disk_remove(struct fake_disk *d, const char *path)
{
    g_hash_table_remove(d->durable, path);
    return g_hash_table_remove(d->names, path);
}

void fake_disk_swap(struct fake_disk *d, const char *a, const char *b)
{
    GByteArray *x = fake_disk_bytes(d, a), *y = fake_disk_bytes(d, b);
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, x->data, x->len);
    g_byte_array_set_size(x, 0);
    g_byte_array_append(x, y->data, y->len);
    g_byte_array_set_size(y, 0);
    g_byte_array_append(y, copy->data, copy->len);
    g_byte_array_unref(copy);
}

unsigned fake_disk_files(struct fake_disk *d)
{
    return g_hash_table_size(d->names);
}
