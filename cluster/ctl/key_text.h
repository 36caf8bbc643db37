/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_text.h - keys and values as text (raftfsctl(8)): SHARD:REST, with \xNN for a byte that is not
 * printable and \\ for a backslash. What is printed can be given back as an argument. Pure.
 */
#pragma once

#include "cluster/base/bytes.h"

void escape_bytes(GString *s, struct bytes b);
/* The key as a client sees it: two bytes of shard, then the rest. A shorter one: all escaped. */
void escape_key(GString *s, struct bytes key);
/* Undoes escapes; false if one is malformed. */
bool unescape_bytes(const char *text, GByteArray *out);
/* Wall time in ns since 1970 as 2026-11-22T07:47:15.123456789Z. */
void append_time(GString *s, uint64_t ns);
