/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the records of schema.h in the cluster: read, and changed under compares.
 *
 * A struct state belongs to one thread. Loaded records live in the caller's arena. Errors are the
 * client's; -ERR_NOT_FOUND: no such record; -ERR_FAILED: a compare did not hold, so look again.
 */
#pragma once

#include "cluster/client/client.h"
#include "mr/schema.h"

struct state {
    struct client *client; /* borrowed */
    uint16_t shards;
    struct client_cancel *cancel; /* may be NULL */
};

NODISCARD int state_init(struct state *s, struct client *client, struct client_cancel *cancel);

/* version 0: absent (value empty, result 0). */
NODISCARD int state_get(struct state *s, struct arena *a, struct bytes key, struct bytes *ret,
                        uint64_t *ret_version);
/* Replaces a value that still has `version` (0: still absent). */
NODISCARD int state_replace(struct state *s, struct bytes key, uint64_t version,
                            struct bytes value);
NODISCARD int state_put(struct state *s, struct bytes key, struct bytes value);
NODISCARD int state_delete(struct state *s, struct bytes key);
/* Deletes a value that still has `version`; 0 also if it has not. */
NODISCARD int state_delete_version(struct state *s, struct bytes key, uint64_t version);
struct state_pair {
    struct bytes key, value;
    uint64_t version;
};
NODISCARD int state_scan(struct state *s, struct arena *a, struct bytes lo, struct bytes hi,
                         struct state_pair **ret, size_t *ret_n);
NODISCARD int state_delete_range(struct state *s, struct bytes lo, struct bytes hi);
NODISCARD int state_ring(struct state *s); /* the coordinator's bell */

NODISCARD int state_job(struct state *s, struct arena *a, struct bytes name, struct job_record *ret,
                        uint64_t *ret_version);
NODISCARD int state_put_job(struct state *s, struct bytes name, const struct job_record *j,
                            uint64_t version);

struct state_task {
    struct task_record rec;
    uint64_t version;
    bool changed; /* to be stored */
};
/* All tasks of a run: ret_maps[j->maps], ret_reduces[j->reduces]. -ERR_CORRUPT: one is missing. */
NODISCARD int state_tasks(struct state *s, struct arena *a, struct bytes name,
                          const struct job_record *j, struct state_task **ret_maps,
                          struct state_task **ret_reduces);
NODISCARD int state_task(struct state *s, struct arena *a, struct bytes name, uint64_t epoch,
                         enum task_kind kind, uint32_t task, struct state_task *ret);
/* Stores tasks (all that are changed, atomically; at most STATE_BATCH) while the job's record still
 * begins with the first `head` bytes of j (JOB_HEAD_RUN or JOB_HEAD_COORD). Versions are updated.
 */
#define STATE_BATCH 32
NODISCARD int state_put_tasks(struct state *s, struct bytes name, const struct job_record *j,
                              size_t head, struct state_task *const *tasks, size_t n);
