/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - one blocking framed connection to a node, over TLS or a Unix socket.
 *
 * The socket is non-blocking underneath: every wait is one poll on it and on the caller's cancel,
 * up to an absolute deadline (clock_mono_ns; 0: none). After an error the connection is of no use,
 * except that wire_recv may be called again after -ERR_TIMEOUT and -ERR_CANCELED.
 * One thread at a time. Errors: -ERR_CLOSED, -ERR_TIMEOUT, -ERR_CANCELED, -ERR_TLS,
 * -ERR_WRONG_CLUSTER, -ERR_UNREACHABLE, -ERR_FORMAT (another protocol number), -ERR_INVALID (the
 * peer does not speak our protocol at all).
 */
#pragma once

#include "cluster/base/tls.h"
#include "cluster/client/client.h"

struct wire;

/* Connects, handshakes and exchanges hellos. tls may be NULL for unix: addresses. `node` is the id
 * that must answer. msg gets the reason. */
NODISCARD int wire_open(const char *address, struct tls_ctx *tls, uint64_t cluster, uint32_t node,
                        uint64_t deadline_ns, struct client_cancel *cancel, struct wire **ret,
                        struct errmsg *msg);
void wire_close(struct wire *w);
DEFINE_CLEANUP(struct wire *, wire_close)

NODISCARD int wire_send(struct wire *w, struct bytes frame, uint64_t deadline_ns,
                        struct client_cancel *cancel);
/* The next frame; its body is borrowed until the next call. */
NODISCARD int wire_recv(struct wire *w, struct frame *ret, uint64_t deadline_ns,
                        struct client_cancel *cancel);
/* Before it lies idle: gives back the memory of large frames. False: the peer has sent more than it
 * was asked for, the connection is out of step. */
NODISCARD bool wire_rest(struct wire *w);
