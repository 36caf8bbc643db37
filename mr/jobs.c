/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/jobs_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "cluster/base/clock.h"

#define DIRS_MS  1000
#define VERB_MAX 64

static const struct name_of {
    const char *name;
    enum jobs_file id;
    uint32_t mode;
    bool hidden;
} in_jobs[] = {{"README", JOBS_README, 0444, false}, {"last-error", JOBS_LAST_ERROR, 0444, false}},
  in_job[] = {{"status", JOBS_STATUS, 0444, false},     {"progress", JOBS_PROGRESS, 0444, false},
              {"counters", JOBS_COUNTERS, 0444, false}, {"error", JOBS_ERROR, 0444, false},
              {"plan", JOBS_PLAN, 0444, false},         {"ctl", JOBS_CTL, 0644, false},
              {"wait", JOBS_WAIT, 0444, true}};

struct synth_file {
    struct jobs_overlay *o;
    enum jobs_file what;
    char *name; /* of the job; NULL: in /jobs itself */
    uint64_t epoch;
    pthread_mutex_t lock;
    GString *text; /* NULL: not made yet (wait) */
};

int jobs_state(struct jobs_overlay *o, struct state *ret)
{
    return state_init(ret, volume_client(o->v), volume_cancel());
}

/* --- which directories are jobs' -------------------------------------------------------------- */

void jobs_note_dir(struct jobs_overlay *o, fs_ino ino)
{
    pthread_mutex_lock(&o->lock);
    g_hash_table_add(o->dirs, g_memdup2(&ino, sizeof ino));
    pthread_mutex_unlock(&o->lock);
}

/* Exact: one read. *ret_name in the arena, NUL-terminated. */
static int job_of_dir(struct jobs_overlay *o, struct arena *a, fs_ino dir, char **ret_name,
                      uint64_t *ret_epoch)
{
    struct state st;
    struct bytes v;
    uint64_t version;
    int rc = jobs_state(o, &st);
    if (rc == 0)
        rc = state_get(&st, a, key_dir(a, dir), &v, &version);
    if (rc == 0 && (!version || v.n < 9))
        rc = -ERR_NOT_FOUND;
    if (rc < 0)
        return jobs_errno(rc);
    *ret_epoch = get_le64(v.p);
    *ret_name = arena_printf(a, "%.*s", (int)(v.n - 8), (const char *)v.p + 8);
    return 0;
}

static int read_dirs(struct jobs_overlay *o)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct bytes lo, hi;
    struct state st;
    struct state_pair *p;
    size_t n;
    int rc = jobs_state(o, &st);
    if (rc < 0)
        return rc;
    key_registry_range(&a, 'd', &lo, &hi);
    rc = state_scan(&st, &a, lo, hi, &p, &n);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&o->lock);
    g_hash_table_remove_all(o->dirs);
    for (size_t i = 0; i < n; i++) {
        uint64_t ino =
            p[i].key.n == KEY_REGISTRY_HEAD + 8 ? get_be64(p[i].key.p + KEY_REGISTRY_HEAD) : 0;
        g_hash_table_add(o->dirs, g_memdup2(&ino, sizeof ino));
    }
    o->dirs_ms = clock_mono_ns() / 1000000;
    pthread_mutex_unlock(&o->lock);
    return 0;
}

/* For listings: every directory of the file system is asked about, so at most one read a second. */
static bool listed_dir(struct jobs_overlay *o, fs_ino dir)
{
    pthread_mutex_lock(&o->lock);
    bool found = g_hash_table_contains(o->dirs, &dir);
    bool old = clock_mono_ns() / 1000000 - o->dirs_ms > DIRS_MS;
    pthread_mutex_unlock(&o->lock);
    if (!old || read_dirs(o) < 0)
        return found;
    pthread_mutex_lock(&o->lock);
    found = g_hash_table_contains(o->dirs, &dir);
    pthread_mutex_unlock(&o->lock);
    return found;
}

static int make_jobs_dir(struct jobs_overlay *o)
{
    struct volume_caller root = {.umask = 0, .capable = true};
    struct volume_attr attr;
    int no = volume_lookup(o->v, FS_ROOT, "jobs", &attr);
    if (no == -ENOENT)
        no = volume_mkdir(o->v, FS_ROOT, "jobs", &root, 01777, &attr);
    if (no == -EEXIST)
        no = volume_lookup(o->v, FS_ROOT, "jobs", &attr);
    if (no == 0)
        o->jobs_ino = attr.ino;
    return no;
}

/* --- names ------------------------------------------------------------------------------------ */

static void fill_node(const struct name_of *n, uint32_t uid, uint32_t gid, struct synth_node *ret)
{
    *ret = (struct synth_node){
        .name = n->name,
        .id = n->id,
        .mode = S_IFREG | n->mode,
        .uid = uid,
        .gid = gid,
        .hidden = n->hidden,
    };
}

static const struct name_of *find_name(const struct name_of *t, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(t[i].name, name) == 0)
            return &t[i];
    return NULL;
}

static int jobs_lookup(void *ctx, fs_ino dir, const char *name, struct synth_node *ret)
{
    struct jobs_overlay *o = ctx;
    const struct name_of *n;
    if (dir == FS_ROOT) {
        if (strcmp(name, "jobs") == 0)
            (void)make_jobs_dir(o); /* it may have been removed: there is one when it is used */
        return -ENOENT;
    }
    if (dir == o->jobs_ino && (n = find_name(in_jobs, ARRAY_LEN(in_jobs), name))) {
        fill_node(n, 0, 0, ret);
        return 0;
    }
    n = find_name(in_job, ARRAY_LEN(in_job), name);
    if (!n)
        return -ENOENT;
    struct arena a CLEANUP(arena_finish) = {0};
    struct volume_attr attr;
    char *job;
    uint64_t epoch;
    int no = job_of_dir(o, &a, dir, &job, &epoch);
    if (no == 0)
        no = volume_getattr(o->v, dir, &attr);
    if (no == 0)
        fill_node(n, attr.uid, attr.gid, ret);
    return no;
}

static int jobs_readdir(void *ctx, fs_ino dir, bool (*each)(void *arg, const struct synth_node *n),
                        void *arg)
{
    struct jobs_overlay *o = ctx;
    bool top = dir == o->jobs_ino;
    const struct name_of *t = top ? in_jobs : in_job;
    size_t n = top ? ARRAY_LEN(in_jobs) : ARRAY_LEN(in_job);
    if (dir == FS_ROOT || (!top && !listed_dir(o, dir)))
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct synth_node node;
        fill_node(&t[i], 0, 0, &node);
        if (!t[i].hidden && !each(arg, &node))
            break;
    }
    return 0;
}

/* --- open files ------------------------------------------------------------------------------- */

static void jobs_release(struct synth_file *f)
{
    if (!f)
        return;
    if (f->text)
        g_string_free(f->text, TRUE);
    pthread_mutex_destroy(&f->lock);
    g_free(f->name);
    g_free(f);
}

static int make_text(struct synth_file *f)
{
    struct state st;
    int rc = jobs_state(f->o, &st);
    if (rc < 0)
        return rc;
    f->text = g_string_new(NULL);
    return jobs_text(&st, f->what, f->name ? bytes_str(f->name) : BYTES_NONE, f->epoch, f->text);
}

static int jobs_open(void *ctx, fs_ino dir, uint64_t id, int flags, const struct volume_caller *who,
                     struct synth_file **ret)
{
    struct jobs_overlay *o = ctx;
    struct arena a CLEANUP(arena_finish) = {0};
    char *name = NULL;
    uint64_t epoch = 0;
    bool top = id == JOBS_README || id == JOBS_LAST_ERROR;
    int no = top ? 0 : job_of_dir(o, &a, dir, &name, &epoch);
    (void)who; /* the kernel checked the mode */
    bool verbs = id == JOBS_CTL && (flags & O_ACCMODE) != O_RDONLY;
    if (no == 0 && id != JOBS_CTL && (flags & O_ACCMODE) != O_RDONLY)
        no = -EACCES;
    if (no < 0)
        return no;
    struct synth_file *f = g_new0(struct synth_file, 1);
    pthread_mutex_init(&f->lock, NULL);
    f->o = o;
    f->what = (enum jobs_file)id;
    f->name = g_strdup(name);
    f->epoch = epoch;
    if (!verbs && id != JOBS_WAIT)
        no = jobs_errno(make_text(f));
    if (no < 0)
        jobs_release(f);
    else
        *ret = f;
    return no;
}

static uint64_t jobs_size(struct synth_file *f)
{
    return f->text ? f->text->len : 0;
}

static int64_t jobs_read(struct synth_file *f, void *p, size_t n, uint64_t off)
{
    int no = 0;
    pthread_mutex_lock(&f->lock);
    if (f->what == JOBS_WAIT && !f->text) {
        GString *t = g_string_new(NULL);
        no = jobs_wait(f->o, bytes_str(f->name), f->epoch, t);
        if (no == 0)
            f->text = t;
        else
            g_string_free(t, TRUE);
    }
    size_t k = 0;
    if (f->text && off < f->text->len) {
        k = MIN(n, f->text->len - (size_t)off);
        memcpy(p, f->text->str + off, k);
    }
    pthread_mutex_unlock(&f->lock);
    return no < 0 ? no : (int64_t)k;
}

static int64_t jobs_write(struct synth_file *f, const void *p, size_t n, uint64_t off UNUSED,
                          const struct volume_caller *who)
{
    if (f->what != JOBS_CTL)
        return -EBADF;
    if (n > VERB_MAX)
        return -EINVAL;
    char *verb = g_strstrip(g_strndup(p, n));
    int no = jobs_control(f->o, bytes_str(f->name), f->epoch, verb, who);
    g_free(verb);
    return no < 0 ? no : (int64_t)n;
}

static bool jobs_watches(void *ctx, fs_ino dir, const char *name)
{
    struct jobs_overlay *o = ctx;
    return dir == o->jobs_ino && *name != '.' && g_str_has_suffix(name, ".job") && strlen(name) > 4;
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct synth_ops ops = {
    .lookup = jobs_lookup,
    .readdir = jobs_readdir,
    .open = jobs_open,
    .size = jobs_size,
    .read = jobs_read,
    .write = jobs_write,
    .release = jobs_release,
    .watches = jobs_watches,
    .check = jobs_check,
    .settled = jobs_settled,
    .opening = jobs_opening,
};

int jobs_overlay_create(struct volume *v, struct jobs_overlay **ret,
                        struct synth_overlay *ret_overlay, struct errmsg *msg)
{
    struct jobs_overlay *o = g_new0(struct jobs_overlay, 1);
    pthread_mutex_init(&o->lock, NULL);
    o->v = v;
    o->dirs = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    int no = make_jobs_dir(o);
    if (no < 0 && no != -EROFS && no != -EPERM) {
        jobs_overlay_destroy(o);
        return errmsg_set(msg, no, "/jobs: %s", strerror(-no));
    }
    *ret = o;
    *ret_overlay = (struct synth_overlay){&ops, o};
    return 0;
}

void jobs_overlay_destroy(struct jobs_overlay *o)
{
    if (!o)
        return;
    g_hash_table_unref(o->dirs);
    pthread_mutex_destroy(&o->lock);
    g_free(o);
}
