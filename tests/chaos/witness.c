/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witness - writes and reads a real cluster with many clients while somebody breaks it, and judges
 * the history: linearizable or not. What was acknowledged and is lost, shown early, shown late or
 * done twice makes it not so. A history that cannot be judged in time is a failure.
 *
 *   witness CONF SEED CLIENTS PROGRESS
 *
 * Runs until SIGTERM, then reads everything once more and judges. PROGRESS is a file that holds the
 * number of operations answered so far; who drives the faults waits for it to grow. Prints one
 * summary line, on a violation the operations around it. Exit status 0: linearizable.
 *
 * Beside the clients, which ask whoever leads, each node of CONF has a reader that asks this node
 * and no other: one that believes to lead after the others went on must not answer it.
 *
 * Objects are those of the simulator's checker (tests/sim/model.h): registers, a counter, and four
 * accounts in two shards between which money moves.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/rng.h"
#include "tests/chaos/record.h"

#define REGISTERS     3
#define BANK          REGISTERS
#define OBJECTS       (REGISTERS + 1)
#define START_WITH    1000
#define CLIENTS_MAX   32
#define READERS_MAX   9
#define ERROR_MS      200   /* after an error, say a full disk's */
#define PAUSE_MS_MAX  20    /* between a client's operations: the judge's work grows with them */
#define READ_PAUSE_MS 40    /* of a reader: short beside the time for which a leader believes */
#define OP_MS         60000 /* without an answer by then an operation's end is unknown */
#define READ_MS       5000
#define SEARCH_BUDGET 4000000 /* steps of the judge per object */

struct witness {
    struct record record;
    uint64_t last_value; /* atomic: values that are put are unique */
    uint64_t answered;   /* atomic */
    uint64_t unknown;    /* atomic */
    uint64_t refused;    /* atomic */
    uint64_t read_there; /* atomic; answers to readers of one node */
    uint64_t sessions_lost;
    volatile sig_atomic_t stop;
};

struct actor {
    struct witness *w;
    struct client *client;
    struct rng rng;
    pthread_t thread;
    uint64_t known[OBJECTS]; /* versions seen of cell 0 */
    uint32_t node;           /* of a reader: whom it asks */
};

static struct witness the;

static void on_term(int number)
{
    the.stop = 1;
}

/* --- what is asked ---------------------------------------------------------------------------- */

static uint64_t unique(struct witness *w)
{
    return __atomic_add_fetch(&w->last_value, 1, __ATOMIC_RELAXED);
}

static void register_txn(struct actor *a, unsigned object, struct model_txn *t)
{
    uint64_t what = rng_below(&a->rng, 10);
    if (what < 4) {
        record_get(t, 0);
    } else if (what < 7) {
        record_write(t, KV_PUT, 0, unique(a->w));
    } else if (what < 9) { /* compare and swap, which tells what it found */
        record_version(t, 0, a->known[object]);
        record_get(t, 0);
        record_write(t, KV_PUT, 0, unique(a->w));
    } else {
        record_write(t, KV_ADD64, 0, 1);
    }
}

static void bank_txn(struct actor *a, struct model_txn *t)
{
    uint64_t what = rng_below(&a->rng, 8);
    if (a->known[BANK] == 0) { /* open the accounts, or see them open */
        record_get(t, 0);
        for (unsigned i = 0; i < MODEL_CELLS; i++) {
            record_absent(t, i);
            record_write(t, KV_PUT, i, START_WITH);
        }
    } else if (what < 3) {
        unsigned first = what == 0 ? 2 : 0;
        record_get(t, first);
        record_get(t, first + 1);
    } else {
        unsigned from = (unsigned)rng_below(&a->rng, MODEL_CELLS);
        unsigned to = (from + 1 + (unsigned)rng_below(&a->rng, MODEL_CELLS - 1)) % MODEL_CELLS;
        uint64_t amount = 1 + rng_below(&a->rng, 50);
        record_get(t, from);
        record_get(t, to);
        record_write(t, KV_ADD64, from, 0 - amount);
        record_write(t, KV_ADD64, to, amount);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static void lost_session(struct actor *a)
{
    __atomic_add_fetch(&a->w->sessions_lost, 1, __ATOMIC_RELAXED);
    while (client_new_session(a->client) < 0 && !a->w->stop)
        continue; /* it waits by itself */
}

/* What it saw of the versions, for the next compare. */
static void learn(struct actor *a, unsigned object, const struct model_txn *m,
                  const struct model_reply *r)
{
    for (unsigned i = 0; i < m->n_reads; i++)
        if (m->reads[i].cell == 0)
            a->known[object] = r->reads[i].version;
    if (object != BANK && r->versions[0])
        a->known[object] = r->versions[0];
}

/* False: no answer. */
static bool perform(struct actor *a, unsigned object, const struct model_txn *m)
{
    struct witness *w = a->w;
    struct model_reply reply;
    int err;
    enum recorded how = record_run(&w->record, a->client, object, m, OP_MS, &reply, &err);
    uint64_t *counter = how == RECORD_ANSWERED  ? &w->answered
                        : how == RECORD_REFUSED ? &w->refused
                                                : &w->unknown;
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
    if (how == RECORD_ANSWERED)
        learn(a, object, m, &reply);
    if (err == -ERR_NO_SESSION)
        lost_session(a);
    return how == RECORD_ANSWERED;
}

static void *act(void *arg)
{
    struct actor *a = arg;
    struct pollfd none = {.fd = -1};
    while (!a->w->stop) {
        unsigned object = (unsigned)rng_below(&a->rng, OBJECTS);
        struct model_txn m = {0};
        if (object == BANK)
            bank_txn(a, &m);
        else
            register_txn(a, object, &m);
        bool answered = perform(a, object, &m);
        (void)poll(&none, 1, answered ? (int)rng_below(&a->rng, PAUSE_MS_MAX) : ERROR_MS);
    }
    return NULL;
}

/* Reads at one node. What is asked while that one hangs is answered when it goes on. */
static void *read_there(void *arg)
{
    struct actor *a = arg;
    struct pollfd none = {.fd = -1};
    while (!a->w->stop) {
        unsigned object = (unsigned)rng_below(&a->rng, OBJECTS);
        struct model_txn m = {0};
        struct model_reply reply;
        record_get(&m, 0);
        if (object == BANK)
            record_get(&m, 1);
        if (record_read_at(&a->w->record, a->client, a->node, object, &m, READ_MS, &reply) ==
            RECORD_ANSWERED)
            __atomic_add_fetch(&a->w->read_there, 1, __ATOMIC_RELAXED);
        (void)poll(&none, 1, (int)rng_below(&a->rng, READ_PAUSE_MS));
    }
    return NULL;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void read_all(struct actor *a)
{
    for (unsigned object = 0; object < OBJECTS; object++) {
        for (unsigned first = 0; first < (object == BANK ? MODEL_CELLS : 1); first += 2) {
            struct model_txn m = {0};
            record_get(&m, first);
            if (object == BANK)
                record_get(&m, first + 1);
            (void)perform(a, object, &m);
        }
    }
}

static void tell_progress(struct witness *w, int fd)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%-20" G_GUINT64_FORMAT "\n",
                     __atomic_load_n(&w->answered, __ATOMIC_RELAXED));
    if (pwrite(fd, text, (size_t)n, 0) != n)
        perror("witness: progress");
}

static int open_actor(struct actor *a, const char *conf, uint64_t seed)
{
    struct client_options o = {.conf = conf, .name = "witness"};
    struct errmsg msg = {""};
    if (client_create(&o, &a->client, &msg) < 0 || client_probe(a->client, 20000, &msg) < 0) {
        fprintf(stderr, "witness: %s\n", msg.text);
        return -1;
    }
    a->w = &the;
    rng_seed(&a->rng, seed);
    return 0;
}

/* The clients, then a reader for each node. *ret_readers: how many. */
static int open_actors(struct actor *actors, unsigned n, const char *conf, uint64_t seed,
                       unsigned *ret_readers)
{
    uint32_t ids[READERS_MAX];
    for (unsigned i = 0; i < n; i++)
        if (open_actor(&actors[i], conf, seed * 1000 + i) < 0)
            return -1;
    unsigned readers = client_nodes(actors[0].client, ids, READERS_MAX);
    for (unsigned i = 0; i < readers; i++) {
        if (open_actor(&actors[n + i], conf, seed * 1000 + n + i) < 0)
            return -1;
        actors[n + i].node = ids[i];
    }
    *ret_readers = readers;
    return 0;
}

/* Reads all and judges. True: it is well. */
static bool finish(struct witness *w, struct actor *a)
{
    uint64_t before = w->answered;
    read_all(a);
    if (w->answered - before == REGISTERS + 2)
        return record_judge(&w->record, SEARCH_BUDGET);
    printf("the last reads were not answered\n");
    return false;
}

int main(int argc, char **argv)
{
    static struct actor actors[CLIENTS_MAX + READERS_MAX];
    struct pollfd none = {.fd = -1};
    unsigned readers;
    if (argc != 5) {
        fprintf(stderr, "usage: witness CONF SEED CLIENTS PROGRESS\n");
        return 2;
    }
    unsigned n = (unsigned)CLAMP(atoi(argv[3]), 1, CLIENTS_MAX);
    int fd = open(argv[4], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        perror(argv[4]);
        return 2;
    }
    record_init(&the.record, OBJECTS);
    signal(SIGTERM, on_term);
    if (open_actors(actors, n, argv[1], strtoull(argv[2], NULL, 0), &readers) < 0)
        return 2;
    for (unsigned i = 0; i < n + readers; i++)
        (void)pthread_create(&actors[i].thread, NULL, actors[i].node ? read_there : act,
                             &actors[i]);
    while (!the.stop) {
        tell_progress(&the, fd);
        (void)poll(&none, 1, 50);
    }
    for (unsigned i = 0; i < n + readers; i++)
        (void)pthread_join(actors[i].thread, NULL);
    bool good = finish(&the, &actors[0]);
    printf("witness: %s, %u clients, %" G_GUINT64_FORMAT " answered, %" G_GUINT64_FORMAT
           " refused, %" G_GUINT64_FORMAT " unknown, %" G_GUINT64_FORMAT
           " reads at one node answered, %" G_GUINT64_FORMAT " sessions lost\n",
           good ? "linearizable" : "NOT LINEARIZABLE", n, the.answered, the.refused, the.unknown,
           the.read_there, the.sessions_lost);
    for (unsigned i = 0; i < n + readers; i++)
        client_destroy(actors[i].client);
    record_finish(&the.record);
    return good ? 0 : 1;
}
