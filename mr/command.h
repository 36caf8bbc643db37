/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - a user's command run by /bin/sh -c inside raftfs-task: fed, drained, awaited, killed.
 *
 * The command gets a process group of its own, which is killed when its first process ends: what it
 * left in the background does not outlive it. A command that stops reading early (head) is fine;
 * the rest of its input is not offered to it.
 */
#pragma once

#include "cluster/base/bytes.h"
#include "cluster/base/err.h"
#include "mr/spec.h"

struct command_io {
    /* More input: 1 and bytes borrowed until the next call, 0 at the end, or an error. */
    int (*next)(void *ctx, struct bytes *ret);
    /* What it wrote. NULL: its stdout is ours. */
    int (*take)(void *ctx, struct bytes b);
    void *ctx;
};

struct command_limits {
    uint64_t memory, cpu_s, disk; /* 0: none */
};

/* Runs it to its end. 0: it ended, *ret_status is wait(2)'s. Otherwise an error of io or of
 * starting it (msg), and the command is killed. env: NULL-terminated, replaces ours. */
NODISCARD int command_run(const char *text, char **env, const struct command_limits *limits,
                          const struct command_io *io, int *ret_status, struct errmsg *msg);

/* The running command's process group, for the signal handler; 0: none. */
extern volatile int command_group;
