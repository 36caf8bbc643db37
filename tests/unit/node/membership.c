/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes come and go while the others serve (membership.h). */
#include "tests/unit/node/operator.h"

/* --- joining ---------------------------------------------------------------------------------- */

TEST(a_node_that_nobody_asked_for_is_no_member_and_waits)
{
    struct cluster *c = serving(3);
    unsigned leader = cluster_leader(c);
    raft_term term = cluster_status(c, leader).term;
    unsigned id = cluster_join(c);
    cluster_run(c, 300);
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_status(c, leader).term, term);
    assert_int_equal(cluster_status(c, id).applied, 0);
    assert_string_equal(members(c, leader), "v1 v2 v3");
    cluster_destroy(c);
}

TEST(an_added_node_learns_by_the_log_and_does_not_count)
{
    struct cluster *c = serving(3);
    put(c, "a", "1");
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    assert_string_equal(members(c, cluster_leader(c)), "v1 v2 v3 l4");
    EVENTUALLY(c, has_all(c, id));
    assert_string_equal(members(c, id), "v1 v2 v3 l4");
    /* Two of three voters gone: the learner does not help. */
    for (unsigned i = 1; i <= 3; i++)
        if (i != a_follower(c) && i != cluster_leader(c))
            cluster_kill(c, i);
    unsigned left = a_follower(c);
    cluster_kill(c, cluster_leader(c));
    cluster_run(c, 300);
    assert_int_equal(cluster_leader(c), 0);
    assert_int_not_equal(cluster_status(c, left).role, RAFT_LEADER);
    cluster_destroy(c);
}

TEST(a_node_may_be_added_before_it_is_started)
{
    struct cluster *c = serving(3);
    DONE(add(c, 4));
    REFUSED(change(c, MEMBER_PROMOTE, 4, ""), ERR_BUSY, "n4");
    unsigned id = cluster_join(c);
    DONE(promote(c, id));
    assert_string_equal(members(c, id), "v1 v2 v3 v4");
    cluster_destroy(c);
}

TEST(an_added_node_catches_up_by_a_snapshot)
{
    struct cluster *c = compacting(3);
    put(c, "mark", "here");
    write_past_the_log(c);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    EVENTUALLY(c, has_all(c, id));
    T_CONTAINS(c->nodes[id - 1].log->str, "snapshot-installed");
    DONE(promote(c, id));
    assert_string_equal(members(c, id), "v1 v2 v3 v4");
    cluster_destroy(c);
}

TEST(the_configuration_travels_in_a_snapshot_and_survives_crashes)
{
    struct cluster *c = compacting(3);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    DONE(promote(c, id));
    put(c, "mark", "here");
    write_past_the_log(c); /* the log that has the changes is cut */
    unsigned fifth = cluster_join(c);
    DONE(add(c, fifth));
    EVENTUALLY(c, has_all(c, fifth));
    T_CONTAINS(c->nodes[fifth - 1].log->str, "snapshot-installed");
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 1; i <= 5; i++)
            cluster_kill(c, i);
        for (unsigned i = 1; i <= 5; i++)
            cluster_start(c, i);
        EVENTUALLY(c, cluster_leader(c) != 0);
        for (unsigned i = 1; i <= 5; i++)
            assert_string_equal(members(c, i), "v1 v2 v3 v4 l5");
        holds(c, "mark", "here");
    }
    cluster_destroy(c);
}

TEST(a_crash_at_any_tick_of_a_change_leaves_one_configuration_for_all)
{
    for (unsigned ticks = 0; ticks < 8; ticks++) {
        struct cluster *c = serving(3);
        unsigned id = cluster_join(c);
        struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
        (void)ask(k, MEMBER_ADD, id, "node:4");
        cluster_run(c, ticks);
        for (unsigned i = 1; i <= 4; i++)
            cluster_kill(c, i);
        for (unsigned i = 1; i <= 4; i++)
            cluster_start(c, i);
        DONE(add(c, id)); /* goes on where it was */
        DONE(promote(c, id));
        EVENTUALLY(c, has_all(c, 1) && has_all(c, 2) && has_all(c, 3) && has_all(c, 4));
        for (unsigned i = 1; i <= 4; i++)
            assert_string_equal(members(c, i), "v1 v2 v3 v4");
        cluster_destroy(c);
    }
}

TEST(a_promoted_node_counts_and_can_lead)
{
    struct cluster *c = serving(3);
    put(c, "a", "1");
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    DONE(promote(c, id));
    assert_string_equal(members(c, cluster_leader(c)), "v1 v2 v3 v4");
    EVENTUALLY(c, has_all(c, id));
    DONE(remove_node(c, 1));
    DONE(remove_node(c, 2));
    DONE(remove_node(c, 3));
    EVENTUALLY(c, cluster_leader(c) == id);
    holds(c, "a", "1");
    put(c, "b", "2");
    cluster_destroy(c);
}

TEST(a_lone_node_becomes_three)
{
    struct cluster *c = serving(1);
    put(c, "a", "1");
    for (unsigned i = 0; i < 2; i++) {
        unsigned id = cluster_join(c);
        DONE(add(c, id));
        DONE(promote(c, id));
    }
    assert_string_equal(members(c, 1), "v1 v2 v3");
    cluster_kill(c, 1);
    EVENTUALLY(c, cluster_leader(c) != 0);
    holds(c, "a", "1");
    cluster_start(c, 1);
    EVENTUALLY(c, has_all(c, 1));
    cluster_destroy(c);
}

TEST(members_of_different_files_know_each_other)
{
    struct cluster *c = serving(3);
    for (unsigned i = 0; i < 2; i++) {
        unsigned id = cluster_join(c);
        DONE(add(c, id));
        DONE(promote(c, id));
    }
    for (unsigned i = 1; i <= 3; i++)
        DONE(remove_node(c, i));
    EVENTUALLY(c, cluster_leader(c) > 3);
    cluster_kill(c, 4);
    cluster_kill(c, 5);
    cluster_start(c, 4);
    cluster_start(c, 5);
    EVENTUALLY(c, cluster_leader(c) > 3);
    assert_string_equal(members(c, 4), "v4 v5");
    cluster_destroy(c);
}

/* Their files name the first members only, which are gone; what was applied was not flushed. */
TEST(members_that_know_each_other_by_their_logs_only_meet_after_a_crash)
{
    struct cluster *c = serving(3);
    DONE(add(c, cluster_join(c)));
    c->gone = 1u << 3; /* a learner is not named in a file */
    DONE(add(c, cluster_join(c)));
    DONE(promote(c, 4));
    DONE(promote(c, 5));
    for (unsigned i = 1; i <= 3; i++)
        DONE(remove_node(c, i));
    cluster_kill(c, 4);
    cluster_kill(c, 5);
    cluster_start(c, 4);
    cluster_start(c, 5);
    EVENTUALLY(c, cluster_leader(c) > 3);
    assert_string_equal(members(c, 4), "v4 v5");
    cluster_destroy(c);
}

/* All whom its file and its log name are gone when it comes back. */
TEST(a_member_that_missed_all_changes_is_found_by_the_others)
{
    struct cluster *c = serving(3);
    put(c, "a", "1");
    cluster_kill(c, 1);
    EVENTUALLY(c, cluster_leader(c) != 0);
    for (unsigned i = 0; i < 2; i++) {
        unsigned id = cluster_join(c);
        DONE(add(c, id));
        DONE(promote(c, id));
    }
    for (unsigned old = 2; old <= 3; old++) {
        DONE(remove_node(c, old));
        EVENTUALLY(c, !c->nodes[old - 1].node);
    }
    cluster_start(c, 1);
    EVENTUALLY(c, has_all(c, 1));
    assert_string_equal(members(c, 1), "v1 v4 v5");
    cluster_kill(c, 4); /* it counts */
    EVENTUALLY(c, cluster_leader(c) != 0);
    holds(c, "a", "1");
    put(c, "b", "2");
    cluster_destroy(c);
}

TEST(a_learner_that_missed_all_changes_is_found_by_the_others)
{
    struct cluster *c = serving(3);
    DONE(add(c, 4));
    unsigned late = cluster_join(c);
    cluster_kill(c, late);
    for (unsigned i = 0; i < 2; i++) {
        unsigned id = cluster_join(c);
        DONE(add(c, id));
        DONE(promote(c, id));
    }
    for (unsigned old = 1; old <= 3; old++) {
        DONE(remove_node(c, old));
        EVENTUALLY(c, !c->nodes[old - 1].node);
    }
    cluster_start(c, late);
    DONE(promote(c, late));
    assert_string_equal(members(c, late), "v4 v5 v6");
    cluster_destroy(c);
}

/* --- removal ---------------------------------------------------------------------------------- */

TEST(a_removed_follower_is_told_and_ends)
{
    struct cluster *c = serving(3);
    unsigned gone = a_follower(c);
    DONE(remove_node(c, gone));
    EVENTUALLY(c, c->nodes[gone - 1].removed[0] != 0);
    T_CONTAINS(c->nodes[gone - 1].removed, "was removed from this cluster");
    assert_null(strchr(members(c, cluster_leader(c)), (int)('0' + gone)));
    put(c, "a", "1");
    cluster_destroy(c);
}

TEST(a_leader_hands_over_before_it_is_removed)
{
    struct cluster *c = serving(3);
    unsigned gone = cluster_leader(c);
    put(c, "a", "1");
    struct test_client *k = client_connect(c, gone, ROLE_ADMIN, false);
    struct answer a = status_of(c, client_wait(k, ask(k, MEMBER_REMOVE, gone, "")));
    assert_int_equal(a.status, ERR_NOT_LEADER);
    assert_int_not_equal(a.leader, gone);
    DONE(remove_node(c, gone));
    EVENTUALLY(c, c->nodes[gone - 1].removed[0] != 0);
    assert_int_not_equal(cluster_leader(c), gone);
    holds(c, "a", "1");
    cluster_destroy(c);
}

TEST(a_dead_node_is_removed_and_told_when_it_comes_back)
{
    for (unsigned gone = 1; gone <= 3; gone++) { /* the lowest dials, the highest never does */
        struct cluster *c = serving(3);
        cluster_kill(c, gone);
        EVENTUALLY(c, cluster_leader(c) != 0 && cluster_leader(c) != gone);
        DONE(remove_node(c, gone));
        raft_term term = cluster_status(c, cluster_leader(c)).term;
        cluster_start(c, gone);
        EVENTUALLY(c, c->nodes[gone - 1].removed[0] != 0);
        T_CONTAINS(c->nodes[gone - 1].removed,
                   arena_printf(&c->arena, "node n%u was removed", gone));
        assert_int_equal(cluster_status(c, cluster_leader(c)).term, term);
        cluster_destroy(c);
    }
}

TEST(a_removed_node_is_told_again_at_each_start)
{
    struct cluster *c = serving(3);
    DONE(remove_node(c, 3));
    for (unsigned i = 0; i < 3; i++) {
        EVENTUALLY(c, c->nodes[2].removed[0] != 0);
        assert_null(c->nodes[2].node);
        cluster_start(c, 3);
    }
    cluster_destroy(c);
}

TEST(a_node_without_a_leader_that_is_a_member_still_goes_on)
{
    struct cluster *c = serving(3);
    cluster_kill(c, 1);
    cluster_kill(c, 2);
    cluster_run(c, 300); /* it asks whom it can */
    assert_string_equal(c->nodes[2].removed, "");
    cluster_start(c, 1);
    EVENTUALLY(c, cluster_leader(c) != 0);
    assert_string_equal(c->nodes[2].removed, "");
    cluster_destroy(c);
}

TEST(a_removed_id_is_never_used_again)
{
    struct cluster *c = serving(3);
    DONE(remove_node(c, 3));
    DONE(remove_node(c, 3)); /* the same again */
    REFUSED(add(c, 3), ERR_REMOVED, "never used twice");
    REFUSED(change(c, MEMBER_PROMOTE, 3, ""), ERR_REMOVED, "was removed");
    cluster_destroy(c);
}

TEST(a_change_whose_leader_dies_goes_on_under_the_next)
{
    for (unsigned ticks = 0; ticks < 8; ticks++) {
        struct cluster *c = serving(5);
        unsigned leader = cluster_leader(c), gone = leader == 5 ? 4 : 5;
        struct test_client *k = client_connect(c, leader, ROLE_ADMIN, false);
        (void)ask(k, MEMBER_REMOVE, gone, "");
        cluster_run(c, ticks);
        cluster_kill(c, leader);
        EVENTUALLY(c, cluster_leader(c) != 0);
        DONE(remove_node(c, gone));
        cluster_start(c, leader);
        EVENTUALLY(c, !c->nodes[gone - 1].node && has_all(c, leader));
        assert_null(strchr(members(c, leader), (int)('0' + gone)));
        REFUSED(add(c, gone), ERR_REMOVED, "never used twice");
        cluster_destroy(c);
    }
}

TEST(a_transfer_to_a_removed_node_ends)
{
    struct cluster *c = compacting(3);
    write_past_the_log(c);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    unsigned leader = cluster_leader(c);
    EVENTUALLY(c, strstr(c->nodes[leader - 1].log->str, "snapshot-start") != NULL);
    cluster_kill(c, id);
    DONE(remove_node(c, id));
    EVENTUALLY(c, strstr(c->nodes[leader - 1].log->str, "no member any more") != NULL);
    cluster_destroy(c);
}

TEST(a_learner_is_removed_too)
{
    struct cluster *c = serving(3);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    EVENTUALLY(c, has_all(c, id));
    DONE(remove_node(c, id));
    EVENTUALLY(c, c->nodes[id - 1].removed[0] != 0);
    assert_string_equal(members(c, cluster_leader(c)), "v1 v2 v3");
    cluster_destroy(c);
}

TEST(a_dead_node_is_replaced_and_all_data_is_there)
{
    struct cluster *c = serving(3);
    put(c, "a", "1");
    unsigned gone = cluster_leader(c);
    cluster_kill(c, gone);
    EVENTUALLY(c, cluster_leader(c) != 0);
    c->gone = 1u << (gone - 1);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    DONE(promote(c, id));
    DONE(remove_node(c, gone));
    unsigned other = cluster_leader(c);
    EVENTUALLY(c, has_all(c, id));
    cluster_kill(c, other);
    EVENTUALLY(c, cluster_leader(c) != 0);
    holds(c, "a", "1");
    cluster_destroy(c);
}

/* --- refusals --------------------------------------------------------------------------------- */

TEST(only_an_administrator_changes_the_membership)
{
    struct cluster *c = serving(3);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    struct answer a = status_of(c, client_wait(k, ask(k, MEMBER_REMOVE, 2, "")));
    assert_int_equal(a.status, ERR_DENIED);
    cluster_destroy(c);
}

TEST(a_follower_names_the_leader_instead)
{
    struct cluster *c = serving(3);
    cluster_run(c, 20);
    struct test_client *k = client_connect(c, a_follower(c), ROLE_ADMIN, false);
    struct answer a = status_of(c, client_wait(k, ask(k, MEMBER_ADD, 4, "node:4")));
    assert_int_equal(a.status, ERR_NOT_LEADER);
    assert_int_equal(a.leader, cluster_leader(c));
    cluster_destroy(c);
}

TEST(two_changes_at_once_are_refused)
{
    struct cluster *c = serving(3);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
    for (unsigned i = 1; i <= 3; i++)
        if (i != cluster_leader(c))
            cluster_hold_syncs(c, i, true); /* nothing commits */
    uint64_t first = ask(k, MEMBER_ADD, 4, "node:4");
    uint64_t second = ask(k, MEMBER_ADD, 5, "node:5");
    REFUSED(status_of(c, client_wait(k, second)), ERR_BUSY, "add n4");
    for (unsigned i = 1; i <= 3; i++)
        cluster_hold_syncs(c, i, false);
    assert_int_equal(status_of(c, client_wait(k, first)).status, 0);
    cluster_destroy(c);
}

TEST(what_would_lose_the_quorum_is_refused_with_the_silent_ones_named)
{
    struct cluster *c = serving(3);
    unsigned leader = cluster_leader(c), silent = a_follower(c), other = 6 - leader - silent;
    cluster_kill(c, silent);
    cluster_run(c, 2 * ELECTION_TICKS);
    REFUSED(remove_node(c, other), ERR_UNREACHABLE,
            arena_printf(&c->arena, "n%u would not answer", silent));
    DONE(remove_node(c, silent));
    cluster_destroy(c);
}

TEST(the_last_voter_stays)
{
    struct cluster *c = serving(1);
    REFUSED(remove_node(c, 1), ERR_INVALID, "last voter");
    cluster_destroy(c);
}

TEST(ids_and_addresses_are_checked)
{
    struct cluster *c = serving(3);
    REFUSED(change(c, MEMBER_ADD, 0, "node:4"), ERR_INVALID, "ids are 1");
    REFUSED(change(c, MEMBER_ADD, 4, "nowhere"), ERR_INVALID, "nowhere");
    REFUSED(change(c, MEMBER_ADD, 4, "node:2"), ERR_EXISTS, "n2 is at node:2 already");
    REFUSED(change(c, MEMBER_ADD, 2, "node:9"), ERR_EXISTS, "never used twice");
    REFUSED(change(c, MEMBER_PROMOTE, 4, ""), ERR_NOT_FOUND, "add it first");
    REFUSED(change(c, MEMBER_REMOVE, 4, ""), ERR_NOT_FOUND, "n4 is no member");
    DONE(add(c, 4));
    REFUSED(change(c, MEMBER_ADD, 4, "node:9"), ERR_EXISTS, "never used twice");
    DONE(add(c, 4));
    DONE(change(c, MEMBER_PROMOTE, 2, ""));
    cluster_destroy(c);
}

TEST(a_learner_that_lags_is_not_promoted)
{
    struct cluster *c = serving(3);
    unsigned id = cluster_join(c);
    DONE(add(c, id));
    EVENTUALLY(c, has_all(c, id));
    cluster_cut_off(c, id, true);
    cluster_run(c, 2 * ELECTION_TICKS);
    REFUSED(change(c, MEMBER_PROMOTE, id, ""), ERR_BUSY, "does not answer");
    cluster_cut_off(c, id, false);
    DONE(promote(c, id));
    cluster_destroy(c);
}

T_MAIN(T(a_node_that_nobody_asked_for_is_no_member_and_waits),
       T(an_added_node_learns_by_the_log_and_does_not_count),
       T(a_node_may_be_added_before_it_is_started), T(an_added_node_catches_up_by_a_snapshot),
       T(the_configuration_travels_in_a_snapshot_and_survives_crashes),
       T(a_crash_at_any_tick_of_a_change_leaves_one_configuration_for_all),
       T(a_promoted_node_counts_and_can_lead), T(a_lone_node_becomes_three),
       T(members_of_different_files_know_each_other),
       T(members_that_know_each_other_by_their_logs_only_meet_after_a_crash),
       T(a_member_that_missed_all_changes_is_found_by_the_others),
       T(a_learner_that_missed_all_changes_is_found_by_the_others),
       T(a_removed_follower_is_told_and_ends), T(a_leader_hands_over_before_it_is_removed),
       T(a_dead_node_is_removed_and_told_when_it_comes_back),
       T(a_removed_node_is_told_again_at_each_start),
       T(a_node_without_a_leader_that_is_a_member_still_goes_on),
       T(a_removed_id_is_never_used_again), T(a_change_whose_leader_dies_goes_on_under_the_next),
       T(a_transfer_to_a_removed_node_ends), T(a_learner_is_removed_too),
       T(a_dead_node_is_replaced_and_all_data_is_there),
       T(only_an_administrator_changes_the_membership), T(a_follower_names_the_leader_instead),
       T(two_changes_at_once_are_refused),
       T(what_would_lose_the_quorum_is_refused_with_the_silent_ones_named), T(the_last_voter_stays),
       T(ids_and_addresses_are_checked), T(a_learner_that_lags_is_not_promoted))
