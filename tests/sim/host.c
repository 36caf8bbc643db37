/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, stops, pauses and drives nodes, as host_uv.c does in the daemon. */
#include "cluster/base/log.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

#define CATCH_UP_TICKS 5 /* as host_uv.c */

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

static uint64_t env_mono(void *ctx)
{
    struct sim_node *sn = ctx;
    return local_time(sn, sn->sim->now);
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
    if (strstr(text, "snapshot-installed"))
        sn->sim->counters.snapshots++;
    if (strstr(text, "was torn"))
        sn->sim->counters.torn_tails++;
}

static void env_lead(void *ctx, uint32_t gid, bool leading)
{
    if (gid == 0)
        check_lead(ctx, leading);
}

/* --- calls into a node ------------------------------------------------------------------------ */

static void post_round(struct sim_node *sn);

static void died_inside(struct sim_node *sn)
{
    struct sim *s = sn->sim;
    sn->inside = false;
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
    if (st->err == -ERR_CORRUPT && sn->damaged) {
        trace_line(s, "n%u refuses to start: %s", sn->id, st->msg.text);
        s->counters.refused++;
        sn->refused = true;
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
    for (unsigned i = 0; i < s->n; i++)
        peers[i] = (struct node_peer_config){s->nodes[i].id, s->nodes[i].address};
    const struct node_config config = {
        .cluster = SIM_CLUSTER,
        .id = sn->id,
        .incarnation = 1000 + sn->id,
        .data_dir = "/d",
        .shards = SIM_SHARDS,
        .peers = peers,
        .n_peers = s->n,
        .election_ticks = s->profile.election_ticks,
        .heartbeat_ticks = s->profile.heartbeat_ticks,
        .flush_log_bytes = s->profile.flush_log_bytes,
        .segment_bytes = s->profile.segment_bytes,
        .rows_held = rows_held(s),
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
        .ctx = sn,
    };
    ASSERT(!sn->node && !sn->refused);
    sn->disk->failed = false;
    sn->life++;
    sn->booted_at = s->now;
    sn->drift_ppm = (int64_t)rng_below(&s->rng, 2 * s->profile.drift_ppm + 1);
    sn->drift_ppm -= (int64_t)s->profile.drift_ppm;
    sn->ticks = 1;
    sn->round_posted = sn->paused = sn->leading = false;
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

void host_stop(struct sim_node *sn, enum host_end how)
{
    struct sim *s = sn->sim;
    if (sn->node) {
        s->counters.crashes++;
        net_node_gone(sn, how == END_POWER_LOSS && rng_below(&s->rng, 2) == 0);
        struct node *n = TAKE(sn->node);
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
    if (!e->node->node && !e->node->refused)
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
    struct event *late;
    if (!sn->paused)
        return;
    trace_line(s, "n%u goes on", sn->id);
    sn->paused = false;
    while ((late = g_queue_pop_head(&sn->stalled)) != NULL)
        queue_push(&s->queue, late, net_resume_at(s, late));
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

void host_init(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *sn = &s->nodes[i];
        sn->sim = s;
        sn->id = i + 1;
        sn->address = g_strdup_printf("node:%u", sn->id);
        sn->disk = sim_disk_create(sn);
        rng_seed(&sn->rng, rng_next(&s->rng));
        g_queue_init(&sn->stalled);
        state_init(sn);
    }
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
