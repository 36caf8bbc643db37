/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_thread.h - syncs of files on a thread of their own, beside the loop.
 *
 * Not libuv's threads: a loop that is told of their end by uv_async_send spins until that call has
 * returned in the other thread, which on a full machine is often not running: some 15 us a sync.
 *
 * Syncs run one after another in the order of the calls; `done` is called on the loop's thread, in
 * that order. Life: create, submit ..., and destroy when none is under way (sync_thread_busy), then
 * let the loop run once more to let go of the handle. All calls are the loop's thread's.
 */
#pragma once

#include <uv.h>
#include "cluster/base/disk.h"

struct sync_thread;

/* As disk_ops.sync; one that has called `done` when it returns. */
typedef void sync_fn(struct disk_file *f, disk_done_fn *done, void *arg);

struct sync_thread *sync_thread_create(uv_loop_t *loop);
void sync_thread_submit(struct sync_thread *t, sync_fn *sync, struct disk_file *f,
                        disk_done_fn *done, void *arg);
bool sync_thread_busy(const struct sync_thread *t);
void sync_thread_destroy(struct sync_thread *t);
