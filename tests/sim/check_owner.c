/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold between groups: at most one serves a shard at a time, as far as anybody has
 * applied; and when all is at rest, exactly one; no transaction is left prepared, no decision
 * untold, no ended session unfenced.
 */
#include "cluster/node/group.h"
#include "tests/sim/sim.h"

/* As whoever has applied most of the group's log. */
struct view {
    raft_index applied;
    bool served[SIM_SHARDS];
};

struct check_owner {
    struct view views[SIM_GROUPS];
};

void check_owner_init(struct sim *s)
{
    s->check_owner = g_new0(struct check_owner, 1);
}

void check_owner_finish(struct sim *s)
{
    g_free(s->check_owner);
}

static void served(struct sim_node *sn, uint32_t gid, unsigned shard)
{
    struct sim *s = sn->sim;
    for (uint32_t other = 0; other <= s->profile.groups; other++)
        CHECK(s, other == gid || !s->check_owner->views[other].served[shard],
              "shard %u is served by group %u, and by group %u, as node %u applies", shard, other,
              gid, sn->id);
    s->counters.shards_moved += s->check_owner->views[gid].applied > 0;
}

void check_owner(struct sim_node *sn, uint32_t gid, const struct raft_status *st)
{
    struct view *v = &sn->sim->check_owner->views[gid];
    const struct kv *kv = node_group(sn->node, gid)->kv;
    uint64_t applied, term, time;
    if (sn->sim->profile.groups == 0 || !kv || st->applied <= v->applied)
        return;
    kv_applied(kv, &applied, &term, &time);
    if (applied <= v->applied)
        return;
    for (unsigned shard = 0; shard < SIM_SHARDS; shard++) {
        bool now = shard_served(kv_shard(kv, shard));
        if (now && !v->served[shard])
            served(sn, gid, shard);
        v->served[shard] = now;
    }
    v->applied = applied;
}

/* --- at rest ---------------------------------------------------------------------------------- */

static const struct kv *leaders_state(struct sim *s, uint32_t gid)
{
    const struct kv *kv = NULL;
    raft_term term = 0;
    for (unsigned i = 0; i < s->n; i++) {
        struct raft_status st;
        if (s->nodes[i].node && node_group_status(s->nodes[i].node, gid, &st) && st.leading &&
            st.term > term) {
            kv = node_group(s->nodes[i].node, gid)->kv;
            term = st.term;
        }
    }
    return kv;
}

static bool is_drained(const struct kv *kv)
{
    uint64_t newest;
    unsigned records, decisions;
    (void)kv_records(kv, &records);
    (void)kv_decisions(kv, &decisions);
    return kv_prepared(kv) == 0 && records == 0 && decisions == 0 && kv_fencing(kv, &newest) == 0;
}

bool check_owner_settled(struct sim *s)
{
    for (uint32_t gid = 0; gid <= s->profile.groups; gid++) {
        const struct kv *kv = leaders_state(s, gid);
        if (!kv || !is_drained(kv))
            return false;
    }
    return true;
}

void check_owner_say(struct sim *s)
{
    for (uint32_t gid = 0; gid <= s->profile.groups; gid++) {
        const struct kv *kv = leaders_state(s, gid);
        uint64_t newest;
        unsigned records = 0, decisions = 0;
        if (!kv) {
            trace_line(s, "group %u has no leader", gid);
            continue;
        }
        (void)kv_records(kv, &records);
        (void)kv_decisions(kv, &decisions);
        trace_line(s, "group %u: %u prepared, %u records, %u decisions, %zu sessions to be fenced",
                   gid, kv_prepared(kv), records, decisions, kv_fencing(kv, &newest));
    }
}

void check_owner_end(struct sim *s)
{
    for (unsigned shard = 0; s->profile.groups > 0 && shard < SIM_SHARDS; shard++) {
        unsigned n = 0;
        for (uint32_t gid = 0; gid <= s->profile.groups; gid++)
            n += s->check_owner->views[gid].served[shard];
        CHECK(s, n == 1, "shard %u is served by %u groups when all is at rest", shard, n);
    }
}
