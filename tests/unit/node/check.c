/* SPDX-License-Identifier: Apache-2.0 */
/* A check of the replicas: the leader logs it, every node answers for its own state. */
#include "cluster/node/check.h"
#include "tests/unit/node/cluster.h"

#define N_KEYS 40

struct fixture {
    struct cluster *c;
    struct test_client *to[4]; /* by node id */
    uint64_t session;
};

static void fixture_init(struct fixture *f, const struct cluster_options *o)
{
    *f = (struct fixture){.c = cluster_create(o)};
    EVENTUALLY(f->c, cluster_leader(f->c) != 0);
    for (unsigned id = 1; id <= o->n; id++)
        f->to[id] = client_connect(f->c, id, ROLE_ADMIN, false);
    struct test_client *k = f->to[cluster_leader(f->c)];
    f->session = client_open_session(k);
    for (unsigned i = 0; i < N_KEYS; i++) {
        char key[20];
        g_snprintf(key, sizeof(key), "k%03u", i);
        assert_int_equal(client_put(k, f->session, i + 1, key, "value"), 0);
    }
}

static uint64_t start(struct fixture *f)
{
    struct msg_check m = {0};
    struct msg_check_started reply;
    struct test_client *k = f->to[cluster_leader(f->c)];
    struct frame a = client_wait(k, CLIENT_ASK(k, check, &m));
    assert_int_equal(a.type, MSG_check_started);
    T_OK(dec_check_started(a.body, &f->c->arena, &reply));
    assert_int_equal(reply.status, 0);
    return reply.index;
}

static struct msg_check_pieces ask_once(struct fixture *f, unsigned id,
                                        const struct msg_check_ask *m)
{
    struct msg_check_pieces reply;
    struct frame a = client_wait(f->to[id], CLIENT_ASK(f->to[id], check_ask, m));
    assert_int_equal(a.type, MSG_check_pieces);
    T_OK(dec_check_pieces(a.body, &f->c->arena, &reply));
    return reply;
}

static struct msg_check_pieces ask(struct fixture *f, unsigned id, const struct msg_check_ask *m)
{
    struct msg_check_pieces reply;
    for (unsigned i = 0; i < 500; i++) {
        reply = ask_once(f, id, m);
        if (reply.status != ERR_BUSY &&
            (reply.status != ERR_NOT_FOUND || reply.applied >= m->index))
            return reply;
        cluster_run(f->c, 1);
    }
    fail_msg("never answered");
    return reply;
}

static struct msg_check_pieces overview(struct fixture *f, unsigned id, uint64_t index)
{
    struct msg_check_ask m = {.index = index};
    return ask(f, id, &m);
}

static bool same_pieces(const struct msg_check_pieces *a, const struct msg_check_pieces *b)
{
    bool same = a->n_pieces == b->n_pieces;
    for (uint32_t i = 0; same && i < a->n_pieces; i++)
        same = bytes_eq(a->pieces[i].at, b->pieces[i].at) && a->pieces[i].hash == b->pieces[i].hash;
    return same;
}

/* Writes a row into a replica's store behind the back of everybody. */
static void plant(struct fixture *f, unsigned id, const char *name, const char *value)
{
    struct bytes key = test_key(f->c, name);
    uint8_t internal[64] = {key.p[0], key.p[1], 0x10}, stored[64] = {0, 1};
    memcpy(internal + 3, key.p + 2, key.n - 2);
    memcpy(stored + 9, value, strlen(value));
    struct store *s = node_group_store(f->c->nodes[id - 1].node, 0);
    struct store_write w = {STORE_PUT, bytes_of(internal, key.n + 1),
                            bytes_of(stored, 9 + strlen(value))};
    T_OK(s->ops->write(s, &w, 1));
}

/* --- equal and different ---------------------------------------------------------------------- */

TEST(replicas_that_hold_the_same_answer_the_same)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 3});
    uint64_t index = start(&f);
    struct msg_check_pieces a = overview(&f, 1, index);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.n_pieces, 2); /* shard 1 and the group's own */
    assert_int_equal(a.pieces[0].keys, N_KEYS);
    for (unsigned id = 2; id <= 3; id++) {
        struct msg_check_pieces b = overview(&f, id, index);
        assert_int_equal(b.status, 0);
        assert_true(same_pieces(&a, &b));
    }
    cluster_destroy(f.c);
}

TEST(writes_beside_a_check_do_not_disturb_it)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 3});
    struct test_client *k = f.to[cluster_leader(f.c)];
    uint64_t index = start(&f);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(client_put(k, f.session, N_KEYS + 1 + i, "k001", "changed"), 0);
    struct msg_check_pieces a = overview(&f, 1, index), b = overview(&f, 2, index),
                            c = overview(&f, 3, index);
    assert_true(same_pieces(&a, &b));
    assert_true(same_pieces(&a, &c));
    uint64_t later = start(&f);
    struct msg_check_pieces d = overview(&f, 1, later);
    assert_false(same_pieces(&a, &d));
    cluster_destroy(f.c);
}

TEST(a_planted_row_is_seen_and_found)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 3});
    plant(&f, 2, "k017x", "rotten");
    uint64_t index = start(&f);
    struct msg_check_pieces a = overview(&f, 1, index), b = overview(&f, 2, index),
                            c = overview(&f, 3, index);
    assert_true(same_pieces(&a, &c));
    assert_false(same_pieces(&a, &b));
    assert_int_equal(b.pieces[0].rows, a.pieces[0].rows + 1);
    struct msg_check_ask m = {.index = index,
                              .lo = bytes_of("\0\1\20k017", 7),
                              .hi = bytes_of("\0\1\20k018", 7),
                              .every = 1};
    b = ask(&f, 2, &m);
    assert_int_equal(b.n_pieces, 2);
    assert_memory_equal(b.pieces[1].at.p, "\0\1\20k017x", 8);
    a = ask(&f, 1, &m);
    assert_int_equal(a.n_pieces, 1);
    assert_int_equal(a.pieces[0].hash, b.pieces[0].hash);
    cluster_destroy(f.c);
}

/* --- nodes that are not there ----------------------------------------------------------------- */

TEST(a_node_that_lags_says_how_far_it_is_and_answers_later)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 3});
    unsigned behind = cluster_leader(f.c) % 3 + 1;
    cluster_cut_off(f.c, behind, true);
    uint64_t index = start(&f);
    struct msg_check_ask m = {.index = index};
    struct msg_check_pieces a = ask_once(&f, behind, &m);
    assert_int_equal(a.status, ERR_NOT_FOUND);
    assert_true(a.applied < index);
    struct msg_check_pieces b = overview(&f, cluster_leader(f.c), index);
    cluster_cut_off(f.c, behind, false);
    EVENTUALLY(f.c, ask_once(&f, behind, &m).applied >= index);
    a = overview(&f, behind, index);
    assert_int_equal(a.status, 0);
    assert_true(same_pieces(&a, &b));
    cluster_destroy(f.c);
}

/* What was kept is gone, but the log brings the entry back if the store is older. */
TEST(a_restarted_node_answers_again_from_its_log_or_says_that_it_cannot)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 3});
    uint64_t index = start(&f);
    unsigned id = cluster_leader(f.c) % 3 + 1;
    cluster_kill(f.c, id);
    cluster_start(f.c, id);
    f.to[id] = client_connect(f.c, id, ROLE_ADMIN, false);
    struct msg_check_ask m = {.index = index};
    EVENTUALLY(f.c, ask_once(&f, id, &m).applied >= index);
    struct msg_check_pieces a = overview(&f, cluster_leader(f.c), index),
                            b = overview(&f, id, index);
    assert_int_equal(b.status, 0);
    assert_true(same_pieces(&a, &b));
    m.index = 1; /* never was a check */
    assert_int_equal(ask_once(&f, id, &m).status, ERR_NOT_FOUND);
    cluster_destroy(f.c);
}

TEST(what_nobody_asks_for_is_forgotten)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 1});
    uint64_t index = start(&f);
    struct msg_check_ask m = {.index = index};
    cluster_run(f.c, CHECK_KEEP_MS / TICK_MS - 50);
    assert_int_equal(ask_once(&f, 1, &m).status, 0);
    cluster_run(f.c, CHECK_KEEP_MS / TICK_MS - 50); /* counted from the last question */
    assert_int_equal(ask_once(&f, 1, &m).status, 0);
    cluster_run(f.c, CHECK_KEEP_MS / TICK_MS + 50);
    assert_int_equal(ask_once(&f, 1, &m).status, ERR_NOT_FOUND);
    cluster_destroy(f.c);
}

/* --- bounds ----------------------------------------------------------------------------------- */

TEST(a_large_state_is_hashed_over_many_ticks)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 1});
    for (unsigned i = 0; i < 3 * CHECK_TICK_ROWS; i++) {
        char name[20];
        g_snprintf(name, sizeof(name), "p%05u", i);
        plant(&f, 1, name, "x");
    }
    uint64_t index = start(&f);
    struct msg_check_ask m = {.index = index};
    struct msg_check_pieces a;
    uint64_t began = f.c->now;
    while ((a = ask_once(&f, 1, &m)).status == ERR_BUSY)
        assert_true(a.hashed <= CHECK_TICK_ROWS * (f.c->now - began + 2));
    assert_true(f.c->now - began >= 2);
    assert_int_equal(a.pieces[0].keys, N_KEYS + 3 * CHECK_TICK_ROWS);
    cluster_destroy(f.c);
}

TEST(questions_are_bounded_and_old_answers_make_room)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 1});
    uint64_t index = start(&f);
    overview(&f, 1, index);
    for (unsigned i = 1; i <= 3 * CHECK_JOBS_MAX; i++) {
        struct msg_check_ask m = {.index = index, .every = i};
        assert_int_equal(ask(&f, 1, &m).status, 0);
    }
    assert_int_equal(overview(&f, 1, index).status, 0);
    cluster_destroy(f.c);
}

TEST(bounds_out_of_order_are_invalid)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 1});
    struct check_bound bounds[] = {{bytes_of("\0\1b", 3)}, {bytes_of("\0\1a", 3)}};
    struct msg_check_ask m = {.index = start(&f), .bounds = bounds, .n_bounds = 2};
    struct frame a = client_wait(f.to[1], CLIENT_ASK(f.to[1], check_ask, &m));
    assert_int_equal(frame_status(f.c, a, NULL), ERR_INVALID);
    m.n_bounds = 1;
    m.lo = bytes_of("\0\1b", 3);
    a = client_wait(f.to[1], CLIENT_ASK(f.to[1], check_ask, &m));
    assert_int_equal(frame_status(f.c, a, NULL), ERR_INVALID);
    cluster_destroy(f.c);
}

TEST(only_an_administrator_may_check_and_only_the_leader_starts)
{
    struct fixture f;
    fixture_init(&f, &(struct cluster_options){.n = 3});
    struct test_client *k = client_connect(f.c, cluster_leader(f.c), ROLE_CLIENT, false);
    struct msg_check m = {0};
    struct msg_check_ask ask = {.index = start(&f)};
    assert_int_equal(frame_status(f.c, client_wait(k, CLIENT_ASK(k, check, &m)), NULL), ERR_DENIED);
    assert_int_equal(frame_status(f.c, client_wait(k, CLIENT_ASK(k, check_ask, &ask)), NULL),
                     ERR_DENIED);
    k = f.to[cluster_leader(f.c) % 3 + 1];
    assert_int_equal(frame_status(f.c, client_wait(k, CLIENT_ASK(k, check, &m)), NULL),
                     ERR_NOT_LEADER);
    m.gid = 7;
    assert_int_equal(frame_status(f.c, client_wait(k, CLIENT_ASK(k, check, &m)), NULL),
                     ERR_NOT_FOUND);
    cluster_destroy(f.c);
}

T_MAIN(T(replicas_that_hold_the_same_answer_the_same), T(writes_beside_a_check_do_not_disturb_it),
       T(a_planted_row_is_seen_and_found), T(a_node_that_lags_says_how_far_it_is_and_answers_later),
       T(a_restarted_node_answers_again_from_its_log_or_says_that_it_cannot),
       T(what_nobody_asks_for_is_forgotten), T(a_large_state_is_hashed_over_many_ticks),
       T(questions_are_bounded_and_old_answers_make_room), T(bounds_out_of_order_are_invalid),
       T(only_an_administrator_may_check_and_only_the_leader_starts))
