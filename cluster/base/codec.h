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

struct enc {
    uint8_t *p; /* owned; free with enc_finish */
    size_t n, cap;
};

void enc_u8(struct enc *e, uint8_t v);
void enc_u16(struct enc *e, uint16_t v);
void enc_u32(struct enc *e, uint32_t v);
void enc_u64(struct enc *e, uint64_t v);
void enc_raw(struct enc *e, const void *p, size_t n);
void enc_bytes(struct enc *e, struct bytes b);
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
uint8_t dec_u8(struct dec *d);
uint16_t dec_u16(struct dec *d);
uint32_t dec_u32(struct dec *d);
uint64_t dec_u64(struct dec *d);
struct bytes dec_raw(struct dec *d, size_t n);
struct bytes dec_bytes(struct dec *d);
static inline bool dec_ok(const struct dec *d)
{
    return !d->bad;
}
static inline bool dec_done(const struct dec *d) /* all consumed, nothing wrong */
{
    return !d->bad && d->n == 0;
}

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
uint64_t get_be64(const uint8_t *p);
void put_be64(uint8_t *p, uint64_t v);
uint32_t get_be32(const uint8_t *p);
void put_be32(uint8_t *p, uint32_t v);
uint64_t get_le64(const uint8_t *p);
void put_le64(uint8_t *p, uint64_t v);
uint32_t get_le32(const uint8_t *p);
void put_le32(uint8_t *p, uint32_t v);

/* CRC32C (Castagnoli) by ISA-L; `crc` is 0 for the first piece, else the result so far. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
