/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/coord_impl.h"
#include "mr/glob.h"
#include "mr/plan.h"

#include <errno.h>
#include <string.h>
#include "cluster/base/clock.h"

#define RECORDS_PER_TXN 16
#define DELETES_PER_TXN 1000

/* A file that is compressed by its name cannot be cut at line ends. */
static int check_compressed(const struct spec *s, GArray *files, struct errmsg *msg)
{
    static const char *const ends[] = {".gz", ".zst", ".bz2", ".xz", ".lz4"};
    for (guint i = 0; i < files->len && s->split; i++) {
        const struct plan_file *f = &g_array_index(files, struct plan_file, i);
        for (unsigned k = 0; k < ARRAY_LEN(ends); k++)
            if (g_str_has_suffix(f->path, ends[k]))
                return errmsg_set(
                    msg, -ERR_CONFIG,
                    "input: %s is compressed and so not lines of text (use split: file "
                    "and decompress it in map, for example zcat | ...)",
                    f->path);
    }
    return 0;
}

static void put_task(struct txn *t, struct coord *c, struct coord_job *j,
                     const struct task_record *r)
{
    struct enc e = {0};
    enc_task_record(&e, r);
    txn_put(t, key_task(&c->arena, c->state.shards, j->name, j->rec.epoch, r->kind, r->index),
            arena_copy(&c->arena, enc_view(&e)));
    enc_finish(&e);
}

static void put_map(struct txn *t, struct coord *c, struct coord_job *j, const struct plan *p,
                    guint i)
{
    const struct plan_task *pt = &g_array_index(p->tasks, struct plan_task, i);
    const struct split_record *s = &g_array_index(p->splits, struct split_record, pt->first);
    struct enc e = {0};
    char *input = pt->n == 1 ? arena_printf(&c->arena, "%.*s bytes %llu-%llu", (int)s->path.n,
                                            (const char *)s->path.p, (unsigned long long)s->start,
                                            (unsigned long long)s->end - 1)
                             : arena_printf(&c->arena, "%.*s and %u more files", (int)s->path.n,
                                            (const char *)s->path.p, pt->n - 1);
    struct task_record r = {
        .kind = TASK_MAP, .index = i, .input_bytes = pt->bytes, .input = bytes_str(input)};
    enc_splits(&e, s, pt->n);
    txn_put(t, key_splits(&c->arena, c->state.shards, j->name, j->rec.epoch, i),
            arena_copy(&c->arena, enc_view(&e)));
    enc_finish(&e);
    put_task(t, c, j, &r);
}

/* A run's records of an earlier planning, by us or by a coordinator before. Like every write here
 * it compares the job's head: who is deposed must not remove what its successor has written. */
static int delete_records(struct coord *c, struct coord_job *j, char table, struct bytes head)
{
    struct bytes lo, hi, key = key_job(&c->arena, c->state.shards, j->name);
    key_tasks_range(&c->arena, c->state.shards, table, j->name, j->rec.epoch, &lo, &hi);
    for (;;) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_bytes_at(&t, key, 0, head);
        txn_delete_range(&t, lo, hi, DELETES_PER_TXN);
        int rc = txn_run(c->state.client, &t, 0, c->state.cancel);
        if (rc < 0)
            return rc;
        if (!t.reply.n_deleted || t.reply.deleted[0].value < DELETES_PER_TXN)
            return 0;
    }
}

/* All records of the run, in steps; only the job's record makes them count. */
static int write_records(struct coord *c, struct coord_job *j, const struct plan *p,
                         unsigned reduces)
{
    struct enc job CLEANUP(enc_finish) = {0};
    enc_job_record(&job, &j->rec);
    struct bytes head = bytes_of(job.p, JOB_HEAD_COORD);
    for (const char *table = "ts"; *table; table++) {
        int rc = delete_records(c, j, *table, head);
        if (rc < 0)
            return rc;
    }
    guint n = p->tasks->len + reduces;
    for (guint i = 0; i < n; i += RECORDS_PER_TXN) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_bytes_at(&t, key_job(&c->arena, c->state.shards, j->name), 0, head);
        for (guint k = i; k < MIN(n, i + RECORDS_PER_TXN); k++) {
            struct task_record r = {.kind = TASK_REDUCE, .index = k - p->tasks->len};
            if (k < p->tasks->len)
                put_map(&t, c, j, p, k);
            else
                put_task(&t, c, j, &r);
        }
        int rc = txn_run(c->state.client, &t, 0, c->state.cancel);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int make_work_dir(struct coord *c, struct coord_job *j, const struct job_identity *id)
{
    char name[40];
    fs_ino ino, tasks;
    struct volume *v = c->door->volume;
    g_snprintf(name, sizeof name, ".work-%llu", (unsigned long long)j->rec.epoch);
    int no = ensure_dir(v, j->rec.dir, name, &id->owner, &ino);
    if (no == 0)
        no = ensure_dir(v, j->rec.dir, "tasks", &id->owner, &tasks);
    if (no == 0)
        j->rec.work_dir = ino;
    return no;
}

static int start_job(struct coord *c, struct coord_job *j, const struct job_identity *id,
                     const struct plan *p)
{
    unsigned slots;
    coord_live(c, &slots);
    unsigned reduces = !j->spec->reduce.text ? 0
                       : j->spec->reduces    ? j->spec->reduces
                                             : plan_reduces(p->bytes, MAX(slots, 1));
    int no = make_work_dir(c, j, id);
    if (no == -ENOENT || no == -ESTALE)
        return coord_fail(c, j, "the job's directory is gone");
    if (no < 0)
        return err_from_errno(-no);
    int rc = write_records(c, j, p, reduces);
    if (rc < 0)
        return rc;
    j->rec.maps = p->tasks->len;
    j->rec.reduces = reduces;
    j->rec.input_bytes = p->bytes;
    j->rec.state = JOB_RUNNING;
    j->rec.started_ns = clock_wall_ns();
    rc = coord_store(c, j);
    if (rc == 0)
        service_log(c->s, LOG_INFO, "job started name=%.*s maps=%u reduces=%u bytes=%llu",
                    (int)j->name.n, (const char *)j->name.p, j->rec.maps, j->rec.reduces,
                    (unsigned long long)j->rec.input_bytes);
    return rc;
}

int coord_plan(struct coord *c, struct coord_job *j)
{
    struct job_identity id;
    struct errmsg msg = {0};
    struct plan p = {0};
    GArray *files = g_array_new(FALSE, FALSE, sizeof(struct plan_file));
    int rc = service_identity(c->s, &j->rec, &id, &msg);
    if (rc == 0)
        rc = glob_inputs(c->door->volume, &id.reads, j->spec->inputs, &c->arena, files, &msg);
    if (rc == 0)
        rc = check_compressed(j->spec, files, &msg);
    if (rc == 0) {
        rc = plan_maps((const struct plan_file *)(void *)files->data, files->len, j->spec->split,
                       &p);
        if (rc < 0)
            errmsg_set(&msg, -ERR_CONFIG, "input: more than %d map tasks (use a larger split)",
                       PLAN_MAPS_MAX);
    }
    if (rc == 0)
        rc = start_job(c, j, &id, &p);
    else if (rc == -ERR_CONFIG || rc == -ERR_DENIED || rc == -ERR_TOO_BIG)
        rc = coord_fail(c, j, msg.text);
    plan_finish(&p);
    g_array_unref(files);
    return rc;
}
