/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_t.h - volumes for tests: mounts of one fake cluster, and short words for the operations.
 */
#pragma once

#include <fcntl.h>
#include "fs/volume_impl.h"
#include "tests/unit/fs/fake_client.h"

/* A mount; the first of a cluster makes the file system. */
struct mount {
    struct client *client;
    struct volume *v;
};
struct mount mount_on(struct fake_cluster *k);
void mount_end(struct mount *m);

/* expr must give exactly -E.... */
#define T_ERRNO(err, expr) t_check((expr), -(err), #expr, __FILE__, __LINE__)

extern const struct volume_caller root; /* capable */
extern const struct volume_caller user; /* uid 1000, gid 1000 */
extern const struct volume_caller other;

/* All in FS_ROOT or by directory; they must work. */
fs_ino make_file(struct volume *v, fs_ino dir, const char *name);
fs_ino make_dir(struct volume *v, fs_ino dir, const char *name);
fs_ino find(struct volume *v, fs_ino dir, const char *name); /* 0: not there */
struct volume_attr attr_of(struct volume *v, fs_ino ino);
struct volume_file *open_file(struct volume *v, fs_ino ino, int flags);
void put(struct volume_file *f, const char *text, uint64_t off); /* as root */
/* What the file holds, as a string; freed at the end of the program. */
const char *text_of(struct volume *v, fs_ino ino);
/* Names in readdir order, sorted, joined by spaces; freed at the end of the program. */
const char *names_in(struct volume *v, fs_ino dir);
