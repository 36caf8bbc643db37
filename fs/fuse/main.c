/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - raftfs: options, start-up and shut-down of the FUSE daemon. raftfs(1) is its manual.
 *
 * Start: mount point, background, store (embedded: raftfsd processes), client, volume, overlays,
 * mount, ready. Stop, in reverse: unmounted or signalled, workers end, buffers are flushed, the
 * session closed, the embedded store stopped. All threads are started after the fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cluster/base/log.h"
#include "fs/fuse/daemon.h"
#include "fs/fuse/embedded.h"
#include "fs/fuse/mount.h"
#include "mr/jobs.h"

#define PROBE_MS 15000

struct options {
    char *data, *conf, *log;
    unsigned replicas;
    int foreground, debug, help, version;
    char *mount_point;
};

#define OPTION(text, member)                                                                       \
    {                                                                                              \
        text, offsetof(struct options, member), 1                                                  \
    }
static const struct fuse_opt option_table[] = {
    OPTION("data=%s", data),         OPTION("conf=%s", conf),      OPTION("log=%s", log),
    OPTION("replicas=%u", replicas), OPTION("-f", foreground),     OPTION("-d", debug),
    OPTION("--debug", debug),        OPTION("-h", help),           OPTION("--help", help),
    OPTION("-V", version),           OPTION("--version", version), FUSE_OPT_END};

struct program {
    struct options options;
    struct fuse_args args;
    struct embedded *embedded;
    struct jobs_overlay *jobs;
    struct daemon daemon;
    char *mount_point;
    bool mounted, handlers;
    int ready_fd; /* -1: in the foreground */
};

static void usage(FILE *to)
{
    (void)fprintf(
        to, "usage: raftfs [options] MOUNTPOINT\n"
            "\n"
            "Mounts a replicated file system with a /jobs directory that runs MapReduce.\n"
            "Without a cluster it keeps a private store on this machine.\n"
            "\n"
            "  -o conf=FILE     mount the cluster that FILE (raftfsctl init's client.conf) names\n"
            "  -o data=DIR      where the private store lies [$XDG_DATA_HOME/raftfs]\n"
            "  -o replicas=N    private store of N supervised raftfsd processes [1]\n"
            "  -o log=FILE      where to log when in the background\n"
            "  -o OPTION        any option of mount.fuse3(8), e.g. ro, allow_other\n"
            "  -f               stay in the foreground\n"
            "  -d               foreground, and print every request\n"
            "  -h, --help       this text\n"
            "  -V, --version    the version\n"
            "\n"
            "unmount with: fusermount3 -u MOUNTPOINT\n");
}

static int take_argument(void *data, const char *arg, int key, struct fuse_args *out)
{
    struct options *o = data;

    (void)out;
    if (key != FUSE_OPT_KEY_NONOPT)
        return 1;
    if (o->mount_point) {
        (void)fprintf(stderr, "raftfs: one mount point, please: %s is the second\n", arg);
        return -1;
    }
    o->mount_point = g_strdup(arg);
    return 0;
}

/* 0 to go on; else the exit status plus one. */
static int parse(struct program *p)
{
    struct options *o = &p->options;

    if (fuse_opt_parse(&p->args, o, option_table, take_argument) < 0)
        return 2 + 1;
    if (o->help) {
        usage(stdout);
        return 0 + 1;
    }
    if (o->version) {
        (void)printf("raftfs %s (libfuse %s)\n", RAFTFS_VERSION, fuse_pkgversion());
        return 0 + 1;
    }
    if (!o->mount_point) {
        (void)fprintf(stderr, "raftfs: no mount point given; try `raftfs /mnt/kv`\n");
        return 2 + 1;
    }
    if (o->conf && (o->data || o->replicas)) {
        (void)fprintf(stderr, "raftfs: conf= names a cluster; data= and replicas= are for a "
                              "private store: give one or the other\n");
        return 2 + 1;
    }
    if (o->replicas > 9 || (o->replicas && o->replicas % 2 == 0)) {
        (void)fprintf(stderr, "raftfs: replicas=%u: must be 1, 3, 5, 7 or 9\n", o->replicas);
        return 2 + 1;
    }
    o->foreground |= o->debug;
    return 0;
}

/* $XDG_DATA_HOME/raftfs, ~/.local/share/raftfs; root: /var/lib/raftfs. */
static char *default_data_dir(void)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");

    if (xdg && *xdg == '/')
        return g_build_filename(xdg, "raftfs", NULL);
    if (geteuid() == 0)
        return g_strdup("/var/lib/raftfs");
    if (!home) {
        struct passwd *pw = getpwuid(geteuid());
        home = pw ? pw->pw_dir : "/";
    }
    return g_build_filename(home, ".local/share/raftfs", NULL);
}

static void on_session_lost(void *ctx)
{
    (void)ctx;
    log_event(LOG_WARN, "session lost: open files with unwritten data now give EIO");
}

static int start_store(struct program *p, const char **ret_conf, struct errmsg *msg)
{
    struct options *o = &p->options;

    if (o->conf) {
        char *conf = realpath(o->conf, NULL);
        if (!conf)
            return errmsg_set(msg, -ERR_CONFIG, "conf=%s: %s", o->conf, strerror(errno));
        free(o->conf);
        *ret_conf = o->conf = conf;
        return 0;
    }
    char *dir = o->data ? g_canonicalize_filename(o->data, NULL) : default_data_dir();
    free(o->data);
    o->data = dir;
    int r = mount_check_data_dir(p->mount_point, dir, msg);
    return r < 0 ? r : embedded_start(dir, o->replicas, &p->embedded, ret_conf, msg);
}

static void open_log(struct program *p)
{
    char *path = p->options.log    ? g_strdup(p->options.log)
                 : p->options.data ? g_build_filename(p->options.data, "raftfs.log", NULL)
                                   : g_strdup("/dev/null");
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    g_free(path);
    if (fd >= 0) {
        (void)dup2(fd, STDERR_FILENO);
        (void)close(fd);
    }
}

static int start_volume(struct program *p, const char *conf, struct errmsg *msg)
{
    struct daemon *d = &p->daemon;
    char host[64] = "localhost";
    (void)gethostname(host, sizeof(host) - 1);
    char *name = g_strdup_printf("raftfs %s:%s", host, p->mount_point);
    struct client_options co = {.conf = conf, .name = name, .on_session_lost = on_session_lost};
    int r = client_create(&co, &d->client, msg);

    g_free(name);
    if (r < 0)
        return r;
    r = client_probe(d->client, PROBE_MS, msg);
    if (r < 0)
        return errmsg_prefix(msg, r, "cannot reach the cluster of %s", conf);
    struct volume_options vo = {.client = d->client};
    r = volume_open(&vo, &d->volume, msg);
    if (r < 0)
        return r;
    r = jobs_overlay_create(d->volume, &p->jobs, &d->overlays[0], msg);
    if (r < 0)
        return r;
    d->n_overlays = 1;
    r = synth_table_create(d, &d->synthetic);
    return r < 0 ? r : request_watch_create(&d->watch);
}

static int start_mount(struct program *p, struct errmsg *msg)
{
    struct daemon *d = &p->daemon;

    /* The kernel checks permissions; root's mount is for everybody. */
    (void)fuse_opt_add_arg(&p->args, "-ofsname=raftfs,subtype=raftfs,default_permissions");
    if (geteuid() == 0)
        (void)fuse_opt_add_arg(&p->args, "-oallow_other");
    if (p->options.debug)
        (void)fuse_opt_add_arg(&p->args, "-d");
    d->session = fuse_session_new(&p->args, daemon_ops(), sizeof(struct fuse_lowlevel_ops), d);
    if (!d->session)
        return errmsg_set(msg, -ERR_CONFIG, "an option after -o is unknown; see raftfs --help");
    if (fuse_set_signal_handlers(d->session) < 0)
        return errmsg_set(msg, -ERR_IO, "cannot install signal handlers");
    p->handlers = true;
    if (fuse_session_mount(d->session, p->mount_point) < 0)
        return errmsg_set(msg, -ERR_IO,
                          "cannot mount on %s: is /dev/fuse there, and may you write to the "
                          "directory?",
                          p->mount_point);
    p->mounted = true;
    return 0;
}

static int run(struct program *p)
{
    struct fuse_loop_config *loop = fuse_loop_cfg_create();
    int r;

    fuse_loop_cfg_set_max_threads(loop, WORKERS_MAX);
    fuse_loop_cfg_set_idle_threads(loop, WORKERS_IDLE);
    r = fuse_session_loop_mt(p->daemon.session, loop);
    fuse_loop_cfg_destroy(loop);
    return r;
}

static void stop(struct program *p)
{
    struct daemon *d = &p->daemon;

    if (p->mounted)
        fuse_session_unmount(d->session);
    if (p->handlers)
        fuse_remove_signal_handlers(d->session);
    if (d->session)
        fuse_session_destroy(d->session);
    request_watch_destroy(d->watch);
    jobs_overlay_destroy(p->jobs);
    if (d->volume)
        volume_close(d->volume);
    synth_table_destroy(d->synthetic);
    client_destroy(d->client);
    embedded_stop(p->embedded);
    fuse_opt_free_args(&p->args);
    g_free(p->mount_point);
    g_free(p->options.mount_point);
    free(p->options.data);
    free(p->options.conf);
    free(p->options.log);
}

static int start(struct program *p, struct errmsg *msg)
{
    const char *conf = NULL;
    int r = start_store(p, &conf, msg);

    if (r == 0)
        r = start_volume(p, conf, msg);
    if (r == 0)
        r = start_mount(p, msg);
    return r;
}

int main(int argc, char **argv)
{
    struct program p = {.args = FUSE_ARGS_INIT(argc, argv), .ready_fd = -1};
    struct errmsg msg = {0};
    int r = parse(&p);

    if (r) {
        stop(&p);
        return r - 1;
    }
    log_init("raftfs", LOG_INFO);
    (void)signal(SIGPIPE, SIG_IGN);
    r = mount_point_prepare(p.options.mount_point, &p.mount_point, &msg);
    if (r == 0 && !p.options.foreground)
        r = background_begin(&p.ready_fd, &msg);
    if (r == 0)
        r = start(&p, &msg);
    if (r < 0) {
        if (p.ready_fd >= 0)
            background_failed(p.ready_fd, msg.text);
        else
            (void)fprintf(stderr, "raftfs: %s\n", msg.text);
        stop(&p);
        return 1;
    }
    ASSERT(chdir("/") == 0);
    if (p.ready_fd >= 0) {
        background_ready(p.ready_fd);
        open_log(&p);
    }
    log_event(LOG_INFO, "mounted at=%s", p.mount_point);
    r = run(&p);
    log_event(LOG_INFO, "unmounted at=%s", p.mount_point);
    stop(&p);
    return r == 0 ? 0 : 1;
}
