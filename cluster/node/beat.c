/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/beat.h"
#include "cluster/node/group.h"
#include "cluster/node/peer.h"
#include "cluster/node/wire.h"

#define PLACES (GROUPS_MAX + 1)

bool beat_is_due(const struct node *n)
{
    return n->now % n->config.heartbeat_ticks == 0;
}

bool beat_takes(const struct raft_msg *m)
{
    return m->type == RAFT_HEARTBEAT || m->type == RAFT_HEARTBEAT_RESP;
}

/* --- what waits ------------------------------------------------------------------------------- */

static void put_ask(struct beats *b, const struct beat_ask *new)
{
    unsigned i = 0;
    while (i < b->n_asks && b->asks[i].gid != new->gid)
        i++;
    ASSERT(i < PLACES); /* one for each replica */
    b->n_asks = MAX(b->n_asks, i + 1);
    b->asks[i] = *new;
}

/* Messages may overtake each other, so an answer that came later may name an older round: what was
 * confirmed within the term stays confirmed. */
static void put_answer(struct beats *b, const struct beat_answer *new)
{
    unsigned i = 0;
    while (i < b->n_answers && b->answers[i].gid != new->gid)
        i++;
    ASSERT(i < PLACES);
    uint64_t round = 0;
    if (i < b->n_answers && b->answers[i].term == new->term)
        round = b->answers[i].read_round;
    b->n_answers = MAX(b->n_answers, i + 1);
    b->answers[i] = *new;
    b->answers[i].read_round = MAX(new->read_round, round);
}

void beat_put(struct node *n, struct peer *p, uint32_t gid, const struct raft_msg *m)
{
    struct beats *b = &p->beats;
    if (!b->asks) {
        b->asks = arena_array(&n->memory, PLACES, sizeof(*b->asks));
        b->answers = arena_array(&n->memory, PLACES, sizeof(*b->answers));
    }
    if (m->type == RAFT_HEARTBEAT) {
        const struct beat_ask ask = {gid, m->term, m->commit, m->read_round, wire_flags(m)};
        put_ask(b, &ask);
    } else {
        const struct beat_answer answer = {gid,           m->term,    m->index,     m->hint,
                                           m->read_round, m->promise, wire_flags(m)};
        put_answer(b, &answer);
    }
    b->urgent |= m->urgent;
    n->beat_urgent |= m->urgent;
}

void beat_drop(struct peer *p)
{
    p->beats.n_asks = p->beats.n_answers = 0;
    p->beats.urgent = false;
}

/* --- out -------------------------------------------------------------------------------------- */

/* The term in which it was said may be over by now, and something promised in a later one. */
static bool still_said(struct node *n, uint32_t gid, uint64_t term)
{
    const struct group *g = node_group(n, gid);
    return g && g->term == term;
}

static void drop_old(struct node *n, struct beats *b)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < b->n_asks; i++)
        if (still_said(n, b->asks[i].gid, b->asks[i].term))
            b->asks[kept++] = b->asks[i];
    b->n_asks = kept;
    kept = 0;
    for (unsigned i = 0; i < b->n_answers; i++)
        if (still_said(n, b->answers[i].gid, b->answers[i].term))
            b->answers[kept++] = b->answers[i];
    b->n_answers = kept;
}

static void send_to(struct node *n, struct peer *p)
{
    struct beats *b = &p->beats;
    if (!b->urgent && !n->beat_due)
        return;
    drop_old(n, b);
    if (b->n_asks + b->n_answers == 0)
        return;
    const struct msg_beat m = {b->n_asks, b->asks, b->n_answers, b->answers};
    enc_reset(&n->out);
    FRAME(&n->out, beat, 0, &m);
    if (p->link && conn_send(p->link, enc_view(&n->out)) == 0)
        n->counters.beats_sent++;
    else
        n->counters.raft_dropped += b->n_asks + b->n_answers;
    beat_drop(p);
}

void beats_send(struct node *n)
{
    if (!n->beat_due && !n->beat_urgent)
        return;
    for (unsigned i = 0; i < n->n_peers; i++)
        send_to(n, n->peers[i]);
    for (unsigned i = 0; i < n->n_guests; i++)
        send_to(n, n->guests[i]);
    n->beat_due = n->beat_urgent = false;
}

/* --- in --------------------------------------------------------------------------------------- */

static void step(struct node *n, uint32_t gid, const struct raft_msg *m)
{
    struct group *g = node_group(n, gid);
    if (g) /* those that it knows and we do not may be ahead of us */
        group_step(g, m);
}

int beat_receive(struct node *n, const struct peer *p, const struct msg_beat *m)
{
    n->counters.beats_received++;
    for (uint32_t i = 0; i < m->n_asks; i++) {
        const struct beat_ask *a = &m->asks[i];
        struct raft_msg msg = {
            .type = RAFT_HEARTBEAT,
            .from = p->id,
            .to = n->config.id,
            .term = a->term,
            .commit = a->commit,
            .read_round = a->read_round,
        };
        if (!wire_set_flags(&msg, a->flags))
            return -ERR_INVALID;
        step(n, a->gid, &msg);
    }
    for (uint32_t i = 0; i < m->n_answers; i++) {
        const struct beat_answer *a = &m->answers[i];
        struct raft_msg msg = {
            .type = RAFT_HEARTBEAT_RESP,
            .from = p->id,
            .to = n->config.id,
            .term = a->term,
            .index = a->index,
            .hint = a->hint,
            .read_round = a->read_round,
            .promise = a->promise,
        };
        if (!wire_set_flags(&msg, a->flags))
            return -ERR_INVALID;
        step(n, a->gid, &msg);
    }
    return 0;
}
