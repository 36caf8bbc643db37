/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - outputs become visible; leftovers go.
 *
 * Winners' files are linked as part-NNNNN into the directory `.out-EPOCH` of the job's directory,
 * which is then renamed to `out`: one transaction makes all outputs visible. Every step may be
 * repeated, by this coordinator or the next.
 */
#pragma once

#include "fs/volume.h"
#include "mr/state.h"

/* Everything in dir, recursively, and then name itself. -ENOENT is fine. */
NODISCARD int remove_volume_tree(struct volume *v, fs_ino dir, const char *name,
                                 const struct volume_caller *who);
/* Removes the work directory and the splits of an ended run; its tasks' records stay for `tasks`.
 */
NODISCARD int job_clean(struct state *st, struct volume *v, struct bytes name,
                        const struct job_record *j);
