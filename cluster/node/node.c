/* SPDX-License-Identifier: Apache-2.0 */
/* The process: what it opens at start, the round over all groups, the one log write, time. */
#include "cluster/node/ask.h"
#include "cluster/node/beat.h"
#include "cluster/node/compact.h"
#include "cluster/node/conn.h"
#include "cluster/node/damage.h"
#include "cluster/node/group.h"
#include "cluster/node/table.h"
#include "cluster/node/leave.h"
#include "cluster/node/members.h"
#include "cluster/node/peer.h"
#include "cluster/node/place.h"
#include "cluster/node/promise.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/space.h"

#define FLUSH_LOG_BYTES  MIB(16)
#define SEGMENT_BYTES    MIB(64)
#define LOG_KEEP_BYTES   MIB(8)
#define LOG_KEEP_ENTRIES 4096
/* Segments in use beyond which the group that pins the oldest one is flushed. */
#define SEGMENTS_KEPT     4
#define FLUSH_SMALL_BYTES KIB(256)

void node_log(struct node *n, enum log_level level, const char *fmt, ...)
{
    char text[800];
    va_list ap;
    if (!n->env.log)
        return;
    va_start(ap, fmt);
    g_vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n->env.log(n->env.ctx, (int)level, text);
}

void node_fatal(struct node *n, int err, const char *fmt, ...)
{
    char what[600], text[800];
    va_list ap;
    va_start(ap, fmt);
    g_vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    g_snprintf(text, sizeof(text), "%s: %s", what, err_text(err));
    n->env.fatal(n->env.ctx, err, text);
}

/* --- start ------------------------------------------------------------------------------------ */

static void copy_config(struct node *n, const struct node_config *from)
{
    struct node_config *c = &n->config;
    struct node_peer_config *peers = arena_array(&n->memory, MAX(from->n_peers, 1), sizeof(*peers));
    *c = *from;
    for (unsigned i = 0; i < from->n_peers; i++)
        peers[i] = (struct node_peer_config){
            .id = from->peers[i].id,
            .address = arena_strdup(&n->memory, from->peers[i].address),
        };
    c->peers = peers;
    c->data_dir = arena_strdup(&n->memory, from->data_dir);
    c->election_ticks = from->election_ticks ? from->election_ticks : ELECTION_TICKS;
    c->heartbeat_ticks = from->heartbeat_ticks ? from->heartbeat_ticks : HEARTBEAT_TICKS;
    c->flush_log_bytes = from->flush_log_bytes ? from->flush_log_bytes : FLUSH_LOG_BYTES;
    c->segment_bytes = from->segment_bytes ? from->segment_bytes : SEGMENT_BYTES;
    c->log_keep_bytes = from->log_keep_bytes ? from->log_keep_bytes : LOG_KEEP_BYTES;
    c->log_keep_entries = from->log_keep_entries ? from->log_keep_entries : LOG_KEEP_ENTRIES;
    c->snapshot_chunk = from->snapshot_chunk ? from->snapshot_chunk : SNAPSHOT_CHUNK;
    c->snapshot_tick_bytes =
        from->snapshot_tick_bytes ? from->snapshot_tick_bytes : SNAP_TICK_BYTES;
}

static int check_config(const struct node_config *c, struct errmsg *msg)
{
    if (c->id == 0)
        return errmsg_set(msg, -ERR_CONFIG, "node id 0; ids begin at 1");
    unsigned voters = c->n_peers - (c->join && c->n_peers > 0);
    if (voters == 0 || voters > VOTERS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "%u members; a group has 1 to %d", voters, VOTERS_MAX);
    if (c->shards == 0 || c->shards > SHARDS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "%u shards; there may be 1 to %d", c->shards,
                          SHARDS_MAX);
    if (c->groups > GROUPS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "%u groups; there may be 0 to %d", c->groups,
                          GROUPS_MAX);
    if (c->snapshot_chunk > SNAPSHOT_CHUNK)
        return errmsg_set(msg, -ERR_CONFIG, "snapshot chunks of %u bytes; at most %u",
                          c->snapshot_chunk, (unsigned)SNAPSHOT_CHUNK);
    unsigned election = c->election_ticks ? c->election_ticks : ELECTION_TICKS;
    if (c->lease && c->lease_drift_ticks + 2 > election)
        return errmsg_set(msg, -ERR_CONFIG, "the clocks may differ by %u of %u ticks: no lease",
                          c->lease_drift_ticks, election);
    return 0;
}

static int make_dirs(struct node *n, struct errmsg *msg)
{
    struct disk *d = n->env.disk;
    const char *groups = arena_printf(&n->memory, "%s/groups", n->config.data_dir);
    int err = d->ops->make_dir(d, groups);
    if (err == 0)
        err = d->ops->sync_dir(d, n->config.data_dir);
    if (err < 0)
        return errmsg_set(msg, err, "make %s: %s", groups, err_text(err));
    return 0;
}

static void tell_recovery(struct node *n, const struct wal_recovery *rec)
{
    const char *dir = n->config.data_dir;
    if (rec->torn_tail)
        node_log(n, LOG_INFO, "the last log write was torn by the crash and cut");
    if (rec->damaged)
        node_log(n, LOG_ERROR, "the log in %s/wal is damaged: %s", dir, rec->text);
}

/* Group 0 names the others. */
static int open_groups(struct node *n, struct wal_recovery *rec, struct errmsg *msg)
{
    struct group *g = NULL;
    const struct wal_group *w = NULL;
    for (size_t i = 0; i < rec->n_groups && !w; i++)
        if (rec->groups[i].gid == 0)
            w = &rec->groups[i];
    int err = group_open(n, 0, w, &g, msg);
    if (err < 0)
        return err;
    table_add(n, g);
    return place_open(n, rec, msg);
}

static int open_log(struct node *n, struct errmsg *msg)
{
    struct wal_recovery rec = {0};
    const struct wal_options options = {.segment_bytes = n->config.segment_bytes};
    const char *dir = arena_printf(&n->memory, "%s/wal", n->config.data_dir);
    int err = wal_open(n->env.disk, dir, &options, &n->wal, &rec, msg);
    if (err < 0)
        return errmsg_prefix(msg, err, "open the log in %s", dir);
    tell_recovery(n, &rec);
    damage_mark(n, &rec);
    err = open_groups(n, &rec, msg);
    wal_recovery_finish(&rec);
    return err;
}

int node_create(const struct node_config *config, const struct node_env *env, struct node **ret,
                struct errmsg *msg)
{
    int err = check_config(config, msg);
    if (err < 0)
        return err;
    struct node *n = g_new0(struct node, 1);
    n->env = *env;
    table_init(n);
    n->gathered = g_array_new(FALSE, FALSE, sizeof(struct log_ticket));
    n->submitted = g_array_new(FALSE, FALSE, sizeof(struct log_ticket));
    copy_config(n, config);
    n->created_ns = env->mono_ns(env->ctx);
    n->free_bytes = SPACE_UNKNOWN; /* until the first look */
    n->starting = true;            /* nothing that completes later is begun */
    conns_init(n);
    asks_init(n);
    err = peers_init(n, msg);
    if (err == 0)
        err = make_dirs(n, msg);
    if (err == 0)
        err = members_load(n, msg);
    if (err == 0)
        err = promise_load(n, msg);
    if (err == 0)
        err = open_log(n, msg);
    if (err < 0) {
        node_destroy(n);
        return err;
    }
    n->starting = wal_queued_bytes(n->wal) > 0;
    *ret = n;
    return 0;
}

void node_destroy(struct node *n)
{
    if (!n)
        return;
    /* Jobs use stores and groups: first of all they end. */
    n->ending = true;
    n->env.stores->drain(n->env.stores);
    table_finish(n);
    place_finish(n);
    if (n->wal)
        wal_close(n->wal);
    if (n->members_file)
        n->env.disk->ops->close(n->members_file);
    conns_finish(n);
    asks_finish(n);
    g_array_free(n->gathered, TRUE);
    g_array_free(n->submitted, TRUE);
    enc_finish(&n->out);
    arena_finish(&n->scratch);
    arena_finish(&n->round);
    arena_finish(&n->memory);
    g_free(n);
}

const struct net_handler *node_net_handler(struct node *n)
{
    return &n->handler;
}

/* --- groups ----------------------------------------------------------------------------------- */

bool node_group_status(struct node *n, uint32_t gid, struct raft_status *ret)
{
    struct group *g = node_group(n, gid);
    if (!g)
        return false;
    raft_get_status(g->raft, ret);
    return true;
}

struct store *node_group_store(struct node *n, uint32_t gid)
{
    struct group *g = node_group(n, gid);
    return g && kv_settle(g->kv) == 0 ? g->store : NULL;
}

/* --- the log write ---------------------------------------------------------------------------- */

void node_log_ticket(struct node *n, struct group *g, uint64_t ticket)
{
    const struct log_ticket t = {g, ticket};
    g_array_append_val(n->gathered, t);
}

bool node_log_overdue(const struct node *n)
{
    if (n->log_full)
        return n->now - n->full_since > n->config.election_ticks;
    return n->log_busy && !n->log_done && n->now - n->submitted_at > n->config.election_ticks;
}

static void on_logged(void *arg, int err)
{
    /* May come from inside wal_submit: the tickets are delivered by the round. */
    struct node *n = arg;
    n->log_done = true;
    n->log_err = err;
}

static bool log_wants_submit(const struct node *n)
{
    return !n->log_busy && !space_paused(n) && wal_queued_bytes(n->wal) > 0;
}

static void log_submit(struct node *n)
{
    if (!log_wants_submit(n))
        return;
    GArray *batch = n->gathered;
    n->gathered = n->submitted; /* empty */
    n->submitted = batch;
    n->log_busy = true;
    n->log_done = false;
    n->submitted_at = n->now;
    n->counters.log_syncs++;
    wal_submit(n->wal, on_logged, n);
}

/* Nothing was written and all is still queued: its tickets go with the next submit. */
static void log_again(struct node *n)
{
    g_array_append_vals(n->submitted, n->gathered->data, n->gathered->len);
    g_array_set_size(n->gathered, 0);
    GArray *all = n->submitted;
    n->submitted = n->gathered;
    n->gathered = all;
    space_log_full(n);
}

/* True: a write has completed and the cores know. */
static bool log_deliver(struct node *n)
{
    if (!n->log_done)
        return false;
    n->log_done = n->log_busy = false;
    if (n->log_err == -ERR_NO_SPACE) {
        log_again(n);
        return false;
    }
    n->starting = false;
    if (n->log_err < 0)
        node_fatal(n, n->log_err, "write the log in %s/wal", n->config.data_dir);
    for (guint i = 0; i < n->submitted->len; i++) {
        const struct log_ticket *t = &g_array_index(n->submitted, struct log_ticket, i);
        group_persisted(t->group, t->ticket);
    }
    g_array_set_size(n->submitted, 0);
    return true;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void each(GPtrArray *groups, void (*fn)(struct group *g))
{
    for (guint i = 0; i < groups->len; i++)
        fn(g_ptr_array_index(groups, i));
}

/* DESIGN 3.6: appends leave before the disk write, so that the followers' writes run beside it. */
void node_round(struct node *n)
{
    n->counters.rounds++;
    arena_reset(&n->round);
    n->env.stores->poll(n->env.stores);
    log_deliver(n);
    if (n->starting) {
        /* The log must know each group before it acts: a store with applied state and no log means
         * a lost log (group.h). */
        log_submit(n);
        if (!log_deliver(n))
            return;
    }
    asks_deliver(n);
    GPtrArray *turn = table_turn(n);
    each(turn, group_collect);
    beats_send(n);
    log_submit(n);
    each(turn, group_apply);
    table_again(n);
    if (!log_deliver(n))
        return;
    arena_reset(&n->round);
    turn = table_turn(n);
    each(turn, group_collect);
    beats_send(n);
    each(turn, group_apply);
    table_again(n);
}

bool node_has_work(const struct node *n)
{
    if (n->log_done || log_wants_submit(n))
        return true;
    if (n->starting)
        return false;
    return n->beat_due || asks_have_work(n) || table_have_work(n);
}

/* --- time ------------------------------------------------------------------------------------- */

uint64_t node_clock(const struct node *n)
{
    return (n->env.mono_ns(n->env.ctx) - n->created_ns) / (TICK_MS * 1000000u);
}

static void flush_if_small(struct group *g)
{
    if (g->applied > g->flushed && g->bytes_applied - g->bytes_flushed <= FLUSH_SMALL_BYTES)
        group_want_flush(g);
}

/* Idle groups must not keep every segment alive: those with little to flush are all flushed, so
 * that one after another of them does not hold the log for a second each. */
static void free_segments(struct node *n)
{
    uint64_t pinned = 0;
    if (wal_bytes(n->wal) <= SEGMENTS_KEPT * n->config.segment_bytes)
        return;
    struct group *g = node_group(n, wal_pinning_group(n->wal, &pinned));
    if (!g || pinned == 0)
        return;
    group_want_flush(g);
    table_each(n, flush_if_small);
}

void node_tick(struct node *n)
{
    n->now++;
    if (n->removed)
        return;
    arena_reset(&n->round);
    n->send_budget = MIN(n->send_budget, 0) + n->config.snapshot_tick_bytes;
    if (!n->starting) {
        place_tick(n);
        n->beat_due |= beat_is_due(n);
        table_each(n, group_tick);
        asks_tick(n);
    }
    leave_tick(n);
    peers_tick(n);
    conns_tick(n);
    if (n->now % HOUSE_TICKS != 0)
        return;
    space_house(n);
    members_house(n);
    promise_house(n);
    if (n->starting)
        return;
    damage_house(n);
    free_segments(n);
    table_each(n, group_house);
}

/* --- other services on the same connections --------------------------------------------------- */

uint64_t node_conn_token(struct node *n, struct net_conn *c)
{
    const struct conn *conn = c->user;
    return conn ? conn->token : 0;
}

void node_answer(struct node *n, uint64_t conn_token, struct bytes frame)
{
    conn_answer(n, conn_token, frame);
}
