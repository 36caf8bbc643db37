/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/wire.h"

/* The bits of `reject`. */
enum {
    WIRE_REJECT = 1,
    WIRE_TRANSFER = 2,
    WIRE_SUSPECT = 8,
    WIRE_URGENT = 16,
    WIRE_FLAGS = WIRE_REJECT | WIRE_TRANSFER | WIRE_SUSPECT | WIRE_URGENT
};

uint8_t wire_flags(const struct raft_msg *m)
{
    return (uint8_t)((m->reject ? WIRE_REJECT : 0) | (m->transfer ? WIRE_TRANSFER : 0) |
                     (m->suspect ? WIRE_SUSPECT : 0) | (m->urgent ? WIRE_URGENT : 0));
}

bool wire_set_flags(struct raft_msg *m, uint8_t flags)
{
    m->reject = flags & WIRE_REJECT;
    m->transfer = flags & WIRE_TRANSFER;
    m->suspect = flags & WIRE_SUSPECT;
    m->urgent = flags & WIRE_URGENT;
    return (flags & ~(unsigned)WIRE_FLAGS) == 0;
}

/* A HEARTBEAT_RESP's promise goes in `hint_term`, which it does not use. */
static uint64_t hint_term(const struct raft_msg *m)
{
    return m->type == RAFT_HEARTBEAT_RESP ? m->promise : m->hint_term;
}

void wire_put_raft(struct enc *e, struct arena *a, uint32_t gid, const struct raft_msg *m)
{
    struct msg_raft_wire w = {
        .gid = gid,
        .type = (uint8_t)m->type,
        .from = m->from,
        .to = m->to,
        .term = m->term,
        .index = m->index,
        .log_term = m->log_term,
        .commit = m->commit,
        .reject = wire_flags(m),
        .hint = m->hint,
        .hint_term = hint_term(m),
        .read_round = m->read_round,
        .n_entries = m->n_entries,
    };
    if (m->n_entries > 0)
        w.entries = arena_array(a, m->n_entries, sizeof(*w.entries));
    for (unsigned i = 0; i < m->n_entries; i++) {
        const struct raft_entry *from = &m->entries[i];
        w.entries[i] = (struct raft_wire_entry){
            .term = from->term,
            .index = from->index,
            .time = from->time_ns,
            .type = (uint8_t)from->type,
            .data = buf_bytes(from->data),
        };
    }
    FRAME(e, raft_wire, 0, &w);
}

static bool entry_type_known(uint8_t type)
{
    return type == RAFT_ENTRY_NOOP || type == RAFT_ENTRY_DATA || type == RAFT_ENTRY_CONF;
}

int wire_get_raft(const struct msg_raft_wire *w, struct arena *a, struct raft_msg *ret)
{
    if (w->type < RAFT_PREVOTE || w->type > RAFT_REPAIR_RESP || (w->reject & ~WIRE_FLAGS))
        return -ERR_INVALID;
    for (uint32_t i = 0; i < w->n_entries; i++)
        if (!entry_type_known(w->entries[i].type))
            return -ERR_INVALID;
    struct raft_entry *entries = NULL;
    if (w->n_entries > 0)
        entries = arena_array(a, w->n_entries, sizeof(*entries));
    for (uint32_t i = 0; i < w->n_entries; i++) {
        const struct raft_wire_entry *from = &w->entries[i];
        entries[i] = (struct raft_entry){
            .term = from->term,
            .index = from->index,
            .time_ns = from->time,
            .type = (enum raft_entry_type)from->type,
            .data = from->data.n > 0 ? buf_copy(from->data) : NULL,
        };
    }
    bool answer = w->type == RAFT_HEARTBEAT_RESP;
    *ret = (struct raft_msg){
        .type = (enum raft_msg_type)w->type,
        .from = w->from,
        .to = w->to,
        .term = w->term,
        .index = w->index,
        .log_term = w->log_term,
        .commit = w->commit,
        .promise = answer ? (unsigned)MIN(w->hint_term, UINT_MAX) : 0,
        .hint = w->hint,
        .hint_term = answer ? 0 : w->hint_term,
        .read_round = w->read_round,
        .entries = entries,
        .n_entries = w->n_entries,
    };
    (void)wire_set_flags(ret, w->reject);
    return 0;
}

void wire_release(struct raft_msg *m)
{
    for (unsigned i = 0; i < m->n_entries; i++)
        buf_unref(m->entries[i].data);
}

void wire_put_conf(struct enc *e, const struct raft_conf *conf)
{
    struct buf *b = raft_conf_encode(conf);
    enc_raw(e, b->data, b->len);
    buf_unref(b);
}

int wire_get_conf(struct bytes in, struct raft_conf *ret)
{
    return raft_conf_decode(in, ret) < 0 ? -ERR_INVALID : 0;
}
