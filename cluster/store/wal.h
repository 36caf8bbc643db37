/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal.h - the write-ahead log of a node, shared by all its groups (DESIGN 3.5; bytes in format.h).
 *
 * Preallocated, recycled 64 MiB segments; one write and one sync per round for everything that is
 * waiting. Appending only queues; wal_submit hands all that is queued to the disk and `done` is
 * called once it is durable, maybe before wal_submit returns. One submit is under way at a time:
 * what is queued meanwhile goes with the next one. A failed write or sync ends in done(err < 0) and
 * the log refuses everything after; the host ends the process.
 *
 * Recovery reads every segment: torn tail (cut, silently) and damage before it are told apart, see
 * format.h for the rule. Damage is reported in `struct wal_recovery` with the groups it touches.
 * Who goes on with such a log says wal_suspect of each of them before the first submit; else the
 * next opening finds the damage again.
 *
 * Each segment begins with the hard state of all groups (term, vote, log start), so a segment is
 * recycled once every group's log start has passed its last entry and a later segment's header is
 * durable. Truncations are logged, so replay never brings back what was overwritten.
 *
 * Threads: one. Memory: queued entries are copied into the write buffer; nothing else is kept per
 * entry (the raft core keeps the entries it may need again).
 */
#pragma once

#include "cluster/base/disk.h"
#include "cluster/base/buf.h"
#include "cluster/base/err.h"

struct wal;

struct wal_entry {
    uint64_t term, index, time_ns;
    uint8_t type;
    struct buf *data; /* may be NULL */
};

/* What recovery found for one group. */
struct wal_group {
    uint32_t gid;
    uint64_t term;
    uint32_t vote;
    uint64_t start_index, start_term; /* entries <= start_index are not in the log */
    uint64_t start_time;
    struct wal_entry *entries; /* start_index+1 .. in order, each holding a buf */
    size_t n_entries;
    bool damaged; /* by what was found now: may miss entries, or a vote it once promised */
    bool suspect; /* wal_suspect was said of it, in an earlier life, and wal_repaired not yet */
};

struct wal_recovery {
    struct wal_group *groups;
    size_t n_groups;
    bool torn_tail;   /* the beginning of a batch was found at the end, and cut */
    bool damaged;     /* some record before the end is bad; text says where */
    bool all_damaged; /* it cannot be named: also groups of which nothing was found */
    char text[400];
};

struct wal_options {
    uint64_t segment_bytes; /* 0: 64 MiB; tests use small ones */
};

typedef void wal_done_fn(void *arg, int err);

/* Opens the log in `dir` (made if absent), recovers, and makes a new segment ready, which the first
 * submit begins. ret_recovery is freed with wal_recovery_finish. -ERR_FORMAT: newer version;
 * -ERR_IO; -ERR_NO_SPACE, with text. Damage is no error here: see ret_recovery.
 *
 * Nothing that was recovered may be promised to anyone before the first submit is done: the last
 * batch found may have reached only the page cache (the process was killed, or its sync failed), so
 * it is queued again. wal_queued_bytes(w) > 0 after opening tells. Entries' data of length 0 come
 * back as NULL. */
NODISCARD int wal_open(struct disk *disk, const char *dir, const struct wal_options *options,
                       struct wal **ret, struct wal_recovery *ret_recovery, struct errmsg *msg);
void wal_recovery_finish(struct wal_recovery *r);
void wal_close(struct wal *w); /* no flush: shutdown and crash are one path */

/* Queue, in the order in which they shall be found again. A log has no holes: an entry's index is
 * the group's last + 1, a truncation lies within its log (asserted). An unknown gid makes a group.
 */
void wal_hard(struct wal *w, uint32_t gid, uint64_t term, uint32_t vote);
void wal_append(struct wal *w, uint32_t gid, const struct wal_entry *e, size_t n);
void wal_truncate(struct wal *w, uint32_t gid, uint64_t from_index); /* forget entries >= it */
/* Entries <= index are no longer needed (they are in a flushed state store, or replaced by a
 * snapshot, in which case reset forgets everything else too). Needs no sync of its own. */
void wal_start(struct wal *w, uint32_t gid, uint64_t index, uint64_t term, uint64_t time,
               bool reset);

/* The group may have forgotten something: this is its state now, its log begins anew after `index`,
 * whatever was recovered of it. Remembered until wal_repaired, over restarts. */
void wal_suspect(struct wal *w, uint32_t gid, uint64_t term, uint32_t vote, uint64_t index,
                 uint64_t index_term, uint64_t time);
void wal_repaired(struct wal *w, uint32_t gid);

size_t wal_queued_bytes(const struct wal *w);
bool wal_busy(const struct wal *w);
/* done(arg, -ERR_NO_SPACE) is the one error that may be retried: no segment could be allocated,
 * what was acknowledged is untouched and what was not written is still queued; submit again when
 * wal_reserve succeeds. Any other error is final. done must not close the log. */
void wal_submit(struct wal *w, wal_done_fn *done, void *arg);

/*
 * Space. The next segment is allocated as soon as the present one is begun, so a full disk is seen
 * one segment before it hurts: wal_space is what can still be written without a new allocation.
 * When it is below one segment (wal_reserve fails), refuse what clients write (ERR_NO_SPACE), go on
 * with raft, flush the stores and wal_start, which frees segments for reuse, and call wal_reserve
 * again each second or so: it tries to allocate, and gives 0 when a next segment is ready.
 */
uint64_t wal_space(const struct wal *w);
NODISCARD int wal_reserve(struct wal *w); /* 0, -ERR_NO_SPACE, -ERR_IO (final) */

/* Bytes of segments in use, and the group that pins the oldest one, with the bytes of the segments
 * it holds from there on (flush it; 0 bytes: none). */
uint64_t wal_bytes(const struct wal *w);
uint32_t wal_pinning_group(const struct wal *w, uint64_t *ret_bytes);
