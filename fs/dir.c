/* SPDX-License-Identifier: Apache-2.0 */
/* readdir: pages of a scan over the dentries, in the order of their hashes. */
#include "fs/volume_impl.h"

#define PAGE     128 /* entries of the first page; the kernel takes about so many at a time */
#define GETS     TXN_READS_MAX
#define PAGE_MAX SCAN_ENTRIES_MAX

struct entry {
    char name[FS_NAME_MAX + 1];
    uint64_t hash;
    fs_ino ino;
    uint32_t type;
    bool has_attr;
    struct volume_attr attr;
};

static int parse_entry(const struct kv_pair *p, struct entry *e)
{
    struct bytes name;
    int rc = key_parse_dentry(p->key, &e->hash, &name);
    if (rc == 0)
        rc = dentry_decode(p->value, &e->ino, &e->type);
    if (rc)
        return rc;
    memcpy(e->name, name.p, name.n);
    e->name[name.n] = '\0';
    e->has_attr = false;
    return 0;
}

static int read_page(struct volume *v, fs_ino dir, uint64_t cookie, unsigned limit, GArray *page,
                     bool *ret_more)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    range_dentries(dir, cookie, &lo, &hi);
    txn_scan(&t, key_view(&lo), key_view(&hi), limit, false);
    int rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (t.reply.n_reads != 1)
        return -EIO;
    const struct kv_result *r = &t.reply.reads[0];
    g_array_set_size(page, r->n_pairs);
    for (uint32_t i = 0; i < r->n_pairs; i++) {
        rc = parse_entry(&r->pairs[i], &g_array_index(page, struct entry, i));
        if (rc)
            return rc;
    }
    *ret_more = r->more;
    return 0;
}

/* --- attributes ------------------------------------------------------------------------------- */

/* One request for entries that share a shard: members of the page by index. */
struct batch {
    struct txn t;
    unsigned shard, n;
    unsigned index[GETS];
};

static int take_batch(struct volume *v, struct batch *b, GArray *page)
{
    if (b->t.reply.n_reads != b->n)
        return -EIO;
    for (unsigned i = 0; i < b->n; i++) {
        struct entry *e = &g_array_index(page, struct entry, b->index[i]);
        const struct kv_result *r = &b->t.reply.reads[i];
        struct inode n;
        if (r->version == 0)
            continue; /* removed in between */
        int rc = inode_decode(e->ino, r->value, &n);
        if (rc)
            return rc;
        if (S_ISDIR(n.mode))
            hint_set_dir(&v->hints, &n);
        inode_to_attr(&n, &e->attr);
        e->has_attr = true;
    }
    return 0;
}

static int wait_batches(struct volume *v, GPtrArray *running, GArray *page, uint64_t session)
{
    int first = 0;
    for (guint i = 0; i < running->len; i++) {
        struct batch *b = running->pdata[i];
        int rc = volume_outcome(v, txn_wait(v->client, &b->t, 0, volume_cancel()), session);
        if (rc == 0)
            rc = take_batch(v, b, page);
        first = first ? first : rc > 0 ? -EIO : rc;
        txn_finish(&b->t);
        g_free(b);
    }
    g_ptr_array_set_size(running, 0);
    return first;
}

static int start_batch(struct volume *v, struct batch *b, GPtrArray *running, GArray *page,
                       uint64_t session)
{
    int rc = volume_outcome(v, txn_start(v->client, &b->t), session);
    if (rc) {
        txn_finish(&b->t);
        g_free(b);
        return rc > 0 ? -EIO : rc;
    }
    g_ptr_array_add(running, b);
    return running->len < TXNS_IN_FLIGHT ? 0 : wait_batches(v, running, page, session);
}

static int by_shard(const void *a, const void *b, void *page)
{
    unsigned i = *(const unsigned *)a, j = *(const unsigned *)b;
    unsigned si = ino_shard(g_array_index((GArray *)page, struct entry, i).ino);
    unsigned sj = ino_shard(g_array_index((GArray *)page, struct entry, j).ino);
    return si != sj ? (si > sj) - (si < sj) : (i > j) - (i < j);
}

static int read_attrs(struct volume *v, GArray *page)
{
    unsigned *order = g_new(unsigned, page->len + 1);
    for (unsigned i = 0; i < page->len; i++)
        order[i] = i;
    g_qsort_with_data(order, (gint)page->len, sizeof(*order), by_shard, page);
    GPtrArray *running = g_ptr_array_new();
    uint64_t session = volume_session(v);
    struct batch *b = NULL;
    int rc = 0;
    for (unsigned i = 0; i < page->len && rc == 0; i++) {
        fs_ino ino = g_array_index(page, struct entry, order[i]).ino;
        if (b && (b->n == GETS || b->shard != ino_shard(ino)))
            rc = start_batch(v, TAKE(b), running, page, session);
        if (rc)
            break;
        if (!b) {
            b = g_new0(struct batch, 1);
            b->shard = ino_shard(ino);
        }
        txn_get_part(&b->t, KEY(key_inode(ino)), 0, INODE_SIZE);
        b->index[b->n++] = order[i];
    }
    if (b && rc == 0)
        rc = start_batch(v, TAKE(b), running, page, session);
    if (b) {
        txn_finish(&b->t);
        g_free(b);
    }
    int rw = wait_batches(v, running, page, session);
    g_ptr_array_free(running, TRUE);
    g_free(order);
    return rc ? rc : rw;
}

/* A file in use here may have a size that only this mount knows. */
static void overlay_attr(struct volume *v, struct entry *e)
{
    struct vnode *vn CLEANUP(vnode_put) = vnode_find(v, e->ino);
    if (!vn)
        return;
    struct volume_attr a;
    e->has_attr = volume_getattr(v, e->ino, &a) == 0;
    if (e->has_attr)
        e->attr = a;
}

/* --- the operation ---------------------------------------------------------------------------- */

/* False: stop. Entries of one hash share the cookie before them except the last, so that a reader
 * who stops among them gets them again rather than never. */
static bool give_page(struct volume *v, GArray *page, bool with_attr, volume_entry_fn *each,
                      void *arg)
{
    for (unsigned i = 0; i < page->len; i++) {
        struct entry *e = &g_array_index(page, struct entry, i);
        bool shared = i + 1 < page->len && e[1].hash == e->hash;
        if (with_attr)
            overlay_attr(v, e);
        if (with_attr && !e->has_attr)
            continue;
        if (!each(arg, e->name, e->ino, e->type, shared ? e->hash - 1 : e->hash,
                  with_attr ? &e->attr : NULL))
            return false;
    }
    return true;
}

/* The last hash of a page that was cut may have more entries: leave it to the next page. */
static void cut_page(GArray *page)
{
    unsigned n = page->len;
    uint64_t last = g_array_index(page, struct entry, n - 1).hash;
    while (n > 0 && g_array_index(page, struct entry, n - 1).hash == last)
        n--;
    if (n > 0)
        g_array_set_size(page, n);
}

int volume_readdir(struct volume *v, fs_ino dir, uint64_t cookie, bool with_attr,
                   volume_entry_fn *each, void *arg)
{
    GArray *page = g_array_new(FALSE, FALSE, sizeof(struct entry));
    unsigned limit = PAGE;
    int rc = 0;
    for (bool more = true; more && rc == 0;) {
        rc = read_page(v, dir, cookie, limit, page, &more);
        if (rc || page->len == 0)
            break;
        if (more)
            cut_page(page);
        cookie = g_array_index(page, struct entry, page->len - 1).hash;
        if (with_attr)
            rc = read_attrs(v, page);
        if (rc == 0 && !give_page(v, page, with_attr, each, arg))
            break;
        limit = MIN(limit * 2, PAGE_MAX);
    }
    g_array_free(page, TRUE);
    return rc;
}
