/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - a job's specification: text in, checked values out. Pure; raftfs-job(5) is the manual.
 *
 * `key: value` lines; `#` in column 1 starts a comment; lines that begin with a blank continue the
 * value, verbatim minus their common indent. Every error names file, line, key and what to do:
 * `wc.job:3: reducer: unknown key (did you mean "reduce"?)`.
 */
#pragma once

#include "cluster/base/err.h"

#define SPEC_BYTES_MAX  KIB(64)
#define SPEC_INPUTS_MAX 256
#define JOB_NAME_MAX    100
#define SPEC_TRIES_MAX  100
#define SPLIT_DEFAULT   MIB(16)

enum builtin {
    BUILTIN_NONE,
    BUILTIN_WORDS,
    BUILTIN_GREP,
    BUILTIN_IDENTITY,
    BUILTIN_COUNT,
    BUILTIN_SUM
};

struct spec_command {
    char *text;           /* as written; NULL: the key was not given (reduce: a map-only job) */
    enum builtin builtin; /* BUILTIN_NONE: text is for /bin/sh -c */
    bool fold;            /* @words -i, @grep -i */
    bool invert, number;  /* @grep -v, -n */
    char *pattern;        /* @grep */
};

struct spec {
    GPtrArray *inputs; /* of char *: globs or directories */
    unsigned input_line;
    struct spec_command map, reduce;
    bool combine;     /* fold values of equal keys in the map tasks: built-in reduces only */
    unsigned reduces; /* 0: to be chosen at planning */
    uint64_t split;   /* bytes; 0: one task per file */
    char sep;
    unsigned tries;
    uint8_t ok_exit[32]; /* bit n: exit code n means success */
    uint64_t timeout_ms; /* without progress */
    uint64_t memory;     /* address space of each of the commands' processes */
    uint64_t cpu_s;      /* 0: no limit */
    uint64_t disk;       /* the largest file a command may write */
    GPtrArray *env;      /* of char *: NAME=value */
};

/* file: the name errors begin with. -ERR_CONFIG with msg. */
NODISCARD int spec_parse(const char *file, const char *text, size_t n, struct spec **ret,
                         struct errmsg *msg);
void spec_destroy(struct spec *s);
DEFINE_CLEANUP(struct spec *, spec_destroy)

/* Every key with its final value, one per line, for `plan`. */
void spec_print(const struct spec *s, GString *out);

static inline bool spec_exit_ok(const struct spec *s, int code)
{
    return code >= 0 && code < 256 && (s->ok_exit[code / 8] & (1u << (code % 8)));
}

/* Letters, digits and ._+@-; not first a dot; at most JOB_NAME_MAX bytes; not a reserved name. */
bool job_name_ok(const char *name, size_t n);
/* "wc.job" -> "wc" in g_malloc'd memory; NULL if the file name is no job's. */
char *job_name_of_file(const char *file);
