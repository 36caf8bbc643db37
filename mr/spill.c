/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/spill.h"

#include <errno.h>
#include <lz4.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/codec.h"
#include "mr/hash.h"

#define MAGIC      UINT32_C(0x50534652) /* "RFSP" */
#define BLOCK_HEAD 16
#define AS_IS      UINT32_C(0x80000000)
/* A block holds at least one record, however large. */
#define RAW_MAX (SPILL_BLOCK + 2 * RECORD_MAX + 32)

struct spill_writer {
    int fd;
    uint32_t partitions, flags, current;
    uint64_t off;
    struct spill_section *sections;
    uint8_t *raw, *out;
    size_t raw_len, raw_cap, out_cap;
    uint32_t n_records;
};

static int write_all(int fd, const uint8_t *p, size_t n, uint64_t off)
{
    while (n) {
        ssize_t k = pwrite(fd, p, n, (off_t)off);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_from_errno(errno);
        p += k;
        off += (uint64_t)k;
        n -= (size_t)k;
    }
    return 0;
}

static int read_all(int fd, uint8_t *p, size_t n, uint64_t off)
{
    while (n) {
        ssize_t k = pread(fd, p, n, (off_t)off);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -ERR_IO;
        if (k == 0)
            return -ERR_CORRUPT;
        p += k;
        off += (uint64_t)k;
        n -= (size_t)k;
    }
    return 0;
}

static uint8_t *put_varint(uint8_t *p, uint32_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct spill_writer *spill_writer_create(int fd, uint64_t at, uint32_t partitions, uint32_t flags)
{
    ASSERT(partitions >= 1 && partitions <= PARTITIONS_MAX);
    struct spill_writer *w = g_new0(struct spill_writer, 1);
    w->fd = fd;
    w->off = at;
    w->partitions = partitions;
    w->flags = flags;
    w->sections = g_new0(struct spill_section, partitions);
    w->sections[0].off = at;
    return w;
}

void spill_writer_destroy(struct spill_writer *w)
{
    if (!w)
        return;
    g_free(w->sections);
    g_free(w->raw);
    g_free(w->out);
    g_free(w);
}

static int write_block(struct spill_writer *w)
{
    struct spill_section *s = &w->sections[w->current];
    if (!w->n_records)
        return 0;
    int bound = LZ4_compressBound((int)w->raw_len);
    if (w->out_cap < BLOCK_HEAD + (size_t)bound) {
        w->out_cap = BLOCK_HEAD + (size_t)bound;
        g_free(w->out);
        w->out = g_malloc(w->out_cap);
    }
    int n = LZ4_compress_default((const char *)w->raw, (char *)w->out + BLOCK_HEAD, (int)w->raw_len,
                                 bound);
    uint32_t stored = (uint32_t)n;
    if (n <= 0 || (size_t)n >= w->raw_len) {
        stored = (uint32_t)w->raw_len;
        memcpy(w->out + BLOCK_HEAD, w->raw, w->raw_len);
    }
    put_le32(w->out, (uint32_t)w->raw_len);
    put_le32(w->out + 4, stored == w->raw_len ? stored | AS_IS : stored);
    put_le32(w->out + 8, crc32c(0, w->out + BLOCK_HEAD, stored));
    put_le32(w->out + 12, w->n_records);
    int rc = write_all(w->fd, w->out, BLOCK_HEAD + stored, w->off);
    if (rc < 0)
        return rc;
    w->off += BLOCK_HEAD + stored;
    s->bytes = w->off - s->off;
    s->records += w->n_records;
    s->raw_bytes += w->raw_len;
    w->raw_len = 0;
    w->n_records = 0;
    return 0;
}

static int end_section(struct spill_writer *w, uint32_t next)
{
    int rc = write_block(w);
    while (rc == 0 && w->current < next)
        w->sections[++w->current].off = w->off;
    return rc;
}

int spill_put(struct spill_writer *w, uint32_t partition, const struct record *r)
{
    ASSERT(partition >= w->current && partition < w->partitions);
    size_t need = 10 + r->key.n + r->value.n;
    int rc = 0;
    if (partition != w->current)
        rc = end_section(w, partition);
    else if (w->raw_len + need > SPILL_BLOCK)
        rc = write_block(w);
    if (rc < 0)
        return rc;
    if (w->raw_len + need > w->raw_cap) {
        w->raw_cap = MAX(w->raw_len + need, SPILL_BLOCK);
        w->raw = g_realloc(w->raw, w->raw_cap);
    }
    uint8_t *start = w->raw + w->raw_len, *p = put_varint(start, (uint32_t)r->key.n);
    p = put_varint(p, r->has_value ? (uint32_t)r->value.n + 1 : 0);
    if (r->key.n)
        memcpy(p, r->key.p, r->key.n);
    p += r->key.n;
    if (r->value.n)
        memcpy(p, r->value.p, r->value.n);
    p += r->value.n;
    struct spill_section *s = &w->sections[partition];
    s->digest = hash_mix(s->digest ^ MR_HASH_A, mr_hash(start, (size_t)(p - start)));
    w->raw_len = (size_t)(p - w->raw);
    w->n_records++;
    return 0;
}

int spill_sections(struct spill_writer *w, const struct spill_section **ret)
{
    int rc = end_section(w, w->partitions - 1);
    if (rc == 0)
        *ret = w->sections;
    return rc;
}

int spill_complete(struct spill_writer *w, uint64_t *ret_end)
{
    const struct spill_section *s;
    int rc = spill_sections(w, &s);
    if (rc < 0)
        return rc;
    size_t n = (size_t)w->partitions * SPILL_INDEX_ROW;
    uint8_t *p = g_malloc(n + SPILL_FOOTER), *f = p + n;
    for (uint32_t i = 0; i < w->partitions; i++) {
        uint8_t *row = p + (size_t)i * SPILL_INDEX_ROW;
        put_le64(row, s[i].off);
        put_le64(row + 8, s[i].bytes);
        put_le64(row + 16, s[i].records);
        put_le64(row + 24, s[i].raw_bytes);
        put_le64(row + 32, s[i].digest);
    }
    put_le32(f, MAGIC);
    put_le32(f + 4, SPILL_VERSION);
    put_le32(f + 8, w->partitions);
    put_le32(f + 12, w->flags);
    put_le64(f + 16, w->off);
    put_le32(f + 24, crc32c(0, p, n));
    put_le32(f + 28, crc32c(0, f, 28));
    rc = write_all(w->fd, p, n + SPILL_FOOTER, w->off);
    g_free(p);
    if (rc == 0)
        *ret_end = w->off + n + SPILL_FOOTER;
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int check_index(struct spill_index *x, const uint8_t *rows, uint64_t index_off)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < x->partitions; i++, rows += SPILL_INDEX_ROW) {
        struct spill_section *s = &x->sections[i];
        *s = (struct spill_section){get_le64(rows), get_le64(rows + 8), get_le64(rows + 16),
                                    get_le64(rows + 24), get_le64(rows + 32)};
        if (s->off < at || s->bytes > index_off || s->off > index_off - s->bytes)
            return -ERR_CORRUPT;
        at = s->off + s->bytes;
    }
    return 0;
}

int spill_index_read(int fd, struct spill_index *ret)
{
    uint8_t f[SPILL_FOOTER];
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < SPILL_FOOTER)
        return size < 0 ? -ERR_IO : -ERR_CORRUPT;
    int rc = read_all(fd, f, sizeof f, (uint64_t)size - SPILL_FOOTER);
    if (rc < 0)
        return rc;
    struct spill_index x = {.partitions = get_le32(f + 8), .flags = get_le32(f + 12)};
    uint64_t off = get_le64(f + 16);
    size_t n = (size_t)x.partitions * SPILL_INDEX_ROW;
    if (get_le32(f) != MAGIC || get_le32(f + 4) != SPILL_VERSION ||
        get_le32(f + 28) != crc32c(0, f, 28) || x.partitions < 1 || x.partitions > PARTITIONS_MAX ||
        off + n + SPILL_FOOTER != (uint64_t)size)
        return -ERR_CORRUPT;
    uint8_t *rows = g_malloc(n);
    x.sections = g_new0(struct spill_section, x.partitions);
    rc = read_all(fd, rows, n, off);
    if (rc == 0 && crc32c(0, rows, n) != get_le32(f + 24))
        rc = -ERR_CORRUPT;
    if (rc == 0)
        rc = check_index(&x, rows, off);
    g_free(rows);
    if (rc < 0)
        spill_index_finish(&x);
    else
        *ret = x;
    return rc;
}

void spill_index_finish(struct spill_index *x)
{
    g_free(x->sections);
    x->sections = NULL;
}

uint64_t spill_digest(const struct spill_section *s, uint32_t partitions)
{
    uint64_t d = partitions;
    for (uint32_t i = 0; i < partitions; i++)
        d = hash_mix(d ^ MR_HASH_B, s[i].digest ^ MR_HASH_C);
    return d;
}

void spill_reader_init(struct spill_reader *r, int fd, uint64_t off, uint64_t bytes)
{
    *r = (struct spill_reader){.fd = fd, .off = off, .end = off + bytes};
}

void spill_reader_finish(struct spill_reader *r)
{
    g_free(r->raw);
    g_free(r->stored);
    r->raw = r->stored = NULL;
}

static uint8_t *ensure(uint8_t **p, size_t *cap, size_t n)
{
    if (*cap < n) {
        g_free(*p);
        *p = g_malloc(n);
        *cap = n;
    }
    return *p;
}

static int next_block(struct spill_reader *r)
{
    uint8_t head[BLOCK_HEAD];
    if (r->end - r->off < BLOCK_HEAD)
        return -ERR_CORRUPT;
    int rc = read_all(r->fd, head, BLOCK_HEAD, r->off);
    if (rc < 0)
        return rc;
    uint32_t raw = get_le32(head), word = get_le32(head + 4), stored = word & ~AS_IS;
    r->left = get_le32(head + 12);
    r->off += BLOCK_HEAD;
    if (!raw || raw > RAW_MAX || !stored || stored > raw || stored > r->end - r->off || !r->left ||
        ((word & AS_IS) && stored != raw))
        return -ERR_CORRUPT;
    uint8_t *to = ensure(&r->raw, &r->raw_cap, raw);
    uint8_t *in = word & AS_IS ? to : ensure(&r->stored, &r->stored_cap, stored);
    rc = read_all(r->fd, in, stored, r->off);
    if (rc < 0)
        return rc;
    r->off += stored;
    if (crc32c(0, in, stored) != get_le32(head + 8))
        return -ERR_CORRUPT;
    if (!(word & AS_IS) &&
        LZ4_decompress_safe((const char *)in, (char *)to, (int)stored, (int)raw) != (int)raw)
        return -ERR_CORRUPT;
    r->raw_len = raw;
    r->at = 0;
    return 0;
}

static bool get_varint(struct spill_reader *r, uint32_t *ret)
{
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 32 && r->at < r->raw_len; shift += 7) {
        uint8_t b = r->raw[r->at++];
        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

int spill_next(struct spill_reader *r, struct record *ret)
{
    uint32_t k, v;
    if (r->at == r->raw_len) {
        if (r->left)
            return -ERR_CORRUPT;
        if (r->off == r->end)
            return 0;
        int rc = next_block(r);
        if (rc < 0)
            return rc;
    }
    if (!r->left || !get_varint(r, &k) || !get_varint(r, &v))
        return -ERR_CORRUPT;
    size_t n = v ? v - 1 : 0, left = r->raw_len - r->at;
    if (k > left || n > left - k)
        return -ERR_CORRUPT;
    *ret = (struct record){{r->raw + r->at, k}, {r->raw + r->at + k, n}, v != 0};
    r->at += k + n;
    r->left--;
    return 1;
}
