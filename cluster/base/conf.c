/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/arena.h"

struct conf {
    struct arena arena; /* all strings */
    GArray *entries;    /* struct conf_entry */
};

/* --- parsing ---------------------------------------------------------------------------------- */

int conf_error(const struct conf_entry *e, struct errmsg *msg, const char *fmt, ...)
{
    char text[sizeof(msg->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return errmsg_set(msg, -ERR_CONFIG, "%s:%u: %s", e->file, e->line, text);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_key_char(char c)
{
    return g_ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
}

/* Cuts a comment and the blanks at both ends off [*p, *end). */
static void trim(const char **p, const char **end)
{
    while (*p < *end && is_blank(**p))
        (*p)++;
    for (const char *q = *p; q < *end; q++)
        if (*q == '#' && (q == *p || is_blank(q[-1]))) {
            *end = q;
            break;
        }
    while (*end > *p && is_blank((*end)[-1]))
        (*end)--;
}

static char *copy(struct arena *a, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    char *s = arena_alloc(a, n + 1);
    memcpy(s, p, n);
    s[n] = '\0';
    return s;
}

static int parse_line(struct conf *c, const char *p, const char *end, const char *file,
                      unsigned line, struct errmsg *msg)
{
    struct conf_entry e = {.file = file, .line = line};
    if (memchr(p, '\0', (size_t)(end - p)))
        return conf_error(&e, msg, "a zero byte: this is not a text file");
    trim(&p, &end);
    if (p == end)
        return 0;

    const char *key_end = p;
    while (key_end < end && is_key_char(*key_end))
        key_end++;
    if (key_end == p || (key_end < end && !is_blank(*key_end) && *key_end != '='))
        return conf_error(&e, msg,
                          "expected `key value`; a key has letters, digits, '-', '_' and '.' only");
    e.key = copy(&c->arena, p, key_end);

    const char *value = key_end;
    while (value < end && is_blank(*value))
        value++;
    if (value < end && *value == '=')
        value++;
    while (value < end && is_blank(*value))
        value++;
    if (value == end)
        return conf_error(&e, msg, "\"%s\" has no value; write `%s VALUE` or remove the line",
                          e.key, e.key);
    e.value = copy(&c->arena, value, end);
    g_array_append_val(c->entries, e);
    return 0;
}

int conf_parse(const char *text, size_t n, const char *file, struct errmsg *msg, struct conf **ret)
{
    if (n > CONF_BYTES_MAX)
        return errmsg_set(msg, -ERR_TOO_BIG, "%s: over %llu bytes; this is no configuration file",
                          file, (unsigned long long)CONF_BYTES_MAX);
    CLEANUP(conf_free) struct conf *c = g_new0(struct conf, 1);
    c->entries = g_array_new(FALSE, FALSE, sizeof(struct conf_entry));
    const char *name = arena_strdup(&c->arena, file);
    unsigned line = 0;
    for (const char *p = text, *stop = text + n; p < stop;) {
        const char *end = memchr(p, '\n', (size_t)(stop - p));
        int r = parse_line(c, p, end ? end : stop, name, ++line, msg);
        if (r < 0)
            return r;
        p = end ? end + 1 : stop;
    }
    *ret = TAKE(c);
    return 0;
}

/* Reads on until the end, or one byte more than is allowed. */
static int read_all(int fd, GString *text)
{
    char piece[16384];
    while (text->len <= CONF_BYTES_MAX) {
        ssize_t r = read(fd, piece, sizeof(piece));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        g_string_append_len(text, piece, r);
    }
    return 0;
}

int conf_load(const char *path, struct errmsg *msg, struct conf **ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errmsg_set(msg, errno == ENOENT ? -ERR_NOT_FOUND : -ERR_IO, "open %s: %s", path,
                          strerror(errno));
    GString *text = g_string_new(NULL);
    int r = read_all(fd, text);
    close(fd);
    if (r < 0)
        r = errmsg_set(msg, -ERR_IO, "read %s: %s", path, strerror(-r));
    else
        r = conf_parse(text->str, text->len, path, msg, ret);
    g_string_free(text, TRUE);
    return r;
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    if (c->entries)
        g_array_free(c->entries, TRUE);
    arena_finish(&c->arena);
    g_free(c);
}

/* --- looking up ------------------------------------------------------------------------------- */

const struct conf_entry *conf_next(const struct conf *c, const char *key,
                                   const struct conf_entry *after)
{
    const struct conf_entry *all = (const struct conf_entry *)(const void *)c->entries->data;
    for (size_t i = after ? (size_t)(after - all) + 1 : 0; i < c->entries->len; i++)
        if (!key || strcmp(all[i].key, key) == 0)
            return &all[i];
    return NULL;
}

const char *conf_get(const struct conf *c, const char *key)
{
    const struct conf_entry *e = conf_next(c, key, NULL);
    return e ? e->value : NULL;
}

int conf_number(const struct conf *c, const char *key, uint64_t lo, uint64_t hi, struct errmsg *msg,
                uint64_t *ret)
{
    const struct conf_entry *e = conf_next(c, key, NULL);
    if (!e)
        return 0;
    static const char suffixes[] = "KMG";
    char *end = NULL;
    errno = 0;
    uint64_t n = g_ascii_isdigit(e->value[0]) ? g_ascii_strtoull(e->value, &end, 10) : 0;
    bool ok = end && errno == 0;
    const char *suffix = ok && *end ? strchr(suffixes, g_ascii_toupper(*end)) : NULL;
    if (suffix) {
        ok = !__builtin_mul_overflow(n, KIB(1) << (10 * (suffix - suffixes)), &n);
        end++;
    }
    if (!ok || *end || n < lo || n > hi)
        return conf_error(e, msg, "\"%s\" must be a number from %llu to %llu, not \"%s\"", key,
                          (unsigned long long)lo, (unsigned long long)hi, e->value);
    *ret = n;
    return 0;
}

int conf_bool(const struct conf *c, const char *key, struct errmsg *msg, bool *ret)
{
    static const char *const words[][2] = {{"no", "yes"}, {"false", "true"}, {"off", "on"}};
    const struct conf_entry *e = conf_next(c, key, NULL);
    if (!e)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (int truth = 0; truth < 2; truth++)
            if (g_ascii_strcasecmp(e->value, words[i][truth]) == 0) {
                *ret = truth;
                return 0;
            }
    return conf_error(e, msg, "\"%s\" must be yes or no, not \"%s\"", key, e->value);
}

/* --- known keys ------------------------------------------------------------------------------- */

#define KEY_COMPARED_MAX 63

/* Edit distance with transpositions of neighbours (optimal string alignment). */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t d[KEY_COMPARED_MAX + 1][KEY_COMPARED_MAX + 1];
    for (size_t i = 0; i <= na; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++)
        for (size_t j = 1; j <= nb; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = MIN(best, d[i - 1][j] + 1);
            best = MIN(best, d[i][j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    return d[na][nb];
}

/* A known key's length without the mark that it may be repeated. */
static size_t known_len(const char *known)
{
    size_t n = strlen(known);
    return n && known[n - 1] == '+' ? n - 1 : n;
}

static const char *find_known(const char *const known[], const char *key)
{
    for (; *known; known++)
        if (strlen(key) == known_len(*known) && memcmp(*known, key, strlen(key)) == 0)
            return *known;
    return NULL;
}

static int unknown_key(const struct conf_entry *e, const char *const known[], struct errmsg *msg)
{
    size_t n = strlen(e->key), nearest = SIZE_MAX;
    const char *best = NULL;
    for (size_t i = 0; known[i] && n <= KEY_COMPARED_MAX; i++) {
        size_t nk = known_len(known[i]);
        size_t d = nk <= KEY_COMPARED_MAX ? distance(e->key, n, known[i], nk) : SIZE_MAX;
        if (d < nearest && d <= MAX(nk / 3, 1)) {
            nearest = d;
            best = known[i];
        }
    }
    if (best)
        return conf_error(e, msg, "unknown key \"%s\"; did you mean \"%.*s\"?", e->key,
                          (int)known_len(best), best);
    GString *list = g_string_new(NULL);
    for (size_t i = 0; known[i]; i++)
        g_string_append_printf(list, "%s%.*s", i ? ", " : "", (int)known_len(known[i]), known[i]);
    int r = conf_error(e, msg, "unknown key \"%s\"; known are: %s", e->key, list->str);
    g_string_free(list, TRUE);
    return r;
}

int conf_check_known(const struct conf *c, const char *const known[], struct errmsg *msg)
{
    for (const struct conf_entry *e = conf_next(c, NULL, NULL); e; e = conf_next(c, NULL, e)) {
        const char *k = find_known(known, e->key);
        if (!k)
            return unknown_key(e, known, msg);
        const struct conf_entry *first = conf_next(c, e->key, NULL);
        if (first != e && k[known_len(k)] != '+')
            return conf_error(e, msg, "\"%s\" stands in line %u already; remove one of them",
                              e->key, first->line);
    }
    return 0;
}
