/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/bootstrap.h"
#include "cluster/node/ask.h"
#include "cluster/node/peer.h"
#include "cluster/node/place.h"

#define REPLICAS 3
/* For voters that are not there: they are started by hand, one after the other, on several
 * machines, and a group that is made with all there has the leader that it should have. */
#define PATIENCE_MS 10000
#define ASK_MS      2000
#define AGAIN_MS    1000

/* Does a leader of the group answer? */
struct probe {
    struct bootstrap *bootstrap;
    uint32_t gid;
    uint64_t ask; /* 0: none is under way */
    bool led;
};

struct bootstrap {
    struct group *group;
    bool begun;                      /* by this leadership */
    uint64_t patience;               /* tick until which all voters are waited for */
    uint64_t again_at;               /* tick: something was refused */
    raft_index asked;                /* newest entry that was proposed */
    bool told;                       /* why it does not go on */
    struct probe probes[GROUPS_MAX]; /* of gid 1 and so on */
};

struct bootstrap *bootstrap_create(struct group *g)
{
    if (g->gid != 0 || g->node->config.groups == 0)
        return NULL;
    struct bootstrap *b = g_new0(struct bootstrap, 1);
    b->group = g;
    for (unsigned i = 0; i < GROUPS_MAX; i++)
        b->probes[i] = (struct probe){.bootstrap = b, .gid = i + 1};
    return b;
}

void bootstrap_yield(struct bootstrap *b)
{
    if (!b)
        return;
    struct node *n = b->group->node;
    for (unsigned i = 0; i < GROUPS_MAX; i++) {
        if (n->asks)
            ask_drop(n, b->probes[i].ask);
        b->probes[i].ask = 0;
        b->probes[i].led = false;
    }
    b->begun = b->told = false;
    b->again_at = 0;
    b->asked = 0;
}

void bootstrap_destroy(struct bootstrap *b)
{
    bootstrap_yield(b);
    g_free(b);
}

static unsigned wanted(const struct bootstrap *b)
{
    return b->group->node->config.groups;
}

static bool is_over(const struct bootstrap *b)
{
    return kv_config(b->group->kv)->num > 0;
}

static void note_proposed(struct bootstrap *b)
{
    struct raft_status s;
    raft_get_status(b->group->raft, &s);
    b->asked = s.last;
}

static void again_later(struct bootstrap *b)
{
    b->again_at = b->group->node->now + TICKS(AGAIN_MS);
}

/* --- making ----------------------------------------------------------------------------------- */

/* The voters whose turn comes first. Rising, as rows have them. */
static void choose_members(const struct group *g0, uint32_t gid, struct msg_group_create *m)
{
    const struct raft_conf *conf = raft_get_conf(g0->raft);
    unsigned replicas = MIN(conf->n_voters, REPLICAS);
    *m = (struct msg_group_create){.gid = gid, .members = m->members};
    for (unsigned i = 0; i < conf->n_voters; i++) {
        unsigned at = m->n_members;
        if (place_turn(g0->node, gid, conf->voters[i]) >= replicas)
            continue;
        for (; at > 0 && m->members[at - 1].node > conf->voters[i]; at--)
            m->members[at] = m->members[at - 1];
        m->members[at].node = conf->voters[i];
        m->n_members++;
    }
}

static bool is_missing(const struct bootstrap *b)
{
    for (uint32_t gid = 1; gid <= wanted(b); gid++)
        if (!kv_group(b->group->kv, gid))
            return true;
    return false;
}

static void make_one(struct bootstrap *b, uint32_t gid)
{
    struct group_member members[REPLICAS];
    struct msg_group_create m = {.members = members};
    struct errmsg msg = {""};
    choose_members(b->group, gid, &m);
    if (place_make(b->group, &m, &msg) == 0) {
        note_proposed(b);
        return;
    }
    again_later(b);
    if (!b->told && msg.text[0])
        node_log(b->group->node, LOG_WARN, "bootstrap-waits gid=%u reason=\"%s\"", gid, msg.text);
    b->told = true;
}

static void make_missing(struct bootstrap *b)
{
    struct group *g0 = b->group;
    if (g0->node->now < b->patience && peers_silent(g0->node, raft_get_conf(g0->raft)) > 0)
        return;
    for (uint32_t gid = 1; gid <= wanted(b); gid++)
        if (!kv_group(g0->kv, gid))
            make_one(b, gid);
}

/* --- joining ---------------------------------------------------------------------------------- */

static bool all_led(const struct bootstrap *b)
{
    for (unsigned i = 0; i < wanted(b); i++)
        if (!b->probes[i].led)
            return false;
    return true;
}

static void on_answer(void *ctx, int err, unsigned type, struct bytes body)
{
    struct probe *p = ctx;
    p->ask = 0;
    p->led = err == 0;
    if (!p->led)
        again_later(p->bootstrap);
}

/* An attempt that there never was: only a leader with a majority behind it says so, and nothing is
 * logged for it. */
static void ask_leaders(struct bootstrap *b)
{
    for (unsigned i = 0; i < wanted(b); i++) {
        struct probe *p = &b->probes[i];
        CLEANUP(enc_finish) struct enc e = {0};
        const struct msg_txn_ask m = {.gid = p->gid};
        if (p->ask || p->led)
            continue;
        enc_txn_ask(&e, &m);
        p->ask = ask_group(b->group->node, p->gid, MSG_txn_ask, enc_view(&e), ASK_MS, on_answer, p);
    }
}

static void join_all(struct bootstrap *b)
{
    struct group *g0 = b->group;
    struct group_id gids[GROUPS_MAX];
    struct config next;
    struct msg_config_change m = {.op = CONFIG_JOIN, .n_gids = wanted(b), .gids = gids};
    CLEANUP(enc_finish) struct enc e = {0};
    for (unsigned i = 0; i < wanted(b); i++)
        gids[i].gid = b->probes[i].gid;
    int err = kv_config_check(g0->kv, &m, &next);
    enc_config_change(&e, &m);
    if (err == 0)
        err = group_propose(g0, KV_CMD_CONFIG, enc_view(&e), NULL);
    if (err < 0) {
        again_later(b);
        return;
    }
    note_proposed(b);
    node_log(g0->node, LOG_INFO, "bootstrap groups=%u shards=%u", wanted(b), next.n_shards);
}

/* --- time ------------------------------------------------------------------------------------- */

/* It is this leader's turn, and what was proposed is applied. */
static bool may_go_on(const struct bootstrap *b)
{
    const struct group *g0 = b->group;
    return g0->leading && !g0->paused && !g0->store_full && !is_over(b) &&
           g0->applied >= b->asked && g0->node->now >= b->again_at;
}

void bootstrap_tick(struct bootstrap *b)
{
    if (!b || !may_go_on(b))
        return;
    struct node *n = b->group->node;
    if (!b->begun) {
        b->begun = true;
        b->patience = n->now + TICKS(PATIENCE_MS);
    }
    if (is_missing(b))
        make_missing(b);
    else if (all_led(b))
        join_all(b);
    else
        ask_leaders(b);
}
