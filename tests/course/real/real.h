/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.h - the words of the course's tests, said to real raftfsd processes.
 *
 * As in ../course.h: cut and join (disconnect, connect), crash and restart, one_leader, no_leader,
 * start (submit at one server), one (submit and wait for agreement). Here a node is a process in a
 * network namespace of its own with its data on a real disk, a crash is SIGKILL, and time is real.
 * A test is a process of its own, too, with its own switch, namespaces and directory, so several
 * run side by side; what it started dies with it.
 *
 * All that is known of a node comes from what it tells anybody (NODE_STATUS). Whoever asks for
 * statuses also checks: no two leaders in a term, no term, commit or applied index that goes back
 * while the process lives, no process that ends by itself.
 *
 * A condition that does not hold ends the test by real_fail. No thread but the main one uses these
 * words, except where said so.
 */
#pragma once

#include <pthread.h>
#include "cluster/base/rng.h"
#include "cluster/client/client.h"
#include "tests/chaos/record.h"

#define REAL_NODES 7

/* Default time-outs are 600 .. 1200 ms. */
#define ELECTION_MS 1200
/* Bounds, not expectations: the machine may be busy with other things. */
#define LEADER_WITHIN_MS  30000 /* there is a leader again */
#define COMMAND_WITHIN_MS 20000 /* a command that a leader took is answered */
#define AGREE_WITHIN_MS   60000 /* `one` gives up */
#define SETTLE_WITHIN_MS  90000 /* all replicas are equal at the end */
/* A search for linearizability that is given up is a failure. */
#define SEARCH_BUDGET 4000000

enum outcome { UNDER_WAY, DONE, REFUSED, UNKNOWN };

/* A put of a key of its own, or an increment of the counter, sent to one node and never again. */
struct command {
    struct real *c;
    uint64_t id; /* also its key, and its seq in the session */
    unsigned node;
    bool add;
    uint32_t bytes;
    enum outcome outcome; /* atomic */
    pthread_t thread;
};

struct real {
    const char *name, *bin, *dir; /* dir: of this test alone, absolute */
    bool longer;                  /* as many rounds as the course has */
    uint64_t seed;
    struct rng rng;
    unsigned n;
    struct net *net;
    int pid[REAL_NODES + 1]; /* 0: it is down */
    bool cut[REAL_NODES + 1];
    struct group_status last[REAL_NODES + 1]; /* of the process that runs; term 0: none yet */
    GHashTable *leaders;                      /* term -> node, as statuses said */
    struct client *watcher;                   /* asks for statuses */
    struct client *starter;                   /* its session is that of all commands */
    struct client *clerk;                     /* asks whoever leads, again and again */
    GPtrArray *commands;                      /* struct command */
    uint64_t n_increments;                    /* that were answered, by the clerk or as commands */
    struct record *record;                    /* judged at the end, if there is one */
};

struct real_test {
    const char *name;
    void (*run)(struct real *c);
};

NORETURN void real_fail(const struct real *c, const char *format, ...) PRINTF_LIKE(2, 3);
#define CHECK(c, condition, ...)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            real_fail((c), __VA_ARGS__);                                                           \
    } while (0)

/* --- life: between begin and end the test (nodes.c) --- */

/* So many nodes run, every two of them have met, one leads. */
void real_begin(struct real *c, unsigned nodes);
/* All nodes run and are joined; all replicas become equal (raftfsctl check); what was answered is
 * there; the history is linearizable. */
void real_end(struct real *c);
/* Time passes, and is watched. */
void pass(struct real *c, unsigned ms);

/* Time for `while (!CONDITION) tick(c, &d, "what is awaited")`. */
struct deadline {
    uint64_t at_ns;
};
struct deadline within(unsigned ms);
bool is_over(struct deadline d);
/* Lets some milliseconds pass; over is a failure. */
void tick(struct real *c, struct deadline d, const char *what);

/* --- the network (net.c); any thread --- */

struct net;
struct net *net_create(struct real *c, unsigned nodes);
void net_enter(const struct net *net, unsigned node); /* in a child, before exec */
/* The packets from a to b are lost; 0 is the switch, where the clients are. */
void net_block(struct net *net, unsigned a, unsigned b, bool on);
/* Bad weather: at random connections break and packets of some ways are lost for a moment. */
void net_weather(struct net *net, bool on);
/* Bytes that the nodes have sent so far. */
uint64_t net_bytes_sent(const struct net *net);

/* --- nodes (nodes.c) --- */

void cut(struct real *c, unsigned node); /* from all other nodes, not from clients */
void join(struct real *c, unsigned node);
/* Bit i: node i is on the other side. Clients see both. */
void split(struct real *c, unsigned side);
void crash(struct real *c, unsigned node);
void restart(struct real *c, unsigned node); /* and joins it */
void crash_all(struct real *c);              /* and starts them again */
void freeze(struct real *c, unsigned node, bool on);
static inline unsigned nth_after(const struct real *c, unsigned node, unsigned n)
{
    return (node - 1 + n) % c->n + 1;
}
/* False: it is down or does not answer. */
bool status_of(struct real *c, unsigned node, struct group_status *ret);
uint64_t counter_of(struct real *c, unsigned node, const char *name);
bool leads(struct real *c, unsigned node); /* or believes so */
unsigned one_leader(struct real *c);       /* among those that are not cut off */
void no_leader(struct real *c);
uint64_t one_term(struct real *c); /* they agree on it */

/* --- commands (command.c) --- */

/* Submits a new command at one node, if that believes to lead; NULL: it does not. */
struct command *start(struct real *c, unsigned node, uint32_t bytes);
struct command *start_add(struct real *c, unsigned node);
enum outcome outcome_of(const struct command *k);
/* Until it is no longer under way. */
enum outcome wait_command(struct command *k, unsigned ms);
/* Agreement of so many nodes on a new command; its index at the leader is at most what is returned.
 * Without `retry` the first leader must make it. */
uint64_t one(struct real *c, unsigned n, bool retry);
uint64_t one_of_bytes(struct real *c, unsigned n, bool retry, uint32_t bytes);
/* So many nodes have applied up to that index. */
void wait_applied(struct real *c, uint64_t index, unsigned n);
/* It must not be there (it was never committed). */
void check_absent(struct real *c, const struct command *k);
/* All that were answered, in what whoever leads now says. */
void check_commands(struct real *c);

/* The counter, through a client that goes on until it is answered. */
void increment(struct real *c, unsigned times);
uint64_t counter(struct real *c);
/* What one node answers, and nobody else. False: it does not. */
bool counter_at(struct real *c, unsigned node, uint64_t *ret);

struct client *client_open(const struct real *c, const char *name); /* any thread */

/* --- the course's GenericTest (generic.c) --- */

struct generic {
    unsigned clients, nodes;
    bool unreliable, crash, partitions;
    bool ballast; /* so much is written beside it that state stores are flushed, logs cut */
};
void generic(struct real *c, const struct generic *g);

/* --- the parts; each ends with a test without a name --- */

#define REAL(test)                                                                                 \
    {                                                                                              \
#test, test                                                                                \
    }
extern const struct real_test real_3a[], real_3b[], real_3c[], real_3d[], real_4a[], real_4b[],
    real_4c[];
