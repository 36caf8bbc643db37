/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/builtin.h"

#include <string.h>

int map_out_line(struct map_out *o, const uint8_t *p, size_t n, struct errmsg *msg)
{
    struct record r = record_of_line(p, n, o->sep);
    if (o->collector)
        return collect_record(o->collector, &r, msg);
    outbuf_record(o->lines, &r, o->sep);
    return 0;
}

/* --- @words ----------------------------------------------------------------------------------- */

static const uint8_t letter[256] = {['A' ... 'Z'] = 1, ['a' ... 'z'] = 1};

static int emit_words(struct map_out *o, const struct bytes *words, size_t n, struct errmsg *msg)
{
    if (o->collector)
        return collect_ones(o->collector, words, n, msg);
    for (size_t i = 0; i < n; i++) {
        struct record r = {words[i], {(const uint8_t *)"1", 1}, true};
        outbuf_record(o->lines, &r, o->sep);
    }
    return 0;
}

static int feed_words(struct map_builtin *m, uint8_t *p, size_t n, struct errmsg *msg)
{
    const uint8_t *end = p + n;
    struct bytes words[COLLECT_BATCH];
    size_t n_words = 0;
    int rc = 0;
    if (m->cmd->fold) /* a plain loop: the compiler makes vectors of it */
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)(p[i] | ((uint8_t)(p[i] - 'A') < 26 ? 0x20 : 0));
    while (rc == 0) {
        while (p < end && !letter[*p])
            p++;
        if (p == end)
            break;
        const uint8_t *word = p;
        while (p < end && letter[*p])
            p++;
        words[n_words++] = bytes_of(word, (size_t)(p - word));
        if (n_words == COLLECT_BATCH) {
            rc = emit_words(m->out, words, n_words, msg);
            n_words = 0;
        }
    }
    return rc < 0 ? rc : emit_words(m->out, words, n_words, msg);
}

/* --- @grep ------------------------------------------------------------------------------------ */

static int emit_match(struct map_builtin *m, const uint8_t *p, size_t n, struct errmsg *msg)
{
    if (!m->cmd->number)
        return map_out_line(m->out, p, n, msg);
    char *head = g_strdup_printf("%s:%llu:", m->path, (unsigned long long)m->line);
    g_byte_array_set_size(m->scratch, 0);
    g_byte_array_append(m->scratch, (const guint8 *)head, (guint)strlen(head));
    g_byte_array_append(m->scratch, p, (guint)n);
    g_free(head);
    return map_out_line(m->out, m->scratch->data, m->scratch->len, msg);
}

/* The newline at p[n] is taken away for the moment: regexec wants a string, even with a length. */
static bool line_matches(struct map_builtin *m, uint8_t *p, size_t n)
{
    if (m->literal)
        return memmem(p, n, m->cmd->pattern, strlen(m->cmd->pattern)) != NULL;
    regmatch_t at = {.rm_so = 0, .rm_eo = (regoff_t)n};
    p[n] = '\0';
    bool found = regexec(&m->re, (const char *)p, 1, &at, REG_STARTEND) == 0;
    p[n] = '\n';
    return found;
}

/* Without options the whole block is searched at once and only lines with a hit are looked at. */
static int feed_literal(struct map_builtin *m, const uint8_t *p, size_t n, struct errmsg *msg)
{
    size_t k = strlen(m->cmd->pattern);
    const uint8_t *end = p + n, *hit;
    int rc = 0;
    while (rc == 0 && p < end && (hit = memmem(p, (size_t)(end - p), m->cmd->pattern, k))) {
        const uint8_t *start = memrchr(p, '\n', (size_t)(hit - p));
        const uint8_t *nl = memchr(hit, '\n', (size_t)(end - hit));
        start = start ? start + 1 : p;
        rc = emit_match(m, start, (size_t)(nl - start), msg);
        p = nl + 1;
    }
    return rc;
}

static int feed_grep(struct map_builtin *m, uint8_t *p, size_t n, struct errmsg *msg)
{
    int rc = 0;
    if (m->literal && !m->cmd->invert && !m->cmd->number)
        return feed_literal(m, p, n, msg);
    for (uint8_t *end = p + n, *nl; p < end && rc == 0; p = nl + 1, m->line++) {
        nl = memchr(p, '\n', (size_t)(end - p));
        if (line_matches(m, p, (size_t)(nl - p)) != m->cmd->invert)
            rc = emit_match(m, p, (size_t)(nl - p), msg);
    }
    return rc;
}

/* --- maps ------------------------------------------------------------------------------------- */

static int feed_identity(struct map_builtin *m, const uint8_t *p, size_t n, struct errmsg *msg)
{
    int rc = 0;
    for (const uint8_t *end = p + n, *nl; p < end && rc == 0; p = nl + 1) {
        nl = memchr(p, '\n', (size_t)(end - p));
        rc = map_out_line(m->out, p, (size_t)(nl - p), msg);
    }
    return rc;
}

int map_builtin_init(struct map_builtin *m, const struct spec_command *cmd, struct map_out *out,
                     struct errmsg *msg)
{
    *m = (struct map_builtin){.cmd = cmd, .out = out, .path = "", .line = 1};
    m->scratch = g_byte_array_new();
    if (cmd->builtin != BUILTIN_GREP)
        return 0;
    m->literal = !cmd->fold && *cmd->pattern && !strpbrk(cmd->pattern, "\\^$.[]|()*+?{}\n");
    if (m->literal)
        return 0;
    if (regcomp(&m->re, cmd->pattern, REG_EXTENDED | (cmd->fold ? REG_ICASE : 0)))
        return errmsg_set(msg, -ERR_CONFIG, "@grep: bad pattern '%s'", cmd->pattern);
    m->have_re = true;
    return 0;
}

void map_builtin_finish(struct map_builtin *m)
{
    if (m->have_re)
        regfree(&m->re);
    if (m->scratch)
        g_byte_array_unref(m->scratch);
    *m = (struct map_builtin){0};
}

void map_builtin_segment(struct map_builtin *m, const char *path)
{
    m->path = path;
    m->line = 1;
}

int map_builtin_feed(struct map_builtin *m, uint8_t *p, size_t n, struct errmsg *msg)
{
    if (m->cmd->builtin == BUILTIN_WORDS)
        return feed_words(m, p, n, msg);
    if (m->cmd->builtin == BUILTIN_GREP)
        return feed_grep(m, p, n, msg);
    return feed_identity(m, p, n, msg);
}

/* --- reduces ---------------------------------------------------------------------------------- */

static int reduce_combined(struct merge *m, char sep, struct outbuf *out, struct reduce_stats *st,
                           struct errmsg *msg)
{
    struct bytes key;
    int64_t sum;
    int rc;
    while ((rc = merge_next_sum(m, &key, &sum)) > 0 && !out->error) {
        outbuf_number(out, key, sep, sum);
        st->groups++;
    }
    st->records = st->groups;
    return rc < 0 ? errmsg_set(msg, rc, "adding up: %s", err_text(rc)) : 0;
}

/* Counts or sums the raw values of each key. */
static int reduce_raw(enum builtin op, struct merge *m, char sep, struct outbuf *out,
                      struct reduce_stats *st, struct errmsg *msg)
{
    GByteArray *key = g_byte_array_new();
    int64_t sum = 0, v = 1;
    struct record r;
    int rc;
    while ((rc = merge_next(m, &r)) > 0 && !out->error) {
        bool same = st->groups && r.key.n == key->len &&
                    (r.key.n == 0 || memcmp(r.key.p, key->data, key->len) == 0);
        if (!same) {
            if (st->groups)
                outbuf_number(out, bytes_of(key->data, key->len), sep, sum);
            g_byte_array_set_size(key, 0);
            g_byte_array_append(key, r.key.p, (guint)r.key.n);
            st->groups++;
            sum = 0;
        }
        st->records++;
        if (op == BUILTIN_SUM && !(r.has_value && parse_int64(r.value, &v))) {
            rc = sum_error(r.key, r.value, msg);
            break;
        }
        if (__builtin_add_overflow(sum, v, &sum)) {
            rc = errmsg_set(msg, -ERR_TOO_BIG, "@sum: a sum does not fit 64 bits");
            break;
        }
    }
    if (rc == 0 && st->groups)
        outbuf_number(out, bytes_of(key->data, key->len), sep, sum);
    g_byte_array_unref(key);
    return MIN(rc, 0);
}

int reduce_builtin(enum builtin op, bool combined, struct merge *m, char sep, struct outbuf *out,
                   struct reduce_stats *ret, struct errmsg *msg)
{
    struct reduce_stats st = {0};
    int rc = 0;
    if (op == BUILTIN_IDENTITY) {
        struct record r;
        while ((rc = merge_next(m, &r)) > 0 && !out->error) {
            outbuf_record(out, &r, sep);
            st.records++;
        }
        if (rc < 0)
            errmsg_set(msg, rc, "merging: %s", err_text(rc));
    } else if (combined) {
        rc = reduce_combined(m, sep, out, &st, msg);
    } else {
        rc = reduce_raw(op, m, sep, out, &st, msg);
    }
    *ret = st;
    return MIN(rc, 0);
}
