/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the state store of one group replica: an ordered map of byte strings with atomic
 * batches, consistent snapshots and checkpoints.
 *
 * Two implementations: RocksDB (store_rocks.c; its own WAL is off: the Raft log is its WAL, DESIGN
 * 3.5) and memory (store_mem.c, with a crash model, for the simulator and unit tests). Both order
 * keys by memcmp.
 *
 * A batch is applied atomically and is readable at once, but survives a crash only once a flush
 * that began after it has completed; a crash leaves a state that is a prefix of the batches, never
 * less than the last flush. So the caller stores its applied index in every batch and replays its
 * log from there. Errors: -ERR_IO, -ERR_CORRUPT, -ERR_NO_SPACE; after one of these from write or
 * flush the store refuses everything (it is unknown what is on disk), but -ERR_NO_SPACE lets reads
 * pass: the batch was refused as a whole, and what is shown is what was there before. Closed and
 * opened again, when there is room, the store is as after a crash.
 *
 * Threads: one thread, the owner's, writes, flushes and polls. What may take long (a checkpoint, an
 * opening, files written or removed) it gives away as a store_job. RocksDB's flushes and those jobs
 * run on two threads of the maker when that has `wake`.
 */
#pragma once

#include "cluster/base/arena.h"
#include "cluster/base/bytes.h"
#include "cluster/base/err.h"

struct store;
struct store_iter;
struct store_view; /* a consistent snapshot of all keys */
typedef void store_done_fn(void *arg, int err);

/* Long work on stores, given away with store_maker.submit. Jobs of one maker run one after another,
 * in the order in which they were submitted. */
struct store_job {
    /* On a thread of the maker: touches only what the job owns or shares with other jobs, and the
     * stores by what is marked (job) below. */
    void (*work)(struct store_job *j);
    /* On the owner's thread, from a poll or drain, once; may free the job. */
    void (*done)(struct store_job *j);
    bool given_up; /* told to done: it was drained before the work began */
};

struct store_write {
    enum { STORE_PUT, STORE_DELETE, STORE_DELETE_RANGE } op; /* DELETE_RANGE: [key, value) */
    struct bytes key, value;
};

struct store_ops {
    /* -ERR_NOT_FOUND; else the value copied into the arena. view NULL: the newest state. */
    int (*get)(struct store *s, struct store_view *view, struct bytes key, struct arena *a,
               struct bytes *ret);
    int (*write)(struct store *s, const struct store_write *w, size_t n);
    struct store_view *(*view_open)(struct store *s);
    void (*view_close)(struct store *s, struct store_view *v);
    /* Iterates [lo, hi) in order; hi empty: to the end. key and value are borrowed until next. */
    struct store_iter *(*iter_open)(struct store *s, struct store_view *view, struct bytes lo,
                                    struct bytes hi);
    bool (*iter_next)(struct store_iter *it, struct bytes *ret_key, struct bytes *ret_value);
    int (*iter_close)(struct store_iter *it); /* the error that ended it early, or 0 */
    /* Makes everything written so far durable. One at a time. done comes before this returns, or
     * later, from the maker's poll; never after close, which waits for a flush under way, or gives
     * up one that has not begun. */
    void (*flush)(struct store *s, store_done_fn *done, void *arg);
    /* (job) A crash-safe copy in a new directory (hard links where possible) of the state as of
     * some batch not older than the call; writes may go on meanwhile. */
    int (*checkpoint)(struct store *s, const char *dir, struct errmsg *msg);
    void (*close)(struct store *s); /* (job) when nobody else uses it any more */
    uint64_t (*approximate_bytes)(struct store *s);
};
struct store {
    const struct store_ops *ops;
};

/* Opens or creates the store in `dir`. -ERR_FORMAT for a newer format, -ERR_CORRUPT ... with text.
 */
int store_rocks_open(const char *dir, struct store **ret, struct errmsg *msg);
/* Opens one that exists, to look at it: nothing on the disk is made or changed, writes fail, and no
 * lock is taken (see to it that nobody has it open). Shows what was flushed. -ERR_NOT_FOUND: no
 * store of ours. */
int store_rocks_open_read(const char *dir, struct store **ret, struct errmsg *msg);

/*
 * A store in memory. The crash model: `disk` outlives the store and keeps what flushes made
 * durable; closing without flush and opening again shows the last flushed state (or, with
 * keep_unflushed, a random later prefix of batches). checkpoint and install copy between named
 * images on the disk.
 */
struct store_mem_disk;
struct store_mem_disk *store_mem_disk_create(void);
void store_mem_disk_destroy(struct store_mem_disk *d);
/* From now on flushes, or also batches, of all its stores meet a full disk. */
enum store_mem_room { STORE_MEM_ROOM, STORE_MEM_NO_FLUSH, STORE_MEM_FULL };
void store_mem_disk_set_room(struct store_mem_disk *d, enum store_mem_room room);
int store_mem_open(struct store_mem_disk *d, const char *dir, struct store **ret);
/* What a crash keeps of a store that is open: drops it without a flush; `extra_batches` of the
 * unflushed ones survive. */
void store_mem_crash(struct store *s, size_t extra_batches);

/* How a node makes, lists, removes and replaces stores: real directories or images of a mem disk.
 * (job): all up to image_finish, on different directories and images than the owner's thread. */
struct store_maker {
    int (*open)(struct store_maker *m, const char *dir, struct store **ret, struct errmsg *msg);
    int (*destroy)(struct store_maker *m, const char *dir); /* removes it; absent is fine */
    /* Atomic, durable. What `to` was, if anything, is `from` now; but after a crash it may be gone,
     * or still be `to`. */
    int (*replace)(struct store_maker *m, const char *from, const char *to);
    /* One value of a store that nobody has open: as store_ops.get. */
    int (*peek)(struct store_maker *m, const char *dir, struct bytes key, struct arena *a,
                struct bytes *ret);
    /* A checkpoint as one byte stream, for snapshot transfer. */
    struct store_image *(*image_open)(struct store_maker *m, const char *dir);
    uint64_t (*image_size)(struct store_image *i);
    int64_t (*image_read)(struct store_image *i, void *p, size_t n, uint64_t off);
    void (*image_close)(struct store_image *i);
    /* The other way: bytes in order; finish fsyncs everything and checks the stream's checksums. */
    int (*image_create)(struct store_maker *m, const char *dir, struct bytes tag,
                        struct store_image **ret);
    /* One that was not finished, maybe by an earlier process: what it was tagged with, and the byte
     * from which to go on. -ERR_NOT_FOUND: there is none. */
    int (*image_resume)(struct store_maker *m, const char *dir, struct arena *a,
                        struct bytes *ret_tag, uint64_t *ret_offset, struct store_image **ret);
    int (*image_write)(struct store_image *i, const void *p, size_t n);
    int (*image_finish)(struct store_image *i); /* closes; on error the directory is removed */
    void (*submit)(struct store_maker *m, struct store_job *j);
    /* Calls what is done: jobs and flushes. */
    void (*poll)(struct store_maker *m);
    /* Before the owner ends: waits for the work under way, gives up what has not begun, calls all
     * that is done. */
    void (*drain)(struct store_maker *m);
    void (*free)(struct store_maker *m); /* of the implementation: call store_maker_destroy */
    /* Set by the owner before the first open and job: called on any thread when a poll is due.
     * NULL: no threads; every flush completes before it returns, every work inside submit. */
    void (*wake)(void *arg);
    void *wake_arg;
};
/* image_open gives NULL if there is no such directory or it cannot be read. image_close
 * of one that is being written leaves it, to be resumed or destroyed. */
struct store_maker *store_rocks_maker_create(void);
struct store_maker *store_mem_maker_create(struct store_mem_disk *d); /* borrows d */
static inline void store_maker_destroy(struct store_maker *m)
{
    if (m)
        m->free(m);
}
