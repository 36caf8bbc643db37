/* SPDX-License-Identifier: Apache-2.0 */
/*
 * movebench - what a client sees of a shard that moves.
 *
 *   movebench CONF fill SHARD MB                puts so many MB into the shard, 64 KiB a value
 *   movebench CONF watch SHARD SECONDS OTHERS   one client puts 256 bytes into the shard all the
 * time, OTHERS clients into all other shards
 *
 * watch prints one line:
 *   watch <TAB> puts into the shard <TAB> longest time between two answers, ms
 *   <TAB> puts into the others per s <TAB> their p50 us <TAB> p99 us <TAB> max us <TAB> errors
 * Never run as a test: it asserts nothing.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "cluster/base/clock.h"
#include "cluster/client/client.h"

#define SAMPLES_MAX 2000000
#define OTHERS_MAX  32
#define FILL_BYTES  KIB(64)
#define FILL_AHEAD  16

struct worker {
    pthread_t thread;
    struct client *client;
    unsigned shard; /* all but this one, if `others` */
    bool others;
    unsigned id;
    uint64_t until_ns, gap_ns;
    uint32_t *us;
    size_t n, errors;
};

static void key_of(uint8_t key[10], unsigned shard, uint64_t number)
{
    put_be16(key, (uint16_t)shard);
    put_be64(key + 2, number);
}

static int put(struct client *c, unsigned shard, uint64_t number, struct bytes value)
{
    struct txn t CLEANUP(txn_finish) = {0};
    uint8_t key[10];
    key_of(key, shard, number);
    txn_put(&t, bytes_of(key, sizeof(key)), value);
    return txn_run(c, &t, 30000, NULL);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    unsigned shards = client_shards(w->client);
    uint8_t value[256] = {0};
    uint64_t last_ns = clock_mono_ns();
    for (uint64_t i = 0; clock_mono_ns() < w->until_ns; i++) {
        uint64_t number = w->id * 7919u + i;
        unsigned shard = w->others ? (unsigned)(number % shards) : w->shard;
        if (w->others && shard == w->shard)
            continue;
        uint64_t began_ns = clock_mono_ns();
        if (put(w->client, shard, UINT64_C(1) << 32 | number % 1000, bytes_of(value, 256)) < 0)
            w->errors++;
        uint64_t now_ns = clock_mono_ns();
        w->gap_ns = MAX(w->gap_ns, now_ns - last_ns);
        last_ns = now_ns;
        if (w->n < SAMPLES_MAX)
            w->us[w->n++] = (uint32_t)((now_ns - began_ns) / 1000);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int watch(const struct client_options *o, unsigned shard, double seconds, unsigned others)
{
    static struct worker w[OTHERS_MAX + 1];
    uint64_t until_ns = clock_mono_ns() + (uint64_t)(seconds * 1e9);
    size_t n = 0, errors = 0, at = 0;
    struct errmsg msg;
    for (unsigned i = 0; i <= others; i++) {
        w[i] = (struct worker){.shard = shard,
                               .others = i > 0,
                               .id = i,
                               .until_ns = until_ns,
                               .us = g_new(uint32_t, SAMPLES_MAX)};
        if (client_create(o, &w[i].client, &msg) < 0 || client_probe(w[i].client, 10000, &msg) < 0)
            return fprintf(stderr, "movebench: %s\n", msg.text), 1;
    }
    for (unsigned i = 0; i <= others; i++)
        (void)pthread_create(&w[i].thread, NULL, work, &w[i]);
    for (unsigned i = 0; i <= others; i++)
        (void)pthread_join(w[i].thread, NULL);
    for (unsigned i = 0; i <= others; i++) {
        n += i > 0 ? w[i].n : 0;
        errors += w[i].errors;
    }
    uint32_t *all = g_new0(uint32_t, n + 1);
    for (unsigned i = 1; i <= others; i++) {
        memcpy(all + at, w[i].us, w[i].n * sizeof(*all));
        at += w[i].n;
    }
    qsort(all, n, sizeof(*all), by_value);
    printf("watch\t%zu\t%.1f\t%.0f\t%u\t%u\t%u\t%zu\n", w[0].n, (double)w[0].gap_ns / 1e6,
           (double)n / seconds, all[n / 2], all[n * 99 / 100], all[n ? n - 1 : 0], errors);
    for (unsigned i = 0; i <= others; i++)
        client_destroy(w[i].client);
    return 0;
}

static int fill(const struct client_options *o, unsigned shard, unsigned long mb)
{
    struct client *c = NULL;
    struct txn t[FILL_AHEAD] = {0};
    uint64_t n = mb * (MIB(1) / FILL_BYTES);
    uint8_t *value = g_malloc(FILL_BYTES), key[10];
    struct errmsg msg;
    int err = 0;
    if (client_create(o, &c, &msg) < 0 || client_probe(c, 10000, &msg) < 0)
        return fprintf(stderr, "movebench: %s\n", msg.text), 1;
    for (uint64_t i = 0; err == 0 && i < n + FILL_AHEAD; i++) {
        struct txn *x = &t[i % FILL_AHEAD];
        if (i >= FILL_AHEAD)
            err = txn_wait(c, x, 60000, NULL);
        if (err == 0 && i < n) {
            for (size_t k = 0; k < FILL_BYTES; k += 8) /* nothing that compresses */
                put_be64(value + k, (i * FILL_BYTES + k + 1) * UINT64_C(0x9e3779b97f4a7c15));
            key_of(key, shard, i);
            txn_reset(x);
            txn_put(x, bytes_of(key, sizeof(key)), bytes_of(value, FILL_BYTES));
            err = txn_start(c, x);
        }
    }
    for (unsigned i = 0; i < FILL_AHEAD; i++)
        txn_finish(&t[i]);
    client_destroy(c);
    g_free(value);
    return err < 0 ? (fprintf(stderr, "movebench: %s\n", err_text(err)), 1) : 0;
}

int main(int argc, char **argv)
{
    struct client_options o = {.name = "movebench"};
    if (argc == 5 && strcmp(argv[2], "fill") == 0) {
        o.conf = argv[1];
        return fill(&o, (unsigned)atoi(argv[3]), strtoul(argv[4], NULL, 10));
    }
    if (argc == 6 && strcmp(argv[2], "watch") == 0) {
        o.conf = argv[1];
        return watch(&o, (unsigned)atoi(argv[3]), atof(argv[4]),
                     (unsigned)CLAMP(atoi(argv[5]), 1, OTHERS_MAX));
    }
    (void)fprintf(stderr, "usage: movebench CONF fill SHARD MB | watch SHARD SECONDS OTHERS\n");
    return 2;
}
