/* SPDX-License-Identifier: Apache-2.0 */
/* Going out: names are resolved on a thread of libuv's, then each address is tried in turn. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "cluster/node/net_impl.h"

/* Belongs to libuv until the answer came; conn is NULL if nobody wants it any more. */
struct dial_job {
    uv_work_t work;
    struct uv_conn *conn;
    struct addr addr;
    struct addr_sock socks[DIAL_ADDRESSES_MAX];
    int n_socks;
    struct errmsg msg;
};

static void dial_failed(struct uv_conn *c, const char *why)
{
    log_limited(LOG_INFO, "dial", "connect to=\"%s\" error=\"%s\"", c->text, why);
    conn_die(c, -ERR_UNREACHABLE);
}

/* Begins a connect to the next address; false: none is left, errno tells of the last one. */
static bool try_next(struct uv_conn *c)
{
    while (c->next_sock < c->n_socks) {
        const struct addr_sock *s = &c->socks[c->next_sock++];
        int fd = socket(s->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        if (connect(fd, &s->any, s->len) == 0 || errno == EINPROGRESS) {
            c->stage = STAGE_CONNECT; /* young before and after */
            conn_attach(c, fd);
            conn_poll(c);
            return true;
        }
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return false;
}

void dial_connected(struct uv_conn *c)
{
    int err = 0;
    socklen_t n = sizeof(err);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
        err = errno;
    if (err == 0) {
        conn_ready(c, c->socks[0].any.sa_family == AF_UNIX);
        return;
    }
    conn_detach(c);
    errno = err;
    if (!try_next(c))
        dial_failed(c, strerror(errno));
}

static void resolve(uv_work_t *work)
{
    struct dial_job *job = work->data;
    job->n_socks = addr_resolve(&job->addr, &job->msg, job->socks, DIAL_ADDRESSES_MAX);
}

static void on_resolved(uv_work_t *work, int status)
{
    struct dial_job *job = work->data;
    struct uv_conn *c = job->conn;
    if (c) {
        c->job = NULL;
        c->n_socks = MAX(job->n_socks, 0);
        memcpy(c->socks, job->socks, sizeof(c->socks));
        if (status < 0 || job->n_socks < 0)
            dial_failed(c, job->msg.text[0] ? job->msg.text : "cannot resolve the name");
        else if (!try_next(c))
            dial_failed(c, strerror(errno));
    }
    g_free(job);
}

void dial_abandon(struct uv_conn *c)
{
    if (c->job)
        c->job->conn = NULL;
    c->job = NULL;
}

struct net_conn *dial_start(struct net *net, const char *address, void *user)
{
    struct net_uv *n = container_of(net, struct net_uv, net);
    struct addr addr;
    struct errmsg msg;
    if (addr_parse(address, &msg, &addr) < 0) {
        log_limited(LOG_WARN, "dial address", "connect error=\"%s\"", msg.text);
        return NULL;
    }
    struct uv_conn *c = conn_create(n, true, STAGE_RESOLVE);
    c->conn.user = user;
    g_strlcpy(c->text, address, sizeof(c->text));
    if (!addr.local && !n->tls) {
        dial_failed(c, "a TCP address needs certificates (ca, cert, key)");
        return &c->conn;
    }
    struct dial_job *job = g_new0(struct dial_job, 1);
    job->work.data = job;
    job->conn = c;
    job->addr = addr;
    c->job = job;
    if (addr.local || g_hostname_is_ip_address(addr.host)) {
        resolve(&job->work); /* does not block */
        on_resolved(&job->work, 0);
    } else if (uv_queue_work(n->loop, &job->work, resolve, on_resolved) < 0) {
        on_resolved(&job->work, -1);
    }
    return &c->conn;
}
