/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stopped node's files are, and that it is stopped. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "cluster/base/identity.h"
#include "cluster/ctl/dump.h"

static bool has(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    return access(path, F_OK) == 0;
}

/* The data directory that `dir` is or lies in; NULL: none, it is a copy. */
static char *data_dir_of(const char *dir)
{
    if (has(dir, "identity"))
        return g_strdup(dir);
    g_autofree char *parent = g_path_get_dirname(dir);
    g_autofree char *name = g_path_get_basename(dir);
    if (strcmp(name, "wal") == 0 && has(parent, "identity"))
        return g_strdup(parent);
    g_autofree char *above = g_path_get_dirname(parent);
    g_autofree char *groups = g_path_get_basename(parent);
    if (strcmp(groups, "groups") == 0 && has(above, "identity"))
        return g_strdup(above);
    return NULL;
}

/* Shared: it keeps a raftfsd away and needs no right to write. */
static int lock(const char *data, int *ret_fd, struct errmsg *msg)
{
    g_autofree char *path = g_build_filename(data, "lock", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0; /* no raftfsd ever ran here */
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        *ret_fd = fd;
        return 0;
    }
    int saved = errno;
    close(fd);
    if (saved == EWOULDBLOCK)
        return errmsg_set(msg, -ERR_LOCKED,
                          "data directory %s is in use: a raftfsd runs on it; stop it first", data);
    return errmsg_set(msg, err_from_errno(saved), "lock %s: %s", path, strerror(saved));
}

int dump_place_open(const char *dir, enum dump_what what, struct dump_place *ret,
                    struct errmsg *msg)
{
    struct dump_place p = {.lock_fd = -1};
    struct identity id;
    g_autofree char *real = realpath(dir, NULL);
    if (!real)
        return errmsg_set(msg, err_from_errno(errno), "%s: %s", dir, strerror(errno));
    g_autofree char *data = data_dir_of(real);
    int err = data ? identity_read(data, &id, msg) : 0;
    if (err == 0 && data)
        err = lock(data, &p.lock_fd, msg);
    if (err < 0)
        return err;
    if (data && strcmp(data, real) == 0)
        p.dir = what == DUMP_WAL ? g_build_filename(data, "wal", NULL)
                                 : g_build_filename(data, "groups", "0", NULL);
    else
        p.dir = g_strdup(real);
    *ret = p;
    return 0;
}

void dump_place_close(struct dump_place *p)
{
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    g_free(p->dir);
    *p = (struct dump_place){.lock_fd = -1};
}
