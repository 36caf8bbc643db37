/* SPDX-License-Identifier: Apache-2.0 */
/* group_impl.h - what group.c and group_check.c share. */
#pragma once

#include <inttypes.h>
#include "cluster/base/err.h"
#include "cluster/raft/print.h"
#include "tests/unit/raft/group.h"

#define CHECK(g, cond, ...)                                                                        \
    do {                                                                                           \
        if (!(cond))                                                                               \
            check_broken((g), #cond, __LINE__, __VA_ARGS__);                                       \
    } while (0)

NORETURN void PRINTF_LIKE(4, 5)
    check_broken(struct group *g, const char *cond, int line, const char *fmt, ...);
void PRINTF_LIKE(2, 3) group_tell(struct group *g, const char *fmt, ...); /* one line, if asked */

char *disk_key(raft_index index, raft_term term); /* to be freed */
raft_index disk_last(const struct disk *d);
const struct raft_entry *disk_at(const struct disk *d, raft_index i);
const struct committed *history_at(const struct group *g, raft_index i);
/* The configuration as of a committed index. */
const struct raft_conf *conf_at(const struct group *g, raft_index index);
bool same_conf(const struct raft_conf *a, const struct raft_conf *b);

/* After each input of m. */
void check_role(struct group *g, struct member *m);
/* As it leaves. */
void check_promise(struct group *g, const struct member *m, const struct raft_msg *s);
/* m applies e; moves m->applied. */
void check_applied(struct group *g, struct member *m, const struct raft_entry *e);
void check_read(struct group *g, struct member *m, const struct raft_read *read);
/* It was not valid after all: it is forgotten. */
void check_no_read(struct group *g, const struct raft_read *read);
