/* SPDX-License-Identifier: Apache-2.0 */
/* Who is connected: the life of a connection from socket to on_close, and the turns of the loop. */
#include "cluster/node/net_uv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/limits.h"
#include "cluster/node/net_impl.h"

/* A peer that vanished without a word: noticed after about 10 s also where nobody sends. */
#define KEEPALIVE_IDLE_S     5
#define KEEPALIVE_INTERVAL_S 2
#define KEEPALIVE_COUNT      3
#define UNACKED_MS           10000

static uint64_t now_ms(void)
{
    return clock_mono_ns() / 1000000u;
}

/* --- one connection --------------------------------------------------------------------------- */

static GQueue *life_queue(struct uv_conn *c)
{
    if (c->stage == STAGE_DEAD)
        return &c->net->dead;
    return c->stage == STAGE_OPEN ? &c->net->open : &c->net->young;
}

static void set_stage(struct uv_conn *c, enum stage stage)
{
    ASSERT(c->stage < stage || (c->stage == stage && stage == STAGE_CONNECT));
    GQueue *from = life_queue(c);
    c->stage = stage;
    GQueue *to = life_queue(c);
    if (from == to)
        return;
    g_queue_unlink(from, &c->life_link);
    g_queue_push_tail_link(to, &c->life_link);
}

struct uv_conn *conn_create(struct net_uv *n, bool dialed, enum stage stage)
{
    struct uv_conn *c = g_new0(struct uv_conn, 1);
    c->conn.net = &n->net;
    c->net = n;
    c->stage = stage;
    c->dialed = dialed;
    c->fd = -1;
    c->born_ms = now_ms();
    c->life_link.data = c->dirty_link.data = c->more_link.data = c;
    g_queue_push_tail_link(life_queue(c), &c->life_link);
    if (!dialed)
        n->n_accepted++;
    return c;
}

static void on_handle_closed(uv_handle_t *h)
{
    g_free(h);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct uv_conn *c = h->data;
    if (c->stage == STAGE_CONNECT)
        dial_connected(c);
    else if (c->stage == STAGE_HANDSHAKE)
        stream_handshake(c);
    if (c->stage == STAGE_OPEN && (events & UV_WRITABLE))
        stream_flush(c);
    if (c->stage == STAGE_OPEN && (status < 0 || (events & UV_READABLE) || c->tls))
        stream_read(c);
    if (c->stage != STAGE_DEAD)
        conn_poll(c);
}

void conn_attach(struct uv_conn *c, int fd)
{
    c->fd = fd;
    c->poll = g_new0(uv_poll_t, 1);
    /* Fails only for what is not a socket. */
    int r = uv_poll_init(c->net->loop, c->poll, fd);
    ASSERT(r == 0);
    c->poll->data = c;
    c->events = 0;
}

void conn_detach(struct uv_conn *c)
{
    if (c->fd < 0)
        return;
    uv_close((uv_handle_t *)c->poll, on_handle_closed);
    c->poll = NULL;
    close(c->fd);
    c->fd = -1;
}

void conn_poll(struct uv_conn *c)
{
    int events = c->stage == STAGE_CONNECT ? UV_WRITABLE : UV_READABLE;
    if (c->want_write)
        events |= UV_WRITABLE;
    if (c->fd < 0 || events == c->events)
        return;
    c->events = events;
    int r = uv_poll_start(c->poll, events, on_poll);
    ASSERT(r == 0);
}

/* Best effort: a socket without them works, only slower to notice. */
static void set_tcp_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKED_MS},
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof(options[i].value));
}

void conn_ready(struct uv_conn *c, bool local)
{
    if (local) {
        const struct net_peer peer = {.role = ROLE_NONE, .uid = -1, .text = c->text};
        conn_opened(c, &peer);
        return;
    }
    set_tcp_options(c->fd);
    set_stage(c, STAGE_HANDSHAKE);
    c->tls = tls_conn_create(c->net->tls, c->fd, !c->dialed);
    stream_handshake(c);
}

void conn_opened(struct uv_conn *c, const struct net_peer *peer)
{
    struct net_uv *n = c->net;
    set_stage(c, STAGE_OPEN);
    c->opened = true;
    n->active = true;
    if (n->handler)
        n->handler->on_open(n->handler->ctx, &c->conn, peer, c->dialed);
}

void conn_die(struct uv_conn *c, int err)
{
    if (c->stage == STAGE_DEAD)
        return;
    struct net_uv *n = c->net;
    set_stage(c, STAGE_DEAD);
    c->error = err;
    if (c->is_dirty)
        g_queue_unlink(&n->dirty, &c->dirty_link);
    if (c->is_more)
        g_queue_unlink(&n->more, &c->more_link);
    c->is_dirty = c->is_more = false;
    dial_abandon(c);
    conn_detach(c);
    if (!c->dialed)
        n->n_accepted--;
}

static void conn_free(struct uv_conn *c)
{
    stream_finish(c);
    g_free(c);
}

/* --- ops -------------------------------------------------------------------------------------- */

static size_t uv_queued(const struct net_conn *conn)
{
    return ((const struct uv_conn *)conn)->out.n;
}

static void uv_close_conn(struct net_conn *conn)
{
    struct uv_conn *c = uv_conn_of(conn);
    if (c->stage == STAGE_OPEN)
        stream_goodbye(c);
    conn_die(c, -ERR_CANCELED);
}

static const struct net_ops uv_net_ops = {
    .dial = dial_start,
    .send = stream_send,
    .queued = uv_queued,
    .close = uv_close_conn,
};

/* --- the whole -------------------------------------------------------------------------------- */

struct net_uv *net_uv_create(uv_loop_t *loop, struct tls_ctx *tls)
{
    struct net_uv *n = g_new0(struct net_uv, 1);
    n->net.ops = &uv_net_ops;
    n->loop = loop;
    n->tls = tls;
    n->scratch = g_malloc(SCRATCH_BYTES);
    return n;
}

void net_uv_destroy(struct net_uv *n)
{
    if (!n)
        return;
    n->handler = NULL;
    for (unsigned i = 0; i < n->n_listeners; i++)
        listener_close(&n->listeners[i]);
    while (n->open.head)
        uv_close_conn(&((struct uv_conn *)n->open.head->data)->conn);
    while (n->young.head)
        conn_die(n->young.head->data, -ERR_CANCELED);
    net_uv_deliver(n);
    g_free(n->scratch);
    g_free(n);
}

void net_uv_set_handler(struct net_uv *n, const struct net_handler *handler)
{
    n->handler = handler;
}

struct net *net_uv_net(struct net_uv *n)
{
    return &n->net;
}

static void deliver_dead(struct net_uv *n)
{
    GList *link;
    while ((link = g_queue_pop_head_link(&n->dead)) != NULL) {
        struct uv_conn *c = link->data;
        if ((c->opened || c->dialed) && n->handler) {
            n->active = true;
            n->handler->on_close(n->handler->ctx, &c->conn, c->error);
        }
        conn_free(c);
    }
}

void net_uv_deliver(struct net_uv *n)
{
    /* Those that have still more to read come back in the queue: for the next turn. */
    for (guint left = n->more.length; left > 0 && n->more.head; left--) {
        struct uv_conn *c = g_queue_pop_head_link(&n->more)->data;
        c->is_more = false;
        stream_read(c);
        if (c->stage == STAGE_OPEN)
            conn_poll(c);
    }
    deliver_dead(n);
}

bool net_uv_was_active(struct net_uv *n)
{
    bool was = n->active;
    n->active = false;
    return was;
}

bool net_uv_has_work(const struct net_uv *n)
{
    return n->more.length > 0 || n->dead.length > 0;
}

void net_uv_flush(struct net_uv *n)
{
    GList *link;
    while ((link = g_queue_pop_head_link(&n->dirty)) != NULL) {
        struct uv_conn *c = link->data;
        c->is_dirty = false;
        stream_flush(c);
        if (c->stage == STAGE_OPEN)
            conn_poll(c);
    }
}

void net_uv_tick(struct net_uv *n)
{
    uint64_t now = now_ms();
    struct uv_conn *c;
    while (n->young.head && (c = n->young.head->data)->born_ms + HANDSHAKE_TIMEOUT_MS <= now) {
        if (c->dialed)
            log_limited(LOG_INFO, "dial time-out", "connect to=\"%s\" error=\"no answer in %d ms\"",
                        c->text, HANDSHAKE_TIMEOUT_MS);
        else
            log_limited(LOG_WARN, "handshake time-out",
                        "drop from=\"%s\" why=\"no TLS handshake within %d ms\"", c->text,
                        HANDSHAKE_TIMEOUT_MS);
        conn_die(c, -ERR_TIMEOUT);
    }
    for (unsigned i = 0; i < n->n_listeners; i++)
        listener_resume(&n->listeners[i]);
}
