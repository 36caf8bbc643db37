/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.def.h - one field list per message: msg.h and msg.c make struct, encoder, decoder and printer
 * from it (and the fuzz target walks it).
 *
 * F(kind, name): kind is U8 U16 U32 U64 or BYTES (u32 length + bytes; decoded borrowed).
 * L(type, name, max): a counted list of another struct of this file (`n_name` and `name`).
 * Fields are encoded in order, little-endian, without padding. A decoder refuses trailing bytes, a
 * count above max and a length beyond the input. Message type numbers are never reused.
 */
#pragma once

/* --- parts ------------------------------------------------------------------------------------ */

/* Keys are as the client sees them: two bytes of shard, then the rest. */
enum kv_compare_op {
    KV_ABSENT = 1,      /* key does not exist */
    KV_EXISTS = 2,      /* key exists */
    KV_VERSION = 3,     /* key's version == arg (0: absent) */
    KV_BYTES = 4,       /* the value holds `value` at offset arg */
    KV_EMPTY_RANGE = 5, /* no key in [key, hi) */
};
enum kv_read_op {
    KV_GET = 1,  /* value bytes [off, off+len), len 0 = all; size is the whole length */
    KV_SCAN = 2, /* pairs of [key, hi) in order, at most len of them; `more` if cut short. off 1:
                    keys and versions only */
};
enum kv_write_op {
    KV_PUT = 1,          /* key := value */
    KV_DELETE = 2,       /* absent afterwards; no error if it was */
    KV_DELETE_RANGE = 3, /* at most arg keys of [key, hi), in order; the result's size counts them */
    KV_WRITE = 4,        /* value into the key's value at offset arg; grows with zeros, creates */
    KV_TRUNCATE = 5,     /* cut or grow with zeros to length arg; no-op on an absent key */
    KV_ADD64 = 6,        /* le64 at offset arg += le64 in value (mod 2^64); absent key: FAILED */
    KV_MAX64 = 7,        /* le64 at offset arg = max(it, le64 in value); absent key: FAILED */
    KV_TIME64 = 8,       /* le64 at offset arg = the entry's timestamp (ns); absent key: FAILED */
    /* ADD64 and the like on a key created earlier in the same transaction are fine. */
};

#define KV_COMPARE_FIELDS(F, L) F(U8, op) F(BYTES, key) F(BYTES, hi) F(U64, arg) F(BYTES, value)
#define KV_READ_FIELDS(F, L)    F(U8, op) F(BYTES, key) F(BYTES, hi) F(U64, off) F(U64, len)
#define KV_WRITE_FIELDS(F, L)   F(U8, op) F(BYTES, key) F(BYTES, hi) F(U64, arg) F(BYTES, value)
#define KV_PAIR_FIELDS(F, L)    F(BYTES, key) F(U64, version) F(BYTES, value)
/* One per read, in order. GET: version 0 = absent. */
#define KV_RESULT_FIELDS(F, L)                                                                     \
    F(U8, more) F(U64, version) F(U64, size) F(BYTES, value) L(kv_pair, pairs, SCAN_ENTRIES_MAX)
/* The shard's write counter after the transaction: the version of every value it wrote there. */
#define KV_VERSION_FIELDS(F, L) F(U16, shard) F(U64, version)
#define RAFT_WIRE_ENTRY_FIELDS(F, L) F(U64, term) F(U64, index) F(U64, time) F(U8, type) F(BYTES, data)
#define NODE_ADDRESS_FIELDS(F, L) F(U32, node) F(BYTES, address)
#define MEMBER_STATUS_FIELDS(F, L)                                                                 \
    F(U32, node) F(U64, match) F(U64, next) F(U8, state) F(U64, heard_ms) F(U8, suspect)
/* lease: of a leader, enum lease_state; shards: so many are served by the group, as applied here. */
enum lease_state { LEASE_OFF = 0, LEASE_ENDED = 1, LEASE_HOLDS = 2 };
#define GROUP_STATUS_FIELDS(F, L)                                                                  \
    F(U32, gid) F(U8, role) F(U32, leader) F(U64, term) F(U64, first) F(U64, last)                 \
    F(U64, persisted) F(U64, commit) F(U64, applied) F(U64, sessions) F(U16, shards)               \
    F(U32, n_voters) F(U8, lease) F(U8, suspect) F(U64, repair_goal)                               \
    L(member_status, members, VOTERS_MAX)
#define COUNTER_FIELDS(F, L) F(BYTES, name) F(U64, value)
#define CHECK_BOUND_FIELDS(F, L) F(BYTES, at)
#define CHECK_PIECE_FIELDS(F, L) F(BYTES, at) F(U64, hash) F(U64, rows) F(U64, keys) F(U64, bytes)
/* roles: a sum of MEMBER_VOTER (of the newer half), MEMBER_LEAVING (a voter of the older half of a
 * joint configuration) and MEMBER_LEARNER; 0: known, but not in the configuration. */
enum member_roles { MEMBER_VOTER = 1, MEMBER_LEAVING = 2, MEMBER_LEARNER = 4 };
#define MEMBER_FIELDS(F, L)                                                                        \
    F(U32, node) F(U8, roles) F(U8, caught_up) F(U64, match) F(U64, heard_ms) F(BYTES, address)

/* Flags as in RAFT_WIRE. */
#define BEAT_ASK_FIELDS(F, L) F(U32, gid) F(U64, term) F(U64, commit) F(U64, read_round) F(U8, flags)
#define BEAT_ANSWER_FIELDS(F, L)                                                                   \
    F(U32, gid) F(U64, term) F(U64, index) F(U64, hint) F(U64, read_round) F(U32, promise) F(U8, flags)
#define GROUP_MEMBER_FIELDS(F, L) F(U32, node)
/* Where a group's replicas were at first, shall be, and are. */
#define GROUP_PLACE_FIELDS(F, L)                                                                   \
    F(U32, gid) L(group_member, members, VOTERS_MAX) L(group_member, home, VOTERS_MAX)             \
    L(group_member, held, VOTERS_MAX)
#define GROUP_ID_FIELDS(F, L)     F(U32, gid)
#define SHARD_ID_FIELDS(F, L)     F(U16, shard)
#define SHARD_FROM_FIELDS(F, L)   F(U16, shard) F(U32, gid)
#define SHARD_ROW_FIELDS(F, L)    F(U8, gone) F(U32, at) F(BYTES, key) F(BYTES, value)
#define CLIENT_ID_FIELDS(F, L)    F(U64, client)
/* Names one attempt of a transaction over several groups: coordinator, its term, a number. */
#define TXID_FIELDS(F, L)         F(U32, gid) F(U64, term) F(U64, n)
#define DECIDE_VOTE_FIELDS(F, L)                                                                   \
    F(U32, gid) L(shard_id, shards, SHARDS_MAX) F(BYTES, reply)

#define MSG_PARTS(X)                                                                               \
    X(kv_compare, KV_COMPARE_FIELDS)                                                               \
    X(kv_read, KV_READ_FIELDS)                                                                     \
    X(kv_write, KV_WRITE_FIELDS)                                                                   \
    X(kv_pair, KV_PAIR_FIELDS)                                                                     \
    X(kv_result, KV_RESULT_FIELDS)                                                                 \
    X(kv_version, KV_VERSION_FIELDS)                                                               \
    X(raft_wire_entry, RAFT_WIRE_ENTRY_FIELDS)                                                     \
    X(node_address, NODE_ADDRESS_FIELDS)                                                           \
    X(member_status, MEMBER_STATUS_FIELDS)                                                         \
    X(group_status, GROUP_STATUS_FIELDS)                                                           \
    X(counter, COUNTER_FIELDS)                                                                     \
    X(check_bound, CHECK_BOUND_FIELDS)                                                             \
    X(check_piece, CHECK_PIECE_FIELDS)                                                             \
    X(member, MEMBER_FIELDS)                                                                       \
    X(group_member, GROUP_MEMBER_FIELDS)                                                           \
    X(group_place, GROUP_PLACE_FIELDS)                                                             \
    X(beat_ask, BEAT_ASK_FIELDS)                                                                   \
    X(beat_answer, BEAT_ANSWER_FIELDS)                                                             \
    X(group_id, GROUP_ID_FIELDS)                                                                   \
    X(shard_id, SHARD_ID_FIELDS)                                                                   \
    X(shard_from, SHARD_FROM_FIELDS)                                                               \
    X(shard_row, SHARD_ROW_FIELDS)                                                                 \
    X(client_id, CLIENT_ID_FIELDS)                                                                 \
    X(txid, TXID_FIELDS)                                                                           \
    X(decide_vote, DECIDE_VOTE_FIELDS)

/* --- messages --------------------------------------------------------------------------------- */

/* First frame of each side. node 0: a client. incarnation: random, written at init; peers refuse
 * another one under a known id. cluster 0: a client that was not told. purpose: what the dialer
 * opened the connection for; bulk keeps snapshot chunks from delaying heartbeats; of a client, read
 * anywhere: a node that follows is to serve a TXN without writes itself, at a read point that its
 * leader confirms, where else it would answer NOT_LEADER. */
enum hello_purpose { HELLO_MAIN = 0, HELLO_BULK = 1, HELLO_READ_ANYWHERE = 2 };
/* Of what these messages mean; FRAME_VERSION is the framing's. */
#define HELLO_PROTOCOL 2
#define HELLO_FIELDS(F, L)                                                                         \
    F(U32, protocol) F(U64, cluster) F(U32, node) F(U64, incarnation) F(U8, purpose)               \
    F(BYTES, software)

/* Any request may be answered by this: status is an ERR_ number (0 = done), leader a node id to try
 * (0 unknown), which leads group gid; detail a text for a person. */
#define STATUS_FIELDS(F, L) F(U16, status) F(U32, leader) F(U32, gid) F(BYTES, detail)

/* DESIGN 3.2. client 0: allowed without writes only. seq names the request within the client. */
#define TXN_FIELDS(F, L)                                                                           \
    F(U64, client) F(U64, seq) F(U64, acked_below)                                                 \
    L(kv_compare, compares, TXN_COMPARES_MAX)                                                      \
    L(kv_read, reads, TXN_READS_MAX) L(kv_write, writes, TXN_WRITES_MAX)
/* status 0 or ERR_FAILED are results. failed: index of the first compare (then of the writes,
 * counted on) that did not hold. time: the entry's timestamp, 0 for a read. */
#define TXN_REPLY_FIELDS(F, L)                                                                     \
    F(U16, status) F(U32, failed) F(U64, time)                                                     \
    L(kv_result, reads, TXN_READS_MAX) L(kv_version, versions, 16)                                 \
    L(counter, deleted, 16) /* per DELETE_RANGE: name empty, value = keys deleted */
/* Answers (TXN_REPLY with one GET result) when the version of key differs from `version`, or with
 * status ERR_TIMEOUT after timeout_ms; NOT_LEADER or WRONG_GROUP when leadership or shard goes. */
#define WAIT_FIELDS(F, L) F(BYTES, key) F(U64, version) F(U32, timeout_ms)

/* Sessions (3.3), group 0 only. OPEN answers SESSION_REPLY with a client id never used before; the
 * log index of its entry. KEEPALIVE extends it by SESSION_TIMEOUT_MS at the leader. */
#define SESSION_OPEN_FIELDS(F, L)  F(U64, nonce) F(BYTES, name)
#define SESSION_CLOSE_FIELDS(F, L) F(U64, client)
#define KEEPALIVE_FIELDS(F, L)     F(U64, client)
/* The live client ids (linearizable), for the reclaim of orphans and locks. */
#define SESSION_LIST_FIELDS(F, L)  F(U8, unused)
#define SESSION_REPLY_FIELDS(F, L) F(U16, status) F(U64, client) L(counter, live, SESSIONS_MAX)

/* Who has a shard, and who leads there: answered by any node at once from what it knows. A shard that
 * moves lies with gid, and perhaps already with `next` (else the same). leader: of gid, 0 unknown;
 * members: of gid, as of its making. Shard LOCATE_GROUP_0: group 0 itself, which has the sessions. */
#define LOCATE_GROUP_0 0xffff
#define LOCATE_FIELDS(F, L) F(U16, shard)
#define LOCATE_REPLY_FIELDS(F, L)                                                                  \
    F(U16, status) F(U32, gid) F(U32, next) F(U32, leader) F(U16, shards)                          \
    L(group_member, members, VOTERS_MAX) L(node_address, nodes, NODES_MAX)

#define NODE_STATUS_FIELDS(F, L) F(U8, unused)
#define NODE_STATUS_REPLY_FIELDS(F, L)                                                             \
    F(U16, status) F(U32, node) F(U64, uptime_ms) F(BYTES, note) F(U64, disk_free)                 \
    L(group_status, groups, GROUPS_MAX + 1) L(counter, counters, 256)

/* Answered by STATUS when the group is led by that node, or it is known that it will not be. */
#define LEADER_MOVE_FIELDS(F, L) F(U32, gid) F(U32, node)

/* Raft between nodes: several messages of several groups may share a frame's round, not a frame.
 * reject: bit 0 that itself, bit 1 a VOTE's transfer flag, bit 3 an answer's suspect flag, bit 4 a
 * heartbeat's or its answer's urgent flag. hint_term: of a HEARTBEAT_RESP its promise, in ticks. */
#define RAFT_WIRE_FIELDS(F, L)                                                                     \
    F(U32, gid) F(U8, type) F(U32, from) F(U32, to) F(U64, term) F(U64, index) F(U64, log_term)    \
    F(U64, commit) F(U8, reject) F(U64, hint) F(U64, hint_term) F(U64, read_round)                 \
    L(raft_wire_entry, entries, APPEND_ENTRIES_MAX)
/* Raft's heartbeats and the answers to them, of all groups between two nodes (cluster/node/beat.h). */
#define BEAT_FIELDS(F, L)                                                                          \
    L(beat_ask, asks, GROUPS_MAX + 1) L(beat_answer, answers, GROUPS_MAX + 1)
/* A piece of a snapshot's byte stream (files one after another, see cluster/node/snapshot.h). The
 * receiver answers with the offset it has durably taken, which is also how a transfer resumes. */
#define SNAP_CHUNK_FIELDS(F, L)                                                                    \
    F(U32, gid) F(U64, term) F(U64, index) F(U64, index_term) F(U64, index_time) F(U64, id)        \
    F(U64, offset) F(U8, last) F(BYTES, conf) F(BYTES, data)
#define SNAP_ACK_FIELDS(F, L) F(U32, gid) F(U64, term) F(U64, id) F(U64, offset) F(U16, status)

/* Shuffle (mr/): a byte range of a map attempt's spill; answered by FETCH_REPLY. */
#define FETCH_FIELDS(F, L)                                                                         \
    F(BYTES, job) F(U64, epoch) F(U32, task) F(U32, attempt) F(U32, partition) F(U64, off) F(U32, len)
#define FETCH_REPLY_FIELDS(F, L) F(U16, status) F(U64, size) F(BYTES, data) F(BYTES, detail)

/* Comparing replicas (cluster/node/check.h). CHECK goes to the leader: an entry is logged, each
 * replica keeps a view of its state as of it; CHECK_STARTED names it. CHECK_ASK goes to every node:
 * hashes of [lo, hi) of that state (both empty: by shard; every > 0: cut each so many rows; else at
 * bounds; kv/digest.h). CHECK_PIECES: status BUSY: not ready yet, ask again; NOT_FOUND: that state is
 * not kept here (any more, or not yet: see applied). hashed: rows so far. */
#define CHECK_FIELDS(F, L)         F(U32, gid)
#define CHECK_STARTED_FIELDS(F, L) F(U16, status) F(U64, index)
#define CHECK_ASK_FIELDS(F, L)                                                                     \
    F(U32, gid) F(U64, index) F(BYTES, lo) F(BYTES, hi) F(U64, every) L(check_bound, bounds, 64)
#define CHECK_PIECES_FIELDS(F, L)                                                                  \
    F(U16, status) F(U64, applied) F(U64, hashed) L(check_piece, pieces, SHARDS_MAX + 1)
/* Membership. CHANGE: what an administrator asks the leader of group 0; answered by STATUS once it
 * is committed and applied, or why not. address: of a node that is added. */
enum member_op { MEMBER_ADD = 1, MEMBER_PROMOTE = 2, MEMBER_REMOVE = 3 };
#define MEMBER_CHANGE_FIELDS(F, L) F(U8, op) F(U32, node) F(BYTES, address)
/* Who belongs to it and as what: answered by any node at once from what it knows. index: of the
 * newest configuration; match, heard_ms and caught_up of each member as the leader sees them. */
#define MEMBERS_FIELDS(F, L) F(U8, unused)
#define MEMBERS_REPLY_FIELDS(F, L)                                                                 \
    F(U16, status) F(U32, leader) F(U16, shards) F(U64, index) F(U64, last) F(U8, joint)           \
    L(member, members, NODES_MAX)
/* A KV_CMD_NODE's (cluster/kv/nodes.h); never sent by itself. */
#define NODE_RECORD_FIELDS(F, L) F(U32, node) F(U8, state) F(BYTES, address)
/* A KV_CMD_MET's (cluster/kv/met.h); never sent by itself. */
#define NODE_MET_FIELDS(F, L) F(U32, node) F(U64, incarnation)

/* A new group with these first members; what an administrator asks the leader of group 0, and a
 * KV_CMD_GROUP's body (cluster/kv/groups.h). Answered by STATUS once it is committed, or why not; the
 * same again is done already. */
#define GROUP_CREATE_FIELDS(F, L) F(U32, gid) L(group_member, members, VOTERS_MAX)
/* Where the replicas of a group shall live: what an administrator asks the leader of group 0; also a
 * KV_CMD_HOME's body, and that of a KV_CMD_HELD, by which a group's leader says where they do. */
#define GROUP_HOME_FIELDS(F, L) F(U32, gid) L(group_member, members, VOTERS_MAX)
/* The groups that were made, by gid, with their first members (group 0 is not among them): answered
 * by any node from what it has applied. */
#define GROUPS_FIELDS(F, L)       F(U8, unused)
#define GROUPS_REPLY_FIELDS(F, L) F(U16, status) L(group_place, groups, GROUPS_MAX)

/* Which group owns which shard (cluster/kv/config.h). CHANGE: the next configuration, made from
 * number `num`; gids of JOIN and LEAVE; shard and gids[0] of MOVE. MOVED: these shards' moves to
 * configuration `num` are done. Both are commands of group 0's log. */
enum config_op { CONFIG_JOIN = 1, CONFIG_LEAVE = 2, CONFIG_MOVE = 3, CONFIG_REBALANCE = 4 };
#define CONFIG_CHANGE_FIELDS(F, L)                                                                 \
    F(U8, op) F(U64, num) F(U16, shard) L(group_id, gids, GROUPS_MAX)
#define CONFIG_MOVED_FIELDS(F, L) F(U64, num) L(shard_id, shards, SHARDS_MAX)

/* Transactions over several groups (cluster/kv/README.md, DESIGN 3.2): commands of the logs. gid,
 * term, n: the attempt's txid; below_: every txid of that gid under this one is over, nobody will
 * ask or tell about it again (0 0: nothing is said).
 * PREPARE: part is a txn. DECIDE: of the coordinator, which is its gid; txn is the whole, with the
 * values that only other groups need left out; each vote is the txn_reply to a PREPARE of those
 * shards. DECIDED: the answer; reply is the txn_reply for the client, commit: there is a decision
 * that the participants must be told. OUTCOME: COMMIT (with the decision's time) or ABORT. FORGET:
 * to the coordinator (its gid): every participant has logged the outcome of `ended`; to a
 * participant: below_. */
#define PREPARE_FIELDS(F, L)                                                                       \
    F(U32, gid) F(U64, term) F(U64, n) F(U64, below_term) F(U64, below_n) F(BYTES, part)
#define DECIDE_FIELDS(F, L)                                                                        \
    F(U64, term) F(U64, n) F(BYTES, txn) L(decide_vote, votes, GROUPS_MAX)
#define DECIDED_FIELDS(F, L) F(U8, commit) F(BYTES, reply)
#define OUTCOME_FIELDS(F, L)                                                                       \
    F(U32, gid) F(U64, term) F(U64, n) F(U64, below_term) F(U64, below_n) F(U8, commit) F(U64, time)
#define FORGET_FIELDS(F, L)                                                                        \
    F(U32, gid) F(U64, below_term) F(U64, below_n) L(txid, ended, TXIDS_ENDED_MAX)
/* Between members. COMMAND: the leader of group gid logs this command (kv.h) and answers as it does,
 * or says who leads. Of a PREPARE that meets a lock, wait: enum prepare_wait; age: when its transaction
 * was tried first. TXN_ASK:
 * the leader of the coordinator group tells what became of an attempt (fate: enum txn_fate, PREPARED
 * while it is under way), and which txids of it are over. */
enum prepare_wait {
    PREPARE_WAITS_NOT = 0,
    PREPARE_WAITS = 1,             /* it holds no locks elsewhere: for anybody */
    PREPARE_WAITS_FOR_YOUNGER = 2, /* it does */
};
#define GROUP_COMMAND_FIELDS(F, L) F(U32, gid) F(U8, cmd) F(U8, wait) F(U64, age) F(BYTES, body)
#define TXN_ASK_FIELDS(F, L)       F(U32, gid) F(U64, term) F(U64, n)
#define TXN_FATE_FIELDS(F, L)                                                                      \
    F(U16, status) F(U8, fate) F(U64, time) F(U64, below_term) F(U64, below_n)
/* The configuration of this number, CONFIG_LATEST: the newest; or (PREVIEW) the one that a change
 * would make, which is not made. owners: the gid of each shard; pending: shards that are on their way
 * to it, and the group each comes from. Asked of the leader of group 0. */
#define CONFIG_LATEST UINT64_MAX
#define CONFIG_GET_FIELDS(F, L)    F(U64, num)
#define CONFIG_REPLY_FIELDS(F, L)                                                                  \
    F(U16, status) F(U64, num) L(group_id, groups, GROUPS_MAX + 1)                                 \
    L(group_id, owners, SHARDS_MAX) L(shard_from, pending, SHARDS_MAX)
/* A shard that moves to configuration `num` (cluster/kv/shards.h, export.h). MOVE: a step of the
 * group that gives it to `peer`. STAGE: of the one that takes it from `peer`, piece number seq; next:
 * the cursor behind it, empty: there is no more. INSTALL: with time and as_of of the last piece. PULL
 * asks any replica of the giving group for the piece at a cursor, which PIECE is; as_of: whose session
 * had ended by that entry of group 0 has no results in it. A row: key is its table and what follows;
 * the value's bytes from `at` on (at > 0: behind those of the piece before); gone: it was deleted. */
#define SHARD_MOVE_FIELDS(F, L) F(U16, shard) F(U64, num) F(U32, peer)
#define SHARD_STAGE_FIELDS(F, L)                                                                   \
    F(U16, shard) F(U64, num) F(U32, peer) F(U64, seq) F(BYTES, next)                              \
    L(shard_row, rows, SHARD_ROWS_MAX)
#define SHARD_INSTALL_FIELDS(F, L) F(U16, shard) F(U64, num) F(U64, time) F(U64, as_of)
#define SHARD_PULL_FIELDS(F, L)    F(U32, gid) F(U16, shard) F(U64, num) F(BYTES, cursor)
#define SHARD_PIECE_FIELDS(F, L)                                                                   \
    F(U16, status) F(U64, time) F(U64, as_of) F(U8, last_pass) F(BYTES, next)                      \
    L(shard_row, rows, SHARD_ROWS_MAX)
/* The live sessions as of entry as_of of group 0, ascending: a command of every other group. FENCED:
 * of group 0: all other groups have logged a set as of this entry, or a later one. */
#define SESSION_SET_FIELDS(F, L)     F(U64, as_of) L(client_id, live, SESSIONS_MAX)
#define SESSIONS_FENCED_FIELDS(F, L) F(U64, as_of)

/*  name, type number, field list */
#define MSG_LIST(X)                                                                                \
    X(hello, 1, HELLO_FIELDS)                                                                      \
    X(status, 2, STATUS_FIELDS)                                                                    \
    X(txn, 10, TXN_FIELDS)                                                                         \
    X(txn_reply, 11, TXN_REPLY_FIELDS)                                                             \
    X(wait, 12, WAIT_FIELDS)                                                                       \
    X(session_open, 14, SESSION_OPEN_FIELDS)                                                       \
    X(session_close, 15, SESSION_CLOSE_FIELDS)                                                     \
    X(keepalive, 16, KEEPALIVE_FIELDS)                                                             \
    X(session_list, 17, SESSION_LIST_FIELDS)                                                       \
    X(session_reply, 18, SESSION_REPLY_FIELDS)                                                     \
    X(locate, 20, LOCATE_FIELDS)                                                                   \
    X(locate_reply, 21, LOCATE_REPLY_FIELDS)                                                       \
    X(node_status, 22, NODE_STATUS_FIELDS)                                                         \
    X(node_status_reply, 23, NODE_STATUS_REPLY_FIELDS)                                             \
    X(leader_move, 24, LEADER_MOVE_FIELDS)                                                         \
    X(raft_wire, 30, RAFT_WIRE_FIELDS)                                                             \
    X(beat, 33, BEAT_FIELDS)                                                                       \
    X(snap_chunk, 31, SNAP_CHUNK_FIELDS)                                                           \
    X(snap_ack, 32, SNAP_ACK_FIELDS)                                                               \
    X(fetch, 40, FETCH_FIELDS)                                                                     \
    X(fetch_reply, 41, FETCH_REPLY_FIELDS)                                                         \
    X(check, 50, CHECK_FIELDS)                                                                     \
    X(check_started, 51, CHECK_STARTED_FIELDS)                                                     \
    X(check_ask, 52, CHECK_ASK_FIELDS)                                                             \
    X(check_pieces, 53, CHECK_PIECES_FIELDS)                                                       \
    X(member_change, 60, MEMBER_CHANGE_FIELDS)                                                     \
    X(members, 61, MEMBERS_FIELDS)                                                                 \
    X(members_reply, 62, MEMBERS_REPLY_FIELDS)                                                     \
    X(node_record, 63, NODE_RECORD_FIELDS)                                                         \
    X(group_create, 64, GROUP_CREATE_FIELDS)                                                       \
    X(groups, 65, GROUPS_FIELDS)                                                                   \
    X(groups_reply, 66, GROUPS_REPLY_FIELDS)                                                       \
    X(node_met, 67, NODE_MET_FIELDS)                                                       \
    X(prepare, 70, PREPARE_FIELDS)                                                                 \
    X(decide, 71, DECIDE_FIELDS)                                                                   \
    X(decided, 72, DECIDED_FIELDS)                                                                 \
    X(outcome, 73, OUTCOME_FIELDS)                                                                 \
    X(forget, 74, FORGET_FIELDS)                                                                   \
    X(session_set, 75, SESSION_SET_FIELDS)                                                         \
    X(sessions_fenced, 76, SESSIONS_FENCED_FIELDS)                                                 \
    X(group_command, 77, GROUP_COMMAND_FIELDS)                                                     \
    X(txn_ask, 78, TXN_ASK_FIELDS)                                                                 \
    X(txn_fate, 79, TXN_FATE_FIELDS)                                                               \
    X(group_home, 91, GROUP_HOME_FIELDS)                                                           \
    X(config_change, 80, CONFIG_CHANGE_FIELDS)                                                     \
    X(config_moved, 81, CONFIG_MOVED_FIELDS)                                                       \
    X(shard_move, 82, SHARD_MOVE_FIELDS)                                                           \
    X(shard_stage, 83, SHARD_STAGE_FIELDS)                                                         \
    X(shard_install, 84, SHARD_INSTALL_FIELDS)                                                     \
    X(shard_pull, 85, SHARD_PULL_FIELDS)                                                           \
    X(shard_piece, 86, SHARD_PIECE_FIELDS)                                                         \
    X(config_get, 88, CONFIG_GET_FIELDS)                                                           \
    X(config_preview, 89, CONFIG_CHANGE_FIELDS)                                                    \
    X(config_reply, 90, CONFIG_REPLY_FIELDS)
