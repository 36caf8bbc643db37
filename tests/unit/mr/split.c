/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"
#include "mr/lines.h"
#include "mr/split.h"

#include <string.h>

/* What a split owns, read in pieces of `piece` bytes, with the missing newline added. */
static void read_split(GString *out, const char *text, size_t n, size_t start, size_t end,
                       size_t piece)
{
    struct line_split l;
    split_init(&l, start, end);
    while (!l.done && l.at < n) {
        size_t at = (size_t)l.at, k = MIN(piece, n - at), from, to;
        split_feed(&l, (const uint8_t *)text + at, k, &from, &to);
        g_string_append_len(out, text + at + from, (gssize)(to - from));
    }
    if (split_needs_newline(&l))
        g_string_append_c(out, '\n');
}

static void check_all_splits(const char *text, size_t n)
{
    char *want = n && text[n - 1] != '\n' ? g_strconcat(text, "\n", NULL) : g_strdup(text);
    for (size_t size = 1; size <= n + 1; size++) {
        for (size_t piece = 1; piece <= 7; piece += 3) {
            GString *got = g_string_new(NULL);
            for (size_t at = 0; at < n; at += size)
                read_split(got, text, n, at, MIN(at + size, n), piece);
            if (strcmp(got->str, want) != 0)
                print_error("split size %zu, piece %zu of \"%s\"\n", size, piece, text);
            assert_string_equal(got->str, want);
            g_string_free(got, TRUE);
        }
    }
    g_free(want);
}

TEST(the_splits_of_a_file_own_every_line_once_however_it_is_cut)
{
    const char *texts[] = {"a\n",     "a", "\n", "\n\n\n", "one\ntwo\nthree", "one\n\n\nfour\n",
                           "longline"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        check_all_splits(texts[i], strlen(texts[i]));
}

TEST(random_files_too)
{
    struct rng r = t_rng();
    for (int round = 0; round < 60; round++) {
        char text[80];
        size_t n = 1 + rng_below(&r, sizeof text - 1);
        for (size_t i = 0; i < n; i++)
            text[i] = rng_below(&r, 4) ? 'x' : '\n';
        text[n] = 0;
        check_all_splits(text, n);
    }
}

TEST(a_line_belongs_to_the_split_it_starts_in)
{
    GString *s = g_string_new(NULL);
    read_split(s, "ab\ncdefgh\ni\n", 12, 3, 5,
               100); /* [3,5) starts with the line, not with its end */
    assert_string_equal(s->str, "cdefgh\n");
    g_string_set_size(s, 0);
    read_split(s, "ab\ncdefgh\ni\n", 12, 4, 9, 100); /* no line starts in it */
    assert_string_equal(s->str, "");
    g_string_free(s, TRUE);
}

TEST(pieces_of_lines_are_put_together)
{
    struct line_buffer l = {0};
    struct bytes b;
    const char *text = "one\ntwo\nthree";
    GString *got = g_string_new(NULL);
    for (size_t at = 0; at < strlen(text); at += 2) {
        size_t n = MIN(2, strlen(text) - at);
        memcpy(lines_reserve(&l, n), text + at, n);
        T_OK(lines_commit(&l, n, &b));
        assert_true(b.n == 0 || b.p[b.n - 1] == '\n');
        g_string_append_len(got, (const char *)b.p, (gssize)b.n);
    }
    lines_end(&l, &b);
    g_string_append_len(got, (const char *)b.p, (gssize)b.n);
    assert_string_equal(got->str, "one\ntwo\nthree\n");
    g_string_free(got, TRUE);
    lines_finish(&l);
}

T_MAIN(T(the_splits_of_a_file_own_every_line_once_however_it_is_cut), T(random_files_too),
       T(a_line_belongs_to_the_split_it_starts_in), T(pieces_of_lines_are_put_together))
