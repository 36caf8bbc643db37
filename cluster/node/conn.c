/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/conn.h"
#include "cluster/node/ask.h"
#include "cluster/node/peer.h"
#include "cluster/node/queue.h"
#include "cluster/node/serve.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/wait.h"

/* A dial into a network that drops everything gets no answer; TCP's own patience would keep us from
 * trying again long after it is mended. */
#define DIAL_TIMEOUT_MS 1500

#define SOFTWARE "raftfs 0.1.0"

static struct conn *conn_create(struct node *n)
{
    struct conn *c = g_new0(struct conn, 1);
    c->node = n;
    c->token = ++n->last_token;
    c->opened_at = n->now;
    g_hash_table_insert(n->conns, &c->token, c);
    g_queue_push_tail(&n->conn_list, c);
    c->link = g_queue_peek_tail_link(&n->conn_list);
    return c;
}

static void conn_destroy(struct conn *c)
{
    g_hash_table_remove(c->node->conns, &c->token);
    g_queue_delete_link(&c->node->conn_list, c->link);
    g_free(c);
}

struct conn *conn_dial(struct node *n, struct peer *p, enum hello_purpose purpose)
{
    struct conn *c = conn_create(n);
    c->dialed = true;
    c->peer = p;
    c->purpose = (uint8_t)purpose;
    g_snprintf(c->text, sizeof(c->text), "node %u at %s", p->id, p->address);
    c->net = n->env.net->ops->dial(n->env.net, p->address, c);
    if (!c->net) {
        conn_destroy(c);
        return NULL;
    }
    c->net->user = c;
    return c;
}

struct conn *conn_to_self(struct node *n)
{
    struct conn *c = conn_create(n);
    c->self = c->greeted = true;
    c->role = ROLE_NODE;
    c->peer = arena_zalloc(&n->memory, sizeof(*c->peer));
    c->peer->id = n->config.id;
    c->peer->address = "";
    g_strlcpy(c->text, "itself", sizeof(c->text));
    return c;
}

struct conn *conn_find(struct node *n, uint64_t token)
{
    struct conn *c = g_hash_table_lookup(n->conns, &token);
    return c && c->greeted && !c->closing ? c : NULL;
}

int conn_send(struct conn *c, struct bytes frame)
{
    if (c->self) {
        asks_to_self(c->node, frame);
        return 0;
    }
    if (c->closing || !c->net)
        return -ERR_CLOSED;
    return c->net->net->ops->send(c->net, frame);
}

void conn_close(struct conn *c, enum log_level level, const char *why)
{
    ASSERT(!c->self);
    if (c->closing)
        return;
    c->closing = true;
    node_log(c->node, level, "close peer=\"%s\" why=\"%s\"", c->text, why);
    c->net->net->ops->close(c->net);
}

void conn_answer(struct node *n, uint64_t token, struct bytes frame)
{
    struct conn *c = conn_find(n, token);
    if (!c)
        return;
    int err = conn_send(c, frame);
    if (err < 0 && err != -ERR_CLOSED && !c->peer)
        conn_close(c, LOG_WARN, "it does not read its answers");
}

void conn_answer_status(struct node *n, uint64_t token, uint64_t id, int err, uint32_t leader,
                        const char *detail)
{
    conn_answer_leader(n, token, id, err, 0, leader, detail);
}

void conn_answer_leader(struct node *n, uint64_t token, uint64_t id, int err, uint32_t gid,
                        uint32_t leader, const char *detail)
{
    struct msg_status m = {
        .status = (uint16_t)(err < 0 ? -err : err),
        .leader = leader,
        .gid = gid,
        .detail = bytes_str(detail ? detail : ""),
    };
    CONN_ANSWER(n, token, status, id, &m);
}

/* --- the net's callbacks ---------------------------------------------------------------------- */

static void say_hello(struct conn *c)
{
    struct node *n = c->node;
    struct msg_hello hello = {
        .protocol = HELLO_PROTOCOL,
        .cluster = n->config.cluster,
        .node = n->config.id,
        .incarnation = n->config.incarnation,
        .purpose = c->purpose,
        .software = bytes_str(SOFTWARE),
    };
    enc_reset(&n->out);
    FRAME(&n->out, hello, 0, &hello);
    if (conn_send(c, enc_view(&n->out)) < 0)
        conn_close(c, LOG_WARN, "cannot send hello");
}

static void on_open(void *ctx, struct net_conn *nc, const struct net_peer *peer, bool dialed)
{
    struct node *n = ctx;
    struct conn *c = dialed ? nc->user : conn_create(n);
    nc->user = c;
    c->net = nc;
    c->role = peer->role;
    c->cert_node = peer->node;
    c->read_only = peer->read_only;
    if (!dialed)
        g_strlcpy(c->text, peer->text ? peer->text : "?", sizeof(c->text));
    say_hello(c);
}

static void on_hello(struct conn *c, unsigned type, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_hello hello;
    struct errmsg msg = {""};
    int err;

    if (type == MSG_status && c->dialed) {
        /* The other side refused ours. */
        struct msg_status status;
        if (dec_status(body, &n->scratch, &status) == 0)
            g_snprintf(msg.text, sizeof(msg.text), "refused: %.*s", (int)MIN(status.detail.n, 300),
                       (const char *)status.detail.p);
        conn_close(c, c->peer->reported ? LOG_DEBUG : LOG_WARN, msg.text[0] ? msg.text : "refused");
        c->peer->reported = true; /* once; it is dialed again and again */
        return;
    }
    if (type != MSG_hello || dec_hello(body, &n->scratch, &hello) < 0)
        err = errmsg_set(&msg, -ERR_INVALID, "the first frame is not a hello");
    else
        err = peer_greet(c, &hello, &msg);
    if (err == 0)
        return;
    c->greeted = true; /* or the answer would not be sent */
    conn_answer_status(n, c->token, id, err, 0, msg.text);
    c->greeted = false;
    conn_close(c, LOG_WARN, msg.text);
}

static void on_frame(void *ctx, struct net_conn *nc, unsigned type, uint64_t id, struct bytes body)
{
    struct node *n = ctx;
    struct conn *c = nc->user;
    if (!c || c->closing)
        return;
    arena_reset(&n->scratch);
    if (!c->greeted) {
        on_hello(c, type, id, body);
        return;
    }
    if (c->peer)
        c->peer->heard_at = n->now;
    serve_frame(c, type, id, body);
}

static void on_close(void *ctx, struct net_conn *nc, int err)
{
    struct node *n = ctx;
    struct conn *c = nc->user;
    if (!c)
        return;
    nc->user = NULL;
    if (c->greeted && !c->closing)
        node_log(n, c->peer ? LOG_INFO : LOG_DEBUG, "closed peer=\"%s\" why=\"%s\"", c->text,
                 err_text(err));
    c->closing = true;
    if (c->peer) {
        snapshot_link_down(c);
        peer_closed(c);
    }
    for (guint i = 0; i < n->groups->len; i++) {
        struct group *g = g_ptr_array_index(n->groups, i);
        waits_drop_conn(g->waits, c->token);
        queue_drop_conn(g->queue, c->token);
    }
    conn_destroy(c);
}

void conns_init(struct node *n)
{
    n->conns = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_queue_init(&n->conn_list);
    n->handler = (struct net_handler){on_open, on_frame, on_close, n};
}

void conns_finish(struct node *n)
{
    if (!n->conns)
        return;
    struct conn *c;
    while ((c = g_queue_peek_head(&n->conn_list)) != NULL)
        conn_destroy(c);
    g_clear_pointer(&n->conns, g_hash_table_destroy);
}

void conns_tick(struct node *n)
{
    for (GList *l = n->conn_list.head; l; l = l->next) {
        struct conn *c = l->data;
        unsigned ms = c->dialed ? DIAL_TIMEOUT_MS : HANDSHAKE_TIMEOUT_MS;
        if (!c->greeted && !c->closing && n->now - c->opened_at > TICKS(ms))
            conn_close(c, LOG_INFO, "no hello in time");
    }
}
