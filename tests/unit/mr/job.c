/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of tasks, plans, and the encoding of records. */
#include "tests/lib/t.h"
#include "mr/job.h"
#include "mr/plan.h"
#include "mr/text.h"

#include <string.h>

/* --- tasks ------------------------------------------------------------------------------------ */

static struct attempt_end ended(enum attempt_state state)
{
    return (struct attempt_end){.state = state, .exit_code = -1};
}

TEST(one_attempt_runs_and_one_wins)
{
    struct task_record t = {.kind = TASK_MAP};
    struct attempt_end won = ended(ATTEMPT_WON);
    uint32_t n;
    T_OK(task_assign(&t, 1, 9, 0, &n));
    assert_int_equal(n, 1);
    T_ERR(ERR_FAILED, task_assign(&t, 2, 9, 0, &n));
    T_OK(task_end(&t, 1, &won));
    assert_int_equal(t.winner, 1);
    T_ERR(ERR_FAILED, task_end(&t, 1, &won));
    T_ERR(ERR_FAILED, task_assign(&t, 2, 9, 0, &n));
}

TEST(an_attempt_that_was_given_up_cannot_win_any_more)
{
    struct task_record t = {.kind = TASK_MAP};
    struct attempt_end lost = ended(ATTEMPT_LOST), won = ended(ATTEMPT_WON);
    uint32_t n;
    T_OK(task_assign(&t, 1, 9, 0, &n));
    T_OK(task_end(&t, 1, &lost));
    T_OK(task_assign(&t, 2, 9, 0, &n));
    T_ERR(ERR_FAILED, task_end(&t, 1, &won));
    T_OK(task_end(&t, 2, &won));
    assert_int_equal(t.winner, 2);
    assert_int_equal(t.failures, 0);
}

TEST(only_failures_count_against_tries)
{
    struct task_record t = {.kind = TASK_MAP};
    struct attempt_end lost = ended(ATTEMPT_LOST), failed = ended(ATTEMPT_FAILED);
    uint32_t n;
    for (int i = 0; i < 40; i++) {
        T_OK(task_assign(&t, 1, 9, 0, &n));
        T_OK(task_end(&t, n, &lost));
    }
    assert_null(task_hopeless(&t, 2, 3));
    for (int i = 0; i < 2; i++) {
        T_OK(task_assign(&t, 1, 9, 0, &n));
        T_OK(task_end(&t, n, &failed));
    }
    assert_non_null(task_hopeless(&t, 2, 3));
    assert_int_equal(n, 42); /* numbers are never reused, though old attempts are forgotten */
    assert_int_equal(t.n_attempts, ATTEMPTS_KEPT);
}

TEST(a_missing_command_is_given_up_after_two_nodes_or_the_only_one)
{
    struct task_record t = {.kind = TASK_MAP};
    struct attempt_end fatal = ended(ATTEMPT_FAILED);
    uint32_t n;
    fatal.fatal = true;
    T_OK(task_assign(&t, 1, 9, 0, &n));
    T_OK(task_end(&t, n, &fatal));
    assert_null(task_hopeless(&t, 9, 2));
    assert_non_null(task_hopeless(&t, 9, 1));
    T_OK(task_assign(&t, 1, 9, 0, &n));
    T_OK(task_end(&t, n, &fatal));
    assert_null(task_hopeless(&t, 9, 2));
    T_OK(task_assign(&t, 2, 9, 0, &n));
    T_OK(task_end(&t, n, &fatal));
    assert_non_null(task_hopeless(&t, 9, 2));
}

/* A store of one record with versions: what the cluster does for us. */
struct cell {
    struct task_record rec;
    unsigned version;
};

static bool put(struct cell *c, const struct task_record *r, unsigned version)
{
    if (c->version != version)
        return false;
    c->rec = *r;
    c->version++;
    return true;
}

/* Two coordinators and some workers act on what they read earlier, in any order. */
TEST(any_interleaving_of_two_coordinators_and_their_workers_has_one_winner)
{
    struct rng r = t_rng();
    for (int round = 0; round < 2000; round++) {
        struct cell c = {.rec = {.kind = TASK_MAP}, .version = 1};
        struct cell seen[4] = {c, c, c, c}; /* two coordinators, two workers */
        uint32_t wins = 0, winner = 0;
        for (int step = 0; step < 60; step++) {
            unsigned who = (unsigned)rng_below(&r, 4);
            if (rng_below(&r, 2)) {
                seen[who] = c;
                continue;
            }
            struct task_record t = seen[who].rec;
            struct attempt_end lost = ended(ATTEMPT_LOST), won = ended(ATTEMPT_WON);
            struct attempt_record *a = task_running(&t);
            uint32_t n;
            int rc = -ERR_FAILED;
            bool winning = false;
            if (who < 2 && !a)
                rc = task_assign(&t, who, 9, 0, &n);
            else if (who < 2 && rng_below(&r, 4) == 0)
                rc = task_end(&t, a->number, &lost);
            else if (who >= 2 && t.started) { /* a worker may also report a very old attempt */
                n = 1 + (uint32_t)rng_below(&r, t.started);
                rc = task_end(&t, n, &won);
                winning = rc == 0;
            }
            if (rc == 0 && put(&c, &t, seen[who].version) && winning) {
                wins++;
                winner = c.rec.winner;
            }
            assert_true(!c.rec.winner || !task_running(&c.rec));
        }
        assert_true(wins <= 1);
        assert_int_equal(c.rec.winner, winner);
    }
}

TEST(reduces_agree_only_on_the_same_map_outputs)
{
    struct task_record m[3] = {{.digest = 1}, {.digest = 2}, {.digest = 3}};
    uint64_t one = job_consumed(m, 3);
    m[1].digest = 9;
    assert_true(job_consumed(m, 3) != one);
    m[1].digest = 2;
    assert_true(job_consumed(m, 3) == one);
    assert_true(job_consumed(m, 2) != one);
}

/* --- records ---------------------------------------------------------------------------------- */

TEST(records_survive_encoding_and_no_cut_of_them_decodes)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    uint32_t groups[] = {4, 5};
    struct counter c = {bytes_str("g\tn"), 77};
    struct job_record j = {.state = JOB_RUNNING,
                           .epoch = 3,
                           .coordinator = 8,
                           .uid = 1000,
                           .n_groups = 2,
                           .groups = groups,
                           .dir = 42,
                           .maps = 5,
                           .reduces = 2,
                           .spec = bytes_str("input: /a"),
                           .error = bytes_str("e"),
                           .n_counters = 1,
                           .counters = &c};
    struct job_record k;
    enc_job_record(&e, &j);
    assert_int_equal(e.p[1], JOB_RUNNING);
    assert_int_equal(get_le64(e.p + 8), 3);
    assert_int_equal(get_le64(e.p + 16), 8);
    T_OK(dec_job_record(enc_view(&e), &a, &k));
    assert_int_equal(k.groups[1], 5);
    assert_int_equal(k.counters[0].value, 77);
    assert_true(bytes_eq(k.spec, j.spec));
    for (size_t n = 0; n < e.n; n++)
        assert_true(dec_job_record(bytes_of(e.p, n), &a, &k) < 0);
    e.p[0] = 2;
    T_ERR(ERR_FORMAT, dec_job_record(enc_view(&e), &a, &k));

    struct task_record t = {.kind = TASK_REDUCE, .index = 7, .input = bytes_str("x")}, u;
    uint32_t number;
    T_OK(task_assign(&t, 3, 99, 5, &number));
    enc_reset(&e);
    enc_task_record(&e, &t);
    T_OK(dec_task_record(enc_view(&e), &a, &u));
    assert_int_equal(u.attempts[0].incarnation, 99);
    for (size_t n = 0; n < e.n; n++)
        assert_true(dec_task_record(bytes_of(e.p, n), &a, &u) < 0);
}

TEST(random_bytes_are_no_record)
{
    struct rng r = t_rng();
    for (int i = 0; i < 3000; i++) {
        struct arena a CLEANUP(arena_finish) = {0};
        uint8_t p[120];
        size_t n = rng_below(&r, sizeof p);
        for (size_t k = 0; k < n; k++)
            p[k] = rng_below(&r, 3) ? 0 : (uint8_t)rng_next(&r);
        p[0] = SCHEMA_VERSION;
        struct job_record j;
        struct task_record t;
        struct worker_record w;
        struct inbox_record x;
        struct split_record *s;
        uint32_t ns;
        /* Nothing but not crashing is asked: a run of zeros can be a record. */
        (void)!dec_job_record(bytes_of(p, n), &a, &j);
        (void)!dec_task_record(bytes_of(p, n), &a, &t);
        (void)!dec_worker_record(bytes_of(p, n), &a, &w);
        (void)!dec_inbox_record(bytes_of(p, n), &a, &x);
        (void)!dec_splits(bytes_of(p, n), &a, &s, &ns);
    }
}

/* --- plans ------------------------------------------------------------------------------------ */

TEST(a_plan_covers_every_byte_once_in_order)
{
    struct rng r = t_rng();
    for (int round = 0; round < 300; round++) {
        struct plan_file f[30];
        struct plan p;
        size_t n = rng_below(&r, ARRAY_LEN(f));
        uint64_t split = rng_below(&r, 3) ? 1 + rng_below(&r, 500) : 0, bytes = 0, packed = 0;
        for (size_t i = 0; i < n; i++) {
            f[i] = (struct plan_file){"p", i + 1, 1,
                                      rng_below(&r, 2) ? rng_below(&r, 2000) : rng_below(&r, 20)};
            bytes += f[i].size;
        }
        T_OK(plan_maps(f, n, split, &p));
        assert_int_equal(p.bytes, bytes);
        uint64_t ino = 0, at = 0;
        uint32_t next = 0;
        for (guint i = 0; i < p.splits->len; i++) {
            struct split_record *s = &g_array_index(p.splits, struct split_record, i);
            assert_true(s->end > s->start && s->end <= s->size);
            if (s->ino != ino) {
                assert_true(s->ino > ino && s->start == 0);
                assert_true(ino == 0 || at == f[ino - 1].size);
            } else {
                assert_int_equal(s->start, at);
            }
            ino = s->ino;
            at = s->end;
        }
        for (guint i = 0; i < p.tasks->len; i++) {
            struct plan_task *t = &g_array_index(p.tasks, struct plan_task, i);
            assert_int_equal(t->first, next);
            next += t->n;
            packed += t->bytes;
            assert_true(t->n == 1 || t->bytes <= split);
        }
        assert_int_equal(next, p.splits->len);
        assert_int_equal(packed, bytes);
        plan_finish(&p);
    }
}

TEST(reduces_follow_the_input_and_the_slots)
{
    assert_int_equal(plan_reduces(0, 4), 1);
    assert_int_equal(plan_reduces(MIB(200), 4), 4);
    assert_int_equal(plan_reduces(GIB(100), 4), 8);
}

/* --- texts ------------------------------------------------------------------------------------ */

TEST(status_has_stable_names_and_progress_is_one_line)
{
    struct task_record m[2] = {{.kind = TASK_MAP, .index = 0, .input_bytes = 2048, .winner = 1},
                               {.kind = TASK_MAP, .index = 1, .input_bytes = 2048}};
    struct running_record run = {
        .kind = TASK_MAP, .task = 1, .bytes_in = 1024, .bytes_total = 2048};
    struct job_record j = {.state = JOB_RUNNING,
                           .epoch = 2,
                           .uid = 7,
                           .started_ns = 1000000000,
                           .input_bytes = 4096,
                           .maps = 2};
    struct job_progress p;
    uint32_t n;
    GString *s = g_string_new(NULL);
    T_OK(task_assign(&m[1], 1, 1, 0, &n));
    text_progress_of(m, 2, NULL, 0, &run, 1, &p);
    text_status(s, bytes_str("wc"), &j, &p);
    assert_string_equal(
        s->str, "job       wc\nstate     running\nphase     map\n"
                "maps      2 done 1 running 1 waiting 0 failed 0\n"
                "reduces   0 done 0 running 0 waiting 0 failed 0\n"
                "input     4096\nstarted   1970-01-01T00:00:01Z\nuid       7\nrun       2\n");
    g_string_set_size(s, 0);
    text_progress(s, &j, &p, 4000000000);
    assert_string_equal(s->str, "running  map 1/2 50%  reduce 0/0 0%  3.0K/4.0K  1.0K/s  eta 1s\n");
    g_string_free(s, TRUE);
}

T_MAIN(T(one_attempt_runs_and_one_wins), T(an_attempt_that_was_given_up_cannot_win_any_more),
       T(only_failures_count_against_tries),
       T(a_missing_command_is_given_up_after_two_nodes_or_the_only_one),
       T(any_interleaving_of_two_coordinators_and_their_workers_has_one_winner),
       T(reduces_agree_only_on_the_same_map_outputs),
       T(records_survive_encoding_and_no_cut_of_them_decodes), T(random_bytes_are_no_record),
       T(a_plan_covers_every_byte_once_in_order), T(reduces_follow_the_input_and_the_slots),
       T(status_has_stable_names_and_progress_is_one_line))
