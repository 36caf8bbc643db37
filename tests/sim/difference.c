/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raftfsctl's comparison finds nothing while clients are at work. Then a row of one replica is
 * changed behind its node's back: it names that replica, the shard and the row.
 *
 *     difference            a fresh seed; RAFTFS_SEED=n replays, RAFTFS_SIM_LOG=1 prints everything
 */
#include <stdio.h>
#include <stdlib.h>
#include "cluster/ctl/compare.h"
#include "cluster/kv/layout.h"
#include "tests/sim/client.h"
#include "tests/sim/sim.h"

#define NODES       3
#define WAIT_ANSWER SEC(5)

struct asker {
    struct net_user end;
    struct sim *s;
    struct net_conn *conns[NODES + 1];
    bool greeted[NODES + 1], answered;
    uint64_t id;
    struct frame answer; /* its body is in `bytes` */
    GByteArray *bytes;
};

static const struct profile busy = {
    .nodes = NODES,
    .clients = 3,
    .ops_per_client = 200,
    .window = 4,
    .think = MS(60),
    .drift_ppm = 5000,
    .flush_log_bytes = KIB(8),
    .segment_bytes = KIB(64),
    .rows_held = 1,
    .net_delay = US(100),
    .net_jitter = US(500),
    .sync_time = US(300),
};

/* --- asking ----------------------------------------------------------------------------------- */

static void on_open(struct net_user *u, struct net_conn *nc)
{
    net_user_hello(nc, HELLO_MAIN);
}

static void on_close(struct net_user *u, struct net_conn *nc)
{
    sim_fail(container_of(u, struct asker, end)->s, "a node hangs up on an administrator");
}

static void on_frame(struct net_user *u, struct net_conn *nc, const struct frame *f)
{
    struct asker *a = container_of(u, struct asker, end);
    for (unsigned i = 1; i <= NODES; i++)
        if (a->conns[i] == nc && f->type == MSG_hello)
            a->greeted[i] = true;
    if (f->type == MSG_hello || f->id != a->id)
        return;
    a->answered = true;
    a->answer = *f;
    g_byte_array_set_size(a->bytes, 0);
    g_byte_array_append(a->bytes, f->body.p, (guint)f->body.n);
    a->answer.body = bytes_of(a->bytes->data, a->bytes->len);
}

static void wait_for(struct asker *a, const bool *what)
{
    uint64_t deadline = a->s->now + WAIT_ANSWER;
    while (!*what) {
        CHECK(a->s, a->s->now < deadline, "a node does not answer an administrator");
        sim_step(a->s, a->s->now + MS(1));
    }
}

/* The frame in e goes to the node; the answer is in a->answer. */
static void ask_node(struct asker *a, unsigned node, struct enc *e)
{
    if (!a->conns[node])
        a->conns[node] = net_user_dial(a->s, &a->end, node);
    wait_for(a, &a->greeted[node]);
    a->answered = false;
    a->conns[node]->net->ops->send(a->conns[node], enc_view(e));
    enc_finish(e);
    wait_for(a, &a->answered);
}

static uint64_t begin_check(struct asker *a)
{
    struct arena CLEANUP(arena_finish) memory = {0};
    struct msg_check_started started;
    struct msg_check m = {0};
    struct enc e = {0};
    FRAME(&e, check, ++a->id, &m);
    ask_node(a, host_leader(a->s), &e);
    CHECK(a->s,
          a->answer.type == MSG_check_started &&
              dec_check_started(a->answer.body, &memory, &started) == 0 && started.status == 0,
          "the leader begins no check");
    return started.index;
}

static int io_ask(void *ctx, uint32_t node, const struct msg_check_ask *m, struct arena *memory,
                  struct msg_check_pieces *ret, struct errmsg *msg)
{
    struct asker *a = ctx;
    struct enc e = {0};
    FRAME(&e, check_ask, ++a->id, m);
    ask_node(a, node, &e);
    CHECK(a->s, a->answer.type == MSG_check_pieces, "node %u does not answer a check", node);
    int err = dec_check_pieces(bytes_of(arena_copy(memory, a->answer.body).p, a->answer.body.n),
                               memory, ret);
    return err < 0 ? errmsg_set(msg, err, "node %u: a malformed answer", node) : 0;
}

static void io_pause(void *ctx)
{
    struct asker *a = ctx;
    sim_step(a->s, a->s->now + MS(TICK_MS));
}

/* --- the change ------------------------------------------------------------------------------- */

/* Its key, and the shard it is in. */
static struct bytes change_a_row(struct sim_node *sn, struct arena *a)
{
    struct store *real = state_real(sn, 0);
    struct store_iter *it = real->ops->iter_open(real, NULL, BYTES_NONE, BYTES_NONE);
    struct bytes key, value, found = BYTES_NONE, changed = BYTES_NONE;
    uint64_t seen = 0;
    while (real->ops->iter_next(it, &key, &value)) {
        if (key.n < 3 || key.p[2] != TABLE_DATA || value.n <= VALUE_HEAD ||
            rng_below(&sn->sim->rng, ++seen) > 0)
            continue;
        found = arena_copy(a, key);
        changed = arena_copy(a, value);
    }
    real->ops->iter_close(it);
    CHECK(sn->sim, found.n > 0, "node %u has no row of data", sn->id);
    ((uint8_t *)(uintptr_t)changed.p)[changed.n - 1] ^= 1;
    const struct store_write w = {.op = STORE_PUT, .key = found, .value = changed};
    CHECK(sn->sim, real->ops->write(real, &w, 1) == 0, "the row cannot be written");
    return found;
}

/* --- comparing -------------------------------------------------------------------------------- */

static void compare_all(struct asker *a, struct compare *c)
{
    static const uint32_t nodes[NODES] = {1, 2, 3};
    const struct compare_io io = {io_ask, io_pause, 500, a};
    compare_init(c, nodes, NODES);
    compare_run(c, &io, 0, begin_check(a));
    CHECK(a->s, compare_checked(c) == NODES, "%u of %u replicas were checked", compare_checked(c),
          NODES);
}

/* The row that was changed, and it alone, on that node, and on it alone. */
static void check_found(struct sim *s, const struct compare *c, unsigned node, struct bytes key)
{
    bool odd[NODES_MAX];
    CHECK(s, c->differences->len == 1, "%u shards differ, one row was changed",
          c->differences->len);
    const struct compare_difference *d =
        &g_array_index(c->differences, struct compare_difference, 0);
    CHECK(s, d->shard == get_be16(key.p), "shard %u is named, a row of shard %u was changed",
          d->shard, get_be16(key.p));
    CHECK(s, d->n_rows == 1 && bytes_eq(d->rows[0].key, key), "another row than the one is named");
    CHECK(s, compare_odd(c, d->rows[0].has, d->rows[0].hash, odd) == 1 && odd[node - 1],
          "node %u is not named", node);
}

int main(int argc, char **argv)
{
    const char *given = g_getenv("RAFTFS_SEED"), *log = g_getenv("RAFTFS_SIM_LOG");
    struct rng rng;
    rng_seed_os(&rng);
    uint64_t seed = given ? g_ascii_strtoull(given, NULL, 10) : rng_next(&rng) >> 24;
    char *replay = g_strdup_printf("RAFTFS_SEED=%" G_GUINT64_FORMAT " tests/sim/difference", seed);
    const struct sim_options o = {
        .seed = seed, .verbose = log && strcmp(log, "0") != 0, .profile = &busy, .replay = replay};
    struct arena memory = {0};
    struct compare c;
    trace_catch_signals();
    struct sim *s = sim_create(&o);
    struct asker a = {
        .end = {ROLE_ADMIN, on_open, on_frame, on_close}, .s = s, .bytes = g_byte_array_new()};
    sim_step(s, SEC(8));
    compare_all(&a, &c);
    CHECK(s, c.differences->len == 0, "replicas that nobody touched differ");
    compare_finish(&c);

    /* What clients did with the row would differ, too. */
    while (!clients_idle(s))
        sim_step(s, s->now + MS(100));
    sim_step(s, s->now + SEC(1)); /* a follower may be behind with what they did */
    unsigned node = 1 + (unsigned)rng_below(&s->rng, NODES);
    s->planted = node;
    struct bytes key = change_a_row(sim_node(s, node), &memory);
    compare_all(&a, &c);
    check_found(s, &c, node, key);
    compare_finish(&c);
    printf("seed %" G_GUINT64_FORMAT ": the changed row of node %u was found\n", seed, node);
    sim_destroy(s);
    g_byte_array_free(a.bytes, TRUE);
    arena_finish(&memory);
    g_free(replay);
    return 0;
}
