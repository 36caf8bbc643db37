/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/job_thread.h"

#include <pthread.h>
#include <signal.h>

struct job_thread {
    job_thread_wake_fn *wake; /* NULL: no thread */
    void *wake_arg;
    pthread_t thread;
    bool running; /* the thread exists */

    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t changed;  /* for the thread: there is work, or it is time to end */
    pthread_cond_t finished; /* for the others: a job has ended */
    GQueue waiting, ended;   /* struct store_job * */
    struct store_job *now;   /* worked on */
    bool stop;
};

/* Returns with the lock held. NULL: it is time to end. */
static struct store_job *next_job(struct job_thread *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->waiting.head && !w->stop)
        pthread_cond_wait(&w->changed, &w->lock);
    return w->now = g_queue_pop_head(&w->waiting);
}

static void *work(void *arg)
{
    struct job_thread *w = arg;
    struct store_job *j;
    while ((j = next_job(w)) != NULL) {
        pthread_mutex_unlock(&w->lock);
        j->work(j);
        pthread_mutex_lock(&w->lock);
        w->now = NULL;
        g_queue_push_tail(&w->ended, j);
        pthread_cond_broadcast(&w->finished);
        pthread_mutex_unlock(&w->lock);
        w->wake(w->wake_arg);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct job_thread *job_thread_create(job_thread_wake_fn *wake, void *wake_arg)
{
    struct job_thread *w = g_new0(struct job_thread, 1);
    w->wake = wake;
    w->wake_arg = wake_arg;
    g_queue_init(&w->waiting);
    g_queue_init(&w->ended);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    pthread_cond_init(&w->finished, NULL);
    return w;
}

void job_thread_destroy(struct job_thread *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    ASSERT(!w->waiting.head && !w->now && !w->ended.head);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->running)
        pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_cond_destroy(&w->finished);
    pthread_mutex_destroy(&w->lock);
    g_free(w);
}

/* Signals are the loop's: the thread takes none. */
static void make_thread(struct job_thread *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ASSERT(err == 0); /* as for memory: nothing sensible can go on without */
    w->running = true;
}

void job_thread_submit(struct job_thread *w, struct store_job *j)
{
    j->given_up = false;
    if (!w->wake) {
        j->work(j);
        g_queue_push_tail(&w->ended, j);
        return;
    }
    if (!w->running)
        make_thread(w);
    pthread_mutex_lock(&w->lock);
    g_queue_push_tail(&w->waiting, j);
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static struct store_job *take_ended(struct job_thread *w)
{
    pthread_mutex_lock(&w->lock);
    struct store_job *j = g_queue_pop_head(&w->ended);
    pthread_mutex_unlock(&w->lock);
    return j;
}

void job_thread_poll(struct job_thread *w)
{
    struct store_job *j;
    while ((j = take_ended(w)) != NULL)
        j->done(j);
}

void job_thread_drain(struct job_thread *w)
{
    pthread_mutex_lock(&w->lock);
    GQueue left = w->waiting;
    g_queue_init(&w->waiting);
    while (w->now)
        pthread_cond_wait(&w->finished, &w->lock);
    pthread_mutex_unlock(&w->lock);
    job_thread_poll(w);
    struct store_job *j;
    while ((j = g_queue_pop_head(&left)) != NULL) {
        j->given_up = true;
        j->done(j);
    }
}

void job_thread_forget(struct job_thread *w, struct store_job *j)
{
    pthread_mutex_lock(&w->lock);
    while (w->now == j)
        pthread_cond_wait(&w->finished, &w->lock);
    g_queue_remove(&w->waiting, j);
    g_queue_remove(&w->ended, j);
    pthread_mutex_unlock(&w->lock);
}
