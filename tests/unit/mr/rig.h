/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h - MapReduce end to end in one process: services (nodes) on a fake cluster, the /jobs
 * overlay as a mount has it, and short words for what a user does in a shell.
 */
#pragma once

#include "mr/jobs.h"
#include "mr/service.h"
#include "tests/unit/fs/fake_client.h"

#define RIG_NODES 3

struct rig {
    struct fake_cluster *cluster;
    struct client *client;
    struct volume *v;
    struct jobs_overlay *jobs;
    struct synth_overlay overlay;
    struct volume_caller who;
    unsigned nodes;
    struct mr_service *node[RIG_NODES + 1]; /* 1 .. nodes; NULL: stopped */
    unsigned leader;                        /* 0: none */
};

/* Node 1 leads. */
void rig_begin(struct rig *r, unsigned nodes);
void rig_end(struct rig *r);
void rig_lead(struct rig *r, unsigned node); /* moves leadership; 0: nobody leads */
void rig_stop(struct rig *r, unsigned node); /* its spills are gone with it */
void rig_start(struct rig *r, unsigned node);

/* The sessions of all services end, as if they had expired. Not while one is being stopped. */
void rig_expire(struct rig *r);

/* Whole files by path; parents must be there. */
void rig_write(struct rig *r, const char *path, const char *text, size_t n);
void rig_put(struct rig *r, const char *path, const char *text);
bool rig_exists(struct rig *r, const char *path);
void rig_mkdir(struct rig *r, const char *path);
/* NULL: not there. Freed at the end of the program. */
const char *rig_read(struct rig *r, const char *path);

/* As `cp NAME.job /jobs/`: what close(2) gives. Launched if that is 0. */
int rig_submit(struct rig *r, const char *name, const char *spec);
/* cat /jobs/NAME/FILE (synthetic); /jobs/FILE with name NULL. */
const char *rig_cat(struct rig *r, const char *name, const char *file);
/* echo VERB > /jobs/NAME/ctl */
int rig_ctl(struct rig *r, const char *name, const char *verb);
/* cat wait: the first word of what it says. */
const char *rig_wait(struct rig *r, const char *name);
/* cat out/part-*; NULL: there is no out. */
const char *rig_output(struct rig *r, const char *name);
/* The same lines, sorted. */
const char *rig_sorted(const char *lines);
/* The value of a counter in `counters`, group TAB name; 0 if it is not there. */
uint64_t rig_counter(struct rig *r, const char *name, const char *counter);
