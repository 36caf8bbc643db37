/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster_files.h - the parts of which the files of a cluster are made (cluster_init.h,
 * cluster_add.h). All block and sync; errors come with one line for the operator.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/base/rng.h"
#include "cluster/base/tlsgen.h"

/* A configuration has no quoting: what it cannot say is refused. -ERR_CONFIG. */
NODISCARD int files_check_text(const char *what, const char *text, size_t max, struct errmsg *msg);

NODISCARD int files_sync(const char *path, struct errmsg *msg); /* a file or a directory */
/* A new file, mode 0644; the directory is not synced. -ERR_EXISTS. */
NODISCARD int files_write(const char *path, const GString *text, struct errmsg *msg);
/* The same in place of an old one, which is there until the new one is (rename); durable. */
NODISCARD int files_replace(const char *path, const GString *text, struct errmsg *msg);

uint64_t files_draw_id(struct rng *rng); /* not 0 */

/* A node's certificate and key, signed with DIR/ca.key. */
NODISCARD int files_node_cert(const char *dir, uint64_t cluster, uint32_t node, const char *cert,
                              const char *key, struct errmsg *msg);
