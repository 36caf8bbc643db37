/* SPDX-License-Identifier: Apache-2.0 */
/* Reads where any node will do (read-from any). */
#include "cluster/client/impl.h"
#include "tests/unit/client/fixture.h"

static struct fixture x;

static int three_nodes(void **state UNUSED)
{
    fixture_init_any(&x, fake_create(3));
    T_OK(put_key(x.client, 0, NULL));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    fixture_finish(&x);
    return 0;
}

static unsigned reads_at(uint32_t node)
{
    unsigned n = 0;
    for (unsigned i = 0, all = fake_count(x.fake, MSG_txn); i < all; i++) {
        struct fake_seen s = fake_seen(x.fake, MSG_txn, i);
        n += s.node == node && s.client == 0;
    }
    return n;
}

static void get(unsigned n)
{
    while (n-- > 0)
        T_OK(get_key(x.client, 0, NULL));
}

TEST(each_node_gets_a_read_in_the_beginning)
{
    get(3);
    for (uint32_t node = 1; node <= 3; node++)
        assert_int_equal(reads_at(node), 1);
}

TEST(a_write_goes_to_the_leader_whoever_answered_reads)
{
    get(10);
    unsigned before = fake_count(x.fake, MSG_txn);
    T_OK(put_key(x.client, 0, NULL));
    assert_int_equal(fake_count(x.fake, MSG_txn), before + 1);
    assert_int_equal(fake_seen(x.fake, MSG_txn, before).node, 1);
}

TEST(a_read_that_a_node_refuses_is_the_leaders)
{
    uint64_t before = retries(x.client);
    fake_script(x.fake, 2, NOT_LEADER, 0); /* it knows no leader */
    get(3);
    assert_int_equal(reads_at(2), 1);
    assert_int_equal(retries(x.client), before + 1);
    get(20); /* it is left alone for now */
    assert_int_equal(reads_at(2), 1);
}

TEST(a_read_of_a_shard_that_has_left_the_nearest_node_is_its_leaders)
{
    fake_lead_group(x.fake, 1, 3);
    fake_own(x.fake, 3, 1);
    for (unsigned i = 1; i <= 3; i++) /* whichever is asked first has not heard of it */
        fake_script(x.fake, i, i == 3 ? ANSWER : STATUS_REPLY, ERR_WRONG_GROUP);
    get(1);
    unsigned n = fake_count(x.fake, MSG_txn);
    assert_int_equal(fake_seen(x.fake, MSG_txn, n - 1).node, 3);
}

TEST(a_read_at_a_node_that_hangs_is_the_leaders_after_a_while)
{
    fake_script(x.fake, 3, HOLD, 0);
    get(20);
    assert_int_equal(reads_at(3), 1);
    assert_true(reads_at(1) > 0);
}

TEST(a_node_that_is_down_costs_no_read)
{
    fake_stop(x.fake, 2);
    get(20);
    fake_stop(x.fake, 3);
    get(20);
    assert_int_equal(reads_at(1) + reads_at(2) + reads_at(3), 40);
}

TEST(the_node_that_answers_fastest_is_asked_and_now_and_then_another)
{
    unsigned at[3] = {0};
    for (unsigned i = 0; i < 3; i++)
        nearest_answered(x.client, i, i == 1 ? 20000 : 70000);
    for (unsigned i = 0; i < 3 * 64; i++)
        at[nearest_node(x.client)]++;
    assert_int_equal(at[0], 1);
    assert_int_equal(at[2], 1);
    for (unsigned i = 0; i < 50; i++)
        nearest_answered(x.client, 1, 90000); /* it has become busy */
    memset(at, 0, sizeof(at));
    for (unsigned i = 0; i < 3 * 64; i++)
        at[nearest_node(x.client)]++;
    assert_int_equal(at[1], 1);
}

TEST(when_no_node_is_good_the_leader_is_asked)
{
    for (unsigned i = 0; i < 3; i++)
        nearest_failed(x.client, i);
    assert_int_equal(nearest_node(x.client), -1);
    get(5);
    assert_int_equal(reads_at(1), 5);
}

#define S(fn) cmocka_unit_test_setup_teardown(fn, three_nodes, tear_down)
T_MAIN(S(each_node_gets_a_read_in_the_beginning),
       S(a_write_goes_to_the_leader_whoever_answered_reads),
       S(a_read_that_a_node_refuses_is_the_leaders),
       S(a_read_of_a_shard_that_has_left_the_nearest_node_is_its_leaders),
       S(a_read_at_a_node_that_hangs_is_the_leaders_after_a_while),
       S(a_node_that_is_down_costs_no_read),
       S(the_node_that_answers_fastest_is_asked_and_now_and_then_another),
       S(when_no_node_is_good_the_leader_is_asked))
