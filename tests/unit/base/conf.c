/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <string.h>
#include <sys/stat.h>
#include "cluster/base/conf.h"

static struct conf *parse(const char *text)
{
    struct errmsg msg;
    struct conf *c = NULL;
    T_OK_MSG(conf_parse(text, strlen(text), "x.conf", &msg, &c), &msg);
    return c;
}

/* The text is refused, and the message has `needle`. */
static void refuse(const char *text, const char *needle)
{
    struct errmsg msg;
    struct conf *c = NULL;
    T_ERR(ERR_CONFIG, conf_parse(text, strlen(text), "x.conf", &msg, &c));
    assert_null(c);
    T_CONTAINS(msg.text, needle);
}

TEST(both_forms_of_a_line_give_key_and_value)
{
    CLEANUP(conf_free)
    struct conf *c = parse("listen 127.0.0.1:7001\n"
                           "data = /var/lib/raftfs \r\n"
                           "\tname=with blanks inside\n"
                           "last no-newline");
    assert_string_equal(conf_get(c, "listen"), "127.0.0.1:7001");
    assert_string_equal(conf_get(c, "data"), "/var/lib/raftfs");
    assert_string_equal(conf_get(c, "name"), "with blanks inside");
    assert_string_equal(conf_get(c, "last"), "no-newline");
    assert_null(conf_get(c, "absent"));
}

TEST(comments_and_empty_lines_say_nothing)
{
    CLEANUP(conf_free)
    struct conf *c = parse("# head\n\n  # indented\nkey value # behind\n"
                           "path /a#b\nequals a=b\n");
    assert_string_equal(conf_get(c, "key"), "value");
    assert_string_equal(conf_get(c, "path"), "/a#b");
    assert_string_equal(conf_get(c, "equals"), "a=b");
    const struct conf_entry *e = conf_next(c, NULL, NULL);
    assert_int_equal(e->line, 4);
}

TEST(repeated_keys_keep_their_order_and_lines)
{
    CLEANUP(conf_free) struct conf *c = parse("node 1 h1:1\nlisten x\nnode 2 h2:2\n");
    const struct conf_entry *e = conf_next(c, "node", NULL);
    assert_string_equal(e->value, "1 h1:1");
    e = conf_next(c, "node", e);
    assert_string_equal(e->value, "2 h2:2");
    assert_int_equal(e->line, 3);
    assert_null(conf_next(c, "node", e));
}

TEST(an_empty_text_has_no_entries)
{
    CLEANUP(conf_free) struct conf *c = parse("");
    assert_null(conf_next(c, NULL, NULL));
}

TEST(a_wrong_line_is_named_with_what_to_do)
{
    refuse("good 1\n\nlisten\n", "x.conf:3: \"listen\" has no value");
    refuse("listen =   # nothing\n", "x.conf:1:");
    refuse("= value\n", "x.conf:1: expected `key value`");
    refuse("a\nk&y value\n", "x.conf:1:");
    refuse("k&y value\n", "letters");
}

TEST(a_zero_byte_is_not_text)
{
    struct errmsg msg;
    struct conf *c = NULL;
    T_ERR(ERR_CONFIG, conf_parse("a b\0c\n", 6, "x.conf", &msg, &c));
    T_CONTAINS(msg.text, "x.conf:1:");
}

TEST(a_misspelt_key_suggests_the_near_one)
{
    static const char *const known[] = {"listen", "node+", "data", NULL};
    struct errmsg msg;
    CLEANUP(conf_free) struct conf *c = parse("data /x\nlitsen 1:1\n");
    T_ERR(ERR_CONFIG, conf_check_known(c, known, &msg));
    assert_string_equal(msg.text, "x.conf:2: unknown key \"litsen\"; did you mean \"listen\"?");
    CLEANUP(conf_free) struct conf *plural = parse("nodes 1 x:1\n");
    T_ERR(ERR_CONFIG, conf_check_known(plural, known, &msg));
    T_CONTAINS(msg.text, "did you mean \"node\"?");
}

TEST(a_key_far_from_all_lists_the_known_ones)
{
    static const char *const known[] = {"listen", "node+", NULL};
    struct errmsg msg;
    CLEANUP(conf_free) struct conf *c = parse("colour red\n");
    T_ERR(ERR_CONFIG, conf_check_known(c, known, &msg));
    T_CONTAINS(msg.text, "known are: listen, node");
    char *text = g_strdup_printf("%0500d x\n", 0);
    CLEANUP(conf_free) struct conf *huge = parse(text);
    T_ERR(ERR_CONFIG, conf_check_known(huge, known, &msg));
    g_free(text);
}

TEST(only_a_key_marked_so_may_be_repeated)
{
    static const char *const known[] = {"listen", "node+", NULL};
    struct errmsg msg;
    CLEANUP(conf_free) struct conf *fine = parse("node a\nnode b\nlisten x\n");
    T_OK_MSG(conf_check_known(fine, known, &msg), &msg);
    CLEANUP(conf_free) struct conf *twice = parse("listen a\nlisten b\n");
    T_ERR(ERR_CONFIG, conf_check_known(twice, known, &msg));
    assert_string_equal(msg.text,
                        "x.conf:2: \"listen\" stands in line 1 already; remove one of them");
}

TEST(numbers_have_bounds_and_suffixes)
{
    struct errmsg msg;
    uint64_t v = 7;
    CLEANUP(conf_free)
    struct conf *c =
        parse("n 4\nk 64k\nbig 99999999999999999999\nbad 4x\nneg -1\nover 20000000000G\n");
    T_OK(conf_number(c, "absent", 0, 10, &msg, &v));
    assert_int_equal(v, 7);
    T_OK(conf_number(c, "n", 0, 10, &msg, &v));
    assert_int_equal(v, 4);
    T_OK(conf_number(c, "k", 0, UINT64_MAX, &msg, &v));
    assert_int_equal(v, 65536);
    T_ERR(ERR_CONFIG, conf_number(c, "n", 5, 10, &msg, &v));
    assert_string_equal(msg.text, "x.conf:1: \"n\" must be a number from 5 to 10, not \"4\"");
    T_ERR(ERR_CONFIG, conf_number(c, "big", 0, UINT64_MAX, &msg, &v));
    T_ERR(ERR_CONFIG, conf_number(c, "bad", 0, UINT64_MAX, &msg, &v));
    T_ERR(ERR_CONFIG, conf_number(c, "neg", 0, UINT64_MAX, &msg, &v));
    T_ERR(ERR_CONFIG, conf_number(c, "over", 0, UINT64_MAX, &msg, &v));
    assert_int_equal(v, 65536);
}

TEST(bools_are_yes_or_no)
{
    struct errmsg msg;
    bool v = false;
    CLEANUP(conf_free) struct conf *c = parse("a Yes\nb off\nc maybe\n");
    T_OK(conf_bool(c, "a", &msg, &v));
    assert_true(v);
    T_OK(conf_bool(c, "absent", &msg, &v));
    assert_true(v);
    T_OK(conf_bool(c, "b", &msg, &v));
    assert_false(v);
    T_ERR(ERR_CONFIG, conf_bool(c, "c", &msg, &v));
    T_CONTAINS(msg.text, "x.conf:3:");
}

TEST(a_file_is_loaded_and_a_missing_one_is_named)
{
    const char *path = t_path(t_tmpdir(), "a.conf");
    struct errmsg msg;
    struct conf *c = NULL;
    T_ERR(ERR_NOT_FOUND, conf_load(path, &msg, &c));
    T_CONTAINS(msg.text, path);
    t_write_file(path, "key value\n", 10);
    T_OK_MSG(conf_load(path, &msg, &c), &msg);
    assert_string_equal(conf_get(c, "key"), "value");
    assert_string_equal(conf_next(c, NULL, NULL)->file, path);
    conf_free(c);
}

TEST(an_endless_file_is_too_big)
{
    struct errmsg msg;
    struct conf *c = NULL;
    T_ERR(ERR_TOO_BIG, conf_load("/dev/zero", &msg, &c));
    assert_null(c);
    conf_free(NULL);
}

TEST(random_text_is_parsed_or_refused_and_never_crashes)
{
    struct rng r = t_rng();
    static const char letters[] = "ab =#\n\t\r-_.&\0\xff";
    for (int round = 0; round < 2000; round++) {
        char text[64];
        size_t n = (size_t)rng_below(&r, sizeof(text));
        for (size_t i = 0; i < n; i++)
            text[i] = letters[rng_below(&r, sizeof(letters) - 1)];
        struct errmsg msg;
        struct conf *c = NULL;
        if (conf_parse(text, n, "x.conf", &msg, &c) == 0)
            for (const struct conf_entry *e = conf_next(c, NULL, NULL); e;
                 e = conf_next(c, NULL, e))
                assert_true(e->key[0] && e->value[0]);
        else
            T_CONTAINS(msg.text, "x.conf:");
        conf_free(c);
    }
}

T_MAIN(T(both_forms_of_a_line_give_key_and_value), T(comments_and_empty_lines_say_nothing),
       T(repeated_keys_keep_their_order_and_lines), T(an_empty_text_has_no_entries),
       T(a_wrong_line_is_named_with_what_to_do), T(a_zero_byte_is_not_text),
       T(a_misspelt_key_suggests_the_near_one), T(a_key_far_from_all_lists_the_known_ones),
       T(only_a_key_marked_so_may_be_repeated), T(numbers_have_bounds_and_suffixes),
       T(bools_are_yes_or_no), T(a_file_is_loaded_and_a_missing_one_is_named),
       T(an_endless_file_is_too_big), T(random_text_is_parsed_or_refused_and_never_crashes))
