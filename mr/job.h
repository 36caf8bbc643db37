/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - the state machine of tasks and attempts: pure changes of a record in memory.
 *
 *   waiting --assign--> running --win--> done
 *                          | fail / lose / kill
 *                          +-----------> waiting (or the job fails, see job_verdict)
 *   done --forget--> waiting      a map's output went with its node; an odd reduce runs again
 *
 * At most one attempt of a task runs and at most one has won. The record that results is stored by
 * a transaction that compares the version it was made from (state.h), so of two coordinators, or of
 * a worker and a coordinator, one succeeds and the other looks again. That is the whole protocol: a
 * task's winner is a compare-and-set.
 *
 * Text put into a record is borrowed by it.
 */
#pragma once

#include "mr/schema.h"
#include "mr/spec.h"

/* The running attempt, or NULL. */
struct attempt_record *task_running(struct task_record *t);
struct attempt_record *task_attempt(struct task_record *t, uint32_t number);
static inline bool task_waiting(struct task_record *t)
{
    return !t->winner && !task_running(t);
}

/* A new attempt; *ret its number. -ERR_FAILED: the task is not waiting. */
NODISCARD int task_assign(struct task_record *t, uint32_t node, uint64_t incarnation,
                          uint64_t now_ns, uint32_t *ret);

struct attempt_end {
    enum attempt_state state; /* WON, FAILED, LOST or KILLED */
    int32_t exit_code, signal;
    bool fatal;
    uint64_t records_in, records_out;
    struct bytes text;
    uint64_t now_ns;
    /* WON: */
    uint64_t digest, out_ino, out_bytes;
    uint32_t n_counters;
    struct counter *counters;
};
/* The end of a running attempt. -ERR_FAILED: it is not running (any more): its outcome is void. */
NODISCARD int task_end(struct task_record *t, uint32_t attempt, const struct attempt_end *end);
/* The winner's output is lost or no longer wanted. */
void task_forget(struct task_record *t, struct bytes why);

/* Has this task failed for good, and why? NULL: no. `nodes`: live workers. */
const char *task_hopeless(const struct task_record *t, unsigned tries, unsigned nodes);

/* One number for all map outputs, as a reduce that consumes them records it. */
uint64_t job_consumed(const struct task_record *maps, uint32_t n);
