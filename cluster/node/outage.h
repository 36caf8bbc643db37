/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outage.h - a state store that met a full disk.
 *
 * space.h keeps a reserve so that this does not happen, but another program may take it. RocksDB
 * then refuses every batch and flush until it is opened again, though what it holds can still be
 * read. Nothing is lost by opening it again: the log has what was not flushed (compact.h), on disk
 * and in the core's memory, and the pending and the lost entries are applied from there.
 *
 *   flush failed:  `store_full`: no write is taken, no flush tried; reads go on.
 *   batch failed:  also `paused`: the replica falls silent as if its process had been stopped, and
 *                  what waits is told to ask another one. Its votes and its log stay as they are.
 *   room again:    open, apply what is missing, go on, flush.
 */
#pragma once

#include "cluster/node/group.h"

void outage_flush_failed(struct group *g); /* or a checkpoint, which begins with one */
void outage_apply_failed(struct group *g);
/* Each housekeeping: ends the outage if there is room. Not between collect and apply. */
void outage_house(struct group *g);
