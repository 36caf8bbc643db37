/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the machine's clocks, for main programs, clients and the node's real host only.
 *
 * Everything that also runs in the simulator (raft, store, kv, node) is given its time by its host
 * (struct node_env) instead. Both calls are thread safe and cannot fail.
 */
#pragma once

#include "cluster/base/defs.h"

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC: for durations and deadlines */
uint64_t clock_wall_ns(void); /* CLOCK_REALTIME since 1970: for people and time stamps; may jump */
