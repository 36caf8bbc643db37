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
#include "cluster/client/client.h"
#include "tests/sim/linear.h"

#define REGISTERS     3
#define BANK          REGISTERS
#define OBJECTS       (REGISTERS + 1)
#define START_WITH    1000
#define CLIENTS_MAX   32
#define ERROR_MS      200     /* after an error, say a full disk's */
#define PAUSE_MS_MAX  20      /* between a client's operations: the judge's work grows with them */
#define OP_MS         60000   /* without an answer by then an operation's end is unknown */
#define SEARCH_BUDGET 4000000 /* steps of the judge per object */

struct witness {
    pthread_mutex_t lock; /* guards history */
    struct history *history;
    uint64_t last_value; /* atomic: values that are put are unique */
    uint64_t answered;   /* atomic */
    uint64_t unknown;    /* atomic */
    uint64_t refused;    /* atomic */
    uint64_t sessions_lost;
    volatile sig_atomic_t stop;
};

struct actor {
    struct witness *w;
    struct client *client;
    struct rng rng;
    pthread_t thread;
    uint64_t known[OBJECTS]; /* versions seen of cell 0 */
};

static struct witness the;

static void on_term(int number)
{
    the.stop = 1;
}

/* --- what is asked ---------------------------------------------------------------------------- */

static struct model_part *part(struct model_part *parts, unsigned *n, uint8_t op, unsigned cell)
{
    struct model_part *p = &parts[(*n)++];
    *p = (struct model_part){.op = op, .cell = (uint8_t)cell};
    return p;
}

static void number(struct model_part *p, uint64_t v)
{
    put_le64(p->bytes, v);
    p->n = 8;
}

static void get(struct model_txn *t, unsigned cell)
{
    (void)part(t->reads, &t->n_reads, KV_GET, cell);
}

static void write_number(struct model_txn *t, uint8_t op, unsigned cell, uint64_t v)
{
    number(part(t->writes, &t->n_writes, op, cell), v);
}

static uint64_t unique(struct witness *w)
{
    return __atomic_add_fetch(&w->last_value, 1, __ATOMIC_RELAXED);
}

static void register_txn(struct actor *a, unsigned object, struct model_txn *t)
{
    uint64_t what = rng_below(&a->rng, 10);
    if (what < 4) {
        get(t, 0);
    } else if (what < 7) {
        write_number(t, KV_PUT, 0, unique(a->w));
    } else if (what < 9) { /* compare and swap, which tells what it found */
        part(t->compares, &t->n_compares, KV_VERSION, 0)->arg = a->known[object];
        get(t, 0);
        write_number(t, KV_PUT, 0, unique(a->w));
    } else {
        write_number(t, KV_ADD64, 0, 1);
    }
}

static void bank_txn(struct actor *a, struct model_txn *t)
{
    uint64_t what = rng_below(&a->rng, 8);
    if (a->known[BANK] == 0) { /* open the accounts, or see them open */
        get(t, 0);
        for (unsigned i = 0; i < MODEL_CELLS; i++) {
            (void)part(t->compares, &t->n_compares, KV_ABSENT, i);
            write_number(t, KV_PUT, i, START_WITH);
        }
    } else if (what < 3) {
        unsigned first = what == 0 ? 2 : 0;
        get(t, first);
        get(t, first + 1);
    } else {
        unsigned from = (unsigned)rng_below(&a->rng, MODEL_CELLS);
        unsigned to = (from + 1 + (unsigned)rng_below(&a->rng, MODEL_CELLS - 1)) % MODEL_CELLS;
        uint64_t amount = 1 + rng_below(&a->rng, 50);
        get(t, from);
        get(t, to);
        write_number(t, KV_ADD64, from, 0 - amount);
        write_number(t, KV_ADD64, to, amount);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static unsigned first_shard(unsigned object)
{
    return 1 + object * MODEL_SHARDS;
}

static struct bytes key_of(uint8_t p[3], unsigned object, unsigned cell)
{
    put_be16(p, (uint16_t)(first_shard(object) + CELL_SHARD(cell)));
    p[2] = (uint8_t)('a' + cell);
    return bytes_of(p, 3);
}

static void build(struct txn *t, unsigned object, const struct model_txn *m)
{
    uint8_t key[3];
    for (unsigned i = 0; i < m->n_compares; i++) {
        struct bytes k = key_of(key, object, m->compares[i].cell);
        if (m->compares[i].op == KV_ABSENT)
            (void)txn_absent(t, k);
        else
            (void)txn_version(t, k, m->compares[i].arg);
    }
    for (unsigned i = 0; i < m->n_reads; i++)
        (void)txn_get(t, key_of(key, object, m->reads[i].cell));
    for (unsigned i = 0; i < m->n_writes; i++) {
        const struct model_part *p = &m->writes[i];
        struct bytes k = key_of(key, object, p->cell);
        if (p->op == KV_PUT)
            txn_put(t, k, bytes_of(p->bytes, p->n));
        else
            txn_add64(t, k, 0, (int64_t)get_le64(p->bytes));
    }
}

static void take_reply(struct actor *a, unsigned object, const struct model_txn *m,
                       const struct msg_txn_reply *r, struct model_reply *ret)
{
    *ret = (struct model_reply){.status = r->status, .failed = r->failed, .time = r->time};
    for (unsigned i = 0; i < r->n_reads && i < MODEL_PARTS; i++) {
        const struct kv_result *from = &r->reads[i];
        ret->reads[i] = (struct model_read){.version = from->version, .size = from->size};
        ret->reads[i].n = (uint8_t)MIN(from->value.n, MODEL_VALUE);
        if (from->value.n > 0)
            memcpy(ret->reads[i].bytes, from->value.p, ret->reads[i].n);
        if (m->reads[i].cell == 0)
            a->known[object] = from->version;
    }
    for (unsigned i = 0; i < r->n_versions; i++) {
        unsigned at = r->versions[i].shard - first_shard(object);
        if (at < MODEL_SHARDS)
            ret->versions[at] = r->versions[i].version;
        if (at == 0 && object != BANK)
            a->known[object] = r->versions[i].version;
    }
}

static void lost_session(struct actor *a)
{
    __atomic_add_fetch(&a->w->sessions_lost, 1, __ATOMIC_RELAXED);
    while (client_new_session(a->client) < 0 && !a->w->stop)
        continue; /* it waits by itself */
}

static uint64_t retries_of(struct actor *a)
{
    struct client_stats stats;
    client_get_stats(a->client, &stats);
    return stats.retries;
}

/* False: no answer. */
static bool perform(struct actor *a, unsigned object, const struct model_txn *m)
{
    struct witness *w = a->w;
    struct txn t = {0};
    uint64_t retries = retries_of(a);
    build(&t, object, m);
    pthread_mutex_lock(&w->lock);
    struct hist_op *op = history_call(w->history, object, m, clock_mono_ns());
    pthread_mutex_unlock(&w->lock);
    int err = txn_run(a->client, &t, OP_MS, NULL);
    pthread_mutex_lock(&w->lock);
    if (err == 0 || err == -ERR_FAILED) {
        take_reply(a, object, m, &t.reply, &op->reply);
        history_return(w->history, op, clock_mono_ns());
        __atomic_add_fetch(&w->answered, 1, __ATOMIC_RELAXED);
    } else if (m->n_writes == 0 || (err == -ERR_NO_SPACE && retries_of(a) == retries)) {
        history_drop(w->history, op); /* a read, or refused at the first try */
        __atomic_add_fetch(&w->refused, 1, __ATOMIC_RELAXED);
    } else { /* it may have happened, or will */
        __atomic_add_fetch(&w->unknown, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&w->lock);
    txn_finish(&t);
    if (err == -ERR_NO_SESSION)
        lost_session(a);
    return err == 0 || err == -ERR_FAILED;
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

/* --- the whole -------------------------------------------------------------------------------- */

static void read_all(struct actor *a)
{
    for (unsigned object = 0; object < OBJECTS; object++) {
        for (unsigned first = 0; first < (object == BANK ? MODEL_CELLS : 1); first += 2) {
            struct model_txn m = {0};
            get(&m, first);
            if (object == BANK)
                get(&m, first + 1);
            (void)perform(a, object, &m);
        }
    }
}

static int judge(struct witness *w)
{
    int bad = 0;
    for (unsigned object = 0; object < OBJECTS; object++) {
        GString *text = g_string_new(NULL);
        enum linear_verdict v = history_check(w->history, object, SEARCH_BUDGET, text);
        if (v != LINEAR_OK) {
            bad = 1;
            printf("object %u: %s\n%s", object,
                   v == LINEAR_BUDGET ? "cannot be judged within the budget"
                                      : "the history is not linearizable",
                   text->str);
        }
        g_string_free(text, TRUE);
    }
    return bad;
}

static void tell_progress(struct witness *w, int fd)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%-20" G_GUINT64_FORMAT "\n",
                     __atomic_load_n(&w->answered, __ATOMIC_RELAXED));
    if (pwrite(fd, text, (size_t)n, 0) != n)
        perror("witness: progress");
}

static int open_actors(struct actor *actors, unsigned n, const char *conf, uint64_t seed)
{
    for (unsigned i = 0; i < n; i++) {
        struct client_options o = {.conf = conf, .name = "witness"};
        struct errmsg msg = {""};
        if (client_create(&o, &actors[i].client, &msg) < 0 ||
            client_probe(actors[i].client, 20000, &msg) < 0) {
            fprintf(stderr, "witness: %s\n", msg.text);
            return -1;
        }
        actors[i].w = &the;
        rng_seed(&actors[i].rng, seed * 1000 + i);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct actor actors[CLIENTS_MAX];
    struct pollfd none = {.fd = -1};
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
    pthread_mutex_init(&the.lock, NULL);
    the.history = history_create(OBJECTS);
    signal(SIGTERM, on_term);
    if (open_actors(actors, n, argv[1], strtoull(argv[2], NULL, 0)) < 0)
        return 2;
    for (unsigned i = 0; i < n; i++)
        (void)pthread_create(&actors[i].thread, NULL, act, &actors[i]);
    while (!the.stop) {
        tell_progress(&the, fd);
        (void)poll(&none, 1, 50);
    }
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(actors[i].thread, NULL);
    uint64_t before = the.answered;
    read_all(&actors[0]);
    int bad = the.answered - before == REGISTERS + 2 ? judge(&the) : 1;
    if (the.answered - before != REGISTERS + 2)
        printf("the last reads were not answered\n");
    printf("witness: %s, %u clients, %" G_GUINT64_FORMAT " answered, %" G_GUINT64_FORMAT
           " refused, %" G_GUINT64_FORMAT " unknown, %" G_GUINT64_FORMAT " sessions lost\n",
           bad ? "NOT LINEARIZABLE" : "linearizable", n, the.answered, the.refused, the.unknown,
           the.sessions_lost);
    for (unsigned i = 0; i < n; i++)
        client_destroy(actors[i].client);
    history_destroy(the.history);
    return bad;
}
