/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/log.h"

static int saved_stderr, sink;

/* Between the two, stderr is a file whose content end_capture gives. */
static void begin_capture(void)
{
    sink = open(t_path(t_tmpdir(), "log"), O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    assert_true(sink >= 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(sink, STDERR_FILENO);
}

static char *end_capture(void)
{
    static char text[1 << 20];
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(sink, text, sizeof(text) - 1, 0);
    close(sink);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

TEST(a_line_has_time_level_program_and_text)
{
    begin_capture();
    log_init("raftfsd", LOG_INFO);
    log_event(LOG_INFO, "leader gid=%d", 3);
    char *text = end_capture();
    /* 2026-11-22T07:47:15.123Z info raftfsd: leader gid=3 */
    assert_true(strlen(text) > 24 && text[4] == '-' && text[10] == 'T' && text[23] == 'Z');
    assert_string_equal(text + 24, " info raftfsd: leader gid=3\n");
}

TEST(a_level_above_the_limit_is_silent)
{
    begin_capture();
    log_init("raftfsd", LOG_WARN);
    log_event(LOG_INFO, "no");
    log_limited(LOG_DEBUG, "no", "no");
    log_event(LOG_ERROR, "yes");
    char *text = end_capture();
    T_CONTAINS(text, " error raftfsd: yes\n");
    assert_null(strstr(text, "no"));
}

TEST(control_bytes_cannot_forge_a_line_or_drive_a_terminal)
{
    begin_capture();
    log_init("raftfsd", LOG_INFO);
    log_event(LOG_INFO, "name=%s",
              "a\nb\x1b[2J\x7f\xc2\x9b"
              "\xc3\xa9");
    char *text = end_capture();
    T_CONTAINS(text, "name=a\\nb\\x1b[2J\\x7f");
    assert_null(strchr(text, '\x1b'));
    assert_null(strstr(text, "\xc2\x9b"));
    T_CONTAINS(text, "\xc3\xa9");
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

TEST(a_long_text_is_one_line_that_ends)
{
    char *x = g_strnfill(100000, '\x01');
    begin_capture();
    log_init("raftfsd", LOG_INFO);
    log_event(LOG_INFO, "%s", x);
    char *text = end_capture();
    assert_true(strlen(text) < 5000 && text[strlen(text) - 1] == '\n');
    g_free(x);
}

TEST(a_repeated_event_is_written_once_in_a_while)
{
    begin_capture();
    log_init("raftfsd", LOG_INFO);
    for (int i = 0; i < 100; i++) {
        log_limited(LOG_WARN, "slow disk", "slow_disk n=%d", i);
        log_limited(LOG_WARN, "refused", "refused n=%d", i);
    }
    char *text = end_capture();
    T_CONTAINS(text, "slow_disk n=0\n");
    T_CONTAINS(text, "refused n=0\n");
    assert_null(strstr(text, "n=1\n"));
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_event(LOG_INFO, "thread=%s end", (const char *)arg);
    return NULL;
}

TEST(lines_of_two_threads_do_not_mix)
{
    begin_capture();
    log_init("raftfsd", LOG_INFO);
    pthread_t thread;
    pthread_create(&thread, NULL, write_lines, (void *)(uintptr_t) "one");
    write_lines((void *)(uintptr_t) "two");
    pthread_join(thread, NULL);
    char *text = end_capture(), *save = NULL;
    int n = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++)
        assert_true(g_str_has_suffix(line, " info raftfsd: thread=one end") ||
                    g_str_has_suffix(line, " info raftfsd: thread=two end"));
    assert_int_equal(n, 400);
}

TEST(logging_leaves_errno_alone)
{
    begin_capture();
    errno = ENOENT;
    log_event(LOG_ERROR, "x");
    int no = errno;
    end_capture();
    assert_int_equal(no, ENOENT);
}

T_MAIN(T(a_line_has_time_level_program_and_text), T(a_level_above_the_limit_is_silent),
       T(control_bytes_cannot_forge_a_line_or_drive_a_terminal),
       T(a_long_text_is_one_line_that_ends), T(a_repeated_event_is_written_once_in_a_while),
       T(lines_of_two_threads_do_not_mix), T(logging_leaves_errno_alone))
