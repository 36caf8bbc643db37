/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal_model.h - what a log should hold, as plainly as possible: the oracle of the log's tests.
 *
 * Each change is made to the model and to the log together. An entry's payload is a function of
 * (gid, index, term), so the model keeps terms only.
 */
#pragma once

#include "cluster/base/rng.h"
#include "cluster/store/wal.h"

#define MODEL_GROUPS 3

struct model_group {
    bool known;
    uint64_t term;
    uint32_t vote;
    uint64_t start, start_term;
    GArray *terms; /* uint64_t: of the entries start + 1 .. */
};

struct model {
    struct model_group groups[MODEL_GROUPS];
};

void model_init(struct model *m);
void model_finish(struct model *m);
void model_copy(struct model *to, const struct model *from);
uint64_t model_last(const struct model *m, uint32_t gid);

void model_append(struct model *m, struct wal *w, uint32_t gid, uint64_t term, unsigned n);
void model_hard(struct model *m, struct wal *w, uint32_t gid, uint64_t term, uint32_t vote);
void model_truncate(struct model *m, struct wal *w, uint32_t gid, uint64_t from);
void model_start(struct model *m, struct wal *w, uint32_t gid, uint64_t index, bool reset);
/* One change drawn at random that raft could make. */
void model_random(struct model *m, struct wal *w, struct rng *rng);

/* Is this what was recovered, byte by byte? If not, why. */
bool model_is(const struct model *m, const struct wal_recovery *r, char *ret_why, size_t n);
