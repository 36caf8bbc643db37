/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group under random faults: loss, doubling and reorder of messages, slow disks, crashes, cut
 * ways, compaction, transfers of leadership, changes of membership; group.c checks at each step
 * what must always be true. Then the faults end, and the group must elect, catch everybody up and
 * commit again.
 *
 * One seed is one run. Without RAFTFS_SEED some hundred seeds from a drawn one on are run; with it,
 * that one (RAFTFS_SEED=n). RAFTFS_TRACE=1 prints each event of it.
 */
#include "tests/lib/t.h"

#include <stdio.h>
#include <stdlib.h>
#include "tests/unit/raft/group.h"

enum { SEEDS = 240, STEPS = 20000, HEAL_ROUNDS = 400 };

struct run {
    struct group g;
    struct rng rng;
    uint64_t next_value, next_ctx;
    unsigned loss, doubles, slow, faults; /* per million */
    unsigned bursts;                      /* of proposals, per million */
    raft_id lame;                         /* its clock runs at a tenth */
    unsigned changes;                     /* of the membership, per million */
    unsigned nodes_max;
    unsigned stalls;    /* with leases: per million */
    uint64_t cut_until; /* with leases: the leader is cut off, 0: no */
    unsigned damage;    /* how many may be suspect at a time */
    uint64_t damages;
};

static struct member *somebody(struct run *t)
{
    return &t->g.members[rng_below(&t->rng, t->g.n)];
}

static void propose(struct run *t, struct member *m)
{
    for (uint64_t n = rng_between(&t->rng, 1, rng_chance(&t->rng, t->bursts) ? 900 : 4); n > 0;
         n--) {
        uint64_t v[16] = {++t->next_value};
        size_t len = rng_chance(&t->rng, 100000) ? sizeof(v) : sizeof(v[0]);
        (void)group_propose(&t->g, m, bytes_of(v, len));
    }
}

static void drop_id(raft_id *ids, unsigned *n, raft_id id)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < *n; i++)
        if (ids[i] != id)
            ids[kept++] = ids[i];
    *n = kept;
}

/* A node that never was a member; ids are not used twice. */
static raft_id newcomer(struct run *t)
{
    struct group *g = &t->g;
    raft_id id = 0;

    for (unsigned i = 0; i < g->n; i++)
        if (!group_was_member(g, g->members[i].id))
            id = g->members[i].id;
    return id == 0 && g->n < t->nodes_max ? group_add(g)->id : id;
}

/* One thing, or two at once: somebody comes as a learner, a learner becomes a voter, a voter a
 * learner, somebody goes. */
static void change(struct run *t, struct member *m)
{
    struct group *g = &t->g;
    struct raft_conf to = *raft_get_conf(m->r);

    for (uint64_t n = rng_between(&t->rng, 1, 2); n > 0; n--) {
        raft_id id = RAFT_NONE;
        switch (rng_below(&t->rng, 5)) {
        case 0:
            if (to.n_learners < VOTERS_MAX)
                id = newcomer(t);
            if (id != RAFT_NONE) {
                drop_id(to.learners, &to.n_learners, id);
                to.learners[to.n_learners++] = id;
            }
            break;
        case 1:
        case 2:
            if (to.n_learners > 0 && to.n_voters < VOTERS_MAX) {
                id = to.learners[rng_below(&t->rng, to.n_learners)];
                drop_id(to.learners, &to.n_learners, id);
                to.voters[to.n_voters++] = id;
            }
            break;
        case 3:
            id = to.voters[rng_below(&t->rng, to.n_voters)];
            drop_id(to.voters, &to.n_voters, id);
            if (rng_chance(&t->rng, 300000) && to.n_learners < VOTERS_MAX)
                to.learners[to.n_learners++] = id;
            break;
        default:
            if (to.n_learners > 1)
                drop_id(to.learners, &to.n_learners, to.learners[0]);
        }
        if (to.n_voters == 0)
            return;
    }
    (void)group_change(g, m, &to);
}

/* Who was removed may be switched off for ever. */
static void retire(struct run *t, struct member *m)
{
    if (!group_was_member(&t->g, m->id) || group_is_member(&t->g, m->id))
        return;
    group_crash(&t->g, m, 0);
    m->retired = true;
}

/* Its log is found damaged: what is left of term and vote is something that it had, or nothing. */
static void damage(struct run *t, struct member *m)
{
    struct group *g = &t->g;
    struct raft_hard left = m->disk.hard;
    unsigned suspects = 0;

    for (unsigned i = 0; i < g->n; i++)
        suspects += &g->members[i] != m && group_is_suspect(&g->members[i]);
    if (suspects >= t->damage || m->retired)
        return;
    if (rng_chance(&t->rng, 700000))
        left = (struct raft_hard){rng_below(&t->rng, left.term + 1), RAFT_NONE};
    group_damage(g, m, left, rng_chance(&t->rng, 200000));
    t->damages++;
}

/* The worst that can be forgotten: a vote that has just deposed somebody, who does not know it yet
 * and is all that the voter hears. */
static void damage_voter(struct run *t)
{
    struct group *g = &t->g;
    struct member *m = somebody(t), *old = somebody(t);
    raft_term term = m->disk.hard.term;
    raft_id vote = m->disk.hard.vote;

    if (m->r == NULL || vote == m->id || vote == RAFT_NONE || term != m->term)
        return;
    if (old->r == NULL || old == m || old->role != RAFT_LEADER || old->term >= term)
        return;
    for (unsigned i = 1; i <= g->n; i++)
        for (unsigned k = 1; k <= g->n; k++)
            g->cut[i][k] = i != k && (i == vote || k == vote);
    damage(t, m);
}

static void fault(struct run *t)
{
    struct group *g = &t->g;
    struct member *m = somebody(t);

    switch (rng_below(&t->rng, t->damage > 0 ? 11 : 9)) {
    case 10:
        damage(t, m);
        break;
    case 0:
        if (m->r)
            group_crash(g, m, (unsigned)rng_below(&t->rng, 3));
        break;
    case 1:
    case 2:
        for (unsigned i = 0; i < g->n; i++)
            if (g->members[i].r == NULL && !g->members[i].retired && rng_chance(&t->rng, 500000))
                group_restart(g, &g->members[i]);
        break;
    case 3: /* one way, sometimes both */
    {
        struct member *o = somebody(t);
        g->cut[m->id][o->id] = true;
        g->cut[o->id][m->id] |= rng_chance(&t->rng, 500000);
        break;
    }
    case 4:
        retire(t, m);
        break;
    case 5:
        for (unsigned i = 1; i <= g->n; i++)
            g->cut[i][m->id] = g->cut[m->id][i] = i != m->id;
        break;
    default: /* all ways open again */
        memset(g->cut, 0, sizeof(g->cut));
    }
}

/* What a lease must stand: its leader is cut off while it serves reads, and others go on. */
static void cut_leader(struct run *t)
{
    struct group *g = &t->g;
    struct member *l = group_leader(g);

    if (t->cut_until > 0 && g->time >= t->cut_until) {
        memset(g->cut, 0, sizeof(g->cut));
        t->cut_until = 0;
    } else if (t->cut_until == 0 && l && rng_chance(&t->rng, 1500)) {
        for (unsigned i = 1; i <= g->n; i++)
            g->cut[i][l->id] = g->cut[l->id][i] = i != l->id;
        t->cut_until = g->time + rng_between(&t->rng, 20, 60);
    }
}

static void step(struct run *t)
{
    struct group *g = &t->g;
    struct member *m = somebody(t);
    uint64_t what = rng_below(&t->rng, 1000);

    if (rng_chance(&t->rng, t->faults))
        fault(t);
    if (m->r && rng_chance(&t->rng, t->changes))
        change(t, m);

    if (t->damage > 0)
        damage_voter(t);
    if (g->lease)
        cut_leader(t);
    if (g->lease && m->r && rng_chance(&t->rng, 50000))
        (void)group_read(g, m, ++t->next_ctx);

    if (what < 450) {
        if (g->wire->len == 0)
            return;
        unsigned near = MIN(g->wire->len, 8u); /* mostly the oldest ones */
        unsigned i = (unsigned)rng_below(&t->rng, rng_chance(&t->rng, 50000) ? g->wire->len : near);
        bool twice = rng_chance(&t->rng, t->doubles);
        group_deliver(g, i, rng_chance(&t->rng, t->loss), twice);
    } else if (what < 720) {
        group_ready(g, m);
    } else if (what < 900) {
        if (!rng_chance(&t->rng, t->slow))
            group_complete(g, m);
    } else if (what < 945) {
        if (g->lease) {
            g->time++;
            if (rng_chance(&t->rng, t->stalls)) /* its process does not run, its clock does */
                return;
            group_catch_up(g, m);
        } else if (m->r && (m->id != t->lame || rng_chance(&t->rng, 100000)))
            group_tick(m);
    } else if (what < 970) {
        if (m->r)
            propose(t, m);
    } else if (what < 972) {
        if (m->r)
            (void)group_transfer(g, m, somebody(t)->id);
    } else if (what < 980) {
        if (m->r)
            (void)(rng_chance(&t->rng, 300000) ? group_read_any : group_read)(g, m, ++t->next_ctx);
    } else {
        if (m->r && m->applied > 0)
            group_compact(g, m, m->applied - rng_below(&t->rng, MIN(m->applied, 4ull)));
    }
}

static void show(struct run *t)
{
    if (t->g.out == NULL)
        return;
    fputs(t->g.out->str, stderr);
    g_string_truncate(t->g.out, 0);
}

/* All time passes evenly, nothing is lost: the leader's new entry must reach everybody. */
static bool heal(struct run *t)
{
    struct group *g = &t->g;
    raft_index goal = 0;

    memset(g->cut, 0, sizeof(g->cut));
    for (unsigned i = 0; i < g->n; i++)
        if (g->members[i].r == NULL && !g->members[i].retired)
            group_restart(g, &g->members[i]);
    for (unsigned round = 0; round < HEAL_ROUNDS; round++) {
        for (unsigned i = 0; i < g->n; i++)
            if (g->members[i].r && !g->lease)
                group_tick(&g->members[i]);
        g->time += g->lease;
        for (unsigned i = 0; i < g->n; i++)
            group_catch_up(g, &g->members[i]);
        group_settle(g);
        for (guint n = g->wire->len; n > 0; n--)
            group_deliver(g, 0, false, false);
        group_settle(g);
        show(t);
        struct member *l = group_leader(g);
        if (goal == 0 && l && round > HEAL_ROUNDS / 2) { /* whoever leads now stays */
            uint64_t v = ++t->next_value, ctx = ++t->next_ctx;
            struct raft_status st;
            raft_get_status(l->r, &st);
            T_OK(group_propose(g, l, bytes_of(&v, sizeof(v))));
            T_OK(group_read(g, l, ctx));
            goal = st.last + 1;
        }
        bool done = goal > 0 && group_conf(g)->n_outgoing == 0;
        for (unsigned i = 0; i < g->n; i++)
            done &= (g->members[i].applied >= goal && !group_is_suspect(&g->members[i])) ||
                    !group_is_member(g, g->members[i].id);
        if (done)
            return true;
    }
    return false;
}

static void tell_failure(uint64_t seed, unsigned voters)
{
    fprintf(stderr, "no progress with %u voters; replay: RAFTFS_SEED=%llu %s\n", voters,
            (unsigned long long)seed, g_get_prgname() ? g_get_prgname() : "raft-random");
}

/* What happened, over all seeds. */
struct sums {
    uint64_t committed, elections, transfers, changes, installs, reads, forwarded, by_lease,
        invalid, damages;
};

/* Clocks that differ by more than two to one, so that a wrong lease shows: a promise of 20 ticks
 * may be over after 19 / 1.5 of the group's time, 19 - 11 ticks of the slowest leader take 8 / 0.7.
 */
static void use_leases(struct run *t)
{
    t->g.lease = true;
    t->g.lease_drift = 11;
    t->g.election_ticks = 20;
    t->stalls = (unsigned)rng_below(&t->rng, 900000);
    for (unsigned i = 0; i < GROUP_MAX; i++)
        t->g.members[i].rate = rng_chance(&t->rng, 500000) ? 700 : 1500;
}

static void run_seed(uint64_t seed, unsigned voters, unsigned learners, unsigned changes,
                     bool lease, unsigned damage, struct sums *sums)
{
    struct run t = {0};
    char name[100];

    (void)snprintf(name, sizeof(name), "RAFTFS_SEED=%llu, %u voters", (unsigned long long)seed,
                   voters);
    rng_seed(&t.rng, seed);
    t.loss = (unsigned)rng_below(&t.rng, 200000);
    t.doubles = (unsigned)rng_below(&t.rng, 100000);
    /* Some need more than one append to catch up. */
    t.bursts = rng_chance(&t.rng, 60000) ? 100000 : 0;
    t.lame = (raft_id)rng_below(&t.rng, 8);
    t.faults = (unsigned)rng_below(&t.rng, 5000);
    t.slow = (unsigned)rng_below(&t.rng, 900000);
    t.changes = changes;
    t.damage = damage;
    if (damage > 0)
        t.faults += 3000;
    t.nodes_max = voters + learners + 6;
    group_init(&t.g, name, voters, learners, seed);
    if (lease)
        use_leases(&t);
    t.g.apply_bytes_max = rng_between(&t.rng, 8, 200);
    if (getenv("RAFTFS_TRACE"))
        t.g.out = g_string_new(NULL);
    group_start(&t.g);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&t);
        if (i % 50 == 0)
            group_check_logs(&t.g);
        show(&t);
    }
    group_check_logs(&t.g);
    bool ok = damage >= voters || (damage > 0 && changes > 0) || heal(&t);
    group_check_logs(&t.g);
    if (!ok)
        tell_failure(seed, voters);
    assert_true(ok);
    sums->committed += t.g.history->len;
    sums->elections += t.g.elections;
    sums->transfers += t.g.transfers;
    sums->changes += t.g.changes;
    sums->installs += t.g.installs;
    sums->reads += t.g.reads_served;
    sums->forwarded += t.g.reads_forwarded;
    sums->by_lease += t.g.reads_by_lease;
    sums->invalid += t.g.reads_invalid;
    sums->damages += t.damages;
    if (t.g.out)
        g_string_free(t.g.out, true);
    t.g.out = NULL;
    group_finish(&t.g);
}

static void run_seeds(unsigned voters, unsigned learners, unsigned changes, bool lease,
                      unsigned damage)
{
    bool one = getenv("RAFTFS_SEED") != NULL;
    uint64_t first = t_seed();
    struct sums sums = {0};

    for (uint64_t seed = first; seed < first + (one ? 1 : SEEDS); seed++)
        run_seed(seed, voters, learners, changes, lease, damage, &sums);
    if (getenv("RAFTFS_VERBOSE"))
        fprintf(
            stderr,
            "%llu committed, %llu elections, %llu transfers, %llu changes, %llu installs, "
            "%llu reads, of followers %llu, by lease %llu, %llu refused after it, %llu damages\n",
            (unsigned long long)sums.committed, (unsigned long long)sums.elections,
            (unsigned long long)sums.transfers, (unsigned long long)sums.changes,
            (unsigned long long)sums.installs, (unsigned long long)sums.reads,
            (unsigned long long)sums.forwarded, (unsigned long long)sums.by_lease,
            (unsigned long long)sums.invalid, (unsigned long long)sums.damages);
    assert_true(sums.committed > 0); /* or nothing was tested */
    if (one)
        return;
    assert_true(sums.reads > 0 && (voters == 1 || (sums.forwarded > 0 && sums.transfers > 0)));
    assert_true(changes == 0 || sums.changes > SEEDS);
    assert_true(damage == 0 || sums.damages > SEEDS);
    assert_true(!lease || (sums.by_lease > SEEDS && sums.invalid > 0));
}

TEST(three_voters_agree_under_faults)
{
    run_seeds(3, 0, 0, false, 0);
}

TEST(four_voters_agree_under_faults)
{
    run_seeds(4, 0, 0, false, 0);
}

TEST(five_voters_agree_under_faults)
{
    run_seeds(5, 0, 0, false, 0);
}

TEST(three_voters_and_a_learner_agree_under_faults)
{
    run_seeds(3, 1, 0, false, 0);
}

TEST(a_group_of_one_survives_crashes)
{
    run_seeds(1, 0, 0, false, 0);
}

TEST(a_group_whose_members_change_agrees_under_faults)
{
    run_seeds(3, 0, 3000, false, 0);
}

TEST(a_group_of_one_grows_and_shrinks_under_faults)
{
    run_seeds(1, 1, 3000, false, 0);
}

TEST(leases_never_serve_what_is_stale)
{
    run_seeds(3, 0, 0, true, 0);
}

TEST(leases_hold_while_members_change)
{
    run_seeds(2, 1, 3000, true, 0);
}

TEST(a_minority_that_is_damaged_is_repaired)
{
    run_seeds(3, 0, 0, false, 1);
    run_seeds(5, 0, 0, false, 2);
}

TEST(a_damaged_voter_gives_no_wrong_lease)
{
    run_seeds(3, 0, 0, true, 1);
}

/* The group may stop for good, but nothing is lost. */
TEST(a_majority_that_is_damaged_loses_nothing)
{
    run_seeds(3, 0, 0, false, 3);
    run_seeds(4, 0, 0, false, 4);
}

TEST(damage_while_members_change_loses_nothing)
{
    run_seeds(3, 0, 3000, false, 2);
}

T_MAIN(T(three_voters_agree_under_faults), T(four_voters_agree_under_faults),
       T(five_voters_agree_under_faults), T(three_voters_and_a_learner_agree_under_faults),
       T(a_group_of_one_survives_crashes), T(a_group_whose_members_change_agrees_under_faults),
       T(a_group_of_one_grows_and_shrinks_under_faults), T(leases_never_serve_what_is_stale),
       T(leases_hold_while_members_change), T(a_minority_that_is_damaged_is_repaired),
       T(a_damaged_voter_gives_no_wrong_lease), T(a_majority_that_is_damaged_loses_nothing),
       T(damage_while_members_change_loses_nothing))
