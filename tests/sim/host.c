/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, stops, pauses and drives nodes, as host_uv.c does in the daemon. */
#include "cluster/base/log.h"
#include "cluster/node/impl.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

#define CATCH_UP_TICKS HEARTBEAT_TICKS /* as host_uv.c */

/* Nodes that died inside their own code: nobody can free them, they stay reachable. */
static GPtrArray *graveyard;

/* Their locals are lost. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return graveyard != NULL;
}

/* --- clocks ----------------------------------------------------------------------------------- */

static uint64_t local_time(const struct sim_node *sn, uint64_t at)
{
    int64_t passed = (int64_t)(at - sn->booted_at);
    return SEC(1) + (uint64_t)(passed + passed / 1000000 * sn->drift_ppm);
}

static void go_on(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    struct event *late;
    trace_line(s, "n%u goes on", sn->id);
    sn->unpaused_at = s->now;
    while ((late = g_queue_pop_head(&sn->stalled)) != NULL)
        queue_push(&s->queue, late, net_resume_at(s, late));
}

/* In the middle of its own code, while the world goes on. */
static void stop_inside(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    trace_line(s, "n%u is stopped at its clock", sn->id);
    s->counters.stops_inside++;
    sn->stopped = true;
    sim_step(s, s->now + sn->stop_for);
    sn->stopped = false;
    go_on(sn);
}

static uint64_t env_mono(void *ctx)
{
    struct sim_node *sn = ctx;
    uint64_t now = local_time(sn, sn->sim->now);
    if (!sn->inside || sn->stop_in == 0 || --sn->stop_in > 0)
        return now;
    stop_inside(sn);
    return sn->stop_late ? now : local_time(sn, sn->sim->now);
}

static uint64_t env_wall(void *ctx)
{
    struct sim_node *sn = ctx;
    return (uint64_t)((int64_t)(sn->sim->now + SEC(1700000000)) + sn->wall_offset);
}

/* --- the rest of the environment ---------------------------------------------------------------
 */

static NORETURN void env_fatal(void *ctx, int err, const char *text)
{
    struct sim_node *sn = ctx;
    ASSERT(sn->inside);
    g_snprintf(sn->fatal, sizeof(sn->fatal), "%s", text);
    longjmp(sn->dead, 1);
}

void host_power_fails(struct sim_node *sn)
{
    ASSERT(sn->inside);
    sn->power_failed = true;
    g_snprintf(sn->fatal, sizeof(sn->fatal), "the power goes during a write");
    longjmp(sn->dead, 1);
}

static void env_log(void *ctx, int level, const char *text)
{
    struct sim_node *sn = ctx;
    trace_line(sn->sim, "n%u %s", sn->id, text);
    struct sim_counters *c = &sn->sim->counters;
    c->snapshots_begun += strstr(text, "snapshot-start") != NULL;
    c->snapshots_broken += strstr(text, "snapshot-failed") != NULL;
    c->torn_tails += strstr(text, "was torn") != NULL;
    if (!strstr(text, "snapshot-installed"))
        return;
    c->snapshots++;
    c->snapshots_members += check_conf_changed(sn->sim);
    sn->installed_at = sn->sim->now;
    sn->from_snapshot = true;
    fault_at_install(sn);
}

static void env_lead(void *ctx, uint32_t gid, bool leading)
{
    if (gid == 0)
        check_lead(ctx, leading);
}

static void end_removed_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = e->node;
    host_stop(sn, END_KILLED);
    if (s->quiet || rng_below(&s->rng, 2))
        return;
    sn->told = false; /* somebody starts it once more */
    host_restart_later(sn, rng_below(&s->rng, SEC(2)));
}

static void env_removed(void *ctx, const char *text)
{
    struct sim_node *sn = ctx;
    trace_line(sn->sim, "n%u ends: %s", sn->id, text);
    check_conf_told(sn);
    sn->told = true;
    sn->sim->counters.nodes_told++;
    sim_post_node(sn, EVENT_NEW(struct event, end_removed_run), US(1));
}

/* --- calls into a node ------------------------------------------------------------------------ */

static void post_round(struct sim_node *sn);

static void died_inside(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    sn->inside = false;
    check_node(sn); /* what it did before */
    bool power = sn->power_failed;
    sn->power_failed = false;
    trace_line(s, "n%u %s %s", sn->id, power ? "FAULT" : "FATAL", sn->fatal);
    if (power)
        s->counters.power_losses++;
    else
        s->counters.fatals++;
    if (!graveyard)
        graveyard = g_ptr_array_new();
    if (sn->node)
        g_ptr_array_add(graveyard, TAKE(sn->node));
    state_abandon(sn);
    sim_disk_process_gone(sn->disk);
    net_node_gone(sn, power && rng_below(&s->rng, 2) == 0);
    sn->life++;
    if (power)
        sim_disk_power_loss(sn->disk);
    host_restart_later(sn, MS(100) + rng_below(&s->rng, SEC(2)));
}

static bool enter(struct sim_node *sn, void (*fn)(struct sim_node *sn, void *arg), void *arg)
{
    ASSERT(!sn->inside);
    if (setjmp(sn->dead) != 0) {
        died_inside(sn);
        return false;
    }
    sn->inside = true;
    fn(sn, arg);
    sn->inside = false;
    check_node(sn);
    return true;
}

bool host_enter(struct sim_node *sn, void (*fn)(struct sim_node *sn, void *arg), void *arg)
{
    if (!enter(sn, fn, arg))
        return false;
    post_round(sn);
    return true;
}

static void call_round(struct sim_node *sn, void *arg)
{
    node_round(sn->node);
}

static void round_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = e->node;
    sn->round_posted = false;
    if (enter(sn, call_round, NULL) && node_has_work(sn->node))
        post_round(sn);
}

/* Some time after input came, so that what comes meanwhile is in it too; soon again if there is
 * work left. */
static void post_round(struct sim_node *sn)
{
    if (sn->round_posted || !sn->node)
        return;
    sn->round_posted = true;
    sim_post_node(sn, EVENT_NEW(struct event, round_run),
                  US(5) + rng_below(&sn->sim->rng, US(100)));
}

static void call_ticks(struct sim_node *sn, void *arg)
{
    const unsigned *n = arg;
    for (unsigned i = 0; i < *n; i++)
        node_tick(sn->node);
}

/* When the node's clock has made so many ticks. */
static uint64_t tick_time(const struct sim_node *sn, uint64_t tick)
{
    return sn->booted_at + tick * (MS(TICK_MS) * 1000 / (uint64_t)(1000000 + sn->drift_ppm)) * 1000;
}

static void tick_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = e->node;
    unsigned n = 0;
    while (tick_time(sn, sn->ticks) <= s->now) {
        sn->ticks++;
        n++;
    }
    n = MIN(n, CATCH_UP_TICKS);
    if (!host_enter(sn, call_ticks, &n))
        return;
    sim_post_node(sn, EVENT_NEW(struct event, tick_run), tick_time(sn, sn->ticks) - s->now);
}

/* --- start and end ---------------------------------------------------------------------------- */

struct start {
    const struct node_config *config;
    const struct node_env *env;
    struct errmsg msg;
    int err;
};

static void call_start(struct sim_node *sn, void *arg)
{
    struct start *st = arg;
    st->err = node_create(st->config, st->env, &sn->node, &st->msg);
}

static void start_node(struct sim_node *sn, struct start *st)
{
    struct sim *s = sn->sim;
    sn->inside = true;
    if (setjmp(sn->dead) != 0) {
        died_inside(sn);
        return;
    }
    call_start(sn, st);
    sn->inside = false;
    if (st->err == -ERR_NO_SPACE && sn->disk->full) {
        host_restart_later(sn, MS(500));
        return;
    }
    if (st->err == -ERR_IO && sn->disk->failed) {
        trace_line(s, "n%u does not start: %s", sn->id, st->msg.text);
        host_restart_later(sn, MS(500));
        return;
    }
    if (st->err == -ERR_REMOVED) {
        trace_line(s, "n%u does not start: %s", sn->id, st->msg.text);
        check_conf_told(sn);
        s->counters.starts_removed++;
        sn->told = true;
        sn->up_wanted = false;
        return;
    }
    CHECK(s, st->err == 0, "node %u does not start: %s (%s)", sn->id, st->msg.text,
          err_text(st->err));
    check_node_started(sn);
    check_node(sn);
    post_round(sn);
    sim_post_node(sn, EVENT_NEW(struct event, tick_run), MS(TICK_MS));
}

/* Mostly none: then the states of replicas are compared after each entry. Each life its own, so
 * that batches of one replica end where another's do not. */
static unsigned rows_held(struct sim *s)
{
    struct rng *r = &s->rng;
    if (s->profile.rows_held > 0)
        return s->profile.rows_held;
    return rng_below(r, 2) ? 1 : rng_below(r, 2) ? 8 : 0;
}

void host_start(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    struct node_peer_config peers[SIM_NODES];
    for (unsigned i = 0; i < sn->n_peers; i++)
        peers[i] = (struct node_peer_config){sn->peers[i], sim_node(s, sn->peers[i])->address};
    const struct node_config config = {
        .cluster = SIM_CLUSTER,
        .id = sn->id,
        .incarnation = (sn->wiped ? 2000 : 1000) + sn->id,
        .data_dir = "/d",
        .shards = SIM_SHARDS,
        .peers = peers,
        .n_peers = sn->n_peers,
        .join = sn->joins,
        .election_ticks = s->profile.election_ticks,
        .heartbeat_ticks = s->profile.heartbeat_ticks,
        .flush_log_bytes = s->profile.flush_log_bytes,
        .segment_bytes = s->profile.segment_bytes,
        .rows_held = rows_held(s),
        .lease = rng_below(&s->reads_rng, 1000) < s->profile.lease,
        .lease_drift_ticks = s->profile.lease_drift,
        .log_keep_bytes = s->profile.keep_bytes,
        .log_keep_entries = s->profile.keep_entries,
        .snapshot_chunk = s->profile.snap_chunk,
        .snapshot_tick_bytes = s->profile.snap_tick,
    };
    const struct node_env env = {
        .disk = &sn->disk->disk,
        .net = sn->net,
        .stores = sn->stores,
        .rng = &sn->rng,
        .mono_ns = env_mono,
        .wall_ns = env_wall,
        .fatal = env_fatal,
        .log = env_log,
        .on_lead = env_lead,
        .on_removed = env_removed,
        .ctx = sn,
    };
    ASSERT(!sn->node && !host_is_gone(sn));
    sn->disk->failed = false;
    sn->life++;
    sn->booted_at = s->now;
    sn->drift_ppm = (int64_t)rng_below(&s->rng, 2 * s->profile.drift_ppm + 1);
    sn->drift_ppm -= (int64_t)s->profile.drift_ppm;
    sn->ticks = 1;
    sn->stop_in = 0;
    sn->round_posted = sn->paused = sn->leading = sn->leaving = false;
    sn->from_snapshot = false; /* if its state tells of no configuration its file does again */
    sn->up_wanted = true;
    trace_line(s, "n%u starts", sn->id);
    struct start st = {.config = &config, .env = &env};
    start_node(sn, &st);
}

static void drop_stalled(struct sim_node *sn)
{
    struct event *e;
    while ((e = g_queue_pop_head(&sn->stalled)) != NULL)
        event_free(e);
    sn->paused = false;
}

/* In what it was interrupted. */
static void note_end(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    s->counters.crashes_joint += check_conf_leads_joint(sn);
    s->counters.crashes_installed += sn->installed_at > 0 && s->now - sn->installed_at < MS(50);
    sn->installed_at = 0;
}

void host_stop(struct sim_node *sn, enum host_end how)
{
    struct sim *s = sn->sim;
    ASSERT(!sn->stopped);
    if (sn->node) {
        note_end(sn);
        s->counters.crashes++;
        net_node_gone(sn, how == END_POWER_LOSS && rng_below(&s->rng, 2) == 0);
        struct node *n = TAKE(sn->node);
        s->counters.lease_reads += n->counters.lease_reads;
        s->counters.follower_reads += n->counters.follower_reads;
        s->counters.lock_waits += n->counters.lock_waits;
        s->counters.lock_refusals += n->counters.lock_refusals;
        node_destroy(n);
        sim_disk_process_gone(sn->disk);
    }
    sn->life++;
    drop_stalled(sn);
    if (how == END_POWER_LOSS) {
        s->counters.power_losses++;
        sim_disk_power_loss(sn->disk);
    }
    sn->up_wanted = false;
}

static void restart_run(struct sim *s, struct event *e)
{
    if (!e->node->node && !host_is_gone(e->node))
        host_start(e->node);
}

void host_restart_later(struct sim_node *sn, uint64_t delay)
{
    sn->up_wanted = true;
    sim_post_node(sn, EVENT_NEW(struct event, restart_run), delay);
}

static void resume_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = sim_node(s, (unsigned)e->life);
    if (!sn->paused)
        return;
    sn->paused = false;
    go_on(sn);
}

void host_pause(struct sim_node *sn, uint64_t duration)
{
    if (!sn->node || sn->paused)
        return;
    sn->paused = true;
    sn->sim->counters.pauses++;
    struct event *e = EVENT_NEW(struct event, resume_run);
    e->life = sn->id; /* addressed to nobody, or it would wait for itself */
    sim_post(sn->sim, e, duration);
}

/* --- a clean end ------------------------------------------------------------------------------ */

struct leave_event {
    struct event event;
    uint64_t began;
};

static void left_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = e->node;
    trace_line(s, "n%u has left", sn->id);
    s->counters.leaves++;
    host_stop(sn, END_KILLED);
    host_restart_later(sn, sn->leave_down);
}

static void on_left(void *ctx)
{
    sim_post_node(ctx, EVENT_NEW(struct event, left_run), US(1));
}

static void call_leave(struct sim_node *sn, void *arg)
{
    node_leave(sn->node, on_left, sn);
}

/* It is the same life still. */
static void not_left_run(struct sim *s, struct event *e)
{
    CHECK(s, e->node->unpaused_at >= ((struct leave_event *)e)->began,
          "node %u shall end, and has not handed over or given up within an election time-out",
          e->node->id);
}

void host_leave(struct sim_node *sn, uint64_t down)
{
    struct sim *s = sn->sim;
    if (!sn->node || sn->paused || sn->leaving)
        return;
    s->counters.leaves_leading += sn->leading;
    sn->leaving = true;
    sn->leave_down = down;
    struct leave_event *e = EVENT_NEW(struct leave_event, not_left_run);
    uint64_t ticks = s->profile.election_ticks ? s->profile.election_ticks : ELECTION_TICKS;
    e->began = s->now;
    sim_post_node(sn, &e->event, (ticks + 5) * MS(TICK_MS) * 3 / 2);
    host_enter(sn, call_leave, NULL);
}

/* --- others ----------------------------------------------------------------------------------- */

unsigned host_leader(struct sim *s)
{
    unsigned leader = 0;
    raft_term term = 0;
    for (unsigned i = 0; i < s->n; i++) {
        struct raft_status st;
        if (s->nodes[i].node && node_group_status(s->nodes[i].node, 0, &st) && st.leading &&
            st.term > term) {
            leader = i + 1;
            term = st.term;
        }
    }
    return leader;
}

static void begin_node(struct sim *s, unsigned id)
{
    struct sim_node *sn = sim_node(s, id);
    sn->sim = s;
    sn->id = id;
    sn->address = g_strdup_printf("node:%u", id);
    sn->disk = sim_disk_create(sn);
    sn->disk->sync_time = s->profile.sync_time;
    sn->wall_offset = (int64_t)rng_below(&s->rng, SEC(2));
    rng_seed(&sn->rng, rng_next(&s->rng));
    g_queue_init(&sn->stalled);
    state_init(sn);
}

void host_init(struct sim *s)
{
    for (unsigned id = 1; id <= s->n; id++) {
        begin_node(s, id);
        for (unsigned k = 1; k <= s->n; k++)
            sim_node(s, id)->peers[sim_node(s, id)->n_peers++] = k;
    }
}

struct sim_node *host_add(struct sim *s, const unsigned *members, unsigned n)
{
    if (s->n == SIM_NODES)
        return NULL;
    struct sim_node *sn = &s->nodes[s->n++];
    begin_node(s, s->n);
    sn->joins = true;
    for (unsigned i = 0; i < n; i++)
        sn->peers[sn->n_peers++] = members[i];
    sn->peers[sn->n_peers++] = sn->id;
    return sn;
}

void host_wipe(struct sim_node *sn)
{
    ASSERT(!sn->node && !sn->wiped);
    sim_disk_wipe(sn->disk);
    state_finish(sn);
    state_init(sn);
    sn->wiped = true;
    memset(sn->promised, 0, sizeof(sn->promised));
}

void host_finish(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *sn = &s->nodes[i];
        host_stop(sn, END_KILLED);
        sim_disk_destroy(sn->disk);
        state_finish(sn);
        g_free(sn->address);
    }
}
