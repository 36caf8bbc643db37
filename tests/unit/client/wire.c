/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: hellos, TLS, and nodes that answer nonsense. */
#include "tests/unit/client/fixture.h"

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
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

static void survive(enum fake_step step)
{
    unsigned accepted = fake_accepted(x.fake, 1);
    fake_script(x.fake, 1, step, 0);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
    assert_int_equal(fake_count(x.fake, MSG_txn), 3);
    assert_int_equal(fake_accepted(x.fake, 1),
                     accepted + 1); /* that connection is not used again */
}

TEST(bytes_that_are_no_frame_end_the_connection_not_the_request)
{
    survive(WRONG_MAGIC);
}

TEST(a_damaged_answer_ends_the_connection_not_the_request)
{
    survive(WRONG_CRC);
}

TEST(an_answer_of_another_type_ends_the_connection_not_the_request)
{
    survive(WRONG_TYPE);
}

TEST(an_answer_to_somebody_else_is_passed_over)
{
    fake_script(x.fake, 1, OTHER_ID_FIRST, 0);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, MSG_txn), 2);
}

TEST(a_reply_that_does_not_decode_is_an_error)
{
    fake_script(x.fake, 1, WRONG_BODY, 0);
    T_ERR(ERR_INVALID, put_key(x.client, 0, NULL));
    T_OK(put_key(x.client, 0, NULL));
}

TEST(a_reply_without_the_reads_that_were_asked_for_is_an_error)
{
    fake_script(x.fake, 1, STATUS_REPLY, 0);
    T_ERR(ERR_INVALID, get_key(x.client, 0, NULL));
}

TEST(a_status_is_no_result)
{
    fake_script(x.fake, 1, STATUS, 0);
    T_ERR(ERR_INVALID, put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, STATUS, ERR_FAILED);
    T_ERR(ERR_INVALID, put_key(x.client, 0, NULL));
}

TEST(a_node_of_another_name_is_not_talked_to)
{
    struct errmsg msg;
    fake_restart(x.fake, 1);
    fake_identity(x.fake, 1, FAKE_CLUSTER, 2, HELLO_PROTOCOL);
    T_ERR(ERR_TIMEOUT, get_key(x.client, 50, NULL));
    T_ERR(ERR_WRONG_CLUSTER, client_probe(x.client, 50, &msg));
    T_CONTAINS(msg.text, "node n2 of cluster");
    fake_identity(x.fake, 1, FAKE_CLUSTER + 1, 1, HELLO_PROTOCOL);
    T_ERR(ERR_WRONG_CLUSTER, client_probe(x.client, 50, &msg));
    fake_identity(x.fake, 1, FAKE_CLUSTER, 1, HELLO_PROTOCOL);
    T_OK(get_key(x.client, 0, NULL));
}

TEST(large_values_arrive)
{
    struct txn t CLEANUP(txn_finish) = {0};
    uint8_t *value = g_malloc0(VALUE_MAX);
    txn_put(&t, a_key(), bytes_of(value, VALUE_MAX));
    unsigned before = fake_executed(x.fake);
    T_OK(txn_run(x.client, &t, 0, NULL));
    assert_int_equal(fake_executed(x.fake), before + 1);
    g_free(value);
}

/* --- TLS --- */

TEST(over_tls_a_put_is_answered_and_the_connection_used_again)
{
    T_OK(put_key(x.client, 0, NULL));
    T_OK(put_key(x.client, 0, NULL));
    T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
    assert_int_equal(fake_accepted(x.fake, 1), 1);
}

TEST(over_tls_lost_answers_and_restarts_are_survived)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_script(x.fake, 1, EXECUTE_HANG_UP, 0);
    fake_script(x.fake, 1, HALF_ANSWER, 0);
    T_OK(put_key(x.client, 0, NULL));
    fake_restart(x.fake, 1);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 3);
}

TEST(over_tls_large_values_arrive)
{
    large_values_arrive(state);
}

TEST(a_client_of_another_ca_is_told_so)
{
    struct fake *other = fake_create_tls(1);
    struct client *c;
    struct errmsg msg;
    /* The other cluster's CA and certificate, this one's address. */
    char *ours, *theirs;
    assert_true(g_file_get_contents(fake_conf(x.fake), &ours, NULL, NULL));
    assert_true(g_file_get_contents(fake_conf(other), &theirs, NULL, NULL));
    *strstr(theirs, "peer ") = '\0';
    char *both = g_strconcat(theirs, strstr(ours, "peer "), NULL);
    const char *path = t_path(t_tmpdir(), "c.conf");
    t_write_file(path, both, strlen(both));
    struct client_options o = {.conf = path};
    T_OK_MSG(client_create(&o, &c, &msg), &msg);
    T_ERR(ERR_TLS, client_probe(c, 60000, &msg));
    T_CONTAINS(msg.text, "node n1 at 127.0.0.1:");
    T_CONTAINS(msg.text, "TLS");
    T_CONTAINS(msg.text, "certificate");
    client_destroy(c);
    g_free(both);
    g_free(ours);
    g_free(theirs);
    fake_destroy(other);
}

#define S(fn)   cmocka_unit_test_setup_teardown(fn, one_node, tear_down)
#define TLS(fn) cmocka_unit_test_setup_teardown(fn, one_node_tls, tear_down)
T_MAIN(S(bytes_that_are_no_frame_end_the_connection_not_the_request),
       S(a_damaged_answer_ends_the_connection_not_the_request),
       S(an_answer_of_another_type_ends_the_connection_not_the_request),
       S(an_answer_to_somebody_else_is_passed_over), S(a_reply_that_does_not_decode_is_an_error),
       S(a_reply_without_the_reads_that_were_asked_for_is_an_error), S(a_status_is_no_result),
       S(a_node_of_another_name_is_not_talked_to), S(large_values_arrive),
       TLS(over_tls_a_put_is_answered_and_the_connection_used_again),
       TLS(over_tls_lost_answers_and_restarts_are_survived), TLS(over_tls_large_values_arrive),
       TLS(a_client_of_another_ca_is_told_so))
