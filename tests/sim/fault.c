/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong. Each run draws which kinds of faults it has and how often (most runs have some,
 * few have all: a bug often needs one kind to be rare), then one fault after another is drawn.
 */
#include "tests/sim/client.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

const char *const fault_names[FAULT_KINDS] = {
#define NAME(kind, name) [kind] = name,
    FAULT_TABLE(NAME)
#undef NAME
};

uint64_t sim_spread(struct rng *r, uint64_t mean)
{
    if (mean == 0)
        return 0;
    uint64_t t = rng_below(r, mean) + 1;
    return rng_below(r, 16) == 0 ? t * (2 + rng_below(r, 8)) : t;
}

/* --- the profile ------------------------------------------------------------------------------ */

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
    if (rng_below(r, 4) == 0) { /* everybody at one place, and often: stale reads show there */
        p->objects = 1;
        p->clients = 3 + (unsigned)rng_below(r, 4);
        p->ops_per_client *= 2;
        p->think /= 2;
    }
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        p->weight[i] = some(r, 10);
    trace_line(s,
               "%s nodes %u clients %u ops %u window %u flush %" G_GUINT64_FORMAT
               " segment %" G_GUINT64_FORMAT " keep %" G_GUINT64_FORMAT
               " drop %u dup %u reorder %u break %u sync %" G_GUINT64_FORMAT " us",
               p->fast ? "fast" : "slow", p->nodes, p->clients, p->ops_per_client, p->window,
               p->flush_log_bytes, p->segment_bytes, p->keep_bytes, p->raft_drop, p->raft_dup,
               p->raft_reorder, p->conn_break, p->sync_time / 1000);
}

/* --- faults with an end ----------------------------------------------------------------------- */

struct end_event {
    struct event event;
    enum fault_kind kind;
    unsigned node;
    uint64_t mask; /* of blocked links: bit from * 8 + to */
};

#define LINK_BIT(from, to) ((uint64_t)1 << ((from)*8 + (to)))
_Static_assert(SIM_NODES + 1 <= 8, "a bit for each pair of places");

static void block_all(struct sim *s, uint64_t mask, bool blocked)
{
    for (unsigned from = 0; from <= s->n; from++)
        for (unsigned to = 0; to <= s->n; to++)
            if (mask & LINK_BIT(from, to))
                net_block(s, from, to, blocked);
}

static void end_run(struct sim *s, struct event *e)
{
    struct end_event *end = (struct end_event *)e;
    struct sim_disk *d = end->node ? sim_node(s, end->node)->disk : NULL;
    switch (end->kind) {
    case FAULT_SLOW_DISK:
        d->sync_time = s->profile.sync_time;
        break;
    case FAULT_FULL_DISK:
        d->full = false;
        store_mem_disk_set_room(d->node->mem, STORE_MEM_ROOM);
        break;
    default:
        trace_line(s, "links are whole again");
        block_all(s, end->mask, false);
        break;
    }
}

static struct end_event *end_later(struct sim *s, enum fault_kind kind, unsigned node,
                                   uint64_t delay)
{
    struct end_event *end = EVENT_NEW(struct end_event, end_run);
    end->kind = kind;
    end->node = node;
    sim_post(s, &end->event, delay);
    return end;
}

static uint64_t a_while(struct sim *s)
{
    if (s->profile.fast)
        return sim_spread(&s->rng, MS(500));
    return rng_below(&s->rng, 8) == 0 ? rng_below(&s->rng, SEC(15)) : rng_below(&s->rng, SEC(4));
}

/* --- links ------------------------------------------------------------------------------------ */

/* Between the places of `side` (bits) and the others, clients being place 0. */
static uint64_t split_mask(const struct sim *s, unsigned side, bool both_ways)
{
    uint64_t mask = 0;
    for (unsigned a = 0; a <= s->n; a++)
        for (unsigned b = 0; b <= s->n; b++) {
            if (!(side >> a & 1) || side >> b & 1)
                continue;
            mask |= LINK_BIT(a, b);
            if (both_ways)
                mask |= LINK_BIT(b, a);
        }
    return mask;
}

static void cut(struct sim *s, uint64_t mask, const char *what)
{
    uint64_t duration = a_while(s);
    trace_line(s, "FAULT %s for %.3f s, links %" G_GINT64_MODIFIER "x", what,
               (double)duration / 1e9, mask);
    s->counters.partitions++;
    block_all(s, mask, true);
    end_later(s, FAULT_SPLIT, 0, duration)->mask = mask;
}

/* Cut off from the other nodes and asleep until they have another leader: when it wakes up, it
 * still believes that it leads, and the clients see it. */
static void fault_frozen(struct sim *s, unsigned victim)
{
    uint64_t election =
        MS(TICK_MS) * (s->profile.election_ticks ? s->profile.election_ticks : ELECTION_TICKS);
    uint64_t duration = 2 * election + rng_below(&s->rng, 3 * election);
    uint64_t mask = split_mask(s, 1u << victim, true) & ~split_mask(s, 1, true);
    trace_line(s, "FAULT n%u is cut off, and pauses for %.3f s", victim, (double)duration / 1e9);
    s->counters.partitions++;
    block_all(s, mask, true);
    end_later(s, FAULT_SPLIT, 0, duration + rng_below(&s->rng, 2 * election))->mask = mask;
    host_pause(sim_node(s, victim), duration);
}

static void fault_links(struct sim *s, enum fault_kind kind, unsigned victim)
{
    struct rng *r = &s->rng;
    unsigned all = (1u << (s->n + 1)) - 1;
    unsigned side = (unsigned)rng_below(r, all - 1) + 1;
    /* The clients are on one side, or see both: then an old leader and a new one. */
    uint64_t links = rng_below(r, 2) ? ~(uint64_t)0 : ~split_mask(s, 1, true);
    switch (kind) {
    case FAULT_ISOLATE:
        side = 1u << victim | (unsigned)rng_below(r, 2);
        cut(s, split_mask(s, side, true) & links, "isolated");
        return;
    case FAULT_ONE_WAY:
        if (rng_below(r, 2))
            side = rng_below(r, 2) ? 1u << victim : all & ~(1u << victim);
        cut(s, split_mask(s, side, false) & links, "one-way");
        return;
    case FAULT_CLOG: {
        unsigned other = victim % s->n + 1;
        cut(s, LINK_BIT(victim, other) | (rng_below(r, 2) ? LINK_BIT(other, victim) : 0), "clog");
        return;
    }
    default:
        cut(s, split_mask(s, side, true) & links, "split");
        return;
    }
}

/* --- nodes ------------------------------------------------------------------------------------ */

static uint64_t down_time(struct sim *s)
{
    if (s->profile.fast)
        return sim_spread(&s->rng, MS(50));
    return rng_below(&s->rng, 8) == 0 ? rng_below(&s->rng, SEC(20))
                                      : MS(20) + rng_below(&s->rng, SEC(2));
}

static void crash(struct sim_node *sn, enum host_end how)
{
    struct sim *s = sn->sim;
    if (!sn->node)
        return;
    uint64_t down = down_time(s);
    trace_line(s, "FAULT n%u %s for %.3f s", sn->id,
               how == END_POWER_LOSS ? "loses power" : "is killed", (double)down / 1e9);
    host_stop(sn, how);
    host_restart_later(sn, down);
}

/* The others must be able to go on without all that may refuse to start. */
static void fault_damage(struct sim *s, struct sim_node *sn)
{
    unsigned damaged = 0;
    for (unsigned i = 0; i < s->n; i++)
        damaged += s->nodes[i].damaged && &s->nodes[i] != sn;
    if (!sn->node || damaged + 1 > (s->n - 1) / 2)
        return;
    crash(sn, END_POWER_LOSS);
    if (!damage_log(sn))
        return;
    sn->damaged = true;
    s->counters.logs_damaged++;
}

static void fault_many(struct sim *s)
{
    struct rng *r = &s->rng;
    bool all = rng_below(r, 2) == 0;
    for (unsigned i = 1; i <= s->n; i++)
        if (all || rng_below(r, 2))
            crash(sim_node(s, i), rng_below(r, 2) ? END_POWER_LOSS : END_KILLED);
}

static void fault_disk(struct sim *s, enum fault_kind kind, struct sim_node *sn)
{
    struct rng *r = &s->rng;
    uint64_t duration = a_while(s);
    static const char *const names[] = {"slow disk", "disk hangs", "sync will fail", "disk full"};
    trace_line(s, "FAULT n%u %s (%.3f s)", sn->id, names[kind - FAULT_SLOW_DISK],
               (double)duration / 1e9);
    switch (kind) {
    case FAULT_SLOW_DISK:
        sn->disk->sync_time = MS(5) + rng_below(r, MS(100));
        end_later(s, kind, sn->id, duration);
        return;
    case FAULT_HUNG_DISK:
        sn->disk->hung_until = s->now + duration;
        return;
    case FAULT_SYNC_ERROR:
        sn->disk->fail_sync_in = 1 + (unsigned)rng_below(r, 5);
        return;
    default:
        sn->disk->full = true;
        /* It may hit the log, the state store's flushes, its writes. */
        store_mem_disk_set_room(sn->mem, (enum store_mem_room)rng_below(r, 3));
        end_later(s, kind, sn->id, duration);
        return;
    }
}

static void fault_on_node(struct sim *s, enum fault_kind kind, struct sim_node *sn)
{
    struct rng *r = &s->rng;
    switch (kind) {
    case FAULT_KILL:
        crash(sn, END_KILLED);
        return;
    case FAULT_POWER:
        crash(sn, END_POWER_LOSS);
        return;
    case FAULT_DISK_ERROR:
        trace_line(s, "FAULT n%u a call of the disk will fail", sn->id);
        sn->disk->fail_op_in = 1 + (unsigned)rng_below(r, 30);
        return;
    case FAULT_POWER_IN_WRITE:
        sn->disk->crash_op_in = 1 + (unsigned)rng_below(r, 30);
        return;
    case FAULT_DAMAGE:
        fault_damage(s, sn);
        return;
    case FAULT_POWER_IN_SYNC:
        sn->disk->crash_sync_in = 1 + (unsigned)rng_below(r, 10);
        return;
    case FAULT_PAUSE: {
        bool longer = !s->profile.fast && rng_below(r, 2);
        uint64_t duration = rng_below(r, longer ? SEC(5) : MS(500));
        trace_line(s, "FAULT n%u pauses for %.3f s", sn->id, (double)duration / 1e9);
        host_pause(sn, duration);
        return;
    }
    case FAULT_CLOCK:
        sn->wall_offset += (int64_t)rng_below(r, SEC(200)) - (int64_t)SEC(100);
        trace_line(s, "FAULT n%u wall clock is off by %.3f s", sn->id,
                   (double)sn->wall_offset / 1e9);
        return;
    default:
        fault_disk(s, kind, sn);
        return;
    }
}

/* --- one after another ------------------------------------------------------------------------ */

/* FAULT_KINDS: this run has none. */
static enum fault_kind draw_kind(struct sim *s)
{
    unsigned total = 0;
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        total += s->profile.weight[i];
    if (total == 0)
        return FAULT_KINDS;
    uint64_t at = rng_below(&s->rng, total);
    for (unsigned i = 0; i < FAULT_KINDS; i++) {
        if (at < s->profile.weight[i])
            return (enum fault_kind)i;
        at -= s->profile.weight[i];
    }
    return FAULT_KINDS;
}

static void fault_run(struct sim *s, struct event *e)
{
    struct rng *r = &s->rng;
    if (s->quiet)
        return;
    sim_post(s, EVENT_NEW(struct event, fault_run), sim_spread(r, s->profile.fault_pause * 2));
    enum fault_kind kind = draw_kind(s);
    /* Half of them meet the leader: more depends on it. */
    unsigned leader = host_leader(s), victim = 1 + (unsigned)rng_below(r, s->n);
    if (leader && rng_below(r, 2))
        victim = leader;
    if (kind == FAULT_KINDS)
        return;
    s->counters.faults[kind]++;
    switch (kind) {
    case FAULT_MANY:
        fault_many(s);
        return;
    case FAULT_ISOLATE:
    case FAULT_SPLIT:
    case FAULT_ONE_WAY:
    case FAULT_CLOG:
        fault_links(s, kind, victim);
        return;
    case FAULT_FROZEN:
        fault_frozen(s, victim);
        return;
    case FAULT_BREAK:
        trace_line(s, "FAULT connections break");
        net_break_some(s);
        return;
    case FAULT_CLIENT: {
        struct sim_client *k = g_ptr_array_index(s->clients, (guint)rng_below(r, s->clients->len));
        if (rng_below(r, 2))
            client_die(k, rng_below(r, SEC(40)));
        else
            client_sleep(k, rng_below(r, SEC(50)));
        return;
    }
    default:
        fault_on_node(s, kind, sim_node(s, victim));
        return;
    }
}

void fault_begin(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        s->nodes[i].disk->sync_time = s->profile.sync_time;
        s->nodes[i].wall_offset = (int64_t)rng_below(&s->rng, SEC(2));
    }
    if (!s->options.profile)
        sim_post(s, EVENT_NEW(struct event, fault_run), SEC(1) + rng_below(&s->rng, SEC(2)));
}

void fault_heal(struct sim *s)
{
    trace_line(s, "the faults are over");
    s->quiet = true;
    for (unsigned a = 0; a <= s->n; a++)
        for (unsigned b = 0; b <= s->n; b++)
            net_block(s, a, b, false);
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_disk *d = s->nodes[i].disk;
        d->full = false;
        store_mem_disk_set_room(s->nodes[i].mem, STORE_MEM_ROOM);
        d->hung_until = 0;
        sim_disk_peace(d);
        d->sync_time = s->profile.sync_time;
    }
}
