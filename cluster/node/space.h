/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - a disk that fills up must cost service, never data.
 *
 * Below the reserve the leader refuses transactions that could grow the store (ERR_NO_SPACE) and
 * still takes those that only delete, sessions and reads; what was accepted goes on. The reserve is
 * room for the log segment in use, the next one and one flush. Should the log run out all the same,
 * its write fails cleanly and is tried again once there is room: until then this node acknowledges
 * nothing, and a leader stands down like one whose disk hangs.
 */
#pragma once

#include "cluster/node/impl.h"

void space_house(struct node *n);
bool space_refuses(const struct node *n); /* no growth, please */
bool space_paused(const struct node *n);  /* the log waits for room */
uint64_t space_free(struct node *n);      /* 0: unknown */
