/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - the files under /jobs/NAME as text. Pure. raftfs-job(5) is the manual of their contents.
 */
#pragma once

#include "mr/job.h"

/* Counts of tasks by state, and what the heartbeats say of the running ones. */
struct job_progress {
    struct {
        uint32_t all, done, running, waiting, failed; /* failed: attempts */
        uint64_t bytes, bytes_done;
    } map, reduce;
};
void text_progress_of(const struct task_record *maps, uint32_t n_maps,
                      const struct task_record *reduces, uint32_t n_reduces,
                      const struct running_record *running, size_t n_running,
                      struct job_progress *ret);

/* `key value` lines with stable names. */
void text_status(GString *s, struct bytes name, const struct job_record *j,
                 const struct job_progress *p);
/* One line. now_ns: to guess the time left. */
void text_progress(GString *s, const struct job_record *j, const struct job_progress *p,
                   uint64_t now_ns);
/* What `wait` gives when the job has ended. */
void text_end(GString *s, struct bytes name, const struct job_record *j);
void text_counters(GString *s, const struct counter *c, uint32_t n);
void text_plan(GString *s, const struct spec *spec, const struct job_record *j,
               const struct task_record *maps, uint32_t n_maps);
/* Why a task, and so the job, failed: command, exit, input, stderr, what to try. */
void text_task_error(GString *s, struct bytes name, const struct spec *spec,
                     const struct task_record *t);
