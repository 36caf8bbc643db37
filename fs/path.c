/* SPDX-License-Identifier: Apache-2.0 */
/* Paths for callers without a kernel: components, "..", symlinks (at most 40, as Linux). */
#include <errno.h>
#include <limits.h>
#include "fs/volume.h"

#define LINKS_MAX 40

struct walk {
    struct volume *v;
    struct volume_attr at;
    GString *rest; /* what is left to resolve */
    unsigned links;
};

/* Puts a symlink's target in front of the rest. */
static int follow(struct walk *w, const struct volume_attr *link)
{
    char target[FS_SYMLINK_MAX + 1];
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    int rc = volume_readlink(w->v, link->ino, target);
    if (rc)
        return rc;
    g_string_prepend(w->rest, target); /* the rest is empty or begins with '/' */
    return target[0] == '/' ? volume_getattr(w->v, FS_ROOT, &w->at) : 0;
}

static int step(struct walk *w, const char *name, bool last, bool nofollow)
{
    if (!S_ISDIR(w->at.mode))
        return -ENOTDIR;
    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0)
        return volume_getattr(w->v, w->at.parent, &w->at);
    struct volume_attr next;
    int rc = volume_lookup(w->v, w->at.ino, name, &next);
    if (rc)
        return rc;
    if (S_ISLNK(next.mode) && !(last && nofollow))
        return follow(w, &next);
    w->at = next;
    return 0;
}

static int walk(struct walk *w, bool nofollow)
{
    int rc = volume_getattr(w->v, FS_ROOT, &w->at);
    while (rc == 0) {
        size_t start = strspn(w->rest->str, "/");
        size_t n = strcspn(w->rest->str + start, "/");
        if (n == 0)
            return start && !S_ISDIR(w->at.mode) ? -ENOTDIR : 0;
        if (n > FS_NAME_MAX)
            return -ENAMETOOLONG;
        char name[FS_NAME_MAX + 1];
        memcpy(name, w->rest->str + start, n);
        name[n] = '\0';
        bool last = w->rest->str[start + n] == '\0';
        g_string_erase(w->rest, 0, (gssize)(start + n));
        rc = step(w, name, last, nofollow);
    }
    return rc;
}

int volume_resolve(struct volume *v, const char *path, bool nofollow, struct volume_attr *ret)
{
    if (strlen(path) >= PATH_MAX)
        return -ENAMETOOLONG;
    struct walk w = {.v = v, .rest = g_string_new(path)};
    int rc = walk(&w, nofollow);
    g_string_free(w.rest, TRUE);
    if (rc == 0)
        *ret = w.at;
    return rc;
}
