/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.c - one entry after another: decide, gather one batch, write it, then bring memory up to
 * date, tell the watchers, answer. Nothing in memory changes before the write has succeeded.
 */
#include "cluster/kv/state.h"

/* --- the batch -------------------------------------------------------------------------------- */

static void batch_put(struct kv *kv, struct bytes key, struct bytes value)
{
    struct store_write w = {.op = STORE_PUT, .key = key, .value = value};

    g_array_append_val(kv->batch, w);
}

static void batch_delete(struct kv *kv, struct bytes key)
{
    struct store_write w = {.op = STORE_DELETE, .key = key};

    g_array_append_val(kv->batch, w);
}

static void batch_format(struct kv *kv)
{
    uint8_t *p = arena_alloc(&kv->arena, 10);

    put_le32(p, LAYOUT_FORMAT);
    put_le32(p + 4, kv->gid);
    p[8] = (uint8_t)kv->shards;
    p[9] = (uint8_t)(kv->shards >> 8);
    batch_put(kv, layout_format_key(&kv->arena), bytes_of(p, 10));
}

/* Writes the batch of this entry: the one point where it takes effect. */
static int commit(struct kv *kv, const struct kv_entry *e)
{
    uint8_t *p = arena_alloc(&kv->arena, 24);

    put_le64(p, e->index);
    put_le64(p + 8, e->term);
    put_le64(p + 16, e->time_ns);
    batch_put(kv, layout_applied_key(&kv->arena), bytes_of(p, 24));
    if (!kv->formatted)
        batch_format(kv);
    int err = kv->store->ops->write(kv->store, &g_array_index(kv->batch, struct store_write, 0),
                                    kv->batch->len);
    if (err)
        return err;
    kv->formatted = true;
    kv->index = e->index;
    kv->term = e->term;
    kv->time_ns = e->time_ns;
    return 0;
}

static void answer(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                   unsigned type, struct bytes body)
{
    if (sink && sink->reply)
        sink->reply(sink->ctx, e->index, type, body);
}

/* --- transactions ----------------------------------------------------------------------------- */

static int counter_next(struct kv *kv, unsigned shard, uint64_t *ret)
{
    struct bytes value;

    if (kv->counters[shard] == COUNTER_UNKNOWN) {
        int err = kv->store->ops->get(kv->store, NULL, layout_counter_key(&kv->arena, shard),
                                      &kv->arena, &value);
        if (err && err != -ERR_NOT_FOUND)
            return err;
        if (!err && value.n != 8)
            return -ERR_CORRUPT;
        kv->counters[shard] = err ? 0 : get_le64(value.p);
    }
    *ret = kv->counters[shard] + 1;
    return 0;
}

/* One step of the counter of each shard written; the reply names them. */
static int step_counters(struct kv *kv, const uint16_t *shards, unsigned n,
                         struct msg_txn_reply *reply)
{
    reply->versions = arena_array(&kv->arena, n, sizeof(struct kv_version));
    for (unsigned i = 0; i < n; i++) {
        uint8_t *p = arena_alloc(&kv->arena, 8);
        struct kv_version *v = &reply->versions[i];

        v->shard = shards[i];
        int err = counter_next(kv, shards[i], &v->version);
        if (err)
            return err;
        put_le64(p, v->version);
        batch_put(kv, layout_counter_key(&kv->arena, shards[i]), bytes_of(p, 8));
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

static void batch_slot(struct kv *kv, struct overlay_slot *slot, const struct msg_txn_reply *reply)
{
    if (!slot->exists) {
        batch_delete(kv, slot->key);
        return;
    }
    uint8_t *p;
    if (slot->room) {
        p = (uint8_t *)slot->data.p - VALUE_HEAD;
    } else {
        p = arena_alloc(&kv->arena, VALUE_HEAD + slot->data.n);
        if (slot->data.n)
            memcpy(p + VALUE_HEAD, slot->data.p, slot->data.n);
    }
    layout_value_head(p, version_of(reply, layout_shard(slot->key)));
    batch_put(kv, slot->key, bytes_of(p, VALUE_HEAD + slot->data.n));
}

static void batch_overlay(struct kv *kv, const struct msg_txn_reply *reply)
{
    for (unsigned i = 0; i < kv->overlay.slots->len; i++) {
        struct overlay_slot *slot = overlay_at(&kv->overlay, i);

        if (slot->dirty)
            batch_slot(kv, slot, reply);
    }
}

/* The result, and on a client's first in this shard the trace by which its session finds it. */
static void batch_result(struct kv *kv, const struct msg_txn *t, unsigned shard, struct bytes row)
{
    if (row.n == 0)
        batch_put(kv, layout_trace_key(&kv->arena, t->client, shard), BYTES_NONE);
    result_add(row, t->seq, t->acked_below, enc_view(&kv->reply), &kv->row);
    batch_put(kv, layout_result_key(&kv->arena, shard, t->client), enc_view(&kv->row));
}

static void tell_watchers(struct kv *kv, const struct msg_txn_reply *reply,
                          const struct kv_sink *sink)
{
    if (!sink || !sink->changed || g_hash_table_size(kv->watches) == 0)
        return;
    for (unsigned i = 0; i < kv->overlay.slots->len; i++) {
        struct overlay_slot *slot = overlay_at(&kv->overlay, i);

        if (!slot->dirty)
            continue;
        struct bytes key = layout_client_key(&kv->arena, slot->key);
        if (kv_watched(kv, key))
            sink->changed(sink->ctx, key, slot->exists ? version_of(reply, layout_shard(key)) : 0);
    }
}

/* An outcome that is not a result: nothing is kept, the same request may come again. */
static int refuse(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink, int status)
{
    struct msg_txn_reply reply = {.status = (uint16_t)status, .time = e->time_ns};
    int err = commit(kv, e);

    if (err)
        return err;
    enc_reset(&kv->reply);
    enc_txn_reply(&kv->reply, &reply);
    answer(kv, e, sink, MSG_txn_reply, enc_view(&kv->reply));
    return 0;
}

/* A request that is to be executed; `row` holds the client's results in shards[0] so far. */
static int execute(struct kv *kv, const struct kv_entry *e, const struct msg_txn *t,
                   const uint16_t *shards, unsigned n_shards, struct bytes row,
                   const struct kv_sink *sink)
{
    struct txn_run run = {
        .store = kv->store,
        .arena = &kv->arena,
        .overlay = &kv->overlay,
        .txn = t,
        .time = e->time_ns,
        .range = kv->range,
    };
    struct msg_txn_reply reply;
    int err = kv_txn_run(&run, &reply);

    if (!err && reply.status == 0)
        err = step_counters(kv, shards, n_shards, &reply);
    if (err)
        return err;
    if (reply.status == 0)
        batch_overlay(kv, &reply);
    enc_reset(&kv->reply);
    enc_txn_reply(&kv->reply, &reply);
    if (n_shards)
        batch_result(kv, t, shards[0], row);
    err = commit(kv, e);
    if (err)
        return err;
    for (unsigned i = 0; i < reply.n_versions; i++)
        kv->counters[reply.versions[i].shard] = reply.versions[i].version;
    if (n_shards)
        results_put(&kv->results, shards[0], t->client, enc_view(&kv->row));
    if (reply.status == 0)
        tell_watchers(kv, &reply, sink);
    answer(kv, e, sink, MSG_txn_reply, enc_view(&kv->reply));
    return 0;
}

static int answer_kept(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                       struct bytes body)
{
    int err = commit(kv, e);

    if (err)
        return err;
    /* A copy: the row may leave the cache while the callback looks for another result. */
    answer(kv, e, sink, MSG_txn_reply, arena_copy(&kv->arena, body));
    return 0;
}

static int apply_txn(struct kv *kv, const struct kv_entry *e, struct bytes in,
                     const struct kv_sink *sink)
{
    uint16_t shards[VERSIONS_MAX + 1];
    struct bytes row = BYTES_NONE, body;
    struct msg_txn t;

    if (dec_txn(in, &kv->arena, &t) < 0)
        return refuse(kv, e, sink, ERR_INVALID);
    int err = kv_check(kv, &t);
    if (err)
        return refuse(kv, e, sink, -err);
    unsigned n = txn_shards_written(&t, shards);
    if (n == 0)
        return execute(kv, e, &t, shards, 0, row, sink);
    if (!sessions_find(&kv->sessions, t.client))
        return refuse(kv, e, sink, ERR_NO_SESSION);
    err = results_get(&kv->results, shards[0], t.client, &kv->arena, &row);
    if (err)
        return err;
    switch (result_find(row, t.seq, t.acked_below, &body)) {
    case RESULT_NEW:
        return execute(kv, e, &t, shards, n, row, sink);
    case RESULT_KEPT:
        return answer_kept(kv, e, sink, body);
    case RESULT_STALE:
        return refuse(kv, e, sink, ERR_STALE);
    case RESULT_FULL:
        return refuse(kv, e, sink, ERR_BUSY);
    }
    return -ERR_CORRUPT;
}

/* --- sessions --------------------------------------------------------------------------------- */

static int answer_session(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                          int status, uint64_t client)
{
    struct msg_session_reply reply = {.status = (uint16_t)status, .client = client};

    enc_reset(&kv->reply);
    enc_session_reply(&kv->reply, &reply);
    answer(kv, e, sink, MSG_session_reply, enc_view(&kv->reply));
    return 0;
}

static int refuse_session(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                          int status, uint64_t client)
{
    int err = commit(kv, e);

    return err ? err : answer_session(kv, e, sink, status, client);
}

static int apply_session_open(struct kv *kv, const struct kv_entry *e, struct bytes in,
                              const struct kv_sink *sink)
{
    struct msg_session_open m;

    if (dec_session_open(in, &kv->arena, &m) < 0 || m.name.n > SESSION_NAME_MAX)
        return refuse_session(kv, e, sink, ERR_INVALID, 0);
    const struct session *old = sessions_of_nonce(&kv->sessions, m.nonce, m.name);
    if (old)
        return refuse_session(kv, e, sink, 0, old->client);
    if (kv_sessions(kv) >= SESSIONS_MAX)
        return refuse_session(kv, e, sink, ERR_BUSY, 0);
    batch_put(kv, layout_session_key(&kv->arena, e->index),
              session_value(&kv->arena, m.nonce, e->time_ns, m.name));
    int err = commit(kv, e);
    if (err)
        return err;
    sessions_add(&kv->sessions, e->index, m.nonce, e->time_ns, m.name);
    return answer_session(kv, e, sink, 0, e->index);
}

/* All that the client left: a row and a trace in each shard it wrote to, so at most SHARDS_MAX. */
static int batch_traces(struct kv *kv, uint64_t client)
{
    struct store *store = kv->store;
    struct bytes lo, hi, key, value;
    unsigned shard;
    int err = 0;

    layout_trace_range(&kv->arena, client, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value)) {
        err = layout_trace_shard(key, &shard);
        if (err)
            break;
        batch_delete(kv, layout_result_key(&kv->arena, shard, client));
        batch_delete(kv, arena_copy(&kv->arena, key));
    }
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}

static int apply_session_close(struct kv *kv, const struct kv_entry *e, struct bytes in,
                               const struct kv_sink *sink)
{
    struct msg_session_close m;

    if (dec_session_close(in, &kv->arena, &m) < 0)
        return refuse_session(kv, e, sink, ERR_INVALID, 0);
    if (!sessions_find(&kv->sessions, m.client))
        return refuse_session(kv, e, sink, ERR_NO_SESSION, m.client);
    int err = batch_traces(kv, m.client);
    if (err)
        return err;
    batch_delete(kv, layout_session_key(&kv->arena, m.client));
    err = commit(kv, e);
    if (err)
        return err;
    sessions_remove(&kv->sessions, m.client);
    results_forget(&kv->results, m.client);
    return answer_session(kv, e, sink, 0, m.client);
}

/* --- entries ---------------------------------------------------------------------------------- */

static int apply_one(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink)
{
    ASSERT(e->index == kv->index + 1);
    arena_reset(&kv->arena);
    overlay_reset(&kv->overlay);
    g_array_set_size(kv->batch, 0);
    if (e->data.n == 0)
        return commit(kv, e);
    struct bytes body = bytes_of(e->data.p + 1, e->data.n - 1);
    switch (e->data.p[0]) {
    case KV_CMD_TXN:
        return apply_txn(kv, e, body, sink);
    case KV_CMD_SESSION_OPEN:
        return apply_session_open(kv, e, body, sink);
    case KV_CMD_SESSION_CLOSE:
        return apply_session_close(kv, e, body, sink);
    }
    return refuse(kv, e, sink, ERR_INVALID);
}

int kv_apply(struct kv *kv, const struct kv_entry *entries, size_t n, const struct kv_sink *sink)
{
    for (size_t i = 0; i < n; i++) {
        int err = apply_one(kv, &entries[i], sink);

        if (err)
            return err;
    }
    return 0;
}
