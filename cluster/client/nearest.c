/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.c - which node reads are asked of, where any will do (read-from any).
 *
 * The one that has answered small reads fastest of late: the nearest, or the least busy. A node
 * that was not measured yet is asked by one call, so in the beginning each gets one; later one read
 * in SAMPLE goes to the next node in turn, so that one that became faster is noticed. A node that
 * did not answer, or would not, is left alone for a while and then measured anew. Each client
 * begins with another node. A call asks the nearest node once; after that it is the leader's.
 */
#include "cluster/client/impl.h"

#define SAMPLE   64
#define AVOID_NS UINT64_C(3000000000)
#define TRYING   UINT32_MAX /* some call measures it */

static bool avoided(struct client_node *n, uint64_t now)
{
    return now < __atomic_load_n(&n->avoid_ns, __ATOMIC_RELAXED);
}

static bool claim(struct client_node *n)
{
    uint32_t unknown = 0;

    return __atomic_compare_exchange_n(&n->read_us, &unknown, TRYING, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

int nearest_node(struct client *c)
{
    uint64_t turn = __atomic_fetch_add(&c->reads_any, 1, __ATOMIC_RELAXED), now = clock_mono_ns();
    unsigned n = client_known(c), first = (unsigned)(c->first_node + turn / SAMPLE);
    uint32_t best_us = TRYING;
    int best = -1;

    for (unsigned i = 0; i < n; i++) {
        unsigned at = (first + i) % n;
        struct client_node *node = &c->nodes[at];
        uint32_t us = __atomic_load_n(&node->read_us, __ATOMIC_RELAXED);
        if (avoided(node, now))
            continue;
        if ((i == 0 && turn % SAMPLE == SAMPLE - 1) || (us == 0 && claim(node)))
            return (int)at;
        if (us > 0 && us < best_us) {
            best = (int)at;
            best_us = us;
        }
    }
    return best;
}

void nearest_answered(struct client *c, unsigned node, uint64_t took_ns)
{
    uint32_t *to = &c->nodes[node].read_us, was = __atomic_load_n(to, __ATOMIC_RELAXED);
    uint32_t us = (uint32_t)MIN(MAX(took_ns / 1000, 1u), 60000000u);

    /* Two at a time: one of them is lost. */
    if (was != 0 && was != TRYING)
        us = was - was / 8 + us / 8;
    __atomic_store_n(to, MAX(us, 1u), __ATOMIC_RELAXED);
}

void nearest_failed(struct client *c, unsigned node)
{
    __atomic_store_n(&c->nodes[node].avoid_ns, clock_mono_ns() + AVOID_NS, __ATOMIC_RELAXED);
    __atomic_store_n(&c->nodes[node].read_us, 0, __ATOMIC_RELAXED);
}
