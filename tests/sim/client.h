/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - a simulated client: real frames, a session, several requests outstanding, retries
 * under the same (client, seq) at other nodes, sometimes while an earlier attempt is still on its
 * way. All that it asks and hears goes into the run's history.
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/base/net.h"
#include "tests/sim/linear.h"
#include "tests/sim/sim.h"

#define CLIENT_KNOWN   128 /* objects */
#define NO_OBJECT      UINT32_MAX
#define ANSWERS_KEPT   64
#define CLIENT_WAIT_MS 2000

enum request_kind { ASK_TXN, ASK_WAIT, ASK_OPEN, ASK_CLOSE, ASK_KEEPALIVE };

struct client_request {
    enum request_kind kind;
    uint64_t number; /* within the client; frame id = number << 8 | attempt */
    uint64_t seq;    /* of a write, else 0 */
    uint64_t session, nonce;
    uint64_t called_at;
    struct model_txn txn;
    unsigned object; /* NO_OBJECT: no history */
    struct hist_op *hist;
    uint32_t ballast; /* bytes of a large value beside the model's world */
    /* A script's: puts this number, followed by zeroes up to `ballast` bytes, under `slot`. */
    uint64_t command, slot;
    bool once;       /* asked at one node, never again: an end without answer is one */
    unsigned target; /* the node; 0: the client's */
    bool anywhere;   /* a read that any node may serve */
    unsigned near;   /* the one it is asked of this time; 0: to be drawn */
    void *user;
    uint64_t wait_version;

    unsigned attempts;
    bool sent;
    unsigned sent_to;
    uint64_t sent_at, retry_at, patience;
};

/* What was answered to a write that is done: every later answer must be the same. */
struct client_answer {
    uint64_t number, hash;
};

struct client_link {
    struct net_conn *conn;
    bool greeted;
};

struct sim_client {
    struct net_user end;
    struct sim *sim;
    unsigned id;
    bool dead;
    uint64_t asleep_until;
    uint64_t session, heard_at; /* a lower bound of when a leader last heard it */
    struct client_link links[SIM_NODES + 1];
    unsigned target;
    unsigned leads[SIM_SHARDS]; /* who is said to lead its group; 0: ask the target */
    bool anywhere;              /* it asks any node for its reads */
    bool stubborn;              /* waits where it is until it is told to go */
    GPtrArray *requests;        /* outstanding */
    uint64_t last_number, last_seq;
    unsigned ops_left;
    uint64_t next_op_at, next_keepalive_at;
    struct client_answer answers[ANSWERS_KEPT];
    /* What it read last, for compares. */
    struct model_read known[CLIENT_KNOWN][MODEL_CELLS];
    /* A script's: a request of client_ask has ended. NULL: nobody knows how. It may ask again. */
    void (*on_done)(struct sim_client *k, struct client_request *r,
                    const struct model_reply *reply);
    void *user;
};

void clients_init(struct sim *s);
void clients_finish(struct sim *s);
/* A request that a script has made goes out at once. The client has a session. */
void client_ask(struct sim_client *k, struct client_request *r);
void client_dial(struct sim_client *k, unsigned node); /* nothing if it has a link */
void client_die(struct sim_client *k, uint64_t for_how_long);
/* It does nothing for a while, maybe longer than its session lives, and then goes on. */
void client_sleep(struct sim_client *k, uint64_t for_how_long);
bool clients_idle(struct sim *s);
void clients_say_busy(struct sim *s); /* a line for each request that is not answered */
void clients_last_ops(struct sim *s); /* no more than a few further ones */
void clients_audit(struct sim *s);    /* one of them reads everything */

/* request.c: sends one attempt; takes an answer. */
struct client_request *request_new(struct sim_client *k, enum request_kind kind);
void request_free(struct client_request *r);
void request_send(struct sim_client *k, struct client_request *r, unsigned node);
/* The shard that decides where it goes, as at the nodes; SIM_SHARDS: it is of sessions. */
unsigned request_shard(const struct client_request *r);
/* Where a command lies, as a client names it. */
struct bytes request_command_key(struct arena *a, uint64_t slot);
/* The answer of a transaction as the model has it; the run fails if it makes no sense. */
void request_reply(struct sim_client *k, const struct client_request *r,
                   const struct msg_txn_reply *m, struct model_reply *ret);

/* workload.c */
unsigned workload_objects(void);
struct client_request *workload_next(struct sim_client *k);
struct client_request *workload_read(struct sim_client *k, unsigned object, unsigned shard);
