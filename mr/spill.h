/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.h - the spill file: a map attempt's output, sorted runs by partition (DESIGN 5).
 *
 *   block*  of partition 0, block* of partition 1, ...  index  footer
 *
 *   block:   u32 raw length, u32 stored length (bit 31: stored as is, else LZ4),
 *            u32 crc32c of the stored bytes, u32 number of records; stored bytes
 *   raw:     records one after another: varint key length, varint value length + 1 (0: no value),
 *            key, value. A record never spans blocks; keys do not decrease within a partition.
 *   index:   per partition u64 offset, u64 bytes, u64 records, u64 raw bytes, u64 digest
 *   footer:  u32 magic "RFSP", u32 version, u32 partitions, u32 flags (1: values are combined, that
 *            is le64 sums), u64 offset of the index, u32 crc32c of index, u32 crc32c of footer so
 * far
 *
 * A section (the blocks of one partition) is valid if and only if its blocks fill exactly its
 * bytes, each with the right crc and record count; a file is complete if and only if its footer is.
 * All integers are little-endian. The digest depends on the records' bytes and order only, so two
 * attempts of a deterministic task have the same one.
 *
 * Readers need no index: (fd, offset, length) of a section is enough, which is also what travels in
 * a shuffle FETCH. Errors: -ERR_IO, -ERR_NO_SPACE, -ERR_CORRUPT.
 */
#pragma once

#include "cluster/base/err.h"
#include "mr/record.h"

#define SPILL_BLOCK     KIB(256)
#define SPILL_VERSION   1
#define SPILL_FOOTER    32
#define SPILL_INDEX_ROW 40
enum { SPILL_COMBINED = 1 };

struct spill_section {
    uint64_t off, bytes, records, raw_bytes, digest;
};

struct spill_index {
    uint32_t partitions, flags;
    struct spill_section *sections;
};

/* --- writing ---------------------------------------------------------------------------------- */

struct spill_writer;
/* Writes from the fd's offset `at` on; the fd stays the caller's. */
struct spill_writer *spill_writer_create(int fd, uint64_t at, uint32_t partitions, uint32_t flags);
void spill_writer_destroy(struct spill_writer *w);
/* Partitions in ascending order, keys within one not decreasing (the caller's duty). */
NODISCARD int spill_put(struct spill_writer *w, uint32_t partition, const struct record *r);
/* Ends the last section. *ret borrowed until destroy. */
NODISCARD int spill_sections(struct spill_writer *w, const struct spill_section **ret);
/* Also writes index and footer: the file is complete. *ret_end is the file's length. */
NODISCARD int spill_complete(struct spill_writer *w, uint64_t *ret_end);

/* --- reading ---------------------------------------------------------------------------------- */

NODISCARD int spill_index_read(int fd, struct spill_index *ret);
void spill_index_finish(struct spill_index *x);
/* One number for the whole output: of all sections' digests. */
uint64_t spill_digest(const struct spill_section *s, uint32_t partitions);

struct spill_reader {
    int fd;
    uint64_t off, end;
    uint8_t *raw, *stored;
    size_t raw_len, raw_cap, stored_cap, at;
    uint32_t left; /* records in the block */
};
void spill_reader_init(struct spill_reader *r, int fd, uint64_t off, uint64_t bytes);
void spill_reader_finish(struct spill_reader *r);
/* 1 and a record borrowed until the next call, 0 at the end, or an error. */
NODISCARD int spill_next(struct spill_reader *r, struct record *ret);
