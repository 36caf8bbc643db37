/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster_play.h - the leaders of several groups, the controller and the network between them, as
 * README.md of cluster/kv describes them and as simple as can be: what is not in a state machine
 * is forgotten when its leader dies. Private to cluster_random.
 */
#pragma once

#include "tests/unit/kv/cluster.h"
#include "tests/unit/kv/serial.h"

#define GROUPS  3
#define SHARDS  6 /* 1 .. 6 are used */
#define CLIENTS 4

enum context { FOR_NOBODY, FOR_CLIENT, FOR_VOTE, FOR_DECIDE, FOR_ACK };

struct message {
    unsigned to;
    enum kv_command cmd;
    struct bytes body;
    enum context context;
    unsigned client;
    uint64_t seq;
    struct txid id;
};

struct attempt {
    struct txid id;
    unsigned client;
    struct msg_txn t;
    part_map map; /* by shard: the group */
    bool involved[GROUPS];
    struct bytes votes[GROUPS];
    bool decided; /* DECIDE is on its way */
};

struct client {
    uint64_t id, seq;
    bool busy;
    struct msg_txn t;
    bool list;           /* what it does */
    unsigned a, b;       /* shards */
    uint64_t amount;     /* or element */
    struct bytes answer; /* the last one to this seq */
};

struct world {
    struct kvc *c;
    struct rng rng;
    struct client clients[CLIENTS];
    GArray *net;      /* struct message */
    GPtrArray *alive; /* struct attempt, of the arena; dies with its leader */
    uint64_t next_n[GROUPS];
    GHashTable *acks; /* "gid/term/n": a bit for each group that has logged the commit */
    uint64_t num;
    struct {
        uint64_t num;
        unsigned from, to;
    } moves[SHARDS + 1];
    int64_t expected[SHARDS + 1];
    struct serial *serial;
    uint64_t now, element, answered;
    bool peace;
};

uint64_t world_draw(struct world *w, uint64_t n); /* 0 .. n - 1 */
/* Into the network; the body is e's, which is freed. */
void world_post(struct world *w, struct message m, struct enc *e);
/* The group that a client believes to own the shard: mostly right. */
unsigned world_home(struct world *w, unsigned shard);
/* The client's request goes to the group of its lowest shard written, whose leader takes it on. */
void world_send_request(struct world *w, unsigned who);

struct attempt *attempt_find(struct world *w, const struct txid *id); /* NULL: dead, or never was */
void attempt_go_on(struct world *w, struct attempt *a);
void attempt_end(struct world *w, struct attempt *a, bool commit);
/* The groups that have logged the commit, and `more` of them now. */
unsigned decision_acks(struct world *w, const struct txid *id, unsigned more);

void leader_distribute(struct world *w, unsigned g); /* decisions: told, or ended */
void leader_ask(struct world *w, unsigned g);        /* what became of what is prepared here */
void leader_send_fence(struct world *w, unsigned g, unsigned to);
void controller_step(struct world *w);
