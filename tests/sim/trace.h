/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - what a run leaves to read: a hash over all that happened (two runs of one seed must
 * give the same), the last lines for a failure's report, all lines with RAFTFS_SIM_LOG=1.
 */
#pragma once

#include "cluster/base/defs.h"
#include "tests/sim/hash.h"

struct sim;

#define TRACE_LINES 500
#define TRACE_WIDTH 240

struct trace {
    uint64_t hash, lines;
    bool verbose;
    char ring[TRACE_LINES][TRACE_WIDTH];
};

void trace_mix(struct sim *s, uint64_t v);
void trace_line(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Prints what is wrong, the end of the log and the command that shows it again; ends the process.
 */
NORETURN void sim_fail(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define CHECK(s, cond, ...)                                                                        \
    do {                                                                                           \
        if (!(cond))                                                                               \
            sim_fail((s), __VA_ARGS__);                                                            \
    } while (0)

/* A failed assertion, a sanitizer's finding or a hang inside the run also ends in a report. */
void trace_catch_signals(void);
void trace_watch(struct sim *s); /* the run to report; NULL: none */
