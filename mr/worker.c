/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker: makes what runs here equal to what the inbox says, and tells that it is alive.
 *
 * The inbox is the whole truth about what this node shall run: attempts that are in it and not here
 * are started (once), those that are here and not in it are ended. Nothing is lost when a message
 * is, because there are no messages.
 */
#include <errno.h>
#include <dirent.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "mr/attempt.h"

#define ASLEEP_MS 20000
#define RETRY_MS  500

struct worker {
    struct mr_service *s;
    pthread_t thread;
    bool have_thread;
    struct client_cancel cancel;
    GPtrArray *attempts; /* running or ended, still in the inbox */
    uint64_t beat;
    bool awake, registered;
    uint64_t inbox_version;
};

/* --- reconciling ------------------------------------------------------------------------------ */

static bool listed(const struct attempt *a, const struct inbox_record *x)
{
    for (uint32_t i = 0; i < x->n_attempts; i++)
        if (attempt_is(a, &x->attempts[i]))
            return true;
    return false;
}

static void end_unlisted(struct worker *w, const struct inbox_record *x)
{
    for (guint i = 0; i < w->attempts->len; i++) {
        struct attempt *a = w->attempts->pdata[i];
        if (!listed(a, x))
            attempt_cancel(a);
    }
    for (guint i = w->attempts->len; i-- > 0;) {
        struct attempt *a = w->attempts->pdata[i];
        if (!listed(a, x) && attempt_ended(a)) {
            g_ptr_array_remove_index_fast(w->attempts, i);
            attempt_destroy(a);
        }
    }
}

static void start_listed(struct worker *w, const struct inbox_record *x)
{
    for (uint32_t i = 0; i < x->n_attempts; i++) {
        const struct running_record *r = &x->attempts[i];
        struct attempt *a;
        bool here = false;
        for (guint k = 0; k < w->attempts->len && !here; k++)
            here = attempt_is(w->attempts->pdata[k], r);
        if (here)
            continue;
        int rc = attempt_start(w->s, r, &a);
        if (rc < 0)
            service_log(w->s, LOG_ERROR, "attempt cannot start: %s", err_text(rc));
        else
            g_ptr_array_add(w->attempts, a);
    }
}

/* Spills of jobs that are over. */
static void remove_old_spills(struct worker *w, const struct inbox_record *x)
{
    char *root = g_strdup_printf("%s/jobs", w->s->o.data);
    DIR *d = opendir(root);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        bool keep = *e->d_name == '.';
        char *path = g_strdup_printf("%s/%s", root, e->d_name);
        for (uint32_t i = 0; i < x->n_jobs && !keep; i++) {
            char *live = spill_dir_path(w->s, x->jobs[i].job, x->jobs[i].epoch);
            keep = strcmp(live, path) == 0;
            g_free(live);
        }
        if (!keep)
            remove_tree(path);
        g_free(path);
    }
    if (d)
        closedir(d);
    g_free(root);
}

static int reconcile(struct worker *w, struct bytes value)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct inbox_record x = {0};
    int rc = value.n ? dec_inbox_record(value, &a, &x) : 0;
    if (rc < 0) {
        service_log(w->s, LOG_ERROR, "inbox of this worker is unreadable: %s", err_text(rc));
        return 0;
    }
    if (x.incarnation != w->s->incarnation) /* told to who was here before us */
        x.n_attempts = 0;
    end_unlisted(w, &x);
    start_listed(w, &x);
    remove_old_spills(w, &x);
    w->awake = x.awake;
    return 0;
}

/* --- heartbeats ------------------------------------------------------------------------------- */

static int beat(struct worker *w, struct state *st, bool stopped)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct worker_record r = {
        .incarnation = w->s->incarnation,
        .beat = ++w->beat,
        .slots = w->s->o.slots,
        .stopped = stopped,
        .running = arena_array(&a, w->attempts->len, sizeof *r.running),
    };
    for (guint i = 0; i < w->attempts->len; i++)
        if (!attempt_ended(w->attempts->pdata[i]))
            attempt_progress(w->attempts->pdata[i], &a, &r.running[r.n_running++]);
    enc_worker_record(&e, &r);
    return state_put(st, key_worker(&a, w->s->o.node), enc_view(&e));
}

/* --- the thread ------------------------------------------------------------------------------- */

static int turn(struct worker *w, struct door *d, struct state *st)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct txn t CLEANUP(txn_finish) = {0};
    bool was_awake = w->awake;
    unsigned wait = w->awake ? w->s->o.tick_ms : ASLEEP_MS;
    int rc = client_wait_key(d->client, &t, key_inbox(&a, w->s->o.node), w->inbox_version, wait,
                             &w->cancel);
    if (rc == 0) {
        w->inbox_version = t.reply.reads[0].version;
        rc = reconcile(w, t.reply.reads[0].value);
    } else if (rc == -ERR_TIMEOUT) {
        rc = 0;
    }
    if (rc == 0 && w->awake)
        rc = beat(w, st, false);
    if (rc == 0 && w->awake && !was_awake)
        rc = state_ring(st); /* a coordinator waits to see who is there */
    return rc;
}

static int work(struct worker *w, struct door *d)
{
    struct state st;
    int rc = state_init(&st, d->client, &w->cancel);
    if (rc == 0 && !w->registered) {
        rc = beat(w, &st, false);
        if (rc == 0)
            rc = state_ring(&st);
        w->registered = rc == 0;
    }
    while (rc == 0 && !w->s->stopping)
        rc = turn(w, d, &st);
    return rc;
}

static void say_goodbye(struct worker *w)
{
    struct door *d CLEANUP(door_leave) = NULL;
    struct state st;
    pthread_mutex_lock(&w->s->lock);
    if (w->s->door && !w->s->door->lost) {
        d = w->s->door;
        d->refs++;
    }
    pthread_mutex_unlock(&w->s->lock);
    if (!d || !w->registered || state_init(&st, d->client, NULL) < 0)
        return;
    /* One try, so that a cluster that is down does not hold up the shutdown: jobs then notice by
     * the lease. */
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct txn t CLEANUP(txn_finish) = {0};
    struct worker_record r = {.incarnation = w->s->incarnation,
                              .beat = ++w->beat,
                              .slots = w->s->o.slots,
                              .stopped = true};
    enc_worker_record(&e, &r);
    txn_put(&t, key_worker(&a, w->s->o.node), enc_view(&e));
    (void)!txn_run(d->client, &t, 500, NULL);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    volume_thread_cancel(&w->cancel);
    while (!w->s->stopping) {
        struct door *d CLEANUP(door_leave) = NULL;
        struct errmsg msg = {0};
        int rc = door_enter(w->s, &d, &msg);
        if (rc == 0) {
            rc = work(w, d);
            door_failed(w->s, d, rc);
        }
        if (rc < 0 && !w->s->stopping) {
            struct pollfd p = {w->cancel.fd, POLLIN, 0};
            poll(&p, 1, RETRY_MS);
        }
    }
    volume_thread_cancel(NULL);
    for (guint i = 0; i < w->attempts->len; i++)
        attempt_cancel(w->attempts->pdata[i]);
    for (guint i = 0; i < w->attempts->len; i++)
        attempt_destroy(w->attempts->pdata[i]);
    g_ptr_array_set_size(w->attempts, 0);
    say_goodbye(w);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

struct worker *worker_create(struct mr_service *s)
{
    struct worker *w = g_new0(struct worker, 1);
    w->s = s;
    w->cancel.fd = -1;
    w->attempts = g_ptr_array_new();
    return w;
}

int worker_start(struct worker *w)
{
    int rc = client_cancel_init(&w->cancel);
    if (rc == 0 && pthread_create(&w->thread, NULL, worker_main, w) != 0)
        rc = -ERR_NO_MEMORY;
    w->have_thread = rc == 0;
    return rc;
}

void worker_stop(struct worker *w)
{
    if (!w->have_thread)
        return;
    client_cancel_fire(&w->cancel);
    pthread_join(w->thread, NULL);
    w->have_thread = false;
}

void worker_destroy(struct worker *w)
{
    if (!w)
        return;
    worker_stop(w);
    if (w->cancel.fd >= 0)
        client_cancel_finish(&w->cancel);
    g_ptr_array_unref(w->attempts);
    g_free(w);
}
