/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions over several groups, step by step: DESIGN 3.2. */
#include "tests/unit/kv/cluster.h"
#include "cluster/kv/layout.h"

/* Group 1 owns shard 2 (keys E, F), group 0 the others (A ... D, Z). */
struct two {
    struct kvc *c;
    uint64_t client, seq, n;
};

static struct two two_create(void)
{
    struct two t = {kvc_create(2)};

    kvc_own(t.c, 1, 2);
    t.client = kvc_session(t.c);
    return t;
}

static struct txid attempt(struct two *t)
{
    return (struct txid){0, t->c->g[0].term, ++t->n};
}

static struct msg_txn *named(struct two *t, struct msg_txn m)
{
    struct msg_txn *p = arena_zalloc(&t->c->arena, sizeof(*p));

    *p = m;
    p->client = t->client;
    p->seq = p->acked_below = ++t->seq;
    return p;
}
#define NAMED(t, ...) named((t), (struct msg_txn){__VA_ARGS__})

static struct bytes le64(struct two *t, uint64_t n)
{
    uint8_t *p = arena_alloc(&t->c->arena, 8);

    put_le64(p, n);
    return bytes_of(p, 8);
}

static struct kv_write add(struct two *t, struct bytes key, uint64_t n)
{
    return (struct kv_write){.op = KV_ADD64, .key = key, .value = le64(t, n)};
}

static uint64_t number_at(struct two *t, struct bytes key)
{
    const char *v = kvc_get(t->c, key);

    assert_non_null(v);
    return get_le64((const uint8_t *)v);
}

static struct msg_txn_reply *prepare(struct two *t, struct txid id, const struct msg_txn *m)
{
    return kvc_prepare(t->c, 1, id, kvc_part(t->c, 1, m));
}

static struct msg_decided *decide(struct two *t, struct txid id, const struct msg_txn *m,
                                  struct msg_txn_reply *vote)
{
    return kvc_decide(t->c, 0, id, m, (unsigned[]){1}, &vote, 1);
}

/* All of it; the reply. */
static struct msg_txn_reply *run(struct two *t, const struct msg_txn *m)
{
    struct txid id = attempt(t);
    struct msg_decided *d = decide(t, id, m, prepare(t, id, m));
    struct msg_txn_reply *r = kvc_reply(t->c, d->reply);

    assert_int_equal(kvc_outcome(t->c, 1, id, d->commit, r->time), 0);
    if (d->commit)
        assert_int_equal(kvc_ended(t->c, 0, id), 0);
    return r;
}

static int read_status(struct two *t, unsigned group, struct bytes key)
{
    struct msg_txn m = {READ(get(key))};
    struct msg_txn_reply r;

    return kv_read(t->c->g[group].kv, &m, &t->c->arena, &r);
}

static void two_destroy(struct two *t)
{
    assert_int_equal(kv_prepared(t->c->g[1].kv), 0);
    kvc_check_replica(t->c, 0);
    kvc_check_replica(t->c, 1);
    kvc_destroy(t->c);
}

/* --- the good case ---------------------------------------------------------------------------- */

TEST(a_transaction_over_two_groups_takes_effect_in_both_and_not_before_it_is_decided)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, WRITE(put(E, "there"), put(A, "here")));
    struct msg_txn_reply *vote = prepare(&t, id, m);
    assert_int_equal(vote->status, 0);
    assert_null(kvc_get(t.c, A));
    T_ERR(ERR_BUSY, read_status(&t, 1, E));
    struct msg_decided *d = decide(&t, id, m, vote);
    assert_int_equal(d->commit, 1);
    assert_string_equal(kvc_get(t.c, A), "here");
    T_ERR(ERR_BUSY, read_status(&t, 1, E));
    assert_int_equal(kvc_outcome(t.c, 1, id, true, 5), 0);
    assert_string_equal(kvc_get(t.c, E), "there");
    assert_int_equal(t.c->g[1].released, 1);
    two_destroy(&t);
}

TEST(the_reply_has_reads_and_versions_of_all_groups_in_the_request_s_order)
{
    struct two t = two_create();
    assert_int_equal(run(&t, NAMED(&t, WRITE(put(E, "e"), put(A, "a"), put(F, "f"))))->status, 0);
    struct msg_txn *m =
        NAMED(&t, COMPARE(exists(F), exists(A)), READ(get(E), get(A), get(F)),
              WRITE(del_range(SHARD("\2"), SHARD("\3"), 9), put(B, "b"), del_range(A, B, 9)));
    struct msg_txn_reply *r = run(&t, m);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->n_reads, 3);
    assert_memory_equal(r->reads[0].value.p, "e", 1);
    assert_memory_equal(r->reads[1].value.p, "a", 1);
    assert_memory_equal(r->reads[2].value.p, "f", 1);
    assert_int_equal(r->n_versions, 2);
    assert_int_equal(r->versions[0].shard, 1);
    assert_int_equal(r->versions[1].shard, 2);
    assert_int_equal(r->versions[1].version, 2);
    assert_int_equal(r->deleted[0].value, 2);
    assert_int_equal(r->deleted[1].value, 1);
    assert_null(kvc_get(t.c, E));
    assert_string_equal(kvc_get(t.c, B), "b");
    two_destroy(&t);
}

TEST(a_retry_gets_the_stored_result_whole)
{
    struct two t = two_create();
    struct msg_txn *m = NAMED(&t, READ(get(E)), WRITE(put(E, "x"), put(A, "y")));
    struct msg_txn_reply *first = run(&t, m);
    struct bytes known;
    assert_true(kv_result(t.c->g[0].kv, kvc_part(t.c, 0, m), &t.c->arena, &known));
    struct txid id = attempt(&t);
    struct msg_txn_reply *vote = prepare(&t, id, m);
    struct msg_decided *d = decide(&t, id, m, vote);
    assert_int_equal(d->commit, 0); /* this attempt is aborted */
    assert_true(bytes_eq(d->reply, known));
    assert_int_equal(kvc_reply(t.c, d->reply)->time, first->time);
    assert_int_equal(kvc_outcome(t.c, 1, id, false, 0), 0);
    two_destroy(&t);
}

TEST(a_decide_that_comes_twice_is_the_same_commit)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, WRITE(put(E, "x"), put(A, "y")));
    struct msg_txn_reply *vote = prepare(&t, id, m);
    struct msg_decided *one = decide(&t, id, m, vote), *other = decide(&t, id, m, vote);
    assert_int_equal(one->commit, 1);
    assert_int_equal(other->commit, 1);
    assert_true(bytes_eq(one->reply, other->reply));
    kvc_outcome(t.c, 1, id, true, 1);
    two_destroy(&t);
}

TEST(times_rise_along_a_key_whoever_s_clock_is_ahead)
{
    struct two t = two_create();
    uint64_t last = 0;
    kvc_txn(t.c, 1, NAMED(&t, WRITE(put_bytes(E, le64(&t, 0)))));
    kvc_txn(t.c, 0, NAMED(&t, WRITE(put(A, "a"))));
    const struct kv_write stamp = {.op = KV_TIME64, .key = E};
    t.c->g[1].time += 1000000; /* ahead of group 0 */
    for (unsigned i = 0; i < 4; i++) {
        if (i % 2)
            kvc_txn(t.c, 1, NAMED(&t, WRITE(stamp)));
        else
            run(&t, NAMED(&t, WRITE(stamp, put(A, "b"))));
        assert_true(number_at(&t, E) > last);
        last = number_at(&t, E);
    }
    t.c->g[0].time += 9000000; /* now the other way round */
    run(&t, NAMED(&t, WRITE(stamp, put(A, "c"))));
    assert_true(number_at(&t, E) > last);
    last = number_at(&t, E);
    kvc_restart(t.c, 1);
    kvc_txn(t.c, 1, NAMED(&t, WRITE(stamp)));
    assert_true(number_at(&t, E) > last);
    two_destroy(&t);
}

/* --- locks ------------------------------------------------------------------------------------ */

/* What a request of group 1 meets while `held` is prepared there. */
static unsigned meets(struct msg_txn held, struct msg_txn request)
{
    struct two t = two_create();
    kvc_txn(t.c, 1, NAMED(&t, WRITE(put_bytes(E, le64(&t, 1)), put_bytes(F, le64(&t, 1)))));
    struct txid id = attempt(&t), by;
    struct bytes key;
    assert_int_not_equal(prepare(&t, id, named(&t, held))->status, ERR_BUSY);
    struct msg_txn *m = named(&t, request);
    bool met = kv_conflict(t.c->g[1].kv, m, &by, &key);
    unsigned status = kvc_txn(t.c, 1, m)->status;
    assert_int_equal(met, status == ERR_BUSY);
    if (met) {
        assert_int_equal(txid_order(&by, &id), 0);
        m->seq++; /* a prepare would meet it, too */
        assert_int_equal(kvc_prepare(t.c, 1, attempt(&t), m)->status, ERR_BUSY);
    }
    kvc_restart(t.c, 1); /* the locks are still there, or not */
    assert_int_equal(kv_conflict(t.c->g[1].kv, m, &by, &key), met);
    kvc_outcome(t.c, 1, id, false, 0);
    assert_false(kv_conflict(t.c->g[1].kv, m, &by, &key));
    two_destroy(&t);
    return status;
}
#define MEETS(held, request) meets((struct msg_txn){held, WRITE_HERE}, (struct msg_txn){request})
#define WRITE_HERE           .client = 0 /* named() fills it in */
#define P(...)               __VA_ARGS__

static const uint8_t one[8] = {1};
static struct kv_write plus(struct bytes key)
{
    return (struct kv_write){.op = KV_ADD64, .key = key, .value = bytes_of(one, 8)};
}

TEST(a_written_key_is_locked_for_everybody)
{
    assert_int_equal(MEETS(P(WRITE(put(E, "2"))), P(WRITE(put(E, "3")))), ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(put(E, "2"))), P(WRITE(plus(E)))), ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(put(E, "2"))), P(COMPARE(exists(E)), WRITE(del(F)))), ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(put(E, "2"))), P(READ(get(E)), WRITE(del(F)))), ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(put(E, "2"))), P(READ(get(F)), WRITE(del(F)))), 0);
}

TEST(deltas_go_with_deltas_and_with_exists)
{
    assert_int_equal(MEETS(P(WRITE(plus(E))), P(WRITE(plus(E)))), 0);
    assert_int_equal(MEETS(P(WRITE(plus(E))), P(COMPARE(exists(E)), WRITE(del(F)))), 0);
    assert_int_equal(MEETS(P(COMPARE(exists(E)), WRITE(put(F, "1"))), P(WRITE(plus(E)))), 0);
    assert_int_equal(MEETS(P(WRITE(plus(E))), P(READ(get(E)), WRITE(del(F)))), ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(plus(E))), P(WRITE(put(E, "3")))), ERR_BUSY);
    assert_int_equal(MEETS(P(COMPARE(exists(E)), WRITE(plus(F))), P(WRITE(del(E)))), ERR_BUSY);
}

TEST(what_was_read_or_compared_may_be_read_but_not_changed)
{
    assert_int_equal(MEETS(P(READ(get(E)), WRITE(plus(F))), P(READ(get(E)), WRITE(plus(F)))), 0);
    assert_int_equal(MEETS(P(READ(get(E)), WRITE(plus(F))), P(WRITE(plus(E)))), ERR_BUSY);
    assert_int_equal(MEETS(P(COMPARE(version(E, 1)), WRITE(plus(F))), P(WRITE(plus(E)))), ERR_BUSY);
    assert_int_equal(MEETS(P(COMPARE(absent(KEY("\2", "g"))), WRITE(plus(F))),
                           P(WRITE(put(KEY("\2", "g"), "1")))),
                     ERR_BUSY);
}

TEST(a_part_that_fails_keeps_its_locks_until_the_outcome)
{
    assert_int_equal(MEETS(P(COMPARE(absent(E)), WRITE(plus(F))), P(WRITE(del(E)))), ERR_BUSY);
}

TEST(ranges_are_locked_as_ranges)
{
    const struct bytes lo = SHARD("\2"), g = KEY("\2", "g"), end = SHARD("\3");
    assert_int_equal(MEETS(P(READ(scan(lo, F, 1)), WRITE(put(F, "1"))), P(WRITE(del(E)))),
                     ERR_BUSY);
    assert_int_equal(MEETS(P(READ(scan(lo, F, 1)), WRITE(put(g, "1"))), P(WRITE(del(F)))), 0);
    assert_int_equal(MEETS(P(WRITE(del_range(lo, end, 1))), P(WRITE(put(g, "1")))), ERR_BUSY);
    assert_int_equal(MEETS(P(COMPARE(empty_range(g, end)), WRITE(plus(E))), P(WRITE(put(g, "")))),
                     ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(put(E, "1"))), P(READ(scan(lo, end, 9)), WRITE(plus(F)))),
                     ERR_BUSY);
    assert_int_equal(MEETS(P(WRITE(put(E, "1"))), P(READ(scan(F, end, 9)), WRITE(plus(F)))), 0);
    assert_int_equal(MEETS(P(READ(scan(lo, F, 9)), WRITE(plus(F))), P(WRITE(del_range(E, end, 9)))),
                     ERR_BUSY);
}

TEST(a_decide_that_meets_a_lock_aborts_and_is_no_result)
{
    struct two t = two_create();
    struct txid other = {1, 1, 1}, id = attempt(&t);
    struct msg_txn held = {.client = t.client, .seq = 90, .acked_below = 1, WRITE(put(A, "held"))};
    assert_int_equal(kvc_prepare(t.c, 0, other, &held)->status, 0); /* group 1 coordinates it */
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), put(E, "e")));
    struct msg_decided *d = decide(&t, id, m, prepare(&t, id, m));
    assert_int_equal(d->commit, 0);
    assert_int_equal(kvc_reply(t.c, d->reply)->status, ERR_BUSY);
    assert_int_equal(kvc_outcome(t.c, 1, id, false, 0), 0);
    assert_int_equal(kvc_outcome(t.c, 0, other, false, 0), 0);
    assert_int_equal(run(&t, m)->status, 0); /* under its name */
    assert_string_equal(kvc_get(t.c, E), "e");
    two_destroy(&t);
}

/* --- outcomes --------------------------------------------------------------------------------- */

TEST(the_first_compare_that_failed_anywhere_is_the_result_and_is_kept)
{
    struct two t = two_create();
    struct msg_txn *m = NAMED(&t, COMPARE(absent(A), absent(F), exists(E), exists(B)),
                              READ(get(A), get(E)), WRITE(put(A, "a"), put(E, "e")));
    struct msg_txn_reply *r = run(&t, m);
    assert_int_equal(r->status, ERR_FAILED);
    assert_int_equal(r->failed, 2); /* of group 1; group 0's fails behind it */
    assert_int_equal(r->n_reads, 2);
    assert_null(kvc_get(t.c, A));
    assert_null(kvc_get(t.c, E));
    kvc_txn(t.c, 1, NAMED(&t, WRITE(put(E, "now it is there"))));
    t.seq--;
    m->acked_below = m->seq;
    struct bytes known;
    assert_true(kv_result(t.c->g[0].kv, kvc_part(t.c, 0, m), &t.c->arena, &known));
    assert_int_equal(kvc_reply(t.c, known)->status, ERR_FAILED);
    two_destroy(&t);
}

TEST(a_write_that_fails_counts_behind_all_compares)
{
    struct two t = two_create();
    struct msg_txn *m =
        NAMED(&t, COMPARE(absent(A), absent(E)), WRITE(put(A, "a"), put(E, "short"), plus(E)));
    struct msg_txn_reply *r = run(&t, m);
    assert_int_equal(r->status, ERR_FAILED);
    assert_int_equal(r->failed, 2 + 2);
    two_destroy(&t);
}

TEST(parts_that_are_too_big_together_are_a_result)
{
    struct two t = two_create();
    uint8_t half[KIB(40)] = {1};
    kvc_txn(t.c, 0, NAMED(&t, WRITE(put_bytes(A, bytes_of(half, sizeof(half))))));
    kvc_txn(t.c, 1, NAMED(&t, WRITE(put_bytes(E, bytes_of(half, sizeof(half))))));
    struct msg_txn_reply *r =
        run(&t, NAMED(&t, READ(get(A), get(E)), WRITE(put(B, "b"), put(F, "f"))));
    assert_int_equal(r->status, ERR_TOO_BIG);
    assert_int_equal(r->n_reads, 0);
    assert_null(kvc_get(t.c, B));
    two_destroy(&t);
}

TEST(a_decision_of_an_earlier_term_takes_no_effect)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), put(E, "e")));
    struct msg_txn_reply *vote = prepare(&t, id, m);
    t.c->g[0].term++;
    struct msg_decided *d = decide(&t, id, m, vote);
    assert_int_equal(d->commit, 0);
    assert_int_equal(kvc_reply(t.c, d->reply)->status, ERR_NOT_LEADER);
    assert_null(kv_decision(t.c->g[0].kv, &id));
    assert_null(kvc_get(t.c, A));
    kvc_outcome(t.c, 1, id, false, 0);
    assert_int_equal(run(&t, m)->status, 0);
    two_destroy(&t);
}

TEST(votes_that_do_not_fit_the_request_decide_nothing)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, READ(get(E)), WRITE(put(A, "a"), put(E, "e")));
    struct msg_txn_reply *vote = prepare(&t, id, m), poor = *vote;
    poor.n_reads = 0;
    assert_int_equal(kvc_reply(t.c, decide(&t, id, m, &poor)->reply)->status, ERR_INVALID);
    poor = *vote;
    poor.n_versions = 0;
    assert_int_equal(kvc_reply(t.c, decide(&t, id, m, &poor)->reply)->status, ERR_INVALID);
    poor = *vote;
    poor.status = ERR_BUSY;
    assert_int_equal(kvc_reply(t.c, decide(&t, id, m, &poor)->reply)->status, ERR_INVALID);
    assert_null(kvc_get(t.c, A));
    assert_int_equal(decide(&t, id, m, vote)->commit, 1);
    kvc_outcome(t.c, 1, id, true, 1);
    two_destroy(&t);
}

/* --- lateness and loss ------------------------------------------------------------------------ */

TEST(a_commit_that_comes_again_and_again_writes_once)
{
    struct two t = two_create();
    kvc_txn(t.c, 1, NAMED(&t, WRITE(put_bytes(E, le64(&t, 5)))));
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), add(&t, E, 1)));
    struct msg_txn_reply *vote = prepare(&t, id, m);
    assert_int_equal(decide(&t, id, m, vote)->commit, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kvc_outcome(t.c, 1, id, true, 9), 0);
        assert_int_equal(prepare(&t, id, m)->status, ERR_STALE); /* a late one */
        assert_int_equal(number_at(&t, E), 6);
        kvc_restart(t.c, 1);
    }
    assert_int_equal(kvc_below(t.c, 1, (struct txid){0, 1, id.n + 1}), 0);
    assert_int_equal(prepare(&t, id, m)->status, ERR_STALE);
    assert_int_equal(kvc_outcome(t.c, 1, id, true, 9), 0);
    assert_int_equal(number_at(&t, E), 6);
    two_destroy(&t);
}

TEST(a_prepare_that_comes_after_its_abort_takes_no_locks)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), put(E, "e")));
    assert_int_equal(kvc_outcome(t.c, 1, id, false, 0), 0); /* before it was prepared */
    assert_int_equal(prepare(&t, id, m)->status, ERR_STALE);
    kvc_restart(t.c, 1);
    assert_int_equal(prepare(&t, id, m)->status, ERR_STALE);
    assert_int_equal(kv_prepared(t.c->g[1].kv), 0);
    assert_int_equal(kvc_below(t.c, 1, (struct txid){0, 2, 1}), 0);
    unsigned n;
    kv_records(t.c->g[1].kv, &n);
    assert_int_equal(n, 0); /* the fence says it all */
    assert_int_equal(prepare(&t, id, m)->status, ERR_STALE);
    kvc_restart(t.c, 1);
    assert_int_equal(prepare(&t, id, m)->status, ERR_STALE);
    two_destroy(&t);
}

TEST(what_ends_below_the_fence_is_forgotten_when_the_fence_is_told_again)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    const struct txid below = {id.gid, id.term, id.n + 1};
    unsigned n;
    prepare(&t, id, NAMED(&t, WRITE(put(A, "a"), put(E, "e"))));
    assert_int_equal(kvc_below(t.c, 1, below), 0); /* it was aborted, which is not heard here yet */
    assert_int_equal(kv_prepared(t.c->g[1].kv), 1);
    assert_int_equal(kvc_outcome(t.c, 1, id, false, 0), 0);
    assert_int_equal(kvc_below(t.c, 1, below), 0);
    kv_records(t.c->g[1].kv, &n);
    assert_int_equal(n, 0);
    two_destroy(&t);
}

TEST(a_prepare_that_comes_twice_gets_the_same_vote)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, READ(get(E)), WRITE(put(A, "a"), put(E, "e")));
    prepare(&t, id, m);
    struct bytes first = t.c->g[1].reply;
    kvc_restart(t.c, 1);
    prepare(&t, id, m);
    assert_true(bytes_eq(first, t.c->g[1].reply));
    assert_int_equal(kv_prepared(t.c->g[1].kv), 1);
    kvc_outcome(t.c, 1, id, false, 0);
    assert_int_equal(kvc_outcome(t.c, 1, id, true, 0), ERR_STALE); /* never undone */
    assert_null(kvc_get(t.c, E));
    two_destroy(&t);
}

TEST(a_commit_of_what_was_never_prepared_is_told_and_does_nothing)
{
    struct two t = two_create();
    assert_int_equal(kvc_outcome(t.c, 1, attempt(&t), true, 1), ERR_NOT_FOUND);
    two_destroy(&t);
}

TEST(a_new_leader_finds_what_is_prepared_and_what_is_decided)
{
    struct two t = two_create();
    struct txid one_id = attempt(&t), other = attempt(&t), next = {0, 2, 1};
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), put(E, "e")));
    struct msg_txn *k = NAMED(&t, WRITE(put(B, "b"), put(F, "f")));
    struct msg_txn_reply *vote = prepare(&t, one_id, m);
    prepare(&t, other, k);
    assert_int_equal(decide(&t, one_id, m, vote)->commit, 1);
    kvc_restart(t.c, 0);
    kvc_restart(t.c, 1);
    unsigned n;
    const struct txn_record *const *records = kv_records(t.c->g[1].kv, &n);
    assert_int_equal(n, 2);
    assert_int_equal(records[0]->fate, FATE_PREPARED);
    assert_int_equal(records[1]->client, t.client);
    assert_non_null(kv_decision(t.c->g[0].kv, &one_id)); /* what became of it: COMMIT */
    assert_null(kv_decision(t.c->g[0].kv, &other));      /* ABORT, presumed */
    const struct kv_decision *const *decisions = kv_decisions(t.c->g[0].kv, &n);
    assert_int_equal(n, 1);
    assert_int_equal(decisions[0]->n_gids, 1);
    assert_int_equal(decisions[0]->gids[0], 1);
    struct txid below = kv_below(t.c->g[0].kv, &next);
    assert_int_equal(txid_order(&below, &one_id), 0); /* not beyond what is not over */
    assert_int_equal(kvc_outcome(t.c, 1, one_id, true, decisions[0]->time), 0);
    assert_int_equal(kvc_outcome(t.c, 1, other, false, 0), 0);
    assert_int_equal(kvc_ended(t.c, 0, one_id), 0);
    assert_int_equal(kvc_ended(t.c, 0, one_id), 0);
    kv_decisions(t.c->g[0].kv, &n);
    assert_int_equal(n, 0);
    below = kv_below(t.c->g[0].kv, &next);
    assert_int_equal(txid_order(&below, &next), 0);
    assert_string_equal(kvc_get(t.c, E), "e");
    assert_null(kvc_get(t.c, F));
    two_destroy(&t);
}

/* --- sessions --------------------------------------------------------------------------------- */

static void close_session(struct two *t)
{
    struct msg_session_close m = {t->client};
    CLEANUP(enc_finish) struct enc e = {0};

    enc_session_close(&e, &m);
    kvc_entry(t->c, 0, KV_CMD_SESSION_CLOSE, enc_view(&e));
}

TEST(who_is_not_in_the_live_set_is_refused_by_participant_and_coordinator)
{
    struct two t = two_create();
    struct txid id = attempt(&t);
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), put(E, "e")));
    struct msg_txn_reply *vote = prepare(&t, id, m);
    close_session(&t);
    struct msg_decided *d = decide(&t, id, m, vote);
    assert_int_equal(d->commit, 0);
    assert_int_equal(kvc_reply(t.c, d->reply)->status, ERR_NO_SESSION);
    kvc_outcome(t.c, 1, id, false, 0);
    assert_int_equal(prepare(&t, attempt(&t), m)->status, 0); /* group 1 has not heard of it */
    kvc_outcome(t.c, 1, (struct txid){0, 1, t.n}, false, 0);
    kvc_tell_sessions(t.c);
    assert_int_equal(prepare(&t, attempt(&t), m)->status, ERR_NO_SESSION);
    kvc_restart(t.c, 1);
    assert_int_equal(prepare(&t, attempt(&t), m)->status, ERR_NO_SESSION);
    two_destroy(&t);
}

TEST(who_is_too_new_to_be_known_is_told_to_come_again)
{
    struct two t = two_create();
    struct msg_txn *m = NAMED(&t, WRITE(put(A, "a"), put(E, "e")));
    struct msg_txn *own = NAMED(&t, WRITE(put(E, "e")));
    m->client = own->client = kv_sessions_as_of(t.c->g[1].kv) + 1;
    assert_int_equal(prepare(&t, attempt(&t), m)->status, ERR_BUSY);
    assert_int_equal(kvc_txn(t.c, 1, own)->status, ERR_BUSY);
    while (kv_sessions_as_of(t.c->g[0].kv) < m->client)
        kvc_entry(t.c, 0, KV_CMD_TXN, BYTES_NONE);
    kvc_tell_sessions(t.c);
    assert_int_equal(prepare(&t, attempt(&t), m)->status, ERR_NO_SESSION);
    assert_int_equal(kvc_txn(t.c, 1, own)->status, ERR_NO_SESSION);
    two_destroy(&t);
}

TEST(an_older_live_set_brings_nobody_back)
{
    struct two t = two_create();
    struct msg_session_set old;
    struct enc e = {0};
    kv_session_set(t.c->g[0].kv, &t.c->arena, &old);
    close_session(&t);
    kvc_tell_sessions(t.c);
    enc_session_set(&e, &old);
    assert_int_equal(kvc_status(t.c, 1, KV_CMD_SESSION_SET, &e), 0);
    assert_false(kv_has_session(t.c->g[1].kv, t.client));
    two_destroy(&t);
}

TEST(what_a_fenced_session_left_is_gone_in_every_group)
{
    struct two t = two_create();
    kvc_txn(t.c, 1, NAMED(&t, WRITE(put(E, "e"))));
    uint64_t other = kvc_session(t.c), gone = t.client;
    assert_true(kv_has_session(t.c->g[1].kv, gone));
    close_session(&t);
    kvc_tell_sessions(t.c);
    assert_true(kv_has_session(t.c->g[1].kv, other));
    kvc_restart(t.c, 1);
    assert_true(kv_has_session(t.c->g[1].kv, other));
    T_OK(kv_settle(t.c->g[1].kv));
    struct bytes v;
    T_ERR(ERR_NOT_FOUND,
          t.c->g[1].store->ops->get(t.c->g[1].store, NULL, layout_result_key(&t.c->arena, 2, gone),
                                    &t.c->arena, &v));
    assert_string_equal(kvc_get(t.c, E), "e");
    two_destroy(&t);
}

T_MAIN(T(a_transaction_over_two_groups_takes_effect_in_both_and_not_before_it_is_decided),
       T(the_reply_has_reads_and_versions_of_all_groups_in_the_request_s_order),
       T(a_retry_gets_the_stored_result_whole), T(a_decide_that_comes_twice_is_the_same_commit),
       T(times_rise_along_a_key_whoever_s_clock_is_ahead), T(a_written_key_is_locked_for_everybody),
       T(deltas_go_with_deltas_and_with_exists),
       T(what_was_read_or_compared_may_be_read_but_not_changed),
       T(a_part_that_fails_keeps_its_locks_until_the_outcome), T(ranges_are_locked_as_ranges),
       T(a_decide_that_meets_a_lock_aborts_and_is_no_result),
       T(the_first_compare_that_failed_anywhere_is_the_result_and_is_kept),
       T(a_write_that_fails_counts_behind_all_compares),
       T(parts_that_are_too_big_together_are_a_result),
       T(a_decision_of_an_earlier_term_takes_no_effect),
       T(votes_that_do_not_fit_the_request_decide_nothing),
       T(a_commit_that_comes_again_and_again_writes_once),
       T(a_prepare_that_comes_after_its_abort_takes_no_locks),
       T(what_ends_below_the_fence_is_forgotten_when_the_fence_is_told_again),
       T(a_prepare_that_comes_twice_gets_the_same_vote),
       T(a_commit_of_what_was_never_prepared_is_told_and_does_nothing),
       T(a_new_leader_finds_what_is_prepared_and_what_is_decided),
       T(who_is_not_in_the_live_set_is_refused_by_participant_and_coordinator),
       T(who_is_too_new_to_be_known_is_told_to_come_again), T(an_older_live_set_brings_nobody_back),
       T(what_a_fenced_session_left_is_gone_in_every_group))
