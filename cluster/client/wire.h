/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - one framed connection to a node, over TLS or a Unix socket.
 *
 * Only wire_open and wire_poll wait, up to an absolute deadline (clock_mono_ns; 0: none) or a
 * cancel; reads and writes do what can be done at once. Threads: one may write while another reads
 * and polls; each of the two halves belongs to one thread at a time. Errors: -ERR_CLOSED,
 * -ERR_TIMEOUT, -ERR_CANCELED, -ERR_TLS, -ERR_WRONG_CLUSTER, -ERR_UNREACHABLE, -ERR_FORMAT (another
 * protocol number), -ERR_INVALID (the peer does not speak our protocol at all). After one of them,
 * but for -ERR_TIMEOUT and -ERR_CANCELED, the connection is of no use.
 */
#pragma once

#include "cluster/base/tls.h"
#include "cluster/client/client.h"

struct wire;

/* Connects, handshakes and exchanges hellos. tls may be NULL for unix: addresses. `node` is the id
 * that must answer; purpose is told to it. msg gets the reason. */
NODISCARD int wire_open(const char *address, struct tls_ctx *tls, uint64_t cluster, uint32_t node,
                        enum hello_purpose purpose, uint64_t deadline_ns,
                        struct client_cancel *cancel, struct wire **ret, struct errmsg *msg);
void wire_close(struct wire *w);
DEFINE_CLEANUP(struct wire *, wire_close)

/* The number of bytes written, at least one. -ERR_BUSY: there is no room now; then the next call
 * gets the same bytes, or more after them, at any address. */
NODISCARD int64_t wire_write(struct wire *w, struct bytes b);
/* Takes in what has come, as far as the memory goes: the largest frame, or 64 KiB. -ERR_BUSY:
 * nothing has. */
NODISCARD int wire_read(struct wire *w);
/* The next frame of what was taken in; its body is borrowed until the next wire_read. -ERR_BUSY:
 * there is no whole one. */
NODISCARD int wire_next(struct wire *w, struct frame *ret);
/* Waits until one of `events`, POLLIN or POLLOUT or both, makes sense to try: those that do (an end
 * of the connection is both). 0: `other` is readable (-1: none). For POLLIN only while wire_next
 * has nothing. */
NODISCARD int wire_poll(struct wire *w, short events, int other, uint64_t deadline_ns,
                        struct client_cancel *cancel);
/* Before it lies idle: gives back the memory of large frames. False: the peer has sent more than it
 * was asked for, the connection is out of step. */
NODISCARD bool wire_rest(struct wire *w);
