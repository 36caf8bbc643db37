/* SPDX-License-Identifier: Apache-2.0 */
/* A data directory that was made anew under an old id is heard by nobody (met.h). */
#include "tests/unit/node/operator.h"

TEST(a_new_directory_under_an_added_id_is_refused_after_restarts_too)
{
    struct cluster *c = serving(3);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    DONE(promote(c, id));
    EVENTUALLY(c, has_all(c, id));
    cluster_kill(c, id);
    for (unsigned i = 1; i <= 3; i++)
        cluster_kill(c, i);
    for (unsigned i = 1; i <= 3; i++)
        cluster_start(c, i);
    cluster_wipe(c, id);
    cluster_start(c, id);
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, 300);
    assert_int_equal(cluster_status(c, id).applied, 0);
    cluster_destroy(c);
}

static bool logs(const struct cluster *c, unsigned id, const char *text)
{
    return strstr(c->nodes[id - 1].log->str, text) != NULL;
}

/* It has never met the one that was. */
TEST(who_joins_later_refuses_a_directory_that_was_made_anew_before)
{
    struct cluster *c = serving(3);
    unsigned lost = a_follower(c);
    cluster_kill(c, lost);
    cluster_wipe(c, lost);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    DONE(promote(c, id));
    cluster_start(c, lost);
    EVENTUALLY(c, logs(c, id, "has another data directory than before"));
    assert_int_equal(cluster_status(c, lost).applied, 0);
    cluster_destroy(c);
}

TEST(who_joins_by_a_snapshot_refuses_a_directory_that_was_made_anew_before)
{
    struct cluster *c = compacting(3);
    unsigned lost = a_follower(c);
    put(c, "mark", "here");
    cluster_run(c, 2000 / TICK_MS);
    cluster_kill(c, lost);
    cluster_wipe(c, lost);
    write_past_the_log(c);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    EVENTUALLY(c, has_all(c, id));
    assert_true(logs(c, id, "snapshot-installed"));
    cluster_start(c, lost);
    EVENTUALLY(c, logs(c, id, "has another data directory than before"));
    cluster_destroy(c);
}

TEST(a_node_that_the_cluster_knows_with_another_directory_ends)
{
    struct cluster *c = serving(1);
    struct test_node *tn = &c->nodes[0];
    cluster_run(c, 2000 / TICK_MS);
    cluster_kill(c, 1);
    tn->incarnation++;
    cluster_start(c, 1);
    EVENTUALLY(c, tn->removed[0] != 0);
    T_CONTAINS(tn->removed, "the data directory of node n1 was made anew");
    cluster_kill(c, 1);
    tn->incarnation--;
    cluster_start(c, 1);
    EVENTUALLY(c, cluster_leader(c) == 1);
    cluster_destroy(c);
}

T_MAIN(T(a_new_directory_under_an_added_id_is_refused_after_restarts_too),
       T(who_joins_later_refuses_a_directory_that_was_made_anew_before),
       T(who_joins_by_a_snapshot_refuses_a_directory_that_was_made_anew_before),
       T(a_node_that_the_cluster_knows_with_another_directory_ends))
