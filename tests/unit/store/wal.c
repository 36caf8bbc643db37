/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <inttypes.h>
#include <stdio.h>
#include "cluster/base/codec.h"
#include "cluster/store/format.h"
#include "tests/unit/store/fake_disk.h"
#include "tests/unit/store/wal_model.h"

#define DIR   "/node/wal"
#define SMALL KIB(64)

/* A log on a fake disk, with its model. */
struct log {
    struct fake_disk disk;
    struct model model;
    struct wal *w;
    struct wal_recovery rec;
    struct errmsg msg;
};

static int log_open(struct log *l)
{
    const struct wal_options options = {.segment_bytes = SMALL};
    return wal_open(&l->disk.disk, DIR, &options, &l->w, &l->rec, &l->msg);
}

static void log_close(struct log *l)
{
    wal_close(TAKE(l->w));
    wal_recovery_finish(&l->rec);
}

static void log_init(struct log *l)
{
    *l = (struct log){0};
    fake_disk_init(&l->disk, t_seed());
    model_init(&l->model);
    T_OK(log_open(l));
}

static void log_finish(struct log *l)
{
    log_close(l);
    fake_disk_finish(&l->disk);
    model_finish(&l->model);
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static int log_submit(struct log *l)
{
    int result = 1;
    wal_submit(l->w, on_done, &result);
    return result;
}

static void log_append(struct log *l, uint32_t gid, unsigned n)
{
    model_append(&l->model, l->w, gid, 1, n);
    T_OK(log_submit(l));
}

/* Power goes; what was synced is left. */
static void log_restart(struct log *l)
{
    log_close(l);
    fake_disk_crash(&l->disk, FAKE_LOSE_ALL);
    T_OK_MSG(log_open(l), &l->msg);
}

static void assert_model(struct log *l)
{
    char why[200] = "";
    if (!model_is(&l->model, &l->rec, why, sizeof(why)))
        fail_msg("%s", why);
    assert_false(l->rec.damaged);
}

static GByteArray *segment(struct log *l, uint64_t seq)
{
    char path[100];
    snprintf(path, sizeof(path), DIR "/%016" PRIx64 ".seg", seq);
    return fake_disk_bytes(&l->disk, path);
}

/* Where batch `number` stands in a segment; fails if it does not. */
static uint64_t batch_at(struct log *l, uint64_t seq, uint64_t number)
{
    const GByteArray *b = segment(l, seq);
    for (uint64_t at = 0; b && at < b->len; at += WAL_BLOCK) {
        const struct wal_batch_head *h = (const struct wal_batch_head *)(b->data + at);
        if (memcmp(h->magic, WAL_MAGIC, 8) == 0 && get_le64(h->seq) == seq &&
            get_le64(h->number) == number)
            return at;
    }
    fail_msg("no batch %" PRIu64 " in segment %" PRIu64, number, seq);
    return 0;
}

static const struct wal_group *found(struct log *l, uint32_t gid)
{
    for (size_t i = 0; i < l->rec.n_groups; i++)
        if (l->rec.groups[i].gid == gid)
            return &l->rec.groups[i];
    fail_msg("group %u was not found", gid);
    return NULL;
}

/* --- what is promised ------------------------------------------------------------------------- */

TEST(a_new_log_is_empty)
{
    struct log l;
    log_init(&l);
    assert_int_equal(l.rec.n_groups, 0);
    assert_false(l.rec.torn_tail);
    assert_int_equal(wal_queued_bytes(l.w), 0);
    assert_int_equal(wal_space(l.w), SMALL);
    log_finish(&l);
}

TEST(what_was_acknowledged_survives_power_loss)
{
    struct log l;
    log_init(&l);
    model_hard(&l.model, l.w, 1, 3, 2);
    log_append(&l, 1, 5);
    log_append(&l, 2, 3);
    log_restart(&l);
    assert_model(&l);
    log_finish(&l);
}

TEST(nothing_queued_costs_no_write)
{
    struct log l;
    log_init(&l);
    unsigned ops = l.disk.ops;
    T_OK(log_submit(&l));
    assert_int_equal(l.disk.ops, ops);
    log_finish(&l);
}

TEST(many_appends_of_many_groups_are_one_write_and_one_sync)
{
    struct log l;
    log_init(&l);
    log_append(&l, 0, 1);
    unsigned syncs = l.disk.syncs, writes = l.disk.writes;
    for (unsigned i = 0; i < 30; i++)
        model_append(&l.model, l.w, i % MODEL_GROUPS, 1, 1);
    T_OK(log_submit(&l));
    assert_int_equal(l.disk.syncs, syncs + 1);
    assert_int_equal(l.disk.writes, writes + 1);
    log_restart(&l);
    assert_model(&l);
    log_finish(&l);
}

TEST(what_is_queued_during_a_write_goes_with_the_next)
{
    struct log l;
    log_init(&l);
    l.disk.deferred = true;
    int first = 1, second = 1;
    model_append(&l.model, l.w, 0, 1, 2);
    wal_submit(l.w, on_done, &first);
    assert_true(wal_busy(l.w));
    model_append(&l.model, l.w, 0, 1, 2);
    size_t queued = wal_queued_bytes(l.w);
    assert_true(fake_disk_complete(&l.disk));
    assert_int_equal(first, 0);
    assert_int_equal(wal_queued_bytes(l.w), queued);
    wal_submit(l.w, on_done, &second);
    assert_int_equal(second, 1);
    assert_true(fake_disk_complete(&l.disk));
    assert_int_equal(second, 0);
    log_restart(&l);
    assert_model(&l);
    log_finish(&l);
}

TEST(truncation_survives_replay)
{
    struct log l;
    log_init(&l);
    log_append(&l, 0, 10);
    model_truncate(&l.model, l.w, 0, 4);
    T_OK(log_submit(&l));
    log_restart(&l);
    assert_model(&l);
    model_append(&l.model, l.w, 0, 2, 2);
    T_OK(log_submit(&l));
    log_restart(&l);
    assert_model(&l);
    assert_int_equal(found(&l, 0)->n_entries, 5);
    log_finish(&l);
}

TEST(a_reset_forgets_everything_before_and_after)
{
    struct log l;
    log_init(&l);
    log_append(&l, 0, 10);
    model_start(&l.model, l.w, 0, 7, true);
    log_append(&l, 0, 1);
    log_restart(&l);
    assert_model(&l);
    assert_int_equal(found(&l, 0)->start_index, 7);
    assert_int_equal(found(&l, 0)->n_entries, 1);
    log_finish(&l);
}

TEST(an_entry_larger_than_a_segment_gets_a_larger_one)
{
    struct log l;
    log_init(&l);
    struct buf *b = buf_alloc(3 * SMALL);
    memset(b->data, 'x', b->len);
    const struct wal_entry e = {1, 1, 10, 2, b};
    wal_append(l.w, 0, &e, 1);
    T_OK(log_submit(&l));
    log_restart(&l);
    assert_int_equal(found(&l, 0)->n_entries, 1);
    assert_int_equal(found(&l, 0)->entries[0].data->len, 3 * SMALL);
    buf_unref(b);
    log_finish(&l);
}

/* --- segments --------------------------------------------------------------------------------- */

static void fill_segments(struct log *l, uint32_t gid, unsigned segments)
{
    uint64_t until = wal_bytes(l->w) + segments * SMALL;
    while (wal_bytes(l->w) < until)
        log_append(l, gid, 3);
}

TEST(a_hard_state_survives_the_recycling_of_its_segment)
{
    struct log l;
    log_init(&l);
    model_hard(&l.model, l.w, 2, 9, 3);
    T_OK(log_submit(&l));
    fill_segments(&l, 0, 3);
    model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
    T_OK(log_submit(&l));
    assert_null(segment(&l, 1)); /* the one that held it */
    log_restart(&l);
    assert_model(&l);
    assert_int_equal(found(&l, 2)->vote, 3);
    log_finish(&l);
}

TEST(segments_are_reused_instead_of_allocated)
{
    struct log l;
    log_init(&l);
    for (unsigned i = 0; i < 20; i++) {
        fill_segments(&l, 0, 2);
        model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
        T_OK(log_submit(&l));
    }
    assert_true(fake_disk_files(&l.disk) <= 6);
    log_restart(&l);
    assert_model(&l);
    log_finish(&l);
}

TEST(a_start_frees_segments_only_once_it_is_durable)
{
    struct log l;
    log_init(&l);
    fill_segments(&l, 0, 3);
    l.disk.deferred = true;
    int result = 1;
    model_append(&l.model, l.w, 1, 1, 1);
    wal_submit(l.w, on_done, &result);
    model_start(&l.model, l.w, 0, model_last(&l.model, 0), false); /* queued behind it */
    assert_true(fake_disk_complete(&l.disk));
    assert_int_equal(result, 0);
    assert_non_null(segment(&l, 1));
    wal_submit(l.w, on_done, &result);
    assert_non_null(segment(&l, 1));
    assert_true(fake_disk_complete(&l.disk));
    assert_null(segment(&l, 1));
    log_finish(&l);
}

TEST(stale_bytes_of_a_recycled_segment_are_never_seen)
{
    struct log l;
    log_init(&l);
    for (unsigned i = 0; i < 4; i++) {
        fill_segments(&l, 0, 2);
        model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
        T_OK(log_submit(&l));
    }
    /* Now segments begin in files full of valid batches of earlier lives. */
    for (unsigned i = 0; i < 6; i++) {
        log_append(&l, 1, 2);
        log_restart(&l);
        assert_model(&l);
    }
    log_finish(&l);
}

TEST(the_pinning_group_is_the_one_that_holds_the_oldest_segment)
{
    struct log l;
    uint64_t bytes = 1;
    log_init(&l);
    wal_pinning_group(l.w, &bytes);
    assert_int_equal(bytes, 0);
    log_append(&l, 2, 1);
    fill_segments(&l, 0, 3);
    assert_true(wal_pinning_group(l.w, &bytes) == 0 || wal_pinning_group(l.w, &bytes) == 2);
    model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
    T_OK(log_submit(&l));
    assert_int_equal(wal_pinning_group(l.w, &bytes), 2);
    assert_int_equal(bytes, SMALL);
    model_start(&l.model, l.w, 2, 1, false);
    wal_pinning_group(l.w, &bytes);
    assert_int_equal(bytes, 0); /* its start is queued */
    T_OK(log_submit(&l));
    assert_int_equal(wal_bytes(l.w), SMALL);
    log_finish(&l);
}

/* --- torn tails ------------------------------------------------------------------------------- */

TEST(a_torn_tail_is_cut)
{
    struct log l;
    log_init(&l);
    log_append(&l, 0, 3);
    struct model before;
    model_init(&before);
    model_copy(&before, &l.model);
    log_append(&l, 0, 30); /* batch 2, several blocks */
    log_close(&l);
    uint64_t at = batch_at(&l, 1, 2);
    memset(segment(&l, 1)->data + at + WAL_BLOCK, 0, WAL_BLOCK);
    T_OK(log_open(&l));
    assert_true(l.rec.torn_tail);
    model_copy(&l.model, &before);
    assert_model(&l);
    /* And the cut holds: what is appended now is found, the torn batch is not. */
    log_append(&l, 0, 1);
    log_restart(&l);
    assert_model(&l);
    model_finish(&before);
    log_finish(&l);
}

TEST(a_batch_is_found_whole_or_not_at_all)
{
    struct rng seeds = t_rng();
    for (unsigned i = 0; i < 50; i++) {
        struct log l;
        log_init(&l);
        rng_seed(&l.disk.rng, rng_next(&seeds));
        log_append(&l, 0, 2);
        l.disk.deferred = true;
        int result = 1;
        struct model after;
        model_init(&after);
        model_copy(&after, &l.model);
        model_append(&after, l.w, 0, 1, 20);
        wal_submit(l.w, on_done, &result);
        log_close(&l);
        fake_disk_crash(&l.disk, FAKE_TEAR);
        l.disk.deferred = false;
        T_OK(log_open(&l));
        if (found(&l, 0)->n_entries > 2)
            model_copy(&l.model, &after);
        assert_model(&l);
        model_finish(&after);
        log_finish(&l);
    }
}

TEST(a_batch_seen_after_a_kill_survives_once_the_first_submit_is_done)
{
    struct log l;
    log_init(&l);
    log_append(&l, 0, 2);
    l.disk.fail_at = l.disk.ops + 2; /* the sync: the pages are clean and not on the disk */
    model_append(&l.model, l.w, 0, 1, 2);
    T_ERR(ERR_IO, log_submit(&l));
    log_close(&l);
    T_OK(log_open(&l));
    assert_model(&l); /* from the page cache */
    assert_true(wal_queued_bytes(l.w) > 0);
    T_OK(log_submit(&l));
    log_restart(&l);
    assert_model(&l);
    log_finish(&l);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* Batches 1, 2, 3 of groups 0, 1, 2 in segment 1; the log is closed. */
static void three_batches(struct log *l)
{
    log_init(l);
    for (uint32_t gid = 0; gid < 3; gid++)
        log_append(l, gid, 2);
    log_close(l);
}

TEST(a_flipped_bit_in_data_names_its_group)
{
    struct log l;
    three_batches(&l);
    uint64_t at = batch_at(&l, 1, 2);
    segment(&l, 1)->data[at + sizeof(struct wal_batch_head) + sizeof(struct wal_record_head)] ^= 4;
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    T_CONTAINS(l.rec.text, "0000000000000001");
    T_CONTAINS(l.rec.text, "batch 2");
    assert_false(found(&l, 0)->damaged);
    assert_true(found(&l, 1)->damaged);
    assert_false(found(&l, 2)->damaged);
    assert_int_equal(found(&l, 2)->n_entries, 2);
    log_finish(&l);
}

TEST(a_flipped_bit_in_a_head_damages_every_group)
{
    const size_t places[] = {offsetof(struct wal_batch_head, number),
                             sizeof(struct wal_batch_head) + offsetof(struct wal_record_head, gid)};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct log l;
        three_batches(&l);
        segment(&l, 1)->data[batch_at(&l, 1, 2) + places[i]] ^= 16;
        T_OK(log_open(&l));
        assert_true(l.rec.damaged);
        assert_true(found(&l, 0)->damaged);
        assert_true(found(&l, 2)->damaged);
        log_finish(&l);
    }
}

TEST(any_flipped_bit_is_damage_or_a_cut_tail_but_never_believed)
{
    struct rng rng = t_rng();
    for (unsigned i = 0; i < 300; i++) {
        struct log l;
        three_batches(&l);
        /* Anywhere in the first two batches: heads, records, padding. */
        uint64_t at = rng_below(&rng, batch_at(&l, 1, 3));
        segment(&l, 1)->data[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
        T_OK(log_open(&l));
        char why[200];
        if (!l.rec.damaged && !model_is(&l.model, &l.rec, why, sizeof(why)))
            fail_msg("byte %" PRIu64 ": %s", at, why);
        log_finish(&l);
    }
}

TEST(damage_is_found_again_at_the_next_start)
{
    struct log l;
    three_batches(&l);
    segment(&l, 1)->data[batch_at(&l, 1, 2)] ^= 1;
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    wal_hard(l.w, 0, 5, 1);
    T_OK(log_submit(&l));
    log_close(&l);
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    assert_true(found(&l, 0)->damaged);
    log_finish(&l);
}

static void three_segments(struct log *l)
{
    log_init(l);
    log_append(l, 1, 1);
    fill_segments(l, 0, 3);
    log_close(l);
}

TEST(a_missing_segment_is_damage)
{
    struct log l;
    three_segments(&l);
    assert_true(fake_disk_remove(&l.disk, DIR "/0000000000000002.seg"));
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    assert_true(found(&l, 0)->damaged);
    log_finish(&l);
}

TEST(the_missing_oldest_segment_is_damage_to_the_groups_that_need_it)
{
    struct log l;
    three_segments(&l);
    assert_true(fake_disk_remove(&l.disk, DIR "/0000000000000001.seg"));
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    T_CONTAINS(l.rec.text, "missing");
    assert_true(found(&l, 0)->damaged);
    assert_true(found(&l, 1)->damaged);
    log_finish(&l);
}

TEST(swapped_segments_are_damage)
{
    struct log l;
    three_segments(&l);
    fake_disk_swap(&l.disk, DIR "/0000000000000002.seg", DIR "/0000000000000003.seg");
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    assert_true(found(&l, 0)->damaged);
    log_finish(&l);
}

TEST(a_damaged_first_batch_is_damage_if_others_follow)
{
    struct log l;
    three_segments(&l);
    segment(&l, 2)->data[20] ^= 1;
    T_OK(log_open(&l));
    assert_true(l.rec.damaged);
    log_finish(&l);
}

/* --- errors ----------------------------------------------------------------------------------- */

TEST(a_failed_sync_ends_the_log)
{
    struct log l;
    log_init(&l);
    log_append(&l, 0, 1);
    l.disk.fail_at = l.disk.ops + 2;
    model_append(&l.model, l.w, 0, 1, 1);
    T_ERR(ERR_IO, log_submit(&l));
    model_append(&l.model, l.w, 0, 1, 1);
    unsigned ops = l.disk.ops;
    T_ERR(ERR_IO, log_submit(&l));
    T_ERR(ERR_IO, wal_reserve(l.w));
    assert_int_equal(l.disk.ops, ops); /* and touches nothing */
    log_finish(&l);
}

TEST(a_newer_format_is_refused_with_file_and_versions)
{
    struct log l;
    three_batches(&l);
    struct wal_batch_head *h = (struct wal_batch_head *)segment(&l, 1)->data;
    put_le32(h->version, WAL_VERSION + 1);
    put_le32(h->crc, crc32c(0, h, offsetof(struct wal_batch_head, crc)));
    T_ERR(ERR_FORMAT, log_open(&l));
    T_CONTAINS(l.msg.text, "/0000000000000001.seg has log format 3, ");
    T_CONTAINS(l.msg.text, "knows 2");
    T_CONTAINS(l.msg.text, "newer version");
    log_finish(&l);
}

TEST(a_full_disk_is_seen_one_segment_ahead)
{
    struct log l;
    log_init(&l);
    l.disk.space = 2 * SMALL + 100;
    log_append(&l, 0, 1);
    assert_true(wal_space(l.w) > SMALL);
    while (wal_space(l.w) > SMALL)
        log_append(&l, 0, 3);
    while (wal_space(l.w) > SMALL / 2)
        log_append(&l, 0, 1); /* what remains still works */
    T_ERR(ERR_NO_SPACE, wal_reserve(l.w));
    int err = 0;
    while (err == 0) {
        model_append(&l.model, l.w, 0, 1, 3);
        err = log_submit(&l);
    }
    assert_int_equal(err, -ERR_NO_SPACE);
    assert_true(wal_queued_bytes(l.w) > 0);
    T_ERR(ERR_NO_SPACE, log_submit(&l));
    l.disk.space = UINT64_MAX;
    T_OK(wal_reserve(l.w));
    T_OK(log_submit(&l));
    log_restart(&l);
    assert_model(&l);
    log_finish(&l);
}

TEST(freed_segments_end_a_full_disk)
{
    struct log l;
    log_init(&l);
    l.disk.space = 2 * SMALL + 100;
    log_append(&l, 0, 1);
    while (wal_space(l.w) > SMALL / 2)
        log_append(&l, 0, 1);
    T_ERR(ERR_NO_SPACE, wal_reserve(l.w));
    model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
    T_OK(log_submit(&l));
    T_OK(wal_reserve(l.w));
    assert_true(wal_space(l.w) >= SMALL);
    log_finish(&l);
}

T_MAIN(T(a_new_log_is_empty), T(what_was_acknowledged_survives_power_loss),
       T(nothing_queued_costs_no_write), T(many_appends_of_many_groups_are_one_write_and_one_sync),
       T(what_is_queued_during_a_write_goes_with_the_next), T(truncation_survives_replay),
       T(a_reset_forgets_everything_before_and_after),
       T(an_entry_larger_than_a_segment_gets_a_larger_one),
       T(a_hard_state_survives_the_recycling_of_its_segment),
       T(segments_are_reused_instead_of_allocated),
       T(a_start_frees_segments_only_once_it_is_durable),
       T(stale_bytes_of_a_recycled_segment_are_never_seen),
       T(the_pinning_group_is_the_one_that_holds_the_oldest_segment), T(a_torn_tail_is_cut),
       T(a_batch_is_found_whole_or_not_at_all),
       T(a_batch_seen_after_a_kill_survives_once_the_first_submit_is_done),
       T(a_flipped_bit_in_data_names_its_group), T(a_flipped_bit_in_a_head_damages_every_group),
       T(any_flipped_bit_is_damage_or_a_cut_tail_but_never_believed),
       T(damage_is_found_again_at_the_next_start), T(a_missing_segment_is_damage),
       T(the_missing_oldest_segment_is_damage_to_the_groups_that_need_it),
       T(swapped_segments_are_damage), T(a_damaged_first_batch_is_damage_if_others_follow),
       T(a_failed_sync_ends_the_log), T(a_newer_format_is_refused_with_file_and_versions),
       T(a_full_disk_is_seen_one_segment_ahead), T(freed_segments_end_a_full_disk))
