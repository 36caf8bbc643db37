/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mux.h - one connection that several calls share (a multiplexer).
 *
 * Sending: a thread appends its frame to what is queued, or, if nothing is and nobody writes,
 * writes it itself. Who writes goes on with what others have queued meanwhile, so many frames leave
 * in one write, and those others go on at once. Receiving: of the threads that wait for answers one
 * is the reader. It polls the socket, hands each answer to its call, by the frame's id, and wakes
 * its thread; with its own answer in hand it passes the role on to another that waits. So no thread
 * exists for this, and a call that is alone sends, polls and reads itself.
 *
 * Life: made around an open wire, which it owns. Each call on it is a ticket in its owner's memory,
 * from mux_send until mux_recv gives the answer or mux_leave gives up. The mux is destroyed when no
 * ticket is left. An error of the wire is every ticket's error, at once and for good. Answers to
 * ids that no ticket has are dropped.
 *
 * Threads: any, a ticket one at a time. Nothing here waits while it holds a lock. What reads and
 * writes cost is bounded by who lets calls on (pool.c): at most MUX_CALLS_MAX tickets.
 */
#pragma once

#include "cluster/client/wire.h"

#define MUX_CALLS_MAX 64

struct mux;

struct ticket {
    uint64_t id; /* of the request's frame; chosen by the owner, unique on the mux */
    unsigned type;
    struct buf *reply; /* the answer's type and body, after mux_recv: take it */

    /* The mux's. */
    struct mux *mux; /* NULL: on none */
    struct ticket *next, *prev;
    uint32_t *asleep; /* the word that its thread sleeps on */
    bool woken;       /* that thread has an answer to fetch */
    uint32_t events;  /* such a word, for a thread without a cancel */
};

/* Takes the wire, also on failure. -ERR_... when out of descriptors. */
NODISCARD int mux_create(struct wire *wire, struct mux **ret);
void mux_destroy(struct mux *m);
/* Before it lies idle without a ticket. False: it is of no use any more. */
NODISCARD bool mux_rest(struct mux *m);

/* Puts the ticket on and sends its frame, which is borrowed for this call only. Waits only for room
 * in the socket, and only if no other thread writes; after -ERR_TIMEOUT and -ERR_CANCELED the rest
 * of the frame still goes out as long as others use the connection. After any error mux_leave. */
NODISCARD int mux_send(struct mux *m, struct ticket *t, struct bytes frame, uint64_t deadline_ns,
                       struct client_cancel *cancel);
/* 0: t->type and t->reply, and the ticket is off. -ERR_TIMEOUT, -ERR_CANCELED: may be called again.
 * Others: the connection is broken. */
NODISCARD int mux_recv(struct ticket *t, uint64_t deadline_ns, struct client_cancel *cancel);
/* Takes the ticket off, if it is on. True: its answer may still come, and is dropped then. */
bool mux_leave(struct ticket *t);
/* The peer has broken the rules: ends the connection for all. */
void mux_break(struct mux *m, int err);
