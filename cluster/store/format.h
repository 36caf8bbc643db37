/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.h - the bytes of the write-ahead log, format version 2. Version 1 is still read: it has no
 * SUSPECT record, and the kind of its GROUP records is 0.
 *
 * Files. `wal/<seq, 16 hex digits>.seg`. Sequence numbers are never used twice; a segment that is no
 * longer needed gets its next life by a rename to the next number, with its old bytes still in it.
 * All numbers are little-endian. All checksums are CRC32C.
 *
 * A segment is a row of batches, each beginning at a multiple of 4096 and padded with zeroes to one;
 * one submit of the log is one batch (or several, one after another, if it is very long). Nobody
 * rewrites a sector that was acknowledged: a batch has its blocks for itself. (The page cache writes
 * whole pages anyway; a 300-byte entry costs no more for it, only room in the segment.)
 *
 *   segment:  [batch n][batch n+1][batch n+2] ... [zeroes, or bytes of an earlier life]
 *   batch:    [head 64][record][record] ... [zeroes up to a multiple of 4096]
 *   record:   [head 48][data, padded with zeroes to a multiple of 8]
 *
 * Batches are numbered through all segments without a gap. The first batch of each segment (at
 * offset 0) carries FIRST and begins with one GROUP record for each group: its state as of the end
 * of the batch before. So everything older than a segment can be forgotten except entries.
 *
 * A batch head is valid if and only if magic, version and reserved bytes are right, its seq is that
 * of the file's name, its offset is where it stands, FIRST is set just at offset 0, its records end
 * within the segment, and its crc is that of bytes 0..59.
 *
 * A record is valid if and only if its head's crc is that of (the batch's seq, the batch's number,
 * bytes 0..43), its reserved bytes are zero, its data ends within its batch, and data_crc is that of
 * (seq, number, data with its padding). With seq in each checksum the bytes of an earlier life never
 * count; with number neither does a block that went to a wrong place.
 *
 * A batch is valid if and only if its head is and exactly `records` valid records fill exactly
 * `bytes` bytes. It is replayed as a whole or (torn) not at all.
 *
 * Recovery, in the order of seq. A segment is in use if its first batch is valid, or if any valid
 * batch head stands behind that (then the first batch is damaged); else it was made ready only, or
 * torn in its first batch. Let first(s) be the number in the first valid batch head of a segment s in
 * use, and limit(s) the least first(t) of all later segments t in use, or infinity. From s the
 * batches expected, expected + 1, ... below limit(s) are taken. What stops that is
 *   - limit(s): go on with the next segment. Batches of s from there on were superseded;
 *   - an invalid batch in the last segment in use, without any valid batch head of a higher number
 *     behind it: a torn tail, cut. It was never acknowledged, since one batch is written at a time
 *     and the next one only after its sync;
 *   - anything else (a gap in the numbers, an invalid batch with a valid one behind it, a file that
 *     holds batches of a higher seq than its name's): damage. If the batch head and all record heads
 *     are valid, the groups of the bad records are damaged; else every group is.
 * A GROUP record that disagrees with what was replayed, or a group whose entries start + 1 .. last
 * are not all there in the end, makes that group damaged too.
 *
 * What was recovered of a damaged group may lack a vote or entries that were promised. Whoever opened
 * the log either gives it up or answers with a SUSPECT record (kind 1) for each such group, in the
 * first batch that is written: it says what the group's state is from there on, and all before it, the
 * damage too, is forgotten. From then on the group is suspect (and its GROUP records say so), but not
 * damaged, until a SUSPECT record of kind 0. (cluster/raft/repair.c tells what a suspect replica does.)
 *
 * The last batch found may be in the page cache only (the writer was killed before its sync, or the
 * sync failed: the kernel then marks the pages clean). So the next segment begins with that batch
 * again, under its number: first(new) = its number, which supersedes the old copy.
 *
 * Not detected: damage to the very last batch (it looks torn), and the loss of the newest files
 * together with all they hold.
 *
 * What may change without a new version: nothing. Every later version keeps bytes 0..11 and the crc
 * at 60 of the batch head at offset 0, so that an older program can say that it is too old.
 */
#pragma once

#include "cluster/base/defs.h"

#define WAL_MAGIC         "raftfsWL"
#define WAL_VERSION       2u
#define WAL_VERSION_OLD   1u /* the oldest that is read */
#define WAL_BLOCK         4096u
#define WAL_BATCH_FIRST   1u /* flag: first batch of its segment, begins with the GROUP records */
#define WAL_RECORD_ALIGN  8u
#define WAL_SEQ_DIGITS    16
#define WAL_SEGMENT_SUFFIX ".seg"

struct wal_batch_head {
    uint8_t magic[8];     /*  0 WAL_MAGIC without a final zero: staleness of another program's file */
    uint8_t version[4];   /*  8 */
    uint8_t flags[4];     /* 12 */
    uint8_t seq[8];       /* 16 of the segment: bytes of an earlier life of the file */
    uint8_t number[8];    /* 24 lost batches, lost segments */
    uint8_t offset[8];    /* 32 within the segment: a write that went elsewhere */
    uint8_t bytes[4];     /* 40 of the records, without the final padding */
    uint8_t records[4];   /* 44 */
    uint8_t reserved[12]; /* 48 zero */
    uint8_t crc[4];       /* 60 of bytes 0..59: the lengths above can be trusted */
};

enum wal_record_type {
    WAL_RECORD_GROUP = 1,    /* term, vote; kind 1: it is suspect; data: struct wal_group_data */
    WAL_RECORD_ENTRY = 2,    /* term, index, time, kind = the entry's type; data: the payload */
    WAL_RECORD_HARD = 3,     /* term, vote */
    WAL_RECORD_TRUNCATE = 4, /* index: entries >= it are forgotten */
    WAL_RECORD_START = 5,    /* index, term, time of the last entry not needed; kind 1: reset, all
                                entries of the group are forgotten */
    WAL_RECORD_SUSPECT = 6,  /* kind 1: term, vote; data: struct wal_group_data, without entries: the
                                group is suspect, and this is all that is known of it; kind 0: it is
                                suspect no longer */
};

struct wal_record_head {
    uint8_t data_bytes[4]; /*  0 without padding */
    uint8_t gid[4];        /*  4 */
    uint8_t type;          /*  8 */
    uint8_t kind;          /*  9 */
    uint8_t reserved[2];   /* 10 zero */
    uint8_t data_crc[4];   /* 12 of seq, number, data and padding */
    uint8_t term[8];       /* 16 */
    uint8_t index[8];      /* 24 */
    uint8_t time[8];       /* 32 */
    uint8_t vote[4];       /* 40 */
    uint8_t crc[4];        /* 44 of seq, number and bytes 0..43 */
};

struct wal_group_data {
    uint8_t start_index[8]; /*  0 */
    uint8_t start_term[8];  /*  8 */
    uint8_t start_time[8];  /* 16 */
    uint8_t last_index[8];  /* 24 the log's end: where the last truncation and the appends left it */
};

_Static_assert(sizeof(struct wal_batch_head) == 64, "no padding");
_Static_assert(offsetof(struct wal_batch_head, seq) == 16, "as documented");
_Static_assert(offsetof(struct wal_batch_head, bytes) == 40, "as documented");
_Static_assert(offsetof(struct wal_batch_head, crc) == 60, "kept by every version");
_Static_assert(sizeof(struct wal_record_head) == 48, "no padding");
_Static_assert(offsetof(struct wal_record_head, data_crc) == 12, "as documented");
_Static_assert(offsetof(struct wal_record_head, term) == 16, "as documented");
_Static_assert(offsetof(struct wal_record_head, crc) == 44, "as documented");
_Static_assert(sizeof(struct wal_group_data) == 32, "no padding");
_Static_assert(sizeof(struct wal_record_head) % WAL_RECORD_ALIGN == 0, "records stay aligned");
