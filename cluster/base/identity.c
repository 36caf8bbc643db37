/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define IDENTITY_BYTES_MAX 256

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int r = fsync(fd);
    int saved = errno;
    close(fd);
    errno = saved;
    return r;
}

/* The text is short: a write that takes only a part of it is an error like any other. */
static int write_synced(int fd, const char *text, size_t n)
{
    ssize_t w = write(fd, text, n);
    if (w >= 0 && (size_t)w != n)
        errno = ENOSPC;
    return w == (ssize_t)n && fsync(fd) == 0 ? 0 : -1;
}

int identity_write(const char *dir, const struct identity *id, struct errmsg *msg)
{
    g_autofree char *path = g_strdup_printf("%s/identity", dir);
    g_autofree char *fresh = g_strdup_printf("%s/identity.new", dir);
    char text[IDENTITY_BYTES_MAX];
    int n = snprintf(text, sizeof(text),
                     "raftfs-identity %d\ncluster %016" PRIx64 "\nnode %" PRIu32
                     "\nincarnation %016" PRIx64 "\n",
                     IDENTITY_VERSION, id->cluster, id->node, id->incarnation);
    ASSERT(n > 0 && (size_t)n < sizeof(text));

    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "write %s: %s", fresh, strerror(errno));
    int r = write_synced(fd, text, (size_t)n);
    int saved = errno;
    close(fd);
    errno = saved;
    /* link, not rename: it never replaces an identity that is there. */
    if (r == 0)
        r = link(fresh, path);
    saved = errno;
    (void)unlink(fresh);
    errno = saved;
    if (r == 0)
        r = sync_dir(dir);
    if (r < 0 && errno == EEXIST)
        return errmsg_set(msg, -ERR_EXISTS, "%s exists: the directory already belongs to a node",
                          path);
    if (r < 0)
        return errmsg_set(msg, err_from_errno(errno), "write %s: %s", path, strerror(errno));
    return 0;
}

static bool take_word(const char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0)
        return false;
    *at += n;
    return true;
}

static bool take_hex16(const char **at, uint64_t *ret)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++, (*at)++) {
        int digit = g_ascii_xdigit_value(**at);
        if (digit < 0)
            return false;
        v = v << 4 | (uint64_t)digit;
    }
    *ret = v;
    return true;
}

static bool take_number(const char **at, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    const char *from = *at;
    for (; g_ascii_isdigit(**at) && v <= max; (*at)++)
        v = v * 10 + (uint64_t)(**at - '0');
    *ret = v;
    return *at > from && v <= max;
}

/* 0, -ERR_FORMAT or -ERR_CORRUPT; see the rule in the header. *ret_version is 0 if there is none.
 */
static int parse(const char *text, struct identity *ret, uint64_t *ret_version)
{
    struct identity id = {0};
    uint64_t version, node = 0;
    const char *at = text;
    if (!take_word(&at, "raftfs-identity ") || !take_number(&at, UINT32_MAX, &version))
        return -ERR_CORRUPT;
    *ret_version = version;
    if (version != IDENTITY_VERSION)
        return -ERR_FORMAT;
    bool ok = take_word(&at, "\ncluster ") && take_hex16(&at, &id.cluster) &&
              take_word(&at, "\nnode ") && take_number(&at, NODE_ID_MAX, &node) &&
              take_word(&at, "\nincarnation ") && take_hex16(&at, &id.incarnation) &&
              take_word(&at, "\n") && *at == '\0';
    if (!ok || id.cluster == 0 || node == 0)
        return -ERR_CORRUPT;
    id.node = (uint32_t)node;
    *ret = id;
    return 0;
}

int identity_read(const char *dir, struct identity *ret, struct errmsg *msg)
{
    g_autofree char *path = g_strdup_printf("%s/identity", dir);
    char text[IDENTITY_BYTES_MAX + 1] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && access(dir, F_OK) != 0)
        return errmsg_set(
            msg, -ERR_NOT_FOUND,
            "data directory %s does not exist: is its disk mounted? A new one is made "
            "by \"raftfsctl init\"",
            dir);
    if (fd < 0 && errno == ENOENT)
        return errmsg_set(msg, -ERR_NOT_FOUND,
                          "data directory %s holds no identity: is its disk mounted? A new one is "
                          "made by \"raftfsctl init\"",
                          dir);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "read %s: %s", path, strerror(errno));
    ssize_t n = read(fd, text, sizeof(text) - 1);
    int saved = errno;
    close(fd);
    if (n < 0)
        return errmsg_set(msg, err_from_errno(saved), "read %s: %s", path, strerror(saved));

    uint64_t version = 0;
    int err = strlen(text) == (size_t)n ? parse(text, ret, &version) : -ERR_CORRUPT;
    if (err == -ERR_FORMAT)
        return errmsg_set(msg, err,
                          "%s has format %" PRIu64 ", this program knows %d: run the newer "
                          "raftfsd, or use another data directory",
                          path, version, IDENTITY_VERSION);
    if (err < 0)
        return errmsg_set(msg, err, "%s is damaged: restore it from a backup, or replace this node",
                          path);
    return 0;
}

int identity_check(const char *dir, const struct identity *found, uint64_t cluster, uint32_t node,
                   struct errmsg *msg)
{
    if (found->cluster != cluster)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "data directory %s belongs to cluster %016" PRIx64
                          ", the configuration says %016" PRIx64
                          ": correct \"data\" or \"cluster\"",
                          dir, found->cluster, cluster);
    if (found->node != node)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "data directory %s belongs to node n%" PRIu32
                          ", the configuration says n%" PRIu32 ": correct \"data\" or \"node\"",
                          dir, found->node, node);
    return 0;
}

int identity_lock(const char *dir, int *ret_fd, struct errmsg *msg)
{
    g_autofree char *path = g_strdup_printf("%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *ret_fd = fd;
        return 0;
    }
    int saved = errno;
    close(fd);
    if (saved == EWOULDBLOCK)
        return errmsg_set(msg, -ERR_LOCKED,
                          "data directory %s is in use: another raftfsd runs on it", dir);
    return errmsg_set(msg, err_from_errno(saved), "lock %s: %s", path, strerror(saved));
}
