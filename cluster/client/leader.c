/* SPDX-License-Identifier: Apache-2.0 */
/* leader.c - which group has a shard and who leads it, as the nodes say: LOCATE is answered by any
 * node at once. */
#include "cluster/client/impl.h"

/* Made when it is first heard of. There are never more than the cluster may have; should a node say
 * so all the same, its groups share the first place: a wrong guess costs a hop. */
static struct client_group *group_of(struct client *c, uint32_t gid)
{
    unsigned n = __atomic_load_n(&c->n_groups, __ATOMIC_ACQUIRE), at = 0;

    while (at < n && c->groups[at].gid != gid)
        at++;
    if (at < n)
        return &c->groups[at];
    pthread_mutex_lock(&c->lock);
    n = c->n_groups;
    while (at < n && c->groups[at].gid != gid)
        at++;
    if (at == ARRAY_LEN(c->groups)) {
        at = 0;
    } else if (at == n) {
        c->groups[n].gid = gid;
        __atomic_store_n(&c->n_groups, n + 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&c->lock);
    return &c->groups[at];
}

struct client_group *leader_group(struct client *c, const struct client_call *call)
{
    uint32_t gid =
        call->shard < SHARDS_MAX ? __atomic_load_n(&c->gids[call->shard], __ATOMIC_RELAXED) : 0;

    return gid ? group_of(c, gid) : &c->groups[0];
}

void leader_learn_group(struct client *c, struct client_call *call, uint32_t gid)
{
    if (call->shard < SHARDS_MAX)
        __atomic_store_n(&c->gids[call->shard], gid, __ATOMIC_RELAXED);
    call->group = leader_group(c, call);
}

void leader_learn(struct client_group *g, uint32_t id)
{
    if (__atomic_load_n(&g->leader, __ATOMIC_RELAXED) != id)
        __atomic_store_n(&g->leader, id, __ATOMIC_RELAXED);
}

void leader_doubt(struct client_group *g, uint32_t id)
{
    __atomic_compare_exchange_n(&g->leader, &id, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* A member that joined after the conf was written. */
static void learn_node(struct client *c, const struct node_address *from)
{
    pthread_mutex_lock(&c->lock);
    unsigned n = client_known(c);
    if (from->node && pool_find(c, from->node) < 0 && n < NODES_MAX) {
        c->nodes[n] = (struct client_node){
            .id = from->node, .address = g_strndup((const char *)from->address.p, from->address.n)};
        __atomic_store_n(&c->n_nodes, n + 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&c->lock);
}

/* What a node says of a shard. */
struct place {
    uint32_t gid, next, leader;
};

static int locate(struct client *c, unsigned node, uint16_t shard, uint64_t deadline_ns,
                  struct client_cancel *cancel, struct place *ret, struct errmsg *msg)
{
    struct client_call *call CLEANUP(call_destroy) = call_create(c, MSG_locate_reply);
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_locate m = {.shard = shard};
    struct msg_locate_reply reply;

    call_is_small(call);
    FRAME(&call->frame, locate, call->ticket.id, &m);
    int r = call_ask(c, call, node, deadline_ns, cancel, msg);
    if (r < 0)
        return r;
    if (call->reply_type == MSG_status ||
        dec_locate_reply(buf_bytes(call->reply), &a, &reply) < 0 || reply.status != 0)
        return errmsg_set(msg, -ERR_INVALID, "node n%u at %s does not answer who leads",
                          c->nodes[node].id, c->nodes[node].address);
    if (reply.shards)
        __atomic_store_n(&c->shards, reply.shards, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < reply.n_nodes; i++)
        learn_node(c, &reply.nodes[i]);
    *ret = (struct place){reply.gid, reply.next, reply.leader};
    return 0;
}

int leader_named(struct client *c, uint32_t id, unsigned node, uint64_t deadline_ns,
                 struct client_cancel *cancel)
{
    struct place place;
    int at = pool_find(c, id);

    if (id && at < 0 &&
        locate(c, node, LOCATE_GROUP_0, deadline_first(deadline_ns, deadline_in(HEARSAY_MS)),
               cancel, &place, NULL) == 0)
        at = pool_find(c, id);
    return at;
}

/* While a shard moves, its group of before or the next one has it: not the one that just refused.
 * A node that lags names that very one; then others are asked. */
int leader_of_other_group(struct client *c, struct client_call *call, uint64_t deadline_ns,
                          struct client_cancel *cancel)
{
    uint64_t until_ns = deadline_first(deadline_ns, deadline_in(HEARSAY_MS));
    uint32_t refused = call->group->gid;
    struct place place = {refused, refused, 0};
    int r = 0;

    for (unsigned i = 0; i < client_known(c) && place.gid == refused && place.next == refused;
         i++) {
        r = locate(c, (call->node + i) % client_known(c), call->shard, until_ns, cancel, &place,
                   NULL);
        if (r == -ERR_CANCELED)
            return r;
    }
    if (r < 0)
        return r;
    leader_learn_group(c, call, place.gid == refused ? place.next : place.gid);
    if (call->group->gid == place.gid && place.leader)
        leader_learn(call->group, place.leader);
    return 0;
}

/* True for one caller per HEARSAY_MS: what it hears serves all. */
static bool may_ask(struct client_group *g)
{
    uint64_t now = clock_mono_ns(), last = __atomic_load_n(&g->hearsay_ns, __ATOMIC_RELAXED);

    return now - last >= HEARSAY_MS * UINT64_C(1000000) &&
           __atomic_compare_exchange_n(&g->hearsay_ns, &last, now, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

int leader_elsewhere(struct client *c, struct client_call *call, uint64_t deadline_ns,
                     struct client_cancel *cancel, unsigned *ret)
{
    struct client_group *g = call->group;
    unsigned node = call->node;
    int known = pool_find(c, __atomic_load_n(&g->leader, __ATOMIC_RELAXED));
    uint64_t until_ns = deadline_first(deadline_ns, deadline_in(HEARSAY_MS));
    struct place place;

    /* Not always the same first: it could be the one that eats all the time. */
    unsigned first =
        (unsigned)(__atomic_load_n(&c->next_request, __ATOMIC_RELAXED) % client_known(c));
    bool ask = (known < 0 || (unsigned)known == node) && may_ask(g);
    for (unsigned i = 0; ask && i < client_known(c); i++) {
        unsigned at = (first + i) % client_known(c);
        if (at == node)
            continue;
        int r = locate(c, at, call->shard, until_ns, cancel, &place, NULL);
        if (r == -ERR_CANCELED)
            return r;
        known = r < 0 ? -1 : pool_find(c, place.leader);
        if (known >= 0 && (unsigned)known != node) {
            leader_learn_group(c, call, place.gid);
            leader_learn(call->group, place.leader);
        }
        ask = known < 0 || (unsigned)known == node;
    }
    if (known < 0 || (unsigned)known == node)
        return 0;
    *ret = (unsigned)known;
    return 1;
}

/* --- the probe --- */

/* Errors that do not go away by waiting. */
static bool is_lasting(int err)
{
    return err == -ERR_TLS || err == -ERR_WRONG_CLUSTER || err == -ERR_FORMAT || err == -ERR_CONFIG;
}

/* Asks each node until the one that leads says so. 0; the one lasting error of all nodes; or
 * -ERR_UNREACHABLE. */
static int probe_once(struct client *c, uint64_t deadline_ns, GString *why)
{
    int common = 0;

    for (unsigned i = 0; i < client_known(c); i++) {
        const struct client_node *n = &c->nodes[i];
        struct errmsg msg = {0};
        struct place place;
        int r = locate(c, i, LOCATE_GROUP_0, deadline_first(deadline_ns, deadline_in(CONNECT_MS)),
                       NULL, &place, &msg);
        if (r == 0 && place.leader == n->id) {
            leader_learn(&c->groups[0], n->id);
            return 0;
        }
        if (r == 0 && place.leader)
            errmsg_set(&msg, 0, "node n%u says that n%u leads", n->id, place.leader);
        else if (r == 0)
            errmsg_set(&msg, 0, "node n%u knows no leader", n->id);
        g_string_append_printf(why, "%s%s", why->len ? "; " : "", msg.text);
        common = i == 0 || r == common ? r : -ERR_UNREACHABLE;
    }
    return is_lasting(common) ? common : -ERR_UNREACHABLE;
}

int client_probe(struct client *c, unsigned timeout_ms, struct errmsg *msg)
{
    uint64_t deadline_ns = deadline_in(timeout_ms);
    char *why = NULL;
    int r;

    do {
        GString *now = g_string_new(NULL);
        r = probe_once(c, deadline_ns, now);
        if (!why || !deadline_over(deadline_ns)) { /* a round that was cut short says less */
            g_free(why);
            why = g_string_free(now, FALSE);
        } else {
            g_string_free(now, TRUE);
        }
    } while (r < 0 && !is_lasting(r) && cancel_sleep(NULL, BACKOFF_MAX_MS / 2, deadline_ns) == 0);
    if (r < 0)
        errmsg_set(msg, r, "%.500s", why);
    g_free(why);
    return r;
}
