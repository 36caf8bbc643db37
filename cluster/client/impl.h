/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impl.h - what the files of the client share. Not for others.
 *
 *   conf.c     reads the conf
 *   pool.c     which connection a call goes on
 *   mux.c      calls on one connection (mux.h)
 *   wire.c     one connection's bytes (wire.h)
 *   cancel.c   what ends a wait
 *   call.c     one request until it is answered: targets, retries, back-off
 *   leader.c   which group has a shard and who leads it, as the nodes say
 *   nearest.c  which node reads are asked of, where any will do
 *   session.c  the session, request numbers, the keeper thread
 *   client.c   the contract of client.h
 *
 * Locks: `lock` guards everything that is marked. A mux has one for its tickets and queues, a wire
 * one for its TLS. None is taken while another is held, and none is held while a thread waits for
 * the network; a wire's is held while it reads or writes what can be without waiting.
 */
#pragma once

#include <pthread.h>
#include "cluster/base/clock.h"
#include "cluster/client/client.h"
#include "cluster/client/mux.h"

#define WIRES_MAX                                                                                  \
    1 /* per node, before small calls share them; more were slower, also for 4 threads */
#define IDLE_WIRES_MAX 48   /* per node; beyond it a connection is closed after use */
#define CONNECT_MS     1000 /* TCP, TLS and hello of one node */
#define ATTEMPT_MS     3000 /* without an answer the request is sent again under the same name */
#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 200
#define WAIT_GRACE_MS  500   /* for the way of the answer that a wait's time is over */
#define UNASKED_MS     10000 /* for what has no deadline of the caller's: sessions */

/* A node that hangs keeps its connections open, so silence is all there is to see. After so long
 * the others are asked who leads, and again after each half of it. An election takes 0.6 to 1.2 s
 * and more than the first is rare under load. A wait is silent by nature: there the time is longer.
 */
#define PATIENCE_MS      500
#define WAIT_PATIENCE_MS 2000
#define HEARSAY_MS       250 /* for asking them all; one thread of the client and group at a time */

/* By what they do to others on the same connection. */
enum call_kind {
    CALL_SMALL, /* goes and comes in small frames, soon */
    CALL_WAIT,  /* is answered at any time */
    CALL_LARGE, /* the wire is busy with it for a while */
    CALL_KINDS
};
#define LARGE_FRAME KIB(64) /* a file's block is large; what inodes and names need is not */

struct conn; /* pool.c */
struct client_node {
    uint32_t id;
    char *address;
    GQueue idle;                    /* lock; struct conn; the last used is the first */
    GQueue busy[CALL_KINDS];        /* lock; struct conn: those that a call may join */
    unsigned n_opening[CALL_KINDS]; /* lock; threads that are opening one */
    GQueue waiting;                 /* lock; struct client_call: until one is open */
    uint64_t generation;            /* lock; a failure makes older connections useless */
    uint32_t read_us;               /* atomic, see nearest.c; 0: not measured yet */
    uint64_t avoid_ns;              /* atomic, see nearest.c: until then */
};

struct client_group {
    uint32_t gid;
    uint32_t leader;     /* atomic: node id, 0 unknown */
    uint64_t hearsay_ns; /* atomic: when the nodes were last asked who leads */
};

struct client {
    struct client_options options;
    char *name;
    uint64_t cluster;
    struct tls_ctx *tls; /* NULL: Unix sockets only */
    bool read_any;       /* reads may be asked of any node (nearest.c) */
    unsigned first_node; /* of those; each client's own */
    /* Those of the conf, then members that others told of. Only added to: who reads n_nodes may
     * read so many ids and addresses. */
    struct client_node nodes[NODES_MAX];
    unsigned n_nodes; /* atomic, see client_known; written under lock */
    uint16_t shards;  /* atomic; 0 until known */
    uint32_t
        gids[SHARDS_MAX]; /* atomic each, by shard: the group that has it, as far as is known */
    /* Those that were heard of; the first is group 0. Only added to, as nodes. */
    struct client_group groups[GROUPS_MAX + 1];
    unsigned n_groups;         /* atomic; written under lock */
    uint64_t next_request;     /* atomic: frame ids */
    uint64_t reads_any;        /* atomic: so many were asked of any node */
    struct client_stats stats; /* atomic each */

    pthread_mutex_t lock;
    pthread_cond_t changed;               /* the window moved, a session was opened or lost */
    unsigned n_waiting;                   /* lock; threads that wait for `changed` */
    pthread_cond_t keeper_work;           /* only the keeper waits for it */
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
    struct client *owner;
    struct enc frame; /* sent as it is, as often as needed */
    enum call_kind kind;
    size_t answer_max;    /* the most its answer can be */
    unsigned expect;      /* type of its answer; MSG_status may always come, 0: any */
    uint64_t client, seq; /* 0: not a write */
    bool timeout_is_answer;
    bool anywhere;  /* a read that is asked of the nearest node; not any more if that fails */
    uint16_t shard; /* that decides which group it goes to; LOCATE_GROUP_0: group 0 itself */
    struct client_group *group; /* that it was last aimed at */
    unsigned attempt_ms, patience_ms;

    unsigned node;  /* index of the node asked */
    unsigned tried; /* nodes tried since the last back-off */
    unsigned backoff_ms;
    bool stale_tried;  /* since the last back-off, see call_run */
    bool went_by_word; /* to a node that others said leads; once only */

    struct ticket ticket;         /* its id is the frame's */
    struct conn *conn;            /* not NULL: the ticket is there, the frame was sent or will be */
    uint64_t generation;          /* of the connection, or of the node when none could be had */
    bool reused;                  /* the connection was there before */
    uint32_t *opening;            /* lock; not NULL: sleeps on this word until one is open */
    int opened;                   /* lock; how that ended */
    uint64_t sent_ns, hearsay_ns; /* when it was sent; when to ask who leads */
    bool ever_sent;               /* it may have been executed */

    unsigned reply_type;
    struct buf *reply; /* not NULL: answered */
    struct txn *txn;
    GQueue *started_by; /* not NULL: in this list of its thread's, between start and wait */
    GList started_link;
};

/* conf.c */
NODISCARD int client_conf_load(struct client *c, const char *path, struct errmsg *msg);

/* pool.c: all of the call's node. */
/* call->conn becomes one that is open now. */
NODISCARD int pool_take(struct client *c, struct client_call *call, uint64_t deadline_ns,
                        struct client_cancel *cancel, struct errmsg *msg);
NODISCARD int pool_send(struct client_call *call, uint64_t deadline_ns,
                        struct client_cancel *cancel);      /* as mux_send */
void pool_give(struct client *c, struct client_call *call); /* after mux_recv gave the answer */
/* Gives the answer up, if the call is on a connection. silent: nor shall others wait there. */
void pool_quit(struct client *c, struct client_call *call, bool silent);
/* Breaks call->conn, if any, and gives up those that were opened before it or with it. */
void pool_failed(struct client *c, struct client_call *call);
void pool_finish(struct client *c);
int pool_find(struct client *c, uint32_t id); /* index or -1 */

/* call.c */
struct client_call *call_create(struct client *c, unsigned expect);
void call_destroy(struct client_call *call);
DEFINE_CLEANUP(struct client_call *, call_destroy)
void call_aim(struct client *c, struct client_call *call); /* at the node thought to lead now */
/* Its answer is: else it is taken to be large. */
static inline void call_is_small(struct client_call *call)
{
    call->kind = CALL_SMALL;
    call->answer_max = LARGE_FRAME;
}
/* Sends once; failure only means that call_run has more to do. */
void call_send(struct client *c, struct client_call *call, uint64_t deadline_ns,
               struct client_cancel *cancel);
/* Until answered with something final: 0 and call->reply, or -ERR_TIMEOUT, -ERR_CANCELED; then it
 * may be called again. */
NODISCARD int call_run(struct client *c, struct client_call *call, uint64_t deadline_ns,
                       struct client_cancel *cancel);
/* One answer from this very node, whatever it says. */
NODISCARD int call_ask(struct client *c, struct client_call *call, unsigned node,
                       uint64_t deadline_ns, struct client_cancel *cancel, struct errmsg *msg);
/* Status of an answer: 0 or an ERR_ number (positive). */
unsigned call_status(const struct client_call *call);

/* leader.c */
/* The group that the call goes to, as far as is known. */
struct client_group *leader_group(struct client *c, const struct client_call *call);
/* 0: no other node than the call's is known to lead its group; 1: *ret (an index) leads.
 * -ERR_CANCELED. */
NODISCARD int leader_elsewhere(struct client *c, struct client_call *call, uint64_t deadline_ns,
                               struct client_cancel *cancel, unsigned *ret);
/* The group refused the call's shard: asks the call's node where it is. -ERR_CANCELED; another
 * error: it did not tell. */
NODISCARD int leader_of_other_group(struct client *c, struct client_call *call,
                                    uint64_t deadline_ns, struct client_cancel *cancel);
/* The call's node said that the call's shard lies with this group. */
void leader_learn_group(struct client *c, struct client_call *call, uint32_t gid);
void leader_learn(struct client_group *g, uint32_t id); /* 0: unknown */
/* The index of a node that `node` says leads, asking it for the address if that is not known yet;
 * -1: it does not tell. */
int leader_named(struct client *c, uint32_t id, unsigned node, uint64_t deadline_ns,
                 struct client_cancel *cancel);
void leader_doubt(struct client_group *g, uint32_t id); /* unknown, if it was this one */

/* How many nodes are known by now. */
static inline unsigned client_known(const struct client *c)
{
    return __atomic_load_n(&c->n_nodes, __ATOMIC_ACQUIRE);
}

/* nearest.c */
int nearest_node(struct client *c); /* an index; -1: none is known to be good */
/* How long it took to answer a small read; nearest_failed: it did not, or would not. */
void nearest_answered(struct client *c, unsigned node, uint64_t took_ns);
void nearest_failed(struct client *c, unsigned node);

/* cancel.c */
bool cancel_fired(const struct client_cancel *cancel);
/* Sleeps in poll so that a cancel ends it. -ERR_CANCELED, -ERR_TIMEOUT past the deadline. */
NODISCARD int cancel_sleep(struct client_cancel *cancel, unsigned ms, uint64_t deadline_ns);

/* Sleeps unless *word is no longer `seen`, until nap_wake, its cancel or the deadline:
 * -ERR_CANCELED, -ERR_TIMEOUT. May end without cause: look again. With a cancel the word must be
 * its `events`, so that both end it. Who has news steps the word first. */
NODISCARD int nap(uint32_t *word, uint32_t seen, uint64_t deadline_ns,
                  const struct client_cancel *cancel);
void nap_step(uint32_t *word);
void nap_wake(uint32_t *word); /* may be gone already */

/* session.c */
/* Opens the session if none was yet. */
NODISCARD int session_need(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel);
/* Takes the next seq. -ERR_BUSY: no session was opened yet or the window is full; session_wait_seq
 * waits for a place in it. */
NODISCARD int session_take_seq(struct client *c, uint64_t *ret_client, uint64_t *ret_seq,
                               uint64_t *ret_acked_below);
NODISCARD int session_wait_seq(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel,
                               uint64_t *ret_client, uint64_t *ret_seq, uint64_t *ret_acked_below);
void session_release_seq(struct client *c, uint64_t client, uint64_t seq);
void session_lose(struct client *c, uint64_t client);
void session_abandon(struct client *c, struct client_call *call); /* takes the call */
void session_finish(struct client *c);

/* Absolute times; 0: never. */
static inline uint64_t deadline_in(uint64_t ms)
{
    return ms ? clock_mono_ns() + ms * 1000000u : 0;
}
static inline uint64_t deadline_first(uint64_t a, uint64_t b)
{
    return !a ? b : !b ? a : MIN(a, b);
}
static inline bool deadline_over(uint64_t deadline_ns)
{
    return deadline_ns && clock_mono_ns() >= deadline_ns;
}
