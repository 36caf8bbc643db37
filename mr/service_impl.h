/* SPDX-License-Identifier: Apache-2.0 */
/* service_impl.h - what the files of the service share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include "fs/volume.h"
#include "mr/service.h"
#include "mr/state.h"

/* A session with the cluster: client and volume, shared by the threads that work under it. When the
 * session is lost the door is closed for newcomers; those inside fail and let go. */
struct door {
    _Atomic unsigned refs;
    _Atomic bool lost;
    struct client *client;
    struct volume *volume;
};

struct worker;
struct coord;

struct mr_service {
    struct mr_service_options o; /* with copies of the strings */
    uint64_t incarnation;        /* of the worker: random, new at each create */
    uint32_t job_uid, job_gid;   /* of job_user */
    uint32_t own_uid, own_gid;   /* ours; uid 0: jobs run as their owners */
    pthread_mutex_t lock;
    struct door *door; /* under lock; NULL or lost: to be opened */
    _Atomic bool stopping;
    struct worker *worker;
    pthread_mutex_t lead_lock;
    struct coord *coord; /* under lead_lock */
};

/* A reference to an open door, opening one if need be. -ERR_CANCELED when the service stops. */
NODISCARD int door_enter(struct mr_service *s, struct door **ret, struct errmsg *msg);
void door_leave(struct door *d);
DEFINE_CLEANUP(struct door *, door_leave)
/* After an error of its client: a lost session closes the door. */
void door_failed(struct mr_service *s, struct door *d, int error);

void service_log(struct mr_service *s, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Who a job's tasks run as (DESIGN 5). -ERR_DENIED: this node cannot run that user's jobs. */
struct job_identity {
    bool change;                /* become uid/gid; else stay */
    struct volume_caller reads; /* whose rights count for inputs */
    struct volume_caller owner; /* who owns outputs and logs: the submitter */
};
NODISCARD int service_identity(const struct mr_service *s, const struct job_record *j,
                               struct job_identity *ret, struct errmsg *msg);

/* data/NAME.EPOCH and data/NAME.EPOCH/m-00003.2; g_free. */
char *spill_dir_path(const struct mr_service *s, struct bytes job, uint64_t epoch);
char *spill_path(const struct mr_service *s, struct bytes job, uint64_t epoch, uint32_t task,
                 uint32_t attempt);
void remove_tree(const char *path);

/* The entry `name` of a directory, made with mode 0755 if absent. */
NODISCARD int ensure_dir(struct volume *v, fs_ino parent, const char *name,
                         const struct volume_caller *who, fs_ino *ret);

struct worker *worker_create(struct mr_service *s);
NODISCARD int worker_start(struct worker *w);
void worker_stop(struct worker *w);
void worker_destroy(struct worker *w);

struct coord *coord_create(struct mr_service *s);
NODISCARD int coord_start(struct coord *c);
void coord_stop(struct coord *c); /* waits for its thread */
void coord_destroy(struct coord *c);
