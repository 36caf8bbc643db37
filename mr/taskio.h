/* SPDX-License-Identifier: Apache-2.0 */
/*
 * taskio.h - what passes between a worker and its raftfs-task: descriptors and frames.
 *
 *   fd 0  frames from the worker: the spec, then segments of input (map) or runs (reduce), then END
 *   fd 1  the attempt's output lines (map-only and reduce tasks)
 *   fd 2  stderr of the task and of the user's commands
 *   fd 3  frames to the worker: progress, counters, and last DONE or FAILED
 *   fd 4  a regular file: the map output to write, or the fetched sections to merge
 *
 * A frame is u8 type, u32 length, payload, little-endian. An attempt has succeeded if and only if
 * its process exited with 0 and DONE came; input that ends without END is a dead worker, not the
 * end of a file.
 */
#pragma once

#include "cluster/base/codec.h"
#include "cluster/base/err.h"

enum { TASK_IN = 0, TASK_OUT = 1, TASK_ERR = 2, TASK_STATUS = 3, TASK_FILE = 4 };

enum task_frame {
    /* worker -> task */
    TASK_SPEC = 's',    /* the job's spec text */
    TASK_SEGMENT = 'f', /* u64 offset, u64 length, u8 whole file, path: a piece of a file begins */
    TASK_DATA = 'd',    /* bytes of it: whole lines all in all */
    TASK_SEGMENT_END = 'e',
    TASK_RUN = 'r', /* u64 offset, u64 bytes: a section in fd 4 */
    TASK_END = 'z',
    /* task -> worker */
    TASK_PROGRESS = 'p', /* u64 records in, u64 records out */
    TASK_COUNTER = 'c',  /* u64 value, name */
    TASK_DONE = 'k',     /* u64 digest of the map output */
    TASK_FAILED =
        'x', /* i32 exit code of the command (-1: none), i32 signal (0: none), u8 fatal, text */
};

#define TASK_FRAME_HEAD 5
#define TASK_FRAME_MAX  (MIB(1) + KIB(64))

static inline void task_frame_head(uint8_t *p, enum task_frame type, size_t n)
{
    p[0] = (uint8_t)type;
    put_le32(p + 1, (uint32_t)n);
}
