/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the one table of error codes: code, text, errno at the file-system edge, retryable.
 *
 * Functions of cluster/ return 0 or a negative code of this table (`return -ERR_IO;`). The positive
 * code travels on the wire as a status, so numbers are never reused or reordered. "Retryable" means
 * that the same request under the same (client, seq) may be sent again; it says nothing about
 * whether the request was executed.
 */
#pragma once

#include "cluster/base/defs.h"

/*       code            number  text                                        errno       retryable */
#define ERR_TABLE(X)                                                                               \
    X(ERR_FAILED,        1,      "a compare of the transaction did not hold", EAGAIN,     false)   \
    X(ERR_NOT_LEADER,    2,      "this node does not lead the group",        EAGAIN,      true)    \
    X(ERR_WRONG_GROUP,   3,      "this group does not own the shard",        EAGAIN,      true)    \
    X(ERR_BUSY,          4,      "the key is locked or a queue is full",     EAGAIN,      true)    \
    X(ERR_NO_SESSION,    5,      "the session is unknown or has expired",    EIO,         false)   \
    X(ERR_STALE,         6,      "the request number was already released",  EIO,         false)   \
    X(ERR_TIMEOUT,       7,      "no answer in time",                        ETIMEDOUT,   true)    \
    X(ERR_CANCELED,      8,      "interrupted",                              EINTR,       false)   \
    X(ERR_CLOSED,        9,      "the connection was closed",                EIO,         true)    \
    X(ERR_UNREACHABLE,   10,     "no node of the cluster answers",           EIO,         true)    \
    X(ERR_IO,            11,     "input/output error",                       EIO,         false)   \
    X(ERR_NO_SPACE,      12,     "no space left on the device",              ENOSPC,      false)   \
    X(ERR_CORRUPT,       13,     "stored data is damaged",                   EIO,         false)   \
    X(ERR_TOO_BIG,       14,     "over a size limit",                        E2BIG,       false)   \
    X(ERR_INVALID,       15,     "malformed request",                        EINVAL,      false)   \
    X(ERR_NOT_FOUND,     16,     "not found",                                ENOENT,      false)   \
    X(ERR_EXISTS,        17,     "already exists",                           EEXIST,      false)   \
    X(ERR_DENIED,        18,     "the certificate's role may not do this",   EPERM,       false)   \
    X(ERR_FORMAT,        19,     "unknown or newer format",                  EIO,         false)   \
    X(ERR_WRONG_CLUSTER, 20,     "belongs to another cluster or node",       EIO,         false)   \
    X(ERR_NO_MEMORY,     21,     "out of memory",                            ENOMEM,      false)   \
    X(ERR_STOPPED,       22,     "shutting down",                            EIO,         true)    \
    X(ERR_LOCKED,        23,     "in use by another process",                EBUSY,       false)   \
    X(ERR_CONFIG,        24,     "bad option or configuration",              EINVAL,      false)   \
    X(ERR_TLS,           25,     "TLS handshake or certificate refused",     EACCES,      false)   \
    X(ERR_REMOVED,       26,     "the node was removed from the cluster",    EIO,         false)   \
    X(ERR_CONFIG_NUM,    27,     "the configuration has changed meanwhile",  EAGAIN,      false)   \
    X(ERR_MOVING,        28,     "a change of the configuration is under way", EBUSY,     false)   \
    X(ERR_NO_OWNER,      29,     "it would leave shards without an owner",   EINVAL,      false)

enum err {
#define ERR_ENUM(code, number, text, no, retryable) code = (number),
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

/* All take a code with either sign; an unknown one reads "unknown error" / EIO / not retryable. */
const char *err_name(int code);     /* "NOT_LEADER" */
const char *err_text(int code);     /* one lower-case phrase */
int err_errno(int code);            /* positive errno; 0 for 0 */
bool err_retryable(int code);
int err_from_errno(int no);         /* positive errno -> negative code; ENOSPC/EDQUOT keep meaning */

/*
 * A code alone helps nobody at start-up and recovery: there the text climbs too. errmsg_set replaces
 * the text; errmsg_prefix puts "what: " before it. Both return `code` so that callers can write
 * `return errmsg_set(msg, -ERR_IO, "open %s: %s", path, strerror(errno));`. msg may be NULL.
 */
struct errmsg {
    char text[600];
};
int errmsg_set(struct errmsg *msg, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int errmsg_prefix(struct errmsg *msg, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
