/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glob.h - the files that a spec's input patterns name, seen with the submitter's rights.
 *
 * `*`, `?` and `[...]` match within a path component (never a leading dot), `**` any number of
 * directories. A pattern that names a directory means the regular files in it. Each file counts
 * once, in the order of the patterns, then of the path's bytes.
 */
#pragma once

#include "fs/volume.h"
#include "mr/plan.h"

/* *ret: of struct plan_file, paths in the arena. -ERR_CONFIG with a text that names the pattern:
 * matches nothing, permission denied; other errors are the volume's. */
NODISCARD int glob_inputs(struct volume *v, const struct volume_caller *who, GPtrArray *patterns,
                          struct arena *a, GArray *ret, struct errmsg *msg);
