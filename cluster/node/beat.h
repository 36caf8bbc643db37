/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.h - heartbeats, and the answers to them, of all groups to one node in one frame (BEAT).
 *
 * Each heartbeat interval, at the same tick for all groups, one frame goes to each linked node: the
 * heartbeats of the groups that are led here, and the answers for groups that are led there. An
 * answer waits here for that tick, so a pair exchanges two frames per interval however many groups
 * it shares. What a read waits for is urgent (raft.h): it leaves with the round, and takes along
 * what waits.
 *
 * Of a group and direction only the newest waits: it says all that the older one said. What was
 * said in a term that has ended meanwhile does not leave any more. What waits
 * for a node without a link is dropped, its core repeats it. Elections, appends and all else are no
 * concern of this; they go as frames of their own, at once (peer_send_raft).
 */
#pragma once

#include "cluster/node/conn.h"

/* What waits for one peer. */
struct beats {
    struct beat_ask *asks;       /* GROUPS_MAX + 1 places; NULL until the first */
    struct beat_answer *answers; /* as many */
    unsigned n_asks, n_answers;
    bool urgent;
};

bool beat_takes(const struct raft_msg *m);
void beat_put(struct node *n, struct peer *p, uint32_t gid, const struct raft_msg *m);
void beat_drop(struct peer *p); /* its link is gone */

/* The tick on which all groups of this node send their heartbeats. */
bool beat_is_due(const struct node *n);
/* After a round has collected what the groups want to say; n->beat_due: also what is not urgent. */
void beats_send(struct node *n);

/* From that peer. -ERR_INVALID: no correct node sends this. */
NODISCARD int beat_receive(struct node *n, const struct peer *p, const struct msg_beat *m);
