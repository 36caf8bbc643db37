/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/tls_pem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>

int tls_lib_error(struct errmsg *msg, int code, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    errmsg_set(msg, code, "%s: %s", what, reason ? reason : "unknown TLS library error");
    ERR_clear_error();
    return code;
}

/* --- files ------------------------------------------------------------------------------------ */

static int open_pem(const char *path, struct errmsg *msg, FILE **ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int no = errno;
        if (fd >= 0)
            close(fd);
        return errmsg_set(msg, -ERR_CONFIG, "open %s: %s", path, strerror(no));
    }
    FILE *f = S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (!f) {
        close(fd);
        return errmsg_set(msg, -ERR_CONFIG, "%s is not a plain file", path);
    }
    *ret = f;
    return 0;
}

int tls_load_cert(const char *path, struct errmsg *msg, X509 **ret)
{
    FILE *f;
    int r = open_pem(path, msg, &f);
    if (r < 0)
        return r;
    ERR_clear_error();
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    if (!cert) {
        ERR_clear_error();
        return errmsg_set(msg, -ERR_CONFIG, "%s holds no PEM certificate", path);
    }
    *ret = cert;
    return 0;
}

/* A daemon has nobody to ask; without this OpenSSL would prompt on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    return -1;
}

int tls_load_key(const char *path, struct errmsg *msg, EVP_PKEY **ret)
{
    FILE *f;
    int r = open_pem(path, msg, &f);
    if (r < 0)
        return r;
    /* The mode of the file that is read, not of what the path may name next. */
    struct stat st;
    if (fstat(fileno(f), &st) < 0 || (st.st_mode & 077)) {
        fclose(f);
        return errmsg_set(msg, -ERR_CONFIG,
                          "key %s may be read by others than its owner (mode %04o); run "
                          "`chmod 600 %s`, and make a new certificate if somebody did",
                          path, (unsigned)st.st_mode & 07777, path);
    }
    ERR_clear_error();
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, no_passphrase, NULL);
    fclose(f);
    if (!key) {
        ERR_clear_error();
        return errmsg_set(msg, -ERR_CONFIG, "%s holds no PEM private key without passphrase", path);
    }
    *ret = key;
    return 0;
}

/* --- subjects --------------------------------------------------------------------------------- */

static const struct {
    const char *text;
    enum role role;
} roles[] = {{"node", ROLE_NODE}, {"client", ROLE_CLIENT}, {"admin", ROLE_ADMIN}};

#define UID_PREFIX "uid-"
#define READ_ONLY  "read-only"

/* The text of an entry if it is plain printable ASCII that fits; a zero byte or the like is refused
 * rather than cut, or "admin\0x" would read "admin". */
static bool entry_text(const X509_NAME_ENTRY *e, char *ret, size_t cap)
{
    const ASN1_STRING *s = X509_NAME_ENTRY_get_data(e);
    int type = ASN1_STRING_type(s);
    size_t n = (size_t)ASN1_STRING_length(s);
    if ((type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING) || n >= cap)
        return false;
    const uint8_t *p = ASN1_STRING_get0_data(s);
    for (size_t i = 0; i < n; i++)
        if (p[i] <= 0x20 || p[i] >= 0x7f)
            return false;
    memcpy(ret, p, n);
    ret[n] = '\0';
    return true;
}

/* Decimal without sign or leading zero, at most max. */
static bool parse_decimal(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (!*s || (s[0] == '0' && s[1]))
        return false;
    for (; *s; s++) {
        if (!g_ascii_isdigit(*s))
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
        if (v > max)
            return false;
    }
    *ret = v;
    return true;
}

static bool parse_org(const char *s, uint64_t *ret)
{
    if (!g_str_has_prefix(s, TLS_ORG_PREFIX) || strlen(s) != strlen(TLS_ORG_PREFIX) + 16)
        return false;
    uint64_t v = 0;
    for (s += strlen(TLS_ORG_PREFIX); *s; s++) {
        int digit = g_ascii_isupper(*s) ? -1 : g_ascii_xdigit_value(*s);
        if (digit < 0)
            return false;
        v = v << 4 | (uint64_t)digit;
    }
    *ret = v;
    return true;
}

static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > TLS_NAME_MAX)
        return false;
    for (; *s; s++)
        if (!g_ascii_isalnum(*s) && !strchr("-_.@", *s))
            return false;
    return true;
}

static bool parse_unit(const char *s, struct tls_peer *peer)
{
    if (peer->role == ROLE_NONE) {
        for (size_t i = 0; i < ARRAY_LEN(roles); i++)
            if (strcmp(s, roles[i].text) == 0)
                peer->role = roles[i].role;
        return peer->role != ROLE_NONE;
    }
    if (peer->role != ROLE_CLIENT)
        return false;
    if (strcmp(s, READ_ONLY) == 0 && !peer->read_only)
        return peer->read_only = true;
    uint64_t uid;
    if (peer->uid >= 0 || !g_str_has_prefix(s, UID_PREFIX) ||
        !parse_decimal(s + strlen(UID_PREFIX), UINT32_MAX - 1, &uid))
        return false;
    peer->uid = (int64_t)uid;
    return true;
}

static bool parse_name(const char *s, struct tls_peer *peer)
{
    if (peer->name[0] || !name_ok(s))
        return false;
    g_strlcpy(peer->name, s, sizeof(peer->name));
    return true;
}

bool tls_subject_cluster(const X509_NAME *name, uint64_t *ret)
{
    int at = X509_NAME_get_index_by_NID(name, NID_organizationName, -1);
    char text[TLS_NAME_MAX + 1];
    return at >= 0 && X509_NAME_get_index_by_NID(name, NID_organizationName, at) < 0 &&
           entry_text(X509_NAME_get_entry(name, at), text, sizeof(text)) && parse_org(text, ret);
}

bool tls_subject_parse(const X509 *cert, struct tls_peer *ret, const char **ret_reason)
{
    const X509_NAME *name = X509_get_subject_name(cert);
    struct tls_peer peer = {.uid = -1};
    *ret_reason = "the certificate's subject has no cluster id of raftfs";
    if (!tls_subject_cluster(name, &peer.cluster))
        return false;
    *ret_reason = "the certificate's subject is not one of raftfs";
    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        const X509_NAME_ENTRY *e = X509_NAME_get_entry(name, i);
        char text[TLS_NAME_MAX + 1];
        if (!entry_text(e, text, sizeof(text)))
            return false;
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(e));
        bool ok = nid == NID_organizationName ||
                  (nid == NID_organizationalUnitName && parse_unit(text, &peer)) ||
                  (nid == NID_commonName && parse_name(text, &peer));
        if (!ok)
            return false;
    }
    if (peer.role == ROLE_NONE || !peer.name[0])
        return false;
    if (peer.role == ROLE_NODE) {
        uint64_t node;
        *ret_reason = "the certificate's CN is not n<node id>";
        if (peer.name[0] != 'n' || !parse_decimal(peer.name + 1, UINT32_MAX, &node) || node == 0)
            return false;
        peer.node = (uint32_t)node;
    }
    *ret = peer;
    return true;
}

static bool add(X509_NAME *name, const char *field, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

int tls_subject_format(const struct tls_peer *who, X509_NAME *name, struct errmsg *msg)
{
    const char *role = NULL;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (roles[i].role == who->role)
            role = roles[i].text;
    char cn[TLS_NAME_MAX + 1];
    if (who->role == ROLE_NODE)
        snprintf(cn, sizeof(cn), "n%u", who->node);
    else
        g_strlcpy(cn, who->name, sizeof(cn));
    if (!role || !name_ok(cn) || (who->role == ROLE_NODE && who->node == 0))
        return errmsg_set(msg, -ERR_CONFIG,
                          "\"%s\" cannot be in a certificate; a name has 1 to %d letters, digits, "
                          "'-', '_', '.', '@', a node an id from 1",
                          cn, TLS_NAME_MAX);
    if (who->role != ROLE_CLIENT && (who->uid >= 0 || who->read_only))
        return errmsg_set(msg, -ERR_CONFIG,
                          "only a client's certificate can be bound or read-only");
    if (who->uid >= (int64_t)UINT32_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "uid %lld is no user id", (long long)who->uid);

    char org[sizeof(TLS_ORG_PREFIX) + 16], uid[32];
    snprintf(org, sizeof(org), TLS_ORG_PREFIX "%016llx", (unsigned long long)who->cluster);
    snprintf(uid, sizeof(uid), UID_PREFIX "%lld", (long long)who->uid);
    if (!add(name, "O", org) || !add(name, "OU", role) ||
        (who->uid >= 0 && !add(name, "OU", uid)) ||
        (who->read_only && !add(name, "OU", READ_ONLY)) || !add(name, "CN", cn))
        return tls_lib_error(msg, -ERR_CONFIG, "make the certificate's subject");
    return 0;
}
