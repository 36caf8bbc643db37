/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/dump_entry.h"

#include "cluster/base/msg.h"
#include "cluster/ctl/key_text.h"
#include "cluster/kv/kv.h"

/* cluster/raft's enum raft_entry_type, as the log carries it. */
enum { KIND_NOOP = 1, KIND_DATA = 2, KIND_CONF = 3 };

#define SHOWN_MAX 64

const char *entry_kind(const struct record *r)
{
    switch (r->kind) {
    case KIND_NOOP:
        return "noop";
    case KIND_DATA:
        return "data";
    case KIND_CONF:
        return "conf";
    }
    return "?";
}

static unsigned message_of(uint8_t command)
{
    switch (command) {
    case KV_CMD_TXN:
        return MSG_txn;
    case KV_CMD_SESSION_OPEN:
        return MSG_session_open;
    case KV_CMD_SESSION_CLOSE:
        return MSG_session_close;
    case KV_CMD_PREPARE:
        return MSG_prepare;
    case KV_CMD_DECIDE:
        return MSG_decide;
    case KV_CMD_OUTCOME:
        return MSG_outcome;
    case KV_CMD_FORGET:
        return MSG_forget;
    case KV_CMD_MOVE_BEGIN:
    case KV_CMD_MOVE_CLOSE:
    case KV_CMD_MOVE_FREEZE:
    case KV_CMD_MOVE_DELETE:
        return MSG_shard_move;
    case KV_CMD_MOVE_STAGE:
        return MSG_shard_stage;
    case KV_CMD_MOVE_INSTALL:
        return MSG_shard_install;
    case KV_CMD_SESSION_SET:
        return MSG_session_set;
    case KV_CMD_SESSIONS_FENCED:
        return MSG_sessions_fenced;
    case KV_CMD_NODE:
        return MSG_node_record;
    case KV_CMD_MET:
        return MSG_node_met;
    case KV_CMD_CONFIG:
        return MSG_config_change;
    case KV_CMD_MOVED:
        return MSG_config_moved;
    case KV_CMD_HOME:
    case KV_CMD_HELD:
        return MSG_group_home;
    }
    return 0;
}

static void raw_text(GString *s, struct bytes b)
{
    escape_bytes(s, bytes_of(b.p, MIN(b.n, SHOWN_MAX)));
    if (b.n > SHOWN_MAX)
        g_string_append_printf(s, " +%zu", b.n - SHOWN_MAX);
}

void entry_text(GString *s, const struct record *r)
{
    if (r->data.n == 0)
        return;
    if (r->kind == KIND_DATA && r->data.p[0] == KV_CMD_CHECK) {
        g_string_append(s, "check");
        return;
    }
    unsigned type = r->kind == KIND_DATA ? message_of(r->data.p[0]) : 0;
    if (type && msg_print(s, type, bytes_of(r->data.p + 1, r->data.n - 1)))
        return;
    if (type)
        g_string_append_printf(s, "malformed %s ", msg_name(type));
    else if (r->kind == KIND_DATA)
        g_string_append_printf(s, "unknown command %u ", r->data.p[0]);
    raw_text(s, r->data);
}

static bool in_shard(struct bytes key, unsigned shard)
{
    return key.n >= 2 && get_be16(key.p) == shard;
}

bool entry_touches(const struct record *r, unsigned shard)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_txn t;
    bool found = false;
    if (r->kind != KIND_DATA || r->data.n == 0 || r->data.p[0] != KV_CMD_TXN ||
        dec_txn(bytes_of(r->data.p + 1, r->data.n - 1), &a, &t) < 0)
        return false;
    for (uint32_t i = 0; i < t.n_compares; i++)
        found |= in_shard(t.compares[i].key, shard);
    for (uint32_t i = 0; i < t.n_reads; i++)
        found |= in_shard(t.reads[i].key, shard);
    for (uint32_t i = 0; i < t.n_writes; i++)
        found |= in_shard(t.writes[i].key, shard);
    return found;
}
