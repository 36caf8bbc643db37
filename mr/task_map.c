/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/task.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "mr/builtin.h"
#include "mr/command.h"

#define OUT_BYTES KIB(256)

/* One map attempt: segments in, records to a collector or lines to fd 1. */
struct map {
    struct task *t;
    struct map_out out;
    struct outbuf lines;
    struct map_builtin builtin;
    struct line_buffer in;   /* input of a built-in */
    struct line_buffer from; /* output of a command */
    uint8_t *data;           /* input of a command */
    bool segment_ended;
    uint64_t bytes_in;
};

static uint64_t count_lines(struct bytes b)
{
    uint64_t n = 0;
    const uint8_t *p = b.p, *end = b.p + b.n;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        n++;
        p++;
    }
    return n;
}

static void took_input(struct map *m, struct bytes b)
{
    m->t->records_in += count_lines(b);
    m->bytes_in += b.n;
    task_progress(m->t, false);
}

/* The next piece of the current segment into what reserve gives: 1, 0 at the segment's end. */
static int next_piece(struct map *m, uint8_t *(*reserve)(struct map *m, size_t n), size_t *ret_n)
{
    enum task_frame type;
    size_t n;
    int rc;
    if (m->segment_ended)
        return 0;
    if (m->t->raw) {
        ssize_t k = read(TASK_IN, reserve(m, MIB(1)), MIB(1));
        if (k < 0)
            return errmsg_set(&m->t->msg, -ERR_IO, "input: %s", strerror(errno));
        *ret_n = (size_t)k;
        m->segment_ended = k == 0;
        return k > 0;
    }
    rc = task_read_head(m->t, &type, &n);
    if (rc < 0)
        return rc;
    if (type == TASK_SEGMENT_END && n == 0) {
        m->segment_ended = true;
        return 0;
    }
    if (type != TASK_DATA)
        return errmsg_set(&m->t->msg, -ERR_INVALID, "frame '%c' within a segment", type);
    rc = task_read_body(m->t, reserve(m, n), n);
    *ret_n = n;
    return rc < 0 ? rc : 1;
}

/* --- built-ins -------------------------------------------------------------------------------- */

static uint8_t *reserve_lines(struct map *m, size_t n)
{
    return lines_reserve(&m->in, n);
}

static int too_long(struct map *m, const char *what)
{
    return errmsg_set(&m->t->msg, -ERR_TOO_BIG, "%s: a line is longer than %d MiB", what,
                      (int)(RECORD_MAX >> 20));
}

static int run_builtin(struct map *m, const char *path)
{
    struct bytes whole;
    size_t n;
    int rc;
    map_builtin_segment(&m->builtin, path);
    while ((rc = next_piece(m, reserve_lines, &n)) > 0) {
        rc = lines_commit(&m->in, n, &whole);
        if (rc < 0)
            return too_long(m, "input");
        took_input(m, whole);
        rc = map_builtin_feed(&m->builtin, (uint8_t *)(uintptr_t)whole.p, whole.n, &m->t->msg);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    lines_end(&m->in, &whole);
    took_input(m, whole);
    return map_builtin_feed(&m->builtin, (uint8_t *)(uintptr_t)whole.p, whole.n, &m->t->msg);
}

/* --- commands --------------------------------------------------------------------------------- */

static uint8_t *reserve_data(struct map *m, size_t n)
{
    ASSERT(n <= TASK_FRAME_MAX);
    if (!m->data)
        m->data = g_malloc(TASK_FRAME_MAX);
    return m->data;
}

static int feed_command(void *ctx, struct bytes *ret)
{
    struct map *m = ctx;
    size_t n;
    int rc = next_piece(m, reserve_data, &n);
    if (rc <= 0)
        return rc;
    *ret = bytes_of(m->data, n);
    took_input(m, *ret);
    return 1;
}

static int collect_lines(struct map *m, struct bytes whole)
{
    const uint8_t *p = whole.p, *end = p + whole.n;
    int rc = 0;
    while (p < end && rc == 0) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        rc = map_out_line(&m->out, p, (size_t)(nl - p), &m->t->msg);
        p = nl + 1;
    }
    return rc;
}

static int take_output(void *ctx, struct bytes b)
{
    struct map *m = ctx;
    struct bytes whole;
    memcpy(lines_reserve(&m->from, b.n), b.p, b.n);
    if (lines_commit(&m->from, b.n, &whole) < 0)
        return too_long(m, "output of the command");
    task_progress(m->t, false);
    return collect_lines(m, whole);
}

static int run_command(struct map *m, const char *path, uint64_t off, uint64_t length)
{
    const struct spec *s = m->t->spec;
    char *more[] = {g_strdup_printf("MR_INPUT=%s", path),
                    g_strdup_printf("MR_OFFSET=%llu", (unsigned long long)off),
                    g_strdup_printf("MR_LENGTH=%llu", (unsigned long long)length), NULL};
    char **env = task_env(m->t, more);
    struct command_limits limits = {s->memory, s->cpu_s, s->disk};
    struct command_io io = {feed_command, m->out.collector ? take_output : NULL, m};
    int status;
    int rc = command_run(s->map.text, env, &limits, &io, &status, &m->t->msg);
    g_strfreev(env);
    for (int i = 0; more[i]; i++)
        g_free(more[i]);
    if (rc == 0)
        rc = task_judge(m->t, status);
    if (rc == 0 && m->out.collector) {
        struct bytes whole;
        lines_end(&m->from, &whole);
        rc = collect_lines(m, whole);
    }
    return rc;
}

/* --- segments --------------------------------------------------------------------------------- */

static int run_segment(struct map *m, const char *path, uint64_t off, uint64_t length)
{
    m->segment_ended = false;
    if (m->t->spec->map.builtin != BUILTIN_NONE)
        return run_builtin(m, path);
    return run_command(m, path, off, length);
}

static int run_framed_segment(struct map *m, size_t n)
{
    if (n < 16 || n > 16 + 8192)
        return errmsg_set(&m->t->msg, -ERR_INVALID, "a segment head of %zu bytes", n);
    uint8_t *p = g_malloc(n);
    int rc = task_read_body(m->t, p, n);
    if (rc == 0) {
        char *path = g_strndup((const char *)p + 16, n - 16);
        rc = run_segment(m, path, get_le64(p), get_le64(p + 8));
        g_free(path);
    }
    g_free(p);
    return rc;
}

static int run_segments(struct map *m)
{
    if (m->t->raw)
        return run_segment(m, "-", 0, 0);
    for (;;) {
        enum task_frame type;
        size_t n;
        int rc = task_read_head(m->t, &type, &n);
        if (rc < 0)
            return rc;
        if (type == TASK_END)
            return 0;
        if (type != TASK_SEGMENT)
            return errmsg_set(&m->t->msg, -ERR_INVALID, "frame '%c' between segments", type);
        rc = run_framed_segment(m, n);
        if (rc < 0)
            return rc;
    }
}

static int complete(struct map *m)
{
    struct task *t = m->t;
    task_counter("raftfs\tmap-input-records", t->records_in);
    task_counter("raftfs\tmap-input-bytes", m->bytes_in);
    if (!m->out.collector) {
        int no = outbuf_flush(&m->lines);
        return no ? errmsg_set(&t->msg, -ERR_IO, "output: %s", strerror(no)) : 0;
    }
    int rc = collector_complete(m->out.collector, &t->msg);
    if (rc < 0)
        return rc;
    struct collect_stats st;
    struct spill_index x;
    collector_get_stats(m->out.collector, &st);
    t->records_out = st.records;
    task_counter("raftfs\tmap-output-records", st.records);
    task_counter("raftfs\tmap-spilled-records", st.spilled);
    rc = spill_index_read(TASK_FILE, &x);
    if (rc < 0)
        return errmsg_set(&t->msg, rc, "map output: %s", err_text(rc));
    t->digest = spill_digest(x.sections, x.partitions);
    spill_index_finish(&x);
    return 0;
}

static enum combine_op op_of(const struct spec *s)
{
    if (!s->combine)
        return COMBINE_NONE;
    return s->reduce.builtin == BUILTIN_COUNT ? COMBINE_COUNT : COMBINE_SUM;
}

int task_map(struct task *t)
{
    struct map m = {.t = t, .out = {.lines = &m.lines, .sep = t->spec->sep}};
    outbuf_init(&m.lines, TASK_OUT, OUT_BYTES);
    if (t->partitions)
        m.out.collector = collector_create(t->partitions, op_of(t->spec), t->budget, TASK_FILE);
    int rc = map_builtin_init(&m.builtin, &t->spec->map, &m.out, &t->msg);
    if (rc == 0)
        rc = run_segments(&m);
    if (rc == 0)
        rc = complete(&m);
    map_builtin_finish(&m.builtin);
    collector_destroy(m.out.collector);
    outbuf_finish(&m.lines);
    lines_finish(&m.in);
    lines_finish(&m.from);
    g_free(m.data);
    return rc;
}
