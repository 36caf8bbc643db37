/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask of group 0 about shards (controller.h). */
#include "tests/unit/node/multi.h"

struct answer {
    unsigned status;
    const char *detail;
};

static struct answer answer_of(struct cluster *c, struct frame f)
{
    struct msg_status m;
    assert_int_equal(f.type, MSG_status);
    T_OK(dec_status(f.body, &c->arena, &m));
    return (struct answer){
        m.status, arena_printf(&c->arena, "%.*s", (int)m.detail.n, (const char *)m.detail.p)};
}

static struct test_client *operator_of(struct cluster *c)
{
    EVENTUALLY(c, cluster_leader(c) != 0);
    return client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
}

/* gids: "12" is groups 1 and 2. */
static struct msg_config_change change_of(struct cluster *c, enum config_op op, uint64_t num,
                                          unsigned shard, const char *gids)
{
    struct msg_config_change m = {.op = (uint8_t)op, .num = num, .shard = (uint16_t)shard};
    m.gids = arena_array(&c->arena, strlen(gids) + 1, sizeof(*m.gids));
    for (; *gids; gids++)
        m.gids[m.n_gids++].gid = (uint32_t)(*gids - '0');
    return m;
}

static struct answer ask(struct cluster *c, enum config_op op, uint64_t num, unsigned shard,
                         const char *gids)
{
    struct test_client *k = operator_of(c);
    struct msg_config_change m = change_of(c, op, num, shard, gids);
    struct answer a = answer_of(c, client_wait(k, CLIENT_ASK(k, config_change, &m)));
    client_hang_up(k);
    return a;
}

#define DONE(a)                                                                                    \
    do {                                                                                           \
        struct answer a_ = (a);                                                                    \
        if (a_.status != 0)                                                                        \
            fail_msg("status %u, \"%s\"", a_.status, a_.detail);                                   \
    } while (0)
#define REFUSED(a, want, text)                                                                     \
    do {                                                                                           \
        struct answer a_ = (a);                                                                    \
        assert_int_equal(a_.status, (want));                                                       \
        T_CONTAINS(a_.detail, (text));                                                             \
    } while (0)

static struct msg_config_reply reply_of(struct cluster *c, struct frame f)
{
    struct msg_config_reply r = {0};
    assert_int_equal(f.type, MSG_config_reply);
    T_OK(dec_config_reply(f.body, &c->arena, &r));
    return r;
}

static struct msg_config_reply get(struct cluster *c, uint64_t num)
{
    struct test_client *k = operator_of(c);
    const struct msg_config_get m = {num};
    struct msg_config_reply r = reply_of(c, client_wait(k, CLIENT_ASK(k, config_get, &m)));
    client_hang_up(k);
    return r;
}

static unsigned owned(const struct msg_config_reply *r, uint32_t gid)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < r->n_owners; i++)
        n += r->owners[i].gid == gid;
    return n;
}

TEST(a_join_is_the_next_configuration_and_the_shards_follow)
{
    struct cluster *c = multi_serving(3, 2);
    DONE(ask(c, CONFIG_JOIN, 0, 0, "12"));
    struct msg_config_reply r = get(c, CONFIG_LATEST);
    assert_int_equal(r.num, 1);
    assert_int_equal(r.n_groups, 2);
    assert_int_equal(r.n_owners, TEST_SHARDS);
    assert_int_equal(owned(&r, 1), TEST_SHARDS / 2);
    EVENTUALLY(c, multi_settled(c));
    r = get(c, CONFIG_LATEST);
    assert_int_equal(r.n_pending, 0);
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        assert_int_equal(multi_owner(c, shard), r.owners[shard].gid);
    cluster_destroy(c);
}

/* As the group's leader says. */
static unsigned served(struct cluster *c, unsigned gid)
{
    struct msg_node_status_reply r;
    const struct msg_node_status m = {0};
    EVENTUALLY(c, multi_leader(c, gid) != 0);
    struct test_client *k = client_connect(c, multi_leader(c, gid), ROLE_CLIENT, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, node_status, &m));
    T_OK(dec_node_status_reply(f.body, &c->arena, &r));
    client_hang_up(k);
    for (uint32_t i = 0; i < r.n_groups; i++)
        if (r.groups[i].gid == gid)
            return r.groups[i].shards;
    return UINT_MAX;
}

TEST(status_tells_how_many_shards_each_group_serves)
{
    struct cluster *c = multi_serving(3, 2);
    assert_int_equal(served(c, 0), TEST_SHARDS);
    assert_int_equal(served(c, 1), 0);
    DONE(ask(c, CONFIG_JOIN, 0, 0, "12"));
    EVENTUALLY(c, multi_settled(c));
    assert_int_equal(served(c, 0), 0);
    assert_int_equal(served(c, 1), TEST_SHARDS / 2);
    DONE(ask(c, CONFIG_MOVE, 1, 0, "2"));
    EVENTUALLY(c, multi_settled(c));
    assert_int_equal(served(c, 2), TEST_SHARDS / 2 + 1);
    cluster_destroy(c);
}

TEST(old_configurations_are_told_by_number)
{
    struct cluster *c = multi_serving(3, 2);
    DONE(ask(c, CONFIG_JOIN, 0, 0, "1"));
    EVENTUALLY(c, multi_settled(c));
    DONE(ask(c, CONFIG_JOIN, 1, 0, "2"));
    struct msg_config_reply zero = get(c, 0), one = get(c, 1), two = get(c, 2);
    assert_int_equal(owned(&zero, 0), TEST_SHARDS);
    assert_int_equal(owned(&one, 1), TEST_SHARDS);
    assert_int_equal(owned(&two, 2), TEST_SHARDS / 2);
    struct test_client *k = operator_of(c);
    const struct msg_config_get m = {7};
    REFUSED(answer_of(c, client_wait(k, CLIENT_ASK(k, config_get, &m))), ERR_NOT_FOUND,
            "no configuration 7 yet: the latest is 2");
    client_hang_up(k);
    cluster_destroy(c);
}

static struct frame preview(struct cluster *c, enum config_op op, const char *gids)
{
    struct test_client *k = operator_of(c);
    struct msg_config_change m = change_of(c, op, 0, 0, gids);
    const struct msg_config_preview p = {.op = m.op, .n_gids = m.n_gids, .gids = m.gids};
    struct frame f = client_wait(k, CLIENT_ASK(k, config_preview, &p));
    client_hang_up(k);
    return f;
}

TEST(a_preview_changes_nothing)
{
    struct cluster *c = multi_serving(3, 2);
    DONE(ask(c, CONFIG_JOIN, 0, 0, "1"));
    EVENTUALLY(c, multi_settled(c));
    struct msg_config_reply r = reply_of(c, preview(c, CONFIG_JOIN, "2"));
    assert_int_equal(r.num, 2);
    assert_int_equal(owned(&r, 2), TEST_SHARDS / 2);
    REFUSED(answer_of(c, preview(c, CONFIG_LEAVE, "1")), ERR_NO_OWNER, "no group would be left");
    assert_int_equal(get(c, CONFIG_LATEST).num, 1);
    cluster_destroy(c);
}

TEST(what_cannot_be_done_is_refused_in_one_line_and_changes_nothing)
{
    struct cluster *c = multi_serving(3, 2);
    REFUSED(ask(c, CONFIG_REBALANCE, 0, 0, ""), ERR_NO_OWNER, "no group has joined yet");
    REFUSED(ask(c, CONFIG_JOIN, 0, 0, ""), ERR_INVALID, "no group is named");
    REFUSED(ask(c, CONFIG_JOIN, 0, 0, "17"), ERR_NOT_FOUND, "there is no group 7");
    DONE(ask(c, CONFIG_JOIN, 0, 0, "1"));
    EVENTUALLY(c, multi_settled(c));
    REFUSED(ask(c, CONFIG_JOIN, 1, 0, "1"), ERR_EXISTS, "group 1 has joined already");
    REFUSED(ask(c, CONFIG_LEAVE, 1, 0, "2"), ERR_NOT_FOUND, "group 2 has not joined");
    REFUSED(ask(c, CONFIG_LEAVE, 1, 0, "1"), ERR_NO_OWNER, "let another one join first");
    REFUSED(ask(c, CONFIG_MOVE, 1, 3, "2"), ERR_NOT_FOUND, "group 2 has not joined");
    REFUSED(ask(c, CONFIG_MOVE, 1, 99, "1"), ERR_INVALID, "there is no shard 99: they are 0 to 15");
    REFUSED(ask(c, CONFIG_JOIN, 0, 0, "2"), ERR_CONFIG_NUM, "is 1 by now, not 0");
    assert_int_equal(get(c, CONFIG_LATEST).num, 1);
    cluster_destroy(c);
}

TEST(there_is_one_change_at_a_time)
{
    struct cluster *c = multi_serving(4, 1);
    multi_make(c, 2, "4");
    DONE(ask(c, CONFIG_JOIN, 0, 0, "1"));
    EVENTUALLY(c, multi_settled(c));
    cluster_kill(c, 4); /* so that nothing arrives */
    DONE(ask(c, CONFIG_JOIN, 1, 0, "2"));
    REFUSED(ask(c, CONFIG_LEAVE, 2, 0, "2"), ERR_MOVING,
            "8 shards are still on the way to configuration 2");
    assert_int_equal(get(c, CONFIG_LATEST).n_pending, 8);
    cluster_start(c, 4);
    EVENTUALLY(c, multi_settled(c));
    cluster_destroy(c);
}

TEST(of_two_changes_that_are_asked_together_one_is_made)
{
    struct cluster *c = multi_serving(3, 2);
    struct test_client *k = operator_of(c);
    struct msg_config_change one = change_of(c, CONFIG_JOIN, 0, 0, "1"),
                             two = change_of(c, CONFIG_JOIN, 0, 0, "2");
    uint64_t a = CLIENT_ASK(k, config_change, &one), b = CLIENT_ASK(k, config_change, &two);
    assert_int_equal(answer_of(c, client_wait(k, a)).status, 0);
    assert_int_not_equal(answer_of(c, client_wait(k, b)).status, 0);
    assert_int_equal(get(c, CONFIG_LATEST).num, 1);
    client_hang_up(k);
    cluster_destroy(c);
}

TEST(only_an_administrator_changes_the_configuration_and_anybody_may_look)
{
    struct cluster *c = multi_serving(3, 1);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    struct msg_config_change m = change_of(c, CONFIG_JOIN, 0, 0, "1");
    const struct msg_config_get look = {CONFIG_LATEST};
    REFUSED(answer_of(c, client_wait(k, CLIENT_ASK(k, config_change, &m))), ERR_DENIED, "");
    struct msg_config_reply r = reply_of(c, client_wait(k, CLIENT_ASK(k, config_get, &look)));
    assert_int_equal(r.num, 0);
    client_hang_up(k);
    cluster_destroy(c);
}

T_MAIN(T(status_tells_how_many_shards_each_group_serves),
       T(a_join_is_the_next_configuration_and_the_shards_follow),
       T(old_configurations_are_told_by_number), T(a_preview_changes_nothing),
       T(what_cannot_be_done_is_refused_in_one_line_and_changes_nothing),
       T(there_is_one_change_at_a_time), T(of_two_changes_that_are_asked_together_one_is_made),
       T(only_an_administrator_changes_the_configuration_and_anybody_may_look))
