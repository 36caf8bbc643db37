/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prepared.h - what a group remembers of transactions over several groups (DESIGN 3.2).
 *
 * As a participant: each transaction that is prepared here, with its part, its vote and thereby its
 * locks, until its outcome is logged; then only that it was committed or aborted, so that a PREPARE
 * that comes late is refused, a COMMIT that comes twice writes once. That is remembered until the
 * coordinator group says that all its transactions below some txid are over (its fence): whatever
 * is below is refused from then on without being remembered one by one.
 *
 * As a coordinator: each decision to commit that some participant may not have logged yet. There
 * are no records of aborted ones: who finds none here, and the leader has no such attempt under
 * way, may take it that it is aborted, now and for ever.
 *
 *   table                 rest                          value
 *   TABLE_PREPARED 0x56   gid be32, term be64, n be64   u8 fate; if PREPARED: le64 index of the
 *                                                       entry, then with their lengths (le32) vote
 *                                                       (txn_reply) and part (txn)
 *   TABLE_DECISION 0x57   term be64, n be64             le64 time, le32 gid of each participant
 *   TABLE_FENCE    0x58   gid be32                      le64 term, le64 n
 */
#pragma once

#include "cluster/kv/locks.h"
#include "cluster/kv/round.h"

/* At once, each way; beyond it BUSY. */
#define PREPARED_MAX  4096
#define DECISIONS_MAX 4096

enum txn_fate { FATE_PREPARED = 1, FATE_COMMITTED = 2, FATE_ABORTED = 3 };

struct txn_record {
    struct txid id;
    enum txn_fate fate;
    /* Of a prepared one. */
    uint64_t client, index;
    unsigned n_shards;
    uint16_t *shards; /* owned */
};

struct kv_decision {
    struct txid id;
    uint64_t time;
    unsigned n_gids;
    uint32_t gids[GROUPS_MAX];
};

struct prepared {
    GPtrArray *records;   /* struct txn_record, by id */
    GArray *fences;       /* struct txid: the lowest of its gid that may still be prepared */
    GPtrArray *decisions; /* struct kv_decision, by id */
    unsigned *touching;   /* prepared transactions, by shard */
    unsigned n_prepared;
    uint32_t gid; /* of this group */
};

static inline int txid_order(const struct txid *a, const struct txid *b)
{
    if (a->gid != b->gid)
        return a->gid < b->gid ? -1 : 1;
    if (a->term != b->term)
        return a->term < b->term ? -1 : 1;
    return a->n < b->n ? -1 : a->n > b->n;
}

void prepared_init(struct prepared *s, uint32_t gid, unsigned n_shards);
void prepared_finish(struct prepared *s);
/* Also takes the locks. -ERR_IO, -ERR_CORRUPT. */
NODISCARD int prepared_load(struct prepared *s, struct locks *locks, struct store *store,
                            struct arena *a);

struct txn_record *prepared_find(const struct prepared *s, const struct txid *id); /* NULL */
/* True: it is over, or what it was is forgotten. */
bool prepared_is_fenced(const struct prepared *s, const struct txid *id);
/* Vote and part of a prepared one, borrowed from the arena. */
NODISCARD int prepared_get(struct prepared *s, const struct txid *id, struct round *r,
                           struct arena *a, struct bytes *ret_vote, struct msg_txn *ret_part);

/* Each changes memory and round. */
void prepared_add(struct prepared *s, const struct txid *id, uint64_t index, struct bytes vote,
                  const struct msg_txn *part, struct bytes part_bytes, struct locks *locks,
                  struct round *r, struct arena *a);
/* The fate of one that is prepared (its part is `part`; the locks are released) or, aborted, was
 * never seen (NULL). */
void prepared_settle(struct prepared *s, const struct txid *id, enum txn_fate fate,
                     const struct msg_txn *part, struct locks *locks, struct round *r,
                     struct arena *a);
/* All of below->gid below it are over: forgets them. Does nothing if that was known. */
void prepared_fence(struct prepared *s, const struct txid *below, struct round *r, struct arena *a);

const struct kv_decision *decision_find(const struct prepared *s, const struct txid *id); /* NULL */
void decision_add(struct prepared *s, const struct kv_decision *d, struct round *r,
                  struct arena *a);
void decision_end(struct prepared *s, const struct txid *id, struct round *r, struct arena *a);
