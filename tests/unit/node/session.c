/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: opened, kept alive, expired by the leader, fenced. */
#include "tests/unit/node/cluster.h"

#define TIMEOUT_TICKS (SESSION_TIMEOUT_MS / TICK_MS)

static struct cluster *start(unsigned n, struct test_client **ret)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n});
    EVENTUALLY(c, cluster_leader(c) != 0);
    *ret = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    return c;
}

static unsigned keepalive(struct test_client *k, struct cluster *c, uint64_t client)
{
    struct msg_keepalive m = {client};
    return frame_status(c, client_wait(k, CLIENT_ASK(k, keepalive, &m)), NULL);
}

static uint32_t live(struct test_client *k, struct cluster *c)
{
    struct msg_session_list m = {0};
    struct msg_session_reply reply;
    T_OK(
        dec_session_reply(client_wait(k, CLIENT_ASK(k, session_list, &m)).body, &c->arena, &reply));
    return reply.n_live;
}

TEST(a_silent_session_expires_and_is_fenced)
{
    struct test_client *k;
    struct cluster *c = start(1, &k);
    uint64_t me = client_open_session(k);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    assert_int_equal(live(k, c), 1);
    cluster_run(c, TIMEOUT_TICKS + 200);
    assert_int_equal(live(k, c), 0);
    assert_int_equal(client_put(k, me, 2, "a", "y"), ERR_NO_SESSION);
    assert_int_equal(keepalive(k, c, me), ERR_NO_SESSION);
    cluster_destroy(c);
}

TEST(a_session_that_is_heard_lives)
{
    struct test_client *k;
    struct cluster *c = start(1, &k);
    uint64_t me = client_open_session(k);
    for (unsigned i = 0; i < 20; i++) {
        cluster_run(c, SESSION_KEEPALIVE_MS / TICK_MS);
        assert_int_equal(keepalive(k, c, me), 0);
    }
    assert_int_equal(client_put(k, me, 1, "a", "y"), 0);
    cluster_destroy(c);
}

TEST(a_new_leader_gives_everybody_a_fresh_time_out)
{
    struct test_client *k;
    struct cluster *c = start(3, &k);
    uint64_t me = client_open_session(k);
    cluster_run(c, TIMEOUT_TICKS - 200);
    cluster_kill(c, cluster_leader(c));
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, TIMEOUT_TICKS - 200);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(keepalive(k, c, me), 0);
    cluster_destroy(c);
}

TEST(a_closed_session_is_gone)
{
    struct test_client *k;
    struct cluster *c = start(1, &k);
    uint64_t me = client_open_session(k), other = client_open_session(k);
    struct msg_session_close m = {me};
    struct msg_session_reply reply;
    assert_true(me != other);
    T_OK(dec_session_reply(client_wait(k, CLIENT_ASK(k, session_close, &m)).body, &c->arena,
                           &reply));
    assert_int_equal(reply.status, 0);
    assert_int_equal(keepalive(k, c, me), ERR_NO_SESSION);
    assert_int_equal(keepalive(k, c, other), 0);
    cluster_destroy(c);
}

T_MAIN(T(a_silent_session_expires_and_is_fenced), T(a_session_that_is_heard_lives),
       T(a_new_leader_gives_everybody_a_fresh_time_out), T(a_closed_session_is_gone))
