/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - a borrowed run of bytes. Never owns; valid as long as what it points into. */
#pragma once

#include <string.h>
#include "cluster/base/defs.h"

struct bytes {
    const uint8_t *p; /* may be NULL when n == 0 */
    size_t n;
};

#define BYTES_NONE ((struct bytes){NULL, 0})

static inline struct bytes bytes_of(const void *p, size_t n)
{
    return (struct bytes){p, n};
}

static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

/* Order of memcmp, a shorter prefix first: the order of keys everywhere. */
static inline int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = MIN(a.n, b.n);
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool bytes_has_prefix(struct bytes a, struct bytes prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}
