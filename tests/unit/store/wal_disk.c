/* SPDX-License-Identifier: Apache-2.0 */
/* The log on the real disk, and the images of its format versions that tests/data keeps. */
#include "tests/lib/t.h"

#include "cluster/store/format.h"
#include "tests/unit/store/wal_model.h"

#define IMAGE_V1      DATA_DIR "/wal-v1-0000000000000001.seg"
#define IMAGE_V2      DATA_DIR "/wal-v2-0000000000000001.seg"
#define SEGMENT_BYTES KIB(16)

struct place {
    struct disk *disk;
    const char *dir;
    struct wal *w;
    struct wal_recovery rec;
};

static void place_init(struct place *p)
{
    *p = (struct place){.disk = disk_posix_create(), .dir = t_path(t_tmpdir(), "wal")};
}

static void place_open(struct place *p, uint64_t segment_bytes)
{
    const struct wal_options options = {.segment_bytes = segment_bytes};
    struct errmsg msg = {""};
    T_OK_MSG(wal_open(p->disk, p->dir, &options, &p->w, &p->rec, &msg), &msg);
}

static void place_close(struct place *p)
{
    wal_close(TAKE(p->w));
    wal_recovery_finish(&p->rec);
}

static void place_finish(struct place *p)
{
    place_close(p);
    disk_posix_destroy(p->disk);
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static void submit(struct place *p)
{
    int result = 1;
    wal_submit(p->w, on_done, &result);
    assert_int_equal(result, 0);
}

static void assert_model(const struct model *m, const struct place *p)
{
    char why[200] = "";
    assert_false(p->rec.damaged);
    if (!model_is(m, &p->rec, why, sizeof(why)))
        fail_msg("%s", why);
}

TEST(a_real_disk_keeps_a_random_history)
{
    struct rng rng = t_rng();
    struct place p;
    struct model m;
    place_init(&p);
    model_init(&m);
    for (unsigned life = 0; life < 5; life++) {
        place_open(&p, KIB(256));
        assert_model(&m, &p);
        for (unsigned i = 0; i < 60; i++) {
            for (unsigned k = 0; k < 6; k++)
                model_random(&m, p.w, &rng);
            submit(&p);
        }
        place_close(&p);
    }
    place_open(&p, KIB(256));
    assert_model(&m, &p);
    model_finish(&m);
    place_finish(&p);
}

/* What the images hold: every kind of record, three batches. */
static void write_v1(struct model *m, struct place *p)
{
    model_hard(m, p->w, 0, 2, 1);
    model_append(m, p->w, 0, 2, 4);
    submit(p);
    model_append(m, p->w, 2, 1, 6);
    model_truncate(m, p->w, 2, 4);
    model_start(m, p->w, 0, 2, false);
    submit(p);
    model_start(m, p->w, 1, 30, true);
    model_append(m, p->w, 1, 5, 2);
    submit(p);
}

/* And those of version 2: one group is suspect, another one no longer. */
static void write_v2(struct model *m, struct place *p)
{
    write_v1(m, p);
    wal_suspect(p->w, 3, 5, 2, 40, 4, 400);
    wal_suspect(p->w, 4, 6, 0, 0, 0, 0);
    wal_repaired(p->w, 4);
    submit(p);
}

static GBytes *read_file(const char *path)
{
    char *p = NULL;
    gsize n = 0;
    if (!g_file_get_contents(path, &p, &n, NULL))
        fail_msg("cannot read %s", path);
    return g_bytes_new_take(p, n);
}

/* The log of one segment, which is this image. */
static void open_image(struct place *p, const char *path)
{
    place_close(p);
    t_rmtree(p->dir);
    T_OK(p->disk->ops->make_dir(p->disk, p->dir));
    GBytes *image = read_file(path);
    t_write_file(t_path(p->dir, "0000000000000001.seg"), g_bytes_get_data(image, NULL),
                 g_bytes_get_size(image));
    g_bytes_unref(image);
    place_open(p, SEGMENT_BYTES);
}

TEST(the_image_of_format_1_is_still_read)
{
    struct place p;
    struct model m;
    place_init(&p);
    model_init(&m);
    place_open(&p, SEGMENT_BYTES);
    write_v1(&m, &p); /* for the model only */
    open_image(&p, IMAGE_V1);
    assert_model(&m, &p);
    submit(&p); /* and goes on as one of version 2 */
    place_close(&p);
    place_open(&p, SEGMENT_BYTES);
    assert_model(&m, &p);
    model_finish(&m);
    place_finish(&p);
}

TEST(the_image_of_format_2_is_still_read)
{
    struct place p;
    struct model m;
    place_init(&p);
    model_init(&m);
    place_open(&p, SEGMENT_BYTES);
    write_v1(&m, &p);
    open_image(&p, IMAGE_V2);
    assert_model(&m, &p);
    assert_int_equal(p.rec.n_groups, 5);
    assert_true(p.rec.groups[3].suspect);
    assert_int_equal(p.rec.groups[3].vote, 2);
    assert_int_equal(p.rec.groups[3].start_index, 40);
    assert_false(p.rec.groups[4].suspect);
    assert_int_equal(p.rec.groups[4].term, 6);
    model_finish(&m);
    place_finish(&p);
}

TEST(format_2_is_written_as_it_always_was)
{
    struct place p;
    struct model m;
    place_init(&p);
    model_init(&m);
    place_open(&p, SEGMENT_BYTES);
    write_v2(&m, &p);
    GBytes *now = read_file(t_path(p.dir, "0000000000000001.seg"));
    const char *keep = g_getenv("WAL_V2_WRITE"); /* how the image was made */
    if (keep)
        t_write_file(keep, g_bytes_get_data(now, NULL), g_bytes_get_size(now));
    GBytes *image = read_file(IMAGE_V2);
    if (!g_bytes_equal(image, now))
        fail_msg("the log's bytes changed: format.h needs a new version");
    g_bytes_unref(image);
    g_bytes_unref(now);
    model_finish(&m);
    place_finish(&p);
}

T_MAIN(T(a_real_disk_keeps_a_random_history), T(the_image_of_format_1_is_still_read),
       T(the_image_of_format_2_is_still_read), T(format_2_is_written_as_it_always_was))
