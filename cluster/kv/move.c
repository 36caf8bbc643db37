/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - the steps of a shard that moves (shards.h): BEGIN, CLOSE, FREEZE and DELETE at the group
 * that gives it away, STAGE and INSTALL at the one that takes it. Each names the configuration that
 * it serves. A step that was done already is answered 0 again, and changes nothing. BUSY: the step
 * is to be sent again; of FREEZE, for prepared transactions hold locks; of DELETE, for there is
 * more; of INSTALL, for the old owner knows of sessions that have ended and this group does not: it
 * has dropped their results, so here their requests would be executed once more.
 */
#include "cluster/kv/apply.h"

/* One entry deletes so many rows at most; and of no more bytes than these, for the store reads a
 * value when it looks for the key behind it. */
#define DELETE_ROWS  2048
#define DELETE_BYTES MIB(1)

static void set_state(struct kv *kv, const struct kv_entry *e, unsigned shard,
                      enum shard_state state, struct bytes cursor)
{
    struct kv_shard to = *kv_shard(kv, shard);

    to.state = state;
    to.index = e->index;
    to.staged = 0;
    to.cursor = cursor;
    shards_put(&kv->owned, shard, &to, &kv->round, &kv->arena);
}

/* What is cached of the shard's rows is no longer so. */
static void forget_caches(struct kv *kv, unsigned shard)
{
    kv->counters[shard].value = COUNTER_UNKNOWN;
    results_forget_shard(&kv->results, shard);
}

static int read_move(struct kv *kv, struct bytes in, struct msg_shard_move *ret)
{
    if (dec_shard_move(in, &kv->arena, ret) < 0 || ret->shard >= kv->shards || ret->num == 0 ||
        ret->peer == kv->gid)
        return -ERR_INVALID;
    return 0;
}

/* How far the move to `num` has come here: 0 it has not begun, else its state; FOREIGN is the end,
 * so it counts above the others. */
enum { NOT_BEGUN = 0, GONE = 100 };
static int progress(const struct kv_shard *s, const struct msg_shard_move *m)
{
    if (s->num != m->num || s->peer != m->peer)
        return NOT_BEGUN;
    switch (s->state) {
    case SHARD_MOVING:
    case SHARD_CLOSING:
    case SHARD_FROZEN:
    case SHARD_DELETING:
        return (int)s->state;
    case SHARD_FOREIGN:
        return GONE;
    case SHARD_OWNED:
    case SHARD_STAGING:
        break;
    }
    return NOT_BEGUN;
}

/* --- the old owner ---------------------------------------------------------------------------- */

static int begin(struct kv *kv, const struct kv_entry *e, const struct msg_shard_move *m)
{
    const struct kv_shard *s = kv_shard(kv, m->shard);

    if (progress(s, m) != NOT_BEGUN)
        return 0;
    if (s->num >= m->num)
        return -ERR_CONFIG_NUM;
    if (s->state == SHARD_FOREIGN)
        return -ERR_WRONG_GROUP;
    if (s->state != SHARD_OWNED)
        return -ERR_MOVING;
    const struct kv_shard to = {
        .state = SHARD_MOVING, .num = m->num, .peer = m->peer, .index = e->index};
    shards_put(&kv->owned, m->shard, &to, &kv->round, &kv->arena);
    return 0;
}

int apply_move_begin(struct kv *kv, const struct kv_entry *e, struct bytes in,
                     const struct kv_sink *sink)
{
    struct msg_shard_move m;
    int err = read_move(kv, in, &m);

    return apply_status(kv, e, sink, err ? err : begin(kv, e, &m));
}

static int close_shard(struct kv *kv, const struct kv_entry *e, const struct msg_shard_move *m)
{
    int at = progress(kv_shard(kv, m->shard), m);

    if (at == NOT_BEGUN)
        return -ERR_CONFIG_NUM;
    if (at == SHARD_MOVING)
        set_state(kv, e, m->shard, SHARD_CLOSING, BYTES_NONE);
    return 0;
}

int apply_move_close(struct kv *kv, const struct kv_entry *e, struct bytes in,
                     const struct kv_sink *sink)
{
    struct msg_shard_move m;
    int err = read_move(kv, in, &m);

    return apply_status(kv, e, sink, err ? err : close_shard(kv, e, &m));
}

static int freeze(struct kv *kv, const struct kv_entry *e, const struct msg_shard_move *m,
                  const struct kv_sink *sink)
{
    int at = progress(kv_shard(kv, m->shard), m);

    if (at == NOT_BEGUN)
        return -ERR_CONFIG_NUM;
    if (at == SHARD_MOVING)
        return -ERR_INVALID;
    if (at != SHARD_CLOSING)
        return 0;
    if (kv_prepared_on(kv, m->shard) > 0)
        return -ERR_BUSY;
    set_state(kv, e, m->shard, SHARD_FROZEN, BYTES_NONE);
    apply_tell_shard(kv, sink, m->shard);
    return 0;
}

int apply_move_freeze(struct kv *kv, const struct kv_entry *e, struct bytes in,
                      const struct kv_sink *sink)
{
    struct msg_shard_move m;
    int err = read_move(kv, in, &m);

    return apply_status(kv, e, sink, err ? err : freeze(kv, e, &m, sink));
}

static void drop_row(struct kv *kv, unsigned shard, struct bytes key)
{
    if (key.n == 11 && key.p[2] == TABLE_RESULT)
        round_delete(&kv->round, layout_trace_key(&kv->arena, get_be64(key.p + 3), shard));
    round_delete(&kv->round, key);
}

/* Deletes the next rows of the shard; ret: the last of them, or nothing: there were no more. It
 * goes on behind where the entry before ended, or it would walk over all that is deleted already.
 */
static int delete_rows(struct kv *kv, unsigned shard, struct bytes *ret)
{
    const struct kv_shard *s = kv_shard(kv, shard);
    struct bytes lo = layout_row_key(&kv->arena, shard, s->cursor), hi, key, value,
                 last = BYTES_NONE;
    size_t n = 0, bytes = 0;
    bool more = true;

    layout_shard_bounds(&kv->arena, shard + 1, 0, &hi);
    struct round_iter *it = round_iter_open(&kv->round, lo, hi);
    for (; n < DELETE_ROWS && bytes < DELETE_BYTES; n++) {
        more = round_iter_next(it, &key, &value);
        if (!more)
            break;
        drop_row(kv, shard, key);
        bytes += value.n;
        last = key;
    }
    *ret = more ? arena_copy(&kv->arena, bytes_of(last.p + 2, last.n - 2)) : BYTES_NONE;
    return round_iter_close(it);
}

int apply_move_delete(struct kv *kv, const struct kv_entry *e, struct bytes in,
                      const struct kv_sink *sink)
{
    struct msg_shard_move m;
    struct bytes last;

    if (read_move(kv, in, &m) < 0)
        return apply_status(kv, e, sink, -ERR_INVALID);
    int at = progress(kv_shard(kv, m.shard), &m);
    if (at == NOT_BEGUN)
        return apply_status(kv, e, sink, -ERR_CONFIG_NUM);
    if (at == SHARD_MOVING || at == SHARD_CLOSING)
        return apply_status(kv, e, sink, -ERR_INVALID);
    if (at == GONE)
        return apply_status(kv, e, sink, 0);
    int err = delete_rows(kv, m.shard, &last);
    if (err)
        return err;
    forget_caches(kv, m.shard);
    set_state(kv, e, m.shard, last.n ? SHARD_DELETING : SHARD_FOREIGN, last);
    if (last.n == 0 && at == SHARD_DELETING)
        apply_tell_shard(kv, sink, m.shard);
    return apply_status(kv, e, sink, last.n ? -ERR_BUSY : 0);
}

/* --- the new owner ---------------------------------------------------------------------------- */

static bool is_row(struct bytes key)
{
    if (key.n == 0)
        return false;
    return (key.p[0] == TABLE_META && key.n == 1) || (key.p[0] == TABLE_DATA && key.n <= KEY_MAX) ||
           (key.p[0] == TABLE_RESULT && key.n == 9);
}

/* A session that has ended, and will not be heard of again: its results are not wanted. */
static bool has_ended(const struct kv *kv, uint64_t client)
{
    return client <= kv_sessions_as_of(kv) && !sessions_find(&kv->sessions, client);
}

static bool is_unwanted(const struct kv *kv, const struct shard_row *row)
{
    return row->key.p[0] == TABLE_RESULT && has_ended(kv, get_be64(row->key.p + 1));
}

/* Only the first row goes on with one that the piece before could not hold, and where that ended.
 * 0, -ERR_INVALID; an error of the store. */
static int check_rest(struct kv *kv, const struct msg_shard_stage *m)
{
    struct bytes was;

    for (uint32_t i = 1; i < m->n_rows; i++) {
        if (m->rows[i].at > 0)
            return -ERR_INVALID;
    }
    if (m->n_rows == 0 || m->rows[0].at == 0 || m->rows[0].gone || is_unwanted(kv, &m->rows[0]))
        return 0;
    int err = round_get(&kv->round, layout_row_key(&kv->arena, m->shard, m->rows[0].key),
                        &kv->arena, &was);
    return err == -ERR_NOT_FOUND || (err == 0 && was.n != m->rows[0].at) ? -ERR_INVALID : err;
}

/* The rest of a row that was too large for one piece. */
static int append_row(struct kv *kv, struct bytes key, const struct shard_row *row)
{
    struct bytes was;
    int err = round_get(&kv->round, key, &kv->arena, &was);

    if (err)
        return err;
    uint8_t *p = arena_alloc(&kv->arena, was.n + row->value.n);
    if (was.n > 0)
        memcpy(p, was.p, was.n);
    if (row->value.n > 0)
        memcpy(p + was.n, row->value.p, row->value.n);
    round_put(&kv->round, key, bytes_of(p, was.n + row->value.n));
    return 0;
}

/* The trace by which the session's end finds the row comes with it. */
static void trace_row(struct kv *kv, unsigned shard, const struct shard_row *row)
{
    if (row->key.p[0] != TABLE_RESULT)
        return;
    struct bytes key = layout_trace_key(&kv->arena, get_be64(row->key.p + 1), shard);
    if (row->gone)
        round_delete(&kv->round, key);
    else
        round_put(&kv->round, key, BYTES_NONE);
}

static int stage_row(struct kv *kv, unsigned shard, const struct shard_row *row)
{
    struct bytes key = layout_row_key(&kv->arena, shard, row->key);

    if (is_unwanted(kv, row))
        return 0;
    trace_row(kv, shard, row);
    if (row->gone)
        round_delete(&kv->round, key);
    else if (row->at > 0)
        return append_row(kv, key, row);
    else
        round_put(&kv->round, key, row->value);
    return 0;
}

/* 1: the piece is the one that comes next; 0: it was taken before; else why not. */
static int judge_piece(const struct kv *kv, const struct msg_shard_stage *m)
{
    const struct kv_shard *s = kv_shard(kv, m->shard);

    for (uint32_t i = 0; i < m->n_rows; i++) {
        if (!is_row(m->rows[i].key))
            return -ERR_INVALID;
    }
    if (s->num > m->num)
        return -ERR_CONFIG_NUM;
    if (s->num < m->num) {
        if (s->state != SHARD_FOREIGN)
            return s->state == SHARD_OWNED ? -ERR_EXISTS : -ERR_MOVING;
        return m->seq == 0 ? 1 : -ERR_INVALID;
    }
    if (s->peer != m->peer)
        return -ERR_INVALID;
    if (s->state != SHARD_STAGING)
        return s->state == SHARD_FOREIGN || s->state == SHARD_DELETING ? -ERR_CONFIG_NUM : 0;
    if (m->seq < s->staged)
        return 0;
    return m->seq == s->staged && s->cursor.n ? 1 : -ERR_INVALID;
}

int apply_move_stage(struct kv *kv, const struct kv_entry *e, struct bytes in,
                     const struct kv_sink *sink)
{
    struct msg_shard_stage m;

    if (dec_shard_stage(in, &kv->arena, &m) < 0 || m.shard >= kv->shards || m.num == 0 ||
        m.peer == kv->gid)
        return apply_status(kv, e, sink, -ERR_INVALID);
    int verdict = judge_piece(kv, &m);
    if (verdict <= 0)
        return apply_status(kv, e, sink, verdict);
    int err = check_rest(kv, &m);
    if (err == -ERR_INVALID)
        return apply_status(kv, e, sink, err);
    for (uint32_t i = 0; !err && i < m.n_rows; i++)
        err = stage_row(kv, m.shard, &m.rows[i]);
    if (err)
        return err;
    const struct kv_shard to = {
        .state = SHARD_STAGING,
        .num = m.num,
        .peer = m.peer,
        .index = e->index,
        .staged = m.seq + 1,
        .cursor = m.next,
    };
    shards_put(&kv->owned, m.shard, &to, &kv->round, &kv->arena);
    return apply_status(kv, e, sink, 0);
}

static int install(struct kv *kv, const struct kv_entry *e, const struct msg_shard_install *m,
                   const struct kv_sink *sink)
{
    const struct kv_shard *s = kv_shard(kv, m->shard);

    if (s->num != m->num)
        return s->num > m->num ? -ERR_CONFIG_NUM : -ERR_NOT_FOUND;
    if (s->state == SHARD_OWNED)
        return 0;
    if (s->state != SHARD_STAGING || s->cursor.n)
        return -ERR_INVALID;
    if (kv_sessions_as_of(kv) < m->as_of)
        return -ERR_BUSY;
    forget_caches(kv, m->shard);
    set_state(kv, e, m->shard, SHARD_OWNED, BYTES_NONE);
    apply_time_passed(kv, e, m->time);
    apply_tell_shard(kv, sink, m->shard);
    return 0;
}

int apply_move_install(struct kv *kv, const struct kv_entry *e, struct bytes in,
                       const struct kv_sink *sink)
{
    struct msg_shard_install m;

    if (dec_shard_install(in, &kv->arena, &m) < 0 || m.shard >= kv->shards)
        return apply_status(kv, e, sink, -ERR_INVALID);
    return apply_status(kv, e, sink, install(kv, e, &m, sink));
}
