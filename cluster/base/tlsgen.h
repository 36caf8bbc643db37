/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlsgen.h - makes a cluster's CA and the certificates of its nodes, clients and admins.
 *
 * ECDSA P-256, valid for ten years (and from an hour ago, for clocks that are late). Files are PEM;
 * keys have mode 0600 and certificates 0644 from their creation. No file is ever overwritten
 * (-ERR_EXISTS), all are synced, and on failure none of the call's files is left behind.
 * Other errors: -ERR_CONFIG (the CA's files or `who` are wrong), -ERR_IO, -ERR_NO_SPACE.
 */
#pragma once

#include "cluster/base/tls.h"

NODISCARD int tls_make_ca(uint64_t cluster, const char *cert, const char *key, struct errmsg *msg);

/* who is the subject as tls.h describes it: role; node or name; uid (-1: none) and read_only for a
 * client. The cluster id comes from the CA; who->cluster must be that or 0. */
NODISCARD int tls_make_cert(const char *ca_cert, const char *ca_key, const struct tls_peer *who,
                            const char *cert, const char *key, struct errmsg *msg);
