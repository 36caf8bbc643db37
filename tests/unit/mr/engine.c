/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs from submission to output, with whole services: what the course's MapReduce tests check. */
#include "tests/unit/mr/rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- texts and references --------------------------------------------------------------------- */

/* Lines of words from a small vocabulary; no final newline if odd. */
static char *random_text(struct rng *r, size_t bytes, bool newline)
{
    GString *s = g_string_new(NULL);
    while (s->len < bytes) {
        g_string_append_printf(s, "w%c%c", (int)('a' + rng_below(r, 9)),
                               (int)('a' + rng_below(r, 9)));
        g_string_append_c(s, rng_below(r, 8) ? ' ' : '\n');
    }
    if (!newline)
        g_string_append(s, "last");
    else
        g_string_append_c(s, '\n');
    return g_string_free(s, FALSE);
}

static void count_words(GHashTable *t, const char *text)
{
    while (*text) {
        size_t n = 0;
        while (g_ascii_isalpha(text[n]))
            n++;
        if (n) {
            char *w = g_strndup(text, n);
            guint had = GPOINTER_TO_UINT(g_hash_table_lookup(t, w));
            g_hash_table_insert(t, w, GUINT_TO_POINTER(had + 1));
        }
        text += n ? n : 1;
    }
}

static const char *table_lines(GHashTable *t)
{
    GString *s = g_string_new(NULL);
    GHashTableIter it;
    gpointer k, v;
    g_hash_table_iter_init(&it, t);
    while (g_hash_table_iter_next(&it, &k, &v))
        g_string_append_printf(s, "%s\t%u\n", (char *)k, GPOINTER_TO_UINT(v));
    const char *sorted = rig_sorted(s->str);
    g_string_free(s, TRUE);
    return sorted;
}

/* /in/0 .. /in/n-1, and the words in them. */
static const char *make_books(struct rig *g, unsigned n, size_t bytes)
{
    struct rng r = t_rng();
    GHashTable *t = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    rig_mkdir(g, "/in");
    for (unsigned i = 0; i < n; i++) {
        char path[40];
        char *text = random_text(&r, bytes, i % 2 == 0);
        g_snprintf(path, sizeof path, "/in/%u", i);
        rig_write(g, path, text, strlen(text));
        count_words(t, text);
        g_free(text);
    }
    const char *want = table_lines(t);
    g_hash_table_unref(t);
    return want;
}

static void expect_done(struct rig *g, const char *name)
{
    const char *end = rig_wait(g, name);
    if (strcmp(end, "done") != 0)
        print_error("%s", rig_cat(g, name, "error"));
    assert_string_equal(end, "done");
}

static void run(struct rig *g, const char *name, const char *spec)
{
    int rc = rig_submit(g, name, spec);
    if (rc)
        print_error("%s", rig_cat(g, NULL, "last-error"));
    assert_int_equal(rc, 0);
    expect_done(g, name);
}

/* --- results ---------------------------------------------------------------------------------- */

TEST(built_in_word_count_equals_a_count_in_memory)
{
    struct rig g;
    rig_begin(&g, 2);
    const char *want = make_books(&g, 5, 20000);
    run(&g, "wc", "input: /in/*\nmap: @words\nreduce: @count\nreduces: 3\nsplit: 4K\n");
    assert_string_equal(rig_sorted(rig_output(&g, "wc")), want);
    rig_end(&g);
}

TEST(commands_give_the_same_result_as_built_ins)
{
    struct rig g;
    rig_begin(&g, 2);
    const char *want = make_books(&g, 3, 9000);
    run(&g, "wc",
        "input: /in/*\n"
        "map: tr -cs A-Za-z '\\n' | grep .\n"
        "reduce: uniq -c | awk '{ print $2 \"\\t\" $1 }'\n"
        "reduces: 2\nsplit: 4K\n");
    assert_string_equal(rig_sorted(rig_output(&g, "wc")), want);
    rig_end(&g);
}

TEST(an_indexer_sees_the_name_of_its_input_file)
{
    struct rig g;
    rig_begin(&g, 2);
    rig_mkdir(&g, "/in");
    rig_put(&g, "/in/a", "apple\nbeet\n");
    rig_put(&g, "/in/b", "beet");
    run(&g, "idx",
        "input: /in\nreduces: 1\n"
        "map: awk -v f=\"$MR_INPUT\" -v OFS='\\t' '{ print $1, f }'\n"
        "reduce:\n"
        "    awk -F'\\t' '$1 != k { if (k) print k, v; k = $1; v = \"\" }\n"
        "      { v = v \",\" $2 }\n"
        "      END { print k, v }'\n");
    assert_string_equal(rig_output(&g, "idx"), "apple ,/in/a\nbeet ,/in/a,/in/b\n");
    rig_end(&g);
}

TEST(a_map_only_job_keeps_lines_in_order)
{
    struct rig g;
    rig_begin(&g, 2);
    GString *s = g_string_new(NULL), *want = g_string_new(NULL);
    for (int i = 0; i < 4000; i++) {
        g_string_append_printf(s, "line %d\n", i);
        if (i % 7 == 0)
            g_string_append_printf(want, "line %d\n", i);
    }
    rig_write(&g, "/in", s->str, s->len);
    run(&g, "each", "input: /in\nsplit: 2K\nmap: awk '$2 % 7 == 0'\n");
    assert_string_equal(rig_output(&g, "each"), want->str);
    g_string_free(s, TRUE);
    g_string_free(want, TRUE);
    rig_end(&g);
}

TEST(grep_n_counts_lines_of_whole_files)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_mkdir(&g, "/in");
    rig_put(&g, "/in/a", "x\nneedle one\n");
    rig_put(&g, "/in/b", "needle two");
    run(&g, "grep", "input: /in/*\nmap: @grep -n 'needle (one|two)'\n");
    assert_string_equal(rig_output(&g, "grep"), "/in/a:2:needle one\n/in/b:1:needle two\n");
    rig_end(&g);
}

TEST(sums_are_exact_and_not_only_counts)
{
    struct rig g;
    rig_begin(&g, 2);
    rig_put(&g, "/in", "a\t5\nb\t-2\na\t9223372036854775800\nb\t1\n");
    run(&g, "sum", "input: /in\nreduce: @sum\nreduces: 1\n");
    assert_string_equal(rig_output(&g, "sum"), "a\t9223372036854775805\nb\t-1\n");
    rig_end(&g);
}

TEST(empty_input_gives_empty_parts)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_put(&g, "/in", "");
    run(&g, "none", "input: /in\nmap: @words\nreduce: @count\nreduces: 2\n");
    assert_string_equal(rig_output(&g, "none"), "");
    assert_non_null(rig_read(&g, "/jobs/none/out/part-00001"));
    rig_end(&g);
}

TEST(a_command_runs_once_for_each_file_of_a_packed_task)
{
    struct rig g;
    rig_begin(&g, 1);
    make_books(&g, 8, 100);
    run(&g, "count", "input: /in/*\nmap: cat >/dev/null; echo \"$MR_INPUT $MR_TASK\"\n");
    const char *out = rig_output(&g, "count");
    assert_non_null(strstr(out, "/in/0 m-00000\n"));
    assert_non_null(strstr(out, "/in/7 m-00000\n"));
    rig_end(&g);
}

TEST(each_map_runs_once_when_nothing_goes_wrong)
{
    struct rig g;
    rig_begin(&g, 2);
    make_books(&g, 8, 500);
    run(&g, "jobcount",
        "input: /in/*\nsplit: file\nreduce: @count\n"
        "map: cat > /dev/null; echo reporter:counter:test,runs,1 >&2; echo run\n");
    assert_string_equal(rig_output(&g, "jobcount"), "run\t8\n");
    assert_int_equal(rig_counter(&g, "jobcount", "test\truns\t"), 8);
    rig_end(&g);
}

TEST(a_reducer_that_stops_reading_early_is_a_success)
{
    struct rig g;
    rig_begin(&g, 1);
    make_books(&g, 2, 300000);
    run(&g, "head", "input: /in/*\nmap: @words\nreduce: head -n 1\nreduces: 1\n");
    assert_string_equal(rig_output(&g, "head"), "last\t1\n");
    rig_end(&g);
}

TEST(ok_exit_says_which_exit_codes_are_no_failure)
{
    struct rig g;
    rig_begin(&g, 1);
    make_books(&g, 2, 200);
    run(&g, "none", "input: /in/*\nmap: grep nothing-like-it\nok-exit: 0 1\n");
    assert_string_equal(rig_output(&g, "none"), "");
    rig_end(&g);
}

/* --- failures --------------------------------------------------------------------------------- */

TEST(attempts_that_crash_are_run_again_and_leave_no_trace_in_the_output)
{
    struct rig g;
    rig_begin(&g, 2);
    const char *want = make_books(&g, 4, 6000);
    run(&g, "crash",
        "input: /in/*\nsplit: 4K\nreduces: 2\ntries: 4\n"
        "map: tr -cs A-Za-z '\\n' | grep . ; [ $MR_ATTEMPT -gt 2 ] || { echo garbage; kill -9 $$; "
        "}\n"
        "reduce: uniq -c | awk '{ print $2 \"\\t\" $1 }'; [ $MR_ATTEMPT -gt 1 ] || exit 3\n");
    assert_string_equal(rig_sorted(rig_output(&g, "crash")), want);
    T_CONTAINS(rig_cat(&g, "crash", "status"), "state     done");
    rig_end(&g);
}

TEST(a_failed_job_says_which_command_failed_on_what_and_how)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_put(&g, "/in", "one\ntwo\n");
    assert_int_equal(
        rig_submit(&g, "bad",
                   "input: /in\ntries: 2\nmap: cat >/dev/null; echo bad date >&2; exit 9\n"),
        0);
    assert_string_equal(rig_wait(&g, "bad"), "failed");
    const char *error = rig_cat(&g, "bad", "error");
    T_CONTAINS(error, "job bad FAILED after 2 failed attempts of map task m-00000\n");
    T_CONTAINS(error, "command: cat >/dev/null; echo bad date >&2; exit 9\n");
    T_CONTAINS(error, "reason:  exit status 9 (after ");
    T_CONTAINS(error, "input:   /in bytes 0-7\n");
    T_CONTAINS(error, "    bad date\n");
    assert_string_equal(rig_read(&g, "/jobs/bad/tasks/m-00000/1/stderr"), "bad date\n");
    assert_null(rig_output(&g, "bad"));
    rig_end(&g);
}

TEST(a_command_that_does_not_exist_fails_the_job_without_using_up_its_tries)
{
    struct rig g;
    rig_begin(&g, 2);
    rig_put(&g, "/in", "one\n");
    assert_int_equal(rig_submit(&g, "no", "input: /in\ntries: 50\nmap: no-such-command-xyz\n"), 0);
    assert_string_equal(rig_wait(&g, "no"), "failed");
    T_CONTAINS(rig_cat(&g, "no", "error"), "after 2 failed attempts");
    T_CONTAINS(rig_cat(&g, "no", "error"), "exit status 127 (command not found)");
    rig_end(&g);
}

TEST(an_attempt_without_progress_is_killed_and_run_again)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_put(&g, "/in", "one\n");
    run(&g, "stuck", "input: /in\ntimeout: 300ms\nmap: [ $MR_ATTEMPT -gt 1 ] || sleep 1000; cat\n");
    assert_string_equal(rig_output(&g, "stuck"), "one\n");
    T_CONTAINS(rig_cat(&g, "stuck", "status"), "failed 1");
    rig_end(&g);
}

TEST(an_input_that_changes_fails_the_job)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_mkdir(&g, "/in");
    rig_put(&g, "/in/a", "one\n");
    rig_put(&g, "/in/b", "two\n");
    assert_int_equal(rig_submit(&g, "changed",
                                "input: /in/*\nsplit: file\nmap: cat; while [ $MR_TASK = m-00000 "
                                "-a $MR_ATTEMPT = 1 ]; do sleep 0.05; done\ntimeout: 500ms\n"),
                     0);
    T_EVENTUALLY(strstr(rig_cat(&g, "changed", "status"), "running 1"));
    rig_put(&g, "/in/a", "ONE\n");
    assert_string_equal(rig_wait(&g, "changed"), "failed");
    T_CONTAINS(rig_cat(&g, "changed", "error"),
               "input changed: /in/a is not what it was when the job began");
    rig_end(&g);
}

TEST(kill_is_in_effect_when_the_write_returns)
{
    struct rig g;
    rig_begin(&g, 2);
    const char *mark = t_path(t_tmpdir(), "pid");
    char *spec =
        g_strdup_printf("input: /in\nmap: echo reporter:status:here >&2; sleep 1000; cat\n");
    rig_put(&g, "/in", "one\n");
    assert_int_equal(rig_submit(&g, "k", spec), 0);
    T_EVENTUALLY(strstr(rig_cat(&g, "k", "status"), "running 1"));
    assert_int_equal(rig_ctl(&g, "k", "kill\n"), 0);
    T_CONTAINS(rig_cat(&g, "k", "status"), "state     killed");
    assert_string_equal(rig_wait(&g, "k"), "killed");
    assert_null(rig_output(&g, "k"));
    assert_int_equal(rig_ctl(&g, "k", "kill"), 0);
    assert_int_equal(rig_ctl(&g, "k", "dance"), -EINVAL);
    g_free(spec);
    (void)mark;
    rig_end(&g); /* would wait 1000 s if the command had survived */
}

/* --- losing nodes and coordinators ------------------------------------------------------------ */

TEST(map_outputs_lost_with_their_node_are_made_again)
{
    struct rig g;
    rig_begin(&g, 3);
    const char *want = make_books(&g, 6, 6000);
    /* The first reduce attempts wait until a map node is gone. */
    assert_int_equal(
        rig_submit(
            &g, "lost",
            "input: /in/*\nsplit: 4K\nreduces: 2\nmap: tr -cs A-Za-z '\\n' | grep .\n"
            "reduce: [ $MR_ATTEMPT -gt 1 ] || sleep 1; uniq -c | awk '{ print $2 \"\\t\" $1 }'\n"),
        0);
    T_EVENTUALLY(strstr(rig_cat(&g, "lost", "status"), "phase     reduce"));
    rig_stop(&g, 3);
    expect_done(&g, "lost");
    assert_string_equal(rig_sorted(rig_output(&g, "lost")), want);
    rig_end(&g);
}

TEST(outputs_of_two_executions_of_a_random_map_are_never_mixed)
{
    struct rig g;
    rig_begin(&g, 2);
    rig_put(&g, "/in", "x\n");
    rig_lead(&g, 2);
    /* The map goes to node 1 and is made again elsewhere after the first reduce has its output. */
    assert_int_equal(
        rig_submit(&g, "random",
                   "input: /in\nreduces: 2\n"
                   "map: r=$(od -An -N8 -tx8 /dev/urandom); seq 40 | sed \"s/$/\t$r/\"\n"
                   "reduce: [ $MR_PARTITION = 0 -o $MR_ATTEMPT -gt 1 ] || { sleep 1; "
                   "exit 1; }; cut -f2 | uniq\n"),
        0);
    T_EVENTUALLY(strstr(rig_cat(&g, "random", "status"), "reduces   2 done 1"));
    rig_stop(&g, 1);
    expect_done(&g, "random");
    char **lines = g_strsplit(rig_output(&g, "random"), "\n", -1);
    assert_int_equal(g_strv_length(lines), 3); /* one of each part, and the end */
    assert_string_equal(lines[0], lines[1]);
    g_strfreev(lines);
    rig_end(&g);
}

TEST(a_node_that_restarts_begins_with_nothing)
{
    struct rig g;
    rig_begin(&g, 2);
    const char *want = make_books(&g, 6, 6000);
    assert_int_equal(rig_submit(&g, "again",
                                "input: /in/*\nsplit: 4K\nreduces: 2\n"
                                "map: sleep 0.05; tr -cs A-Za-z '\\n' | grep .\nreduce: @count\n"),
                     0);
    T_EVENTUALLY(!strstr(rig_cat(&g, "again", "status"), "done 0 running 0"));
    rig_stop(&g, 2);
    rig_start(&g, 2);
    expect_done(&g, "again");
    assert_string_equal(rig_sorted(rig_output(&g, "again")), want);
    rig_end(&g);
}

TEST(a_job_goes_on_whenever_the_coordinator_changes)
{
    struct rig g;
    rig_begin(&g, 3);
    struct rng r = t_rng();
    const char *want = make_books(&g, 6, 8000);
    assert_int_equal(rig_submit(&g, "moving",
                                "input: /in/*\nsplit: 4K\nreduces: 3\nmap: sleep 0.02; tr -cs "
                                "A-Za-z '\\n' | grep .\nreduce: @count\n"),
                     0);
    for (unsigned i = 0; !strstr(rig_cat(&g, "moving", "status"), "state     done"); i++) {
        assert_true(i < 1000);
        rig_lead(&g, 1 + (unsigned)rng_below(&r, 3));
        usleep((useconds_t)rng_below(&r, 60000)); /* any moment will do: this is no wait */
    }
    assert_string_equal(rig_sorted(rig_output(&g, "moving")), want);
    rig_end(&g);
}

static int running_maps(struct rig *g, const char *name)
{
    const char *at = strstr(rig_cat(g, name, "status"), " running ");
    return at ? atoi(at + strlen(" running ")) : 0;
}

TEST(lost_sessions_do_not_count_against_tries)
{
    struct rig g;
    rig_begin(&g, 2);
    const char *want = make_books(&g, 6, 6000);
    assert_int_equal(rig_submit(&g, "fenced",
                                "input: /in/*\nsplit: 4K\nreduces: 2\ntries: 1\nmap: sleep 0.05; "
                                "tr -cs A-Za-z '\\n' | grep .\nreduce: @count\n"),
                     0);
    for (int i = 0; i < 3; i++) {
        T_EVENTUALLY(running_maps(&g, "fenced") > 0);
        rig_expire(&g);
    }
    expect_done(&g, "fenced");
    assert_string_equal(rig_sorted(rig_output(&g, "fenced")), want);
    rig_end(&g);
}

TEST(two_coordinators_at_once_do_no_harm)
{
    struct rig g;
    rig_begin(&g, 3);
    const char *want = make_books(&g, 6, 8000);
    mr_service_lead(g.node[2], true); /* node 1 has not noticed */
    assert_int_equal(
        rig_submit(&g, "two", "input: /in/*\nsplit: 4K\nreduces: 3\nmap: @words\nreduce: @count\n"),
        0);
    mr_service_lead(g.node[3], true);
    expect_done(&g, "two");
    assert_string_equal(rig_sorted(rig_output(&g, "two")), want);
    rig_end(&g);
}

/* --- submission ------------------------------------------------------------------------------- */

TEST(a_bad_spec_is_refused_and_last_error_says_why)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_mkdir(&g, "/books");
    assert_int_equal(rig_submit(&g, "wc", "input: /books/*\nreducer: @count\n"), -EINVAL);
    assert_string_equal(rig_cat(&g, NULL, "last-error"),
                        "wc.job:2: reducer: unknown key (did you mean \"reduce\"?)\n");
    assert_int_equal(rig_submit(&g, "wc", "# words\ninput: /boks/*.txt\nmap: @words\n"), -EINVAL);
    assert_string_equal(rig_cat(&g, NULL, "last-error"),
                        "wc.job:2: input: /boks/*.txt matches no file (there is /books)\n");
    rig_end(&g);
}

TEST(the_spec_of_a_running_job_cannot_be_changed_and_that_of_an_ended_one_runs_anew)
{
    struct rig g;
    rig_begin(&g, 1);
    rig_put(&g, "/in", "one\n");
    const char *slow = "input: /in\nmap: sleep 1000\n", *fast = "input: /in\n";
    assert_int_equal(rig_submit(&g, "x", slow), 0);
    assert_int_equal(rig_submit(&g, "x", fast), -ETXTBSY);
    assert_int_equal(rig_ctl(&g, "x", "kill"), 0);
    fast = "input: /in\nmap: cat\n";
    run(&g, "x", fast);
    assert_string_equal(rig_output(&g, "x"), "one\n");
    assert_string_equal(rig_read(&g, "/jobs/x/spec"), fast);
    assert_string_equal(rig_read(&g, "/jobs/.history/x.1/spec"), slow);
    T_CONTAINS(rig_read(&g, "/jobs/.history/x.1/status"), "state     killed");
    rig_end(&g);
}

TEST(an_ended_job_leaves_no_hidden_files_and_no_splits)
{
    struct rig g;
    rig_begin(&g, 1);
    make_books(&g, 2, 300);
    run(&g, "wc", "input: /in/*\nmap: @words\nreduce: @count\n");
    T_EVENTUALLY(!rig_exists(&g, "/jobs/wc/.work-1"));
    T_CONTAINS(rig_cat(&g, "wc", "progress"), "done  map 1/1 100%  reduce 1/1 100%");
    T_CONTAINS(rig_cat(&g, "wc", "plan"), "reduce     @count");
    T_CONTAINS(rig_cat(&g, NULL, "README"), "raftfs-job(5)");
    rig_end(&g);
}

T_MAIN(T(built_in_word_count_equals_a_count_in_memory),
       T(commands_give_the_same_result_as_built_ins), T(an_indexer_sees_the_name_of_its_input_file),
       T(a_map_only_job_keeps_lines_in_order), T(grep_n_counts_lines_of_whole_files),
       T(sums_are_exact_and_not_only_counts), T(empty_input_gives_empty_parts),
       T(a_command_runs_once_for_each_file_of_a_packed_task),
       T(each_map_runs_once_when_nothing_goes_wrong),
       T(a_reducer_that_stops_reading_early_is_a_success),
       T(ok_exit_says_which_exit_codes_are_no_failure),
       T(attempts_that_crash_are_run_again_and_leave_no_trace_in_the_output),
       T(a_failed_job_says_which_command_failed_on_what_and_how),
       T(a_command_that_does_not_exist_fails_the_job_without_using_up_its_tries),
       T(an_attempt_without_progress_is_killed_and_run_again),
       T(an_input_that_changes_fails_the_job), T(kill_is_in_effect_when_the_write_returns),
       T(map_outputs_lost_with_their_node_are_made_again),
       T(outputs_of_two_executions_of_a_random_map_are_never_mixed),
       T(a_node_that_restarts_begins_with_nothing),
       T(a_job_goes_on_whenever_the_coordinator_changes),
       T(lost_sessions_do_not_count_against_tries), T(two_coordinators_at_once_do_no_harm),
       T(a_bad_spec_is_refused_and_last_error_says_why),
       T(the_spec_of_a_running_job_cannot_be_changed_and_that_of_an_ended_one_runs_anew),
       T(an_ended_job_leaves_no_hidden_files_and_no_splits))
