/* SPDX-License-Identifier: Apache-2.0 */
/* One core alone: what it refuses, and single messages whose cases a whole group rarely meets. */
#include "tests/lib/t.h"
#include "cluster/raft/print.h"
#include "tests/unit/raft/lone.h"

static void refused(struct raft *r, struct raft_msg m)
{
    GString *before = g_string_new(NULL), *after = g_string_new(NULL);
    struct raft_status st = lone_status(r);

    raft_print_status(before, &st);
    T_ERR(ERR_INVALID, raft_step(r, &m));
    st = lone_status(r);
    raft_print_status(after, &st);
    assert_string_equal(before->str, after->str);
    g_string_free(before, true);
    g_string_free(after, true);
}

TEST(a_message_for_or_from_somebody_else_is_refused)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = lone_append(5, 3, 2, NULL, 0);
    struct raft_msg w = m;
    w.to = 3;
    refused(r, w);
    w = m;
    w.from = 2;
    refused(r, w);
    w = m;
    w.from = RAFT_NONE;
    refused(r, w);
    T_OK(raft_step(r, &m)); /* the message itself is fine */
    assert_int_equal(lone_status(r).leader, 1);
    raft_destroy(r);
}

TEST(an_unknown_type_is_refused)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = lone_append(5, 3, 2, NULL, 0);
    m.type = 0;
    refused(r, m);
    m.type = (enum raft_msg_type)77;
    refused(r, m);
    raft_destroy(r);
}

TEST(numbers_that_no_log_reaches_are_refused)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_entry e = lone_entry(4, 3);
    struct raft_msg m = lone_append(3, 3, 2, &e, 1), w = m;

    w.term = 0;
    refused(r, w);
    w.term = UINT64_MAX;
    refused(r, w);
    w = m;
    w.index = UINT64_MAX;
    refused(r, w);
    w = m;
    w.commit = UINT64_MAX;
    refused(r, w);
    w = m;
    e.index = w.index = UINT64_MAX;
    e.index = 0; /* prev + 1 wraps */
    refused(r, w);
    w = (struct raft_msg){
        .type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 3, .hint = UINT64_MAX};
    refused(r, w);
    raft_destroy(r);
}

TEST(entries_must_be_consecutive_with_terms_that_do_not_fall)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_entry ok[3] = {lone_entry(4, 3), lone_entry(5, 3), lone_entry(6, 4)}, e[3];
    struct raft_msg m = lone_append(4, 3, 2, e, 3);

    memcpy(e, ok, sizeof(e));
    e[1].index = 6;
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[0].index = 5;
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[1].term = 2; /* falls */
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[0].term = 1; /* falls below prev's */
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[2].term = 5; /* above the message's */
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[0].term = 0;
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[1].time_ns = e[0].time_ns; /* time must rise */
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    e[0].time_ns = 1; /* also after our own last entry */
    refused(r, m);
    memcpy(e, ok, sizeof(e));
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).last, 6);
    raft_destroy(r);
}

TEST(entries_of_types_that_cannot_be_obeyed_are_refused)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_entry e = lone_entry(4, 3);
    struct raft_msg m = lone_append(3, 3, 2, &e, 1);

    e.type = RAFT_ENTRY_CONF; /* "x" is no configuration */
    refused(r, m);
    e.type = (enum raft_entry_type)9;
    refused(r, m);
    e.type = RAFT_ENTRY_NOOP; /* with lone_payload */
    refused(r, m);
    e.type = RAFT_ENTRY_DATA;
    e.data = NULL;
    refused(r, m);
    e.data = buf_alloc(RAFT_ENTRY_BYTES_MAX + 1);
    refused(r, m);
    buf_unref(e.data);
    m.entries = NULL;
    refused(r, m);
    m.n_entries = APPEND_ENTRIES_MAX + 1;
    refused(r, m);
    raft_destroy(r);
}

TEST(an_index_without_a_term_names_nothing)
{
    struct raft *r = lone_node("112", 2, false);
    refused(r, lone_append(3, 3, 0, NULL, 0));
    refused(r, lone_append(3, 0, 2, NULL, 0));
    refused(r, lone_append(3, 3, 4, NULL, 0)); /* prev is newer than the message */
    struct raft_msg v = {
        .type = RAFT_VOTE, .from = 1, .to = 2, .term = 3, .index = 5, .log_term = 3};
    refused(r, v); /* a candidate's term is newer than its log */
    raft_destroy(r);
}

/* Dissertation 4.1: the sender may be under a newer configuration. */
TEST(who_asks_need_not_be_a_voter_that_we_know)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = lone_append(3, 3, 2, NULL, 0), last = {0};
    m.from = 9;
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).leader, 9);
    raft_destroy(r);

    r = lone_node("112", 2, false);
    m = (struct raft_msg){
        .type = RAFT_VOTE, .from = 4, .to = 2, .term = 3, .index = 3, .log_term = 2};
    T_OK(raft_step(r, &m));
    lone_settle(r, &last);
    assert_int_equal(last.type, RAFT_VOTE_RESP);
    assert_false(last.reject);
    raft_destroy(r);
}

TEST(answers_of_strangers_are_ignored)
{
    struct raft *r = lone_node("", 0, false);
    struct raft_msg m = {.type = RAFT_PREVOTE_RESP, .from = 9, .to = 2, .term = 1};
    raft_campaign(r);
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).role, RAFT_PRE_CANDIDATE);
    m.term = 7;
    m.reject = true;
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).term, 0);
    m = (struct raft_msg){.type = RAFT_PREVOTE_RESP, .from = 4, .to = 2, .term = 1};
    T_OK(raft_step(r, &m)); /* a learner's does not count */
    assert_int_equal(lone_status(r).role, RAFT_PRE_CANDIDATE);
    raft_destroy(r);
}

TEST(a_change_of_membership_must_make_sense)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_conf to = {.n_voters = 3, .voters = {1, 2, 3}};
    raft_index index = 77;
    raft_term term = 77;

    T_ERR(ERR_NOT_LEADER, raft_change_conf(r, &to, 1, &index, &term));
    raft_destroy(r);
    r = lone_leader(false); /* alone with its no-op: nobody else has acknowledged it */
    T_ERR(ERR_BUSY, raft_change_conf(r, &to, 1, &index, &term));
    struct raft_msg m = {.type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 1, .index = 1};
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    assert_int_equal(lone_status(r).applied, 1);

    to.n_voters = 0;
    T_ERR(ERR_INVALID, raft_change_conf(r, &to, 1, &index, &term));
    to = (struct raft_conf){.n_voters = 1, .n_outgoing = 1, .voters = {2}, .outgoing = {1}};
    T_ERR(ERR_INVALID, raft_change_conf(r, &to, 1, &index, &term));
    to = (struct raft_conf){.n_voters = 3, .n_learners = 1, .voters = {3, 2, 1}, .learners = {4}};
    T_ERR(ERR_EXISTS, raft_change_conf(r, &to, 1, &index, &term)); /* as it is */
    to = (struct raft_conf){.n_voters = 3, .voters = {1, 2, 5}};
    T_ERR(ERR_NOT_FOUND, raft_change_conf(r, &to, 1, &index, &term)); /* 5 was no learner */
    T_OK(raft_transfer(r, 1));
    to = (struct raft_conf){.n_voters = 3, .voters = {1, 2, 3}};
    T_ERR(ERR_BUSY, raft_change_conf(r, &to, 1, &index, &term));
    assert_int_equal(index, 77);
    raft_destroy(r);
}

TEST(membership_has_one_text_and_nothing_else_is_read_as_it)
{
    const struct raft_conf c = {.n_voters = 2,
                                .n_outgoing = 3,
                                .n_learners = 1,
                                .voters = {1, 0x01020304},
                                .outgoing = {1, 2, 3},
                                .learners = {2}};
    const uint8_t want[] = {1, 2, 1, 0, 0, 0, 4, 3, 2, 1, 3, 1, 0, 0,
                            0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 0, 0, 0};
    struct raft_conf got;
    struct buf *b = raft_conf_encode(&c);

    assert_int_equal(b->len, sizeof(want));
    assert_memory_equal(b->data, want, sizeof(want));
    T_OK(raft_conf_decode(buf_bytes(b), &got));
    assert_memory_equal(&got, &c, sizeof(c));
    for (size_t n = 0; n < b->len; n++)
        T_ERR(ERR_INVALID, raft_conf_decode(bytes_of(want, n), &got));
    b->data[0] = 2;
    T_ERR(ERR_FORMAT, raft_conf_decode(buf_bytes(b), &got));
    b->data[0] = 1;
    b->data[1] = VOTERS_MAX + 1;
    T_ERR(ERR_INVALID, raft_conf_decode(buf_bytes(b), &got));
    buf_unref(b);
}

TEST(two_leaders_of_one_term_are_refused)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = lone_append(3, 3, 2, NULL, 0);
    T_OK(raft_step(r, &m));
    m.from = 3;
    refused(r, m);
    raft_destroy(r);

    r = lone_leader(false);
    m = lone_append(1, 0, 0, NULL, 0); /* and we lead this one */
    refused(r, m);
    m.type = RAFT_HEARTBEAT;
    refused(r, m);
    raft_destroy(r);
}

TEST(an_answer_cannot_know_more_than_the_leader)
{
    struct raft *r = lone_leader(false); /* last 1, no read round yet */
    struct raft_msg m = {.type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 1, .index = 2};
    refused(r, m);
    m = (struct raft_msg){.type = RAFT_HEARTBEAT_RESP, .from = 1, .to = 2, .term = 1, .index = 2};
    refused(r, m);
    m.index = 1;
    m.hint = 2;
    refused(r, m);
    m.hint = 0;
    m.read_round = 1;
    refused(r, m);
    m.read_round = 0;
    T_OK(raft_step(r, &m));
    raft_destroy(r);
}

TEST(a_heartbeat_cannot_commit_what_was_never_acknowledged)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = {.type = RAFT_HEARTBEAT, .from = 1, .to = 2, .term = 3, .commit = 4};
    refused(r, m);
    raft_destroy(r);
}

/* Figure 2, AppendEntries 5: min(leaderCommit, index of last new entry), because what is after that
 * may not agree. */
TEST(commit_goes_no_further_than_the_message_checks)
{
    struct raft *r = lone_node("1122", 2, false);
    struct raft_msg m = lone_append(3, 2, 1, NULL, 0);
    m.commit = 4;
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).commit, 2);
    raft_destroy(r);
}

TEST(what_is_acknowledged_ends_with_the_message)
{
    struct raft *r = lone_node("1122", 2, false);
    struct raft_msg m = lone_append(3, 2, 1, NULL, 0), last = {0};
    T_OK(raft_step(r, &m));
    lone_settle(r, &last);
    assert_int_equal(last.type, RAFT_APPEND_RESP);
    assert_false(last.reject);
    assert_int_equal(last.index, 2);
    raft_destroy(r);
}

TEST(an_append_from_before_the_base_is_acknowledged_up_to_commit)
{
    struct raft *r = lone_node("1122", 2, false);
    struct raft_entry e[2] = {lone_entry(1, 1), lone_entry(2, 1)};
    struct raft_msg m = lone_append(3, 4, 2, NULL, 0), last = {0};
    m.commit = 4;
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    raft_compact(r, 3);
    m = lone_append(3, 0, 0, e, 2);
    T_OK(raft_step(r, &m));
    lone_settle(r, &last);
    assert_int_equal(last.index, 4);
    assert_int_equal(lone_status(r).last, 4);
    raft_destroy(r);
}

TEST(proposals_have_limits)
{
    struct raft *r = lone_node("112", 2, false);
    raft_index index = 77;
    raft_term term = 77;
    struct buf *big = buf_alloc(RAFT_ENTRY_BYTES_MAX + 1);

    T_ERR(ERR_NOT_LEADER, raft_propose(r, lone_payload, 1, &index, &term));
    raft_destroy(r);
    r = lone_leader(false);
    T_ERR(ERR_TOO_BIG, raft_propose(r, big, 1, &index, &term));
    T_ERR(ERR_INVALID, raft_propose(r, NULL, 1, &index, &term));
    T_ERR(ERR_INVALID, raft_propose(r, lone_payload, UINT64_MAX, &index, &term));
    assert_int_equal(index, 77);
    T_OK(raft_propose(r, lone_payload, 1, &index, &term));
    assert_int_equal(index, 2);
    assert_int_equal(term, 1);
    buf_unref(big);
    raft_destroy(r);
}

/* DESIGN 3.4: entry time = max(leader's clock, last + 1). */
TEST(time_in_the_log_rises_though_the_clock_may_fall)
{
    struct raft *r = lone_leader(false);
    raft_index index;
    raft_term term;
    struct raft_ready rd;

    T_OK(raft_propose(r, lone_payload, 5000, &index, &term));
    T_OK(raft_propose(r, lone_payload, 4000, &index, &term));
    T_OK(raft_propose(r, lone_payload, 9000, &index, &term));
    raft_ready(r, &rd);
    assert_int_equal(rd.persist.n_entries, 3);
    assert_int_equal(rd.persist.entries[0].time_ns, 5000);
    assert_int_equal(rd.persist.entries[1].time_ns, 5001);
    assert_int_equal(rd.persist.entries[2].time_ns, 9000);
    raft_destroy(r);
}

TEST(what_was_stored_wrongly_is_not_started_from)
{
    struct raft_config c = {.id = 1,
                            .conf = {.n_voters = 1, .voters = {1}},
                            .election_ticks = 10,
                            .heartbeat_ticks = 3,
                            .apply_bytes_max = 1000,
                            .rng = &lone_rng};
    struct raft_entry e[2] = {lone_entry(6, 2), lone_entry(7, 2)};
    struct raft_restore ok = {.hard = {.term = 2},
                              .snap_index = 5,
                              .snap_term = 2,
                              .applied = 6,
                              .entries = e,
                              .n_entries = 2};
    struct raft_restore s = ok;
    struct raft *r = NULL;

    T_OK(raft_create(&c, &s, &r));
    raft_destroy(r);
    s.applied = 4;
    T_ERR(ERR_INVALID, raft_create(&c, &s, &r));
    s.applied = 8;
    T_ERR(ERR_INVALID, raft_create(&c, &s, &r));
    s = ok;
    s.snap_term = 3; /* falls after it */
    T_ERR(ERR_INVALID, raft_create(&c, &s, &r));
    s = ok;
    s.snap_index = 4; /* a gap */
    T_ERR(ERR_INVALID, raft_create(&c, &s, &r));
    s = ok;
    c.conf.n_voters = 0;
    T_ERR(ERR_INVALID, raft_create(&c, &s, &r));
}

/* A crash may come between the installation of a snapshot and the write of the term it came with.
 */
TEST(the_log_may_be_ahead_of_the_term_on_disk)
{
    struct raft_restore s = {
        .hard = {.term = 2, .vote = 3}, .snap_index = 5, .snap_term = 4, .applied = 5};
    struct raft_config c = {.id = 1,
                            .conf = {.n_voters = 2, .voters = {1, 2}},
                            .election_ticks = 10,
                            .heartbeat_ticks = 3,
                            .apply_bytes_max = 1000,
                            .rng = &lone_rng};
    struct raft_ready rd;
    struct raft *r = NULL;

    T_OK(raft_create(&c, &s, &r));
    raft_ready(r, &rd);
    assert_true(rd.persist.hard_changed);
    assert_int_equal(rd.persist.hard.term, 4);
    assert_int_equal(rd.persist.hard.vote, RAFT_NONE);
    raft_destroy(r);
}

TEST(leadership_goes_to_voters_only_and_to_one_at_a_time)
{
    struct raft *r = lone_node("112", 2, false);
    T_ERR(ERR_NOT_LEADER, raft_transfer(r, 1));
    assert_int_equal(raft_transfer_choice(r), RAFT_NONE);
    raft_destroy(r);

    r = lone_leader(false);
    T_ERR(ERR_NOT_FOUND, raft_transfer(r, 9));
    T_ERR(ERR_INVALID, raft_transfer(r, 4)); /* the learner */
    T_OK(raft_transfer(r, 2));               /* leads already */
    assert_int_equal(lone_status(r).transfer_to, RAFT_NONE);
    T_OK(raft_transfer(r, 1));
    assert_int_equal(lone_status(r).transfer_to, 1);
    T_OK(raft_transfer(r, 1));
    T_ERR(ERR_BUSY, raft_transfer(r, 3));
    raft_destroy(r);
}

TEST(the_voter_with_the_longest_log_is_chosen)
{
    struct raft *r = lone_leader(false);
    struct raft_msg m = {.type = RAFT_APPEND_RESP, .from = 3, .to = 2, .term = 1, .index = 1};

    T_OK(raft_step(r, &m));
    assert_int_equal(raft_transfer_choice(r), 3);
    m.from = 4; /* a learner is none */
    T_OK(raft_step(r, &m));
    assert_int_equal(raft_transfer_choice(r), 3);
    raft_destroy(r);
}

TEST(only_a_vote_can_be_for_a_transfer_and_only_the_leader_can_order_one)
{
    struct raft *r = lone_node("112", 2, false);
    struct raft_msg m = lone_append(3, 3, 2, NULL, 0);
    T_OK(raft_step(r, &m));
    m.transfer = true;
    refused(r, m);
    m = (struct raft_msg){.type = RAFT_TIMEOUT_NOW, .from = 3, .to = 2, .term = 3};
    refused(r, m); /* 1 leads */
    m.from = 1;
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).role, RAFT_CANDIDATE);
    assert_int_equal(lone_status(r).term, 4);
    raft_destroy(r);
}

/* Random fields: never an assertion, never a change of term by what is refused. */
TEST(nonsense_is_survived)
{
    struct rng seed = t_rng();

    for (int round = 0; round < 300; round++) {
        struct raft *r =
            rng_chance(&seed, 500000) ? lone_leader(false) : lone_node("11223", 3, false);
        for (int i = 0; i < 200; i++) {
            struct raft_entry e[3];
            uint64_t pick[] = {0, 1, 2, 3, 4, 5, 6, 1ull << 62, UINT64_MAX};
#define ANY() pick[rng_below(&seed, ARRAY_LEN(pick))]
            for (unsigned k = 0; k < 3; k++) {
                e[k] = lone_entry(ANY(), ANY());
                e[k].type = (enum raft_entry_type)rng_below(&seed, 5);
            }
            struct raft_msg m = {.type = (enum raft_msg_type)rng_below(&seed, RAFT_REPAIR_RESP + 2),
                                 .from = (raft_id)rng_below(&seed, 5),
                                 .to = (raft_id)rng_between(&seed, 1, 2),
                                 .term = ANY(),
                                 .index = ANY(),
                                 .log_term = ANY(),
                                 .reject = rng_chance(&seed, 500000),
                                 .transfer = rng_chance(&seed, 100000),
                                 .promise = rng_chance(&seed, 100000) ? 10 : 0,
                                 .suspect = rng_chance(&seed, 300000),
                                 .hint = ANY(),
                                 .hint_term = ANY(),
                                 .read_round = ANY(),
                                 .entries = e,
                                 .n_entries = (unsigned)rng_below(&seed, 4)};
#undef ANY
            struct raft_status before = lone_status(r);
            if (raft_step(r, &m) < 0)
                assert_int_equal(lone_status(r).term, before.term);
            lone_settle(r, NULL);
        }
        raft_destroy(r);
    }
}

T_MAIN(T(a_message_for_or_from_somebody_else_is_refused), T(an_unknown_type_is_refused),
       T(numbers_that_no_log_reaches_are_refused),
       T(entries_must_be_consecutive_with_terms_that_do_not_fall),
       T(entries_of_types_that_cannot_be_obeyed_are_refused),
       T(an_index_without_a_term_names_nothing), T(who_asks_need_not_be_a_voter_that_we_know),
       T(answers_of_strangers_are_ignored), T(a_change_of_membership_must_make_sense),
       T(membership_has_one_text_and_nothing_else_is_read_as_it),
       T(two_leaders_of_one_term_are_refused), T(an_answer_cannot_know_more_than_the_leader),
       T(a_heartbeat_cannot_commit_what_was_never_acknowledged),
       T(commit_goes_no_further_than_the_message_checks),
       T(what_is_acknowledged_ends_with_the_message),
       T(an_append_from_before_the_base_is_acknowledged_up_to_commit), T(proposals_have_limits),
       T(time_in_the_log_rises_though_the_clock_may_fall),
       T(what_was_stored_wrongly_is_not_started_from), T(the_log_may_be_ahead_of_the_term_on_disk),
       T(leadership_goes_to_voters_only_and_to_one_at_a_time),
       T(the_voter_with_the_longest_log_is_chosen),
       T(only_a_vote_can_be_for_a_transfer_and_only_the_leader_can_order_one),
       T(nonsense_is_survived))
