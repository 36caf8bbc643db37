/* SPDX-License-Identifier: Apache-2.0 */
/*
 * course.h - the words in which the tests of MIT 6.5840 are written, said to the simulated cluster.
 *
 * The course's words: cut and join (disconnect, connect), crash and restart, one_leader, no_leader,
 * start (submit at one server), one (submit and wait for agreement), n_applied. A script runs in
 * virtual time: nothing happens but within course_run and what calls it. A condition that does not
 * hold ends the process by sim_fail. All checkers of the simulator watch too.
 *
 * Stricter than the course: a crash is a power loss that takes what was not synced; each command
 * has a key of its own, spread over all shards; every command that was answered must be in every
 * replica's state in the end, and all replicas equal; every history must be linearizable, and a
 * search that is given up is a failure.
 */
#pragma once

#include "tests/sim/client.h"
#include "tests/sim/sim.h"

/* Within that time there is a leader again. Default time-outs are 600 .. 1200 ms. */
#define ELECTION SEC(2)
/* `one` gives up then; and waits for a command that a leader took. */
#define AGREE_WITHIN   SEC(10)
#define COMMAND_WITHIN SEC(2)

struct course {
    struct sim *s;
    struct sim_options options;
    struct profile profile; /* to be changed before course_begin */
    struct rng rng;         /* the script's own chance */
    unsigned n;
    bool cut[SIM_NODES + 1];
    GHashTable *applied; /* command -> index (boxed u64s) */
    GHashTable *acked;   /* commands that were answered OK */
    uint64_t last_command;
    unsigned slots;        /* commands share so many keys; 0: a key each */
    uint64_t agree_within; /* of `one`; 0: AGREE_WITHIN */
    unsigned turn;         /* whose client is next */
    /* A script's: a request has ended; reply NULL: nobody knows how. */
    void (*on_answer)(struct course *c, struct sim_client *k, struct client_request *r,
                      const struct model_reply *reply);
    /* A script's: between two steps of course_run, each millisecond. */
    void (*each)(struct course *c);
    void *user;
};

struct course_test {
    const char *name;
    void (*run)(struct course *c);
};
#define COURSE(test)                                                                               \
    {                                                                                              \
#test, test                                                                                \
    }

/* --- life: between begin and end the script --- */

void course_begin(struct course *c, unsigned nodes);
/* Until every two nodes are connected: the course's network knows no connections. */
void course_link(struct course *c);
/* The same, and until every client has a session and a connection to every node. */
void course_ready(struct course *c);
/* The log has not grown for a while: nothing comes between what a test submits. */
void course_quiet(struct course *c);
/* Everything heals; all becomes equal; what must hold at the end is checked. */
void course_end(struct course *c);
void course_run(struct course *c, uint64_t duration);

/* Loses a tenth of the messages each way and delays the rest by up to 26 ms. */
void course_unreliable(struct course *c, bool on);
/* Two thirds of the answers come 200 .. 2,200 ms late. */
void course_late_answers(struct course *c, bool on);

/* --- nodes --- */

void cut(struct course *c, unsigned node); /* from all other nodes, not from clients */
void join(struct course *c, unsigned node);
/* Two sides, bit i: node i is on one of them. Clients see both. */
void split(struct course *c, unsigned side);
void crash(struct course *c, unsigned node);
void restart(struct course *c, unsigned node); /* and joins it */
unsigned nth_after(const struct course *c, unsigned node, unsigned n);
bool up(const struct course *c, unsigned node);
/* False: it is down. */
bool status_of(const struct course *c, unsigned node, struct raft_status *ret);
uint64_t log_bytes(const struct course *c, unsigned node); /* files of its log */

unsigned one_leader(struct course *c); /* among those that are not cut off, within 5 s */
void no_leader(struct course *c);
raft_term one_term(struct course *c); /* they agree on it within 1 s */
uint64_t asks_sent(const struct course *c);

/* --- commands --- */

/* Submits a new command of so many bytes at one node, if that believes to lead; 0: it does not. */
uint64_t start(struct course *c, unsigned node, uint32_t bytes);
/* The same through a client that goes on until it is answered. */
uint64_t ask(struct course *c, uint32_t bytes);
/* How many nodes that are up have applied it; ret_index may be NULL. */
unsigned n_applied(const struct course *c, uint64_t command, uint64_t *ret_index);
bool acked(const struct course *c, uint64_t command);
bool wait_applied(struct course *c, uint64_t command, unsigned n, uint64_t within);
bool wait_acked(struct course *c, uint64_t command, uint64_t within);
/* Agreement of so many nodes on a new command; its index. Without `retry` the first leader must
 * make it. */
uint64_t one(struct course *c, unsigned n, bool retry);
uint64_t one_of_bytes(struct course *c, unsigned n, bool retry, uint32_t bytes);
/* How many commands a replica's state holds. */
unsigned commands_held(struct course *c, unsigned node);

/* --- transactions on an object of the model (clerk.c) --- */

struct answer {
    bool done, known;
    struct model_reply reply;
};

struct sim_client *client_of(const struct course *c, unsigned i);
struct client_request *txn_get(struct sim_client *k, unsigned object);
struct client_request *txn_put(struct sim_client *k, unsigned object, uint64_t value);
/* Only if the version is still the one that the client has read. */
struct client_request *txn_put_known(struct sim_client *k, unsigned object);
struct client_request *txn_add(struct sim_client *k, unsigned object);
/* Asks and waits for the answer. */
struct model_reply call(struct course *c, struct sim_client *k, struct client_request *r);
bool wait_answer(struct course *c, const struct answer *a, uint64_t within);
uint64_t number_in(const struct model_read *r);

/* The course's GenericTest: rounds of clients that read and write, with what may go wrong. */
struct generic {
    unsigned clients, nodes, keys;
    unsigned round_ms, rounds;
    bool unreliable, crash, partitions;
    uint64_t log_max; /* bytes of a node's log at the end of a round; 0: no limit */
};
void generic(struct course *c, const struct generic *g);

/* --- the parts --- */

extern const struct course_test tests_3a[], tests_3b[], tests_3c[], tests_3d[], tests_4a[],
    tests_4b[], tests_4c[]; /* each ends with a test without a name */
