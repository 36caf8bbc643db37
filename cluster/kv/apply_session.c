/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_session.c - the live sessions (DESIGN 3.3). Group 0 registers and ends them; every other
 * group is told the whole live set as of an entry of group 0 (SESSION_SET), and refuses who is not
 * in it. A session that has ended is fenced in group 0 at once; it stays on the list until group 0
 * has heard that every other group has logged a set without it (SESSIONS_FENCED): only then may
 * what it had locked be broken.
 */
#include "cluster/kv/apply.h"

static int answer_session(struct kv *kv, const struct kv_entry *e, const struct kv_sink *sink,
                          int status, uint64_t client)
{
    struct msg_session_reply reply = {.status = (uint16_t)status, .client = client};

    enc_reset(&kv->reply);
    enc_session_reply(&kv->reply, &reply);
    return apply_answer(kv, e, sink, MSG_session_reply, enc_view(&kv->reply));
}

/* --- group 0 ---------------------------------------------------------------------------------- */

int apply_session_open(struct kv *kv, const struct kv_entry *e, struct bytes in,
                       const struct kv_sink *sink)
{
    struct msg_session_open m;

    if (kv->gid != 0 || dec_session_open(in, &kv->arena, &m) < 0 || m.name.n > SESSION_NAME_MAX)
        return answer_session(kv, e, sink, ERR_INVALID, 0);
    const struct session *old = sessions_of_nonce(&kv->sessions, m.nonce, m.name);
    if (old)
        return answer_session(kv, e, sink, 0, old->client);
    if (kv_sessions(kv) + kv->fencing->len >= SESSIONS_MAX)
        return answer_session(kv, e, sink, ERR_BUSY, 0);
    round_put(&kv->round, layout_session_key(&kv->arena, e->index),
              session_value(&kv->arena, m.nonce, e->time_ns, m.name));
    sessions_add(&kv->sessions, e->index, m.nonce, e->time_ns, m.name);
    return answer_session(kv, e, sink, 0, e->index);
}

/* All that the client left: a row and a trace in each shard it wrote to, so at most SHARDS_MAX. */
static int drop_traces(struct kv *kv, uint64_t client)
{
    struct bytes lo, hi, key, value;
    unsigned shard;
    int err = 0;

    layout_trace_range(&kv->arena, client, &lo, &hi);
    struct round_iter *it = round_iter_open(&kv->round, lo, hi);
    while (!err && round_iter_next(it, &key, &value)) {
        err = layout_trace_shard(key, &shard);
        if (err)
            break;
        struct bytes row = layout_result_key(&kv->arena, shard, client);
        apply_touched(kv, row);
        round_delete(&kv->round, row);
        round_delete(&kv->round, key);
    }
    int broken = round_iter_close(it);
    return err ? err : broken;
}

/* From here on it is unknown in this group. */
static int fence(struct kv *kv, uint64_t client)
{
    int err = drop_traces(kv, client);

    if (err)
        return err;
    round_delete(&kv->round, layout_session_key(&kv->arena, client));
    sessions_remove(&kv->sessions, client);
    results_forget(&kv->results, client);
    return 0;
}

/* Other groups may know it: it is listed until they have forgotten it. */
static void await_fencing(struct kv *kv, const struct kv_entry *e, uint64_t client)
{
    struct kv_fencing f = {client, e->index};
    uint8_t p[8];

    put_le64(p, e->index);
    round_put(&kv->round, layout_fencing_key(&kv->arena, client), bytes_of(p, sizeof(p)));
    g_array_append_val(kv->fencing, f);
}

int apply_session_close(struct kv *kv, const struct kv_entry *e, struct bytes in,
                        const struct kv_sink *sink)
{
    struct msg_session_close m;

    if (kv->gid != 0 || dec_session_close(in, &kv->arena, &m) < 0)
        return answer_session(kv, e, sink, ERR_INVALID, 0);
    if (!sessions_find(&kv->sessions, m.client))
        return answer_session(kv, e, sink, ERR_NO_SESSION, m.client);
    if (kv_config(kv)->num > 0)
        await_fencing(kv, e, m.client);
    int err = fence(kv, m.client);
    return err ? err : answer_session(kv, e, sink, 0, m.client);
}

int apply_sessions_fenced(struct kv *kv, const struct kv_entry *e, struct bytes in,
                          const struct kv_sink *sink)
{
    struct msg_sessions_fenced m;

    if (kv->gid != 0 || dec_sessions_fenced(in, &kv->arena, &m) < 0)
        return apply_status(kv, e, sink, -ERR_INVALID);
    for (unsigned i = kv->fencing->len; i > 0; i--) {
        struct kv_fencing *f = &g_array_index(kv->fencing, struct kv_fencing, i - 1);

        if (f->index > m.as_of)
            continue;
        round_delete(&kv->round, layout_fencing_key(&kv->arena, f->client));
        g_array_remove_index(kv->fencing, i - 1);
    }
    return apply_status(kv, e, sink, 0);
}

/* --- all groups ------------------------------------------------------------------------------- */

int apply_session_judge(const struct kv *kv, uint64_t client)
{
    if (sessions_find(&kv->sessions, client))
        return 0;
    return kv->gid != 0 && client > kv->sessions_as_of ? -ERR_BUSY : -ERR_NO_SESSION;
}

/* --- other groups ----------------------------------------------------------------------------- */

static bool listed(const struct msg_session_set *m, uint64_t client)
{
    unsigned lo = 0, hi = m->n_live;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (m->live[mid].client < client)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < m->n_live && m->live[lo].client == client;
}

static bool ascending(const struct msg_session_set *m)
{
    for (uint32_t i = 0; i < m->n_live; i++) {
        if (m->live[i].client > m->as_of || (i && m->live[i - 1].client >= m->live[i].client))
            return false;
    }
    return true;
}

/* A shard that came here may have brought rows of clients that were too new to be known; those that
 * have ended meanwhile go. */
static int drop_strangers(struct kv *kv, const struct msg_session_set *m)
{
    struct bytes lo, hi, end, key, value;
    GArray *gone = g_array_new(false, false, sizeof(uint64_t));
    int err = 0;

    layout_trace_range(&kv->arena, kv->sessions_as_of + 1, &lo, &end);
    layout_trace_range(&kv->arena, m->as_of, &end, &hi);
    struct round_iter *it = round_iter_open(&kv->round, lo, hi);
    while (round_iter_next(it, &key, &value)) {
        uint64_t client = layout_trace_client(key), last;

        last = gone->len ? g_array_index(gone, uint64_t, gone->len - 1) : 0;
        if (client != last && !listed(m, client))
            g_array_append_val(gone, client);
    }
    err = round_iter_close(it);
    for (unsigned i = 0; !err && i < gone->len; i++) {
        err = drop_traces(kv, g_array_index(gone, uint64_t, i));
        results_forget(&kv->results, g_array_index(gone, uint64_t, i));
    }
    g_array_free(gone, true);
    return err;
}

static int take_set(struct kv *kv, const struct kv_entry *e, const struct msg_session_set *m)
{
    uint8_t p[8];
    int err = drop_strangers(kv, m);

    for (unsigned i = kv->sessions.live->len; !err && i > 0; i--) {
        uint64_t client = g_array_index(kv->sessions.live, struct session, i - 1).client;

        if (!listed(m, client))
            err = fence(kv, client);
    }
    for (uint32_t i = 0; !err && i < m->n_live; i++) {
        uint64_t client = m->live[i].client;

        if (sessions_find(&kv->sessions, client))
            continue;
        round_put(&kv->round, layout_session_key(&kv->arena, client),
                  session_value(&kv->arena, 0, e->time_ns, BYTES_NONE));
        sessions_add(&kv->sessions, client, 0, e->time_ns, BYTES_NONE);
    }
    kv->sessions_as_of = m->as_of;
    put_le64(p, m->as_of);
    round_put(&kv->round, layout_sessions_as_of_key(&kv->arena), bytes_of(p, sizeof(p)));
    return err;
}

int apply_session_set(struct kv *kv, const struct kv_entry *e, struct bytes in,
                      const struct kv_sink *sink)
{
    struct msg_session_set m;

    if (kv->gid == 0 || dec_session_set(in, &kv->arena, &m) < 0 || !ascending(&m))
        return apply_status(kv, e, sink, -ERR_INVALID);
    int err = m.as_of > kv->sessions_as_of ? take_set(kv, e, &m) : 0;
    return err ? err : apply_status(kv, e, sink, 0);
}
