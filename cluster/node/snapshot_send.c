/* SPDX-License-Identifier: Apache-2.0 */
/* The leader's side of a snapshot transfer (snapshot.h). */
#include "cluster/node/conn.h"
#include "cluster/node/damage.h"
#include "cluster/node/peer.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/snapshot_recv.h"
#include "cluster/node/wire.h"

/* Transfers at once; further followers wait for their turn. */
#define SENDS_MAX    2
#define REDIAL_TICKS TICKS(500)

struct snap_send {
    struct group *group;
    raft_id to;
    bool started;          /* the checkpoint exists */
    raft_index flush_from; /* what shall be flushed before it is made; 0: not asked for yet */
    uint64_t id;
    char *dir;
    struct store_image *image;
    uint64_t size;
    raft_index index;
    raft_term term, index_term;
    uint64_t index_time;
    struct raft_conf conf;  /* as of index: the newest may not be committed */
    uint64_t link;          /* conn token, 0: none */
    bool synced;            /* the follower has named its offset on this link */
    uint64_t offset, taken; /* next byte to send; what the follower has */
    bool last_sent;
    uint64_t budget;                 /* bytes that may still go in this tick */
    uint64_t redial_at, progress_at; /* ticks */
};

static char *send_dir(const struct group *g, raft_id to)
{
    return g_strdup_printf("%s.send.%u", g->dir, to);
}

static void send_clean(struct group *g, raft_id to)
{
    char *dir = send_dir(g, to);
    g->node->env.stores->destroy(g->node->env.stores, dir);
    g_free(dir);
}

void snapshots_clean(struct group *g)
{
    struct node *n = g->node;
    unsigned count;
    uint64_t index;
    const struct group *g0 = g->gid == 0 ? g : node_group(n, 0);
    const struct kv_node *known = kv_nodes(g0->kv, &count, &index);
    for (unsigned i = 0; i < n->n_peers; i++)
        send_clean(g, n->peers[i]->id);
    for (unsigned i = 0; i < count; i++)
        if (known[i].state == NODE_REMOVED)
            send_clean(g, known[i].id);
    snapshot_recv_clean(g);
}

/* --- life of a transfer ----------------------------------------------------------------------- */

static void send_free(struct snap_send *s)
{
    struct node *n = s->group->node;
    if (s->image)
        n->env.stores->image_close(s->image);
    g_free(s->dir);
    g_free(s);
}

/* Takes it off the list, with its checkpoint and its link. */
static void send_drop(struct snap_send *s)
{
    struct group *g = s->group;
    struct node *n = g->node;
    struct conn *c = s->link ? g_hash_table_lookup(n->conns, &s->link) : NULL;
    if (c)
        conn_close(c, LOG_DEBUG, "the snapshot transfer has ended");
    g_ptr_array_remove(g->sends, s);
    if (s->image)
        n->env.stores->image_close(s->image);
    s->image = NULL;
    if (s->started)
        n->env.stores->destroy(n->env.stores, s->dir);
    send_free(s);
}

static void send_end(struct snap_send *s, bool ok, const char *why)
{
    struct group *g = s->group;
    struct node *n = g->node;
    raft_id to = s->to;
    raft_index index = s->index;
    node_log(n, ok ? LOG_INFO : LOG_WARN,
             "snapshot-%s gid=%u to=%u index=%" G_GUINT64_FORMAT " bytes=%" G_GUINT64_FORMAT
             " why=\"%s\"",
             ok ? "sent" : "failed", g->gid, to, index, s->taken, why);
    if (ok)
        n->counters.snapshots_sent++;
    send_drop(s);
    raft_snapshot_sent(g->raft, to, index, ok);
}

void snapshot_send(struct group *g, raft_id to)
{
    /* Called in the middle of a ready: the work begins with the next tick. */
    for (guint i = 0; i < g->sends->len; i++)
        if (((struct snap_send *)g_ptr_array_index(g->sends, i))->to == to)
            return;
    struct snap_send *s = g_new0(struct snap_send, 1);
    s->group = g;
    s->to = to;
    s->dir = send_dir(g, to);
    g_ptr_array_add(g->sends, s);
}

void snapshots_stop(struct group *g)
{
    while (g->sends->len > 0)
        send_drop(g_ptr_array_index(g->sends, 0));
}

void snapshots_free(struct group *g)
{
    for (guint i = 0; i < g->sends->len; i++)
        send_free(g_ptr_array_index(g->sends, i));
    g_ptr_array_free(g->sends, TRUE);
}

raft_index snapshots_hold(const struct group *g)
{
    raft_index hold = 0;
    for (guint i = 0; i < g->sends->len; i++) {
        const struct snap_send *s = g_ptr_array_index(g->sends, i);
        if (s->started && (hold == 0 || s->index < hold))
            hold = s->index;
    }
    return hold;
}

/* A checkpoint flushes what is not flushed yet and waits for it, on this thread; a flush of its own
 * before leaves little to it. */
static bool send_may_start(struct snap_send *s)
{
    struct group *g = s->group;
    if (s->flush_from == 0) {
        s->flush_from = MAX(g->applied, 1);
        group_want_flush(g);
    }
    return !g->flushing && g->flushed >= s->flush_from;
}

/* False: it has ended. */
static bool send_start(struct snap_send *s)
{
    struct group *g = s->group;
    struct node *n = g->node;
    struct store_maker *stores = n->env.stores;
    struct errmsg msg = {""};
    stores->destroy(stores, s->dir);
    s->id = rng_next(n->env.rng) | 1;
    s->index = g->applied;
    s->index_term = g->applied_term;
    s->index_time = g->applied_time;
    s->conf = *raft_conf_at(g->raft, s->index);
    s->term = g->term;
    s->progress_at = n->now;
    int err = kv_settle(g->kv);
    if (err < 0)
        errmsg_set(&msg, err, "write what was applied: %s", err_text(err));
    else
        err = g->store->ops->checkpoint(g->store, s->dir, &msg);
    if (err < 0 && err != -ERR_NO_SPACE)
        group_fatal(g, err, "group %u: checkpoint to %s: %s", g->gid, s->dir, msg.text);
    s->started = true;
    if (err == 0)
        s->image = stores->image_open(stores, s->dir);
    if (!s->image) {
        send_end(s, false, err < 0 ? "no space for a checkpoint" : "cannot read the checkpoint");
        return false;
    }
    s->size = stores->image_size(s->image);
    node_log(n, LOG_INFO,
             "snapshot-start gid=%u to=%u index=%" G_GUINT64_FORMAT " bytes=%" G_GUINT64_FORMAT,
             g->gid, s->to, s->index, s->size);
    return true;
}

/* --- chunks ----------------------------------------------------------------------------------- */

static int send_chunk(struct snap_send *s, struct conn *c, struct bytes data, bool last)
{
    struct node *n = s->group->node;
    struct enc conf = {0};
    wire_put_conf(&conf, &s->conf);
    struct msg_snap_chunk m = {
        .gid = s->group->gid,
        .term = s->term,
        .index = s->index,
        .index_term = s->index_term,
        .index_time = s->index_time,
        .id = s->id,
        .offset = s->offset,
        .last = last,
        .conf = enc_view(&conf),
        .data = data,
    };
    enc_reset(&n->out);
    FRAME(&n->out, snap_chunk, s->id, &m);
    enc_finish(&conf);
    return conn_send(c, enc_view(&n->out));
}

/* Sends what window and budget allow. False: the transfer has ended. */
static bool pump(struct snap_send *s)
{
    struct node *n = s->group->node;
    struct conn *c = conn_find(n, s->link);
    const unsigned chunk = n->config.snapshot_chunk;
    uint8_t *piece = NULL;
    bool alive = true;
    while (c && s->synced && !s->last_sent &&
           s->offset - s->taken < (uint64_t)SNAP_WINDOW * chunk && s->budget > 0) {
        size_t want = (size_t)MIN(s->size - s->offset, chunk);
        piece = piece ? piece : g_malloc(chunk);
        if (n->env.stores->image_read(s->image, piece, want, s->offset) != (int64_t)want) {
            send_end(s, false, "cannot read the checkpoint");
            alive = false;
            break;
        }
        bool last = s->offset + want == s->size;
        if (send_chunk(s, c, bytes_of(piece, want), last) < 0)
            break; /* its queue is full: again next tick */
        s->offset += want;
        s->last_sent = last;
        s->budget -= MIN(s->budget, want);
    }
    g_free(piece);
    return alive;
}

void snapshot_ack(struct group *g, struct conn *c, const struct msg_snap_ack *m)
{
    struct snap_send *s = NULL;
    for (guint i = 0; i < g->sends->len && !s; i++) {
        struct snap_send *each = g_ptr_array_index(g->sends, i);
        if (each->started && each->id == m->id && each->link == c->token)
            s = each;
    }
    if (!s)
        return;
    if (m->status != 0 || m->offset > s->size) {
        send_end(s, false, m->status ? err_text(m->status) : "an offset beyond the end");
        return;
    }
    if (m->offset > s->taken)
        s->progress_at = g->node->now;
    if (s->last_sent && m->offset == s->size) {
        s->taken = m->offset;
        send_end(s, true, "installed");
        return;
    }
    /* The first answer on a link, or the follower lost what it had: go on from where it is. */
    if (!s->synced || m->offset < s->taken) {
        s->offset = m->offset;
        s->last_sent = false;
    }
    s->synced = true;
    s->taken = m->offset;
    pump(s);
}

/* --- links and time --------------------------------------------------------------------------- */

static struct snap_send *send_by_link(struct conn *c, struct group **ret)
{
    struct node *n = c->node;
    for (guint i = 0; i < n->groups->len; i++) {
        struct group *g = g_ptr_array_index(n->groups, i);
        for (guint k = 0; k < g->sends->len; k++) {
            struct snap_send *s = g_ptr_array_index(g->sends, k);
            if (s->link == c->token) {
                *ret = g;
                return s;
            }
        }
    }
    return NULL;
}

void snapshot_link_up(struct conn *c)
{
    struct group *g;
    struct snap_send *s = c->dialed ? send_by_link(c, &g) : NULL;
    if (!s)
        return;
    /* Empty: asks where to go on. */
    s->synced = false;
    s->offset = s->taken = 0;
    s->last_sent = false;
    if (send_chunk(s, c, BYTES_NONE, false) < 0)
        conn_close(c, LOG_WARN, "cannot send");
}

void snapshot_link_down(struct conn *c)
{
    struct group *g;
    struct snap_send *s = send_by_link(c, &g);
    if (!s)
        return;
    s->link = 0;
    s->synced = false;
    s->redial_at = g->node->now + REDIAL_TICKS;
}

/* False: it has ended. */
static bool send_tick(struct snap_send *s)
{
    struct node *n = s->group->node;
    if (n->now - s->progress_at > TICKS(SNAP_IDLE_MS)) {
        send_end(s, false, "the follower took nothing for too long");
        return false;
    }
    s->budget = n->config.snapshot_tick_bytes;
    if (s->link == 0 && n->now >= s->redial_at) {
        struct peer *p = peer_find(n, s->to);
        if (!p) {
            send_end(s, false, "it is no member any more");
            return false;
        }
        struct conn *c = conn_dial(n, p, HELLO_BULK);
        s->link = c ? c->token : 0;
        s->redial_at = n->now + REDIAL_TICKS;
    }
    return pump(s);
}

void snapshots_tick(struct group *g)
{
    snapshot_recv_tick(g);
    unsigned active = 0;
    for (guint i = 0; i < g->sends->len;) {
        struct snap_send *s = g_ptr_array_index(g->sends, i);
        bool alive = true;
        if (active++ < SENDS_MAX && (s->started || send_may_start(s)))
            alive = (s->started || send_start(s)) && send_tick(s);
        if (alive)
            i++;
    }
}
