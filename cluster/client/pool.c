/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - idle connections per node. The last one used is the first taken: its memory and its
 * peer's are warm, and surplus ones stay at the bottom. */
#include "cluster/client/impl.h"

int pool_find(struct client *c, uint32_t id)
{
    for (unsigned i = 0; i < c->n_nodes; i++)
        if (c->nodes[i].id == id)
            return (int)i;
    return -1;
}

int pool_take(struct client *c, unsigned node, uint64_t deadline_ns, struct client_cancel *cancel,
              struct wire **ret, uint64_t *ret_generation, struct errmsg *msg)
{
    struct client_node *n = &c->nodes[node];
    uint64_t connect_ns = deadline_in(CONNECT_MS);
    struct wire *w = NULL;

    pthread_mutex_lock(&c->lock);
    *ret_generation = n->generation;
    if (n->n_idle)
        w = n->idle[--n->n_idle];
    pthread_mutex_unlock(&c->lock);

    if (!w) {
        int r = wire_open(n->address, c->tls, c->cluster, n->id,
                          deadline_ns ? MIN(deadline_ns, connect_ns) : connect_ns, cancel, &w, msg);
        if (r < 0)
            return errmsg_prefix(msg, r, "node n%u at %s", n->id, n->address);
        __atomic_fetch_add(&c->stats.reconnects, 1, __ATOMIC_RELAXED);
    }
    *ret = w;
    return 0;
}

void pool_give(struct client *c, unsigned node, struct wire *w, uint64_t generation)
{
    struct client_node *n = &c->nodes[node];

    pthread_mutex_lock(&c->lock);
    if (generation == n->generation && n->n_idle < IDLE_WIRES_MAX)
        n->idle[n->n_idle++] = TAKE(w);
    pthread_mutex_unlock(&c->lock);
    wire_close(w);
}

void pool_failed(struct client *c, unsigned node, uint64_t generation)
{
    struct client_node *n = &c->nodes[node];
    struct wire *dead[IDLE_WIRES_MAX];
    unsigned n_dead = 0;

    pthread_mutex_lock(&c->lock);
    if (generation == n->generation) {
        n->generation++;
        n_dead = n->n_idle;
        memcpy(dead, n->idle, n_dead * sizeof(dead[0]));
        n->n_idle = 0;
    }
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < n_dead; i++)
        wire_close(dead[i]);
}

void pool_finish(struct client *c)
{
    for (unsigned i = 0; i < c->n_nodes; i++) {
        for (unsigned k = 0; k < c->nodes[i].n_idle; k++)
            wire_close(c->nodes[i].idle[k]);
        g_free(c->nodes[i].address);
    }
}
