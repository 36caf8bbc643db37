/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what flows between map and reduce: a key and perhaps a value.
 *
 * A line is a record: the key is what stands before the first separator, the value what follows it.
 * A line without a separator is all key and has no value, which is not the same as an empty one, so
 * that a record becomes the very same line again. Bytes are borrowed.
 */
#pragma once

#include "cluster/base/bytes.h"
#include "cluster/base/limits.h"

/* A line (without its newline) may have so many bytes; memory of a task is planned with it. */
#define RECORD_MAX MIB(16)
/* Partitions of a job: an index has 40 bytes for each, per map task. */
#define PARTITIONS_MAX 4096

struct record {
    struct bytes key, value;
    bool has_value;
};

static inline struct record record_of_line(const uint8_t *p, size_t n, char sep)
{
    const uint8_t *at = n ? memchr(p, sep, n) : NULL;
    if (!at)
        return (struct record){{p, n}, BYTES_NONE, false};
    size_t k = (size_t)(at - p);
    return (struct record){{p, k}, {at + 1, n - k - 1}, true};
}
