/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h - /jobs as files: the overlay that fs/fuse lays over the real directory (DESIGN 5).
 *
 * - /jobs/README and /jobs/last-error are synthetic.
 * - /jobs/NAME.job is a spec: closing it or renaming it into place submits the job.
 * - /jobs/NAME/ is real (spec, out/, tasks/), overlaid with status, progress, counters, error and
 *   plan, each a snapshot made when opened; ctl, which takes verbs (`kill` is in effect when the
 *   write returns) and lists them when read; wait, whose reading blocks until the job has ended and
 *   which is not listed.
 * - /jobs/.history/NAME.RUN/ holds earlier runs, all real files.
 */
#pragma once

#include "fs/synth.h"

struct jobs_overlay;

/* Makes /jobs (1777) if it is not there. The volume is borrowed. */
NODISCARD int jobs_overlay_create(struct volume *v, struct jobs_overlay **ret,
                                  struct synth_overlay *ret_overlay, struct errmsg *msg);
void jobs_overlay_destroy(struct jobs_overlay *j);
