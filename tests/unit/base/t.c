/* SPDX-License-Identifier: Apache-2.0 */
/* The test library itself. */
#include "tests/lib/t.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(a_tmpdir_is_private_and_empty_and_goes_with_all_in_it)
{
    const char *dir = t_tmpdir();
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(mkdir(t_path(dir, "sub"), 0700), 0);
    t_write_file(t_path(dir, "sub/file"), "x", 1);
    assert_int_equal(symlink("/", t_path(dir, "sub/root")), 0);
    t_rmtree(dir);
    assert_int_not_equal(stat(dir, &st), 0);
    assert_int_equal(stat("/tmp", &st), 0);
}

TEST(a_child_that_exits_leaves_its_parents_directories)
{
    const char *dir = t_tmpdir();
    pid_t pid = fork();
    if (pid == 0)
        exit(0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
}

TEST(the_seed_is_one_for_the_run)
{
    assert_true(t_seed() == t_seed());
    struct rng a = t_rng(), b = t_rng();
    assert_true(rng_next(&a) == rng_next(&b));
}

TEST(waiting_ends_when_the_condition_holds)
{
    int calls = 0;
    T_EVENTUALLY(++calls == 3);
    assert_int_equal(calls, 3);
}

T_MAIN(T(a_tmpdir_is_private_and_empty_and_goes_with_all_in_it),
       T(a_child_that_exits_leaves_its_parents_directories), T(the_seed_is_one_for_the_run),
       T(waiting_ends_when_the_condition_holds))
