/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/cluster_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A configuration has no quoting: what it cannot say is refused here. */
int files_check_text(const char *what, const char *text, size_t max, struct errmsg *msg)
{
    size_t n = strlen(text);
    bool ok = n > 0 && n <= max && text[n - 1] != ' ' && !strstr(text, " #");
    for (size_t i = 0; i < n; i++)
        ok = ok && !g_ascii_iscntrl(text[i]);
    if (ok)
        return 0;
    g_autofree char *shown = g_strescape(text, NULL);
    return errmsg_set(msg, -ERR_CONFIG,
                      "%s \"%s\": at most %zu bytes, no control character, no blank at the end or "
                      "before a #",
                      what, shown, max);
}

int files_sync(const char *path, struct errmsg *msg)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    return ok ? 0 : errmsg_set(msg, err_from_errno(saved), "sync %s: %s", path, strerror(saved));
}

int files_write(const char *path, const GString *text, struct errmsg *msg)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "write %s: %s", path, strerror(errno));
    size_t done = 0;
    int err = 0;
    while (done < text->len && err == 0) {
        ssize_t w = write(fd, text->str + done, text->len - done);
        if (w >= 0)
            done += (size_t)w;
        else if (errno != EINTR)
            err = errno;
    }
    if (err == 0 && fsync(fd) < 0)
        err = errno;
    close(fd);
    return err == 0 ? 0 : errmsg_set(msg, err_from_errno(err), "write %s: %s", path, strerror(err));
}

int files_replace(const char *path, const GString *text, struct errmsg *msg)
{
    g_autofree char *beside = g_strdup_printf("%s.new", path);
    g_autofree char *dir = g_path_get_dirname(path);
    (void)unlink(beside); /* of a run that was interrupted */
    int err = files_write(beside, text, msg);
    if (err == 0 && rename(beside, path) < 0)
        err = errmsg_set(msg, err_from_errno(errno), "rename %s to %s: %s", beside, path,
                         strerror(errno));
    if (err < 0) {
        (void)unlink(beside);
        return err;
    }
    return files_sync(dir, msg);
}

uint64_t files_draw_id(struct rng *rng)
{
    uint64_t id;
    do
        id = rng_next(rng);
    while (id == 0);
    return id;
}

int files_node_cert(const char *dir, uint64_t cluster, uint32_t node, const char *cert,
                    const char *key, struct errmsg *msg)
{
    struct tls_peer who = {.cluster = cluster, .role = ROLE_NODE, .node = node, .uid = -1};
    g_autofree char *ca_cert = g_strdup_printf("%s/ca.crt", dir);
    g_autofree char *ca_key = g_strdup_printf("%s/ca.key", dir);
    g_snprintf(who.name, sizeof(who.name), "n%u", node);
    return tls_make_cert(ca_cert, ca_key, &who, cert, key, msg);
}
