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

bool quorum_is_incoming(const struct raft_conf *conf, raft_id id)
{
    return contains(conf->voters, conf->n_voters, id);
}

bool quorum_is_voter(const struct raft_conf *conf, raft_id id)
{
    return quorum_is_incoming(conf, id) || contains(conf->outgoing, conf->n_outgoing, id);
}

bool quorum_is_learner(const struct raft_conf *conf, raft_id id)
{
    return contains(conf->learners, conf->n_learners, id);
}

bool quorum_is_member(const struct raft_conf *conf, raft_id id)
{
    return quorum_is_voter(conf, id) || quorum_is_learner(conf, id);
}

static bool distinct(const raft_id *ids, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == RAFT_NONE || contains(ids, i, ids[i]))
            return false;
    return true;
}

int quorum_check(const struct raft_conf *conf)
{
    if (conf->n_voters == 0 || conf->n_voters > VOTERS_MAX || conf->n_outgoing > VOTERS_MAX ||
        conf->n_learners > VOTERS_MAX)
        return -ERR_INVALID;
    if (!distinct(conf->voters, conf->n_voters) || !distinct(conf->outgoing, conf->n_outgoing) ||
        !distinct(conf->learners, conf->n_learners))
        return -ERR_INVALID;
    for (unsigned i = 0; i < conf->n_learners; i++)
        if (quorum_is_incoming(conf, conf->learners[i]))
            return -ERR_INVALID;
    return 0;
}

static bool same_set(const raft_id *a, unsigned n_a, const raft_id *b, unsigned n_b)
{
    if (n_a != n_b)
        return false;
    for (unsigned i = 0; i < n_a; i++)
        if (!contains(b, n_b, a[i]))
            return false;
    return true;
}

bool quorum_same_voters(const struct raft_conf *a, const struct raft_conf *b)
{
    return same_set(a->voters, a->n_voters, b->voters, b->n_voters);
}

bool quorum_same_learners(const struct raft_conf *a, const struct raft_conf *b)
{
    return same_set(a->learners, a->n_learners, b->learners, b->n_learners);
}

static uint64_t half_reached(const raft_id *voters, unsigned n, quorum_value_fn *value_of,
                             const void *ctx)
{
    uint64_t sorted[VOTERS_MAX]; /* falling */

    if (n == 0)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = value_of(ctx, voters[i]);
        unsigned at = i;
        for (; at > 0 && sorted[at - 1] < v; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    return sorted[n / 2];
}

uint64_t quorum_reached(const struct raft_conf *conf, quorum_value_fn *value_of, const void *ctx)
{
    uint64_t v = half_reached(conf->voters, conf->n_voters, value_of, ctx);

    if (!quorum_is_joint(conf))
        return v;
    return MIN(v, half_reached(conf->outgoing, conf->n_outgoing, value_of, ctx));
}

static enum quorum_vote half_count(const raft_id *voters, unsigned n, quorum_ballot_fn *ballot_of,
                                   const void *ctx)
{
    unsigned granted = 0, refused = 0, majority = n / 2 + 1;

    for (unsigned i = 0; i < n; i++) {
        enum ballot b = ballot_of(ctx, voters[i]);
        granted += b == BALLOT_GRANTED;
        refused += b == BALLOT_REFUSED;
    }
    if (granted >= majority)
        return QUORUM_WON;
    return refused + majority > n ? QUORUM_LOST : QUORUM_PENDING;
}

enum quorum_vote quorum_count(const struct raft_conf *conf, quorum_ballot_fn *ballot_of,
                              const void *ctx)
{
    enum quorum_vote a = half_count(conf->voters, conf->n_voters, ballot_of, ctx);

    if (!quorum_is_joint(conf))
        return a;
    enum quorum_vote b = half_count(conf->outgoing, conf->n_outgoing, ballot_of, ctx);
    if (a == QUORUM_LOST || b == QUORUM_LOST)
        return QUORUM_LOST;
    return a == QUORUM_WON && b == QUORUM_WON ? QUORUM_WON : QUORUM_PENDING;
}
