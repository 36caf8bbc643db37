/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the machine's clocks, for main programs, clients and the node's real host only.
 *
 * Everything that also runs in the simulator (raft, store, kv, node) is given its time by its host
 * (struct node_env) instead. All calls are thread safe and cannot fail.
 */
#pragma once

#include "cluster/base/defs.h"

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC: for durations and deadlines */
/* CLOCK_BOOTTIME: goes on while the machine sleeps. Both are slewed by who keeps the time of day
 * (chronyd up to 8 %), but never set. */
uint64_t clock_boot_ns(void);
uint64_t clock_wall_ns(void); /* CLOCK_REALTIME since 1970: for people and time stamps; may jump */
