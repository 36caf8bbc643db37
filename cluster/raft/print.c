/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include "cluster/raft/print.h"

enum { PAYLOAD_SHOWN = 16 };

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader"};
    return (unsigned)role < ARRAY_LEN(names) ? names[role] : "?";
}

const char *raft_msg_name(enum raft_msg_type type)
{
    static const char *const names[] = {
        [RAFT_PREVOTE] = "PREVOTE",
        [RAFT_PREVOTE_RESP] = "PREVOTE_RESP",
        [RAFT_VOTE] = "VOTE",
        [RAFT_VOTE_RESP] = "VOTE_RESP",
        [RAFT_APPEND] = "APPEND",
        [RAFT_APPEND_RESP] = "APPEND_RESP",
        [RAFT_HEARTBEAT] = "HEARTBEAT",
        [RAFT_HEARTBEAT_RESP] = "HEARTBEAT_RESP",
        [RAFT_TIMEOUT_NOW] = "TIMEOUT_NOW",
        [RAFT_READ] = "READ",
        [RAFT_READ_RESP] = "READ_RESP",
        [RAFT_REPAIR] = "REPAIR",
        [RAFT_REPAIR_RESP] = "REPAIR_RESP",
    };
    return (unsigned)type < ARRAY_LEN(names) && names[type] ? names[type] : "?";
}

static void put(GString *s, const char *name, uint64_t v)
{
    g_string_append_printf(s, " %s=%" PRIu64, name, v);
}

static void put_place(GString *s, const char *name, raft_index index, raft_term term)
{
    g_string_append_printf(s, " %s=%" PRIu64 "/%" PRIu64, name, index, term);
}

static void put_payload(GString *s, struct bytes b)
{
    g_string_append_c(s, '"');
    for (size_t i = 0; i < MIN(b.n, (size_t)PAYLOAD_SHOWN); i++) {
        if (b.p[i] >= ' ' && b.p[i] < 127 && b.p[i] != '"' && b.p[i] != '\\')
            g_string_append_c(s, (char)b.p[i]);
        else
            g_string_append_printf(s, "\\x%02x", b.p[i]);
    }
    g_string_append_c(s, '"');
    if (b.n > PAYLOAD_SHOWN)
        g_string_append_printf(s, "+%zu", b.n - PAYLOAD_SHOWN);
}

static void put_ids(GString *s, const char *name, const raft_id *ids, unsigned n)
{
    g_string_append(s, name);
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(s, "%s%u", i ? "," : "", ids[i]);
}

void raft_print_conf(GString *s, const struct raft_conf *c)
{
    put_ids(s, "voters=", c->voters, c->n_voters);
    if (c->n_outgoing > 0)
        put_ids(s, " outgoing=", c->outgoing, c->n_outgoing);
    if (c->n_learners > 0)
        put_ids(s, " learners=", c->learners, c->n_learners);
}

void raft_print_entry(GString *s, const struct raft_entry *e)
{
    struct raft_conf conf;

    g_string_append_printf(s, "%" PRIu64 "/%" PRIu64 " ", e->index, e->term);
    if (e->type == RAFT_ENTRY_NOOP)
        g_string_append(s, "noop");
    else if (e->type == RAFT_ENTRY_CONF && raft_conf_decode(buf_bytes(e->data), &conf) == 0)
        raft_print_conf(s, &conf);
    else
        put_payload(s, buf_bytes(e->data));
}

static void put_entries(GString *s, const struct raft_entry *e, unsigned n)
{
    g_string_append(s, " [");
    for (unsigned i = 0; i < n; i++) {
        if (i > 0)
            g_string_append(s, ", ");
        raft_print_entry(s, &e[i]);
    }
    g_string_append_c(s, ']');
}

static void put_suspect(GString *s, const struct raft_msg *m)
{
    if (m->suspect)
        g_string_append(s, " suspect");
}

static void put_urgent(GString *s, const struct raft_msg *m)
{
    if (m->urgent)
        g_string_append(s, " urgent");
}

void raft_print_msg(GString *s, const struct raft_msg *m)
{
    g_string_append_printf(s, "%u->%u %s", m->from, m->to, raft_msg_name(m->type));
    put(s, "t", m->term);
    switch (m->type) {
    case RAFT_PREVOTE:
    case RAFT_VOTE:
        put_place(s, "last", m->index, m->log_term);
        if (m->transfer)
            g_string_append(s, " transfer");
        break;
    case RAFT_PREVOTE_RESP:
    case RAFT_VOTE_RESP:
        g_string_append(s, m->reject ? " refused" : " granted");
        break;
    case RAFT_APPEND:
        put_place(s, "prev", m->index, m->log_term);
        put(s, "commit", m->commit);
        put_entries(s, m->entries, m->n_entries);
        break;
    case RAFT_APPEND_RESP:
        put(s, m->reject ? "rejected" : "match", m->index);
        if (m->reject)
            put_place(s, "hint", m->hint, m->hint_term);
        put_suspect(s, m);
        break;
    case RAFT_HEARTBEAT:
        put(s, "commit", m->commit);
        put(s, "round", m->read_round);
        put_urgent(s, m);
        break;
    case RAFT_HEARTBEAT_RESP:
        put(s, "received", m->index);
        put(s, "match", m->hint);
        put(s, "round", m->read_round);
        if (m->promise)
            g_string_append_printf(s, " promise=%u", m->promise);
        put_suspect(s, m);
        put_urgent(s, m);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    case RAFT_READ:
    case RAFT_REPAIR:
        put(s, "number", m->read_round);
        break;
    case RAFT_READ_RESP:
    case RAFT_REPAIR_RESP:
        put(s, "number", m->read_round);
        put(s, "index", m->index);
        break;
    }
}

void raft_print_persist(GString *s, const struct raft_persist *p)
{
    g_string_append_printf(s, "persist #%" PRIu64, p->ticket);
    if (p->hard_changed)
        g_string_append_printf(s, " t=%" PRIu64 " vote=%u", p->hard.term, p->hard.vote);
    if (p->reset)
        put_place(s, "reset", p->reset_index, p->reset_term);
    if (p->truncate_from)
        put(s, "truncate", p->truncate_from);
    if (p->n_entries)
        put_entries(s, p->entries, p->n_entries);
    if (p->repaired)
        g_string_append(s, " repaired");
}

void raft_print_status(GString *s, const struct raft_status *st)
{
    g_string_append_printf(s, "%u %s", st->id, raft_role_name(st->role));
    put(s, "t", st->term);
    put(s, "leader", st->leader);
    g_string_append_printf(s, " log=%" PRIu64 "..%" PRIu64, st->first, st->last);
    put(s, "persisted", st->persisted);
    put(s, "commit", st->commit);
    put(s, "applied", st->applied);
    if (st->transfer_to != RAFT_NONE)
        put(s, "transfer", st->transfer_to);
    if (st->suspect) {
        g_string_append(s, " suspect");
        put(s, "goal", st->repair_goal);
    }
}
