/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint.h - what this mount saw lately of names and directories. A hint saves a request when it is
 * right and costs one when it is wrong; it never decides anything: transactions compare what they
 * took from it, and lookups check it against the cluster in the same round.
 *
 * Fixed size, direct mapped; the newest wins a place. Thread safe.
 */
#pragma once

#include <pthread.h>
#include "fs/schema.h"

#define HINT_NAMES 16384
#define HINT_DIRS  2048

struct hint_name {
    fs_ino dir;
    uint64_t hash;
    fs_ino ino;
};

struct hints {
    pthread_mutex_t lock;
    struct hint_name *names;
    struct inode *dirs;
};

void hints_init(struct hints *h);
void hints_finish(struct hints *h);
fs_ino hint_name(struct hints *h, fs_ino dir, uint64_t hash);               /* 0: none */
void hint_set_name(struct hints *h, fs_ino dir, uint64_t hash, fs_ino ino); /* 0: forget */
bool hint_dir(struct hints *h, fs_ino dir, struct inode *ret);
void hint_set_dir(struct hints *h, const struct inode *n);
void hint_drop_dir(struct hints *h, fs_ino dir);
