/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeats of many groups in one frame per pair and interval (beat.h). */
#include "tests/unit/node/cluster.h"

#define GROUPS 8

static void make(struct cluster *c, unsigned gid)
{
    struct group_member members[] = {{1}, {2}, {3}};
    struct msg_group_create m = {gid, 3, members};
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
    assert_int_equal(frame_status(c, client_wait(k, CLIENT_ASK(k, group_create, &m)), NULL), 0);
    client_hang_up(k);
}

static bool led(struct cluster *c, unsigned gid)
{
    struct raft_status s;
    for (unsigned id = 1; id <= c->n; id++)
        if (c->nodes[id - 1].node && node_group_status(c->nodes[id - 1].node, gid, &s) && s.leading)
            return true;
    return false;
}

static void all_led(struct cluster *c)
{
    for (unsigned gid = 0; gid <= GROUPS; gid++)
        EVENTUALLY(c, led(c, gid));
}

/* Three nodes; eight groups and group 0 on each, all led, nothing to do. */
static struct cluster *idle(void)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    EVENTUALLY(c, cluster_leader(c) != 0);
    for (unsigned gid = 1; gid <= GROUPS; gid++)
        make(c, gid);
    all_led(c);
    cluster_run(c, 200);
    return c;
}

static uint64_t counter(struct cluster *c, unsigned id, const char *name)
{
    struct msg_node_status m = {0};
    struct msg_node_status_reply r;
    struct test_client *k = client_connect(c, id, ROLE_CLIENT, false);
    T_OK(dec_node_status_reply(client_wait(k, CLIENT_ASK(k, node_status, &m)).body, &c->arena, &r));
    client_hang_up(k);
    for (uint32_t i = 0; i < r.n_counters; i++)
        if (bytes_eq(r.counters[i].name, bytes_str(name)))
            return r.counters[i].value;
    fail_msg("no counter %s", name);
    return 0;
}

/* All frames of raft that the node has sent, heartbeats apart. */
static uint64_t others(struct cluster *c, unsigned id)
{
    return counter(c, id, "sent_append") + counter(c, id, "sent_append_resp") +
           counter(c, id, "sent_prevote") + counter(c, id, "sent_prevote_resp") +
           counter(c, id, "sent_vote") + counter(c, id, "sent_vote_resp");
}

TEST(an_idle_node_sends_one_frame_to_each_other_one_an_interval_for_all_groups)
{
    struct cluster *c = idle();
    uint64_t beats[4], rest[4];
    for (unsigned id = 1; id <= 3; id++) {
        beats[id] = counter(c, id, "beats_sent");
        rest[id] = others(c, id);
    }
    cluster_run(c, 100 * HEARTBEAT_TICKS);
    for (unsigned id = 1; id <= 3; id++) {
        assert_in_range(counter(c, id, "beats_sent") - beats[id], 198, 210);
        assert_int_equal(others(c, id), rest[id]);
    }
    all_led(c);
    cluster_destroy(c);
}

TEST(two_nodes_of_three_go_on_with_one_frame_an_interval)
{
    struct cluster *c = idle();
    cluster_kill(c, 2);
    all_led(c);
    cluster_run(c, 200);
    uint64_t beats = counter(c, 1, "beats_sent"), rest = others(c, 1);
    cluster_run(c, 100 * HEARTBEAT_TICKS);
    assert_in_range(counter(c, 1, "beats_sent") - beats, 98, 108);
    assert_int_equal(others(c, 1), rest);
    cluster_destroy(c);
}

/* Each answer comes a heartbeat late, and the leader must not take its followers for lost. */
TEST(nobody_is_elected_while_all_are_well)
{
    struct cluster *c = idle();
    struct raft_status before[GROUPS + 1], after;
    for (unsigned gid = 0; gid <= GROUPS; gid++)
        assert_true(node_group_status(c->nodes[0].node, gid, &before[gid]));
    cluster_run(c, 2000);
    for (unsigned gid = 0; gid <= GROUPS; gid++) {
        assert_true(node_group_status(c->nodes[0].node, gid, &after));
        assert_int_equal(after.term, before[gid].term);
    }
    cluster_destroy(c);
}

TEST(a_read_does_not_wait_for_the_next_heartbeat)
{
    struct cluster *c = idle();
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    for (unsigned i = 0; i < 2 * HEARTBEAT_TICKS; i++) {
        struct kv_read read = {.op = KV_GET, .key = test_key(c, "k")};
        struct msg_txn m = {.n_reads = 1, .reads = &read};
        uint64_t id = CLIENT_ASK(k, txn, &m);
        cluster_run(c, 1);
        assert_true(client_has(k, id));
    }
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(every_group_gets_a_leader_when_a_node_dies)
{
    struct cluster *c = idle();
    cluster_kill(c, cluster_leader(c));
    all_led(c);
    cluster_destroy(c);
}

T_MAIN(T(an_idle_node_sends_one_frame_to_each_other_one_an_interval_for_all_groups),
       T(two_nodes_of_three_go_on_with_one_frame_an_interval),
       T(nobody_is_elected_while_all_are_well), T(a_read_does_not_wait_for_the_next_heartbeat),
       T(every_group_gets_a_leader_when_a_node_dies))
