/* SPDX-License-Identifier: Apache-2.0 */
/* A log told piece by piece: what is where, and each kind of end and damage under its own name. */
#include "tests/lib/t.h"

#include <inttypes.h>
#include "cluster/store/inspect.h"
#include "tests/unit/store/fake_disk.h"
#include "tests/unit/store/wal_model.h"

#define DIR   "/node/wal"
#define SMALL KIB(64)

static const char *const states[] = {"whole", "damaged", "torn", "superseded"};
static const char *const uses[] = {"used", "ready", "stale", "torn", "swapped"};
static const char *const rests[] = {"nothing", "zeroes", "stale", "torn", "other"};

/* A log on a fake disk, and what was told of it: one word or line for each event. */
struct log {
    struct fake_disk disk;
    struct model model;
    struct wal *w;
    struct wal_recovery rec;
    GString *told;
};

static void on_segment(void *ctx, const struct wal_segment_seen *s)
{
    struct log *l = ctx;
    g_string_append_printf(l->told, "segment %" PRIu64 " %s", s->seq, uses[s->use]);
    if (s->holds)
        g_string_append_printf(l->told, " %" PRIu64, s->holds);
    g_string_append_c(l->told, '\n');
}

static void on_batch(void *ctx, const struct batch *b, enum wal_batch_state state)
{
    struct log *l = ctx;
    g_string_append_printf(l->told, "batch %" PRIu64 " %s\n", b->number, states[state]);
}

static void on_record(void *ctx, const struct record *r, const char *fault)
{
    static const char names[] = "?GEHTS";
    struct log *l = ctx;
    if (fault)
        g_string_append_printf(l->told, "bad %s\n", fault);
    else
        g_string_append_printf(l->told, "%c%" PRIu32 ":%" PRIu64 "\n", names[r->type], r->gid,
                               r->index);
}

static void on_damage(void *ctx, const char *text)
{
    struct log *l = ctx;
    g_string_append_printf(l->told, "damage %s\n", text);
}

static void on_rest(void *ctx, const struct wal_rest_seen *r)
{
    struct log *l = ctx;
    g_string_append_printf(l->told, "%s %s", r->last ? "end" : "rest", rests[r->what]);
    if (r->holds)
        g_string_append_printf(l->told, " %" PRIu64, r->holds);
    g_string_append_c(l->told, '\n');
}

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

static void log_init(struct log *l)
{
    *l = (struct log){.told = g_string_new(NULL)};
    fake_disk_init(&l->disk, t_seed());
    model_init(&l->model);
    log_open(l);
}

static void log_finish(struct log *l)
{
    log_close(l);
    fake_disk_finish(&l->disk);
    model_finish(&l->model);
    g_string_free(l->told, TRUE);
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static void log_append(struct log *l, uint32_t gid, unsigned n)
{
    int result = 1;
    model_append(&l->model, l->w, gid, 1, n);
    wal_submit(l->w, on_done, &result);
    assert_int_equal(result, 0);
}

/* Three batches of one entry each, of groups 0, 1 and 2; the log is closed. */
static void three_batches(struct log *l)
{
    log_init(l);
    for (uint32_t gid = 0; gid < 3; gid++)
        log_append(l, gid, 1);
    log_close(l);
}

static void three_segments(struct log *l)
{
    log_init(l);
    for (unsigned i = 0; i < 40; i++)
        log_append(l, 0, 1);
    log_close(l);
}

static int look(struct log *l, struct errmsg *msg)
{
    const struct wal_observer o = {on_segment, on_batch, on_record, on_damage, on_rest, l};
    g_string_truncate(l->told, 0);
    wal_recovery_finish(&l->rec);
    return wal_inspect(&l->disk.disk, DIR, &o, &l->rec, msg);
}

/* What is told of the log as it lies there. */
static const char *told(struct log *l)
{
    struct errmsg msg = {""};
    unsigned ops = l->disk.ops;
    T_OK_MSG(look(l, &msg), &msg);
    assert_int_equal(l->disk.ops, ops); /* nothing was changed */
    return l->told->str;
}

static uint8_t *byte_of(struct log *l, uint64_t seq, uint64_t at)
{
    g_autofree char *path = segment_path(DIR, seq);
    GByteArray *b = fake_disk_bytes(&l->disk, path);
    assert_non_null(b);
    assert_true(at < b->len);
    return &b->data[at];
}

/* Batch n of three_batches stands in block n - 1; its records begin behind its head. */
#define BATCH(n)  (((n)-1) * (uint64_t)WAL_BLOCK)
#define RECORD(n) (BATCH(n) + sizeof(struct wal_batch_head))
#define DATA(n)   (RECORD(n) + sizeof(struct wal_record_head))

/* --- a good log ------------------------------------------------------------------------------- */

TEST(a_whole_log_is_told_batch_by_batch)
{
    struct log l;
    three_batches(&l);
    assert_string_equal(told(&l), "segment 1 used\nbatch 1 whole\nE0:1\nbatch 2 whole\nE1:1\n"
                                  "batch 3 whole\nE2:1\nend zeroes\nsegment 2 ready\n");
    assert_false(l.rec.damaged);
    log_finish(&l);
}

TEST(a_batch_written_again_in_the_next_segment_is_superseded)
{
    struct log l;
    three_batches(&l);
    log_open(&l);
    log_append(&l, 0, 1);
    log_close(&l);
    T_CONTAINS(told(&l), "batch 2 whole\nE1:1\nbatch 3 superseded\nrest zeroes\n");
    T_CONTAINS(told(&l), "used\nbatch 3 whole\nG0:0\nG1:0\nE2:1\n");
    log_finish(&l);
}

TEST(stale_bytes_of_an_earlier_life_are_told_as_such)
{
    struct log l;
    log_init(&l);
    for (unsigned i = 0; i < 40; i++)
        log_append(&l, 0, 1);
    model_start(&l.model, l.w, 0, model_last(&l.model, 0), false);
    for (unsigned i = 0; i < 23; i++) /* segment 5 begins in the file that was segment 1 */
        log_append(&l, 0, 1);
    log_close(&l);
    T_CONTAINS(told(&l), "end stale 1\nsegment 6 stale 2\n");
    assert_false(l.rec.damaged);
    log_finish(&l);
}

/* --- torn tails ------------------------------------------------------------------------------- */

TEST(a_last_batch_that_is_not_whole_is_a_torn_tail)
{
    struct log l;
    three_batches(&l);
    *byte_of(&l, 1, DATA(3)) ^= 1;
    T_CONTAINS(told(&l), "batch 3 torn\nbad its data has a wrong checksum\nend torn\n");
    assert_false(l.rec.damaged);
    assert_true(l.rec.torn_tail);
    log_finish(&l);
}

TEST(a_last_batch_without_a_head_is_bytes_that_are_no_batch)
{
    struct log l;
    three_batches(&l);
    *byte_of(&l, 1, BATCH(3)) ^= 1;
    T_CONTAINS(told(&l), "batch 2 whole\nE1:1\nend other\n");
    assert_false(l.rec.damaged);
    log_finish(&l);
}

TEST(a_segment_torn_in_its_first_batch_was_not_begun)
{
    struct log l;
    three_batches(&l);
    log_open(&l);
    log_append(&l, 0, 1);
    log_close(&l);
    *byte_of(&l, 3, RECORD(1)) ^= 1; /* 2 became 3: a ready file gets a new name at each opening */
    T_CONTAINS(told(&l), "batch 3 whole\nE2:1\nend zeroes\nsegment 3 torn\n");
    log_finish(&l);
}

/* --- damage ----------------------------------------------------------------------------------- */

TEST(damage_names_batch_and_record_and_what_is_wrong)
{
    struct log l;
    three_batches(&l);
    *byte_of(&l, 1, DATA(2)) ^= 1;
    T_CONTAINS(told(&l),
               "damage segment 0000000000000001, offset 4096: batch 2 has a bad checksum");
    T_CONTAINS(l.told->str, "batch 2 damaged\nbad its data has a wrong checksum\nbatch 3 whole\n");
    *byte_of(&l, 1, RECORD(2)) ^= 1;
    T_CONTAINS(told(&l), "batch 2 damaged\nbad its head has a wrong checksum\nbatch 3 whole\n");
    *byte_of(&l, 1, BATCH(2)) ^= 1;
    T_CONTAINS(told(&l), "batches 2..2 are damaged or missing (no valid head of a batch stands "
                         "there), valid ones follow them\nbatch 3 whole\n");
    log_finish(&l);
}

TEST(a_lost_write_is_told_by_the_zeroes_in_its_place)
{
    struct log l;
    three_batches(&l);
    memset(byte_of(&l, 1, BATCH(2)), 0, WAL_BLOCK);
    T_CONTAINS(told(&l), "batches 2..2 are damaged or missing (zeroes stand there");
    log_finish(&l);
}

TEST(a_missing_segment_is_named)
{
    struct log l;
    three_segments(&l);
    assert_true(fake_disk_remove(&l.disk, DIR "/0000000000000002.seg"));
    T_CONTAINS(told(&l), "damage segment 0000000000000002 is missing, and with it batches 16..31");
    log_finish(&l);
}

TEST(entries_of_the_missing_oldest_segment_are_named)
{
    struct log l;
    three_segments(&l);
    assert_true(fake_disk_remove(&l.disk, DIR "/0000000000000001.seg"));
    T_CONTAINS(told(&l), "damage entries 1..15 of group 0 are missing\n");
    log_finish(&l);
}

TEST(swapped_segments_are_named)
{
    struct log l;
    three_segments(&l);
    fake_disk_swap(&l.disk, DIR "/0000000000000002.seg", DIR "/0000000000000003.seg");
    T_CONTAINS(told(&l),
               "damage file 0000000000000002.seg holds segment 0000000000000003\nsegment 1");
    T_CONTAINS(l.told->str, "segment 2 swapped 3\n");
    log_finish(&l);
}

/* --- what is refused -------------------------------------------------------------------------- */

TEST(a_directory_without_segments_is_no_log)
{
    struct log l;
    struct errmsg msg = {""};
    log_init(&l);
    log_close(&l);
    assert_true(fake_disk_remove(&l.disk, DIR "/0000000000000001.seg"));
    T_ERR(ERR_NOT_FOUND, look(&l, &msg));
    T_CONTAINS(msg.text, "holds no log segments");
    log_finish(&l);
}

TEST(a_newer_format_is_refused_with_file_and_versions)
{
    struct log l;
    struct errmsg msg = {""};
    three_batches(&l);
    put_le32(byte_of(&l, 1, offsetof(struct wal_batch_head, version)), WAL_VERSION + 1);
    put_le32(byte_of(&l, 1, offsetof(struct wal_batch_head, crc)),
             crc32c(0, byte_of(&l, 1, 0), offsetof(struct wal_batch_head, crc)));
    T_ERR(ERR_FORMAT, look(&l, &msg));
    T_CONTAINS(msg.text, "0000000000000001.seg has log format 3");
    T_CONTAINS(msg.text, "knows 2");
    log_finish(&l);
}

/* --- anything --------------------------------------------------------------------------------- */

TEST(whatever_bits_are_flipped_what_is_told_is_what_a_start_would_find)
{
    struct rng rng = t_rng();
    for (unsigned i = 0; i < 300; i++) {
        struct log l;
        struct errmsg msg = {""};
        three_segments(&l);
        unsigned flips = 1 + (unsigned)rng_below(&rng, 6);
        for (unsigned k = 0; k < flips; k++)
            *byte_of(&l, rng_between(&rng, 1, 3), rng_below(&rng, SMALL)) ^=
                (uint8_t)(1u << rng_below(&rng, 8));
        T_OK_MSG(look(&l, &msg), &msg);
        bool damaged = l.rec.damaged, torn = l.rec.torn_tail;
        size_t entries = l.rec.n_groups > 0 ? l.rec.groups[0].n_entries : 0;
        assert_int_equal(damaged, strstr(l.told->str, "damage ") != NULL);
        wal_recovery_finish(&l.rec);
        log_open(&l);
        assert_int_equal(l.rec.damaged, damaged);
        assert_int_equal(l.rec.torn_tail, torn);
        assert_int_equal(l.rec.n_groups > 0 ? l.rec.groups[0].n_entries : 0, entries);
        log_finish(&l);
    }
}

T_MAIN(T(a_whole_log_is_told_batch_by_batch),
       T(a_batch_written_again_in_the_next_segment_is_superseded),
       T(stale_bytes_of_an_earlier_life_are_told_as_such),
       T(a_last_batch_that_is_not_whole_is_a_torn_tail),
       T(a_last_batch_without_a_head_is_bytes_that_are_no_batch),
       T(a_segment_torn_in_its_first_batch_was_not_begun),
       T(damage_names_batch_and_record_and_what_is_wrong),
       T(a_lost_write_is_told_by_the_zeroes_in_its_place), T(a_missing_segment_is_named),
       T(entries_of_the_missing_oldest_segment_are_named), T(swapped_segments_are_named),
       T(a_directory_without_segments_is_no_log),
       T(a_newer_format_is_refused_with_file_and_versions),
       T(whatever_bits_are_flipped_what_is_told_is_what_a_start_would_find))
