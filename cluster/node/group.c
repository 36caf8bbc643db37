/* SPDX-License-Identifier: Apache-2.0 */
/* A replica's life: what it finds on disk at start, its clock, the requests it takes. */
#include "cluster/node/group.h"
#include "cluster/node/bootstrap.h"
#include "cluster/node/check.h"
#include "cluster/node/coordinate.h"
#include "cluster/node/damage.h"
#include "cluster/node/fence.h"
#include "cluster/node/table.h"
#include "cluster/node/move.h"
#include "cluster/node/membership.h"
#include "cluster/node/met.h"
#include "cluster/node/outage.h"
#include "cluster/node/peer.h"
#include "cluster/node/place.h"
#include "cluster/node/queue.h"
#include "cluster/node/request.h"
#include "cluster/node/reshape.h"
#include "cluster/node/session.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/take.h"
#include "cluster/node/wait.h"

/* --- start ------------------------------------------------------------------------------------ */

int group_open_store(const struct group *g, struct store **ret_store, struct kv **ret_kv,
                     struct errmsg *msg)
{
    struct node *n = g->node;
    struct store *store;
    struct kv *kv;
    int err = n->env.stores->open(n->env.stores, g->dir, &store, msg);
    if (err < 0)
        return errmsg_prefix(msg, err, "open %s", g->dir);
    err = kv_open(store, g->gid, n->config.shards, &kv, msg);
    if (err < 0) {
        store->ops->close(store);
        return errmsg_prefix(msg, err, "read %s", g->dir);
    }
    if (n->config.rows_held > 0)
        kv_hold_rows(kv, n->config.rows_held);
    *ret_store = store;
    *ret_kv = kv;
    return 0;
}

void group_take_state(struct group *g, struct store *store, struct kv *kv)
{
    ASSERT(!g->store && !g->kv);
    g->store = store;
    g->kv = kv;
    kv_applied(kv, &g->applied, &g->applied_term, &g->applied_time);
    g->flushed = g->applied; /* what is found was on the disk */
}

int group_open_state(struct group *g, struct errmsg *msg)
{
    struct store *store;
    struct kv *kv;
    int err = group_open_store(g, &store, &kv, msg);
    if (err == 0)
        group_take_state(g, store, kv);
    return err;
}

void group_close_state(struct group *g)
{
    kv_close(g->kv);
    g->kv = NULL;
    if (g->store)
        g->store->ops->close(g->store);
    g->store = NULL;
}

void group_reopen(struct group *g)
{
    struct errmsg msg = {""};
    group_close_state(g);
    int err = group_open_state(g, &msg);
    if (err < 0)
        group_fatal(g, err, "%s", msg.text);
}

/* Does the log hold the applied entry itself, so that what follows it belongs to it? */
static bool log_agrees(const struct group *g, const struct wal_group *w)
{
    if (g->applied == w->start_index)
        return g->applied_term == w->start_term;
    if (g->applied - w->start_index > w->n_entries)
        return false;
    return w->entries[g->applied - w->start_index - 1].term == g->applied_term;
}

/* Where log and store differ the store wins: what is applied is committed. See group.h. */
static void reconcile(struct group *g, const struct wal_group *w, struct raft_entry *entries,
                      struct raft_restore *ret)
{
    struct wal *log = g->node->wal;
    *ret = (struct raft_restore){
        .hard = {w->term, w->vote},
        .snap_index = w->start_index,
        .snap_term = w->start_term,
        .snap_time_ns = w->start_time,
        .applied = g->applied,
        .entries = entries,
        .n_entries = w->n_entries,
    };
    if (g->applied_term > w->term) {
        /* Nothing of that term was promised yet: a promise leaves only after its log record. */
        ret->hard = (struct raft_hard){g->applied_term, RAFT_NONE};
        wal_hard(log, g->gid, ret->hard.term, ret->hard.vote);
    }
    if (!log_agrees(g, w)) {
        ret->snap_index = g->applied;
        ret->snap_term = g->applied_term;
        ret->snap_time_ns = g->applied_time;
        ret->n_entries = 0;
        wal_start(log, g->gid, g->applied, g->applied_term, g->applied_time, true);
    }
}

/* A suspect replica may have lost its record of a promise, too (promise.h). */
static unsigned promised_ticks(const struct group *g, const struct raft_restore *restore)
{
    const struct node *n = g->node;
    return MAX(n->promised_ticks, restore->suspect ? n->config.election_ticks : 0);
}

static int open_core(struct group *g, const struct raft_restore *restore, struct errmsg *msg)
{
    struct node *n = g->node;
    struct raft_config rc = {
        .id = n->config.id,
        .election_ticks = n->config.election_ticks,
        .heartbeat_ticks = n->config.heartbeat_ticks,
        .beats = true,
        .apply_bytes_max = APPLY_BYTES_MAX,
        .rng = n->env.rng,
        .conf = place_first_conf(g),
        .lease = n->config.lease,
        .lease_drift_ticks = n->config.lease_drift_ticks,
        .promised_ticks = promised_ticks(g, restore),
    };
    struct raft_conf conf;
    struct raft_restore from = *restore;
    int err = membership_conf(g, &conf);
    if (err < 0)
        return errmsg_set(msg, err, "the state of group %u names members that make no sense",
                          g->gid);
    if (err > 0)
        from.conf = &conf;
    err = raft_create(&rc, &from, &g->raft);
    if (err < 0)
        return errmsg_set(msg, err, "the log of group %u is not a log", g->gid);
    g->clocked = rc.lease || rc.promised_ticks > 0;
    g->clock_base = node_clock(n);
    g->term = restore->hard.term;
    g->role = RAFT_FOLLOWER;
    return 0;
}

static int restore_core(struct group *g, const struct wal_group *w, struct errmsg *msg)
{
    struct raft_restore restore = {0};
    struct wal_group anew;
    bool marked;
    int err = damage_judge(g, &w, &anew, &marked, msg);
    if (err < 0)
        return err;
    if (!w || marked) {
        node_log_ticket(g->node, g, 0);
        g->starting = true;
    }
    if (!w) {
        wal_hard(g->node->wal, g->gid, 0, RAFT_NONE);
        return open_core(g, &restore, msg);
    }
    struct raft_entry *entries = g_new0(struct raft_entry, w->n_entries + 1);
    for (size_t i = 0; i < w->n_entries; i++)
        entries[i] = (struct raft_entry){
            .term = w->entries[i].term,
            .index = w->entries[i].index,
            .time_ns = w->entries[i].time_ns,
            .type = (enum raft_entry_type)w->entries[i].type,
            .data = w->entries[i].data,
        };
    reconcile(g, w, entries, &restore);
    restore.suspect = w->suspect;
    if (w->suspect && !w->damaged && !marked)
        node_log(g->node, LOG_WARN, "damaged gid=%u: the repair from the other members goes on",
                 g->gid);
    err = open_core(g, &restore, msg);
    membership_appended(g, restore.entries, restore.n_entries);
    g_free(entries);
    return err;
}

int group_open(struct node *n, uint32_t gid, const struct wal_group *w, struct group **ret,
               struct errmsg *msg)
{
    struct group *g = g_new0(struct group, 1);
    g->node = n;
    g->gid = gid;
    g->dir = g_strdup_printf("%s/groups/%u", n->config.data_dir, gid);
    g_queue_init(&g->proposals);
    g_queue_init(&g->read_batches);
    g_queue_init(&g->marks);
    g->new_reads = g_ptr_array_new();
    g->sends = g_ptr_array_new();
    g->waits = waits_create(g);
    g->sessions = sessions_create(g);
    g->checks = checks_create(g);
    g->coordinator = coordinator_create(g);
    g->takes = takes_create(g);
    g->fence = fence_create(g);
    g->reshape = reshape_create(g);
    g->bootstrap = bootstrap_create(g);
    g->queue = queue_create(g);
    int err = group_open_state(g, msg);
    if (err == -ERR_CORRUPT || (err == 0 && damage_noted(g)))
        err = damage_drop_store(g, msg);
    if (err < 0)
        goto fail;
    err = restore_core(g, w, msg);
    if (err == 0)
        err = membership_load(g, msg);
    if (err < 0)
        goto fail;
    snapshots_restart(g);
    struct raft_status s;
    raft_get_status(g->raft, &s);
    if (!s.suspect && !g->store_dropped)
        damage_clean(g);
    node_log(n, LOG_INFO,
             "open gid=%u term=%" G_GUINT64_FORMAT " applied=%" G_GUINT64_FORMAT " log_entries=%zu",
             gid, g->term, g->applied, w ? w->n_entries : 0);
    *ret = g;
    return 0;
fail:
    group_destroy(g);
    return err;
}

static void free_requests(struct group *g)
{
    struct proposal *p;
    request_destroy(g->move);
    while ((p = g_queue_pop_head(&g->proposals)) != NULL) {
        request_destroy(p->request);
        g_free(p);
    }
    for (guint i = 0; i < g->new_reads->len; i++)
        request_destroy(g_ptr_array_index(g->new_reads, i));
    g_ptr_array_free(g->new_reads, TRUE);
    struct read_batch *b;
    while ((b = g_queue_pop_head(&g->read_batches)) != NULL) {
        for (guint i = 0; i < b->requests->len; i++)
            request_destroy(g_ptr_array_index(b->requests, i));
        g_ptr_array_free(b->requests, TRUE);
        g_free(b);
    }
}

void group_destroy(struct group *g)
{
    if (!g)
        return;
    snapshots_free(g);
    snapshot_recv_drop(g);
    change_destroy(g);
    free_requests(g);
    waits_destroy(g->waits);
    sessions_destroy(g->sessions);
    checks_destroy(g->checks);
    coordinator_destroy(g->coordinator);
    takes_destroy(g->takes);
    fence_destroy(g->fence);
    reshape_destroy(g->reshape);
    bootstrap_destroy(g->bootstrap);
    queue_destroy(g->queue); /* the coordinator's have left it */
    raft_destroy(g->raft);
    group_close_state(g);
    g_queue_clear_full(&g->marks, g_free);
    g_free(g->dir);
    g_free(g);
}

/* --- time ------------------------------------------------------------------------------------- */

/* How many of its voters come before this node (place_turn), so that leaders are spread. */
static unsigned rank_of(const struct group *g, const struct raft_conf *conf)
{
    const struct node *n = g->node;
    unsigned before = 0, own = place_turn(n, g->gid, n->config.id);
    for (unsigned i = 0; i < conf->n_voters; i++)
        before += place_turn(n, g->gid, conf->voters[i]) < own;
    return before;
}

static bool is_candidate(const struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    return s.role == RAFT_CANDIDATE;
}

/* Nodes that are started together need not wait for an election time-out: who has heard of no
 * leader since its start asks for votes once a majority is linked, the first by rank at once, the
 * others later, or they would split the votes. It disturbs nobody: pre-vote. Again and again: a
 * group that was just made is not on all nodes at the same moment. */
static void campaign_at_start(struct group *g)
{
    struct node *n = g->node;
    const struct raft_conf *conf = raft_get_conf(g->raft);
    if (g->leader_seen || group_is_alone(g))
        return;
    if (!peers_reach_majority(n, conf)) {
        g->campaign_at = 0;
        return;
    }
    if (g->campaign_at == 0)
        g->campaign_at = n->now + 1 + rank_of(g, conf) * n->config.election_ticks / 4;
    if (n->now < g->campaign_at)
        return;
    if (!is_candidate(g)) /* an election is under way */
        raft_campaign(g->raft);
    g->campaign_at = n->now + n->config.election_ticks / 4;
}

void group_tick(struct group *g)
{
    move_tick(g);
    if (g->paused || g->starting)
        return;
    group_clock(g);
    raft_tick(g->raft);
    if (beat_is_due(g->node))
        raft_beat(g->raft);
    campaign_at_start(g);
    membership_tick(g);
    waits_tick(g->waits);
    snapshots_tick(g);
    checks_tick(g->checks);
    coordinator_tick(g->coordinator);
    takes_tick(g->takes);
    fence_tick(g->fence);
    reshape_tick(g->reshape);
    bootstrap_tick(g->bootstrap);
    queue_tick(g->queue);
    if (group_has_work(g))
        group_touch(g);
}

void group_house(struct group *g)
{
    outage_house(g);
    if (g->gid == 0 && !g->store_full)
        sessions_house(g->sessions);
    met_propose(g);
    participant_house(g->coordinator);
    fence_house(g->fence);
    if (group_has_work(g))
        group_touch(g);
}

/* --- requests --------------------------------------------------------------------------------- */

bool group_is_leader(const struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    return s.role == RAFT_LEADER && !g->paused;
}

bool group_hands_over(const struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    return s.role == RAFT_LEADER && s.transfer_to != RAFT_NONE;
}

raft_id group_hint(const struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    /* A lone replica is still the one to ask, if only for the reason of its refusal. */
    bool silent = g->paused && !group_is_alone(g);
    return s.leader == s.id && (s.role != RAFT_LEADER || silent) ? RAFT_NONE : s.leader;
}

bool group_follows(const struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    return !g->paused && s.leader != RAFT_NONE && s.leader != s.id &&
           conf_has(raft_get_conf(g->raft), s.id);
}

void group_clock(struct group *g)
{
    if (g->clocked)
        raft_clock(g->raft, node_clock(g->node) - g->clock_base);
}

void group_step(struct group *g, const struct raft_msg *m)
{
    if (g->paused || g->starting)
        return;
    group_clock(g);
    if (raft_step(g->raft, m) < 0)
        return;
    g->node->counters.raft_received++;
    group_touch(g);
}

int group_propose(struct group *g, enum kv_command cmd, struct bytes body, struct request *r)
{
    struct node *n = g->node;
    if (r)
        r->gid = g->gid;
    raft_index index;
    raft_term term;
    struct buf *data = kv_command(cmd, body);
    int err = g->store_full ? -ERR_NO_SPACE : 0;
    if (err == 0)
        err = raft_propose(g->raft, data, n->env.wall_ns(n->env.ctx), &index, &term);
    buf_unref(data);
    if (err < 0) {
        n->counters.refused++;
        if (r)
            request_fail(r, err, group_hint(g), NULL);
        return err;
    }
    n->counters.proposals++;
    group_touch(g);
    if (!r)
        return 0;
    struct proposal *p = g_new0(struct proposal, 1);
    *p = (struct proposal){index, term, r};
    g_queue_push_tail(&g->proposals, p);
    return 0;
}

void group_read(struct group *g, struct request *r)
{
    r->gid = g->gid;
    if (!group_is_leader(g) && !(r->anywhere && group_follows(g))) {
        request_fail(r, -ERR_NOT_LEADER, group_hint(g), NULL);
        return;
    }
    g->node->counters.reads++;
    g_ptr_array_add(g->new_reads, r);
    group_touch(g);
}

bool group_read_holds(struct group *g, const struct raft_read *read, struct request *r)
{
    if (!read->lease)
        return true;
    group_clock(g);
    if (raft_read_valid(g->raft, read)) {
        g->node->counters.lease_reads++;
        return true;
    }
    g_ptr_array_add(g->new_reads, r);
    return false;
}

static void fail_all(GPtrArray *requests, int err, uint32_t leader)
{
    for (guint i = 0; i < requests->len; i++)
        request_fail(g_ptr_array_index(requests, i), err, leader, NULL);
    g_ptr_array_set_size(requests, 0);
}

void group_fail_requests(struct group *g, int err)
{
    raft_id leader = group_hint(g);
    struct proposal *p;
    while ((p = g_queue_pop_head(&g->proposals)) != NULL) {
        request_fail(p->request, err, leader, NULL);
        g_free(p);
    }
    struct read_batch *b;
    while ((b = g_queue_pop_head(&g->read_batches)) != NULL) {
        fail_all(b->requests, err, leader);
        g_ptr_array_free(b->requests, TRUE);
        g_free(b);
    }
    fail_all(g->new_reads, err, leader);
    change_fail(g, err);
    waits_fail(g->waits, err);
    queue_fail(g->queue, err);
}
