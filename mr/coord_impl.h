/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_impl.h - the coordinator from inside. One thread; all it knows is reread from the records
 * at each turn, so what another coordinator left is carried on by the same code.
 */
#pragma once

#include "mr/job.h"
#include "mr/service_impl.h"
#include "mr/spec.h"

struct coord_worker {
    uint32_t node;
    uint64_t incarnation, beat;
    uint32_t slots, used;
    bool stopped;
    bool fresh;       /* a heartbeat came since we asked for them */
    uint64_t seen_ms; /* when its record last changed, or when we asked */
    uint64_t inbox_version;
    GByteArray *inbox; /* as last written or read; NULL: not read yet */
};

struct coord {
    struct mr_service *s;
    pthread_t thread;
    bool have_thread;
    _Atomic bool stop;
    struct client_cancel cancel;
    uint64_t number; /* ours, from key 'c'; 0: not taken yet */
    bool deposed;
    uint64_t bell_version;
    GPtrArray *workers; /* of struct coord_worker */
    bool active;        /* there are jobs: heartbeats are wanted */
    /* Of one turn: */
    struct door *door;
    struct state state;
    struct arena arena;
    GArray *jobs;     /* of struct running_record: jobs that are not over */
    GArray *attempts; /* of struct coord_attempt */
};

struct coord_attempt {
    uint32_t node;
    struct running_record what;
};

enum worker_life { WORKER_ALIVE, WORKER_UNKNOWN, WORKER_DEAD };
enum worker_life coord_worker_life(const struct coord *c, const struct coord_worker *w);
struct coord_worker *coord_worker_of(const struct coord *c, uint32_t node);
/* Live workers; slots of these and of those that may be alive. */
unsigned coord_live(const struct coord *c, unsigned *ret_slots);

/* A job in a turn. */
struct coord_job {
    struct bytes name;
    struct job_record rec;
    uint64_t version;
    struct spec *spec; /* NULL: not parsed */
    struct state_task *maps, *reduces;
};

/* coord_job.c: does what can be done now. listed: the version of the job's entry in the list of
 * active ones; only that entry is removed when the job is over, not that of a run submitted
 * meanwhile. Errors: of the cluster; the turn ends. *ret_again: there is more to do at once. */
NODISCARD int coord_step(struct coord *c, struct bytes name, uint64_t listed, bool *ret_again);
/* Stores j->rec under a compare of its version; -ERR_FAILED: look again. */
NODISCARD int coord_store(struct coord *c, struct coord_job *j);
NODISCARD int coord_fail(struct coord *c, struct coord_job *j, const char *text);

/* coord_plan.c: queued -> running (or failed). */
NODISCARD int coord_plan(struct coord *c, struct coord_job *j);

/* publish.c: committing -> done; and what ended jobs leave. */
NODISCARD int coord_publish(struct coord *c, struct coord_job *j);
