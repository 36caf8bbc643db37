/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/raft/progress.h"

/* Row: from, bit: allowed next. PROBE -> PROBE is a new start, REPLICATE and SNAPSHOT never repeat.
 */
#define TO(state) (1u << (state))
static const unsigned allowed[] = {
    [PROGRESS_PROBE] = TO(PROGRESS_PROBE) | TO(PROGRESS_REPLICATE) | TO(PROGRESS_SNAPSHOT),
    [PROGRESS_REPLICATE] = TO(PROGRESS_PROBE) | TO(PROGRESS_SNAPSHOT),
    [PROGRESS_SNAPSHOT] = TO(PROGRESS_PROBE),
};

static void ring_clear(struct progress *p)
{
    p->ring_head = p->ring_n = 0;
    p->ring_bytes = 0;
}

static void move(struct progress *p, enum progress_state to, raft_index next)
{
    ASSERT(allowed[p->state] & TO(to));
    ASSERT(next > p->match);
    p->state = to;
    p->next = next;
    p->quiet = 0;
    p->wait_heard = false;
    ring_clear(p);
}

void progress_reset(struct progress *p, raft_index next)
{
    p->match = 0;
    p->read_acked = p->lease_acked = 0;
    p->since_heard = 0;
    p->round_goal = next - 1;
    p->round_ticks = 0;
    p->round_fast = false;
    p->suspect = false;
    p->repair_number = p->repair_goal = 0;
    move(p, PROGRESS_PROBE, next);
}

void progress_doubt(struct progress *p, raft_index next, bool suspect)
{
    uint64_t number = p->repair_number;
    raft_index goal = p->repair_goal;

    progress_reset(p, next);
    p->suspect = suspect;
    p->repair_number = number;
    p->repair_goal = goal;
}

bool progress_may_send(const struct progress *p)
{
    switch (p->state) {
    case PROGRESS_PROBE:
        return p->ring_n == 0 && !p->wait_heard;
    case PROGRESS_REPLICATE:
        return p->ring_n < INFLIGHT_MSGS_MAX && p->ring_bytes < INFLIGHT_BYTES_MAX;
    case PROGRESS_SNAPSHOT:
        break;
    }
    return false;
}

void progress_sent(struct progress *p, raft_index last, uint64_t bytes)
{
    ASSERT(progress_may_send(p) && last >= p->next);
    p->ring[(p->ring_head + p->ring_n) % INFLIGHT_MSGS_MAX] = (struct inflight){last, bytes};
    p->ring_n++;
    p->ring_bytes += bytes;
    p->quiet = 0;
    if (p->state == PROGRESS_REPLICATE)
        p->next = last + 1;
}

static void ring_free(struct progress *p, raft_index upto)
{
    while (p->ring_n > 0 && p->ring[p->ring_head].last <= upto) {
        p->ring_bytes -= p->ring[p->ring_head].bytes;
        p->ring_head = (p->ring_head + 1) % INFLIGHT_MSGS_MAX;
        p->ring_n--;
    }
}

bool progress_acked(struct progress *p, raft_index index)
{
    bool grew = index > p->match;

    if (index < p->match)
        return false;
    p->match = index;
    switch (p->state) {
    case PROGRESS_PROBE:
        move(p, PROGRESS_REPLICATE, index + 1);
        break;
    case PROGRESS_REPLICATE:
        ring_free(p, index);
        p->next = MAX(p->next, index + 1);
        break;
    case PROGRESS_SNAPSHOT: /* progress_resume is the caller's to judge: it knows the log */
        p->next = MAX(p->next, index + 1);
        break;
    }
    return grew;
}

bool progress_rejected(struct progress *p, raft_index rejected, raft_index hint)
{
    if (p->state == PROGRESS_SNAPSHOT || rejected <= p->match)
        return false;
    if (p->state == PROGRESS_PROBE && rejected != p->next - 1)
        return false;
    if (p->state == PROGRESS_REPLICATE && rejected >= p->next)
        return false;
    move(p, PROGRESS_PROBE, MAX(MIN(rejected, hint + 1), p->match + 1));
    return true;
}

void progress_heard(struct progress *p, raft_index received, unsigned patience,
                    unsigned patience_idle)
{
    raft_index known = MAX(p->match, received);

    if (p->state == PROGRESS_SNAPSHOT)
        return;
    if (p->ring_n > 0) {
        const struct inflight *newest =
            &p->ring[(p->ring_head + p->ring_n - 1) % INFLIGHT_MSGS_MAX];
        /* A probe is repeated where it was: `received` counts from the start of the term, the logs
         * may agree far beyond it. */
        raft_index from = p->state == PROGRESS_PROBE ? p->next : 0;
        if (newest->last > received && p->quiet >= patience)
            move(p, PROGRESS_PROBE, MAX(from, known + 1));
    } else if (p->next <= known + 1) {
        p->wait_heard = false;
    } else if (p->state == PROGRESS_PROBE && p->quiet >= patience_idle) {
        move(p, PROGRESS_PROBE, known + 1);
    }
}

void progress_need_snapshot(struct progress *p)
{
    move(p, PROGRESS_SNAPSHOT, p->next);
}

void progress_resume(struct progress *p)
{
    ASSERT(p->state == PROGRESS_SNAPSHOT);
    move(p, PROGRESS_PROBE, p->match + 1);
}

void progress_snapshot_sent(struct progress *p, raft_index index, bool ok)
{
    if (p->state != PROGRESS_SNAPSHOT)
        return; /* it got there by itself */
    move(p, PROGRESS_PROBE, ok ? MAX(index, p->match) + 1 : p->match + 1);
    p->wait_heard = true;
}

void progress_tick(struct progress *p, raft_index last, unsigned election_ticks)
{
    p->since_heard++;
    p->quiet++;
    p->round_ticks++;
    if (p->match < p->round_goal)
        return;
    p->round_fast = p->round_ticks < election_ticks;
    p->round_goal = last;
    p->round_ticks = 0;
}

bool progress_caught_up(const struct progress *p, raft_index last, raft_index lag,
                        unsigned election_ticks)
{
    return p->round_fast && p->round_ticks < election_ticks && p->match + lag >= last &&
           p->since_heard < election_ticks && !p->suspect;
}

char progress_letter(const struct progress *p)
{
    return "prs"[p->state];
}
