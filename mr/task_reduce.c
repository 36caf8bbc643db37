/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/task.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "mr/builtin.h"
#include "mr/command.h"

#define OUT_BYTES  KIB(256)
#define FEED_BYTES KIB(256)

/* One reduce attempt: sections of map output in fd 4 (raw: the one of a whole spill file), merged.
 */
struct reduce {
    struct task *t;
    GArray *sources; /* of struct merge_source, in the order of the map tasks */
    int pass_fd;     /* intermediate runs; -1 */
    struct merge *merge;
    struct outbuf lines;
    struct outbuf feed; /* only its memory: lines for the command */
    struct reduce_stats stats;
};

static int read_raw_sources(struct reduce *r)
{
    struct spill_index x;
    int rc = spill_index_read(TASK_FILE, &x);
    if (rc < 0)
        return errmsg_set(&r->t->msg, rc, "fd 4: %s", err_text(rc));
    for (uint32_t p = 0; p < x.partitions; p++) {
        struct merge_source s = {TASK_FILE, x.sections[p].off, x.sections[p].bytes};
        g_array_append_val(r->sources, s);
    }
    spill_index_finish(&x);
    return 0;
}

static int read_sources(struct reduce *r)
{
    if (r->t->raw)
        return read_raw_sources(r);
    for (;;) {
        enum task_frame type;
        uint8_t p[16];
        size_t n;
        int rc = task_read_head(r->t, &type, &n);
        if (rc < 0)
            return rc;
        if (type == TASK_END)
            return 0;
        if (type != TASK_RUN || n != sizeof p)
            return errmsg_set(&r->t->msg, -ERR_INVALID, "frame '%c' among runs", type);
        rc = task_read_body(r->t, p, n);
        if (rc < 0)
            return rc;
        struct merge_source s = {TASK_FILE, get_le64(p), get_le64(p + 8)};
        if (s.bytes)
            g_array_append_val(r->sources, s);
    }
}

/* --- merging in passes ------------------------------------------------------------------------ */

static int merge_group(struct reduce *r, guint from, guint n, int fd, uint64_t at,
                       struct merge_source *ret)
{
    struct merge *m;
    int rc = merge_create(&g_array_index(r->sources, struct merge_source, from), n, &m);
    if (rc < 0)
        return rc;
    struct spill_writer *w = spill_writer_create(fd, at, 1, 0);
    const struct spill_section *s;
    struct record rec;
    while ((rc = merge_next(m, &rec)) > 0 && (rc = spill_put(w, 0, &rec)) == 0)
        task_progress(r->t, false);
    if (rc == 0)
        rc = spill_sections(w, &s);
    if (rc == 0)
        *ret = (struct merge_source){fd, s->off, s->bytes};
    spill_writer_destroy(w);
    merge_destroy(m);
    return rc;
}

/* More sections than can be open at once: neighbours become one, which keeps the order. */
static int shrink_sources(struct reduce *r)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(&r->t->msg, err_from_errno(errno), "scratch file: %s", strerror(errno));
    GArray *out = g_array_new(FALSE, FALSE, sizeof(struct merge_source));
    uint64_t at = 0;
    int rc = 0;
    for (guint i = 0; i < r->sources->len && rc == 0; i += MERGE_WAYS) {
        struct merge_source s = {0};
        rc = merge_group(r, i, MIN(MERGE_WAYS, r->sources->len - i), fd, at, &s);
        at = s.off + s.bytes;
        g_array_append_val(out, s);
    }
    g_array_unref(r->sources);
    r->sources = out;
    if (r->pass_fd >= 0)
        close(r->pass_fd);
    r->pass_fd = fd;
    return rc < 0 ? errmsg_set(&r->t->msg, rc, "merging: %s", err_text(rc)) : 0;
}

/* --- reducing --------------------------------------------------------------------------------- */

/* Merged records as lines, a buffer at a time. */
static int feed_command(void *ctx, struct bytes *ret)
{
    struct reduce *r = ctx;
    struct record rec;
    int rc = 1;
    r->feed.n = 0;
    while (r->feed.n < FEED_BYTES && (rc = merge_next(r->merge, &rec)) > 0) {
        size_t need = r->feed.n + rec.key.n + rec.value.n + 2;
        if (need > r->feed.cap) {
            r->feed.cap = need + FEED_BYTES;
            r->feed.p = g_realloc(r->feed.p, r->feed.cap);
        }
        outbuf_record(&r->feed, &rec, r->t->spec->sep);
        r->stats.records++;
    }
    if (rc < 0)
        return errmsg_set(&r->t->msg, rc, "merging: %s", err_text(rc));
    r->t->records_in = r->stats.records;
    task_progress(r->t, false);
    *ret = bytes_of(r->feed.p, r->feed.n);
    return r->feed.n > 0;
}

static int run_command(struct reduce *r)
{
    const struct spec *s = r->t->spec;
    char **env = task_env(r->t, NULL);
    struct command_limits limits = {s->memory, s->cpu_s, s->disk};
    struct command_io io = {feed_command, NULL, r};
    int status;
    outbuf_init(&r->feed, -1, 2 * FEED_BYTES);
    int rc = command_run(s->reduce.text, env, &limits, &io, &status, &r->t->msg);
    g_strfreev(env);
    return rc < 0 ? rc : task_judge(r->t, status);
}

static int run_builtin(struct reduce *r)
{
    const struct spec *s = r->t->spec;
    int rc = reduce_builtin(s->reduce.builtin, s->combine, r->merge, s->sep, &r->lines, &r->stats,
                            &r->t->msg);
    if (rc < 0)
        return rc;
    int no = outbuf_flush(&r->lines);
    if (no)
        return errmsg_set(&r->t->msg, -ERR_IO, "output: %s", strerror(no));
    if (r->stats.groups)
        task_counter("raftfs\treduce-input-groups", r->stats.groups);
    return 0;
}

static int reduce(struct reduce *r)
{
    int rc = read_sources(r);
    while (rc == 0 && r->sources->len > MERGE_WAYS)
        rc = shrink_sources(r);
    if (rc < 0)
        return rc;
    rc = merge_create((struct merge_source *)(void *)r->sources->data, r->sources->len, &r->merge);
    if (rc < 0)
        return errmsg_set(&r->t->msg, rc, "merging: %s", err_text(rc));
    rc = r->t->spec->reduce.builtin == BUILTIN_NONE ? run_command(r) : run_builtin(r);
    if (rc < 0)
        return rc;
    r->t->records_in = r->stats.records;
    task_counter("raftfs\treduce-input-records", r->stats.records);
    return 0;
}

int task_reduce(struct task *t)
{
    struct reduce r = {.t = t, .pass_fd = -1};
    if (!t->spec->reduce.text)
        return errmsg_set(&t->msg, -ERR_INVALID, "the job has no reduce");
    r.sources = g_array_new(FALSE, FALSE, sizeof(struct merge_source));
    outbuf_init(&r.lines, TASK_OUT, OUT_BYTES);
    int rc = reduce(&r);
    merge_destroy(r.merge);
    outbuf_finish(&r.lines);
    outbuf_finish(&r.feed);
    g_array_unref(r.sources);
    if (r.pass_fd >= 0)
        close(r.pass_fd);
    return rc;
}
