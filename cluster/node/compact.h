/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compact.h - when the state store is flushed and how far the log is cut.
 *
 * The log is the store's log, so it may be cut only up to the applied index of the last flush that
 * completed. Each flush_log_bytes of applied log (or when this group alone keeps old segments
 * alive) the store is flushed; then the log on disk is cut there, and the log in memory a little
 * behind it (node_config.log_keep_*), or behind the oldest snapshot that is being sent.
 */
#pragma once

#include "cluster/node/group.h"

/* So many payload bytes were just applied, up to g->applied. */
void compact_applied(struct group *g, uint64_t payload);
/* Starts a flush that is due, finishes one that is done. Not between collect and apply. */
void compact_poll(struct group *g);
bool compact_has_work(const struct group *g);
/* The store was closed under a flush, or what it holds is what was flushed: no flush is under way.
 */
void compact_reopened(struct group *g);
/* A snapshot replaced the state: nothing of the old log counts. */
void compact_reset(struct group *g);
