/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h - /jobs as files: the overlay that fs/fuse lays over the real directory (DESIGN 5).
 *
 *   /jobs/README /jobs/last-error           synthetic
 *   /jobs/NAME.job                          a spec: closing or renaming it into place submits the
 * job /jobs/NAME/                             real: spec, out/, tasks/; overlaid with status
 * progress counters error plan   a snapshot made when opened ctl takes verbs; `kill` is in effect
 * when the write returns wait                                  reading it blocks until the job has
 * ended; not listed /jobs/.history/NAME.RUN/                earlier runs, all real files
 */
#pragma once

#include "fs/synth.h"

struct jobs_overlay;

/* Makes /jobs (1777) if it is not there. The volume is borrowed. */
NODISCARD int jobs_overlay_create(struct volume *v, struct jobs_overlay **ret,
                                  struct synth_overlay *ret_overlay, struct errmsg *msg);
void jobs_overlay_destroy(struct jobs_overlay *j);
