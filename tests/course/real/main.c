/* SPDX-License-Identifier: Apache-2.0 */
/*
 * course-real [--long] [--jobs N] BIN DIR [PART | TEST]...
 *
 * The course's tests with the raftfsd of the build directory BIN, their data and logs in
 * directories below DIR (each removed when its test is through). A line for each: ok or FAILED, its
 * name, its seed; of a failed one all that it said, and the ends of its nodes' logs. --long: as
 * many rounds as the course has. RAFTFS_SEED=n draws the same faults again, not the same schedules.
 * Exit status 77: this machine has no network namespaces for us.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "tests/course/real/real.h"

#define JOBS_DEFAULT 4 /* they mostly wait for elections */
#define TEST_MS      200000
#define TEST_LONG_MS 600000

static const struct {
    const char *name;
    const struct real_test *tests;
} parts[] = {
    {"3A", real_3a}, {"3B", real_3b}, {"3C", real_3c}, {"3D", real_3d},
    {"4A", real_4a}, {"4B", real_4b}, {"4C", real_4c},
};

struct job {
    const struct real_test *test;
    char *dir;
    pid_t pid; /* 0: free */
    uint64_t began_ns;
};

struct runner {
    const char *bin, *dir;
    bool longer;
    int jobs;
    uint64_t seed;
    GPtrArray *tests; /* struct real_test */
    struct job *running;
    unsigned failed;
};

static NORETURN void run_here(const struct runner *r, const struct job *j)
{
    struct real c = {
        .name = j->test->name, .bin = r->bin, .dir = j->dir, .longer = r->longer, .seed = r->seed};
    g_autofree char *said = g_strdup_printf("%s/said", j->dir);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    rng_seed(&c.rng, c.seed ^ 0x6584);
    j->test->run(&c);
    (void)fflush(stdout);
    _exit(0);
}

static void begin(struct runner *r, struct job *j, const struct real_test *t)
{
    j->test = t;
    j->dir = g_strdup_printf("%s/%s", r->dir, t->name);
    j->began_ns = clock_mono_ns();
    if (g_mkdir_with_parents(j->dir, 0700) < 0) {
        perror(j->dir);
        exit(2);
    }
    j->pid = fork();
    if (j->pid == 0)
        run_here(r, j);
    if (j->pid < 0) {
        perror("fork");
        exit(2);
    }
}

static void shell(const char *command, const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, "sh", dir, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

static void end(struct runner *r, struct job *j, int status)
{
    double s = (double)(clock_mono_ns() - j->began_ns) / 1e9;
    printf("%-6s %s (seed %" G_GUINT64_FORMAT ", %.1f s)\n", status == 0 ? "ok" : "FAILED",
           j->test->name, r->seed, s);
    (void)fflush(stdout);
    if (status != 0) {
        r->failed++;
        shell("cat \"$1/said\"; tail -v -n 25 \"$1\"/n*.log", j->dir);
    }
    shell("rm -rf \"$1\"", j->dir);
    g_free(j->dir);
    *j = (struct job){0};
}

/* Waits until a job ends. */
static void reap(struct runner *r)
{
    uint64_t limit_ns = (r->longer ? TEST_LONG_MS : TEST_MS) * UINT64_C(1000000);
    int status;
    for (;; g_usleep(20000)) {
        for (int i = 0; i < r->jobs; i++) {
            struct job *j = &r->running[i];
            if (j->pid == 0)
                continue;
            if (clock_mono_ns() - j->began_ns > limit_ns)
                kill(j->pid, SIGKILL);
            if (waitpid(j->pid, &status, WNOHANG) == j->pid) {
                end(r, j, status);
                return;
            }
        }
    }
}

static void run_all(struct runner *r)
{
    int busy = 0;
    for (guint i = 0; i < r->tests->len || busy > 0;) {
        if (i == r->tests->len || busy == r->jobs) {
            reap(r);
            busy--;
            continue;
        }
        int at = 0;
        while (r->running[at].pid)
            at++;
        begin(r, &r->running[at], g_ptr_array_index(r->tests, i++));
        busy++;
    }
}

/* Those of the part `what`, or named so; all if NULL. */
static bool choose(struct runner *r, const char *what)
{
    guint before = r->tests->len;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (const struct real_test *t = parts[i].tests; t->name; t++)
            if (!what || strcmp(what, parts[i].name) == 0 || strcmp(what, t->name) == 0)
                g_ptr_array_add(r->tests, (gpointer)t);
    return r->tests->len > before;
}

static bool has_namespaces(void)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNET) == 0 ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    struct runner r = {.jobs = JOBS_DEFAULT, .tests = g_ptr_array_new()};
    struct rng rng;
    gboolean longer = FALSE;
    const GOptionEntry entries[] = {
        {"long", 0, 0, G_OPTION_ARG_NONE, &longer, "As many rounds as the course has", NULL},
        {"jobs", 'j', 0, G_OPTION_ARG_INT, &r.jobs, "So many tests side by side", "N"},
        {NULL},
    };
    GOptionContext *options = g_option_context_new("BIN DIR [PART | TEST]...");
    g_option_context_add_main_entries(options, entries, NULL);
    if (!g_option_context_parse(options, &argc, &argv, NULL) || argc < 3 || r.jobs < 1) {
        fprintf(stderr, "usage: course-real [--long] [--jobs N] BIN DIR [PART | TEST]...\n");
        return 2;
    }
    g_option_context_free(options);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (!has_namespaces()) {
        printf("needs root for network namespaces\n");
        return 77;
    }
    rng_seed_os(&rng);
    const char *seed = getenv("RAFTFS_SEED");
    r.seed = seed ? g_ascii_strtoull(seed, NULL, 10) : rng_next(&rng) >> 44;
    r.bin = argv[1];
    r.dir = argv[2];
    r.longer = longer;
    r.running = g_new0(struct job, r.jobs);
    if (argc == 3)
        choose(&r, NULL);
    for (int i = 3; i < argc; i++)
        if (!choose(&r, argv[i])) {
            fprintf(stderr, "course-real: no part and no test is named %s\n", argv[i]);
            return 2;
        }
    run_all(&r);
    printf("%u of %u passed\n", r.tests->len - r.failed, r.tests->len);
    return r.failed ? 1 : 0;
}
