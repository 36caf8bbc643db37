/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_pem.h - what tls.c and tlsgen.c share: PEM files and the subject of a certificate.
 * Not for others: callers outside base include tls.h or tlsgen.h.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include "cluster/base/tls.h"

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

/* Sets msg to the text and OpenSSL's oldest reason, and clears its queue. Returns code. */
int tls_lib_error(struct errmsg *msg, int code, const char *what);

/* -ERR_CONFIG with the path and what to do. A key must be a plain file of mode 0600 or less. */
NODISCARD int tls_load_cert(const char *path, struct errmsg *msg, X509 **ret);
NODISCARD int tls_load_key(const char *path, struct errmsg *msg, EVP_PKEY **ret);

#define TLS_ORG_PREFIX "raftfs-"
/* A subject as tls.h describes it. parse: false with a reason; format: -ERR_CONFIG if `who` cannot
 * be written. */
NODISCARD bool tls_subject_parse(const X509 *cert, struct tls_peer *ret, const char **ret_reason);
NODISCARD int tls_subject_format(const struct tls_peer *who, X509_NAME *name, struct errmsg *msg);
/* The cluster id in O; false if there is not exactly one, well-formed. */
NODISCARD bool tls_subject_cluster(const X509_NAME *name, uint64_t *ret);
