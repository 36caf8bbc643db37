/* SPDX-License-Identifier: Apache-2.0 */
/* A leader that is silent, and the probe. */
#include "tests/unit/client/fixture.h"

static struct fixture x;

static int three_nodes(void **state UNUSED)
{
    fixture_init(&x, fake_create(3));
    T_OK(put_key(x.client, 0, NULL));
    return 0;
}

static int not_asked_yet(void **state UNUSED)
{
    fixture_init(&x, fake_create(3));
    return 0;
}

static int third_joined(void **state UNUSED)
{
    fixture_init(&x, fake_create_joined(3, 2));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

TEST(a_leader_that_hangs_is_left_for_the_one_that_others_name)
{
    struct putter p;
    unsigned before = fake_count(x.fake, MSG_txn);
    fake_script(x.fake, 1, HOLD, 0);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + 1);
    fake_hang(x.fake, 1, true);
    fake_lead(x.fake, 2);
    T_OK(putter_join(&p));
    /* From there straight to the new one: no other node was bothered with the request. */
    assert_int_equal(fake_count(x.fake, MSG_txn), before + 2);
    assert_int_equal(fake_seen(x.fake, MSG_txn, before + 1).node, 2);
    assert_int_equal(fake_executed(x.fake), 2);
    fake_hang(x.fake, 1, false);
}

TEST(an_overloaded_leader_is_waited_for)
{
    struct putter p;
    unsigned before = fake_count(x.fake, MSG_txn);
    fake_script(x.fake, 1, HOLD, 0);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_locate) >= 4); /* asked, more than once: it still leads */
    fake_release(x.fake);
    T_OK(putter_join(&p));
    assert_int_equal(fake_count(x.fake, MSG_txn), before + 1);
}

TEST(what_one_thread_hears_serves_all)
{
    struct putter p[16];
    unsigned before = fake_count(x.fake, MSG_txn);
    for (unsigned i = 0; i < 16; i++)
        fake_script(x.fake, 1, HOLD, 0);
    for (unsigned i = 0; i < 16; i++)
        putter_start(&p[i], x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + 16);
    fake_hang(x.fake, 1, true);
    fake_lead(x.fake, 3);
    for (unsigned i = 0; i < 16; i++)
        T_OK(putter_join(&p[i]));
    assert_int_equal(fake_executed(x.fake), 17);
    assert_in_range(fake_count(x.fake, MSG_locate), 1, 15); /* not one for each */
    fake_hang(x.fake, 1, false);
}

TEST(hearsay_is_believed_once_only)
{
    struct putter p;
    unsigned before = fake_count(x.fake, MSG_txn);
    fake_script(x.fake, 1, HOLD, 0);
    fake_script(x.fake, 1, HOLD, 0);
    fake_script(x.fake, 2, NOT_LEADER, 1);
    fake_tell(x.fake, 2, 2); /* n2 takes itself for the leader, n3 believes it */
    fake_tell(x.fake, 3, 2);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) == before + 3); /* n1, n2, n1 */
    unsigned asked = fake_count(x.fake, MSG_locate);
    fake_release(x.fake);
    T_OK(putter_join(&p));
    assert_int_equal(fake_count(x.fake, MSG_locate), asked);
}

/* --- the probe --- */

TEST(a_probe_finds_the_leader_and_the_shards)
{
    struct errmsg msg;
    fake_lead(x.fake, 2);
    T_OK_MSG(client_probe(x.client, 5000, &msg), &msg);
    assert_int_equal(client_shards(x.client), FAKE_SHARDS);
    T_OK(get_key(x.client, 0, NULL));
    assert_int_equal(fake_seen(x.fake, 0, 0).node, 2);
}

TEST(a_probe_waits_for_the_election)
{
    struct errmsg msg;
    fake_lead(x.fake, 0);
    T_ERR(ERR_UNREACHABLE, client_probe(x.client, 500, &msg));
    T_CONTAINS(msg.text, "node n1 knows no leader; node n2 knows no leader");
    fake_lead(x.fake, 1);
    T_OK_MSG(client_probe(x.client, 5000, &msg), &msg);
}

TEST(a_failed_probe_says_why_for_each_node)
{
    struct errmsg msg;
    fake_stop(x.fake, 1);
    fake_identity(x.fake, 2, FAKE_CLUSTER, 5, HELLO_PROTOCOL);
    fake_tell(x.fake, 3, 1);
    T_ERR(ERR_UNREACHABLE, client_probe(x.client, 1000, &msg));
    T_CONTAINS(msg.text, "node n1 at unix:");
    T_CONTAINS(msg.text, "Connection refused");
    T_CONTAINS(msg.text, "n5 of cluster");
    T_CONTAINS(msg.text, "node n3 says that n1 leads");
}

TEST(what_no_waiting_cures_is_said_at_once)
{
    struct errmsg msg;
    for (uint32_t node = 1; node <= 3; node++)
        fake_identity(x.fake, node, FAKE_CLUSTER + 1, node, HELLO_PROTOCOL);
    T_ERR(ERR_WRONG_CLUSTER, client_probe(x.client, 1000000, &msg));
    for (uint32_t node = 1; node <= 3; node++)
        fake_identity(x.fake, node, FAKE_CLUSTER, node, HELLO_PROTOCOL + 1);
    T_ERR(ERR_FORMAT, client_probe(x.client, 1000000, &msg));
    T_CONTAINS(msg.text, "speaks protocol 3");
}

TEST(a_leader_that_joined_after_the_conf_was_written_is_found)
{
    T_OK(put_key(x.client, 0, NULL));
    fake_lead(x.fake, 3);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_executed(x.fake), 2);
    uint32_t ids[4];
    assert_int_equal(client_nodes(x.client, ids, 4), 3);
    assert_int_equal(ids[2], 3);
}

TEST(a_probe_goes_to_a_leader_that_is_only_told_of)
{
    struct errmsg msg;
    fake_lead(x.fake, 3);
    T_OK_MSG(client_probe(x.client, 2000, &msg), &msg);
}

#define JOINED(fn) cmocka_unit_test_setup_teardown(fn, third_joined, tear_down)
#define S(fn)      cmocka_unit_test_setup_teardown(fn, three_nodes, tear_down)
#define FRESH(fn)  cmocka_unit_test_setup_teardown(fn, not_asked_yet, tear_down)
T_MAIN(S(a_leader_that_hangs_is_left_for_the_one_that_others_name),
       S(an_overloaded_leader_is_waited_for), S(what_one_thread_hears_serves_all),
       S(hearsay_is_believed_once_only), FRESH(a_probe_finds_the_leader_and_the_shards),
       FRESH(a_probe_waits_for_the_election), FRESH(a_failed_probe_says_why_for_each_node),
       FRESH(what_no_waiting_cures_is_said_at_once),
       JOINED(a_leader_that_joined_after_the_conf_was_written_is_found),
       JOINED(a_probe_goes_to_a_leader_that_is_only_told_of))
