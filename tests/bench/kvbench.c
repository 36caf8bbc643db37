/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvbench - puts and gets against a cluster: throughput and latency percentiles.
 *
 *   kvbench CONF put|get CLIENTS SECONDS BYTES
 *
 * Each client is a thread with one request under way; keys spread over all shards. Prints one line:
 *   OP_cCLIENTS_vBYTES <TAB> ops/s <TAB> p50 us <TAB> p99 us <TAB> max us <TAB> errors
 * Never run as a test: it asserts nothing.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "cluster/base/clock.h"
#include "cluster/client/client.h"

#define SAMPLES_MAX 1000000
#define KEYS        1000
#define THREADS_MAX 512

struct worker {
    pthread_t thread;
    struct client *client;
    unsigned id;
    bool put;
    size_t bytes;
    uint64_t until_ns;
    uint32_t *us; /* latencies */
    size_t n, errors;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    uint8_t *value = g_malloc0(w->bytes + 1);
    struct txn t = {0};
    uint8_t key[16];

    for (uint64_t i = w->id * 7919u; clock_mono_ns() < w->until_ns; i++) {
        put_be16(key, (uint16_t)((i % KEYS) % 256));
        put_be64(key + 2, i % KEYS);
        uint64_t began = clock_mono_ns();
        txn_reset(&t);
        if (w->put)
            txn_put(&t, bytes_of(key, 10), bytes_of(value, w->bytes));
        else
            (void)txn_get(&t, bytes_of(key, 10));
        if (txn_run(w->client, &t, 10000, NULL) < 0)
            w->errors++;
        else if (w->n < SAMPLES_MAX)
            w->us[w->n++] = (uint32_t)((clock_mono_ns() - began) / 1000);
    }
    txn_finish(&t);
    g_free(value);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void report(const struct worker *workers, unsigned n, double seconds, const char *op,
                   size_t bytes)
{
    size_t total = 0, errors = 0;

    for (unsigned i = 0; i < n; i++) {
        total += workers[i].n;
        errors += workers[i].errors;
    }
    uint32_t *all = g_new(uint32_t, total + 1);
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        memcpy(all + at, workers[i].us, workers[i].n * sizeof(*all));
        at += workers[i].n;
    }
    qsort(all, total, sizeof(*all), by_value);
    all[total] = 0;
    (void)printf("%s_c%u_v%zu\t%.0f\t%u\t%u\t%u\t%zu\n", op, n, bytes, (double)total / seconds,
                 all[total / 2], all[total * 99 / 100], all[total ? total - 1 : 0], errors);
    g_free(all);
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    struct client_options o = {.name = "kvbench"};
    struct client *client;
    struct errmsg msg;

    if (argc != 6) {
        (void)fprintf(stderr, "usage: kvbench CONF put|get CLIENTS SECONDS BYTES\n");
        return 2;
    }
    unsigned n = (unsigned)CLAMP(atoi(argv[3]), 1, THREADS_MAX);
    double seconds = atof(argv[4]);
    size_t bytes = (size_t)CLAMP(atol(argv[5]), 0, (long)VALUE_MAX);
    o.conf = argv[1];
    /* One client (session) per 32 threads: a session has a window of requests under way. */
    for (unsigned i = 0; i < n; i++) {
        if (i % 32 == 0 &&
            (client_create(&o, &client, &msg) < 0 || client_probe(client, 10000, &msg) < 0)) {
            (void)fprintf(stderr, "kvbench: %s\n", msg.text);
            return 1;
        }
        workers[i] = (struct worker){.client = client,
                                     .id = i,
                                     .put = strcmp(argv[2], "put") == 0,
                                     .bytes = bytes,
                                     .us = g_new(uint32_t, SAMPLES_MAX)};
    }
    /* Connections and the session are opened before the clock runs. */
    for (unsigned i = 0; i < n; i++) {
        workers[i].until_ns = clock_mono_ns() + 300000000u;
        (void)pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(workers[i].thread, NULL);
    uint64_t began = clock_mono_ns();
    for (unsigned i = 0; i < n; i++) {
        workers[i].n = workers[i].errors = 0;
        workers[i].until_ns = began + (uint64_t)(seconds * 1e9);
        (void)pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(workers[i].thread, NULL);
    report(workers, n, (double)(clock_mono_ns() - began) / 1e9, argv[2], bytes);
    for (unsigned i = 0; i < n; i++)
        if (i % 32 == 0)
            client_destroy(workers[i].client);
    return 0;
}
