/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impl.h - what the files of the client share. Not for others.
 *
 *   conf.c     reads the conf
 *   pool.c     idle connections per node, who leads
 *   call.c     one request until it is answered: targets, retries, back-off
 *   session.c  the session, request numbers, the keeper thread
 *   client.c   the contract of client.h
 *
 * Lock: `lock` guards everything that is marked; it is never held while a thread waits for the
 * network.
 */
#pragma once

#include <pthread.h>
#include "cluster/base/clock.h"
#include "cluster/client/client.h"
#include "cluster/client/wire.h"

#define IDLE_WIRES_MAX 48   /* per node; beyond it a connection is closed after use */
#define CONNECT_MS     1000 /* TCP, TLS and hello of one node */
#define ATTEMPT_MS     3000 /* without an answer another node is asked under the same name */
#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 200

struct client_node {
    uint32_t id;
    char *address;
    struct wire *idle[IDLE_WIRES_MAX]; /* lock; the last used is the first taken */
    unsigned n_idle;                   /* lock */
    uint64_t generation;               /* lock; a failure makes older connections useless */
};

struct client {
    struct client_options options;
    char *name;
    uint64_t cluster;
    struct tls_ctx *tls; /* NULL: Unix sockets only */
    struct client_node nodes[NODES_MAX];
    unsigned n_nodes;
    uint16_t shards;           /* atomic; 0 until known */
    uint32_t leader;           /* atomic: node id that leads group 0, 0 unknown */
    uint64_t next_request;     /* atomic: frame ids */
    struct client_stats stats; /* atomic each */

    pthread_mutex_t lock;
    pthread_cond_t changed;               /* the window moved, the keeper has work, stop */
    uint64_t session;                     /* lock; 0 none */
    bool session_lost, session_opening;   /* lock */
    uint64_t next_seq;                    /* lock */
    uint64_t outstanding[SESSION_WINDOW]; /* lock; ascending */
    unsigned n_outstanding;               /* lock */
    GQueue abandoned;              /* lock; struct client_call: cancelled, not yet answered */
    bool keeper_running, stopping; /* lock */
    pthread_t keeper;
    struct client_cancel keeper_cancel;
};

/* One request, from its encoding to its answer. */
struct client_call {
    struct enc frame;     /* sent as it is, as often as needed */
    uint64_t request;     /* its frame id */
    uint64_t client, seq; /* 0: not a write */
    unsigned attempt_ms;
    unsigned node;  /* index of the node asked */
    unsigned tried; /* nodes tried since the last back-off */
    unsigned backoff_ms;
    struct wire *wire;   /* NULL: not sent */
    uint64_t generation; /* of the node when the wire was taken */
    uint64_t sent_ns;
    bool ever_sent;
    unsigned reply_type;
    struct buf *reply; /* not NULL: answered */
    struct txn *txn;
};

/* conf.c */
NODISCARD int client_conf_load(struct client *c, const char *path, struct errmsg *msg);

/* pool.c */
NODISCARD int pool_take(struct client *c, unsigned node, uint64_t deadline_ns,
                        struct client_cancel *cancel, struct wire **ret, uint64_t *ret_generation,
                        struct errmsg *msg);
void pool_give(struct client *c, unsigned node, struct wire *w, uint64_t generation);
void pool_failed(struct client *c, unsigned node, uint64_t generation); /* drops its idle wires */
void pool_finish(struct client *c);
int pool_find(struct client *c, uint32_t id); /* index or -1 */

/* call.c */
struct client_call *call_create(struct client *c, unsigned attempt_ms);
void call_destroy(struct client_call *call);
DEFINE_CLEANUP(struct client_call *, call_destroy)
/* Sends once to the node thought to lead; failure only means that call_run has more to do. */
void call_send(struct client *c, struct client_call *call, uint64_t deadline_ns,
               struct client_cancel *cancel);
/* Until answered with something final: 0 and call->reply, or -ERR_TIMEOUT, -ERR_CANCELED. */
NODISCARD int call_run(struct client *c, struct client_call *call, uint64_t deadline_ns,
                       struct client_cancel *cancel, struct errmsg *msg);
/* Status of an answer: 0 or an ERR_ number (positive). */
unsigned call_status(const struct client_call *call, struct errmsg *msg);

/* session.c */
NODISCARD int session_need(struct client *c, struct client_cancel *cancel);
/* Takes the next seq; block false: -ERR_BUSY when the window is full. */
NODISCARD int session_take_seq(struct client *c, bool block, uint64_t deadline_ns,
                               struct client_cancel *cancel, uint64_t *ret_client,
                               uint64_t *ret_seq, uint64_t *ret_acked_below);
void session_release_seq(struct client *c, uint64_t client, uint64_t seq);
void session_lose(struct client *c, uint64_t client);
void session_abandon(struct client *c, struct client_call *call); /* takes the call */
void session_finish(struct client *c);

static inline uint64_t deadline_in(unsigned ms)
{
    return ms ? clock_mono_ns() + (uint64_t)ms * 1000000u : 0;
}
bool cancel_fired(struct client_cancel *cancel);
/* Sleeps in poll so that a cancel ends it. -ERR_CANCELED, -ERR_TIMEOUT past the deadline. */
NODISCARD int cancel_sleep(struct client_cancel *cancel, unsigned ms, uint64_t deadline_ns);
