/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cluster/base/addr.h"
#include "cluster/base/clock.h"
#include "cluster/client/wire.h"

#define READ_MIN  KIB(64)
#define REST_MAX  KIB(256) /* buffer of an idle wire: the largest read of the kernel fits */
#define ADDRS_MAX 4

struct wire {
    int fd;
    struct tls_conn *tls; /* NULL over a Unix socket */
    pthread_mutex_t io;   /* guards tls: one thread reads, another may write. Held for one call */

    /* The reading half's. */
    uint8_t *in; /* received, [in_from, in_to) not yet handed out */
    size_t in_cap, in_from, in_to;
    size_t wanted;    /* length of the frame at in_from, as far as it is known */
    short want_input; /* what a poll must wait for before the next read */
    bool more;        /* there is something to read that no poll tells of */
};

int wire_poll(struct wire *w, short events, int other, uint64_t deadline_ns,
              struct client_cancel *cancel)
{
    short input = events & POLLIN ? w->want_input : 0;
    struct pollfd p[3] = {{.fd = w->fd, .events = (short)((events & ~POLLIN) | input)},
                          {.fd = cancel ? cancel->fd : -1, .events = POLLIN},
                          {.fd = other, .events = POLLIN}};

    if (input && w->more)
        return POLLIN;
    for (;;) {
        int ms = -1;
        if (deadline_ns) {
            uint64_t now = clock_mono_ns();
            if (now >= deadline_ns)
                return -ERR_TIMEOUT;
            ms = (int)MIN((deadline_ns - now) / 1000000u + 1, 3600000u);
        }
        int n = poll(p, ARRAY_LEN(p), ms);
        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
        if (n <= 0)
            continue;
        if (p[1].revents)
            return -ERR_CANCELED;
        if (p[0].revents & ~(POLLIN | POLLOUT))
            return events;
        if (p[0].revents)
            return (p[0].revents & input ? POLLIN : 0) | (p[0].revents & events & POLLOUT);
        return 0;
    }
}

static int64_t raw_result(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? -ERR_BUSY : -ERR_CLOSED;
}

int64_t wire_write(struct wire *w, struct bytes b)
{
    int64_t r;

    if (!w->tls)
        return raw_result(send(w->fd, b.p, b.n, MSG_NOSIGNAL));
    pthread_mutex_lock(&w->io);
    r = tls_write(w->tls, b.p, b.n); /* TLS 1.3 writes never wait for input */
    pthread_mutex_unlock(&w->io);
    return r;
}

/* One read. 0: the peer has closed. */
static int64_t read_once(struct wire *w, uint8_t *p, size_t n)
{
    int64_t r;

    if (!w->tls)
        return raw_result(recv(w->fd, p, n, 0));
    pthread_mutex_lock(&w->io);
    r = tls_read(w->tls, p, n);
    w->more = r > 0 && tls_pending(w->tls);
    w->want_input = r == -ERR_BUSY ? tls_want(w->tls) : POLLIN;
    pthread_mutex_unlock(&w->io);
    return r;
}

/* Room for the frame that has begun. */
static void make_room(struct wire *w)
{
    size_t have = w->in_to - w->in_from, want = MAX(w->wanted, READ_MIN);

    if (w->in_from && w->in_from + want > w->in_cap) {
        memmove(w->in, w->in + w->in_from, have);
        w->in_from = 0;
        w->in_to = have;
    }
    if (want > w->in_cap) {
        w->in = g_realloc(w->in, want);
        w->in_cap = want;
    }
}

int wire_read(struct wire *w)
{
    size_t before = w->in_to - w->in_from;
    int64_t n;

    make_room(w);
    do {
        n = read_once(w, w->in + w->in_to, w->in_cap - w->in_to);
        if (n > 0)
            w->in_to += (size_t)n;
    } while (n > 0 && w->more && w->in_to < w->in_cap);
    if (n == -ERR_BUSY || n > 0)
        return w->in_to - w->in_from > before ? 0 : -ERR_BUSY;
    if (w->in_to - w->in_from > before) {
        w->more = true; /* the next read says it again */
        return 0;
    }
    return n == 0 ? -ERR_CLOSED : (int)n;
}

int wire_next(struct wire *w, struct frame *ret)
{
    size_t used;

    w->wanted = 0;
    if (w->in_from == w->in_to) {
        w->in_from = w->in_to = 0;
        return -ERR_BUSY;
    }
    int r = frame_parse(bytes_of(w->in + w->in_from, w->in_to - w->in_from), ret, &used);
    if (r == 0)
        w->in_from += used;
    else if (r == -ERR_BUSY)
        w->wanted = used;
    return r;
}

bool wire_rest(struct wire *w)
{
    if (w->in_from != w->in_to || w->more)
        return false;
    w->in_from = w->in_to = 0;
    if (w->in_cap > REST_MAX) {
        g_free(TAKE(w->in));
        w->in_cap = 0;
    }
    return true;
}

/* --- opening --- */

static int connect_to(struct wire *w, const struct addr_sock *to, uint64_t deadline_ns,
                      struct client_cancel *cancel, struct errmsg *msg)
{
    int one = 1, err = 0;
    socklen_t n = sizeof(err);

    w->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "socket: %s", strerror(errno));
    if (to->any.sa_family != AF_UNIX)
        (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(w->fd, &to->any, to->len) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errmsg_set(msg, -ERR_UNREACHABLE, "%s", strerror(errno));
    int r = wire_poll(w, POLLOUT, -1, deadline_ns, cancel);
    if (r < 0)
        return errmsg_set(msg, r, "%s", err_text(r));
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0 || err)
        return errmsg_set(msg, -ERR_UNREACHABLE, "%s", strerror(err ? err : errno));
    return 0;
}

static int handshake(struct wire *w, struct tls_ctx *tls, uint64_t cluster, uint32_t node,
                     uint64_t deadline_ns, struct client_cancel *cancel, struct errmsg *msg)
{
    struct tls_peer peer;
    int r;

    w->tls = tls_conn_create(tls, w->fd, false);
    while ((r = tls_handshake(w->tls)) == -ERR_BUSY) {
        r = wire_poll(w, tls_want(w->tls), -1, deadline_ns, cancel);
        if (r < 0)
            return errmsg_set(msg, r, "TLS handshake: %s", err_text(r));
    }
    if (r < 0)
        return errmsg_set(msg, r, "TLS handshake: %s", tls_reason(w->tls));
    w->more = tls_pending(w->tls); /* what came with the end of the handshake */
    r = tls_peer(w->tls, &peer);
    if (r < 0)
        return errmsg_set(msg, r, "%s", tls_reason(w->tls));
    if (peer.cluster != cluster || peer.role != ROLE_NODE || peer.node != node)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "another node answers there (its certificate is of `%s`)", peer.name);
    return 0;
}

static int send_hello(struct wire *w, struct bytes frame, uint64_t deadline_ns,
                      struct client_cancel *cancel)
{
    while (frame.n) {
        int64_t r = wire_write(w, frame);
        if (r > 0) {
            frame.p += r;
            frame.n -= (size_t)r;
            continue;
        }
        if (r == -ERR_BUSY)
            r = wire_poll(w, POLLOUT, -1, deadline_ns, cancel);
        if (r < 0)
            return (int)r;
    }
    return 0;
}

static int recv_hello(struct wire *w, struct frame *ret, uint64_t deadline_ns,
                      struct client_cancel *cancel)
{
    int r;

    while ((r = wire_next(w, ret)) == -ERR_BUSY) {
        r = wire_poll(w, POLLIN, -1, deadline_ns, cancel);
        if (r > 0)
            r = wire_read(w);
        if (r < 0 && r != -ERR_BUSY)
            return r;
    }
    return r;
}

static int exchange_hellos(struct wire *w, uint64_t cluster, uint32_t node,
                           enum hello_purpose purpose, uint64_t deadline_ns,
                           struct client_cancel *cancel, struct errmsg *msg)
{
    struct msg_hello ours = {.protocol = HELLO_PROTOCOL,
                             .cluster = cluster,
                             .purpose = (uint8_t)purpose,
                             .software = bytes_str("raftfs")};
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct msg_hello theirs;
    struct frame f;
    int r;

    FRAME(&e, hello, 0, &ours);
    r = send_hello(w, enc_view(&e), deadline_ns, cancel);
    if (r == 0)
        r = recv_hello(w, &f, deadline_ns, cancel);
    if (r < 0)
        return errmsg_set(msg, r, "hello: %s", r == -ERR_TLS ? tls_reason(w->tls) : err_text(r));
    if (f.type != MSG_hello || dec_hello(f.body, &a, &theirs) < 0)
        return errmsg_set(msg, -ERR_INVALID, "does not answer like a raftfsd");
    if (theirs.protocol != HELLO_PROTOCOL)
        return errmsg_set(msg, -ERR_FORMAT, "speaks protocol %u, this program %u", theirs.protocol,
                          HELLO_PROTOCOL);
    if (theirs.cluster != cluster || theirs.node != node)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "node n%u of cluster %016llx answers there, not n%u of %016llx",
                          theirs.node, (unsigned long long)theirs.cluster, node,
                          (unsigned long long)cluster);
    return 0;
}

int wire_open(const char *address, struct tls_ctx *tls, uint64_t cluster, uint32_t node,
              enum hello_purpose purpose, uint64_t deadline_ns, struct client_cancel *cancel,
              struct wire **ret, struct errmsg *msg)
{
    struct wire *w CLEANUP(wire_close) = NULL;
    struct addr_sock to[ADDRS_MAX];
    struct addr addr;
    int r = addr_parse(address, msg, &addr), n;

    if (r < 0)
        return r;
    n = addr_resolve(&addr, msg, to, ADDRS_MAX);
    if (n < 0)
        return n;
    r = -ERR_UNREACHABLE;
    for (int i = 0; i < n && r < 0 && r != -ERR_CANCELED; i++) {
        wire_close(TAKE(w));
        w = g_new0(struct wire, 1);
        w->want_input = POLLIN;
        pthread_mutex_init(&w->io, NULL);
        r = connect_to(w, &to[i], deadline_ns, cancel, msg);
    }
    if (r == 0 && !addr.local)
        r = handshake(w, tls, cluster, node, deadline_ns, cancel, msg);
    if (r == 0)
        r = exchange_hellos(w, cluster, node, purpose, deadline_ns, cancel, msg);
    if (r < 0)
        return r;
    *ret = TAKE(w);
    return 0;
}

void wire_close(struct wire *w)
{
    if (!w)
        return;
    if (w->tls)
        tls_shutdown(w->tls);
    tls_conn_destroy(w->tls);
    if (w->fd >= 0)
        (void)close(w->fd);
    pthread_mutex_destroy(&w->io);
    g_free(w->in);
    g_free(w);
}
