/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint.h - the state of a replica as files that followers can be sent (snapshot.h).
 *
 * Made by a job (store.h) while the replica goes on applying, so which entry it ends with is read
 * from the checkpoint itself. It serves every follower that needs one, until the leader's log in
 * memory has been cut behind it: a follower must find the rest there. Costs hard links, and the
 * files that the store would have removed meanwhile. With its last user it is removed, by a job
 * again; at most one for each transfer (SNAP_SENDS_MAX) exists. What a crash leaves is removed by
 * snapshots_restart.
 *
 * Jobs that work on its image run one after another and before the one that removes it, so users
 * may drop it while such a job of theirs is under way.
 */
#pragma once

#include "cluster/node/group.h"

struct checkpoint {
    struct store_job job; /* makes it, later removes it */
    struct group *group;
    struct store *store;
    struct store_maker *stores;
    char *dir;
    unsigned slot, users;
    bool made; /* or failed: err */
    int err;   /* -ERR_NO_SPACE, -ERR_STALE: the log was cut behind it already */
    struct errmsg msg;
    raft_index index; /* while it is made: at least */
    raft_term index_term;
    uint64_t index_time;
    struct raft_conf conf;     /* as of index: the newest may not be committed */
    struct store_image *image; /* of the jobs */
    uint64_t size;
};

/* The one to send now, maybe not made yet; a new one is begun if need be. */
struct checkpoint *checkpoint_take(struct group *g);
void checkpoint_drop(struct checkpoint *c); /* when the node ends its files stay */
/* One is being made: the store must stay open. */
bool checkpoint_busy(const struct group *g);
/* (job) Leftovers of an earlier run. */
#define CHECKPOINT_SLOTS 32
void checkpoint_clean(struct store_maker *stores, const char *group_dir, unsigned slot);
