/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/host_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/limits.h"
#include "cluster/node/sync_thread.h"

/* After a pause of the process (a stopped machine, a slow sync) so many ticks are caught up with at
 * once; more would only make elections out of the past. What ends in any case goes by the node's
 * clock, not by ticks (leases). */
#define CATCH_UP_TICKS (HEARTBEAT_TICKS)
/* More than so much, a few small entries, was written: the sync goes to another thread. Measured in
 * README.md; to measure again, build with -Dc_args=-DSYNC_INLINE_BYTES=0 (always) and =1e9 (never),
 * and compare with tests/bench/builds.sh. */
#ifndef SYNC_INLINE_BYTES
#define SYNC_INLINE_BYTES KIB(4)
#endif
#define NET_TICKS         (200 / TICK_MS)
#define TICK_NS           (TICK_MS * 1000000ull)

struct post {
    host_fn *fn;
    void *arg;
};

struct host {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: the loop does not sleep */
    uv_async_t door;
    uv_signal_t on_term, on_int;
    uv_poll_t parent;
    int parent_fd;
    bool parent_ended;
    struct net_uv *net;
    struct node *node;
    uint64_t next_tick_ns;
    unsigned ticks;
    bool input; /* a tick, a post or a wake: a round is due */
    bool stopping;
    uint64_t stop_at_ns; /* 0: never */
    int signal;

    pthread_mutex_t lock; /* guards posts */
    GArray *posts;        /* struct post */

    struct disk_ops disk_ops;
    int (*disk_write)(struct disk_file *f, const struct iovec *iov, int n, uint64_t off);
    void (*disk_sync)(struct disk_file *f, disk_done_fn *done, void *arg);
    size_t unsynced; /* bytes written since the last sync */
    struct sync_thread *syncs;
};

/* The disk has no place for a context; there is one host in a process. */
static struct host *the_host;

/* --- turns ------------------------------------------------------------------------------------ */

static void run_posts(struct host *h)
{
    pthread_mutex_lock(&h->lock);
    GArray *posts = h->posts;
    h->posts = g_array_new(FALSE, FALSE, sizeof(struct post));
    pthread_mutex_unlock(&h->lock);
    for (guint i = 0; i < posts->len; i++) {
        const struct post *p = &g_array_index(posts, struct post, i);
        p->fn(p->arg);
    }
    g_array_free(posts, TRUE);
}

static void on_idle(uv_idle_t *i)
{
    /* That it is active is all that is wanted of it: the poll does not wait. */
}

static void turn(struct host *h)
{
    net_uv_deliver(h->net);
    bool due = net_uv_was_active(h->net) || h->input;
    h->input = false;
    if (h->node && !h->stopping && (due || node_has_work(h->node)))
        node_round(h->node);
    net_uv_flush(h->net);

    bool busy = net_uv_has_work(h->net) || (h->node && node_has_work(h->node));
    if (h->stopping)
        uv_stop(&h->loop);
    else if (busy && !uv_is_active((uv_handle_t *)&h->idle))
        uv_idle_start(&h->idle, on_idle);
    else if (!busy && uv_is_active((uv_handle_t *)&h->idle))
        uv_idle_stop(&h->idle);
}

/* Before the poll: what timers and closings brought. */
static void on_prepare(uv_prepare_t *p)
{
    struct host *h = p->data;
    if (h->input || net_uv_has_work(h->net))
        turn(h);
}

static void on_check(uv_check_t *c)
{
    turn(c->data);
}

static void on_timer(uv_timer_t *t)
{
    struct host *h = t->data;
    uint64_t now = clock_mono_ns();
    if (now > h->next_tick_ns + CATCH_UP_TICKS * TICK_NS)
        h->next_tick_ns = now - CATCH_UP_TICKS * TICK_NS;
    while (h->next_tick_ns <= now) {
        h->next_tick_ns += TICK_NS;
        h->input = true;
        node_tick(h->node);
        if (++h->ticks % NET_TICKS == 0)
            net_uv_tick(h->net);
    }
    if (h->stop_at_ns && now >= h->stop_at_ns)
        h->stopping = true;
    uint64_t left_ms = (h->next_tick_ns - now) / 1000000u;
    uv_timer_start(t, on_timer, left_ms + 1, 0);
}

/* --- the door, signals, the parent -------------------------------------------------------------
 */

static void on_door(uv_async_t *a)
{
    struct host *h = a->data;
    h->input = true;
    run_posts(h);
}

void host_wake(void *arg)
{
    struct host *h = arg;
    uv_async_send(&h->door);
}

void host_post(struct host *h, host_fn *fn, void *arg)
{
    const struct post p = {fn, arg};
    pthread_mutex_lock(&h->lock);
    g_array_append_val(h->posts, p);
    pthread_mutex_unlock(&h->lock);
    uv_async_send(&h->door);
}

static void stop_now(void *arg)
{
    struct host *h = arg;
    h->stopping = true;
}

void host_stop(struct host *h)
{
    host_post(h, stop_now, h);
}

void host_stop_within(struct host *h, unsigned ms)
{
    h->stop_at_ns = clock_mono_ns() + ms * UINT64_C(1000000);
}

static void on_signal(uv_signal_t *s, int number)
{
    struct host *h = s->data;
    h->signal = number;
    h->stopping = true;
}

static void on_parent(uv_poll_t *p, int status, int events)
{
    struct host *h = p->data;
    char waste[64];
    ssize_t n = read(h->parent_fd, waste, sizeof(waste));
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    uv_poll_stop(p);
    h->parent_ended = true;
    h->stopping = true;
}

int host_watch_parent(struct host *h, int fd, struct errmsg *msg)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return errmsg_set(msg, -ERR_CONFIG, "--parent-fd %d: %s", fd, strerror(errno));
    int r = uv_poll_init(&h->loop, &h->parent, fd);
    if (r < 0)
        return errmsg_set(msg, -ERR_CONFIG, "--parent-fd %d: not a pipe: %s", fd, uv_strerror(r));
    h->parent.data = h;
    h->parent_fd = fd;
    return 0;
}

/* --- disk ------------------------------------------------------------------------------------- */

static int write_after_flush(struct disk_file *f, const struct iovec *iov, int n, uint64_t off)
{
    net_uv_flush(the_host->net);
    for (int i = 0; i < n; i++)
        the_host->unsynced += iov[i].iov_len;
    return the_host->disk_write(f, iov, n, off);
}

/* A lone request waits for the disk anyway, and two hand-overs would only add to that. Where many
 * are under way their input and their answers keep this thread busy meanwhile. */
static void sync_after_flush(struct disk_file *f, disk_done_fn *done, void *arg)
{
    struct host *h = the_host;
    bool busy = h->unsynced > SYNC_INLINE_BYTES;
    h->unsynced = 0;
    net_uv_flush(h->net);
    if (!busy || !h->node) {
        h->disk_sync(f, done, arg);
        return;
    }
    sync_thread_submit(h->syncs, h->disk_sync, f, done, arg);
}

struct disk *host_disk(struct host *h, struct disk *disk)
{
    h->disk_ops = *disk->ops;
    h->disk_sync = disk->ops->sync;
    h->disk_write = disk->ops->write;
    h->disk_ops.sync = sync_after_flush;
    h->disk_ops.write = write_after_flush;
    disk->ops = &h->disk_ops;
    return disk;
}

/* --- life ------------------------------------------------------------------------------------- */

struct host *host_create(struct tls_ctx *tls)
{
    ASSERT(!the_host);
    struct host *h = g_new0(struct host, 1);
    the_host = h;
    int r = uv_loop_init(&h->loop);
    ASSERT(r == 0); /* fails for want of memory or descriptors only */
    uv_timer_init(&h->loop, &h->timer);
    uv_prepare_init(&h->loop, &h->prepare);
    uv_check_init(&h->loop, &h->check);
    uv_idle_init(&h->loop, &h->idle);
    r = uv_async_init(&h->loop, &h->door, on_door);
    ASSERT(r == 0);
    uv_signal_init(&h->loop, &h->on_term);
    uv_signal_init(&h->loop, &h->on_int);
    h->timer.data = h->prepare.data = h->check.data = h->idle.data = h;
    h->door.data = h->on_term.data = h->on_int.data = h;
    h->parent_fd = -1;
    pthread_mutex_init(&h->lock, NULL);
    h->posts = g_array_new(FALSE, FALSE, sizeof(struct post));
    h->net = net_uv_create(&h->loop, tls);
    h->syncs = sync_thread_create(&h->loop);
    return h;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void host_destroy(struct host *h)
{
    if (!h)
        return;
    net_uv_destroy(h->net);
    sync_thread_destroy(h->syncs);
    uv_walk(&h->loop, close_handle, NULL);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    int r = uv_loop_close(&h->loop);
    ASSERT(r == 0);
    if (h->parent_fd >= 0)
        close(h->parent_fd);
    g_array_free(h->posts, TRUE);
    pthread_mutex_destroy(&h->lock);
    the_host = NULL;
    g_free(h);
}

struct net_uv *host_net(struct host *h)
{
    return h->net;
}

int host_run(struct host *h, struct node *node)
{
    h->node = node;
    h->input = true;
    h->stopping = false;
    h->next_tick_ns = clock_mono_ns() + TICK_NS;
    net_uv_set_handler(h->net, node_net_handler(node));
    uv_timer_start(&h->timer, on_timer, TICK_MS, 0);
    uv_prepare_start(&h->prepare, on_prepare);
    uv_check_start(&h->check, on_check);
    uv_signal_start(&h->on_term, on_signal, SIGTERM);
    uv_signal_start(&h->on_int, on_signal, SIGINT);
    if (h->parent_fd >= 0 && !h->parent_ended)
        uv_poll_start(&h->parent, UV_READABLE | UV_DISCONNECT, on_parent);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    while (sync_thread_busy(h->syncs))
        uv_run(&h->loop, UV_RUN_ONCE);
    net_uv_flush(h->net);
    net_uv_set_handler(h->net, NULL);
    h->node = NULL;
    h->stop_at_ns = 0;
    return h->signal;
}
