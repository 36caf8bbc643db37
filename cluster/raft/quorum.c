/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/raft/quorum.h"
#include "cluster/base/err.h"

static bool contains(const raft_id *ids, unsigned n, raft_id id)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

bool quorum_is_voter(const struct raft_conf *conf, raft_id id)
{
    return contains(conf->voters, conf->n_voters, id);
}

bool quorum_is_member(const struct raft_conf *conf, raft_id id)
{
    return quorum_is_voter(conf, id) || contains(conf->learners, conf->n_learners, id);
}

int quorum_check(const struct raft_conf *conf)
{
    if (conf->n_voters == 0 || conf->n_voters > VOTERS_MAX || conf->n_learners > VOTERS_MAX)
        return -ERR_INVALID;
    for (unsigned i = 0; i < conf->n_voters; i++)
        if (conf->voters[i] == RAFT_NONE || contains(conf->voters, i, conf->voters[i]))
            return -ERR_INVALID;
    for (unsigned i = 0; i < conf->n_learners; i++)
        if (conf->learners[i] == RAFT_NONE || contains(conf->learners, i, conf->learners[i]) ||
            quorum_is_voter(conf, conf->learners[i]))
            return -ERR_INVALID;
    return 0;
}

uint64_t quorum_reached(const struct raft_conf *conf, quorum_value_fn *value_of, const void *ctx)
{
    uint64_t sorted[VOTERS_MAX]; /* falling */
    unsigned n = conf->n_voters;

    if (n == 0)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = value_of(ctx, conf->voters[i]);
        unsigned at = i;
        for (; at > 0 && sorted[at - 1] < v; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    return sorted[n / 2];
}

enum quorum_vote quorum_count(const struct raft_conf *conf, quorum_ballot_fn *ballot_of,
                              const void *ctx)
{
    unsigned granted = 0, refused = 0, majority = conf->n_voters / 2 + 1;

    for (unsigned i = 0; i < conf->n_voters; i++) {
        enum ballot b = ballot_of(ctx, conf->voters[i]);
        granted += b == BALLOT_GRANTED;
        refused += b == BALLOT_REFUSED;
    }
    if (granted >= majority)
        return QUORUM_WON;
    return refused + majority > conf->n_voters ? QUORUM_LOST : QUORUM_PENDING;
}
