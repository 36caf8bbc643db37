/* SPDX-License-Identifier: Apache-2.0 */
/* What both state stores promise: the same tests over RocksDB in a directory and over memory. */
#include "tests/lib/t.h"

#include <stdio.h>
#include "cluster/base/buf.h"
#include "cluster/store/store.h"

struct world {
    const char *name;
    struct store_mem_disk *disk; /* NULL: RocksDB */
    struct store_maker *maker;
    const char *dir;
    struct arena a;
};

static int setup_rocks(void **state)
{
    struct world *w = g_new0(struct world, 1);
    w->maker = store_rocks_maker_create();
    w->dir = t_tmpdir();
    *state = w;
    return 0;
}

static int setup_mem(void **state)
{
    struct world *w = g_new0(struct world, 1);
    w->disk = store_mem_disk_create();
    w->maker = store_mem_maker_create(w->disk);
    w->dir = "mem";
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    store_maker_destroy(w->maker);
    store_mem_disk_destroy(w->disk);
    arena_finish(&w->a);
    g_free(w);
    return 0;
}

static struct store *open_at(struct world *w, const char *name)
{
    struct store *s = NULL;
    struct errmsg msg = {""};
    T_OK_MSG(w->maker->open(w->maker, t_path(w->dir, name), &s, &msg), &msg);
    return s;
}

static struct bytes str(const char *s)
{
    return bytes_str(s);
}

static void put(struct store *s, const char *key, const char *value)
{
    const struct store_write w = {STORE_PUT, str(key), str(value)};
    T_OK(s->ops->write(s, &w, 1));
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static void flush(struct store *s)
{
    int result = 1;
    s->ops->flush(s, on_done, &result);
    assert_int_equal(result, 0);
}

/* "key=value key=value ..." of a range. */
static const char *range(struct world *w, struct store *s, struct store_view *v, const char *lo,
                         const char *hi)
{
    GString *out = g_string_new(NULL);
    struct bytes key, value;
    struct store_iter *it = s->ops->iter_open(s, v, str(lo), str(hi));
    while (s->ops->iter_next(it, &key, &value))
        g_string_append_printf(out, "%s%.*s=%.*s", out->len > 0 ? " " : "", (int)key.n, key.p,
                               (int)value.n, value.p);
    assert_false(s->ops->iter_next(it, &key, &value)); /* and stays at the end */
    T_OK(s->ops->iter_close(it));
    const char *text = arena_strdup(&w->a, out->str);
    g_string_free(out, TRUE);
    return text;
}

TEST(what_was_put_is_got)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    struct bytes v = BYTES_NONE;
    T_ERR(ERR_NOT_FOUND, s->ops->get(s, NULL, str("k"), &w->a, &v));
    put(s, "k", "one");
    put(s, "k", "two");
    put(s, "", "");
    T_OK(s->ops->get(s, NULL, str("k"), &w->a, &v));
    assert_true(bytes_eq(v, str("two")));
    T_OK(s->ops->get(s, NULL, str(""), &w->a, &v));
    assert_int_equal(v.n, 0);
    s->ops->close(s);
}

TEST(keys_are_in_the_order_of_their_bytes)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    put(s, "b", "3");
    put(s, "a", "1");
    put(s, "aa", "2");
    put(s, "\xff", "5");
    put(s, "c", "4");
    assert_string_equal(range(w, s, NULL, "", ""), "a=1 aa=2 b=3 c=4 \xff=5");
    assert_string_equal(range(w, s, NULL, "aa", "c"), "aa=2 b=3");
    assert_string_equal(range(w, s, NULL, "ab", "b"), "");
    assert_string_equal(range(w, s, NULL, "b", ""), "b=3 c=4 \xff=5");
    s->ops->close(s);
}

TEST(a_batch_is_applied_in_order_and_at_once)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    put(s, "a", "1");
    put(s, "b", "1");
    put(s, "d", "1");
    const struct store_write batch[] = {
        {STORE_DELETE_RANGE, str("a"), str("c")}, {STORE_PUT, str("b"), str("2")},
        {STORE_DELETE, str("d"), BYTES_NONE},     {STORE_DELETE, str("absent"), BYTES_NONE},
        {STORE_PUT, str("e"), str("2")},
    };
    T_OK(s->ops->write(s, batch, ARRAY_LEN(batch)));
    assert_string_equal(range(w, s, NULL, "", ""), "b=2 e=2");
    s->ops->close(s);
}

TEST(a_range_that_ends_before_it_begins_is_empty)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    put(s, "b", "1");
    const struct store_write batch[] = {{STORE_DELETE_RANGE, str("c"), str("a")},
                                        {STORE_DELETE_RANGE, str("b"), str("b")}};
    T_OK(s->ops->write(s, batch, ARRAY_LEN(batch)));
    assert_string_equal(range(w, s, NULL, "", ""), "b=1");
    s->ops->close(s);
}

TEST(a_view_and_an_iterator_stay_as_they_were)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    struct bytes key, value, v;
    put(s, "a", "1");
    put(s, "b", "1");
    struct store_view *view = s->ops->view_open(s);
    struct store_iter *it = s->ops->iter_open(s, NULL, BYTES_NONE, BYTES_NONE);
    put(s, "a", "2");
    put(s, "c", "2");
    assert_true(s->ops->iter_next(it, &key, &value));
    assert_true(bytes_eq(value, str("1")));
    assert_true(s->ops->iter_next(it, &key, &value));
    assert_false(s->ops->iter_next(it, &key, &value));
    T_OK(s->ops->iter_close(it));
    T_OK(s->ops->get(s, view, str("a"), &w->a, &v));
    assert_true(bytes_eq(v, str("1")));
    assert_string_equal(range(w, s, view, "", ""), "a=1 b=1");
    assert_string_equal(range(w, s, NULL, "", ""), "a=2 b=1 c=2");
    s->ops->view_close(s, view);
    s->ops->close(s);
}

TEST(what_was_flushed_is_there_after_opening_again)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    put(s, "a", "1");
    flush(s);
    s->ops->close(s);
    s = open_at(w, "a");
    assert_string_equal(range(w, s, NULL, "", ""), "a=1");
    s->ops->close(s);
}

TEST(large_values_come_back_whole)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    struct buf *b = buf_alloc(MIB(1));
    struct rng r = t_rng();
    for (size_t i = 0; i < b->len; i++)
        b->data[i] = (uint8_t)rng_next(&r);
    const struct store_write put_it = {STORE_PUT, str("big"), buf_bytes(b)};
    T_OK(s->ops->write(s, &put_it, 1));
    flush(s);
    s->ops->close(s);
    s = open_at(w, "a");
    struct bytes v = BYTES_NONE;
    T_OK(s->ops->get(s, NULL, str("big"), &w->a, &v));
    assert_true(bytes_eq(v, buf_bytes(b)));
    assert_true(s->ops->approximate_bytes(s) >= MIB(1));
    s->ops->close(s);
    buf_unref(b);
}

TEST(a_checkpoint_is_the_state_of_its_time)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    struct errmsg msg = {""};
    put(s, "a", "1");
    T_OK_MSG(s->ops->checkpoint(s, t_path(w->dir, "cp"), &msg), &msg);
    put(s, "a", "2");
    flush(s);
    s->ops->close(s);
    s = open_at(w, "cp");
    assert_string_equal(range(w, s, NULL, "", ""), "a=1");
    s->ops->close(s);
    s = open_at(w, "a");
    assert_string_equal(range(w, s, NULL, "", ""), "a=2");
    s->ops->close(s);
}

TEST(replace_puts_one_store_in_the_place_of_another)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    put(s, "a", "old");
    flush(s);
    s->ops->close(s);
    s = open_at(w, "b");
    put(s, "a", "new");
    flush(s);
    s->ops->close(s);
    T_OK(w->maker->replace(w->maker, t_path(w->dir, "b"), t_path(w->dir, "a")));
    s = open_at(w, "a");
    assert_string_equal(range(w, s, NULL, "", ""), "a=new");
    s->ops->close(s);
    s = open_at(w, "b");
    assert_string_equal(range(w, s, NULL, "", ""), "a=old");
    s->ops->close(s);
    T_ERR(ERR_NOT_FOUND, w->maker->replace(w->maker, t_path(w->dir, "d"), t_path(w->dir, "a")));
    /* Also where there was none. */
    T_OK(w->maker->replace(w->maker, t_path(w->dir, "a"), t_path(w->dir, "c")));
    s = open_at(w, "c");
    assert_string_equal(range(w, s, NULL, "", ""), "a=new");
    s->ops->close(s);
}

TEST(destroy_leaves_nothing_and_may_be_repeated)
{
    struct world *w = *state;
    struct store *s = open_at(w, "a");
    put(s, "a", "1");
    flush(s);
    s->ops->close(s);
    T_OK(w->maker->destroy(w->maker, t_path(w->dir, "a")));
    T_OK(w->maker->destroy(w->maker, t_path(w->dir, "a")));
    s = open_at(w, "a");
    assert_string_equal(range(w, s, NULL, "", ""), "");
    s->ops->close(s);
}

/* --- images ----------------------------------------------------------------------------------- */

/* A checkpoint "cp" with small and large values; its stream. */
static GByteArray *make_stream(struct world *w, size_t piece)
{
    struct store *s = open_at(w, "a");
    struct errmsg msg = {""};
    struct buf *b = buf_alloc(200000);
    memset(b->data, 'v', b->len);
    for (unsigned i = 0; i < 20; i++) {
        char key[20];
        snprintf(key, sizeof(key), "key%02u", i);
        const struct store_write put_it = {STORE_PUT, str(key),
                                           i % 4 == 0 ? buf_bytes(b) : str(key)};
        T_OK(s->ops->write(s, &put_it, 1));
    }
    T_OK_MSG(s->ops->checkpoint(s, t_path(w->dir, "cp"), &msg), &msg);
    s->ops->close(s);
    buf_unref(b);
    struct store_image *i = w->maker->image_open(w->maker, t_path(w->dir, "cp"));
    assert_non_null(i);
    GByteArray *out = g_byte_array_new();
    g_byte_array_set_size(out, (guint)w->maker->image_size(i));
    /* Pieces from the end to the beginning: a transfer may resume anywhere. */
    for (size_t at = (out->len / piece + 1) * piece; at > 0; at -= piece) {
        size_t off = at - piece, n = off < out->len ? MIN(piece, out->len - off) : 0;
        assert_int_equal(w->maker->image_read(i, out->data + off, n, off), n);
    }
    uint8_t end;
    assert_int_equal(w->maker->image_read(i, &end, 1, out->len), 0);
    w->maker->image_close(i);
    return out;
}

static int install(struct world *w, const GByteArray *stream, size_t piece)
{
    struct store_image *i = NULL;
    T_OK(w->maker->image_create(w->maker, t_path(w->dir, "in"), str("tag"), &i));
    int err = 0;
    for (size_t at = 0; at < stream->len && err == 0; at += piece)
        err = w->maker->image_write(i, stream->data + at, MIN(piece, stream->len - at));
    int finish = w->maker->image_finish(i);
    return err < 0 ? err : finish;
}

TEST(an_image_carries_a_checkpoint)
{
    struct world *w = *state;
    GByteArray *stream = make_stream(w, 70001);
    T_OK(install(w, stream, 12345));
    T_OK(install(w, stream, MIB(4))); /* over the first one */
    struct store *a = open_at(w, "cp"), *b = open_at(w, "in");
    assert_string_equal(range(w, a, NULL, "", ""), range(w, b, NULL, "", ""));
    a->ops->close(a);
    b->ops->close(b);
    g_byte_array_unref(stream);
}

static void assert_not_installed(struct world *w)
{
    assert_null(w->maker->image_open(w->maker, t_path(w->dir, "in")));
}

TEST(a_damaged_image_is_refused_and_removed)
{
    struct world *w = *state;
    struct rng rng = t_rng();
    GByteArray *stream = make_stream(w, 70001);
    for (unsigned k = 0; k < 60; k++) {
        guint at = (guint)rng_below(&rng, k < 30 ? MIN(200, stream->len) : stream->len);
        stream->data[at] ^= 0x10;
        assert_true(install(w, stream, 50000) < 0);
        assert_not_installed(w);
        stream->data[at] ^= 0x10;
    }
    g_byte_array_unref(stream);
}

TEST(an_image_that_ends_early_or_late_is_refused)
{
    struct world *w = *state;
    GByteArray *stream = make_stream(w, 70001);
    static const uint8_t more = 0;
    g_byte_array_append(stream, &more, 1);
    assert_true(install(w, stream, 50000) < 0);
    const guint cuts[] = {2, 3, 70000, stream->len - 5, stream->len - 1};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        g_byte_array_set_size(stream, stream->len - MIN(cuts[i], stream->len));
        assert_true(install(w, stream, 50000) < 0);
        assert_not_installed(w);
    }
    g_byte_array_unref(stream);
}

/* Writes up to `upto`, and closes as a process that ends would. */
static void write_part(struct world *w, const GByteArray *stream, size_t upto)
{
    struct store_image *i = NULL;
    T_OK(w->maker->image_create(w->maker, t_path(w->dir, "in"), str("mine"), &i));
    T_OK(w->maker->image_write(i, stream->data, upto));
    w->maker->image_close(i);
}

TEST(an_image_that_is_given_up_leaves_nothing)
{
    struct world *w = *state;
    GByteArray *stream = make_stream(w, 70001);
    struct store_image *i = NULL;
    struct bytes tag;
    uint64_t off;
    write_part(w, stream, stream->len / 2);
    T_OK(w->maker->destroy(w->maker, t_path(w->dir, "in")));
    assert_not_installed(w);
    T_ERR(ERR_NOT_FOUND,
          w->maker->image_resume(w->maker, t_path(w->dir, "in"), &w->a, &tag, &off, &i));
    g_byte_array_unref(stream);
}

TEST(an_interrupted_image_is_resumed_and_becomes_the_same)
{
    struct world *w = *state;
    struct rng rng = t_rng();
    GByteArray *stream = make_stream(w, 70001);
    unsigned far = 0;
    for (unsigned k = 0; k < 40; k++) {
        struct store_image *i = NULL;
        struct bytes tag;
        uint64_t off;
        size_t upto = k == 0 ? stream->len : (size_t)rng_below(&rng, stream->len + 1);
        write_part(w, stream, upto);
        int err = w->maker->image_resume(w->maker, t_path(w->dir, "in"), &w->a, &tag, &off, &i);
        if (err == -ERR_NOT_FOUND) {
            assert_true(upto < 2000); /* not even the head */
            continue;
        }
        T_OK(err);
        assert_true(bytes_eq(tag, str("mine")));
        assert_true(off <= upto);
        far += off > 2000;
        T_OK(w->maker->image_write(i, stream->data + off, stream->len - off));
        T_OK(w->maker->image_finish(i));
        struct store *a = open_at(w, "cp"), *b = open_at(w, "in");
        assert_string_equal(range(w, a, NULL, "", ""), range(w, b, NULL, "", ""));
        a->ops->close(a);
        b->ops->close(b);
        T_ERR(ERR_NOT_FOUND,
              w->maker->image_resume(w->maker, t_path(w->dir, "in"), &w->a, &tag, &off, &i));
    }
    assert_true(far > 0);
    g_byte_array_unref(stream);
}

/* --- against a model -------------------------------------------------------------------------- */

/* The model: a value for each of 40 keys, "" for absent. */
static void random_batch(struct rng *rng, struct arena *a, struct store_write *w, size_t n,
                         const char **model)
{
    for (size_t i = 0; i < n; i++) {
        unsigned k = (unsigned)rng_below(rng, 40), end = k;
        const char *key = arena_printf(a, "%02u", k);
        const char *value = arena_printf(a, "%u", (unsigned)rng_below(rng, 100000));
        switch (rng_below(rng, 8)) {
        case 0:
            end = (unsigned)rng_between(rng, k, 40);
            w[i] = (struct store_write){STORE_DELETE_RANGE, str(key),
                                        str(arena_printf(a, "%02u", end))};
            for (; k < end; k++)
                model[k] = "";
            break;
        case 1:
        case 2:
            w[i] = (struct store_write){STORE_DELETE, str(key), BYTES_NONE};
            model[k] = "";
            break;
        default:
            w[i] = (struct store_write){STORE_PUT, str(key), str(value)};
            model[k] = value;
        }
    }
}

static const char *model_text(struct arena *a, const char **model)
{
    const char *text = "";
    for (unsigned k = 0; k < 40; k++)
        if (model[k][0])
            text = arena_printf(a, "%s%s%02u=%s", text, text[0] ? " " : "", k, model[k]);
    return text;
}

TEST(random_batches_agree_with_a_plain_model)
{
    struct world *w = *state;
    struct rng rng = t_rng();
    const char *model[40];
    for (size_t i = 0; i < 40; i++)
        model[i] = "";
    struct store *s = open_at(w, "a");
    for (unsigned round = 0; round < 200; round++) {
        struct store_write batch[8];
        size_t n = rng_between(&rng, 1, 8);
        random_batch(&rng, &w->a, batch, n, model);
        T_OK(s->ops->write(s, batch, n));
        const char *want = model_text(&w->a, model);
        assert_string_equal(range(w, s, NULL, "", ""), want);
        if (round % 50 == 49) {
            flush(s);
            s->ops->close(s);
            s = open_at(w, "a");
            assert_string_equal(range(w, s, NULL, "", ""), want);
        }
    }
    s->ops->close(s);
}

/* --- memory only ------------------------------------------------------------------------------ */

TEST(a_crash_keeps_what_was_flushed_and_a_prefix_of_the_rest)
{
    struct world *w = *state;
    for (size_t kept = 0; kept < 5; kept++) {
        struct store *s = open_at(w, "a");
        put(s, "n", "0");
        flush(s);
        put(s, "n", "1");
        put(s, "n", "2");
        put(s, "n", "3");
        store_mem_crash(s, kept);
        s = open_at(w, "a");
        char want[20];
        snprintf(want, sizeof(want), "n=%zu", MIN(kept, (size_t)3));
        assert_string_equal(range(w, s, NULL, "", ""), want);
        s->ops->close(s);
    }
}

#define BOTH(name)                                                                                 \
    {"rocks: " #name, name, setup_rocks, teardown, NULL},                                          \
    {                                                                                              \
        "mem: " #name, name, setup_mem, teardown, NULL                                             \
    }

T_MAIN(BOTH(what_was_put_is_got), BOTH(keys_are_in_the_order_of_their_bytes),
       BOTH(a_batch_is_applied_in_order_and_at_once),
       BOTH(a_range_that_ends_before_it_begins_is_empty),
       BOTH(a_view_and_an_iterator_stay_as_they_were),
       BOTH(what_was_flushed_is_there_after_opening_again), BOTH(large_values_come_back_whole),
       BOTH(a_checkpoint_is_the_state_of_its_time),
       BOTH(replace_puts_one_store_in_the_place_of_another),
       BOTH(destroy_leaves_nothing_and_may_be_repeated), BOTH(an_image_carries_a_checkpoint),
       BOTH(a_damaged_image_is_refused_and_removed),
       BOTH(an_image_that_ends_early_or_late_is_refused),
       BOTH(an_image_that_is_given_up_leaves_nothing),
       BOTH(an_interrupted_image_is_resumed_and_becomes_the_same),
       BOTH(random_batches_agree_with_a_plain_model),
       {"mem: a_crash_keeps_what_was_flushed_and_a_prefix_of_the_rest",
        a_crash_keeps_what_was_flushed_and_a_prefix_of_the_rest, setup_mem, teardown, NULL})
