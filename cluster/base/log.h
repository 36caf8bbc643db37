/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - lines for the operator, written by the main programs and the two loops (node, fuse) only;
 * library code returns errors and never logs.
 *
 * One line per event on stderr: `2026-11-22T07:47:15.123Z info raftfsd: leader gid=0 term=3`. The
 * text is an event name and key=value pairs; control bytes in it are escaped. Thread safe. Secrets
 * never reach a format here.
 */
#pragma once

#include "cluster/base/defs.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_init(const char *program, enum log_level max); /* before any thread starts */
void log_event(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* At most one line per `what` (a string literal) each 10 s, with the number of those suppressed. */
void log_limited(enum log_level level, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4);
