/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/publish.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cluster/base/clock.h"
#include "mr/coord_impl.h"

static const struct volume_caller itself = {.capable = true};

/* --- removing --------------------------------------------------------------------------------- */

struct names {
    GPtrArray *all;
};

static bool take_name(void *arg, const char *name, fs_ino ino UNUSED, uint32_t type UNUSED,
                      uint64_t cookie UNUSED, const struct volume_attr *attr UNUSED)
{
    g_ptr_array_add(arg, g_strdup(name));
    return true;
}

int remove_volume_tree(struct volume *v, fs_ino dir, const char *name,
                       const struct volume_caller *who)
{
    struct volume_attr attr;
    int rc = volume_lookup(v, dir, name, &attr);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    if (!S_ISDIR(attr.mode)) {
        rc = volume_unlink(v, dir, name, who);
        return rc == -ENOENT ? 0 : rc;
    }
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    rc = volume_readdir(v, attr.ino, 0, false, take_name, names);
    for (guint i = 0; i < names->len && rc == 0; i++)
        rc = remove_volume_tree(v, attr.ino, names->pdata[i], who);
    g_ptr_array_unref(names);
    if (rc == 0)
        rc = volume_rmdir(v, dir, name, who);
    return rc == -ENOENT ? 0 : rc;
}

static void dir_name(char *buf, size_t n, const char *what, uint64_t epoch)
{
    g_snprintf(buf, (gulong)n, ".%s-%llu", what, (unsigned long long)epoch);
}

int job_clean(struct state *st, struct volume *v, struct bytes name, const struct job_record *j)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct bytes lo, hi;
    char work[40], out[40];
    dir_name(work, sizeof work, "work", j->epoch);
    dir_name(out, sizeof out, "out", j->epoch);
    key_tasks_range(&a, st->shards, 's', name, j->epoch, &lo, &hi);
    int rc = state_delete_range(st, lo, hi);
    if (rc < 0)
        return rc;
    int no = remove_volume_tree(v, j->dir, work, &itself);
    if (no == 0)
        no = remove_volume_tree(v, j->dir, out, &itself);
    return no < 0 ? err_from_errno(-no) : 0;
}

/* --- publishing ------------------------------------------------------------------------------- */

static int link_parts(struct coord *c, struct coord_job *j, fs_ino dir,
                      const struct volume_caller *who)
{
    const struct state_task *t = j->rec.reduces ? j->reduces : j->maps;
    uint32_t n = j->rec.reduces ? j->rec.reduces : j->rec.maps;
    for (uint32_t i = 0; i < n; i++) {
        struct volume_attr attr;
        char name[24];
        g_snprintf(name, sizeof name, "part-%05u", i);
        int no = volume_link(c->door->volume, t[i].rec.out_ino, dir, name, who, &attr);
        if (no < 0 && no != -EEXIST)
            return no;
    }
    return 0;
}

/* 0: `out` is there. -ENOENT: somebody removed the job's directory or the attempts' files. */
static int make_visible(struct coord *c, struct coord_job *j)
{
    struct volume *v = c->door->volume;
    struct volume_caller who = {
        .uid = j->rec.uid,
        .gid = j->rec.gid,
        .groups = j->rec.groups,
        .n_groups = j->rec.n_groups,
        .umask = 022,
        .capable = true,
    };
    struct volume_attr attr;
    char hidden[40];
    fs_ino dir;
    int no = volume_lookup(v, j->rec.dir, "out", &attr);
    if (no != -ENOENT)
        return no; /* done before: only a rename of ours makes it (the job began without one) */
    dir_name(hidden, sizeof hidden, "out", j->rec.epoch);
    no = ensure_dir(v, j->rec.dir, hidden, &who, &dir);
    if (no == 0)
        no = link_parts(c, j, dir, &who);
    if (no == 0)
        no = volume_rename(v, j->rec.dir, hidden, j->rec.dir, "out", RENAME_NOREPLACE, &who);
    return no == -EEXIST ? 0 : no;
}

int coord_publish(struct coord *c, struct coord_job *j)
{
    int no = make_visible(c, j);
    if (no == -ENOENT || no == -ESTALE || no == -ENOTDIR)
        return coord_fail(c, j,
                          "publishing the outputs: the job's directory or its files were "
                          "removed while it ran");
    if (no < 0)
        return err_from_errno(-no);
    j->rec.state = JOB_DONE;
    j->rec.ended_ns = clock_wall_ns();
    int rc = coord_store(c, j);
    if (rc == 0)
        service_log(c->s, LOG_INFO, "job done name=%.*s", (int)j->name.n, (const char *)j->name.p);
    return rc;
}
