/* SPDX-License-Identifier: Apache-2.0 */
/* A replica's part of a round: take what the core wants, apply, answer (group.h). */
#include "cluster/node/compact.h"
#include "cluster/node/coordinate.h"
#include "cluster/node/damage.h"
#include "cluster/node/fence.h"
#include "cluster/node/group.h"
#include "cluster/node/bootstrap.h"
#include "cluster/node/table.h"
#include "cluster/node/membership.h"
#include "cluster/node/outage.h"
#include "cluster/node/peer.h"
#include "cluster/node/queue.h"
#include "cluster/node/request.h"
#include "cluster/node/reshape.h"
#include "cluster/node/serve.h"
#include "cluster/node/session.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/take.h"
#include "cluster/node/wait.h"

/* --- collect ---------------------------------------------------------------------------------- */

static void set_leading(struct group *g, bool leading)
{
    if (g->leading == leading)
        return;
    struct node *n = g->node;
    g->leading = leading;
    sessions_forget(g->sessions);
    node_log(n, LOG_INFO, "%s gid=%u term=%" G_GUINT64_FORMAT, leading ? "lead" : "yield", g->gid,
             g->term);
    if (n->env.on_lead)
        n->env.on_lead(n->env.ctx, g->gid, leading);
}

static void fail_batch(struct group *g, struct read_batch *b)
{
    for (guint i = 0; i < b->requests->len; i++)
        request_fail(g_ptr_array_index(b->requests, i), -ERR_NOT_LEADER, group_hint(g), NULL);
    g_ptr_array_free(b->requests, TRUE);
    g_free(b);
}

/* What was asked of another leader, or of this one before it was lost for a moment, never comes
 * back. What this node asks itself as the new leader does. */
static void drop_lost_reads(struct group *g, const struct raft_status *s)
{
    for (GList *l = g->read_batches.head, *next; l; l = next) {
        struct read_batch *b = l->data;
        next = l->next;
        if (b->leading && s->role == RAFT_LEADER && b->term == s->term)
            continue;
        g_queue_delete_link(&g->read_batches, l);
        fail_batch(g, b);
    }
}

static void note_role(struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    bool was_leader = g->role == RAFT_LEADER;
    bool other_term = g->term != s.term;
    if (s.leader != g->leader && s.leader != RAFT_NONE && s.leader != s.id)
        node_log(g->node, LOG_INFO, "follow gid=%u term=%" G_GUINT64_FORMAT " leader=%u", g->gid,
                 s.term, s.leader);
    g->leader_seen |= s.leader != RAFT_NONE;
    g->term = s.term;
    g->role = s.role;
    g->leader = s.leader;
    if (was_leader && (s.role != RAFT_LEADER || other_term))
        group_yield(g);
    else
        drop_lost_reads(g, &s);
}

void group_yield(struct group *g)
{
    set_leading(g, false);
    g->group_asked = 0;
    g->met_asked = 0;
    coordinator_yield(g->coordinator);
    takes_yield(g->takes);
    fence_yield(g->fence);
    reshape_yield(g->reshape);
    bootstrap_yield(g->bootstrap);
    group_fail_requests(g, -ERR_NOT_LEADER);
    snapshots_stop(g);
}

/* This node may have ceased to lead since they came. */
static void keep_reads_for_anywhere(GPtrArray *reads, raft_id leader)
{
    guint kept = 0;
    for (guint i = 0; i < reads->len; i++) {
        struct request *r = g_ptr_array_index(reads, i);
        if (r->anywhere)
            g_ptr_array_index(reads, kept++) = r;
        else
            request_fail(r, -ERR_NOT_LEADER, leader, NULL);
    }
    g_ptr_array_set_size(reads, (gint)kept);
}

/* All reads that came since the last round share one read point. */
static void ask_read_point(struct group *g)
{
    struct raft_status s;
    if (g->new_reads->len == 0)
        return;
    raft_get_status(g->raft, &s);
    bool leading = s.role == RAFT_LEADER;
    if (!leading)
        keep_reads_for_anywhere(g->new_reads, group_hint(g));
    if (g->new_reads->len == 0)
        return;
    struct read_batch *b = g_new0(struct read_batch, 1);
    *b = (struct read_batch){
        .read.ctx = ++g->last_read_ctx,
        .term = s.term,
        .leading = leading,
        .requests = g->new_reads,
    };
    g->new_reads = g_ptr_array_new();
    if (raft_read_any(g->raft, b->read.ctx) < 0)
        fail_batch(g, b);
    else
        g_queue_push_tail(&g->read_batches, b);
}

static void note_read_points(struct group *g, const struct raft_ready *rd)
{
    for (unsigned i = 0; i < rd->n_reads; i++)
        for (GList *l = g->read_batches.head; l; l = l->next) {
            struct read_batch *b = l->data;
            if (b->read.ctx != rd->reads[i].ctx)
                continue;
            b->read = rd->reads[i];
            b->confirmed = true;
            break;
        }
}

static void queue_log(struct group *g, const struct raft_persist *p)
{
    struct node *n = g->node;
    if (p->ticket == 0)
        return;
    if (p->reset)
        wal_start(n->wal, g->gid, p->reset_index, p->reset_term, g->applied_time, true);
    if (p->hard_changed)
        wal_hard(n->wal, g->gid, p->hard.term, p->hard.vote);
    if (p->truncate_from > 0)
        wal_truncate(n->wal, g->gid, p->truncate_from);
    if (p->n_entries > 0) {
        struct wal_entry *entries = arena_array(&n->round, p->n_entries, sizeof(*entries));
        for (unsigned i = 0; i < p->n_entries; i++)
            entries[i] = (struct wal_entry){
                .term = p->entries[i].term,
                .index = p->entries[i].index,
                .time_ns = p->entries[i].time_ns,
                .type = (uint8_t)p->entries[i].type,
                .data = p->entries[i].data,
            };
        wal_append(n->wal, g->gid, entries, p->n_entries);
        membership_appended(g, p->entries, p->n_entries);
    }
    if (p->repaired)
        damage_repaired(g);
    node_log_ticket(n, g, p->ticket);
}

void group_collect(struct group *g)
{
    if (g->paused || g->starting)
        return;
    ASSERT(g->n_to_apply == 0);
    compact_poll(g);
    queue_serve(g->queue);
    ask_read_point(g);
    if (!raft_has_ready(g->raft))
        return;
    struct raft_ready rd;
    raft_ready(g->raft, &rd);
    /* First of all: who waits for an entry of a lost term must not see another one's result. */
    if (rd.role_changed)
        note_role(g);
    for (unsigned i = 0; i < rd.n_send; i++)
        peer_send_raft(g->node, g->gid, &rd.send[i]);
    queue_log(g, &rd.persist);
    note_read_points(g, &rd);
    for (unsigned i = 0; i < rd.n_snapshots; i++)
        snapshot_send(g, rd.snapshots[i]);
    g->to_apply = rd.apply;
    g->n_to_apply = rd.n_apply;
}

/* --- apply ------------------------------------------------------------------------------------ */

static void on_reply(void *ctx, uint64_t index, unsigned type, struct bytes body)
{
    struct group *g = ctx;
    struct proposal *p;
    while ((p = g_queue_peek_head(&g->proposals)) != NULL && p->index <= index) {
        const struct raft_entry *e = &g->to_apply[index - g->to_apply[0].index];
        g_queue_pop_head(&g->proposals);
        if (p->index != index || p->term != e->term) {
            request_fail(p->request, -ERR_NOT_LEADER, group_hint(g), NULL);
        } else if (!queue_answered(g->queue, p->request, buf_bytes(e->data), type, body)) {
            request_answer(p->request, type, body);
            request_destroy(p->request);
        }
        g_free(p);
    }
}

static void on_changed(void *ctx, struct bytes key, uint64_t version)
{
    struct group *g = ctx;
    wait_changed(g->waits, key);
}

static void on_shard(void *ctx, unsigned shard)
{
    struct group *g = ctx;
    wait_shard_changed(g->waits, shard);
    queue_shard_changed(g->queue);
    if (kv_shard(g->kv, shard)->state == SHARD_FOREIGN)
        group_want_flush(g);
}

static void on_released(void *ctx, const struct txid *id)
{
    struct group *g = ctx;
    queue_released(g->queue, id);
}

int group_apply_to_state(struct group *g, const struct raft_entry *e, unsigned n,
                         const struct kv_sink *sink, uint64_t *ret_payload)
{
    struct kv_entry *entries = arena_array(&g->node->round, n, sizeof(*entries));
    const struct raft_entry last = e[n - 1];
    uint64_t payload = 0;
    for (unsigned i = 0; i < n; i++) {
        entries[i] = (struct kv_entry){
            .index = e[i].index,
            .term = e[i].term,
            .time_ns = e[i].time_ns,
            .data = buf_bytes(e[i].data), /* a NOOP has none */
            .conf = e[i].type == RAFT_ENTRY_CONF,
        };
        payload += entries[i].data.n;
    }
    int err = kv_apply(g->kv, entries, n, sink);
    if (err < 0)
        return err;
    g->node->counters.entries_applied += n;
    g->applied = last.index;
    g->applied_term = last.term;
    g->applied_time = last.time_ns;
    *ret_payload = payload;
    membership_applied(g);
    return 0;
}

static void apply_entries(struct group *g)
{
    const struct kv_sink sink = {
        .reply = on_reply,
        .changed = on_changed,
        .released = on_released,
        .shard = on_shard,
        .ctx = g,
    };
    raft_index first = g->to_apply[0].index;
    uint64_t payload;
    int err = group_apply_to_state(g, g->to_apply, g->n_to_apply, &sink, &payload);
    if (err == -ERR_NO_SPACE) {
        outage_apply_failed(g);
        return;
    }
    if (err < 0)
        group_fatal(g, err, "group %u: apply entries %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT,
                    g->gid, first, first + g->n_to_apply - 1);
    g->to_apply = NULL;
    g->n_to_apply = 0;
    raft_applied(g->raft, g->applied);
    compact_applied(g, payload);
}

static bool may_serve(const struct group *g)
{
    const struct read_batch *b = g_queue_peek_head((GQueue *)&g->read_batches);
    return b && b->confirmed && b->read.index <= g->applied;
}

static void serve_read_batches(struct group *g)
{
    while (may_serve(g)) {
        struct read_batch *b = g_queue_pop_head(&g->read_batches);
        if (!b->leading)
            g->node->counters.follower_reads += b->requests->len;
        for (guint i = 0; i < b->requests->len; i++)
            serve_read(g, g_ptr_array_index(b->requests, i), &b->read);
        g_ptr_array_free(b->requests, TRUE);
        g_free(b);
    }
}

void group_apply(struct group *g)
{
    if (g->n_to_apply > 0 && !g->paused)
        apply_entries(g);
    if (g->paused || g->starting)
        return;
    struct raft_status s;
    raft_get_status(g->raft, &s);
    if (s.leading)
        set_leading(g, true);
    serve_read_batches(g);
    waits_serve(g->waits);
}

void group_persisted(struct group *g, uint64_t ticket)
{
    if (ticket > 0)
        raft_persisted(g->raft, ticket);
    g->starting = false; /* whatever it was, what came before it is durable, too */
    group_touch(g);
}

bool group_has_work(const struct group *g)
{
    if (g->paused || g->starting)
        return false;
    if (raft_has_ready(g->raft) || g->new_reads->len > 0 || compact_has_work(g) ||
        queue_has_work(g->queue))
        return true;
    return may_serve(g);
}
