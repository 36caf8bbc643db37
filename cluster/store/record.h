/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - records of the log (format.h) in memory, and what they say of a group.
 *
 * record_add appends to a queue without checksums, since seq and number of the batch are not known
 * yet; records_seal fills them in. record_next reads a sealed run back. Pure.
 */
#pragma once

#include "cluster/base/codec.h"
#include "cluster/store/format.h"

struct record {
    enum wal_record_type type;
    uint8_t kind;
    uint32_t gid, vote;
    uint64_t term, index, time;
    struct bytes data; /* borrowed */
};

/* Bytes of a record with so much data. */
size_t record_bytes(size_t data);

void record_add(struct enc *e, const struct record *r);

/* The checksum all records of a batch start from. */
uint32_t record_salt(uint64_t seq, uint64_t number);
void records_seal(uint8_t *p, size_t n, uint32_t salt);

enum record_verdict {
    RECORD_OK,
    RECORD_BAD_DATA, /* head valid: ret and rest are set, but the data is not to be used */
    RECORD_BAD_HEAD, /* where the next one begins is unknown */
};

/* Takes the first record off *rest. */
enum record_verdict record_next(struct bytes *rest, uint32_t salt, struct record *ret);
/* The same for a run not sealed yet (our own queue). */
void record_next_own(struct bytes *rest, struct record *ret);
/* Why the first record's head is not valid, in words; NULL if it is. */
const char *record_head_fault(struct bytes rest, uint32_t salt);

/* What a segment must know of a group when it begins. The log holds (start_index, last_index]. */
struct wal_state {
    uint32_t gid, vote;
    uint64_t term;
    uint64_t start_index, start_term, start_time, last_index;
    bool suspect;
};

/* Does the record follow from this state? (An entry is the next one, a truncation within the log.)
 */
bool state_allows(const struct wal_state *s, const struct record *r);
void state_apply(struct wal_state *s, const struct record *r);

/* The GROUP record that carries a state; `data` is filled and must live as long as the record. */
struct record state_record(const struct wal_state *s, struct wal_group_data *data);
/* A SUSPECT record that forgets all before it. */
static inline bool record_restates(const struct record *r)
{
    return r->type == WAL_RECORD_SUSPECT && r->kind;
}

/* All groups, by gid. Zero-initialised is empty. */
struct wal_states {
    struct wal_state *all;
    size_t n;
};

struct wal_state *states_find(const struct wal_states *t, uint32_t gid); /* or NULL */
struct wal_state *states_get(struct wal_states *t, uint32_t gid);        /* made if unknown */
void states_copy(struct wal_states *to, const struct wal_states *from);
void states_finish(struct wal_states *t);
