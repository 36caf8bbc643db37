/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kv/fixture.h"

static void on_reply(void *ctx, uint64_t index, unsigned msg_type, struct bytes body)
{
    struct kvt *f = ctx;

    assert_int_equal(index, f->index);
    f->n_replies++;
    f->reply_type = msg_type;
    f->reply_body = arena_copy(&f->arena, body);
}

static void on_changed(void *ctx, struct bytes key, uint64_t v)
{
    struct kvt *f = ctx;

    g_string_append_printf(f->changed, "%.*s=%llu ", (int)key.n - 2, key.p + 2,
                           (unsigned long long)v);
}

struct kvt *kvt_on(struct store *store)
{
    struct kvt *f = g_new0(struct kvt, 1);
    struct errmsg msg;

    f->store = store;
    f->changed = g_string_new(NULL);
    T_OK_MSG(kv_open(store, 0, KVT_SHARDS, &f->kv, &msg), &msg);
    kvt_hold_rows(f, 1);
    uint64_t term;
    kv_applied(f->kv, &f->index, &term, &f->time);
    return f;
}

struct kvt *kvt_create(void)
{
    struct kvt *f = kvt_on(ram_store_create());

    f->client = kvt_session(f, "fixture");
    return f;
}

void kvt_destroy(struct kvt *f)
{
    kv_close(f->kv);
    f->store->ops->close(f->store);
    g_string_free(f->changed, true);
    arena_finish(&f->arena);
    g_free(f);
}

void kvt_hold_rows(struct kvt *f, unsigned rows)
{
    f->rows = rows;
    kv_hold_rows(f->kv, rows);
}

void kvt_reopen(struct kvt *f)
{
    struct errmsg msg;

    if (f->rows > 1)
        T_OK(kv_settle(f->kv));
    kv_close(f->kv);
    T_OK_MSG(kv_open(f->store, 0, KVT_SHARDS, &f->kv, &msg), &msg);
    kv_hold_rows(f->kv, f->rows);
}

int kvt_apply(struct kvt *f, struct bytes data)
{
    struct kv_sink sink = {.reply = on_reply, .changed = on_changed, .ctx = f};
    struct kv_entry e = {.index = ++f->index, .term = 1, .time_ns = f->time += 1000, .data = data};

    f->n_replies = 0;
    f->reply_body = BYTES_NONE;
    g_string_truncate(f->changed, 0);
    int err = kv_apply(f->kv, &e, 1, &sink);
    if (err)
        f->index--;
    return err;
}

static int apply_command(struct kvt *f, enum kv_command cmd, struct enc *e)
{
    struct buf *b = kv_command(cmd, enc_view(e));
    int err = kvt_apply(f, buf_bytes(b));

    buf_unref(b);
    return err;
}

static struct msg_session_reply session_reply(struct kvt *f)
{
    struct msg_session_reply r;

    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->reply_type, MSG_session_reply);
    T_OK(dec_session_reply(f->reply_body, &f->arena, &r));
    return r;
}

uint64_t kvt_session(struct kvt *f, const char *name)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_open m = {.name = bytes_str(name)};

    enc_session_open(&e, &m);
    T_OK(apply_command(f, KV_CMD_SESSION_OPEN, &e));
    struct msg_session_reply r = session_reply(f);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.client, f->index);
    return r.client;
}

unsigned kvt_close_session(struct kvt *f, uint64_t client)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_close m = {.client = client};

    enc_session_close(&e, &m);
    T_OK(apply_command(f, KV_CMD_SESSION_CLOSE, &e));
    return session_reply(f).status;
}

unsigned kvt_command(struct kvt *f, enum kv_command cmd, struct bytes body)
{
    struct enc e = {body.n ? g_memdup2(body.p, body.n) : NULL, body.n, body.n};
    struct msg_status r;

    T_OK(apply_command(f, cmd, &e));
    enc_finish(&e);
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->reply_type, MSG_status);
    T_OK(dec_status(f->reply_body, &f->arena, &r));
    return r.status;
}

struct msg_txn_reply *kvt_txn(struct kvt *f, const struct msg_txn *t)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_txn_reply *r = arena_zalloc(&f->arena, sizeof(*r));

    enc_txn(&e, t);
    T_OK(apply_command(f, KV_CMD_TXN, &e));
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->reply_type, MSG_txn_reply);
    T_OK(dec_txn_reply(f->reply_body, &f->arena, r));
    return r;
}

struct msg_txn_reply *kvt_exec(struct kvt *f, struct msg_txn t)
{
    t.client = f->client;
    t.seq = t.acked_below = ++f->seq;
    return kvt_txn(f, &t);
}

struct msg_txn_reply *kvt_read(struct kvt *f, struct msg_txn t)
{
    struct msg_txn_reply *r = arena_zalloc(&f->arena, sizeof(*r));

    T_OK(kv_read(f->kv, &t, &f->arena, r));
    return r;
}

const char *kvt_get(struct kvt *f, struct bytes key)
{
    struct kv_result *r = &ASK(f, READ(get(key)))->reads[0];

    if (r->version == 0)
        return NULL;
    return arena_printf(&f->arena, "%.*s", (int)r->value.n, (const char *)r->value.p);
}

uint64_t kvt_version(struct kvt *f, struct bytes key)
{
    return ASK(f, READ(get(key)))->reads[0].version;
}

struct bytes le64_bytes(struct kvt *f, uint64_t n)
{
    uint8_t *p = arena_alloc(&f->arena, 8);

    put_le64(p, n);
    return bytes_of(p, 8);
}

struct kv_write number(struct kvt *f, enum kv_write_op op, struct bytes key, uint64_t off,
                       uint64_t n)
{
    struct bytes value = op == KV_TIME64 ? BYTES_NONE : le64_bytes(f, n);

    return (struct kv_write){.op = (uint8_t)op, .key = key, .arg = off, .value = value};
}
