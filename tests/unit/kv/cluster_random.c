/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three groups at random: clients transfer money and append to lists over shards that move, while
 * leaders die, and messages are lost, doubled and overtaken. The test plays leaders, controller and
 * network as README.md of cluster/kv describes them; the state machines are the real ones.
 *
 * At the end: no money was made or lost; every request took effect once, as its answer says; the
 * transactions on lists have a serial order; no lock, decision or row of a shard is left where it
 * does not belong; another replica that applies the same logs has the same bytes.
 */
#include "tests/unit/kv/cluster_play.h"
#include "cluster/kv/layout.h"

#define MONEY 1000
#define STEPS 6000
#define RUNS  12

static struct bytes key_of(struct world *w, unsigned shard, char name)
{
    uint8_t *p = arena_alloc(&w->c->arena, 3);

    put_be16(p, (uint16_t)shard);
    p[2] = (uint8_t)name;
    return bytes_of(p, 3);
}

static struct bytes le64(struct world *w, uint64_t n)
{
    uint8_t *p = arena_alloc(&w->c->arena, 8);

    put_le64(p, n);
    return bytes_of(p, 8);
}

/* --- clients ---------------------------------------------------------------------------------- */

/* The list as it is now, if anybody serves it; its version. */
static bool read_list(struct world *w, unsigned shard, struct bytes *ret, uint64_t *ret_version)
{
    struct msg_txn t = {READ(get(key_of(w, shard, 'l')))};
    struct msg_txn_reply r;

    if (kv_read(w->c->g[world_home(w, shard)].kv, &t, &w->c->arena, &r) < 0)
        return false;
    *ret = r.reads[0].value;
    *ret_version = r.reads[0].version;
    return true;
}

static struct kv_write appended(struct world *w, unsigned shard, struct bytes list,
                                uint64_t element)
{
    uint8_t *p = arena_alloc(&w->c->arena, list.n + 8);

    if (list.n)
        memcpy(p, list.p, list.n);
    put_le64(p + list.n, element);
    return put_bytes(key_of(w, shard, 'l'), bytes_of(p, list.n + 8));
}

/* Reads both lists, and appends to one or both of them, if they are as they were. */
static bool draw_list(struct world *w, struct client *c)
{
    struct bytes a, b;
    uint64_t va, vb;

    if (!read_list(w, c->a, &a, &va) || !read_list(w, c->b, &b, &vb))
        return false;
    c->amount = ++w->element;
    struct msg_txn *t = &c->t;
    t->compares = arena_array(&w->c->arena, 1, sizeof(*t->compares));
    t->compares[t->n_compares++] = version(key_of(w, c->a, 'l'), va);
    t->reads = arena_array(&w->c->arena, 2, sizeof(*t->reads));
    t->reads[t->n_reads++] = get(key_of(w, c->a, 'l'));
    t->reads[t->n_reads++] = get(key_of(w, c->b, 'l'));
    t->writes = arena_array(&w->c->arena, 1, sizeof(*t->writes));
    t->writes[t->n_writes++] = appended(w, c->a, a, c->amount);
    serial_begin(w->serial, c->amount, w->now);
    return true;
}

static void draw_transfer(struct world *w, struct client *c)
{
    struct msg_txn *t = &c->t;

    c->amount = world_draw(w, 50) + 1;
    t->writes = arena_array(&w->c->arena, 2, sizeof(*t->writes));
    for (unsigned i = 0; i < 2; i++) {
        t->writes[t->n_writes++] = (struct kv_write){
            .op = KV_ADD64,
            .key = key_of(w, i ? c->b : c->a, 'm'),
            .value = le64(w, i ? c->amount : -c->amount),
        };
    }
    if (world_draw(w, 3) == 0) { /* some read what they change: no longer a mere delta */
        t->reads = arena_array(&w->c->arena, 1, sizeof(*t->reads));
        t->reads[t->n_reads++] = get(key_of(w, c->a, 'm'));
    }
}

static void draw_request(struct world *w, struct client *c)
{
    c->a = (unsigned)world_draw(w, SHARDS) + 1;
    c->b = (c->a + (unsigned)world_draw(w, SHARDS - 1)) % SHARDS + 1;
    c->t = (struct msg_txn){.client = c->id, .seq = c->seq + 1, .acked_below = c->seq + 1};
    c->list = world_draw(w, 2);
    if (c->list && !draw_list(w, c))
        return;
    if (!c->list)
        draw_transfer(w, c);
    c->seq++;
    c->busy = true;
    c->answer = BYTES_NONE;
}

static void note_list(struct world *w, struct client *c, const struct msg_txn_reply *r)
{
    serial_read(w->serial, c->amount, c->a, r->reads[0].value);
    serial_read(w->serial, c->amount, c->b, r->reads[1].value);
    serial_end(w->serial, c->amount, w->now, r->status == 0);
}

/* An answer to a request: the first result ends it; another must be the same. */
static void client_hears(struct world *w, unsigned who, uint64_t seq, struct bytes body)
{
    struct client *c = &w->clients[who];
    const struct msg_txn_reply *r = kvc_reply(w->c, body);
    bool result = r->status == 0 || r->status == ERR_FAILED;

    assert_true(r->status != ERR_INVALID && r->status != ERR_TOO_BIG);
    if (seq != c->seq || !result)
        return;
    if (c->answer.n) {
        assert_true(bytes_eq(c->answer, body));
        return;
    }
    c->answer = arena_copy(&w->c->arena, body);
    c->busy = false;
    w->answered++;
    if (c->list) {
        note_list(w, c, r);
    } else {
        assert_int_equal(r->status, 0);
        w->expected[c->a] -= (int64_t)c->amount;
        w->expected[c->b] += (int64_t)c->amount;
    }
}

/* --- delivery --------------------------------------------------------------------------------- */

static void hear_vote(struct world *w, const struct message *m, struct bytes reply)
{
    struct attempt *a = attempt_find(w, &m->id);
    const struct msg_txn_reply *r = kvc_reply(w->c, reply);

    if (!a || a->decided)
        return;
    if (r->status != 0 && r->status != ERR_FAILED) {
        attempt_end(w, a, false);
        return;
    }
    a->votes[m->to] = arena_copy(&w->c->arena, reply);
    attempt_go_on(w, a);
}

static void hear_decided(struct world *w, const struct message *m, struct bytes reply)
{
    struct attempt *a = attempt_find(w, &m->id);
    struct msg_decided d;

    T_OK(dec_decided(reply, &w->c->arena, &d));
    if (a)
        attempt_end(w, a, d.commit);
    client_hears(w, m->client, m->seq, d.reply);
}

static void deliver(struct world *w, unsigned i)
{
    struct message m = g_array_index(w->net, struct message, i);
    struct msg_status status;

    /* A leader proposes each DECIDE once, and hears of it unless it is deposed. */
    bool sure = w->peace || m.cmd == KV_CMD_DECIDE;

    if (sure || world_draw(w, 6) != 0) /* else it will come again */
        g_array_remove_index_fast(w->net, i);
    if (!sure && world_draw(w, 20) == 0) /* lost */
        return;
    w->now++;
    kvc_entry(w->c, m.to, m.cmd, m.body);
    struct bytes reply = w->c->g[m.to].reply;
    if (!sure && world_draw(w, 10) == 0) /* its answer is lost */
        return;
    switch (m.context) {
    case FOR_NOBODY:
        break;
    case FOR_CLIENT:
        client_hears(w, m.client, m.seq, reply);
        break;
    case FOR_VOTE:
        hear_vote(w, &m, reply);
        break;
    case FOR_DECIDE:
        hear_decided(w, &m, reply);
        break;
    case FOR_ACK:
        T_OK(dec_status(reply, &w->c->arena, &status));
        assert_int_equal(status.status, 0);
        decision_acks(w, &m.id, 1u << m.to);
        break;
    }
}

static void restart(struct world *w, unsigned g)
{
    kvc_restart(w->c, g);
    w->next_n[g] = 0;
    for (unsigned i = w->alive->len; i > 0; i--) {
        struct attempt *a = g_ptr_array_index(w->alive, i - 1);

        if (a->id.gid == g)
            g_ptr_array_remove_index(w->alive, i - 1);
    }
    if (world_draw(w, 2)) /* it does not know who has acknowledged */
        g_hash_table_remove_all(w->acks);
}

/* --- a run ------------------------------------------------------------------------------------ */

static void step(struct world *w)
{
    unsigned what = (unsigned)world_draw(w, 100), g = (unsigned)world_draw(w, GROUPS);
    unsigned who = (unsigned)world_draw(w, CLIENTS);

    if (what < 55 && w->net->len) {
        deliver(w, (unsigned)world_draw(w, w->net->len));
    } else if (what < 65) {
        if (w->clients[who].busy)
            world_send_request(w, who);
        else if (!w->peace)
            draw_request(w, &w->clients[who]);
    } else if (what < 75 && w->alive->len) {
        struct attempt *a = g_ptr_array_index(w->alive, world_draw(w, w->alive->len));
        if (world_draw(w, 8) == 0 && !a->decided)
            attempt_end(w, a, false); /* out of patience */
        else
            attempt_go_on(w, a);
    } else if (what < 80) {
        leader_ask(w, g);
    } else if (what < 85) {
        leader_distribute(w, g);
    } else if (what < 95) {
        controller_step(w);
    } else if (what < 97) {
        leader_send_fence(w, g, (unsigned)world_draw(w, GROUPS));
    } else if (!w->peace && world_draw(w, 4) == 0) {
        restart(w, g);
    }
    what = (unsigned)world_draw(w, MAX(w->net->len, 1));
    if (w->net->len > 200 && g_array_index(w->net, struct message, what).cmd != KV_CMD_DECIDE)
        g_array_remove_index_fast(w->net, what);
}

static void setup(struct world *w, struct rng *rng)
{
    static const unsigned rows[] = {1, 20, 4096};

    *w = (struct world){.c = kvc_create(GROUPS)};
    w->rng = *rng;
    w->net = g_array_new(false, false, sizeof(struct message));
    w->alive = g_ptr_array_new();
    w->acks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    w->serial = serial_create();
    for (unsigned g = 0; g < GROUPS; g++) {
        w->c->g[g].rows = rows[world_draw(w, ARRAY_LEN(rows))];
        kv_hold_rows(w->c->g[g].kv, w->c->g[g].rows);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        w->clients[i].id = kvc_session(w->c);
    for (unsigned s = 1; s <= SHARDS; s++) {
        struct kv_write put = put_bytes(key_of(w, s, 'm'), le64(w, MONEY));
        struct msg_txn t = {.client = w->clients[0].id, .n_writes = 1, .writes = &put};
        t.seq = t.acked_below = ++w->clients[0].seq;
        assert_int_equal(kvc_txn(w->c, 0, &t)->status, 0);
        w->expected[s] = MONEY;
    }
}

static bool at_rest(struct world *w)
{
    unsigned n, open = w->net->len + w->alive->len;

    for (unsigned i = 0; i < CLIENTS; i++)
        open += w->clients[i].busy;
    for (unsigned s = 1; s <= SHARDS; s++)
        open += w->moves[s].num > 0;
    for (unsigned g = 0; g < GROUPS; g++) {
        kv_decisions(w->c->g[g].kv, &n);
        open += n + kv_prepared(w->c->g[g].kv);
    }
    return open == 0;
}

/* Rows of a shard lie with its owner alone; every money account is what its answers make it. */
static void check_shard(struct world *w, unsigned shard)
{
    int owner = kvc_owner(w->c, shard);
    const char *money, *list;

    assert_true(owner >= 0);
    for (unsigned g = 0; g < GROUPS; g++) {
        struct bytes lo, hi, key, value;
        struct store *store = w->c->g[g].store;
        T_OK(kv_settle(w->c->g[g].kv));
        layout_shard_bounds(&w->c->arena, shard, 0, &lo);
        layout_shard_bounds(&w->c->arena, shard + 1, 0, &hi);
        struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
        assert_int_equal(store->ops->iter_next(it, &key, &value), (int)g == owner);
        T_OK(store->ops->iter_close(it));
    }
    money = kvc_get(w->c, key_of(w, shard, 'm'));
    assert_int_equal(get_le64((const uint8_t *)money), (uint64_t)w->expected[shard]);
    list = kvc_get(w->c, key_of(w, shard, 'l'));
    if (list)
        serial_final(w->serial, shard, list);
}

static void run(struct rng *rng)
{
    struct world w;
    unsigned steps = 0;

    setup(&w, rng);
    for (unsigned i = 0; i < STEPS; i++)
        step(&w);
    for (w.peace = true; !at_rest(&w) && steps < 100000; steps++)
        step(&w);
    assert_true(at_rest(&w));
    for (unsigned s = 1; s <= SHARDS; s++)
        check_shard(&w, s);
    assert_true(serial_holds(w.serial));
    assert_true(w.answered > 50);
    for (unsigned g = 0; g < GROUPS; g++)
        kvc_check_replica(w.c, g);
    *rng = w.rng;
    serial_destroy(w.serial);
    g_hash_table_destroy(w.acks);
    g_ptr_array_free(w.alive, true);
    g_array_free(w.net, true);
    kvc_destroy(w.c);
}

TEST(groups_that_move_shards_and_lose_leaders_keep_transactions_whole)
{
    struct rng rng = t_rng();
    for (unsigned i = 0; i < RUNS; i++)
        run(&rng);
}

T_MAIN(T(groups_that_move_shards_and_lose_leaders_keep_transactions_whole))
