/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kv/cluster.h"
#include "cluster/kv/export.h"
#include "cluster/kv/layout.h"

static void open_group(struct kvc_group *g)
{
    struct errmsg msg;

    T_OK_MSG(kv_open(g->store, g->gid, KVT_SHARDS, &g->kv, &msg), &msg);
    if (g->rows)
        kv_hold_rows(g->kv, g->rows);
}

struct kvc *kvc_create(unsigned n)
{
    struct kvc *c = g_new0(struct kvc, 1);

    ASSERT(n <= KVC_GROUPS);
    c->n = n;
    for (unsigned i = 0; i < n; i++) {
        struct kvc_group *g = &c->g[i];
        g->gid = i;
        g->term = 1;
        g->time = 1000;
        g->log = g_array_new(false, false, sizeof(struct kv_entry));
        g->store = ram_store_create();
        open_group(g);
    }
    return c;
}

void kvc_destroy(struct kvc *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        kv_close(c->g[i].kv);
        c->g[i].store->ops->close(c->g[i].store);
        g_array_free(c->g[i].log, true);
    }
    arena_finish(&c->arena);
    g_free(c);
}

/* --- entries ---------------------------------------------------------------------------------- */

struct sunk {
    struct kvc *c;
    struct kvc_group *g;
};

static void on_reply(void *ctx, uint64_t index, unsigned msg_type, struct bytes body)
{
    struct sunk *s = ctx;

    s->g->reply_type = msg_type;
    s->g->reply = arena_copy(&s->c->arena, body);
}

static void on_released(void *ctx, const struct txid *id)
{
    ((struct sunk *)ctx)->g->released++;
}

static void apply(struct kvc *c, struct kvc_group *g, const struct kv_entry *e, size_t n)
{
    struct sunk s = {c, g};
    struct kv_sink sink = {.reply = on_reply, .released = on_released, .ctx = &s};

    T_OK(kv_apply(g->kv, e, n, &sink));
}

void kvc_entry(struct kvc *c, unsigned group, enum kv_command cmd, struct bytes body)
{
    struct kvc_group *g = &c->g[group];
    uint8_t *p = arena_alloc(&c->arena, 1 + body.n);
    struct kv_entry e = {.index = g->log->len + 1, .term = g->term, .time_ns = g->time += 1000};

    p[0] = (uint8_t)cmd;
    if (body.n)
        memcpy(p + 1, body.p, body.n);
    e.data = bytes_of(p, 1 + body.n);
    g_array_append_val(g->log, e);
    g->reply_type = 0;
    apply(c, g, &e, 1);
    assert_int_not_equal(g->reply_type, 0);
}

unsigned kvc_status(struct kvc *c, unsigned group, enum kv_command cmd, struct enc *e)
{
    struct msg_status r;

    kvc_entry(c, group, cmd, enc_view(e));
    enc_finish(e);
    assert_int_equal(c->g[group].reply_type, MSG_status);
    T_OK(dec_status(c->g[group].reply, &c->arena, &r));
    return r.status;
}

void kvc_restart(struct kvc *c, unsigned group)
{
    struct kvc_group *g = &c->g[group];
    uint64_t index, term, time;

    if (g->term % 2)
        T_OK(kv_settle(g->kv));
    kv_close(g->kv);
    open_group(g);
    kv_applied(g->kv, &index, &term, &time);
    if (index < g->log->len)
        apply(c, g, &g_array_index(g->log, struct kv_entry, index), g->log->len - index);
    g->term++;
}

void kvc_check_replica(struct kvc *c, unsigned group)
{
    struct kvc_group *g = &c->g[group];
    struct store *store = ram_store_prefix(g->store, g->base);
    struct kv *kv;

    T_OK(kv_open(store, g->gid, KVT_SHARDS, &kv, NULL));
    if (g->log->len)
        T_OK(kv_apply(kv, &g_array_index(g->log, struct kv_entry, 0), g->log->len, NULL));
    T_OK(kv_settle(kv));
    T_OK(kv_settle(g->kv));
    GByteArray *a = store_dump(store), *b = store_dump(g->store);
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
    g_byte_array_unref(a);
    g_byte_array_unref(b);
    kv_close(kv);
    store->ops->close(store);
}

/* --- shards and sessions ---------------------------------------------------------------------- */

static void put_state(struct kvc *c, unsigned group, unsigned shard, enum shard_state state)
{
    struct kvc_group *g = &c->g[group];
    struct shards s;
    struct round r;
    const struct kv_shard to = {.state = state};

    kv_close(g->kv);
    shards_init(&s, KVT_SHARDS, false);
    round_init(&r, g->store);
    shards_put(&s, shard, &to, &r, &c->arena);
    T_OK(round_write(&r));
    round_finish(&r);
    shards_finish(&s);
    g->base = ram_store_batches(g->store);
    open_group(g);
}

void kvc_own(struct kvc *c, unsigned group, unsigned shard)
{
    put_state(c, 0, shard, SHARD_FOREIGN);
    put_state(c, group, shard, SHARD_OWNED);
}

void kvc_tell(struct kvc *c, unsigned group)
{
    struct msg_session_set m;
    struct enc e = {0};

    kv_session_set(c->g[0].kv, &c->arena, &m);
    enc_session_set(&e, &m);
    assert_int_equal(kvc_status(c, group, KV_CMD_SESSION_SET, &e), 0);
    assert_int_equal(kv_sessions_as_of(c->g[group].kv), m.as_of);
}

void kvc_tell_sessions(struct kvc *c)
{
    for (unsigned i = 1; i < c->n; i++)
        kvc_tell(c, i);
}

uint64_t kvc_session(struct kvc *c)
{
    struct msg_session_open m = {.name = bytes_str("mount")};
    struct msg_session_reply r;
    CLEANUP(enc_finish) struct enc e = {0};

    enc_session_open(&e, &m);
    kvc_entry(c, 0, KV_CMD_SESSION_OPEN, enc_view(&e));
    T_OK(dec_session_reply(c->g[0].reply, &c->arena, &r));
    assert_int_equal(r.status, 0);
    kvc_tell_sessions(c);
    return r.client;
}

int kvc_owner(struct kvc *c, unsigned shard)
{
    int owner = -1;

    for (unsigned i = 0; i < c->n; i++) {
        if (!shard_served(kv_shard(c->g[i].kv, shard)))
            continue;
        assert_int_equal(owner, -1);
        owner = (int)i;
    }
    return owner;
}

const char *kvc_get(struct kvc *c, struct bytes key)
{
    struct msg_txn t = {READ(get(key))};
    struct msg_txn_reply r;
    int owner = kvc_owner(c, layout_shard(key));

    assert_true(owner >= 0);
    T_OK(kv_read(c->g[owner].kv, &t, &c->arena, &r));
    if (r.reads[0].version == 0)
        return NULL;
    char *text = arena_zalloc(&c->arena, r.reads[0].value.n + 8); /* it may hold zeros */
    if (r.reads[0].value.n)
        memcpy(text, r.reads[0].value.p, r.reads[0].value.n);
    return text;
}

/* --- moves ------------------------------------------------------------------------------------ */

unsigned kvc_step(struct kvc *c, unsigned group, enum kv_command cmd, unsigned shard, uint64_t num,
                  unsigned peer)
{
    struct enc e = {0};
    struct msg_shard_move m = {(uint16_t)shard, num, peer};

    enc_shard_move(&e, &m);
    return kvc_status(c, group, cmd, &e);
}

int kvc_stage(struct kvc *c, unsigned from, unsigned to, unsigned shard, uint64_t num)
{
    const struct kv_shard *s = kv_shard(c->g[to].kv, shard);
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_shard_piece p;
    struct enc e = {0};
    bool begun = s->num == num;

    if (begun && (s->state != SHARD_STAGING || s->cursor.n == 0))
        return -ERR_BUSY;
    int err = kv_export(c->g[from].kv, shard, num, begun ? s->cursor : BYTES_NONE,
                        c->piece ? c->piece : SHARD_PIECE_BYTES, &a, &p);
    if (err)
        return err;
    c->as_of = p.as_of;
    struct msg_shard_stage m = {
        .shard = (uint16_t)shard,
        .num = num,
        .peer = from,
        .seq = begun ? s->staged : 0,
        .next = p.next,
        .n_rows = p.n_rows,
        .rows = p.rows,
    };
    enc_shard_stage(&e, &m);
    return -(int)kvc_status(c, to, KV_CMD_MOVE_STAGE, &e);
}

unsigned kvc_install(struct kvc *c, unsigned group, unsigned shard, uint64_t num)
{
    struct enc e = {0};
    struct msg_shard_install m = {(uint16_t)shard, num, 0, c->as_of};

    enc_shard_install(&e, &m);
    return kvc_status(c, group, KV_CMD_MOVE_INSTALL, &e);
}

void kvc_delete(struct kvc *c, unsigned from, unsigned to, unsigned shard, uint64_t num)
{
    unsigned status;

    do {
        status = kvc_step(c, from, KV_CMD_MOVE_DELETE, shard, num, to);
        assert_int_equal(status,
                         kv_shard(c->g[from].kv, shard)->state == SHARD_FOREIGN ? 0 : ERR_BUSY);
    } while (status);
}

void kvc_move(struct kvc *c, unsigned from, unsigned to, unsigned shard, uint64_t num)
{
    assert_int_equal(kvc_step(c, from, KV_CMD_MOVE_BEGIN, shard, num, to), 0);
    T_OK(kvc_stage(c, from, to, shard, num));
    assert_int_equal(kvc_step(c, from, KV_CMD_MOVE_CLOSE, shard, num, to), 0);
    assert_int_equal(kvc_step(c, from, KV_CMD_MOVE_FREEZE, shard, num, to), 0);
    while (kv_shard(c->g[to].kv, shard)->cursor.n)
        T_OK(kvc_stage(c, from, to, shard, num));
    assert_int_equal(kvc_install(c, to, shard, num), 0);
    kvc_delete(c, from, to, shard, num);
}

/* --- transactions ----------------------------------------------------------------------------- */

struct msg_txn_reply *kvc_reply(struct kvc *c, struct bytes body)
{
    struct msg_txn_reply *r = arena_zalloc(&c->arena, sizeof(*r));

    T_OK(dec_txn_reply(body, &c->arena, r));
    return r;
}

static struct msg_txn_reply *answered(struct kvc *c, unsigned group)
{
    assert_int_equal(c->g[group].reply_type, MSG_txn_reply);
    return kvc_reply(c, c->g[group].reply);
}

struct msg_txn_reply *kvc_txn(struct kvc *c, unsigned group, const struct msg_txn *t)
{
    CLEANUP(enc_finish) struct enc e = {0};

    enc_txn(&e, t);
    kvc_entry(c, group, KV_CMD_TXN, enc_view(&e));
    return answered(c, group);
}

struct msg_txn_reply *kvc_prepare(struct kvc *c, unsigned group, struct txid id,
                                  const struct msg_txn *part)
{
    CLEANUP(enc_finish) struct enc t = {0}, e = {0};

    enc_txn(&t, part);
    struct msg_prepare m = {.gid = id.gid, .term = id.term, .n = id.n, .part = enc_view(&t)};
    enc_prepare(&e, &m);
    kvc_entry(c, group, KV_CMD_PREPARE, enc_view(&e));
    return answered(c, group);
}

struct msg_txn *kvc_part(struct kvc *c, unsigned group, const struct msg_txn *t)
{
    struct msg_txn *part = arena_zalloc(&c->arena, sizeof(*part));
    uint8_t *map = arena_zalloc(&c->arena, SHARDS_MAX);

    for (unsigned s = 0; s < KVT_SHARDS; s++)
        map[s] = shard_served(kv_shard(c->g[group].kv, s));
    part_of(t, map, 1, &c->arena, part);
    return part;
}

/* The shards that the group serves. */
static void vote_shards(struct kvc *c, unsigned group, struct decide_vote *v)
{
    v->gid = group;
    v->shards = arena_array(&c->arena, KVT_SHARDS, sizeof(*v->shards));
    for (unsigned s = 0; s < KVT_SHARDS; s++) {
        if (shard_served(kv_shard(c->g[group].kv, s)))
            v->shards[v->n_shards++].shard = (uint16_t)s;
    }
}

struct msg_decided *kvc_decide(struct kvc *c, unsigned group, struct txid id,
                               const struct msg_txn *t, const unsigned *voters,
                               struct msg_txn_reply *const *votes, unsigned n_votes)
{
    CLEANUP(enc_finish) struct enc whole = {0}, e = {0};
    struct decide_vote *v = arena_array(&c->arena, n_votes, sizeof(*v));
    struct msg_decided *ret = arena_zalloc(&c->arena, sizeof(*ret));

    enc_txn(&whole, t);
    for (unsigned i = 0; i < n_votes; i++) {
        struct enc body = {0};
        vote_shards(c, voters[i], &v[i]);
        enc_txn_reply(&body, votes[i]);
        v[i].reply = arena_copy(&c->arena, enc_view(&body));
        enc_finish(&body);
    }
    struct msg_decide m = {id.term, id.n, enc_view(&whole), n_votes, v};
    enc_decide(&e, &m);
    kvc_entry(c, group, KV_CMD_DECIDE, enc_view(&e));
    assert_int_equal(c->g[group].reply_type, MSG_decided);
    T_OK(dec_decided(c->g[group].reply, &c->arena, ret));
    return ret;
}

unsigned kvc_outcome(struct kvc *c, unsigned group, struct txid id, bool commit, uint64_t time)
{
    struct enc e = {0};
    struct msg_outcome m = {id.gid, id.term, id.n, .commit = commit, .time = time};

    enc_outcome(&e, &m);
    return kvc_status(c, group, KV_CMD_OUTCOME, &e);
}

unsigned kvc_below(struct kvc *c, unsigned group, struct txid below)
{
    struct enc e = {0};
    struct msg_forget m = {below.gid, below.term, below.n, 0, NULL};

    enc_forget(&e, &m);
    return kvc_status(c, group, KV_CMD_FORGET, &e);
}

unsigned kvc_ended(struct kvc *c, unsigned group, struct txid id)
{
    struct enc e = {0};
    struct msg_forget m = {.gid = group, .n_ended = 1, .ended = &id};

    enc_forget(&e, &m);
    return kvc_status(c, group, KV_CMD_FORGET, &e);
}
