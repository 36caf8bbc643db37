/* SPDX-License-Identifier: Apache-2.0 */
/* One connection's bytes: TLS or plain socket below, frames above. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include "cluster/base/limits.h"
#include "cluster/base/msg.h"
#include "cluster/node/net_impl.h"

#define QUEUE_BYTES_MIN KIB(4)
/* An empty buffer larger than this is given back. */
#define QUEUE_BYTES_KEEP KIB(64)
/* What is thrown away of the input at a goodbye: closing with unread input would reset the
 * connection, and the peer might lose our last words. */
#define GOODBYE_READS 16

/* --- buffers ---------------------------------------------------------------------------------- */

static void queue_push(struct queue *q, const void *p, size_t n)
{
    if (q->head + q->n + n > q->cap) {
        if (q->head > 0)
            memmove(q->p, q->p + q->head, q->n);
        q->head = 0;
        if (q->n + n > q->cap) {
            q->cap = MAX(MAX(q->cap * 2, q->n + n), QUEUE_BYTES_MIN);
            q->p = g_realloc(q->p, q->cap);
        }
    }
    memcpy(q->p + q->head + q->n, p, n);
    q->n += n;
}

static void queue_finish(struct queue *q)
{
    g_free(q->p);
    *q = (struct queue){0};
}

static void queue_pop(struct queue *q, size_t n)
{
    q->head += n;
    q->n -= n;
    if (q->n > 0)
        return;
    q->head = 0;
    if (q->cap > QUEUE_BYTES_KEEP)
        queue_finish(q);
}

/* --- below: TLS or the plain socket, with the same answers -------------------------------------
 */

static int64_t plain_result(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? -ERR_BUSY : -ERR_CLOSED;
}

/* Bytes; 0: the peer has closed; -ERR_BUSY: nothing is there; or why it broke. */
static int64_t low_read(struct uv_conn *c, void *p, size_t n)
{
    return c->tls ? tls_read(c->tls, p, n) : plain_result(recv(c->fd, p, n, 0));
}

static int64_t low_write(struct uv_conn *c, const void *p, size_t n)
{
    return c->tls ? tls_write(c->tls, p, n) : plain_result(send(c->fd, p, n, MSG_NOSIGNAL));
}

static void note_want(struct uv_conn *c)
{
    c->want_write |= c->tls && tls_want(c->tls) == POLLOUT;
}

static void refused(struct uv_conn *c, int err)
{
    if (err == -ERR_TLS) {
        const char *why = tls_reason(c->tls);
        const char *way = c->dialed ? "to" : "from";
        /* Two limits: a port scan must not hide a certificate that somebody has to renew. */
        if (strstr(why, "certificate"))
            log_limited(LOG_WARN, "certificate", "drop %s=\"%s\" why=\"%s\"", way, c->text, why);
        else
            log_limited(LOG_WARN, "handshake", "drop %s=\"%s\" why=\"%s\"", way, c->text, why);
    }
    conn_die(c, err);
}

/* --- handshake -------------------------------------------------------------------------------- */

void stream_handshake(struct uv_conn *c)
{
    struct tls_peer who;
    c->want_write = false;
    int err = tls_handshake(c->tls);
    if (err == -ERR_BUSY) {
        note_want(c);
        return;
    }
    if (err == 0)
        err = tls_peer(c->tls, &who);
    if (err < 0) {
        refused(c, err);
        return;
    }
    size_t at = strlen(c->text);
    g_snprintf(c->text + at, sizeof(c->text) - at, " (%s)", who.name);
    const struct net_peer peer = {
        .role = who.role,
        .node = who.node,
        .read_only = who.read_only,
        .uid = who.uid,
        .text = c->text,
    };
    conn_opened(c, &peer);
}

/* --- in --------------------------------------------------------------------------------------- */

/* Hands over the whole frames at the start of `in`; returns what they took. The rest is the begin
 * of a frame, or nobody wants it any more. */
static size_t take_frames(struct uv_conn *c, struct bytes in)
{
    struct net_uv *n = c->net;
    size_t used = 0;
    while (c->stage == STAGE_OPEN) {
        struct frame frame;
        size_t wanted;
        int err = frame_parse(bytes_of(in.p + used, in.n - used), &frame, &wanted);
        if (err == -ERR_BUSY) {
            c->in_wanted = wanted;
            break;
        }
        if (err < 0) {
            log_limited(LOG_WARN, "bad frame",
                        "drop %s=\"%s\" why=\"bytes that are no frame of ours\"",
                        c->dialed ? "to" : "from", c->text);
            conn_die(c, -ERR_INVALID);
            break;
        }
        used += wanted;
        n->active = true;
        if (n->handler)
            n->handler->on_frame(n->handler->ctx, &c->conn, frame.type, frame.id, frame.body);
    }
    return used;
}

/* In the usual case whole frames are used where they were read and nothing is kept. */
static void take_input(struct uv_conn *c, const uint8_t *p, size_t n)
{
    if (c->in.n == 0) {
        size_t used = take_frames(c, bytes_of(p, n));
        if (used < n && c->stage == STAGE_OPEN)
            queue_push(&c->in, p + used, n - used);
        return;
    }
    queue_push(&c->in, p, n);
    if (c->in.n >= c->in_wanted)
        queue_pop(&c->in, take_frames(c, bytes_of(c->in.p + c->in.head, c->in.n)));
}

void stream_read(struct uv_conn *c)
{
    size_t budget = READ_BUDGET;
    while (c->stage == STAGE_OPEN && budget > 0) {
        size_t want = MIN(budget, SCRATCH_BYTES);
        int64_t got = low_read(c, c->net->scratch, want);
        if (got == -ERR_BUSY) {
            note_want(c);
            return;
        }
        if (got <= 0) {
            refused(c, got == 0 ? -ERR_CLOSED : (int)got);
            return;
        }
        budget -= (size_t)got;
        take_input(c, c->net->scratch, (size_t)got);
        /* The rest, if there is any, is the socket's: the poll tells. */
        if (c->tls ? !tls_pending(c->tls) : (size_t)got < want)
            return;
    }
    if (c->stage == STAGE_OPEN && c->tls && !c->is_more) {
        c->is_more = true;
        g_queue_push_tail_link(&c->net->more, &c->more_link);
    }
}

/* --- out -------------------------------------------------------------------------------------- */

int stream_send(struct net_conn *conn, struct bytes frame)
{
    struct uv_conn *c = uv_conn_of(conn);
    if (c->stage != STAGE_OPEN)
        return -ERR_CLOSED;
    if (c->out.n + frame.n > CONN_OUT_BYTES_MAX)
        return -ERR_BUSY;
    queue_push(&c->out, frame.p, frame.n);
    if (!c->is_dirty && !c->want_write) {
        c->is_dirty = true;
        g_queue_push_tail_link(&c->net->dirty, &c->dirty_link);
    }
    return 0;
}

void stream_flush(struct uv_conn *c)
{
    c->want_write = false;
    while (c->out.n > 0) {
        int64_t put = low_write(c, c->out.p + c->out.head, c->out.n);
        if (put == -ERR_BUSY) {
            /* TLS 1.3 writes never wait for input. */
            c->want_write = true;
            return;
        }
        if (put < 0) {
            refused(c, (int)put);
            return;
        }
        queue_pop(&c->out, (size_t)put);
    }
}

void stream_goodbye(struct uv_conn *c)
{
    stream_flush(c);
    if (c->stage != STAGE_OPEN)
        return;
    if (c->tls)
        tls_shutdown(c->tls);
    (void)shutdown(c->fd, SHUT_WR);
    /* Not into scratch: the handler may be looking at a frame there. */
    uint8_t waste[KIB(8)];
    for (int i = 0; i < GOODBYE_READS; i++)
        if (recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT) <= 0)
            break;
}

void stream_finish(struct uv_conn *c)
{
    tls_conn_destroy(c->tls);
    queue_finish(&c->in);
    queue_finish(&c->out);
}
