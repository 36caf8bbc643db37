/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/attempt_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/clock.h"

#define REPORT_PAUSE_MS 200

/* --- small things ----------------------------------------------------------------------------- */

void attempt_touch(struct attempt *a)
{
    a->progress_ms = clock_mono_ns() / 1000000;
}

void attempt_count(struct attempt *a, struct bytes name, uint64_t value, bool user)
{
    for (guint i = 0; i < a->counters->len; i++) {
        struct counter *c = &g_array_index(a->counters, struct counter, i);
        if (bytes_eq(c->name, name)) {
            c->value += value;
            return;
        }
    }
    if (user && a->counters->len >= COUNTERS_MAX)
        return;
    struct counter c = {arena_copy(&a->arena, name), value};
    g_array_append_val(a->counters, c);
}

bool attempt_ended(const struct attempt *a)
{
    return a->ended;
}

void attempt_cancel(struct attempt *a)
{
    a->canceled = true;
    client_cancel_fire(&a->cancel);
}

bool attempt_is(const struct attempt *a, const struct running_record *r)
{
    return a->epoch == r->epoch && a->kind == r->kind && a->task == r->task &&
           a->number == r->attempt && bytes_eq(attempt_job(a), r->job);
}

void attempt_progress(struct attempt *a, struct arena *arena, struct running_record *ret)
{
    pthread_mutex_lock(&a->lock);
    char *status = arena_strdup(arena, a->status);
    pthread_mutex_unlock(&a->lock);
    *ret = (struct running_record){
        .job = attempt_job(a),
        .epoch = a->epoch,
        .kind = a->kind,
        .task = a->task,
        .attempt = a->number,
        .bytes_in = a->bytes_in,
        .bytes_total = a->bytes_total,
        .status = bytes_str(status),
    };
}

static int attempt_failed(struct attempt *a, int rc, const char *what)
{
    a->end.state = ATTEMPT_FAILED;
    return errmsg_set(&a->msg, rc, "%s", what);
}

/* --- preparing -------------------------------------------------------------------------------- */

static int load(struct attempt *a)
{
    uint64_t version;
    int rc = door_enter(a->s, &a->door, &a->msg);
    if (rc == 0)
        rc = state_init(&a->state, a->door->client, &a->cancel);
    if (rc == 0)
        rc = state_job(&a->state, &a->arena, attempt_job(a), &a->rec, &version);
    if (rc == 0 && (a->rec.epoch != a->epoch || a->rec.state != JOB_RUNNING))
        rc = -ERR_CANCELED;
    if (rc < 0)
        return rc;
    rc = spec_parse("spec", (const char *)a->rec.spec.p, a->rec.spec.n, &a->spec, &a->msg);
    if (rc == 0)
        rc = service_identity(a->s, &a->rec, &a->who, &a->msg);
    if (rc < 0)
        return attempt_failed(a, rc, a->msg.text);
    return 0;
}

static int make_scratch(struct attempt *a)
{
    a->scratch = g_strdup_printf("%s/tmp/%s.%llu.%s.%u", a->s->o.data, a->job,
                                 (unsigned long long)a->epoch, a->name, a->number);
    if (mkdir(a->scratch, 0700) < 0 ||
        (a->who.change && chown(a->scratch, a->who.reads.uid, a->who.reads.gid) < 0)) {
        char *t = g_strdup_printf("scratch directory %s: %s", a->scratch, strerror(errno));
        int rc = attempt_failed(a, -ERR_IO, t);
        g_free(t);
        return rc;
    }
    return 0;
}

static int open_file(struct attempt *a)
{
    if (a->kind == TASK_MAP && !a->rec.reduces)
        return 0;
    if (a->kind == TASK_MAP) {
        char *dir = spill_dir_path(a->s, attempt_job(a), a->epoch);
        (void)mkdir(dir, 0700);
        g_free(dir);
        a->spill = spill_path(a->s, attempt_job(a), a->epoch, a->task, a->number);
        a->file_fd = open(a->spill, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    } else {
        char *path = g_strdup_printf("%s.sections", a->scratch);
        a->file_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        unlink(path);
        g_free(path);
    }
    if (a->file_fd >= 0)
        return 0;
    char *t = g_strdup_printf("file for map output: %s", strerror(errno));
    int rc = attempt_failed(a, err_from_errno(errno), t);
    g_free(t);
    return rc;
}

/* --- running ---------------------------------------------------------------------------------- */

static int run_map(struct attempt *a)
{
    struct bytes v;
    uint64_t version;
    struct split_record *splits;
    uint32_t n;
    struct bytes key = key_splits(&a->arena, a->state.shards, attempt_job(a), a->epoch, a->task);
    int rc = state_get(&a->state, &a->arena, key, &v, &version);
    if (rc == 0 && !version)
        rc = -ERR_NOT_FOUND;
    if (rc == 0)
        rc = dec_splits(v, &a->arena, &splits, &n);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < n; i++)
        a->bytes_total += splits[i].end - splits[i].start;
    return attempt_process(a, splits, n, NULL);
}

static int run_reduce(struct attempt *a)
{
    struct state_task *maps, *reduces;
    int rc = state_tasks(&a->state, &a->arena, attempt_job(a), &a->rec, &maps, &reduces);
    if (rc < 0)
        return rc;
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(struct fetched_run));
    rc = attempt_fetch(a, maps, a->rec.maps, runs);
    if (rc == 0)
        rc = attempt_process(a, NULL, 0, runs);
    g_array_unref(runs);
    if (rc == 0) {
        struct task_record *m = g_new(struct task_record, MAX(a->rec.maps, 1));
        for (uint32_t i = 0; i < a->rec.maps; i++)
            m[i] = maps[i].rec;
        a->end.digest = job_consumed(m, a->rec.maps);
        g_free(m);
    }
    return rc;
}

static int run(struct attempt *a)
{
    int rc = load(a);
    if (rc == 0)
        rc = make_scratch(a);
    if (rc == 0)
        rc = open_file(a);
    if (rc == 0)
        rc = a->kind == TASK_MAP ? run_map(a) : run_reduce(a);
    return rc;
}

/* --- reporting -------------------------------------------------------------------------------- */

/* One try of the compare-and-set. *ret_void: the outcome no longer matters. */
static int report_once(struct attempt *a, bool *ret_void)
{
    struct job_record j;
    struct state_task t, *one = &t;
    uint64_t version;
    int rc = state_job(&a->state, &a->arena, attempt_job(a), &j, &version);
    if (rc == 0)
        rc = state_task(&a->state, &a->arena, attempt_job(a), a->epoch, a->kind, a->task, &t);
    if (rc == -ERR_NOT_FOUND || (rc == 0 && (j.epoch != a->epoch || j.state != JOB_RUNNING))) {
        *ret_void = true;
        return 0;
    }
    if (rc < 0)
        return rc;
    if (a->end.state == ATTEMPT_WON && t.rec.winner == a->number)
        return 0; /* an earlier try did it and its answer was lost */
    if (task_end(&t.rec, a->number, &a->end) < 0) {
        *ret_void = true;
        return 0;
    }
    rc = state_put_tasks(&a->state, attempt_job(a), &j, JOB_HEAD_RUN, &one, 1);
    return rc < 0 ? rc : state_ring(&a->state);
}

enum reported { REPORT_RECORDED, REPORT_VOID, REPORT_UNKNOWN };

/* Until it is recorded, void, or nobody wants to know. Output is durable by now, so a lost session
 * does not matter: the report is made under the next one. */
static enum reported report(struct attempt *a)
{
    while (!attempt_stopped(a)) {
        bool is_void = false;
        int rc = report_once(a, &is_void);
        if (rc == 0)
            return is_void ? REPORT_VOID : REPORT_RECORDED;
        if (rc == -ERR_FAILED)
            continue; /* changed under us: look again */
        door_failed(a->s, a->door, rc);
        if (a->door->lost) {
            door_leave(TAKE(a->door));
            while (!attempt_stopped(a) && door_enter(a->s, &a->door, NULL) < 0)
                poll(NULL, 0, REPORT_PAUSE_MS);
            if (!a->door || state_init(&a->state, a->door->client, &a->cancel) < 0)
                break;
        }
        struct pollfd p = {a->cancel.fd, POLLIN, 0};
        poll(&p, 1, REPORT_PAUSE_MS);
    }
    return REPORT_UNKNOWN;
}

static void clean_up(struct attempt *a, bool keep)
{
    if (a->scratch)
        remove_tree(a->scratch);
    if (a->file_fd >= 0)
        close(a->file_fd);
    if (!keep && a->spill)
        unlink(a->spill);
    if (!keep && a->out_name && a->door) {
        volume_thread_cancel(NULL);
        (void)!volume_unlink(a->door->volume, a->rec.work_dir, a->out_name, &a->who.owner);
    }
    door_leave(TAKE(a->door));
}

static void *attempt_main(void *arg)
{
    struct attempt *a = arg;
    enum reported reported = REPORT_UNKNOWN;
    volume_thread_cancel(&a->cancel);
    a->end = (struct attempt_end){.state = ATTEMPT_RUNNING, .exit_code = -1};
    int rc = run(a);
    bool fenced = rc < 0 && a->door && a->door->lost;
    if (fenced || (rc < 0 && a->end.state == ATTEMPT_RUNNING)) {
        /* Neither the command's fault nor this node's disk: the cluster's. It does not count. */
        a->end.state = ATTEMPT_LOST;
        if (!a->msg.text[0])
            errmsg_set(&a->msg, rc, "%s", err_text(rc));
    }
    if (rc == 0)
        a->end.state = ATTEMPT_WON;
    else if (!a->end.text.n)
        a->end.text = bytes_str(a->msg.text);
    a->end.now_ns = clock_wall_ns();
    a->end.n_counters = a->counters->len;
    a->end.counters = (struct counter *)(void *)a->counters->data;
    if (a->door && !attempt_stopped(a))
        reported = report(a);
    if (a->end.state == ATTEMPT_FAILED && !attempt_stopped(a))
        service_log(a->s, LOG_INFO, "attempt failed job=%s task=%s attempt=%u reason=\"%s\"",
                    a->job, a->name, a->number, a->msg.text);
    /* A win that may have been recorded must keep its files; the end of the job removes them. */
    clean_up(a, rc == 0 && reported != REPORT_VOID);
    volume_thread_cancel(NULL);
    a->ended = true;
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

int attempt_start(struct mr_service *s, const struct running_record *what, struct attempt **ret)
{
    struct attempt *a = g_new0(struct attempt, 1);
    a->s = s;
    a->job = g_strndup((const char *)what->job.p, what->job.n);
    a->epoch = what->epoch;
    a->kind = what->kind;
    a->task = what->task;
    a->number = what->attempt;
    a->file_fd = -1;
    a->counters = g_array_new(FALSE, FALSE, sizeof(struct counter));
    g_snprintf(a->name, sizeof a->name, "%c-%05u", (char)a->kind, a->task);
    pthread_mutex_init(&a->lock, NULL);
    attempt_touch(a);
    int rc = client_cancel_init(&a->cancel);
    if (rc == 0 && pthread_create(&a->thread, NULL, attempt_main, a) != 0)
        rc = -ERR_NO_MEMORY;
    a->have_thread = rc == 0;
    if (rc < 0)
        attempt_destroy(a);
    else
        *ret = a;
    return rc;
}

void attempt_destroy(struct attempt *a)
{
    if (!a)
        return;
    if (a->have_thread)
        pthread_join(a->thread, NULL);
    client_cancel_finish(&a->cancel);
    spec_destroy(a->spec);
    arena_finish(&a->arena);
    g_array_unref(a->counters);
    g_free(a->job);
    g_free(a->scratch);
    g_free(a->spill);
    g_free(a->out_name);
    pthread_mutex_destroy(&a->lock);
    g_free(a);
}
