/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - from input files to map tasks. Pure.
 *
 * A large file is cut at multiples of the split size (a tail below a quarter of it stays with the
 * split before); neighbouring small files share a task. With split 0 every file is a task. Order is
 * kept: task numbers follow the files' order and offsets.
 */
#pragma once

#include "mr/schema.h"

#define PLAN_MAPS_MAX  50000
#define PLAN_FILES_MAX 1000000
#define PLAN_PACK_MAX  256 /* files in one task */

struct plan_file {
    const char *path;
    uint64_t ino, data_version, size;
};

struct plan_task {
    uint32_t first, n; /* of splits */
    uint64_t bytes;
};

struct plan {
    GArray *splits; /* of struct split_record; paths borrowed from the files */
    GArray *tasks;  /* of struct plan_task */
    uint64_t bytes;
};

/* Empty files give no split. -ERR_TOO_BIG: more than PLAN_MAPS_MAX tasks. */
NODISCARD int plan_maps(const struct plan_file *files, size_t n, uint64_t split, struct plan *ret);
void plan_finish(struct plan *p);
/* min(2 x slots, bytes / 64 MiB), at least 1. */
unsigned plan_reduces(uint64_t bytes, unsigned slots);
