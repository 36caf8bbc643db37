/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/layout.h"

#include "cluster/base/err.h"

static uint8_t *key_begin(struct arena *a, unsigned shard, enum kv_table table, size_t rest)
{
    uint8_t *p = arena_alloc(a, 3 + rest);

    put_be16(p, (uint16_t)shard);
    p[2] = (uint8_t)table;
    return p;
}

static struct bytes key_be64(struct arena *a, unsigned shard, enum kv_table table, uint64_t id)
{
    uint8_t *p = key_begin(a, shard, table, 8);

    put_be64(p + 3, id);
    return bytes_of(p, 11);
}

static struct bytes key_u8(struct arena *a, unsigned shard, enum kv_table table, uint8_t rest)
{
    uint8_t *p = key_begin(a, shard, table, 1);

    p[3] = rest;
    return bytes_of(p, 4);
}

struct bytes layout_counter_key(struct arena *a, unsigned shard)
{
    return bytes_of(key_begin(a, shard, TABLE_META, 0), 3);
}

struct bytes layout_result_key(struct arena *a, unsigned shard, uint64_t client)
{
    return key_be64(a, shard, TABLE_RESULT, client);
}

struct bytes layout_format_key(struct arena *a)
{
    return key_u8(a, GROUP_SHARD, TABLE_META, 'f');
}

struct bytes layout_applied_key(struct arena *a)
{
    return key_u8(a, GROUP_SHARD, TABLE_META, 'a');
}

struct bytes layout_conf_key(struct arena *a)
{
    return key_u8(a, GROUP_SHARD, TABLE_META, 'c');
}

struct bytes layout_node_key(struct arena *a, uint32_t id)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_NODE, 4);

    put_be32(p + 3, id);
    return bytes_of(p, 7);
}

struct bytes layout_group_key(struct arena *a, uint32_t gid)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_GROUP, 4);

    put_be32(p + 3, gid);
    return bytes_of(p, 7);
}

struct bytes layout_home_key(struct arena *a, uint32_t gid)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_HOME, 4);

    put_be32(p + 3, gid);
    return bytes_of(p, 7);
}

struct bytes layout_met_key(struct arena *a, uint32_t id)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_MET, 4);

    put_be32(p + 3, id);
    return bytes_of(p, 7);
}

struct bytes layout_session_key(struct arena *a, uint64_t client)
{
    return key_be64(a, GROUP_SHARD, TABLE_SESSION, client);
}

struct bytes layout_trace_key(struct arena *a, uint64_t client, unsigned shard)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_TRACE, 10);

    put_be64(p + 3, client);
    put_be16(p + 11, (uint16_t)shard);
    return bytes_of(p, 13);
}

struct bytes layout_pending_key(struct arena *a)
{
    return key_u8(a, GROUP_SHARD, TABLE_META, 'p');
}

struct bytes layout_config_key(struct arena *a, uint64_t num)
{
    return key_be64(a, GROUP_SHARD, TABLE_CONFIG, num);
}

struct bytes layout_shard_key(struct arena *a, unsigned shard)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_SHARD, 2);

    put_be16(p + 3, (uint16_t)shard);
    return bytes_of(p, 5);
}

struct bytes layout_prepared_key(struct arena *a, uint32_t gid, uint64_t term, uint64_t n)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_PREPARED, 20);

    put_be32(p + 3, gid);
    put_be64(p + 7, term);
    put_be64(p + 15, n);
    return bytes_of(p, 23);
}

struct bytes layout_decision_key(struct arena *a, uint64_t term, uint64_t n)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_DECISION, 16);

    put_be64(p + 3, term);
    put_be64(p + 11, n);
    return bytes_of(p, 19);
}

struct bytes layout_fence_key(struct arena *a, uint32_t gid)
{
    uint8_t *p = key_begin(a, GROUP_SHARD, TABLE_FENCE, 4);

    put_be32(p + 3, gid);
    return bytes_of(p, 7);
}

struct bytes layout_fencing_key(struct arena *a, uint64_t client)
{
    return key_be64(a, GROUP_SHARD, TABLE_FENCING, client);
}

struct bytes layout_sessions_as_of_key(struct arena *a)
{
    return key_u8(a, GROUP_SHARD, TABLE_META, 's');
}

struct bytes layout_time_key(struct arena *a)
{
    return key_u8(a, GROUP_SHARD, TABLE_META, 't');
}

struct bytes layout_row_key(struct arena *a, unsigned shard, struct bytes row)
{
    uint8_t *p = arena_alloc(a, 2 + row.n);

    put_be16(p, (uint16_t)shard);
    if (row.n)
        memcpy(p + 2, row.p, row.n);
    return bytes_of(p, 2 + row.n);
}

struct bytes layout_touched_key(struct arena *a, unsigned shard, struct bytes row)
{
    uint8_t *p = key_begin(a, shard, TABLE_TOUCHED, row.n);

    if (row.n)
        memcpy(p + 3, row.p, row.n);
    return bytes_of(p, 3 + row.n);
}

void layout_shard_bounds(struct arena *a, unsigned shard, unsigned table, struct bytes *ret)
{
    *ret = bytes_of(key_begin(a, shard, (enum kv_table)table, 0), 3);
}

void layout_table_range(struct arena *a, enum kv_table table, struct bytes *ret_lo,
                        struct bytes *ret_hi)
{
    *ret_lo = bytes_of(key_begin(a, GROUP_SHARD, table, 0), 3);
    *ret_hi = bytes_of(key_begin(a, GROUP_SHARD, table + 1, 0), 3);
}

void layout_session_range(struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi)
{
    layout_table_range(a, TABLE_SESSION, ret_lo, ret_hi);
}

void layout_node_range(struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi)
{
    layout_table_range(a, TABLE_NODE, ret_lo, ret_hi);
}

void layout_group_range(struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi)
{
    *ret_lo = bytes_of(key_begin(a, GROUP_SHARD, TABLE_GROUP, 0), 3);
    *ret_hi = bytes_of(key_begin(a, GROUP_SHARD, TABLE_GROUP + 1, 0), 3);
}

void layout_trace_range(struct arena *a, uint64_t client, struct bytes *ret_lo,
                        struct bytes *ret_hi)
{
    *ret_lo = key_be64(a, GROUP_SHARD, TABLE_TRACE, client);
    *ret_hi = client == UINT64_MAX ? bytes_of(key_begin(a, GROUP_SHARD, TABLE_TRACE + 1, 0), 3)
                                   : key_be64(a, GROUP_SHARD, TABLE_TRACE, client + 1);
}

struct bytes layout_data_key(struct arena *a, struct bytes key)
{
    ASSERT(key.n >= 2);
    uint8_t *p = key_begin(a, layout_shard(key), TABLE_DATA, key.n - 2);

    memcpy(p + 3, key.p + 2, key.n - 2);
    return bytes_of(p, key.n + 1);
}

struct bytes layout_client_key(struct arena *a, struct bytes internal)
{
    ASSERT(internal.n >= 3 && internal.p[2] == TABLE_DATA);
    uint8_t *p = arena_alloc(a, internal.n - 1);

    memcpy(p, internal.p, 2);
    memcpy(p + 2, internal.p + 3, internal.n - 3);
    return bytes_of(p, internal.n - 1);
}

void layout_data_range(struct arena *a, struct bytes lo, struct bytes hi, struct bytes *ret_lo,
                       struct bytes *ret_hi)
{
    *ret_lo = layout_data_key(a, lo);
    if (layout_shard(hi) == layout_shard(lo))
        *ret_hi = layout_data_key(a, hi);
    else
        *ret_hi = bytes_of(key_begin(a, layout_shard(lo), TABLE_DATA + 1, 0), 3);
}

int layout_session_client(struct bytes internal, uint64_t *ret_client)
{
    if (internal.n != 11)
        return -ERR_CORRUPT;
    *ret_client = get_be64(internal.p + 3);
    return 0;
}

int layout_node_id(struct bytes internal, uint32_t *ret_id)
{
    if (internal.n != 7)
        return -ERR_CORRUPT;
    *ret_id = get_be32(internal.p + 3);
    return 0;
}

int layout_group_gid(struct bytes internal, uint32_t *ret_gid)
{
    return layout_node_id(internal, ret_gid); /* both are one be32 */
}

int layout_met_id(struct bytes internal, uint32_t *ret_id)
{
    return layout_node_id(internal, ret_id);
}

int layout_trace_shard(struct bytes internal, unsigned *ret_shard)
{
    if (internal.n != 13)
        return -ERR_CORRUPT;
    *ret_shard = get_be16(internal.p + 11);
    return 0;
}

int layout_shard_shard(struct bytes internal, unsigned *ret_shard)
{
    if (internal.n != 5)
        return -ERR_CORRUPT;
    *ret_shard = get_be16(internal.p + 3);
    return 0;
}

uint64_t layout_trace_client(struct bytes internal)
{
    ASSERT(internal.n == 13);
    return get_be64(internal.p + 3);
}

int layout_prepared_id(struct bytes internal, uint32_t *ret_gid, uint64_t *ret_term,
                       uint64_t *ret_n)
{
    if (internal.n != 23)
        return -ERR_CORRUPT;
    *ret_gid = get_be32(internal.p + 3);
    *ret_term = get_be64(internal.p + 7);
    *ret_n = get_be64(internal.p + 15);
    return 0;
}

int layout_decision_id(struct bytes internal, uint64_t *ret_term, uint64_t *ret_n)
{
    if (internal.n != 19)
        return -ERR_CORRUPT;
    *ret_term = get_be64(internal.p + 3);
    *ret_n = get_be64(internal.p + 11);
    return 0;
}

int layout_fence_gid(struct bytes internal, uint32_t *ret_gid)
{
    if (internal.n != 7)
        return -ERR_CORRUPT;
    *ret_gid = get_be32(internal.p + 3);
    return 0;
}

int layout_value_decode(struct bytes stored, uint64_t *ret_version, struct bytes *ret_data)
{
    if (stored.n < VALUE_HEAD || stored.p[0] != VALUE_INLINE)
        return -ERR_CORRUPT;
    *ret_version = get_le64(stored.p + 1);
    *ret_data = bytes_of(stored.p + VALUE_HEAD, stored.n - VALUE_HEAD);
    return 0;
}
