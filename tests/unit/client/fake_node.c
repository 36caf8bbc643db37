/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes' side of fake_node.h: one thread that accepts, reads and answers. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/unit/client/fake_impl.h"

/* --- sending ---------------------------------------------------------------------------------- */

/* Small answers: they fit the socket's buffer, or the peer is gone. */
static void put(struct fake_conn *c, const uint8_t *p, size_t n)
{
    while (n && !c->closing) {
        int64_t r = c->tls ? tls_write(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);
        if (r > 0) {
            p += r;
            n -= (size_t)r;
        } else if (c->tls ? r == -ERR_BUSY : errno == EAGAIN) {
            struct pollfd x = {.fd = c->fd, .events = POLLOUT};
            (void)poll(&x, 1, 1000);
        } else {
            c->closing = true;
        }
    }
}

static void put_enc(struct fake_conn *c, struct enc *e)
{
    put(c, e->p, e->n);
    enc_finish(e);
}

static void put_status(struct fake_conn *c, uint64_t id, unsigned status, uint32_t leader,
                       uint32_t gid)
{
    struct msg_status m = {.status = (uint16_t)status, .leader = leader, .gid = gid};
    struct enc e = {0};
    FRAME(&e, status, id, &m);
    put_enc(c, &e);
}

static void put_hello(struct fake_conn *c)
{
    struct msg_hello m = {.protocol = c->node->hello_protocol,
                          .cluster = c->node->hello_cluster,
                          .node = c->node->hello_node,
                          .software = bytes_str("fake")};
    struct enc e = {0};
    FRAME(&e, hello, 0, &m);
    put_enc(c, &e);
}

/* --- what a leader answers -------------------------------------------------------------------- */

static struct kv_result read_one(struct arena *a, const struct kv_read *r)
{
    struct kv_result got = {.version = 7, .size = 5, .value = bytes_str("value")};
    if (r->op == KV_GET && r->len) {
        uint8_t *p = arena_alloc(a, r->len);
        memset(p, (int)r->off, r->len);
        got.value = bytes_of(p, r->len);
    }
    return got;
}

static void encode_txn_reply(struct fake *f, struct enc *e, uint64_t id, struct bytes body)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_txn m;
    T_OK(dec_txn(body, &a, &m));
    struct msg_txn_reply reply = {.n_reads = m.n_reads,
                                  .reads = arena_array(&a, m.n_reads + 1, sizeof(*reply.reads))};
    for (uint32_t i = 0; i < m.n_reads; i++)
        reply.reads[i] = read_one(&a, &m.reads[i]);
    if (m.n_compares && m.compares[0].op == KV_ABSENT)
        reply.status = ERR_FAILED;
    if (m.n_writes && m.client <= f->live_above)
        reply = (struct msg_txn_reply){.status = ERR_NO_SESSION};
    else if (m.n_writes) {
        char *name =
            g_strdup_printf("%llu.%llu", (unsigned long long)m.client, (unsigned long long)m.seq);
        struct buf *first = g_hash_table_lookup(f->results, name);
        if (first && !bytes_eq(buf_bytes(first), body))
            f->changed_bytes++;
        if (first)
            g_free(name);
        else
            g_hash_table_insert(f->results, name, buf_copy(body));
    }
    FRAME(e, txn_reply, id, &reply);
}

static void answer_session(struct fake *f, struct enc *e, unsigned type, uint64_t id,
                           struct bytes body)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_session_reply reply = {0};
    struct msg_keepalive m;
    if (type == MSG_session_open)
        reply.client = ++f->last_session;
    if (type == MSG_keepalive) {
        T_OK(dec_keepalive(body, &a, &m));
        struct msg_status s = {.status = m.client <= f->live_above ? ERR_NO_SESSION : 0};
        FRAME(e, status, id, &s);
        return;
    }
    struct counter live = {.value = f->last_session, .name = bytes_str("me")};
    if (type == MSG_session_list) {
        reply.n_live = 1;
        reply.live = &live;
    }
    FRAME(e, session_reply, id, &reply);
}

static void encode_answer(struct fake *f, struct enc *e, unsigned type, uint64_t id,
                          struct bytes body)
{
    struct kv_result changed = {.version = 8, .size = 1, .value = bytes_str("x")};
    struct msg_txn_reply woken = {.n_reads = 1, .reads = &changed};
    struct msg_node_status_reply status = {.node = f->leader};
    switch (type) {
    case MSG_txn:
        encode_txn_reply(f, e, id, body);
        break;
    case MSG_wait:
        FRAME(e, txn_reply, id, &woken);
        break;
    case MSG_node_status:
        FRAME(e, node_status_reply, id, &status);
        break;
    default:
        answer_session(f, e, type, id, body);
    }
}

static uint32_t leader_of(const struct fake *f, uint32_t gid)
{
    return gid ? f->led[gid] : f->leader;
}

static const struct fake_shard *place_of(const struct fake *f, unsigned shard)
{
    static const struct fake_shard group_0;
    return shard < FAKE_SHARDS ? &f->shards[shard] : &group_0;
}

/* Of its first key; what has none belongs to group 0. */
static const struct fake_shard *place_of_request(const struct fake *f, const struct frame *in)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_txn m;
    struct bytes key = BYTES_NONE;
    if (in->type == MSG_txn && dec_txn(in->body, &a, &m) == 0)
        key = m.n_writes ? m.writes[0].key : m.n_reads ? m.reads[0].key : BYTES_NONE;
    return place_of(f, key.n >= 2 ? get_be16(key.p) : LOCATE_GROUP_0);
}

static void put_locate(struct fake *f, struct fake_conn *c, uint64_t id, unsigned shard)
{
    const struct fake_shard *place = place_of(f, shard);
    struct node_address nodes[NODES];
    char text[NODES][120];
    struct msg_locate_reply m = {.gid = place->gid,
                                 .next = c->node->lags ? place->gid : place->next,
                                 .shards = FAKE_SHARDS,
                                 .leader =
                                     c->node->tell_set ? c->node->tell : leader_of(f, place->gid)};
    struct enc e = {0};
    for (unsigned i = 0; f->tells && i < f->n_nodes; i++) {
        g_snprintf(text[i], sizeof(text[i]), "unix:%s/n%u", f->dir, f->nodes[i].id);
        nodes[i] = (struct node_address){f->nodes[i].id, bytes_str(text[i])};
        m.n_nodes = i + 1;
    }
    m.nodes = nodes;
    FRAME(&e, locate_reply, id, &m);
    put_enc(c, &e);
}

/* --- a request -------------------------------------------------------------------------------- */

static void note(struct fake *f, struct fake_conn *c, const struct frame *in)
{
    struct fake_seen s = {.node = c->node->id, .type = in->type};
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_txn m;
    if (in->type == MSG_txn && dec_txn(in->body, &a, &m) == 0) {
        s.client = m.client;
        s.seq = m.seq;
        s.acked_below = m.acked_below;
    }
    g_array_append_val(f->seen, s);
}

static struct held *hold(struct fake *f, struct fake_conn *c, const struct frame *in)
{
    struct held *h = g_new0(struct held, 1);
    *h = (struct held){c, buf_copy(in->body), NULL, in->type, in->id};
    g_ptr_array_add(f->held, h);
    return h;
}

static void spoil(struct fake_conn *c, enum fake_step step, struct enc *e, uint64_t id)
{
    struct msg_txn_reply reply = {0};
    struct msg_locate_reply other = {0};
    struct enc x CLEANUP(enc_finish) = {0};
    switch (step) {
    case HALF_ANSWER:
        put(c, e->p, e->n / 2);
        c->closing = true;
        break;
    case WRONG_MAGIC:
        put(c, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", 47);
        break;
    case WRONG_CRC:
        e->p[e->n - 1] ^= 1;
        put(c, e->p, e->n);
        break;
    case WRONG_TYPE:
        FRAME(&x, locate_reply, id, &other);
        put(c, x.p, x.n);
        break;
    case WRONG_BODY: {
        size_t at = frame_begin(&x);
        enc_u16(&x, 0);
        frame_end(&x, at, MSG_txn_reply, id);
        put(c, x.p, x.n);
        break;
    }
    default:
        FRAME(&x, txn_reply, id + 1000000, &reply);
        put(c, x.p, x.n);
        put(c, e->p, e->n);
    }
}

static bool reads_only(const struct frame *in)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_txn m;
    return in->type == MSG_txn && dec_txn(in->body, &a, &m) == 0 && m.n_writes == 0;
}

static void serve(struct fake *f, struct fake_conn *c, const struct frame *in)
{
    struct script *s = NULL;
    struct enc e CLEANUP(enc_finish) = {0};
    struct msg_txn_reply reply = {0};

    note(f, c, in);
    if (in->type == MSG_locate) {
        struct arena a CLEANUP(arena_finish) = {0};
        struct msg_locate m;
        T_OK(dec_locate(in->body, &a, &m));
        put_locate(f, c, in->id, m.shard);
        return;
    }
    const struct fake_shard *place = place_of_request(f, in);
    uint32_t leader = leader_of(f, place->gid);
    s = g_queue_pop_head(&c->node->script);
    enum fake_step step = s ? s->step : ANSWER;
    uint32_t arg = s ? s->arg : leader;
    g_free(s);
    if (step == ANSWER && in->type != MSG_node_status && c->node->id != leader &&
        !(c->anywhere && leader && reads_only(in)))
        step = NOT_LEADER;
    if (step == ANSWER && place->next != place->gid) {
        step = STATUS_REPLY;
        arg = ERR_WRONG_GROUP;
    }
    switch (step) {
    case NOT_LEADER:
        put_status(c, in->id, ERR_NOT_LEADER, arg, place->gid);
        return;
    case STATUS:
        put_status(c, in->id, arg, 0, 0);
        return;
    case STATUS_REPLY:
        reply.status = (uint16_t)arg;
        FRAME(&e, txn_reply, in->id, &reply);
        put(c, e.p, e.n);
        return;
    case HANG_UP:
        c->closing = true;
        return;
    case HOLD:
        (void)hold(f, c, in);
        return;
    default:
        break;
    }
    encode_answer(f, &e, in->type, in->id, in->body);
    if (step == HOLD_HALF) {
        put(c, e.p, e.n / 2);
        hold(f, c, in)->rest = buf_copy(bytes_of(e.p + e.n / 2, e.n - e.n / 2));
        return;
    }
    if (step == EXECUTE_HANG_UP)
        c->closing = true;
    else if (step == ANSWER)
        put(c, e.p, e.n);
    else
        spoil(c, step, &e, in->id);
}

static void release_one(struct fake *f, struct held *h)
{
    struct enc e CLEANUP(enc_finish) = {0};
    if (h->rest)
        enc_raw(&e, h->rest->data, h->rest->len);
    else
        encode_answer(f, &e, h->type, h->id, buf_bytes(h->body));
    if (h->conn)
        put(h->conn, e.p, e.n);
    buf_unref(h->body);
    buf_unref(h->rest);
    g_free(h);
}

static void release_held(struct fake *f)
{
    for (guint i = 0, n = f->held->len; i < n; i++)
        release_one(f, f->held->pdata[f->backwards ? n - 1 - i : i]);
    g_ptr_array_set_size(f->held, 0);
    f->backwards = false;
}

/* --- connections ------------------------------------------------------------------------------ */

void fake_conn_free(struct fake *f, struct fake_conn *c)
{
    for (guint i = 0; i < f->held->len; i++) {
        struct held *h = f->held->pdata[i];
        if (h->conn == c)
            h->conn = NULL;
    }
    tls_conn_destroy(c->tls);
    (void)close(c->fd);
    c->node->closed++;
    g_byte_array_unref(c->in);
    g_free(c);
}

static void take_conn(struct fake *f, struct fake_node *n)
{
    int fd = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct fake_conn *c = g_new0(struct fake_conn, 1);
    c->node = n;
    c->fd = fd;
    c->in = g_byte_array_new();
    c->ready = !n->tls;
    if (n->tls)
        c->tls = tls_conn_create(n->tls, fd, true);
    n->accepted++;
    g_ptr_array_add(f->conns, c);
    if (c->ready)
        put_hello(c);
}

static void note_hello(struct fake_conn *c, struct bytes body)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_hello m;
    c->anywhere = dec_hello(body, &a, &m) == 0 && m.purpose == HELLO_READ_ANYWHERE;
}

static void take_bytes(struct fake *f, struct fake_conn *c)
{
    uint8_t p[65536];
    if (!c->ready) {
        int r = tls_handshake(c->tls);
        c->ready = r == 0;
        c->closing = r < 0 && r != -ERR_BUSY;
        if (c->ready)
            put_hello(c);
        return;
    }
    int64_t n = c->tls ? tls_read(c->tls, p, sizeof(p)) : recv(c->fd, p, sizeof(p), 0);
    if (c->tls ? n == -ERR_BUSY : n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        c->closing = true;
        return;
    }
    g_byte_array_append(c->in, p, (guint)n);
    struct frame in;
    size_t used;
    while (!c->closing && c->in->len &&
           frame_parse(bytes_of(c->in->data, c->in->len), &in, &used) == 0) {
        if (c->greeted)
            serve(f, c, &in);
        else
            note_hello(c, in.body);
        c->greeted = true;
        g_byte_array_remove_range(c->in, 0, (guint)used);
    }
}

static unsigned gather(struct fake *f, struct pollfd *p)
{
    unsigned n = 0;
    p[n++] = (struct pollfd){.fd = f->wake, .events = POLLIN};
    for (unsigned i = 0; i < NODES; i++)
        p[n++] =
            (struct pollfd){.fd = i < f->n_nodes && !f->nodes[i].hang ? f->nodes[i].listener : -1,
                            .events = POLLIN};
    for (guint i = 0; i < f->conns->len; i++) {
        struct fake_conn *c = f->conns->pdata[i];
        p[n++] = (struct pollfd){.fd = c->node->hang ? -1 : c->fd, .events = POLLIN};
    }
    return n;
}

void *fake_main(void *arg)
{
    struct fake *f = arg;
    struct pollfd p[1 + NODES + 512];
    eventfd_t count;

    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        unsigned n = gather(f, p), n_conns = n - 1 - NODES;
        pthread_mutex_unlock(&f->lock);
        (void)poll(p, n, -1);
        pthread_mutex_lock(&f->lock);
        if (p[0].revents)
            (void)eventfd_read(f->wake, &count);
        for (unsigned i = 0; i < n_conns; i++) {
            struct fake_conn *c = f->conns->pdata[i];
            if (p[1 + NODES + i].revents && !c->closing)
                take_bytes(f, c);
            while (c->tls && c->ready && !c->closing && tls_pending(c->tls))
                take_bytes(f, c);
        }
        if (f->release)
            release_held(f);
        f->release = false;
        for (unsigned i = 0; i < f->n_nodes; i++)
            if (p[1 + i].revents && f->nodes[i].listener >= 0 && !f->nodes[i].hang)
                take_conn(f, &f->nodes[i]);
        for (guint i = f->conns->len; i-- > 0;) {
            struct fake_conn *c = f->conns->pdata[i];
            if (c->closing) {
                g_ptr_array_remove_index_fast(f->conns, i);
                fake_conn_free(f, c);
            }
        }
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}
