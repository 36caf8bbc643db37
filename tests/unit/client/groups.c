/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that lie in several groups, each with a leader of its own, and move between them. */
#include "tests/unit/client/fixture.h"

static struct fixture x;

/* n1 leads group 0, n2 group 1, n3 group 2; shard 3, that of a_key, lies in group 2. */
static int three_groups(void **state UNUSED)
{
    struct fake *f = fake_create(3);
    fake_lead_group(f, 1, 2);
    fake_lead_group(f, 2, 3);
    fake_own(f, 3, 2);
    fixture_init(&x, f);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

static int put_in(unsigned shard)
{
    struct txn t CLEANUP(txn_finish) = {0};
    uint8_t key[3] = {0, (uint8_t)shard, 'k'};
    txn_put(&t, bytes_of(key, sizeof(key)), bytes_str("value"));
    return txn_run(x.client, &t, 0, NULL);
}

static unsigned last_at(void)
{
    return fake_seen(x.fake, MSG_txn, fake_count(x.fake, MSG_txn) - 1).node;
}

TEST(a_shard_is_asked_of_its_groups_leader_from_the_second_time_on)
{
    T_OK(put_in(3));
    assert_int_equal(last_at(), 3);
    unsigned before = fake_count(x.fake, MSG_txn);
    T_OK(put_in(3));
    assert_int_equal(last_at(), 3);
    assert_int_equal(fake_count(x.fake, MSG_txn), before + 1);
}

TEST(nobody_is_asked_where_a_shard_lies_as_long_as_requests_are_answered)
{
    T_OK(put_in(3));
    T_OK(put_in(5));
    assert_int_equal(fake_count(x.fake, MSG_locate), 0);
}

TEST(each_shard_goes_to_its_own_leader)
{
    T_OK(put_in(3));
    T_OK(put_in(5));
    unsigned before = fake_count(x.fake, MSG_txn);
    T_OK(put_in(3));
    assert_int_equal(last_at(), 3);
    T_OK(put_in(5));
    assert_int_equal(last_at(), 1);
    assert_int_equal(fake_count(x.fake, MSG_txn), before + 2);
}

TEST(a_new_leader_of_one_group_says_nothing_about_the_others)
{
    T_OK(put_in(3));
    T_OK(put_in(5));
    fake_lead_group(x.fake, 2, 2);
    T_OK(put_in(3));
    assert_int_equal(last_at(), 2);
    unsigned before = fake_count(x.fake, MSG_txn);
    T_OK(put_in(5));
    assert_int_equal(last_at(), 1);
    assert_int_equal(fake_count(x.fake, MSG_txn), before + 1);
}

TEST(sessions_are_group_0s_wherever_the_first_write_goes)
{
    T_OK(put_in(3));
    unsigned n = fake_count(x.fake, MSG_session_open);
    assert_int_equal(fake_seen(x.fake, MSG_session_open, n - 1).node, 1);
    assert_int_equal(last_at(), 3);
}

TEST(a_request_for_a_shard_on_its_way_is_repeated_under_its_name_until_it_has_arrived)
{
    struct putter p;
    T_OK(put_in(3));
    unsigned first = fake_count(x.fake, MSG_txn), executed = fake_executed(x.fake);
    fake_freeze(x.fake, 3, 1);
    putter_start(&p, x.client, 0);
    T_EVENTUALLY(fake_count(x.fake, MSG_txn) >= first + 3);
    fake_own(x.fake, 3, 1);
    T_OK(putter_join(&p));
    assert_int_equal(last_at(), 2);
    assert_int_equal(fake_executed(x.fake), executed + 1);
    for (unsigned i = first + 1; i < fake_count(x.fake, MSG_txn); i++)
        assert_int_equal(fake_seen(x.fake, MSG_txn, i).seq, fake_seen(x.fake, MSG_txn, first).seq);
}

TEST(where_a_shard_goes_is_asked_of_others_if_the_node_that_refused_it_does_not_know)
{
    struct putter p;
    T_OK(put_in(3));
    fake_lag(x.fake, 3);
    fake_freeze(x.fake, 3, 1);
    fake_script(x.fake, 2, EXECUTE_HANG_UP, 0); /* at the next owner it has arrived */
    putter_start(&p, x.client, 2000);
    T_EVENTUALLY(fake_executed(x.fake) == 2);
    fake_own(x.fake, 3, 1);
    T_OK(putter_join(&p));
}

TEST(a_shard_that_never_arrives_is_a_time_out)
{
    T_OK(put_in(3));
    fake_freeze(x.fake, 3, 1);
    T_ERR(ERR_TIMEOUT, put_key(x.client, 300, NULL));
}

TEST(a_group_whose_leader_hangs_is_asked_for_at_the_others)
{
    struct putter p;
    T_OK(put_in(3));
    T_OK(put_in(5));
    fake_hang(x.fake, 3, true);
    putter_start(&p, x.client, 0);
    fake_lead_group(x.fake, 2, 2);
    T_OK(putter_join(&p));
    assert_int_equal(last_at(), 2);
    T_OK(put_in(5));
    assert_int_equal(last_at(), 1);
    fake_hang(x.fake, 3, false);
}

#define S(fn) cmocka_unit_test_setup_teardown(fn, three_groups, tear_down)
T_MAIN(S(a_shard_is_asked_of_its_groups_leader_from_the_second_time_on),
       S(nobody_is_asked_where_a_shard_lies_as_long_as_requests_are_answered),
       S(each_shard_goes_to_its_own_leader),
       S(a_new_leader_of_one_group_says_nothing_about_the_others),
       S(sessions_are_group_0s_wherever_the_first_write_goes),
       S(a_request_for_a_shard_on_its_way_is_repeated_under_its_name_until_it_has_arrived),
       S(where_a_shard_goes_is_asked_of_others_if_the_node_that_refused_it_does_not_know),
       S(a_shard_that_never_arrives_is_a_time_out),
       S(a_group_whose_leader_hangs_is_asked_for_at_the_others))
