/* SPDX-License-Identifier: Apache-2.0 */
/* The session: opened at the first write, lost once, opened again. Cancels and deadlines. */
#include "tests/unit/client/fixture.h"

static struct fixture x;

static int one_node(void **state UNUSED)
{
    fixture_init(&x, fake_create(1));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

static unsigned lost(void)
{
    return __atomic_load_n(&x.lost, __ATOMIC_RELAXED);
}

TEST(the_first_write_opens_it_and_destroy_closes_it)
{
    T_OK(put_key(x.client, 0, NULL));
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, MSG_session_open), 1);
    assert_int_not_equal(client_session(x.client), 0);
    client_destroy(TAKE(x.client));
    assert_int_equal(fake_count(x.fake, MSG_session_close), 1);
}

TEST(threads_that_write_first_share_one)
{
    struct putter p[16];
    for (unsigned i = 0; i < 16; i++)
        putter_start(&p[i], x.client, 0);
    for (unsigned i = 0; i < 16; i++)
        T_OK(putter_join(&p[i]));
    assert_int_equal(fake_count(x.fake, MSG_session_open), 1);
    assert_int_equal(fake_executed(x.fake), 16);
}

TEST(an_expired_session_is_told_once_and_writes_fail_until_there_is_a_new_one)
{
    struct putter p[8];
    T_OK(put_key(x.client, 0, NULL));
    fake_expire(x.fake);
    for (unsigned i = 0; i < 8; i++)
        putter_start(&p[i], x.client, 0);
    for (unsigned i = 0; i < 8; i++)
        T_ERR(ERR_NO_SESSION, putter_join(&p[i]));
    assert_int_equal(lost(), 1);
    assert_int_equal(client_session(x.client), 0);

    unsigned sent = fake_count(x.fake, MSG_txn);
    T_ERR(ERR_NO_SESSION, put_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, MSG_txn), sent); /* it was not even sent */
    T_OK(get_key(x.client, 0, NULL));                    /* reads go on */

    T_OK(client_new_session(x.client));
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_seen(x.fake, MSG_txn, fake_count(x.fake, MSG_txn) - 1).seq, 1);
    assert_int_equal(lost(), 1);
}

TEST(a_new_session_while_one_lives_is_the_same)
{
    T_OK(client_new_session(x.client));
    uint64_t session = client_session(x.client);
    T_OK(client_new_session(x.client));
    assert_int_equal(client_session(x.client), session);
    assert_int_equal(fake_count(x.fake, MSG_session_open), 1);
}

TEST(no_session_said_to_a_read_loses_nothing)
{
    fake_script(x.fake, 1, STATUS, ERR_NO_SESSION);
    T_ERR(ERR_NO_SESSION, get_key(x.client, 0, NULL));
    assert_int_equal(lost(), 0);
    T_OK(put_key(x.client, 0, NULL));
}

TEST(a_late_no_session_of_an_old_session_does_not_end_the_new_one)
{
    struct putter p;
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, HOLD, 0);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 2);
    fake_expire(x.fake);
    T_ERR(ERR_NO_SESSION, put_key(x.client, 0, NULL));
    T_OK(client_new_session(x.client));
    fake_release(x.fake);
    T_ERR(ERR_NO_SESSION, putter_join(&p));
    assert_int_equal(lost(), 1);
    T_OK(put_key(x.client, 0, NULL));
}

TEST(live_sessions_are_listed)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct counter *live;
    size_t n;
    T_OK(put_key(x.client, 0, NULL));
    T_OK(client_sessions(x.client, &a, &live, &n));
    assert_int_equal(n, 1);
    assert_int_equal(live[0].value, client_session(x.client));
}

/* --- cancels and deadlines --- */

TEST(a_cancelled_write_stays_outstanding_until_it_is_answered)
{
    struct putter p;
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, HOLD, 0);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 2);
    client_cancel_fire(&p.cancel);
    T_ERR(ERR_CANCELED, putter_join(&p));

    T_OK(put_key(x.client, 0, NULL));
    struct fake_seen s = fake_seen(x.fake, MSG_txn, 2);
    assert_int_equal(s.seq, 3);
    assert_int_equal(s.acked_below, 2); /* not past the cancelled one */

    fake_release(x.fake);
    for (;;) { /* the background hears the answer; then acked_below goes on */
        T_OK(put_key(x.client, 0, NULL));
        s = fake_seen(x.fake, MSG_txn, fake_count(x.fake, MSG_txn) - 1);
        if (s.acked_below == s.seq)
            break;
    }
    /* On the connection on which it was sent, not by sending it again. */
    assert_int_equal(fake_count(x.fake, MSG_txn), s.seq);
}

TEST(a_cancelled_write_whose_connection_breaks_is_sent_again_in_the_background)
{
    struct putter p;
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, HOLD, 0);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 2);
    client_cancel_fire(&p.cancel);
    T_ERR(ERR_CANCELED, putter_join(&p));
    fake_restart(x.fake, 1);
    T_EVENTUALLY(fake_executed(x.fake) == 2);
    assert_int_equal(fake_seen(x.fake, MSG_txn, 2).seq, 2);
}

TEST(a_cancel_that_was_fired_before_ends_the_wait_at_once)
{
    struct client_cancel cancel;
    T_OK(client_cancel_init(&cancel));
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, HOLD, 0);
    client_cancel_fire(&cancel);
    T_ERR(ERR_CANCELED, get_key(x.client, 0, &cancel));
    client_cancel_reset(&cancel);
    T_OK(get_key(x.client, 0, &cancel));
    client_cancel_finish(&cancel);
}

TEST(the_first_write_can_be_cancelled_while_nobody_answers)
{
    struct putter p;
    fake_hang(x.fake, 1, true);
    putter_start(&p, x.client, 0);
    client_cancel_fire(&p.cancel);
    T_ERR(ERR_CANCELED, putter_join(&p));
    fake_hang(x.fake, 1, false);
    T_OK(put_key(x.client, 0, NULL));
}

TEST(a_deadline_ends_a_write_and_does_not_blame_the_leader)
{
    T_OK(put_key(x.client, 0, NULL));
    unsigned conns = fake_accepted(x.fake, 1);
    fake_script(x.fake, 1, HOLD, 0);
    T_ERR(ERR_TIMEOUT, put_key(x.client, 500, NULL)); /* long enough to send it on any machine */
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 2);
    fake_release(x.fake);
    T_EVENTUALLY(fake_executed(x.fake) == 2);
    assert_int_equal(retries(x.client), 0);
    T_OK(put_key(x.client, 0, NULL));
    assert_in_range(fake_accepted(x.fake, 1), conns, conns + 1);
}

TEST(a_deadline_ends_the_first_write_while_nobody_answers)
{
    fake_hang(x.fake, 1, true);
    T_ERR(ERR_TIMEOUT, put_key(x.client, 20, NULL));
    fake_hang(x.fake, 1, false);
    T_OK(put_key(x.client, 0, NULL));
}

TEST(a_write_that_was_never_sent_leaves_its_place)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_stop(x.fake, 1);
    for (unsigned i = 0; i < SESSION_WINDOW + 5; i++)
        T_ERR(ERR_TIMEOUT, put_key(x.client, 1, NULL));
}

TEST(a_client_can_be_destroyed_with_cancelled_writes_and_idle_connections)
{
    struct putter p;
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, HOLD, 0);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == 2);
    client_cancel_fire(&p.cancel);
    T_ERR(ERR_CANCELED, putter_join(&p));
    client_destroy(TAKE(x.client));
    T_EVENTUALLY(fake_conns(x.fake, 1) == 0);
}

#define S(fn) cmocka_unit_test_setup_teardown(fn, one_node, tear_down)
T_MAIN(S(the_first_write_opens_it_and_destroy_closes_it), S(threads_that_write_first_share_one),
       S(an_expired_session_is_told_once_and_writes_fail_until_there_is_a_new_one),
       S(a_new_session_while_one_lives_is_the_same), S(no_session_said_to_a_read_loses_nothing),
       S(a_late_no_session_of_an_old_session_does_not_end_the_new_one), S(live_sessions_are_listed),
       S(a_cancelled_write_stays_outstanding_until_it_is_answered),
       S(a_cancelled_write_whose_connection_breaks_is_sent_again_in_the_background),
       S(a_cancel_that_was_fired_before_ends_the_wait_at_once),
       S(the_first_write_can_be_cancelled_while_nobody_answers),
       S(a_deadline_ends_a_write_and_does_not_blame_the_leader),
       S(a_deadline_ends_the_first_write_while_nobody_answers),
       S(a_write_that_was_never_sent_leaves_its_place),
       S(a_client_can_be_destroyed_with_cancelled_writes_and_idle_connections))
