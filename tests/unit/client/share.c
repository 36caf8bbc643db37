/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that the requests of many threads share. */
#include "cluster/client/impl.h"
#include "tests/unit/client/fixture.h"

#define MANY  32                     /* threads */
#define BYTES (LARGE_FRAME - KIB(4)) /* of a value whose request still shares */

static struct fixture x;

static int one_node(void **state UNUSED)
{
    fixture_init(&x, fake_create(1));
    T_OK(put_key(x.client, 0, NULL));
    return 0;
}

static int one_node_tls(void **state UNUSED)
{
    fixture_init(&x, fake_create_tls(1));
    T_OK(put_key(x.client, 0, NULL));
    return 0;
}

static int never_asked(void **state UNUSED)
{
    fixture_init(&x, fake_create_tls(1));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

/* --- a request in a thread of its own --- */

enum what { PUT, GET, WAIT };

struct caller {
    pthread_t thread;
    enum what what;
    uint64_t off, len; /* of a GET; of a PUT the value's length */
    unsigned ms;       /* a deadline, or a WAIT's time */
    struct client_cancel cancel;
    int rc;
    bool wrong; /* the answer is not the one to this request */
};

static void *call_main(void *arg)
{
    struct caller *o = arg;
    struct txn t CLEANUP(txn_finish) = {0};
    uint8_t *value = g_malloc0(o->len + 1);

    if (o->what == PUT)
        txn_put(&t, a_key(), bytes_of(value, o->len));
    if (o->what == GET)
        (void)txn_get_part(&t, a_key(), o->off, o->len);
    if (o->what == WAIT)
        o->rc = client_wait_key(x.client, &t, a_key(), 7, o->ms, &o->cancel);
    else
        o->rc = txn_run(x.client, &t, o->ms, &o->cancel);
    if (o->what == GET && o->rc == 0) {
        struct bytes got = t.reply.reads[0].value;
        o->wrong = got.n != o->len;
        for (size_t i = 0; i < got.n; i++)
            o->wrong |= got.p[i] != (uint8_t)o->off;
    }
    g_free(value);
    return NULL;
}

static void begin(struct caller *o, struct caller what)
{
    *o = what;
    T_OK(client_cancel_init(&o->cancel));
    assert_int_equal(pthread_create(&o->thread, NULL, call_main, o), 0);
}

static int end(struct caller *o)
{
    (void)pthread_join(o->thread, NULL);
    client_cancel_finish(&o->cancel);
    assert_false(o->wrong);
    return o->rc;
}

static void script(enum fake_step step, unsigned n)
{
    while (n--)
        fake_script(x.fake, 1, step, 0);
}

static void begin_held(struct caller *o, unsigned n, struct caller what)
{
    unsigned type = what.what == WAIT ? MSG_wait : MSG_txn, before = fake_count(x.fake, type);
    script(HOLD, n);
    for (unsigned i = 0; i < n; i++)
        begin(&o[i], what);
    T_EVENTUALLY(fake_count(x.fake, type) == before + n);
}

static uint64_t bytes_out(void)
{
    struct client_stats s;
    client_get_stats(x.client, &s);
    return s.bytes_out;
}

/* --- which connection --- */

TEST(requests_of_many_threads_share_few_connections)
{
    struct caller o[MANY];
    begin_held(o, MANY, (struct caller){.what = PUT});
    assert_int_equal(fake_conns(x.fake, 1), WIRES_MAX);
    fake_release(x.fake);
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&o[i]));
    assert_int_equal(fake_executed(x.fake), 1 + MANY);
    assert_int_equal(fake_accepted(x.fake, 1), WIRES_MAX);
}

TEST(few_requests_have_a_connection_each)
{
    struct caller o[WIRES_MAX];
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        begin_held(&o[i], 1, (struct caller){.what = PUT});
        assert_int_equal(fake_conns(x.fake, 1), i + 1);
    }
    fake_release(x.fake);
    for (unsigned i = 0; i < WIRES_MAX; i++)
        T_OK(end(&o[i]));
}

TEST(threads_without_any_wait_for_those_that_are_being_opened)
{
    struct caller o[MANY];
    fake_hang(x.fake, 1, true);
    for (unsigned i = 0; i < MANY; i++)
        begin(&o[i], (struct caller){.what = GET, .off = i, .len = 1});
    fake_hang(x.fake, 1, false);
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&o[i]));
    assert_in_range(fake_accepted(x.fake, 1), 1, WIRES_MAX);
}

TEST(a_thread_that_waits_for_an_opening_can_be_cancelled_and_has_its_deadline)
{
    struct caller o[MANY];
    fake_hang(x.fake, 1, true);
    for (unsigned i = 0; i < MANY; i++)
        begin(&o[i], (struct caller){.what = GET, .len = 1, .ms = i % 2 ? 100 : 0});
    for (unsigned i = 0; i < MANY; i += 2)
        client_cancel_fire(&o[i].cancel);
    for (unsigned i = 0; i < MANY; i++)
        T_ERR(i % 2 ? ERR_TIMEOUT : ERR_CANCELED, end(&o[i]));
    fake_hang(x.fake, 1, false);
    T_OK(get_key(x.client, 0, NULL));
}

TEST(waits_share_a_connection_and_hold_up_nobody_else)
{
    struct caller o[8];
    begin_held(o, 8, (struct caller){.what = WAIT, .ms = 60000});
    for (unsigned i = 0; i < 8; i++)
        T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_conns(x.fake, 1), 2); /* theirs, and the put's own */
    fake_release(x.fake);
    for (unsigned i = 0; i < 8; i++)
        T_OK(end(&o[i]));
}

TEST(more_answers_than_a_node_queues_for_a_connection_come_on_several)
{
    struct caller o[MANY];
    begin_held(o, MANY, (struct caller){.what = WAIT, .ms = 60000}); /* of 1 MiB each, maybe */
    assert_int_equal(fake_conns(x.fake, 1), 2);
    fake_release(x.fake);
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&o[i]));
}

TEST(large_answers_hold_up_nobody_else)
{
    struct caller o[WIRES_MAX], small[MANY];
    script(HOLD_HALF, WIRES_MAX);
    unsigned before = fake_count(x.fake, MSG_txn);
    for (unsigned i = 0; i < WIRES_MAX; i++)
        begin(&o[i], (struct caller){.what = GET, .off = i, .len = VALUE_MAX});
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + WIRES_MAX);
    for (unsigned i = 0; i < MANY; i++)
        begin(&small[i], (struct caller){.what = PUT});
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&small[i]));
    fake_release(x.fake);
    for (unsigned i = 0; i < WIRES_MAX; i++)
        T_OK(end(&o[i]));
    assert_int_equal(retries(x.client), 0);
}

/* --- whose answer --- */

TEST(answers_in_any_order_reach_their_callers)
{
    struct caller o[MANY];
    unsigned before = fake_count(x.fake, MSG_txn);
    script(HOLD, MANY);
    for (unsigned i = 0; i < MANY; i++)
        begin(&o[i], (struct caller){.what = GET, .off = i, .len = 1 + i * 1000});
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + MANY);
    fake_release_backwards(x.fake);
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&o[i]));
}

TEST(of_several_that_one_thread_has_started_each_gets_its_own)
{
    struct txn t[MANY] = {0};
    script(HOLD, MANY);
    unsigned before = fake_count(x.fake, MSG_txn);
    for (unsigned i = 0; i < MANY; i++) {
        (void)txn_get_part(&t[i], a_key(), i, i + 1);
        T_OK(txn_start(x.client, &t[i]));
    }
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + MANY);
    fake_release_backwards(x.fake);
    for (unsigned i = 0; i < MANY; i++) {
        T_OK(txn_wait(x.client, &t[i], 0, NULL));
        assert_int_equal(t[i].reply.reads[0].value.n, i + 1);
        assert_int_equal(t[i].reply.reads[0].value.p[0], i);
        txn_finish(&t[i]);
    }
}

TEST(a_connection_that_breaks_is_survived_by_all_its_calls)
{
    struct caller o[MANY];
    begin_held(o, MANY, (struct caller){.what = PUT});
    script(EXECUTE_HANG_UP, 1);
    fake_restart(x.fake, 1);
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&o[i]));
    assert_int_equal(fake_executed(x.fake), 1 + MANY);
    assert_true(fake_conns(x.fake, 1) <= WIRES_MAX);
}

TEST(nonsense_for_one_ends_the_connection_for_all_who_wait_there)
{
    struct caller o[5];
    begin_held(o, 4, (struct caller){.what = WAIT, .ms = 60000});
    script(WRONG_TYPE, 1);
    begin(&o[4], (struct caller){.what = WAIT, .ms = 60000});
    T_EVENTUALLY(fake_count(x.fake, MSG_wait) == 10); /* each again, at once */
    for (unsigned i = 0; i < 5; i++)
        T_OK(end(&o[i]));
}

/* --- those that give up --- */

/* Whichever of the three reads for all. */
TEST(a_reader_that_is_cancelled_passes_its_role_on)
{
    struct caller o[3];
    begin_held(o, 3, (struct caller){.what = WAIT, .ms = 60000});
    for (unsigned i = 0; i < 2; i++) {
        client_cancel_fire(&o[i].cancel);
        T_ERR(ERR_CANCELED, end(&o[i]));
    }
    fake_release(x.fake);
    T_OK(end(&o[2]));
}

TEST(a_reader_whose_time_is_over_passes_its_role_on)
{
    struct caller o[3];
    begin_held(&o[0], 1, (struct caller){.what = WAIT, .ms = 1});
    begin_held(&o[1], 1, (struct caller){.what = WAIT, .ms = 60000});
    begin_held(&o[2], 1, (struct caller){.what = WAIT, .ms = 1});
    T_ERR(ERR_TIMEOUT, end(&o[0]));
    T_ERR(ERR_TIMEOUT, end(&o[2]));
    fake_release(x.fake);
    T_OK(end(&o[1]));
}

TEST(a_cancel_ends_the_sleep_of_each)
{
    struct caller o[MANY];
    begin_held(o, MANY, (struct caller){.what = GET, .len = 1});
    for (unsigned i = 0; i < MANY; i++)
        client_cancel_fire(&o[i].cancel);
    for (unsigned i = 0; i < MANY; i++)
        T_ERR(ERR_CANCELED, end(&o[i]));
}

TEST(one_that_gives_up_leaves_the_connection_to_the_others_but_not_idle)
{
    struct caller o[2];
    begin_held(o, 2, (struct caller){.what = WAIT, .ms = 60000});
    client_cancel_fire(&o[0].cancel);
    T_ERR(ERR_CANCELED, end(&o[0]));
    fake_release(x.fake); /* also the answer that nobody waits for */
    T_OK(end(&o[1]));
    assert_int_equal(retries(x.client), 0);
    assert_int_equal(fake_accepted(x.fake, 1), 1);
    T_EVENTUALLY(fake_conns(x.fake, 1) == 0);
}

/* --- a node that does not read --- */

/* All have left their frames, but for those who wait for room themselves. */
static void fill_sockets(struct caller *o)
{
    for (unsigned i = 0; i < WIRES_MAX; i++) /* they are open before the node hangs */
        begin_held(&o[i], 1, (struct caller){.what = PUT});
    fake_release(x.fake);
    for (unsigned i = 0; i < WIRES_MAX; i++)
        T_OK(end(&o[i]));
    uint64_t before = bytes_out();
    fake_hang(x.fake, 1, true);
    for (unsigned i = 0; i < MANY; i++)
        begin(&o[i], (struct caller){.what = PUT, .len = BYTES});
    T_EVENTUALLY(bytes_out() - before > (MANY - WIRES_MAX) * BYTES);
}

TEST(frames_for_which_the_socket_has_no_room_are_sent_when_it_has)
{
    struct caller o[MANY];
    fill_sockets(o);
    script(HOLD, MANY); /* so that no answer makes anybody look */
    fake_hang(x.fake, 1, false);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 1 + WIRES_MAX + MANY);
    fake_release(x.fake);
    for (unsigned i = 0; i < MANY; i++)
        T_OK(end(&o[i]));
    assert_int_equal(retries(x.client), 0);
}

TEST(a_thread_that_gives_up_amid_its_frame_leaves_the_rest_to_others)
{
    struct caller o[MANY];
    fill_sockets(o);
    for (unsigned i = 0; i < MANY / 2; i++) {
        client_cancel_fire(&o[i].cancel);
        int rc = end(&o[i]);
        assert_true(rc == -ERR_CANCELED || rc == 0); /* the node may have read one before it hung */
    }
    fake_hang(x.fake, 1, false);
    for (unsigned i = MANY / 2; i < MANY; i++)
        T_OK(end(&o[i]));
    T_EVENTUALLY(fake_executed(x.fake) == 1 + WIRES_MAX + MANY); /* also of those given up, once */
    assert_in_range(retries(x.client), 0, WIRES_MAX);            /* theirs; no connection broke */
}

static void *put_many(void *arg)
{
    int *rc = arg;
    uint8_t *value = g_malloc0(BYTES);
    struct txn t CLEANUP(txn_finish) = {0};
    for (unsigned i = 0; i < 20 && *rc == 0; i++) {
        txn_reset(&t);
        txn_put(&t, a_key(), bytes_of(value, BYTES));
        *rc = txn_run(x.client, &t, 0, NULL);
    }
    g_free(value);
    return NULL;
}

TEST(frames_of_many_threads_arrive_whole_though_the_socket_is_always_full)
{
    pthread_t thread[MANY];
    int rc[MANY] = {0};
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, put_many, &rc[i]), 0);
    for (unsigned i = 0; i < MANY; i++) {
        (void)pthread_join(thread[i], NULL);
        T_OK(rc[i]);
    }
    assert_int_equal(fake_executed(x.fake), 1 + MANY * 20);
    assert_int_equal(retries(x.client), 0);
}

#define S(fn)     cmocka_unit_test_setup_teardown(fn, one_node, tear_down)
#define TLS(fn)   cmocka_unit_test_setup_teardown(fn, one_node_tls, tear_down)
#define FRESH(fn) cmocka_unit_test_setup_teardown(fn, never_asked, tear_down)
T_MAIN(TLS(requests_of_many_threads_share_few_connections), S(few_requests_have_a_connection_each),
       FRESH(threads_without_any_wait_for_those_that_are_being_opened),
       FRESH(a_thread_that_waits_for_an_opening_can_be_cancelled_and_has_its_deadline),
       S(waits_share_a_connection_and_hold_up_nobody_else),
       S(more_answers_than_a_node_queues_for_a_connection_come_on_several),
       TLS(large_answers_hold_up_nobody_else), TLS(answers_in_any_order_reach_their_callers),
       S(of_several_that_one_thread_has_started_each_gets_its_own),
       TLS(a_connection_that_breaks_is_survived_by_all_its_calls),
       S(nonsense_for_one_ends_the_connection_for_all_who_wait_there),
       S(a_reader_that_is_cancelled_passes_its_role_on),
       S(a_reader_whose_time_is_over_passes_its_role_on), TLS(a_cancel_ends_the_sleep_of_each),
       S(one_that_gives_up_leaves_the_connection_to_the_others_but_not_idle),
       S(frames_for_which_the_socket_has_no_room_are_sent_when_it_has),
       S(a_thread_that_gives_up_amid_its_frame_leaves_the_rest_to_others),
       S(frames_of_many_threads_arrive_whole_though_the_socket_is_always_full),
       TLS(frames_of_many_threads_arrive_whole_though_the_socket_is_always_full))
