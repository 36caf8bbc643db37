/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.h - the inside of raftfs-task: one attempt of one map or reduce task (taskio.h says how it
 * talks to its worker). One thread.
 */
#pragma once

#include "mr/collect.h"
#include "mr/lines.h"
#include "mr/merge.h"
#include "mr/outbuf.h"
#include "mr/spec.h"
#include "mr/taskio.h"

struct task {
    struct spec *spec;
    uint32_t partitions; /* 0: map-only */
    size_t budget;       /* bytes for collecting */
    bool raw;            /* fd 0 is plain text, not frames: for trying things by hand */
    uint64_t told_ms;    /* when progress was last reported */
    uint64_t records_in, records_out;
    struct errmsg msg;
    /* Filled when a command failed: */
    int exit_code, signal; /* -1, 0 */
    bool fatal; /* another try would fail the same way: give up after the usual caution */
    uint64_t digest;
};

/* 0, or an error with t->msg (and exit_code, signal) set. */
NODISCARD int task_map(struct task *t);
NODISCARD int task_reduce(struct task *t);

/* Frames. read_head: 1, or 0 at a clean end of a raw input; -ERR_CLOSED: the worker went away. */
NODISCARD int task_read_head(struct task *t, enum task_frame *ret_type, size_t *ret_len);
NODISCARD int task_read_body(struct task *t, void *p, size_t n);
void task_send(enum task_frame type, struct bytes payload);
void task_progress(struct task *t, bool force);
void task_counter(const char *name, uint64_t value);

/* Checks how a command ended; sets msg, exit_code, signal when that is a failure. */
NODISCARD int task_judge(struct task *t, int status);
/* Our environment plus the given NAME=value strings (NULL-terminated); free with g_strfreev. */
char **task_env(const struct task *t, char *const *more);
