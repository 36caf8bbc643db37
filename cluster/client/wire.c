/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cluster/base/addr.h"
#include "cluster/base/clock.h"
#include "cluster/client/wire.h"

#define PROTOCOL  1
#define READ_MIN  KIB(64)
#define REST_MAX  KIB(256) /* buffer of an idle wire: the largest read of the kernel fits */
#define ADDRS_MAX 4

struct wire {
    int fd;
    struct tls_conn *tls; /* NULL over a Unix socket */
    uint8_t *in;          /* received, [in_from, in_to) not yet handed out */
    size_t in_cap, in_from, in_to;
    size_t in_taken; /* length of the frame last handed out: its body is borrowed until now */
};

/* One poll on the socket and the cancel. 0 when the socket is ready. */
static int wait_for(struct wire *w, short events, uint64_t deadline_ns,
                    struct client_cancel *cancel)
{
    struct pollfd p[2] = {{.fd = w->fd, .events = events},
                          {.fd = cancel ? cancel->fd : -1, .events = POLLIN}};

    for (;;) {
        int ms = -1;
        if (deadline_ns) {
            uint64_t now = clock_mono_ns();
            if (now >= deadline_ns)
                return -ERR_TIMEOUT;
            ms = (int)MIN((deadline_ns - now) / 1000000u + 1, 3600000u);
        }
        int n = poll(p, 2, ms);
        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
        if (n > 0 && p[1].revents)
            return -ERR_CANCELED;
        if (n > 0 && p[0].revents)
            return 0;
    }
}

static int64_t raw_io(struct wire *w, void *p, const void *out, size_t n)
{
    int64_t r;

    if (w->tls)
        return out ? tls_write(w->tls, out, n) : tls_read(w->tls, p, n);
    do
        r = out ? send(w->fd, out, n, MSG_NOSIGNAL) : recv(w->fd, p, n, 0);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN ? -ERR_BUSY : -ERR_CLOSED;
    return r;
}

/* One read (out NULL) or write of at least a byte. */
static int64_t io(struct wire *w, void *p, const void *out, size_t n, uint64_t deadline_ns,
                  struct client_cancel *cancel)
{
    for (;;) {
        int64_t r = raw_io(w, p, out, n);
        if (r == 0)
            return -ERR_CLOSED;
        if (r != -ERR_BUSY)
            return r;
        short want = w->tls ? tls_want(w->tls) : out ? POLLOUT : POLLIN;
        int err = wait_for(w, want, deadline_ns, cancel);
        if (err < 0)
            return err;
    }
}

int wire_send(struct wire *w, struct bytes frame, uint64_t deadline_ns,
              struct client_cancel *cancel)
{
    while (frame.n) {
        int64_t r = io(w, NULL, frame.p, frame.n, deadline_ns, cancel);
        if (r < 0)
            return (int)r;
        frame.p += r;
        frame.n -= (size_t)r;
    }
    return 0;
}

/* Room for `want` bytes from in_from on. */
static void make_room(struct wire *w, size_t want)
{
    size_t have = w->in_to - w->in_from;

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

int wire_recv(struct wire *w, struct frame *ret, uint64_t deadline_ns, struct client_cancel *cancel)
{
    w->in_from += w->in_taken;
    w->in_taken = 0;
    if (w->in_from == w->in_to)
        w->in_from = w->in_to = 0;

    for (;;) {
        size_t used;
        int r = frame_parse(bytes_of(w->in + w->in_from, w->in_to - w->in_from), ret, &used);
        if (r == 0)
            w->in_taken = used;
        if (r != -ERR_BUSY)
            return r;
        make_room(w, MAX(used, READ_MIN));
        int64_t n = io(w, w->in + w->in_to, NULL, w->in_cap - w->in_to, deadline_ns, cancel);
        if (n < 0)
            return (int)n;
        w->in_to += (size_t)n;
    }
}

bool wire_rest(struct wire *w)
{
    size_t used = w->in_from + w->in_taken;

    if (used != w->in_to || (w->tls && tls_pending(w->tls)))
        return false;
    w->in_from = w->in_to = w->in_taken = 0;
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
    int r = wait_for(w, POLLOUT, deadline_ns, cancel);
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
        r = wait_for(w, tls_want(w->tls), deadline_ns, cancel);
        if (r < 0)
            return errmsg_set(msg, r, "TLS handshake: %s", err_text(r));
    }
    if (r < 0)
        return errmsg_set(msg, r, "TLS handshake: %s", tls_reason(w->tls));
    r = tls_peer(w->tls, &peer);
    if (r < 0)
        return errmsg_set(msg, r, "%s", tls_reason(w->tls));
    if (peer.cluster != cluster || peer.role != ROLE_NODE || peer.node != node)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "another node answers there (its certificate is of `%s`)", peer.name);
    return 0;
}

static int exchange_hellos(struct wire *w, uint64_t cluster, uint32_t node, uint64_t deadline_ns,
                           struct client_cancel *cancel, struct errmsg *msg)
{
    struct msg_hello ours = {
        .protocol = PROTOCOL, .cluster = cluster, .software = bytes_str("raftfs")};
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct msg_hello theirs;
    struct frame f;
    int r;

    FRAME(&e, hello, 0, &ours);
    r = wire_send(w, enc_view(&e), deadline_ns, cancel);
    if (r == 0)
        r = wire_recv(w, &f, deadline_ns, cancel);
    if (r < 0)
        return errmsg_set(msg, r, "hello: %s", r == -ERR_TLS ? tls_reason(w->tls) : err_text(r));
    if (f.type != MSG_hello || dec_hello(f.body, &a, &theirs) < 0)
        return errmsg_set(msg, -ERR_INVALID, "does not answer like a raftfsd");
    if (theirs.protocol != PROTOCOL)
        return errmsg_set(msg, -ERR_FORMAT, "speaks protocol %u, this program %u", theirs.protocol,
                          PROTOCOL);
    if (theirs.cluster != cluster || theirs.node != node)
        return errmsg_set(msg, -ERR_WRONG_CLUSTER,
                          "node n%u of cluster %016llx answers there, not n%u of %016llx",
                          theirs.node, (unsigned long long)theirs.cluster, node,
                          (unsigned long long)cluster);
    return 0;
}

int wire_open(const char *address, struct tls_ctx *tls, uint64_t cluster, uint32_t node,
              uint64_t deadline_ns, struct client_cancel *cancel, struct wire **ret,
              struct errmsg *msg)
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
        r = connect_to(w, &to[i], deadline_ns, cancel, msg);
    }
    if (r == 0 && !addr.local)
        r = handshake(w, tls, cluster, node, deadline_ns, cancel, msg);
    if (r == 0)
        r = exchange_hellos(w, cluster, node, deadline_ns, cancel, msg);
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
    g_free(w->in);
    g_free(w);
}
