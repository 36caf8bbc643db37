/* SPDX-License-Identifier: Apache-2.0 */
/* The follower's side of a snapshot transfer (snapshot.h). */
#include "cluster/node/snapshot_recv.h"
#include "cluster/node/checkpoint.h"
#include "cluster/node/compact.h"
#include "cluster/node/conn.h"
#include "cluster/node/damage.h"
#include "cluster/node/membership.h"
#include "cluster/node/peer.h"
#include "cluster/node/space.h"
#include "cluster/node/table.h"
#include "cluster/node/wire.h"

/* What is written, by jobs, which may outlive the transfer. */
struct incoming {
    unsigned users;         /* the transfer and each job */
    struct snap_recv *recv; /* NULL: given up */
    struct store_maker *stores;
    char *dir;
    struct enc tag;            /* what a restart needs to know to go on */
    struct store_image *image; /* of the jobs; NULL before the first and after the last piece */
    int err;                   /* the first one of the jobs' */
};

struct piece {
    struct store_job job;
    struct incoming *in;
    bool last;
    size_t n;
    uint8_t data[];
};

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
    struct incoming *in;
    uint64_t offset;   /* bytes taken: written */
    uint64_t received; /* and those that are being written */
    bool asked;        /* where to go on: answered once that is certain */
    bool last_received;
    bool complete;     /* all is there and durable; to be installed */
    bool installing;   /* by a job; the group has no store meanwhile */
    uint64_t heard_at; /* tick */
};

static char *recv_dir(const char *group_dir)
{
    return g_strdup_printf("%s.recv", group_dir);
}

void snapshot_recv_clean(struct store_maker *stores, const char *group_dir)
{
    char *dir = recv_dir(group_dir);
    stores->destroy(stores, dir);
    g_free(dir);
}

static void incoming_unref(struct incoming *in)
{
    if (--in->users > 0)
        return;
    if (in->image)
        in->stores->image_close(in->image);
    enc_finish(&in->tag);
    g_free(in->dir);
    g_free(in);
}

/* --- giving up -------------------------------------------------------------------------------- */

struct removal {
    struct store_job job;
    struct incoming *in;
};

static void remove_work(struct store_job *j)
{
    struct incoming *in = container_of(j, struct removal, job)->in;
    if (in->image)
        in->stores->image_close(in->image);
    in->image = NULL;
    in->stores->destroy(in->stores, in->dir);
}

static void remove_done(struct store_job *j)
{
    struct removal *r = container_of(j, struct removal, job);
    incoming_unref(r->in);
    g_free(r);
}

/* What the directory holds by now is rubbish, or the state that was replaced. */
static void incoming_remove(struct incoming *in)
{
    struct removal *r = g_new(struct removal, 1);
    *r = (struct removal){.job = {.work = remove_work, .done = remove_done}, .in = in};
    in->users++;
    in->stores->submit(in->stores, &r->job);
}

void snapshot_recv_drop(struct group *g)
{
    struct snap_recv *r = TAKE(g->recv);
    if (!r)
        return;
    r->in->recv = NULL;
    if (!g->node->ending)
        incoming_remove(r->in);
    incoming_unref(r->in);
    g_free(r);
}

bool snapshot_incoming(const struct group *g, uint64_t *ret_bytes)
{
    if (!g->recv)
        return false;
    *ret_bytes = g->recv->offset;
    return true;
}

/* --- answers ---------------------------------------------------------------------------------- */

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

static void answer_offset(struct group *g)
{
    g->recv->asked = false;
    ack(g, g->recv->link, g->recv->id, g->recv->offset, 0);
}

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
        node_fatal(g->node, err, "group %u: write the snapshot in %s", g->gid, g->recv->in->dir);
    recv_refuse(g, err);
}

/* --- install ---------------------------------------------------------------------------------- */

struct install {
    struct store_job job;
    struct group *group;
    struct incoming *in;
    struct store *old, *store; /* closed, opened */
    struct kv *kv;             /* opened */
    int err;
    struct errmsg msg;
};

static void install_work(struct store_job *j)
{
    struct install *in = container_of(j, struct install, job);
    const struct group *g = in->group;
    struct store_maker *stores = in->in->stores;
    in->old->ops->close(in->old);
    in->old = NULL;
    in->err = stores->replace(stores, in->in->dir, g->dir);
    if (in->err < 0)
        errmsg_set(&in->msg, in->err, "rename %s to %s: %s", in->in->dir, g->dir,
                   err_text(in->err));
    else
        in->err = group_open_store(g, &in->store, &in->kv, &in->msg);
}

static void install_abandon(struct install *in)
{
    kv_close(in->kv);
    if (in->store)
        in->store->ops->close(in->store);
    if (in->old)
        in->old->ops->close(in->old);
}

/* The core has been left alone meanwhile, so what held when it began still holds. */
static void take_installed(struct group *g, struct install *in)
{
    struct node *n = g->node;
    struct snap_recv *r = g->recv;
    kv_close(TAKE(g->kv));
    group_take_state(g, in->store, in->kv);
    if (g->applied != r->index || g->applied_term != r->index_term)
        node_fatal(n, -ERR_CORRUPT,
                   "group %u: the snapshot of entry %" G_GUINT64_FORMAT
                   " holds the state of entry %" G_GUINT64_FORMAT,
                   g->gid, r->index, g->applied);
    if (!raft_install(g->raft, r->from, r->term, r->index, r->index_term, r->index_time, &r->conf))
        node_fatal(n, -ERR_CORRUPT,
                   "group %u: the core does not take the snapshot of entry %" G_GUINT64_FORMAT,
                   g->gid, r->index);
    g->paused = false;
    group_touch(g);
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

static void install_done(struct store_job *j)
{
    struct install *in = container_of(j, struct install, job);
    struct group *g = in->group;
    if (g->node->ending)
        install_abandon(in);
    else if (in->err < 0)
        group_fatal(g, in->err, "%s", in->msg.text);
    else
        take_installed(g, in);
    incoming_unref(in->in);
    g_free(in);
}

/* From here on to take_installed the replica is as silent as if its process had been stopped. */
static void install(struct group *g)
{
    struct snap_recv *r = g->recv;
    if (g->store_full || !raft_wants_snapshot(g->raft, r->index, r->index_term)) {
        recv_refuse(g, g->store_full ? -ERR_NO_SPACE : -ERR_STALE);
        return;
    }
    group_fail_requests(g, -ERR_NOT_LEADER);
    kv_detach(g->kv);
    g->paused = r->installing = true;
    r->in->users++;
    struct install *in = g_new0(struct install, 1);
    in->job = (struct store_job){.work = install_work, .done = install_done};
    in->group = g;
    in->in = r->in;
    in->old = TAKE(g->store);
    r->in->stores->submit(r->in->stores, &in->job);
}

/* The store cannot be closed under a flush, or a checkpoint from when this node led. */
static void install_if_possible(struct group *g)
{
    if (g->recv && g->recv->complete && !g->recv->installing && !g->flushing && !checkpoint_busy(g))
        install(g);
}

void snapshot_recv_tick(struct group *g)
{
    struct snap_recv *r = g->recv;
    if (!r)
        return;
    install_if_possible(g);
    if (g->recv && !r->last_received && g->node->now - r->heard_at > TICKS(2 * SNAP_IDLE_MS)) {
        node_log(g->node, LOG_WARN, "snapshot-abandoned gid=%u from=%u bytes=%" G_GUINT64_FORMAT,
                 g->gid, r->from, r->offset);
        snapshot_recv_drop(g);
    }
}

/* --- pieces ----------------------------------------------------------------------------------- */

static void piece_work(struct store_job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct incoming *in = p->in;
    if (in->err == 0 && !in->image)
        in->err = in->stores->image_create(in->stores, in->dir, enc_view(&in->tag), &in->image);
    if (in->err == 0)
        in->err = in->stores->image_write(in->image, p->data, p->n);
    if (in->err == 0 && p->last)
        in->err = in->stores->image_finish(TAKE(in->image));
}

static void piece_taken(struct group *g, const struct piece *p)
{
    struct snap_recv *r = g->recv;
    if (p->in->err < 0) {
        recv_failed(g, p->in->err);
        return;
    }
    r->offset += p->n;
    g->node->counters.snapshot_bytes_received += p->n;
    r->complete = p->last;
    if (r->complete)
        install_if_possible(g);
    else if (!r->asked || r->offset == r->received)
        answer_offset(g);
}

static void piece_done(struct store_job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct snap_recv *r = p->in->recv;
    if (r && !r->group->node->ending)
        piece_taken(r->group, p);
    incoming_unref(p->in);
    g_free(p);
}

static void take_piece(struct snap_recv *r, struct bytes data, bool last)
{
    struct piece *p = g_malloc(sizeof(*p) + data.n);
    p->job = (struct store_job){.work = piece_work, .done = piece_done};
    p->in = r->in;
    p->last = last;
    p->n = data.n;
    memcpy(p->data, data.p, data.n);
    r->in->users++;
    r->received += data.n;
    r->last_received = last;
    r->in->stores->submit(r->in->stores, &p->job);
}

/* --- chunks ----------------------------------------------------------------------------------- */

#define TAG_VERSION 1

static void put_tag(struct enc *e, const struct snap_recv *r)
{
    struct enc conf = {0};
    wire_put_conf(&conf, &r->conf);
    enc_u8(e, TAG_VERSION);
    enc_u32(e, r->from);
    enc_u64(e, r->id);
    enc_u64(e, r->term);
    enc_u64(e, r->index);
    enc_u64(e, r->index_term);
    enc_u64(e, r->index_time);
    enc_bytes(e, enc_view(&conf));
    enc_finish(&conf);
}

static bool get_tag(struct bytes tag, struct snap_recv *ret)
{
    struct dec d = dec_of(tag);
    if (dec_u8(&d) != TAG_VERSION)
        return false;
    ret->from = dec_u32(&d);
    ret->id = dec_u64(&d);
    ret->term = dec_u64(&d);
    ret->index = dec_u64(&d);
    ret->index_term = dec_u64(&d);
    ret->index_time = dec_u64(&d);
    struct bytes conf = dec_bytes(&d);
    return dec_done(&d) && wire_get_conf(conf, &ret->conf) == 0;
}

/* Takes what r says already. */
static struct snap_recv *recv_create(struct group *g, const struct snap_recv *from)
{
    struct incoming *in = g_new0(struct incoming, 1);
    struct snap_recv *r = g_new0(struct snap_recv, 1);
    *r = *from;
    r->group = g;
    r->in = in;
    r->heard_at = g->node->now;
    in->users = 1;
    in->recv = r;
    in->stores = g->node->env.stores;
    in->dir = recv_dir(g->dir);
    put_tag(&in->tag, r);
    return r;
}

bool snapshot_recv_resume(struct group *g)
{
    struct store_maker *stores = g->node->env.stores;
    struct store_image *image;
    struct snap_recv known = {0};
    struct arena a = {0};
    struct bytes tag;
    char *dir = recv_dir(g->dir);
    bool found = stores->image_resume(stores, dir, &a, &tag, &known.offset, &image) == 0;
    g_free(dir);
    if (found && !get_tag(tag, &known)) {
        stores->image_close(image);
        found = false;
    }
    arena_finish(&a);
    if (!found)
        return false;
    known.received = known.offset;
    g->recv = recv_create(g, &known);
    g->recv->in->image = image;
    node_log(g->node, LOG_INFO,
             "snapshot-resume gid=%u from=%u index=%" G_GUINT64_FORMAT " bytes=%" G_GUINT64_FORMAT,
             g->gid, known.from, known.index, known.offset);
    return true;
}

/* 0, or why it is not taken. */
static int recv_begin(struct group *g, struct conn *c, const struct msg_snap_chunk *m)
{
    struct node *n = g->node;
    struct raft_conf conf;
    if (g->recv && m->term < g->recv->term)
        return -ERR_STALE;
    if (wire_get_conf(m->conf, &conf) < 0)
        return -ERR_INVALID;
    snapshot_recv_drop(g);
    const struct snap_recv known = {
        .from = c->peer->id,
        .id = m->id,
        .term = m->term,
        .index = m->index,
        .index_term = m->index_term,
        .index_time = m->index_time,
        .conf = conf,
    };
    g->recv = recv_create(g, &known);
    node_log(n, LOG_INFO, "snapshot-receive gid=%u from=%u index=%" G_GUINT64_FORMAT, g->gid,
             known.from, known.index);
    return 0;
}

/* May this transfer go on at all? */
static int recv_admit(struct group *g, struct conn *c, const struct msg_snap_chunk *m)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    if (m->term < m->index_term || m->index == 0)
        return -ERR_INVALID;
    if (g->recv && g->recv->installing)
        return g->recv->id == m->id ? 0 : -ERR_BUSY;
    if (g->store_full || !space_for_flush(g->node))
        return -ERR_NO_SPACE;
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
    int err = recv_admit(g, c, m);
    if (err < 0) {
        ack(g, c->token, m->id, 0, err);
        return;
    }
    struct snap_recv *r = g->recv;
    r->link = c->token;
    r->heard_at = g->node->now;
    if (r->last_received)
        return; /* acknowledged once it is installed */
    if (m->data.n == 0 && !m->last) {
        r->asked = true;
        if (r->offset == r->received)
            answer_offset(g);
    } else if (m->offset == r->received) {
        if (r->received - r->offset > SNAP_WINDOW * SNAPSHOT_CHUNK)
            recv_refuse(g, -ERR_INVALID); /* it does not wait for our answers */
        else
            take_piece(r, m->data, m->last != 0);
    }
}
