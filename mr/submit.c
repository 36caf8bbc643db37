/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Submission: a spec that was written becomes a job. A dirty FLUSH checks it and makes the job
 * `submitted` (again, if more is written); the RELEASE launches it: `queued`, once.
 */
#include "mr/glob.h"
#include "mr/jobs_impl.h"
#include "mr/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include "cluster/base/clock.h"

#define CLEAN_TRIES    5
#define CLEAN_PAUSE_MS 20

static const struct volume_caller itself = {.capable = true};

/* One submission. */
struct submit {
    struct jobs_overlay *o;
    const struct volume_caller *who;
    struct state st;
    struct arena arena;
    const char *file; /* wc.job */
    struct bytes name;
    char *text;
    size_t n;
    struct errmsg msg; /* what is wrong with it: goes to last-error */
};

/* --- reading and checking the text ------------------------------------------------------------ */

static int read_file(struct submit *s, fs_ino ino)
{
    struct volume_file *f;
    int no = volume_file_open(s->o->v, ino, O_RDONLY, &itself, &f);
    if (no < 0)
        return no;
    s->text = g_malloc(SPEC_BYTES_MAX + 1);
    while (s->n <= SPEC_BYTES_MAX) {
        int64_t k = volume_read(f, s->text + s->n, SPEC_BYTES_MAX + 1 - s->n, s->n);
        no = (int)MIN(k, 0);
        if (k <= 0)
            break;
        s->n += (size_t)k;
    }
    volume_file_close(f);
    return no;
}

/* What can be told of the inputs now; the coordinator looks again with the rights of the run. */
static int check_inputs(struct submit *s, const struct spec *spec)
{
    struct errmsg why = {0};
    GArray *files = g_array_new(FALSE, FALSE, sizeof(struct plan_file));
    int rc = glob_inputs(s->o->v, s->who, spec->inputs, &s->arena, files, &why);
    g_array_unref(files);
    if (rc < 0)
        errmsg_set(&s->msg, rc, "%s:%u: %s", s->file, spec->input_line, why.text);
    return rc;
}

static int check_text(struct submit *s)
{
    struct spec *spec CLEANUP(spec_destroy) = NULL;
    char *name = job_name_of_file(s->file);
    bool good = name && job_name_ok(name, strlen(name));
    s->name = bytes_str(name ? arena_strdup(&s->arena, name) : "");
    g_free(name);
    if (!good)
        return errmsg_set(&s->msg, -ERR_CONFIG,
                          "%s: not a job's name (letters, digits, ._+@- and at most %d of them)",
                          s->file, JOB_NAME_MAX);
    int rc = spec_parse(s->file, s->text, s->n, &spec, &s->msg);
    return rc < 0 ? rc : check_inputs(s, spec);
}

/* --- the directory ---------------------------------------------------------------------------- */

static int write_small(struct submit *s, fs_ino dir, const char *name, const char *text, size_t n,
                       uint32_t mode)
{
    struct volume_file *f;
    struct volume_attr attr;
    int no = volume_unlink(s->o->v, dir, name, &itself);
    if (no < 0 && no != -ENOENT)
        return no;
    no = volume_create(s->o->v, dir, name, s->who, mode, O_WRONLY, &f, &attr);
    if (no < 0)
        return no;
    for (size_t at = 0; at < n && no == 0;) {
        int64_t k = volume_write(f, text + at, n - at, at, s->who);
        at += k > 0 ? (size_t)k : 0;
        no = (int)MIN(k, 0);
    }
    if (no == 0)
        no = volume_flush(f);
    volume_file_close(f);
    return no;
}

/* Attempts that are being killed may still make a file: a few tries, then hidden leftovers go along
 * into .history. */
static void clean_old(struct submit *s, const struct job_record *old)
{
    for (int i = 0; i < CLEAN_TRIES && job_clean(&s->st, s->o->v, s->name, old) < 0; i++)
        poll(NULL, 0, CLEAN_PAUSE_MS);
}

/* The run that ended becomes plain files in .history: nothing of it depends on records any more. */
static int archive(struct submit *s, const struct job_record *old)
{
    static const struct {
        const char *name;
        enum jobs_file what;
    } files[] = {{"status", JOBS_STATUS},
                 {"counters", JOBS_COUNTERS},
                 {"error", JOBS_ERROR},
                 {"plan", JOBS_PLAN}};
    struct volume *v = s->o->v;
    struct volume_attr attr;
    struct bytes lo, hi;
    fs_ino history;
    char *name = (char *)(uintptr_t)s->name.p;
    int no = volume_lookup(v, s->o->jobs_ino, name, &attr);
    if (no == 0 && attr.ino == old->dir) {
        for (unsigned i = 0; i < ARRAY_LEN(files) && no == 0; i++) {
            GString *t = g_string_new(NULL);
            if (jobs_text(&s->st, files[i].what, s->name, old->epoch, t) == 0)
                no = write_small(s, old->dir, files[i].name, t->str, t->len, 0644);
            g_string_free(t, TRUE);
        }
        char *to = arena_printf(&s->arena, "%s.%llu", name, (unsigned long long)old->epoch);
        struct volume_caller open_to_all = {.umask = 0, .capable = true};
        if (no == 0)
            no = volume_lookup(v, s->o->jobs_ino, ".history", &attr);
        if (no == -ENOENT)
            no = volume_mkdir(v, s->o->jobs_ino, ".history", &open_to_all, 01777, &attr);
        history = attr.ino;
        if (no == 0)
            clean_old(s, old);
        if (no == 0)
            no = volume_rename(v, s->o->jobs_ino, name, history, to, 0, &itself);
    } else if (no == -ENOENT) {
        no = 0; /* it was removed */
    }
    if (no < 0)
        return no;
    key_tasks_range(&s->arena, s->st.shards, 't', s->name, old->epoch, &lo, &hi);
    int rc = state_delete_range(&s->st, lo, hi);
    if (rc == 0)
        rc = state_delete(&s->st, key_dir(&s->arena, old->dir));
    return jobs_errno(rc);
}

static int make_dir(struct submit *s, struct job_record *j)
{
    struct volume_attr attr;
    struct enc e CLEANUP(enc_finish) = {0};
    const char *name = (const char *)s->name.p;
    int no = volume_mkdir(s->o->v, s->o->jobs_ino, name, s->who, 0755, &attr);
    if (no == -EEXIST) {
        errmsg_set(&s->msg, -ERR_CONFIG,
                   "%s: /jobs/%s exists and is no earlier run of this job (move it away)", s->file,
                   name);
        return -EEXIST;
    }
    if (no < 0)
        return no;
    j->dir = attr.ino;
    enc_u64(&e, j->epoch);
    enc_raw(&e, s->name.p, s->name.n);
    return jobs_errno(state_put(&s->st, key_dir(&s->arena, attr.ino), enc_view(&e)));
}

/* --- the record ------------------------------------------------------------------------------- */

static void fill(struct submit *s, struct job_record *j)
{
    j->uid = s->who->uid;
    j->gid = s->who->gid;
    j->n_groups = s->who->n_groups;
    j->groups = arena_array(&s->arena, j->n_groups, sizeof *j->groups);
    if (j->n_groups)
        memcpy(j->groups, s->who->groups, j->n_groups * sizeof *j->groups);
    j->submitted_ns = clock_wall_ns();
    j->spec = bytes_of(s->text, s->n);
}

/* A new run: the old one's directory goes, a new one comes, then the record. */
static int begin_run(struct submit *s, const struct job_record *old, uint64_t version)
{
    struct job_record j = {.state = JOB_SUBMITTED, .epoch = version ? old->epoch + 1 : 1};
    int no = version ? archive(s, old) : 0;
    fill(s, &j);
    if (no == 0)
        no = make_dir(s, &j);
    if (no < 0)
        return no;
    int rc = state_put_job(&s->st, s->name, &j, version);
    if (rc < 0) {
        (void)!volume_rmdir(s->o->v, s->o->jobs_ino, (const char *)s->name.p, &itself);
        return rc == -ERR_FAILED ? -EBUSY : jobs_errno(rc);
    }
    jobs_note_dir(s->o, j.dir);
    return write_small(s, j.dir, "spec", s->text, s->n, 0444);
}

static int write_record(struct submit *s)
{
    struct job_record j;
    uint64_t version = 0;
    int rc = state_job(&s->st, &s->arena, s->name, &j, &version);
    if (rc == -ERR_NOT_FOUND)
        return begin_run(s, NULL, 0);
    if (rc < 0)
        return jobs_errno(rc);
    if (job_ended(j.state))
        return begin_run(s, &j, version);
    if (j.state != JOB_SUBMITTED)
        return -ETXTBSY;
    if (bytes_eq(j.spec, bytes_of(s->text, s->n)) && j.uid == s->who->uid)
        return 0;
    fill(s, &j); /* more of the same file was written */
    rc = state_put_job(&s->st, s->name, &j, version);
    return rc < 0 ? jobs_errno(rc) : write_small(s, j.dir, "spec", s->text, s->n, 0444);
}

/* The text is no good any more: what an earlier flush accepted must not look as if it would run. */
static void reject(struct submit *s)
{
    struct job_record j;
    uint64_t version;
    char *line = arena_printf(&s->arena, "%s\n", s->msg.text);
    (void)!state_put(&s->st, key_last_error(&s->arena), bytes_str(line));
    if (!s->name.n || state_job(&s->st, &s->arena, s->name, &j, &version) < 0 ||
        j.state != JOB_SUBMITTED)
        return;
    j.state = JOB_FAILED;
    j.ended_ns = clock_wall_ns();
    j.error = bytes_str(line);
    (void)!state_put_job(&s->st, s->name, &j, version);
}

static int submit(struct submit *s, fs_ino ino)
{
    int no = read_file(s, ino);
    if (no < 0)
        return no;
    if (s->n == 0)
        return 0; /* `echo ... > f` flushes once before it writes */
    int rc = jobs_state(s->o, &s->st);
    if (rc < 0)
        return jobs_errno(rc);
    rc = check_text(s);
    if (rc == 0)
        no = write_record(s);
    if (s->msg.text[0])
        reject(s);
    if (rc == 0)
        return no;
    return rc == -ERR_CONFIG ? -EINVAL : jobs_errno(rc);
}

int jobs_check(void *ctx, fs_ino dir UNUSED, const char *name, fs_ino ino,
               const struct volume_caller *who)
{
    struct submit s = {.o = ctx, .who = who, .file = name};
    int no = submit(&s, ino);
    g_free(s.text);
    arena_finish(&s.arena);
    return no;
}

/* submitted -> queued. The list of active jobs first: a job in it that is not queued costs a look.
 */
static int launch(struct submit *s)
{
    struct job_record j;
    uint64_t version;
    int rc;
    do {
        rc = state_job(&s->st, &s->arena, s->name, &j, &version);
        if (rc < 0 || j.state != JOB_SUBMITTED)
            return rc;
        rc = state_put(&s->st, key_active(&s->arena, s->name), BYTES_NONE);
        j.state = JOB_QUEUED;
        if (rc == 0)
            rc = state_put_job(&s->st, s->name, &j, version);
    } while (rc == -ERR_FAILED);
    return rc < 0 ? rc : state_ring(&s->st);
}

void jobs_settled(void *ctx, fs_ino dir UNUSED, const char *name, fs_ino ino,
                  const struct volume_caller *who)
{
    struct submit s = {.o = ctx, .who = who, .file = name};
    if (submit(&s, ino) == 0 && s.n && launch(&s) < 0)
        errmsg_set(&s.msg, -ERR_IO, "%s: launching failed; copy it again", name);
    if (s.msg.text[0])
        reject(&s);
    g_free(s.text);
    arena_finish(&s.arena);
}

int jobs_opening(void *ctx, fs_ino dir UNUSED, const char *name, fs_ino ino UNUSED)
{
    struct jobs_overlay *o = ctx;
    struct arena a CLEANUP(arena_finish) = {0};
    struct state st;
    struct job_record j;
    uint64_t version;
    char *job = job_name_of_file(name);
    int rc = job ? jobs_state(o, &st) : -ERR_NOT_FOUND;
    if (rc == 0)
        rc = state_job(&st, &a, bytes_str(job), &j, &version);
    g_free(job);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc < 0)
        return jobs_errno(rc);
    return j.state > JOB_SUBMITTED && !job_ended(j.state) ? -ETXTBSY : 0;
}
