/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builtin.h - the maps and reduces that need no process: @words @grep @identity, @count @sum.
 *
 *   @words [-i]            each maximal run of A-Za-z: word TAB 1, the lines of
 *                          `tr -cs 'A-Za-z' '\n'`; -i folds to lower case
 *   @grep [-n][-i][-v] RE  lines that (do not, -v) match an extended regular expression; -n writes
 *                          path:number:line
 *   @identity              lines as they are
 *   @count                 key TAB number of records of the key
 *   @sum                   key TAB sum of the values, 64-bit whole numbers
 */
#pragma once

#include <regex.h>
#include "mr/collect.h"
#include "mr/merge.h"
#include "mr/outbuf.h"
#include "mr/spec.h"

/* Where a map's records go: to the collector, or as lines in a map-only job. */
struct map_out {
    struct collector *collector; /* or NULL: */
    struct outbuf *lines;
    char sep;
};
NODISCARD int map_out_line(struct map_out *o, const uint8_t *p, size_t n, struct errmsg *msg);

struct map_builtin {
    const struct spec_command *cmd;
    struct map_out *out;
    bool have_re;
    regex_t re;
    bool literal; /* the pattern has no special character: search for its bytes */
    const char *path;
    uint64_t line; /* number of the next line in this segment */
    GByteArray *scratch;
};

NODISCARD int map_builtin_init(struct map_builtin *m, const struct spec_command *cmd,
                               struct map_out *out, struct errmsg *msg);
void map_builtin_finish(struct map_builtin *m);
void map_builtin_segment(struct map_builtin *m, const char *path); /* borrowed */
/* Whole lines. They may be changed in place. */
NODISCARD int map_builtin_feed(struct map_builtin *m, uint8_t *p, size_t n, struct errmsg *msg);

/* Runs a built-in reduce over a merged partition. *ret_groups counts keys. */
struct reduce_stats {
    uint64_t records, groups;
};
NODISCARD int reduce_builtin(enum builtin op, bool combined, struct merge *m, char sep,
                             struct outbuf *out, struct reduce_stats *ret, struct errmsg *msg);
