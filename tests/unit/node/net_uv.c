/* SPDX-License-Identifier: Apache-2.0 */
/* Two nets on one loop: a server and a client, over TLS on loopback or a Unix socket. Also built
 * with a tiny READ_BUDGET: what lies read but unused inside OpenSSL when a connection's share of a
 * turn ends must not be forgotten, and no poll tells of it. */
#include "cluster/node/net_uv.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/limits.h"
#include "cluster/base/msg.h"
#include "cluster/base/tls.h"
#include "cluster/base/tlsgen.h"
#include "tests/lib/t.h"

/* One end: its net, the last connection it heard of, and what came. */
struct end {
    struct net_uv *net;
    struct net_handler handler;
    struct net_conn *conn;
    struct net_peer peer;
    char text[200];
    unsigned opened, closed, frames;
    uint64_t last_id;
    size_t bytes;
    int error;
    bool busy; /* inside a call of ours: no callback may come */
    bool ordered;
};

static uv_loop_t loop;
static struct end server, client;
static struct tls_ctx *server_tls, *client_tls;
static char address[200];

static void on_open(void *ctx, struct net_conn *c, const struct net_peer *peer, bool dialed)
{
    struct end *e = ctx;
    assert_false(e->busy);
    e->opened++;
    e->conn = c;
    e->peer = *peer;
    g_strlcpy(e->text, peer->text, sizeof(e->text));
}

static void on_frame(void *ctx, struct net_conn *c, unsigned type, uint64_t id, struct bytes body)
{
    struct end *e = ctx;
    assert_false(e->busy);
    e->frames++;
    e->ordered = e->ordered && id == e->last_id + 1;
    e->last_id = id;
    e->bytes += body.n;
    for (size_t i = 0; i < body.n; i += 997)
        e->ordered = e->ordered && body.p[i] == (uint8_t)(id + i);
}

static void on_close(void *ctx, struct net_conn *c, int err)
{
    struct end *e = ctx;
    assert_false(e->busy);
    e->closed++;
    e->error = err;
    e->conn = NULL;
}

static void end_init(struct end *e, struct tls_ctx *tls)
{
    *e = (struct end){.ordered = true};
    e->net = net_uv_create(&loop, tls);
    e->handler = (struct net_handler){on_open, on_frame, on_close, e};
    net_uv_set_handler(e->net, &e->handler);
}

static void wake(uv_timer_t *t)
{
}

/* One turn of both; the poll ends after a few milliseconds at the latest. */
static bool turn(void)
{
    static uv_timer_t timer;
    uv_update_time(&loop); /* or it fires before the poll, which then waits for ever */
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, wake, 2, 0);
    uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    net_uv_deliver(server.net);
    net_uv_deliver(client.net);
    net_uv_flush(server.net);
    net_uv_flush(client.net);
    return true;
}
#define RUN_UNTIL(cond) T_EVENTUALLY(turn() && (cond))

static unsigned free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static void make_ctx(const char *dir, const char *ca, const struct tls_peer *who,
                     struct tls_ctx **ret)
{
    struct errmsg msg = {""};
    g_autofree char *cert = g_strdup_printf("%s/%s.crt", dir, who->name);
    g_autofree char *key = g_strdup_printf("%s/%s.key", dir, who->name);
    g_autofree char *ca_cert = g_strdup_printf("%s/%s.crt", dir, ca);
    g_autofree char *ca_key = g_strdup_printf("%s/%s.key", dir, ca);
    T_OK_MSG(tls_make_cert(ca_cert, ca_key, who, cert, key, &msg), &msg);
    T_OK_MSG(tls_ctx_create(cert, key, ca_cert, &msg, ret), &msg);
}

static void up(const char *where, struct tls_ctx *st, struct tls_ctx *ct)
{
    struct errmsg msg = {""};
    g_strlcpy(address, where, sizeof(address));
    uv_loop_init(&loop);
    end_init(&server, st);
    end_init(&client, ct);
    T_OK_MSG(net_uv_bind(server.net, address, &msg), &msg);
    T_OK_MSG(net_uv_listen(server.net, &msg), &msg);
}

static void up_tls(void)
{
    struct errmsg msg = {""};
    const char *dir = t_tmpdir();
    const struct tls_peer node = {.role = ROLE_NODE, .node = 1, .uid = -1, .name = "n1"};
    const struct tls_peer user = {.role = ROLE_CLIENT, .uid = 1000, .read_only = true, .name = "u"};
    T_OK_MSG(tls_make_ca(77, t_path(dir, "ca.crt"), t_path(dir, "ca.key"), &msg), &msg);
    make_ctx(dir, "ca", &node, &server_tls);
    make_ctx(dir, "ca", &user, &client_tls);
    g_autofree char *where = g_strdup_printf("127.0.0.1:%u", free_port());
    up(where, server_tls, client_tls);
}

static void up_unix(void)
{
    g_autofree char *where = g_strdup_printf("unix:%s", t_path(t_tmpdir(), "s"));
    up(where, NULL, NULL);
}

static void connect_both(void)
{
    struct net *n = net_uv_net(client.net);
    client.busy = server.busy = true;
    struct net_conn *c = n->ops->dial(n, address, &client);
    client.busy = server.busy = false;
    assert_non_null(c);
    RUN_UNTIL(client.opened && server.opened);
    assert_ptr_equal(client.conn, c);
    assert_ptr_equal(c->user, &client);
}

static void down(void)
{
    net_uv_destroy(client.net);
    net_uv_destroy(server.net);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    tls_ctx_destroy(TAKE(server_tls));
    tls_ctx_destroy(TAKE(client_tls));
}

/* A frame whose body the receiver can check. */
static int send_frame(struct end *from, uint64_t id, size_t n)
{
    struct enc CLEANUP(enc_finish) e = {0};
    uint8_t *body = g_malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        body[i] = (uint8_t)(id + i);
    size_t at = frame_begin(&e);
    enc_raw(&e, body, n);
    frame_end(&e, at, MSG_status, id);
    g_free(body);
    from->busy = true;
    int err = from->conn->net->ops->send(from->conn, enc_view(&e));
    from->busy = false;
    return err;
}

static void close_conn(struct end *e)
{
    e->busy = true;
    e->conn->net->ops->close(e->conn);
    e->busy = false;
}

/* --- frames ------------------------------------------------------------------------------------
 */

static void exchange(void)
{
    struct rng rng = t_rng();
    size_t bytes = 0;
    connect_both();
    for (uint64_t id = 1; id <= 300; id++) {
        size_t n = id % 100 == 0 ? FRAME_BODY_MAX : (size_t)rng_below(&rng, id % 10 ? 200 : 100000);
        bytes += n;
        T_OK(send_frame(&client, id, n));
        T_OK(send_frame(&server, id, n));
    }
    RUN_UNTIL(server.frames == 300 && client.frames == 300);
    assert_true(server.ordered && client.ordered);
    assert_int_equal(server.bytes, bytes);
    assert_int_equal(client.bytes, bytes);
    assert_int_equal(client.conn->net->ops->queued(client.conn), 0);
}

TEST(frames_arrive_whole_and_in_order_over_tls)
{
    up_tls();
    exchange();
    down();
}

TEST(frames_arrive_whole_and_in_order_over_a_unix_socket)
{
    up_unix();
    exchange();
    down();
}

TEST(over_its_bound_a_queue_refuses_frames_and_later_takes_them_again)
{
    uint64_t id = 0;
    up_tls();
    connect_both();
    while (send_frame(&client, id + 1, MIB(1)) == 0)
        id++;
    assert_true(id >= 30 && id <= 32);
    assert_int_equal(send_frame(&client, id + 1, MIB(1)), -ERR_BUSY);
    RUN_UNTIL(server.frames == id);
    T_OK(send_frame(&client, id + 1, MIB(1)));
    RUN_UNTIL(server.frames == id + 1);
    assert_true(server.ordered);
    down();
}

TEST(what_was_sent_before_a_close_arrives)
{
    up_tls();
    connect_both();
    T_OK(send_frame(&server, 1, 5));
    T_OK(send_frame(&client, 1, 5)); /* unread at the closing side */
    close_conn(&server);
    RUN_UNTIL(client.closed && server.closed);
    assert_int_equal(client.frames, 1);
    assert_int_equal(client.error, -ERR_CLOSED);
    assert_int_equal(server.error, -ERR_CANCELED);
    down();
}

TEST(after_a_close_nothing_is_sent_or_delivered)
{
    up_tls();
    connect_both();
    T_OK(send_frame(&client, 1, 5));
    struct net_conn *c = server.conn;
    close_conn(&server);
    server.conn = c;
    assert_int_equal(send_frame(&server, 1, 5), -ERR_CLOSED);
    RUN_UNTIL(client.closed && server.closed);
    assert_int_equal(server.frames, 0);
    down();
}

/* --- strangers ----------------------------------------------------------------------------------
 */

static void send_raw(struct end *from, const void *p, size_t n)
{
    T_OK(from->conn->net->ops->send(from->conn, bytes_of(p, n)));
}

TEST(a_flipped_bit_ends_the_connection)
{
    uint8_t head[FRAME_HEAD];
    for (unsigned bit = 0; bit < FRAME_HEAD * 8; bit += 37) {
        struct enc CLEANUP(enc_finish) e = {0};
        frame_end(&e, frame_begin(&e), MSG_status, 1);
        memcpy(head, enc_view(&e).p, sizeof(head));
        head[bit / 8] ^= (uint8_t)(1u << bit % 8);
        up_unix();
        connect_both();
        send_raw(&client, head, sizeof(head));
        RUN_UNTIL(server.closed && client.closed);
        assert_int_equal(server.error, -ERR_INVALID);
        assert_int_equal(server.frames, 0);
        down();
    }
}

TEST(half_a_frame_is_waited_for_and_others_are_served)
{
    up_unix();
    connect_both();
    struct enc CLEANUP(enc_finish) e = {0};
    frame_end(&e, frame_begin(&e), MSG_status, 1);
    send_raw(&client, e.p, 20);
    server.opened = client.opened = 0;
    struct net_conn *half = client.conn;
    connect_both();
    T_OK(send_frame(&client, 1, 100));
    RUN_UNTIL(server.frames == 1);
    server.last_id = 0;
    T_OK(half->net->ops->send(half, bytes_of(e.p + 20, e.n - 20)));
    RUN_UNTIL(server.frames == 2);
    assert_true(server.ordered);
    down();
}

static int connect_raw(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    sa.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

TEST(plain_http_is_dropped_without_a_word_to_the_handler)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char reply[256];
    up_tls();
    int fd = connect_raw();
    assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
    RUN_UNTIL(read(fd, reply, sizeof(reply)) == 0);
    assert_int_equal(server.opened + server.closed, 0);
    close(fd);
    down();
}

TEST(a_certificate_of_another_authority_is_refused)
{
    struct errmsg msg = {""};
    const char *dir = t_tmpdir();
    const struct tls_peer user = {.role = ROLE_CLIENT, .uid = -1, .name = "u"};
    up_tls();
    T_OK_MSG(tls_make_ca(77, t_path(dir, "ca.crt"), t_path(dir, "ca.key"), &msg), &msg);
    struct tls_ctx *foreign = NULL;
    make_ctx(dir, "ca", &user, &foreign);
    net_uv_destroy(client.net);
    end_init(&client, foreign);
    struct net *n = net_uv_net(client.net);
    assert_non_null(n->ops->dial(n, address, NULL));
    RUN_UNTIL(client.closed);
    assert_int_equal(client.error, -ERR_TLS);
    assert_int_equal(client.opened + server.opened, 0);
    down();
    tls_ctx_destroy(foreign);
}

TEST(the_peer_is_who_its_certificate_says)
{
    up_tls();
    connect_both();
    assert_int_equal(server.peer.role, ROLE_CLIENT);
    assert_int_equal(server.peer.uid, 1000);
    assert_true(server.peer.read_only);
    T_CONTAINS(server.text, "(u)");
    assert_int_equal(client.peer.role, ROLE_NODE);
    assert_int_equal(client.peer.node, 1);
    down();
}

/* --- addresses ----------------------------------------------------------------------------------
 */

/* --- a peer that answers faster than this process asks again --- */

static bool peer_is_quick;                 /* what the server sends is answered when send returns */
static bool began_to_talk, frame_was_sent; /* atomic; by the peer */
static pthread_t server_thread;

/* In the place of libc's: the scheduler does the same on a busy machine. */
ssize_t send(int fd, const void *p, size_t n, int flags)
{
    ssize_t r = sendto(fd, p, n, flags, NULL, 0);
    if (!peer_is_quick)
        return r;
    if (!pthread_equal(pthread_self(), server_thread))
        __atomic_store_n(&began_to_talk, true, __ATOMIC_RELEASE);
    else
        T_EVENTUALLY(__atomic_load_n(&frame_was_sent, __ATOMIC_ACQUIRE));
    return r;
}

/* Shakes hands and sends one frame, on a socket that blocks. */
static void *quick_peer(void *arg)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct enc CLEANUP(enc_finish) e = {0};
    const struct msg_status m = {0};
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    sa.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    struct tls_conn *tls = tls_conn_create(client_tls, fd, false);
    T_OK(tls_handshake(tls));
    FRAME(&e, status, 1, &m);
    assert_int_equal(tls_write(tls, e.p, e.n), (int64_t)e.n);
    __atomic_store_n(&frame_was_sent, true, __ATOMIC_RELEASE);
    *(struct tls_conn **)arg = tls;
    return (void *)(intptr_t)fd;
}

TEST(a_frame_that_comes_with_the_end_of_the_handshake_is_not_forgotten)
{
    struct tls_conn *tls = NULL;
    pthread_t thread;
    void *fd;
    up_tls();
    server_thread = pthread_self();
    peer_is_quick = true;
    assert_int_equal(pthread_create(&thread, NULL, quick_peer, &tls), 0);
    T_EVENTUALLY(__atomic_load_n(&began_to_talk, __ATOMIC_ACQUIRE));
    RUN_UNTIL(server.frames == 1);
    peer_is_quick = false;
    pthread_join(thread, &fd);
    tls_conn_destroy(tls);
    close((int)(intptr_t)fd);
    down();
}

TEST(a_unix_socket_is_its_owners_and_has_no_role)
{
    struct stat st;
    up_unix();
    assert_int_equal(stat(address + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    connect_both();
    assert_int_equal(server.peer.role, ROLE_NONE);
    down();
    assert_int_equal(stat(address + 5, &st), 0); /* a successor may own the name by now */
}

TEST(a_socket_file_without_a_listener_is_taken_over)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    g_autofree char *where = g_strdup_printf("unix:%s", t_path(t_tmpdir(), "s"));
    g_strlcpy(sa.sun_path, where + 5, sizeof(sa.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    up(where, NULL, NULL);
    connect_both();
    down();
}

TEST(a_socket_or_port_in_use_is_named)
{
    struct errmsg msg = {""};
    up_unix();
    T_ERR(ERR_LOCKED, net_uv_bind(client.net, address, &msg));
    T_CONTAINS(msg.text, address);
    down();
    up_tls();
    T_ERR(ERR_LOCKED, net_uv_bind(client.net, address, &msg));
    T_CONTAINS(msg.text, address);
    down();
}

TEST(a_file_that_is_no_socket_is_left_alone)
{
    struct errmsg msg = {""};
    struct stat st;
    const char *path = t_path(t_tmpdir(), "file");
    g_autofree char *where = g_strdup_printf("unix:%s", path);
    t_write_file(path, "x", 1);
    up_unix();
    T_ERR(ERR_CONFIG, net_uv_bind(client.net, where, &msg));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 1);
    down();
}

TEST(tcp_without_certificates_is_refused)
{
    struct errmsg msg = {""};
    up_unix();
    T_ERR(ERR_CONFIG, net_uv_bind(client.net, "127.0.0.1:0", &msg));
    struct net *n = net_uv_net(client.net);
    assert_non_null(n->ops->dial(n, "127.0.0.1:1", NULL));
    RUN_UNTIL(client.closed);
    assert_int_equal(client.error, -ERR_UNREACHABLE);
    down();
}

TEST(a_dial_that_fails_ends_in_on_close)
{
    up_tls();
    struct net *n = net_uv_net(client.net);
    g_autofree char *nobody = g_strdup_printf("127.0.0.1:%u", free_port());
    assert_non_null(n->ops->dial(n, nobody, NULL));
    RUN_UNTIL(client.closed);
    assert_int_equal(client.error, -ERR_UNREACHABLE);
    assert_int_equal(client.opened, 0);
    assert_null(n->ops->dial(n, "nonsense", NULL));
    down();
}

TEST(a_name_is_resolved_beside_the_loop)
{
    up_tls();
    g_autofree char *by_name = g_strdup_printf("localhost%s", strrchr(address, ':'));
    g_strlcpy(address, by_name, sizeof(address));
    connect_both();
    down();
}

TEST(a_net_can_go_while_a_name_is_being_resolved)
{
    up_tls();
    struct net *n = net_uv_net(client.net);
    assert_non_null(n->ops->dial(n, "localhost:1", NULL));
    down();
    assert_int_equal(client.closed, 0);
}

T_MAIN(T(frames_arrive_whole_and_in_order_over_tls),
       T(frames_arrive_whole_and_in_order_over_a_unix_socket),
       T(over_its_bound_a_queue_refuses_frames_and_later_takes_them_again),
       T(what_was_sent_before_a_close_arrives), T(after_a_close_nothing_is_sent_or_delivered),
       T(a_flipped_bit_ends_the_connection), T(half_a_frame_is_waited_for_and_others_are_served),
       T(plain_http_is_dropped_without_a_word_to_the_handler),
       T(a_certificate_of_another_authority_is_refused),
       T(a_frame_that_comes_with_the_end_of_the_handshake_is_not_forgotten),
       T(the_peer_is_who_its_certificate_says), T(a_unix_socket_is_its_owners_and_has_no_role),
       T(a_socket_file_without_a_listener_is_taken_over), T(a_socket_or_port_in_use_is_named),
       T(a_file_that_is_no_socket_is_left_alone), T(tcp_without_certificates_is_refused),
       T(a_dial_that_fails_ends_in_on_close), T(a_name_is_resolved_beside_the_loop),
       T(a_net_can_go_while_a_name_is_being_resolved))
