/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synthetic.c - inodes of synthetic files, and which inode is which spec.
 *
 * A synthetic file has an inode number of mount 0 (schema: the root's mount), handed out here at
 * its first lookup and dropped with its last forget; the pair (directory, overlay's id) names it.
 */
#include <errno.h>
#include <fcntl.h>
#include "fs/fuse/daemon.h"
#include "fs/schema.h"

struct synth_inode {
    fuse_ino_t ino;
    fs_ino dir;
    uint64_t id;
    const struct synth_overlay *overlay;
    uint32_t mode, uid, gid;
    uint64_t lookups;
};

struct synth_table {
    pthread_mutex_t lock;
    GHashTable *by_ino;  /* &ino -> struct synth_inode */
    GHashTable *by_name; /* same objects, hashed by (dir, id) */
    GHashTable *specs;   /* &ino of spec -> struct spec_entry */
    uint64_t next;
};

struct spec_entry {
    fs_ino ino;
    struct spec_name name;
};

static guint inode_hash(gconstpointer p)
{
    const struct synth_inode *s = p;
    uint64_t mixed = (s->dir * UINT64_C(0x9e3779b97f4a7c15)) ^ s->id;

    return (guint)(mixed ^ (mixed >> 32));
}

static gboolean inode_equal(gconstpointer a, gconstpointer b)
{
    const struct synth_inode *x = a, *y = b;

    return x->dir == y->dir && x->id == y->id && x->overlay == y->overlay;
}

int synth_table_create(struct daemon *d, struct synth_table **ret)
{
    struct synth_table *t = g_new0(struct synth_table, 1);

    (void)d;
    pthread_mutex_init(&t->lock, NULL);
    t->by_ino = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    t->by_name = g_hash_table_new(inode_hash, inode_equal);
    t->specs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    t->next = FS_ROOT + 1;
    *ret = t;
    return 0;
}

void synth_table_destroy(struct synth_table *t)
{
    if (!t)
        return;
    g_hash_table_unref(t->by_name);
    g_hash_table_unref(t->by_ino);
    g_hash_table_unref(t->specs);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
}

bool synth_is(fuse_ino_t ino)
{
    return ino != FS_ROOT && ((ino >> INO_COUNTER_BITS) & (INO_MOUNTS - 1)) == 0;
}

static void inode_stat(const struct synth_inode *s, uint64_t size, struct stat *ret)
{
    *ret = (struct stat){.st_ino = s->ino,
                         .st_mode = s->mode,
                         .st_nlink = 1,
                         .st_uid = s->uid,
                         .st_gid = s->gid,
                         .st_size = (off_t)size,
                         .st_blksize = 4096};
    (void)clock_gettime(CLOCK_REALTIME, &ret->st_mtim);
    ret->st_ctim = ret->st_atim = ret->st_mtim;
}

/* The size a reader would find: of a snapshot taken now. Without a caller, as the daemon itself. */
static uint64_t size_now(const struct synth_inode *s)
{
    struct volume_caller self = {.capable = true};
    struct synth_file *f;
    uint64_t size = 0;

    if (!(s->mode & 0444) ||
        s->overlay->ops->open(s->overlay->ctx, s->dir, s->id, O_RDONLY, &self, &f) < 0)
        return 0;
    size = s->overlay->ops->size(f);
    s->overlay->ops->release(f);
    return size;
}

int synth_lookup(struct daemon *d, fs_ino dir, const char *name, struct stat *ret)
{
    struct synth_table *t = d->synthetic;
    struct synth_node node;
    int r = -ENOENT;
    unsigned i;

    for (i = 0; i < d->n_overlays && r == -ENOENT; i++)
        r = d->overlays[i].ops->lookup(d->overlays[i].ctx, dir, name, &node);
    if (r < 0)
        return r;

    struct synth_inode key = {.dir = dir, .id = node.id, .overlay = &d->overlays[i - 1]};
    pthread_mutex_lock(&t->lock);
    struct synth_inode *s = g_hash_table_lookup(t->by_name, &key);
    if (!s) {
        s = g_new0(struct synth_inode, 1);
        *s = key;
        s->ino = t->next++;
        g_hash_table_insert(t->by_ino, &s->ino, s);
        g_hash_table_add(t->by_name, s);
    }
    s->mode = node.mode;
    s->uid = node.uid;
    s->gid = node.gid;
    s->lookups++;
    key = *s;
    pthread_mutex_unlock(&t->lock);
    inode_stat(&key, size_now(&key), ret);
    return 0;
}

void synth_forget(struct daemon *d, fuse_ino_t ino, uint64_t n)
{
    struct synth_table *t = d->synthetic;

    pthread_mutex_lock(&t->lock);
    struct synth_inode *s = g_hash_table_lookup(t->by_ino, &ino);
    if (s) {
        s->lookups -= MIN(n, s->lookups);
        if (s->lookups == 0) {
            g_hash_table_remove(t->by_name, s);
            g_hash_table_remove(t->by_ino, &ino);
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static bool find_inode(struct daemon *d, fuse_ino_t ino, struct synth_inode *ret)
{
    pthread_mutex_lock(&d->synthetic->lock);
    struct synth_inode *s = g_hash_table_lookup(d->synthetic->by_ino, &ino);
    if (s)
        *ret = *s;
    pthread_mutex_unlock(&d->synthetic->lock);
    return s != NULL;
}

int synth_getattr(struct daemon *d, fuse_ino_t ino, struct stat *ret)
{
    struct synth_inode s;

    if (!find_inode(d, ino, &s))
        return -ESTALE;
    inode_stat(&s, size_now(&s), ret);
    return 0;
}

int synth_open(struct daemon *d, fuse_ino_t ino, int flags, const struct volume_caller *who,
               const struct synth_ops **ret_ops, struct synth_file **ret)
{
    struct synth_inode s;
    int r;

    if (!find_inode(d, ino, &s))
        return -ESTALE;
    r = s.overlay->ops->open(s.overlay->ctx, s.dir, s.id, flags, who, ret);
    if (r == 0)
        *ret_ops = s.overlay->ops;
    return r;
}

static bool list_one(void *arg, const struct synth_node *n)
{
    if (!n->hidden)
        g_ptr_array_add(arg, g_strdup(n->name));
    return true;
}

int synth_list(struct daemon *d, fs_ino dir, GPtrArray *ret_names)
{
    for (unsigned i = 0; i < d->n_overlays; i++) {
        int r = d->overlays[i].ops->readdir(d->overlays[i].ctx, dir, list_one, ret_names);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

/* --- specs --- */

static const struct synth_overlay *watcher(struct daemon *d, fs_ino dir, const char *name)
{
    for (unsigned i = 0; i < d->n_overlays; i++) {
        const struct synth_overlay *o = &d->overlays[i];
        if (o->ops->watches && o->ops->watches(o->ctx, dir, name))
            return o;
    }
    return NULL;
}

void spec_remember(struct daemon *d, fs_ino dir, const char *name, fs_ino ino)
{
    const struct synth_overlay *o = watcher(d, dir, name);

    if (!o)
        return;
    struct spec_entry *e = g_new0(struct spec_entry, 1);
    e->ino = ino;
    e->name.overlay = o;
    e->name.dir = dir;
    g_strlcpy(e->name.name, name, sizeof(e->name.name));
    pthread_mutex_lock(&d->synthetic->lock);
    g_hash_table_replace(d->synthetic->specs, &e->ino, e);
    pthread_mutex_unlock(&d->synthetic->lock);
}

bool spec_find(struct daemon *d, fs_ino ino, struct spec_name *ret)
{
    pthread_mutex_lock(&d->synthetic->lock);
    struct spec_entry *e = g_hash_table_lookup(d->synthetic->specs, &ino);
    if (e)
        *ret = e->name;
    pthread_mutex_unlock(&d->synthetic->lock);
    return e != NULL;
}

void spec_forget(struct daemon *d, fs_ino ino)
{
    pthread_mutex_lock(&d->synthetic->lock);
    g_hash_table_remove(d->synthetic->specs, &ino);
    pthread_mutex_unlock(&d->synthetic->lock);
}

void spec_renamed(struct daemon *d, fs_ino from_dir, const char *from, fs_ino dir, const char *name,
                  const struct volume_caller *who)
{
    const struct synth_overlay *o = watcher(d, dir, name);
    struct volume_attr a;

    if (!o || watcher(d, from_dir, from))
        return; /* not a spec's name, or it was one before: nothing new is submitted */
    if (volume_lookup(d->volume, dir, name, &a) < 0)
        return;
    spec_remember(d, dir, name, a.ino);
    if (o->ops->check(o->ctx, dir, name, a.ino, who) == 0)
        o->ops->settled(o->ctx, dir, name, a.ino, who);
}
