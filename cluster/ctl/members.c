/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/members.h"

#include <string.h>
#include "cluster/base/clock.h"

#define ASK_MS   3000
#define PAUSE_US 100000

void members_finish(struct members *m)
{
    arena_finish(&m->arena);
    *m = (struct members){0};
}

const char *members_address(const struct members *m, uint32_t node)
{
    for (uint32_t i = 0; i < m->reply.n_members; i++)
        if (m->reply.members[i].node == node)
            return (const char *)m->reply.members[i].address.p;
    return "";
}

/* --- answers ---------------------------------------------------------------------------------- */

/* 0 or a refusal; *ret_leader: whom to ask instead, 0: nobody is named. */
static int read_status(struct buf *b, uint32_t *ret_leader, struct errmsg *msg)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_status m;
    if (dec_status(buf_bytes(b), &a, &m) < 0)
        return errmsg_set(msg, -ERR_INVALID, "it answers something else than a status");
    *ret_leader = m.leader;
    return errmsg_set(msg, -(int)m.status, "%.*s", (int)MIN(m.detail.n, 500u),
                      m.detail.n ? (const char *)m.detail.p : "");
}

static int read_members(struct buf *b, struct members *ret)
{
    struct members m = {0};
    /* The reply borrows from the bytes. */
    struct bytes body = arena_copy(&m.arena, buf_bytes(b));
    if (dec_members_reply(body, &m.arena, &m.reply) < 0) {
        members_finish(&m);
        return -ERR_INVALID;
    }
    for (uint32_t i = 0; i < m.reply.n_members; i++) {
        struct bytes *at = &m.reply.members[i].address;
        *at = bytes_str(arena_printf(&m.arena, "%.*s", (int)at->n, (const char *)at->p));
    }
    *ret = m;
    return 0;
}

int members_ask_node(struct client *c, uint32_t node, unsigned timeout_ms, struct members *ret,
                     struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    const struct msg_members m = {0};
    struct buf *b = NULL;
    unsigned type = 0;
    uint32_t leader;
    enc_members(&e, &m);
    int err = client_ask_node_msg(c, node, MSG_members, enc_view(&e), timeout_ms, &type, &b, msg);
    if (err < 0)
        return err;
    if (type == MSG_members_reply)
        err = read_members(b, ret);
    else
        err = read_status(b, &leader, msg);
    if (err == 0 && type != MSG_members_reply)
        err = -ERR_INVALID;
    if (err < 0 && msg && !msg->text[0])
        errmsg_set(msg, err, "node n%u does not tell the members", node);
    buf_unref(b);
    return err;
}

/* --- finding the leader ----------------------------------------------------------------------- */

struct verdict {
    int status;      /* 0, or what the node says of the request */
    uint32_t leader; /* with -ERR_NOT_LEADER: whom to ask instead, 0: nobody is named */
};

/* Asks one node. An error: it gave no answer. */
typedef int ask_fn(void *arg, struct client *c, uint32_t node, unsigned timeout_ms,
                   struct verdict *ret, struct errmsg *msg);

static bool is_known(const uint32_t *ids, unsigned n, uint32_t id)
{
    for (unsigned i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static int ask_leader(struct client *c, uint64_t deadline_ns, ask_fn *ask, void *arg,
                      struct errmsg *msg)
{
    uint32_t ids[NODES_MAX], hint = 0;
    unsigned n = client_nodes(c, ids, NODES_MAX), at = 0;
    struct errmsg why = {"an election may be under way"};
    for (uint64_t now; (now = clock_mono_ns()) < deadline_ns;) {
        unsigned ms = (unsigned)MIN((deadline_ns - now) / 1000000 + 1, ASK_MS);
        uint32_t node = hint ? hint : ids[at++ % n];
        struct verdict v = {0};
        struct errmsg text = {""};
        int err = ask(arg, c, node, ms, &v, &text);
        if (err == 0 && v.status != -ERR_NOT_LEADER && v.status != -ERR_STOPPED)
            return errmsg_set(msg, v.status, "%s", text.text);
        if (text.text[0])
            why = text;
        bool pause = hint || at % n == 0;
        hint = err == 0 && v.leader != node && is_known(ids, n, v.leader) ? v.leader : 0;
        if (pause)
            g_usleep(PAUSE_US);
    }
    return errmsg_set(msg, -ERR_UNREACHABLE, "no leader answers: %s", why.text);
}

static int ask_members(void *arg, struct client *c, uint32_t node, unsigned timeout_ms,
                       struct verdict *ret, struct errmsg *msg)
{
    struct members *m = arg;
    members_finish(m);
    int err = members_ask_node(c, node, timeout_ms, m, msg);
    if (err == 0 && m->reply.leader != node)
        *ret = (struct verdict){-ERR_NOT_LEADER, m->reply.leader};
    return err;
}

int members_ask(struct client *c, uint64_t deadline_ns, struct members *ret, struct errmsg *msg)
{
    return ask_leader(c, deadline_ns, ask_members, ret, msg);
}

struct told {
    unsigned type;
    struct bytes body;
    unsigned answer;  /* the type wanted; 0: a status */
    struct buf **ret; /* that answer */
};

static int ask_told(void *arg, struct client *c, uint32_t node, unsigned timeout_ms,
                    struct verdict *ret, struct errmsg *msg)
{
    const struct told *t = arg;
    struct buf *b = NULL;
    unsigned type = 0;
    int err = client_ask_node_msg(c, node, t->type, t->body, timeout_ms, &type, &b, msg);
    if (err == 0 && t->answer && type == t->answer)
        *t->ret = TAKE(b);
    else if (err == 0)
        ret->status = read_status(b, &ret->leader, msg);
    if (err == 0 && b && t->answer && ret->status == 0)
        ret->status = errmsg_set(msg, -ERR_INVALID, "node n%u answers something else", node);
    buf_unref(b);
    return err;
}

int members_get(struct client *c, unsigned type, struct bytes body, unsigned answer,
                uint64_t deadline_ns, struct buf **ret, struct errmsg *msg)
{
    struct told t = {type, body, answer, ret};
    return ask_leader(c, deadline_ns, ask_told, &t, msg);
}

int members_tell(struct client *c, unsigned type, struct bytes body, uint64_t deadline_ns,
                 struct errmsg *msg)
{
    struct told t = {type, body, 0, NULL};
    return ask_leader(c, deadline_ns, ask_told, &t, msg);
}

int members_change(struct client *c, enum member_op op, uint32_t node, const char *address,
                   uint64_t deadline_ns, struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    const struct msg_member_change m = {
        .op = (uint8_t)op,
        .node = node,
        .address = bytes_str(address),
    };
    enc_member_change(&e, &m);
    return members_tell(c, MSG_member_change, enc_view(&e), deadline_ns, msg);
}
