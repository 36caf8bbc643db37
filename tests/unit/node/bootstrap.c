/* SPDX-License-Identifier: Apache-2.0 */
/* The groups that a new cluster begins with (bootstrap.h). */
#include "tests/unit/node/multi.h"
#include "cluster/node/group.h"

static struct cluster *new_cluster(unsigned n, unsigned groups)
{
    return cluster_create(&(struct cluster_options){.n = n, .groups = groups});
}

/* As the leader of group 0 has applied it; NULL: nobody leads. */
static const struct kv *controller(struct cluster *c)
{
    unsigned at = cluster_leader(c);
    return at ? node_group(c->nodes[at - 1].node, 0)->kv : NULL;
}

static unsigned n_made(struct cluster *c)
{
    unsigned n = 0;
    uint64_t index;
    if (controller(c))
        (void)kv_groups(controller(c), &n, &index);
    return n;
}

static uint64_t config_num(struct cluster *c)
{
    return controller(c) ? kv_config(controller(c))->num : 0;
}

static bool all_led(struct cluster *c, unsigned groups)
{
    for (unsigned gid = 1; gid <= groups; gid++)
        if (multi_leader(c, gid) == 0)
            return false;
    return true;
}

/* All is done, in one change, and groups 1 to `groups` share the shards. */
static void assert_bootstrapped(struct cluster *c, unsigned groups)
{
    EVENTUALLY(c, config_num(c) > 0 && multi_settled(c));
    const struct config *now = kv_config(controller(c));
    assert_int_equal(now->num, 1);
    assert_int_equal(now->n_groups, groups);
    assert_int_equal(n_made(c), groups);
    for (unsigned gid = 1; gid <= groups; gid++) {
        assert_int_equal(now->groups[gid - 1], gid);
        assert_in_range(config_count(now, gid), TEST_SHARDS / groups, TEST_SHARDS / groups + 1);
    }
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        assert_int_equal(multi_owner(c, shard), now->owner[shard]);
}

/* --- what is made ----------------------------------------------------------------------------- */

TEST(a_new_cluster_has_the_groups_of_its_configuration_and_they_share_the_shards)
{
    struct cluster *c = new_cluster(3, 3);
    assert_bootstrapped(c, 3);
    cluster_destroy(c);
}

TEST(replicas_are_spread_over_the_nodes)
{
    static const unsigned sizes[] = {3, 4, 5, 7};
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        unsigned n = sizes[k];
        struct cluster *c = new_cluster(n, n);
        unsigned replicas[9] = {0}, count;
        uint64_t index;
        EVENTUALLY(c, n_made(c) == n);
        const struct kv_group *rows = kv_groups(controller(c), &count, &index);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(rows[i].n_members, 3);
            for (unsigned at = 0; at < 3; at++)
                replicas[rows[i].members[at]]++;
        }
        for (unsigned id = 1; id <= n; id++)
            assert_int_equal(replicas[id], 3);
        cluster_destroy(c);
    }
}

TEST(each_node_leads_one_of_as_many_groups_as_there_are_nodes)
{
    static const unsigned sizes[] = {3, 4, 5, 7};
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        unsigned n = sizes[k], led[9] = {0};
        struct cluster *c = new_cluster(n, n);
        EVENTUALLY(c, n_made(c) == n && all_led(c, n));
        for (unsigned gid = 1; gid <= n; gid++)
            led[multi_leader(c, gid)]++;
        for (unsigned id = 1; id <= n; id++)
            assert_int_equal(led[id], 1);
        cluster_destroy(c);
    }
}

TEST(groups_of_a_cluster_of_one_or_two_nodes_have_as_many_replicas)
{
    for (unsigned n = 1; n <= 2; n++) {
        struct cluster *c = new_cluster(n, 2);
        assert_bootstrapped(c, 2);
        assert_int_equal(kv_group(controller(c), 1)->n_members, n);
        cluster_destroy(c);
    }
}

TEST(more_groups_than_nodes_are_possible)
{
    struct cluster *c = new_cluster(3, 7);
    assert_bootstrapped(c, 7);
    cluster_destroy(c);
}

TEST(where_no_groups_are_asked_for_all_stays_in_group_0)
{
    struct cluster *c = new_cluster(3, 0);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, 1000);
    assert_int_equal(n_made(c), 0);
    assert_int_equal(config_num(c), 0);
    cluster_destroy(c);
}

TEST(clients_are_served_from_the_first_moment_on)
{
    struct cluster *c = new_cluster(3, 3);
    char name[16];
    uint64_t client = multi_session(c), seq = 0;
    assert_int_equal(config_num(c), 0);
    while (config_num(c) == 0 || !multi_settled(c)) {
        g_snprintf(name, sizeof(name), "%u", (unsigned)seq);
        unsigned shard = (unsigned)(seq % TEST_SHARDS);
        assert_int_equal(multi_put(c, client, ++seq, shard, name, bytes_str(name)), 0);
        assert_true(seq < 2000);
    }
    for (uint64_t i = 0; i < seq; i++) {
        g_snprintf(name, sizeof(name), "%u", (unsigned)i);
        assert_string_equal(multi_get(c, (unsigned)(i % TEST_SHARDS), name), name);
    }
    cluster_destroy(c);
}

/* --- leaders that die ------------------------------------------------------------------------- */

/* A moment of a bootstrap: so many ticks, then one more, of which only so many rounds are run. */
struct moment {
    unsigned ticks, rounds;
};

#define ROUNDS 5

/* How many ticks it takes if nothing disturbs it, and some. */
static unsigned ticks_of_one(void)
{
    struct cluster *c = new_cluster(3, 3);
    EVENTUALLY(c, cluster_leader(c) != 0);
    uint64_t since = c->now;
    EVENTUALLY(c, config_num(c) > 0);
    unsigned ticks = (unsigned)(c->now - since);
    cluster_destroy(c);
    return ticks + 3;
}

static struct cluster *new_cluster_at(struct moment at)
{
    struct cluster *c = new_cluster(3, 3);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, at.ticks);
    cluster_tick(c);
    (void)cluster_rounds(c, at.rounds);
    return c;
}

static void at_each_moment(void (*test)(struct moment at))
{
    unsigned last = ticks_of_one();
    for (struct moment at = {0}; at.ticks <= last; at.ticks++)
        for (at.rounds = 0; at.rounds < ROUNDS; at.rounds += 2)
            test(at);
}

static void kill_leader(struct moment at)
{
    struct cluster *c = new_cluster_at(at);
    unsigned dead = cluster_leader(c);
    cluster_kill(c, dead);
    assert_bootstrapped(c, 3);
    cluster_start(c, dead);
    cluster_run(c, 100);
    assert_bootstrapped(c, 3);
    cluster_destroy(c);
}

TEST(another_leader_goes_on_wherever_the_first_one_died)
{
    at_each_moment(kill_leader);
}

static void kill_all(struct moment at)
{
    struct cluster *c = new_cluster_at(at);
    for (unsigned id = 1; id <= 3; id++)
        cluster_kill(c, id);
    for (unsigned id = 1; id <= 3; id++)
        cluster_start(c, id);
    assert_bootstrapped(c, 3);
    cluster_destroy(c);
}

TEST(all_nodes_may_be_killed_at_any_moment)
{
    at_each_moment(kill_all);
}

static void cut_off_leader(struct moment at)
{
    struct cluster *c = new_cluster_at(at);
    unsigned cut = cluster_leader(c);
    cluster_cut_off(c, cut, true);
    EVENTUALLY(c, cluster_leader(c) != 0 && cluster_leader(c) != cut);
    cluster_cut_off(c, cut, false);
    assert_bootstrapped(c, 3);
    cluster_destroy(c);
}

TEST(a_leader_that_only_loses_its_office_is_followed_by_one_that_goes_on)
{
    at_each_moment(cut_off_leader);
}

TEST(one_leader_after_the_other_may_die)
{
    struct cluster *c = new_cluster(5, 5);
    for (unsigned made = 0, dead = 0; config_num(c) == 0 && made < 20; made++) {
        EVENTUALLY(c, cluster_leader(c) != 0);
        if (dead)
            cluster_start(c, dead);
        cluster_run(c, made);
        dead = cluster_leader(c);
        if (dead)
            cluster_kill(c, dead);
    }
    for (unsigned id = 1; id <= 5; id++)
        if (!c->nodes[id - 1].node)
            cluster_start(c, id);
    assert_bootstrapped(c, 5);
    cluster_destroy(c);
}

/* --- nodes that are not there ----------------------------------------------------------------- */

TEST(groups_are_made_when_all_nodes_are_there)
{
    struct cluster *c = new_cluster(3, 3);
    cluster_kill(c, 3);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, TICKS(5000));
    assert_int_equal(n_made(c), 0);
    cluster_start(c, 3);
    EVENTUALLY(c, n_made(c) == 3);
    EVENTUALLY(c, all_led(c, 3));
    assert_int_not_equal(multi_leader(c, 1), multi_leader(c, 2));
    cluster_destroy(c);
}

TEST(a_node_that_does_not_come_is_waited_for_some_seconds_only)
{
    struct cluster *c = new_cluster(3, 3);
    cluster_kill(c, 3);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, TICKS(11000));
    assert_bootstrapped(c, 3);
    cluster_start(c, 3);
    EVENTUALLY(c, node_group(c->nodes[2].node, 1) && node_group(c->nodes[2].node, 3));
    cluster_destroy(c);
}

TEST(a_group_whose_members_are_not_there_by_a_majority_waits_for_them)
{
    struct cluster *c = new_cluster(5, 5);
    cluster_kill(c, 4);
    cluster_kill(c, 5);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, TICKS(15000));
    assert_in_range(n_made(c), 1, 4);
    assert_int_equal(config_num(c), 0);
    uint64_t client = multi_session(c);
    assert_int_equal(multi_put(c, client, 1, 3, "k", bytes_str("served")), 0);
    cluster_start(c, 4);
    cluster_start(c, 5);
    assert_bootstrapped(c, 5);
    assert_string_equal(multi_get(c, 3, "k"), "served");
    cluster_destroy(c);
}

/* --- clusters that are not new ---------------------------------------------------------------- */

static void restart_with(struct cluster *c, unsigned groups)
{
    for (unsigned id = 1; id <= c->n; id++)
        cluster_kill(c, id);
    c->options.groups = groups;
    for (unsigned id = 1; id <= c->n; id++)
        cluster_start(c, id);
    EVENTUALLY(c, cluster_leader(c) != 0);
}

TEST(a_cluster_that_has_a_configuration_is_left_alone)
{
    struct cluster *c = multi_serving(3, 1);
    multi_change(c, CONFIG_JOIN, 0, "1");
    EVENTUALLY(c, multi_settled(c));
    restart_with(c, 3);
    cluster_run(c, 1000);
    assert_int_equal(n_made(c), 1);
    assert_int_equal(config_num(c), 1);
    cluster_destroy(c);
}

TEST(what_lies_in_group_0_moves_when_the_files_ask_for_groups_later)
{
    struct cluster *c = new_cluster(3, 0);
    uint64_t client = multi_session(c);
    assert_int_equal(multi_put(c, client, 1, 3, "k", bytes_str("old")), 0);
    restart_with(c, 3);
    assert_bootstrapped(c, 3);
    assert_string_equal(multi_get(c, 3, "k"), "old");
    assert_int_equal(multi_put(c, client, 2, 3, "k", bytes_str("new")), 0);
    cluster_destroy(c);
}

TEST(a_group_that_an_operator_made_is_taken_as_it_is)
{
    struct cluster *c = new_cluster(4, 0);
    multi_make(c, 2, "124");
    restart_with(c, 3);
    assert_bootstrapped(c, 3);
    assert_int_equal(kv_group(controller(c), 2)->members[2], 4);
    cluster_destroy(c);
}

T_MAIN(T(a_new_cluster_has_the_groups_of_its_configuration_and_they_share_the_shards),
       T(replicas_are_spread_over_the_nodes),
       T(each_node_leads_one_of_as_many_groups_as_there_are_nodes),
       T(groups_of_a_cluster_of_one_or_two_nodes_have_as_many_replicas),
       T(more_groups_than_nodes_are_possible),
       T(where_no_groups_are_asked_for_all_stays_in_group_0),
       T(clients_are_served_from_the_first_moment_on),
       T(another_leader_goes_on_wherever_the_first_one_died), T(one_leader_after_the_other_may_die),
       T(all_nodes_may_be_killed_at_any_moment),
       T(a_leader_that_only_loses_its_office_is_followed_by_one_that_goes_on),
       T(groups_are_made_when_all_nodes_are_there),
       T(a_node_that_does_not_come_is_waited_for_some_seconds_only),
       T(a_group_whose_members_are_not_there_by_a_majority_waits_for_them),
       T(a_cluster_that_has_a_configuration_is_left_alone),
       T(what_lies_in_group_0_moves_when_the_files_ask_for_groups_later),
       T(a_group_that_an_operator_made_is_taken_as_it_is))
