/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one connection: hello, identity, and answers to it.
 *
 * Life: made when a peer is dialed or a connection is accepted; greeted once the other side's hello
 * is accepted; closing once conn_close was called; gone in the net's on_close. Before it is greeted
 * no frame but hello is looked at; while closing, none. Others keep its token, which is never
 * reused, and find it with conn_find.
 *
 * Who may speak: the certificate's role (net_peer). hello.node != 0 makes it a member's link, which
 * a certificate must confirm; raft messages and snapshots come over such links only. A Unix socket
 * has no certificate (ROLE_NONE): its owner is trusted, as a member if hello names one, else as an
 * administrator.
 */
#pragma once

#include "cluster/node/impl.h"

struct conn {
    struct node *node;
    struct net_conn *net; /* NULL until dial has returned */
    uint64_t token;
    enum role role;
    uint32_t cert_node; /* ROLE_NODE: the node its certificate names */
    bool read_only;
    char text[120]; /* for messages */
    bool dialed, greeted, closing;
    bool self;           /* no net: what is sent comes to asks_to_self */
    uint8_t purpose;     /* enum hello_purpose */
    bool read_anywhere;  /* a client that asks any node for its reads */
    struct peer *peer;   /* the member at the other end (dialed: whom we expect); NULL: a client */
    uint64_t opened_at;  /* tick */
    unsigned n_requests; /* waiting here for an answer */
    GList *link;         /* in node.conn_list */
};

void conns_init(struct node *n);   /* also fills node.handler */
void conns_finish(struct node *n); /* frees all, without a word to the net */
void conns_tick(struct node *n);   /* ends those that never said hello */

/* NULL: the net could not even try. on_close comes later if it fails. */
struct conn *conn_dial(struct node *n, struct peer *p, enum hello_purpose purpose);
struct conn *conn_find(struct node *n, uint64_t token); /* NULL: gone, closing or not greeted */

/* The node's connection with itself, as of a member (ask.h). */
struct conn *conn_to_self(struct node *n);

/* -ERR_BUSY: over the queue's bound, not sent. -ERR_CLOSED. */
int conn_send(struct conn *c, struct bytes frame);
/* An answer to a client whose queue is full ends the connection: it would wait for ever; a member
 * asks again. Nothing
 * happens if it is gone. */
void conn_answer(struct node *n, uint64_t token, struct bytes frame);
void conn_answer_status(struct node *n, uint64_t token, uint64_t id, int err, uint32_t leader,
                        const char *detail);
/* The same; leader leads group gid, as far as is known here. */
void conn_answer_leader(struct node *n, uint64_t token, uint64_t id, int err, uint32_t gid,
                        uint32_t leader, const char *detail);
void conn_close(struct conn *c, enum log_level level, const char *why);

#define CONN_ANSWER(n, token, name, id, m)                                                         \
    do {                                                                                           \
        enc_reset(&(n)->out);                                                                      \
        FRAME(&(n)->out, name, (id), (m));                                                         \
        conn_answer((n), (token), enc_view(&(n)->out));                                            \
    } while (0)
