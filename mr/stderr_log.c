/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/attempt_impl.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define HEAD_MAX     KIB(512)
#define TAIL_MAX     KIB(512)
#define LOG_LINE_MAX KIB(8)
#define LAST_LINES   20
#define LAST_BYTES   1000

void stderr_log_init(struct stderr_log *l, struct attempt *a)
{
    *l = (struct stderr_log){
        .a = a,
        .line = g_byte_array_new(),
        .tail = g_byte_array_new(),
        .last = g_string_new(NULL),
    };
    struct volume *v = a->door->volume;
    const struct volume_caller *who = &a->who.owner;
    struct volume_attr attr;
    char number[16];
    fs_ino dir = a->rec.dir;
    g_snprintf(number, sizeof number, "%u", a->number);
    if (ensure_dir(v, dir, "tasks", who, &dir) < 0 || ensure_dir(v, dir, a->name, who, &dir) < 0 ||
        ensure_dir(v, dir, number, who, &dir) < 0)
        return; /* a log that cannot be kept is no reason to fail */
    if (volume_create(v, dir, "stderr", who, 0644, O_WRONLY, &l->file, &attr) < 0)
        l->file = NULL;
}

static void write_file(struct stderr_log *l, const uint8_t *p, size_t n)
{
    while (n && l->file) {
        int64_t k = volume_write(l->file, p, n, l->written, &l->a->who.owner);
        if (k <= 0)
            return;
        l->written += (uint64_t)k;
        p += k;
        n -= (size_t)k;
    }
}

static void keep(struct stderr_log *l, const uint8_t *p, size_t n)
{
    if (l->written < HEAD_MAX && !l->tail->len) {
        size_t k = (size_t)MIN(n, HEAD_MAX - l->written);
        write_file(l, p, k);
        p += k;
        n -= k;
    }
    g_byte_array_append(l->tail, p, (guint)n);
    if (l->tail->len > 2 * TAIL_MAX) {
        guint drop = l->tail->len - (guint)TAIL_MAX;
        g_byte_array_remove_range(l->tail, 0, drop);
        l->dropped += drop;
    }
}

/* Keeps the newest lines as text. */
static void remember(struct stderr_log *l, const uint8_t *p, size_t n)
{
    g_string_append_len(l->last, (const char *)p, (gssize)n);
    g_string_append_c(l->last, '\n');
    size_t lines = 0;
    for (size_t i = l->last->len; i > 0; i--) {
        lines += l->last->str[i - 1] == '\n';
        if (lines > LAST_LINES || l->last->len - i + 1 > LAST_BYTES) {
            g_string_erase(l->last, 0, (gssize)i);
            break;
        }
    }
}

/* reporter:counter:GROUP,NAME,N and reporter:status:TEXT (Hadoop's). */
static bool reporter_line(struct stderr_log *l, const char *line)
{
    if (g_str_has_prefix(line, "reporter:status:")) {
        pthread_mutex_lock(&l->a->lock);
        g_strlcpy(l->a->status, line + strlen("reporter:status:"), sizeof l->a->status);
        pthread_mutex_unlock(&l->a->lock);
        return true;
    }
    if (!g_str_has_prefix(line, "reporter:counter:"))
        return false;
    char **f = g_strsplit(line + strlen("reporter:counter:"), ",", 3);
    bool ok = g_strv_length(f) == 3 && *f[0] && *f[1] && strlen(f[0]) + strlen(f[1]) < 200 &&
              !strchr(f[0], '\t') && !strchr(f[1], '\t') && g_ascii_isdigit(*f[2]);
    if (ok) {
        char *name = g_strdup_printf("%s\t%s", f[0], f[1]);
        attempt_count(l->a, bytes_str(name), g_ascii_strtoull(f[2], NULL, 10), true);
        g_free(name);
    }
    g_strfreev(f);
    return ok;
}

static void end_line(struct stderr_log *l)
{
    guint n = l->line->len;
    g_byte_array_append(l->line, (const guint8 *)"\n", 2); /* and a NUL */
    l->line->data[n] = 0;
    if (!reporter_line(l, (const char *)l->line->data)) {
        l->line->data[n] = '\n';
        keep(l, l->line->data, n + 1);
        remember(l, l->line->data, n);
    }
    g_byte_array_set_size(l->line, 0);
}

void stderr_log_add(struct stderr_log *l, const uint8_t *p, size_t n)
{
    attempt_touch(l->a);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n' || l->line->len >= LOG_LINE_MAX)
            end_line(l);
        if (p[i] != '\n')
            g_byte_array_append(l->line, &p[i], 1);
    }
}

void stderr_log_finish(struct stderr_log *l)
{
    if (l->line->len)
        end_line(l);
    if (l->tail->len > TAIL_MAX) {
        guint drop = l->tail->len - (guint)TAIL_MAX;
        g_byte_array_remove_range(l->tail, 0, drop);
        l->dropped += drop;
    }
    if (l->dropped) {
        char *mark = g_strdup_printf("\n[raftfs: %" PRIu64 " bytes left out]\n", l->dropped);
        write_file(l, (const uint8_t *)mark, strlen(mark));
        g_free(mark);
    }
    write_file(l, l->tail->data, l->tail->len);
    if (l->file) {
        if (volume_flush(l->file) < 0)
            l->written = 0; /* lost; the outcome of the attempt does not depend on its log */
        volume_file_close(TAKE(l->file));
    }
    g_byte_array_unref(l->line);
    g_byte_array_unref(l->tail);
}
