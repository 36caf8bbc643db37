/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/spec.h"

#include <inttypes.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "mr/nearest.h"
#include "mr/record.h"

struct parser {
    const char *file;
    struct errmsg *msg;
    struct spec *spec;
    unsigned line; /* of the key being set */
    GHashTable *seen;
};

/* --- errors ----------------------------------------------------------------------------------- */

static int fail_key(struct parser *p, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int fail_key(struct parser *p, const char *key, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    errmsg_set(p->msg, -ERR_CONFIG, "%s:%u: %s: %s", p->file, p->line, key, text);
    g_free(text);
    return -ERR_CONFIG;
}

/* --- values ----------------------------------------------------------------------------------- */

static int whole_number(const char *s, uint64_t *ret, const char **ret_end)
{
    if (!g_ascii_isdigit(*s))
        return -ERR_INVALID;
    uint64_t v = 0;
    for (; g_ascii_isdigit(*s); s++) {
        if (v > (UINT64_MAX - 9) / 10)
            return -ERR_INVALID;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *ret = v;
    *ret_end = s;
    return 0;
}

static int set_number(struct parser *p, const char *key, const char *value, uint64_t lo,
                      uint64_t hi, unsigned *ret)
{
    uint64_t v;
    const char *end;
    if (whole_number(value, &v, &end) < 0 || *end || v < lo || v > hi)
        return fail_key(p, key, "\"%s\" is not a whole number from %" PRIu64 " to %" PRIu64, value,
                        lo, hi);
    *ret = (unsigned)v;
    return 0;
}

static int set_size(struct parser *p, const char *key, const char *value, uint64_t lo,
                    uint64_t *ret)
{
    static const char units[] = "KMGT";
    uint64_t v;
    const char *end;
    unsigned shift = 0;
    int bad = whole_number(value, &v, &end);
    if (!bad && *end) {
        const char *u = strchr(units, g_ascii_toupper(*end));
        if (u && !end[1])
            shift = 10 * (unsigned)(u - units + 1);
        else
            bad = -ERR_INVALID;
    }
    if (bad || v > (UINT64_MAX >> 20 >> shift))
        return fail_key(p, key, "\"%s\" is not a size (write for example 64M or 1G)", value);
    if (v << shift < lo)
        return fail_key(p, key, "%s is too small (at least %" PRIu64 "K)", value, lo >> 10);
    *ret = v << shift;
    return 0;
}

static int set_time(struct parser *p, const char *key, const char *value, uint64_t *ret_ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    uint64_t v;
    const char *end;
    if (whole_number(value, &v, &end) == 0 && v && v < 1000000) {
        for (unsigned i = 0; i < ARRAY_LEN(units); i++) {
            if (strcmp(end, units[i].name) == 0) {
                *ret_ms = v * units[i].ms;
                return 0;
            }
        }
    }
    return fail_key(p, key, "\"%s\" is not a time (write for example 10s or 5m)", value);
}

static int set_words(struct parser *p, const char *key, struct spec_command *c, char **args)
{
    for (; *args; args++) {
        if (strcmp(*args, "-i") == 0)
            c->fold = true;
        else
            return fail_key(p, key, "@words: unknown argument \"%s\" (it knows only -i)", *args);
    }
    return 0;
}

static int set_grep(struct parser *p, const char *key, struct spec_command *c, char **args)
{
    for (; *args && **args == '-' && (*args)[1]; args++) {
        if (strcmp(*args, "--") == 0) {
            args++;
            break;
        }
        for (const char *f = *args + 1; *f; f++) {
            if (*f == 'i')
                c->fold = true;
            else if (*f == 'v')
                c->invert = true;
            else if (*f == 'n')
                c->number = true;
            else
                return fail_key(p, key, "@grep: unknown option -%c (it knows -n, -i, -v)", *f);
        }
    }
    if (!*args || args[1])
        return fail_key(p, key, "@grep: needs exactly one pattern (put it in single quotes)");
    c->pattern = g_strdup(*args);
    regex_t re;
    int rc = regcomp(&re, c->pattern, REG_EXTENDED | REG_NOSUB | (c->fold ? REG_ICASE : 0));
    if (rc) {
        char why[120];
        regerror(rc, &re, why, sizeof why);
        return fail_key(p, key, "@grep: bad pattern '%s': %s", c->pattern, why);
    }
    regfree(&re);
    return 0;
}

static int set_builtin(struct parser *p, const char *key, struct spec_command *c, bool for_map)
{
    static const char *const names[] = {"@words", "@grep", "@identity", "@count", "@sum", NULL};
    static const enum builtin codes[] = {BUILTIN_WORDS, BUILTIN_GREP, BUILTIN_IDENTITY,
                                         BUILTIN_COUNT, BUILTIN_SUM};
    int argc;
    char **argv = NULL;
    GError *err = NULL;
    if (!g_shell_parse_argv(c->text, &argc, &argv, &err)) {
        int rc = fail_key(p, key, "%s", err->message);
        g_error_free(err);
        return rc;
    }
    int rc = 0;
    for (unsigned i = 0; names[i]; i++)
        if (strcmp(argv[0], names[i]) == 0)
            c->builtin = codes[i];
    bool map_only = c->builtin == BUILTIN_WORDS || c->builtin == BUILTIN_GREP;
    bool reduce_only = c->builtin == BUILTIN_COUNT || c->builtin == BUILTIN_SUM;
    if (c->builtin == BUILTIN_NONE) {
        const char *near = nearest(argv[0], names);
        if (near)
            rc = fail_key(p, key, "%s: unknown built-in (did you mean \"%s\"?)", argv[0], near);
        else
            rc = fail_key(p, key,
                          "%s: unknown built-in (there are @words @grep @identity @count @sum)",
                          argv[0]);
    } else if (for_map && reduce_only) {
        rc = fail_key(p, key, "%s is a reduce, not a map (use @identity or @words here)", argv[0]);
    } else if (!for_map && map_only) {
        rc = fail_key(p, key, "%s is a map, not a reduce (use @count, @sum or @identity here)",
                      argv[0]);
    } else if (c->builtin == BUILTIN_WORDS) {
        rc = set_words(p, key, c, argv + 1);
    } else if (c->builtin == BUILTIN_GREP) {
        rc = set_grep(p, key, c, argv + 1);
    } else if (argc > 1) {
        rc = fail_key(p, key, "%s takes no argument (there is \"%s\")", argv[0], argv[1]);
    }
    g_strfreev(argv);
    return rc;
}

static int set_command(struct parser *p, const char *key, const char *value, struct spec_command *c,
                       bool for_map)
{
    if (!*value)
        return fail_key(p, key, "needs a command or a built-in");
    if (g_str_has_prefix(value, "native:"))
        return fail_key(p, key, "native: is not supported by this version");
    c->text = g_strdup(value);
    return *value == '@' ? set_builtin(p, key, c, for_map) : 0;
}

/* --- keys ------------------------------------------------------------------------------------- */

static int key_input(struct parser *p, const char *key, const char *value)
{
    char **words = g_strsplit_set(value, " \t\n", -1);
    int rc = 0;
    p->spec->input_line = p->line;
    for (char **w = words; *w && rc == 0; w++) {
        if (!**w)
            continue;
        if (p->spec->inputs->len == SPEC_INPUTS_MAX)
            rc = fail_key(p, key, "more than %d patterns", SPEC_INPUTS_MAX);
        else if (**w == '/')
            g_ptr_array_add(p->spec->inputs, g_strdup(*w));
        else /* relative to the mount */
            g_ptr_array_add(p->spec->inputs, g_strconcat("/", *w, NULL));
    }
    g_strfreev(words);
    if (rc == 0 && p->spec->inputs->len == 0)
        rc = fail_key(p, key, "needs at least one file, directory or pattern");
    return rc;
}

static int key_map(struct parser *p, const char *key, const char *value)
{
    return set_command(p, key, value, &p->spec->map, true);
}

static int key_reduce(struct parser *p, const char *key, const char *value)
{
    if (strcmp(value, "none") == 0)
        return 0;
    return set_command(p, key, value, &p->spec->reduce, false);
}

static int key_combine(struct parser *p, const char *key, const char *value)
{
    if (strcmp(value, "auto") == 0)
        return 0;
    p->spec->combine = false;
    if (strcmp(value, "none") == 0)
        return 0;
    return fail_key(p, key, "a combining command is not supported by this version (auto or none)");
}

static int key_reduces(struct parser *p, const char *key, const char *value)
{
    if (strcmp(value, "auto") == 0)
        return 0;
    return set_number(p, key, value, 1, PARTITIONS_MAX, &p->spec->reduces);
}

static int key_split(struct parser *p, const char *key, const char *value)
{
    if (strcmp(value, "file") == 0) {
        p->spec->split = 0;
        return 0;
    }
    return set_size(p, key, value, KIB(1), &p->spec->split);
}

static int key_sep(struct parser *p, const char *key, const char *value)
{
    static const struct {
        const char *name;
        char c;
    } names[] = {{"TAB", '\t'}, {"\\t", '\t'}, {"SPACE", ' '}, {"COMMA", ','}};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(value, names[i].name) == 0) {
            p->spec->sep = names[i].c;
            return 0;
        }
    }
    if (strlen(value) != 1)
        return fail_key(p, key, "\"%s\" is not one byte, TAB, SPACE or COMMA", value);
    p->spec->sep = *value;
    return 0;
}

static int key_ok_exit(struct parser *p, const char *key, const char *value)
{
    char **words = g_strsplit_set(value, " \t\n,", -1);
    int rc = 0;
    memset(p->spec->ok_exit, 0, sizeof p->spec->ok_exit);
    for (char **w = words; *w && rc == 0; w++) {
        unsigned code = 0;
        if (**w && (rc = set_number(p, key, *w, 0, 255, &code)) == 0)
            p->spec->ok_exit[code / 8] |= (uint8_t)(1u << (code % 8));
    }
    g_strfreev(words);
    return rc;
}

static int key_tries(struct parser *p, const char *key, const char *value)
{
    return set_number(p, key, value, 1, SPEC_TRIES_MAX, &p->spec->tries);
}

static int key_timeout(struct parser *p, const char *key, const char *value)
{
    return set_time(p, key, value, &p->spec->timeout_ms);
}

static int key_memory(struct parser *p, const char *key, const char *value)
{
    return set_size(p, key, value, MIB(16), &p->spec->memory);
}

static int key_disk(struct parser *p, const char *key, const char *value)
{
    return set_size(p, key, value, MIB(1), &p->spec->disk);
}

static int key_cpu(struct parser *p, const char *key, const char *value)
{
    uint64_t ms;
    int rc = set_time(p, key, value, &ms);
    if (rc == 0)
        p->spec->cpu_s = (ms + 999) / 1000;
    return rc;
}

static int key_env(struct parser *p, const char *key, const char *value)
{
    char **lines = g_strsplit(value, "\n", -1);
    int rc = 0;
    for (char **l = lines; *l && rc == 0; l++) {
        size_t n = strspn(*l, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
        if (!**l)
            continue;
        if (!n || (*l)[n] != '=' || g_ascii_isdigit(**l))
            rc = fail_key(p, key, "\"%s\" is not NAME=value", *l);
        else if (g_str_has_prefix(*l, "MR_") || g_str_has_prefix(*l, "LD_"))
            rc = fail_key(p, key, "names that begin with %.3s cannot be set", *l);
        else
            g_ptr_array_add(p->spec->env, g_strdup(*l));
    }
    g_strfreev(lines);
    return rc;
}

/* Keys with one value that this version can honour. */
static int only(struct parser *p, const char *key, const char *value, const char *have)
{
    if (strcmp(value, have) == 0)
        return 0;
    return fail_key(p, key, "\"%s\" is not supported by this version (only %s)", value, have);
}

static int key_format(struct parser *p, const char *key, const char *value)
{
    return only(p, key, value, "line");
}

static int key_sort(struct parser *p, const char *key, const char *value)
{
    return only(p, key, value, "-k1,1");
}

static int key_partition(struct parser *p, const char *key, const char *value)
{
    return strcmp(value, "hash -k1,1") == 0 ? 0 : only(p, key, value, "hash");
}

static int key_mode(struct parser *p, const char *key, const char *value)
{
    return only(p, key, value, "run");
}

static int key_unsupported(struct parser *p, const char *key, const char *value UNUSED)
{
    return fail_key(p, key, "not supported by this version");
}

typedef int key_fn(struct parser *p, const char *key, const char *value);

static const struct {
    const char *name;
    key_fn *set;
} keys[] = {
    {"input", key_input},
    {"map", key_map},
    {"reduce", key_reduce},
    {"combine", key_combine},
    {"reduces", key_reduces},
    {"split", key_split},
    {"sep", key_sep},
    {"ok-exit", key_ok_exit},
    {"tries", key_tries},
    {"timeout", key_timeout},
    {"memory", key_memory},
    {"cpu", key_cpu},
    {"disk", key_disk},
    {"env", key_env},
    {"format", key_format},
    {"out-format", key_format},
    {"sort", key_sort},
    {"partition", key_partition},
    {"mode", key_mode},
    {"input-list", key_unsupported},
    {"output", key_unsupported},
    {"overwrite", key_unsupported},
    {"files", key_unsupported},
    {"skip-bad", key_unsupported},
    {"net", key_unsupported},
    {"backup", key_unsupported},
    {"priority", key_unsupported},
    {"after", key_unsupported},
    {"notify", key_unsupported},
    {"reduce-each", key_unsupported},
};

static int set_key(struct parser *p, const char *key, const char *value)
{
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(key, keys[i].name) != 0)
            continue;
        unsigned first = GPOINTER_TO_UINT(g_hash_table_lookup(p->seen, keys[i].name));
        if (first)
            return fail_key(p, key, "given twice (first in line %u)", first);
        g_hash_table_insert(p->seen, (gpointer)keys[i].name, GUINT_TO_POINTER(p->line));
        return keys[i].set(p, key, value);
    }
    const char *names[ARRAY_LEN(keys) + 1] = {NULL};
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        names[i] = keys[i].name;
    const char *near = nearest(key, names);
    if (near)
        return fail_key(p, key, "unknown key (did you mean \"%s\"?)", near);
    return fail_key(p, key, "unknown key (see /jobs/README)");
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool blank_line(const char *s)
{
    return s[strspn(s, " \t")] == '\0';
}

/* Appends the continuation lines that follow lines[*at], minus their common indent. Blank lines
 * inside the block stay, those after it do not. */
static void take_continuation(char **lines, unsigned *at, GString *value)
{
    unsigned end = *at + 1, last = *at;
    size_t indent = SIZE_MAX;
    for (; lines[end] && (*lines[end] == ' ' || *lines[end] == '\t' || !*lines[end]); end++) {
        if (blank_line(lines[end]))
            continue;
        indent = MIN(indent, strspn(lines[end], " \t"));
        last = end;
    }
    for (unsigned i = *at + 1; i <= last; i++) {
        if (value->len)
            g_string_append_c(value, '\n');
        if (!blank_line(lines[i]))
            g_string_append(value, lines[i] + indent);
    }
    *at = last;
}

static int parse_line(struct parser *p, char **lines, unsigned *at)
{
    const char *line = lines[*at];
    p->line = *at + 1;
    if (*line == '#' || blank_line(line))
        return 0;
    if (*line == ' ' || *line == '\t')
        return fail_key(p, "indented line", "it continues nothing (a key begins in column 1)");
    const char *colon = strchr(line, ':');
    if (!colon || colon == line) {
        char *word = g_strndup(line, MIN(strcspn(line, " \t"), 40));
        int rc = fail_key(p, word, "not a \"key: value\" line");
        g_free(word);
        return rc;
    }
    char *key = g_strstrip(g_strndup(line, (gsize)(colon - line)));
    GString *value = g_string_new(colon + 1);
    g_strstrip(value->str);
    g_string_truncate(value, strlen(value->str));
    take_continuation(lines, at, value);
    int rc = set_key(p, key, value->str);
    g_string_free(value, TRUE);
    g_free(key);
    return rc;
}

static int check_text(struct parser *p, const char *text, size_t n)
{
    if (n > SPEC_BYTES_MAX)
        return errmsg_set(p->msg, -ERR_CONFIG,
                          "%s:1: the spec has %zu bytes, at most %d are allowed", p->file, n,
                          (int)SPEC_BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            p->line++;
        if (text[i] == '\0')
            return errmsg_set(p->msg, -ERR_CONFIG, "%s:%u: a NUL byte: this is not a text file",
                              p->file, p->line);
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            return errmsg_set(p->msg, -ERR_CONFIG,
                              "%s:%u: the line ends with CR LF (convert it: dos2unix %s)", p->file,
                              p->line, p->file);
    }
    return 0;
}

static int check_whole(struct parser *p, unsigned lines)
{
    struct spec *s = p->spec;
    unsigned at = GPOINTER_TO_UINT(g_hash_table_lookup(p->seen, "map"));
    unsigned split = GPOINTER_TO_UINT(g_hash_table_lookup(p->seen, "split"));
    p->line = lines;
    if (!s->inputs->len)
        return fail_key(p, "input",
                        "missing (say which files to read, for example input: /books/*.txt)");
    if (!s->map.text && !s->reduce.text)
        return fail_key(p, "map", "missing (a job needs map or reduce, for example map: @words)");
    if (!s->map.text) {
        s->map.text = g_strdup("@identity");
        s->map.builtin = BUILTIN_IDENTITY;
    }
    if (s->map.number && split && s->split) {
        p->line = at;
        return fail_key(p, "map", "@grep -n needs whole files to count lines (use split: file)");
    }
    if (s->map.number)
        s->split = 0;
    if (s->reduce.builtin != BUILTIN_COUNT && s->reduce.builtin != BUILTIN_SUM)
        s->combine = false;
    return 0;
}

int spec_parse(const char *file, const char *text, size_t n, struct spec **ret, struct errmsg *msg)
{
    struct errmsg own;
    struct spec *s = g_new0(struct spec, 1);
    *s = (struct spec){
        .inputs = g_ptr_array_new_with_free_func(g_free),
        .env = g_ptr_array_new_with_free_func(g_free),
        .combine = true,
        .split = SPLIT_DEFAULT,
        .sep = '\t',
        .tries = 4,
        .ok_exit = {1},
        .timeout_ms = 600000,
        .memory = GIB(1),
        .disk = GIB(10),
    };
    struct parser p = {.file = file, .msg = msg ? msg : &own, .spec = s, .line = 1};
    p.seen = g_hash_table_new(g_str_hash, g_str_equal);
    int rc = check_text(&p, text, n);
    if (rc == 0) {
        char *copy = g_strndup(text, n);
        char **lines = g_strsplit(copy, "\n", -1);
        unsigned i = 0;
        for (; lines[i] && rc == 0; i++)
            rc = parse_line(&p, lines, &i);
        if (rc == 0)
            rc = check_whole(&p, MAX(1, n && text[n - 1] == '\n' ? i - 1 : i));
        g_strfreev(lines);
        g_free(copy);
    }
    g_hash_table_unref(p.seen);
    if (rc < 0)
        spec_destroy(s);
    else
        *ret = s;
    return rc;
}

void spec_destroy(struct spec *s)
{
    if (!s)
        return;
    if (s->inputs)
        g_ptr_array_unref(s->inputs);
    if (s->env)
        g_ptr_array_unref(s->env);
    g_free(s->map.text);
    g_free(s->map.pattern);
    g_free(s->reduce.text);
    g_free(s->reduce.pattern);
    g_free(s);
}
