/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - a directory of plain files as one checksummed byte stream, and back: how the checkpoint
 * of a store travels as a snapshot.
 *
 *   stream:  [head][file 0][file 1] ...
 *   head:    magic "raftfsIM", u32 version 1, u32 bytes of the head, u32 files,
 *            per file: u32 length and name, u64 size;  u32 CRC32C of all before it
 *   file:    its bytes in blocks of 64 KiB (the last one shorter), each followed by the CRC32C of
 *            (u32 file, u32 block, the block)
 *
 * A stream is valid if and only if the head's crc and fields are right (names are single path
 * components, no name twice), every block's crc is right, and it ends with the last block. Blocks
 * have checksums of their own so that a transfer may resume anywhere without reading from the
 * beginning.
 *
 * A reader borrows the directory: its files must not change (a checkpoint never does). A writer
 * makes the directory; image_finish syncs every file and the directory, and its name in the parent.
 * When it fails the directory is removed.
 *
 * A writer that was interrupted can be resumed, in another process too. Beside the files it has
 * `.tag` (magic "raftfsIT", u32 length of the owner's tag, the tag, u32 CRC32C of all before) and
 * `.head` (the stream's head). Each file is synced before the next is made, so all but the last one
 * that exists, in the head's order, are whole; that one is written anew from its beginning.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/base/bytes.h"
#include "cluster/base/err.h"

#define IMAGE_MAGIC    "raftfsIM"
#define IMAGE_VERSION  1u
#define IMAGE_BLOCK    KIB(64)
#define IMAGE_HEAD_MAX MIB(16) /* some 200,000 files */
#define IMAGE_TAG_MAX  KIB(4)

struct store_image;

struct store_image *image_open(const char *dir); /* NULL: cannot be read */
uint64_t image_size(struct store_image *i);
int64_t image_read(struct store_image *i, void *p, size_t n, uint64_t off);
void image_close(struct store_image *i); /* one that is written stays as it is */

NODISCARD int image_create(const char *dir, struct bytes tag, struct store_image **ret);
/* -ERR_NOT_FOUND: there is nothing to be resumed. */
NODISCARD int image_resume(const char *dir, struct arena *a, struct bytes *ret_tag,
                           uint64_t *ret_offset, struct store_image **ret);
/* -ERR_CORRUPT, -ERR_NO_SPACE, -ERR_IO: then every later call fails the same way. */
NODISCARD int image_write(struct store_image *i, const void *p, size_t n);
NODISCARD int image_finish(struct store_image *i); /* closes in any case */
