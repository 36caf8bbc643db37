/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"
#include "cluster/raft/log.h"

static void add(struct raftlog *l, raft_term term, size_t bytes)
{
    struct buf *b = bytes ? buf_alloc(bytes) : NULL;
    struct raft_entry e = {.term = term,
                           .index = raftlog_last(l) + 1,
                           .time_ns = raftlog_last_time(l) + 1,
                           .type = b ? RAFT_ENTRY_DATA : RAFT_ENTRY_NOOP,
                           .data = b};
    if (b)
        memset(b->data, 0, bytes);
    raftlog_append(l, &e);
    buf_unref(b);
}

/* Entries base+1.. with the terms of a string: "1123". */
static struct raftlog log_of(raft_index base, raft_term base_term, const char *terms)
{
    struct raftlog l;
    raftlog_init(&l, base, base_term, 100);
    for (; *terms; terms++)
        add(&l, (raft_term)(*terms - '0'), 1);
    return l;
}

TEST(an_empty_log_begins_after_its_base)
{
    struct raftlog l = log_of(7, 3, "");
    assert_int_equal(raftlog_first(&l), 8);
    assert_int_equal(raftlog_last(&l), 7);
    assert_int_equal(raftlog_last_term(&l), 3);
    assert_int_equal(raftlog_last_time(&l), 100);
    assert_int_equal(raftlog_term_at(&l, 6), 0);
    assert_int_equal(raftlog_term_at(&l, 8), 0);
    raftlog_finish(&l);
}

TEST(a_truncated_tail_is_forgotten_and_can_be_written_anew)
{
    struct raftlog l = log_of(0, 0, "11222");
    raftlog_truncate(&l, 4);
    assert_int_equal(raftlog_last(&l), 3);
    assert_int_equal(raftlog_term_at(&l, 4), 0);
    assert_int_equal(l.bytes, 3);
    add(&l, 5, 1);
    assert_int_equal(raftlog_term_at(&l, 4), 5);
    raftlog_truncate(&l, 9); /* beyond the end: nothing */
    assert_int_equal(raftlog_last(&l), 4);
    raftlog_truncate(&l, 1);
    assert_int_equal(raftlog_last(&l), 0);
    assert_int_equal(l.bytes, 0);
    raftlog_finish(&l);
}

TEST(compaction_moves_the_base_and_keeps_its_term_and_time)
{
    struct raftlog l = log_of(0, 0, "11223");
    uint64_t time_ns = raftlog_at(&l, 4)->time_ns;
    raftlog_compact(&l, 4);
    assert_int_equal(l.base, 4);
    assert_int_equal(l.base_term, 2);
    assert_int_equal(l.base_time, time_ns);
    assert_int_equal(raftlog_term_at(&l, 5), 3);
    assert_int_equal(raftlog_term_at(&l, 3), 0);
    raftlog_compact(&l, 2); /* was already */
    assert_int_equal(l.base, 4);
    raftlog_compact(&l, 5);
    assert_int_equal(raftlog_last(&l), 5);
    assert_int_equal(raftlog_last_term(&l), 3);
    assert_int_equal(l.bytes, 0);
    raftlog_finish(&l);
}

TEST(a_long_life_does_not_grow_the_log)
{
    struct raftlog l = log_of(0, 0, "1");
    for (unsigned i = 0; i < 100000; i++) {
        add(&l, 1 + i / 1000, 1);
        if (l.n > 500)
            raftlog_compact(&l, raftlog_last(&l) - 100);
    }
    assert_true(l.cap <= 2048);
    assert_int_equal(raftlog_at(&l, raftlog_last(&l))->index, 100001);
    for (raft_index i = raftlog_first(&l); i <= raftlog_last(&l); i++)
        assert_int_equal(raftlog_at(&l, i)->index, i);
    raftlog_finish(&l);
}

TEST(the_floor_is_the_newest_entry_of_a_term_or_before)
{
    struct raftlog l = log_of(2, 1, "1144466");
    assert_int_equal(raftlog_floor(&l, 9, 6), 9);
    assert_int_equal(raftlog_floor(&l, 99, 6), 9);
    assert_int_equal(raftlog_floor(&l, 9, 5), 7);
    assert_int_equal(raftlog_floor(&l, 6, 9), 6);
    assert_int_equal(raftlog_floor(&l, 9, 3), 4);
    assert_int_equal(raftlog_floor(&l, 9, 1), 4);
    assert_int_equal(raftlog_floor(&l, 9, 0), 2); /* none: the base */
    assert_int_equal(raftlog_floor(&l, 1, 9), 2);
    raftlog_finish(&l);
}

TEST(a_batch_fits_its_bounds_but_has_at_least_one_entry)
{
    struct raftlog l = log_of(0, 0, "1111");
    uint64_t bytes;
    add(&l, 1, 1000);
    add(&l, 1, 0);
    assert_int_equal(raftlog_fit(&l, 1, 6, 3, 99, &bytes), 3);
    assert_int_equal(bytes, 3);
    assert_int_equal(raftlog_fit(&l, 1, 6, 99, 2, &bytes), 2);
    assert_int_equal(raftlog_fit(&l, 1, 3, 99, 99, &bytes), 3);
    assert_int_equal(raftlog_fit(&l, 5, 6, 10, 99, &bytes), 1);
    assert_int_equal(bytes, 1000);
    assert_int_equal(raftlog_fit(&l, 7, 6, 10, 99, &bytes), 0);
    assert_int_equal(bytes, 0);
    raftlog_finish(&l);
}

TEST(the_log_shares_payload_and_lets_it_go)
{
    struct raftlog l = log_of(0, 0, "");
    struct buf *b = buf_alloc(10);
    struct raft_entry e = {
        .term = 1, .index = 1, .time_ns = 200, .type = RAFT_ENTRY_DATA, .data = b};
    raftlog_append(&l, &e);
    assert_int_equal(b->refs, 2);
    assert_int_equal(l.bytes, 10);
    raftlog_reset(&l, 9, 2, 300);
    assert_int_equal(b->refs, 1);
    assert_int_equal(l.bytes, 0);
    assert_int_equal(raftlog_last(&l), 9);
    buf_unref(b);
    raftlog_finish(&l);
}

T_MAIN(T(an_empty_log_begins_after_its_base),
       T(a_truncated_tail_is_forgotten_and_can_be_written_anew),
       T(compaction_moves_the_base_and_keeps_its_term_and_time),
       T(a_long_life_does_not_grow_the_log), T(the_floor_is_the_newest_entry_of_a_term_or_before),
       T(a_batch_fits_its_bounds_but_has_at_least_one_entry),
       T(the_log_shares_payload_and_lets_it_go))
