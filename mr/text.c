/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/text.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

static void time_line(GString *s, const char *key, uint64_t ns)
{
    time_t t = (time_t)(ns / 1000000000);
    struct tm tm;
    char text[40];
    if (!ns || !gmtime_r(&t, &tm))
        return;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    g_string_append_printf(s, "%-9s %s\n", key, text);
}

/* 1.2G, 412M, 17K, 5 */
static void size_text(GString *s, uint64_t n)
{
    static const char units[] = "KMGTP";
    if (n < 1024) {
        g_string_append_printf(s, "%" PRIu64, n);
        return;
    }
    double v = (double)n;
    int u = -1;
    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    g_string_append_printf(s, v < 10 ? "%.1f%c" : "%.0f%c", v, units[u]);
}

/* Control bytes of other people's text, so that a terminal shows them. */
static void append_safe(GString *s, struct bytes b)
{
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] == '\n' || b.p[i] == '\t' || (b.p[i] >= 0x20 && b.p[i] != 0x7f))
            g_string_append_c(s, (char)b.p[i]);
        else
            g_string_append_printf(s, "\\x%02x", b.p[i]);
    }
}

/* --- progress --------------------------------------------------------------------------------- */

static uint64_t bytes_in(const struct running_record *r, size_t n, const struct task_record *t,
                         uint64_t *ret_total)
{
    for (size_t i = 0; i < n; i++) {
        if (r[i].kind == t->kind && r[i].task == t->index) {
            *ret_total = r[i].bytes_total;
            return r[i].bytes_in;
        }
    }
    return 0;
}

static void count(const struct task_record *t, uint32_t n, const struct running_record *r,
                  size_t n_r, uint32_t *done, uint32_t *running, uint32_t *failed, uint64_t *bytes,
                  uint64_t *bytes_done)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t total = t[i].input_bytes, now = 0;
        bool runs = false;
        for (uint32_t k = 0; k < t[i].n_attempts; k++)
            runs |= t[i].attempts[k].state == ATTEMPT_RUNNING;
        if (runs && !t[i].winner)
            now = bytes_in(r, n_r, &t[i], &total);
        *done += t[i].winner != 0;
        *running += runs && !t[i].winner;
        *failed += t[i].failures;
        *bytes += t[i].input_bytes;
        *bytes_done += t[i].winner ? t[i].input_bytes : MIN(now, t[i].input_bytes);
    }
}

void text_progress_of(const struct task_record *maps, uint32_t n_maps,
                      const struct task_record *reduces, uint32_t n_reduces,
                      const struct running_record *running, size_t n_running,
                      struct job_progress *ret)
{
    struct job_progress p = {0};
    p.map.all = n_maps;
    p.reduce.all = n_reduces;
    count(maps, n_maps, running, n_running, &p.map.done, &p.map.running, &p.map.failed,
          &p.map.bytes, &p.map.bytes_done);
    count(reduces, n_reduces, running, n_running, &p.reduce.done, &p.reduce.running,
          &p.reduce.failed, &p.reduce.bytes, &p.reduce.bytes_done);
    p.map.waiting = p.map.all - p.map.done - p.map.running;
    p.reduce.waiting = p.reduce.all - p.reduce.done - p.reduce.running;
    *ret = p;
}

static const char *phase(const struct job_record *j, const struct job_progress *p)
{
    if (job_ended(j->state))
        return "ended";
    if (j->state == JOB_COMMITTING)
        return "commit";
    if (j->state != JOB_RUNNING)
        return "waiting";
    return p->map.done < p->map.all ? "map" : "reduce";
}

void text_status(GString *s, struct bytes name, const struct job_record *j,
                 const struct job_progress *p)
{
    g_string_append_printf(s, "job       %.*s\n", (int)name.n, (const char *)name.p);
    g_string_append_printf(s, "state     %s\n", job_state_name(j->state));
    g_string_append_printf(s, "phase     %s\n", phase(j, p));
    g_string_append_printf(s, "maps      %u done %u running %u waiting %u failed %u\n", p->map.all,
                           p->map.done, p->map.running, p->map.waiting, p->map.failed);
    g_string_append_printf(s, "reduces   %u done %u running %u waiting %u failed %u\n",
                           p->reduce.all, p->reduce.done, p->reduce.running, p->reduce.waiting,
                           p->reduce.failed);
    g_string_append_printf(s, "input     %" PRIu64 "\n", j->input_bytes);
    time_line(s, "submitted", j->submitted_ns);
    time_line(s, "started", j->started_ns);
    time_line(s, "ended", j->ended_ns);
    g_string_append_printf(s, "uid       %u\n", j->uid);
    g_string_append_printf(s, "run       %" PRIu64 "\n", j->epoch);
}

void text_progress(GString *s, const struct job_record *j, const struct job_progress *p,
                   uint64_t now_ns)
{
    uint64_t done = p->map.bytes_done, all = p->map.bytes;
    unsigned m = p->map.all ? 100 * p->map.done / p->map.all : 0;
    unsigned r = p->reduce.all ? 100 * p->reduce.done / p->reduce.all : 0;
    g_string_append_printf(s, "%s  map %u/%u %u%%  reduce %u/%u %u%%  ", job_state_name(j->state),
                           p->map.done, p->map.all, m, p->reduce.done, p->reduce.all, r);
    size_text(s, done);
    g_string_append_c(s, '/');
    size_text(s, all);
    uint64_t end = j->ended_ns ? j->ended_ns : now_ns;
    if (j->started_ns && end > j->started_ns && done) {
        double secs = (double)(end - j->started_ns) / 1e9, rate = (double)done / secs;
        g_string_append(s, "  ");
        size_text(s, (uint64_t)rate);
        g_string_append(s, "/s");
        if (j->state == JOB_RUNNING && p->map.done < p->map.all)
            g_string_append_printf(s, "  eta %.0fs", (double)(all - done) / rate);
    }
    g_string_append_c(s, '\n');
}

void text_end(GString *s, struct bytes name, const struct job_record *j)
{
    g_string_append_printf(s, "%s", job_state_name(j->state));
    if (j->started_ns && j->ended_ns > j->started_ns)
        g_string_append_printf(s, " after %.1f s", (double)(j->ended_ns - j->started_ns) / 1e9);
    if (j->state == JOB_FAILED)
        g_string_append_printf(s, " (see /jobs/%.*s/error)", (int)name.n, (const char *)name.p);
    g_string_append_c(s, '\n');
}

static int by_builtin_first(const void *a, const void *b)
{
    struct bytes x = ((const struct counter *)a)->name, y = ((const struct counter *)b)->name;
    bool bx = bytes_has_prefix(x, bytes_str("raftfs\t")),
         by = bytes_has_prefix(y, bytes_str("raftfs\t"));
    return bx != by ? by - bx : bytes_cmp(x, y);
}

void text_counters(GString *s, const struct counter *c, uint32_t n)
{
    struct counter *sorted = g_memdup2(c, n * sizeof *c);
    if (n)
        qsort(sorted, n, sizeof *sorted, by_builtin_first);
    for (uint32_t i = 0; i < n; i++) {
        append_safe(s, sorted[i].name);
        g_string_append_printf(s, "\t%" PRIu64 "\n", sorted[i].value);
    }
    g_free(sorted);
}

void text_plan(GString *s, const struct spec *spec, const struct job_record *j,
               const struct task_record *maps, uint32_t n_maps)
{
    spec_print(spec, s);
    if (j->state < JOB_RUNNING) {
        g_string_append(s, "reduces    not planned yet\n");
        return;
    }
    if (j->reduces)
        g_string_append_printf(s, "reduces    %u%s\n", j->reduces, spec->reduces ? "" : " (auto)");
    g_string_append_printf(s, "maps       %u\n", j->maps);
    for (uint32_t i = 0; i < n_maps; i++) {
        g_string_append_printf(s, "m-%05u    ", maps[i].index);
        append_safe(s, maps[i].input);
        g_string_append_c(s, '\n');
    }
}

/* --- failures --------------------------------------------------------------------------------- */

static void indent(GString *s, struct bytes text)
{
    const uint8_t *p = text.p, *end = text.p + text.n;
    while (p < end) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        const uint8_t *stop = nl ? nl : end;
        g_string_append(s, "    ");
        append_safe(s, bytes_of(p, (size_t)(stop - p)));
        g_string_append_c(s, '\n');
        p = stop + 1;
    }
}

/* The newest attempt that failed: killed and lost ones explain nothing. */
static const struct attempt_record *last_failure(const struct task_record *t)
{
    for (uint32_t i = t->n_attempts; i-- > 0;)
        if (t->attempts[i].state == ATTEMPT_FAILED)
            return &t->attempts[i];
    return t->n_attempts ? &t->attempts[t->n_attempts - 1] : NULL;
}

void text_task_error(GString *s, struct bytes name, const struct spec *spec,
                     const struct task_record *t)
{
    const struct attempt_record *a = last_failure(t);
    bool map = t->kind == TASK_MAP;
    const struct spec_command *c = map ? &spec->map : &spec->reduce;
    char task[24];
    g_snprintf(task, sizeof task, "%c-%05u", (char)t->kind, t->index);
    g_string_append_printf(s, "job %.*s FAILED after %u failed attempt%s of %s task %s\n",
                           (int)name.n, (const char *)name.p, t->failures,
                           t->failures == 1 ? "" : "s", map ? "map" : "reduce", task);
    if (strchr(c->text, '\n')) {
        g_string_append(s, "command:\n");
        indent(s, bytes_str(c->text));
    } else {
        g_string_append_printf(s, "command: %s\n", c->text);
    }
    if (!a)
        return;
    const uint8_t *nl = a->text.n ? memchr(a->text.p, '\n', a->text.n) : NULL;
    size_t first = nl ? (size_t)(nl - a->text.p) : a->text.n;
    g_string_append(s, "reason:  ");
    append_safe(s, bytes_of(a->text.p, first));
    g_string_append_printf(s, " (after %.1f s, %" PRIu64 " records in, %" PRIu64 " out), node %u\n",
                           a->ended_ns > a->started_ns ? (double)(a->ended_ns - a->started_ns) / 1e9
                                                       : 0.0,
                           a->records_in, a->records_out, a->node);
    if (map) {
        g_string_append(s, "input:   ");
        append_safe(s, t->input);
        g_string_append_c(s, '\n');
    } else {
        g_string_append_printf(s, "input:   partition %u of the map output\n", t->index);
    }
    if (nl) {
        g_string_append_printf(s, "stderr (last lines of tasks/%s/%u/stderr):\n", task, a->number);
        indent(s, bytes_of(nl + 1, a->text.n - first - 1));
    } else {
        g_string_append_printf(s, "stderr:  tasks/%s/%u/stderr says nothing\n", task, a->number);
    }
}
