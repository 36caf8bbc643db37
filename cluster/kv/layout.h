/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - how the state machine lays its records into the state store (DESIGN 3.1).
 *
 *   internal key = [shard be16][table u8][rest]
 *
 * Everything of a shard lies under its two bytes, so that a move of the shard is a copy of one
 * range and memcmp order within the data table is the order of client keys.
 *
 *   table                 rest                     value
 *   TABLE_META    0x01    -                        le64: the shard's write counter
 *   TABLE_DATA    0x10    client key after shard   [tag u8][version le64][bytes]
 *   TABLE_RESULT  0x20    client be64              kept results (result.h)
 *
 *   TABLE_TOUCHED 0x41    table u8, its rest       le64: entry that last changed that row, since
 * the shard's move began; does not move with it
 *
 * Shard 0xffff (never a client's: SHARDS_MAX) holds the group's own records:
 *
 *   TABLE_META    0x01    'f'                      le32 format, le32 gid, le16 shards
 *   TABLE_META    0x01    'a'                      le64 applied index, le64 its term, le64 its time
 *   TABLE_META    0x01    'c'                      le64 index, data of the newest CONF entry
 *   TABLE_SESSION 0x50    client be64              le64 nonce, le64 time opened, name
 *   TABLE_TRACE   0x51    client be64, shard be16  empty: the client has a result row in the shard
 *   TABLE_NODE    0x52    node id be32             u8 state (nodes.h), le64 index, address
 *   TABLE_GROUP   0x53    gid be32                 le64 index, u8 n, n le32 node ids (groups.h)
 *   TABLE_HOME    0x5b    gid be32                 le64 index, u8 n, u8 m, n and m le32 node ids (groups.h)
 *   TABLE_META    0x01    'p'                      moves to the latest configuration (configs.c)
 *   TABLE_CONFIG  0x54    number be64              a configuration (config.h); of group 0
 *   TABLE_SHARD   0x55    shard be16               who owns it as of when (shards.h)
 *   TABLE_PREPARED 0x56 DECISION 0x57 FENCE 0x58   transactions over several groups (prepared.h)
 *   TABLE_MET     0x5a    node id be32             le64 index, le64 incarnation (met.h)
 *   TABLE_FENCING 0x59    client be64              le64 index of the close; other groups may still
 *                                                  know the session; of group 0
 *   TABLE_META    0x01    's'                      le64 entry of group 0 its sessions are as of
 *   TABLE_META    0x01    't'                      le64 time that has passed, if beyond applied
 *
 * Format 2 has what comes after TABLE_GROUP. A store becomes one of format 2 with the first such
 * row: until then an older program can open it, from then on it would serve what has moved away.
 *
 * A stored value is valid if and only if it is at least VALUE_HEAD bytes long and its tag is
 * VALUE_INLINE. Another tag (a reference into extent files, DESIGN 3.5) may come with another
 * format.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/base/codec.h"
#include "cluster/base/limits.h"

#define LAYOUT_FORMAT       2
#define LAYOUT_FORMAT_FIRST 1
#define GROUP_SHARD         0xffffu

enum kv_table {
    TABLE_META = 0x01,
    TABLE_DATA = 0x10,
    TABLE_RESULT = 0x20,
    TABLE_TOUCHED = 0x41,
    TABLE_SESSION = 0x50,
    TABLE_TRACE = 0x51,
    TABLE_NODE = 0x52,
    TABLE_GROUP = 0x53,
    TABLE_CONFIG = 0x54,
    TABLE_SHARD = 0x55,
    TABLE_PREPARED = 0x56,
    TABLE_DECISION = 0x57,
    TABLE_FENCE = 0x58,
    TABLE_FENCING = 0x59,
    TABLE_MET = 0x5a,
    TABLE_HOME = 0x5b,
};

#define VALUE_INLINE 0
#define VALUE_HEAD   9

_Static_assert(SHARDS_MAX < GROUP_SHARD, "no client key lies in the group's own shard");

/* Keys are made in the arena, for they lie in a batch until it is written. */
struct bytes layout_counter_key(struct arena *a, unsigned shard);
struct bytes layout_result_key(struct arena *a, unsigned shard, uint64_t client);
struct bytes layout_format_key(struct arena *a);
struct bytes layout_applied_key(struct arena *a);
struct bytes layout_conf_key(struct arena *a);
struct bytes layout_node_key(struct arena *a, uint32_t id);
struct bytes layout_group_key(struct arena *a, uint32_t gid);
struct bytes layout_home_key(struct arena *a, uint32_t gid);
struct bytes layout_met_key(struct arena *a, uint32_t id);
struct bytes layout_prepared_key(struct arena *a, uint32_t gid, uint64_t term, uint64_t n);
struct bytes layout_decision_key(struct arena *a, uint64_t term, uint64_t n);
struct bytes layout_fence_key(struct arena *a, uint32_t gid);
struct bytes layout_fencing_key(struct arena *a, uint64_t client);
struct bytes layout_sessions_as_of_key(struct arena *a);
struct bytes layout_time_key(struct arena *a);
struct bytes layout_session_key(struct arena *a, uint64_t client);
struct bytes layout_trace_key(struct arena *a, uint64_t client, unsigned shard);
/* Bounds of all sessions, of all nodes, of all groups, and of one client's traces: [lo, hi). */
struct bytes layout_pending_key(struct arena *a);
struct bytes layout_config_key(struct arena *a, uint64_t num);
struct bytes layout_shard_key(struct arena *a, unsigned shard);
/* A row of a shard from [table][rest], and the record that it was touched. */
struct bytes layout_row_key(struct arena *a, unsigned shard, struct bytes row);
struct bytes layout_touched_key(struct arena *a, unsigned shard, struct bytes row);
/* Where a shard's rows of this table begin: [shard][table]. */
void layout_shard_bounds(struct arena *a, unsigned shard, unsigned table, struct bytes *ret);
struct bytes layout_session_key(struct arena *a, uint64_t client);
struct bytes layout_trace_key(struct arena *a, uint64_t client, unsigned shard);
/* Bounds of a table of the group's own: [lo, hi). */
void layout_table_range(struct arena *a, enum kv_table table, struct bytes *ret_lo,
                        struct bytes *ret_hi);
/* Bounds of all sessions, of all nodes, and of one client's traces: [lo, hi). */
void layout_session_range(struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi);
void layout_node_range(struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi);
void layout_group_range(struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi);
void layout_trace_range(struct arena *a, uint64_t client, struct bytes *ret_lo,
                        struct bytes *ret_hi);

/* A client key (two bytes of shard, then the rest) to and from its place in the data table. */
struct bytes layout_data_key(struct arena *a, struct bytes key);
struct bytes layout_client_key(struct arena *a, struct bytes internal);
/* Both bounds of a range of client keys; hi may be the next shard's two bytes: the shard's end. */
void layout_data_range(struct arena *a, struct bytes lo, struct bytes hi, struct bytes *ret_lo,
                       struct bytes *ret_hi);

static inline unsigned layout_shard(struct bytes key)
{
    return get_be16(key.p);
}

/* The id of a session, node or trace key. The caller has it from the range of that table. */
NODISCARD int layout_session_client(struct bytes internal, uint64_t *ret_client);
NODISCARD int layout_node_id(struct bytes internal, uint32_t *ret_id);
NODISCARD int layout_group_gid(struct bytes internal, uint32_t *ret_gid);
NODISCARD int layout_met_id(struct bytes internal, uint32_t *ret_id);
NODISCARD int layout_trace_shard(struct bytes internal, unsigned *ret_shard);
NODISCARD int layout_shard_shard(struct bytes internal, unsigned *ret_shard);

uint64_t layout_trace_client(struct bytes internal);
NODISCARD int layout_prepared_id(struct bytes internal, uint32_t *ret_gid, uint64_t *ret_term,
                                 uint64_t *ret_n);
NODISCARD int layout_decision_id(struct bytes internal, uint64_t *ret_term, uint64_t *ret_n);
NODISCARD int layout_fence_gid(struct bytes internal, uint32_t *ret_gid);

/* -ERR_CORRUPT. `ret_data` is borrowed from `stored`. */
NODISCARD int layout_value_decode(struct bytes stored, uint64_t *ret_version,
                                  struct bytes *ret_data);

/* Fills the VALUE_HEAD bytes in front of a value's bytes. */
static inline void layout_value_head(uint8_t *p, uint64_t version)
{
    p[0] = VALUE_INLINE;
    put_le64(p + 1, version);
}
