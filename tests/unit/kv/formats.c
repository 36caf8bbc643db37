/* SPDX-License-Identifier: Apache-2.0 */
/* The image of state format 1 that tests/data keeps: a checkpoint as the stream that a snapshot is.
 */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/layout.h"
#include "cluster/store/image.h"

#define STATE_V1 DATA_DIR "/state-v1.image"

/* What the image holds: every kind of row, and a value that RocksDB keeps in a blob file. */
static void write_v1(struct kvt *f)
{
    uint8_t big[KIB(17)];

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * i / 7);
    f->client = kvt_session(f, "fixture");
    EXEC(f, WRITE(put(A, "one"), put(B, "two"), put(E, "three")));
    EXEC(f, READ(get(A)), WRITE(del(B), put_bytes(Z, bytes_of(big, sizeof(big)))));
    uint64_t other = kvt_session(f, "another mount");
    AS(f, other, 9, 9, WRITE(write_at(A, 1, "N")));
}

static GByteArray *read_image(void)
{
    char *p = NULL;
    gsize n = 0;

    if (!g_file_get_contents(STATE_V1, &p, &n, NULL))
        fail_msg("cannot read %s", STATE_V1);
    return g_byte_array_new_take((guint8 *)p, n);
}

/* How the image was made: STATE_V1_WRITE=tests/data/state-v1.image build/.../test_kv_formats */
static void keep_image(const char *path)
{
    struct store *s;
    struct errmsg msg;
    const char *dir = t_path(t_tmpdir(), "checkpoint");

    T_OK_MSG(store_rocks_open(t_path(t_tmpdir(), "state"), &s, &msg), &msg);
    struct kvt *f = kvt_on(s);
    write_v1(f);
    T_OK_MSG(s->ops->checkpoint(s, dir, &msg), &msg);
    kvt_destroy(f);
    struct store_image *i = image_open(dir);
    assert_non_null(i);
    g_autofree uint8_t *p = g_malloc(image_size(i));
    assert_int_equal(image_read(i, p, image_size(i), 0), image_size(i));
    t_write_file(path, p, image_size(i));
    image_close(i);
}

/* The image was made as group 1's, when one group was as good as another; now a group owns shards
 * because it is group 0, or because they were moved to it. */
static void make_it_group_0(struct store *s)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct bytes key = layout_format_key(&a), was;

    T_OK(s->ops->get(s, NULL, key, &a, &was));
    assert_int_equal(get_le32(was.p), LAYOUT_FORMAT_FIRST);
    put_le32((uint8_t *)was.p + 4, 0);
    struct store_write w = {STORE_PUT, key, was};
    T_OK(s->ops->write(s, &w, 1));
}

/* The state that the image is. */
static struct store *open_image(void)
{
    const char *dir = t_path(t_tmpdir(), "state");
    GByteArray *bytes = read_image();
    struct store_image *i;
    struct store *s;
    struct errmsg msg;

    T_OK(image_create(dir, BYTES_NONE, &i));
    T_OK(image_write(i, bytes->data, bytes->len));
    T_OK(image_finish(i));
    g_byte_array_unref(bytes);
    T_OK_MSG(store_rocks_open(dir, &s, &msg), &msg);
    make_it_group_0(s);
    return s;
}

TEST(the_image_of_format_1_still_opens_and_goes_on)
{
    const char *keep = g_getenv("STATE_V1_WRITE");

    if (keep)
        keep_image(keep);
    struct kvt *f = kvt_on(open_image());
    assert_int_equal(f->index, 5);
    assert_int_equal(kv_sessions(f->kv), 2);
    assert_string_equal(kvt_get(f, A), "oNe");
    assert_null(kvt_get(f, B));
    assert_int_equal(kvt_version(f, A), 3);
    f->client = 1;
    f->seq = 2;
    EXEC(f, WRITE(put(A, "four")));
    assert_int_equal(kvt_version(f, A), 4);
    kvt_destroy(f);
}

TEST(format_1_has_the_rows_it_always_had)
{
    struct kvt *f = kvt_on(ram_store_create());
    struct store *old = open_image();

    write_v1(f);
    GByteArray *now = store_dump(f->store), *then = store_dump(old);
    if (now->len != then->len || memcmp(now->data, then->data, now->len) != 0)
        fail_msg("the state's rows changed: layout.h needs a new format");
    g_byte_array_unref(now);
    g_byte_array_unref(then);
    old->ops->close(old);
    kvt_destroy(f);
}

TEST(a_store_of_a_newer_format_is_refused_with_file_and_versions)
{
    const char *dir = t_tmpdir();
    struct store *s;
    struct errmsg msg;

    t_write_file(t_path(dir, "FORMAT"), "raftfs store 7\n", 15);
    T_ERR(ERR_FORMAT, store_rocks_open(dir, &s, &msg));
    T_CONTAINS(msg.text, t_path(dir, "FORMAT"));
    T_CONTAINS(msg.text, "store format 7, this version of raftfs knows 1");
}

/* A stream comes from a member, which logs the code's text. */
TEST(a_snapshot_of_a_newer_format_is_told_from_a_damaged_one)
{
    GByteArray *bytes = read_image();
    struct store_image *i;

    T_OK(image_create(t_path(t_tmpdir(), "in"), BYTES_NONE, &i));
    put_le32(bytes->data + strlen(IMAGE_MAGIC), IMAGE_VERSION + 1);
    T_ERR(ERR_FORMAT, image_write(i, bytes->data, bytes->len));
    image_close(i);
    g_byte_array_unref(bytes);
}

T_MAIN(T(the_image_of_format_1_still_opens_and_goes_on), T(format_1_has_the_rows_it_always_had),
       T(a_store_of_a_newer_format_is_refused_with_file_and_versions),
       T(a_snapshot_of_a_newer_format_is_told_from_a_damaged_one))
