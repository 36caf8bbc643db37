/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/service_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mr/spec.h"
#include "mr/spill.h"

#define FETCH_MAX MIB(1)

void service_log(struct mr_service *s, enum log_level level, const char *fmt, ...)
{
    if (!s->o.log)
        return;
    va_list ap;
    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    s->o.log(s->o.ctx, level, text);
    g_free(text);
}

/* --- directories ------------------------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *ftw UNUSED)
{
    return remove(path), 0;
}

void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

char *spill_dir_path(const struct mr_service *s, struct bytes job, uint64_t epoch)
{
    return g_strdup_printf("%s/jobs/%.*s.%llu", s->o.data, (int)job.n, (const char *)job.p,
                           (unsigned long long)epoch);
}

char *spill_path(const struct mr_service *s, struct bytes job, uint64_t epoch, uint32_t task,
                 uint32_t attempt)
{
    char *dir = spill_dir_path(s, job, epoch);
    char *path = g_strdup_printf("%s/m-%05u.%u", dir, task, attempt);
    g_free(dir);
    return path;
}

int ensure_dir(struct volume *v, fs_ino parent, const char *name, const struct volume_caller *who,
               fs_ino *ret)
{
    struct volume_attr attr;
    int rc = volume_lookup(v, parent, name, &attr);
    if (rc == -ENOENT) {
        rc = volume_mkdir(v, parent, name, who, 0755, &attr);
        if (rc == -EEXIST)
            rc = volume_lookup(v, parent, name, &attr);
    }
    if (rc == 0 && !S_ISDIR(attr.mode))
        rc = -ENOTDIR;
    if (rc == 0)
        *ret = attr.ino;
    return rc;
}

/* --- the door --------------------------------------------------------------------------------- */

static void session_lost(void *ctx)
{
    struct door *d = ctx;
    d->lost = true;
}

static void door_close(struct door *d)
{
    volume_close(d->volume);
    client_destroy(d->client);
    g_free(d);
}

void door_leave(struct door *d)
{
    if (d && atomic_fetch_sub(&d->refs, 1) == 1)
        door_close(d);
}

static int door_open(struct mr_service *s, struct door **ret, struct errmsg *msg)
{
    struct door *d = g_new0(struct door, 1);
    d->refs = 1;
    char *name = g_strdup_printf("raftfsd jobs on node %u", s->o.node);
    struct client_options co = {s->o.conf, name, session_lost, d};
    int rc = client_create(&co, &d->client, msg);
    g_free(name);
    if (rc < 0) {
        g_free(d);
        return rc;
    }
    rc = client_probe(d->client, 2000, msg);
    if (rc == 0) {
        struct volume_options vo = {.client = d->client};
        int no = volume_open(&vo, &d->volume, msg);
        rc = no < 0 ? err_from_errno(-no) : 0;
    }
    if (rc < 0) {
        client_destroy(d->client);
        g_free(d);
        return rc;
    }
    *ret = d;
    return 0;
}

int door_enter(struct mr_service *s, struct door **ret, struct errmsg *msg)
{
    int rc = 0;
    struct door *old = NULL;
    if (s->stopping)
        return -ERR_CANCELED;
    pthread_mutex_lock(&s->lock);
    if (s->door && s->door->lost)
        old = TAKE(s->door);
    if (!s->door)
        rc = door_open(s, &s->door, msg);
    if (rc == 0) {
        s->door->refs++;
        *ret = s->door;
    }
    pthread_mutex_unlock(&s->lock);
    door_leave(old);
    return rc;
}

void door_failed(struct mr_service *s UNUSED, struct door *d, int error)
{
    if (error == -ERR_NO_SESSION)
        d->lost = true;
}

/* --- identities ------------------------------------------------------------------------------- */

int service_identity(const struct mr_service *s, const struct job_record *j,
                     struct job_identity *ret, struct errmsg *msg)
{
    struct job_identity id = {.change = s->own_uid == 0};
    id.owner = (struct volume_caller){
        .uid = j->uid,
        .gid = j->gid,
        .umask = 022,
        .groups = j->groups,
        .n_groups = j->n_groups,
    };
    id.reads = id.owner;
    if (!id.change && j->uid != s->own_uid)
        return errmsg_set(
            msg, -ERR_DENIED,
            "node %u runs as uid %u and so only that user's jobs; this one is of uid %u", s->o.node,
            s->own_uid, j->uid);
    if (j->uid == 0 && id.change) {
        id.reads.uid = s->job_uid;
        id.reads.gid = s->job_gid;
        id.reads.groups = NULL;
        id.reads.n_groups = 0;
    }
    *ret = id;
    return 0;
}

static int find_job_user(struct mr_service *s, struct errmsg *msg)
{
    const char *name = s->o.job_user;
    struct passwd pw, *found = NULL;
    char buf[4096];
    s->own_uid = geteuid();
    s->own_gid = getegid();
    if (s->own_uid != 0)
        return 0;
    getpwnam_r(name, &pw, buf, sizeof buf, &found);
    if (!found || found->pw_uid == 0)
        return errmsg_set(msg, -ERR_CONFIG, "job-user %s: %s", name,
                          found ? "root cannot run jobs" : "no such user");
    s->job_uid = found->pw_uid;
    s->job_gid = found->pw_gid;
    return 0;
}

/* --- fetch ------------------------------------------------------------------------------------ */

static int fetch(struct mr_service *s, const struct msg_fetch *m, struct msg_fetch_reply *ret,
                 uint8_t **ret_data)
{
    struct spill_index x;
    if (!job_name_ok((const char *)m->job.p, m->job.n))
        return -ERR_INVALID;
    char *path = spill_path(s, m->job, m->epoch, m->task, m->attempt);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    g_free(path);
    if (fd < 0)
        return errno == ENOENT ? -ERR_NOT_FOUND : -ERR_IO;
    int rc = spill_index_read(fd, &x);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    rc = m->partition >= x.partitions ? -ERR_INVALID : 0;
    if (rc == 0) {
        const struct spill_section *sec = &x.sections[m->partition];
        uint64_t off = MIN(m->off, sec->bytes);
        size_t n = (size_t)MIN(MIN(m->len, FETCH_MAX), sec->bytes - off);
        uint8_t *p = g_malloc(MAX(n, 1));
        if (pread(fd, p, n, (off_t)(sec->off + off)) != (ssize_t)n) {
            g_free(p);
            rc = -ERR_IO;
        } else {
            ret->size = sec->bytes;
            ret->data = bytes_of(p, n);
            *ret_data = p;
        }
    }
    spill_index_finish(&x);
    close(fd);
    return rc;
}

void mr_service_fetch(struct mr_service *s, const struct msg_fetch *m, struct enc *reply)
{
    struct msg_fetch_reply r = {0};
    uint8_t *data = NULL;
    int rc = fetch(s, m, &r, &data);
    r.status = (uint16_t)-rc;
    if (rc < 0)
        r.detail = bytes_str(err_text(rc));
    enc_fetch_reply(reply, &r);
    g_free(data);
}

/* --- life ------------------------------------------------------------------------------------- */

static int make_dir(const char *path, mode_t mode, struct errmsg *msg)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return errmsg_set(msg, err_from_errno(errno), "%s: %s", path, strerror(errno));
    return 0;
}

/* What an earlier process left is of no use: its map outputs are lost by definition. */
static int empty_data_dir(struct mr_service *s, struct errmsg *msg)
{
    char *jobs = g_strdup_printf("%s/jobs", s->o.data), *tmp = g_strdup_printf("%s/tmp", s->o.data);
    remove_tree(jobs);
    remove_tree(tmp);
    int rc = make_dir(s->o.data, 0711, msg);
    if (rc == 0)
        rc = make_dir(jobs, 0700, msg);
    if (rc == 0)
        rc = make_dir(tmp, 0711, msg);
    g_free(jobs);
    g_free(tmp);
    return rc;
}

int mr_service_create(const struct mr_service_options *o, struct mr_service **ret,
                      struct errmsg *msg)
{
    struct mr_service *s = g_new0(struct mr_service, 1);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->lead_lock, NULL);
    s->o = *o;
    s->o.conf = g_strdup(o->conf);
    s->o.data = g_strdup(o->data);
    s->o.job_user = g_strdup(o->job_user ? o->job_user : "nobody");
    s->o.task_path = g_strdup(o->task_path);
    s->o.slots = o->slots ? o->slots : (unsigned)MAX(cores, 1);
    s->o.tick_ms = o->tick_ms ? o->tick_ms : 500;
    s->o.lease_ms = o->lease_ms ? o->lease_ms : 5000;
    int rc = 0;
    if (getrandom(&s->incarnation, sizeof s->incarnation, 0) != sizeof s->incarnation)
        rc = errmsg_set(msg, -ERR_IO, "getrandom: %s", strerror(errno));
    if (rc == 0 && access(s->o.task_path, X_OK) < 0)
        rc = errmsg_set(msg, -ERR_CONFIG, "%s: %s", s->o.task_path, strerror(errno));
    if (rc == 0)
        rc = find_job_user(s, msg);
    if (rc == 0)
        rc = empty_data_dir(s, msg);
    if (rc < 0) {
        mr_service_destroy(s);
        return rc;
    }
    s->worker = worker_create(s);
    *ret = s;
    return 0;
}

int mr_service_start(struct mr_service *s, struct errmsg *msg)
{
    int rc = worker_start(s->worker);
    return rc < 0 ? errmsg_set(msg, rc, "starting the worker: %s", err_text(rc)) : 0;
}

void mr_service_lead(struct mr_service *s, bool leading)
{
    pthread_mutex_lock(&s->lead_lock);
    if (leading && !s->coord && !s->stopping) {
        s->coord = coord_create(s);
        if (coord_start(s->coord) < 0) {
            service_log(s, LOG_ERROR, "coordinator cannot start: no thread");
            coord_destroy(TAKE(s->coord));
        }
    } else if (!leading && s->coord) {
        coord_stop(s->coord);
        coord_destroy(TAKE(s->coord));
    }
    pthread_mutex_unlock(&s->lead_lock);
}

void mr_service_stop(struct mr_service *s)
{
    s->stopping = true;
    mr_service_lead(s, false);
    if (s->worker)
        worker_stop(s->worker);
}

void mr_service_destroy(struct mr_service *s)
{
    if (!s)
        return;
    mr_service_stop(s);
    worker_destroy(s->worker);
    door_leave(s->door);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->lead_lock);
    g_free((char *)(uintptr_t)s->o.conf);
    g_free((char *)(uintptr_t)s->o.data);
    g_free((char *)(uintptr_t)s->o.job_user);
    g_free((char *)(uintptr_t)s->o.task_path);
    g_free(s);
}
