/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - the state of jobs as keys and values of the cluster, byte by byte.
 *
 * Keys: two bytes of shard (big endian), 'J', a kind, then:
 *
 *   registry shard (0):
 *     'b'                          bell: its version moves whenever a coordinator has something to
 * look at 'c'                          u64 number of the coordinator; raised by whoever becomes it
 *     'e'                          text of the newest rejected submission
 *     'h' node(be32)               worker: what it is and what it runs (worker_record)
 *     'i' node(be32)               inbox: what it shall run (inbox_record)
 *     'l' name                     an active job (value empty); may outlive the job by a moment
 *     'd' ino(be64)                directory of a job: u64 epoch, name
 *   the job's shard (hash of its name):
 *     'j' name                     job_record
 *     's' name 0 epoch(be64) kind task(be32)   splits of a map task (written once)
 *     't' name 0 epoch(be64) kind task(be32)   task_record;  kind is 'm' or 'r'
 *
 * Values: little-endian, without padding, in the order of the structs below; text and lists carry a
 * u32 length or count. The first byte is SCHEMA_VERSION; other versions are refused (-ERR_FORMAT).
 *
 * A job record begins with 24 bytes at fixed places, for compares:
 *     0 u8 version   1 u8 state   2 u8[6] zero   8 u64 epoch   16 u64 coordinator
 * An inbox begins with u8 version, u8[7] zero, u64 coordinator. Every change of a task compares
 * bytes 0..16 of its job (it is running, and it is this run); every change by a coordinator
 * compares bytes 0..24 (and nobody has taken over). A task record is only ever replaced under a
 * compare of its version. Nothing here depends on a clock: times are for people.
 */
#pragma once

#include <glib.h>
#include "cluster/base/arena.h"
#include "cluster/base/codec.h"
#include "cluster/base/err.h"
#include "cluster/base/msg.h"

#define SCHEMA_VERSION   1
#define JOB_HEAD_RUN     16 /* version, state, epoch */
#define JOB_HEAD_COORD   24
#define INBOX_HEAD       16
#define ATTEMPTS_KEPT    16
#define ATTEMPT_TEXT_MAX 1500 /* with ATTEMPTS_KEPT and STATE_BATCH within one transaction */
#define COUNTERS_MAX     1000

enum job_state {
    JOB_SUBMITTED = 1, /* accepted by a check; not launched */
    JOB_QUEUED,        /* launched; inputs not listed yet */
    JOB_RUNNING,
    JOB_COMMITTING, /* all winners are known and final; being published */
    JOB_DONE,
    JOB_FAILED,
    JOB_KILLED,
};
static inline bool job_ended(enum job_state s)
{
    return s >= JOB_DONE;
}
const char *job_state_name(enum job_state s);

enum task_kind { TASK_MAP = 'm', TASK_REDUCE = 'r' };

struct job_record {
    enum job_state state;
    uint64_t epoch, coordinator;
    uint64_t submitted_ns, started_ns, ended_ns;
    uint32_t uid, gid, n_groups;
    uint32_t *groups;
    uint64_t dir;      /* inode of /jobs/NAME */
    uint64_t work_dir; /* inode of the unpublished outputs' directory; 0 before planning */
    uint32_t maps, reduces;
    uint64_t input_bytes;
    struct bytes spec;
    struct bytes error;       /* text of the error file */
    uint32_t n_counters;      /* final ones; complete when done */
    struct counter *counters; /* name: group TAB name */
};

enum attempt_state {
    ATTEMPT_RUNNING = 1,
    ATTEMPT_WON,
    ATTEMPT_FAILED,
    ATTEMPT_LOST,
    ATTEMPT_KILLED
};
const char *attempt_state_name(enum attempt_state s);

struct attempt_record {
    uint32_t number; /* 1, 2, ...; never reused within a task of an epoch */
    uint32_t node;
    uint64_t incarnation; /* of the worker: its map outputs live as long as that */
    enum attempt_state state;
    uint64_t started_ns, ended_ns;
    int32_t exit_code, signal; /* of the command; -1, 0: none */
    bool fatal;                /* command not found and the like */
    uint64_t records_in, records_out;
    struct bytes text;
};

struct task_record {
    enum task_kind kind;
    uint32_t index;
    uint32_t winner;   /* attempt number; 0: none */
    uint32_t failures; /* attempts that count against `tries` */
    uint32_t started;  /* attempts so far, also forgotten ones */
    uint32_t blames;   /* map: fetches of its output that failed */
    uint64_t input_bytes;
    struct bytes input;  /* first path and range, for people */
    uint32_t n_attempts; /* the newest, in order */
    struct attempt_record attempts[ATTEMPTS_KEPT];
    /* Of the winner: */
    uint64_t digest;  /* map: of its output; reduce: of all the map outputs it consumed */
    uint64_t out_ino; /* its file in the work directory; 0: none (a map that feeds reduces) */
    uint64_t out_bytes;
    uint32_t n_counters;
    struct counter *counters;
};

struct split_record { /* a piece of a file, pinned */
    struct bytes path;
    uint64_t ino, data_version, size, start, end;
};

struct running_record { /* an attempt, named */
    struct bytes job;
    uint64_t epoch;
    enum task_kind kind;
    uint32_t task, attempt;
    uint64_t bytes_in, bytes_total; /* in heartbeats; 0 in inboxes */
    struct bytes status;            /* the last reporter:status: text */
};

struct worker_record {
    uint64_t incarnation, beat;
    uint32_t slots;
    bool stopped; /* left in good order */
    uint32_t n_running;
    struct running_record *running;
};

struct inbox_record {
    uint64_t coordinator;
    uint64_t incarnation; /* of the worker it is meant for; another one ignores the attempts */
    bool awake;           /* heartbeats wanted */
    uint32_t n_jobs;      /* whose files must be kept: only job and epoch count */
    struct running_record *jobs;
    uint32_t n_attempts;
    struct running_record *attempts;
};

/* Decoders borrow text from `in` and take arrays from the arena. -ERR_FORMAT or -ERR_CORRUPT. */
void enc_job_record(struct enc *e, const struct job_record *j);
NODISCARD int dec_job_record(struct bytes in, struct arena *a, struct job_record *ret);
void enc_task_record(struct enc *e, const struct task_record *t);
NODISCARD int dec_task_record(struct bytes in, struct arena *a, struct task_record *ret);
void enc_splits(struct enc *e, const struct split_record *s, uint32_t n);
NODISCARD int dec_splits(struct bytes in, struct arena *a, struct split_record **ret,
                         uint32_t *ret_n);
void enc_worker_record(struct enc *e, const struct worker_record *w);
NODISCARD int dec_worker_record(struct bytes in, struct arena *a, struct worker_record *ret);
void enc_inbox_record(struct enc *e, const struct inbox_record *x);
NODISCARD int dec_inbox_record(struct bytes in, struct arena *a, struct inbox_record *ret);

/* Keys live in the arena. */
struct bytes key_bell(struct arena *a);
struct bytes key_coordinator(struct arena *a);
struct bytes key_last_error(struct arena *a);
struct bytes key_worker(struct arena *a, uint32_t node);
struct bytes key_inbox(struct arena *a, uint32_t node);
struct bytes key_active(struct arena *a, struct bytes name);
struct bytes key_dir(struct arena *a, uint64_t ino);
/* All keys of one kind in the registry: [*lo, *hi). */
void key_registry_range(struct arena *a, char kind, struct bytes *ret_lo, struct bytes *ret_hi);
#define KEY_REGISTRY_HEAD 4 /* what follows is node, name or ino */

struct bytes key_job(struct arena *a, uint16_t shards, struct bytes name);
struct bytes key_task(struct arena *a, uint16_t shards, struct bytes name, uint64_t epoch,
                      enum task_kind kind, uint32_t task);
struct bytes key_splits(struct arena *a, uint16_t shards, struct bytes name, uint64_t epoch,
                        uint32_t task);
/* table 't' or 's': all keys of one run. */
void key_tasks_range(struct arena *a, uint16_t shards, char table, struct bytes name,
                     uint64_t epoch, struct bytes *ret_lo, struct bytes *ret_hi);
