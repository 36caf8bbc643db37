/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/jobs_impl.h"
#include "mr/text.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include "cluster/base/clock.h"

#define WAIT_MS 20000

static const char readme[] =
    "Copy a file NAME.job here and a MapReduce runs. raftfs-job(5) tells all.\n"
    "\n"
    "    # count words\n"
    "    input:   /books/*.txt\n"
    "    map:     @words\n"
    "    reduce:  @count\n"
    "\n"
    "    cp wc.job jobs/ || cat jobs/last-error     submit; what was wrong with it\n"
    "    cat jobs/wc/wait                           blocks until it has ended\n"
    "    cat jobs/wc/out/part-*                     the output, all of it or nothing\n"
    "    cat jobs/wc/status jobs/wc/progress        how it goes\n"
    "    cat jobs/wc/error                          why it failed\n"
    "    echo kill > jobs/wc/ctl                    stop it\n"
    "\n"
    "Keys, one `key: value` a line; indented lines continue a value, nothing needs escaping:\n"
    "    input     files, patterns (* ? [] **) or directories, as paths in this file system\n"
    "    map       a command for /bin/sh, or @words [-i], @grep [-n] [-i] [-v] RE, @identity\n"
    "    reduce    a command, or @count, @sum, @identity; without it map output is the output\n"
    "    reduces   how many reduce tasks (auto)     split    size of a map task's input (16M), or "
    "file\n"
    "    sep       key separator (TAB)              combine  auto or none\n"
    "    tries     attempts of a task (4)           ok-exit  exit codes that are no failure (0)\n"
    "    timeout   without progress (10m)           memory, cpu, disk  limits of the commands\n"
    "    env       NAME=value lines for the commands\n"
    "\n"
    "map reads lines, writes lines; reduce gets them sorted by key (what stands before the first\n"
    "TAB), as `key TAB value`. A task may run more than once: only one attempt's output counts.\n";

/* --- texts ------------------------------------------------------------------------------------ */

static int load_progress(struct state *st, struct arena *a, struct bytes name,
                         const struct job_record *j, struct job_progress *ret,
                         struct task_record **ret_maps)
{
    struct state_task *maps, *reduces;
    struct state_pair *workers;
    struct bytes lo, hi;
    size_t n;
    *ret = (struct job_progress){0};
    *ret_maps = NULL;
    if (j->state < JOB_RUNNING || (!j->maps && !j->reduces))
        return 0;
    int rc = state_tasks(st, a, name, j, &maps, &reduces);
    if (rc == 0) {
        key_registry_range(a, 'h', &lo, &hi);
        rc = state_scan(st, a, lo, hi, &workers, &n);
    }
    if (rc < 0)
        return rc;
    GArray *running = g_array_new(FALSE, FALSE, sizeof(struct running_record));
    for (size_t i = 0; i < n; i++) {
        struct worker_record w;
        if (dec_worker_record(workers[i].value, a, &w) < 0)
            continue;
        for (uint32_t k = 0; k < w.n_running; k++)
            if (bytes_eq(w.running[k].job, name) && w.running[k].epoch == j->epoch)
                g_array_append_val(running, w.running[k]);
    }
    struct task_record *m = arena_array(a, j->maps, sizeof *m);
    struct task_record *r = arena_array(a, j->reduces, sizeof *r);
    for (uint32_t i = 0; i < j->maps; i++)
        m[i] = maps[i].rec;
    for (uint32_t i = 0; i < j->reduces; i++)
        r[i] = reduces[i].rec;
    text_progress_of(m, j->maps, r, j->reduces,
                     (const struct running_record *)(void *)running->data, running->len, ret);
    g_array_unref(running);
    *ret_maps = m;
    return 0;
}

static int job_text(struct state *st, struct arena *a, enum jobs_file what, struct bytes name,
                    const struct job_record *j, GString *out)
{
    struct job_progress p;
    struct task_record *maps;
    struct spec *spec CLEANUP(spec_destroy) = NULL;
    if (what == JOBS_ERROR) {
        g_string_append_len(out, (const char *)j->error.p, (gssize)j->error.n);
        return 0;
    }
    if (what == JOBS_COUNTERS) {
        text_counters(out, j->counters, j->n_counters);
        return 0;
    }
    int rc = load_progress(st, a, name, j, &p, &maps);
    if (rc < 0)
        return rc;
    if (what == JOBS_STATUS) {
        text_status(out, name, j, &p);
    } else if (what == JOBS_PROGRESS) {
        text_progress(out, j, &p, clock_wall_ns());
    } else {
        rc = spec_parse("spec", (const char *)j->spec.p, j->spec.n, &spec, NULL);
        if (rc == 0)
            text_plan(out, spec, j, maps, maps ? j->maps : 0);
    }
    return rc;
}

int jobs_text(struct state *st, enum jobs_file what, struct bytes name, uint64_t epoch,
              GString *out)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct job_record j;
    uint64_t version;
    struct bytes v;
    if (what == JOBS_README) {
        g_string_append(out, readme);
        return 0;
    }
    if (what == JOBS_CTL) { /* so that cp -r and grep -r of a job's directory just work */
        g_string_append(out, "kill\n");
        return 0;
    }
    if (what == JOBS_LAST_ERROR) {
        int rc = state_get(st, &a, key_last_error(&a), &v, &version);
        if (rc == 0)
            g_string_append_len(out, (const char *)v.p, (gssize)v.n);
        return rc;
    }
    int rc = state_job(st, &a, name, &j, &version);
    if (rc == 0 && j.epoch != epoch)
        rc = -ERR_NOT_FOUND;
    return rc < 0 ? rc : job_text(st, &a, what, name, &j, out);
}

/* --- ctl -------------------------------------------------------------------------------------- */

static int wait_change(struct state *st, struct bytes name, uint64_t version)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct txn t CLEANUP(txn_finish) = {0};
    int rc = client_wait_key(st->client, &t, key_job(&a, st->shards, name), version, WAIT_MS,
                             st->cancel);
    return rc == -ERR_TIMEOUT ? 0 : rc;
}

/* One look: 0 and *ret_done when the run is over or was killed. */
static int kill_once(struct state *st, struct bytes name, uint64_t epoch,
                     const struct volume_caller *who, bool *ret_done)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct job_record j;
    uint64_t version;
    int rc = state_job(st, &a, name, &j, &version);
    if (rc < 0)
        return rc;
    if (who->uid != j.uid && !who->capable)
        return -ERR_DENIED;
    *ret_done = j.epoch != epoch || job_ended(j.state);
    if (*ret_done)
        return 0;
    if (j.state == JOB_COMMITTING) /* its fate is sealed: a moment and it is done */
        return wait_change(st, name, version);
    j.state = JOB_KILLED;
    j.ended_ns = clock_wall_ns();
    j.error = bytes_str("killed\n");
    rc = state_put_job(st, name, &j, version);
    if (rc == 0) {
        *ret_done = true;
        rc = state_ring(st);
    }
    return rc == -ERR_FAILED ? 0 : rc;
}

int jobs_control(struct jobs_overlay *o, struct bytes name, uint64_t epoch, const char *verb,
                 const struct volume_caller *who)
{
    struct state st;
    bool done = false;
    if (strcmp(verb, "kill") != 0)
        return -EINVAL;
    int rc = jobs_state(o, &st);
    while (rc == 0 && !done)
        rc = kill_once(&st, name, epoch, who, &done);
    return jobs_errno(rc);
}

int jobs_wait(struct jobs_overlay *o, struct bytes name, uint64_t epoch, GString *out)
{
    struct state st;
    int rc = jobs_state(o, &st);
    while (rc == 0) {
        struct arena a CLEANUP(arena_finish) = {0};
        struct job_record j;
        uint64_t version;
        rc = state_job(&st, &a, name, &j, &version);
        if (rc < 0)
            break;
        if (j.epoch != epoch) {
            g_string_append(out, "ended, and a newer run has been submitted\n");
            return 0;
        }
        if (job_ended(j.state)) {
            text_end(out, name, &j);
            return 0;
        }
        rc = wait_change(&st, name, version);
    }
    return jobs_errno(rc);
}
