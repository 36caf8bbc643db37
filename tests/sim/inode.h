/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inode.h - a file of the simulated disk: the bytes that reads see, those that a power loss leaves,
 * and the writes between the two. Directories are inodes without bytes.
 */
#pragma once

#include <sys/uio.h>
#include "tests/sim/sim.h"

struct inode {
    unsigned refs;
    bool dir;
    GByteArray *cache, *disk;
    GPtrArray *writes; /* struct dirty, in order: not durable yet */
};

struct inode *inode_new(bool dir);
struct inode *inode_ref(struct inode *i);
void inode_unref(gpointer i); /* NULL is fine */

/* To the cache, at `off`: what of iov comes before `end`. */
void inode_write(struct inode *i, const struct iovec *iov, int n, uint64_t off, uint64_t end);
/* A new length, with zeroes; a write of no bytes, kept or lost like one. */
void inode_extend(struct inode *i, uint64_t size);
/* The first n writes are clean: on the disk, or, after a failed sync or a power loss, as may be:
 * each, and each of its sectors, on its own. */
void inode_settle(struct sim *s, struct inode *i, guint n, bool durable);
void inode_forget_cache(struct inode *i); /* reads see what is durable; nothing is dirty */
