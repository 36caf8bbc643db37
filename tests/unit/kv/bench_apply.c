/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_apply - what one entry costs: bench_apply [mem|rocks|none] [entries]
 *
 * "none" answers every get with "absent" and forgets every write: the state machine's own part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/kv/fixture.h"

#define SHARDS 256
#define KEYS   100000
#define BATCH  64 /* entries handed over at once, as a node's round does */

/* --- a store that does nothing ---------------------------------------------------------------- */

static int none_get(struct store *s, struct store_view *v, struct bytes key, struct arena *a,
                    struct bytes *ret)
{
    return -ERR_NOT_FOUND;
}

static int none_write(struct store *s, const struct store_write *w, size_t n)
{
    return 0;
}

static struct store_iter *none_iter_open(struct store *s, struct store_view *v, struct bytes lo,
                                         struct bytes hi)
{
    return NULL;
}

static bool none_iter_next(struct store_iter *it, struct bytes *ret_key, struct bytes *ret_value)
{
    return false;
}

static int none_iter_close(struct store_iter *it)
{
    return 0;
}

static void none_close(struct store *s)
{
}

static const struct store_ops none_ops = {
    .get = none_get,
    .write = none_write,
    .iter_open = none_iter_open,
    .iter_next = none_iter_next,
    .iter_close = none_iter_close,
    .close = none_close,
};

static void ignore(void *arg, int err)
{
}

/* --- the run ---------------------------------------------------------------------------------- */

/* The thread's own time is the one to compare: the machine is shared. */
static uint64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct bench {
    struct store *store;
    struct kv *kv;
    struct rng rng;
    uint64_t index, client, seq, bad;
    unsigned shards; /* written to: the fewer, the more rows the entries of a round share */
    bool flush; /* after each round, not measured: the memory store keeps what a crash may leave */
};

static void on_reply(void *ctx, uint64_t index, unsigned msg_type, struct bytes body)
{
    struct bench *b = ctx;

    b->bad += msg_type != MSG_txn_reply || body.n < 2 || body.p[0] || body.p[1];
}

/* The data of one entry: a PUT of 256 bytes, or what a small write to a file does. */
static struct buf *draw(struct bench *b, bool file)
{
    CLEANUP(enc_finish) struct enc e = {0};
    uint8_t key[26] = {0}, value[256] = {1};
    struct kv_write w[4];

    put_be16(key, (uint16_t)rng_below(&b->rng, b->shards));
    put_be64(key + 2, rng_below(&b->rng, KEYS / SHARDS));
    struct bytes k = bytes_of(key, sizeof(key)), v = bytes_of(value, sizeof(value));
    w[0] = put_bytes(k, v);
    w[1] = (struct kv_write){.op = KV_MAX64, .key = k, .arg = 8, .value = bytes_of(value, 8)};
    w[2] = (struct kv_write){.op = KV_TIME64, .key = k, .arg = 16};
    struct kv_compare c = exists(k);
    struct msg_txn t = {.client = b->client, .writes = w, .n_writes = 1};
    if (file) {
        t.n_compares = 1;
        t.compares = &c;
        t.writes = w + 1;
        t.n_writes = 2;
    }
    t.seq = t.acked_below = ++b->seq;
    enc_txn(&e, &t);
    return kv_command(KV_CMD_TXN, enc_view(&e));
}

static void run(struct bench *b, const char *what, size_t entries, bool file)
{
    struct kv_sink sink = {.reply = on_reply, .ctx = b};
    struct buf *data[BATCH];
    struct kv_entry e[BATCH];
    uint64_t wall = 0, cpu = 0;

    for (size_t done = 0; done < entries; done += BATCH) {
        for (unsigned i = 0; i < BATCH; i++) {
            data[i] = draw(b, file);
            e[i] = (struct kv_entry){++b->index, 1, b->index * 1000, buf_bytes(data[i])};
        }
        uint64_t wall0 = now_ns(CLOCK_MONOTONIC), cpu0 = now_ns(CLOCK_THREAD_CPUTIME_ID);
        if (kv_apply(b->kv, e, BATCH, &sink) < 0)
            abort();
        cpu += now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu0;
        wall += now_ns(CLOCK_MONOTONIC) - wall0;
        for (unsigned i = 0; i < BATCH; i++)
            buf_unref(data[i]);
        if (b->flush)
            b->store->ops->flush(b->store, ignore, NULL);
    }
    printf("%-36s %6.0f ns/entry of the thread, %6.0f ns passed (%llu not OK)\n", what,
           (double)cpu / (double)entries, (double)wall / (double)entries,
           (unsigned long long)b->bad);
    b->bad = 0;
}

static void open_session(struct bench *b)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_open m = {.name = bytes_str("bench")};

    enc_session_open(&e, &m);
    CLEANUP(buf_unref) struct buf *data = kv_command(KV_CMD_SESSION_OPEN, enc_view(&e));
    struct kv_entry entry = {++b->index, 1, 1, buf_bytes(data)};
    if (kv_apply(b->kv, &entry, 1, NULL) < 0)
        abort();
    b->client = b->index;
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "none";
    size_t entries = argc > 2 ? strtoul(argv[2], NULL, 10) : 300000;
    struct store none = {&none_ops}, *store = &none;
    struct errmsg msg = {0};
    struct bench b = {0};

    struct store_mem_disk *disk = store_mem_disk_create();
    if (strcmp(which, "mem") == 0 && store_mem_open(disk, "bench", &store) < 0)
        return 1;
    if (strcmp(which, "rocks") == 0 &&
        store_rocks_open(t_path(t_tmpdir(), "rocks"), &store, &msg) < 0)
        return fprintf(stderr, "%s\n", msg.text), 1;
    rng_seed(&b.rng, 1);
    if (kv_open(store, 0, SHARDS, &b.kv, &msg) < 0)
        return fprintf(stderr, "%s\n", msg.text), 1;
    b.store = store;
    b.flush = strcmp(which, "mem") == 0;
    open_session(&b);
    printf("store: %s\n", store == &none ? "none" : which);
    b.shards = SHARDS;
    run(&b, "put of 256 bytes, 256 shards", entries, false);
    run(&b, "put of 256 bytes, again", entries, false);
    run(&b, "exists, max64, time64 on 256 bytes", entries, true);
    b.shards = 8;
    run(&b, "put of 256 bytes, 8 shards", entries, false);
    run(&b, "exists, max64, time64 on 256 bytes", entries, true);
    kv_close(b.kv);
    store->ops->close(store);
    store_mem_disk_destroy(disk);
    return 0;
}
