/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/ask.h"
#include "cluster/node/peer.h"
#include "cluster/node/request.h"
#include "cluster/node/route.h"
#include "cluster/node/serve.h"

/* A leader that answers nothing for so long may have lost the request, or its leadership. */
#define RESEND_MS 1000
/* Between two members of a group of which nobody knows the leader: an election is under way. */
#define SEEK_MS 60

struct ask {
    uint64_t name;    /* for ask_drop */
    uint64_t sent_id; /* of the frame that was sent last; 0: none that may still be answered */
    uint32_t gid, node;
    unsigned type;
    struct buf *body;
    uint64_t send_at, deadline; /* ticks */
    unsigned tries;
    bool once; /* ask_self */
    ask_done *done;
    void *ctx;
};

/* What the node says to itself, until asks_deliver. */
struct asks {
    GHashTable *all;  /* name -> struct ask, owned */
    GHashTable *sent; /* sent_id -> struct ask */
    GQueue to_self;   /* struct buf *: frames */
    struct conn *self;
    uint64_t last;
};

static void ask_free(gpointer p)
{
    struct ask *a = p;
    buf_unref(a->body);
    g_free(a);
}

void asks_init(struct node *n)
{
    struct asks *s = g_new0(struct asks, 1);
    s->all = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, ask_free);
    s->sent = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_queue_init(&s->to_self);
    n->asks = s;
    s->self = conn_to_self(n);
}

void asks_finish(struct node *n)
{
    struct asks *s = n->asks;
    if (!s)
        return;
    struct buf *b;
    while ((b = g_queue_pop_head(&s->to_self)) != NULL)
        buf_unref(b);
    g_hash_table_destroy(s->sent);
    g_hash_table_destroy(s->all);
    g_free(s);
    n->asks = NULL;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void unsend(struct asks *s, struct ask *a)
{
    if (a->sent_id)
        g_hash_table_remove(s->sent, &a->sent_id);
    a->sent_id = 0;
}

/* Whom to ask: the leader if it is known, else the members in turn. */
static uint32_t choose(struct node *n, const struct ask *a)
{
    uint32_t leader = route_leader(n, a->gid);
    return leader ? leader : route_member(n, a->gid, a->tries);
}

static bool put_on_wire(struct node *n, uint32_t node, struct bytes frame)
{
    if (node == n->config.id) {
        asks_to_self(n, frame);
        return true;
    }
    const struct peer *p = peer_find(n, node);
    return p && p->link && conn_send(p->link, frame) == 0;
}

static void send_ask(struct node *n, struct ask *a)
{
    struct asks *s = n->asks;
    CLEANUP(enc_finish) struct enc e = {0};
    unsend(s, a);
    a->node = choose(n, a);
    a->tries++;
    uint64_t id = ++s->last;
    size_t at = frame_begin(&e);
    enc_raw(&e, buf_bytes(a->body).p, buf_bytes(a->body).n);
    frame_end(&e, at, a->type, id);
    if (a->node == 0 || !put_on_wire(n, a->node, enc_view(&e))) {
        route_learn(n, a->gid, 0);
        a->send_at = n->now + TICKS(SEEK_MS);
        return;
    }
    a->sent_id = id;
    g_hash_table_insert(s->sent, &a->sent_id, a);
    a->send_at = n->now + TICKS(RESEND_MS);
}

uint64_t ask_group(struct node *n, uint32_t gid, unsigned type, struct bytes body,
                   unsigned timeout_ms, ask_done *done, void *ctx)
{
    struct asks *s = n->asks;
    struct ask *a = g_new0(struct ask, 1);
    *a = (struct ask){
        .name = ++s->last,
        .gid = gid,
        .type = type,
        .body = buf_copy(body),
        .send_at = n->now,
        .deadline = n->now + TICKS(timeout_ms),
        .done = done,
        .ctx = ctx,
    };
    g_hash_table_insert(s->all, &a->name, a);
    if (g_hash_table_size(s->all) > ASKS_MAX)
        a->deadline = 0; /* the next tick tells */
    else
        send_ask(n, a);
    return a->name;
}

uint64_t ask_command(struct node *n, uint32_t gid, enum kv_command cmd, struct bytes body,
                     unsigned timeout_ms, ask_done *done, void *ctx)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_group_command m = {.gid = gid, .cmd = (uint8_t)cmd, .body = body};
    enc_group_command(&e, &m);
    return ask_group(n, gid, MSG_group_command, enc_view(&e), timeout_ms, done, ctx);
}

uint64_t ask_prepare(struct node *n, uint32_t gid, enum prepare_wait wait, uint64_t age,
                     struct bytes body, unsigned timeout_ms, ask_done *done, void *ctx)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_group_command m = {
        .gid = gid, .cmd = KV_CMD_PREPARE, .wait = (uint8_t)wait, .age = age, .body = body};
    enc_group_command(&e, &m);
    return ask_group(n, gid, MSG_group_command, enc_view(&e), timeout_ms, done, ctx);
}

struct request *ask_self(struct node *n, ask_done *done, void *ctx)
{
    struct asks *s = n->asks;
    struct request *r = request_create(n, s->self, s->last + 1, 0, BYTES_NONE);
    if (!r)
        return NULL;
    struct ask *a = g_new0(struct ask, 1);
    *a = (struct ask){
        .name = ++s->last,
        .node = n->config.id,
        .send_at = UINT64_MAX,
        .deadline = UINT64_MAX,
        .once = true,
        .done = done,
        .ctx = ctx,
    };
    a->sent_id = a->name;
    g_hash_table_insert(s->all, &a->name, a);
    g_hash_table_insert(s->sent, &a->sent_id, a);
    return r;
}

void ask_drop(struct node *n, uint64_t ask)
{
    struct asks *s = n->asks;
    struct ask *a = g_hash_table_lookup(s->all, &ask);
    if (!a)
        return;
    unsend(s, a);
    g_hash_table_remove(s->all, &ask);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void finish(struct node *n, struct ask *a, int err, unsigned type, struct bytes body)
{
    struct asks *s = n->asks;
    ask_done *done = a->done;
    void *ctx = a->ctx;
    unsend(s, a);
    g_hash_table_remove(s->all, &a->name);
    done(ctx, err, type, body);
}

/* It does not lead, or is about to end: another one does, or soon will. */
static void look_elsewhere(struct node *n, struct ask *a, const struct msg_status *m)
{
    unsend(n->asks, a);
    bool named = m->leader != 0 && m->leader != a->node && m->gid == a->gid;
    route_learn(n, a->gid, named ? m->leader : 0);
    a->send_at = n->now + (named ? 1 : TICKS(SEEK_MS));
}

bool asks_answer(struct conn *c, unsigned type, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct ask *a = g_hash_table_lookup(n->asks->sent, &id);
    struct msg_status m;
    if (!a || a->node != c->peer->id)
        return false;
    if (type != MSG_status) {
        if (!a->once)
            route_learn(n, a->gid, a->node);
        finish(n, a, 0, type, body);
    } else if (dec_status(body, &n->scratch, &m) < 0) {
        finish(n, a, -ERR_INVALID, 0, BYTES_NONE);
    } else if (a->once) {
        finish(n, a, -(int)m.status, type, body);
    } else if (m.status == ERR_NOT_LEADER || m.status == ERR_STOPPED) {
        look_elsewhere(n, a, &m);
    } else {
        route_learn(n, a->gid, a->node);
        finish(n, a, -(int)m.status, type, body);
    }
    return true;
}

void asks_link_down(struct node *n, uint32_t node)
{
    GHashTableIter it;
    gpointer value;
    g_hash_table_iter_init(&it, n->asks->all);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        struct ask *a = value;
        if (a->sent_id == 0 || a->node != node)
            continue;
        unsend(n->asks, a);
        a->send_at = n->now + 1;
    }
}

/* --- the node itself -------------------------------------------------------------------------- */

void asks_to_self(struct node *n, struct bytes frame)
{
    g_queue_push_tail(&n->asks->to_self, buf_copy(frame));
}

bool asks_have_work(const struct node *n)
{
    return n->asks && !g_queue_is_empty(&n->asks->to_self);
}

/* One request may bring about others to this node: those wait for the next call. */
void asks_deliver(struct node *n)
{
    struct asks *s = n->asks;
    for (unsigned i = g_queue_get_length(&s->to_self); i > 0; i--) {
        struct buf *b = g_queue_pop_head(&s->to_self);
        struct frame f;
        size_t used;
        ASSERT(frame_parse(buf_bytes(b), &f, &used) == 0); /* it was composed here */
        arena_reset(&n->scratch);
        serve_frame(s->self, f.type, f.id, f.body);
        buf_unref(b);
    }
}

void asks_tick(struct node *n)
{
    struct asks *s = n->asks;
    GPtrArray *late = g_ptr_array_new();
    GHashTableIter it;
    gpointer value;
    g_hash_table_iter_init(&it, s->all);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        struct ask *a = value;
        if (n->now >= a->deadline)
            g_ptr_array_add(late, GSIZE_TO_POINTER(a->name));
        else if (n->now >= a->send_at)
            send_ask(n, a);
    }
    /* done may ask and drop: the table changes under it. */
    for (guint i = 0; i < late->len; i++) {
        uint64_t name = GPOINTER_TO_SIZE(g_ptr_array_index(late, i));
        struct ask *a = g_hash_table_lookup(s->all, &name);
        if (a)
            finish(n, a, a->deadline == 0 ? -ERR_BUSY : -ERR_TIMEOUT, 0, BYTES_NONE);
    }
    g_ptr_array_free(late, TRUE);
}
