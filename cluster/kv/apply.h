/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.h - what the commands' files have in common: apply.c (transactions, the table of commands),
 * sessions.c, prepare.c and decide.c (two-phase commit), move.c. Private.
 *
 * A command decides, puts its rows into the round, and ends with exactly one of the functions below
 * that say "ends". None of them fails; whatever a command returns is an error of the store.
 */
#pragma once

#include "cluster/kv/state.h"

/* One command: its body is what follows the command byte. */
typedef int apply_fn(struct kv *kv, const struct kv_entry *e, struct bytes body,
                     const struct kv_sink *sink);

apply_fn apply_session_open, apply_session_close, apply_session_set, apply_sessions_fenced;
apply_fn apply_prepare, apply_outcome, apply_decide, apply_forget;
apply_fn apply_move_begin, apply_move_close, apply_move_freeze, apply_move_delete;
apply_fn apply_move_stage, apply_move_install;

/* The entry ends: it is applied, and answered with this. */
int apply_answer(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, unsigned type,
                 struct bytes body);
/* Ends with a status; a verdict above 0 counts as 0. */
int apply_status(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, int verdict);
/* Ends with a txn_reply that is no result: nothing is kept, the same request may come again. */
int apply_refuse(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, int status);

/* For the sink: a prepared transaction's locks are gone; the shard is served, or no longer, or
 * gone from here. */
void apply_tell_released(struct kv *kv, const struct kv_sink *sink, const struct txid *id);
void apply_tell_shard(struct kv *kv, const struct kv_sink *sink, unsigned shard);

/* The time that the entry's changes carry. It is the entry's own unless a shard that came here, or
 * a decision made elsewhere, has later times: then it is just after those. */
uint64_t apply_time(struct kv *kv, const struct kv_entry *e);
/* Later changes shall be after `time`. */
void apply_time_passed(struct kv *kv, const struct kv_entry *e, uint64_t time);

/* May the session write here? 0; -ERR_NO_SESSION: it has ended, or never was; -ERR_BUSY: this group
 * has not been told yet whether it is. */
NODISCARD int apply_session_judge(const struct kv *kv, uint64_t client);

/* One step of the counter of each of these shards, into reply->versions; not stored yet. */
NODISCARD int apply_step_counters(struct kv *kv, const uint16_t *shards, unsigned n,
                                  struct msg_txn_reply *reply);
void apply_put_counters(struct kv *kv, const struct msg_txn_reply *reply);
/* The dirty slots of kv->overlay, with the versions in `reply`. */
void apply_put_overlay(struct kv *kv, const struct msg_txn_reply *reply,
                       const struct kv_sink *sink);
/* kv->reply is the result of t in `shard`, where the client's row was `row`. */
void apply_put_result(struct kv *kv, const struct msg_txn *t, unsigned shard, struct bytes row);
/* A row of a shard, data or result, is changed by this entry: for a move that is under way. */
void apply_touched(struct kv *kv, struct bytes key);
