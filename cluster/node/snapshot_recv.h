/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_recv.h - the follower's side, as its other half sees it. */
#pragma once

#include "cluster/node/snapshot.h"

/* A transfer that a restart interrupted goes on when its sender asks. False: there is none. */
bool snapshot_recv_resume(struct group *g);
/* (job, store.h) */
void snapshot_recv_clean(struct store_maker *stores, const char *group_dir);
void snapshot_recv_tick(struct group *g);
