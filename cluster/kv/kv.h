/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.h - the replicated state machine of one group: sessions and mini-transactions
 * (DESIGN 3.2, 3.3) on a state store.
 *
 * Deterministic: state is a function of the entries applied, nothing else (no clock, no rng, no
 * iteration order of a hash table reaches it). Entries share atomic store batches (round.h), each
 * with the applied index, term and time of its last entry, so a crash never repeats or skips an
 * entry, nor leaves one half done.
 *
 * The newest rows are held in memory, up to 4,096 of them or 1 MiB: the store is a few entries
 * behind. kv_settle brings it up to date; a flush or a checkpoint that shall hold what was applied
 * begins with it. Closing drops them: the log has them.
 *
 * Keys in the store: [shard be16][table u8][rest]; tables are listed in kv/layout.h. Shard 0xffff
 * holds the group's own records (applied index, sessions). A stored value is [tag u8 = 0 inline]
 * [version le64][bytes].
 *
 * Version of a value: its shard's write counter at its last write; the counter takes one step per
 * transaction and shard, never goes back; 0 = absent.
 *
 * Exactly once: OK and FAILED of a transaction with writes are kept in its lowest-numbered written
 * shard, in one row per (shard, client), until acked_below passes them. A retry finds it and
 * changes nothing. A seq below acked_below is ERR_STALE; an unknown client ERR_NO_SESSION (also for
 * a session that has expired: it is fenced from that entry on), or ERR_BUSY in a group that cannot
 * know it yet. ERR_BUSY, too: SESSION_WINDOW results are kept in that row which the client has not
 * released; a retry must carry its present acked_below.
 *
 * Threads: one. Memory: O(sessions) for the live set; everything else is in the store.
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/kv/config.h"
#include "cluster/kv/groups.h"
#include "cluster/kv/met.h"
#include "cluster/kv/nodes.h"
#include "cluster/kv/part.h"
#include "cluster/kv/prepared.h"
#include "cluster/kv/shards.h"
#include "cluster/store/store.h"

/* What an entry's data holds: a u8 command and the encoded message. */
enum kv_command {
    KV_CMD_TXN = 1,           /* msg_txn */
    KV_CMD_SESSION_OPEN = 2,  /* msg_session_open; the client id is the entry's index */
    KV_CMD_SESSION_CLOSE = 3, /* msg_session_close; also proposed by the leader on expiry */
    KV_CMD_PREPARE = 4,       /* msg_prepare; answered by a txn_reply: the vote, or why not */
    KV_CMD_DECIDE = 5,        /* msg_decide; answered by decided */
    KV_CMD_OUTCOME = 6,       /* msg_outcome */
    KV_CMD_FORGET = 7,        /* msg_forget */
    KV_CMD_MOVE_BEGIN = 8,    /* msg_shard_move, at the old owner; so are CLOSE, FREEZE, DELETE */
    KV_CMD_MOVE_CLOSE = 9,
    KV_CMD_MOVE_FREEZE = 10,
    KV_CMD_MOVE_DELETE = 11,  /* answered BUSY: again, there is more */
    KV_CMD_MOVE_STAGE = 12,   /* msg_shard_stage, at the new owner */
    KV_CMD_MOVE_INSTALL = 13, /* msg_shard_install, at the new owner */
    KV_CMD_CHECK = 16,        /* no message: keep a view of this state, changes nothing */
    KV_CMD_NODE = 17,         /* msg_node_record; group 0 only, proposed by its leader */
    KV_CMD_GROUP = 18,        /* msg_group_create; group 0 only */
    KV_CMD_MET = 19,          /* msg_node_met; group 0 only, proposed by its leader */
    KV_CMD_SESSION_SET = 22,  /* msg_session_set; of all groups but 0, proposed by their leaders */
    KV_CMD_SESSIONS_FENCED = 23, /* msg_sessions_fenced; group 0 only, proposed by its leader */
    KV_CMD_HOME = 20,            /* msg_group_home; group 0 only */
    KV_CMD_HELD = 21,            /* the same, of the group's configuration; said by its leader */
    KV_CMD_CONFIG = 24,          /* msg_config_change; group 0 only */
    KV_CMD_MOVED = 25,           /* msg_config_moved; group 0 only, proposed by its leader */
};

struct kv_entry {
    uint64_t index, term, time_ns;
    struct bytes data; /* empty: a no-op, only the applied index moves */
    bool conf;         /* data is a configuration of the group, opaque here and kept */
};

struct kv;

/* Callbacks during kv_apply, entry by entry: changed for each key, released, shard, then reply. A
 * no-op and a configuration have none. They may call kv_read, kv_result, kv_watch, kv_unwatch; what
 * they read may already include later entries of the same kv_apply. */
struct kv_sink {
    /* The answer to entry `index`: a txn_reply, decided, session_reply, check_started or, of all
     * other commands, a status body. Borrowed. */
    void (*reply)(void *ctx, uint64_t index, unsigned msg_type, struct bytes body);
    /* `key` (client form) was written or deleted (version 0); only for keys with a kv_watch count.
     * A DELETE of a key that was absent is told too. */
    void (*changed)(void *ctx, struct bytes key, uint64_t version);
    /* The locks of this prepared transaction are gone: who met one (kv_conflict) may try again. */
    void (*released)(void *ctx, const struct txid *id);
    /* The shard is served from here on, or no longer: who waits for a key in it must go. Or it was
     * large and its last row is gone (FOREIGN): a flush gives the space back. */
    void (*shard)(void *ctx, unsigned shard);
    void *ctx;
};

/* Reads the applied index and the sessions; writes nothing. Borrows the store. -ERR_FORMAT,
 * -ERR_CORRUPT, -ERR_IO; -ERR_WRONG_CLUSTER: the state of another gid or number of shards. */
NODISCARD int kv_open(struct store *store, uint32_t gid, uint16_t shards, struct kv **ret,
                      struct errmsg *msg);
void kv_close(struct kv *kv);
/* As of the last entry, which the store may not have yet. */
void kv_applied(const struct kv *kv, uint64_t *ret_index, uint64_t *ret_term, uint64_t *ret_time);
/* (job, store.h) The same of a state that nobody has open, as a checkpoint. -ERR_NOT_FOUND: nothing
 * was applied; -ERR_CORRUPT, -ERR_IO. */
NODISCARD int kv_peek_applied(struct store_maker *stores, const char *dir, uint64_t *ret_index,
                              uint64_t *ret_term, uint64_t *ret_time);
/* The store is about to be closed under kv: lets go of its views. What is in memory can still be
 * read (sessions, nodes, members); what needs the store fails. */
void kv_detach(struct kv *kv);
/* Rows are held until there are so many; 1: none between calls of kv_apply. For tests. */
void kv_hold_rows(struct kv *kv, unsigned rows);
/* Writes what is held. An error is the store's; the rows are still held and kv can be read. */
NODISCARD int kv_settle(struct kv *kv);

/* Applies entries in order (index = applied + 1 ...; asserted). An error is the store's: the
 * replica must stop, or close and open both (all further calls give the error). A malformed command
 * (checked before it was proposed) gets an ERR_INVALID reply. sink may be NULL.
 */
NODISCARD int kv_apply(struct kv *kv, const struct kv_entry *entries, size_t n,
                       const struct kv_sink *sink);

/* Checks a request before it is proposed: limits, ops, ranges within a shard, offsets; the same
 * answer everywhere. 0, -ERR_INVALID, -ERR_TOO_BIG, -ERR_WRONG_GROUP. */
NODISCARD int kv_check(const struct kv *kv, const struct msg_txn *t);

/* Runs a transaction without writes on the present state: compares and reads; ret->status is 0,
 * ERR_FAILED or ERR_TOO_BIG (the reply would not fit a frame). What it points to lives in the arena
 * and in `t`. -ERR_INVALID, -ERR_TOO_BIG as kv_check; -ERR_IO, -ERR_CORRUPT. */
NODISCARD int kv_read(struct kv *kv, const struct msg_txn *t, struct arena *a,
                      struct msg_txn_reply *ret);

/* Looks for the kept result of (client, seq) so that a leader can answer a retry without logging.
 * False if it must be proposed. */
bool kv_result(struct kv *kv, const struct msg_txn *t, struct arena *a, struct bytes *ret_body);

/* Counted interest in a key, for WAIT. */
void kv_watch(struct kv *kv, struct bytes key);
void kv_unwatch(struct kv *kv, struct bytes key);

/* The live sessions as of the applied index. */
size_t kv_sessions(const struct kv *kv);
void kv_each_session(const struct kv *kv,
                     void (*each)(void *arg, uint64_t client, struct bytes name), void *arg);
bool kv_has_session(const struct kv *kv, uint64_t client);

/*
 * Kept states: each replica keeps a view of its state exactly as of a KV_CMD_CHECK entry, that it
 * can be compared with the others' (digest.h). The newest KV_KEPT_MAX, until they are dropped or kv
 * is closed; a view costs what the store cannot forget meanwhile. Not part of the state.
 */
#define KV_KEPT_MAX 2
unsigned kv_kept(const struct kv *kv, uint64_t ret_index[KV_KEPT_MAX]); /* their entries */
struct store_view *kv_kept_view(const struct kv *kv, uint64_t index);   /* NULL: not kept */
void kv_kept_drop(struct kv *kv, uint64_t index);

/* The data of the newest configuration entry applied, and that entry's index; empty and 0: none
 * was. Borrowed until the next kv_apply. */
struct bytes kv_conf(const struct kv *kv, uint64_t *ret_index);

/* The nodes that were added or removed (nodes.h), by id; `index` of the newest change among them.
 * Borrowed until the next kv_apply. */
const struct kv_node *kv_node(const struct kv *kv, uint32_t id);
const struct kv_node *kv_nodes(const struct kv *kv, unsigned *ret_n, uint64_t *ret_index);
/* 0 if that NODE command would take effect or has; else why it would be refused: -ERR_EXISTS, an
 * address that is not the first one; -ERR_REMOVED; -ERR_INVALID; -ERR_TOO_BIG. */
NODISCARD int kv_node_check(const struct kv *kv, uint32_t id, enum node_state state,
                            struct bytes address);

/* Under which incarnation each node was first met (met.h), by id; `index` of the newest among them.
 * Borrowed until the next kv_apply. */
const struct kv_met *kv_met(const struct kv *kv, uint32_t id);
const struct kv_met *kv_met_all(const struct kv *kv, unsigned *ret_n, uint64_t *ret_index);
/* 1: that MET command would change something; else as met_judge. */
NODISCARD int kv_met_check(const struct kv *kv, uint32_t id, uint64_t incarnation);

/* The groups that were made (groups.h), by gid; `index` of the newest among them. Borrowed until
 * the next kv_apply. */
const struct kv_group *kv_group(const struct kv *kv, uint32_t gid);
const struct kv_group *kv_groups(const struct kv *kv, unsigned *ret_n, uint64_t *ret_index);
/* 1: that GROUP command would make a group; 0: it is there already; else why it would be refused
 * (groups_judge). */
NODISCARD int kv_group_check(const struct kv *kv, const struct msg_group_create *m);

/* As groups_judge_home, of HOME. */
NODISCARD int kv_home_check(const struct kv *kv, const struct msg_group_home *m);
uint64_t kv_homes_index(const struct kv *kv); /* of the newest change of a home or of who holds */

/*
 * Shards. A request is served only where all its keys' shards are: kv_read gives -ERR_WRONG_GROUP,
 * an entry is answered with it, kv_result finds nothing. shards.h has the states; what moves a
 * shard between two groups is written there, too.
 */
const struct kv_shard *kv_shard(const struct kv *kv, unsigned shard);
unsigned kv_shards_served(const struct kv *kv); /* so many */
/* All shards that the request names, which kv_check has accepted. */
bool kv_serves(const struct kv *kv, const struct msg_txn *t);

/*
 * Configurations, of group 0 (config.h). A shard that is pending lies with its owner of before, and
 * perhaps already with the new one: ask the former, then the latter. A change is refused while any
 * is pending.
 */
const struct config *kv_config(const struct kv *kv); /* the latest; borrowed until kv_apply */
/* -ERR_NOT_FOUND: never made, or one of those that were forgotten (configs.h). */
NODISCARD int kv_config_at(struct kv *kv, uint64_t num, struct config *ret);
/* 0 and what a CONFIG command would make: the next configuration; or why it would be refused:
 * -ERR_CONFIG_NUM made for another than the latest, -ERR_MOVING moves are under way,
 * -ERR_NOT_FOUND a group that was never made is to join, else as config_change. */
NODISCARD int kv_config_check(const struct kv *kv, const struct msg_config_change *m,
                              struct config *ret);
unsigned kv_config_pending(const struct kv *kv); /* so many shards */
bool kv_config_is_pending(const struct kv *kv, unsigned shard, uint32_t *ret_from);

/*
 * Transactions over several groups (DESIGN 3.2, and README.md for a life of one). The leader of the
 * coordinator group takes the request apart (part.h), has each other group log its PREPARE, logs
 * DECIDE with their votes, and tells the OUTCOME until each has logged it, which FORGET ends.
 *
 * After a change of leader: kv_records has what was prepared here (for each PREPARED one that hears
 * nothing, ask group id.gid what became of it); kv_decisions has what is to be told (again). "What
 * became of it", asked of the coordinator group's leader once an entry of its own term is applied:
 * kv_decision has it: COMMIT; an attempt under way in memory: wait; else ABORT.
 */
const struct txn_record *const *kv_records(const struct kv *kv, unsigned *ret_n);
const struct kv_decision *const *kv_decisions(const struct kv *kv, unsigned *ret_n);
const struct kv_decision *kv_decision(const struct kv *kv, const struct txid *id); /* NULL: none */
unsigned kv_prepared(const struct kv *kv); /* so many hold locks here */
unsigned kv_prepared_on(const struct kv *kv, unsigned shard);
/* What a leader may say in `below`: `oldest` is the lowest txid of its own that is under way in
 * memory, or the next it will give. */
struct txid kv_below(const struct kv *kv, const struct txid *oldest);
/* Would an entry or a read with this request meet a lock? Whose, and on which of its keys. (False
 * says nothing about later entries.) kv_read gives -ERR_BUSY in that case, an entry is answered
 * BUSY. */
bool kv_conflict(const struct kv *kv, const struct msg_txn *t, struct txid *ret_by,
                 struct bytes *ret_key);

/*
 * Sessions of a cluster with several groups. Group 0's leader gives every other group's leader the
 * live set (kv_session_set: of what is applied), which logs it when it is newer than
 * kv_sessions_as_of. Once each group has said that it is as of X or later, group 0 logs
 * SESSIONS_FENCED X: until then those that have ended are kept among kv_each_fencing, and what
 * decides whether a session's locks may be broken must take them for alive.
 */
void kv_session_set(const struct kv *kv, struct arena *a, struct msg_session_set *ret);
uint64_t kv_sessions_as_of(const struct kv *kv);              /* of group 0: its applied index */
size_t kv_fencing(const struct kv *kv, uint64_t *ret_newest); /* and the newest's closing entry */
void kv_each_fencing(const struct kv *kv, void (*each)(void *arg, uint64_t client), void *arg);

/* The bytes of one command, for proposing. */
struct buf *kv_command(enum kv_command cmd, struct bytes body);
