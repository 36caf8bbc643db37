/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_uv.h - net.h on real sockets: TLS 1.3 over TCP and plain Unix sockets, polled by libuv.
 *
 * What comes in is hostile until its certificate is verified: at most CONNECTIONS_MAX accepted
 * connections, the oldest one that has not finished its handshake makes room for a new one; a
 * handshake that is not done after HANDSHAKE_TIMEOUT_MS, a frame that is none, a certificate of
 * somebody else end the connection with one rate-limited line, and nothing else. Nobody is read for
 * more than READ_BUDGET bytes in one turn. A Unix socket has mode 0600 and serves its owner (and
 * root) only; its peers have ROLE_NONE (net.h).
 *
 * A turn of the host's loop: net_uv_deliver hands over what the sockets gave, node_round, then
 * net_uv_flush writes all frames of a connection at once. Frames also leave in net_uv_flush when
 * the host is about to block (a log sync): replication runs beside the leader's own disk write.
 *
 * Life: create, bind, set the handler, listen, run, destroy; the loop must then run once more, to
 * let go of the handles. One thread, the loop's. It logs (log.h): it is a part of the node's loop.
 */
#pragma once

#include <uv.h>
#include "cluster/base/err.h"
#include "cluster/base/net.h"

struct net_uv;
struct tls_ctx;

/* tls is borrowed; NULL: Unix sockets only. */
struct net_uv *net_uv_create(uv_loop_t *loop, struct tls_ctx *tls);
/* handler is borrowed. NULL: no more callbacks (the node is gone). */
void net_uv_set_handler(struct net_uv *n, const struct net_handler *handler);
struct net *net_uv_net(struct net_uv *n);

/* "host:port" or "unix:/path", any of up to 4. A path that nobody listens on is taken over. Nobody
 * can connect before net_uv_listen. */
NODISCARD int net_uv_bind(struct net_uv *n, const char *address, struct errmsg *msg);
NODISCARD int net_uv_listen(struct net_uv *n, struct errmsg *msg);

/* Callbacks for closed connections and for input that was left over by READ_BUDGET. Input from the
 * sockets themselves is delivered as the loop polls. */
void net_uv_deliver(struct net_uv *n);
/* A callback was called since the last time this was asked. */
bool net_uv_was_active(struct net_uv *n);
void net_uv_flush(struct net_uv *n);
/* net_uv_deliver would do something: the loop must not sleep. */
bool net_uv_has_work(const struct net_uv *n);
/* Deadlines; to be called a few times a second. */
void net_uv_tick(struct net_uv *n);

/* Sends what it can without waiting, then closes everything, without callbacks. */
void net_uv_destroy(struct net_uv *n);
