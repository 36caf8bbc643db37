/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"
#include "mr/spec.h"

#include <string.h>

static struct spec *good(const char *text)
{
    struct spec *s;
    struct errmsg msg;
    T_OK_MSG(spec_parse("wc.job", text, strlen(text), &s, &msg), &msg);
    return s;
}

static void bad(const char *text, const char *want)
{
    struct spec *s;
    struct errmsg msg;
    T_ERR(ERR_CONFIG, spec_parse("wc.job", text, strlen(text), &s, &msg));
    assert_string_equal(msg.text, want);
}

TEST(three_lines_make_a_job_and_the_rest_has_defaults)
{
    struct spec *s CLEANUP(spec_destroy) =
        good("# count words\ninput:   /books/*.txt more/*\nmap:     @words\nreduce:  @count\n");
    assert_int_equal(s->inputs->len, 2);
    assert_string_equal(s->inputs->pdata[0], "/books/*.txt");
    assert_string_equal(s->inputs->pdata[1], "/more/*");
    assert_int_equal(s->map.builtin, BUILTIN_WORDS);
    assert_int_equal(s->reduce.builtin, BUILTIN_COUNT);
    assert_true(s->combine);
    assert_int_equal(s->reduces, 0);
    assert_int_equal(s->split, MIB(16));
    assert_int_equal(s->sep, '\t');
    assert_int_equal(s->tries, 4);
    assert_true(spec_exit_ok(s, 0));
    assert_false(spec_exit_ok(s, 1));
    assert_int_equal(s->timeout_ms, 600000);
}

TEST(indented_lines_continue_a_value_verbatim_minus_their_common_indent)
{
    struct spec *s CLEANUP(spec_destroy) = good("input: /a\n"
                                                "map:\n"
                                                "    awk '\n"
                                                "      # not a comment\n"
                                                "\n"
                                                "      { print \"\\t\" }'\n"
                                                "\n"
                                                "reduce: sort |\n"
                                                "\tuniq -c");
    assert_string_equal(s->map.text, "awk '\n  # not a comment\n\n  { print \"\\t\" }'");
    assert_string_equal(s->reduce.text, "sort |\nuniq -c");
    assert_int_equal(s->map.builtin, BUILTIN_NONE);
}

TEST(every_key_of_this_version_takes_its_value)
{
    struct spec *s CLEANUP(spec_destroy) = good(
        "input: /a\nmap: @grep -n -i 'a b|c'\nreduce: none\nreduces: 7\nsplit: file\nsep: ,\n"
        "tries: 2\nok-exit: 0 1, 44\ntimeout: 5m\nmemory: 64M\ncpu: 10s\ndisk: 2G\ncombine: none\n"
        "sort: -k1,1\npartition: hash -k1,1\nformat: line\nmode: run\nenv: A=1\n  B_2=x y\n");
    assert_string_equal(s->map.pattern, "a b|c");
    assert_true(s->map.number && s->map.fold && !s->map.invert);
    assert_null(s->reduce.text);
    assert_int_equal(s->split, 0);
    assert_int_equal(s->sep, ',');
    assert_true(spec_exit_ok(s, 44) && spec_exit_ok(s, 1) && !spec_exit_ok(s, 2));
    assert_int_equal(s->timeout_ms, 300000);
    assert_int_equal(s->memory, MIB(64));
    assert_int_equal(s->cpu_s, 10);
    assert_string_equal(s->env->pdata[1], "B_2=x y");
}

TEST(errors_name_file_line_key_and_what_to_do)
{
    bad("input: /a\n\nreducer: x\n", "wc.job:3: reducer: unknown key (did you mean \"reduce\"?)");
    bad("inptu: /a\n", "wc.job:1: inptu: unknown key (did you mean \"input\"?)");
    bad("input: /a\nmpa: cat\n", "wc.job:2: mpa: unknown key (did you mean \"map\"?)");
    bad("colour: red\n", "wc.job:1: colour: unknown key (see /jobs/README)");
    bad("input: /a\nmap: @wrods\n",
        "wc.job:2: map: @wrods: unknown built-in (did you mean \"@words\"?)");
    bad("input: /a\nmap: @count\n",
        "wc.job:2: map: @count is a reduce, not a map (use @identity or @words here)");
    bad("input: /a\nreduce: @grep x\n",
        "wc.job:2: reduce: @grep is a map, not a reduce (use @count, @sum or @identity here)");
    bad("input: /a\nmap: @grep 'a('\n",
        "wc.job:2: map: @grep: bad pattern 'a(': Unmatched ( or \\(");
    bad("input: /a\nmap: @grep\n",
        "wc.job:2: map: @grep: needs exactly one pattern (put it in single quotes)");
    bad("input: /a\nmap: cat\nmap: cat\n", "wc.job:3: map: given twice (first in line 2)");
    bad("map: cat\n",
        "wc.job:1: input: missing (say which files to read, for example input: /books/*.txt)");
    bad("input: /a\n",
        "wc.job:1: map: missing (a job needs map or reduce, for example map: @words)");
    bad("input: /a\nmap: cat\nreduces: none\n",
        "wc.job:3: reduces: \"none\" is not a whole number from 1 to 4096");
    bad("input: /a\nmap: cat\nsplit: 5 apples\n",
        "wc.job:3: split: \"5 apples\" is not a size (write for example 64M or 1G)");
    bad("input: /a\nmap: cat\ntimeout: soon\n",
        "wc.job:3: timeout: \"soon\" is not a time (write for example 10s or 5m)");
    bad("just text\n", "wc.job:1: just: not a \"key: value\" line");
    bad("  input: /a\n",
        "wc.job:1: indented line: it continues nothing (a key begins in column 1)");
    bad("input: /a\r\n", "wc.job:1: the line ends with CR LF (convert it: dos2unix wc.job)");
    bad("input: /a\nmap: @grep -n x\nsplit: 1M\n",
        "wc.job:2: map: @grep -n needs whole files to count lines (use split: file)");
    bad("input: /a\nenv: MR_JOB=x\n", "wc.job:2: env: names that begin with MR_ cannot be set");
    bad("input: /a\nmap: cat\nsep: tab\n",
        "wc.job:3: sep: \"tab\" is not one byte, TAB, SPACE or COMMA");
}

TEST(what_this_version_cannot_do_is_refused_not_ignored)
{
    bad("input: /a\nmap: cat\noutput: /b\n", "wc.job:3: output: not supported by this version");
    bad("input: /a\nmap: cat\nsort: -k2,2nr\n",
        "wc.job:3: sort: \"-k2,2nr\" is not supported by this version (only -k1,1)");
    bad("input: /a\nmap: native: /x.so\n",
        "wc.job:2: map: native: is not supported by this version");
    bad("input: /a\nmap: cat\ncombine: sort -u\n",
        "wc.job:3: combine: a combining command is not supported by this version (auto or none)");
    bad("input: /a\nmap: cat\nmode: check\n",
        "wc.job:3: mode: \"check\" is not supported by this version (only run)");
}

TEST(random_bytes_never_do_more_than_fail)
{
    struct rng r = t_rng();
    static const char *const parts[] = {"input:", "map:", " ", "\n",   "@grep", "@",
                                        "'",      "\\",   "x", "#",    ":",     "\t",
                                        "9",      "-n",   "(", "sep:", "\r\n"};
    for (int i = 0; i < 3000; i++) {
        GString *t = g_string_new(NULL);
        struct spec *s = NULL;
        for (uint64_t k = rng_below(&r, 20); k > 0; k--)
            g_string_append(t, parts[rng_below(&r, ARRAY_LEN(parts))]);
        int rc = spec_parse("f", t->str, t->len, &s, NULL);
        assert_true(rc == 0 || (rc == -ERR_CONFIG && !s));
        spec_destroy(s);
        g_string_free(t, TRUE);
    }
}

TEST(names_of_jobs_are_safe_in_paths)
{
    assert_true(job_name_ok("wc-1.2_a+b@c", 12));
    const char *no[] = {"", ".x", "-x", "a/b", "a b", "README", "last-error", "a\nb"};
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(job_name_ok(no[i], strlen(no[i])));
    assert_null(job_name_of_file(".wc.job"));
    assert_null(job_name_of_file("wc.jobs"));
    assert_null(job_name_of_file(".job"));
}

T_MAIN(T(three_lines_make_a_job_and_the_rest_has_defaults),
       T(indented_lines_continue_a_value_verbatim_minus_their_common_indent),
       T(every_key_of_this_version_takes_its_value), T(errors_name_file_line_key_and_what_to_do),
       T(what_this_version_cannot_do_is_refused_not_ignored),
       T(random_bytes_never_do_more_than_fail), T(names_of_jobs_are_safe_in_paths))
