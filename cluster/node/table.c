/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/table.h"
#include "cluster/node/group.h"

void table_init(struct node *n)
{
    n->groups = g_ptr_array_new();
    n->ready = g_ptr_array_new();
    n->turn = g_ptr_array_new();
}

void table_finish(struct node *n)
{
    table_each(n, group_destroy);
    g_ptr_array_free(n->groups, TRUE);
    g_ptr_array_free(n->ready, TRUE);
    g_ptr_array_free(n->turn, TRUE);
}

static struct group *at(const struct node *n, guint i)
{
    return g_ptr_array_index(n->groups, i);
}

/* The first with a gid not below `gid`. */
static guint lower_bound(const struct node *n, uint32_t gid)
{
    guint lo = 0, hi = n->groups->len;
    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;
        if (at(n, mid)->gid < gid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct group *node_group(struct node *n, uint32_t gid)
{
    guint i = lower_bound(n, gid);
    return i < n->groups->len && at(n, i)->gid == gid ? at(n, i) : NULL;
}

void table_add(struct node *n, struct group *g)
{
    ASSERT(!node_group(n, g->gid));
    g_ptr_array_insert(n->groups, (gint)lower_bound(n, g->gid), g);
    group_touch(g);
}

void table_each(struct node *n, void (*fn)(struct group *g))
{
    for (guint i = 0; i < n->groups->len; i++)
        fn(at(n, i));
}

/* --- the ready list --------------------------------------------------------------------------- */

void group_touch(struct group *g)
{
    if (g->touched)
        return;
    g->touched = true;
    g_ptr_array_add(g->node->ready, g);
}

GPtrArray *table_turn(struct node *n)
{
    GPtrArray *turn = n->ready;
    n->ready = n->turn;
    n->turn = turn;
    g_ptr_array_set_size(n->ready, 0);
    for (guint i = 0; i < turn->len; i++)
        ((struct group *)g_ptr_array_index(turn, i))->touched = false;
    return turn;
}

void table_again(struct node *n)
{
    for (guint i = 0; i < n->turn->len; i++) {
        struct group *g = g_ptr_array_index(n->turn, i);
        if (group_has_work(g))
            group_touch(g);
    }
}

bool table_have_work(const struct node *n)
{
    for (guint i = 0; i < n->ready->len; i++)
        if (group_has_work(g_ptr_array_index(n->ready, i)))
            return true;
    return false;
}
