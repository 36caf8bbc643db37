/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - who was heard when: the leader of group 0 ends sessions that fell silent.
 *
 * The replicated state knows which sessions live; when each was last heard is known to the leader
 * alone, in memory. A new leader gives everybody a fresh SESSION_TIMEOUT_MS. Ending one is an entry
 * (SESSION_CLOSE), so it happens everywhere at the same point of the log.
 */
#pragma once

#include "cluster/node/group.h"

struct session_clock *sessions_create(struct group *g);
void sessions_destroy(struct session_clock *s);
void session_heard(struct session_clock *s, uint64_t client);
void sessions_forget(struct session_clock *s); /* leadership came or went */
void sessions_house(struct session_clock *s);  /* proposes the end of the silent ones */
