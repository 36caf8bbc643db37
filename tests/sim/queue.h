/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - what happens next: events in the order of their time, those of one time in the order in
 * which they were posted. So a run is one sequence, whatever the machine does.
 *
 * An event is embedded as the first member of its own struct, made with event_new and freed by the
 * queue after it has run. One that is addressed to a node is dropped when the node's life in which
 * it was posted has ended, and waits while the node is paused.
 */
#pragma once

#include "cluster/base/defs.h"

#define US(n)  ((uint64_t)(n)*1000u)
#define MS(n)  ((uint64_t)(n)*1000000u)
#define SEC(n) ((uint64_t)(n)*1000000000u)

struct sim;
struct sim_node;

struct event {
    uint64_t at, seq;
    struct sim_node *node; /* NULL: nobody's */
    uint64_t life;
    void (*run)(struct sim *s, struct event *e);
    void (*drop)(struct event *e); /* what it holds, not itself; may be NULL; after run too */
};

struct queue {
    GPtrArray *heap;
    uint64_t last_seq;
};

void queue_init(struct queue *q);
void queue_finish(struct queue *q); /* drops what is left */
void queue_push(struct queue *q, struct event *e, uint64_t at);
struct event *queue_pop(struct queue *q);   /* NULL: empty */
uint64_t queue_next(const struct queue *q); /* its time; UINT64_MAX: empty */
void event_free(struct event *e);

#define EVENT_NEW(type, run_fn)                                                                    \
    ({                                                                                             \
        type *new_ = g_new0(type, 1);                                                              \
        ((struct event *)new_)->run = (run_fn);                                                    \
        new_;                                                                                      \
    })
