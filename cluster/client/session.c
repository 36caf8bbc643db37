/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - the session, the window of request numbers, and the keeper thread that keeps the
 * session alive and sees cancelled requests through to their answer.
 */
#include <signal.h>
#include <time.h>
#include "cluster/base/rng.h"
#include "cluster/client/impl.h"

/* Waits for a moment; the caller looks again. The lock is held. */
static void wait_moment(struct client *c, pthread_cond_t *cond, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(cond, &c->lock, &until);
}

static void wait_changed(struct client *c)
{
    c->n_waiting++;
    wait_moment(c, &c->changed, 50); /* for a cancel cannot end it */
    c->n_waiting--;
}

/* Each answered write comes here, and hardly ever does anybody wait. The lock is held. */
static void tell_changed(struct client *c)
{
    if (c->n_waiting > 0)
        pthread_cond_broadcast(&c->changed);
}

/* --- the keeper --- */

/* True if the cluster has heard it. */
static bool keep_alive(struct client *c, uint64_t session)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_status);
    struct msg_keepalive m = {.client = session};

    call_is_small(call);
    FRAME(&call->frame, keepalive, call->ticket.id, &m);
    if (call_run(c, call, deadline_in(SESSION_KEEPALIVE_MS), &c->keeper_cancel) < 0)
        return false;
    if (call_status(call) == ERR_NO_SESSION)
        session_lose(c, session);
    return true;
}

/* A call that nobody waits for any more. A while for each in turn: one that gets no answer must not
 * hold up the others or the session. */
static void see_through(struct client *c, struct client_call *call)
{
    if (call_run(c, call, deadline_in(1000), &c->keeper_cancel) < 0) {
        pthread_mutex_lock(&c->lock);
        g_queue_push_tail(&c->abandoned, call);
        pthread_mutex_unlock(&c->lock);
        return;
    }
    if (call_status(call) == ERR_NO_SESSION)
        session_lose(c, call->client);
    session_release_seq(c, call->client, call->seq);
    call_destroy(call);
}

static void *keeper_main(void *arg)
{
    struct client *c = arg;
    uint64_t due = deadline_in(SESSION_KEEPALIVE_MS);

    pthread_mutex_lock(&c->lock);
    while (!c->stopping) {
        struct client_call *call = g_queue_pop_head(&c->abandoned);
        uint64_t now = clock_mono_ns();
        uint64_t session = c->session_lost ? 0 : c->session;

        if (!call && now < due) {
            wait_moment(c, &c->keeper_work, (unsigned)((due - now) / 1000000) + 1);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        if (call)
            see_through(c, call);
        if (now >= due) {
            bool heard = !session || keep_alive(c, session);
            due = deadline_in(heard ? SESSION_KEEPALIVE_MS : BACKOFF_MAX_MS);
        }
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Signals are for the program's own threads. The lock is held. */
static int start_keeper(struct client *c)
{
    sigset_t all, old;

    if (c->keeper_running)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    c->keeper_running = pthread_create(&c->keeper, NULL, keeper_main, c) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return c->keeper_running ? 0 : -ERR_NO_MEMORY;
}

/* --- opening and losing --- */

/* The nonce makes the request safe to repeat: it gets the session that it made the first time. */
static int ask_for_session(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel,
                           uint64_t *ret)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_session_reply);
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_session_reply reply;
    struct msg_session_open m = {.name = bytes_str(c->name)};
    struct rng rng;

    rng_seed_os(&rng);
    m.nonce = rng_next(&rng);
    call_is_small(call);
    FRAME(&call->frame, session_open, call->ticket.id, &m);
    int r = call_run(c, call, deadline_ns, cancel);
    if (r < 0)
        return r;
    if (call_status(call) != 0)
        return -(int)call_status(call);
    if (call->reply_type != MSG_session_reply ||
        dec_session_reply(buf_bytes(call->reply), &a, &reply) < 0 || reply.client == 0)
        return -ERR_INVALID;
    *ret = reply.client;
    return 0;
}

/* Lets go of the lock meanwhile. */
static int open_locked(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel)
{
    uint64_t session = 0;

    c->session_opening = true;
    pthread_mutex_unlock(&c->lock);
    int r = ask_for_session(c, deadline_ns, cancel, &session);
    pthread_mutex_lock(&c->lock);
    c->session_opening = false;
    if (r == 0)
        r = start_keeper(c);
    if (r == 0) {
        c->session = session;
        c->session_lost = false;
        c->next_seq = 1;
        c->n_outstanding = 0;
    }
    tell_changed(c);
    return r;
}

/* Until no other thread is opening one. The lock is held. */
static int await_opening(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel)
{
    while (c->session_opening) {
        if (cancel_fired(cancel))
            return -ERR_CANCELED;
        if (deadline_over(deadline_ns))
            return -ERR_TIMEOUT;
        wait_changed(c);
    }
    return 0;
}

int session_need(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel)
{
    pthread_mutex_lock(&c->lock);
    int r = await_opening(c, deadline_ns, cancel);
    if (r == 0 && c->session_lost)
        r = -ERR_NO_SESSION;
    else if (r == 0 && !c->session)
        r = open_locked(c, deadline_ns, cancel);
    pthread_mutex_unlock(&c->lock);
    return r;
}

int client_new_session(struct client *c)
{
    uint64_t deadline_ns = deadline_in(UNASKED_MS);

    pthread_mutex_lock(&c->lock);
    int r = await_opening(c, deadline_ns, NULL);
    if (r == 0 && (c->session_lost || !c->session))
        r = open_locked(c, deadline_ns, NULL);
    pthread_mutex_unlock(&c->lock);
    return r;
}

uint64_t client_session(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t session = c->session_lost ? 0 : c->session;
    pthread_mutex_unlock(&c->lock);
    return session;
}

void session_lose(struct client *c, uint64_t client)
{
    bool first;

    pthread_mutex_lock(&c->lock);
    first = client && c->session == client && !c->session_lost;
    if (first)
        c->session_lost = true;
    tell_changed(c);
    pthread_mutex_unlock(&c->lock);
    if (first && c->options.on_session_lost)
        c->options.on_session_lost(c->options.ctx);
}

/* --- request numbers --- */

/* At most SESSION_WINDOW outstanding, and none further than that from the oldest, so that the
 * results kept for this client stay bounded. The lock is held. */
static bool window_open(const struct client *c)
{
    return c->n_outstanding < SESSION_WINDOW &&
           (c->n_outstanding == 0 || c->next_seq - c->outstanding[0] < SESSION_WINDOW);
}

/* 0, -ERR_BUSY or -ERR_NO_SESSION. The lock is held. */
static int take_locked(struct client *c, uint64_t *ret_client, uint64_t *ret_seq,
                       uint64_t *ret_acked_below)
{
    if (c->session_lost)
        return -ERR_NO_SESSION;
    if (!c->session || !window_open(c))
        return -ERR_BUSY;
    *ret_client = c->session;
    *ret_seq = c->next_seq++;
    c->outstanding[c->n_outstanding++] = *ret_seq;
    *ret_acked_below = c->outstanding[0];
    return 0;
}

int session_take_seq(struct client *c, uint64_t *ret_client, uint64_t *ret_seq,
                     uint64_t *ret_acked_below)
{
    pthread_mutex_lock(&c->lock);
    int r = take_locked(c, ret_client, ret_seq, ret_acked_below);
    pthread_mutex_unlock(&c->lock);
    return r;
}

int session_wait_seq(struct client *c, uint64_t deadline_ns, struct client_cancel *cancel,
                     uint64_t *ret_client, uint64_t *ret_seq, uint64_t *ret_acked_below)
{
    int r;

    pthread_mutex_lock(&c->lock);
    while ((r = take_locked(c, ret_client, ret_seq, ret_acked_below)) == -ERR_BUSY) {
        if (cancel_fired(cancel))
            r = -ERR_CANCELED;
        else if (deadline_over(deadline_ns))
            r = -ERR_TIMEOUT;
        else {
            wait_changed(c);
            continue;
        }
        break;
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

void session_release_seq(struct client *c, uint64_t client, uint64_t seq)
{
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; client == c->session && i < c->n_outstanding; i++) {
        if (c->outstanding[i] != seq)
            continue;
        memmove(&c->outstanding[i], &c->outstanding[i + 1],
                (c->n_outstanding - i - 1) * sizeof(c->outstanding[0]));
        c->n_outstanding--;
        tell_changed(c);
        break;
    }
    pthread_mutex_unlock(&c->lock);
}

void session_abandon(struct client *c, struct client_call *call)
{
    call->txn = NULL;
    pthread_mutex_lock(&c->lock);
    g_queue_push_tail(&c->abandoned, call);
    pthread_cond_signal(&c->keeper_work);
    pthread_mutex_unlock(&c->lock);
}

static void close_session(struct client *c)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_session_reply);
    struct msg_session_close m = {.client = c->session};

    call_is_small(call);
    FRAME(&call->frame, session_close, call->ticket.id, &m);
    (void)!call_run(c, call, deadline_in(1000), NULL); /* else it expires by itself */
}

void session_finish(struct client *c)
{
    struct client_call *call;

    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->keeper_work);
    pthread_mutex_unlock(&c->lock);
    client_cancel_fire(&c->keeper_cancel);
    if (c->keeper_running)
        (void)pthread_join(c->keeper, NULL);
    while ((call = g_queue_pop_head(&c->abandoned)))
        call_destroy(call);
    if (c->session && !c->session_lost)
        close_session(c);
}
