/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/json.h"

#include <stdarg.h>

void json_init(struct json *j)
{
    *j = (struct json){.text = g_string_new(NULL), .first = true};
}

void json_finish(struct json *j)
{
    g_string_free(j->text, TRUE);
    j->text = NULL;
}

static void add_text(struct json *j, struct bytes b)
{
    g_autofree char *text = g_utf8_make_valid((const char *)b.p, (gssize)b.n);
    g_string_append_c(j->text, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_printf(j->text, "\\%c", *p);
        else if ((unsigned char)*p < 0x20 || *p == 0x7f)
            g_string_append_printf(j->text, "\\u%04x", (unsigned)*p);
        else
            g_string_append_c(j->text, *p);
    }
    g_string_append_c(j->text, '"');
}

static void new_line(struct json *j)
{
    if (j->one_line)
        return;
    g_string_append_c(j->text, '\n');
    for (unsigned i = 0; i < j->depth; i++)
        g_string_append(j->text, "  ");
}

static void begin(struct json *j, const char *key)
{
    if (!j->first)
        g_string_append_c(j->text, ',');
    j->first = false;
    if (j->depth > 0)
        new_line(j);
    if (!key)
        return;
    add_text(j, bytes_str(key));
    g_string_append(j->text, ": ");
}

void json_open(struct json *j, const char *key, char bracket)
{
    begin(j, key);
    g_string_append_c(j->text, bracket);
    j->depth++;
    j->first = true;
}

void json_close(struct json *j, char bracket)
{
    bool empty = j->first;
    j->depth--;
    j->first = false;
    if (!empty)
        new_line(j);
    g_string_append_c(j->text, bracket);
}

void json_bytes(struct json *j, const char *key, struct bytes value)
{
    begin(j, key);
    add_text(j, value.p ? value : bytes_str(""));
}

void json_string(struct json *j, const char *key, const char *value)
{
    json_bytes(j, key, bytes_str(value));
}

void json_printf_string(struct json *j, const char *key, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *value = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_string(j, key, value);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
    begin(j, key);
    g_string_append_printf(j->text, "%" G_GUINT64_FORMAT, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    begin(j, key);
    g_string_append(j->text, value ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
    begin(j, key);
    g_string_append(j->text, "null");
}
