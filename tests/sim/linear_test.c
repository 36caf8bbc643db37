/* SPDX-License-Identifier: Apache-2.0 */
/* The judge is judged: histories that are right and ones that are not. */
#include "tests/lib/t.h"
#include "tests/sim/linear.h"

static struct history *history;

static struct hist_op *call(const struct model_txn *t)
{
    return history_call(history, 0, t, history->stamp);
}

static struct model_txn put_txn(uint64_t value)
{
    struct model_txn t = {.n_writes = 1};
    t.writes[0] = (struct model_part){.op = KV_PUT, .n = 8};
    put_le64(t.writes[0].bytes, value);
    return t;
}

static struct model_txn add_txn(uint64_t delta)
{
    struct model_txn t = put_txn(delta);
    t.writes[0].op = KV_ADD64;
    return t;
}

static struct hist_op *call_put(uint64_t value)
{
    struct model_txn t = put_txn(value);
    return call(&t);
}

static struct hist_op *call_add(uint64_t delta)
{
    struct model_txn t = add_txn(delta);
    return call(&t);
}

static struct hist_op *call_get(void)
{
    struct model_txn t = {.n_reads = 1};
    t.reads[0].op = KV_GET;
    return call(&t);
}

/* The answer of a write; time follows the version. */
static void written(struct hist_op *op, uint64_t version)
{
    op->reply.versions[0] = op->reply.time = version;
    history_return(history, op, history->stamp);
}

static void got(struct hist_op *op, uint64_t version, uint64_t value)
{
    struct model_read *r = &op->reply.reads[0];
    r->version = version;
    r->size = r->n = version ? 8 : 0;
    if (version)
        put_le64(r->bytes, value);
    history_return(history, op, history->stamp);
}

static enum linear_verdict judge(void)
{
    GString *text = g_string_new("");
    enum linear_verdict v = history_check(history, 0, 100000, text);
    assert_true((v == LINEAR_OK) == (text->len == 0));
    g_string_free(text, TRUE);
    history_destroy(history);
    history = history_create(1);
    return v;
}

TEST(one_after_another_is_right)
{
    got(call_get(), 0, 0);
    written(call_put(7), 1);
    got(call_get(), 1, 7);
    assert_int_equal(judge(), LINEAR_OK);
}

TEST(a_read_may_see_a_write_under_way)
{
    struct hist_op *w = call_put(7);
    got(call_get(), 1, 7);
    written(w, 1);
    assert_int_equal(judge(), LINEAR_OK);
}

TEST(a_stale_read_is_found)
{
    written(call_put(7), 1);
    written(call_put(8), 2);
    got(call_get(), 1, 7);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

TEST(a_read_does_not_go_back_to_before_a_write_that_was_seen)
{
    struct hist_op *w = call_put(7);
    got(call_get(), 1, 7);
    got(call_get(), 0, 0);
    written(w, 1);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

TEST(an_unanswered_write_may_have_happened)
{
    call_put(7);
    got(call_get(), 0, 0);
    got(call_get(), 1, 7);
    assert_int_equal(judge(), LINEAR_OK);
}

TEST(an_unanswered_write_may_never_have_happened)
{
    call_put(7);
    written(call_put(8), 1);
    got(call_get(), 1, 8);
    assert_int_equal(judge(), LINEAR_OK);
}

TEST(a_lost_write_is_found)
{
    written(call_put(7), 1);
    got(call_get(), 0, 0);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

TEST(an_increment_done_twice_is_found)
{
    written(call_put(0), 1);
    written(call_add(1), 2);
    got(call_get(), 3, 2);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

TEST(an_unanswered_increment_counts_once)
{
    written(call_put(0), 1);
    call_add(1);
    got(call_get(), 2, 1);
    got(call_get(), 2, 1);
    assert_int_equal(judge(), LINEAR_OK);
    written(call_put(0), 1);
    call_add(1);
    got(call_get(), 3, 2);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

TEST(a_failed_compare_is_believed_only_where_it_fails)
{
    struct model_txn t = put_txn(8);
    t.n_compares = 1;
    t.compares[0].op = KV_ABSENT;
    written(call_put(7), 1);
    struct hist_op *op = call(&t);
    op->reply = (struct model_reply){.status = ERR_FAILED, .time = 2};
    history_return(history, op, 0);
    assert_int_equal(judge(), LINEAR_OK);
    op = call(&t);
    op->reply = (struct model_reply){.status = ERR_FAILED, .time = 2};
    history_return(history, op, 0);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

/* Cells 0 and 1 hold 1 and 2. */
static void put_two_cells(void)
{
    struct model_txn t = put_txn(1);
    t.n_writes = 2;
    t.writes[1] = t.writes[0];
    t.writes[1].cell = 1;
    put_le64(t.writes[1].bytes, 2);
    written(call(&t), 1);
}

static struct hist_op *call_scan(void)
{
    struct model_txn t = {.n_reads = 1};
    t.reads[0] = (struct model_part){.op = KV_SCAN, .arg = 10};
    return call(&t);
}

static void scanned(struct hist_op *op, unsigned cells)
{
    for (unsigned i = 0; i < cells; i++) {
        uint8_t value[8];
        put_le64(value, i + 1);
        model_scan_pair(&op->reply.reads[0], i, 1, bytes_of(value, 8));
    }
    history_return(history, op, history->stamp);
}

TEST(a_scan_sees_every_key_of_its_range)
{
    put_two_cells();
    scanned(call_scan(), 2);
    assert_int_equal(judge(), LINEAR_OK);
    put_two_cells();
    scanned(call_scan(), 1);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

TEST(a_range_is_deleted_in_order_and_counted)
{
    put_two_cells();
    struct model_txn t = {.n_writes = 1};
    t.writes[0] = (struct model_part){.op = KV_DELETE_RANGE, .arg = 1};
    struct hist_op *op = call(&t);
    op->reply.deleted = 1;
    written(op, 2);
    got(call_get(), 0, 0);
    assert_int_equal(judge(), LINEAR_OK);
    put_two_cells();
    t.writes[0].arg = 2;
    op = call(&t);
    op->reply.deleted = 1; /* of two */
    written(op, 2);
    assert_int_equal(judge(), LINEAR_VIOLATION);
}

/* Their orders are more than any budget has room for. */
TEST(unanswered_writes_cost_nothing_where_versions_leave_no_room)
{
    written(call_put(1), 1);
    for (uint64_t i = 0; i < 30; i++)
        call_put(100 + i);
    for (unsigned i = 0; i < 3; i++) {
        struct model_txn t = add_txn(1);
        t.n_compares = 1;
        t.compares[0].op = KV_ABSENT;
        struct hist_op *op = call(&t);
        op->reply.status = ERR_FAILED;
        history_return(history, op, history->stamp);
    }
    got(call_get(), 1, 1);
    written(call_put(2), 2);
    assert_int_equal(judge(), LINEAR_OK);
}

TEST(an_exhausted_search_is_no_success)
{
    written(call_put(7), 1);
    GString *text = g_string_new("");
    assert_int_equal(history_check(history, 0, 0, text), LINEAR_BUDGET);
    g_string_free(text, TRUE);
    assert_int_equal(judge(), LINEAR_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(one_after_another_is_right),
        T(a_read_may_see_a_write_under_way),
        T(a_stale_read_is_found),
        T(a_read_does_not_go_back_to_before_a_write_that_was_seen),
        T(an_unanswered_write_may_have_happened),
        T(an_unanswered_write_may_never_have_happened),
        T(a_lost_write_is_found),
        T(an_increment_done_twice_is_found),
        T(an_unanswered_increment_counts_once),
        T(a_failed_compare_is_believed_only_where_it_fails),
        T(a_scan_sees_every_key_of_its_range),
        T(a_range_is_deleted_in_order_and_counted),
        T(unanswered_writes_cost_nothing_where_versions_leave_no_room),
        T(an_exhausted_search_is_no_success),
    };
    history = history_create(1);
    int failed = t_run(argc, argv, tests, ARRAY_LEN(tests));
    history_destroy(history);
    return failed;
}
