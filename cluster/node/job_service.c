/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_service.c - runs mr/'s service beside the node.
 *
 * The loop's thread never waits for it: following the leadership (which may have to wait for a
 * coordinator thread to end) and answering FETCH (which reads a file) are done by two threads of
 * our own. FETCH requests wait in a bounded queue; beyond it they are answered BUSY, and the
 * fetcher asks again.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "cluster/base/buf.h"
#include "cluster/base/msg.h"
#include "cluster/node/job_service.h"
#include "mr/service.h"

#define FETCHES_MAX 256

struct fetch {
    struct node *node;
    uint64_t conn_token, id;
    struct buf *body;
    struct enc answer;
};

struct job_runner {
    struct host *host;
    struct node *node;
    struct mr_service *mr;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool leading, stop; /* lock */
    GQueue fetches;     /* lock */
    pthread_t lead_thread, fetch_thread;
    bool has_lead_thread, has_fetch_thread;
};

/* --- leadership --- */

static void *lead_main(void *arg)
{
    struct job_runner *s = arg;
    bool told = false;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (told == s->leading) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        told = s->leading;
        pthread_mutex_unlock(&s->lock);
        mr_service_lead(s->mr, told);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void on_lead(void *arg, uint32_t gid, bool leading)
{
    struct job_runner *s = arg;

    if (gid != 0)
        return;
    pthread_mutex_lock(&s->lock);
    s->leading = leading;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* --- shuffle --- */

static void fetch_free(struct fetch *f)
{
    buf_unref(f->body);
    enc_finish(&f->answer);
    g_free(f);
}

static void answer(void *arg) /* on the loop's thread */
{
    struct fetch *f = arg;

    node_answer(f->node, f->conn_token, enc_view(&f->answer));
    fetch_free(f);
}

static void serve(struct job_runner *s, struct fetch *f)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_status refused = {.status = ERR_INVALID};
    struct msg_fetch m;

    if (dec_fetch(buf_bytes(f->body), &a, &m) < 0) {
        FRAME(&f->answer, status, f->id, &refused);
    } else {
        size_t at = frame_begin(&f->answer);
        mr_service_fetch(s->mr, &m, &f->answer);
        frame_end(&f->answer, at, MSG_fetch_reply, f->id);
    }
    host_post(s->host, answer, f);
}

static void *fetch_main(void *arg)
{
    struct job_runner *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        struct fetch *f = g_queue_pop_head(&s->fetches);
        if (!f) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        serve(s, f);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool on_other(void *arg, struct net_conn *c, enum role role, unsigned type, uint64_t id,
                     struct bytes body)
{
    struct job_runner *s = arg;
    struct fetch *f = g_new0(struct fetch, 1);
    struct msg_status busy = {.status = ERR_BUSY};

    if (type != MSG_fetch) {
        g_free(f);
        return false;
    }
    *f = (struct fetch){.node = s->node,
                        .conn_token = node_conn_token(s->node, c),
                        .id = id,
                        .body = buf_copy(body)};
    pthread_mutex_lock(&s->lock);
    bool room =
        g_queue_get_length(&s->fetches) < FETCHES_MAX && (role == ROLE_NODE || role == ROLE_CLIENT);
    if (room) {
        g_queue_push_tail(&s->fetches, f);
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (!room) {
        FRAME(&f->answer, status, id, &busy);
        answer(f);
    }
    return true;
}

/* --- life --- */

static void on_log(void *ctx, enum log_level level, const char *text)
{
    (void)ctx;
    log_event(level, "%s", text);
}

/* raftfs-task: installed under libexec beside us, else in the build tree. */
static char *find_task(void)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    static const char *const places[] = {"../libexec/raftfs/raftfs-task", "raftfs-task",
                                         "mr/raftfs-task"};
    char *found = NULL;

    self[MAX(n, 0)] = '\0';
    char *dir = g_path_get_dirname(self);
    for (size_t i = 0; i < ARRAY_LEN(places) && !found; i++) {
        char *at = g_build_filename(dir, places[i], NULL);
        if (access(at, X_OK) == 0)
            found = realpath(at, NULL);
        g_free(at);
    }
    g_free(dir);
    return found;
}

static void stop(void *arg)
{
    struct job_runner *s = arg;
    struct fetch *f;

    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->mr)
        mr_service_stop(s->mr);
    if (s->has_lead_thread)
        (void)pthread_join(s->lead_thread, NULL);
    if (s->has_fetch_thread)
        (void)pthread_join(s->fetch_thread, NULL);
    mr_service_destroy(s->mr);
    while ((f = g_queue_pop_head(&s->fetches)))
        fetch_free(f);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

static int start_threads(struct job_runner *s, struct errmsg *msg)
{
    s->has_lead_thread = pthread_create(&s->lead_thread, NULL, lead_main, s) == 0;
    s->has_fetch_thread = pthread_create(&s->fetch_thread, NULL, fetch_main, s) == 0;
    if (!s->has_lead_thread || !s->has_fetch_thread)
        return errmsg_set(msg, -ERR_NO_MEMORY, "cannot start the job service's threads");
    return 0;
}

static int start(const struct service_env *env, void **ret, struct errmsg *msg)
{
    struct job_runner *s = g_new0(struct job_runner, 1);
    char *task = find_task();
    char *data = g_build_filename(env->conf->data, "mr", NULL);
    struct mr_service_options o = {.conf = env->conf_path,
                                   .node = env->conf->node,
                                   .data = data,
                                   .slots = env->conf->job_slots,
                                   .job_user = env->conf->job_user,
                                   .task_path = task,
                                   .log = on_log};
    int r = 0;

    s->host = env->host;
    s->node = env->node;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    g_queue_init(&s->fetches);
    if (!task)
        r = errmsg_set(msg, -ERR_NOT_FOUND,
                       "raftfs-task is neither in libexec/raftfs nor beside raftfsd: install it");
    if (r == 0)
        r = mr_service_create(&o, &s->mr, msg);
    if (r == 0)
        r = mr_service_start(s->mr, msg);
    if (r == 0)
        r = start_threads(s, msg);
    g_free(data);
    free(task);
    if (r < 0) {
        stop(s);
        return r;
    }
    *ret = s;
    return 0;
}

const struct service job_service = {
    .name = "jobs", .start = start, .on_lead = on_lead, .on_other = on_other, .stop = stop};
