/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeats that the host asks for, and which of them are urgent (raft_config.beats). */
#include "tests/lib/t.h"
#include "tests/unit/raft/lone.h"

static struct raft *beating_leader(void)
{
    struct raft *r;
    const struct raft_config c = {
        .id = 2,
        .conf = {.n_voters = 3, .voters = {1, 2, 3}},
        .election_ticks = 10,
        .heartbeat_ticks = 3,
        .beats = true,
        .apply_bytes_max = MIB(1),
        .rng = &lone_rng,
    };
    rng_seed(&lone_rng, 1);
    T_OK(raft_create(&c, NULL, &r));
    raft_campaign(r);
    struct raft_msg m = {.type = RAFT_PREVOTE_RESP, .from = 1, .to = 2, .term = 1};
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    m.type = RAFT_VOTE_RESP;
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    m = (struct raft_msg){.type = RAFT_APPEND_RESP, .from = 1, .to = 2, .term = 1, .index = 1};
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    assert_int_equal(lone_status(r).role, RAFT_LEADER);
    return r;
}

/* Heartbeats of the next ready; urgent ones also in *ret_urgent. */
static unsigned heartbeats(struct raft *r, unsigned *ret_urgent)
{
    struct raft_ready rd;
    unsigned n = 0;
    *ret_urgent = 0;
    raft_ready(r, &rd);
    for (unsigned i = 0; i < rd.n_send; i++) {
        n += rd.send[i].type == RAFT_HEARTBEAT;
        *ret_urgent += rd.send[i].type == RAFT_HEARTBEAT && rd.send[i].urgent;
    }
    return n;
}

TEST(ticks_alone_send_no_heartbeat)
{
    struct raft *r = beating_leader();
    unsigned urgent;
    for (unsigned i = 0; i < 8; i++)
        raft_tick(r);
    assert_int_equal(heartbeats(r, &urgent), 0);
    raft_destroy(r);
}

TEST(a_beat_sends_one_to_each_member_that_is_not_urgent)
{
    struct raft *r = beating_leader();
    unsigned urgent;
    raft_beat(r);
    assert_int_equal(heartbeats(r, &urgent), 2);
    assert_int_equal(urgent, 0);
    raft_destroy(r);
}

TEST(a_heartbeat_that_begins_a_read_round_is_urgent_also_with_a_beat)
{
    struct raft *r = beating_leader();
    unsigned urgent;
    raft_beat(r);
    T_OK(raft_read(r, 7));
    assert_int_equal(heartbeats(r, &urgent), 2);
    assert_int_equal(urgent, 2);
    raft_beat(r);
    assert_int_equal(heartbeats(r, &urgent), 2);
    assert_int_equal(urgent, 0);
    raft_destroy(r);
}

TEST(the_answer_to_an_urgent_one_is_urgent)
{
    for (unsigned urgent = 0; urgent < 2; urgent++) {
        struct raft *r = lone_node("1", 1, false);
        struct raft_msg m = {
            .type = RAFT_HEARTBEAT, .from = 1, .to = 2, .term = 1, .urgent = urgent == 1};
        struct raft_msg last = {0};
        T_OK(raft_step(r, &m));
        lone_settle(r, &last);
        assert_int_equal(last.type, RAFT_HEARTBEAT_RESP);
        assert_int_equal(last.urgent, urgent);
        raft_destroy(r);
    }
}

TEST(a_follower_does_not_beat)
{
    struct raft *r = lone_node("1", 1, false);
    unsigned urgent;
    raft_beat(r);
    assert_int_equal(heartbeats(r, &urgent), 0);
    raft_destroy(r);
}

/* The answer to the last heartbeat may have been composed before the append came. */
TEST(an_append_is_not_taken_for_lost_by_an_answer_of_the_heartbeat_before)
{
    struct raft *r = beating_leader();
    struct raft_ready rd;
    raft_index index;
    raft_term term;
    struct buf *data = buf_copy(bytes_str("x"));
    T_OK(raft_propose(r, data, 5, &index, &term));
    buf_unref(data);
    lone_settle(r, NULL);
    for (unsigned i = 0; i < 5; i++)
        raft_tick(r);
    struct raft_msg m = {.type = RAFT_HEARTBEAT_RESP, .from = 1, .to = 2, .term = 1, .index = 1};
    T_OK(raft_step(r, &m));
    raft_ready(r, &rd);
    for (unsigned i = 0; i < rd.n_send; i++)
        assert_int_not_equal(rd.send[i].type, RAFT_APPEND);
    raft_tick(r);
    T_OK(raft_step(r, &m));
    raft_ready(r, &rd);
    unsigned appends = 0;
    for (unsigned i = 0; i < rd.n_send; i++)
        appends += rd.send[i].type == RAFT_APPEND && rd.send[i].to == 1;
    assert_int_equal(appends, 1);
    raft_destroy(r);
}

T_MAIN(T(ticks_alone_send_no_heartbeat), T(a_beat_sends_one_to_each_member_that_is_not_urgent),
       T(a_heartbeat_that_begins_a_read_round_is_urgent_also_with_a_beat),
       T(the_answer_to_an_urgent_one_is_urgent), T(a_follower_does_not_beat),
       T(an_append_is_not_taken_for_lost_by_an_answer_of_the_heartbeat_before))
