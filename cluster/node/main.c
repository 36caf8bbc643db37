/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsd: wires the node to sockets, disks and clocks (raftfsd(8)). */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/identity.h"
#include "cluster/base/msg.h"
#include "cluster/base/tls.h"
#include "cluster/node/log_gate.h"
#include "cluster/node/job_service.h"

#define EXIT_USAGE 2
/* For what runs beside the node to end in order, which takes the cluster: a leader is asked. Of a
 * private store all nodes stop together, and soon there is none. */
#define SERVICES_STOP_MS         3000
#define PRIVATE_SERVICES_STOP_MS 200
/* A private store (no TLS: Unix sockets only) is mounted and unmounted often. Recovery reads one or
 * two segments in full, whatever is in them: 64 MiB take 0.1 s each. */
#define PRIVATE_SEGMENT_BYTES MIB(16)

/* Services in the order of their start, ended by NULL; stopped in the reverse order. */
static const struct service *const services[] = {&job_service, NULL};

struct options {
    char *conf;
    int parent_fd; /* -1: none */
    gboolean check, version;
};

struct daemon {
    char *conf_path;
    struct daemon_conf conf;
    struct identity identity;
    int lock_fd;
    struct tls_ctx *tls;
    struct rng rng;
    struct log_gate *gate;
    struct host *host;
    struct disk *disk;
    struct store_maker *stores;
    struct node *node;
    void *services[ARRAY_LEN(services)];
    size_t n_started;  /* of services, that are told of things */
    size_t n_stopping; /* that are being stopped */
    _Atomic bool services_stopped;
    bool hand_over; /* what this node leads, before the end */
};

/* One line, whatever is quoted in it. */
static void tell(const char *text)
{
    g_autofree char *line = g_strdup(text);
    for (char *p = line; *p; p++)
        if (g_ascii_iscntrl(*p))
            *p = '?';
    fprintf(stderr, "raftfsd: %s\n", line);
}

/* --- what the node asks of its host ------------------------------------------------------------
 */

/* It counts what the machine sleeps: a leader that wakes up has no lease any more. */
static uint64_t boot_ns(void *ctx)
{
    return clock_boot_ns();
}

static uint64_t wall_ns(void *ctx)
{
    return clock_wall_ns();
}

/* Nothing is put in order: a crash is what the next start is made for. */
NORETURN static void on_fatal(void *ctx, int err, const char *text)
{
    log_event(LOG_ERROR, "fatal error=%s text=\"%s\"", err_name(err), text);
    _exit(EXIT_FAILURE);
}

/* As any other end: nothing to be put in order, and no cluster to end sessions with. */
static void on_removed(void *ctx, const char *text)
{
    tell(text);
    _exit(EXIT_FAILURE);
}

static void on_log(void *ctx, int level, const char *text)
{
    struct daemon *d = ctx;
    uint64_t held;
    if (level > (int)d->conf.log_level ||
        !log_gate_pass(d->gate, clock_mono_ns() / 1000000u, (enum log_level)level, text, &held))
        return;
    if (held > 0)
        log_event((enum log_level)level, "%s suppressed=%" PRIu64, text, held);
    else
        log_event((enum log_level)level, "%s", text);
}

static void on_lead(void *ctx, uint32_t gid, bool leading)
{
    struct daemon *d = ctx;
    for (size_t i = 0; i < d->n_started; i++)
        if (services[i]->on_lead)
            services[i]->on_lead(d->services[i], gid, leading);
}

static void on_other(void *ctx, struct net_conn *c, enum role role, unsigned type, uint64_t id,
                     struct bytes body)
{
    struct daemon *d = ctx;
    for (size_t i = 0; i < d->n_started; i++)
        if (services[i]->on_other && services[i]->on_other(d->services[i], c, role, type, id, body))
            return;
    struct enc CLEANUP(enc_finish) e = {0};
    const struct msg_status m = {
        .status = d->n_stopping > 0 ? ERR_BUSY : ERR_INVALID,
        .detail = bytes_str("this node knows no such request"),
    };
    FRAME(&e, status, id, &m);
    node_answer(d->node, node_conn_token(d->node, c), enc_view(&e));
}

/* --- start ------------------------------------------------------------------------------------ */

static int load_tls(struct daemon *d, struct errmsg *msg)
{
    const struct daemon_conf *c = &d->conf;
    if (!c->ca)
        return 0;
    int err = tls_ctx_create(c->cert, c->key, c->ca, msg, &d->tls);
    if (err < 0)
        return err;
    const struct tls_peer *self = tls_ctx_self(d->tls);
    if (self->cluster != c->cluster)
        return errmsg_set(msg, -ERR_CONFIG,
                          "certificate %s is of cluster %016" PRIx64 ", %s says %016" PRIx64
                          ": correct \"cert\" or \"cluster\"",
                          c->cert, self->cluster, d->conf_path, c->cluster);
    if (self->role != ROLE_NODE || self->node != c->node)
        return errmsg_set(msg, -ERR_CONFIG,
                          "certificate %s is for \"%s\", %s says node n%u: correct \"cert\" or "
                          "\"node\"",
                          c->cert, self->name, d->conf_path, c->node);
    return 0;
}

static int load(struct daemon *d, const char *path, struct errmsg *msg)
{
    d->conf_path = realpath(path, NULL);
    if (!d->conf_path)
        return errmsg_set(msg, -ERR_CONFIG, "configuration %s: %s", path, strerror(errno));
    int err = daemon_conf_load(d->conf_path, &d->conf, msg);
    if (err == 0)
        err = load_tls(d, msg);
    if (err == 0)
        err = identity_read(d->conf.data, &d->identity, msg);
    if (err == 0)
        err = identity_check(d->conf.data, &d->identity, d->conf.cluster, d->conf.node, msg);
    return err;
}

/* Connections and RocksDB's tables want more than the usual 1024. */
static void raise_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int start_node(struct daemon *d, struct errmsg *msg)
{
    const struct daemon_conf *c = &d->conf;
    const struct node_config config = {
        .cluster = c->cluster,
        .id = c->node,
        .incarnation = d->identity.incarnation,
        .data_dir = c->data,
        .shards = c->shards,
        .groups = c->groups,
        .peers = c->peers,
        .n_peers = c->n_peers,
        .join = c->join,
        .election_ticks = c->election_ticks,
        .heartbeat_ticks = c->heartbeat_ticks,
        .lease = c->lease_reads,
        .lease_drift_ticks = c->lease_drift_ticks,
        .snapshot_tick_bytes = c->snapshot_tick_bytes,
        .segment_bytes = c->ca ? 0 : PRIVATE_SEGMENT_BYTES,
    };
    const struct node_env env = {
        .disk = d->disk,
        .net = net_uv_net(host_net(d->host)),
        .stores = d->stores,
        .rng = &d->rng,
        .mono_ns = boot_ns,
        .wall_ns = wall_ns,
        .fatal = on_fatal,
        .log = on_log,
        .on_lead = on_lead,
        .on_other = on_other,
        .on_removed = on_removed,
        .ctx = d,
    };
    return node_create(&config, &env, &d->node, msg);
}

static int start_services(struct daemon *d, struct errmsg *msg)
{
    const struct service_env env = {&d->conf, d->conf_path, d->host, d->node};
    for (size_t i = 0; services[i]; i++) {
        int err = services[i]->start(&env, &d->services[i], msg);
        if (err < 0)
            return errmsg_prefix(msg, err, "%s", services[i]->name);
        d->n_started++;
    }
    return 0;
}

/* A busy port is noticed first and nobody can connect before the node is there. */
static int start(struct daemon *d, int parent_fd, struct errmsg *msg)
{
    if (chdir("/") < 0)
        return errmsg_set(msg, err_from_errno(errno), "chdir /: %s", strerror(errno));
    int err = identity_lock(d->conf.data, &d->lock_fd, msg);
    if (err < 0)
        return err;
    raise_descriptors();
    rng_seed_os(&d->rng);
    d->gate = log_gate_create();
    d->host = host_create(d->tls);
    d->disk = host_disk(d->host, disk_posix_create());
    d->stores = store_rocks_maker_create();
    d->stores->wake = host_wake;
    d->stores->wake_arg = d->host;
    if (parent_fd >= 0)
        err = host_watch_parent(d->host, parent_fd, msg);
    for (unsigned i = 0; i < d->conf.n_listen && err == 0; i++)
        err = net_uv_bind(host_net(d->host), d->conf.listen[i], msg);
    if (err == 0)
        err = start_node(d, msg);
    if (err == 0)
        err = start_services(d, msg);
    if (err == 0)
        err = net_uv_listen(host_net(d->host), msg);
    return err;
}

static void on_left(void *ctx)
{
    struct daemon *d = ctx;
    host_stop(d->host);
}

static void leave(void *arg)
{
    struct daemon *d = arg;
    node_leave(d->node, on_left, d);
}

static void *stop_services(void *arg)
{
    struct daemon *d = arg;
    for (size_t i = d->n_stopping; i-- > 0;)
        if (services[i]->stop)
            services[i]->stop(d->services[i]);
    d->services_stopped = true;
    if (d->hand_over)
        host_post(d->host, leave, d);
    else
        host_stop(d->host);
    return NULL;
}

/* The loop goes on until they have stopped and leadership is handed over, or time is over, or a
 * second signal comes. Then the process ends at once: that is always safe, crash and shutdown are
 * one path, and whatever tasks are still running end with it. */
static void run_until_services_stopped(struct daemon *d)
{
    pthread_t thread;
    d->n_stopping = d->n_started;
    d->n_started = 0;
    if (pthread_create(&thread, NULL, stop_services, d) != 0) {
        stop_services(d);
        return;
    }
    host_stop_within(d->host, d->tls ? SERVICES_STOP_MS : PRIVATE_SERVICES_STOP_MS);
    (void)host_run(d->host, d->node);
    if (!d->services_stopped) {
        log_event(LOG_INFO, "end without waiting for jobs");
        _exit(EXIT_SUCCESS);
    }
    (void)pthread_join(thread, NULL);
}

static void finish(struct daemon *d)
{
    while (d->n_started > 0) { /* only if the start failed */
        size_t i = --d->n_started;
        if (services[i]->stop)
            services[i]->stop(d->services[i]);
    }
    node_destroy(d->node);
    store_maker_destroy(d->stores);
    disk_posix_destroy(d->disk);
    host_destroy(d->host);
    log_gate_destroy(d->gate);
    tls_ctx_destroy(d->tls);
    daemon_conf_finish(&d->conf);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    free(d->conf_path);
}

static int run(const struct options *o)
{
    struct daemon d = {.lock_fd = -1};
    struct errmsg msg = {""};
    int err = load(&d, o->conf, &msg);
    if (err == 0 && !o->check) {
        log_init("raftfsd", d.conf.log_level);
        err = start(&d, o->parent_fd, &msg);
    }
    if (err < 0) {
        tell(msg.text[0] ? msg.text : err_text(err));
    } else if (o->check) {
        printf("ok: node n%u of cluster %016" PRIx64 ", data in %s\n", d.conf.node, d.conf.cluster,
               d.conf.data);
    } else {
        log_event(LOG_INFO, "start node=n%u cluster=%016" PRIx64 " listen=\"%s\" data=\"%s\"",
                  d.conf.node, d.conf.cluster, d.conf.listen[0], d.conf.data);
        int number = host_run(d.host, d.node);
        log_event(LOG_INFO, "stop why=\"%s\"", number ? strsignal(number) : "the parent ended");
        d.hand_over = number != 0 && d.tls; /* of a private store the other replicas end, too */
        run_until_services_stopped(&d);
    }
    finish(&d);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* --- options ---------------------------------------------------------------------------------- */

static int usage(const char *text)
{
    g_autofree char *line = g_strdup_printf("%s; see raftfsd --help", text);
    tell(line);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct options o = {.parent_fd = -1};
    const GOptionEntry entries[] = {
        {"conf", 'c', 0, G_OPTION_ARG_FILENAME, &o.conf, "Configuration of this node", "FILE"},
        {"check", 0, 0, G_OPTION_ARG_NONE, &o.check,
         "Check configuration, certificates and data directory, then exit", NULL},
        {"parent-fd", 0, 0, G_OPTION_ARG_INT, &o.parent_fd,
         "Exit when the pipe on this descriptor is closed", "N"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o.version, "Print the version and exit", NULL},
        {NULL},
    };
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    log_init("raftfsd", LOG_INFO);

    g_autoptr(GOptionContext) context = g_option_context_new("- serve a share of a raftfs cluster");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return usage(error->message);
    if (o.version) {
        printf("raftfsd %s\n", RAFTFS_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc > 1) {
        g_autofree char *text = g_strdup_printf("unexpected argument \"%s\"", argv[1]);
        return usage(text);
    }
    if (!o.conf)
        return usage("no configuration given: raftfsd -c FILE");
    int status = run(&o);
    g_free(o.conf);
    return status;
}
