/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.c - one entry after another: decide, then put rows into the round; then the watchers and
 * the answers. A full round is written before its last entries are answered.
 */
#include "cluster/kv/apply.h"

/* With so much to say it is said, so that memory stays bounded. */
#define NOTICES_BYTES_MAX MIB(1)

/* --- answers ---------------------------------------------------------------------------------- */

static void give_notices(struct kv *kv, const struct kv_sink *sink)
{
    for (unsigned i = 0; i < kv->notices->len; i++) {
        const struct notice *n = &g_array_index(kv->notices, struct notice, i);

        switch (n->kind) {
        case NOTICE_REPLY:
            sink->reply(sink->ctx, n->index, n->msg_type, n->bytes);
            break;
        case NOTICE_CHANGED:
            if (kv_watched(kv, n->bytes))
                sink->changed(sink->ctx, n->bytes, n->version);
            break;
        case NOTICE_RELEASED:
            sink->released(sink->ctx, &n->txid);
            break;
        case NOTICE_SHARD:
            sink->shard(sink->ctx, n->shard);
            break;
        }
    }
    g_array_set_size(kv->notices, 0);
    arena_reset(&kv->notices_arena);
    kv->notices_bytes = 0;
}

static void notify(struct kv *kv, struct notice n)
{
    n.bytes = arena_copy(&kv->notices_arena, n.bytes);
    kv->notices_bytes += n.bytes.n;
    g_array_append_val(kv->notices, n);
}

static void answer(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                   unsigned type, struct bytes body)
{
    if (sink && sink->reply)
        notify(kv, (struct notice){NOTICE_REPLY, e->index, .msg_type = type, .bytes = body});
}

void apply_tell_released(struct kv *kv, const struct kv_sink *sink, const struct txid *id)
{
    if (sink && sink->released)
        notify(kv, (struct notice){NOTICE_RELEASED, .txid = *id});
}

void apply_tell_shard(struct kv *kv, const struct kv_sink *sink, unsigned shard)
{
    if (sink && sink->shard)
        notify(kv, (struct notice){NOTICE_SHARD, .shard = shard});
}

static void put_format(struct kv *kv, unsigned format)
{
    uint8_t p[10];

    kv->format = format;

    put_le32(p, kv->format);
    put_le32(p + 4, kv->gid);
    p[8] = (uint8_t)kv->shards;
    p[9] = (uint8_t)(kv->shards >> 8);
    round_put(&kv->round, layout_format_key(&kv->arena), bytes_of(p, sizeof(p)));
}

/* The entry has done its part: what it changed and that it was applied go into one batch. */
static void applied(struct kv *kv, const struct kv_entry *e)
{
    uint8_t p[24];

    put_le64(p, e->index);
    put_le64(p + 8, e->term);
    put_le64(p + 16, e->time_ns);
    round_put_at(&kv->round, &kv->applied_at, layout_applied_key(&kv->arena),
                 bytes_of(p, sizeof(p)));
    if (kv->format == 0)
        put_format(kv, LAYOUT_FORMAT_FIRST);
    kv->index = e->index;
    kv->term = e->term;
    kv->time_ns = e->time_ns;
}

int apply_answer(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, unsigned type,
                 struct bytes body)
{
    applied(kv, e);
    answer(kv, e, sink, type, body);
    return 0;
}

int apply_refuse(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, int status)
{
    struct msg_txn_reply reply = {.status = (uint16_t)status, .time = e->time_ns};

    enc_reset(&kv->reply);
    enc_txn_reply(&kv->reply, &reply);
    return apply_answer(kv, e, sink, MSG_txn_reply, enc_view(&kv->reply));
}

int apply_status(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, int verdict)
{
    struct msg_status reply = {.status = (uint16_t)-MIN(verdict, 0)};

    enc_reset(&kv->reply);
    enc_status(&kv->reply, &reply);
    return apply_answer(kv, e, sink, MSG_status, enc_view(&kv->reply));
}

/* --- times ------------------------------------------------------------------------------------ */

static void put_time_floor(struct kv *kv, uint64_t time)
{
    uint8_t p[8];

    put_le64(p, time);
    round_put(&kv->round, layout_time_key(&kv->arena), bytes_of(p, sizeof(p)));
    kv->time_floor = time;
}

uint64_t apply_time(struct kv *kv, const struct kv_entry *e)
{
    if (e->time_ns > kv->time_floor)
        return e->time_ns;
    put_time_floor(kv, kv->time_floor + 1);
    return kv->time_floor;
}

void apply_time_passed(struct kv *kv, const struct kv_entry *e, uint64_t time)
{
    if (time >= e->time_ns && time > kv->time_floor)
        put_time_floor(kv, time);
}

/* --- transactions ----------------------------------------------------------------------------- */

static int counter_next(struct kv *kv, unsigned shard, uint64_t *ret)
{
    struct counter_state *counter = &kv->counters[shard];
    struct bytes value;

    if (counter->value == COUNTER_UNKNOWN) {
        int err = round_get(&kv->round, layout_counter_key(&kv->arena, shard), &kv->arena, &value);
        if (err && err != -ERR_NOT_FOUND)
            return err;
        if (!err && value.n != 8)
            return -ERR_CORRUPT;
        counter->value = err ? 0 : get_le64(value.p);
    }
    *ret = counter->value + 1;
    return 0;
}

int apply_step_counters(struct kv *kv, const uint16_t *shards, unsigned n,
                        struct msg_txn_reply *reply)
{
    reply->versions = arena_array(&kv->arena, n, sizeof(struct kv_version));
    for (unsigned i = 0; i < n; i++) {
        reply->versions[i].shard = shards[i];
        int err = counter_next(kv, shards[i], &reply->versions[i].version);
        if (err)
            return err;
    }
    reply->n_versions = n;
    return 0;
}

static uint64_t version_of(const struct msg_txn_reply *reply, unsigned shard)
{
    for (unsigned i = 0; i < reply->n_versions; i++) {
        if (reply->versions[i].shard == shard)
            return reply->versions[i].version;
    }
    assert_failed("a written key's shard has stepped its counter", __FILE__, __LINE__);
}

void apply_put_counters(struct kv *kv, const struct msg_txn_reply *reply)
{
    for (unsigned i = 0; i < reply->n_versions; i++) {
        const struct kv_version *v = &reply->versions[i];
        struct counter_state *counter = &kv->counters[v->shard];
        uint8_t p[8];

        put_le64(p, v->version);
        round_put_at(&kv->round, &counter->at, layout_counter_key(&kv->arena, v->shard),
                     bytes_of(p, sizeof(p)));
        counter->value = v->version;
    }
}

void apply_touched(struct kv *kv, struct bytes key)
{
    if (kv->owned.recording == 0)
        return;
    unsigned shard = layout_shard(key);
    enum shard_state state = kv_shard(kv, shard)->state;
    uint8_t p[8];

    if (state != SHARD_MOVING && state != SHARD_CLOSING)
        return;
    put_le64(p, kv->index + 1); /* the entry that is being applied */
    round_put(&kv->round, layout_touched_key(&kv->arena, shard, bytes_of(key.p + 2, key.n - 2)),
              bytes_of(p, sizeof(p)));
}

void apply_put_overlay(struct kv *kv, const struct msg_txn_reply *reply, const struct kv_sink *sink)
{
    bool tell = sink && sink->changed && g_hash_table_size(kv->watches) > 0;

    for (unsigned i = 0; i < kv->overlay.slots->len; i++) {
        const struct overlay_slot *slot = overlay_at(&kv->overlay, i);

        if (!slot->dirty)
            continue;
        apply_touched(kv, slot->key);
        uint64_t version = slot->exists ? version_of(reply, layout_shard(slot->key)) : 0;
        if (slot->exists)
            round_put_value(&kv->round, slot->key, version, slot->data);
        else
            round_delete(&kv->round, slot->key);
        struct bytes key = tell ? layout_client_key(&kv->arena, slot->key) : BYTES_NONE;
        if (tell && kv_watched(kv, key))
            notify(kv, (struct notice){NOTICE_CHANGED, .version = version, .bytes = key});
    }
}

/* The result, and on a client's first in this shard the trace by which its session finds it. */
void apply_put_result(struct kv *kv, const struct msg_txn *t, unsigned shard, struct bytes row)
{
    if (row.n == 0)
        round_put(&kv->round, layout_trace_key(&kv->arena, t->client, shard), BYTES_NONE);
    result_add(row, t->seq, t->acked_below, enc_view(&kv->reply), &kv->row);
    if (kv->owned.recording)
        apply_touched(kv, layout_result_key(&kv->arena, shard, t->client));
    results_put(&kv->results, shard, t->client, &kv->arena, enc_view(&kv->row));
}

/* A request that is to be executed; `row` holds the client's results in shards[0] so far. */
static int execute(struct kv *kv, const struct kv_entry *e, const struct msg_txn *t,
                   const uint16_t *shards, unsigned n_shards, struct bytes row,
                   const struct kv_sink *sink)
{
    struct txn_run run = {
        .round = &kv->round,
        .arena = &kv->arena,
        .overlay = &kv->overlay,
        .txn = t,
        .time = n_shards ? apply_time(kv, e) : e->time_ns,
        .range = kv->range,
    };
    struct msg_txn_reply reply;
    int err = kv_txn_run(&run, &reply);

    if (!err && reply.status == 0)
        err = apply_step_counters(kv, shards, n_shards, &reply);
    if (err)
        return err;
    enc_reset(&kv->reply);
    enc_txn_reply(&kv->reply, &reply);
    if (reply.status == 0) {
        apply_put_counters(kv, &reply);
        apply_put_overlay(kv, &reply, sink);
    }
    if (n_shards)
        apply_put_result(kv, t, shards[0], row);
    return apply_answer(kv, e, sink, MSG_txn_reply, enc_view(&kv->reply));
}

static int apply_txn(struct kv *kv, const struct kv_entry *e, struct bytes in,
                     const struct kv_sink *sink)
{
    uint16_t shards[VERSIONS_MAX + 1];
    struct bytes row = BYTES_NONE, body;
    struct msg_txn t;

    if (dec_txn(in, &kv->arena, &t) < 0)
        return apply_refuse(kv, e, sink, ERR_INVALID);
    int err = kv_check(kv, &t);
    if (err)
        return apply_refuse(kv, e, sink, -err);
    if (!kv_serves(kv, &t))
        return apply_refuse(kv, e, sink, ERR_WRONG_GROUP);
    unsigned n = txn_shards_written(&t, shards);
    if (n == 0)
        return locks_conflict(&kv->locks, &t, &body) ? apply_refuse(kv, e, sink, ERR_BUSY)
                                                     : execute(kv, e, &t, shards, 0, row, sink);
    err = apply_session_judge(kv, t.client);
    if (err)
        return apply_refuse(kv, e, sink, -err);
    err = results_get(&kv->results, shards[0], t.client, &kv->arena, &row);
    if (err)
        return err;
    switch (result_find(row, t.seq, t.acked_below, &body)) {
    case RESULT_NEW:
        if (locks_conflict(&kv->locks, &t, &body))
            return apply_refuse(kv, e, sink, ERR_BUSY);
        return execute(kv, e, &t, shards, n, row, sink);
    case RESULT_KEPT:
        return apply_answer(kv, e, sink, MSG_txn_reply, body);
    case RESULT_STALE:
        return apply_refuse(kv, e, sink, ERR_STALE);
    case RESULT_FULL:
        return apply_refuse(kv, e, sink, ERR_BUSY);
    }
    return -ERR_CORRUPT;
}

/* --- checks ----------------------------------------------------------------------------------- */

/* The store has to have all rows for a view of it to show this state. */
static int apply_check(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink)
{
    uint64_t kept[KV_KEPT_MAX];
    struct msg_check_started reply = {.index = e->index};

    applied(kv, e);
    int err = round_write(&kv->round);
    if (err)
        return err;
    unsigned n = kv_kept(kv, kept);
    if (n == KV_KEPT_MAX) {
        kv_kept_drop(kv, kept[0]);
        n--;
    }
    kv->kept[n] = (struct kept_view){e->index, kv->store->ops->view_open(kv->store)};
    enc_reset(&kv->reply);
    enc_check_started(&kv->reply, &reply);
    answer(kv, e, sink, MSG_check_started, enc_view(&kv->reply));
    return 0;
}

/* --- nodes and groups ------------------------------------------------------------------------- */

/* Not understood here: the consensus core does. It is kept in the batch that says that it was
 * applied, so that a start and a snapshot find the one that belongs to the state. */
static void apply_conf(struct kv *kv, const struct kv_entry *e)
{
    enc_reset(&kv->conf);
    enc_u64(&kv->conf, e->index);
    enc_raw(&kv->conf, e->data.p, e->data.n);
    round_put(&kv->round, layout_conf_key(&kv->arena), enc_view(&kv->conf));
    enc_reset(&kv->conf);
    enc_raw(&kv->conf, e->data.p, e->data.n);
    kv->conf_index = e->index;
    applied(kv, e);
}

/* Its outcome is not kept: who repeats it is told how it stands. */
static int apply_node(struct kv *kv, const struct kv_entry *e, struct bytes in,
                      const struct kv_sink *sink)
{
    struct msg_node_record m;
    int verdict = dec_node_record(in, &kv->arena, &m) < 0
                      ? -ERR_INVALID
                      : nodes_judge(&kv->nodes, m.node, m.state, m.address);

    if (verdict > 0) {
        enum node_state state = (enum node_state)m.state;

        round_put(&kv->round, layout_node_key(&kv->arena, m.node),
                  node_value(&kv->arena, state, e->index, m.address));
        nodes_set(&kv->nodes, m.node, state, e->index, m.address);
    }
    return apply_status(kv, e, sink, verdict);
}

static int apply_group(struct kv *kv, const struct kv_entry *e, struct bytes in,
                       const struct kv_sink *sink)
{
    struct msg_group_create m;
    struct kv_group g;
    int verdict = dec_group_create(in, &kv->arena, &m) < 0
                      ? -ERR_INVALID
                      : groups_judge(&kv->groups, &kv->nodes, &m, &g);

    if (verdict > 0) {
        g.index = e->index;
        round_put(&kv->round, layout_group_key(&kv->arena, g.gid), group_value(&kv->arena, &g));
        groups_set(&kv->groups, &g);
    }
    return apply_status(kv, e, sink, verdict);
}

static int apply_home_row(struct kv *kv, const struct kv_entry *e, struct bytes in, bool held,
                          const struct kv_sink *sink)
{
    struct msg_group_home m;
    struct kv_group g;
    int verdict = kv->gid != 0 || dec_group_home(in, &kv->arena, &m) < 0
                      ? -ERR_INVALID
                      : groups_judge_home(&kv->groups, &kv->nodes, &m, held, &g);

    if (verdict > 0) {
        g.home_index = e->index;
        round_put(&kv->round, layout_home_key(&kv->arena, g.gid), home_value(&kv->arena, &g));
        groups_set_home(&kv->groups, &g);
    }
    return apply_status(kv, e, sink, verdict);
}

static int apply_home(struct kv *kv, const struct kv_entry *e, struct bytes in,
                      const struct kv_sink *sink)
{
    return apply_home_row(kv, e, in, false, sink);
}

static int apply_held(struct kv *kv, const struct kv_entry *e, struct bytes in,
                      const struct kv_sink *sink)
{
    return apply_home_row(kv, e, in, true, sink);
}

/* --- configurations of shards ----------------------------------------------------------------- */

static int apply_config(struct kv *kv, const struct kv_entry *e, struct bytes in,
                        const struct kv_sink *sink)
{
    struct config *next = arena_alloc(&kv->arena, sizeof(*next));
    struct msg_config_change m;

    if (kv->gid != 0 || dec_config_change(in, &kv->arena, &m) < 0)
        return apply_status(kv, e, sink, -ERR_INVALID);
    int err = kv_config_check(kv, &m, next);
    if (!err)
        configs_put(kv->configs, next, &kv->round, &kv->arena);
    return apply_status(kv, e, sink, err);
}

static int apply_moved(struct kv *kv, const struct kv_entry *e, struct bytes in,
                       const struct kv_sink *sink)
{
    struct msg_config_moved m;

    if (kv->gid != 0 || dec_config_moved(in, &kv->arena, &m) < 0)
        return apply_status(kv, e, sink, -ERR_INVALID);
    return apply_status(kv, e, sink, configs_moved(kv->configs, &m, &kv->round, &kv->arena));
}

static int apply_met(struct kv *kv, const struct kv_entry *e, struct bytes in,
                     const struct kv_sink *sink)
{
    struct msg_node_met m;
    int verdict = dec_node_met(in, &kv->arena, &m) < 0 ? -ERR_INVALID
                                                       : met_judge(&kv->met, m.node, m.incarnation);

    if (verdict > 0) {
        const struct kv_met met = {m.node, m.incarnation, e->index};

        round_put(&kv->round, layout_met_key(&kv->arena, met.id), met_value(&kv->arena, &met));
        met_set(&kv->met, &met);
    }
    return apply_status(kv, e, sink, verdict);
}

/* --- entries ---------------------------------------------------------------------------------- */

/* Commands whose rows older programs do not know. */
static apply_fn *const of_format_2[] = {
    [KV_CMD_PREPARE] = apply_prepare,
    [KV_CMD_DECIDE] = apply_decide,
    [KV_CMD_OUTCOME] = apply_outcome,
    [KV_CMD_FORGET] = apply_forget,
    [KV_CMD_MOVE_BEGIN] = apply_move_begin,
    [KV_CMD_MOVE_CLOSE] = apply_move_close,
    [KV_CMD_MOVE_FREEZE] = apply_move_freeze,
    [KV_CMD_MOVE_DELETE] = apply_move_delete,
    [KV_CMD_MOVE_STAGE] = apply_move_stage,
    [KV_CMD_MOVE_INSTALL] = apply_move_install,
    [KV_CMD_SESSION_SET] = apply_session_set,
    [KV_CMD_SESSIONS_FENCED] = apply_sessions_fenced,
    [KV_CMD_HOME] = apply_home,
    [KV_CMD_HELD] = apply_held,
    [KV_CMD_CONFIG] = apply_config,
    [KV_CMD_MOVED] = apply_moved,
};

static int apply_of_format_2(struct kv *kv, const struct kv_entry *e, struct bytes body,
                             const struct kv_sink *sink)
{
    unsigned command = e->data.p[0];

    if (command >= ARRAY_LEN(of_format_2) || !of_format_2[command])
        return apply_refuse(kv, e, sink, ERR_INVALID);
    if (kv->format < LAYOUT_FORMAT)
        put_format(kv, LAYOUT_FORMAT);
    return of_format_2[command](kv, e, body, sink);
}

static int apply_one(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink)
{
    ASSERT(e->index == kv->index + 1);
    arena_reset(&kv->arena);
    overlay_reset(&kv->overlay);
    if (e->conf) {
        apply_conf(kv, e);
        return 0;
    }
    if (e->data.n == 0) {
        applied(kv, e);
        return 0;
    }
    struct bytes body = bytes_of(e->data.p + 1, e->data.n - 1);
    switch (e->data.p[0]) {
    case KV_CMD_TXN:
        return apply_txn(kv, e, body, sink);
    case KV_CMD_SESSION_OPEN:
        return apply_session_open(kv, e, body, sink);
    case KV_CMD_SESSION_CLOSE:
        return apply_session_close(kv, e, body, sink);
    case KV_CMD_CHECK:
        return body.n ? apply_refuse(kv, e, sink, ERR_INVALID) : apply_check(kv, e, sink);
    case KV_CMD_NODE:
        return apply_node(kv, e, body, sink);
    case KV_CMD_GROUP:
        return apply_group(kv, e, body, sink);
    case KV_CMD_MET:
        return apply_met(kv, e, body, sink);
    }
    return apply_of_format_2(kv, e, body, sink);
}

int kv_apply(struct kv *kv, const struct kv_entry *entries, size_t n, const struct kv_sink *sink)
{
    for (size_t i = 0; i < n && !kv->broken; i++) {
        kv->broken = apply_one(kv, &entries[i], sink);
        if (!kv->broken && round_full(&kv->round))
            kv->broken = round_write(&kv->round);
        if (!kv->broken && (i + 1 == n || kv->notices_bytes >= NOTICES_BYTES_MAX))
            give_notices(kv, sink);
    }
    return kv->broken;
}
