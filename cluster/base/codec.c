/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/codec.h"

#include <limits.h>
#include <isa-l/crc.h>

uint8_t *enc_more(struct enc *e, size_t n)
{
    ASSERT(n <= SIZE_MAX / 4 && e->n <= SIZE_MAX / 4);
    size_t cap = MAX(e->cap * 2, e->n + n);
    e->cap = MAX(cap, 256);
    e->p = g_realloc(e->p, e->cap);
    return enc_room(e, n);
}

void enc_reset(struct enc *e)
{
    e->n = 0;
}

void enc_finish(struct enc *e)
{
    g_free(e->p);
    *e = (struct enc){0};
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    /* ISA-L takes an int length and leaves both inversions of the iSCSI definition to us. */
    const size_t step = (size_t)1 << 30;
    const uint8_t *at = p;
    crc = ~crc;
    while (n) {
        size_t now = MIN(n, step);
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)now, crc);
        at += now;
        n -= now;
    }
    return ~crc;
}
