/* SPDX-License-Identifier: Apache-2.0 */
/* Groups besides group 0: made by a command in its log, replicas on the nodes it names (place.h).
 */
#include "tests/unit/node/cluster.h"

struct answer {
    unsigned status;
    const char *detail;
};

static struct answer status_of(struct cluster *c, struct frame f)
{
    struct msg_status m;
    assert_int_equal(f.type, MSG_status);
    T_OK(dec_status(f.body, &c->arena, &m));
    return (struct answer){
        m.status, arena_printf(&c->arena, "%.*s", (int)m.detail.n, (const char *)m.detail.p)};
}

/* "123": nodes 1, 2 and 3. */
static uint64_t ask(struct test_client *k, unsigned gid, const char *nodes)
{
    struct group_member members[16];
    struct msg_group_create m = {.gid = gid, .members = members};
    for (; *nodes; nodes++)
        members[m.n_members++].node = (uint32_t)(*nodes - '0');
    return CLIENT_ASK(k, group_create, &m);
}

static struct answer make(struct cluster *c, unsigned gid, const char *nodes)
{
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
    struct answer a = status_of(c, client_wait(k, ask(k, gid, nodes)));
    client_hang_up(k);
    return a;
}

#define MADE(c, gid, nodes)                                                                        \
    do {                                                                                           \
        struct answer a_ = make(c, gid, nodes);                                                    \
        if (a_.status != 0)                                                                        \
            fail_msg("status %u, \"%s\"", a_.status, a_.detail);                                   \
    } while (0)
#define REFUSED(a, want, text)                                                                     \
    do {                                                                                           \
        struct answer a_ = (a);                                                                    \
        assert_int_equal(a_.status, (want));                                                       \
        T_CONTAINS(a_.detail, (text));                                                             \
    } while (0)

/* Does the node have a replica of the group? */
static bool has(struct cluster *c, unsigned id, unsigned gid)
{
    struct raft_status s;
    return c->nodes[id - 1].node && node_group_status(c->nodes[id - 1].node, gid, &s);
}

/* Who leads the group and may serve; 0: nobody. */
static unsigned leader_of(struct cluster *c, unsigned gid)
{
    struct raft_status s;
    for (unsigned id = 1; id <= c->n; id++)
        if (has(c, id, gid) && node_group_status(c->nodes[id - 1].node, gid, &s) && s.leading)
            return id;
    return 0;
}

static bool all_have(struct cluster *c, unsigned gid)
{
    for (unsigned id = 1; id <= c->n; id++)
        if (!has(c, id, gid))
            return false;
    return true;
}

static struct cluster *serving(unsigned n)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n});
    EVENTUALLY(c, cluster_leader(c) != 0);
    return c;
}

/* --- making ----------------------------------------------------------------------------------- */

TEST(a_new_group_has_replicas_where_it_was_asked_for_and_a_leader)
{
    struct cluster *c = serving(4);
    MADE(c, 5, "124");
    EVENTUALLY(c, leader_of(c, 5) != 0);
    EVENTUALLY(c, has(c, 1, 5) && has(c, 2, 5) && has(c, 4, 5));
    assert_false(has(c, 3, 5));
    cluster_destroy(c);
}

TEST(leaders_of_many_groups_are_spread_over_the_nodes)
{
    struct cluster *c = serving(3);
    unsigned led[4] = {0};
    for (unsigned gid = 1; gid <= 12; gid++)
        MADE(c, gid, "123");
    for (unsigned gid = 1; gid <= 12; gid++)
        EVENTUALLY(c, leader_of(c, gid) != 0);
    for (unsigned gid = 1; gid <= 12; gid++)
        led[leader_of(c, gid)]++;
    for (unsigned id = 1; id <= 3; id++)
        assert_in_range(led[id], 3, 5);
    cluster_destroy(c);
}

TEST(a_group_of_one_node_is_led_by_it)
{
    struct cluster *c = serving(3);
    MADE(c, 9, "2");
    EVENTUALLY(c, leader_of(c, 9) == 2);
    cluster_destroy(c);
}

TEST(all_groups_come_back_after_all_nodes_were_killed)
{
    struct cluster *c = serving(3);
    for (unsigned gid = 1; gid <= 5; gid++)
        MADE(c, gid, "123");
    for (unsigned gid = 1; gid <= 5; gid++)
        EVENTUALLY(c, leader_of(c, gid) != 0);
    for (unsigned id = 1; id <= 3; id++)
        cluster_kill(c, id);
    for (unsigned id = 1; id <= 3; id++)
        cluster_start(c, id);
    for (unsigned gid = 1; gid <= 5; gid++)
        EVENTUALLY(c, leader_of(c, gid) != 0 && all_have(c, gid));
    cluster_destroy(c);
}

/* Whatever was durable by then: the entry, the row, the store, the first log record. */
TEST(a_crash_at_any_moment_of_the_making_leaves_something_to_go_on_from)
{
    for (unsigned ticks = 0; ticks <= 12; ticks++) {
        struct cluster *c = serving(3);
        unsigned at = cluster_leader(c);
        struct test_client *k = client_connect(c, at, ROLE_ADMIN, false);
        uint64_t id = ask(k, 5, "123");
        cluster_run(c, ticks);
        bool made = client_has(k, id);
        for (unsigned i = 1; i <= 3; i++)
            cluster_kill(c, i);
        for (unsigned i = 1; i <= 3; i++)
            cluster_start(c, i);
        if (!made)
            MADE(c, 5, "123");
        EVENTUALLY(c, leader_of(c, 5) != 0 && all_have(c, 5));
        cluster_destroy(c);
    }
}

/* Group 0's state store had it on the disk before the replica was made. */
TEST(a_node_that_is_alone_after_a_restart_has_its_replicas_all_the_same)
{
    struct cluster *c = serving(3);
    struct raft_status s;
    unsigned one = cluster_leader(c) % 3 + 1;
    MADE(c, 5, "123");
    EVENTUALLY(c, has(c, one, 5));
    EVENTUALLY(c, node_group_status(c->nodes[one - 1].node, 5, &s) && s.applied > 0);
    cluster_kill(c, one);
    cluster_cut_off(c, one, true);
    cluster_start(c, one);
    assert_true(has(c, one, 5));
    cluster_destroy(c);
}

TEST(a_group_is_made_when_its_entry_is_committed_and_not_before)
{
    struct cluster *c = serving(3);
    unsigned leader = cluster_leader(c);
    struct test_client *k = client_connect(c, leader, ROLE_ADMIN, false);
    cluster_cut_off(c, leader, true);
    uint64_t id = ask(k, 5, "123");
    cluster_run(c, HEARTBEAT_TICKS);
    assert_false(client_has(k, id));
    assert_false(has(c, leader, 5));
    cluster_cut_off(c, leader, false);
    assert_int_not_equal(status_of(c, client_wait(k, id)).status, ERR_INVALID);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(a_node_that_was_down_makes_its_replica_when_it_is_back)
{
    struct cluster *c = serving(3);
    unsigned down = cluster_leader(c) % 3 + 1;
    cluster_kill(c, down);
    MADE(c, 5, "123");
    EVENTUALLY(c, leader_of(c, 5) != 0);
    assert_false(has(c, down, 5));
    cluster_start(c, down);
    EVENTUALLY(c, has(c, down, 5));
    struct raft_status s;
    EVENTUALLY(c, node_group_status(c->nodes[down - 1].node, 5, &s) && s.applied > 0);
    cluster_destroy(c);
}

static void write_past_the_log(struct cluster *c)
{
    static uint8_t value[64 * 1024];
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    for (unsigned i = 1; i <= 200; i++) {
        uint64_t id = client_ask_put(k, me, i, "k", bytes_of(value, sizeof(value)));
        assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    }
    client_hang_up(k);
}

TEST(a_node_that_gets_group_0_as_a_snapshot_makes_the_replicas_it_names)
{
    struct cluster *c = cluster_create(
        &(struct cluster_options){.n = 3, .flush_log_bytes = 200000, .segment_bytes = 262144});
    EVENTUALLY(c, cluster_leader(c) != 0);
    unsigned down = cluster_leader(c) % 3 + 1;
    cluster_kill(c, down);
    MADE(c, 5, "123");
    write_past_the_log(c);
    cluster_start(c, down);
    EVENTUALLY(c, has(c, down, 5));
    T_CONTAINS(c->nodes[down - 1].log->str, "snapshot-installed");
    cluster_destroy(c);
}

/* Before that a crash would forget what it has said. */
TEST(a_new_replica_hears_and_says_nothing_before_its_first_log_record_is_durable)
{
    struct cluster *c = serving(3);
    unsigned slow = cluster_leader(c) % 3 + 1;
    struct raft_status s;
    cluster_hold_syncs(c, slow, true);
    MADE(c, 5, "123");
    /* A later append tells it that the entry is committed. */
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    client_open_session(k);
    client_hang_up(k);
    EVENTUALLY(c, leader_of(c, 5) != 0 && has(c, slow, 5));
    cluster_run(c, 100);
    assert_true(node_group_status(c->nodes[slow - 1].node, 5, &s));
    assert_int_equal(s.term, 0);
    cluster_hold_syncs(c, slow, false);
    EVENTUALLY(c, node_group_status(c->nodes[slow - 1].node, 5, &s) && s.applied > 0);
    cluster_destroy(c);
}

/* --- what is refused -------------------------------------------------------------------------- */

TEST(the_same_group_again_is_there_already)
{
    struct cluster *c = serving(3);
    MADE(c, 5, "123");
    struct answer a = make(c, 5, "321");
    assert_int_equal(a.status, 0);
    assert_string_equal(a.detail, "it is there already");
    cluster_destroy(c);
}

TEST(what_cannot_be_a_group_is_refused_with_the_reason)
{
    struct cluster *c = serving(3);
    MADE(c, 5, "123");
    REFUSED(make(c, 5, "12"), ERR_EXISTS, "gid 5 is in use: group 5 was made with n1, n2, n3");
    REFUSED(make(c, 6, "124"), ERR_NOT_FOUND, "n4 is no node of this cluster");
    REFUSED(make(c, 0, "123"), ERR_INVALID, "a gid of 1 to");
    REFUSED(make(c, 6, ""), ERR_INVALID, "1 to 9 different nodes");
    REFUSED(make(c, 6, "11"), ERR_INVALID, "different nodes");
    cluster_destroy(c);
}

TEST(a_group_that_could_not_elect_a_leader_is_refused)
{
    struct cluster *c = serving(3);
    unsigned leader = cluster_leader(c), down = leader % 3 + 1;
    cluster_kill(c, down);
    cluster_run(c, 100);
    const char *both = arena_printf(&c->arena, "%u%u", leader, down);
    REFUSED(make(c, 6, both), ERR_UNREACHABLE, arena_printf(&c->arena, "n%u of 2", down));
    cluster_destroy(c);
}

TEST(only_an_administrator_makes_groups)
{
    struct cluster *c = serving(3);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(status_of(c, client_wait(k, ask(k, 5, "123"))).status, ERR_DENIED);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(a_follower_names_the_leader_to_ask)
{
    struct cluster *c = serving(3);
    struct test_client *k = client_connect(c, cluster_leader(c) % 3 + 1, ROLE_ADMIN, false);
    assert_int_equal(status_of(c, client_wait(k, ask(k, 5, "123"))).status, ERR_NOT_LEADER);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(a_node_with_a_replica_of_another_group_is_not_removed)
{
    struct cluster *c = serving(4);
    unsigned leader = cluster_leader(c), other = leader % 4 + 1;
    MADE(c, 5, arena_printf(&c->arena, "%u", other));
    struct test_client *k = client_connect(c, leader, ROLE_ADMIN, false);
    struct msg_member_change m = {.op = MEMBER_REMOVE, .node = other};
    REFUSED(status_of(c, client_wait(k, CLIENT_ASK(k, member_change, &m))), ERR_MOVING,
            "replicas of other groups (5)");
    client_hang_up(k);
    cluster_destroy(c);
}

/* --- what is told ----------------------------------------------------------------------------- */

TEST(every_node_tells_which_groups_there_are)
{
    struct cluster *c = serving(3);
    MADE(c, 7, "123");
    MADE(c, 5, "12");
    for (unsigned id = 1; id <= 3; id++) {
        struct msg_groups m = {0};
        struct msg_groups_reply r = {0};
        for (unsigned tries = 0; r.n_groups < 2 && tries < 100; tries++) {
            struct test_client *k = client_connect(c, id, ROLE_CLIENT, false);
            T_OK(dec_groups_reply(client_wait(k, CLIENT_ASK(k, groups, &m)).body, &c->arena, &r));
            client_hang_up(k);
            cluster_run(c, 1);
        }
        assert_int_equal(r.n_groups, 2);
        assert_int_equal(r.groups[0].gid, 5);
        assert_int_equal(r.groups[0].n_members, 2);
        assert_int_equal(r.groups[1].gid, 7);
        assert_int_equal(r.groups[1].members[2].node, 3);
    }
    cluster_destroy(c);
}

T_MAIN(T(a_new_group_has_replicas_where_it_was_asked_for_and_a_leader),
       T(leaders_of_many_groups_are_spread_over_the_nodes), T(a_group_of_one_node_is_led_by_it),
       T(all_groups_come_back_after_all_nodes_were_killed),
       T(a_crash_at_any_moment_of_the_making_leaves_something_to_go_on_from),
       T(a_node_that_is_alone_after_a_restart_has_its_replicas_all_the_same),
       T(a_group_is_made_when_its_entry_is_committed_and_not_before),
       T(a_node_that_was_down_makes_its_replica_when_it_is_back),
       T(a_node_that_gets_group_0_as_a_snapshot_makes_the_replicas_it_names),
       T(a_new_replica_hears_and_says_nothing_before_its_first_log_record_is_durable),
       T(the_same_group_again_is_there_already),
       T(what_cannot_be_a_group_is_refused_with_the_reason),
       T(a_group_that_could_not_elect_a_leader_is_refused), T(only_an_administrator_makes_groups),
       T(a_follower_names_the_leader_to_ask),
       T(a_node_with_a_replica_of_another_group_is_not_removed),
       T(every_node_tells_which_groups_there_are))
