/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Paths of a directory's neighbours. */
#define DIR_GONE ".gone"
#define DIR_OLD  ".old"

static int last_error(void)
{
    return err_from_errno(errno);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

int dir_sync(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return last_error();
    int err = fsync(fd) < 0 ? last_error() : 0;
    close(fd);
    return err;
}

static int sync_parent(const char *path)
{
    char *parent = g_path_get_dirname(path);
    int err = dir_sync(parent);
    g_free(parent);
    return err;
}

int dir_make(const char *dir)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return last_error();
    return sync_parent(dir);
}

/* --- removing --------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *ftw UNUSED)
{
    return remove(path);
}

static int remove_tree(const char *path)
{
    if (!exists(path))
        return 0;
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 ? last_error() : 0;
}

/* First a rename, so that a half-removed store never stands under its name. */
static int remove_by_rename(const char *dir, const char *gone)
{
    int err = remove_tree(gone);
    if (err < 0)
        return err;
    if (exists(dir)) {
        if (rename(dir, gone) < 0)
            return last_error();
        err = sync_parent(dir);
    }
    return err < 0 ? err : remove_tree(gone);
}

int dir_remove(const char *dir)
{
    char *gone = g_strconcat(dir, DIR_GONE, NULL);
    char *old = g_strconcat(dir, DIR_OLD, NULL);
    int err = 0;
    if (exists(dir) || exists(gone) || exists(old)) {
        err = remove_tree(old); /* or dir_heal would bring it back */
        if (err == 0)
            err = remove_by_rename(dir, gone);
        if (err == 0)
            err = sync_parent(dir);
    }
    g_free(gone);
    g_free(old);
    return err;
}

/* --- replacing -------------------------------------------------------------------------------- */

int dir_heal(const char *dir)
{
    char *old = g_strconcat(dir, DIR_OLD, NULL);
    char *gone = g_strconcat(dir, DIR_GONE, NULL);
    int err = remove_tree(gone);
    if (err == 0 && exists(old)) {
        if (exists(dir))
            err = remove_tree(old);
        else if (rename(old, dir) < 0)
            err = last_error();
        if (err == 0)
            err = sync_parent(dir);
    }
    g_free(old);
    g_free(gone);
    return err;
}

/* Where the file system cannot exchange two names: a crash between the renames leaves no `to`, and
 * dir_heal takes the old one back. */
static int replace_in_steps(const char *from, const char *to)
{
    char *old = g_strconcat(to, DIR_OLD, NULL);
    int err = remove_tree(old);
    if (err == 0 && rename(to, old) < 0)
        err = last_error();
    if (err == 0)
        err = sync_parent(to);
    if (err == 0 && rename(from, to) < 0)
        err = last_error();
    if (err == 0)
        err = sync_parent(to);
    if (err == 0 && rename(old, from) < 0)
        err = last_error();
    if (err == 0)
        err = sync_parent(from);
    g_free(old);
    return err;
}

int dir_replace(const char *from, const char *to)
{
    if (!exists(from))
        return -ERR_NOT_FOUND;
    int err = dir_heal(to);
    if (err < 0)
        return err;
    if (!exists(to)) {
        if (rename(from, to) < 0)
            return last_error();
    } else if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) < 0) {
        if (errno != EINVAL && errno != ENOSYS)
            return last_error();
        return replace_in_steps(from, to);
    }
    err = sync_parent(to);
    return err < 0 ? err : sync_parent(from);
}

/* --- files ------------------------------------------------------------------------------------ */

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int dir_files(const char *dir, GPtrArray **ret)
{
    DIR *d = opendir(dir);
    if (!d)
        return last_error();
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    const struct dirent *e;
    errno = 0;
    while ((e = readdir(d)) != NULL) {
        struct stat st;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            g_ptr_array_add(names, g_strdup(e->d_name));
        errno = 0;
    }
    int err = errno ? last_error() : 0;
    closedir(d);
    if (err < 0) {
        g_ptr_array_free(names, TRUE);
        return err;
    }
    g_ptr_array_sort(names, by_name);
    *ret = names;
    return 0;
}

static int write_synced(const char *path, struct bytes text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return last_error();
    ssize_t n = write(fd, text.p, text.n);
    int err = 0;
    if (n < 0 || fsync(fd) < 0)
        err = last_error();
    else if ((size_t)n != text.n)
        err = -ERR_NO_SPACE;
    close(fd);
    return err;
}

int dir_write_file(const char *dir, const char *name, struct bytes text)
{
    char *path = g_strdup_printf("%s/%s", dir, name);
    char *beside = g_strdup_printf("%s/%s.new", dir, name);
    int err = write_synced(beside, text);
    if (err == 0 && rename(beside, path) < 0)
        err = last_error();
    if (err == 0)
        err = dir_sync(dir);
    g_free(path);
    g_free(beside);
    return err;
}
