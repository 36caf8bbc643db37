/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/controller.h"
#include "cluster/node/request.h"

/* --- refusals --------------------------------------------------------------------------------- */

/* The first group named that is (or is not) a member; of JOIN one that was never made comes first.
 */
static uint32_t culprit(const struct kv *kv, const struct msg_config_change *m, bool member)
{
    for (uint32_t i = 0; i < m->n_gids; i++)
        if (config_has_group(kv_config(kv), m->gids[i].gid) == member)
            return m->gids[i].gid;
    return m->n_gids > 0 ? m->gids[0].gid : 0;
}

static uint32_t never_made(const struct kv *kv, const struct msg_config_change *m)
{
    for (uint32_t i = 0; i < m->n_gids; i++)
        if (m->gids[i].gid != 0 && !kv_group(kv, m->gids[i].gid))
            return m->gids[i].gid;
    return 0;
}

static int not_found(const struct kv *kv, const struct msg_config_change *m, struct errmsg *msg)
{
    if (never_made(kv, m) != 0)
        return errmsg_set(msg, -ERR_NOT_FOUND, "there is no group %u: raftfsctl status lists them",
                          never_made(kv, m));
    return errmsg_set(msg, -ERR_NOT_FOUND, "group %u has not joined", culprit(kv, m, false));
}

static int invalid(const struct kv *kv, const struct msg_config_change *m, struct errmsg *msg)
{
    unsigned n = kv_config(kv)->n_shards;
    if (m->op == CONFIG_MOVE && m->shard >= n)
        return errmsg_set(msg, -ERR_INVALID, "there is no shard %u: they are 0 to %u", m->shard,
                          n - 1);
    return errmsg_set(msg, -ERR_INVALID, "no group is named");
}

static int refused(const struct kv *kv, const struct msg_config_change *m, int err,
                   struct errmsg *msg)
{
    uint64_t num = kv_config(kv)->num;
    switch (err) {
    case -ERR_MOVING:
        return errmsg_set(msg, err,
                          "%u shard%s still on the way to configuration %" G_GUINT64_FORMAT
                          ": ask again when all have arrived",
                          kv_config_pending(kv), kv_config_pending(kv) == 1 ? " is" : "s are",
                          num);
    case -ERR_CONFIG_NUM:
        return errmsg_set(msg, err,
                          "the configuration is %" G_GUINT64_FORMAT
                          " by now, not %" G_GUINT64_FORMAT ": look at it and ask again",
                          num, m->num);
    case -ERR_NOT_FOUND:
        return not_found(kv, m, msg);
    case -ERR_EXISTS:
        return errmsg_set(msg, err, "group %u has joined already, or is named twice",
                          culprit(kv, m, true));
    case -ERR_NO_OWNER:
        return errmsg_set(
            msg, err,
            m->op == CONFIG_LEAVE
                ? "no group would be left to own the shards: let another one join first"
                : "no group has joined yet: group 0 owns every shard");
    case -ERR_INVALID:
        return invalid(kv, m, msg);
    default:
        return errmsg_set(msg, err, "%s", err_text(err));
    }
}

/* Room for a configuration is taken from `a`. */
static int check(const struct kv *kv, const struct msg_config_change *m, struct arena *a,
                 struct config **ret, struct errmsg *msg)
{
    struct config *next = arena_alloc(a, sizeof(*next));
    int err = kv_config_check(kv, m, next);
    if (err < 0)
        return refused(kv, m, err, msg);
    *ret = next;
    return 0;
}

/* --- changes ---------------------------------------------------------------------------------- */

static const char *op_name(unsigned op)
{
    switch (op) {
    case CONFIG_JOIN:
        return "join";
    case CONFIG_LEAVE:
        return "leave";
    case CONFIG_MOVE:
        return "move";
    default:
        return "rebalance";
    }
}

int serve_config_change(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct group *g0 = node_group(n, 0);
    struct msg_config_change m;
    struct errmsg msg = {""};
    struct config *next = NULL;
    if (dec_config_change(body, &n->scratch, &m) < 0)
        return -ERR_INVALID;
    if (!group_is_leader(g0) || !g0->leading) {
        conn_answer_status(n, c->token, id, -ERR_NOT_LEADER, group_hint(g0), NULL);
        return 0;
    }
    int err = check(g0->kv, &m, &n->scratch, &next, &msg);
    if (err < 0) {
        conn_answer_status(n, c->token, id, err, 0, msg.text);
        return 0;
    }
    struct request *r = request_create(n, c, id, 0, BYTES_NONE);
    if (!r)
        return -ERR_BUSY;
    node_log(n, LOG_INFO, "config num=%" G_GUINT64_FORMAT " op=%s shards_moving=%u", next->num,
             op_name(m.op), config_distance(kv_config(g0->kv), next));
    group_propose(g0, KV_CMD_CONFIG, body, r);
    return 0;
}

/* --- reads ------------------------------------------------------------------------------------ */

static int read_later(struct conn *c, uint64_t id, unsigned type, struct bytes body)
{
    struct request *r = request_create(c->node, c, id, type, body);
    if (!r)
        return -ERR_BUSY;
    group_read(node_group(c->node, 0), r);
    return 0;
}

int serve_config_get(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_config_get m;
    if (dec_config_get(body, &c->node->scratch, &m) < 0)
        return -ERR_INVALID;
    return read_later(c, id, MSG_config_get, body);
}

int serve_config_preview(struct conn *c, uint64_t id, struct bytes body)
{
    struct msg_config_preview m;
    if (dec_config_preview(body, &c->node->scratch, &m) < 0)
        return -ERR_INVALID;
    return read_later(c, id, MSG_config_preview, body);
}

static void fill_groups(const struct config *c, struct arena *a, struct msg_config_reply *m)
{
    m->num = c->num;
    m->n_groups = c->n_groups;
    m->groups = arena_array(a, c->n_groups, sizeof(*m->groups));
    for (unsigned i = 0; i < c->n_groups; i++)
        m->groups[i].gid = c->groups[i];
    m->n_owners = c->n_shards;
    m->owners = arena_array(a, c->n_shards, sizeof(*m->owners));
    for (unsigned i = 0; i < c->n_shards; i++)
        m->owners[i].gid = c->owner[i];
}

static void fill_pending(const struct kv *kv, struct arena *a, struct msg_config_reply *m)
{
    uint32_t from;
    m->pending = arena_array(a, kv_config_pending(kv), sizeof(*m->pending));
    for (unsigned shard = 0; shard < kv_config(kv)->n_shards; shard++)
        if (kv_config_is_pending(kv, shard, &from))
            m->pending[m->n_pending++] = (struct shard_from){.shard = (uint16_t)shard, .gid = from};
}

/* The number asked for; the latest with what is on its way. */
static int get(struct group *g0, struct request *r, struct msg_config_reply *ret,
               struct errmsg *msg)
{
    struct arena *a = &g0->node->scratch;
    const struct config *latest = kv_config(g0->kv);
    struct config *at = arena_alloc(a, sizeof(*at));
    struct msg_config_get m;
    int err = dec_config_get(buf_bytes(r->body), a, &m);
    if (err < 0)
        return err;
    if (m.num == CONFIG_LATEST || m.num == latest->num) {
        fill_groups(latest, a, ret);
        fill_pending(g0->kv, a, ret);
        return 0;
    }
    err = kv_config_at(g0->kv, m.num, at);
    if (err == -ERR_NOT_FOUND)
        return errmsg_set(msg, err,
                          m.num > latest->num ? "there is no configuration %" G_GUINT64_FORMAT
                                                " yet: the latest is %" G_GUINT64_FORMAT
                                              : "configuration %" G_GUINT64_FORMAT
                                                " was forgotten: the latest is %" G_GUINT64_FORMAT,
                          m.num, latest->num);
    if (err == 0)
        fill_groups(at, a, ret);
    return err;
}

static int preview(struct group *g0, struct request *r, struct msg_config_reply *ret,
                   struct errmsg *msg)
{
    struct arena *a = &g0->node->scratch;
    struct msg_config_change m;
    struct config *next = NULL;
    int err = dec_config_change(buf_bytes(r->body), a, &m);
    if (err < 0)
        return err;
    m.num = kv_config(g0->kv)->num;
    err = check(g0->kv, &m, a, &next, msg);
    if (err == 0)
        fill_groups(next, a, ret);
    return err;
}

void read_config(struct group *g0, struct request *r, const struct raft_read *read)
{
    struct msg_config_reply m = {0};
    struct errmsg msg = {""};
    int err = (r->type == MSG_config_get ? get : preview)(g0, r, &m, &msg);
    if (!group_read_holds(g0, read, r))
        return;
    if (err < 0) {
        request_fail(r, err, 0, msg.text[0] ? msg.text : NULL);
        return;
    }
    CONN_ANSWER(g0->node, r->token, config_reply, r->id, &m);
    request_destroy(r);
}
