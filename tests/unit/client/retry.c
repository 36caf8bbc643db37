/* SPDX-License-Identifier: Apache-2.0 */
/* One request until it is answered: targets, retries, back-off, exactly once. */
#include "tests/unit/client/fixture.h"

static struct fixture x;

static int one_node(void **state UNUSED)
{
    fixture_init(&x, fake_create(1));
    return 0;
}

static int three_nodes(void **state UNUSED)
{
    fixture_init(&x, fake_create(3));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

TEST(a_put_is_answered)
{
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 1);
    struct fake_seen s = fake_seen(x.fake, MSG_txn, 0);
    assert_int_equal(s.client, client_session(x.client));
    assert_int_equal(s.seq, 1);
    assert_int_equal(s.acked_below, 1);
}

TEST(a_read_has_no_name_and_opens_no_session)
{
    struct txn t CLEANUP(txn_finish) = {0};
    (void)txn_get(&t, a_key());
    T_OK(txn_run(x.client, &t, 0, NULL));
    assert_int_equal(t.reply.n_reads, 1);
    assert_true(bytes_eq(t.reply.reads[0].value, bytes_str("value")));
    assert_int_equal(fake_seen(x.fake, MSG_txn, 0).client, 0);
    assert_int_equal(fake_count(x.fake, MSG_session_open), 0);
    assert_int_equal(client_session(x.client), 0);
}

TEST(a_failed_compare_is_a_result)
{
    struct txn t CLEANUP(txn_finish) = {0};
    (void)txn_absent(&t, a_key());
    txn_put(&t, a_key(), bytes_str("v"));
    T_ERR(ERR_FAILED, txn_run(x.client, &t, 0, NULL));
    assert_int_equal(t.reply.failed, 0);
}

TEST(a_transaction_can_be_run_again_and_gets_a_new_name)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_put(&t, a_key(), bytes_str("v"));
    T_OK(txn_run(x.client, &t, 0, NULL));
    T_OK(txn_run(x.client, &t, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
}

TEST(several_started_at_once_are_all_answered)
{
    struct txn t[8] = {0};
    for (unsigned i = 0; i < 8; i++) {
        txn_put(&t[i], a_key(), bytes_str("v"));
        T_OK(txn_start(x.client, &t[i]));
    }
    for (unsigned i = 8; i-- > 0;) {
        T_OK(txn_wait(x.client, &t[i], 0, NULL));
        txn_finish(&t[i]);
    }
    assert_int_equal(fake_executed(x.fake), 8);
}

/* --- who is asked --- */

TEST(a_hint_is_followed_at_once)
{
    fake_lead(x.fake, 2);
    fake_script(x.fake, 1, NOT_LEADER, 2);
    fake_script(x.fake, 3, NOT_LEADER, 2);
    T_OK(get_key(x.client, 0, NULL));
    assert_true(fake_count(x.fake, 0) <= 2);
    assert_int_equal(fake_seen(x.fake, 0, fake_count(x.fake, 0) - 1).node, 2);
}

TEST(without_a_hint_all_are_tried)
{
    fake_lead(x.fake, 0);
    for (uint32_t node = 1; node <= 3; node++)
        fake_script(x.fake, node, NOT_LEADER, 0);
    for (uint32_t node = 1; node <= 3; node++)
        fake_script(x.fake, node, ANSWER, 0);
    fake_lead(x.fake, 3);
    T_OK(get_key(x.client, 0, NULL));
    bool seen[4] = {0};
    for (unsigned i = 0; i < 3; i++)
        seen[fake_seen(x.fake, 0, i).node] = true;
    assert_true(seen[1] && seen[2] && seen[3]);
}

TEST(hints_that_lead_in_a_circle_are_left)
{
    fake_lead(x.fake, 3);
    for (unsigned i = 0; i < 4; i++) {
        fake_script(x.fake, 1, NOT_LEADER, 2);
        fake_script(x.fake, 2, NOT_LEADER, 1);
    }
    T_OK(get_key(x.client, 0, NULL));
}

TEST(a_hint_to_a_stranger_or_to_the_asked_is_no_hint)
{
    fake_lead(x.fake, 3);
    fake_script(x.fake, 1, NOT_LEADER, 99);
    fake_script(x.fake, 2, NOT_LEADER, 2);
    fake_script(x.fake, 3, NOT_LEADER, 3);
    T_OK(get_key(x.client, 0, NULL));
}

TEST(the_leader_is_remembered)
{
    fake_lead(x.fake, 3);
    T_OK(get_key(x.client, 0, NULL));
    unsigned n = fake_count(x.fake, 0);
    for (unsigned i = 0; i < 5; i++)
        T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, 0), n + 5);
    assert_int_equal(fake_seen(x.fake, 0, n).node, 3);
}

TEST(a_node_that_does_not_listen_is_passed_over)
{
    fake_stop(x.fake, 1);
    fake_stop(x.fake, 2);
    fake_lead(x.fake, 3);
    T_OK(put_key(x.client, 0, NULL));
}

/* --- exactly once --- */

TEST(after_a_lost_connection_the_same_request_is_sent_under_its_name)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, HANG_UP, 0);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
    struct fake_seen first = fake_seen(x.fake, MSG_txn, 1), second = fake_seen(x.fake, MSG_txn, 2);
    assert_int_equal(first.seq, 2);
    assert_int_equal(second.seq, 2);
    assert_int_equal(first.client, second.client);
    assert_int_equal(first.acked_below, second.acked_below); /* bytes: see fake_destroy */
}

TEST(an_answer_that_was_lost_is_heard_the_second_time)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, EXECUTE_HANG_UP, 0);
    fake_script(x.fake, 1, HALF_ANSWER, 0);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
    assert_int_equal(fake_count(x.fake, MSG_txn), 4);
}

TEST(a_new_leader_is_asked_under_the_same_name)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, EXECUTE_HANG_UP, 0);
    fake_script(x.fake, 1, HANG_UP, 0);
    fake_script(x.fake, 1, NOT_LEADER, 2);
    struct putter p;
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_executed(x.fake) == 2);
    fake_lead(x.fake, 2);
    T_OK(putter_join(&p));
    assert_int_equal(fake_executed(x.fake), 2);
}

TEST(busy_is_asked_again)
{
    T_OK(put_key(x.client, 0, NULL));
    for (unsigned i = 0; i < 3; i++)
        fake_script(x.fake, 1, i == 1 ? STATUS_REPLY : STATUS, ERR_BUSY);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, MSG_txn), 5);
    assert_int_equal(fake_executed(x.fake), 2);
}

TEST(a_refusal_is_final)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, STATUS, ERR_NO_SPACE);
    T_ERR(ERR_NO_SPACE, put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, STATUS_REPLY, ERR_STALE);
    T_ERR(ERR_STALE, put_key(x.client, 0, NULL));
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_seen(x.fake, MSG_txn, 3).acked_below, 4);
}

/* --- stale connections --- */

TEST(a_restarted_leader_is_asked_again_at_once_and_keeps_its_name)
{
    T_OK(get_key(x.client, 0, NULL));
    unsigned n = fake_count(x.fake, 0);
    uint64_t before = retries(x.client);
    fake_restart(x.fake, 1);
    T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, 0), n + 1);
    assert_int_equal(fake_seen(x.fake, 0, n).node, 1);
    assert_int_equal(retries(x.client), before + 1);
}

TEST(a_connection_that_ends_under_a_request_is_no_reason_to_ask_another_node)
{
    T_OK(get_key(x.client, 0, NULL));
    unsigned n = fake_count(x.fake, 0);
    fake_script(x.fake, 1, HANG_UP, 0);
    T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, 0), n + 2);
    assert_int_equal(fake_seen(x.fake, 0, n + 1).node, 1);
}

TEST(a_fresh_connection_that_ends_too_is_one)
{
    T_OK(get_key(x.client, 0, NULL));
    unsigned n = fake_count(x.fake, 0);
    fake_script(x.fake, 1, HANG_UP, 0);
    fake_script(x.fake, 1, HANG_UP, 0);
    T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(fake_seen(x.fake, 0, n + 1).node, 1);
    assert_int_equal(fake_seen(x.fake, 0, n + 2).node, 2);
}

TEST(one_stale_connection_tells_of_all)
{
    struct txn t[4] = {0};
    for (unsigned i = 0; i < 4; i++) { /* large, so each on a connection of its own */
        (void)txn_get_part(&t[i], a_key(), 0, KIB(64));
        T_OK(txn_start(x.client, &t[i]));
    }
    for (unsigned i = 0; i < 4; i++) {
        T_OK(txn_wait(x.client, &t[i], 0, NULL));
        txn_finish(&t[i]);
    }
    assert_int_equal(fake_conns(x.fake, 1), 4);
    fake_restart(x.fake, 1);
    for (unsigned i = 0; i < 4; i++)
        T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(retries(x.client), 1);
    assert_int_equal(fake_conns(x.fake, 1), 1);
}

TEST(a_question_to_one_node_survives_its_restart)
{
    unsigned type;
    struct buf *reply;
    uint8_t body[1] = {0};
    for (unsigned i = 0; i < 2; i++) {
        T_OK(client_ask_node(x.client, 1, MSG_node_status, bytes_of(body, 1), 5000, &type, &reply));
        assert_int_equal(type, MSG_node_status_reply);
        buf_unref(reply);
        fake_restart(x.fake, 1);
    }
}

TEST(a_question_to_a_node_that_is_down_says_which)
{
    struct errmsg msg = {0};
    unsigned type;
    struct buf *reply;
    uint8_t body[1] = {0};
    fake_stop(x.fake, 1);
    assert_true(client_ask_node_msg(x.client, 1, MSG_node_status, bytes_of(body, 1), 5000, &type,
                                    &reply, &msg) < 0);
    T_CONTAINS(msg.text, "node n1 at unix:");
    T_ERR(ERR_NOT_FOUND, client_ask_node_msg(x.client, 9, MSG_node_status, bytes_of(body, 1), 5000,
                                             &type, &reply, &msg));
    T_CONTAINS(msg.text, "n9");
}

/* --- waits --- */

TEST(a_wait_answers_with_the_new_value)
{
    struct txn t CLEANUP(txn_finish) = {0};
    T_OK(client_wait_key(x.client, &t, a_key(), 7, 10000, NULL));
    assert_int_equal(t.reply.reads[0].version, 8);
}

TEST(a_wait_whose_time_is_over_says_so_in_either_message)
{
    struct txn t CLEANUP(txn_finish) = {0};
    fake_script(x.fake, 1, STATUS, ERR_TIMEOUT);
    T_ERR(ERR_TIMEOUT, client_wait_key(x.client, &t, a_key(), 7, 10000, NULL));
    fake_script(x.fake, 1, STATUS_REPLY, ERR_TIMEOUT);
    T_ERR(ERR_TIMEOUT, client_wait_key(x.client, &t, a_key(), 7, 10000, NULL));
    assert_int_equal(fake_count(x.fake, MSG_wait), 2);
}

TEST(a_wait_ends_though_nobody_answers)
{
    struct txn t CLEANUP(txn_finish) = {0};
    fake_script(x.fake, 1, HOLD, 0);
    T_ERR(ERR_TIMEOUT, client_wait_key(x.client, &t, a_key(), 7, 1, NULL));
}

TEST(a_wait_goes_on_at_the_next_leader)
{
    struct txn t CLEANUP(txn_finish) = {0};
    fake_lead(x.fake, 2);
    for (uint32_t node = 1; node <= 3; node++)
        fake_script(x.fake, node, NOT_LEADER, 2);
    T_OK(client_wait_key(x.client, &t, a_key(), 7, 10000, NULL));
}

#define ONE(fn)   cmocka_unit_test_setup_teardown(fn, one_node, tear_down)
#define THREE(fn) cmocka_unit_test_setup_teardown(fn, three_nodes, tear_down)
T_MAIN(ONE(a_put_is_answered), ONE(a_read_has_no_name_and_opens_no_session),
       ONE(a_failed_compare_is_a_result), ONE(a_transaction_can_be_run_again_and_gets_a_new_name),
       ONE(several_started_at_once_are_all_answered), THREE(a_hint_is_followed_at_once),
       THREE(without_a_hint_all_are_tried), THREE(hints_that_lead_in_a_circle_are_left),
       THREE(a_hint_to_a_stranger_or_to_the_asked_is_no_hint), THREE(the_leader_is_remembered),
       THREE(a_node_that_does_not_listen_is_passed_over),
       ONE(after_a_lost_connection_the_same_request_is_sent_under_its_name),
       ONE(an_answer_that_was_lost_is_heard_the_second_time),
       THREE(a_new_leader_is_asked_under_the_same_name), ONE(busy_is_asked_again),
       ONE(a_refusal_is_final), THREE(a_restarted_leader_is_asked_again_at_once_and_keeps_its_name),
       THREE(a_connection_that_ends_under_a_request_is_no_reason_to_ask_another_node),
       THREE(a_fresh_connection_that_ends_too_is_one), ONE(one_stale_connection_tells_of_all),
       ONE(a_question_to_one_node_survives_its_restart),
       ONE(a_question_to_a_node_that_is_down_says_which), ONE(a_wait_answers_with_the_new_value),
       ONE(a_wait_whose_time_is_over_says_so_in_either_message),
       ONE(a_wait_ends_though_nobody_answers), THREE(a_wait_goes_on_at_the_next_leader))
