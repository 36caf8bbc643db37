/* SPDX-License-Identifier: Apache-2.0 */
/* decide.c - the coordinator of a transaction over several groups: DECIDE, and the end of it. */
#include "cluster/kv/apply.h"

struct deciding {
    struct kv *kv;
    const struct kv_entry *e;
    const struct kv_sink *sink;
    struct msg_decide m;
    struct txid id;
    struct msg_txn t;   /* the whole */
    part_map map;       /* 0: ours, v + 1: of vote v */
    struct msg_txn own; /* our part */
    struct msg_txn_reply *votes;
    uint16_t shards[VERSIONS_MAX + 1]; /* written by the whole */
    struct bytes row;                  /* the client's results in shards[0] */
};

/* --- answers ---------------------------------------------------------------------------------- */

static int end(struct deciding *d, bool commit, struct bytes reply)
{
    struct msg_decided m = {.commit = commit, .reply = reply};
    CLEANUP(enc_finish) struct enc out = {0};

    enc_decided(&out, &m);
    return apply_answer(d->kv, d->e, d->sink, MSG_decided, enc_view(&out));
}

/* The attempt is aborted, and that is no result. */
static int abort_with(struct deciding *d, int status)
{
    struct msg_txn_reply reply = {.status = (uint16_t)status, .time = d->e->time_ns};

    enc_reset(&d->kv->reply);
    enc_txn_reply(&d->kv->reply, &reply);
    return end(d, false, enc_view(&d->kv->reply));
}

/* --- the votes -------------------------------------------------------------------------------- */

static int read_vote(struct deciding *d, uint32_t v)
{
    const struct decide_vote *vote = &d->m.votes[v];
    struct msg_txn_reply *reply = &d->votes[v];

    if (dec_txn_reply(vote->reply, &d->kv->arena, reply) < 0 || vote->gid == d->kv->gid)
        return -ERR_INVALID;
    if (reply->status != 0 && reply->status != ERR_FAILED && reply->status != ERR_TOO_BIG)
        return -ERR_INVALID;
    for (uint32_t i = 0; i < vote->n_shards; i++) {
        unsigned shard = vote->shards[i].shard;

        if (shard >= d->kv->shards || d->map[shard] != 0)
            return -ERR_INVALID;
        d->map[shard] = (uint8_t)(v + 1);
    }
    return 0;
}

/* Taken apart: each shard has one vote, or is ours. */
static int read_all(struct deciding *d, struct bytes in)
{
    struct kv *kv = d->kv;

    if (dec_decide(in, &kv->arena, &d->m) < 0 || dec_txn(d->m.txn, &kv->arena, &d->t) < 0)
        return -ERR_INVALID;
    int err = kv_check(kv, &d->t);
    if (err)
        return err;
    if (d->m.n_votes == 0 || d->t.n_writes == 0)
        return -ERR_INVALID;
    d->id = (struct txid){kv->gid, d->m.term, d->m.n};
    d->votes = arena_array(&kv->arena, d->m.n_votes, sizeof(*d->votes));
    for (uint32_t v = 0; !err && v < d->m.n_votes; v++)
        err = read_vote(d, v);
    txn_shards_written(&d->t, d->shards);
    if (!err && d->map[d->shards[0]] != 0) /* the result would not be where it is looked for */
        err = -ERR_INVALID;
    if (!err)
        part_of(&d->t, d->map, 0, &kv->arena, &d->own);
    return err;
}

/* --- the decision ----------------------------------------------------------------------------- */

/* Later than everything that was voted on, so that times rise along every key. */
static uint64_t decision_time(struct deciding *d)
{
    for (uint32_t v = 0; v < d->m.n_votes; v++)
        apply_time_passed(d->kv, d->e, d->votes[v].time);
    return apply_time(d->kv, d->e);
}

static void record_commit(struct deciding *d, uint64_t time)
{
    struct kv_decision record = {.id = d->id, .time = time};

    for (uint32_t v = 0; v < d->m.n_votes; v++)
        record.gids[record.n_gids++] = d->m.votes[v].gid;
    decision_add(&d->kv->prepared, &record, &d->kv->round, &d->kv->arena);
}

/* Everybody has voted: the outcome of the whole. It is a result, and kept, whatever it is. */
static int decide(struct deciding *d)
{
    struct kv *kv = d->kv;
    const struct msg_txn_reply *replies[PARTS_MAX + 1] = {NULL};
    struct msg_txn_reply own, whole;
    uint16_t shards[VERSIONS_MAX + 1];
    uint64_t time = decision_time(d);
    struct txn_run run = {
        .round = &kv->round,
        .arena = &kv->arena,
        .overlay = &kv->overlay,
        .txn = &d->own,
        .part = true,
        .time = time,
        .range = kv->range,
    };
    int err = kv_txn_run(&run, &own);

    if (!err && own.status == 0)
        err = apply_step_counters(kv, shards, txn_shards_written(&d->own, shards), &own);
    if (err)
        return err;
    replies[0] = &own;
    for (uint32_t v = 0; v < d->m.n_votes; v++)
        replies[v + 1] = &d->votes[v];
    if (part_merge(&d->t, d->map, replies, d->m.n_votes + 1, time, &kv->arena, &whole) < 0)
        return abort_with(d, ERR_INVALID);
    if (whole.status == 0) {
        apply_put_counters(kv, &own);
        apply_put_overlay(kv, &own, d->sink);
        record_commit(d, time);
    }
    enc_reset(&kv->reply);
    enc_txn_reply(&kv->reply, &whole);
    apply_put_result(kv, &d->t, d->shards[0], d->row);
    return end(d, whole.status == 0, enc_view(&kv->reply));
}

/* Is it decided here, now? Else the attempt is aborted with this status. */
static int judge(struct deciding *d)
{
    struct kv *kv = d->kv;
    struct bytes key;

    if (d->e->term != d->m.term) /* its leader is gone; others may have presumed it aborted */
        return ERR_NOT_LEADER;
    if (!kv_serves(kv, &d->own))
        return ERR_WRONG_GROUP;
    int err = apply_session_judge(kv, d->t.client);
    if (err)
        return -err;
    if (locks_conflict(&kv->locks, &d->own, &key) || kv->prepared.decisions->len >= DECISIONS_MAX)
        return ERR_BUSY;
    return 0;
}

int apply_decide(struct kv *kv, const struct kv_entry *e, struct bytes in,
                 const struct kv_sink *sink)
{
    struct deciding *d = arena_zalloc(&kv->arena, sizeof(*d));
    struct bytes body;

    *d = (struct deciding){.kv = kv, .e = e, .sink = sink};
    int err = read_all(d, in);
    if (err)
        return abort_with(d, -err);
    int found = RESULT_NEW;
    if (kv_serves(kv, &d->own) && sessions_find(&kv->sessions, d->t.client)) {
        err = results_get(&kv->results, d->shards[0], d->t.client, &kv->arena, &d->row);
        if (err)
            return err;
        found = result_find(d->row, d->t.seq, d->t.acked_below, &body);
    }
    switch (found) {
    case RESULT_KEPT: /* by another attempt, unless this very entry came twice */
        return end(d, decision_find(&kv->prepared, &d->id) != NULL, body);
    case RESULT_STALE:
        return abort_with(d, ERR_STALE);
    case RESULT_FULL:
        return abort_with(d, ERR_BUSY);
    case RESULT_NEW:
        break;
    default:
        return found; /* of the store */
    }
    int status = judge(d);
    return status ? abort_with(d, status) : decide(d);
}

/* --- the end ---------------------------------------------------------------------------------- */

int apply_forget(struct kv *kv, const struct kv_entry *e, struct bytes in,
                 const struct kv_sink *sink)
{
    struct msg_forget m;

    if (dec_forget(in, &kv->arena, &m) < 0 || (m.gid == kv->gid) != (m.n_ended > 0))
        return apply_status(kv, e, sink, -ERR_INVALID);
    for (uint32_t i = 0; i < m.n_ended; i++) {
        if (m.ended[i].gid != kv->gid)
            return apply_status(kv, e, sink, -ERR_INVALID);
    }
    for (uint32_t i = 0; i < m.n_ended; i++)
        decision_end(&kv->prepared, &m.ended[i], &kv->round, &kv->arena);
    const struct txid below = {m.gid, m.below_term, m.below_n};
    if (m.gid != kv->gid)
        prepared_fence(&kv->prepared, &below, &kv->round, &kv->arena);
    return apply_status(kv, e, sink, 0);
}
