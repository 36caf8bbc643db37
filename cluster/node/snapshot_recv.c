/* SPDX-License-Identifier: Apache-2.0 */
/* The follower's side of a snapshot transfer (snapshot.h). */
#include "cluster/node/snapshot_recv.h"
#include "cluster/node/compact.h"
#include "cluster/node/conn.h"
#include "cluster/node/membership.h"
#include "cluster/node/peer.h"
#include "cluster/node/wire.h"

struct snap_recv {
    struct group *group;
    raft_id from;
    uint64_t link; /* conn token to acknowledge on */
    uint64_t id;
    raft_term term; /* the sender's */
    raft_index index;
    raft_term index_term;
    uint64_t index_time;
    struct raft_conf conf;
    char *dir;
    struct store_image *image;
    uint64_t offset;   /* bytes taken */
    bool complete;     /* all is there; to be installed */
    uint64_t heard_at; /* tick */
};

static char *recv_dir(const struct group *g)
{
    return g_strdup_printf("%s.recv", g->dir);
}

void snapshot_recv_clean(struct group *g)
{
    char *dir = recv_dir(g);
    g->node->env.stores->destroy(g->node->env.stores, dir);
    g_free(dir);
}

/* The image is closed by image_finish only; what it leaves behind is removed with its directory. */
void snapshot_recv_drop(struct group *g)
{
    struct snap_recv *r = g->recv;
    if (!r)
        return;
    struct store_maker *stores = g->node->env.stores;
    if (r->image)
        stores->image_close(r->image);
    stores->destroy(stores, r->dir);
    g_free(r->dir);
    g_free(r);
    g->recv = NULL;
}

bool snapshot_incoming(const struct group *g, uint64_t *ret_bytes)
{
    if (!g->recv)
        return false;
    *ret_bytes = g->recv->offset;
    return true;
}

static void ack(struct group *g, uint64_t link, uint64_t id, uint64_t offset, int err)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    struct msg_snap_ack m = {
        .gid = g->gid,
        .term = s.term,
        .id = id,
        .offset = offset,
        .status = (uint16_t)-err,
    };
    CONN_ANSWER(g->node, link, snap_ack, id, &m);
}

/* --- install ---------------------------------------------------------------------------------- */

/* Ends the transfer for good; the sender is told. */
static void recv_refuse(struct group *g, int err)
{
    struct snap_recv *r = g->recv;
    node_log(g->node, LOG_WARN,
             "snapshot-refused gid=%u from=%u index=%" G_GUINT64_FORMAT " why=\"%s\"", g->gid,
             r->from, r->index, err_text(err));
    ack(g, r->link, r->id, r->offset, err);
    snapshot_recv_drop(g);
}

static void recv_failed(struct group *g, int err)
{
    /* A full disk or a stream that was damaged on its way is the sender's to repeat. */
    if (err != -ERR_NO_SPACE && err != -ERR_CORRUPT && err != -ERR_FORMAT)
        node_fatal(g->node, err, "group %u: write the snapshot in %s", g->gid, g->recv->dir);
    recv_refuse(g, err);
}

static void install(struct group *g)
{
    struct node *n = g->node;
    struct snap_recv *r = g->recv;
    int err = n->env.stores->image_finish(r->image);
    r->image = NULL;
    if (err < 0) {
        recv_failed(g, err);
        return;
    }
    if (!raft_wants_snapshot(g->raft, r->index, r->index_term)) {
        recv_refuse(g, -ERR_STALE);
        return;
    }
    group_fail_requests(g, -ERR_NOT_LEADER);
    group_reopen(g, r->dir);
    if (g->applied != r->index || g->applied_term != r->index_term)
        node_fatal(n, -ERR_CORRUPT,
                   "group %u: the snapshot of entry %" G_GUINT64_FORMAT
                   " holds the state of entry %" G_GUINT64_FORMAT,
                   g->gid, r->index, g->applied);
    if (!raft_install(g->raft, r->from, r->term, r->index, r->index_term, r->index_time, &r->conf))
        node_fatal(n, -ERR_CORRUPT,
                   "group %u: the core does not take the snapshot of entry %" G_GUINT64_FORMAT,
                   g->gid, r->index);
    compact_reset(g);
    membership_applied(g);
    n->counters.snapshots_installed++;
    node_log(n, LOG_INFO,
             "snapshot-installed gid=%u from=%u index=%" G_GUINT64_FORMAT
             " bytes=%" G_GUINT64_FORMAT " log=reset",
             g->gid, r->from, r->index, r->offset);
    ack(g, r->link, r->id, r->offset, 0);
    snapshot_recv_drop(g);
}

void snapshot_recv_tick(struct group *g)
{
    struct snap_recv *r = g->recv;
    if (!r)
        return;
    if (r->complete) {
        /* The store cannot be closed under a flush. */
        if (!g->flushing)
            install(g);
        return;
    }
    if (g->node->now - r->heard_at > TICKS(2 * SNAP_IDLE_MS)) {
        node_log(g->node, LOG_WARN, "snapshot-abandoned gid=%u from=%u bytes=%" G_GUINT64_FORMAT,
                 g->gid, r->from, r->offset);
        snapshot_recv_drop(g);
    }
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* 0, or why it is not taken. */
static int recv_begin(struct group *g, struct conn *c, const struct msg_snap_chunk *m)
{
    struct node *n = g->node;
    struct raft_conf conf;
    struct store_image *image;
    if (g->recv && m->term < g->recv->term)
        return -ERR_STALE;
    snapshot_recv_drop(g);
    if (wire_get_conf(m->conf, &conf) < 0)
        return -ERR_INVALID;
    char *dir = recv_dir(g);
    n->env.stores->destroy(n->env.stores, dir);
    int err = n->env.stores->image_create(n->env.stores, dir, &image);
    if (err < 0) {
        g_free(dir);
        return err;
    }
    struct snap_recv *r = g_new0(struct snap_recv, 1);
    *r = (struct snap_recv){
        .group = g,
        .from = c->peer->id,
        .id = m->id,
        .term = m->term,
        .index = m->index,
        .index_term = m->index_term,
        .index_time = m->index_time,
        .conf = conf,
        .dir = dir,
        .image = image,
    };
    g->recv = r;
    node_log(n, LOG_INFO, "snapshot-receive gid=%u from=%u index=%" G_GUINT64_FORMAT, g->gid,
             r->from, r->index);
    return 0;
}

/* May this transfer go on at all? */
static int recv_admit(struct group *g, struct conn *c, const struct msg_snap_chunk *m)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    if (m->term < m->index_term || m->index == 0)
        return -ERR_INVALID;
    if (m->term < s.term)
        return -ERR_STALE;
    if (!raft_wants_snapshot(g->raft, m->index, m->index_term)) {
        if (g->recv && g->recv->id == m->id)
            snapshot_recv_drop(g);
        return -ERR_STALE;
    }
    if (!g->recv || g->recv->id != m->id)
        return recv_begin(g, c, m);
    return 0;
}

void snapshot_chunk(struct group *g, struct conn *c, uint64_t id, const struct msg_snap_chunk *m)
{
    int err = g->store_full ? -ERR_NO_SPACE : recv_admit(g, c, m);
    if (err < 0) {
        ack(g, c->token, m->id, 0, err);
        return;
    }
    struct snap_recv *r = g->recv;
    r->link = c->token;
    r->heard_at = g->node->now;
    if (r->complete)
        return; /* acknowledged once it is installed */
    if (m->offset == r->offset && (m->data.n > 0 || m->last)) {
        err = g->node->env.stores->image_write(r->image, m->data.p, m->data.n);
        if (err < 0) {
            recv_failed(g, err);
            return;
        }
        r->offset += m->data.n;
        r->complete = m->last != 0;
    }
    if (!r->complete)
        ack(g, r->link, r->id, r->offset, 0);
    else if (!g->flushing)
        install(g);
}
