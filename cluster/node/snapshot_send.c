/* SPDX-License-Identifier: Apache-2.0 */
/* The leader's side of a snapshot transfer (snapshot.h). */
#include "cluster/node/checkpoint.h"
#include "cluster/node/conn.h"
#include "cluster/node/peer.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/snapshot_recv.h"
#include "cluster/node/wire.h"

#define REDIAL_TICKS TICKS(500)
/* After a failure that is not over by itself (a full disk) the next attempt, which costs a
 * checkpoint, waits. */
#define RETRY_TICKS TICKS(2000)

/* A chunk that is read ahead by a job. */
struct snap_piece {
    struct store_job job;
    struct snap_send *send; /* NULL: the transfer has ended */
    struct checkpoint *checkpoint;
    uint64_t offset;
    size_t want;
    bool read;   /* it is there, or not: */
    int64_t got; /* less than wanted: it could not be read */
    uint8_t data[];
};

struct snap_send {
    struct group *group;
    raft_id to;
    struct checkpoint *checkpoint; /* NULL: it waits for its turn */
    bool announced;                /* the checkpoint is there */
    uint64_t id;
    raft_term term;
    uint64_t link;          /* conn token, 0: none */
    bool synced;            /* the follower has named its offset on this link */
    uint64_t offset, taken; /* next byte to send; what the follower has */
    bool last_sent;
    struct snap_piece *piece;        /* NULL: nothing is read ahead */
    uint64_t redial_at, progress_at; /* ticks */
    uint64_t give_up_at;             /* tick: it has failed, and raft is told then; 0: it has not */
    raft_index give_up_index;
};

/* --- leftovers -------------------------------------------------------------------------------- */

struct clean {
    struct store_job job;
    struct store_maker *stores;
    char *group_dir;
    bool received; /* what was coming in, too */
};

static void clean_work(struct store_job *j)
{
    struct clean *c = container_of(j, struct clean, job);
    for (unsigned i = 0; i < CHECKPOINT_SLOTS; i++)
        checkpoint_clean(c->stores, c->group_dir, i);
    if (c->received)
        snapshot_recv_clean(c->stores, c->group_dir);
}

static void clean_done(struct store_job *j)
{
    struct clean *c = container_of(j, struct clean, job);
    g_free(c->group_dir);
    g_free(c);
}

/* Whatever takes one of these names comes in a later job. */
void snapshots_restart(struct group *g)
{
    struct clean *c = g_new(struct clean, 1);
    *c = (struct clean){
        .job = {.work = clean_work, .done = clean_done},
        .stores = g->node->env.stores,
        .group_dir = g_strdup(g->dir),
        .received = !snapshot_recv_resume(g),
    };
    c->stores->submit(c->stores, &c->job);
}

/* --- life of a transfer ----------------------------------------------------------------------- */

static void drop_piece(struct snap_send *s)
{
    struct snap_piece *p = TAKE(s->piece);
    if (p && p->read)
        g_free(p);
    else if (p)
        p->send = NULL;
}

/* Lets go of all that a transfer holds. */
static void send_release(struct snap_send *s)
{
    struct node *n = s->group->node;
    struct conn *c = s->link && !n->ending ? g_hash_table_lookup(n->conns, &s->link) : NULL;
    s->link = 0;
    if (c)
        conn_close(c, LOG_DEBUG, "the snapshot transfer has ended");
    drop_piece(s);
    if (!s->checkpoint)
        return;
    n->n_sends--;
    checkpoint_drop(TAKE(s->checkpoint));
}

static void send_drop(struct snap_send *s)
{
    g_ptr_array_remove(s->group->sends, s);
    send_release(s);
    g_free(s);
}

static void send_failed(struct snap_send *s, const char *why, bool retry_soon)
{
    struct group *g = s->group;
    node_log(g->node, LOG_WARN,
             "snapshot-failed gid=%u to=%u index=%" G_GUINT64_FORMAT " bytes=%" G_GUINT64_FORMAT
             " why=\"%s\"",
             g->gid, s->to, s->checkpoint->index, s->taken, why);
    s->give_up_index = s->checkpoint->index;
    send_release(s);
    s->give_up_at = g->node->now + (retry_soon ? 0 : RETRY_TICKS);
}

static void send_succeeded(struct snap_send *s)
{
    struct group *g = s->group;
    raft_id to = s->to;
    raft_index index = s->checkpoint->index;
    node_log(g->node, LOG_INFO,
             "snapshot-sent gid=%u to=%u index=%" G_GUINT64_FORMAT " bytes=%" G_GUINT64_FORMAT,
             g->gid, to, index, s->taken);
    g->node->counters.snapshots_sent++;
    send_drop(s);
    raft_snapshot_sent(g->raft, to, index, true);
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
    g_ptr_array_add(g->sends, s);
}

void snapshots_stop(struct group *g)
{
    while (g->sends->len > 0)
        send_drop(g_ptr_array_index(g->sends, 0));
}

void snapshots_free(struct group *g)
{
    snapshots_stop(g);
    g_ptr_array_free(g->sends, TRUE);
}

raft_index snapshots_hold(const struct group *g)
{
    raft_index hold = 0;
    for (guint i = 0; i < g->sends->len; i++) {
        const struct snap_send *s = g_ptr_array_index(g->sends, i);
        if (s->checkpoint && (hold == 0 || s->checkpoint->index < hold))
            hold = s->checkpoint->index;
    }
    return hold;
}

/* False: not its turn yet. */
static bool send_begin(struct snap_send *s)
{
    struct node *n = s->group->node;
    if (n->n_sends >= SNAP_SENDS_MAX)
        return false;
    n->n_sends++;
    s->checkpoint = checkpoint_take(s->group);
    s->id = rng_next(n->env.rng) | 1;
    s->term = s->group->term;
    s->progress_at = n->now;
    return true;
}

/* The checkpoint is there, or not. */
static bool send_announce(struct snap_send *s)
{
    struct group *g = s->group;
    struct checkpoint *c = s->checkpoint;
    if (c->err < 0) {
        send_failed(s, c->err == -ERR_NO_SPACE ? "no space for a checkpoint" : err_text(c->err),
                    c->err == -ERR_STALE);
        return false;
    }
    s->announced = true;
    s->progress_at = g->node->now;
    node_log(g->node, LOG_INFO,
             "snapshot-start gid=%u to=%u index=%" G_GUINT64_FORMAT " bytes=%" G_GUINT64_FORMAT,
             g->gid, s->to, c->index, c->size);
    return true;
}

/* --- chunks ----------------------------------------------------------------------------------- */

static void pump(struct snap_send *s);

static int send_chunk(struct snap_send *s, struct conn *c, struct bytes data, bool last)
{
    struct node *n = s->group->node;
    struct enc conf = {0};
    const struct checkpoint *cp = s->checkpoint;
    wire_put_conf(&conf, &cp->conf);
    struct msg_snap_chunk m = {
        .gid = s->group->gid,
        .term = s->term,
        .index = cp->index,
        .index_term = cp->index_term,
        .index_time = cp->index_time,
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

static void read_work(struct store_job *j)
{
    struct snap_piece *p = container_of(j, struct snap_piece, job);
    struct checkpoint *c = p->checkpoint;
    p->got = c->stores->image_read(c->image, p->data, p->want, p->offset);
}

static void read_done(struct store_job *j)
{
    struct snap_piece *p = container_of(j, struct snap_piece, job);
    p->read = true;
    if (p->send)
        pump(p->send);
    else
        g_free(p);
}

/* NULL: it is being read; it may not be what is wanted after a new start. */
static struct snap_piece *next_piece(struct snap_send *s)
{
    struct checkpoint *c = s->checkpoint;
    struct snap_piece *p = s->piece;
    if (p && !p->read)
        return NULL;
    if (p && p->offset == s->offset)
        return p;
    drop_piece(s);
    size_t want = (size_t)MIN(c->size - s->offset, s->group->node->config.snapshot_chunk);
    p = s->piece = g_malloc(sizeof(*p) + want);
    p->job = (struct store_job){.work = read_work, .done = read_done};
    p->send = s;
    p->checkpoint = c;
    p->offset = s->offset;
    p->want = want;
    p->read = false;
    c->stores->submit(c->stores, &p->job);
    return NULL;
}

/* Sends what window and budget allow. */
static void pump(struct snap_send *s)
{
    struct node *n = s->group->node;
    const uint64_t window = (uint64_t)SNAP_WINDOW * n->config.snapshot_chunk;
    struct conn *c = conn_find(n, s->link);
    while (c && s->synced && !s->last_sent && s->offset - s->taken < window && n->send_budget > 0) {
        struct snap_piece *p = next_piece(s);
        if (!p)
            return;
        if (p->got != (int64_t)p->want) {
            send_failed(s, "cannot read the checkpoint", false);
            return;
        }
        bool last = p->offset + p->want == s->checkpoint->size;
        if (send_chunk(s, c, bytes_of(p->data, p->want), last) < 0)
            return; /* its queue is full: again next tick */
        s->offset += p->want;
        s->last_sent = last;
        n->send_budget -= (int64_t)p->want;
        n->counters.snapshot_bytes_sent += p->want;
    }
    /* The next one is read while this one is on its way. */
    if (c && s->synced && !s->last_sent)
        next_piece(s);
}

void snapshot_ack(struct group *g, struct conn *c, const struct msg_snap_ack *m)
{
    struct snap_send *s = NULL;
    for (guint i = 0; i < g->sends->len && !s; i++) {
        struct snap_send *each = g_ptr_array_index(g->sends, i);
        if (each->announced && each->id == m->id && each->link == c->token)
            s = each;
    }
    if (!s)
        return;
    uint64_t size = s->checkpoint->size;
    if (m->status != 0 || m->offset > size) {
        send_failed(s, m->status ? err_text(m->status) : "an offset beyond the end",
                    m->status == ERR_STALE);
        return;
    }
    if (m->offset > s->taken)
        s->progress_at = g->node->now;
    if (s->last_sent && m->offset == size) {
        s->taken = m->offset;
        send_succeeded(s);
        return;
    }
    if (!s->synced && m->offset > 0)
        g->node->counters.snapshots_resumed++;
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
    ASSERT(s->announced);
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

static void redial(struct snap_send *s)
{
    struct node *n = s->group->node;
    struct peer *p = peer_find(n, s->to);
    if (!p) {
        send_failed(s, "it is no member any more", true);
        return;
    }
    struct conn *c = conn_dial(n, p, HELLO_BULK);
    s->link = c ? c->token : 0;
    s->redial_at = n->now + REDIAL_TICKS;
}

static void send_tick(struct snap_send *s)
{
    struct node *n = s->group->node;
    if (!s->checkpoint && !send_begin(s))
        return;
    if (!s->checkpoint->made || (!s->announced && !send_announce(s)))
        return;
    if (n->now - s->progress_at > TICKS(SNAP_IDLE_MS))
        send_failed(s, "the follower took nothing for too long", true);
    else if (s->link == 0 && n->now >= s->redial_at)
        redial(s);
    else
        pump(s);
}

/* It failed a while ago: raft asks again when the follower answers next. */
static void give_up(struct snap_send *s)
{
    struct group *g = s->group;
    raft_id to = s->to;
    raft_index index = s->give_up_index;
    send_drop(s);
    raft_snapshot_sent(g->raft, to, index, false);
}

void snapshots_tick(struct group *g)
{
    snapshot_recv_tick(g);
    for (guint i = 0; i < g->sends->len;) {
        struct snap_send *s = g_ptr_array_index(g->sends, i);
        if (s->give_up_at > 0 && g->node->now >= s->give_up_at) {
            give_up(s);
            continue;
        }
        if (s->give_up_at == 0)
            send_tick(s);
        i++;
    }
}
