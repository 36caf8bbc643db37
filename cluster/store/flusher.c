/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/flusher.h"

#include <pthread.h>
#include <signal.h>

struct flusher {
    flusher_fn *fn;
    flusher_wake_fn *wake;
    void *arg, *wake_arg;
    pthread_t thread;
    bool running; /* the thread exists */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    enum { IDLE, ORDERED, DONE } state;
    bool stop;
    int result;
};

/* Returns with the lock held. False: it is time to end. */
static bool wait_for_order(struct flusher *f)
{
    pthread_mutex_lock(&f->lock);
    while (f->state != ORDERED && !f->stop)
        pthread_cond_wait(&f->changed, &f->lock);
    return f->state == ORDERED;
}

static void *work(void *arg)
{
    struct flusher *f = arg;
    while (wait_for_order(f)) {
        pthread_mutex_unlock(&f->lock);
        int result = f->fn(f->arg);
        pthread_mutex_lock(&f->lock);
        f->result = result;
        f->state = DONE;
        pthread_mutex_unlock(&f->lock);
        f->wake(f->wake_arg);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

struct flusher *flusher_create(flusher_fn *fn, void *arg, flusher_wake_fn *wake, void *wake_arg)
{
    struct flusher *f = g_new0(struct flusher, 1);
    *f = (struct flusher){.fn = fn, .arg = arg, .wake = wake, .wake_arg = wake_arg};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    return f;
}

void flusher_destroy(struct flusher *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (f->running)
        pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    g_free(f);
}

/* Signals are the loop's: the thread takes none. */
static void make_thread(struct flusher *f)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&f->thread, NULL, work, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ASSERT(err == 0); /* as for memory: nothing sensible can go on without */
    f->running = true;
}

void flusher_start(struct flusher *f)
{
    if (!f->running)
        make_thread(f);
    pthread_mutex_lock(&f->lock);
    ASSERT(f->state == IDLE);
    f->state = ORDERED;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

bool flusher_result(struct flusher *f, int *ret)
{
    pthread_mutex_lock(&f->lock);
    bool done = f->state == DONE;
    if (done) {
        *ret = f->result;
        f->state = IDLE;
    }
    pthread_mutex_unlock(&f->lock);
    return done;
}
