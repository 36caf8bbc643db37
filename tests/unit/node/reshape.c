/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that move to other nodes while their group serves (reshape.h). */
#include "cluster/node/group.h"
#include "tests/unit/node/multi.h"

struct answer {
    unsigned status;
    const char *detail;
};

static struct answer ask_home(struct cluster *c, unsigned gid, const char *nodes)
{
    struct group_member members[16];
    struct msg_group_home m = {.gid = gid, .members = members};
    struct msg_status s;
    for (; *nodes; nodes++)
        members[m.n_members++].node = (uint32_t)(*nodes - '0');
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, group_home, &m));
    client_hang_up(k);
    assert_int_equal(f.type, MSG_status);
    T_OK(dec_status(f.body, &c->arena, &s));
    return (struct answer){
        s.status, arena_printf(&c->arena, "%.*s", (int)s.detail.n, (const char *)s.detail.p)};
}

/* "v124": voters of the group, as its leader has it; learners follow as "l3". */
static const char *conf_of(struct cluster *c, unsigned gid)
{
    unsigned at = multi_leader(c, gid);
    if (at == 0)
        return "none";
    const struct raft_conf *conf = raft_get_conf(node_group(c->nodes[at - 1].node, gid)->raft);
    GString *s = g_string_new("v");
    for (unsigned id = 1; id <= c->n; id++)
        for (unsigned i = 0; i < conf->n_voters; i++)
            if (conf->voters[i] == id)
                g_string_append_printf(s, "%u", id);
    if (conf->n_learners || conf->n_outgoing)
        g_string_append(s, "...");
    const char *text = arena_printf(&c->arena, "%s", s->str);
    g_string_free(s, TRUE);
    return text;
}

static bool is_held(struct cluster *c, unsigned gid, const char *nodes)
{
    unsigned at = cluster_leader(c);
    if (at == 0)
        return false;
    const struct kv_group *row = kv_group(node_group(c->nodes[at - 1].node, 0)->kv, gid);
    GString *s = g_string_new("");
    for (unsigned i = 0; i < row->n_held; i++)
        g_string_append_printf(s, "%u", row->held[i]);
    bool same = strcmp(s->str, nodes) == 0;
    g_string_free(s, TRUE);
    return same;
}

#define LIVES_AT(c, gid, nodes)                                                                    \
    EVENTUALLY(c, strcmp(conf_of(c, gid), "v" nodes) == 0 && is_held(c, gid, nodes))

/* Five nodes; group 1 owns all shards, on nodes 1, 2 and 3, and has some data. */
static struct cluster *with_data(uint64_t *ret_client)
{
    struct cluster *c = multi_serving(5, 1);
    multi_change(c, CONFIG_JOIN, 0, "1");
    EVENTUALLY(c, multi_settled(c));
    *ret_client = multi_session(c);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(multi_put(c, *ret_client, i + 1, i % TEST_SHARDS, "key",
                                   bytes_str(arena_printf(&c->arena, "value %u", i))),
                         0);
    return c;
}

static void has_data(struct cluster *c)
{
    for (unsigned i = 4; i < 20; i++)
        assert_string_equal(multi_get(c, i % TEST_SHARDS, "key"),
                            arena_printf(&c->arena, "value %u", i));
}

TEST(a_replica_moves_to_another_node)
{
    uint64_t client;
    struct cluster *c = with_data(&client);
    assert_int_equal(ask_home(c, 1, "124").status, 0);
    LIVES_AT(c, 1, "124");
    has_data(c);
    cluster_destroy(c);
}

TEST(a_whole_group_moves_its_leader_too)
{
    uint64_t client;
    struct cluster *c = with_data(&client);
    assert_int_equal(ask_home(c, 1, "45").status, 0);
    LIVES_AT(c, 1, "45");
    for (unsigned id = 1; id <= 2; id++)
        cluster_kill(c, id); /* group 0 has n3, n4, n5 left */
    has_data(c);
    assert_int_equal(multi_put(c, client, 100, 3, "key", bytes_str("new")), 0);
    assert_string_equal(multi_get(c, 3, "key"), "new");
    cluster_destroy(c);
}

TEST(a_group_gets_more_replicas_and_fewer)
{
    uint64_t client;
    struct cluster *c = with_data(&client);
    assert_int_equal(ask_home(c, 1, "12345").status, 0);
    LIVES_AT(c, 1, "12345");
    assert_int_equal(ask_home(c, 1, "5").status, 0);
    LIVES_AT(c, 1, "5");
    has_data(c);
    cluster_destroy(c);
}

TEST(a_dead_nodes_replica_is_replaced)
{
    uint64_t client;
    struct cluster *c = with_data(&client);
    unsigned dead = multi_leader(c, 1);
    cluster_kill(c, dead);
    const char *home = dead == 1 ? "234" : dead == 2 ? "134" : "124";
    assert_int_equal(ask_home(c, 1, home).status, 0);
    EVENTUALLY(c, strcmp(conf_of(c, 1), arena_printf(&c->arena, "v%s", home)) == 0);
    has_data(c);
    cluster_destroy(c);
}

/* Any leader goes on from what is applied. */
TEST(any_node_may_die_at_any_step)
{
    for (unsigned victim = 1; victim <= 5; victim++)
        for (unsigned ticks = 0; ticks <= 60; ticks += 6) {
            uint64_t client;
            struct cluster *c = with_data(&client);
            assert_int_equal(ask_home(c, 1, "345").status, 0);
            cluster_run(c, ticks);
            cluster_kill(c, victim);
            cluster_run(c, 50);
            cluster_start(c, victim);
            LIVES_AT(c, 1, "345");
            has_data(c);
            cluster_destroy(c);
        }
}

TEST(all_nodes_may_die_at_any_step)
{
    for (unsigned ticks = 0; ticks <= 60; ticks += 6) {
        uint64_t client;
        struct cluster *c = with_data(&client);
        assert_int_equal(ask_home(c, 1, "345").status, 0);
        cluster_run(c, ticks);
        for (unsigned id = 1; id <= 5; id++)
            cluster_kill(c, id);
        for (unsigned id = 1; id <= 5; id++)
            cluster_start(c, id);
        LIVES_AT(c, 1, "345");
        has_data(c);
        cluster_destroy(c);
    }
}

TEST(a_move_may_be_taken_back_before_it_is_done)
{
    for (unsigned ticks = 0; ticks <= 40; ticks += 4) {
        uint64_t client;
        struct cluster *c = with_data(&client);
        assert_int_equal(ask_home(c, 1, "345").status, 0);
        cluster_run(c, ticks);
        assert_int_equal(ask_home(c, 1, "123").status, 0);
        LIVES_AT(c, 1, "123");
        has_data(c);
        cluster_destroy(c);
    }
}

TEST(a_node_is_removed_once_no_group_lives_there)
{
    uint64_t client;
    struct cluster *c = with_data(&client);
    unsigned leader = cluster_leader(c), gone = leader == 2 ? 3 : 2;
    struct msg_member_change m = {.op = MEMBER_REMOVE, .node = gone};
    struct test_client *k = client_connect(c, leader, ROLE_ADMIN, false);
    struct msg_status s;
    T_OK(dec_status(client_wait(k, CLIENT_ASK(k, member_change, &m)).body, &c->arena, &s));
    assert_int_equal(s.status, ERR_MOVING);
    client_hang_up(k);
    const char *home = gone == 2 ? "134" : "124";
    assert_int_equal(ask_home(c, 1, home).status, 0);
    EVENTUALLY(c, is_held(c, 1, home));
    EVENTUALLY(c, cluster_leader(c) != 0 && cluster_leader(c) != gone);
    k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
    T_OK(dec_status(client_wait(k, CLIENT_ASK(k, member_change, &m)).body, &c->arena, &s));
    assert_int_equal(s.status, 0);
    client_hang_up(k);
    has_data(c);
    cluster_destroy(c);
}

TEST(what_cannot_be_a_home_is_refused)
{
    uint64_t client;
    struct cluster *c = with_data(&client);
    struct answer a = ask_home(c, 7, "123");
    assert_int_equal(a.status, ERR_NOT_FOUND);
    T_CONTAINS(a.detail, "there is no group 7");
    a = ask_home(c, 1, "129");
    assert_int_equal(a.status, ERR_NOT_FOUND);
    T_CONTAINS(a.detail, "n9 is no node of this cluster");
    assert_int_equal(ask_home(c, 1, "").status, ERR_INVALID);
    assert_int_equal(ask_home(c, 1, "11").status, ERR_INVALID);
    assert_int_equal(ask_home(c, 1, "123").status, 0); /* it lives there */
    cluster_destroy(c);
}

T_MAIN(T(a_replica_moves_to_another_node), T(a_whole_group_moves_its_leader_too),
       T(a_group_gets_more_replicas_and_fewer), T(a_dead_nodes_replica_is_replaced),
       T(any_node_may_die_at_any_step), T(all_nodes_may_die_at_any_step),
       T(a_move_may_be_taken_back_before_it_is_done),
       T(a_node_is_removed_once_no_group_lives_there), T(what_cannot_be_a_home_is_refused))
