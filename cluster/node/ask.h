/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.h - this node asks the leader of a group, here or elsewhere: one request, one answer.
 *
 * Until it is answered or its time is over the request is sent again: to the node that is said to
 * lead, after a lost link, and when nobody answers, member by member. So whoever asks must be able
 * to bear that it is executed twice; all commands of cluster/kv that members send each other are.
 *
 * A leader that is on this very node is asked through a connection of the node with itself, so that
 * whoever serves does not know the difference. Neither request nor answer is ever handled inside a
 * call: both wait for asks_deliver, at the beginning of a round, when cores may be called.
 *
 * Bounded: ASKS_MAX at once, beyond it ask_group answers BUSY, in the same way.
 */
#pragma once

#include "cluster/kv/kv.h"
#include "cluster/node/conn.h"

#define ASKS_MAX 8192

/* err 0: the answer, of any type but a status that is an error. Else the error of such a status, or
 * -ERR_TIMEOUT, -ERR_BUSY. body is borrowed. May ask again. */
typedef void ask_done(void *ctx, int err, unsigned type, struct bytes body);

void asks_init(struct node *n);
void asks_finish(struct node *n); /* without a word to those who wait */

/* Returns a name for ask_drop. The body is copied. */
uint64_t ask_group(struct node *n, uint32_t gid, unsigned type, struct bytes body,
                   unsigned timeout_ms, ask_done *done, void *ctx);
/* The same for a command of cluster/kv, which the leader logs. */
uint64_t ask_command(struct node *n, uint32_t gid, enum kv_command cmd, struct bytes body,
                     unsigned timeout_ms, ask_done *done, void *ctx);
/* For a PREPARE; wait and age: see GROUP_COMMAND. */
uint64_t ask_prepare(struct node *n, uint32_t gid, enum prepare_wait wait, uint64_t age,
                     struct bytes body, unsigned timeout_ms, ask_done *done, void *ctx);
/* A request of the node's own: whoever holds it answers it as any other, and done hears that. It is
 * neither repeated nor bounded in time. NULL: too many. */
struct request *ask_self(struct node *n, ask_done *done, void *ctx);
/* done will not be called. 0 or one that is over: nothing happens. */
void ask_drop(struct node *n, uint64_t ask);

/* For conn.c and serve.c: a frame for the node itself; an answer on a member's link (false: to
 * nothing that was asked); that link is gone. */
void asks_to_self(struct node *n, struct bytes frame);
bool asks_answer(struct conn *c, unsigned type, uint64_t id, struct bytes body);
void asks_link_down(struct node *n, uint32_t node);
/* What was said here to this node itself. Not between collect and apply. */
void asks_deliver(struct node *n);
bool asks_have_work(const struct node *n);
void asks_tick(struct node *n);
