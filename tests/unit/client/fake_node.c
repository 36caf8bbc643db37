/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/client/fake_node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "cluster/base/tlsgen.h"

#define NODES 3

struct held {
    struct fake_conn *conn; /* NULL: it is gone */
    struct buf *body;
    unsigned type;
    uint64_t id;
};

struct script {
    enum fake_step step;
    uint32_t arg;
};

struct fake_node {
    uint32_t id; /* its address in the conf */
    int listener;
    GQueue script;
    uint32_t tell;
    bool tell_set, hang;
    uint64_t hello_cluster;
    uint32_t hello_node, hello_protocol;
    unsigned accepted, closed;
    struct tls_ctx *tls;
};

struct fake_conn {
    struct fake_node *node;
    int fd;
    struct tls_conn *tls; /* NULL over a Unix socket */
    bool ready, greeted, closing;
    GByteArray *in;
};

struct fake {
    pthread_mutex_t lock;
    pthread_t thread;
    int wake;
    bool stop, release;
    const char *dir, *conf;
    struct fake_node nodes[NODES];
    unsigned n_nodes;
    uint32_t leader;
    GPtrArray *conns, *held;
    GArray *seen;        /* struct fake_seen */
    GHashTable *results; /* "client.seq" -> struct buf, the request's body */
    uint64_t last_session, live_above;
    unsigned changed_bytes;
};

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

static void put_status(struct fake_conn *c, uint64_t id, unsigned status, uint32_t leader)
{
    struct msg_status m = {.status = (uint16_t)status, .leader = leader};
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

static void encode_txn_reply(struct fake *f, struct enc *e, uint64_t id, struct bytes body)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_txn m;
    T_OK(dec_txn(body, &a, &m));
    struct msg_txn_reply reply = {.n_reads = m.n_reads,
                                  .reads = arena_array(&a, m.n_reads + 1, sizeof(*reply.reads))};
    for (uint32_t i = 0; i < m.n_reads; i++)
        reply.reads[i] = (struct kv_result){.version = 7, .size = 5, .value = bytes_str("value")};
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

static void put_locate(struct fake *f, struct fake_conn *c, uint64_t id)
{
    struct msg_locate_reply m = {.shards = FAKE_SHARDS,
                                 .leader = c->node->tell_set ? c->node->tell : f->leader};
    struct enc e = {0};
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

static void hold(struct fake *f, struct fake_conn *c, const struct frame *in)
{
    struct held *h = g_new0(struct held, 1);
    *h = (struct held){c, buf_copy(in->body), in->type, in->id};
    g_ptr_array_add(f->held, h);
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

static void serve(struct fake *f, struct fake_conn *c, const struct frame *in)
{
    struct script *s = NULL;
    struct enc e CLEANUP(enc_finish) = {0};
    struct msg_txn_reply reply = {0};

    note(f, c, in);
    if (in->type == MSG_locate) {
        put_locate(f, c, in->id);
        return;
    }
    s = g_queue_pop_head(&c->node->script);
    enum fake_step step = s ? s->step : ANSWER;
    uint32_t arg = s ? s->arg : f->leader;
    g_free(s);
    if (step == ANSWER && in->type != MSG_node_status && c->node->id != f->leader)
        step = NOT_LEADER;
    switch (step) {
    case NOT_LEADER:
        put_status(c, in->id, ERR_NOT_LEADER, arg);
        return;
    case STATUS:
        put_status(c, in->id, arg, 0);
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
        hold(f, c, in);
        return;
    default:
        break;
    }
    encode_answer(f, &e, in->type, in->id, in->body);
    if (step == EXECUTE_HANG_UP)
        c->closing = true;
    else if (step == ANSWER)
        put(c, e.p, e.n);
    else
        spoil(c, step, &e, in->id);
}

static void release_held(struct fake *f)
{
    for (guint i = 0; i < f->held->len; i++) {
        struct held *h = f->held->pdata[i];
        struct enc e CLEANUP(enc_finish) = {0};
        encode_answer(f, &e, h->type, h->id, buf_bytes(h->body));
        if (h->conn)
            put(h->conn, e.p, e.n);
        buf_unref(h->body);
        g_free(h);
    }
    g_ptr_array_set_size(f->held, 0);
}

/* --- connections ------------------------------------------------------------------------------ */

static void conn_free(struct fake *f, struct fake_conn *c)
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

static void *fake_main(void *arg)
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
                conn_free(f, c);
            }
        }
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

static void listen_unix(struct fake *f, struct fake_node *n, GString *conf)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    g_snprintf(to.sun_path, sizeof(to.sun_path), "%s/n%u", f->dir, n->id);
    n->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(n->listener, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(listen(n->listener, 512), 0);
    g_string_append_printf(conf, "peer n%u unix:%s\n", n->id, to.sun_path);
}

static void make_cert(struct fake *f, const char *name, struct tls_peer who)
{
    struct errmsg msg;
    char *cert = g_strdup_printf("%s/%s.crt", f->dir, name);
    char *key = g_strdup_printf("%s/%s.key", f->dir, name);
    T_OK_MSG(
        tls_make_cert(t_path(f->dir, "ca.crt"), t_path(f->dir, "ca.key"), &who, cert, key, &msg),
        &msg);
    g_free(cert);
    g_free(key);
}

static void listen_tls(struct fake *f, struct fake_node *n, GString *conf)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(to);
    struct errmsg msg;
    char name[8], cert[16], key[16];
    g_snprintf(name, sizeof(name), "n%u", n->id);
    g_snprintf(cert, sizeof(cert), "n%u.crt", n->id);
    g_snprintf(key, sizeof(key), "n%u.key", n->id);
    make_cert(f, name, (struct tls_peer){.role = ROLE_NODE, .node = n->id, .uid = -1});
    T_OK_MSG(tls_ctx_create(t_path(f->dir, cert), t_path(f->dir, key), t_path(f->dir, "ca.crt"),
                            &msg, &n->tls),
             &msg);
    n->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(n->listener, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(listen(n->listener, 512), 0);
    assert_int_equal(getsockname(n->listener, (struct sockaddr *)&to, &len), 0);
    g_string_append_printf(conf, "peer n%u 127.0.0.1:%u\n", n->id, ntohs(to.sin_port));
}

static struct fake *create(unsigned nodes, bool tls)
{
    struct fake *f = g_new0(struct fake, 1);
    GString *conf = g_string_new(NULL);
    struct errmsg msg;

    pthread_mutex_init(&f->lock, NULL);
    f->dir = t_tmpdir();
    f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->conns = g_ptr_array_new();
    f->held = g_ptr_array_new();
    f->seen = g_array_new(FALSE, FALSE, sizeof(struct fake_seen));
    f->results = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)buf_unref);
    f->leader = 1;
    f->last_session = 100;
    f->n_nodes = nodes;
    g_string_append_printf(conf, "cluster %016llx\n", (unsigned long long)FAKE_CLUSTER);
    if (tls) {
        T_OK_MSG(
            tls_make_ca(FAKE_CLUSTER, t_path(f->dir, "ca.crt"), t_path(f->dir, "ca.key"), &msg),
            &msg);
        make_cert(f, "alice", (struct tls_peer){.role = ROLE_CLIENT, .uid = -1, .name = "alice"});
        g_string_append_printf(conf, "ca %s/ca.crt\ncert %s/alice.crt\nkey %s/alice.key\n", f->dir,
                               f->dir, f->dir);
    }
    for (unsigned i = 0; i < nodes; i++) {
        f->nodes[i] = (struct fake_node){
            .id = i + 1, .hello_cluster = FAKE_CLUSTER, .hello_node = i + 1, .hello_protocol = 1};
        (tls ? listen_tls : listen_unix)(f, &f->nodes[i], conf);
    }
    f->conf = t_path(f->dir, "client.conf");
    t_write_file(f->conf, conf->str, conf->len);
    g_string_free(conf, TRUE);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
    return f;
}

struct fake *fake_create(unsigned nodes)
{
    return create(nodes, false);
}

struct fake *fake_create_tls(unsigned nodes)
{
    return create(nodes, true);
}

static void unlock_and_wake(struct fake *f)
{
    pthread_mutex_unlock(&f->lock);
    (void)eventfd_write(f->wake, 1);
}

void fake_destroy(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    unlock_and_wake(f);
    (void)pthread_join(f->thread, NULL);
    unsigned changed = f->changed_bytes;
    for (guint i = 0; i < f->conns->len; i++)
        conn_free(f, f->conns->pdata[i]);
    for (guint i = 0; i < f->held->len; i++) {
        struct held *h = f->held->pdata[i];
        buf_unref(h->body);
        g_free(h);
    }
    for (unsigned i = 0; i < f->n_nodes; i++) {
        g_queue_clear_full(&f->nodes[i].script, g_free);
        if (f->nodes[i].listener >= 0)
            (void)close(f->nodes[i].listener);
        tls_ctx_destroy(f->nodes[i].tls);
    }
    g_ptr_array_unref(f->conns);
    g_ptr_array_unref(f->held);
    g_array_unref(f->seen);
    g_hash_table_unref(f->results);
    (void)close(f->wake);
    pthread_mutex_destroy(&f->lock);
    g_free(f);
    assert_int_equal(changed, 0); /* a request came again under its name with other bytes */
}

const char *fake_conf(struct fake *f)
{
    return f->conf;
}

/* --- the test's orders ------------------------------------------------------------------------ */

void fake_lead(struct fake *f, uint32_t leader)
{
    pthread_mutex_lock(&f->lock);
    f->leader = leader;
    unlock_and_wake(f);
}

void fake_script(struct fake *f, uint32_t node, enum fake_step step, uint32_t arg)
{
    struct script *s = g_new0(struct script, 1);
    *s = (struct script){step, arg};
    pthread_mutex_lock(&f->lock);
    g_queue_push_tail(&f->nodes[node - 1].script, s);
    unlock_and_wake(f);
}

void fake_release(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->release = true;
    unlock_and_wake(f);
}

void fake_tell(struct fake *f, uint32_t node, uint32_t leader)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].tell = leader;
    f->nodes[node - 1].tell_set = true;
    unlock_and_wake(f);
}

void fake_identity(struct fake *f, uint32_t node, uint64_t cluster, uint32_t id, uint32_t protocol)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].hello_cluster = cluster;
    f->nodes[node - 1].hello_node = id;
    f->nodes[node - 1].hello_protocol = protocol;
    unlock_and_wake(f);
}

void fake_hang(struct fake *f, uint32_t node, bool hang)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].hang = hang;
    unlock_and_wake(f);
}

static unsigned closed(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->nodes[node - 1].closed;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void fake_restart(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    unsigned until = f->nodes[node - 1].closed;
    for (guint i = 0; i < f->conns->len; i++) {
        struct fake_conn *c = f->conns->pdata[i];
        if (c->node->id == node) {
            c->closing = true;
            until++;
        }
    }
    unlock_and_wake(f);
    T_EVENTUALLY(closed(f, node) >= until);
}

void fake_stop(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    (void)close(f->nodes[node - 1].listener);
    f->nodes[node - 1].listener = -1;
    unlock_and_wake(f);
    fake_restart(f, node);
}

void fake_expire(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->live_above = f->last_session;
    unlock_and_wake(f);
}

/* --- what was seen ---------------------------------------------------------------------------- */

static bool wanted(const struct fake_seen *s, unsigned type)
{
    return type ? s->type == type : s->type != MSG_locate;
}

unsigned fake_count(struct fake *f, unsigned type)
{
    unsigned n = 0;
    pthread_mutex_lock(&f->lock);
    for (guint i = 0; i < f->seen->len; i++)
        n += wanted(&g_array_index(f->seen, struct fake_seen, i), type);
    pthread_mutex_unlock(&f->lock);
    return n;
}

struct fake_seen fake_seen(struct fake *f, unsigned type, unsigned i)
{
    struct fake_seen found = {0};
    pthread_mutex_lock(&f->lock);
    for (guint k = 0; k < f->seen->len; k++) {
        const struct fake_seen *s = &g_array_index(f->seen, struct fake_seen, k);
        if (wanted(s, type) && i-- == 0) {
            found = *s;
            break;
        }
    }
    pthread_mutex_unlock(&f->lock);
    assert_int_not_equal(found.node, 0); /* so many have not come */
    return found;
}

unsigned fake_executed(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = g_hash_table_size(f->results);
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fake_conns(struct fake *f, uint32_t node)
{
    unsigned n = 0;
    pthread_mutex_lock(&f->lock);
    for (guint i = 0; i < f->conns->len; i++)
        n += ((struct fake_conn *)f->conns->pdata[i])->node->id == node;
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fake_accepted(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->nodes[node - 1].accepted;
    pthread_mutex_unlock(&f->lock);
    return n;
}
