/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.h - taking a name's inode away: for unlink, rmdir and the target of a rename. The caller
 * compares and changes the name and its directory; these do the inode's side, in one transaction.
 */
#pragma once

#include "fs/volume_impl.h"

/* Compare: the name leads to n. Returns the compare's index. */
unsigned txn_dentry_is(struct volume *v, struct txn *t, fs_ino dir, const char *name,
                       const struct inode *n);
/* Appends compares (for a directory the first is "empty") and writes that take one link away: a
 * directory is deleted, a file's last link leaves an orphan. */
void txn_drop_victim(struct volume *v, struct txn *t, const struct inode *victim);
/* After the transaction: hints and reclaim. */
void victim_gone(struct volume *v, const struct inode *victim);
