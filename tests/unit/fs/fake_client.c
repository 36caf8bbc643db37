/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fs/fake_client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/kv/kv.h"
#include "cluster/kv/layout.h"
#include "tests/unit/kv/ram_store.h"

struct fake_cluster {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* after each entry */
    struct store *store;
    struct kv *kv;
    uint64_t index, time;
    bool shuffle;
    /* Of the entry being applied. */
    struct buf *reply;
};

struct client {
    struct fake_cluster *k;
    uint64_t session, seq; /* k->lock */
    bool lost;
    pthread_t maker; /* only what it asks is counted: the volume's own threads ask too */
    unsigned reads, writes;
    unsigned hook_in;
    void (*hook)(void *arg);
    void *hook_arg;
    unsigned fail_in;
    int fail_err;
};

struct client_call { /* executed when it was started */
    int rc;
};

/* --- the state machine ------------------------------------------------------------------------ */

struct fake_cluster *fake_cluster_create(void)
{
    struct fake_cluster *k = g_new0(struct fake_cluster, 1);
    struct errmsg msg;
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->changed, NULL);
    k->store = ram_store_create();
    ram_store_forget(k->store);
    T_OK_MSG(kv_open(k->store, 0, FAKE_SHARDS, &k->kv, &msg), &msg);
    kv_hold_rows(k->kv, 1); /* tests look into the store */
    k->time = clock_wall_ns();
    return k;
}

void fake_cluster_destroy(struct fake_cluster *k)
{
    kv_close(k->kv);
    k->store->ops->close(k->store);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    g_free(k);
}

static void on_reply(void *ctx, uint64_t index UNUSED, unsigned type UNUSED, struct bytes body)
{
    struct fake_cluster *k = ctx;
    buf_unref(k->reply);
    k->reply = buf_copy(body);
}

/* With the lock held. The reply's body is the caller's. */
static struct buf *apply(struct fake_cluster *k, enum kv_command cmd, struct bytes body)
{
    struct buf *data CLEANUP(buf_unref) = kv_command(cmd, body);
    struct kv_sink sink = {.reply = on_reply, .ctx = k};
    k->time = MAX(k->time + 1, clock_wall_ns());
    struct kv_entry e = {
        .index = ++k->index, .term = 1, .time_ns = k->time, .data = buf_bytes(data)};
    T_OK(kv_apply(k->kv, &e, 1, &sink));
    pthread_cond_broadcast(&k->changed);
    return TAKE(k->reply);
}

static void open_session(struct client *c)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_session_open m = {.nonce = c->k->index, .name = bytes_str("fake")};
    struct msg_session_reply r;
    enc_session_open(&e, &m);
    struct buf *body CLEANUP(buf_unref) = apply(c->k, KV_CMD_SESSION_OPEN, enc_view(&e));
    T_OK(dec_session_reply(buf_bytes(body), &a, &r));
    assert_int_equal(r.status, 0);
    c->session = r.client;
    c->seq = 0;
    c->lost = false;
}

void fake_expire(struct client *c)
{
    struct enc e CLEANUP(enc_finish) = {0};
    pthread_mutex_lock(&c->k->lock);
    struct msg_session_close m = {.client = c->session};
    enc_session_close(&e, &m);
    buf_unref(apply(c->k, KV_CMD_SESSION_CLOSE, enc_view(&e)));
    pthread_mutex_unlock(&c->k->lock);
}

static int write_locked(struct client *c, struct txn *t)
{
    if (!c->session)
        open_session(c);
    if (c->lost)
        return -ERR_NO_SESSION;
    t->m.client = c->session;
    t->m.seq = ++c->seq;
    t->m.acked_below = c->seq;
    T_OK(kv_check(c->k->kv, &t->m));
    struct enc e CLEANUP(enc_finish) = {0};
    enc_txn(&e, &t->m);
    buf_unref(t->reply_buf);
    t->reply_buf = apply(c->k, KV_CMD_TXN, enc_view(&e));
    T_OK(dec_txn_reply(buf_bytes(t->reply_buf), &t->arena, &t->reply));
    if (t->reply.status == ERR_NO_SESSION)
        c->lost = true;
    return -(int)t->reply.status;
}

static int execute(struct client *c, struct txn *t)
{
    struct fake_cluster *k = c->k;
    void (*hook)(void *) = NULL;
    bool write = t->m.n_writes > 0;
    if (write && k->shuffle)
        sched_yield();
    pthread_mutex_lock(&k->lock);
    if (write && c->hook_in && --c->hook_in == 0)
        hook = c->hook;
    pthread_mutex_unlock(&k->lock);
    if (hook)
        hook(c->hook_arg);
    int rc;
    pthread_mutex_lock(&k->lock);
    if (write && c->fail_in && --c->fail_in == 0) {
        rc = c->fail_err;
    } else if (write) {
        c->writes += pthread_equal(pthread_self(), c->maker) != 0;
        rc = write_locked(c, t);
    } else {
        c->reads += pthread_equal(pthread_self(), c->maker) != 0;
        T_OK(kv_check(k->kv, &t->m));
        rc = kv_read(k->kv, &t->m, &t->arena, &t->reply);
        rc = rc ? rc : -(int)t->reply.status;
    }
    pthread_mutex_unlock(&k->lock);
    return rc;
}

/* --- client.h --------------------------------------------------------------------------------- */

struct client *fake_client_create(struct fake_cluster *k)
{
    struct client *c = g_new0(struct client, 1);
    c->maker = pthread_self();
    c->k = k;
    return c;
}

void client_destroy(struct client *c)
{
    if (c && c->session && !c->lost)
        fake_expire(c);
    g_free(c);
}

int client_probe(struct client *c UNUSED, unsigned timeout_ms UNUSED, struct errmsg *msg UNUSED)
{
    return 0;
}

uint64_t client_session(struct client *c)
{
    pthread_mutex_lock(&c->k->lock);
    uint64_t s = c->lost ? 0 : c->session;
    pthread_mutex_unlock(&c->k->lock);
    return s;
}

int client_new_session(struct client *c)
{
    pthread_mutex_lock(&c->k->lock);
    open_session(c);
    pthread_mutex_unlock(&c->k->lock);
    return 0;
}

uint16_t client_shards(struct client *c UNUSED)
{
    return FAKE_SHARDS;
}

struct sessions {
    struct arena *a;
    struct counter *list;
    size_t n;
};

static void add_session(void *arg, uint64_t client, struct bytes name)
{
    struct sessions *s = arg;
    s->list[s->n++] = (struct counter){.name = arena_copy(s->a, name), .value = client};
}

int client_sessions(struct client *c, struct arena *a, struct counter **ret, size_t *ret_n)
{
    pthread_mutex_lock(&c->k->lock);
    struct sessions s = {.a = a,
                         .list = arena_array(a, kv_sessions(c->k->kv) + 1, sizeof(struct counter))};
    kv_each_session(c->k->kv, add_session, &s);
    pthread_mutex_unlock(&c->k->lock);
    *ret = s.list;
    *ret_n = s.n;
    return 0;
}

int client_cancel_init(struct client_cancel *x)
{
    x->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return x->fd < 0 ? err_from_errno(errno) : 0;
}

void client_cancel_finish(struct client_cancel *x)
{
    close(x->fd);
}

void client_cancel_fire(struct client_cancel *x)
{
    (void)!eventfd_write(x->fd, 1);
}

void client_cancel_reset(struct client_cancel *x)
{
    eventfd_t n;
    (void)!eventfd_read(x->fd, &n);
}

static bool fired(struct client_cancel *x)
{
    struct pollfd p = {.fd = x ? x->fd : -1, .events = POLLIN};
    return x && poll(&p, 1, 0) > 0;
}

int txn_start(struct client *c, struct txn *t)
{
    ASSERT(!t->call);
    t->call = g_new0(struct client_call, 1);
    t->call->rc = execute(c, t);
    return 0;
}

int txn_wait(struct client *c UNUSED, struct txn *t, unsigned deadline_ms UNUSED,
             struct client_cancel *cancel UNUSED)
{
    ASSERT(t->call);
    int rc = t->call->rc;
    g_free(TAKE(t->call));
    return rc;
}

int txn_run(struct client *c, struct txn *t, unsigned deadline_ms, struct client_cancel *cancel)
{
    if (fired(cancel))
        return -ERR_CANCELED;
    int rc = txn_start(c, t);
    return rc ? rc : txn_wait(c, t, deadline_ms, cancel);
}

int client_wait_key(struct client *c, struct txn *t, struct bytes key, uint64_t version,
                    unsigned timeout_ms, struct client_cancel *cancel)
{
    uint64_t until = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
    for (;;) {
        txn_reset(t);
        txn_get(t, key);
        int rc = txn_run(c, t, 0, cancel);
        if (rc || t->reply.reads[0].version != version)
            return rc;
        if (clock_mono_ns() >= until)
            return -ERR_TIMEOUT;
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec = (soon.tv_nsec + 5000000) % 1000000000;
        pthread_mutex_lock(&c->k->lock);
        pthread_cond_timedwait(&c->k->changed, &c->k->lock, &soon);
        pthread_mutex_unlock(&c->k->lock);
    }
}

unsigned client_nodes(struct client *c UNUSED, uint32_t *ret_ids UNUSED, unsigned max UNUSED)
{
    return 0;
}

int client_ask_node(struct client *c UNUSED, uint32_t node UNUSED, unsigned type UNUSED,
                    struct bytes body UNUSED, unsigned timeout_ms UNUSED, unsigned *ret_type UNUSED,
                    struct buf **ret UNUSED)
{
    return -ERR_UNREACHABLE;
}

/* --- faults and counts ------------------------------------------------------------------------ */

void fake_before_write(struct client *c, unsigned n, void (*hook)(void *arg), void *arg)
{
    pthread_mutex_lock(&c->k->lock);
    c->hook_in = n;
    c->hook = hook;
    c->hook_arg = arg;
    pthread_mutex_unlock(&c->k->lock);
}

void fake_shuffle(struct fake_cluster *k, bool on)
{
    k->shuffle = on;
}

void fake_fail_write(struct client *c, unsigned n, int err)
{
    pthread_mutex_lock(&c->k->lock);
    c->fail_in = n;
    c->fail_err = err;
    pthread_mutex_unlock(&c->k->lock);
}

unsigned fake_reads(const struct client *c)
{
    return c->reads;
}

unsigned fake_writes(const struct client *c)
{
    return c->writes;
}

unsigned fake_count_keys(struct fake_cluster *k, char tag)
{
    unsigned n = 0;
    pthread_mutex_lock(&k->lock);
    struct store_iter *it = k->store->ops->iter_open(k->store, NULL, BYTES_NONE, BYTES_NONE);
    struct bytes key, value;
    while (k->store->ops->iter_next(it, &key, &value)) /* shard, table, then the client's tag */
        n += key.n > 3 && key.p[2] == TABLE_DATA && key.p[3] == (uint8_t)tag;
    T_OK(k->store->ops->iter_close(it));
    pthread_mutex_unlock(&k->lock);
    return n;
}
