/* SPDX-License-Identifier: Apache-2.0 */
/* WAIT: parked until a key changes. */
#include "tests/unit/node/cluster.h"

static struct cluster *start(unsigned n, struct test_client **ret, uint64_t *ret_me)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n});
    EVENTUALLY(c, cluster_leader(c) != 0);
    *ret = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    *ret_me = client_open_session(*ret);
    return c;
}

static uint64_t ask_wait(struct test_client *k, struct cluster *c, const char *key,
                         uint64_t version, uint32_t ms)
{
    struct msg_wait m = {.key = test_key(c, key), .version = version, .timeout_ms = ms};
    return CLIENT_ASK(k, wait, &m);
}

TEST(a_wait_answers_at_once_when_the_version_differs)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    struct msg_txn_reply reply;
    struct frame f = client_wait(k, ask_wait(k, c, "a", 0, 100000));
    assert_int_equal(frame_status(c, f, &reply), 0);
    assert_true(bytes_eq(reply.reads[0].value, bytes_str("x")));
    cluster_destroy(c);
}

TEST(a_wait_answers_when_the_key_changes)
{
    struct test_client *k;
    uint64_t me, version;
    struct cluster *c = start(3, &k, &me);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    assert_int_equal(client_get(k, "a", NULL, &version), 0);
    uint64_t id = ask_wait(k, c, "a", version, 100000);
    assert_int_equal(client_put(k, me, 2, "other", "y"), 0);
    cluster_run(c, 50);
    assert_false(client_has(k, id));
    assert_int_equal(client_put(k, me, 3, "a", "z"), 0);
    struct msg_txn_reply reply;
    assert_int_equal(frame_status(c, client_wait(k, id), &reply), 0);
    assert_true(bytes_eq(reply.reads[0].value, bytes_str("z")));
    assert_true(reply.reads[0].version > version);
    cluster_destroy(c);
}

TEST(a_wait_for_an_absent_key_answers_when_it_appears)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    uint64_t one = ask_wait(k, c, "new", 0, 100000), two = ask_wait(k, c, "new", 0, 100000);
    cluster_run(c, 10);
    assert_false(client_has(k, one) || client_has(k, two));
    assert_int_equal(client_put(k, me, 1, "new", "z"), 0);
    assert_int_equal(frame_status(c, client_wait(k, one), NULL), 0);
    assert_int_equal(frame_status(c, client_wait(k, two), NULL), 0);
    cluster_destroy(c);
}

TEST(a_wait_times_out)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    uint64_t from = c->now;
    uint64_t id = ask_wait(k, c, "a", 0, 1000);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_TIMEOUT);
    assert_in_range(c->now - from, 1000 / TICK_MS, 1000 / TICK_MS + 5);
    cluster_destroy(c);
}

TEST(a_wait_ends_with_the_leadership)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    uint64_t id = ask_wait(k, c, "a", 0, 10000000);
    cluster_run(c, 10);
    cluster_cut_off(c, cluster_leader(c), true);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    cluster_destroy(c);
}

T_MAIN(T(a_wait_answers_at_once_when_the_version_differs), T(a_wait_answers_when_the_key_changes),
       T(a_wait_for_an_absent_key_answers_when_it_appears), T(a_wait_times_out),
       T(a_wait_ends_with_the_leadership))
