/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/tls.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "cluster/base/tls_pem.h"

#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS  "X25519:P-256"

struct tls_ctx {
    SSL_CTX *ssl;
    BIO_METHOD *socket;
    struct tls_peer self;
};

struct tls_conn {
    SSL *ssl;
    uint64_t cluster; /* ours, which must be theirs */
    short want;
    int broken; /* the error that every later call repeats, or 0 */
    bool ready;
    struct tls_peer peer;
    const char *refused; /* why verify_peer refused it, or NULL */
    char reason[256];
};

/* --- context ---------------------------------------------------------------------------------- */

/* OpenSSL's socket, but a peer that is gone is an error and not a SIGPIPE. */
static int socket_write(BIO *b, const char *p, int n)
{
    int fd = -1;
    BIO_get_fd(b, &fd);
    ssize_t w;
    do
        w = send(fd, p, (size_t)n, MSG_NOSIGNAL);
    while (w < 0 && errno == EINTR);
    BIO_clear_retry_flags(b);
    if (w < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_write(b);
    return (int)w;
}

static BIO_METHOD *socket_method(void)
{
    const BIO_METHOD *base = BIO_s_socket();
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOCKET, "socket without SIGPIPE");
    if (m && BIO_meth_set_write(m, socket_write) && BIO_meth_set_read(m, BIO_meth_get_read(base)) &&
        BIO_meth_set_puts(m, BIO_meth_get_puts(base)) &&
        BIO_meth_set_ctrl(m, BIO_meth_get_ctrl(base)) &&
        BIO_meth_set_create(m, BIO_meth_get_create(base)) &&
        BIO_meth_set_destroy(m, BIO_meth_get_destroy(base)))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* After OpenSSL has checked chain and purpose: is the holder one of ours? Refusing here, not later,
 * lets the peer hear of it. */
static int verify_peer(int ok, X509_STORE_CTX *store)
{
    if (!ok || X509_STORE_CTX_get_error_depth(store) != 0)
        return ok;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *c = SSL_get_app_data(ssl);
    if (!tls_subject_parse(X509_STORE_CTX_get_current_cert(store), &c->peer, &c->refused))
        ok = 0;
    else if (c->peer.cluster != c->cluster) {
        c->refused = "the certificate belongs to another cluster";
        ok = 0;
    } else {
        c->refused = NULL;
    }
    if (!ok)
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return ok;
}

/* What every peer would refuse is said at the start instead. */
static int check_own_cert(SSL_CTX *ssl, X509 *cert, const char *path, const char *ca,
                          struct errmsg *msg)
{
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    int r = 0;
    if (!store || X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(ssl), cert, NULL) != 1)
        r = tls_lib_error(msg, -ERR_CONFIG, path);
    else if (X509_verify_cert(store) != 1)
        r = errmsg_set(msg, -ERR_CONFIG, "certificate %s with CA %s: %s", path, ca,
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
    X509_STORE_CTX_free(store);
    return r;
}

static int set_options(SSL_CTX *ssl, struct errmsg *msg)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* One recv for all that is there, not one for each record's head and one for its body. */
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_peer);
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(ssl, 0) != 1 || SSL_CTX_set_ciphersuites(ssl, CIPHERS) != 1 ||
        SSL_CTX_set1_groups_list(ssl, GROUPS) != 1)
        return tls_lib_error(msg, -ERR_CONFIG, "set up TLS 1.3");
    return 0;
}

static int use_files(struct tls_ctx *ctx, const char *cert, const char *key, const char *ca,
                     struct errmsg *msg)
{
    CLEANUP(X509_free) X509 *own = NULL;
    CLEANUP(X509_free) X509 *root = NULL;
    CLEANUP(EVP_PKEY_free) EVP_PKEY *secret = NULL;
    int r = tls_load_cert(ca, msg, &root);
    if (r == 0)
        r = tls_load_cert(cert, msg, &own);
    if (r == 0)
        r = tls_load_key(key, msg, &secret);
    if (r < 0)
        return r;
    const char *reason;
    if (!tls_subject_parse(own, &ctx->self, &reason))
        return errmsg_set(msg, -ERR_CONFIG, "%s: %s; make it with raftfsctl", cert, reason);
    if (X509_check_private_key(own, secret) != 1) {
        ERR_clear_error();
        return errmsg_set(msg, -ERR_CONFIG, "key %s does not belong to certificate %s", key, cert);
    }
    if (SSL_CTX_use_certificate(ctx->ssl, own) != 1 ||
        SSL_CTX_use_PrivateKey(ctx->ssl, secret) != 1)
        return tls_lib_error(msg, -ERR_CONFIG, cert);
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx->ssl), root) != 1)
        return tls_lib_error(msg, -ERR_CONFIG, ca);
    return check_own_cert(ctx->ssl, own, cert, ca, msg);
}

int tls_ctx_create(const char *cert, const char *key, const char *ca, struct errmsg *msg,
                   struct tls_ctx **ret)
{
    ERR_clear_error();
    CLEANUP(tls_ctx_destroy) struct tls_ctx *ctx = g_new0(struct tls_ctx, 1);
    ctx->ssl = SSL_CTX_new(TLS_method());
    ctx->socket = socket_method();
    if (!ctx->ssl || !ctx->socket)
        return tls_lib_error(msg, -ERR_CONFIG, "set up TLS");
    int r = set_options(ctx->ssl, msg);
    if (r == 0)
        r = use_files(ctx, cert, key, ca, msg);
    if (r == 0)
        *ret = TAKE(ctx);
    return r;
}

void tls_ctx_destroy(struct tls_ctx *ctx)
{
    if (!ctx)
        return;
    SSL_CTX_free(ctx->ssl);
    BIO_meth_free(ctx->socket);
    g_free(ctx);
}

const struct tls_peer *tls_ctx_self(const struct tls_ctx *ctx)
{
    return &ctx->self;
}

/* --- connection ------------------------------------------------------------------------------- */

struct tls_conn *tls_conn_create(struct tls_ctx *ctx, int fd, bool server)
{
    struct tls_conn *c = g_new0(struct tls_conn, 1);
    c->cluster = ctx->self.cluster;
    c->ssl = SSL_new(ctx->ssl);
    BIO *bio = BIO_new(ctx->socket);
    ASSERT(c->ssl && bio); /* they fail for want of memory only */
    BIO_set_fd(bio, fd, BIO_NOCLOSE);
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_app_data(c->ssl, c);
    if (server)
        SSL_set_accept_state(c->ssl);
    else
        SSL_set_connect_state(c->ssl);
    return c;
}

void tls_conn_destroy(struct tls_conn *c)
{
    if (!c)
        return;
    SSL_free(c->ssl);
    g_free(c);
}

static int broken(struct tls_conn *c, int code, const char *reason)
{
    g_strlcpy(c->reason, reason, sizeof(c->reason));
    c->broken = code;
    return code;
}

/* The oldest entry of the queue is the cause. */
static int protocol_error(struct tls_conn *c)
{
    unsigned long e = ERR_peek_error();
    const char *reason = ERR_reason_error_string(e);
    if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return broken(c, -ERR_CLOSED, "the peer closed the connection");
    if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        const char *why = c->refused;
        if (!why)
            why = X509_verify_cert_error_string(SSL_get_verify_result(c->ssl));
        char text[sizeof(c->reason)];
        snprintf(text, sizeof(text), "peer's certificate refused: %s", why);
        return broken(c, -ERR_TLS, text);
    }
    return broken(c, -ERR_TLS, reason ? reason : "TLS protocol error");
}

/* What a failed call of OpenSSL means; `no` is errno right after it. */
static int failure(struct tls_conn *c, int r, int no)
{
    switch (SSL_get_error(c->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        c->want = POLLIN;
        return -ERR_BUSY;
    case SSL_ERROR_WANT_WRITE:
        c->want = POLLOUT;
        return -ERR_BUSY;
    case SSL_ERROR_ZERO_RETURN:
        return broken(c, -ERR_CLOSED, "the peer closed the connection");
    case SSL_ERROR_SYSCALL:
        return broken(c, -ERR_CLOSED, no ? strerror(no) : "the peer closed the connection");
    default:
        return protocol_error(c);
    }
}

int tls_handshake(struct tls_conn *c)
{
    if (c->broken)
        return c->broken;
    if (c->ready)
        return 0;
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(c->ssl);
    if (r != 1)
        return failure(c, r, errno);
    c->ready = true;
    return 0;
}

int64_t tls_read(struct tls_conn *c, void *p, size_t n)
{
    if (c->broken)
        return c->broken;
    ASSERT(c->ready && n > 0);
    size_t got = 0;
    ERR_clear_error();
    errno = 0;
    int r = SSL_read_ex(c->ssl, p, n, &got);
    if (r == 1)
        return (int64_t)got;
    int no = errno;
    if (SSL_get_error(c->ssl, r) == SSL_ERROR_ZERO_RETURN)
        return 0; /* still ours to write until tls_shutdown */
    return failure(c, r, no);
}

int64_t tls_write(struct tls_conn *c, const void *p, size_t n)
{
    if (c->broken)
        return c->broken;
    ASSERT(c->ready && n > 0);
    size_t put = 0;
    ERR_clear_error();
    errno = 0;
    int r = SSL_write_ex(c->ssl, p, n, &put);
    return r == 1 ? (int64_t)put : failure(c, r, errno);
}

short tls_want(const struct tls_conn *c)
{
    return c->want;
}

bool tls_pending(const struct tls_conn *c)
{
    return SSL_has_pending(c->ssl);
}

void tls_shutdown(struct tls_conn *c)
{
    if (c->broken || !c->ready)
        return;
    ERR_clear_error();
    SSL_shutdown(c->ssl);
    ERR_clear_error();
    broken(c, -ERR_CLOSED, "closed");
}

int tls_peer(const struct tls_conn *c, struct tls_peer *ret)
{
    if (!c->ready)
        return -ERR_TLS;
    *ret = c->peer;
    return 0;
}

const char *tls_reason(const struct tls_conn *c)
{
    return c->reason[0] ? c->reason : "no error";
}
