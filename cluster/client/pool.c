/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - idle connections per node. The last one used is the first taken: its memory and its
 * peer's are warm, and surplus ones stay at the bottom.
 *
 * A node's generation steps when one of its connections breaks. All that were opened before are
 * then as good as broken, too: idle ones are closed at once, those in use when they come back.
 */
#include "cluster/client/impl.h"

int pool_find(struct client *c, uint32_t id)
{
    for (unsigned i = 0; id && i < c->n_nodes; i++)
        if (c->nodes[i].id == id)
            return (int)i;
    return -1;
}

int pool_take(struct client *c, struct client_call *call, uint64_t deadline_ns,
              struct client_cancel *cancel, struct errmsg *msg)
{
    struct client_node *n = &c->nodes[call->node];

    ASSERT(!call->wire);
    pthread_mutex_lock(&c->lock);
    call->generation = n->generation;
    call->reused = n->n_idle > 0;
    if (call->reused)
        call->wire = n->idle[--n->n_idle];
    pthread_mutex_unlock(&c->lock);
    if (call->wire)
        return 0;

    int r =
        wire_open(n->address, c->tls, c->cluster, n->id,
                  deadline_first(deadline_ns, deadline_in(CONNECT_MS)), cancel, &call->wire, msg);
    if (r < 0)
        return errmsg_prefix(msg, r, "node n%u at %s", n->id, n->address);
    __atomic_fetch_add(&c->stats.reconnects, 1, __ATOMIC_RELAXED);
    return 0;
}

void pool_give(struct client *c, struct client_call *call)
{
    struct client_node *n = &c->nodes[call->node];
    struct wire *w = TAKE(call->wire);
    bool clean = wire_rest(w);

    pthread_mutex_lock(&c->lock);
    if (clean && call->generation == n->generation && n->n_idle < IDLE_WIRES_MAX)
        n->idle[n->n_idle++] = TAKE(w);
    pthread_mutex_unlock(&c->lock);
    wire_close(w);
}

void pool_failed(struct client *c, struct client_call *call)
{
    struct client_node *n = &c->nodes[call->node];
    struct wire *dead[IDLE_WIRES_MAX];
    unsigned n_dead = 0;

    wire_close(TAKE(call->wire));
    pthread_mutex_lock(&c->lock);
    if (call->generation == n->generation) {
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
