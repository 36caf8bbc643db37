/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/disk.h"

#include <string.h>
#include "tests/sim/inode.h"

enum change_kind { CHANGE_LINK, CHANGE_UNLINK };
/* A rename is two in one step. */
struct change {
    char *dir;
    char *unlink, *link; /* paths, NULL: not this half */
    struct inode *inode;
};

struct sim_file {
    struct disk_file file;
    struct inode *inode;
    bool open;
};

static struct sim_disk *disk_of(struct disk *d)
{
    return container_of(d, struct sim_disk, disk);
}

static struct sim_file *file_of(struct disk_file *f)
{
    struct sim_file *sf = container_of(f, struct sim_file, file);
    ASSERT(sf->open);
    return sf;
}

/* --- names ------------------------------------------------------------------------------------ */

static void change_free(gpointer p)
{
    struct change *c = p;
    g_free(c->dir);
    g_free(c->unlink);
    g_free(c->link);
    inode_unref(c->inode);
    g_free(c);
}

static void note_change(struct sim_disk *d, const char *unlink, const char *link,
                        struct inode *inode)
{
    struct change *c = g_new0(struct change, 1);
    c->dir = g_path_get_dirname(link ? link : unlink);
    c->unlink = g_strdup(unlink);
    c->link = g_strdup(link);
    c->inode = inode ? inode_ref(inode) : NULL;
    g_ptr_array_add(d->changes, c);
}

static void name_set(GHashTable *names, const char *path, struct inode *i)
{
    g_hash_table_replace(names, g_strdup(path), inode_ref(i));
}

static void make_durable(struct sim_disk *d, const struct change *c)
{
    if (c->unlink)
        g_hash_table_remove(d->durable, c->unlink);
    if (c->link)
        name_set(d->durable, c->link, c->inode);
}

/* --- faults ----------------------------------------------------------------------------------- */

static bool counts_down(unsigned *n)
{
    return *n > 0 && --*n == 0;
}

static bool fails(struct sim_disk *d)
{
    if (!d->node->inside || !counts_down(&d->fail_op_in))
        return false;
    trace_line(d->node->sim, "n%u a call of the disk FAILS", d->node->id);
    d->failed = true;
    return true;
}

static bool power_goes(struct sim_disk *d)
{
    return d->node->inside && counts_down(&d->crash_op_in);
}

/* Before the change of a name, or another one without parts. */
static int change_begins(struct sim_disk *d)
{
    if (power_goes(d))
        host_power_fails(d->node);
    return fails(d) ? -ERR_IO : 0;
}

/* --- the interface ---------------------------------------------------------------------------- */

static bool parent_exists(struct sim_disk *d, const char *path)
{
    char *dir = g_path_get_dirname(path);
    const struct inode *i = g_hash_table_lookup(d->names, dir);
    g_free(dir);
    return i && i->dir;
}

static int op_open(struct disk *disk, const char *path, int flags, struct disk_file **ret)
{
    struct sim_disk *d = disk_of(disk);
    struct inode *i = g_hash_table_lookup(d->names, path);
    if (i && (flags & DISK_EXCL))
        return -ERR_EXISTS;
    if (!i && !((flags & DISK_CREATE) && parent_exists(d, path)))
        return -ERR_NOT_FOUND;
    int err = i ? 0 : change_begins(d);
    if (err < 0 || fails(d))
        return -ERR_IO;
    if (!i) {
        i = inode_new(false);
        name_set(d->names, path, i);
        note_change(d, NULL, path, i);
        inode_unref(i);
    }
    struct sim_file *f = g_new0(struct sim_file, 1);
    *f = (struct sim_file){{disk}, inode_ref(i), true};
    g_ptr_array_add(d->files, f);
    *ret = &f->file;
    return 0;
}

static void op_close(struct disk_file *file)
{
    struct sim_file *f = file_of(file);
    f->open = false;
    inode_unref(f->inode);
    f->inode = NULL;
}

static int64_t op_read(struct disk_file *file, void *p, size_t n, uint64_t off)
{
    const GByteArray *a = file_of(file)->inode->cache;
    if (fails(disk_of(file->disk)))
        return -ERR_IO;
    if (off >= a->len)
        return 0;
    n = MIN(n, a->len - (size_t)off);
    memcpy(p, a->data + off, n);
    return (int64_t)n;
}

/* Nothing has got to the disk yet when it returns; where it is cut short, not even all to the
 * cache.
 */
static int op_write(struct disk_file *file, const struct iovec *iov, int n, uint64_t off)
{
    struct inode *i = file_of(file)->inode;
    struct sim_disk *d = disk_of(file->disk);
    bool power = power_goes(d), failed = !power && fails(d);
    uint64_t end = off;
    for (int k = 0; k < n; k++)
        end += iov[k].iov_len;
    if (d->full && end > i->cache->len)
        return -ERR_NO_SPACE;
    if ((power || failed) && end > off)
        end = off + rng_below(&d->node->sim->disk_rng, end - off + 1);
    inode_write(i, iov, n, off, end);
    if (power)
        host_power_fails(d->node);
    return failed ? -ERR_IO : 0;
}

/* A new length is a write of no bytes at the end: kept or lost like one. */
static int op_allocate(struct disk_file *file, uint64_t size)
{
    struct inode *i = file_of(file)->inode;
    struct sim_disk *d = disk_of(file->disk);
    int err = change_begins(d);
    if (err < 0)
        return err;
    if (d->full)
        return -ERR_NO_SPACE;
    if (size <= i->cache->len)
        return 0;
    inode_extend(i, size);
    return 0;
}

static int op_size(struct disk_file *file, uint64_t *ret)
{
    *ret = file_of(file)->inode->cache->len;
    return 0;
}

static int op_rename(struct disk *disk, const char *from, const char *to)
{
    struct sim_disk *d = disk_of(disk);
    struct inode *i = g_hash_table_lookup(d->names, from);
    if (!i)
        return -ERR_NOT_FOUND;
    int err = change_begins(d);
    if (err < 0)
        return err;
    name_set(d->names, to, i);
    note_change(d, from, to, i);
    g_hash_table_remove(d->names, from);
    return 0;
}

static int op_remove(struct disk *disk, const char *path)
{
    struct sim_disk *d = disk_of(disk);
    if (!g_hash_table_contains(d->names, path))
        return -ERR_NOT_FOUND;
    int err = change_begins(d);
    if (err < 0)
        return err;
    g_hash_table_remove(d->names, path);
    note_change(d, path, NULL, NULL);
    return 0;
}

static int op_make_dir(struct disk *disk, const char *path)
{
    struct sim_disk *d = disk_of(disk);
    if (g_hash_table_contains(d->names, path))
        return 0;
    if (!parent_exists(d, path))
        return -ERR_NOT_FOUND;
    int err = change_begins(d);
    if (err < 0)
        return err;
    struct inode *i = inode_new(true);
    name_set(d->names, path, i);
    note_change(d, NULL, path, i);
    inode_unref(i);
    return 0;
}

static int op_sync_dir(struct disk *disk, const char *path)
{
    struct sim_disk *d = disk_of(disk);
    int err = change_begins(d);
    if (err < 0)
        return err;
    for (guint k = 0; k < d->changes->len;) {
        const struct change *c = g_ptr_array_index(d->changes, k);
        if (strcmp(c->dir, path) != 0) {
            k++;
            continue;
        }
        make_durable(d, c);
        g_ptr_array_remove_index(d->changes, k);
    }
    return 0;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int op_list(struct disk *disk, const char *path, disk_name_fn *each, void *arg)
{
    struct sim_disk *d = disk_of(disk);
    if (fails(d))
        return -ERR_IO;
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter it;
    gpointer name;
    g_hash_table_iter_init(&it, d->names);
    while (g_hash_table_iter_next(&it, &name, NULL)) {
        char *dir = g_path_get_dirname(name);
        if (strcmp(dir, path) == 0 && strcmp(name, path) != 0)
            g_ptr_array_add(found, g_path_get_basename(name));
        g_free(dir);
    }
    g_ptr_array_sort(found, by_name);
    /* In no particular order, as a directory does. */
    struct rng *rng = &d->node->sim->disk_rng;
    while (found->len > 0) {
        char *one = g_ptr_array_steal_index_fast(found, (guint)rng_below(rng, found->len));
        each(arg, one);
        g_free(one);
    }
    g_ptr_array_free(found, TRUE);
    return 0;
}

static int op_free_bytes(struct disk *disk, const char *path, uint64_t *ret)
{
    *ret = disk_of(disk)->full ? 4096 : GIB(1);
    return 0;
}

/* --- sync ------------------------------------------------------------------------------------- */

struct sync_event {
    struct event event;
    struct inode *inode;
    struct sim_disk *disk;
    guint writes; /* that were there when it began */
    disk_done_fn *done;
    void *arg;
    bool fails;
};

struct sync_answer {
    disk_done_fn *done;
    void *arg;
    int err;
};

static void call_done(struct sim_node *sn, void *arg)
{
    const struct sync_answer *a = arg;
    a->done(a->arg, a->err);
}

static void sync_run(struct sim *s, struct event *e)
{
    struct sync_event *se = (struct sync_event *)e;
    struct sync_answer a = {se->done, se->arg, se->fails ? -ERR_IO : 0};
    inode_settle(s, se->inode, MIN(se->writes, se->inode->writes->len), !se->fails);
    trace_line(s, "n%u sync %s", e->node->id, se->fails ? "FAILED" : "done");
    host_enter(e->node, call_done, &a);
}

static void sync_drop(struct event *e)
{
    inode_unref(((struct sync_event *)e)->inode);
}

struct power_event {
    struct event event;
};

static void power_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = e->node;
    trace_line(s, "FAULT n%u loses power during a sync", sn->id);
    host_stop(sn, END_POWER_LOSS);
    host_restart_later(sn, MS(1) + sim_spread(&s->rng, s->profile.fast ? MS(50) : SEC(1)));
}

static uint64_t sync_latency(struct sim_disk *d)
{
    struct sim *s = d->node->sim;
    uint64_t t = d->sync_time ? sim_spread(&s->disk_rng, d->sync_time) : 0;
    if (t > 0 && !s->quiet && rng_chance(&s->disk_rng, s->profile.sync_slow))
        t *= 20;
    if (d->hung_until > s->now)
        t += d->hung_until - s->now;
    return t;
}

static void op_sync(struct disk_file *file, disk_done_fn *done, void *arg)
{
    struct sim_disk *d = disk_of(file->disk);
    struct sim *s = d->node->sim;
    struct inode *i = file_of(file)->inode;
    uint64_t latency = sync_latency(d);
    bool failed = counts_down(&d->fail_sync_in);
    bool crashes = counts_down(&d->crash_sync_in);
    s->counters.syncs++;
    if (latency == 0 && !crashes) {
        inode_settle(s, i, i->writes->len, !failed);
        done(arg, failed ? -ERR_IO : 0);
        return;
    }
    latency = MAX(latency, US(50));
    struct sync_event *e = EVENT_NEW(struct sync_event, sync_run);
    e->event.drop = sync_drop;
    e->inode = inode_ref(i);
    e->disk = d;
    e->writes = i->writes->len;
    e->done = done;
    e->arg = arg;
    e->fails = failed;
    sim_post_node(d->node, &e->event, latency);
    if (crashes)
        sim_post_node(d->node, &EVENT_NEW(struct power_event, power_run)->event,
                      rng_below(&s->disk_rng, latency));
}

static const struct disk_ops disk_ops = {
    .open = op_open,
    .close = op_close,
    .read = op_read,
    .write = op_write,
    .allocate = op_allocate,
    .size = op_size,
    .sync = op_sync,
    .rename = op_rename,
    .remove = op_remove,
    .make_dir = op_make_dir,
    .sync_dir = op_sync_dir,
    .list = op_list,
    .free_bytes = op_free_bytes,
};

/* --- life ------------------------------------------------------------------------------------- */

/* Nothing but the data directory. */
static void begin_empty(struct sim_disk *d)
{
    struct inode *root = inode_new(true);
    name_set(d->names, "/d", root);
    name_set(d->durable, "/d", root);
    inode_unref(root);
}

struct sim_disk *sim_disk_create(struct sim_node *sn)
{
    struct sim_disk *d = g_new0(struct sim_disk, 1);
    d->disk.ops = &disk_ops;
    d->node = sn;
    d->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, inode_unref);
    d->durable = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, inode_unref);
    d->changes = g_ptr_array_new_with_free_func(change_free);
    d->files = g_ptr_array_new_with_free_func(g_free);
    begin_empty(d);
    return d;
}

void sim_disk_wipe(struct sim_disk *d)
{
    sim_disk_process_gone(d);
    g_ptr_array_set_size(d->changes, 0);
    g_hash_table_remove_all(d->names);
    g_hash_table_remove_all(d->durable);
    begin_empty(d);
}

void sim_disk_destroy(struct sim_disk *d)
{
    sim_disk_process_gone(d);
    g_hash_table_destroy(d->names);
    g_hash_table_destroy(d->durable);
    g_ptr_array_free(d->changes, TRUE);
    g_ptr_array_free(d->files, TRUE);
    g_free(d);
}

void sim_disk_process_gone(struct sim_disk *d)
{
    for (guint k = 0; k < d->files->len; k++) {
        struct sim_file *f = g_ptr_array_index(d->files, k);
        if (f->open)
            op_close(&f->file);
    }
    g_ptr_array_set_size(d->files, 0);
}

static void lose_changes(struct sim_disk *d)
{
    struct rng *r = &d->node->sim->disk_rng;
    /* Mostly in order, as journals keep it; POSIX promises none. */
    bool in_order = rng_below(r, 2) == 0;
    for (guint k = 0; k < d->changes->len; k++) {
        bool kept = rng_below(r, 2) == 0;
        if (kept)
            make_durable(d, g_ptr_array_index(d->changes, k));
        else if (in_order)
            break;
    }
    g_ptr_array_set_size(d->changes, 0);
}

static gboolean is_orphan(gpointer path, gpointer inode, gpointer arg)
{
    struct sim_disk *d = arg;
    char *dir = g_path_get_dirname(path);
    bool orphan = strcmp(path, "/d") != 0 && !g_hash_table_contains(d->durable, dir);
    g_free(dir);
    return orphan;
}

void sim_disk_power_loss(struct sim_disk *d)
{
    struct sim *s = d->node->sim;
    GHashTableIter it;
    gpointer path, inode;
    sim_disk_process_gone(d);
    lose_changes(d);
    while (g_hash_table_foreach_remove(d->durable, is_orphan, d) > 0)
        ;
    g_hash_table_remove_all(d->names);
    /* In the order of names: one seed, one fate. */
    GList *paths = g_list_sort(g_hash_table_get_keys(d->durable), (GCompareFunc)strcmp);
    for (GList *l = paths; l; l = l->next) {
        struct inode *i = g_hash_table_lookup(d->durable, l->data);
        inode_settle(s, i, i->writes->len, false);
        inode_forget_cache(i);
    }
    g_list_free(paths);
    g_hash_table_iter_init(&it, d->durable);
    while (g_hash_table_iter_next(&it, &path, &inode))
        name_set(d->names, path, inode);
    sim_disk_peace(d);
}

void sim_disk_peace(struct sim_disk *d)
{
    d->fail_sync_in = d->crash_sync_in = d->fail_op_in = d->crash_op_in = 0;
}

uint8_t *sim_disk_durable(struct sim_disk *d, const char *path)
{
    struct inode *i = g_hash_table_lookup(d->durable, path);
    return i ? i->disk->data : NULL;
}

void sim_disk_lose(struct sim_disk *d, const char *path)
{
    g_hash_table_remove(d->names, path);
    g_hash_table_remove(d->durable, path);
}

static void swap_in(GHashTable *names, const char *a, const char *b)
{
    struct inode *x = inode_ref(g_hash_table_lookup(names, a));
    name_set(names, a, g_hash_table_lookup(names, b));
    name_set(names, b, x);
    inode_unref(x);
}

void sim_disk_swap(struct sim_disk *d, const char *a, const char *b)
{
    swap_in(d->names, a, b);
    swap_in(d->durable, a, b);
}

void sim_disk_forget_cache(struct sim_disk *d)
{
    GHashTableIter it;
    gpointer inode;
    g_hash_table_iter_init(&it, d->durable);
    while (g_hash_table_iter_next(&it, NULL, &inode)) {
        inode_forget_cache(inode);
    }
}

uint64_t sim_disk_bytes(const struct sim_disk *d, const char *prefix)
{
    GHashTableIter it;
    gpointer path, inode;
    uint64_t n = 0;
    g_hash_table_iter_init(&it, d->names);
    while (g_hash_table_iter_next(&it, &path, &inode))
        if (g_str_has_prefix(path, prefix))
            n += ((const struct inode *)inode)->cache->len;
    return n;
}
