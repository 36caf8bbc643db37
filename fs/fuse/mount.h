/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.h - the mount point and the way to the background.
 *
 * Errors are one line for the user in msg.
 */
#pragma once

#include "cluster/base/err.h"

/* Is `path` a directory that can be mounted on? A dead mount of ours (ENOTCONN) is unmounted lazily
 * first; a live one is -ERR_LOCKED. *ret: the absolute path, free with g_free. */
NODISCARD int mount_point_prepare(const char *path, char **ret, struct errmsg *msg);
/* Refuses a data directory below the mount point or on a raftfs (DESIGN 4.4). */
NODISCARD int mount_check_data_dir(const char *mount_point, const char *data, struct errmsg *msg);

/*
 * Going to the background: the parent waits until the child says how it went, prints the error if
 * there is one, and exits with 0 or 1. In the child background_begin returns a descriptor to report
 * through; background_ready detaches from the terminal and releases the parent.
 */
NODISCARD int background_begin(int *ret_fd, struct errmsg *msg);
void background_ready(int fd);
void background_failed(int fd, const char *text);
