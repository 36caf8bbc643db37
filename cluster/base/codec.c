/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/codec.h"

#include <limits.h>
#include <isa-l/crc.h>

/* Room for n more bytes; they are counted as written. */
static uint8_t *grow(struct enc *e, size_t n)
{
    ASSERT(n <= SIZE_MAX / 4 && e->n <= SIZE_MAX / 4);
    if (n > e->cap - e->n) {
        size_t cap = MAX(e->cap * 2, e->n + n);
        e->cap = MAX(cap, 256);
        e->p = g_realloc(e->p, e->cap);
    }
    uint8_t *p = e->p + e->n;
    e->n += n;
    return p;
}

void enc_u8(struct enc *e, uint8_t v)
{
    *grow(e, 1) = v;
}

void enc_u16(struct enc *e, uint16_t v)
{
    uint8_t *p = grow(e, 2);
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void enc_u32(struct enc *e, uint32_t v)
{
    put_le32(grow(e, 4), v);
}

void enc_u64(struct enc *e, uint64_t v)
{
    put_le64(grow(e, 8), v);
}

void enc_raw(struct enc *e, const void *p, size_t n)
{
    if (n)
        memcpy(grow(e, n), p, n);
}

void enc_bytes(struct enc *e, struct bytes b)
{
    ASSERT(b.n <= UINT32_MAX);
    enc_u32(e, (uint32_t)b.n);
    enc_raw(e, b.p, b.n);
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

/* The next n bytes, or NULL after which everything fails. */
static const uint8_t *take(struct dec *d, size_t n)
{
    if (d->bad || n > d->n) {
        d->bad = true;
        d->n = 0;
        return NULL;
    }
    const uint8_t *p = d->p;
    d->p += n;
    d->n -= n;
    return p;
}

uint8_t dec_u8(struct dec *d)
{
    const uint8_t *p = take(d, 1);
    return p ? p[0] : 0;
}

uint16_t dec_u16(struct dec *d)
{
    const uint8_t *p = take(d, 2);
    return p ? (uint16_t)(p[0] | (p[1] << 8)) : 0;
}

uint32_t dec_u32(struct dec *d)
{
    const uint8_t *p = take(d, 4);
    return p ? get_le32(p) : 0;
}

uint64_t dec_u64(struct dec *d)
{
    const uint8_t *p = take(d, 8);
    return p ? get_le64(p) : 0;
}

struct bytes dec_raw(struct dec *d, size_t n)
{
    /* Nothing wanted: also from a NULL input, whose pointer must not be moved. */
    if (n == 0)
        return BYTES_NONE;
    const uint8_t *p = take(d, n);
    return p ? bytes_of(p, n) : BYTES_NONE;
}

struct bytes dec_bytes(struct dec *d)
{
    return dec_raw(d, dec_u32(d));
}

uint64_t get_be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_BE(v);
}

void put_be64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

uint32_t get_be32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return GUINT32_FROM_BE(v);
}

void put_be32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_LE(v);
}

void put_le64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, sizeof(v));
}

uint32_t get_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return GUINT32_FROM_LE(v);
}

void put_le32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, sizeof(v));
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
