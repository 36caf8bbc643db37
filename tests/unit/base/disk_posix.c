/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>
#include "cluster/base/disk.h"

static struct disk *disk;
static const char *dir;

static int set_up(void **state)
{
    disk = disk_posix_create();
    dir = t_tmpdir();
    return 0;
}

static int tear_down(void **state)
{
    disk_posix_destroy(disk);
    return 0;
}

static struct disk_file *open_new(const char *path)
{
    struct disk_file *f = NULL;
    T_OK(disk->ops->open(disk, path, DISK_CREATE | DISK_EXCL, &f));
    return f;
}

static void write_str(struct disk_file *f, const char *s, uint64_t off)
{
    struct iovec v = {(void *)(uintptr_t)s, strlen(s)};
    T_OK(disk->ops->write(f, &v, 1, off));
}

static void store_err(void *arg, int err)
{
    *(int *)arg = err;
}

TEST(what_is_written_is_read_back_after_reopening)
{
    const char *path = t_path(dir, "f");
    struct disk_file *f = open_new(path);
    write_str(f, "hello world", 0);
    write_str(f, "W", 6);
    int err = 1;
    disk->ops->sync(f, store_err, &err);
    assert_int_equal(err, 0);
    disk->ops->close(f);

    T_OK(disk->ops->open(disk, path, DISK_READ, &f));
    char got[32] = "";
    assert_int_equal(disk->ops->read(f, got, sizeof(got), 0), 11);
    assert_string_equal(got, "hello World");
    assert_int_equal(disk->ops->read(f, got, 5, 100), 0);
    disk->ops->close(f);
    disk->ops->close(NULL);
}

TEST(a_gather_write_of_many_pieces_keeps_their_order)
{
    struct rng r = t_rng();
    struct iovec v[500];
    GString *want = g_string_new(NULL);
    static char pool[256];
    for (size_t i = 0; i < sizeof(pool); i++)
        pool[i] = (char)i;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        size_t at = (size_t)rng_below(&r, 200);
        v[i] = (struct iovec){pool + at, (size_t)rng_below(&r, 50)}; /* some are empty */
        g_string_append_len(want, v[i].iov_base, (gssize)v[i].iov_len);
    }
    struct disk_file *f = open_new(t_path(dir, "gather"));
    T_OK(disk->ops->write(f, v, ARRAY_LEN(v), 7));
    char *got = g_malloc(want->len);
    assert_int_equal(disk->ops->read(f, got, want->len, 7), want->len);
    assert_memory_equal(got, want->str, want->len);
    T_OK(disk->ops->write(f, v, 0, 0));
    g_free(got);
    g_string_free(want, TRUE);
    disk->ops->close(f);
}

/* A file size limit makes the kernel write less than asked, then fail. */
TEST(a_short_write_is_continued_and_its_error_reported)
{
    struct disk_file *f = open_new(t_path(dir, "limited"));
    struct rlimit old, tight = {8192, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    tight.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    char *data = g_malloc0(16384);
    struct iovec v[2] = {{data, 5000}, {data, 11000}};
    int r = disk->ops->write(f, v, 2, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    g_free(data);
    T_ERR(ERR_IO, r);
    uint64_t size = 0;
    T_OK(disk->ops->size(f, &size));
    assert_int_equal(size, 8192);
    disk->ops->close(f);
}

TEST(allocated_space_has_its_length_and_reads_zero)
{
    struct disk_file *f = open_new(t_path(dir, "segment"));
    T_OK(disk->ops->allocate(f, MIB(1)));
    uint64_t size = 0;
    T_OK(disk->ops->size(f, &size));
    assert_int_equal(size, MIB(1));
    uint8_t got[16] = {1};
    assert_int_equal(disk->ops->read(f, got, 16, MIB(1) - 16), 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(got[i], 0);
    disk->ops->close(f);
}

TEST(files_and_directories_are_private_from_the_start)
{
    mode_t old = umask(0);
    const char *sub = t_path(dir, "sub"), *path = t_path(sub, "f");
    T_OK(disk->ops->make_dir(disk, sub));
    disk->ops->close(open_new(path));
    umask(old);
    struct stat st;
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

TEST(opening_says_what_is_missing_or_there_already)
{
    struct disk_file *f = NULL;
    const char *path = t_path(dir, "f");
    T_ERR(ERR_NOT_FOUND, disk->ops->open(disk, path, 0, &f));
    disk->ops->close(open_new(path));
    T_ERR(ERR_EXISTS, disk->ops->open(disk, path, DISK_CREATE | DISK_EXCL, &f));
    T_OK(disk->ops->open(disk, path, DISK_CREATE, &f));
    disk->ops->close(f);
}

TEST(a_link_or_a_directory_in_a_files_place_is_not_opened)
{
    struct disk_file *f = NULL;
    disk->ops->close(open_new(t_path(dir, "target")));
    assert_int_equal(symlink("target", t_path(dir, "link")), 0);
    T_ERR(ERR_IO, disk->ops->open(disk, t_path(dir, "link"), DISK_CREATE, &f));
    T_ERR(ERR_IO, disk->ops->open(disk, dir, DISK_READ, &f));
    assert_null(f);
}

TEST(making_a_directory_twice_is_fine_but_not_over_a_file)
{
    T_OK(disk->ops->make_dir(disk, t_path(dir, "d")));
    T_OK(disk->ops->make_dir(disk, t_path(dir, "d")));
    disk->ops->close(open_new(t_path(dir, "f")));
    T_ERR(ERR_EXISTS, disk->ops->make_dir(disk, t_path(dir, "f")));
    T_ERR(ERR_NOT_FOUND, disk->ops->make_dir(disk, t_path(dir, "no/way")));
}

static void collect(void *arg, const char *name)
{
    g_ptr_array_add(arg, g_strdup(name));
}

TEST(names_are_listed_renamed_and_removed)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    struct disk_file *f = open_new(t_path(dir, "a"));
    write_str(f, "a", 0);
    disk->ops->close(f);
    disk->ops->close(open_new(t_path(dir, "b")));
    T_OK(disk->ops->rename(disk, t_path(dir, "a"), t_path(dir, "b")));
    T_OK(disk->ops->sync_dir(disk, dir));
    T_OK(disk->ops->list(disk, dir, collect, names));
    assert_int_equal(names->len, 1);
    assert_string_equal(names->pdata[0], "b");
    T_OK(disk->ops->remove(disk, t_path(dir, "b")));
    T_ERR(ERR_NOT_FOUND, disk->ops->remove(disk, t_path(dir, "b")));
    T_ERR(ERR_NOT_FOUND, disk->ops->rename(disk, t_path(dir, "b"), t_path(dir, "c")));
    T_ERR(ERR_NOT_FOUND, disk->ops->list(disk, t_path(dir, "none"), collect, names));
    T_ERR(ERR_NOT_FOUND, disk->ops->sync_dir(disk, t_path(dir, "none")));
    g_ptr_array_free(names, TRUE);
}

TEST(free_space_is_known)
{
    uint64_t bytes = 0;
    T_OK(disk->ops->free_bytes(disk, dir, &bytes));
    assert_true(bytes > 0);
    T_ERR(ERR_NOT_FOUND, disk->ops->free_bytes(disk, t_path(dir, "none"), &bytes));
}

#define D(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
T_MAIN(D(what_is_written_is_read_back_after_reopening),
       D(a_gather_write_of_many_pieces_keeps_their_order),
       D(a_short_write_is_continued_and_its_error_reported),
       D(allocated_space_has_its_length_and_reads_zero),
       D(files_and_directories_are_private_from_the_start),
       D(opening_says_what_is_missing_or_there_already),
       D(a_link_or_a_directory_in_a_files_place_is_not_opened),
       D(making_a_directory_twice_is_fine_but_not_over_a_file),
       D(names_are_listed_renamed_and_removed), D(free_space_is_known))
