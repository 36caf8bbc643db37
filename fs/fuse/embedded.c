/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/conf.h"
#include "cluster/base/limits.h"
#include "cluster/base/log.h"
#include "cluster/ctl/cluster_init.h"
#include "fs/fuse/embedded.h"

#define LOCK_WAIT_MS    15000 /* the mount before may still be stopping its raftfsd */
#define STOP_MS         10000
#define LOOK_MS         100
#define PAUSE_MIN_MS    50
#define PAUSE_MAX_MS    5000
#define CHILD_PARENT_FD 3

struct child {
    char *name; /* "n1" */
    pid_t pid;  /* 0: not running */
    uint64_t started_ns, start_at_ns;
    unsigned pause_ms;
};

struct embedded {
    char *dir, *conf, *raftfsd;
    int dir_fd;  /* holds the lock */
    int pipe[2]; /* children end when the write end closes */
    int wake;    /* eventfd: stop */
    struct child children[VOTERS_MAX];
    unsigned n_children;
    pthread_t supervisor;
    bool supervising;
};

extern char **environ;

/* raftfsd beside raftfs or in its sbin when installed, at the top of a build tree, else on PATH. */
static char *find_raftfsd(void)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *found = NULL;

    if (n > 0) {
        self[n] = '\0';
        char *dir = g_path_get_dirname(self);
        static const char *const places[] = {"raftfsd", "../sbin/raftfsd", "../../raftfsd"};
        for (size_t i = 0; i < ARRAY_LEN(places) && !found; i++) {
            char *at = g_build_filename(dir, places[i], NULL);
            if (access(at, X_OK) == 0)
                found = realpath(at, NULL);
            g_free(at);
        }
        g_free(dir);
    }
    return found ? found : g_find_program_in_path("raftfsd");
}

/* --- the children --- */

static int spawn_child(struct embedded *e, struct child *c)
{
    char *conf = g_strdup_printf("%s/%s.conf", e->dir, c->name);
    char *log = g_strdup_printf("%s/%s.log", e->dir, c->name);
    char fd[12];
    (void)snprintf(fd, sizeof(fd), "%d", CHILD_PARENT_FD);
    char *argv[] = {(char *)"raftfsd", (char *)"-c", conf, (char *)"--parent-fd", fd, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, usual;
    int err;

    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &usual);
    posix_spawnattr_setpgroup(&attr, 0); /* Ctrl-C of a raftfs -f is for raftfs to pass on */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, e->pipe[0], CHILD_PARENT_FD);
    err = posix_spawn(&c->pid, e->raftfsd, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    g_free(conf);
    g_free(log);
    if (err) {
        c->pid = 0;
        return err_from_errno(err);
    }
    c->started_ns = clock_mono_ns();
    return 0;
}

/* One that lived for a while is started again soon, one that keeps dying ever later. */
static void child_ended(struct child *c, int status)
{
    uint64_t now = clock_mono_ns();

    log_event(LOG_WARN, "store ended node=%s %s=%d", c->name,
              WIFSIGNALED(status) ? "signal" : "status",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    c->pid = 0;
    c->pause_ms = now - c->started_ns > (uint64_t)PAUSE_MAX_MS * 1000000u
                      ? PAUSE_MIN_MS
                      : MIN(MAX(c->pause_ms * 2, PAUSE_MIN_MS), PAUSE_MAX_MS);
    c->start_at_ns = now + (uint64_t)c->pause_ms * 1000000u;
}

static void *supervise(void *arg)
{
    struct embedded *e = arg;
    struct pollfd p = {.fd = e->wake, .events = POLLIN};
    int status;

    while (poll(&p, 1, LOOK_MS) == 0) {
        for (unsigned i = 0; i < e->n_children; i++) {
            struct child *c = &e->children[i];
            if (c->pid && waitpid(c->pid, &status, WNOHANG) == c->pid)
                child_ended(c, status);
            if (!c->pid && clock_mono_ns() >= c->start_at_ns && spawn_child(e, c) < 0)
                c->start_at_ns = clock_mono_ns() + (uint64_t)PAUSE_MAX_MS * 1000000u;
        }
    }
    return NULL;
}

static void stop_child(struct child *c, uint64_t deadline_ns)
{
    struct pollfd none = {.fd = -1};

    while (c->pid && waitpid(c->pid, NULL, WNOHANG) == 0) {
        if (clock_mono_ns() > deadline_ns) {
            (void)kill(c->pid, SIGKILL);
            (void)waitpid(c->pid, NULL, 0);
            break;
        }
        (void)poll(&none, 1, 5);
    }
    c->pid = 0;
}

/* --- the directory --- */

static int lock_dir(struct embedded *e, struct errmsg *msg)
{
    uint64_t deadline = clock_mono_ns() + (uint64_t)LOCK_WAIT_MS * 1000000u;
    struct pollfd none = {.fd = -1};

    if (g_mkdir_with_parents(e->dir, 0700) < 0)
        return errmsg_set(msg, -ERR_IO, "data=%s: cannot be made: %s", e->dir, strerror(errno));
    e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->dir_fd < 0)
        return errmsg_set(msg, -ERR_IO, "data=%s: %s", e->dir, strerror(errno));
    while (flock(e->dir_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_mono_ns() > deadline)
            return errmsg_set(msg, -ERR_LOCKED,
                              "data=%s: in use by another raftfs mount; unmount that one or name "
                              "another directory with -o data=DIR",
                              e->dir);
        (void)poll(&none, 1, 20);
    }
    return 0;
}

static int read_members(struct embedded *e, unsigned replicas, struct errmsg *msg)
{
    struct conf *conf CLEANUP(conf_free) = NULL;
    int r = conf_load(e->conf, msg, &conf);

    if (r < 0)
        return r;
    for (const struct conf_entry *p = NULL; (p = conf_next(conf, "peer", p));) {
        if (e->n_children == VOTERS_MAX)
            return conf_error(p, msg, "more than %d replicas", VOTERS_MAX);
        e->children[e->n_children++].name = g_strndup(p->value, strcspn(p->value, " \t"));
    }
    if (e->n_children == 0)
        return errmsg_set(msg, -ERR_CONFIG, "%s: names no replica", e->conf);
    if (replicas && replicas != e->n_children)
        return errmsg_set(msg, -ERR_CONFIG,
                          "data=%s: has %u replicas, not %u: leave replicas= out, or start a new "
                          "store with another data=",
                          e->dir, e->n_children, replicas);
    return 0;
}

static int open_store(struct embedded *e, unsigned replicas, struct errmsg *msg)
{
    struct cluster_init o = {.dir = e->dir, .name = "embedded", .embedded = MAX(replicas, 1)};
    int r = lock_dir(e, msg);

    if (r < 0)
        return r;
    if (access(e->conf, F_OK) < 0) {
        r = cluster_init(&o, msg);
        if (r < 0)
            return errmsg_prefix(msg, r, "data=%s", e->dir);
    }
    return read_members(e, replicas, msg);
}

int embedded_start(const char *dir, unsigned replicas, struct embedded **ret, const char **ret_conf,
                   struct errmsg *msg)
{
    struct embedded *e = g_new0(struct embedded, 1);
    int r;

    e->dir = g_strdup(dir);
    e->conf = g_build_filename(dir, "client.conf", NULL);
    e->dir_fd = e->pipe[0] = e->pipe[1] = e->wake = -1;
    e->raftfsd = find_raftfsd();
    r = e->raftfsd ? 0
                   : errmsg_set(msg, -ERR_NOT_FOUND,
                                "raftfsd is neither beside raftfs nor on PATH: install it");
    if (r == 0)
        r = open_store(e, replicas, msg);
    if (r == 0 && (pipe2(e->pipe, O_CLOEXEC) < 0 || (e->wake = eventfd(0, EFD_CLOEXEC)) < 0))
        r = errmsg_set(msg, err_from_errno(errno), "pipe: %s", strerror(errno));
    for (unsigned i = 0; r == 0 && i < e->n_children; i++) {
        r = spawn_child(e, &e->children[i]);
        if (r < 0)
            r = errmsg_set(msg, r, "cannot start %s: %s", e->raftfsd, err_text(r));
    }
    if (r == 0 && pthread_create(&e->supervisor, NULL, supervise, e) != 0)
        r = errmsg_set(msg, -ERR_NO_MEMORY, "cannot start a thread");
    if (r < 0) {
        embedded_stop(e);
        return r;
    }
    e->supervising = true;
    *ret = e;
    *ret_conf = e->conf;
    return 0;
}

void embedded_stop(struct embedded *e)
{
    if (!e)
        return;
    if (e->supervising) {
        (void)eventfd_write(e->wake, 1);
        (void)pthread_join(e->supervisor, NULL);
    }
    uint64_t deadline = clock_mono_ns() + (uint64_t)STOP_MS * 1000000u;
    for (unsigned i = 0; i < e->n_children; i++)
        if (e->children[i].pid)
            (void)kill(e->children[i].pid, SIGTERM);
    for (unsigned i = 0; i < e->n_children; i++) {
        stop_child(&e->children[i], deadline);
        g_free(e->children[i].name);
    }
    for (int i = 0; i < 2; i++)
        if (e->pipe[i] >= 0)
            (void)close(e->pipe[i]);
    if (e->wake >= 0)
        (void)close(e->wake);
    if (e->dir_fd >= 0)
        (void)close(e->dir_fd);
    g_free(e->dir);
    g_free(e->conf);
    free(e->raftfsd);
    g_free(e);
}
