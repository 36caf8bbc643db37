/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include "cluster/base/clock.h"
#include "cluster/ctl/drain.h"
#include "cluster/ctl/members.h"

#define LOOK_US  200000
#define TELL_MS  10000
#define BUSY_US  100000
#define PAIR_MAX (VOTERS_MAX + 1)

struct drain {
    struct client *client;
    uint32_t node;
    struct members members;
    struct arena arena;
    struct msg_groups_reply groups;
    unsigned replicas[NODES_MAX]; /* of each of the members, as they shall be */
};

static uint64_t in_ms(unsigned ms)
{
    return clock_mono_ns() + ms * UINT64_C(1000000);
}

static bool has(const struct group_member *all, uint32_t n, uint32_t node)
{
    for (uint32_t i = 0; i < n; i++)
        if (all[i].node == node)
            return true;
    return false;
}

static int look(struct drain *d, struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct buf *CLEANUP(buf_unref) body = NULL;
    const struct msg_groups m = {0};
    unsigned type = 0;
    int err = members_ask(d->client, in_ms(TELL_MS), &d->members, msg);
    if (err < 0)
        return err;
    enc_groups(&e, &m);
    err = client_ask_node_msg(d->client, d->members.reply.leader, MSG_groups, enc_view(&e), TELL_MS,
                              &type, &body, msg);
    if (err < 0)
        return err;
    arena_reset(&d->arena);
    struct bytes copy = arena_copy(&d->arena, buf_bytes(body));
    if (type != MSG_groups_reply || dec_groups_reply(copy, &d->arena, &d->groups) < 0)
        return errmsg_set(msg, -ERR_INVALID, "n%u does not tell where the groups live",
                          d->members.reply.leader);
    const struct msg_members_reply *r = &d->members.reply;
    for (uint32_t k = 0; k < r->n_members; k++) {
        d->replicas[k] = 0;
        for (uint32_t i = 0; i < d->groups.n_groups; i++)
            d->replicas[k] +=
                has(d->groups.groups[i].home, d->groups.groups[i].n_home, r->members[k].node);
    }
    return 0;
}

/* Groups with a replica there, now or by what was asked for. */
static unsigned count_left(const struct drain *d)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < d->groups.n_groups; i++) {
        const struct group_place *g = &d->groups.groups[i];
        n += has(g->home, g->n_home, d->node) || has(g->held, g->n_held, d->node);
    }
    return n;
}

/* The voter with the fewest replicas that the group does not live at; UINT32_MAX: there is none. */
static uint32_t choose(const struct drain *d, const struct group_place *g)
{
    const struct msg_members_reply *r = &d->members.reply;
    uint32_t best = UINT32_MAX;
    for (uint32_t k = 0; k < r->n_members; k++) {
        uint32_t id = r->members[k].node;
        if (id == d->node || !(r->members[k].roles & MEMBER_VOTER) || has(g->home, g->n_home, id))
            continue;
        if (best == UINT32_MAX || d->replicas[k] < d->replicas[best])
            best = k;
    }
    return best;
}

static int send_away(struct drain *d, const struct group_place *g, struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct group_member home[PAIR_MAX];
    struct msg_group_home m = {.gid = g->gid, .members = home};
    uint32_t to = choose(d, g);
    for (uint32_t i = 0; i < g->n_home; i++)
        if (g->home[i].node != d->node)
            home[m.n_members++] = g->home[i];
    if (to != UINT32_MAX) {
        home[m.n_members++].node = d->members.reply.members[to].node;
        d->replicas[to]++;
    }
    if (m.n_members == 0)
        return errmsg_set(msg, -ERR_INVALID, "n%u has the only replica of group %" PRIu32, d->node,
                          g->gid);
    enc_group_home(&e, &m);
    return members_tell(d->client, MSG_group_home, enc_view(&e), in_ms(TELL_MS), msg);
}

static int send_all_away(struct drain *d, struct errmsg *msg)
{
    for (uint32_t i = 0; i < d->groups.n_groups; i++) {
        const struct group_place *g = &d->groups.groups[i];
        int err = has(g->home, g->n_home, d->node) ? send_away(d, g, msg) : 0;
        if (err == -ERR_BUSY)
            g_usleep(BUSY_US); /* at the next look */
        else if (err < 0)
            return err;
    }
    return 0;
}

static int run(struct drain *d, unsigned timeout_s, struct errmsg *msg)
{
    uint64_t deadline_ns = in_ms(timeout_s * 1000);
    unsigned before = UINT32_MAX;
    for (;;) {
        int err = look(d, msg);
        if (err < 0)
            return err;
        unsigned left = count_left(d);
        if (left == 0)
            return 0;
        if (left != before) {
            printf("  %u %s a replica on n%u: it moves to another node\n", left,
                   left == 1 ? "group has" : "groups have", d->node);
            (void)fflush(stdout);
            deadline_ns = in_ms(timeout_s * 1000);
        }
        before = left;
        err = send_all_away(d, msg);
        if (err < 0)
            return err;
        if (clock_mono_ns() >= deadline_ns)
            return errmsg_set(msg, -ERR_TIMEOUT,
                              "%u %s a replica there still, and nothing has moved for %u s", left,
                              left == 1 ? "group has" : "groups have", timeout_s);
        g_usleep(LOOK_US);
    }
}

int drain_node(struct client *c, uint32_t node, unsigned timeout_s, struct errmsg *msg)
{
    struct drain d = {.client = c, .node = node};
    int err = run(&d, timeout_s, msg);
    members_finish(&d.members);
    arena_finish(&d.arena);
    return err;
}
