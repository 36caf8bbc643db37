/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.h - the first groups of a new cluster (DESIGN 3.1): those that raftfsctl init wrote
 * down, made and joined without an operator.
 *
 * Where the configuration file says `groups N`, the leader of group 0
 *   1. waits for all voters, but not for ever: nobody knows whether they will come;
 *   2. makes those of the groups 1 to N that are not there, each with up to three replicas, spread
 *      as place_turn says; one whose members are not up by a majority waits until they are;
 *   3. waits until a leader of each has answered;
 *   4. joins them all in one change, and the shards move (take.h).
 * Until then, and while they move, the cluster serves from group 0 as one without other groups.
 *
 * What is done is read from the applied state: which groups there are, and the number of the
 * configuration. So any leader goes on where the one before it stopped. Once there is a
 * configuration, whoever made it, it is over for ever.
 *
 * Group 0; other replicas have nothing to do with it.
 */
#pragma once

#include "cluster/node/group.h"

/* NULL, which all take: there is nothing to do here. */
struct bootstrap *bootstrap_create(struct group *g);
void bootstrap_destroy(struct bootstrap *b);

void bootstrap_tick(struct bootstrap *b);
/* Leadership is gone: the next leader goes on. */
void bootstrap_yield(struct bootstrap *b);
