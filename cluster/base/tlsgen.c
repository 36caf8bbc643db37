/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/tlsgen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include "cluster/base/tls_pem.h"

#define VALID_DAYS   3650
#define SKEW_SECONDS 3600
#define SERIAL_BITS  127 /* positive in 16 bytes; random, so that no counter must be kept */

DEFINE_CLEANUP(BIO *, BIO_free_all)

/* --- files ------------------------------------------------------------------------------------ */

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -1;
        p += w;
        n -= (size_t)w;
    }
    return fsync(fd);
}

static int write_new_file(const char *path, mode_t mode, BIO *text, struct errmsg *msg)
{
    char *p;
    long n = BIO_get_mem_data(text, &p);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "create %s: %s", path, strerror(errno));
    int r = write_all(fd, p, (size_t)n);
    int no = errno;
    close(fd);
    if (r == 0)
        return 0;
    unlink(path);
    return errmsg_set(msg, err_from_errno(no), "write %s: %s", path, strerror(no));
}

static int sync_parent(const char *path, struct errmsg *msg)
{
    char *dir = g_path_get_dirname(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 ? -1 : fsync(fd);
    int err = r < 0 ? errmsg_set(msg, -ERR_IO, "sync directory %s: %s", dir, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    g_free(dir);
    return err;
}

/* Both files or none. */
static int write_pair(const char *cert_path, X509 *cert, const char *key_path, EVP_PKEY *key,
                      struct errmsg *msg)
{
    /* The key's text is wiped when it is freed. */
    CLEANUP(BIO_free_all) BIO *key_text = BIO_new(BIO_s_secmem());
    CLEANUP(BIO_free_all) BIO *cert_text = BIO_new(BIO_s_mem());
    if (!key_text || !cert_text ||
        PEM_write_bio_PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(cert_text, cert) != 1)
        return tls_lib_error(msg, -ERR_IO, "encode the certificate");
    int r = write_new_file(key_path, 0600, key_text, msg);
    if (r < 0)
        return r;
    r = write_new_file(cert_path, 0644, cert_text, msg);
    if (r < 0) {
        unlink(key_path);
        return r;
    }
    r = sync_parent(key_path, msg);
    if (r == 0)
        r = sync_parent(cert_path, msg);
    if (r < 0) {
        unlink(key_path);
        unlink(cert_path);
    }
    return r;
}

/* --- certificates ----------------------------------------------------------------------------- */

static bool set_serial(X509 *cert)
{
    BIGNUM *n = BN_new();
    bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return ok;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

/* A certificate of this subject for a new key, all but extensions and signature. */
static int make_blank(const X509_NAME *subject, const X509_NAME *issuer, struct errmsg *msg,
                      X509 **ret, EVP_PKEY **ret_key)
{
    ERR_clear_error();
    CLEANUP(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
    CLEANUP(X509_free) X509 *cert = X509_new();
    if (!key || !cert || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
        X509_set_subject_name(cert, subject) != 1 || X509_set_issuer_name(cert, issuer) != 1 ||
        !X509_gmtime_adj(X509_getm_notBefore(cert), -SKEW_SECONDS) ||
        !X509_time_adj_ex(X509_getm_notAfter(cert), VALID_DAYS, 0, NULL) ||
        X509_set_pubkey(cert, key) != 1)
        return tls_lib_error(msg, -ERR_IO, "make a certificate");
    *ret = TAKE(cert);
    *ret_key = TAKE(key);
    return 0;
}

int tls_make_ca(uint64_t cluster, const char *cert_path, const char *key_path, struct errmsg *msg)
{
    char org[sizeof(TLS_ORG_PREFIX) + 16];
    snprintf(org, sizeof(org), TLS_ORG_PREFIX "%016llx", (unsigned long long)cluster);
    CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;
    CLEANUP(X509_free) X509 *cert = NULL;
    X509_NAME *name = X509_NAME_new();
    int r = -ERR_IO;
    if (!name ||
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (unsigned char *)org, -1, -1, 0) != 1 ||
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (unsigned char *)"CA", -1, -1, 0) != 1)
        r = tls_lib_error(msg, -ERR_IO, "make the CA's subject");
    else
        r = make_blank(name, name, msg, &cert, &key);
    X509_NAME_free(name);
    if (r < 0)
        return r;
    if (!add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
        X509_sign(cert, key, EVP_sha256()) <= 0)
        return tls_lib_error(msg, -ERR_IO, "sign the CA's certificate");
    return write_pair(cert_path, cert, key_path, key, msg);
}

static int make_leaf(const struct tls_peer *who, X509 *ca, EVP_PKEY *ca_key, struct errmsg *msg,
                     X509 **ret, EVP_PKEY **ret_key)
{
    CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;
    CLEANUP(X509_free) X509 *cert = NULL;
    X509_NAME *name = X509_NAME_new();
    int r = name ? tls_subject_format(who, name, msg) : -ERR_NO_MEMORY;
    if (r == 0)
        r = make_blank(name, X509_get_subject_name(ca), msg, &cert, &key);
    X509_NAME_free(name);
    if (r < 0)
        return r;
    const char *usage = who->role == ROLE_NODE ? "serverAuth,clientAuth" : "clientAuth";
    if (!add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(cert, ca, NID_ext_key_usage, usage) ||
        !add_extension(cert, ca, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, ca, NID_authority_key_identifier, "keyid:always") ||
        X509_sign(cert, ca_key, EVP_sha256()) <= 0)
        return tls_lib_error(msg, -ERR_IO, "sign the certificate");
    *ret = TAKE(cert);
    *ret_key = TAKE(key);
    return 0;
}

int tls_make_cert(const char *ca_cert, const char *ca_key, const struct tls_peer *who,
                  const char *cert_path, const char *key_path, struct errmsg *msg)
{
    CLEANUP(X509_free) X509 *ca = NULL;
    CLEANUP(EVP_PKEY_free) EVP_PKEY *secret = NULL;
    int r = tls_load_cert(ca_cert, msg, &ca);
    if (r == 0)
        r = tls_load_key(ca_key, msg, &secret);
    if (r < 0)
        return r;
    if (X509_check_private_key(ca, secret) != 1) {
        ERR_clear_error();
        return errmsg_set(msg, -ERR_CONFIG, "key %s does not belong to CA %s", ca_key, ca_cert);
    }
    struct tls_peer subject = *who;
    if (!tls_subject_cluster(X509_get_subject_name(ca), &subject.cluster))
        return errmsg_set(msg, -ERR_CONFIG, "%s is not the CA of a raftfs cluster", ca_cert);
    if (who->cluster && who->cluster != subject.cluster)
        return errmsg_set(msg, -ERR_CONFIG, "%s is the CA of cluster %016llx, not of %016llx",
                          ca_cert, (unsigned long long)subject.cluster,
                          (unsigned long long)who->cluster);

    CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;
    CLEANUP(X509_free) X509 *cert = NULL;
    r = make_leaf(&subject, ca, secret, msg, &cert, &key);
    return r < 0 ? r : write_pair(cert_path, cert, key_path, key, msg);
}
