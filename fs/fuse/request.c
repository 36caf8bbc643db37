/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - the frame around each operation: who asks, what may interrupt it, one reply.
 *
 * The kernel sends INTERRUPT once, for any signal. Ending every operation then would make programs
 * with timers (git's progress) see EINTR from mkdir, so the rule is: an operation that waits by its
 * nature (a lock, `wait`) ends at once; any other only after it has waited for a second, and only
 * for a signal that asks the program to end. What is pending is read from /proc, again and again
 * while the operation goes on, as no second INTERRUPT would come.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "fs/fuse/daemon.h"

#define PATIENCE_NS 1000000000u
#define LOOK_MS     100
#define IDLE_MS     1000
#define PF_EXITING  0x4 /* of the flags in /proc/PID/stat */

struct running { /* an operation that was interrupted, or a flush */
    struct request *r;
    struct client_cancel *cancel;
    pid_t pid;
    uint64_t fired_ns; /* 0: not yet */
};

struct request_watch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool started, stop;
    GArray *running; /* struct running */
};

/* Each worker thread has one cancel; it lives as long as the thread. */
static pthread_key_t cancel_key;
static pthread_once_t cancel_once = PTHREAD_ONCE_INIT;

static void cancel_free(void *p)
{
    client_cancel_finish(p);
    g_free(p);
}

static void cancel_key_make(void)
{
    ASSERT(pthread_key_create(&cancel_key, cancel_free) == 0);
}

static struct client_cancel *thread_cancel(void)
{
    (void)pthread_once(&cancel_once, cancel_key_make);
    struct client_cancel *x = pthread_getspecific(cancel_key);

    if (x)
        return x;
    x = g_new0(struct client_cancel, 1);
    if (client_cancel_init(x) < 0) { /* out of descriptors: this thread's waits cannot be ended */
        g_free(x);
        return NULL;
    }
    (void)pthread_setspecific(cancel_key, x);
    volume_thread_cancel(x);
    return x;
}

/* Does the thread have a pending signal that asks it to end? */
static bool asked_to_end(pid_t pid)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGKILL, SIGPIPE, SIGABRT};
    char path[40], line[256];
    uint64_t pending = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return true; /* it is gone: nobody waits for the answer */
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "SigPnd:", 7) == 0 || strncmp(line, "ShdPnd:", 7) == 0)
            pending |= strtoull(line + 7, NULL, 16);
    (void)fclose(f);
    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        if (pending & (UINT64_C(1) << (ending[i] - 1)))
            return true;
    return false;
}

/* Is the caller on its way out? Field 9 of its stat, counted after the name's last ')'. */
static bool is_exiting(pid_t pid)
{
    char path[40], line[1024];
    unsigned long flags = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return true;
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    (void)fclose(f);
    line[n] = '\0';
    const char *after = strrchr(line, ')');
    if (after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags) == 1)
        return (flags & PF_EXITING) != 0;
    return false;
}

/* Shall the caller be let go? The lock is held. */
static bool to_be_ended(const struct running *x, uint64_t now)
{
    if (x->r->waits && x->r->interrupted)
        return true;
    if (now - x->r->began_ns < PATIENCE_NS)
        return false;
    return (x->r->interrupted && asked_to_end(x->pid)) || (x->r->flushes && is_exiting(x->pid));
}

static void look_at(struct running *x)
{
    uint64_t now = clock_mono_ns();

    if (x->r->ending || x->r->answered)
        return;
    if (!x->fired_ns) {
        if (!to_be_ended(x, now))
            return;
        x->fired_ns = now;
        if (x->cancel)
            client_cancel_fire(x->cancel);
    } else if (now - x->fired_ns > PATIENCE_NS) {
        x->r->answered = true;
        if (x->r->let_go)
            __atomic_store_n(x->r->let_go, true, __ATOMIC_RELAXED);
        (void)fuse_reply_err(x->r->req, EINTR);
    }
}

static void watch_wait(struct request_watch *w, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&w->changed, &w->lock, &until);
}

static void *watch_main(void *arg)
{
    struct request_watch *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        bool interrupted = false;
        for (guint i = 0; i < w->running->len; i++) {
            struct running *x = &g_array_index(w->running, struct running, i);
            interrupted |= x->r->interrupted || x->fired_ns;
            look_at(x);
        }
        watch_wait(w, interrupted ? LOOK_MS : IDLE_MS);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int request_watch_create(struct request_watch **ret)
{
    struct request_watch *w = g_new0(struct request_watch, 1);
    pthread_condattr_t attr;

    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attr);
    pthread_condattr_destroy(&attr);
    w->running = g_array_new(FALSE, FALSE, sizeof(struct running));
    if (pthread_create(&w->thread, NULL, watch_main, w) != 0) {
        request_watch_destroy(w);
        return -EAGAIN;
    }
    w->started = true;
    *ret = w;
    return 0;
}

void request_watch_destroy(struct request_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->started)
        (void)pthread_join(w->thread, NULL);
    g_array_unref(w->running);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    g_free(w);
}

/* The lock is held. */
static void add_running(struct request_watch *w, struct request *r)
{
    struct running x = {.r = r, .cancel = r->cancel, .pid = (pid_t)r->who.pid};

    for (guint i = 0; i < w->running->len; i++)
        if (g_array_index(w->running, struct running, i).r == r)
            return;
    g_array_append_val(w->running, x);
}

/* Called by libfuse on the thread that read the INTERRUPT. */
static void on_interrupt(fuse_req_t req, void *arg)
{
    struct request *r = arg;
    struct request_watch *w = r->d->watch;

    (void)req;
    pthread_mutex_lock(&w->lock);
    r->interrupted = true;
    add_running(w, r);
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void request_begin(struct request *r, fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    r->req = req;
    r->d = daemon_of(req);
    r->waits = r->flushes = r->interrupted = r->answered = r->ending = false;
    r->let_go = NULL;
    r->who = (struct volume_caller){.uid = ctx->uid,
                                    .gid = ctx->gid,
                                    .pid = (uint32_t)ctx->pid,
                                    .umask = ctx->umask,
                                    .capable = ctx->uid == 0};
    r->cancel = thread_cancel();
    r->began_ns = clock_mono_ns();
    if (r->cancel)
        client_cancel_reset(r->cancel);
    fuse_req_interrupt_func(req, on_interrupt, r);
}

void request_waits(struct request *r)
{
    pthread_mutex_lock(&r->d->watch->lock);
    r->waits = true;
    pthread_mutex_unlock(&r->d->watch->lock);
}

void request_groups(struct request *r)
{
    int n = fuse_req_getgroups(r->req, ARRAY_LEN(r->groups), r->groups);

    r->who.groups = r->groups;
    r->who.n_groups = n < 0 ? 0 : MIN((unsigned)n, ARRAY_LEN(r->groups));
}

void request_flushes(struct request *r, bool *let_go)
{
    pthread_mutex_lock(&r->d->watch->lock);
    r->flushes = true;
    r->let_go = let_go;
    add_running(r->d->watch, r); /* the watch comes by within a second: no hand-over for it */
    pthread_mutex_unlock(&r->d->watch->lock);
}

/* After `ending` the watch leaves the request alone; after the second step no INTERRUPT of it is
 * under way either, and this thread's cancel is its own again. */
bool request_end(struct request *r)
{
    struct request_watch *w = r->d->watch;

    pthread_mutex_lock(&w->lock);
    bool answered = r->answered;
    r->ending = true;
    pthread_mutex_unlock(&w->lock);
    if (!answered)
        fuse_req_interrupt_func(r->req, NULL, NULL);
    pthread_mutex_lock(&w->lock);
    for (guint i = 0; i < w->running->len; i++)
        if (g_array_index(w->running, struct running, i).r == r)
            g_array_remove_index_fast(w->running, i--);
    pthread_mutex_unlock(&w->lock);
    return !answered;
}

void request_error(struct request *r, int err)
{
    ASSERT(err <= 0);
    if (request_end(r))
        (void)fuse_reply_err(r->req, -err);
}

/* Nanoseconds are signed in meaning: files may be older than 1970. */
static struct timespec to_timespec(uint64_t ns)
{
    int64_t t = (int64_t)ns, sec = t / 1000000000, nsec = t % 1000000000;

    return nsec < 0 ? (struct timespec){sec - 1, nsec + 1000000000} : (struct timespec){sec, nsec};
}

void attr_to_stat(const struct volume_attr *a, struct stat *st)
{
    *st = (struct stat){
        .st_ino = a->ino,
        .st_mode = a->mode,
        .st_nlink = a->nlink,
        .st_uid = a->uid,
        .st_gid = a->gid,
        .st_rdev = a->rdev,
        .st_size = (off_t)a->size,
        .st_blocks = (blkcnt_t)a->blocks,
        .st_blksize = FS_BLOCK,
        .st_atim = to_timespec(a->atime_ns),
        .st_mtim = to_timespec(a->mtime_ns),
        .st_ctim = to_timespec(a->ctime_ns),
    };
}

void request_entry(struct request *r, int err, const struct volume_attr *a)
{
    struct fuse_entry_param e = {0};

    if (err < 0) {
        request_error(r, err);
        return;
    }
    e.ino = a->ino;
    attr_to_stat(a, &e.attr);
    if (request_end(r))
        (void)fuse_reply_entry(r->req, &e);
}

void request_attr(struct request *r, int err, const struct volume_attr *a)
{
    struct stat st;

    if (err < 0) {
        request_error(r, err);
        return;
    }
    attr_to_stat(a, &st);
    if (request_end(r))
        (void)fuse_reply_attr(r->req, &st, 0);
}
