/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random runs: against the model; the same entries on two stores, on one that crashes, on one fed
 * in other portions; bytes that mean nothing.
 */
#include "tests/unit/kv/fixture.h"
#include "tests/unit/kv/model.h"
#include "cluster/kv/layout.h"

#define MODEL_RUNS   20
#define MODEL_STEPS  400
#define SCRIPT_STEPS 600
#define FUZZ_STEPS   20000

/* A client as it should be: numbers its requests, repeats some, releases what it has heard of. */
struct client {
    uint64_t id, next, acked_below;
    struct msg_txn window[MODEL_WINDOW]; /* drawn; sent once or more */
    bool heard[MODEL_WINDOW];
    struct msg_txn released; /* the last one; a duplicate of it may still be on the wire */
};

static void client_draw(struct client *c, struct rng *rng, struct arena *a, unsigned i)
{
    model_draw(rng, a, true, &c->window[i]);
    c->window[i].client = c->id;
    c->window[i].seq = c->next++;
    c->heard[i] = false;
}

static void client_init(struct client *c, uint64_t id, struct rng *rng, struct arena *a)
{
    *c = (struct client){.id = id, .next = 1, .acked_below = 1};
    for (unsigned i = 0; i < MODEL_WINDOW; i++)
        client_draw(c, rng, a, i);
}

/* The next request to send: new or repeated, at times one that was released. */
static struct msg_txn client_pick(struct client *c, struct rng *rng, struct arena *a)
{
    unsigned i = (unsigned)rng_below(rng, MODEL_WINDOW);

    if (c->released.client && rng_below(rng, 20) == 0)
        return c->released;
    if (c->heard[i] && rng_below(rng, 4) != 0) {
        c->released = c->window[i];
        client_draw(c, rng, a, i);
        c->acked_below = c->next;
        for (unsigned k = 0; k < MODEL_WINDOW; k++)
            c->acked_below = MIN(c->acked_below, c->window[k].seq);
    }
    c->heard[i] = true;
    struct msg_txn t = c->window[i];
    t.acked_below = MIN(c->acked_below, t.seq);
    return t;
}

static bool same_reply(struct bytes got, struct bytes want)
{
    if (bytes_eq(got, want))
        return true;
    struct arena a = {0};
    struct msg_txn_reply r;
    GString *s = g_string_new("got  ");
    if (dec_txn_reply(got, &a, &r) == 0)
        print_txn_reply(s, &r);
    g_string_append(s, "\nwant ");
    if (dec_txn_reply(want, &a, &r) == 0)
        print_txn_reply(s, &r);
    print_error("%s\n", s->str);
    g_string_free(s, true);
    arena_finish(&a);
    return false;
}

/* None, a few, or more than there are. */
static unsigned rows_drawn(struct rng *rng)
{
    static const unsigned of[] = {1, 2, 8, 40, 4096};

    return of[rng_below(rng, ARRAY_LEN(of))];
}

static void model_run(struct rng *rng)
{
    struct kvt *f = kvt_on(ram_store_create());
    struct client clients[MODEL_CLIENTS];
    struct model m;

    ram_store_forget(f->store);
    kvt_hold_rows(f, rows_drawn(rng));
    model_init(&m);
    for (unsigned i = 0; i < MODEL_CLIENTS; i++)
        client_init(&clients[i], kvt_session(f, "c"), rng, &f->arena);
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        struct client *c = &clients[rng_below(rng, MODEL_CLIENTS)];
        struct msg_txn t = client_pick(c, rng, &f->arena), all;
        kvt_txn(f, &t);
        struct bytes want = model_txn(&m, &t, f->time, &f->arena);
        assert_true(same_reply(f->reply_body, want));
        model_all_keys(&f->arena, &all);
        assert_true(model_agrees(&m, kvt_read(f, all)));
        if (rng_below(rng, 50) == 0)
            kvt_reopen(f);
    }
    model_finish(&m);
    kvt_destroy(f);
}

TEST(random_transactions_do_what_the_model_does)
{
    struct rng rng = t_rng();
    for (unsigned i = 0; i < MODEL_RUNS; i++)
        model_run(&rng);
}

/* --- determinism ------------------------------------------------------------------------------ */

/* A log of entries with sessions that come and go. */
struct script {
    GPtrArray *data; /* struct buf; entry i + 1 */
    struct arena arena;
};

static void script_add(struct script *s, unsigned cmd, struct enc *e)
{
    g_ptr_array_add(s->data, kv_command((enum kv_command)cmd, enc_view(e)));
    enc_finish(e);
}

static uint64_t script_open(struct script *s)
{
    struct enc e = {0};
    struct msg_session_open m = {.name = bytes_str("mount")};

    enc_session_open(&e, &m);
    script_add(s, KV_CMD_SESSION_OPEN, &e);
    return s->data->len; /* its index */
}

/* Not a command: how this file marks an entry that is a configuration. */
#define SCRIPT_CONF 0xc0

static void script_membership(struct script *s, struct rng *rng)
{
    struct enc e = {0};
    struct msg_node_record m = {
        .node = (uint32_t)rng_between(rng, 1, 9),
        .state = (uint8_t)rng_between(rng, 1, 2),
    };

    if (rng_below(rng, 2)) {
        enc_u64(&e, rng_next(rng));
        script_add(s, SCRIPT_CONF, &e);
        return;
    }
    if (m.state == NODE_MEMBER)
        m.address = bytes_str(rng_below(rng, 2) ? "host:1" : "host:2");
    enc_node_record(&e, &m);
    script_add(s, KV_CMD_NODE, &e);
}

/* Many are refused; so be it. */
static void script_config(struct script *s, struct rng *rng)
{
    struct enc e = {0};
    struct group_id gid = {(uint32_t)rng_between(rng, 1, 5)};
    struct shard_id moved[KVT_SHARDS];
    struct msg_config_change m = {
        .op = (uint8_t)rng_between(rng, CONFIG_JOIN, CONFIG_REBALANCE),
        .num = rng_below(rng, 4),
        .shard = (uint16_t)rng_below(rng, KVT_SHARDS),
        .n_gids = 1,
        .gids = &gid,
    };
    struct msg_config_moved done = {
        .num = rng_below(rng, 4), .n_shards = KVT_SHARDS, .shards = moved};

    if (rng_below(rng, 2)) {
        enc_config_change(&e, &m);
        script_add(s, KV_CMD_CONFIG, &e);
        return;
    }
    for (unsigned i = 0; i < KVT_SHARDS; i++)
        moved[i].shard = (uint16_t)i;
    enc_config_moved(&e, &done);
    script_add(s, KV_CMD_MOVED, &e);
}

static void script_step(struct script *s, struct rng *rng, struct client *c)
{
    struct enc e = {0};

    if (rng_below(rng, 30) == 0) {
        script_membership(s, rng);
        return;
    }
    if (rng_below(rng, 40) == 0) {
        script_config(s, rng);
        return;
    }
    if (rng_below(rng, 60) == 0) {
        struct msg_session_close m = {.client = c->id};
        enc_session_close(&e, &m);
        script_add(s, KV_CMD_SESSION_CLOSE, &e);
        if (rng_below(rng, 2))
            client_init(c, script_open(s), rng, &s->arena);
        return;
    }
    if (rng_below(rng, 40) == 0) {
        script_add(s, KV_CMD_CHECK, &e);
        return;
    }
    struct msg_txn t = client_pick(c, rng, &s->arena);
    enc_txn(&e, &t);
    script_add(s, KV_CMD_TXN, &e);
}

static void script_init(struct script *s, struct rng *rng)
{
    struct client clients[MODEL_CLIENTS];

    *s = (struct script){.data = g_ptr_array_new_with_free_func((GDestroyNotify)buf_unref)};
    for (unsigned i = 0; i < MODEL_CLIENTS; i++)
        client_init(&clients[i], script_open(s), rng, &s->arena);
    while (s->data->len < SCRIPT_STEPS)
        script_step(s, rng, &clients[rng_below(rng, MODEL_CLIENTS)]);
}

static void script_finish(struct script *s)
{
    g_ptr_array_free(s->data, true);
    arena_finish(&s->arena);
}

static void script_reply(void *ctx, uint64_t index, unsigned msg_type, struct bytes body)
{
    uint8_t head[9] = {(uint8_t)msg_type};

    put_le64(head + 1, index);
    g_byte_array_append(ctx, head, sizeof(head));
    g_byte_array_append(ctx, body.p, (guint)body.n);
}

/* Opens the store and applies what it has not yet, up to entry `last`, `portion` at a time, holding
 * `rows`. Appends the answers to `replies` unless that is NULL. */
static void script_play(struct script *s, struct store *store, size_t last, size_t portion,
                        unsigned rows, GByteArray *replies)
{
    struct kv_sink sink = {.reply = script_reply, .ctx = replies};
    struct kv_entry *e = g_new0(struct kv_entry, portion);
    uint64_t index, term, time;
    struct kv *kv;

    T_OK(kv_open(store, 0, KVT_SHARDS, &kv, NULL));
    kv_hold_rows(kv, rows);
    kv_applied(kv, &index, &term, &time);
    assert_true(index <= last);
    while (index < last) {
        size_t n = MIN(portion, last - index);
        for (size_t i = 0; i < n; i++) {
            struct bytes data = buf_bytes(g_ptr_array_index(s->data, (unsigned)index));
            index++;
            e[i] = (struct kv_entry){
                .index = index,
                .term = 1 + index / 100,
                .time_ns = index * 1000,
                .data = data,
                .conf = data.p[0] == SCRIPT_CONF,
            };
        }
        T_OK(kv_apply(kv, e, n, replies ? &sink : NULL));
    }
    T_OK(kv_settle(kv));
    kv_close(kv);
    g_free(e);
}

/* Gives both up. */
static bool same_bytes(GByteArray *x, GByteArray *y)
{
    bool same = x->len == y->len && memcmp(x->data, y->data, x->len) == 0;

    g_byte_array_unref(x);
    g_byte_array_unref(y);
    return same;
}

static bool same_content(struct store *a, struct store *b)
{
    return same_bytes(store_dump(a), store_dump(b));
}

TEST(the_same_entries_make_the_same_bytes_and_answers_however_they_are_portioned)
{
    struct rng rng = t_rng();
    struct script s;
    script_init(&s, &rng);
    struct store *one = ram_store_create(), *other = ram_store_create();
    GByteArray *replies = g_byte_array_new(), *others = g_byte_array_new();
    script_play(&s, one, SCRIPT_STEPS, 1, 1, replies);
    for (size_t at = 0; at < SCRIPT_STEPS;) { /* with fresh caches again and again */
        at += rng_between(&rng, 1, 50);
        at = MIN(at, SCRIPT_STEPS);
        script_play(&s, other, at, rng_between(&rng, 1, 20), rows_drawn(&rng), others);
    }
    assert_true(same_content(one, other));
    assert_true(same_bytes(replies, others));
    one->ops->close(one);
    other->ops->close(other);
    script_finish(&s);
}

TEST(a_replica_that_crashed_anywhere_replays_to_the_same_bytes)
{
    struct rng rng = t_rng();
    struct script s;
    script_init(&s, &rng);
    struct store *whole = ram_store_create();
    script_play(&s, whole, SCRIPT_STEPS, 3, 20, NULL);
    for (unsigned i = 0; i < 25; i++) {
        struct store *left = ram_store_prefix(whole, rng_below(&rng, ram_store_batches(whole) + 1));
        script_play(&s, left, SCRIPT_STEPS, 7, rows_drawn(&rng), NULL);
        assert_true(same_content(whole, left));
        left->ops->close(left);
    }
    whole->ops->close(whole);
    script_finish(&s);
}

static void flushed(void *arg, int err)
{
    *(int *)arg = err;
}

/* The store's own crash model: flushes at times, and a crash that keeps some batches since. */
TEST(a_store_that_crashes_again_and_again_ends_with_the_same_bytes)
{
    struct rng rng = t_rng();
    struct script s;
    script_init(&s, &rng);
    struct store *whole = ram_store_create(), *store;
    script_play(&s, whole, SCRIPT_STEPS, 7, 1, NULL);
    struct store_mem_disk *disk = store_mem_disk_create();
    T_OK(store_mem_open(disk, "group", &store));
    for (size_t at = 0; at < SCRIPT_STEPS;) {
        at += rng_between(&rng, 1, 40);
        at = MIN(at, SCRIPT_STEPS);
        script_play(&s, store, at, rng_between(&rng, 1, 20), rows_drawn(&rng), NULL);
        if (rng_below(&rng, 3) == 0) {
            int err = -1;
            store->ops->flush(store, flushed, &err);
            assert_int_equal(err, 0);
        }
        if (rng_below(&rng, 2) && at < SCRIPT_STEPS) {
            store_mem_crash(store, rng_below(&rng, 10));
            T_OK(store_mem_open(disk, "group", &store));
        }
    }
    assert_true(same_content(whole, store));
    store->ops->close(store);
    store_mem_disk_destroy(disk);
    whole->ops->close(whole);
    script_finish(&s);
}

/* --- fuzz ------------------------------------------------------------------------------------- */

static unsigned reply_status(struct kvt *f)
{
    struct msg_session_reply session;
    struct msg_txn_reply txn;
    struct msg_status status;

    struct msg_decided decided;

    assert_int_equal(f->n_replies, 1);
    if (f->reply_type == MSG_decided) {
        T_OK(dec_decided(f->reply_body, &f->arena, &decided));
        f->reply_body = decided.reply;
        f->reply_type = MSG_txn_reply;
    }
    if (f->reply_type == MSG_status) {
        T_OK(dec_status(f->reply_body, &f->arena, &status));
        return status.status;
    }
    if (f->reply_type == MSG_session_reply) {
        T_OK(dec_session_reply(f->reply_body, &f->arena, &session));
        return session.status;
    }
    assert_int_equal(f->reply_type, MSG_txn_reply);
    T_OK(dec_txn_reply(f->reply_body, &f->arena, &txn));
    return txn.status;
}

/* Numbers only: many of these mean something. */
static bool any_bytes_do(unsigned command)
{
    return command == KV_CMD_OUTCOME || command == KV_CMD_FORGET ||
           command == KV_CMD_SESSIONS_FENCED;
}

TEST(random_bytes_are_answered_as_invalid)
{
    struct rng rng = t_rng();
    struct kvt *f = kvt_create();
    uint8_t junk[200];

    ram_store_forget(f->store);
    for (unsigned i = 0; i < FUZZ_STEPS; i++) {
        size_t n = rng_between(&rng, 1, sizeof(junk));
        for (size_t k = 0; k < n; k++)
            junk[k] = (uint8_t)(rng_next(&rng) >> rng_below(&rng, 64));
        if (junk[0] == KV_CMD_SESSION_CLOSE && n == 9)
            n--; /* any eight bytes are a close */
        if (junk[0] == KV_CMD_CHECK && n == 1)
            n++; /* alone it is a check */
        T_OK(kvt_apply(f, bytes_of(junk, n)));
        unsigned status = reply_status(f);
        assert_true(status == ERR_INVALID || any_bytes_do(junk[0]));
        arena_reset(&f->arena);
    }
    assert_int_equal(kv_sessions(f->kv), 1);
    kvt_destroy(f);
}

/* Encoded transactions with a few bytes changed reach deeper than noise. */
TEST(damaged_transactions_are_answered)
{
    struct rng rng = t_rng();
    struct kvt *f = kvt_create();
    struct enc e = {0};

    ram_store_forget(f->store);
    for (unsigned i = 0; i < FUZZ_STEPS; i++) {
        struct msg_txn t;
        model_draw(&rng, &f->arena, rng_below(&rng, 8) != 0, &t);
        t.client = f->client;
        t.seq = t.acked_below = i;
        enc_reset(&e);
        enc_u8(&e, KV_CMD_TXN);
        enc_txn(&e, &t);
        for (uint64_t k = rng_below(&rng, 4); k > 0; k--)
            e.p[rng_below(&rng, e.n)] = (uint8_t)(rng_next(&rng) >> rng_below(&rng, 64));
        size_t cut = rng_below(&rng, 8) == 0 ? rng_below(&rng, e.n) : 0;
        T_OK(kvt_apply(f, bytes_of(e.p, e.n - cut)));
        reply_status(f);
        arena_reset(&f->arena);
    }
    enc_finish(&e);
    kvt_destroy(f);
}

T_MAIN(T(random_transactions_do_what_the_model_does),
       T(the_same_entries_make_the_same_bytes_and_answers_however_they_are_portioned),
       T(a_replica_that_crashed_anywhere_replays_to_the_same_bytes),
       T(a_store_that_crashes_again_and_again_ends_with_the_same_bytes),
       T(random_bytes_are_answered_as_invalid), T(damaged_transactions_are_answered))
