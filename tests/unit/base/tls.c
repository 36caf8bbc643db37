/* SPDX-License-Identifier: Apache-2.0 */
/* tls.h and tlsgen.h */
#include "tests/lib/t.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include "cluster/base/tlsgen.h"

#define CLUSTER 0x1234abcd5678ef00u

/* --- fixture -----------------------------------------------------------------------------------
 */

/* Two CAs of the same cluster id, "ca" and "rogue", and certificates named after their holders. */
static const char *dir;

static const char *file(const char *name, const char *suffix)
{
    char *both = g_strconcat(name, suffix, NULL);
    const char *path = t_path(dir, both);
    g_free(both);
    return path;
}

static void make(const char *ca, const char *name, struct tls_peer who)
{
    struct errmsg msg;
    T_OK_MSG(tls_make_cert(file(ca, ".crt"), file(ca, ".key"), &who, file(name, ".crt"),
                           file(name, ".key"), &msg),
             &msg);
}

static int set_up(void **state)
{
    struct errmsg msg;
    dir = t_tmpdir();
    T_OK_MSG(tls_make_ca(CLUSTER, file("ca", ".crt"), file("ca", ".key"), &msg), &msg);
    T_OK_MSG(tls_make_ca(CLUSTER, file("rogue", ".crt"), file("rogue", ".key"), &msg), &msg);
    make("ca", "n1", (struct tls_peer){.role = ROLE_NODE, .node = 1, .uid = -1});
    make("ca", "n2", (struct tls_peer){.role = ROLE_NODE, .node = 2, .uid = -1});
    make("ca", "alice",
         (struct tls_peer){.role = ROLE_CLIENT, .uid = 1000, .read_only = true, .name = "alice"});
    make("ca", "root", (struct tls_peer){.role = ROLE_ADMIN, .uid = -1, .name = "root"});
    make("rogue", "spy", (struct tls_peer){.role = ROLE_NODE, .node = 3, .uid = -1});
    return 0;
}

static struct tls_ctx *context(const char *name, const char *ca)
{
    struct errmsg msg;
    struct tls_ctx *ctx = NULL;
    T_OK_MSG(tls_ctx_create(file(name, ".crt"), file(name, ".key"), file(ca, ".crt"), &msg, &ctx),
             &msg);
    return ctx;
}

/* Two ends on non-blocking sockets, driven in turn by one thread. */
struct pair {
    int fd[2];
    struct tls_ctx *ctx[2]; /* 0 is the client */
    struct tls_conn *conn[2];
};

static void pair_init(struct pair *p, const char *client, const char *client_ca, const char *server,
                      const char *server_ca)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fd), 0);
    p->ctx[0] = context(client, client_ca);
    p->ctx[1] = context(server, server_ca);
    p->conn[0] = tls_conn_create(p->ctx[0], p->fd[0], false);
    p->conn[1] = tls_conn_create(p->ctx[1], p->fd[1], true);
}

static void pair_finish(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        tls_conn_destroy(p->conn[i]);
        tls_ctx_destroy(p->ctx[i]);
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    }
}

/* Until both ends are done or have failed. A client that is done reads, for the server's verdict
 * comes after its own. */
static void shake(struct pair *p, int ret[2])
{
    ret[0] = ret[1] = -ERR_BUSY;
    uint64_t until = t_deadline();
    while (ret[0] == -ERR_BUSY || ret[1] == -ERR_BUSY) {
        for (int i = 0; i < 2; i++)
            if (ret[i] == -ERR_BUSY) {
                ret[i] = tls_handshake(p->conn[i]);
                /* A refused end closes, as every user of tls.h does. */
                if (ret[i] < 0 && ret[i] != -ERR_BUSY)
                    shutdown(p->fd[i], SHUT_WR);
            }
        if (ret[0] == -ERR_BUSY || ret[1] == -ERR_BUSY)
            t_pause(until, "the handshake is over", __FILE__, __LINE__);
    }
    char c;
    if (ret[0] == 0 && ret[1] < 0)
        ret[0] = (int)tls_read(p->conn[0], &c, 1);
}

static void shake_ok(struct pair *p)
{
    int r[2];
    shake(p, r);
    for (int i = 0; i < 2; i++)
        if (r[i] != 0)
            fail_msg("%s: %s", i ? "server" : "client", tls_reason(p->conn[i]));
}

/* --- who is there ------------------------------------------------------------------------------
 */

TEST(both_ends_learn_who_the_other_is)
{
    struct pair p;
    pair_init(&p, "n2", "ca", "n1", "ca");
    struct tls_peer peer;
    T_ERR(ERR_TLS, tls_peer(p.conn[0], &peer));
    shake_ok(&p);
    T_OK(tls_peer(p.conn[0], &peer));
    assert_int_equal(peer.role, ROLE_NODE);
    assert_int_equal(peer.node, 1);
    assert_true(peer.cluster == CLUSTER);
    assert_int_equal(peer.uid, -1);
    assert_false(peer.read_only);
    T_OK(tls_peer(p.conn[1], &peer));
    assert_int_equal(peer.node, 2);
    assert_string_equal(peer.name, "n2");
    pair_finish(&p);
}

TEST(a_clients_role_binding_and_read_only_are_read_from_its_certificate)
{
    struct pair p;
    pair_init(&p, "alice", "ca", "n1", "ca");
    shake_ok(&p);
    struct tls_peer peer;
    T_OK(tls_peer(p.conn[1], &peer));
    assert_int_equal(peer.role, ROLE_CLIENT);
    assert_int_equal(peer.node, 0);
    assert_int_equal(peer.uid, 1000);
    assert_true(peer.read_only);
    assert_string_equal(peer.name, "alice");
    assert_string_equal(tls_ctx_self(p.ctx[0])->name, "alice");
    pair_finish(&p);

    pair_init(&p, "root", "ca", "n1", "ca");
    shake_ok(&p);
    T_OK(tls_peer(p.conn[1], &peer));
    assert_int_equal(peer.role, ROLE_ADMIN);
    pair_finish(&p);
}

/* --- who is refused ----------------------------------------------------------------------------
 */

static void both_refuse(struct pair *p, int who, const char *reason)
{
    int r[2];
    shake(p, r);
    assert_int_equal(r[who], -ERR_TLS);
    T_CONTAINS(tls_reason(p->conn[who]), reason);
    assert_true(r[!who] == -ERR_TLS || r[!who] == -ERR_CLOSED);
    assert_string_not_equal(tls_reason(p->conn[!who]), "no error");
    struct tls_peer peer;
    T_ERR(ERR_TLS, tls_peer(p->conn[who], &peer));
    pair_finish(p);
}

TEST(a_client_refuses_a_server_of_another_ca)
{
    struct pair p;
    pair_init(&p, "n1", "ca", "spy", "rogue");
    both_refuse(&p, 0, "peer's certificate refused");
}

TEST(only_a_node_can_be_a_server)
{
    struct pair p;
    pair_init(&p, "n1", "ca", "alice", "ca");
    both_refuse(&p, 0, "purpose");
    pair_init(&p, "n1", "ca", "root", "ca");
    both_refuse(&p, 0, "purpose");
}

/* Runs a plain OpenSSL client against our server; returns what the server's handshake gave. */
static int serve_stranger(int version, const char *cert, char *reason, size_t cap)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    SSL_CTX *stranger = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(stranger, version);
    if (cert) {
        SSL_CTX_use_certificate_file(stranger, file(cert, ".crt"), SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(stranger, file(cert, ".key"), SSL_FILETYPE_PEM);
    }
    SSL *ssl = SSL_new(stranger);
    SSL_set_fd(ssl, fd[0]);
    struct tls_ctx *ctx = context("n1", "ca");
    struct tls_conn *server = tls_conn_create(ctx, fd[1], true);
    int r;
    T_EVENTUALLY((SSL_connect(ssl), r = tls_handshake(server)) != -ERR_BUSY);
    g_strlcpy(reason, tls_reason(server), cap);
    tls_conn_destroy(server);
    tls_ctx_destroy(ctx);
    SSL_free(ssl);
    SSL_CTX_free(stranger);
    close(fd[0]);
    close(fd[1]);
    return r;
}

/* The rogue CA even claims the same cluster id. */
TEST(a_server_refuses_a_certificate_of_another_ca)
{
    char reason[256];
    T_ERR(ERR_TLS, serve_stranger(TLS1_3_VERSION, "spy", reason, sizeof(reason)));
    T_CONTAINS(reason, "peer's certificate refused: ");
}

TEST(tls_1_2_is_refused)
{
    char reason[256];
    assert_int_equal(serve_stranger(TLS1_3_VERSION, "n2", reason, sizeof(reason)), 0);
    T_ERR(ERR_TLS, serve_stranger(TLS1_2_VERSION, "n2", reason, sizeof(reason)));
    T_CONTAINS(reason, "unsupported protocol");
}

TEST(a_client_without_certificate_is_refused)
{
    char reason[256];
    T_ERR(ERR_TLS, serve_stranger(TLS1_3_VERSION, NULL, reason, sizeof(reason)));
    T_CONTAINS(reason, "did not return a certificate");
}

TEST(plain_text_is_refused)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    struct tls_ctx *ctx = context("n1", "ca");
    struct tls_conn *server = tls_conn_create(ctx, fd[1], true);
    assert_int_equal(write(fd[0], "GET / HTTP/1.1\r\n\r\n", 18), 18);
    T_ERR(ERR_TLS, tls_handshake(server));
    T_ERR(ERR_TLS, tls_handshake(server));
    assert_string_not_equal(tls_reason(server), "no error");
    tls_conn_destroy(server);
    tls_ctx_destroy(ctx);
    close(fd[0]);
    close(fd[1]);
}

/* Signs, with the cluster's CA, a certificate whose subject is given as pairs of field and value.
 */
static void forge(const char *name, const char *const *subject)
{
    FILE *f = fopen(file("ca", ".key"), "re");
    EVP_PKEY *ca_key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    f = fopen(file("ca", ".crt"), "re");
    X509 *ca = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_issuer_name(cert, X509_get_subject_name(ca));
    X509_NAME *n = X509_get_subject_name(cert);
    for (; *subject; subject += 2)
        X509_NAME_add_entry_by_txt(n, subject[0], MBSTRING_ASC, (const unsigned char *)subject[1],
                                   -1, -1, 0);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, ca_key, EVP_sha256()) > 0);
    f = fopen(file(name, ".crt"), "we");
    PEM_write_X509(f, cert);
    fclose(f);
    f = fopen(file(name, ".key"), "we");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    chmod(file(name, ".key"), 0600);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
}

#define ORG "raftfs-1234abcd5678ef00"

TEST(a_subject_that_is_not_exactly_ours_is_refused)
{
    static const char *const wrong[][9] = {
        {"O", "raftfs-1234abcd5678ef0", "OU", "node", "CN", "n1"},
        {"O", "raftfs-1234ABCD5678EF00", "OU", "node", "CN", "n1"},
        {"O", "somebody", "OU", "node", "CN", "n1"},
        {"O", ORG, "O", ORG, "OU", "node", "CN", "n1"},
        {"OU", "node", "CN", "n1"},
        {"O", ORG, "CN", "n1"},
        {"O", ORG, "OU", "root", "CN", "n1"},
        {"O", ORG, "OU", "node"},
        {"O", ORG, "OU", "node", "CN", "1"},
        {"O", ORG, "OU", "node", "CN", "n0"},
        {"O", ORG, "OU", "node", "CN", "n01"},
        {"O", ORG, "OU", "node", "CN", "n4294967296"},
        {"O", ORG, "OU", "node", "CN", "n1", "CN", "n2"},
        {"O", ORG, "OU", "client", "OU", "admin", "CN", "x"},
        {"O", ORG, "OU", "admin", "OU", "read-only", "CN", "x"},
        {"O", ORG, "OU", "client", "OU", "uid--1", "CN", "x"},
        {"O", ORG, "OU", "client", "OU", "uid-", "CN", "x"},
        {"O", ORG, "OU", "client", "OU", "uid-4294967295", "CN", "x"},
        {"O", ORG, "OU", "client", "CN", "a b"},
        {"O", ORG, "OU", "client", "CN", "x", "L", "paris"},
        {"O", "raftfs-0000000000000001", "OU", "client", "CN", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char name[32], reason[256];
        snprintf(name, sizeof(name), "forged%zu", i);
        forge(name, wrong[i]);
        if (serve_stranger(TLS1_3_VERSION, name, reason, sizeof(reason)) != -ERR_TLS)
            fail_msg("subject %zu was taken", i);
        T_CONTAINS(reason, "peer's certificate refused: the certificate");
    }
    static const char *const right[] = {"O", ORG, "OU", "client", "CN", "x@y.z", NULL};
    char reason[256];
    forge("right", right);
    assert_int_equal(serve_stranger(TLS1_3_VERSION, "right", reason, sizeof(reason)), 0);
}

/* --- data --------------------------------------------------------------------------------------
 */

TEST(bytes_arrive_whole_and_in_order_however_they_are_cut)
{
    struct pair p;
    pair_init(&p, "n2", "ca", "n1", "ca");
    shake_ok(&p);
    struct rng r = t_rng();
    const size_t total = 3000000;
    uint8_t *sent = g_malloc(total), *got = g_malloc(total);
    for (size_t i = 0; i < total; i++)
        sent[i] = (uint8_t)rng_next(&r);
    size_t out = 0, in = 0;
    bool blocked = false;
    while (in < total) {
        while (out < total) {
            int64_t n = tls_write(p.conn[0], sent + out,
                                  MIN((size_t)rng_between(&r, 1, 100000), total - out));
            if (n == -ERR_BUSY) {
                assert_int_equal(tls_want(p.conn[0]), POLLOUT);
                blocked = true;
                /* The same bytes again: OpenSSL wants at least as many, from any address. */
                while (n == -ERR_BUSY) {
                    int64_t k = tls_read(p.conn[1], got + in, total - in);
                    in += (size_t)MAX(k, 0);
                    n = tls_write(p.conn[0], sent + out, total - out);
                }
            }
            out += (size_t)T_COUNT(n);
        }
        int64_t n =
            tls_read(p.conn[1], got + in, MIN((size_t)rng_between(&r, 1, 100000), total - in));
        if (n == -ERR_BUSY)
            assert_int_equal(tls_want(p.conn[1]), POLLIN);
        else
            in += (size_t)T_COUNT(n);
    }
    assert_true(blocked);
    assert_memory_equal(sent, got, total);
    g_free(sent);
    g_free(got);
    pair_finish(&p);
}

TEST(what_waits_inside_is_known_without_the_socket)
{
    struct pair p;
    pair_init(&p, "n2", "ca", "n1", "ca");
    shake_ok(&p);
    char c[8];
    assert_int_equal(tls_read(p.conn[1], c, 1), -ERR_BUSY);
    assert_false(tls_pending(p.conn[1]));
    assert_int_equal(tls_write(p.conn[0], "ab", 2), 2);
    assert_int_equal(tls_write(p.conn[0], "cd", 2), 2);
    assert_int_equal(tls_read(p.conn[1], c, 1), 1);
    struct pollfd pfd = {.fd = p.fd[1], .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 0), 0); /* all is read from the socket already */
    assert_true(tls_pending(p.conn[1]));
    assert_int_equal(tls_read(p.conn[1], c, 8), 1);
    assert_int_equal(tls_read(p.conn[1], c, 8), 2);
    assert_memory_equal(c, "cd", 2);
    assert_false(tls_pending(p.conn[1]));
    pair_finish(&p);
}

TEST(a_close_in_order_is_told_from_a_cut)
{
    struct pair p;
    char c;
    pair_init(&p, "n2", "ca", "n1", "ca");
    shake_ok(&p);
    tls_shutdown(p.conn[0]);
    assert_int_equal(tls_read(p.conn[1], &c, 1), 0);
    pair_finish(&p);

    pair_init(&p, "n2", "ca", "n1", "ca");
    shake_ok(&p);
    close(p.fd[0]);
    p.fd[0] = -1;
    assert_int_equal(tls_read(p.conn[1], &c, 1), -ERR_CLOSED);
    pair_finish(&p);
}

/* Under the default action the signal would end this test. */
TEST(writing_to_a_peer_that_is_gone_is_an_error_and_no_signal)
{
    struct pair p;
    pair_init(&p, "n2", "ca", "n1", "ca");
    shake_ok(&p);
    tls_conn_destroy(TAKE(p.conn[0]));
    close(p.fd[0]);
    p.fd[0] = -1;
    assert_int_equal(tls_write(p.conn[1], "x", 1), -ERR_CLOSED);
    assert_int_equal(tls_write(p.conn[1], "x", 1), -ERR_CLOSED);
    pair_finish(&p);
}

TEST(a_changed_byte_on_the_wire_breaks_the_connection)
{
    struct pair p;
    pair_init(&p, "n2", "ca", "n1", "ca");
    shake_ok(&p);
    assert_int_equal(tls_write(p.conn[0], "secret", 6), 6);
    uint8_t wire[200];
    ssize_t n = read(p.fd[1], wire, sizeof(wire));
    assert_true(n > 6);
    assert_null(memmem(wire, (size_t)n, "secret", 6));
    wire[n - 1] ^= 1;
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    dup2(fd[1], p.fd[1]);
    assert_int_equal(write(fd[0], wire, (size_t)n), n);
    char c;
    assert_int_equal(tls_read(p.conn[1], &c, 1), -ERR_TLS);
    close(fd[0]);
    close(fd[1]);
    pair_finish(&p);
}

/* --- files -------------------------------------------------------------------------------------
 */

TEST(a_key_that_others_may_read_is_refused)
{
    struct errmsg msg;
    struct tls_ctx *ctx = NULL;
    static const mode_t modes[] = {0644, 0640, 0604, 0660};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        chmod(file("n1", ".key"), modes[i]);
        T_ERR(ERR_CONFIG, tls_ctx_create(file("n1", ".crt"), file("n1", ".key"), file("ca", ".crt"),
                                         &msg, &ctx));
        T_CONTAINS(msg.text, "chmod 600");
        T_CONTAINS(msg.text, file("n1", ".key"));
    }
    chmod(file("n1", ".key"), 0400);
    tls_ctx_destroy(context("n1", "ca"));
}

static void create_fails(const char *cert, const char *key, const char *ca, const char *needle)
{
    struct errmsg msg;
    struct tls_ctx *ctx = NULL;
    T_ERR(ERR_CONFIG, tls_ctx_create(cert, key, ca, &msg, &ctx));
    assert_null(ctx);
    T_CONTAINS(msg.text, needle);
}

TEST(wrong_files_are_named_at_the_start)
{
    const char *crt = file("n1", ".crt"), *key = file("n1", ".key"), *ca = file("ca", ".crt");
    create_fails(file("none", ".crt"), key, ca, "none.crt");
    create_fails(crt, file("none", ".key"), ca, "none.key");
    create_fails(crt, key, file("none", ".crt"), "none.crt");
    create_fails(key, key, ca, "holds no PEM certificate");
    create_fails(dir, key, ca, "not a plain file");
    create_fails(crt, file("n2", ".key"), ca, "does not belong");
    create_fails(crt, key, file("rogue", ".crt"), "rogue.crt");
    create_fails(ca, file("ca", ".key"), ca, "raftfsctl");
    t_write_file(file("empty", ".key"), "", 0);
    chmod(file("empty", ".key"), 0600);
    create_fails(crt, file("empty", ".key"), ca, "holds no PEM private key");
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

TEST(a_new_key_is_private_from_its_creation)
{
    mode_t old = umask(0);
    make("ca", "n9", (struct tls_peer){.role = ROLE_NODE, .node = 9, .uid = -1});
    umask(old);
    assert_int_equal(mode_of(file("n9", ".key")), 0600);
    assert_int_equal(mode_of(file("n9", ".crt")), 0644);
    assert_int_equal(mode_of(file("ca", ".key")), 0600);
}

TEST(no_file_is_overwritten_or_left_half_made)
{
    struct errmsg msg;
    struct tls_peer who = {.role = ROLE_NODE, .node = 5, .uid = -1};
    T_ERR(ERR_EXISTS, tls_make_ca(CLUSTER, file("ca", ".crt"), file("new", ".key"), &msg));
    T_CONTAINS(msg.text, "ca.crt");
    assert_int_not_equal(access(file("new", ".key"), F_OK), 0);
    T_ERR(ERR_EXISTS, tls_make_cert(file("ca", ".crt"), file("ca", ".key"), &who,
                                    file("new", ".crt"), file("n1", ".key"), &msg));
    assert_int_not_equal(access(file("new", ".crt"), F_OK), 0);
    tls_ctx_destroy(context("n1", "ca"));
}

static void refuse_subject(struct tls_peer who, const char *needle)
{
    struct errmsg msg;
    T_ERR(ERR_CONFIG, tls_make_cert(file("ca", ".crt"), file("ca", ".key"), &who, file("x", ".crt"),
                                    file("x", ".key"), &msg));
    T_CONTAINS(msg.text, needle);
    assert_int_not_equal(access(file("x", ".key"), F_OK), 0);
}

TEST(a_certificate_that_nobody_would_take_is_not_made)
{
    refuse_subject((struct tls_peer){.role = ROLE_NODE, .uid = -1}, "id from 1");
    refuse_subject((struct tls_peer){.role = ROLE_CLIENT, .uid = -1}, "letters");
    refuse_subject((struct tls_peer){.role = ROLE_CLIENT, .uid = -1, .name = "a/b"}, "letters");
    refuse_subject((struct tls_peer){.role = ROLE_ADMIN, .uid = 5, .name = "x"}, "only a client");
    refuse_subject((struct tls_peer){.role = ROLE_NONE, .uid = -1, .name = "x"}, "x");
    refuse_subject((struct tls_peer){.role = ROLE_ADMIN, .uid = -1, .name = "x", .cluster = 1},
                   "CA of cluster 1234abcd5678ef00");
}

TEST(a_certificate_is_valid_for_ten_years)
{
    FILE *f = fopen(file("n1", ".crt"), "re");
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    int days, seconds;
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)), 1);
    assert_in_range(days, 3648, 3650);
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(cert), NULL), 1);
    assert_in_range(days * 86400 + seconds, 3000, 3 * 86400);
    assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(cert)), 256);
    X509_free(cert);
}

#define S(fn) cmocka_unit_test_setup(fn, set_up)
T_MAIN(S(both_ends_learn_who_the_other_is),
       S(a_clients_role_binding_and_read_only_are_read_from_its_certificate),
       S(a_server_refuses_a_certificate_of_another_ca), S(a_client_refuses_a_server_of_another_ca),
       S(only_a_node_can_be_a_server), S(tls_1_2_is_refused),
       S(a_client_without_certificate_is_refused), S(plain_text_is_refused),
       S(a_subject_that_is_not_exactly_ours_is_refused),
       S(bytes_arrive_whole_and_in_order_however_they_are_cut),
       S(what_waits_inside_is_known_without_the_socket), S(a_close_in_order_is_told_from_a_cut),
       S(writing_to_a_peer_that_is_gone_is_an_error_and_no_signal),
       S(a_changed_byte_on_the_wire_breaks_the_connection),
       S(a_key_that_others_may_read_is_refused), S(wrong_files_are_named_at_the_start),
       S(a_new_key_is_private_from_its_creation), S(no_file_is_overwritten_or_left_half_made),
       S(a_certificate_that_nobody_would_take_is_not_made), S(a_certificate_is_valid_for_ten_years))
