/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_thread.h - a thread that waits for the disk in place of its owner, one store_job after
 * another.
 *
 * The owner's thread submits and polls; `work` runs on that thread, which calls `wake` when
 * a job has ended, so that the owner polls. The thread is made with the first job. Without `wake`
 * there is no thread: the work is done inside job_thread_submit, and `done` comes from the poll all
 * the same. Everything but `work`, `wake` and job_thread_forget is called on the owner's thread.
 */
#pragma once

#include "cluster/store/store.h"

struct job_thread;

typedef void job_thread_wake_fn(void *arg);

struct job_thread *job_thread_create(job_thread_wake_fn *wake, void *wake_arg);
/* Nothing may be under way or unpolled. NULL is fine. */
void job_thread_destroy(struct job_thread *w);

void job_thread_submit(struct job_thread *w, struct store_job *j);
void job_thread_poll(struct job_thread *w);  /* calls `done` of what has ended */
void job_thread_drain(struct job_thread *w); /* as store_maker.drain */
/* Waits until j, if it was submitted, is neither waiting nor worked on; its `done` will not be
 * called. From any thread but the thread itself. */
void job_thread_forget(struct job_thread *w, struct store_job *j);
