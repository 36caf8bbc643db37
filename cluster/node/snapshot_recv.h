/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_recv.h - the follower's side, as its other half sees it. */
#pragma once

#include "cluster/node/snapshot.h"

void snapshot_recv_clean(struct group *g);
void snapshot_recv_tick(struct group *g);
