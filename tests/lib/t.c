/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/clock.h"

static const char *self = "test"; /* argv[0], for the replay command */
static const char *pattern;
static bool seed_drawn;
static uint64_t seed;

/* Strings and directories kept until the end; only the process that made them removes them, not a
 * forked child that happens to exit. */
static GPtrArray *dirs, *strings;
static pid_t owner;

/* --- running ---------------------------------------------------------------------------------- */

static void clean_up(void)
{
    if (getpid() != owner)
        return;
    if (dirs) {
        for (guint i = 0; i < dirs->len; i++)
            t_rmtree(dirs->pdata[i]);
        g_ptr_array_free(dirs, TRUE);
    }
    if (strings)
        g_ptr_array_free(strings, TRUE);
    dirs = strings = NULL;
}

static const char *keep(char *s)
{
    if (!strings)
        strings = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(strings, s);
    return s;
}

int t_run(int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
    self = argv[0];
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < n; i++)
            puts(tests[i].name);
        return 0;
    }
    if (argc > 1) {
        pattern = argv[1];
        cmocka_set_test_filter(pattern);
    }
    owner = getpid();
    atexit(clean_up);
    const char *slash = strrchr(self, '/');
    int failed = _cmocka_run_group_tests(slash ? slash + 1 : self, tests, n, NULL, NULL);
    if (failed && seed_drawn)
        fprintf(stderr, "replay: RAFTFS_SEED=%llu %s%s%s\n", (unsigned long long)seed, self,
                pattern ? " " : "", pattern ? pattern : "");
    clean_up();
    return failed;
}

uint64_t t_seed(void)
{
    if (!seed_drawn) {
        const char *given = getenv("RAFTFS_SEED");
        if (given) {
            seed = strtoull(given, NULL, 0);
        } else {
            struct rng r;
            rng_seed_os(&r);
            seed = rng_below(&r, 1000000000);
        }
        seed_drawn = true;
        /* At once, because a sanitizer's report ends the process. */
        fprintf(stderr, "seed: RAFTFS_SEED=%llu\n", (unsigned long long)seed);
    }
    return seed;
}

struct rng t_rng(void)
{
    struct rng r;
    rng_seed(&r, t_seed());
    return r;
}

/* --- checks ----------------------------------------------------------------------------------- */

int t_check(int got, int want, const char *expr, const char *file, int line)
{
    if (got != want) {
        print_error("%s: got %d (%s: %s), want %d (%s)\n", expr, got, err_name(got), err_text(got),
                    want, err_name(want));
        _fail(file, line);
    }
    return got;
}

int t_check_msg(int got, const struct errmsg *msg, const char *expr, const char *file, int line)
{
    if (got != 0)
        print_error("message: %s\n", msg->text);
    return t_check(got, 0, expr, file, line);
}

long t_check_count(long got, const char *expr, const char *file, int line)
{
    if (got < 0) {
        print_error("%s: got %ld (%s), want a count\n", expr, got, err_name((int)got));
        _fail(file, line);
    }
    return got;
}

void t_contains(const char *text, const char *needle, const char *file, int line)
{
    if (!text || !strstr(text, needle)) {
        print_error("\"%s\" is not in \"%s\"\n", needle, text ? text : "(null)");
        _fail(file, line);
    }
}

uint64_t t_deadline(void)
{
    return clock_mono_ns() + 20u * 1000000000ull;
}

void t_pause(uint64_t deadline, const char *what, const char *file, int line)
{
    if (clock_mono_ns() > deadline) {
        print_error("never became true: %s\n", what);
        _fail(file, line);
    }
    poll(NULL, 0, 1);
}

/* --- files ------------------------------------------------------------------------------------ */

const char *t_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = g_strdup_printf("%s/raftfs-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(path)) {
        print_error("mkdtemp %s: %s\n", path, strerror(errno));
        g_free(path);
        fail();
    }
    if (!dirs)
        dirs = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(dirs, path);
    return path;
}

const char *t_path(const char *dir, const char *name)
{
    return keep(g_strdup_printf("%s/%s", dir, name));
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *ftw UNUSED)
{
    return remove(path);
}

void t_rmtree(const char *path)
{
    nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void t_write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "we");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0) {
        print_error("write %s: %s\n", path, strerror(errno));
        fail();
    }
}
