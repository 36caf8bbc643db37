/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log against its model under crashes, kills and failing operations: everything acknowledged is
 * found again, nothing that was never submitted is invented, and a batch is found whole or not at
 * all.
 */
#include "tests/lib/t.h"

#include "tests/unit/store/fake_disk.h"
#include "tests/unit/store/wal_model.h"

#define DIR           "/node/wal"
#define SEGMENT_BYTES KIB(64)

struct run {
    struct fake_disk disk;
    struct rng rng;
    struct wal *w;
    struct model now;   /* with what is queued */
    struct model acked; /* as of the last submit that succeeded */
    GPtrArray *maybe;   /* struct model *: as of each submit since, in any life: may be found */
};

static void free_model(void *p)
{
    model_finish(p);
    g_free(p);
}

static void run_init(struct run *r, uint64_t seed)
{
    *r = (struct run){0};
    fake_disk_init(&r->disk, seed);
    rng_seed(&r->rng, seed);
    model_init(&r->now);
    model_init(&r->acked);
    r->maybe = g_ptr_array_new_with_free_func(free_model);
}

static void run_finish(struct run *r)
{
    wal_close(TAKE(r->w));
    fake_disk_finish(&r->disk);
    model_finish(&r->now);
    model_finish(&r->acked);
    g_ptr_array_free(r->maybe, TRUE);
}

/* Opens and checks; what is found becomes the state from which the run goes on. */
static int run_open(struct run *r)
{
    const struct wal_options options = {.segment_bytes = SEGMENT_BYTES};
    struct wal_recovery rec = {0};
    struct errmsg msg = {""};
    char why[200] = "", ignored[200];
    int err = wal_open(&r->disk.disk, DIR, &options, &r->w, &rec, &msg);
    if (err < 0)
        return err;
    if (rec.damaged)
        fail_msg("damage where there is none: %s", rec.text);
    const struct model *is = model_is(&r->acked, &rec, why, sizeof(why)) ? &r->acked : NULL;
    for (guint i = 0; i < r->maybe->len && !is; i++)
        if (model_is(r->maybe->pdata[i], &rec, ignored, sizeof(ignored)))
            is = r->maybe->pdata[i];
    if (!is)
        fail_msg("not as acknowledged: %s; nor as any of %u submits after", why, r->maybe->len);
    model_copy(&r->now, is);
    wal_recovery_finish(&rec);
    return 0;
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

/* 1: under way; else the result. */
static int run_submit(struct run *r)
{
    static int result;
    result = 1;
    struct model *submitted = g_new0(struct model, 1);
    model_init(submitted);
    model_copy(submitted, &r->now);
    g_ptr_array_add(r->maybe, submitted);
    wal_submit(r->w, on_done, &result);
    if (result == 1 && rng_below(&r->rng, 8) > 0)
        while (fake_disk_complete(&r->disk))
            ;
    if (result == 0) {
        model_copy(&r->acked, submitted);
        g_ptr_array_set_size(r->maybe, 0);
    }
    return result;
}

static int run_steps(struct run *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned changes = (unsigned)rng_between(&r->rng, 1, 4);
        for (unsigned k = 0; k < changes; k++)
            model_random(&r->now, r->w, &r->rng);
        int err = run_submit(r);
        if (err != 0)
            return err;
    }
    return 0;
}

/* The end of a process: killed, or with the machine. */
static void run_end(struct run *r)
{
    wal_close(TAKE(r->w));
    if (rng_below(&r->rng, 4) > 0)
        fake_disk_crash(&r->disk, (enum fake_loss)rng_below(&r->rng, 3));
}

TEST(what_is_found_after_crashes_is_what_was_acknowledged)
{
    struct rng seeds = t_rng();
    for (unsigned k = 0; k < 60; k++) {
        struct run r;
        uint64_t seed = rng_next(&seeds);
        run_init(&r, seed);
        r.disk.deferred = true;
        for (unsigned life = 0; life < 12; life++) {
            T_OK(run_open(&r));
            run_steps(&r, (unsigned)rng_below(&r.rng, 40));
            run_end(&r);
        }
        T_OK(run_open(&r));
        run_finish(&r);
    }
}

/* One life of the workload with the n-th operation failing; true if it did fail. */
static bool fault_life(struct run *r, unsigned n)
{
    r->disk.fail_at = r->disk.ops + n;
    int err = run_open(r);
    if (err == 0)
        err = run_steps(r, 60);
    bool hit = r->disk.ops >= r->disk.fail_at;
    if (err == 0 && hit)
        err = run_steps(r, 1); /* it failed between two submits: the next one must tell */
    r->disk.fail_at = 0;
    if (hit)
        assert_true(err < 0);
    else
        assert_int_equal(err, 0);
    return hit;
}

TEST(any_operation_may_fail)
{
    struct rng seeds = t_rng();
    uint64_t seed = rng_next(&seeds);
    unsigned n = 1;
    for (bool hit = true; hit; n++) {
        struct run r;
        run_init(&r, seed);
        T_OK(run_open(&r));
        T_OK(run_steps(&r, 30));
        wal_close(TAKE(r.w));
        hit = fault_life(&r, n);
        run_end(&r);
        T_OK(run_open(&r));
        T_OK(run_steps(&r, 5));
        wal_close(TAKE(r.w));
        fake_disk_crash(&r.disk, FAKE_LOSE_ALL);
        T_OK(run_open(&r));
        run_finish(&r);
    }
    assert_true(n > 100);
}

TEST(a_full_disk_loses_nothing_and_passes)
{
    struct rng seeds = t_rng();
    for (unsigned k = 0; k < 20; k++) {
        struct run r;
        run_init(&r, rng_next(&seeds));
        T_OK(run_open(&r));
        r.disk.space = SEGMENT_BYTES * rng_between(&r.rng, 2, 5) + 5000;
        int err;
        do
            err = run_steps(&r, 10);
        while (err == 0 && wal_space(r.w) > 0 && wal_bytes(r.w) < SEGMENT_BYTES * 8 &&
               rng_below(&r.rng, 100) > 0);
        r.disk.space = UINT64_MAX;
        if (err != 0) {
            assert_int_equal(err, -ERR_NO_SPACE);
            T_OK(wal_reserve(r.w));
            T_OK(run_submit(&r));
        }
        T_OK(run_steps(&r, 10));
        wal_close(TAKE(r.w));
        fake_disk_crash(&r.disk, FAKE_LOSE_ALL);
        T_OK(run_open(&r));
        run_finish(&r);
    }
}

T_MAIN(T(what_is_found_after_crashes_is_what_was_acknowledged), T(any_operation_may_fail),
       T(a_full_disk_loses_nothing_and_passes))
