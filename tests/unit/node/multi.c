/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/node/multi.h"
#include "cluster/node/group.h"

static struct group *replica(struct cluster *c, unsigned id, unsigned gid)
{
    struct node *n = id ? c->nodes[id - 1].node : NULL;
    return n ? node_group(n, gid) : NULL;
}

unsigned multi_leader(struct cluster *c, unsigned gid)
{
    unsigned leader = 0;
    raft_term term = 0;
    for (unsigned id = 1; id <= c->n; id++) {
        struct group *g = replica(c, id, gid);
        if (g && g->leading && g->term > term) {
            leader = id;
            term = g->term;
        }
    }
    return leader;
}

void multi_make(struct cluster *c, unsigned gid, const char *nodes)
{
    struct group_member members[8];
    struct msg_group_create m = {.gid = gid, .members = members};
    struct msg_status s;
    for (; *nodes; nodes++)
        members[m.n_members++].node = (uint32_t)(*nodes - '0');
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, group_create, &m));
    T_OK(dec_status(f.body, &c->arena, &s));
    assert_int_equal(s.status, 0);
    client_hang_up(k);
    EVENTUALLY(c, multi_leader(c, gid) != 0);
}

struct cluster *multi_serving(unsigned n, unsigned n_groups)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n});
    for (unsigned gid = 1; gid <= n_groups; gid++)
        multi_make(c, gid, "123");
    return c;
}

static const struct kv *state(struct cluster *c, unsigned gid)
{
    struct group *g = replica(c, multi_leader(c, gid), gid);
    return g ? g->kv : NULL;
}

static uint64_t config_num(struct cluster *c)
{
    const struct kv *kv = state(c, 0);
    return kv ? kv_config(kv)->num : 0;
}

void multi_change(struct cluster *c, enum config_op op, unsigned shard, const char *gids)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct group_id ids[8];
    EVENTUALLY(c, multi_settled(c));
    uint64_t num = config_num(c);
    struct msg_config_change m = {
        .op = (uint8_t)op, .num = num, .shard = (uint16_t)shard, .gids = ids};
    for (; *gids; gids++)
        ids[m.n_gids++].gid = (uint32_t)(*gids - '0');
    enc_config_change(&e, &m);
    EVENTUALLY(c, cluster_leader(c) != 0);
    T_OK(group_propose(replica(c, cluster_leader(c), 0), KV_CMD_CONFIG, enc_view(&e), NULL));
    for (unsigned i = 0; i < 100 && config_num(c) <= num; i++)
        (void)cluster_rounds(c, 1);
    assert_int_equal(config_num(c), num + 1);
}

bool multi_settled(struct cluster *c)
{
    const struct kv *kv = state(c, 0);
    return kv && kv_config_pending(kv) == 0;
}

enum shard_state multi_state(struct cluster *c, unsigned gid, unsigned shard)
{
    EVENTUALLY(c, state(c, gid) != NULL);
    return kv_shard(state(c, gid), shard)->state;
}

unsigned multi_owner(struct cluster *c, unsigned shard)
{
    unsigned owner = UINT32_MAX;
    EVENTUALLY(c, state(c, 0) != NULL);
    for (unsigned gid = 0; gid < 8; gid++) {
        if (gid > 0 && !kv_group(state(c, 0), gid))
            continue;
        enum shard_state s = multi_state(c, gid, shard);
        if (s != SHARD_OWNED)
            continue;
        assert_int_equal(owner, UINT32_MAX);
        owner = gid;
    }
    assert_int_not_equal(owner, UINT32_MAX);
    return owner;
}

size_t multi_fencing(struct cluster *c)
{
    const struct kv *kv = state(c, 0);
    uint64_t newest;
    return kv ? kv_fencing(kv, &newest) : SIZE_MAX;
}

uint64_t multi_applied(struct cluster *c, unsigned gid)
{
    EVENTUALLY(c, state(c, gid) != NULL);
    return replica(c, multi_leader(c, gid), gid)->applied;
}

bool multi_moving(struct cluster *c, unsigned shard)
{
    const struct kv *kv = state(c, 0);
    enum shard_state s = kv ? kv_shard(kv, shard)->state : SHARD_OWNED;
    return s != SHARD_OWNED;
}

/* --- the client ------------------------------------------------------------------------------- */

struct bytes multi_key(struct cluster *c, unsigned shard, const char *name)
{
    size_t n = strlen(name);
    uint8_t *k = arena_alloc(&c->arena, n + 2);
    put_be16(k, (uint16_t)shard);
    memcpy(k + 2, name, n);
    return bytes_of(k, n + 2);
}

/* Any node that serves tells by LOCATE; the shard of a txn is that of its first key. */
static unsigned aim(struct cluster *c, unsigned shard, unsigned try)
{
    unsigned at = try % c->n + 1;
    struct msg_locate m = {.shard = (uint16_t)shard};
    struct msg_locate_reply r;
    if (!c->nodes[at - 1].node)
        return 0;
    struct test_client *k = client_connect(c, at, ROLE_CLIENT, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, locate, &m));
    T_OK(dec_locate_reply(f.body, &c->arena, &r));
    client_hang_up(k);
    return r.leader && c->nodes[r.leader - 1].node ? r.leader : 0;
}

/* 0: without an answer. */
static unsigned try_once(struct cluster *c, unsigned node, const struct msg_txn *t,
                         struct msg_txn_reply *ret)
{
    struct test_client *k = client_connect(c, node, ROLE_CLIENT, false);
    uint64_t id = CLIENT_ASK(k, txn, t);
    for (unsigned i = 0; i < 300 && !client_has(k, id) && !client_closed(k); i++)
        cluster_run(c, 1);
    unsigned status = client_has(k, id) ? frame_status(c, client_wait(k, id), ret) : ERR_TIMEOUT;
    client_hang_up(k);
    return status;
}

static bool is_final(unsigned status)
{
    return status != ERR_NOT_LEADER && status != ERR_WRONG_GROUP && status != ERR_BUSY &&
           status != ERR_TIMEOUT;
}

unsigned multi_txn(struct cluster *c, const struct msg_txn *t, struct msg_txn_reply *ret)
{
    struct bytes key = t->n_writes ? t->writes[0].key : t->reads[0].key;
    unsigned status = ERR_TIMEOUT, shard = get_be16(key.p);
    for (uint32_t i = 1; i < t->n_writes; i++)
        shard = MIN(shard, get_be16(t->writes[i].key.p));
    for (unsigned try = 0; !is_final(status); try++) {
        if (try == PATIENCE / 10)
            fail_msg("shard %u never answers: status %u", shard, status);
        unsigned node = aim(c, shard, try);
        status = node ? try_once(c, node, t, ret) : ERR_TIMEOUT;
        if (!is_final(status))
            cluster_run(c, 5);
    }
    return status;
}

unsigned multi_put(struct cluster *c, uint64_t client, uint64_t seq, unsigned shard,
                   const char *name, struct bytes value)
{
    struct kv_write w = {.op = KV_PUT, .key = multi_key(c, shard, name), .value = value};
    struct msg_txn t = {
        .client = client, .seq = seq, .acked_below = seq, .n_writes = 1, .writes = &w};
    return multi_txn(c, &t, NULL);
}

const char *multi_get(struct cluster *c, unsigned shard, const char *name)
{
    struct kv_read r = {.op = KV_GET, .key = multi_key(c, shard, name)};
    struct msg_txn t = {.n_reads = 1, .reads = &r};
    struct msg_txn_reply reply = {0};
    assert_int_equal(multi_txn(c, &t, &reply), 0);
    if (reply.reads[0].version == 0)
        return NULL;
    struct bytes v = reply.reads[0].value;
    return arena_printf(&c->arena, "%.*s", (int)v.n, (const char *)v.p);
}

unsigned multi_close(struct cluster *c, uint64_t client)
{
    const struct msg_session_close m = {client};
    struct msg_session_reply reply;
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    struct frame f = client_wait(k, CLIENT_ASK(k, session_close, &m));
    assert_int_equal(f.type, MSG_session_reply);
    T_OK(dec_session_reply(f.body, &c->arena, &reply));
    client_hang_up(k);
    return reply.status;
}

uint64_t multi_session(struct cluster *c)
{
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    uint64_t client = client_open_session(k);
    client_hang_up(k);
    return client;
}
