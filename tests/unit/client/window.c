/* SPDX-License-Identifier: Apache-2.0 */
/* The window of requests under way, and many threads. */
#include "tests/unit/client/fixture.h"

#include <pthread.h>

#define THREADS 12
#define ROUNDS  30
#define BATCH   16 /* THREADS * BATCH is three windows */

static struct fixture x;

static int three_nodes(void **state UNUSED)
{
    fixture_init(&x, fake_create(3));
    T_OK(put_key(x.client, 0, NULL));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

struct many {
    pthread_t thread;
    unsigned id;
    int rc;
};

/* Starts a batch, then waits for it in an order of its own. */
static void *start_many(void *arg)
{
    struct many *m = arg;
    struct txn t[BATCH] = {0};
    for (unsigned round = 0; round < ROUNDS && m->rc == 0; round++) {
        for (unsigned i = 0; i < BATCH; i++) {
            txn_reset(&t[i]);
            txn_put(&t[i], a_key(), bytes_str("v"));
            int rc = txn_start(x.client, &t[i]);
            m->rc = m->rc ? m->rc : rc;
        }
        for (unsigned i = 0; i < BATCH; i++) {
            int rc = txn_wait(x.client, &t[(i * 5 + m->id) % BATCH], 0, NULL);
            m->rc = m->rc ? m->rc : rc;
        }
    }
    for (unsigned i = 0; i < BATCH; i++)
        txn_finish(&t[i]);
    return NULL;
}

static void run_many(struct many *m)
{
    for (unsigned i = 0; i < THREADS; i++) {
        m[i] = (struct many){.id = i};
        assert_int_equal(pthread_create(&m[i].thread, NULL, start_many, &m[i]), 0);
    }
}

static void join_many(struct many *m)
{
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(m[i].thread, NULL);
        T_OK(m[i].rc);
    }
    assert_int_equal(fake_executed(x.fake), 1 + THREADS * ROUNDS * BATCH);
}

static void check_window(void)
{
    for (unsigned i = fake_count(x.fake, MSG_txn); i-- > 0 && i % 16 == 0;) {
        struct fake_seen s = fake_seen(x.fake, MSG_txn, i);
        assert_in_range(s.seq - s.acked_below, 0, SESSION_WINDOW - 1);
    }
}

TEST(many_threads_that_start_many_at_once_all_come_to_an_end)
{
    struct many m[THREADS];
    run_many(m);
    join_many(m);
    check_window();
}

TEST(they_do_while_the_leader_changes_and_connections_break)
{
    struct many m[THREADS];
    struct rng rng = t_rng();
    run_many(m);
    for (unsigned i = 0; i < 40; i++) {
        uint32_t node = 1 + (uint32_t)rng_below(&rng, 3);
        static const enum fake_step steps[] = {HANG_UP, EXECUTE_HANG_UP, HALF_ANSWER, WRONG_CRC};
        for (unsigned k = 0; k < 5; k++)
            fake_script(x.fake, node, steps[rng_below(&rng, ARRAY_LEN(steps))], 0);
        if (i % 4 == 0)
            fake_lead(x.fake, 1 + (uint32_t)rng_below(&rng, 3));
        unsigned seen = fake_count(x.fake, MSG_txn);
        T_EVENTUALLY(fake_count(x.fake, MSG_txn) > seen + 20 ||
                     fake_executed(x.fake) == 1 + THREADS * ROUNDS * BATCH);
    }
    join_many(m);
    check_window();
}

TEST(a_full_window_holds_the_next_write_back)
{
    struct txn t[SESSION_WINDOW] = {0};
    struct putter p;
    for (unsigned i = 0; i < SESSION_WINDOW; i++) {
        fake_script(x.fake, 1, HOLD, 0);
        txn_put(&t[i], a_key(), bytes_str("v"));
        T_OK(txn_start(x.client, &t[i]));
    }
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 1 + SESSION_WINDOW);
    putter_start(&p, x.client, 50);
    T_ERR(ERR_TIMEOUT, putter_join(&p));
    putter_start(&p, x.client, 0);
    client_cancel_fire(&p.cancel);
    T_ERR(ERR_CANCELED, putter_join(&p));
    T_OK(get_key(x.client, 0, NULL)); /* reads have no place in it */
    assert_int_equal(fake_executed(x.fake), 1);

    fake_release(x.fake);
    /* This thread's next write takes the answers of those it has started. */
    T_OK(put_key(x.client, 0, NULL));
    for (unsigned i = 0; i < SESSION_WINDOW; i++) {
        T_OK(txn_wait(x.client, &t[i], 0, NULL));
        txn_finish(&t[i]);
    }
    assert_int_equal(fake_executed(x.fake), 2 + SESSION_WINDOW);
}

TEST(the_oldest_holds_the_window_even_if_others_are_answered)
{
    struct txn oldest CLEANUP(txn_finish) = {0};
    fake_script(x.fake, 1, HOLD, 0);
    txn_put(&oldest, a_key(), bytes_str("v"));
    unsigned before = fake_count(x.fake, MSG_txn);
    T_OK(txn_start(x.client, &oldest));
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + 1);
    struct putter p;
    for (unsigned i = 1; i < SESSION_WINDOW; i++) {
        putter_start(&p, x.client, 0);
        T_OK(putter_join(&p));
    }
    putter_start(&p, x.client, 20);
    T_ERR(ERR_TIMEOUT, putter_join(&p));
    fake_release(x.fake);
    T_OK(txn_wait(x.client, &oldest, 0, NULL));
    putter_start(&p, x.client, 0);
    T_OK(putter_join(&p));
}

TEST(two_clients_of_one_thread_do_not_meddle_with_each_other)
{
    struct fixture y;
    struct txn a CLEANUP(txn_finish) = {0}, b[SESSION_WINDOW + 1] = {0};
    fixture_init(&y, fake_create(1));
    T_OK(put_key(y.client, 0, NULL));
    txn_put(&a, a_key(), bytes_str("v"));
    fake_script(x.fake, 1, HOLD, 0);
    unsigned before = fake_count(x.fake, MSG_txn);
    T_OK(txn_start(x.client, &a)); /* is not answered before the end */
    for (unsigned i = 0; i < ARRAY_LEN(b); i++) {
        txn_put(&b[i], a_key(), bytes_str("v"));
        T_OK(txn_start(y.client, &b[i]));
    }
    for (unsigned i = ARRAY_LEN(b); i-- > 0;) {
        T_OK(txn_wait(y.client, &b[i], 0, NULL));
        txn_finish(&b[i]);
    }
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + 1);
    fake_release(x.fake);
    T_OK(txn_wait(x.client, &a, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
    assert_int_equal(fake_executed(y.fake), 1 + ARRAY_LEN(b));
    fixture_finish(&y);
}

#define S(fn) cmocka_unit_test_setup_teardown(fn, three_nodes, tear_down)
T_MAIN(S(many_threads_that_start_many_at_once_all_come_to_an_end),
       S(they_do_while_the_leader_changes_and_connections_break),
       S(a_full_window_holds_the_next_write_back),
       S(the_oldest_holds_the_window_even_if_others_are_answered),
       S(two_clients_of_one_thread_do_not_meddle_with_each_other))
