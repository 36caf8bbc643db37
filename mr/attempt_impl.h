/* SPDX-License-Identifier: Apache-2.0 */
/* attempt_impl.h - an attempt from inside: shared by its thread's files. */
#pragma once

#include <sys/types.h>
#include "mr/attempt.h"
#include "mr/job.h"

struct attempt {
    struct mr_service *s;
    char *job;
    uint64_t epoch;
    enum task_kind kind;
    uint32_t task, number;

    pthread_t thread;
    bool have_thread;
    struct client_cancel cancel;
    _Atomic bool canceled, ended;
    _Atomic uint64_t bytes_in, bytes_total, records_in, records_out, progress_ms;
    pthread_mutex_t lock;
    char status[100]; /* reporter:status, under lock */

    /* Of the thread alone: */
    struct arena arena;
    struct door *door;
    struct state state;
    struct job_record rec;
    struct job_identity who;
    struct spec *spec;
    char *scratch;
    char name[24];    /* m-00017 */
    int file_fd;      /* spill to write or sections to merge; -1 */
    char *spill;      /* its path (map) */
    GArray *counters; /* of struct counter; names in the arena */
    struct attempt_end end;
    struct errmsg msg;
    char *out_name; /* of the private file in the work directory; NULL: none made */
};

static inline struct bytes attempt_job(const struct attempt *a)
{
    return bytes_str(a->job);
}
void attempt_touch(struct attempt *a); /* progress was made */
/* Adds to a counter; names beyond COUNTERS_MAX are dropped. */
void attempt_count(struct attempt *a, struct bytes name, uint64_t value, bool user);
static inline bool attempt_stopped(const struct attempt *a)
{
    return a->canceled;
}

/* process.c: runs raftfs-task to its end; fills a->end and a->counters. */
NODISCARD int attempt_process(struct attempt *a, const struct split_record *splits,
                              uint32_t n_splits, GArray *runs);

/* shuffle.c: fetches this reduce's section of every map into file_fd; *ret: struct fetched_run. */
struct fetched_run {
    uint64_t off, bytes;
};
NODISCARD int attempt_fetch(struct attempt *a, struct state_task *maps, uint32_t n, GArray *ret);

/* feed.c: the thread that writes raftfs-task's standard input. */
struct feeder {
    struct attempt *a;
    int fd; /* owned by the thread */
    const struct split_record *splits;
    uint32_t n_splits;
    GArray *runs; /* or NULL */
    pthread_t thread;
    int error; /* after join: 0, or what was wrong with the input; the reader going away is none */
    bool changed; /* the input changed: no other try can help */
    struct errmsg msg;
};
NODISCARD int feeder_start(struct feeder *f);
void feeder_join(struct feeder *f);

/* stderr_log.c: tasks/m-00017/1/stderr, head and tail kept, reporter: lines taken out. */
struct stderr_log {
    struct attempt *a;
    struct volume_file *file;
    uint64_t written, dropped;
    GByteArray *line; /* unfinished */
    GByteArray *tail; /* the newest bytes once the head is full */
    GString *last;    /* the newest lines, for the error text */
};
void stderr_log_init(struct stderr_log *l, struct attempt *a);
void stderr_log_add(struct stderr_log *l, const uint8_t *p, size_t n);
void stderr_log_finish(struct stderr_log *l); /* writes all and closes */

/* output.c: the attempt's private file in the work directory. */
struct output {
    struct attempt *a;
    struct volume_file *file;
    uint8_t *p;
    size_t n;
    uint64_t off, lines;
    int error; /* negative errno, sticky */
};
NODISCARD int output_open(struct output *o, struct attempt *a);
void output_add(struct output *o, const uint8_t *p, size_t n);
/* Makes it durable. 0 or a negative errno; closes in any case. */
NODISCARD int output_close(struct output *o);
