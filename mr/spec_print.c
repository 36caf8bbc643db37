/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/spec.h"

#include <inttypes.h>
#include <string.h>

/* --- for people ------------------------------------------------------------------------------- */

static void print_block(GString *out, const char *key, const char *text)
{
    if (!strchr(text, '\n')) {
        g_string_append_printf(out, "%-10s %s\n", key, text);
        return;
    }
    g_string_append_printf(out, "%s\n", key);
    char **lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++)
        g_string_append_printf(out, "    %s\n", *l);
    g_strfreev(lines);
}

void spec_print(const struct spec *s, GString *out)
{
    for (unsigned i = 0; i < s->inputs->len; i++)
        g_string_append_printf(out, "input      %s\n", (const char *)s->inputs->pdata[i]);
    print_block(out, "map", s->map.text);
    print_block(out, "reduce", s->reduce.text ? s->reduce.text : "none");
    g_string_append_printf(out, "combine    %s\n", s->combine ? "auto" : "none");
    if (s->split)
        g_string_append_printf(out, "split      %" PRIu64 "\n", s->split);
    else
        g_string_append(out, "split      file\n");
    if (s->sep == '\t')
        g_string_append(out, "sep        TAB\n");
    else
        g_string_append_printf(out, "sep        %c\n", s->sep);
    g_string_append(out, "ok-exit   ");
    for (int i = 0; i < 256; i++)
        if (spec_exit_ok(s, i))
            g_string_append_printf(out, " %d", i);
    g_string_append_printf(out, "\ntries      %u\ntimeout    %" PRIu64 "ms\n", s->tries,
                           s->timeout_ms);
    g_string_append_printf(out, "memory     %" PRIu64 "\ndisk       %" PRIu64 "\n", s->memory,
                           s->disk);
    if (s->cpu_s)
        g_string_append_printf(out, "cpu        %" PRIu64 "s\n", s->cpu_s);
    for (unsigned i = 0; i < s->env->len; i++)
        g_string_append_printf(out, "env        %s\n", (const char *)s->env->pdata[i]);
}

/* --- names ------------------------------------------------------------------------------------ */

bool job_name_ok(const char *name, size_t n)
{
    if (!n || n > JOB_NAME_MAX || *name == '.' || *name == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(name[i]) && !memchr("._+@-", name[i], 5))
            return false;
    return !(n == 6 && memcmp(name, "README", 6) == 0) &&
           !(n == 10 && memcmp(name, "last-error", 10) == 0);
}

char *job_name_of_file(const char *file)
{
    size_t n = strlen(file);
    if (n < 5 || *file == '.' || strcmp(file + n - 4, ".job") != 0)
        return NULL;
    return g_strndup(file, n - 4);
}
