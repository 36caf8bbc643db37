/* SPDX-License-Identifier: Apache-2.0 */
/* The real disk, with syncs that hang and allocations that fail when a test wants it. */
#include "tests/unit/node/cluster.h"

struct held_sync {
    struct disk_file *file;
    disk_done_fn *done;
    void *arg;
};

/* The disk has no place for a context. */
static struct cluster *the_cluster;

static struct test_node *disk_owner(const struct disk *d)
{
    for (unsigned i = 0; i < the_cluster->n; i++)
        if (the_cluster->nodes[i].disk == d)
            return &the_cluster->nodes[i];
    fail_msg("a disk of nobody");
    return NULL;
}

static void disk_sync(struct disk_file *f, disk_done_fn *done, void *arg)
{
    struct test_node *tn = disk_owner(f->disk);
    if (!tn->hold_syncs) {
        tn->real_disk.sync(f, done, arg);
        return;
    }
    struct held_sync *h = g_new0(struct held_sync, 1);
    *h = (struct held_sync){f, done, arg};
    g_queue_push_tail(&tn->held, h);
}

static int disk_allocate(struct disk_file *f, uint64_t size)
{
    struct test_node *tn = disk_owner(f->disk);
    return tn->full ? -ERR_NO_SPACE : tn->real_disk.allocate(f, size);
}

static int disk_free_bytes(struct disk *d, const char *path, uint64_t *ret)
{
    struct test_node *tn = disk_owner(d);
    if (!tn->full)
        return tn->real_disk.free_bytes(d, path, ret);
    *ret = 4096;
    return 0;
}

void test_disk_make(struct test_node *tn)
{
    the_cluster = tn->cluster;
    tn->disk = disk_posix_create();
    tn->real_disk = tn->disk_ops = *tn->disk->ops;
    tn->disk_ops.sync = disk_sync;
    tn->disk_ops.allocate = disk_allocate;
    tn->disk_ops.free_bytes = disk_free_bytes;
    tn->disk->ops = &tn->disk_ops;
}

void cluster_hold_syncs(struct cluster *c, unsigned id, bool hold)
{
    struct test_node *tn = &c->nodes[id - 1];
    struct held_sync *h;
    tn->hold_syncs = hold;
    while (!hold && (h = g_queue_pop_head(&tn->held)) != NULL) {
        tn->real_disk.sync(h->file, h->done, h->arg);
        g_free(h);
    }
}

void cluster_fill_disk(struct cluster *c, unsigned id, bool full)
{
    c->nodes[id - 1].full = full;
}

void test_disk_crash(struct test_node *tn)
{
    g_queue_clear_full(&tn->held, g_free);
    g_queue_init(&tn->held);
}
