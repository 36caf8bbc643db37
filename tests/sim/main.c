/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim [--seed N] [--seeds N] [--seconds S] [--nodes N] [--file F] [--twice] [--survey] [--soak S]
 *     [--covers]
 *
 * Runs seeds until one fails, the number is reached or the time is over; --soak goes on after a
 * failure, and reports; --covers fails if anything that is counted never happened. README.md says
 * more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/sim/sim.h"

struct options {
    gint64 seed, seeds;
    gdouble seconds, soak;
    gint nodes;
    gchar *file;
    gboolean twice, survey, hash, covers;
};

static struct sim_counters total;
static uint64_t runs;

static double wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t run(uint64_t seed, unsigned nodes)
{
    const char *log = getenv("RAFTFS_SIM_LOG");
    const struct sim_options o = {seed, nodes, log && strcmp(log, "0") != 0};
    uint64_t hash = 0;
    sim_run(&o, &hash, &total);
    runs++;
    return hash;
}

/* Every seed that once failed: lines of `seed [nodes]  # what it found`. */
static int run_file(const char *path)
{
    char line[400];
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "cannot open %s\n", path);
        return 1;
    }
    while (fgets(line, sizeof(line), f)) {
        unsigned long long seed;
        unsigned nodes = 0;
        if (sscanf(line, "%llu %u", &seed, &nodes) >= 1)
            run(seed, nodes);
    }
    fclose(f);
    return 0;
}

/* Another process has other addresses: what depends on them shows. */
static int run_twice(const struct options *o, const char *self)
{
    unsigned long long other = 0, one = run((uint64_t)o->seed, (unsigned)o->nodes);
    char *cmd =
        g_strdup_printf("'%s' --hash --seed %lld --nodes %d", self, (long long)o->seed, o->nodes);
    FILE *p = popen(cmd, "r");
    bool read = p && fscanf(p, "%llx", &other) == 1;
    if (p)
        pclose(p);
    g_free(cmd);
    unsigned long long again = run((uint64_t)o->seed, (unsigned)o->nodes);
    printf("seed %lld: %016llx, again %016llx, in another process %016llx\n", (long long)o->seed,
           one, again, other);
    return read && one == other && one == again ? 0 : 1;
}

/* In a child each: how many fail? For measuring the simulator with a planted bug. */
static int survey(const struct options *o, uint64_t first, uint64_t n)
{
    unsigned failed = 0;
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            run(first + i, (unsigned)o->nodes);
            _exit(0);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
            return 1;
        failed += status != 0;
    }
    printf("SURVEY: %u of %llu seeds failed\n", failed, (unsigned long long)n);
    return 0;
}

static double cpu_seconds(void)
{
    struct rusage u, children;
    getrusage(RUSAGE_SELF, &u);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec + children.ru_utime.tv_sec +
                    children.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec + children.ru_utime.tv_usec +
                    children.ru_stime.tv_usec) /
               1e6;
}

static void say_total(double seconds)
{
    double simulated = (double)total.simulated / 1e9, cpu = cpu_seconds();
    printf("%llu seeds, %.0f simulated seconds in %.1f s (%.1f s of a core): %.0f cluster-seconds "
           "per second of a core\n",
           (unsigned long long)runs, simulated, seconds, cpu, simulated / MAX(cpu, 0.001));
    count_say(&total);
}

/* --- soak ------------------------------------------------------------------------------------- */

#define SAY_EACH 60.0

struct child {
    struct sim_counters total;
};

/* Each seed in a child, so that a failure ends only that. */
static bool soak_one(uint64_t seed, unsigned nodes, struct child *shared)
{
    int status = 0;
    shared->total = (struct sim_counters){0};
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        total = (struct sim_counters){0};
        run(seed, nodes);
        shared->total = total;
        exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    runs++;
    count_add(&total, &shared->total);
    return status == 0;
}

static int soak(const struct options *o, uint64_t first)
{
    GString *failed = g_string_new("");
    double begin = wall_seconds(), say_at = begin + SAY_EACH;
    struct child *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    for (uint64_t seed = first; wall_seconds() - begin < o->soak; seed++) {
        if (!soak_one(seed, (unsigned)o->nodes, shared))
            g_string_append_printf(failed, " %llu", (unsigned long long)seed);
        if (wall_seconds() < say_at)
            continue;
        say_at += SAY_EACH;
        printf("after %.0f s: %llu seeds, failed:%s\n", wall_seconds() - begin,
               (unsigned long long)runs, failed->len ? failed->str : " none");
    }
    say_total(wall_seconds() - begin);
    printf("failed seeds:%s\n", failed->len ? failed->str : " none");
    int status = failed->len ? 1 : 0;
    g_string_free(failed, TRUE);
    munmap(shared, sizeof(*shared));
    return status;
}

static int run_many(const struct options *o, uint64_t first, bool counted)
{
    double start = wall_seconds();
    double until = start + o->seconds;
    for (uint64_t i = 0; counted ? i < (uint64_t)o->seeds : true; i++) {
        if (o->seconds > 0 && wall_seconds() >= until)
            break;
        run(o->covers && i % 4 == 3 ? (first + i) | SIM_SEED_GROUPS : first + i,
            (unsigned)o->nodes);
    }
    say_total(wall_seconds() - start);
    return o->covers && !count_covers(&total);
}

int main(int argc, char **argv)
{
    struct options o = {.seed = -1};
    const GOptionEntry entries[] = {
        {"seed", 0, 0, G_OPTION_ARG_INT64, &o.seed, "the (first) seed; else drawn", "N"},
        {"seeds", 0, 0, G_OPTION_ARG_INT64, &o.seeds, "how many; else 1 with --seed", "N"},
        {"seconds", 0, 0, G_OPTION_ARG_DOUBLE, &o.seconds, "begin no seed after that time", "S"},
        {"soak", 0, 0, G_OPTION_ARG_DOUBLE, &o.soak, "for so long, each seed in a child", "S"},
        {"nodes", 0, 0, G_OPTION_ARG_INT, &o.nodes, "1 to 7; else drawn", "N"},
        {"file", 0, 0, G_OPTION_ARG_FILENAME, &o.file, "first run the seeds listed there", "F"},
        {"twice", 0, 0, G_OPTION_ARG_NONE, &o.twice, "run the seed again and compare", NULL},
        {"hash", 0, 0, G_OPTION_ARG_NONE, &o.hash, "print the hash of the run only", NULL},
        {"survey", 0, 0, G_OPTION_ARG_NONE, &o.survey, "go on after failures, count them", NULL},
        {"covers", 0, 0, G_OPTION_ARG_NONE, &o.covers, "everything must have happened", NULL},
        {NULL},
    };
    GError *error = NULL;
    GOptionContext *context = g_option_context_new("- a cluster on a simulated machine");
    g_option_context_add_main_entries(context, entries, NULL);
    bool ok = g_option_context_parse(context, &argc, &argv, &error) && o.nodes >= 0 &&
              o.nodes <= SIM_FIRST;
    g_option_context_free(context);
    if (!ok) {
        fprintf(stderr, "sim: %s\n", error ? error->message : "--nodes is 1 to 7");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    trace_catch_signals();
    struct rng rng;
    rng_seed_os(&rng);
    uint64_t first = o.seed >= 0 ? (uint64_t)o.seed : rng_next(&rng) >> 23;
    if (o.hash) {
        printf("%llx\n", (unsigned long long)run(first, (unsigned)o.nodes));
        return 0;
    }
    if (o.twice) {
        o.seed = (gint64)first;
        return run_twice(&o, argv[0]);
    }
    if (o.file && run_file(o.file) != 0)
        return 1;
    if (o.soak > 0)
        return soak(&o, first);
    bool counted = o.seeds > 0 || o.seconds <= 0;
    if (o.seeds <= 0)
        o.seeds = 1;
    if (o.survey)
        return survey(&o, first, (uint64_t)o.seeds);
    return run_many(&o, first, counted);
}
