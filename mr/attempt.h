/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.h - one attempt of a task on this node: a thread, a raftfs-task process, a report.
 *
 * The thread reads the task's records, gets its input (feed.h, shuffle.h), starts raftfs-task in a
 * scratch directory of its own, drains its output into a private file of the volume, its stderr
 * into tasks/m-00017/1/stderr, and in the end records the outcome by a compare-and-set on the task:
 * an attempt that is not the running one any more changes nothing and removes what it wrote.
 *
 * attempt_cancel (any thread) makes it end soon without a report. attempt_ended tells that the
 * thread is done; attempt_destroy joins it.
 */
#pragma once

#include "mr/service_impl.h"
#include "mr/spec.h"

struct attempt;

NODISCARD int attempt_start(struct mr_service *s, const struct running_record *what,
                            struct attempt **ret);
void attempt_cancel(struct attempt *a);
bool attempt_ended(const struct attempt *a);
void attempt_destroy(struct attempt *a);
bool attempt_is(const struct attempt *a, const struct running_record *r);
/* For heartbeats; text from the arena, the job's name borrowed from a. */
void attempt_progress(struct attempt *a, struct arena *arena, struct running_record *ret);
