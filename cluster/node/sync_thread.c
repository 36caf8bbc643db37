/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/sync_thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
    sync_fn *sync;
    struct disk_file *file;
    disk_done_fn *done;
    void *arg;
    int err;
};

struct sync_thread {
    pthread_t thread;
    uv_poll_t *bell; /* of fd; on the heap of its own, as libuv closes late */
    int fd;          /* eventfd: a job has ended */
    unsigned n_jobs; /* submitted and not told yet */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    GQueue todo, ended; /* struct job */
    bool stopping;
};

/* --- the thread ------------------------------------------------------------------------------- */

static void note_result(void *arg, int err)
{
    ((struct job *)arg)->err = err;
}

static void *thread_main(void *arg)
{
    struct sync_thread *t = arg;
    struct job *job;

    pthread_mutex_lock(&t->lock);
    for (;;) {
        while ((job = g_queue_pop_head(&t->todo)) == NULL && !t->stopping)
            pthread_cond_wait(&t->work, &t->lock);
        if (!job)
            break;
        pthread_mutex_unlock(&t->lock);
        job->sync(job->file, note_result, job);
        pthread_mutex_lock(&t->lock);
        g_queue_push_tail(&t->ended, job);
        pthread_mutex_unlock(&t->lock);
        (void)eventfd_write(t->fd, 1); /* fails only when it rings already */
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* --- the loop --------------------------------------------------------------------------------- */

static struct job *next_ended(struct sync_thread *t)
{
    pthread_mutex_lock(&t->lock);
    struct job *job = g_queue_pop_head(&t->ended);
    pthread_mutex_unlock(&t->lock);
    return job;
}

static void on_bell(uv_poll_t *p, int status, int events)
{
    struct sync_thread *t = p->data;
    eventfd_t count;
    struct job *job;

    (void)eventfd_read(t->fd, &count);
    while ((job = next_ended(t)) != NULL) {
        t->n_jobs--;
        job->done(job->arg, job->err);
        g_free(job);
    }
}

void sync_thread_submit(struct sync_thread *t, sync_fn *sync, struct disk_file *f,
                        disk_done_fn *done, void *arg)
{
    struct job *job = g_new(struct job, 1);

    *job = (struct job){.sync = sync, .file = f, .done = done, .arg = arg};
    t->n_jobs++;
    pthread_mutex_lock(&t->lock);
    g_queue_push_tail(&t->todo, job);
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
}

bool sync_thread_busy(const struct sync_thread *t)
{
    return t->n_jobs > 0;
}

/* --- life ------------------------------------------------------------------------------------- */

struct sync_thread *sync_thread_create(uv_loop_t *loop)
{
    struct sync_thread *t = g_new0(struct sync_thread, 1);
    sigset_t all, old;

    g_queue_init(&t->todo);
    g_queue_init(&t->ended);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    t->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->bell = g_new0(uv_poll_t, 1);
    int r = t->fd < 0 ? -errno : uv_poll_init(loop, t->bell, t->fd);
    ASSERT(r == 0); /* fails for want of memory or descriptors only */
    t->bell->data = t;
    uv_poll_start(t->bell, UV_READABLE, on_bell);
    /* Signals are the loop's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&t->thread, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    ASSERT(r == 0);
    return t;
}

static void on_closed(uv_handle_t *h)
{
    g_free(h);
}

void sync_thread_destroy(struct sync_thread *t)
{
    if (!t)
        return;
    ASSERT(t->n_jobs == 0);
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    (void)pthread_join(t->thread, NULL);
    uv_close((uv_handle_t *)t->bell, on_closed);
    close(t->fd);
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
}
