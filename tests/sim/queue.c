/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/queue.h"

void queue_init(struct queue *q)
{
    *q = (struct queue){.heap = g_ptr_array_new()};
}

void event_free(struct event *e)
{
    if (e->drop)
        e->drop(e);
    g_free(e);
}

void queue_finish(struct queue *q)
{
    for (guint i = 0; i < q->heap->len; i++)
        event_free(g_ptr_array_index(q->heap, i));
    g_ptr_array_free(q->heap, TRUE);
    *q = (struct queue){0};
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void queue_push(struct queue *q, struct event *e, uint64_t at)
{
    e->at = at;
    e->seq = ++q->last_seq;
    g_ptr_array_add(q->heap, e);
    gpointer *h = q->heap->pdata;
    guint i = q->heap->len - 1;
    for (; i > 0 && before(e, h[(i - 1) / 2]); i = (i - 1) / 2)
        h[i] = h[(i - 1) / 2];
    h[i] = e;
}

struct event *queue_pop(struct queue *q)
{
    guint n = q->heap->len;
    if (n == 0)
        return NULL;
    gpointer *h = q->heap->pdata;
    struct event *first = h[0], *last = h[n - 1];
    g_ptr_array_set_size(q->heap, (gint)--n);
    guint i = 0;
    for (guint k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && before(h[k + 1], h[k]))
            k++;
        if (!before(h[k], last))
            break;
        h[i] = h[k];
    }
    if (n > 0)
        h[i] = last;
    return first;
}

uint64_t queue_next(const struct queue *q)
{
    return q->heap->len > 0 ? ((const struct event *)g_ptr_array_index(q->heap, 0))->at
                            : UINT64_MAX;
}
