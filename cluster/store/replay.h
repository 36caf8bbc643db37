/* SPDX-License-Identifier: Apache-2.0 */
/* replay.h - the groups of a log as recovery rebuilds them, record by record. Pure. */
#pragma once

#include "cluster/store/record.h"
#include "cluster/store/wal.h"

struct replay_group {
    struct wal_state state;
    uint64_t first;  /* index of entries[0]; what lies before it was not found */
    GArray *entries; /* struct wal_entry, each holding a reference */
    bool damaged;
};

/* Zero-initialised is not valid: replay_init. */
struct replay {
    GPtrArray *groups; /* struct replay_group *, by gid */
    bool all_damaged;  /* also those met from here on */
    bool anywhere;     /* it is not known before or behind which record */
    bool damaged;
    char text[400]; /* of the first damage */
    /* Each is told here, too, if somebody wants to know. */
    void (*on_damage)(void *ctx, const char *text);
    void *ctx;
};

void replay_init(struct replay *r);
void replay_finish(struct replay *r);

void replay_record(struct replay *r, const struct record *rec);
/* Notes damage; the text of the first is kept. */
void replay_damage(struct replay *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
void replay_damaged(struct replay *r, uint32_t gid);
void replay_damaged_all(struct replay *r); /* by what should stand between the last record and the
                                              next */
void replay_damaged_anywhere(struct replay *r);

void replay_states(const struct replay *r, struct wal_states *ret);
/* After the last record: those that are not whole are damaged too. */
void replay_check(struct replay *r);
bool replay_is_damaged(const struct replay *r, uint32_t gid);
/* Moves everything to ret. */
void replay_result(struct replay *r, struct wal_recovery *ret);
