/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/members.h"
#include "cluster/node/membership.h"
#include "cluster/node/peer.h"

#define MAGIC      "RFSMEMB" VERSION
#define VERSION    "1" /* '2' and so on are later ones */
#define MAGIC_LEN  8
#define RECORD_LEN 12
#define MET_MAX    (2 * NODES_MAX) /* members, and those that are to become some again */
#define FILE_MAX   (MAGIC_LEN + 8 + MET_MAX * RECORD_LEN)

struct peer_met {
    uint32_t id;
    uint64_t incarnation;
};

static const char *file_path(struct node *n, const char *suffix)
{
    return arena_printf(&n->scratch, "%s/members%s", n->config.data_dir, suffix);
}

/* --- reading ---------------------------------------------------------------------------------- */

uint64_t members_met(const struct node *n, uint32_t id)
{
    for (unsigned i = 0; i < n->n_met; i++)
        if (n->met[i].id == id)
            return n->met[i].incarnation;
    return 0;
}

static int decode(struct node *n, struct bytes in)
{
    if (in.n >= MAGIC_LEN && memcmp(in.p, MAGIC, MAGIC_LEN - 1) == 0 &&
        in.p[MAGIC_LEN - 1] > VERSION[0])
        return -ERR_FORMAT;
    if (in.n < MAGIC_LEN + 8 || memcmp(in.p, MAGIC, MAGIC_LEN) != 0 ||
        crc32c(0, in.p, in.n - 4) != get_le32(in.p + in.n - 4))
        return -ERR_CORRUPT;
    struct dec d = dec_of(bytes_of(in.p + MAGIC_LEN, in.n - MAGIC_LEN - 4));
    uint32_t count = dec_u32(&d);
    if (count > MET_MAX)
        return -ERR_CORRUPT;
    n->met = arena_array(&n->memory, MAX(count, 1), sizeof(*n->met));
    for (uint32_t i = 0; i < count && dec_ok(&d); i++) {
        struct peer_met m = {.id = dec_u32(&d)};
        m.incarnation = dec_u64(&d);
        if (members_met(n, m.id))
            return -ERR_CORRUPT;
        n->met[n->n_met++] = m;
    }
    if (!dec_done(&d))
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < n->n_peers; i++)
        n->peers[i]->incarnation = members_met(n, n->peers[i]->id);
    return 0;
}

int members_load(struct node *n, struct errmsg *msg)
{
    struct disk *d = n->env.disk;
    const char *path = file_path(n, "");
    struct disk_file *f;
    uint8_t bytes[FILE_MAX];
    int err = d->ops->open(d, path, DISK_READ, &f);
    if (err == -ERR_NOT_FOUND)
        return 0;
    if (err < 0)
        return errmsg_set(msg, err, "open %s: %s", path, err_text(err));
    n->met_before = true;
    int64_t got = d->ops->read(f, bytes, sizeof(bytes), 0);
    d->ops->close(f);
    if (got < 0)
        return errmsg_set(msg, (int)got, "read %s: %s", path, err_text((int)got));
    err = decode(n, bytes_of(bytes, (size_t)got));
    if (err == -ERR_FORMAT)
        return errmsg_set(msg, err,
                          "%s has format %c, this version of raftfs knows " VERSION
                          ": run the newer raftfsd",
                          path, bytes[MAGIC_LEN - 1]);
    if (err < 0)
        return errmsg_set(
            msg, err,
            "%s is damaged; it holds the incarnations of the other members: remove it "
            "if you are sure that none of their data directories was made anew",
            path);
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Of no peer, but it may become one when the log is applied. */
static bool keep_met(struct node *n, const struct peer_met *m)
{
    return !peer_find(n, m->id) && !membership_was_removed(n, m->id);
}

static void encode(struct node *n, struct enc *e)
{
    uint32_t count = 0;
    enc_raw(e, MAGIC, MAGIC_LEN);
    size_t at = e->n;
    enc_u32(e, 0);
    for (unsigned i = 0; i < n->n_peers; i++) {
        if (!n->peers[i]->incarnation)
            continue;
        count++;
        enc_u32(e, n->peers[i]->id);
        enc_u64(e, n->peers[i]->incarnation);
    }
    for (unsigned i = 0; i < n->n_met && count < MET_MAX; i++) {
        if (!keep_met(n, &n->met[i]))
            continue;
        count++;
        enc_u32(e, n->met[i].id);
        enc_u64(e, n->met[i].incarnation);
    }
    put_le32(e->p + at, count);
    enc_u32(e, crc32c(0, e->p, e->n));
}

static void failed(struct node *n, int err)
{
    if (err != -ERR_NO_SPACE)
        node_fatal(n, err, "write %s/members", n->config.data_dir);
    n->members_dirty = true;
}

static void close_file(struct node *n)
{
    n->env.disk->ops->close(n->members_file);
    n->members_file = NULL;
}

static void on_synced(void *arg, int err)
{
    struct node *n = arg;
    struct disk *d = n->env.disk;
    close_file(n);
    if (err == 0)
        err = d->ops->rename(d, file_path(n, ".new"), file_path(n, ""));
    if (err == 0)
        err = d->ops->sync_dir(d, n->config.data_dir);
    if (err < 0)
        failed(n, err);
}

void members_save(struct node *n)
{
    struct disk *d = n->env.disk;
    n->members_dirty = true;
    if (n->members_file || n->starting)
        return; /* a write is under way, or the log's first; members_house comes back to it */
    const char *path = file_path(n, ".new");
    int err = d->ops->remove(d, path);
    if (err == 0 || err == -ERR_NOT_FOUND)
        err = d->ops->open(d, path, DISK_CREATE, &n->members_file);
    if (err < 0) {
        failed(n, err);
        return;
    }
    struct enc e = {0};
    encode(n, &e);
    struct iovec iov = {e.p, e.n};
    err = d->ops->write(n->members_file, &iov, 1, 0);
    enc_finish(&e);
    if (err < 0) {
        close_file(n);
        failed(n, err);
        return;
    }
    n->members_dirty = false;
    d->ops->sync(n->members_file, on_synced, n);
}

void members_house(struct node *n)
{
    if (n->members_dirty && !n->members_file && !n->starting)
        members_save(n);
}
