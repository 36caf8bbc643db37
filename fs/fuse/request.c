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

struct running { /* one interrupted operation */
    struct request *r;
    struct client_cancel *cancel;
    pid_t pid;
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

static void *watch_main(void *arg)
{
    struct request_watch *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        if (w->running->len == 0) {
            (void)pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        for (guint i = 0; i < w->running->len; i++) {
            struct running *x = &g_array_index(w->running, struct running, i);
            bool ripe = x->r->waits || clock_mono_ns() - x->r->began_ns > PATIENCE_NS;
            if (ripe && (x->r->waits || asked_to_end(x->pid)))
                client_cancel_fire(x->cancel);
        }
        pthread_mutex_unlock(&w->lock);
        (void)usleep(LOOK_MS * 1000);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int request_watch_create(struct request_watch **ret)
{
    struct request_watch *w = g_new0(struct request_watch, 1);

    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
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

/* Called by libfuse on the thread that read the INTERRUPT. */
static void on_interrupt(fuse_req_t req, void *arg)
{
    struct request *r = arg;
    struct request_watch *w = r->d->watch;
    struct running x = {.r = r, .cancel = NULL, .pid = (pid_t)r->who.pid};

    (void)req;
    pthread_mutex_lock(&w->lock);
    r->interrupted = true;
    x.cancel = r->cancel;
    if (x.cancel)
        g_array_append_val(w->running, x);
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void request_begin(struct request *r, fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    r->req = req;
    r->d = daemon_of(req);
    r->waits = r->interrupted = false;
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

/* From here on nobody fires this thread's cancel for this request. */
void request_end(struct request *r)
{
    struct request_watch *w = r->d->watch;

    fuse_req_interrupt_func(r->req, NULL, NULL);
    if (!__atomic_load_n(&r->interrupted, __ATOMIC_RELAXED))
        return;
    pthread_mutex_lock(&w->lock);
    for (guint i = 0; i < w->running->len; i++)
        if (g_array_index(w->running, struct running, i).r == r)
            g_array_remove_index_fast(w->running, i--);
    pthread_mutex_unlock(&w->lock);
}

void request_error(struct request *r, int err)
{
    request_end(r);
    ASSERT(err <= 0);
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
    request_end(r);
    e.ino = a->ino;
    attr_to_stat(a, &e.attr);
    (void)fuse_reply_entry(r->req, &e);
}

void request_attr(struct request *r, int err, const struct volume_attr *a)
{
    struct stat st;

    if (err < 0) {
        request_error(r, err);
        return;
    }
    request_end(r);
    attr_to_stat(a, &st);
    (void)fuse_reply_attr(r->req, &st, 0);
}
