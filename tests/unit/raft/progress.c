/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"
#include "cluster/raft/progress.h"

enum { PATIENCE = 3, PATIENCE_IDLE = 10 };

static struct progress probing(raft_index next)
{
    struct progress p = {.id = 2};
    progress_reset(&p, next);
    return p;
}

/* Agrees up to match; nothing under way. */
static struct progress replicating(raft_index match)
{
    struct progress p = probing(match + 1);
    assert_true(match == 0 || progress_acked(&p, match));
    if (match == 0)
        (void)progress_acked(&p, 0);
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    return p;
}

static void pass(struct progress *p, unsigned ticks)
{
    while (ticks-- > 0)
        progress_tick(p, p->next - 1, 10);
}

/* Dissertation 4.2.1: a round is for what the log held at its start. */
TEST(who_needed_a_whole_time_out_for_a_round_has_not_caught_up)
{
    struct progress p = probing(1001); /* the leader's log ends at 1000 */
    for (unsigned i = 0; i < 12; i++)
        progress_tick(&p, 1000, 10);
    assert_true(progress_acked(&p, 1000));
    progress_heard(&p, 1000, 3, 10);
    p.since_heard = 0;
    progress_tick(&p, 1200, 10); /* the first round took 13 ticks; the second is for 1200 */
    assert_false(progress_caught_up(&p, 1200, 1000, 10));
    assert_true(progress_acked(&p, 1200));
    progress_tick(&p, 1300, 10);
    assert_true(progress_caught_up(&p, 1300, 1000, 10));
}

TEST(who_lacks_too_much_or_is_silent_or_slow_now_has_not_caught_up)
{
    struct progress p = probing(11);
    assert_true(progress_acked(&p, 10));
    progress_tick(&p, 10, 10);
    assert_true(progress_caught_up(&p, 110, 100, 10));
    assert_false(progress_caught_up(&p, 111, 100, 10));
    progress_tick(&p, 50, 10); /* a round for 50 begins, and is not finished */
    for (unsigned i = 0; i < 9; i++) {
        assert_true(progress_caught_up(&p, 50, 100, 99));
        progress_tick(&p, 50, 10);
    }
    p.since_heard = 0;
    assert_true(progress_caught_up(&p, 50, 100, 10));
    progress_tick(&p, 50, 10);
    assert_false(progress_caught_up(&p, 50, 100, 10));
    assert_true(progress_acked(&p, 50));
    progress_tick(&p, 50, 10);
    progress_tick(&p, 50, 10);
    assert_true(progress_caught_up(&p, 50, 100, 10));
    p.since_heard = 10;
    assert_false(progress_caught_up(&p, 50, 100, 10));
}

TEST(a_probe_is_sent_once_and_next_stays)
{
    struct progress p = probing(8);
    assert_true(progress_may_send(&p));
    progress_sent(&p, 10, 100);
    assert_false(progress_may_send(&p));
    assert_int_equal(p.next, 8);
}

TEST(an_answered_probe_begins_replication)
{
    struct progress p = probing(8);
    progress_sent(&p, 10, 100);
    assert_true(progress_acked(&p, 10));
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    assert_int_equal(p.match, 10);
    assert_int_equal(p.next, 11);
    assert_int_equal(p.ring_bytes, 0);
}

TEST(replication_runs_ahead_of_the_answers)
{
    struct progress p = replicating(5);
    progress_sent(&p, 7, 10);
    progress_sent(&p, 8, 10);
    assert_int_equal(p.next, 9);
    assert_int_equal(p.match, 5);
    assert_true(progress_acked(&p, 7));
    assert_int_equal(p.ring_n, 1);
    assert_int_equal(p.next, 9);
}

TEST(what_is_under_way_is_bounded_in_messages)
{
    struct progress p = replicating(0);
    for (raft_index i = 1; i <= INFLIGHT_MSGS_MAX; i++) {
        assert_true(progress_may_send(&p));
        progress_sent(&p, i, 1);
    }
    assert_false(progress_may_send(&p));
    assert_true(progress_acked(&p, 1));
    assert_true(progress_may_send(&p));
    progress_sent(&p, INFLIGHT_MSGS_MAX + 1, 1); /* the ring goes round */
    assert_false(progress_may_send(&p));
    assert_true(progress_acked(&p, INFLIGHT_MSGS_MAX + 1));
    assert_int_equal(p.ring_n, 0);
    assert_int_equal(p.ring_bytes, 0);
}

TEST(what_is_under_way_is_bounded_in_bytes)
{
    struct progress p = replicating(0);
    progress_sent(&p, 1, INFLIGHT_BYTES_MAX - 1);
    assert_true(progress_may_send(&p));
    progress_sent(&p, 2, 1);
    assert_false(progress_may_send(&p));
    assert_true(progress_acked(&p, 1));
    assert_true(progress_may_send(&p));
}

TEST(an_old_acknowledgement_changes_nothing)
{
    struct progress p = replicating(9);
    assert_false(progress_acked(&p, 4));
    assert_false(progress_acked(&p, 9));
    assert_int_equal(p.match, 9);
    assert_int_equal(p.state, PROGRESS_REPLICATE);
}

TEST(a_refusal_leads_back_to_the_hint)
{
    struct progress p = probing(20);
    progress_sent(&p, 25, 1);
    assert_true(progress_rejected(&p, 19, 12));
    assert_int_equal(p.state, PROGRESS_PROBE);
    assert_int_equal(p.next, 13);
    assert_true(progress_may_send(&p));
}

TEST(a_refusal_always_leads_back_but_never_below_match)
{
    struct progress p = probing(20);
    progress_sent(&p, 25, 1);
    assert_true(progress_rejected(&p, 19, 19)); /* a hint that is no help: one step */
    assert_int_equal(p.next, 19);

    p = replicating(9);
    progress_sent(&p, 15, 1);
    assert_true(progress_rejected(&p, 15, 3));
    assert_int_equal(p.next, 10);
    assert_int_equal(p.state, PROGRESS_PROBE);
}

TEST(an_old_refusal_is_ignored)
{
    struct progress p = probing(20);
    assert_false(progress_rejected(&p, 15, 3)); /* of another probe */
    p = replicating(9);
    progress_sent(&p, 15, 1);
    assert_false(progress_rejected(&p, 9, 3));  /* it has acknowledged that */
    assert_false(progress_rejected(&p, 40, 3)); /* never sent */
    assert_int_equal(p.state, PROGRESS_REPLICATE);
}

TEST(a_lost_append_is_probed_for_after_a_while)
{
    struct progress p = replicating(5);
    progress_sent(&p, 6, 1);
    progress_sent(&p, 8, 1);
    pass(&p, PATIENCE - 1);
    progress_heard(&p, 6, PATIENCE, PATIENCE_IDLE); /* it may still come */
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    pass(&p, 1);
    progress_heard(&p, 6, PATIENCE, PATIENCE_IDLE);
    assert_int_equal(p.state, PROGRESS_PROBE);
    assert_int_equal(p.next, 7); /* not 6: received, though not durable */
}

TEST(a_slow_disk_is_not_a_lost_append)
{
    struct progress p = replicating(5);
    progress_sent(&p, 8, 1);
    pass(&p, 100);
    progress_heard(&p, 8, PATIENCE, PATIENCE_IDLE);
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    assert_int_equal(p.ring_n, 1);
}

TEST(a_lost_probe_is_repeated_where_it_was)
{
    struct progress p = probing(20);
    progress_sent(&p, 25, 1);
    pass(&p, PATIENCE);
    progress_heard(&p, 0, PATIENCE, PATIENCE_IDLE); /* nothing of this term; the logs may agree */
    assert_int_equal(p.next, 20);
    assert_true(progress_may_send(&p));
}

TEST(a_snapshot_stops_appends_until_it_is_sent)
{
    struct progress p = probing(3);
    progress_need_snapshot(&p);
    assert_false(progress_may_send(&p));
    progress_heard(&p, 0, PATIENCE, PATIENCE_IDLE);
    assert_false(progress_rejected(&p, 2, 0));
    assert_int_equal(p.state, PROGRESS_SNAPSHOT);
    progress_snapshot_sent(&p, 50, true);
    assert_int_equal(p.state, PROGRESS_PROBE);
    assert_int_equal(p.next, 51);
    assert_false(progress_may_send(&p)); /* it is being installed */
    progress_heard(&p, 0, PATIENCE, PATIENCE_IDLE);
    assert_false(progress_may_send(&p));
    progress_heard(&p, 50, PATIENCE, PATIENCE_IDLE);
    assert_true(progress_may_send(&p));
}

TEST(an_acknowledged_snapshot_begins_replication)
{
    struct progress p = probing(3);
    progress_need_snapshot(&p);
    progress_snapshot_sent(&p, 50, true);
    assert_true(progress_acked(&p, 50));
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    assert_true(progress_may_send(&p));
}

TEST(a_snapshot_that_came_to_nothing_is_noticed)
{
    struct progress p = probing(3);
    progress_need_snapshot(&p);
    progress_snapshot_sent(&p, 50, true);
    pass(&p, PATIENCE_IDLE);
    progress_heard(&p, 2, PATIENCE, PATIENCE_IDLE);
    assert_int_equal(p.next, 3);
    assert_true(progress_may_send(&p));
}

TEST(after_a_failed_snapshot_the_member_must_show_itself)
{
    struct progress p = probing(3);
    progress_need_snapshot(&p);
    progress_snapshot_sent(&p, 50, false);
    assert_int_equal(p.next, 1);
    assert_false(progress_may_send(&p));
    progress_heard(&p, 0, PATIENCE, PATIENCE_IDLE);
    assert_true(progress_may_send(&p));
}

TEST(who_catches_up_by_itself_needs_no_snapshot)
{
    struct progress p = probing(3);
    progress_need_snapshot(&p);
    assert_true(progress_acked(&p, 7));
    assert_int_equal(p.state, PROGRESS_SNAPSHOT); /* whether 7 is enough the log knows */
    progress_resume(&p);
    assert_int_equal(p.next, 8);
    progress_snapshot_sent(&p, 50, true); /* the end of the stream is of no interest now */
    assert_int_equal(p.next, 8);
}

T_MAIN(T(who_needed_a_whole_time_out_for_a_round_has_not_caught_up),
       T(who_lacks_too_much_or_is_silent_or_slow_now_has_not_caught_up),
       T(a_probe_is_sent_once_and_next_stays), T(an_answered_probe_begins_replication),
       T(replication_runs_ahead_of_the_answers), T(what_is_under_way_is_bounded_in_messages),
       T(what_is_under_way_is_bounded_in_bytes), T(an_old_acknowledgement_changes_nothing),
       T(a_refusal_leads_back_to_the_hint), T(a_refusal_always_leads_back_but_never_below_match),
       T(an_old_refusal_is_ignored), T(a_lost_append_is_probed_for_after_a_while),
       T(a_slow_disk_is_not_a_lost_append), T(a_lost_probe_is_repeated_where_it_was),
       T(a_snapshot_stops_appends_until_it_is_sent), T(an_acknowledged_snapshot_begins_replication),
       T(a_snapshot_that_came_to_nothing_is_noticed),
       T(after_a_failed_snapshot_the_member_must_show_itself),
       T(who_catches_up_by_itself_needs_no_snapshot))
