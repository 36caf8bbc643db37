/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fs/fuse/mount.h"

#define FUSE_MAGIC 0x65735546

/* One line of /proc/self/mountinfo per mount: is `path` one, of a raftfs? */
static bool is_raftfs_mount(const char *path)
{
    char line[8192], at[4096], type[64];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");

    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) {
        const char *dash = strstr(line, " - ");
        if (dash && sscanf(line, "%*s %*s %*s %*s %4095s", at) == 1 &&
            sscanf(dash, " - %63s", type) == 1 && strcmp(at, path) == 0)
            found = strcmp(type, "fuse.raftfs") == 0; /* the last one is on top */
    }
    (void)fclose(f);
    return found;
}

/* As root by a system call, else by fusermount3, which may unmount what its user mounted. */
static int unmount_lazily(const char *path)
{
    if (umount2(path, MNT_DETACH) == 0)
        return 0;
    pid_t pid = fork();
    if (pid < 0)
        return -ERR_IO;
    if (pid == 0) {
        (void)execlp("fusermount3", "fusermount3", "-u", "-z", "-q", path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ERR_IO;
}

/* realpath(3) would fail on a dead mount: resolve the parent, keep the last part. */
static char *absolute(const char *path)
{
    char *dir = g_path_get_dirname(path), *base = g_path_get_basename(path);
    char *real = realpath(dir, NULL), *ret = NULL;

    if (real)
        ret = g_strcmp0(base, ".") == 0 || g_strcmp0(base, "/") == 0
                  ? g_strdup(real)
                  : g_build_filename(real, base, NULL);
    free(real);
    g_free(dir);
    g_free(base);
    return ret;
}

int mount_point_prepare(const char *path, char **ret, struct errmsg *msg)
{
    char *at = absolute(path);
    struct stat st;
    int r = 0;

    if (!at)
        return errmsg_set(msg, -ERR_NOT_FOUND, "mount point %s: %s", path, strerror(errno));
    if (stat(at, &st) < 0 && errno == ENOTCONN) {
        if (unmount_lazily(at) < 0) {
            r = errmsg_set(msg, -ERR_LOCKED,
                           "mount point %s: a dead mount is in the way; run `fusermount3 -uz %s`",
                           at, at);
            goto out;
        }
    }
    if (stat(at, &st) < 0)
        r = errmsg_set(msg, -ERR_NOT_FOUND, "mount point %s: %s; make it with `mkdir %s`", at,
                       strerror(errno), at);
    else if (!S_ISDIR(st.st_mode))
        r = errmsg_set(msg, -ERR_INVALID, "mount point %s: not a directory", at);
    else if (is_raftfs_mount(at))
        r = errmsg_set(msg, -ERR_LOCKED,
                       "mount point %s: a raftfs is mounted there already; unmount it with "
                       "`fusermount3 -u %s` or choose another directory",
                       at, at);
out:
    if (r < 0)
        g_free(at);
    else
        *ret = at;
    return r;
}

int mount_check_data_dir(const char *mount_point, const char *data, struct errmsg *msg)
{
    size_t n = strlen(mount_point);
    struct statfs st;

    if (strncmp(data, mount_point, n) == 0 && (data[n] == '/' || data[n] == '\0'))
        return errmsg_set(msg, -ERR_INVALID,
                          "data directory %s lies under the mount point %s: choose another with "
                          "-o data=DIR",
                          data, mount_point);
    if (statfs(data, &st) == 0 && st.f_type == FUSE_MAGIC)
        return errmsg_set(msg, -ERR_INVALID,
                          "data directory %s is on a FUSE filesystem: choose one on a disk with "
                          "-o data=DIR",
                          data);
    return 0;
}

int background_begin(int *ret_fd, struct errmsg *msg)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return errmsg_set(msg, -ERR_IO, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return errmsg_set(msg, -ERR_IO, "fork: %s", strerror(errno));
    if (pid == 0) {
        (void)close(fds[0]);
        (void)setsid();
        *ret_fd = fds[1];
        return 0;
    }

    char text[1024];
    size_t n = 0;
    ssize_t got;
    (void)close(fds[1]);
    while (n < sizeof(text) - 1 && ((got = read(fds[0], text + n, sizeof(text) - 1 - n)) > 0 ||
                                    (got < 0 && errno == EINTR)))
        n += got > 0 ? (size_t)got : 0;
    text[n] = '\0';
    if (strcmp(text, "ready") == 0)
        _exit(0);
    (void)fprintf(stderr, "raftfs: %s\n", n ? text : "ended before it was mounted");
    _exit(1);
}

static void report(int fd, const char *text)
{
    size_t n = strlen(text);

    while (n) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno != EINTR)
            break;
        if (put > 0) {
            text += put;
            n -= (size_t)put;
        }
    }
    (void)close(fd);
}

void background_ready(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            (void)close(null);
    }
    report(fd, "ready");
}

void background_failed(int fd, const char *text)
{
    report(fd, text);
}
