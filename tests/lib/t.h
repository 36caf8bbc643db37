/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t.h - what every unit test includes: cmocka, a few checks, directories, seeds.
 *
 *   TEST(a_torn_tail_is_cut)
 *   {
 *       const char *dir = t_tmpdir();
 *       T_OK(wal_open(dir, &w));
 *       assert_int_equal(wal_last(w), 3);
 *   }
 *   T_MAIN(T(a_torn_tail_is_cut), T(...))
 *
 * The program takes a pattern of test names to run ('*' matches anything); --list names them.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cluster/base/err.h"
#include "cluster/base/rng.h"

#define TEST(name) static void name(void **state UNUSED)
#define T(name)    cmocka_unit_test(name)
#define T_MAIN(...)                                                                                \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
        return t_run(argc, argv, tests, ARRAY_LEN(tests));                                         \
    }
int t_run(int argc, char **argv, const struct CMUnitTest *tests, size_t n);

/* expr must give 0 (or, T_COUNT, not less than 0; T_ERR, exactly -ERR_x). They yield its value. */
#define T_OK(expr)       t_check((expr), 0, #expr, __FILE__, __LINE__)
#define T_ERR(err, expr) t_check((expr), -(int)(err), #expr, __FILE__, __LINE__)
#define T_COUNT(expr)    t_check_count((long)(expr), #expr, __FILE__, __LINE__)
/* As T_OK; on failure also prints the struct errmsg. */
#define T_OK_MSG(expr, msg) t_check_msg((expr), (msg), #expr, __FILE__, __LINE__)
int t_check(int got, int want, const char *expr, const char *file, int line);
int t_check_msg(int got, const struct errmsg *msg, const char *expr, const char *file, int line);
long t_check_count(long got, const char *expr, const char *file, int line);

/* needle must be in text, else both are printed. */
#define T_CONTAINS(text, needle) t_contains((text), (needle), __FILE__, __LINE__)
void t_contains(const char *text, const char *needle, const char *file, int line);

/* Waits (polling each millisecond, 20 s at most) until cond holds; fails if it never does. */
#define T_EVENTUALLY(cond)                                                                         \
    do {                                                                                           \
        uint64_t until_ = t_deadline();                                                            \
        while (!(cond))                                                                            \
            t_pause(until_, #cond, __FILE__, __LINE__);                                            \
    } while (0)
uint64_t t_deadline(void);
void t_pause(uint64_t deadline, const char *what, const char *file, int line);

/* A fresh private directory (mode 0700) under $TMPDIR or /tmp, removed with all in it when the
 * process ends. The string lives as long. */
const char *t_tmpdir(void);
/* dir/name; lives until the process ends. */
const char *t_path(const char *dir, const char *name);
void t_rmtree(const char *path); /* also removes what is below it; no error if absent */
void t_write_file(const char *path, const void *p, size_t n);

/* The seed of this run: $RAFTFS_SEED, or drawn once. A failing run prints the command to replay. */
uint64_t t_seed(void);
struct rng t_rng(void); /* seeded with it: each test that asks gets the same numbers */
