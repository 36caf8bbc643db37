/* SPDX-License-Identifier: Apache-2.0 */
/* The course's GenericTest: clients that read and write many keys, while what may go wrong does. */
#include <poll.h>
#include <stdio.h>
#include "cluster/base/clock.h"
#include "tests/course/real/real.h"

#define KEYS          20
#define CLERKS_MAX    20
#define OP_MS         60000
#define PAUSE_MS      20 /* at most, between a clerk's requests: a history is judged as a whole */
#define SERVED        10 /* requests at least, in a round */
#define BALLAST_SHARD 252
#define BALLAST_BYTES 1000000
#define BALLAST_KEYS  4

struct generic_run {
    struct real *c;
    const struct generic *g;
    bool stop; /* atomic */
    struct record record;
    uint64_t last_value, answered;    /* atomic */
    uint64_t ok[KEYS], unknown[KEYS]; /* atomic; puts */
};

struct clerk {
    struct generic_run *run;
    pthread_t thread;
    struct client *client;
    struct rng rng;
    uint64_t known[KEYS]; /* versions */
};

static bool stopped(const struct generic_run *run)
{
    return __atomic_load_n(&run->stop, __ATOMIC_RELAXED);
}

static void add(uint64_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

/* A get, or a put if the version is still the one that this clerk has read. */
static void next_op(struct clerk *k)
{
    struct generic_run *run = k->run;
    unsigned key = (unsigned)rng_below(&k->rng, KEYS);
    bool put = rng_below(&k->rng, 3) > 0;
    struct model_txn m = {0};
    struct model_reply reply;
    int err;
    record_get(&m, 0);
    if (put) {
        record_version(&m, 0, k->known[key]);
        record_write(&m, KV_PUT, 0, __atomic_add_fetch(&run->last_value, 1, __ATOMIC_RELAXED));
    }
    enum recorded how = record_run(&run->record, k->client, key, &m, OP_MS, &reply, &err);
    if (how == RECORD_ANSWERED) {
        bool written = put && reply.status == 0;
        k->known[key] = written ? reply.versions[0] : reply.reads[0].version;
        add(&run->answered);
        if (written)
            add(&run->ok[key]);
    } else if (how == RECORD_UNKNOWN) {
        add(&run->unknown[key]);
    }
    if (err == -ERR_NO_SESSION && client_new_session(k->client) < 0)
        return; /* the next one says so again */
}

static void *work(void *arg)
{
    struct clerk *k = arg;
    struct pollfd none = {.fd = -1};
    while (!stopped(k->run)) {
        next_op(k);
        (void)poll(&none, 1, (int)rng_below(&k->rng, PAUSE_MS));
    }
    return NULL;
}

static void *load(void *arg)
{
    struct clerk *k = arg;
    struct pollfd none = {.fd = -1};
    uint8_t *value = g_malloc0(BALLAST_BYTES);
    for (unsigned i = 0; !stopped(k->run); i++) {
        struct txn t = {0};
        uint8_t key[3] = {0, 0, (uint8_t)('a' + i % BALLAST_KEYS)};
        put_be16(key, BALLAST_SHARD);
        txn_put(&t, bytes_of(key, sizeof(key)), bytes_of(value, BALLAST_BYTES));
        (void)!txn_run(k->client, &t, OP_MS, NULL);
        txn_finish(&t);
        (void)poll(&none, 1, PAUSE_MS);
    }
    g_free(value);
    return NULL;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void one_round(struct generic_run *run, unsigned ms)
{
    struct real *c = run->c;
    const struct generic *g = run->g;
    struct deadline d = within(ms);
    uint64_t before = __atomic_load_n(&run->answered, __ATOMIC_RELAXED);
    net_weather(c->net, g->unreliable);
    while (!is_over(d)) {
        if (g->partitions)
            split(c, (unsigned)rng_below(&c->rng, 1u << (c->n + 1)));
        pass(c, g->partitions ? MIN(ms, 1000 + (unsigned)rng_below(&c->rng, 200)) : ms);
    }
    split(c, 0);
    net_weather(c->net, false);
    for (d = within(LEADER_WITHIN_MS);
         __atomic_load_n(&run->answered, __ATOMIC_RELAXED) < before + SERVED;)
        tick(c, d, "requests are answered");
}

static void start_clerks(struct generic_run *run, struct clerk *clerks, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct clerk *k = &clerks[i];
        bool ballast = run->g->ballast && i == n - 1;
        k->run = run;
        k->client = client_open(run->c, "clerk");
        rng_seed(&k->rng, run->c->seed * 1000 + i);
        CHECK(run->c, pthread_create(&k->thread, NULL, ballast ? load : work, k) == 0, "no thread");
    }
}

static void wait_clerks(struct generic_run *run, struct clerk *clerks, unsigned n)
{
    __atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < n; i++)
        pthread_join(clerks[i].thread, NULL);
}

static void wait_log_cut(struct real *c)
{
    struct deadline d = within(SETTLE_WITHIN_MS);
    struct group_status s;
    for (unsigned i = 1; i <= c->n; i++)
        while (!status_of(c, i, &s) || s.first <= 1)
            tick(c, d, "state stores are flushed and logs are cut");
}

/* Each put that was answered made one version, each one without an answer made none or one. */
static void check_versions(struct generic_run *run, struct clerk *reader)
{
    for (unsigned key = 0; key < KEYS; key++) {
        struct model_txn m = {0};
        struct model_reply reply;
        int err;
        record_get(&m, 0);
        enum recorded how = record_run(&run->record, reader->client, key, &m, OP_MS, &reply, &err);
        CHECK(run->c, how == RECORD_ANSWERED, "a read of a whole cluster is not answered: %s",
              err_text(err));
        uint64_t v = reply.reads[0].version;
        CHECK(run->c, v >= run->ok[key] && v <= run->ok[key] + run->unknown[key],
              "key %u has version %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT
              " puts were answered and %" G_GUINT64_FORMAT " not",
              key, v, run->ok[key], run->unknown[key]);
    }
}

void generic(struct real *c, const struct generic *g)
{
    struct generic_run run = {.c = c, .g = g};
    struct clerk clerks[CLERKS_MAX + 1] = {0};
    unsigned n = g->clients + g->ballast, rounds = c->longer ? 3 : 2;
    real_begin(c, g->nodes);
    record_init(&run.record, KEYS);
    start_clerks(&run, clerks, n);
    for (unsigned round = 0; round < rounds; round++) {
        one_round(&run, c->longer ? 5000 : 1300);
        if (g->crash)
            crash_all(c);
    }
    one_leader(c);
    if (g->ballast)
        wait_log_cut(c);
    wait_clerks(&run, clerks, n);
    check_versions(&run, &clerks[0]);
    c->record = &run.record;
    real_end(c);
    for (unsigned i = 0; i < n; i++)
        client_destroy(clerks[i].client);
    record_finish(&run.record);
}
