/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - writes one JSON text: commas, indents and escapes. The caller keeps objects, arrays and
 * keys in order; key is NULL in an array and at the top.
 */
#pragma once

#include "cluster/base/bytes.h"

struct json {
    GString *text;
    unsigned depth;
    bool first;    /* nothing yet in the innermost object or array */
    bool one_line; /* set after json_init: without line breaks */
};

void json_init(struct json *j);
void json_finish(struct json *j);
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);
void json_string(struct json *j, const char *key, const char *value);
void json_printf_string(struct json *j, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
void json_bytes(struct json *j, const char *key,
                struct bytes value); /* U+FFFD for what is not UTF-8 */
void json_number(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);
