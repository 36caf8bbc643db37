/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - framed connections behind an interface: TLS over TCP or a Unix socket in the daemon, a
 * faulty network in the simulator.
 *
 * The implementation does sockets, TLS, framing and hellos' transport identity; the node sees whole
 * frames (msg.h) from a peer whose certificate was verified. A frame that was sent may be lost
 * together with the connection; on one connection frames keep their order. send copies or takes what
 * it needs before it returns and never blocks: over the queue's bound it returns -ERR_BUSY and the
 * frame is not sent. Callbacks run on the node's thread, never from inside a call to send.
 *
 * Ownership: a conn belongs to the net; the handler may use it from on_open until on_close returns.
 */
#pragma once

#include "cluster/base/bytes.h"

enum role { ROLE_NONE, ROLE_NODE, ROLE_CLIENT, ROLE_ADMIN };

/* Who is at the other end: from its certificate, or (Unix socket, mode 0600) its owner's trust:
 * there role is the one its hello claims. */
struct net_peer {
    enum role role;
    uint32_t node; /* for ROLE_NODE */
    bool read_only;
    int64_t uid; /* -1, or the one uid this certificate may speak for */
    const char *text; /* address and name, for messages */
};

struct net_conn;

struct net_handler {
    void (*on_open)(void *ctx, struct net_conn *c, const struct net_peer *peer, bool dialed);
    /* body is borrowed for the call; frames are valid (magic, checksums, bounds). */
    void (*on_frame)(void *ctx, struct net_conn *c, unsigned type, uint64_t id, struct bytes body);
    void (*on_close)(void *ctx, struct net_conn *c, int err);
    void *ctx;
};

struct net;
struct net_ops {
    /* Connects to a node; on_open comes later, or on_close if it fails. user is net_conn's. */
    struct net_conn *(*dial)(struct net *n, const char *address, void *user);
    /* One encoded frame (header and body). */
    int (*send)(struct net_conn *c, struct bytes frame);
    size_t (*queued)(const struct net_conn *c);
    void (*close)(struct net_conn *c); /* on_close follows later with -ERR_CANCELED */
};
struct net {
    const struct net_ops *ops;
};
struct net_conn {
    struct net *net;
    void *user; /* the handler's */
};
