/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong: one fault after another is drawn, of the kinds that the run's profile has. */
#include "tests/sim/client.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

const char *const fault_names[FAULT_KINDS] = {
#define NAME(kind, name) [kind] = name,
    FAULT_TABLE(NAME)
#undef NAME
};

/* --- faults with an end ----------------------------------------------------------------------- */

/* A bit for each pair of places. */
__extension__ typedef unsigned __int128 link_mask;
#define PLACES             (SIM_NODES + 1)
#define LINK_BIT(from, to) ((link_mask)1 << ((from)*PLACES + (to)))
_Static_assert(PLACES *PLACES <= 128, "a bit for each pair of places");

struct end_event {
    struct event event;
    enum fault_kind kind;
    unsigned node;
    link_mask mask; /* of blocked links */
};

static void block_all(struct sim *s, link_mask mask, bool blocked)
{
    for (unsigned from = 0; from <= s->n; from++)
        for (unsigned to = 0; to <= s->n; to++)
            if (mask & LINK_BIT(from, to))
                net_block(s, from, to, blocked);
}

static void end_run(struct sim *s, struct event *e)
{
    struct end_event *end = container_of(e, struct end_event, event);
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
static link_mask split_mask(const struct sim *s, unsigned side, bool both_ways)
{
    link_mask mask = 0;
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

static void cut(struct sim *s, link_mask mask, const char *what)
{
    uint64_t duration = a_while(s);
    trace_line(s, "FAULT %s for %.3f s, links %" G_GINT64_MODIFIER "x %016" G_GINT64_MODIFIER "x",
               what, (double)duration / 1e9, (uint64_t)(mask >> 64), (uint64_t)mask);
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
    link_mask mask = split_mask(s, 1u << victim, true) & ~split_mask(s, 1, true);
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
    link_mask links = rng_below(r, 2) ? ~(link_mask)0 : ~split_mask(s, 1, true);
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
    if (!sn->node || sn->stopped)
        return;
    uint64_t down = down_time(s);
    trace_line(s, "FAULT n%u %s for %.3f s", sn->id,
               how == END_POWER_LOSS ? "loses power" : "is killed", (double)down / 1e9);
    host_stop(sn, how);
    host_restart_later(sn, down);
}

/* The others must be able to go on without all that may be suspect. */
static void fault_damage(struct sim *s, struct sim_node *sn)
{
    if (!sn->node || !lost_allows(s, sn->id))
        return;
    crash(sn, END_POWER_LOSS);
    uint64_t what = rng_below(&s->rng, 5); /* rarely both */
    if (what < 2) {
        damage_state(sn);
        sn->damaged = true;
        s->counters.states_damaged++;
    }
    if (what > 0 && damage_log(sn)) {
        sn->damaged = true;
        s->counters.logs_damaged++;
    }
}

static bool is_one_wiped(const struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->nodes[i].wiped && !host_is_gone(&s->nodes[i]))
            return true;
    return false;
}

/* Somebody makes its data directory anew, under its old id. Where all others know that it had
 * another one; two such nodes could make a cluster of their own. */
static bool fault_wipe(struct sim *s, struct sim_node *sn)
{
    unsigned known_to;
    if (!sn->node || s->profile.operators == 0 || is_one_wiped(s) || !lost_allows(s, sn->id) ||
        !check_conf_has(check_conf_committed(s), sn->id) || !lost_is_known(s, sn->id, &known_to))
        return false;
    crash(sn, END_POWER_LOSS);
    host_wipe(sn);
    sn->known_to = known_to;
    trace_line(s, "FAULT n%u has another data directory, an empty one", sn->id);
    return true;
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
    case FAULT_WIPE:
        s->counters.faults[kind] -= !fault_wipe(s, sn);
        return;
    case FAULT_LEAVE:
        trace_line(s, "FAULT n%u shall end", sn->id);
        host_leave(sn, down_time(s));
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
    case FAULT_STOP: {
        uint64_t ticks = s->profile.election_ticks ? s->profile.election_ticks : ELECTION_TICKS;
        sn->stop_in = 1 + (unsigned)rng_below(r, 40);
        sn->stop_for = rng_below(r, 6 * ticks * MS(TICK_MS));
        sn->stop_late = rng_below(r, 2);
        trace_line(s, "FAULT n%u will be stopped for %.3f s", sn->id, (double)sn->stop_for / 1e9);
        return;
    }
    default:
        fault_disk(s, kind, sn);
        return;
    }
}

/* --- at moments that chance alone would seldom meet ---------------------------------------------
 */

static void crash_run(struct sim *s, struct event *e)
{
    if (!s->quiet)
        crash(e->node, rng_below(&s->rng, 2) ? END_POWER_LOSS : END_KILLED);
}

static void cut_off_run(struct sim *s, struct event *e)
{
    if (!s->quiet)
        fault_links(s, FAULT_ISOLATE, e->node->id);
}

/* Or, as long as the change is on its way only, cut off: then it may be taken back. */
void fault_at_change(struct sim_node *leader)
{
    struct sim *s = leader->sim;
    if (s->quiet || !rng_chance(&s->rng, s->profile.crash_change))
        return;
    if (rng_below(&s->rng, 2))
        sim_post_node(leader, EVENT_NEW(struct event, cut_off_run), 0);
    else
        sim_post_node(leader, EVENT_NEW(struct event, crash_run), sim_spread(&s->rng, MS(3)));
}

void fault_at_install(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    if (!s->quiet && rng_chance(&s->rng, s->profile.crash_install))
        sim_post_node(sn, EVENT_NEW(struct event, crash_run), sim_spread(&s->rng, MS(3)));
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
    if (kind == FAULT_KINDS || sim_node(s, victim)->stopped)
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
        s->nodes[i].stop_in = 0;
        d->hung_until = 0;
        sim_disk_peace(d);
        d->sync_time = s->profile.sync_time;
    }
}
