/* SPDX-License-Identifier: Apache-2.0 */
/* prepare.c - the participant of a transaction over several groups: PREPARE, COMMIT and ABORT. */
#include "cluster/kv/apply.h"

/* --- PREPARE ---------------------------------------------------------------------------------- */

/* Its shards may be prepared on: owned, and not about to be frozen. */
static int may_prepare(const struct kv *kv, const struct msg_txn *part)
{
    if (!kv_serves(kv, part))
        return -ERR_WRONG_GROUP;
    for (uint32_t i = 0; i < part->n_compares; i++) {
        if (kv_shard(kv, layout_shard(part->compares[i].key))->state == SHARD_CLOSING)
            return -ERR_BUSY;
    }
    for (uint32_t i = 0; i < part->n_reads; i++) {
        if (kv_shard(kv, layout_shard(part->reads[i].key))->state == SHARD_CLOSING)
            return -ERR_BUSY;
    }
    for (uint32_t i = 0; i < part->n_writes; i++) {
        if (kv_shard(kv, layout_shard(part->writes[i].key))->state == SHARD_CLOSING)
            return -ERR_BUSY;
    }
    return 0;
}

/* Why a part that is new here cannot be prepared; 0: it can. */
static int judge(const struct kv *kv, const struct msg_txn *part)
{
    struct bytes key;
    int err = may_prepare(kv, part);

    if (!err)
        err = apply_session_judge(kv, part->client);
    if (err)
        return err;
    if (locks_conflict(&kv->locks, part, &key) || kv->prepared.n_prepared >= PREPARED_MAX)
        return -ERR_BUSY;
    return 0;
}

/* The vote: what the part would do and read, with the versions that it will write. Its writes are
 * tried and dropped: nothing that its locks allow changes how they end. */
static int vote(struct kv *kv, const struct kv_entry *e, const struct msg_txn *part,
                struct msg_txn_reply *ret)
{
    uint16_t shards[VERSIONS_MAX + 1];
    struct txn_run run = {
        .round = &kv->round,
        .arena = &kv->arena,
        .overlay = &kv->overlay,
        .txn = part,
        .part = true,
        .time = apply_time(kv, e),
        .range = kv->range,
    };
    int err = kv_txn_run(&run, ret);

    if (!err && ret->status == 0)
        err = apply_step_counters(kv, shards, txn_shards_written(part, shards), ret);
    if (!err && ret->status == 0)
        apply_put_counters(kv, ret);
    return err;
}

/* Asked again: the same vote, or that it is over. */
static int prepare_again(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                         const struct txn_record *t)
{
    struct msg_txn part;
    struct bytes body;

    if (t->fate != FATE_PREPARED)
        return apply_refuse(kv, e, sink, ERR_STALE);
    int err = prepared_get(&kv->prepared, &t->id, &kv->round, &kv->arena, &body, &part);
    return err ? err : apply_answer(kv, e, sink, MSG_txn_reply, body);
}

int apply_prepare(struct kv *kv, const struct kv_entry *e, struct bytes in,
                  const struct kv_sink *sink)
{
    struct msg_prepare m;
    struct msg_txn part;
    struct msg_txn_reply reply;

    if (dec_prepare(in, &kv->arena, &m) < 0 || dec_txn(m.part, &kv->arena, &part) < 0 ||
        m.gid == kv->gid || kv_check(kv, &part) < 0)
        return apply_refuse(kv, e, sink, ERR_INVALID);
    const struct txid id = {m.gid, m.term, m.n}, below = {m.gid, m.below_term, m.below_n};
    prepared_fence(&kv->prepared, &below, &kv->round, &kv->arena);
    const struct txn_record *known = prepared_find(&kv->prepared, &id);
    if (known)
        return prepare_again(kv, e, sink, known);
    if (prepared_is_fenced(&kv->prepared, &id))
        return apply_refuse(kv, e, sink, ERR_STALE);
    int err = judge(kv, &part);
    if (err)
        return apply_refuse(kv, e, sink, -err);
    err = vote(kv, e, &part, &reply);
    if (err)
        return err;
    enc_reset(&kv->reply);
    enc_txn_reply(&kv->reply, &reply);
    prepared_add(&kv->prepared, &id, e->index, enc_view(&kv->reply), &part, m.part, &kv->locks,
                 &kv->round, &kv->arena);
    return apply_answer(kv, e, sink, MSG_txn_reply, enc_view(&kv->reply));
}

/* --- COMMIT and ABORT ------------------------------------------------------------------------- */

/* Does what was prepared, at the decision's time. */
static int carry_out(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                     const struct msg_txn *part, struct bytes vote_body, uint64_t time)
{
    struct msg_txn writes = *part;
    struct msg_txn_reply voted, reply;
    struct txn_run run = {
        .round = &kv->round,
        .arena = &kv->arena,
        .overlay = &kv->overlay,
        .txn = &writes,
        .part = true,
        .time = time,
        .range = kv->range,
    };

    writes.n_compares = writes.n_reads = 0; /* they held, and are locked */
    if (dec_txn_reply(vote_body, &kv->arena, &voted) < 0)
        return -ERR_CORRUPT;
    if (voted.status != 0) /* nobody commits what we refused */
        return -ERR_CORRUPT;
    int err = kv_txn_run(&run, &reply);
    if (!err && reply.status != 0)
        err = -ERR_CORRUPT;
    if (err)
        return err;
    apply_put_overlay(kv, &voted, sink);
    apply_time_passed(kv, e, time);
    return 0;
}

int apply_outcome(struct kv *kv, const struct kv_entry *e, struct bytes in,
                  const struct kv_sink *sink)
{
    struct msg_outcome m;
    struct msg_txn part;
    struct bytes body;

    if (dec_outcome(in, &kv->arena, &m) < 0 || m.gid == kv->gid || m.commit > 1)
        return apply_status(kv, e, sink, -ERR_INVALID);
    const struct txid id = {m.gid, m.term, m.n}, below = {m.gid, m.below_term, m.below_n};
    prepared_fence(&kv->prepared, &below, &kv->round, &kv->arena);
    const struct txn_record *t = prepared_find(&kv->prepared, &id);
    enum txn_fate fate = m.commit ? FATE_COMMITTED : FATE_ABORTED;

    if (!t && prepared_is_fenced(&kv->prepared, &id))
        return apply_status(kv, e, sink, 0); /* told again, late */
    if (!t && m.commit)
        return apply_status(kv, e, sink, -ERR_NOT_FOUND);
    if (t && t->fate != FATE_PREPARED)
        return apply_status(kv, e, sink, t->fate == fate ? 0 : -ERR_STALE);
    int err = t ? prepared_get(&kv->prepared, &id, &kv->round, &kv->arena, &body, &part) : 0;
    if (!err && m.commit)
        err = carry_out(kv, e, sink, &part, body, m.time);
    if (err)
        return err;
    prepared_settle(&kv->prepared, &id, fate, &part, &kv->locks, &kv->round, &kv->arena);
    if (t)
        apply_tell_released(kv, sink, &id);
    return apply_status(kv, e, sink, 0);
}
