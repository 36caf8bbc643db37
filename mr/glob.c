/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/glob.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>
#include "mr/nearest.h"

#define DEPTH_MAX 64

struct walk {
    struct volume *v;
    const struct volume_caller *who;
    struct arena *a;
    GArray *out;
    GHashTable *seen; /* of paths */
    const char *pattern;
    char *hint; /* the nearest name to one that is not there */
    struct errmsg *msg;
    size_t matched;
};

static int fail(struct walk *w, int no, const char *path)
{
    return errmsg_set(w->msg, no == ENOENT || no == EACCES ? -ERR_CONFIG : err_from_errno(no),
                      "input: %s: %s", path, strerror(no));
}

static int add_file(struct walk *w, const char *path, const struct volume_attr *attr)
{
    w->matched++;
    if (g_hash_table_contains(w->seen, path))
        return 0;
    if (!volume_access(attr, w->who, R_OK))
        return fail(w, EACCES, path);
    if (w->out->len >= PLAN_FILES_MAX)
        return errmsg_set(w->msg, -ERR_CONFIG, "input: more than %d files", PLAN_FILES_MAX);
    struct plan_file f = {arena_strdup(w->a, path), attr->ino, attr->data_version, attr->size};
    g_hash_table_add(w->seen, (gpointer)(uintptr_t)f.path);
    g_array_append_val(w->out, f);
    return 0;
}

/* --- listing ---------------------------------------------------------------------------------- */

static bool take_name(void *arg, const char *name, fs_ino ino UNUSED, uint32_t type UNUSED,
                      uint64_t cookie UNUSED, const struct volume_attr *attr UNUSED)
{
    g_ptr_array_add(arg, g_strdup(name));
    return true;
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list(struct walk *w, const char *path, const struct volume_attr *dir, GPtrArray **ret)
{
    if (!volume_access(dir, w->who, R_OK | X_OK))
        return fail(w, EACCES, path);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    int rc = volume_readdir(w->v, dir->ino, 0, false, take_name, names);
    if (rc < 0) {
        g_ptr_array_unref(names);
        return fail(w, -rc, path);
    }
    g_ptr_array_sort(names, by_name);
    *ret = names;
    return 0;
}

static char *join(const char *dir, const char *name)
{
    return g_strconcat(strcmp(dir, "/") == 0 ? "" : dir, "/", name, NULL);
}

/* --- walking ---------------------------------------------------------------------------------- */

static int walk(struct walk *w, const char *path, char **parts, unsigned depth);

static int add_directory(struct walk *w, const char *path, const struct volume_attr *dir)
{
    GPtrArray *names;
    int rc = list(w, path, dir, &names);
    if (rc < 0)
        return rc;
    for (guint i = 0; i < names->len && rc == 0; i++) {
        const char *name = names->pdata[i];
        struct volume_attr attr;
        char *p = join(path, name);
        if (*name != '.' && volume_resolve(w->v, p, false, &attr) == 0 && S_ISREG(attr.mode))
            rc = add_file(w, p, &attr);
        g_free(p);
    }
    g_ptr_array_unref(names);
    return rc;
}

static void note_hint(struct walk *w, const char *dir, GPtrArray *names, const char *part)
{
    g_ptr_array_add(names, NULL);
    const char *near = nearest(part, (const char *const *)names->pdata);
    if (near && !w->hint)
        w->hint = join(dir, near);
}

/* `**`: here, and in every directory below. */
static int walk_below(struct walk *w, const char *path, const struct volume_attr *dir, char **parts,
                      unsigned depth)
{
    GPtrArray *names = NULL;
    int rc = walk(w, path, parts + 1, depth);
    if (rc == 0)
        rc = list(w, path, dir, &names);
    if (rc < 0)
        return rc;
    for (guint i = 0; i < names->len && rc == 0; i++) {
        const char *name = names->pdata[i];
        struct volume_attr attr;
        char *p = join(path, name);
        if (*name != '.' && volume_resolve(w->v, p, true, &attr) == 0 && S_ISDIR(attr.mode))
            rc = walk(w, p, parts, depth + 1);
        g_free(p);
    }
    g_ptr_array_unref(names);
    return rc;
}

static int walk_pattern(struct walk *w, const char *path, const struct volume_attr *dir,
                        char **parts, unsigned depth)
{
    GPtrArray *names;
    int rc = list(w, path, dir, &names);
    if (rc < 0)
        return rc;
    for (guint i = 0; i < names->len && rc == 0; i++) {
        if (fnmatch(*parts, names->pdata[i], FNM_PERIOD) != 0)
            continue;
        char *p = join(path, names->pdata[i]);
        rc = walk(w, p, parts + 1, depth + 1);
        g_free(p);
    }
    g_ptr_array_unref(names);
    return rc;
}

static int walk_name(struct walk *w, const char *path, const struct volume_attr *dir, char **parts,
                     unsigned depth)
{
    struct volume_attr attr;
    if (!volume_access(dir, w->who, X_OK))
        return fail(w, EACCES, path);
    char *p = join(path, *parts);
    int rc = volume_resolve(w->v, p, true, &attr);
    if (rc == 0) {
        rc = walk(w, p, parts + 1, depth + 1);
    } else if (rc == -ENOENT) {
        GPtrArray *names;
        rc = 0;
        if (volume_access(dir, w->who, R_OK) && list(w, path, dir, &names) == 0) {
            note_hint(w, path, names, *parts);
            g_ptr_array_unref(names);
        }
    } else {
        rc = fail(w, -rc, p);
    }
    g_free(p);
    return rc;
}

static int walk(struct walk *w, const char *path, char **parts, unsigned depth)
{
    struct volume_attr attr;
    while (*parts && !**parts) /* empty components: doubled slashes */
        parts++;
    if (depth > DEPTH_MAX)
        return fail(w, ELOOP, path);
    int rc = volume_resolve(w->v, path, false, &attr);
    if (rc == -ENOENT)
        return 0; /* a dangling link, or gone in between */
    if (rc < 0)
        return fail(w, -rc, path);
    if (!*parts) {
        if (S_ISDIR(attr.mode))
            return strstr(w->pattern, "*") ? 0 : add_directory(w, path, &attr);
        return S_ISREG(attr.mode) ? add_file(w, path, &attr) : 0;
    }
    if (!S_ISDIR(attr.mode))
        return 0;
    if (strcmp(*parts, "**") == 0)
        return walk_below(w, path, &attr, parts, depth);
    if (strpbrk(*parts, "*?["))
        return walk_pattern(w, path, &attr, parts, depth);
    return walk_name(w, path, &attr, parts, depth);
}

int glob_inputs(struct volume *v, const struct volume_caller *who, GPtrArray *patterns,
                struct arena *a, GArray *ret, struct errmsg *msg)
{
    struct walk w = {.v = v, .who = who, .a = a, .out = ret, .msg = msg};
    int rc = 0;
    w.seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < patterns->len && rc == 0; i++) {
        w.pattern = patterns->pdata[i];
        w.matched = 0;
        char **parts = g_strsplit(w.pattern + 1, "/", -1);
        rc = walk(&w, "/", parts, 0);
        g_strfreev(parts);
        if (rc == 0 && !w.matched)
            rc = errmsg_set(msg, -ERR_CONFIG, "input: %s matches no file%s%s%s", w.pattern,
                            w.hint ? " (there is " : "", w.hint ? w.hint : "", w.hint ? ")" : "");
        g_free(TAKE(w.hint));
    }
    g_hash_table_unref(w.seen);
    return rc;
}
