/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The profile: each run draws which kinds of faults it has and how often. Most runs have some, few
 * have all: a bug often needs one kind to be rare.
 */
#include "tests/sim/sim.h"

uint64_t sim_spread(struct rng *r, uint64_t mean)
{
    if (mean == 0)
        return 0;
    uint64_t t = rng_below(r, mean) + 1;
    return rng_below(r, 16) == 0 ? t * (2 + rng_below(r, 8)) : t;
}

static unsigned some(struct rng *r, unsigned max)
{
    return rng_below(r, 2) ? 0 : (unsigned)rng_below(r, max + 1);
}

/* Everything about elections and faults ten times as fast: more of them meet in a second, and a
 * pause or a slow sync outlasts a term. */
static void draw_pace(struct rng *r, struct profile *p)
{
    p->fast = rng_below(r, 2) == 0;
    if (!p->fast)
        return;
    p->heartbeat_ticks = 1 + (unsigned)rng_below(r, 2);
    p->election_ticks = 3 * p->heartbeat_ticks + 1 + (unsigned)rng_below(r, 4);
    p->fault_pause /= 10;
    p->fault_time = MIN(p->fault_time, SEC(12));
    p->think = 2 * p->fault_time / p->ops_per_client;
}

static uint64_t one_of(struct rng *r, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t i = rng_below(r, 3);
    return i == 0 ? a : i == 1 ? b : c;
}

/* Half of the runs keep so little of their logs that whoever was away for a moment needs a
 * snapshot, which goes in pieces so small that it is under way for a while. */
static void draw_snapshots(struct rng *r, struct profile *p)
{
    if (rng_below(r, 2))
        return;
    p->flush_log_bytes = one_of(r, 500, KIB(2), KIB(8));
    p->keep_bytes = one_of(r, 1, KIB(1), KIB(8));
    p->keep_entries = rng_below(r, 2) ? 0 : 1 + (unsigned)rng_below(r, 100);
    p->snap_chunk = (unsigned)one_of(r, 200, KIB(2), 0);
    if (p->snap_chunk > 0) /* but not longer than the peace at the end lasts */
        p->snap_chunk = MAX(p->snap_chunk, p->big_values / 10);
    p->snap_tick = p->snap_chunk * (1 + (unsigned)rng_below(r, 4));
}

/* Half of the runs have administrators: members come and go. */
static void draw_operators(struct rng *r, struct profile *p)
{
    if (rng_below(r, 2))
        return;
    p->operators = 1 + (rng_below(r, 4) == 0);
    p->operator_pause = one_of(r, MS(100), MS(500), SEC(2));
    p->crash_change = some(r, 500000);
    if (p->fast)
        p->operator_pause /= 5;
}

/* Everybody at one place, and often: stale reads show there. */
static void draw_crowd(struct rng *r, struct profile *p)
{
    p->objects = 1;
    p->clients = 3 + (unsigned)rng_below(r, 4);
    p->ops_per_client *= 2;
    p->think /= 2;
}

/* Leases need a bound on how far clocks run apart; it holds, however bad they are. */
static void draw_reads(struct sim *s, struct profile *p)
{
    struct rng *r = &s->reads_rng;
    uint64_t ticks = p->election_ticks ? p->election_ticks : ELECTION_TICKS;
    uint64_t ppm = p->drift_ppm;
    p->lease = (unsigned)one_of(r, 0, 700, 1000);
    p->anywhere = (unsigned)one_of(r, 0, 400, 1000);
    p->lease_drift = (unsigned)((2 * ppm * ticks + 1000000 + ppm - 1) / (1000000 + ppm));
    if (p->lease > 0) {
        p->weight[FAULT_STOP] = (unsigned)rng_below(r, 10);
        p->weight[FAULT_FROZEN] += (unsigned)rng_below(r, 10);
        if (p->objects == 0 && rng_below(r, 2))
            draw_crowd(r, p);
    }
    trace_line(s, "lease reads in %u of 1000 lives, %u of 1000 clients read anywhere", p->lease,
               p->anywhere);
}

/* Members stay as they are then, and no data directory is lost: nobody moves the replicas of other
 * groups away from a node here. */
static void draw_groups(struct sim *s, struct profile *p)
{
    struct rng *r = &s->reads_rng;
    p->groups = 1 + (unsigned)rng_below(r, SIM_GROUPS - 1);
    p->arrange_pause = one_of(r, MS(100), SEC(1), SEC(3));
    if (p->fast)
        p->arrange_pause /= 4;
    p->operators = 0;
    p->weight[FAULT_WIPE] = 0;
    trace_line(s, "%u groups, a change of their shards each %" G_GUINT64_FORMAT " ms", p->groups,
               p->arrange_pause / MS(1));
}

void fault_draw(struct sim *s)
{
    struct rng *r = &s->rng;
    struct profile *p = &s->profile;
    unsigned nodes = rng_below(r, 4) == 0 ? 5 : 3;
    p->nodes = s->options.nodes ? s->options.nodes : nodes;
    p->clients = 1 + (unsigned)rng_below(r, 6);
    p->ops_per_client = 40 + (unsigned)rng_below(r, 160);
    p->window = 1 + (unsigned)rng_below(r, 8);
    p->fault_time = rng_below(r, 8) == 0 ? SEC(100) : SEC(5) + rng_below(r, SEC(30));
    p->think = 2 * p->fault_time / p->ops_per_client;
    p->fault_pause = one_of(r, MS(300), SEC(1), SEC(4));
    p->flush_log_bytes = one_of(r, KIB(8), KIB(64), MIB(4));
    p->segment_bytes = one_of(r, KIB(16), KIB(64), KIB(512));
    p->net_delay = one_of(r, US(20), US(200), MS(5));
    p->net_jitter = one_of(r, US(50), MS(1), MS(10));
    p->raft_drop = some(r, 200000);
    p->raft_dup = some(r, 100000);
    p->raft_reorder = some(r, 200000);
    p->conn_break = some(r, 3000);
    p->sync_time = one_of(r, 0, US(300), MS(8));
    p->sync_slow = some(r, 50000);
    /* Some clocks are really bad: then two leaders overlap for long, and no read may mind. */
    p->drift_ppm = rng_below(r, 3) ? 5000 : 300000;
    if (rng_below(r, 4) == 0) /* a few large ones are more log than a leader keeps in memory */
        p->big_values = rng_below(r, 3) ? KIB(20) : KIB(400);
    draw_pace(r, p);
    draw_snapshots(r, p);
    draw_operators(r, p);
    p->crash_install = some(r, 500000);
    p->snap_break = some(r, 200000);
    if (rng_below(r, 4) == 0)
        draw_crowd(r, p);
    for (unsigned i = 0; i < FAULT_STOP; i++)
        p->weight[i] = some(r, 10);
    draw_reads(s, p);
    if (s->options.seed & SIM_SEED_GROUPS)
        draw_groups(s, p);
    trace_line(s,
               "%s nodes %u clients %u ops %u window %u flush %" G_GUINT64_FORMAT
               " segment %" G_GUINT64_FORMAT " keep %" G_GUINT64_FORMAT
               " drop %u dup %u reorder %u break %u sync %" G_GUINT64_FORMAT " us",
               p->fast ? "fast" : "slow", p->nodes, p->clients, p->ops_per_client, p->window,
               p->flush_log_bytes, p->segment_bytes, p->keep_bytes, p->raft_drop, p->raft_dup,
               p->raft_reorder, p->conn_break, p->sync_time / 1000);
}
