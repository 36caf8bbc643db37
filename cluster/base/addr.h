/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addr.h - where something listens: "host:port", "[v6]:port" or "unix:/path".
 *
 * An addr is text taken apart, nothing is looked up: a host name stays a name until addr_resolve.
 * Plain values, any thread.
 */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "cluster/base/err.h"

#define ADDR_TEXT_MAX 272 /* "unix:" or "[]:65535" around a host of 255 bytes, and the zero */

struct addr {
    bool local;     /* a Unix socket: host is its path */
    uint16_t port;  /* 0: the kernel chooses (when listening) */
    char host[256]; /* without brackets */
};

struct addr_sock {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
};

/* -ERR_CONFIG with a text that shows the right form. A Unix path must be absolute and fit
 * sockaddr_un (107 bytes). */
NODISCARD int addr_parse(const char *text, struct errmsg *msg, struct addr *ret);
void addr_format(const struct addr *a, char ret[ADDR_TEXT_MAX]); /* what addr_parse takes */

/* Up to max addresses to try in turn; returns how many (at least 1) or -ERR_UNREACHABLE. A numeric
 * host or a Unix path needs no look-up; a name may block in the resolver. */
NODISCARD int addr_resolve(const struct addr *a, struct errmsg *msg, struct addr_sock *ret,
                           int max);
/* The numeric address in a sockaddr as accept(2) gives it; an unnamed Unix peer has path "". */
void addr_of_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *ret);
