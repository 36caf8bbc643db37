/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_gate.h - keeps peers and clients from filling the log: of each event (the first word of a
 * line) at most LOG_BURST lines pass in LOG_WINDOW_MS; how many did not is told when the next
 * window of the event begins. Errors always pass. One thread.
 */
#pragma once

#include "cluster/base/log.h"

#define LOG_BURST     20
#define LOG_WINDOW_MS 10000

struct log_gate;
struct log_gate *log_gate_create(void);
void log_gate_destroy(struct log_gate *g);
/* Whether the line may pass; *ret_held is then the number of its event's lines held back before. */
bool log_gate_pass(struct log_gate *g, uint64_t now_ms, enum log_level level, const char *text,
                   uint64_t *ret_held);
