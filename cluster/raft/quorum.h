/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quorum.h - who counts: the majority arithmetic of one configuration, and nothing else.
 *
 * Pure functions of a raft_conf and of what a callback says of each voter. Everything that Raft
 * decides by majority (votes, commit index, read rounds, check-quorum) is decided here. A joint
 * configuration (paper 6) needs a majority of each half: an election is won in both or lost in one,
 * an index is the lesser of the two. Learners are never asked. A configuration without voters
 * agrees to nothing.
 */
#pragma once

#include "cluster/raft/raft.h"

enum quorum_vote { QUORUM_PENDING, QUORUM_WON, QUORUM_LOST };
enum ballot { BALLOT_NONE, BALLOT_GRANTED, BALLOT_REFUSED };

typedef uint64_t quorum_value_fn(const void *ctx, raft_id voter);
typedef enum ballot quorum_ballot_fn(const void *ctx, raft_id voter);

bool quorum_is_voter(const struct raft_conf *conf, raft_id id);    /* of either half */
bool quorum_is_incoming(const struct raft_conf *conf, raft_id id); /* of the newer or only half */
bool quorum_is_learner(const struct raft_conf *conf,
                       raft_id id); /* a voter that leaves may be one */
bool quorum_is_member(const struct raft_conf *conf, raft_id id);
static inline bool quorum_is_joint(const struct raft_conf *conf)
{
    return conf->n_outgoing > 0;
}

/* 0, or -ERR_INVALID: no voters, too many members, an id of 0 or named twice. Only outgoing voters
 * may be named again, as incoming ones or as learners. */
NODISCARD int quorum_check(const struct raft_conf *conf);
/* Do both name the same voters (as sets, the newer half alone)? */
bool quorum_same_voters(const struct raft_conf *a, const struct raft_conf *b);
bool quorum_same_learners(const struct raft_conf *a, const struct raft_conf *b);

/* The greatest v such that a majority (of each half) has a value >= v; 0 without voters. */
uint64_t quorum_reached(const struct raft_conf *conf, quorum_value_fn *value_of, const void *ctx);

/* LOST as soon as the ballots that are missing can no longer make a majority. */
enum quorum_vote quorum_count(const struct raft_conf *conf, quorum_ballot_fn *ballot_of,
                              const void *ctx);
