/* SPDX-License-Identifier: Apache-2.0 */
/* Raft messages as frames and back. */
#include "cluster/node/wire.h"
#include "tests/lib/t.h"

static struct msg_raft_wire decoded(const struct enc *e, struct arena *a)
{
    struct frame f;
    size_t used;
    struct msg_raft_wire w;
    T_OK(frame_parse(enc_view(e), &f, &used));
    assert_int_equal(used, e->n);
    assert_int_equal(f.type, MSG_raft_wire);
    T_OK(dec_raft_wire(f.body, a, &w));
    return w;
}

TEST(a_message_comes_back_as_it_was)
{
    struct arena a = {0};
    struct enc e = {0};
    struct buf *data = buf_copy(bytes_str("command"));
    const struct raft_entry entries[] = {
        {.term = 3, .index = 8, .time_ns = 11, .type = RAFT_ENTRY_NOOP},
        {.term = 4, .index = 9, .time_ns = 12, .type = RAFT_ENTRY_DATA, .data = data},
    };
    const struct raft_msg m = {
        .type = RAFT_APPEND,
        .from = 1,
        .to = 2,
        .term = 4,
        .index = 7,
        .log_term = 3,
        .commit = 6,
        .reject = true,
        .hint = 5,
        .hint_term = 2,
        .read_round = 99,
        .entries = entries,
        .n_entries = 2,
    };
    wire_put_raft(&e, &a, 17, &m);
    struct msg_raft_wire w = decoded(&e, &a);
    struct raft_msg got;
    assert_int_equal(w.gid, 17);
    T_OK(wire_get_raft(&w, &a, &got));
    assert_int_equal(got.type, m.type);
    assert_int_equal(got.from, m.from);
    assert_int_equal(got.to, m.to);
    assert_int_equal(got.term, m.term);
    assert_int_equal(got.index, m.index);
    assert_int_equal(got.log_term, m.log_term);
    assert_int_equal(got.commit, m.commit);
    assert_int_equal(got.reject, m.reject);
    assert_int_equal(got.hint, m.hint);
    assert_int_equal(got.hint_term, m.hint_term);
    assert_int_equal(got.read_round, m.read_round);
    assert_int_equal(got.n_entries, 2);
    assert_null(got.entries[0].data);
    assert_int_equal(got.entries[1].index, 9);
    assert_int_equal(got.entries[1].time_ns, 12);
    assert_true(bytes_eq(buf_bytes(got.entries[1].data), bytes_str("command")));
    wire_release(&got);
    buf_unref(data);
    enc_finish(&e);
    arena_finish(&a);
}

TEST(unknown_types_are_refused)
{
    struct arena a = {0};
    struct raft_wire_entry entry = {.type = 77};
    struct raft_msg got;
    struct msg_raft_wire w = {.type = 0};
    T_ERR(ERR_INVALID, wire_get_raft(&w, &a, &got));
    w.type = 200;
    T_ERR(ERR_INVALID, wire_get_raft(&w, &a, &got));
    w = (struct msg_raft_wire){.type = RAFT_APPEND, .n_entries = 1, .entries = &entry};
    T_ERR(ERR_INVALID, wire_get_raft(&w, &a, &got));
    arena_finish(&a);
}

TEST(membership_comes_back_as_it_was)
{
    struct enc e = {0};
    const struct raft_conf conf = {.n_voters = 3,
                                   .n_outgoing = 2,
                                   .n_learners = 1,
                                   .voters = {1, 2, 3},
                                   .outgoing = {2, 9},
                                   .learners = {9}};
    struct raft_conf got;
    wire_put_conf(&e, &conf);
    T_OK(wire_get_conf(enc_view(&e), &got));
    assert_memory_equal(&got, &conf, sizeof(conf));
    for (size_t n = 0; n < e.n; n++)
        T_ERR(ERR_INVALID, wire_get_conf(bytes_of(e.p, n), &got));
    enc_finish(&e);
}

TEST(flags_travel_beside_a_refusal)
{
    for (unsigned bits = 0; bits < 16; bits++) {
        struct arena a = {0};
        struct enc e = {0};
        const struct raft_msg m = {.type = RAFT_VOTE,
                                   .term = 4,
                                   .reject = bits & 1,
                                   .transfer = bits & 2,
                                   .suspect = bits & 4,
                                   .urgent = bits & 8};
        struct raft_msg got;
        wire_put_raft(&e, &a, 17, &m);
        struct msg_raft_wire w = decoded(&e, &a);
        T_OK(wire_get_raft(&w, &a, &got));
        assert_int_equal(got.reject, m.reject);
        assert_int_equal(got.transfer, m.transfer);
        assert_int_equal(got.suspect, m.suspect);
        assert_int_equal(got.urgent, m.urgent);
        w.reject = 4;
        T_ERR(ERR_INVALID, wire_get_raft(&w, &a, &got));
        w.reject = 32;
        T_ERR(ERR_INVALID, wire_get_raft(&w, &a, &got));
        arena_finish(&a);
        enc_finish(&e);
    }
}

TEST(a_promise_travels_with_its_length)
{
    struct arena a = {0};
    struct enc e = {0};
    const struct raft_msg m = {.type = RAFT_HEARTBEAT_RESP, .term = 4, .promise = 30};
    struct raft_msg got;
    wire_put_raft(&e, &a, 17, &m);
    struct msg_raft_wire w = decoded(&e, &a);
    T_OK(wire_get_raft(&w, &a, &got));
    assert_int_equal(got.promise, 30);
    w.hint_term = UINT64_MAX; /* not less than it says */
    T_OK(wire_get_raft(&w, &a, &got));
    assert_int_equal(got.promise, UINT_MAX);
    w.type = RAFT_APPEND_RESP;
    T_OK(wire_get_raft(&w, &a, &got));
    assert_int_equal(got.promise, 0);
    arena_finish(&a);
    enc_finish(&e);
}

T_MAIN(T(a_message_comes_back_as_it_was), T(flags_travel_beside_a_refusal),
       T(a_promise_travels_with_its_length), T(unknown_types_are_refused),
       T(membership_comes_back_as_it_was))
