/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/inode.h"
#include <string.h>
#include "tests/sim/disk.h"

/* Whole sectors as they were after the write. */
struct dirty {
    uint64_t off;
    size_t n;
    uint8_t bytes[];
};

struct inode *inode_new(bool dir)
{
    struct inode *i = g_new0(struct inode, 1);
    i->refs = 1;
    i->dir = dir;
    i->cache = g_byte_array_new();
    i->disk = g_byte_array_new();
    i->writes = g_ptr_array_new_with_free_func(g_free);
    return i;
}

struct inode *inode_ref(struct inode *i)
{
    i->refs++;
    return i;
}

void inode_unref(gpointer p)
{
    struct inode *i = p;
    if (!i || --i->refs > 0)
        return;
    g_byte_array_unref(i->cache);
    g_byte_array_unref(i->disk);
    g_ptr_array_unref(i->writes);
    g_free(i);
}

static void grow(GByteArray *a, uint64_t size)
{
    guint old = a->len;
    if (size <= old)
        return;
    g_byte_array_set_size(a, (guint)size);
    memset(a->data + old, 0, size - old);
}

static void write_disk(struct inode *i, uint64_t off, const uint8_t *p, size_t n)
{
    grow(i->disk, off + n);
    memcpy(i->disk->data + off, p, n);
}

/* What of one write that was under way reached the disk. */
static void lose_write(struct sim *s, struct inode *i, const struct dirty *w)
{
    struct rng *r = &s->disk_rng;
    uint64_t fate = rng_below(r, 3);
    if (fate == 0)
        return;
    if (fate == 1 || w->n == 0) {
        write_disk(i, w->off, w->bytes, w->n);
        return;
    }
    for (size_t at = 0; at < w->n; at += SIM_SECTOR) {
        if (rng_below(r, 2) == 0) {
            s->counters.torn_sectors++;
            continue;
        }
        write_disk(i, w->off + at, w->bytes + at, MIN(SIM_SECTOR, w->n - at));
    }
}

void inode_settle(struct sim *s, struct inode *i, guint n, bool durable)
{
    for (guint k = 0; k < n; k++) {
        const struct dirty *d = g_ptr_array_index(i->writes, k);
        if (durable)
            write_disk(i, d->off, d->bytes, d->n);
        else
            lose_write(s, i, d);
    }
    if (n > 0)
        g_ptr_array_remove_range(i->writes, 0, n);
}

static void note_write(struct inode *i, uint64_t off, uint64_t end)
{
    uint64_t from = off / SIM_SECTOR * SIM_SECTOR;
    uint64_t to = MIN((end + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR, i->cache->len);
    struct dirty *d = g_malloc(sizeof(*d) + (size_t)(to - from));
    d->off = from;
    d->n = (size_t)(to - from);
    memcpy(d->bytes, i->cache->data + from, d->n);
    g_ptr_array_add(i->writes, d);
}

void inode_write(struct inode *i, const struct iovec *iov, int n, uint64_t off, uint64_t end)
{
    uint64_t at = off;
    for (int k = 0; k < n && at < end; k++) {
        size_t part = MIN(iov[k].iov_len, (size_t)(end - at));
        grow(i->cache, at + part);
        if (part > 0)
            memcpy(i->cache->data + at, iov[k].iov_base, part);
        at += part;
    }
    if (at > off)
        note_write(i, off, at);
}

void inode_extend(struct inode *i, uint64_t size)
{
    grow(i->cache, size);
    struct dirty *d = g_malloc0(sizeof(*d));
    d->off = size;
    g_ptr_array_add(i->writes, d);
}

void inode_forget_cache(struct inode *i)
{
    ASSERT(i->writes->len == 0);
    g_byte_array_set_size(i->cache, 0);
    g_byte_array_append(i->cache, i->disk->data, i->disk->len);
}
