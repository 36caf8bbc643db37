/* SPDX-License-Identifier: Apache-2.0 */
/* A damaged log that is used on: groups that are said to be suspect, and repaired. */
#include "tests/lib/t.h"

#include <inttypes.h>
#include <stdio.h>
#include "cluster/base/codec.h"
#include "cluster/store/format.h"
#include "tests/unit/store/fake_disk.h"
#include "tests/unit/store/wal_model.h"

#define DIR   "/node/wal"
#define SMALL KIB(64)

struct log {
    struct fake_disk disk;
    struct model model; /* of what is not damaged */
    struct wal *w;
    struct wal_recovery rec;
};

static void log_open(struct log *l)
{
    const struct wal_options options = {.segment_bytes = SMALL};
    struct errmsg msg = {""};
    T_OK_MSG(wal_open(&l->disk.disk, DIR, &options, &l->w, &l->rec, &msg), &msg);
}

static void log_close(struct log *l)
{
    wal_close(TAKE(l->w));
    wal_recovery_finish(&l->rec);
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static void log_submit(struct log *l)
{
    int result = 1;
    wal_submit(l->w, on_done, &result);
    T_OK(result);
}

static void log_restart(struct log *l)
{
    log_close(l);
    fake_disk_crash(&l->disk, FAKE_LOSE_ALL);
    log_open(l);
}

static void log_finish(struct log *l)
{
    log_close(l);
    fake_disk_finish(&l->disk);
    model_finish(&l->model);
}

static void append(struct log *l, uint32_t gid, unsigned n)
{
    model_append(&l->model, l->w, gid, 1, n);
    log_submit(l);
}

static void fill_segments(struct log *l, uint32_t gid, unsigned segments)
{
    uint64_t until = wal_bytes(l->w) + segments * SMALL;
    while (wal_bytes(l->w) < until)
        append(l, gid, 3);
}

/* Batches 1, 2, 3 of groups 0, 1, 2 in segment 1. */
static void three_batches(struct log *l)
{
    *l = (struct log){0};
    fake_disk_init(&l->disk, t_seed());
    model_init(&l->model);
    log_open(l);
    for (uint32_t gid = 0; gid < 3; gid++)
        append(l, gid, 2);
}

/* One bit flips in batch `number` of segment 1, and the log is opened again. */
static void damage(struct log *l, uint64_t number, size_t offset)
{
    log_close(l);
    GByteArray *b = fake_disk_bytes(&l->disk, DIR "/0000000000000001.seg");
    for (uint64_t at = 0; at < b->len; at += WAL_BLOCK) {
        const struct wal_batch_head *h = (const struct wal_batch_head *)(b->data + at);
        if (memcmp(h->magic, WAL_MAGIC, 8) == 0 && get_le64(h->number) == number)
            b->data[at + offset] ^= 4;
    }
    log_open(l);
    assert_true(l->rec.damaged);
}

#define IN_DATA (sizeof(struct wal_batch_head) + sizeof(struct wal_record_head))
#define IN_HEAD offsetof(struct wal_batch_head, number)

static const struct wal_group *found(struct log *l, uint32_t gid)
{
    for (size_t i = 0; i < l->rec.n_groups; i++)
        if (l->rec.groups[i].gid == gid)
            return &l->rec.groups[i];
    fail_msg("group %u was not found", gid);
    return NULL;
}

static void suspect(struct log *l, uint32_t gid)
{
    wal_suspect(l->w, gid, 7, 3, 20, 6, 200);
}

static void append_one(struct log *l, uint32_t gid, uint64_t index)
{
    const struct wal_entry e = {.term = 7, .index = index, .time_ns = 1000 + index, .type = 1};
    wal_append(l->w, gid, &e, 1);
}

static void assert_suspect(struct log *l, uint32_t gid, size_t entries)
{
    const struct wal_group *g = found(l, gid);
    assert_true(g->suspect);
    assert_false(g->damaged);
    assert_int_equal(g->term, 7);
    assert_int_equal(g->vote, 3);
    assert_int_equal(g->start_index, 20);
    assert_int_equal(g->start_term, 6);
    assert_int_equal(g->start_time, 200);
    assert_int_equal(g->n_entries, entries);
}

TEST(a_group_that_was_said_to_be_suspect_is_damaged_no_more)
{
    struct log l;
    three_batches(&l);
    damage(&l, 2, IN_DATA);
    assert_true(found(&l, 1)->damaged);
    suspect(&l, 1);
    append_one(&l, 1, 21);
    log_submit(&l);
    log_restart(&l); /* segment 1 with its damage is still there: groups 0 and 2 need it */
    assert_suspect(&l, 1, 1);
    assert_false(found(&l, 0)->damaged || found(&l, 0)->suspect);
    assert_int_equal(found(&l, 0)->n_entries, 2);
    assert_int_equal(found(&l, 2)->n_entries, 2);
    wal_repaired(l.w, 1);
    log_submit(&l);
    log_restart(&l);
    assert_false(found(&l, 1)->damaged || found(&l, 1)->suspect);
    assert_int_equal(found(&l, 1)->n_entries, 1);
    log_finish(&l);
}

TEST(once_all_groups_are_said_to_be_suspect_the_damage_is_gone)
{
    struct log l;
    three_batches(&l);
    damage(&l, 2, IN_HEAD);
    assert_true(l.rec.all_damaged); /* group 1, of which nothing is left, too */
    assert_true(found(&l, 0)->damaged && found(&l, 2)->damaged);
    for (uint32_t gid = 0; gid < 3; gid++)
        suspect(&l, gid);
    log_submit(&l);
    log_restart(&l);
    assert_false(l.rec.damaged);
    for (uint32_t gid = 0; gid < 3; gid++)
        assert_suspect(&l, gid, 0);
    log_finish(&l);
}

TEST(the_mark_moves_on_with_the_segments_until_the_group_is_repaired)
{
    struct log l;
    three_batches(&l);
    suspect(&l, 1);
    log_submit(&l);
    for (unsigned i = 0; i < 2; i++) {
        fill_segments(&l, 0, 3);
        model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
        log_submit(&l);
        log_restart(&l);
        assert_suspect(&l, 1, 0);
    }
    wal_repaired(l.w, 1);
    append_one(&l, 1, 21);
    log_submit(&l);
    fill_segments(&l, 0, 2);
    log_restart(&l);
    assert_false(l.rec.damaged);
    assert_false(found(&l, 1)->suspect);
    assert_int_equal(found(&l, 1)->n_entries, 1);
    log_finish(&l);
}

/* The last batch found is written again, but for those of whom it is not known what it follows. */
TEST(what_the_last_batch_said_of_a_damaged_group_is_forgotten)
{
    struct log l;
    three_batches(&l);
    append(&l, 0, 1);
    damage(&l, 1, IN_DATA);
    assert_true(found(&l, 0)->damaged);
    assert_int_equal(wal_queued_bytes(l.w), 0);
    suspect(&l, 0);
    log_submit(&l);
    log_restart(&l);
    assert_suspect(&l, 0, 0);
    append_one(&l, 0, 21);
    log_submit(&l);
    log_restart(&l);
    assert_suspect(&l, 0, 1);
    log_finish(&l);
}

/* Where the segments belong is not known, so neither is what stood before the mark. */
TEST(what_is_damaged_anywhere_is_damaged_in_spite_of_a_mark)
{
    struct log l;
    three_batches(&l);
    suspect(&l, 1);
    log_submit(&l);
    wal_repaired(l.w, 1);
    fill_segments(&l, 0, 3);
    log_close(&l);
    fake_disk_swap(&l.disk, DIR "/0000000000000002.seg", DIR "/0000000000000003.seg");
    log_open(&l);
    assert_true(l.rec.all_damaged);
    assert_true(found(&l, 0)->damaged && found(&l, 1)->damaged);
    log_finish(&l);
}

/* Or its old bytes would count again. */
TEST(a_file_that_holds_a_later_segment_uses_up_its_number)
{
    struct log l;
    three_batches(&l);
    fill_segments(&l, 0, 2);
    log_close(&l);
    fake_disk_swap(&l.disk, DIR "/0000000000000001.seg", DIR "/0000000000000003.seg");
    for (uint64_t seq = 2; seq < 8; seq++) {
        char path[100];
        (void)snprintf(path, sizeof(path), DIR "/%016" PRIx64 ".seg", seq);
        fake_disk_remove(&l.disk, path);
    }
    log_open(&l);
    assert_true(l.rec.damaged);
    append_one(&l, 0, 1);
    log_submit(&l);
    assert_null(fake_disk_bytes(&l.disk, DIR "/0000000000000002.seg"));
    assert_null(fake_disk_bytes(&l.disk, DIR "/0000000000000003.seg"));
    log_finish(&l);
}

T_MAIN(T(a_group_that_was_said_to_be_suspect_is_damaged_no_more),
       T(once_all_groups_are_said_to_be_suspect_the_damage_is_gone),
       T(the_mark_moves_on_with_the_segments_until_the_group_is_repaired),
       T(what_the_last_batch_said_of_a_damaged_group_is_forgotten),
       T(what_is_damaged_anywhere_is_damaged_in_spite_of_a_mark),
       T(a_file_that_holds_a_later_segment_uses_up_its_number))
