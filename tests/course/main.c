/* SPDX-License-Identifier: Apache-2.0 */
/*
 * course [PART | TEST]...    the tests of a part (3A, 3B, ... 4C), or some; without, all
 *
 * Each in a child of its own; a line for each: ok or FAILED, its name, its seed. RAFTFS_SEED=n
 * replays; RAFTFS_SIM_LOG=1 prints everything that happens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/course/course.h"

static const struct {
    const char *name;
    const struct course_test *tests;
} parts[] = {
    {"3A", tests_3a}, {"3B", tests_3b}, {"3C", tests_3c}, {"3D", tests_3d},
    {"4A", tests_4a}, {"4B", tests_4b}, {"4C", tests_4c},
};

static NORETURN void run_here(const struct course_test *t, uint64_t seed)
{
    const char *log = getenv("RAFTFS_SIM_LOG");
    char *replay =
        g_strdup_printf("RAFTFS_SEED=%" G_GUINT64_FORMAT " tests/course/course %s", seed, t->name);
    struct course c = {
        .options = {.seed = seed, .verbose = log && strcmp(log, "0") != 0, .replay = replay},
    };
    trace_catch_signals();
    t->run(&c);
    g_free(replay);
    exit(0);
}

static bool run_test(const struct course_test *t, uint64_t seed)
{
    struct timespec begin, end;
    int status = 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t pid = fork();
    if (pid == 0)
        run_here(t, seed);
    bool ok = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
    clock_gettime(CLOCK_MONOTONIC, &end);
    double s = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%-6s %s (seed %" G_GUINT64_FORMAT ", %.2f s)\n", ok ? "ok" : "FAILED", t->name, seed,
           s);
    return ok;
}

/* Those of the part `what`, or named so; all if NULL. Counts them. */
static unsigned run_some(const char *what, uint64_t seed, unsigned *failed)
{
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (const struct course_test *t = parts[i].tests; t->name; t++) {
            if (what && strcmp(what, parts[i].name) != 0 && strcmp(what, t->name) != 0)
                continue;
            *failed += !run_test(t, seed);
            n++;
        }
    return n;
}

int main(int argc, char **argv)
{
    const char *given = getenv("RAFTFS_SEED");
    unsigned failed = 0;
    struct rng rng;
    setvbuf(stdout, NULL, _IOLBF, 0);
    rng_seed_os(&rng);
    uint64_t seed = given ? g_ascii_strtoull(given, NULL, 10) : rng_next(&rng) >> 24;
    if (argc == 1)
        run_some(NULL, seed, &failed);
    for (int i = 1; i < argc; i++)
        if (run_some(argv[i], seed, &failed) == 0) {
            fprintf(stderr, "course: no part and no test is named %s\n", argv[i]);
            return 2;
        }
    return failed ? 1 : 0;
}
