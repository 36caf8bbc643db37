/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include "tests/unit/node/cluster.h"
#include "cluster/base/log.h"

struct test_net {
    struct net net;
    struct test_node *node;
};

struct test_conn {
    struct net_conn conn;
    struct cluster *cluster;
    struct test_conn *other;
    unsigned owner, far; /* node ids; 0: a test's client */
    struct test_client *client;
    struct net_peer peer; /* what this side sees of the other */
    bool dialed, closed;
};

enum event_kind { EV_OPEN, EV_FRAME, EV_CLOSE };
struct event {
    enum event_kind kind;
    struct test_conn *to;
    struct bytes frame; /* owned */
    int err;
};

struct test_client {
    struct cluster *cluster;
    struct test_conn *conn;
    struct net_conn *nc;
    bool closed;
    uint64_t last_id;
    GPtrArray *frames; /* struct frame *, in the cluster's arena */
};

/* --- net -------------------------------------------------------------------------------------- */

static void post(struct cluster *c, enum event_kind kind, struct test_conn *to, struct bytes frame,
                 int err)
{
    struct event *e = g_new0(struct event, 1);
    *e = (struct event){kind, to, BYTES_NONE, err};
    if (frame.n > 0)
        e->frame = bytes_of(g_memdup2(frame.p, frame.n), frame.n);
    g_queue_push_tail(&c->events, e);
}

static struct test_conn *conn_new(struct cluster *c, unsigned owner, unsigned far)
{
    struct test_conn *t = g_new0(struct test_conn, 1);
    t->cluster = c;
    t->owner = owner;
    t->far = far;
    if (owner > 0)
        t->conn.net = c->nodes[owner - 1].net;
    g_ptr_array_add(c->conns, t);
    return t;
}

static void pair(struct test_conn *a, struct test_conn *b)
{
    a->other = b;
    b->other = a;
}

static struct net_conn *test_dial(struct net *net, const char *address, void *user)
{
    struct test_net *tn = container_of(net, struct test_net, net);
    struct cluster *c = tn->node->cluster;
    unsigned from = tn->node->id, to = 0;
    assert_int_equal(sscanf(address, "node:%u", &to), 1);
    struct test_conn *t = conn_new(c, from, to);
    t->dialed = true;
    t->conn.user = user;
    if (!c->nodes[to - 1].node || c->cut[from][to]) {
        post(c, EV_CLOSE, t, BYTES_NONE, -ERR_UNREACHABLE);
        return &t->conn;
    }
    struct test_conn *o = conn_new(c, to, from);
    pair(t, o);
    t->peer = (struct net_peer){ROLE_NODE, to, false, -1, "a node"};
    o->peer = (struct net_peer){ROLE_NODE, from, false, -1, "a node"};
    post(c, EV_OPEN, o, BYTES_NONE, 0);
    post(c, EV_OPEN, t, BYTES_NONE, 0);
    return &t->conn;
}

static int test_send(struct net_conn *nc, struct bytes frame)
{
    struct test_conn *t = container_of(nc, struct test_conn, conn);
    if (t->closed)
        return -ERR_CLOSED;
    if (t->other && !t->other->closed)
        post(t->cluster, EV_FRAME, t->other, frame, 0);
    return 0;
}

static size_t test_queued(const struct net_conn *nc)
{
    return 0;
}

static void close_both(struct test_conn *t, int err)
{
    struct cluster *c = t->cluster;
    post(c, EV_CLOSE, t, BYTES_NONE, err);
    if (t->other)
        post(c, EV_CLOSE, t->other, BYTES_NONE, -ERR_CLOSED);
}

static void test_close(struct net_conn *nc)
{
    close_both(container_of(nc, struct test_conn, conn), -ERR_CANCELED);
}

static const struct net_ops net_ops = {test_dial, test_send, test_queued, test_close};

static void to_client(struct test_client *k, const struct event *e)
{
    if (e->kind == EV_CLOSE)
        k->closed = true;
    if (e->kind != EV_FRAME)
        return;
    struct frame *f = arena_zalloc(&k->cluster->arena, sizeof(*f));
    size_t used;
    T_OK(frame_parse(arena_copy(&k->cluster->arena, e->frame), f, &used));
    g_ptr_array_add(k->frames, f);
}

static void to_node(struct test_node *tn, const struct event *e)
{
    const struct net_handler *h = node_net_handler(tn->node);
    struct test_conn *t = e->to;
    struct frame f;
    size_t used;
    switch (e->kind) {
    case EV_OPEN:
        h->on_open(h->ctx, &t->conn, &t->peer, t->dialed);
        return;
    case EV_FRAME:
        T_OK(frame_parse(e->frame, &f, &used));
        h->on_frame(h->ctx, &t->conn, f.type, f.id, f.body);
        return;
    case EV_CLOSE:
        h->on_close(h->ctx, &t->conn, e->err);
        return;
    }
}

static void deliver(struct cluster *c)
{
    struct event *e;
    while ((e = g_queue_pop_head(&c->events)) != NULL) {
        struct test_conn *t = e->to;
        if (!t->closed) {
            t->closed = e->kind == EV_CLOSE;
            if (t->client)
                to_client(t->client, e);
            else if (t->owner > 0 && c->nodes[t->owner - 1].node)
                to_node(&c->nodes[t->owner - 1], e);
        }
        g_free((void *)e->frame.p);
        g_free(e);
    }
}

/* --- environment ------------------------------------------------------------------------------ */

static uint64_t env_mono(void *ctx)
{
    struct test_node *tn = ctx;
    return (tn->cluster->now + tn->slept) * TICK_MS * 1000000u;
}

static uint64_t env_wall(void *ctx)
{
    return env_mono(ctx) + 1700000000000000000u;
}

static NORETURN void env_fatal(void *ctx, int err, const char *text)
{
    struct test_node *tn = ctx;
    fail_msg("node %u ended: %s (%s)", tn->id, text, err_name(err));
    abort();
}

static void env_log(void *ctx, int level, const char *text)
{
    struct test_node *tn = ctx;
    g_string_append_printf(tn->log, "%s\n", text);
    if (getenv("NODE_LOG"))
        fprintf(stderr, "%" G_GUINT64_FORMAT " node %u: %s\n", tn->cluster->now, tn->id, text);
}

static void env_lead(void *ctx, uint32_t gid, bool leading)
{
    struct test_node *tn = ctx;
    if (gid != 0)
        return;
    assert_true(tn->leading != leading);
    tn->leading = leading;
}

static void env_removed(void *ctx, const char *text)
{
    struct test_node *tn = ctx;
    assert_string_equal(tn->removed, ""); /* once */
    g_strlcpy(tn->removed, text, sizeof(tn->removed));
}

int cluster_try_start(struct cluster *c, unsigned id, struct errmsg *msg)
{
    struct test_node *tn = &c->nodes[id - 1];
    struct node_peer_config peers[8];
    unsigned n_peers = 0;
    for (unsigned i = 0; i < c->n; i++)
        if (tn->known ? (tn->known & (1u << i)) != 0 : i < c->options.n)
            peers[n_peers++] = (struct node_peer_config){c->nodes[i].id, c->nodes[i].address};
    const struct node_config config = {
        .cluster = CLUSTER_ID,
        .id = id,
        .incarnation = tn->incarnation,
        .data_dir = tn->dir,
        .shards = TEST_SHARDS,
        .groups = c->options.groups,
        .peers = peers,
        .n_peers = n_peers,
        .join = tn->known != 0,
        .flush_log_bytes = c->options.flush_log_bytes,
        .snapshot_tick_bytes = c->options.snapshot_tick_bytes,
        .rows_held = c->options.rows_held,
        .lease = c->options.lease,
        .lease_drift_ticks = 2,
        .segment_bytes = c->options.segment_bytes ? c->options.segment_bytes : MIB(1),
    };
    const struct node_env env = {
        .disk = tn->disk,
        .net = tn->net,
        .stores = tn->stores,
        .rng = &tn->rng,
        .mono_ns = env_mono,
        .wall_ns = env_wall,
        .fatal = env_fatal,
        .log = env_log,
        .on_lead = env_lead,
        .on_removed = env_removed,
        .ctx = tn,
    };
    tn->leading = false;
    tn->removed[0] = 0;
    return node_create(&config, &env, &tn->node, msg);
}

void cluster_start(struct cluster *c, unsigned id)
{
    struct errmsg msg = {""};
    T_OK_MSG(cluster_try_start(c, id, &msg), &msg);
}

void cluster_kill(struct cluster *c, unsigned id)
{
    struct test_node *tn = &c->nodes[id - 1];
    node_destroy(tn->node);
    tn->node = NULL;
    test_disk_crash(tn);
    for (guint i = 0; i < c->conns->len; i++) {
        struct test_conn *t = g_ptr_array_index(c->conns, i);
        if (t->owner != id || t->closed)
            continue;
        t->closed = true;
        if (t->other)
            post(c, EV_CLOSE, t->other, BYTES_NONE, -ERR_CLOSED);
    }
}

static void make_disks(struct test_node *tn)
{
    tn->dir = g_strdup(t_tmpdir());
    test_disk_make(tn);
    tn->mem = store_mem_disk_create();
    const char *kind = getenv("NODE_STORE");
    tn->stores = kind && strcmp(kind, "rocks") == 0 ? store_rocks_maker_create()
                                                    : store_mem_maker_create(tn->mem);
    tn->incarnation++;
}

static void drop_disks(struct test_node *tn)
{
    store_maker_destroy(tn->stores);
    store_mem_disk_destroy(tn->mem);
    disk_posix_destroy(tn->disk);
    g_free(tn->dir);
}

void cluster_wipe(struct cluster *c, unsigned id)
{
    struct test_node *tn = &c->nodes[id - 1];
    assert_null(tn->node);
    drop_disks(tn);
    make_disks(tn);
}

static struct test_node *make_node(struct cluster *c, unsigned id, struct rng *rng)
{
    struct test_node *tn = &c->nodes[id - 1];
    struct test_net *net = g_new0(struct test_net, 1);
    *net = (struct test_net){{&net_ops}, tn};
    tn->id = id;
    tn->cluster = c;
    tn->net = &net->net;
    tn->address = g_strdup_printf("node:%u", tn->id);
    tn->log = g_string_new("");
    tn->incarnation = 100 * tn->id;
    rng_seed(&tn->rng, rng_next(rng));
    make_disks(tn);
    return tn;
}

unsigned cluster_join(struct cluster *c)
{
    struct rng rng = t_rng();
    assert_true(c->n < ARRAY_LEN(c->nodes));
    for (unsigned i = 0; i < c->n; i++) /* another seed for each node */
        (void)rng_next(&rng);
    struct test_node *tn = make_node(c, ++c->n, &rng);
    tn->known = ((1u << c->n) - 1) & ~c->gone;
    cluster_start(c, tn->id);
    return tn->id;
}

struct cluster *cluster_create(const struct cluster_options *o)
{
    struct cluster *c = g_new0(struct cluster, 1);
    struct rng rng = t_rng();
    c->options = *o;
    c->n = o->n;
    c->conns = g_ptr_array_new();
    g_queue_init(&c->events);
    for (unsigned i = 0; i < c->n; i++)
        (void)make_node(c, i + 1, &rng);
    for (unsigned i = 0; i < c->n; i++)
        cluster_start(c, i + 1);
    return c;
}

void cluster_destroy(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct test_node *tn = &c->nodes[i];
        node_destroy(tn->node);
        tn->node = NULL;
        test_disk_crash(tn);
        drop_disks(tn);
        g_free(container_of(tn->net, struct test_net, net));
        g_free(tn->address);
        g_string_free(tn->log, TRUE);
    }
    deliver(c);
    for (guint i = 0; i < c->conns->len; i++) {
        struct test_conn *t = g_ptr_array_index(c->conns, i);
        if (t->client)
            g_ptr_array_free(t->client->frames, TRUE);
        g_free(t->client);
        g_free(t);
    }
    g_ptr_array_free(c->conns, TRUE);
    arena_finish(&c->arena);
    g_free(c);
}

void cluster_cut(struct cluster *c, unsigned a, unsigned b, bool cut)
{
    c->cut[a][b] = c->cut[b][a] = cut;
    for (guint i = 0; cut && i < c->conns->len; i++) {
        struct test_conn *t = g_ptr_array_index(c->conns, i);
        if (!t->closed && t->owner == a && t->far == b)
            close_both(t, -ERR_CLOSED);
    }
}

void cluster_cut_off(struct cluster *c, unsigned id, bool cut)
{
    for (unsigned i = 1; i <= c->n; i++)
        if (i != id)
            cluster_cut(c, id, i, cut);
}

/* False: nothing was left to do. */
static bool run_round(struct cluster *c)
{
    bool busy = false;
    deliver(c);
    for (unsigned i = 0; i < c->n; i++) {
        struct node *n = c->nodes[i].node;
        if (!n || !node_has_work(n))
            continue;
        busy = true;
        node_round(n);
    }
    return busy || !g_queue_is_empty(&c->events);
}

bool cluster_rounds(struct cluster *c, unsigned rounds)
{
    while (rounds > 0 && run_round(c))
        rounds--;
    return rounds == 0;
}

static void settle(struct cluster *c)
{
    for (unsigned guard = 0; guard < 10000; guard++)
        if (!run_round(c))
            return;
    fail_msg("the nodes never come to rest");
}

/* As raftfsd does, though not before its last words are out. */
static void end_removed(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].node && c->nodes[i].removed[0])
            cluster_kill(c, i + 1);
}

void cluster_tick(struct cluster *c)
{
    c->now++;
    for (unsigned i = 0; i < c->n; i++)
        if (c->nodes[i].node)
            node_tick(c->nodes[i].node);
}

void cluster_run(struct cluster *c, unsigned ticks)
{
    settle(c);
    for (unsigned k = 0; k < ticks; k++) {
        cluster_tick(c);
        settle(c);
        end_removed(c);
    }
}

struct raft_status cluster_status(struct cluster *c, unsigned id)
{
    struct raft_status s = {0};
    assert_non_null(c->nodes[id - 1].node);
    assert_true(node_group_status(c->nodes[id - 1].node, 0, &s));
    return s;
}

unsigned cluster_leader(struct cluster *c)
{
    unsigned leader = 0;
    raft_term term = 0;
    for (unsigned i = 0; i < c->n; i++) {
        struct raft_status s = {0};
        if (!c->nodes[i].node || !node_group_status(c->nodes[i].node, 0, &s))
            continue;
        if (s.leading && s.term > term) {
            leader = i + 1;
            term = s.term;
        }
    }
    return leader;
}

/* --- clients ---------------------------------------------------------------------------------- */

struct test_client *client_raw(struct cluster *c, unsigned id, const struct net_peer *peer)
{
    struct test_client *k = g_new0(struct test_client, 1);
    k->cluster = c;
    k->frames = g_ptr_array_new();
    k->conn = conn_new(c, 0, id);
    k->conn->client = k;
    struct test_conn *o = conn_new(c, id, 0);
    o->peer = *peer;
    pair(k->conn, o);
    post(c, EV_OPEN, o, BYTES_NONE, 0);
    return k;
}

static struct test_client *greet(struct cluster *c, unsigned id, const struct net_peer *peer,
                                 enum hello_purpose purpose)
{
    struct test_client *k = client_raw(c, id, peer);
    struct msg_hello hello = {
        .protocol = HELLO_PROTOCOL, .cluster = CLUSTER_ID, .purpose = (uint8_t)purpose};
    struct enc e = {0};
    FRAME(&e, hello, 0, &hello);
    client_send(k, &e);
    return k;
}

struct test_client *client_connect(struct cluster *c, unsigned id, enum role role, bool read_only)
{
    struct net_peer peer = {role, 0, read_only, -1, "a client"};
    return greet(c, id, &peer, HELLO_MAIN);
}

struct test_client *client_connect_anywhere(struct cluster *c, unsigned id)
{
    struct net_peer peer = {ROLE_CLIENT, 0, false, -1, "a client"};
    return greet(c, id, &peer, HELLO_READ_ANYWHERE);
}

void client_hang_up(struct test_client *k)
{
    if (!k->conn->closed)
        close_both(k->conn, -ERR_CLOSED);
}

bool client_closed(const struct test_client *k)
{
    return k->closed;
}

uint64_t client_next_id(struct test_client *k)
{
    return ++k->last_id;
}

uint64_t client_send(struct test_client *k, struct enc *frame)
{
    if (!k->conn->closed)
        post(k->cluster, EV_FRAME, k->conn->other, enc_view(frame), 0);
    enc_finish(frame);
    return k->last_id;
}

static struct frame *find_answer(struct test_client *k, uint64_t id)
{
    for (guint i = 0; i < k->frames->len; i++) {
        struct frame *f = g_ptr_array_index(k->frames, i);
        if (f->id == id && f->type != MSG_hello)
            return f;
    }
    return NULL;
}

bool client_has(struct test_client *k, uint64_t id)
{
    return find_answer(k, id) != NULL;
}

struct frame client_wait(struct test_client *k, uint64_t id)
{
    EVENTUALLY(k->cluster, find_answer(k, id) != NULL || k->closed);
    struct frame *f = find_answer(k, id);
    if (!f)
        fail_msg("the connection was closed without an answer");
    return *f;
}

/* --- requests --------------------------------------------------------------------------------- */

struct bytes test_key(struct cluster *c, const char *name)
{
    size_t n = strlen(name);
    uint8_t *k = arena_alloc(&c->arena, n + 2);
    put_be16(k, 1);
    memcpy(k + 2, name, n);
    return bytes_of(k, n + 2);
}

unsigned frame_status(struct cluster *c, struct frame f, struct msg_txn_reply *ret)
{
    struct msg_status status;
    struct msg_txn_reply reply = {0};
    if (f.type == MSG_status) {
        T_OK(dec_status(f.body, &c->arena, &status));
        return status.status;
    }
    assert_int_equal(f.type, MSG_txn_reply);
    T_OK(dec_txn_reply(f.body, &c->arena, &reply));
    if (ret)
        *ret = reply;
    return reply.status;
}

uint64_t client_open_session(struct test_client *k)
{
    struct msg_session_open open = {.nonce = ++k->cluster->last_nonce, .name = bytes_str("test")};
    struct msg_session_reply reply;
    struct frame f = client_wait(k, CLIENT_ASK(k, session_open, &open));
    assert_int_equal(f.type, MSG_session_reply);
    T_OK(dec_session_reply(f.body, &k->cluster->arena, &reply));
    assert_int_equal(reply.status, 0);
    assert_true(reply.client > 0);
    return reply.client;
}

uint64_t client_ask_put(struct test_client *k, uint64_t client, uint64_t seq, const char *key,
                        struct bytes value)
{
    struct kv_write w = {.op = KV_PUT, .key = test_key(k->cluster, key), .value = value};
    /* Half a window may be on its way: nobody waits for what lies further back. */
    struct msg_txn txn = {
        .client = client,
        .seq = seq,
        .acked_below = seq > SESSION_WINDOW / 2 ? seq - SESSION_WINDOW / 2 : 1,
        .n_writes = 1,
        .writes = &w,
    };
    return CLIENT_ASK(k, txn, &txn);
}

unsigned client_put(struct test_client *k, uint64_t client, uint64_t seq, const char *key,
                    const char *value)
{
    uint64_t id = client_ask_put(k, client, seq, key, bytes_str(value));
    return frame_status(k->cluster, client_wait(k, id), NULL);
}

uint64_t client_ask_get(struct test_client *k, const char *key)
{
    struct kv_read r = {.op = KV_GET, .key = test_key(k->cluster, key)};
    struct msg_txn txn = {.n_reads = 1, .reads = &r};
    return CLIENT_ASK(k, txn, &txn);
}

uint64_t client_counter(struct test_client *k, const char *name)
{
    const struct msg_node_status ask = {0};
    struct msg_node_status_reply reply;
    struct frame f = client_wait(k, CLIENT_ASK(k, node_status, &ask));
    T_OK(dec_node_status_reply(f.body, &k->cluster->arena, &reply));
    for (uint32_t i = 0; i < reply.n_counters; i++)
        if (bytes_eq(reply.counters[i].name, bytes_str(name)))
            return reply.counters[i].value;
    fail_msg("there is no counter %s", name);
    return 0;
}

unsigned client_get(struct test_client *k, const char *key, const char **ret, uint64_t *ret_version)
{
    struct msg_txn_reply reply = {0};
    unsigned status = frame_status(k->cluster, client_wait(k, client_ask_get(k, key)), &reply);
    if (status != 0)
        return status;
    assert_int_equal(reply.n_reads, 1);
    if (ret)
        *ret = arena_printf(&k->cluster->arena, "%.*s", (int)reply.reads[0].value.n,
                            (const char *)reply.reads[0].value.p);
    if (ret_version)
        *ret_version = reply.reads[0].version;
    return 0;
}
