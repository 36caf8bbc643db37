/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h - our configuration files: one `key value` or `key = value` a line.
 *
 * `#` begins a comment at the start of a line or after a blank. Keys are letters, digits, `-`, `_`
 * and `.`; a value is the rest of the line without blanks at its ends, never empty; there is no
 * quoting. A key may be repeated where the program says so (`node 1 127.0.0.1:7001`), entries keep
 * their order. Every error text names file, line and what to do.
 *
 * A conf is immutable after parsing; all strings it hands out live as long as it does. Any thread.
 */
#pragma once

#include "cluster/base/err.h"

#define CONF_BYTES_MAX MIB(1)

struct conf;
struct conf_entry {
    const char *key, *value;
    const char *file; /* as given to conf_load or conf_parse */
    unsigned line;    /* from 1 */
};

/* -ERR_NOT_FOUND, -ERR_IO (not readable), -ERR_TOO_BIG, -ERR_CONFIG (a line is wrong). */
NODISCARD int conf_load(const char *path, struct errmsg *msg, struct conf **ret);
/* The same for a text that is already here; `file` is what errors call it. */
NODISCARD int conf_parse(const char *text, size_t n, const char *file, struct errmsg *msg,
                         struct conf **ret);
void conf_free(struct conf *c);
DEFINE_CLEANUP(struct conf *, conf_free)

/* The value of key, or NULL; of a repeated key the first one. */
const char *conf_get(const struct conf *c, const char *key);
/* The entries of key (NULL: all) in order: start with after = NULL; NULL at the end. */
const struct conf_entry *conf_next(const struct conf *c, const char *key,
                                   const struct conf_entry *after);

/* Every key must be in known (NULL-terminated); one written "node+" may be repeated, others not.
 * -ERR_CONFIG; for an unknown key the text suggests the nearest known one or lists them. */
NODISCARD int conf_check_known(const struct conf *c, const char *const known[], struct errmsg *msg);

/* Typed values. An absent key leaves *ret as it is (put the default there); -ERR_CONFIG else.
 * Numbers are decimal with an optional suffix K, M, G (1024); bools yes/no, true/false, on/off. */
NODISCARD int conf_number(const struct conf *c, const char *key, uint64_t lo, uint64_t hi,
                          struct errmsg *msg, uint64_t *ret);
NODISCARD int conf_bool(const struct conf *c, const char *key, struct errmsg *msg, bool *ret);

/* "file:line: " and the text; returns -ERR_CONFIG. For what a caller finds wrong in an entry. */
int conf_error(const struct conf_entry *e, struct errmsg *msg, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
