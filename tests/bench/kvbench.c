/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvbench - puts and gets against a cluster: throughput and latency percentiles.
 *
 *   kvbench CONF put|get CLIENTS SECONDS BYTES [PER_THREAD]
 *
 * A client has one request under way, always. Each is a thread, or a thread plays PER_THREAD of
 * them in turn (txn_start and txn_wait), as a mount does that writes many blocks: then less of the
 * machine goes to waking threads of the benchmark, and a latency may include the wait for an older
 * request of the thread. 1000 keys for
 * each size of values, spread over all shards. Prints one line:
 *   OP_cCLIENTS_vBYTES <TAB> ops/s <TAB> p50 us <TAB> p99 us <TAB> max us <TAB> errors
 *   <TAB> us of CPU that this program took per op <TAB> ops in all, with those before the clock ran
 * Never run as a test: it asserts nothing.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "cluster/base/clock.h"
#include "cluster/client/client.h"

#define SAMPLES_MAX    1000000
#define KEYS           1000
#define THREADS_MAX    512
#define PER_THREAD_MAX SESSION_WINDOW
#define PER_SESSION    32 /* clients: a session has a window of requests under way */

struct worker {
    pthread_t thread;
    struct client *client;
    unsigned id, clients;
    bool put;
    struct bytes value;
    uint64_t until_ns;
    uint32_t *us; /* latencies */
    size_t n, errors;
};

struct request {
    struct txn txn;
    uint64_t began_ns; /* 0: none is under way */
};

static void begin(struct worker *w, struct request *r, uint64_t number)
{
    uint8_t key[10];

    put_be16(key, (uint16_t)((number % KEYS) % 256));
    put_be64(key + 2, (uint64_t)w->value.n << 32 | number % KEYS);
    txn_reset(&r->txn);
    if (w->put)
        txn_put(&r->txn, bytes_of(key, sizeof(key)), w->value);
    else
        (void)txn_get(&r->txn, bytes_of(key, sizeof(key)));
    r->began_ns = clock_mono_ns();
    if (txn_start(w->client, &r->txn) < 0) {
        w->errors++;
        r->began_ns = 0;
    }
}

static void end(struct worker *w, struct request *r)
{
    if (r->began_ns == 0)
        return;
    if (txn_wait(w->client, &r->txn, 10000, NULL) < 0)
        w->errors++;
    else if (w->n < SAMPLES_MAX)
        w->us[w->n++] = (uint32_t)((clock_mono_ns() - r->began_ns) / 1000);
    r->began_ns = 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct request requests[PER_THREAD_MAX] = {0};

    for (uint64_t i = 0; clock_mono_ns() < w->until_ns; i++) {
        struct request *r = &requests[i % w->clients];
        end(w, r);
        begin(w, r, w->id * 7919u + i);
    }
    for (unsigned i = 0; i < w->clients; i++) {
        end(w, &requests[i]);
        txn_finish(&requests[i].txn);
    }
    return NULL;
}

static uint64_t cpu_us(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static size_t count(const struct worker *workers, unsigned n, size_t *ret_errors)
{
    size_t total = 0;

    *ret_errors = 0;
    for (unsigned i = 0; i < n; i++) {
        total += workers[i].n;
        *ret_errors += workers[i].errors;
    }
    return total;
}

static void report(const struct worker *workers, unsigned n, double seconds, uint64_t cpu,
                   size_t before, const char *what)
{
    size_t errors, total = count(workers, n, &errors);
    uint32_t *all = g_new(uint32_t, total + 1);
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        memcpy(all + at, workers[i].us, workers[i].n * sizeof(*all));
        at += workers[i].n;
    }
    qsort(all, total, sizeof(*all), by_value);
    all[total] = 0;
    (void)printf("%s\t%.0f\t%u\t%u\t%u\t%zu\t%.1f\t%zu\n", what, (double)total / seconds,
                 all[total / 2], all[total * 99 / 100], all[total ? total - 1 : 0], errors,
                 (double)cpu / (double)MAX(total, 1), before + total);
    g_free(all);
}

static void run(struct worker *workers, unsigned n, double seconds)
{
    uint64_t until_ns = clock_mono_ns() + (uint64_t)(seconds * 1e9);

    for (unsigned i = 0; i < n; i++) {
        workers[i].n = workers[i].errors = 0;
        workers[i].until_ns = until_ns;
        (void)pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(workers[i].thread, NULL);
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    struct client_options o = {.name = "kvbench"};
    struct client *sessions[THREADS_MAX];
    unsigned n_sessions = 0, n = 0;
    struct errmsg msg;

    if (argc < 6 || argc > 7) {
        (void)fprintf(stderr, "usage: kvbench CONF put|get CLIENTS SECONDS BYTES [PER_THREAD]\n");
        return 2;
    }
    unsigned clients = (unsigned)CLAMP(atoi(argv[3]), 1, THREADS_MAX);
    unsigned per_thread = argc == 7 ? (unsigned)CLAMP(atoi(argv[6]), 1, PER_THREAD_MAX) : 1;
    double seconds = atof(argv[4]);
    size_t bytes = (size_t)CLAMP(atol(argv[5]), 0, (long)VALUE_MAX);
    uint8_t *value = g_malloc0(bytes + 1);
    o.conf = argv[1];
    for (unsigned done = 0; done < clients; n++) {
        struct worker *w = &workers[n];
        if (done >= n_sessions * PER_SESSION) {
            struct client **c = &sessions[n_sessions++];
            if (client_create(&o, c, &msg) < 0 || client_probe(*c, 10000, &msg) < 0) {
                (void)fprintf(stderr, "kvbench: %s\n", msg.text);
                return 1;
            }
        }
        *w = (struct worker){.client = sessions[n_sessions - 1],
                             .id = n,
                             .clients = MIN(per_thread, clients - done),
                             .put = strcmp(argv[2], "put") == 0,
                             .value = bytes_of(value, bytes),
                             .us = g_new(uint32_t, SAMPLES_MAX)};
        done += w->clients;
    }
    /* Connections and the session are opened before the clock runs. */
    run(workers, n, 0.3);
    size_t errors, before = count(workers, n, &errors);
    uint64_t began = clock_mono_ns(), cpu = cpu_us();
    run(workers, n, seconds);
    char what[80];
    g_snprintf(what, sizeof(what), "%s_c%u_v%zu", argv[2], clients, bytes);
    report(workers, n, (double)(clock_mono_ns() - began) / 1e9, cpu_us() - cpu, before, what);
    for (unsigned i = 0; i < n_sessions; i++)
        client_destroy(sessions[i]);
    g_free(value);
    return 0;
}
