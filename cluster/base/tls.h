/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - mutual TLS 1.3 directly on a socket, for the node (non-blocking) and the client alike.
 *
 * A certificate says who its holder is; nothing else is asked for (no host names):
 *   O=raftfs-<16 hex digits of the cluster id>
 *   OU=node | client | admin                       the role, first of the OUs
 *   OU=uid-<n>                                     optional, client only: may speak for this uid
 * only OU=read-only                                   optional, client only: may not write
 *   CN=n<node id> for a node, else a name of 1..64 letters, digits, '-', '_', '.', '@'
 * A subject with anything else in it is refused: it could be a restriction we do not know. Both
 * ends must present a certificate that the one CA of the cluster signed, of their own cluster id;
 * only a node's certificate serves as a server (its extended key usage), so an admin or client
 * cannot pose as a node. That the node at the other end is the one wanted, the dialer asks
 * tls_peer.
 *
 * TLS 1.3 only, AES-128-GCM preferred; no tickets or resumption, compression, renegotiation.
 * SIGPIPE is never raised.
 *
 * A tls_ctx is immutable and may be shared by threads; a tls_conn belongs to one thread at a time,
 * borrows the fd (never closes it) and outlives its ctx if need be. To change certificates make a
 * new ctx for the connections to come.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/base/net.h"

#define TLS_NAME_MAX 64

struct tls_peer {
    uint64_t cluster;
    enum role role;
    uint32_t node; /* role node: its id, from 1; else 0 */
    int64_t uid;   /* -1, or the one uid this certificate may speak for */
    bool read_only;
    char name[TLS_NAME_MAX + 1]; /* the CN */
};

struct tls_ctx;
struct tls_conn;

/* Files are PEM. -ERR_CONFIG: a file is missing or wrong, the key may be read by group or others or
 * does not belong to the certificate, the certificate was not signed by the CA or has expired. */
NODISCARD int tls_ctx_create(const char *cert, const char *key, const char *ca, struct errmsg *msg,
                             struct tls_ctx **ret);
void tls_ctx_destroy(struct tls_ctx *ctx);
DEFINE_CLEANUP(struct tls_ctx *, tls_ctx_destroy)
/* Who our own certificate says we are. Lives as long as ctx. */
const struct tls_peer *tls_ctx_self(const struct tls_ctx *ctx);

/* fd is a connected stream socket, blocking or not (with a deadline: not, and poll tls_want). */
struct tls_conn *tls_conn_create(struct tls_ctx *ctx, int fd, bool server);
void tls_conn_destroy(struct tls_conn *c);
DEFINE_CLEANUP(struct tls_conn *, tls_conn_destroy)

/*
 * handshake: 0 when the connection may be used. read and write: bytes (> 0; a write may take fewer
 * than given; after -ERR_BUSY call again with the same bytes or more after them, at any address).
 *   0             tls_read only: the peer has closed in order
 *   -ERR_BUSY     wait for tls_want(c) and call the same function again
 *   -ERR_CLOSED   the connection broke
 *   -ERR_TLS      refused, here or by the peer: tls_reason(c) says why; close the connection
 * A server learns in the handshake that it refuses a client; the client learns it at its next read.
 * Data may wait inside: read until -ERR_BUSY before polling, or ask tls_pending. After an error but
 * -ERR_BUSY every call gives that error.
 */
NODISCARD int tls_handshake(struct tls_conn *c);
NODISCARD int64_t tls_read(struct tls_conn *c, void *p, size_t n);
NODISCARD int64_t tls_write(struct tls_conn *c, const void *p, size_t n);
short tls_want(const struct tls_conn *c); /* POLLIN or POLLOUT after -ERR_BUSY */
bool tls_pending(const struct tls_conn *c);
/* Tells the peer that no more comes, as far as the socket takes it; the fd is then to be closed. */
void tls_shutdown(struct tls_conn *c);

/* -ERR_TLS before the handshake is done. */
NODISCARD int tls_peer(const struct tls_conn *c, struct tls_peer *ret);
/* One line for the log, never NULL: why the handshake or the connection failed. */
const char *tls_reason(const struct tls_conn *c);
