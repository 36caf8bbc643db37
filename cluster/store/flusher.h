/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flusher.h - a thread that waits for the disk in place of a store's owner, one flush at a time.
 *
 * The owner's thread starts it and later asks for the result; between the two, `fn` runs on the
 * flusher's thread, which calls `wake` when the result is there, so that the owner asks. The thread
 * is made with the first flush. Everything but `fn` and `wake` runs on the owner's thread.
 */
#pragma once

#include "cluster/base/defs.h"

struct flusher;

typedef int flusher_fn(void *arg);
typedef void flusher_wake_fn(void *arg);

struct flusher *flusher_create(flusher_fn *fn, void *arg, flusher_wake_fn *wake, void *wake_arg);
/* Waits for a flush under way; its result is dropped. NULL is fine. */
void flusher_destroy(struct flusher *f);

/* Nothing may be under way, and the last result must have been taken. */
void flusher_start(struct flusher *f);
/* Takes the result, once. */
bool flusher_result(struct flusher *f, int *ret);
