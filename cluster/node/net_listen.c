/* SPDX-License-Identifier: Apache-2.0 */
/* Coming in: listeners, and who is let in at the limits. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/limits.h"
#include "cluster/node/net_impl.h"

#define ACCEPTS_MAX 64 /* in one wakeup */
#define BACKLOG     1024

/* --- accepting -------------------------------------------------------------------------------- */

/* The oldest of those who have not shown who they are. */
static bool evict_one(struct net_uv *n)
{
    for (GList *l = n->young.head; l; l = l->next) {
        struct uv_conn *c = l->data;
        if (c->dialed)
            continue;
        log_limited(LOG_WARN, "eviction",
                    "drop from=\"%s\" why=\"%u connections and this one has not finished its "
                    "handshake\"",
                    c->text, n->n_accepted);
        conn_die(c, -ERR_BUSY);
        return true;
    }
    return false;
}

/* The socket's mode keeps others out already; a path can be opened by other means (/proc). */
static bool owner_may(int fd)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
        return false;
    return cred.uid == geteuid() || cred.uid == 0;
}

static void admit(struct listener *l, int fd, const struct addr *from)
{
    struct net_uv *n = l->net;
    if (l->local && !owner_may(fd)) {
        log_limited(LOG_WARN, "foreign uid", "drop from=\"%s\" why=\"another user\"", l->path);
        close(fd);
        return;
    }
    if (n->n_accepted >= CONNECTIONS_MAX && !evict_one(n)) {
        log_limited(LOG_WARN, "too many connections", "drop why=\"%u connections are open\"",
                    n->n_accepted);
        close(fd);
        return;
    }
    struct uv_conn *c = conn_create(n, false, STAGE_CONNECT);
    if (l->local)
        g_snprintf(c->text, sizeof(c->text), "unix:%s", l->path);
    else
        addr_format(from, c->text);
    conn_attach(c, fd);
    conn_ready(c, l->local);
    /* Open already? A quick peer, or this process was slow. Then its first frame may have been read
     * with the end of the handshake and lie inside TLS, of which no poll tells. */
    if (c->stage == STAGE_OPEN && c->tls)
        stream_read(c);
    conn_poll(c);
}

static void on_incoming(uv_poll_t *h, int status, int events)
{
    struct listener *l = h->data;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct addr_sock s = {.len = sizeof(s) - offsetof(struct addr_sock, any)};
        int fd = accept4(l->fd, &s.any, &s.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            struct addr from;
            addr_of_sockaddr(&s.any, s.len, &from);
            admit(l, fd, &from);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)
            continue;
        if (errno == EAGAIN)
            return;
        /* No descriptors (or memory): the poll would spin. Make room, and pause until the tick. */
        log_limited(LOG_WARN, "accept", "accept error=\"%s\"", strerror(errno));
        (void)evict_one(l->net);
        uv_poll_stop(l->poll);
        l->paused = true;
        return;
    }
}

void listener_resume(struct listener *l)
{
    if (!l->paused)
        return;
    l->paused = uv_poll_start(l->poll, UV_READABLE, on_incoming) < 0;
}

/* --- listening -------------------------------------------------------------------------------- */

/* A socket file that nobody listens on is left from a crash. */
static int remove_stale(const struct addr_sock *s, struct errmsg *msg)
{
    const char *path = s->un.sun_path;
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0; /* bind will tell */
    if (!S_ISSOCK(st.st_mode))
        return errmsg_set(msg, -ERR_CONFIG, "listen on unix:%s: there is a file that is no socket",
                          path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "socket: %s", strerror(errno));
    int r = connect(fd, &s->any, s->len);
    int saved = errno;
    close(fd);
    if (r == 0 || saved == EAGAIN)
        return errmsg_set(msg, -ERR_LOCKED,
                          "listen on unix:%s: another process listens there: stop it, or change "
                          "\"listen\"",
                          path);
    (void)unlink(path);
    return 0;
}

static int cannot_listen(const char *address, int no, struct errmsg *msg)
{
    if (no == EADDRINUSE)
        return errmsg_set(msg, -ERR_LOCKED,
                          "listen on %s: the port is in use by another process: stop it, or change "
                          "\"listen\"",
                          address);
    return errmsg_set(msg, err_from_errno(no), "listen on %s: %s", address, strerror(no));
}

static int open_socket(const struct addr_sock *s, const char *address, int *ret, struct errmsg *msg)
{
    const int one = 1;
    int fd = socket(s->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "socket: %s", strerror(errno));
    bool ok;
    if (s->any.sa_family == AF_UNIX)
        /* Linux gives the name the socket's own mode: so there is no moment with another one. */
        ok = fchmod(fd, 0600) == 0;
    else
        ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0;
    if (ok && bind(fd, &s->any, s->len) == 0) {
        *ret = fd;
        return 0;
    }
    int saved = errno;
    close(fd);
    return cannot_listen(address, saved, msg);
}

int net_uv_bind(struct net_uv *n, const char *address, struct errmsg *msg)
{
    struct addr addr;
    struct addr_sock sock;
    int fd = -1;
    int err = addr_parse(address, msg, &addr);
    if (err < 0)
        return err;
    if (n->n_listeners == LISTENERS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "more than %d addresses to listen on", LISTENERS_MAX);
    if (!addr.local && !n->tls)
        return errmsg_set(msg, -ERR_CONFIG,
                          "listen on %s: TCP needs TLS: give \"ca\", \"cert\" and \"key\", or a "
                          "unix: address",
                          address);
    err = addr_resolve(&addr, msg, &sock, 1);
    if (err < 0)
        return errmsg_prefix(msg, err, "listen");
    if (addr.local)
        err = remove_stale(&sock, msg);
    else
        err = 0;
    if (err == 0)
        err = open_socket(&sock, address, &fd, msg);
    if (err < 0)
        return err;

    struct listener *l = &n->listeners[n->n_listeners++];
    *l = (struct listener){.net = n, .fd = fd, .local = addr.local, .poll = g_new0(uv_poll_t, 1)};
    g_strlcpy(l->address, address, sizeof(l->address));
    if (addr.local)
        l->path = g_strdup(addr.host);
    int r = uv_poll_init(n->loop, l->poll, fd);
    ASSERT(r == 0);
    l->poll->data = l;
    return 0;
}

int net_uv_listen(struct net_uv *n, struct errmsg *msg)
{
    for (unsigned i = 0; i < n->n_listeners; i++) {
        struct listener *l = &n->listeners[i];
        if (listen(l->fd, BACKLOG) < 0)
            return cannot_listen(l->address, errno, msg);
        l->paused = true;
        listener_resume(l);
    }
    return 0;
}

static void on_handle_closed(uv_handle_t *h)
{
    g_free(h);
}

void listener_close(struct listener *l)
{
    uv_close((uv_handle_t *)l->poll, on_handle_closed);
    close(l->fd);
    /* The socket's name stays: by now it may be a successor's, and the next start takes a dead one
     * over (as it must after a crash). */
    g_free(l->path);
}
