/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - the state machines of several groups, each with its log, and nothing between them: a
 * test is all their leaders and the network.
 *
 *   struct kvc *c = kvc_create(2);           groups 0 and 1
 *   kvc_own(c, 1, 2);                        group 1 owns shard 2; group 0 all others
 *   uint64_t client = kvc_session(c);        known to all groups
 *   kvc_prepare(c, 1, id, &part)->status     an entry of group 1, and its answer
 *
 * Everything it returns lives until kvc_destroy.
 */
#pragma once

#include "tests/unit/kv/fixture.h"

#define KVC_GROUPS 4

struct kvc_group {
    uint32_t gid;
    uint64_t term, time;
    unsigned rows; /* that it holds back after a restart; 0: the usual */
    GArray *log;   /* struct kv_entry; the data is the cluster's */
    struct store *store;
    size_t base; /* batches that the store had before the log's first entry */
    struct kv *kv;
    /* Of the last entry. */
    unsigned reply_type;
    struct bytes reply;
    unsigned released; /* locks, in all */
};

struct kvc {
    unsigned n;
    struct kvc_group g[KVC_GROUPS];
    size_t piece;   /* bytes in a piece of a shard that moves; 0: the most */
    uint64_t as_of; /* of the last piece: for the INSTALL */
    struct arena arena;
};

struct kvc *kvc_create(unsigned n);
void kvc_destroy(struct kvc *c);
/* Before anything else happens. */
void kvc_own(struct kvc *c, unsigned group, unsigned shard);

/* Appends an entry of the group's present term, applies it; the answer is in the group. */
void kvc_entry(struct kvc *c, unsigned group, enum kv_command cmd, struct bytes body);
unsigned kvc_status(struct kvc *c, unsigned group, enum kv_command cmd,
                    struct enc *e); /* frees e */
/* Closes the state machine and opens it again, with a new term; in every other term what the store
 * did not have is lost, and applied again from the log. */
void kvc_restart(struct kvc *c, unsigned group);
/* Another replica that applies the same log, in one go, ends with the same bytes. */
void kvc_check_replica(struct kvc *c, unsigned group);

uint64_t kvc_session(struct kvc *c);
/* The group is told the live set as of now; all are. */
void kvc_tell(struct kvc *c, unsigned group);
void kvc_tell_sessions(struct kvc *c);

struct msg_txn_reply *kvc_txn(struct kvc *c, unsigned group, const struct msg_txn *t);
struct msg_txn_reply *kvc_prepare(struct kvc *c, unsigned group, struct txid id,
                                  const struct msg_txn *part);
/* The elements of t whose shards this group serves. */
struct msg_txn *kvc_part(struct kvc *c, unsigned group, const struct msg_txn *t);
/* votes[i]: what group voters[i] answered. Its own shards are what is left. */
struct msg_decided *kvc_decide(struct kvc *c, unsigned group, struct txid id,
                               const struct msg_txn *t, const unsigned *voters,
                               struct msg_txn_reply *const *votes, unsigned n_votes);
unsigned kvc_outcome(struct kvc *c, unsigned group, struct txid id, bool commit, uint64_t time);
unsigned kvc_below(struct kvc *c, unsigned group, struct txid below);
unsigned kvc_ended(struct kvc *c, unsigned group, struct txid id);
struct msg_txn_reply *kvc_reply(struct kvc *c, struct bytes body);
/* One step of a move; the status. */
unsigned kvc_step(struct kvc *c, unsigned group, enum kv_command cmd, unsigned shard, uint64_t num,
                  unsigned peer);
/* The piece that the new owner wants next, logged there. -ERR_BUSY: all is here; else kv_export's
 * error, or the status. */
int kvc_stage(struct kvc *c, unsigned from, unsigned to, unsigned shard, uint64_t num);
unsigned kvc_install(struct kvc *c, unsigned group, unsigned shard, uint64_t num);
/* Until all is gone; each answer but the last says that there is more. */
void kvc_delete(struct kvc *c, unsigned from, unsigned to, unsigned shard, uint64_t num);
/* From begin to end. */
void kvc_move(struct kvc *c, unsigned from, unsigned to, unsigned shard, uint64_t num);
/* Who owns it, by the groups' own states; -1: nobody serves it. */
int kvc_owner(struct kvc *c, unsigned shard);
/* The value with eight zeros behind it; NULL: absent. */
const char *kvc_get(struct kvc *c, struct bytes key);
