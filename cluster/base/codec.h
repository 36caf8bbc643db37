/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.h - bounded little-endian writer and reader.
 *
 * The writer grows a heap buffer and cannot fail (out of memory ends the process). The reader works
 * on borrowed bytes and fails stickily: after the first read past the end or over a limit every
 * read gives zero and dec_ok() is false, so a decoder checks once, at its end. Bytes fields are a
 * u32 length and the bytes; a reader returns them borrowed from its input.
 */
#pragma once

#include "cluster/base/bytes.h"

/* Fixed-place access for structs whose layout is written down (keys, inodes, disk formats). */
static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)((p[0] << 8) | p[1]);
}
static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline uint64_t get_be64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_BE(v);
}
static inline void put_be64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}
static inline uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_LE(v);
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, sizeof(v));
}
static inline uint32_t get_be32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT32_FROM_BE(v);
}
static inline void put_be32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}
static inline uint32_t get_le32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT32_FROM_LE(v);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, sizeof(v));
}

struct enc {
    uint8_t *p; /* owned; free with enc_finish */
    size_t n, cap;
};

uint8_t *enc_more(struct enc *e, size_t n); /* as enc_room, when the buffer has to grow */
/* Room for n more bytes; they are counted as written. */
static inline uint8_t *enc_room(struct enc *e, size_t n)
{
    if (n > e->cap - e->n)
        return enc_more(e, n);
    uint8_t *p = e->p + e->n;
    e->n += n;
    return p;
}
static inline void enc_u8(struct enc *e, uint8_t v)
{
    *enc_room(e, 1) = v;
}
static inline void enc_u16(struct enc *e, uint16_t v)
{
    uint8_t *p = enc_room(e, 2);
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void enc_u32(struct enc *e, uint32_t v)
{
    put_le32(enc_room(e, 4), v);
}
static inline void enc_u64(struct enc *e, uint64_t v)
{
    put_le64(enc_room(e, 8), v);
}
static inline void enc_raw(struct enc *e, const void *p, size_t n)
{
    if (n)
        memcpy(enc_room(e, n), p, n);
}
static inline void enc_bytes(struct enc *e, struct bytes b)
{
    ASSERT(b.n <= UINT32_MAX);
    enc_u32(e, (uint32_t)b.n);
    enc_raw(e, b.p, b.n);
}
void enc_reset(struct enc *e); /* keeps the memory */
void enc_finish(struct enc *e);
static inline struct bytes enc_view(const struct enc *e)
{
    return (struct bytes){e->p, e->n};
}
static inline UNUSED void enc_finish_p(struct enc *e)
{
    enc_finish(e);
}

struct dec {
    const uint8_t *p;
    size_t n; /* what is left */
    bool bad;
};

static inline struct dec dec_of(struct bytes b)
{
    return (struct dec){b.p, b.n, false};
}
/* The next n bytes, or NULL after which everything fails. */
static inline const uint8_t *dec_take(struct dec *d, size_t n)
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
static inline uint8_t dec_u8(struct dec *d)
{
    const uint8_t *p = dec_take(d, 1);
    return p ? p[0] : 0;
}
static inline uint16_t dec_u16(struct dec *d)
{
    const uint8_t *p = dec_take(d, 2);
    return p ? (uint16_t)(p[0] | (p[1] << 8)) : 0;
}
static inline uint32_t dec_u32(struct dec *d)
{
    const uint8_t *p = dec_take(d, 4);
    return p ? get_le32(p) : 0;
}
static inline uint64_t dec_u64(struct dec *d)
{
    const uint8_t *p = dec_take(d, 8);
    return p ? get_le64(p) : 0;
}
static inline struct bytes dec_raw(struct dec *d, size_t n)
{
    /* Nothing wanted: also from a NULL input, whose pointer must not be moved. */
    const uint8_t *p = n ? dec_take(d, n) : NULL;
    return p ? bytes_of(p, n) : BYTES_NONE;
}
static inline struct bytes dec_bytes(struct dec *d)
{
    return dec_raw(d, dec_u32(d));
}
static inline bool dec_ok(const struct dec *d)
{
    return !d->bad;
}
static inline bool dec_done(const struct dec *d) /* all consumed, nothing wrong */
{
    return !d->bad && d->n == 0;
}

/* CRC32C (Castagnoli) by ISA-L; `crc` is 0 for the first piece, else the result so far. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
