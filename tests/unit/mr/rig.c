/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/mr/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct rig *current;
/* Held by who asks a node, so that none goes away under a question. */
static pthread_rwlock_t nodes_lock = PTHREAD_RWLOCK_INITIALIZER;

static const char *keep(char *s)
{
    static GPtrArray *kept;
    if (!kept)
        kept = g_ptr_array_new_with_free_func(g_free);
    if (s)
        g_ptr_array_add(kept, s);
    return s;
}

/* What the services made; alive until their sessions are lost or the services stop. */
struct made {
    struct client *client;
    struct client_options o;
};
static GArray *made;
static pthread_mutex_t made_lock = PTHREAD_MUTEX_INITIALIZER;

/* The services make their clients from a conf: here all are of the one cluster. */
int client_create(const struct client_options *o, struct client **ret, struct errmsg *msg UNUSED)
{
    struct made m = {fake_client_create(current->cluster), *o};
    pthread_mutex_lock(&made_lock);
    if (!made)
        made = g_array_new(FALSE, FALSE, sizeof(struct made));
    g_array_append_val(made, m);
    pthread_mutex_unlock(&made_lock);
    *ret = m.client;
    return 0;
}

void rig_expire(struct rig *r UNUSED)
{
    pthread_mutex_lock(&made_lock);
    for (guint i = 0; i < made->len; i++) {
        struct made *m = &g_array_index(made, struct made, i);
        if (!client_session(m->client))
            continue;
        fake_expire(m->client);
        m->o.on_session_lost(m->o.ctx);
    }
    g_array_set_size(made, 0);
    pthread_mutex_unlock(&made_lock);
}

static int fetch(void *ctx, uint32_t node, const struct msg_fetch *m, struct enc *reply)
{
    struct rig *r = ctx;
    int rc = -ERR_UNREACHABLE;
    pthread_rwlock_rdlock(&nodes_lock);
    if (node <= r->nodes && r->node[node]) {
        mr_service_fetch(r->node[node], m, reply);
        rc = 0;
    }
    pthread_rwlock_unlock(&nodes_lock);
    return rc;
}

static void log_line(void *ctx UNUSED, enum log_level level UNUSED, const char *text)
{
    if (getenv("RAFTFS_TEST_LOG"))
        fprintf(stderr, "log: %s\n", text);
}

/* --- nodes ------------------------------------------------------------------------------------ */

void rig_start(struct rig *r, unsigned node)
{
    struct errmsg msg;
    const char *task = getenv("RAFTFS_TASK");
    if (!task)
        fail_msg("RAFTFS_TASK must name the raftfs-task program");
    struct mr_service_options o = {
        .conf = "none",
        .node = node,
        .data = t_path(t_tmpdir(), "mr"),
        .slots = 2,
        .task_path = task,
        .log = log_line,
        .fetch = fetch,
        .ctx = r,
        .tick_ms = 20,
        .lease_ms = 1000,
    };
    struct mr_service *s;
    T_OK_MSG(mr_service_create(&o, &s, &msg), &msg);
    T_OK_MSG(mr_service_start(s, &msg), &msg);
    pthread_rwlock_wrlock(&nodes_lock);
    r->node[node] = s;
    pthread_rwlock_unlock(&nodes_lock);
}

void rig_stop(struct rig *r, unsigned node)
{
    struct mr_service *s = r->node[node];
    if (r->leader == node)
        r->leader = 0;
    pthread_rwlock_wrlock(&nodes_lock);
    r->node[node] = NULL;
    pthread_rwlock_unlock(&nodes_lock);
    mr_service_destroy(s);
}

void rig_lead(struct rig *r, unsigned node)
{
    if (r->leader)
        mr_service_lead(r->node[r->leader], false);
    r->leader = node;
    if (node)
        mr_service_lead(r->node[node], true);
}

void rig_begin(struct rig *r, unsigned nodes)
{
    struct errmsg msg;
    uid_t uid = geteuid();
    *r = (struct rig){.nodes = nodes, .cluster = fake_cluster_create()};
    current = r;
    if (made)
        g_array_set_size(made, 0);
    r->client = fake_client_create(r->cluster);
    struct volume_options o = {.client = r->client};
    T_OK_MSG(volume_open(&o, &r->v, &msg), &msg);
    T_OK_MSG(jobs_overlay_create(r->v, &r->jobs, &r->overlay, &msg), &msg);
    r->who = (struct volume_caller){
        .uid = uid ? uid : 1000, .gid = uid ? getegid() : 1000, .umask = 022};
    for (unsigned i = 1; i <= nodes; i++)
        rig_start(r, i);
    rig_lead(r, 1);
}

void rig_end(struct rig *r)
{
    for (unsigned i = 1; i <= r->nodes; i++)
        if (r->node[i])
            rig_stop(r, i);
    jobs_overlay_destroy(r->jobs);
    volume_close(r->v);
    client_destroy(r->client);
    fake_cluster_destroy(r->cluster);
}

/* --- files ------------------------------------------------------------------------------------ */

static fs_ino parent_of(struct rig *r, const char *path, const char **ret_name)
{
    struct volume_attr a;
    const char *slash = strrchr(path, '/');
    char *dir = slash == path ? g_strdup("/") : g_strndup(path, (gsize)(slash - path));
    T_OK(volume_resolve(r->v, dir, false, &a));
    g_free(dir);
    *ret_name = slash + 1;
    return a.ino;
}

void rig_mkdir(struct rig *r, const char *path)
{
    struct volume_attr a;
    const char *name;
    fs_ino dir = parent_of(r, path, &name);
    T_OK(volume_mkdir(r->v, dir, name, &r->who, 0755, &a));
}

static fs_ino write_file(struct rig *r, const char *path, const char *text, size_t n)
{
    struct volume_attr a;
    struct volume_file *f;
    const char *name;
    fs_ino dir = parent_of(r, path, &name);
    int rc = volume_create(r->v, dir, name, &r->who, 0644, O_WRONLY, &f, &a);
    if (rc == -EEXIST) {
        T_OK(volume_lookup(r->v, dir, name, &a));
        T_OK(volume_file_open(r->v, a.ino, O_WRONLY | O_TRUNC, &r->who, &f));
    } else {
        T_OK(rc);
    }
    for (size_t at = 0; at < n;)
        at += (size_t)T_COUNT(volume_write(f, text + at, n - at, at, &r->who));
    T_OK(volume_flush(f));
    volume_file_close(f);
    return a.ino;
}

void rig_write(struct rig *r, const char *path, const char *text, size_t n)
{
    (void)write_file(r, path, text, n);
}

void rig_put(struct rig *r, const char *path, const char *text)
{
    rig_write(r, path, text, strlen(text));
}

bool rig_exists(struct rig *r, const char *path)
{
    struct volume_attr a;
    return volume_resolve(r->v, path, false, &a) == 0;
}

const char *rig_read(struct rig *r, const char *path)
{
    struct volume_attr a;
    struct volume_file *f;
    if (volume_resolve(r->v, path, false, &a) < 0)
        return NULL;
    T_OK(volume_file_open(r->v, a.ino, O_RDONLY, &r->who, &f));
    char *p = g_malloc0(a.size + 1);
    for (size_t at = 0; at < a.size;)
        at += (size_t)T_COUNT(volume_read(f, p + at, a.size - at, at));
    volume_file_close(f);
    return keep(p);
}

/* --- jobs ------------------------------------------------------------------------------------- */

int rig_submit(struct rig *r, const char *name, const char *spec)
{
    struct volume_attr jobs, a;
    char *file = g_strconcat(name, ".job", NULL), *path = g_strconcat("/jobs/", file, NULL);
    const struct synth_ops *ops = r->overlay.ops;
    T_OK(volume_resolve(r->v, "/jobs", false, &jobs));
    assert_true(ops->watches(r->overlay.ctx, jobs.ino, file));
    int rc = 0;
    if (volume_lookup(r->v, jobs.ino, file, &a) == 0)
        rc = ops->opening(r->overlay.ctx, jobs.ino, file, a.ino);
    if (rc == 0) {
        fs_ino ino = write_file(r, path, spec, strlen(spec));
        rc = ops->check(r->overlay.ctx, jobs.ino, file, ino, &r->who);
        ops->settled(r->overlay.ctx, jobs.ino, file, ino, &r->who);
    }
    g_free(file);
    g_free(path);
    return rc;
}

static int open_synth(struct rig *r, const char *name, const char *file, int flags,
                      struct synth_file **ret)
{
    struct volume_attr dir;
    struct synth_node node;
    char *path = name ? g_strconcat("/jobs/", name, NULL) : g_strdup("/jobs");
    int rc = volume_resolve(r->v, path, false, &dir);
    g_free(path);
    if (rc == 0)
        rc = r->overlay.ops->lookup(r->overlay.ctx, dir.ino, file, &node);
    if (rc == 0)
        rc = r->overlay.ops->open(r->overlay.ctx, dir.ino, node.id, flags, &r->who, ret);
    return rc;
}

const char *rig_cat(struct rig *r, const char *name, const char *file)
{
    struct synth_file *f;
    char buf[4096];
    GString *s = g_string_new(NULL);
    int64_t n;
    T_OK(open_synth(r, name, file, O_RDONLY, &f));
    while ((n = T_COUNT(r->overlay.ops->read(f, buf, sizeof buf, s->len))) > 0)
        g_string_append_len(s, buf, (gssize)n);
    r->overlay.ops->release(f);
    return keep(g_string_free(s, FALSE));
}

int rig_ctl(struct rig *r, const char *name, const char *verb)
{
    struct synth_file *f;
    T_OK(open_synth(r, name, "ctl", O_WRONLY, &f));
    int64_t n = r->overlay.ops->write(f, verb, strlen(verb), 0, &r->who);
    r->overlay.ops->release(f);
    return n < 0 ? (int)n : 0;
}

const char *rig_wait(struct rig *r, const char *name)
{
    const char *line = rig_cat(r, name, "wait");
    return keep(g_strndup(line, strcspn(line, " \n")));
}

static bool take_name(void *arg, const char *name, fs_ino ino UNUSED, uint32_t type UNUSED,
                      uint64_t cookie UNUSED, const struct volume_attr *attr UNUSED)
{
    g_ptr_array_add(arg, g_strdup(name));
    return true;
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *rig_output(struct rig *r, const char *name)
{
    struct volume_attr a;
    char *dir = g_strdup_printf("/jobs/%s/out", name);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GString *s = g_string_new(NULL);
    bool there = volume_resolve(r->v, dir, false, &a) == 0;
    if (there)
        T_OK(volume_readdir(r->v, a.ino, 0, false, take_name, names));
    g_ptr_array_sort(names, by_text);
    for (guint i = 0; i < names->len; i++) {
        char *path = g_strconcat(dir, "/", names->pdata[i], NULL);
        g_string_append(s, rig_read(r, path));
        g_free(path);
    }
    g_ptr_array_unref(names);
    g_free(dir);
    char *text = g_string_free(s, FALSE);
    if (there)
        return keep(text);
    g_free(text);
    return NULL;
}

const char *rig_sorted(const char *lines)
{
    GPtrArray *all = g_ptr_array_new();
    char **l = g_strsplit(lines, "\n", -1);
    for (char **p = l; *p; p++)
        if (**p)
            g_ptr_array_add(all, *p);
    g_ptr_array_sort(all, by_text);
    GString *s = g_string_new(NULL);
    for (guint i = 0; i < all->len; i++)
        g_string_append_printf(s, "%s\n", (char *)all->pdata[i]);
    g_ptr_array_unref(all);
    g_strfreev(l);
    return keep(g_string_free(s, FALSE));
}

uint64_t rig_counter(struct rig *r, const char *name, const char *counter)
{
    const char *text = rig_cat(r, name, "counters"), *at = strstr(text, counter);
    return at ? strtoull(at + strlen(counter), NULL, 10) : 0;
}
