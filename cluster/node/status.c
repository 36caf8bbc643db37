/* SPDX-License-Identifier: Apache-2.0 */
/* What a node tells about itself and the cluster, to anybody, at once, from what it knows. */
#include "cluster/node/group.h"
#include "cluster/node/membership.h"
#include "cluster/node/peer.h"
#include "cluster/node/queue.h"
#include "cluster/node/route.h"
#include "cluster/node/serve.h"
#include "cluster/node/snapshot.h"
#include "cluster/node/space.h"
#include "cluster/node/wait.h"

void serve_locate(struct conn *c, uint64_t id, const struct msg_locate *m)
{
    struct node *n = c->node;
    uint32_t gid = 0, next = 0;
    if (m->shard != LOCATE_GROUP_0 && !route_shard(n, m->shard, &gid, &next)) {
        conn_answer_status(n, c->token, id, -ERR_INVALID, 0, "no such shard");
        return;
    }
    struct msg_locate_reply reply = {
        .gid = gid,
        .next = next,
        .leader = route_leader(n, gid),
        .shards = n->config.shards,
        .members = arena_array(&n->scratch, VOTERS_MAX, sizeof(*reply.members)),
        .n_nodes = n->n_peers + 1,
        .nodes = arena_array(&n->scratch, n->n_peers + 1, sizeof(*reply.nodes)),
    };
    while (reply.n_members < VOTERS_MAX) {
        uint32_t member = route_member(n, gid, reply.n_members);
        if (member == 0 || (reply.n_members > 0 && member == reply.members[0].node))
            break;
        reply.members[reply.n_members++].node = member;
    }
    for (unsigned i = 0; i <= n->n_peers; i++) {
        const char *address;
        reply.nodes[i].node = peer_nth(n, i, &address);
        reply.nodes[i].address = bytes_str(address);
    }
    CONN_ANSWER(n, c->token, locate_reply, id, &reply);
}

/* --- status ----------------------------------------------------------------------------------- */

/* How far the repair of a damaged replica has come. */
static const char *repair_note(struct node *n, const struct group *g, const struct raft_status *s)
{
    struct arena *a = &n->scratch;
    uint64_t bytes;
    if (snapshot_incoming(g, &bytes))
        return arena_printf(a,
                            "damaged: repairing from its peers, receiving a snapshot: "
                            "%" G_GUINT64_FORMAT " MiB so far",
                            bytes >> 20);
    if (s->leader == RAFT_NONE)
        return "damaged: waits for a leader to be repaired from, does not vote";
    if (s->repair_goal == 0)
        return arena_printf(a, "damaged: repairing from its peers, holds %" G_GUINT64_FORMAT,
                            s->persisted);
    return arena_printf(
        a, "damaged: repairing from its peers, holds %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT,
        s->persisted, s->repair_goal);
}

/* Why there is no service here, or what is special; empty when all is well. */
static const char *note(struct node *n, const struct group *g, const struct raft_status *s)
{
    struct arena *a = &n->scratch;
    const struct raft_conf *conf = raft_get_conf(g->raft);
    unsigned members = conf->n_voters, silent = peers_silent(n, conf);
    uint64_t bytes;
    if (n->starting)
        return "starting: the first log write is under way";
    if (s->suspect)
        return repair_note(n, g, s);
    if (snapshot_incoming(g, &bytes))
        return arena_printf(a, "receiving a snapshot: %" G_GUINT64_FORMAT " MiB so far",
                            bytes >> 20);
    if (space_paused(n))
        return "the disk is full: the log waits for room, nothing is acknowledged";
    if (g->store_full)
        return "the disk is full: the state store waits for room";
    if (node_log_overdue(n))
        return "a log write has been under way for longer than an election time-out";
    if (s->leader == RAFT_NONE && silent * 2 >= members)
        return arena_printf(a, "no quorum: %u of %u members silent", silent, members);
    if (s->leader == RAFT_NONE)
        return "no leader: an election is under way";
    if (!conf_has(conf, n->config.id))
        return "not a member yet: waits to be told its place";
    if (s->role == RAFT_LEADER && !s->leading)
        return "the new leader's first entry is not applied yet";
    if (space_refuses(n))
        return "the disk is nearly full: writes are refused";
    return "";
}

static void fill_members(struct node *n, const struct group *g, struct group_status *ret)
{
    struct raft_progress_view view[VOTERS_MAX * 3 + 1];
    unsigned count = raft_get_progress(g->raft, view, ARRAY_LEN(view));
    ret->n_members = MIN(count, VOTERS_MAX);
    ret->members = arena_array(&n->scratch, MAX(count, 1), sizeof(*ret->members));
    for (unsigned i = 0; i < ret->n_members; i++)
        ret->members[i] = (struct member_status){
            .node = view[i].id,
            .match = view[i].match,
            .next = view[i].next,
            .state = (uint8_t)view[i].state,
            .heard_ms = (uint64_t)view[i].ticks_since_heard * TICK_MS,
            .suspect = view[i].suspect,
        };
}

static enum lease_state lease_of(struct node *n, struct group *g)
{
    if (!n->config.lease)
        return LEASE_OFF;
    group_clock(g);
    return raft_lease_holds(g->raft) ? LEASE_HOLDS : LEASE_ENDED;
}

static void fill_group(struct node *n, struct group *g, struct group_status *ret)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    *ret = (struct group_status){
        .gid = g->gid,
        .role = (uint8_t)s.role,
        .leader = s.leader,
        .term = s.term,
        .first = s.first,
        .last = s.last,
        .persisted = s.persisted,
        .commit = s.commit,
        .applied = s.applied,
        .sessions = kv_sessions(g->kv),
        .shards = (uint16_t)kv_shards_served(g->kv),
        .n_voters = raft_get_conf(g->raft)->n_voters,
        .suspect = s.suspect,
        .repair_goal = s.repair_goal,
    };
    if (s.role != RAFT_LEADER)
        return;
    ret->lease = (uint8_t)lease_of(n, g);
    fill_members(n, g, ret);
}

/* "sent_append": frames by what is in them. */
static uint32_t fill_sent(struct node *n, struct counter *ret, uint32_t count, uint32_t max)
{
    for (unsigned i = 1; i < ARRAY_LEN(n->counters.sent) && count < max; i++) {
        if (i == RAFT_HEARTBEAT || i == RAFT_HEARTBEAT_RESP)
            continue; /* they are in beats */
        char *name = arena_printf(&n->scratch, "sent_%s", raft_msg_name((enum raft_msg_type)i));
        for (char *p = name; *p; p++)
            *p = g_ascii_tolower(*p);
        ret[count++] = (struct counter){bytes_str(name), n->counters.sent[i]};
    }
    return count;
}

static uint32_t fill_counters(struct node *n, struct counter *ret, uint32_t max)
{
    const struct node_counters *c = &n->counters;
    size_t waits = 0, locked_out = 0;
    for (guint i = 0; i < n->groups->len; i++) {
        const struct group *g = g_ptr_array_index(n->groups, i);
        waits += waits_count(g->waits);
        locked_out += queue_count(g->queue);
    }
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        {"rounds", c->rounds},
        {"log_syncs", c->log_syncs},
        {"log_bytes", wal_bytes(n->wal)},
        {"entries_applied", c->entries_applied},
        {"proposals", c->proposals},
        {"reads", c->reads},
        {"lease_reads", c->lease_reads},
        {"follower_reads", c->follower_reads},
        {"refused", c->refused},
        {"waits", waits},
        {"waiting_for_locks", locked_out},
        {"waits_for_locks", c->lock_waits},
        {"waits_for_locks_refused", c->lock_refusals},
        {"connections", g_queue_get_length(&n->conn_list)},
        {"request_bytes", n->request_bytes},
        {"beats_sent", c->beats_sent},
        {"beats_received", c->beats_received},
        {"raft_received", c->raft_received},
        {"raft_dropped", c->raft_dropped},
        {"flushes", c->flushes},
        {"snapshots_sent", c->snapshots_sent},
        {"snapshots_installed", c->snapshots_installed},
        {"repairs", c->repairs},
        {"snapshots_resumed", c->snapshots_resumed},
        {"snapshot_bytes_sent", c->snapshot_bytes_sent},
        {"snapshot_bytes_received", c->snapshot_bytes_received},
        {"checkpoints", c->checkpoints},
    };
    uint32_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(all) && count < max; i++)
        ret[count++] = (struct counter){bytes_str(all[i].name), all[i].value};
    return fill_sent(n, ret, count, max);
}

void serve_node_status(struct conn *c, uint64_t id)
{
    struct node *n = c->node;
    struct arena *a = &n->scratch;
    struct raft_status s;
    uint64_t disk_free = space_free(n);
    const struct group *first = g_ptr_array_index(n->groups, 0);
    struct msg_node_status_reply reply = {
        .node = n->config.id,
        .uptime_ms = (n->env.mono_ns(n->env.ctx) - n->created_ns) / 1000000,
        .disk_free = disk_free == SPACE_UNKNOWN ? 0 : disk_free,
        .n_groups = n->groups->len,
        .groups = arena_array(a, n->groups->len, sizeof(*reply.groups)),
        .counters = arena_array(a, 64, sizeof(*reply.counters)),
    };
    raft_get_status(first->raft, &s);
    reply.note = bytes_str(note(n, first, &s));
    for (guint i = 0; i < reply.n_groups; i++)
        fill_group(n, g_ptr_array_index(n->groups, i), &reply.groups[i]);
    reply.n_counters = fill_counters(n, reply.counters, 64);
    CONN_ANSWER(n, c->token, node_status_reply, id, &reply);
}
