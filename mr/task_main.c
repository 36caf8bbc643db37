/* SPDX-License-Identifier: Apache-2.0 */
/* raftfs-task: runs one attempt in a process of its own. Started by raftfsd (mr/attempt.c). */
#include "mr/task.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "mr/command.h"
#include "mr/sandbox.h"

#define BUDGET_DEFAULT MIB(64)
#define PROGRESS_MS    200

extern char **environ;

/* --- frames ----------------------------------------------------------------------------------- */

static int read_full(void *p, size_t n, size_t *ret_got)
{
    size_t got = 0;
    while (got < n) {
        ssize_t k = read(TASK_IN, (uint8_t *)p + got, n - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -ERR_IO;
        if (k == 0)
            break;
        got += (size_t)k;
    }
    *ret_got = got;
    return 0;
}

int task_read_head(struct task *t, enum task_frame *ret_type, size_t *ret_len)
{
    uint8_t head[TASK_FRAME_HEAD];
    size_t got;
    int rc = read_full(head, sizeof head, &got);
    if (rc < 0 || got < sizeof head)
        return errmsg_set(&t->msg, -ERR_CLOSED, "the worker went away");
    uint32_t n = get_le32(head + 1);
    if (n > TASK_FRAME_MAX)
        return errmsg_set(&t->msg, -ERR_INVALID, "a frame of %u bytes", n);
    *ret_type = (enum task_frame)head[0];
    *ret_len = n;
    return 1;
}

int task_read_body(struct task *t, void *p, size_t n)
{
    size_t got;
    int rc = read_full(p, n, &got);
    if (rc < 0 || got < n)
        return errmsg_set(&t->msg, -ERR_CLOSED, "the worker went away");
    return 0;
}

void task_send(enum task_frame type, struct bytes payload)
{
    size_t n = TASK_FRAME_HEAD + payload.n, at = 0;
    uint8_t *p = g_malloc(n);
    task_frame_head(p, type, payload.n);
    if (payload.n)
        memcpy(p + TASK_FRAME_HEAD, payload.p, payload.n);
    while (at < n) {
        ssize_t k = write(TASK_STATUS, p + at, n - at);
        if (k < 0 && errno != EINTR)
            break; /* run by hand, or the worker is gone: nobody to tell */
        at += k > 0 ? (size_t)k : 0;
    }
    g_free(p);
}

void task_progress(struct task *t, bool force)
{
    uint64_t now = clock_mono_ns() / 1000000;
    if (!force && now - t->told_ms < PROGRESS_MS)
        return;
    t->told_ms = now;
    uint8_t p[16];
    put_le64(p, t->records_in);
    put_le64(p + 8, t->records_out);
    task_send(TASK_PROGRESS, bytes_of(p, sizeof p));
}

void task_counter(const char *name, uint64_t value)
{
    uint8_t p[120];
    size_t n = strlen(name);
    ASSERT(n <= 100);
    put_le64(p, value);
    memcpy(p + 8, name, n);
    task_send(TASK_COUNTER, bytes_of(p, 8 + n));
}

/* --- commands --------------------------------------------------------------------------------- */

int task_judge(struct task *t, int status)
{
    if (WIFEXITED(status) && spec_exit_ok(t->spec, WEXITSTATUS(status)))
        return 0;
    if (WIFSIGNALED(status)) {
        t->signal = WTERMSIG(status);
        const char *why = t->signal == SIGXCPU   ? " (the cpu limit is reached)"
                          : t->signal == SIGXFSZ ? " (the disk limit is reached)"
                                                 : "";
        return errmsg_set(&t->msg, -ERR_FAILED, "the command was killed by SIG%s%s",
                          sigabbrev_np(t->signal) ? sigabbrev_np(t->signal) : "?", why);
    }
    t->exit_code = WEXITSTATUS(status);
    t->fatal = t->exit_code == 126 || t->exit_code == 127;
    const char *hint = t->exit_code == 127   ? " (command not found)"
                       : t->exit_code == 126 ? " (not executable)"
                       : t->exit_code > 128  ? " (a part of the command was killed by a signal)"
                                             : "";
    return errmsg_set(&t->msg, -ERR_FAILED, "exit status %d%s", t->exit_code, hint);
}

char **task_env(const struct task *t, char *const *more)
{
    GPtrArray *a = g_ptr_array_new();
    for (char **e = environ; *e; e++)
        g_ptr_array_add(a, g_strdup(*e));
    for (guint i = 0; i < t->spec->env->len; i++)
        g_ptr_array_add(a, g_strdup(t->spec->env->pdata[i]));
    for (; more && *more; more++)
        g_ptr_array_add(a, g_strdup(*more));
    g_ptr_array_add(a, NULL);
    return (char **)g_ptr_array_free(a, FALSE);
}

/* The worker wants us gone, or is gone: the command's group goes first. */
static void on_term(int sig UNUSED)
{
    int group = command_group;
    if (group > 0)
        kill(-group, SIGKILL);
    _exit(143);
}

/* --- main ------------------------------------------------------------------------------------- */

struct arguments {
    char *spec_file, *groups, *directory;
    gint partitions;
    gint64 uid, gid, budget;
    gboolean raw;
    bool map;
};

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    const GOptionEntry entries[] = {
        {"partitions", 0, 0, G_OPTION_ARG_INT, &a->partitions, "partitions; 0: map-only", "N"},
        {"uid", 0, 0, G_OPTION_ARG_INT64, &a->uid, "user to become", "N"},
        {"gid", 0, 0, G_OPTION_ARG_INT64, &a->gid, "group to become", "N"},
        {"groups", 0, 0, G_OPTION_ARG_STRING, &a->groups, "other groups", "N,N"},
        {"directory", 0, 0, G_OPTION_ARG_STRING, &a->directory, "scratch directory", "DIR"},
        {"budget", 0, 0, G_OPTION_ARG_INT64, &a->budget, "memory for collecting", "BYTES"},
        {"spec", 0, 0, G_OPTION_ARG_FILENAME, &a->spec_file, "read the spec from a file", "FILE"},
        {"raw", 0, 0, G_OPTION_ARG_NONE, &a->raw, "input is plain text", NULL},
        {NULL},
    };
    GOptionContext *o = g_option_context_new("map|reduce - one attempt of a task");
    GError *err = NULL;
    g_option_context_add_main_entries(o, entries, NULL);
    bool ok = g_option_context_parse(o, &argc, &argv, &err);
    g_option_context_free(o);
    if (!ok) {
        fprintf(stderr, "raftfs-task: %s\n", err->message);
        g_error_free(err);
        return -ERR_CONFIG;
    }
    if (argc != 2 || (strcmp(argv[1], "map") != 0 && strcmp(argv[1], "reduce") != 0) ||
        a->partitions < 0 || a->partitions > PARTITIONS_MAX) {
        fprintf(stderr, "raftfs-task: is started by raftfsd, not by hand\n");
        return -ERR_CONFIG;
    }
    a->map = argv[1][0] == 'm';
    return 0;
}

static int enter_sandbox(struct task *t, const struct arguments *a)
{
    struct sandbox s = {.change_identity = a->uid >= 0, .uid = (uid_t)a->uid, .gid = (gid_t)a->gid};
    gid_t groups[64];
    char **words = g_strsplit(a->groups ? a->groups : "", ",", -1);
    for (char **w = words; *w && s.n_groups < ARRAY_LEN(groups); w++)
        if (**w)
            groups[s.n_groups++] = (gid_t)strtoul(*w, NULL, 10);
    g_strfreev(words);
    s.groups = groups;
    if (a->directory && chdir(a->directory) < 0)
        return errmsg_set(&t->msg, -ERR_IO, "scratch directory: %s", strerror(errno));
    int rc = sandbox_enter(&s, &t->msg);
    if (rc < 0)
        return rc;
    /* A path that the job's user cannot walk is no use in TMPDIR. */
    const char *dir = a->directory && access(a->directory, X_OK) == 0 ? a->directory : ".";
    setenv("TMPDIR", dir, 1);
    setenv("HOME", dir, 1);
    return 0;
}

static int read_spec(struct task *t, const struct arguments *a)
{
    char *text = NULL;
    size_t n = 0;
    int rc = 0;
    if (a->spec_file) {
        if (!g_file_get_contents(a->spec_file, &text, &n, NULL))
            return errmsg_set(&t->msg, -ERR_CONFIG, "%s: cannot be read", a->spec_file);
    } else {
        enum task_frame type;
        rc = task_read_head(t, &type, &n);
        if (rc < 0)
            return rc;
        if (type != TASK_SPEC)
            return errmsg_set(&t->msg, -ERR_INVALID, "the first frame is not the spec");
        text = g_malloc(n + 1);
        rc = task_read_body(t, text, n);
    }
    if (rc == 0)
        rc = spec_parse("spec", text, n, &t->spec, &t->msg);
    g_free(text);
    return rc;
}

static int run(struct task *t, const struct arguments *a)
{
    int rc = enter_sandbox(t, a);
    if (rc == 0)
        rc = read_spec(t, a);
    if (rc == 0)
        rc = a->map ? task_map(t) : task_reduce(t);
    return rc;
}

static void report(struct task *t, int rc)
{
    if (rc == 0) {
        uint8_t d[8];
        task_progress(t, true);
        put_le64(d, t->digest);
        task_send(TASK_DONE, bytes_of(d, sizeof d));
        return;
    }
    struct enc e = {0};
    enc_u32(&e, (uint32_t)t->exit_code);
    enc_u32(&e, (uint32_t)t->signal);
    enc_u8(&e, t->fatal);
    enc_raw(&e, t->msg.text, strlen(t->msg.text));
    task_send(TASK_FAILED, enc_view(&e));
    enc_finish(&e);
}

int main(int argc, char **argv)
{
    struct arguments a = {.uid = -1, .gid = -1, .budget = BUDGET_DEFAULT};
    if (parse_arguments(argc, argv, &a) < 0)
        return 2;
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct task t = {
        .partitions = (uint32_t)a.partitions,
        .budget = (size_t)a.budget,
        .raw = a.raw,
        .exit_code = -1,
    };
    int rc = run(&t, &a);
    report(&t, rc);
    if (rc < 0 && t.raw)
        fprintf(stderr, "raftfs-task: %s\n", t.msg.text);
    spec_destroy(t.spec);
    g_free(a.spec_file);
    g_free(a.groups);
    g_free(a.directory);
    return rc < 0 ? 1 : 0;
}
