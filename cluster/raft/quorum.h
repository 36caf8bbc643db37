/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quorum.h - who counts: the majority arithmetic of one configuration, and nothing else.
 *
 * Pure functions of a raft_conf and of what a callback says of each voter. Everything that Raft
 * decides by majority (votes, commit index, read rounds, check-quorum) is decided here, so joint
 * consensus has one place to enter: both halves must agree, and an index is the lesser of the two.
 * Learners are never asked. A configuration without voters agrees to nothing.
 */
#pragma once

#include "cluster/raft/raft.h"

enum quorum_vote { QUORUM_PENDING, QUORUM_WON, QUORUM_LOST };
enum ballot { BALLOT_NONE, BALLOT_GRANTED, BALLOT_REFUSED };

typedef uint64_t quorum_value_fn(const void *ctx, raft_id voter);
typedef enum ballot quorum_ballot_fn(const void *ctx, raft_id voter);

bool quorum_is_voter(const struct raft_conf *conf, raft_id id);
bool quorum_is_member(const struct raft_conf *conf, raft_id id);

/* 0, or -ERR_INVALID: no voters, too many members, an id of 0 or named twice. */
NODISCARD int quorum_check(const struct raft_conf *conf);

/* The greatest v such that a majority of the voters has a value >= v; 0 without voters. */
uint64_t quorum_reached(const struct raft_conf *conf, quorum_value_fn *value_of, const void *ctx);

/* LOST as soon as the ballots that are missing can no longer make a majority. */
enum quorum_vote quorum_count(const struct raft_conf *conf, quorum_ballot_fn *ballot_of,
                              const void *ctx);
