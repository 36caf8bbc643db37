/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the part of one group's log that is in memory: a run of entries after a base.
 *
 * The base is the entry before the first one: a compacted entry, the index of a snapshot, or 0. Its
 * term and time are known, its payload is not. Invariants: indices are consecutive, terms never
 * fall, times rise. Entries lie in one array, so a range of them is a pointer and a count; such a
 * pointer lives until the next change of the log. The log holds one reference on each entry's data.
 */
#pragma once

#include "cluster/raft/raft.h"

struct raftlog {
    raft_index base;
    raft_term base_term;
    uint64_t base_time;
    struct raft_entry *slots; /* entries are slots[head .. head + n) */
    size_t head, n, cap;
    uint64_t bytes; /* payload of the entries */
};

void raftlog_init(struct raftlog *l, raft_index base, raft_term base_term, uint64_t base_time);
void raftlog_finish(struct raftlog *l);

static inline raft_index raftlog_first(const struct raftlog *l)
{
    return l->base + 1;
}
static inline raft_index raftlog_last(const struct raftlog *l)
{
    return l->base + l->n;
}
raft_term raftlog_last_term(const struct raftlog *l);
uint64_t raftlog_last_time(const struct raftlog *l);

/* The term at `index`; 0 before the base, beyond the end, and at index 0. */
raft_term raftlog_term_at(const struct raftlog *l, raft_index index);
/* The entry at `index`, which must be in first..last. */
const struct raft_entry *raftlog_at(const struct raftlog *l, raft_index index);

/* How many entries from `from` on fit into `bytes` of payload and `max` entries; at least one if
 * from <= to. *ret_bytes is their payload. */
size_t raftlog_fit(const struct raftlog *l, raft_index from, raft_index to, uint64_t bytes,
                   size_t max, uint64_t *ret_bytes);
/* The greatest index in base..`index` whose term is <= `term`; base if there is none. */
raft_index raftlog_floor(const struct raftlog *l, raft_index index, raft_term term);

/* Appends a copy of e, whose index must be last + 1; references its data. */
void raftlog_append(struct raftlog *l, const struct raft_entry *e);
void raftlog_truncate(struct raftlog *l, raft_index from); /* forgets entries >= from */
void raftlog_compact(struct raftlog *l, raft_index upto);  /* `upto` becomes the base */
void raftlog_reset(struct raftlog *l, raft_index base, raft_term base_term, uint64_t base_time);

/* May b stand right after an entry of that index, term and time? (Shape only: any term >= 1.) */
bool raft_entry_follows(const struct raft_entry *b, raft_index index, raft_term term,
                        uint64_t time_ns);
