/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_impl.h - shared by net_uv.c (who is connected), net_dial.c (going out), net_listen.c (coming
 * in) and net_stream.c (bytes and frames).
 *
 * Stages of a connection, in order:
 *
 *     RESOLVE    dialed by name: a thread of libuv's asks the resolver
 *     CONNECT    dialed: connect(2) is under way
 *     HANDSHAKE  TLS
 *     OPEN       on_open was called
 *     DEAD       socket closed; on_close is still to be delivered: by net_uv_deliver, never from
 *                inside a call of the handler's
 *
 * All before OPEN are young and have a deadline. life_link is in the queue of the stage: young,
 * open or dead. A connection is freed when it has been delivered as dead, nowhere else: a pointer
 * to one stays good through any number of callbacks.
 *
 * libuv's handles live on the heap of their own, so nothing here has to wait for their closing.
 */
#pragma once

#include "cluster/base/addr.h"
#include "cluster/base/log.h"
#include "cluster/base/tls.h"
#include "cluster/node/net_uv.h"

/* One connection's share of a turn; a test makes it tiny. */
#ifndef READ_BUDGET
#define READ_BUDGET KIB(256)
#endif
/* The one buffer that all connections are read into. */
#define SCRATCH_BYTES KIB(64)
/* Addresses of one name that are tried in turn. */
#define DIAL_ADDRESSES_MAX 4
#define LISTENERS_MAX      4

enum stage { STAGE_RESOLVE, STAGE_CONNECT, STAGE_HANDSHAKE, STAGE_OPEN, STAGE_DEAD };

/* Bytes [head, head + n) of p are input not yet used or output not yet sent. */
struct queue {
    uint8_t *p;
    size_t head, n, cap;
};

struct dial_job;

struct uv_conn {
    struct net_conn conn; /* first */
    struct net_uv *net;
    enum stage stage;
    bool dialed, opened;
    bool want_write;      /* the socket is full, or TLS has to write before it can go on */
    bool is_dirty;        /* in net.dirty: has output that nobody tried to send yet */
    bool is_more;         /* in net.more: its READ_BUDGET ended before its input */
    int fd;               /* -1: none */
    struct tls_conn *tls; /* NULL: a Unix socket */
    uv_poll_t *poll;
    int events; /* polled for */
    int error;  /* DEAD: for on_close */
    uint64_t born_ms;
    struct queue in, out;
    size_t in_wanted; /* length at which `in` may hold a whole frame */
    struct dial_job *job;
    struct addr_sock socks[DIAL_ADDRESSES_MAX];
    int n_socks, next_sock;
    GList life_link, dirty_link, more_link;
    char text[ADDR_TEXT_MAX + 40]; /* address, and name once known */
};

struct listener {
    struct net_uv *net;
    int fd;
    uv_poll_t *poll;
    bool local, paused;
    char *path; /* of a Unix socket: removed at the end */
    char address[ADDR_TEXT_MAX];
};

struct net_uv {
    struct net net; /* first */
    uv_loop_t *loop;
    struct tls_ctx *tls;
    const struct net_handler *handler;
    struct listener listeners[LISTENERS_MAX];
    unsigned n_listeners;
    GQueue young, open, dead, dirty, more; /* of struct uv_conn */
    unsigned n_accepted;                   /* those alive that were not dialed */
    bool active;
    uint8_t *scratch;
};

static inline struct uv_conn *uv_conn_of(struct net_conn *c)
{
    return container_of(c, struct uv_conn, conn);
}

/* net_uv.c */
struct uv_conn *conn_create(struct net_uv *n, bool dialed, enum stage stage);
void conn_attach(struct uv_conn *c, int fd);    /* fd is the connection's now; starts polling */
void conn_detach(struct uv_conn *c);            /* closes it again */
void conn_ready(struct uv_conn *c, bool local); /* the socket is connected: TLS, or open */
void conn_opened(struct uv_conn *c, const struct net_peer *peer);
void conn_die(struct uv_conn *c, int err);
void conn_poll(struct uv_conn *c); /* tells libuv what is waited for now */

/* net_dial.c */
struct net_conn *dial_start(struct net *net, const char *address, void *user);
void dial_connected(struct uv_conn *c); /* CONNECT: the socket has become writable */
void dial_abandon(struct uv_conn *c);   /* the resolver's answer is no longer wanted */

/* net_listen.c */
void listener_resume(struct listener *l);
void listener_close(struct listener *l);

/* net_stream.c */
void stream_handshake(struct uv_conn *c);
void stream_read(struct uv_conn *c);
int stream_send(struct net_conn *conn, struct bytes frame);
void stream_flush(struct uv_conn *c);
void stream_goodbye(struct uv_conn *c); /* a last flush and close_notify */
void stream_finish(struct uv_conn *c);
