/* SPDX-License-Identifier: Apache-2.0 */
/* Exactly once and sessions: DESIGN 3.3. */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/layout.h"

#define STATUS(r, want) assert_int_equal((r)->status, (want))

/* The store but for the applied record. */
static GByteArray *dump_without_applied(struct kvt *f)
{
    struct arena a = {0};
    struct bytes key = layout_applied_key(&a), was;
    struct store_write drop = {STORE_DELETE, key, BYTES_NONE};

    T_OK(f->store->ops->get(f->store, NULL, key, &a, &was));
    struct store_write put_back = {STORE_PUT, key, was};
    T_OK(f->store->ops->write(f->store, &drop, 1));
    GByteArray *dump = store_dump(f->store);
    T_OK(f->store->ops->write(f->store, &put_back, 1));
    arena_finish(&a);
    return dump;
}

static bool same(GByteArray *a, GByteArray *b)
{
    bool equal = a->len == b->len && memcmp(a->data, b->data, a->len) == 0;

    g_byte_array_unref(a);
    g_byte_array_unref(b);
    return equal;
}

static bool result_row(struct kvt *f, unsigned shard, uint64_t client, struct bytes *ret)
{
    return f->store->ops->get(f->store, NULL, layout_result_key(&f->arena, shard, client),
                              &f->arena, ret) == 0;
}

TEST(a_retry_gets_the_first_result_and_changes_nothing)
{
    struct kvt *f = kvt_create();
    struct kv_write add = number(f, KV_ADD64, A, 0, 1);
    EXEC(f, WRITE(put_bytes(A, le64_bytes(f, 0))));
    STATUS(AS(f, f->client, 9, 2, READ(get(A)), WRITE(add)), 0);
    struct bytes first = f->reply_body;
    GByteArray *before = dump_without_applied(f);
    STATUS(AS(f, f->client, 9, 2, READ(get(A)), WRITE(add)), 0);
    assert_true(bytes_eq(first, f->reply_body));
    assert_true(same(before, dump_without_applied(f)));
    assert_string_equal(f->changed->str, "");
    kvt_destroy(f);
}

TEST(a_retry_of_a_failed_request_fails_again_though_it_would_hold_now)
{
    struct kvt *f = kvt_create();
    STATUS(AS(f, f->client, 1, 1, COMPARE(exists(A)), WRITE(put(B, "1"))), ERR_FAILED);
    STATUS(AS(f, f->client, 2, 1, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, f->client, 1, 1, COMPARE(exists(A)), WRITE(put(B, "1"))), ERR_FAILED);
    assert_null(kvt_get(f, B));
    kvt_destroy(f);
}

TEST(a_result_that_was_too_big_stays_so)
{
    struct kvt *f = kvt_create();
    struct bytes big = bytes_of(arena_zalloc(&f->arena, RESULT_BYTES_MAX), RESULT_BYTES_MAX);
    EXEC(f, WRITE(put_bytes(A, big)));
    STATUS(AS(f, f->client, 5, 2, READ(get(A)), WRITE(put(B, "1"))), ERR_TOO_BIG);
    STATUS(AS(f, f->client, 6, 2, WRITE(put(A, "small"))), 0);
    STATUS(AS(f, f->client, 5, 2, READ(get(A)), WRITE(put(B, "1"))), ERR_TOO_BIG);
    kvt_destroy(f);
}

TEST(a_retry_after_reopening_gets_the_first_result)
{
    struct kvt *f = kvt_create();
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"), put(E, "1"))), 0);
    struct bytes first = f->reply_body;
    kvt_reopen(f);
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"), put(E, "1"))), 0);
    assert_true(bytes_eq(first, f->reply_body));
    assert_int_equal(kvt_version(f, A), 1);
    kvt_destroy(f);
}

TEST(the_leader_finds_a_kept_result_without_an_entry)
{
    struct kvt *f = kvt_create();
    struct msg_txn t = {.client = f->client, .seq = 1, .acked_below = 1, WRITE(put(A, "1"))};
    struct bytes body;
    assert_false(kv_result(f->kv, &t, &f->arena, &body));
    kvt_txn(f, &t);
    assert_true(kv_result(f->kv, &t, &f->arena, &body));
    assert_true(bytes_eq(body, f->reply_body));
    t.seq = 2;
    assert_false(kv_result(f->kv, &t, &f->arena, &body));
    kvt_destroy(f);
}

TEST(outstanding_requests_may_come_in_any_order)
{
    struct kvt *f = kvt_create();
    STATUS(AS(f, f->client, 8, 7, WRITE(put(A, "eight"))), 0);
    STATUS(AS(f, f->client, 7, 7, WRITE(put(B, "seven"))), 0);
    struct bytes seven = f->reply_body;
    STATUS(AS(f, f->client, 8, 7, WRITE(put(A, "eight"))), 0);
    STATUS(AS(f, f->client, 7, 7, WRITE(put(B, "seven"))), 0);
    assert_true(bytes_eq(seven, f->reply_body));
    assert_int_equal(kvt_version(f, A), 1);
    assert_int_equal(kvt_version(f, B), 2);
    kvt_destroy(f);
}

TEST(a_released_request_is_stale)
{
    struct kvt *f = kvt_create();
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, f->client, 3, 2, WRITE(put(A, "3"))), 0);
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"))), ERR_STALE);
    STATUS(AS(f, f->client, 2, 2, WRITE(put(B, "2"))), 0);
    assert_string_equal(kvt_get(f, A), "3");
    kvt_destroy(f);
}

TEST(acked_below_never_goes_back)
{
    struct kvt *f = kvt_create();
    STATUS(AS(f, f->client, 20, 20, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, f->client, 21, 5, WRITE(put(A, "2"))), 0);
    STATUS(AS(f, f->client, 19, 5, WRITE(put(A, "3"))), ERR_STALE);
    kvt_destroy(f);
}

TEST(acked_below_releases_the_results_before_it)
{
    struct kvt *f = kvt_create();
    struct bytes row;
    for (uint64_t seq = 1; seq <= 40; seq++)
        STATUS(AS(f, f->client, seq, 1, WRITE(put(A, "1"))), 0);
    assert_true(result_row(f, 1, f->client, &row));
    assert_true(row.n > 40 * 40);
    STATUS(AS(f, f->client, 41, 41, WRITE(put(A, "1"))), 0);
    assert_true(result_row(f, 1, f->client, &row));
    assert_true(row.n <= 64);
    kvt_destroy(f);
}

TEST(an_idle_session_costs_at_most_64_bytes_in_a_shard)
{
    struct kvt *f = kvt_create();
    struct bytes row;
    STATUS(EXEC(f, WRITE(put(A, "some value"))), 0);
    assert_true(result_row(f, 1, f->client, &row));
    assert_in_range(row.n, 1, 64);
    kvt_destroy(f);
}

TEST(a_client_that_releases_nothing_is_told_to_wait)
{
    struct kvt *f = kvt_create();
    for (uint64_t seq = 1; seq <= SESSION_WINDOW; seq++)
        STATUS(AS(f, f->client, seq, 1, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, f->client, SESSION_WINDOW + 1, 1, WRITE(put(A, "2"))), ERR_BUSY);
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, f->client, SESSION_WINDOW + 1, 2, WRITE(put(A, "2"))), 0);
    assert_string_equal(kvt_get(f, A), "2");
    kvt_destroy(f);
}

TEST(an_unknown_session_is_refused)
{
    struct kvt *f = kvt_create();
    STATUS(AS(f, f->client + 77, 1, 1, WRITE(put(A, "1"))), ERR_NO_SESSION);
    assert_null(kvt_get(f, A));
    kvt_destroy(f);
}

TEST(the_results_of_two_clients_are_apart)
{
    struct kvt *f = kvt_create();
    uint64_t other = kvt_session(f, "other");
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, other, 1, 1, WRITE(put(A, "2"))), 0);
    assert_string_equal(kvt_get(f, A), "2");
    kvt_destroy(f);
}

TEST(the_result_lies_in_the_lowest_shard_written)
{
    struct kvt *f = kvt_create();
    struct bytes row;
    STATUS(EXEC(f, COMPARE(absent(A)), WRITE(put(Z, "z"), put(E, "e"))), 0);
    assert_true(result_row(f, 2, f->client, &row));
    assert_false(result_row(f, 1, f->client, &row));
    assert_false(result_row(f, 15, f->client, &row));
    kvt_destroy(f);
}

TEST(a_closed_session_is_fenced_and_its_rows_are_gone)
{
    struct kvt *f = kvt_create();
    struct bytes row;
    GByteArray *before = dump_without_applied(f);
    uint64_t c = kvt_session(f, "short"), keep = f->client;
    STATUS(AS(f, c, 1, 1, COMPARE(exists(A)), WRITE(put(A, "1"))), ERR_FAILED);
    STATUS(AS(f, c, 2, 1, COMPARE(exists(A)), WRITE(put(E, "1"))), ERR_FAILED);
    STATUS(AS(f, c, 3, 1, COMPARE(exists(A)), WRITE(put(Z, "1"))), ERR_FAILED);
    assert_true(result_row(f, 15, c, &row));
    assert_int_equal(kvt_close_session(f, c), 0);
    assert_true(same(before, dump_without_applied(f)));
    STATUS(AS(f, c, 1, 1, WRITE(put(A, "late"))), ERR_NO_SESSION);
    STATUS(AS(f, c, 4, 1, WRITE(put(A, "late"))), ERR_NO_SESSION);
    assert_false(kv_has_session(f->kv, c));
    assert_true(kv_has_session(f->kv, keep));
    kvt_reopen(f);
    STATUS(AS(f, c, 4, 1, WRITE(put(A, "late"))), ERR_NO_SESSION);
    kvt_destroy(f);
}

TEST(closing_one_session_leaves_the_results_of_others)
{
    struct kvt *f = kvt_create();
    uint64_t other = kvt_session(f, "other");
    STATUS(AS(f, f->client, 1, 1, WRITE(put(A, "1"))), 0);
    STATUS(AS(f, other, 1, 1, WRITE(put(A, "2"))), 0);
    assert_int_equal(kvt_close_session(f, f->client), 0);
    STATUS(AS(f, other, 1, 1, WRITE(put(A, "2"))), 0);
    assert_int_equal(kvt_version(f, A), 2);
    kvt_destroy(f);
}

TEST(closing_an_unknown_session_says_so)
{
    struct kvt *f = kvt_create();
    assert_int_equal(kvt_close_session(f, 4711), ERR_NO_SESSION);
    kvt_destroy(f);
}

static void count_session(void *arg, uint64_t client, struct bytes name)
{
    g_string_append_printf(arg, "%llu:%.*s ", (unsigned long long)client, (int)name.n, name.p);
}

TEST(live_sessions_are_listed_in_order_also_after_reopening)
{
    struct kvt *f = kvt_create();
    GString *s = g_string_new(NULL);
    kvt_session(f, "two");
    uint64_t gone = kvt_session(f, "three");
    kvt_session(f, "");
    kvt_close_session(f, gone);
    kvt_reopen(f);
    assert_int_equal(kv_sessions(f->kv), 3);
    kv_each_session(f->kv, count_session, s);
    assert_string_equal(s->str, "1:fixture 2:two 4: ");
    g_string_free(s, true);
    kvt_destroy(f);
}

static uint64_t open_with_nonce(struct kvt *f, uint64_t nonce, const char *name)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_open m = {.nonce = nonce, .name = bytes_str(name)};
    struct msg_session_reply r;

    enc_session_open(&e, &m);
    CLEANUP(buf_unref) struct buf *b = kv_command(KV_CMD_SESSION_OPEN, enc_view(&e));
    T_OK(kvt_apply(f, buf_bytes(b)));
    T_OK(dec_session_reply(f->reply_body, &f->arena, &r));
    assert_int_equal(r.status, 0);
    return r.client;
}

TEST(a_repeated_open_gets_the_session_it_has_made)
{
    struct kvt *f = kvt_create();
    uint64_t c = open_with_nonce(f, 99, "mount");
    assert_int_equal(open_with_nonce(f, 99, "mount"), c);
    kvt_reopen(f);
    assert_int_equal(open_with_nonce(f, 99, "mount"), c);
    assert_int_not_equal(open_with_nonce(f, 98, "mount"), c);
    kvt_close_session(f, c);
    assert_int_not_equal(open_with_nonce(f, 99, "mount"), c);
    kvt_destroy(f);
}

TEST(a_busy_client_costs_no_get_but_its_keys)
{
    struct kvt *f = kvt_create();
    EXEC(f, WRITE(put(A, "1")));
    unsigned before = ram_store_gets(f->store);
    EXEC(f, WRITE(put(A, "2")));
    assert_int_equal(ram_store_gets(f->store) - before, 0);
    EXEC(f, COMPARE(exists(A), version(A, 2)), READ(get(A)),
         WRITE(write_at(A, 0, "3"), put(B, "")));
    assert_int_equal(ram_store_gets(f->store) - before, 1);
    kvt_destroy(f);
}

T_MAIN(T(a_retry_gets_the_first_result_and_changes_nothing),
       T(a_retry_of_a_failed_request_fails_again_though_it_would_hold_now),
       T(a_result_that_was_too_big_stays_so), T(a_retry_after_reopening_gets_the_first_result),
       T(the_leader_finds_a_kept_result_without_an_entry),
       T(outstanding_requests_may_come_in_any_order), T(a_released_request_is_stale),
       T(acked_below_never_goes_back), T(acked_below_releases_the_results_before_it),
       T(an_idle_session_costs_at_most_64_bytes_in_a_shard),
       T(a_client_that_releases_nothing_is_told_to_wait), T(an_unknown_session_is_refused),
       T(the_results_of_two_clients_are_apart), T(the_result_lies_in_the_lowest_shard_written),
       T(a_closed_session_is_fenced_and_its_rows_are_gone),
       T(closing_one_session_leaves_the_results_of_others), T(closing_an_unknown_session_says_so),
       T(live_sessions_are_listed_in_order_also_after_reopening),
       T(a_repeated_open_gets_the_session_it_has_made), T(a_busy_client_costs_no_get_but_its_keys))
