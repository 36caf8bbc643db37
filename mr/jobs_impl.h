/* SPDX-License-Identifier: Apache-2.0 */
/* jobs_impl.h - what the files of the overlay share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include "mr/jobs.h"
#include "mr/spec.h"
#include "mr/state.h"

struct jobs_overlay {
    struct volume *v;
    _Atomic uint64_t jobs_ino;
    pthread_mutex_t lock;
    GHashTable *dirs; /* under lock; &ino: directories of jobs, for listings; may lag by a second */
    uint64_t dirs_ms; /* when they were read */
};

/* A state on this thread's cancel. */
NODISCARD int jobs_state(struct jobs_overlay *o, struct state *ret);
/* Negative error code of the cluster -> negative errno. */
static inline int jobs_errno(int rc)
{
    return rc < 0 ? -err_errno(rc) : rc;
}
void jobs_note_dir(struct jobs_overlay *o, fs_ino ino);

/* submit.c */
int jobs_check(void *ctx, fs_ino dir, const char *name, fs_ino ino,
               const struct volume_caller *who);
void jobs_settled(void *ctx, fs_ino dir, const char *name, fs_ino ino,
                  const struct volume_caller *who);
int jobs_opening(void *ctx, fs_ino dir, const char *name, fs_ino ino);
/* The text of a synthetic file of a job, as at this moment. jobs_file.c */
enum jobs_file {
    JOBS_README = 1,
    JOBS_LAST_ERROR,
    JOBS_STATUS,
    JOBS_PROGRESS,
    JOBS_COUNTERS,
    JOBS_ERROR,
    JOBS_PLAN,
    JOBS_CTL,
    JOBS_WAIT,
};
/* epoch: of the directory's run; -ERR_NOT_FOUND if the job has a newer one. */
NODISCARD int jobs_text(struct state *st, enum jobs_file what, struct bytes name, uint64_t epoch,
                        GString *out);
/* ctl's verbs. 0, -EINVAL, -EPERM, ... */
int jobs_control(struct jobs_overlay *o, struct bytes name, uint64_t epoch, const char *verb,
                 const struct volume_caller *who);
/* Blocks until the run has ended; its last line. */
int jobs_wait(struct jobs_overlay *o, struct bytes name, uint64_t epoch, GString *out);
