/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/export.h"

#include "cluster/kv/state.h"

#define CURSOR_HEAD 21
#define ROW_HEAD    16 /* as encoded, about */

enum phase { PHASE_PAGES = 1, PHASE_TOUCHED = 2 };

struct cursor {
    enum phase phase;
    uint64_t since, upto;
    uint32_t at;
    struct bytes row;
};

struct export
{
    struct kv *kv;
    unsigned shard;
    struct arena *arena;
    struct cursor c;
    struct bytes resumed; /* the row that the last piece stopped in or at */
    GArray *rows;         /* struct shard_row */
    size_t most;          /* of one row in a piece */
    size_t left;          /* of the piece */
};

/* --- cursors ---------------------------------------------------------------------------------- */

static int decode_cursor(struct bytes in, struct cursor *ret)
{
    struct dec d = dec_of(in);

    if (in.n == 0) {
        *ret = (struct cursor){.phase = PHASE_PAGES};
        return 0;
    }
    uint8_t phase = dec_u8(&d);
    *ret = (struct cursor){.phase = (enum phase)phase};
    ret->since = dec_u64(&d);
    ret->upto = dec_u64(&d);
    ret->at = dec_u32(&d);
    ret->row = bytes_of(d.p, d.n);
    return dec_ok(&d) && (phase == PHASE_PAGES || phase == PHASE_TOUCHED) ? 0 : -ERR_INVALID;
}

static struct bytes encode_cursor(struct arena *a, const struct cursor *c)
{
    uint8_t *p = arena_alloc(a, CURSOR_HEAD + c->row.n);

    p[0] = (uint8_t)c->phase;
    put_le64(p + 1, c->since);
    put_le64(p + 9, c->upto);
    put_le32(p + 17, c->at);
    if (c->row.n)
        memcpy(p + CURSOR_HEAD, c->row.p, c->row.n);
    return bytes_of(p, CURSOR_HEAD + c->row.n);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* Takes the row into the piece, or as much of it as a piece holds; false: it is the next one's. */
static bool take(struct export *x, struct bytes row, bool gone, struct bytes value)
{
    /* A row that has shrunk meanwhile begins anew. */
    size_t at = bytes_eq(row, x->resumed) && x->c.at <= value.n ? x->c.at : 0;
    size_t n = value.n - at;
    bool cut = n > x->most;

    if (cut)
        n = x->most;
    x->c.row = row;
    x->c.at = 0;
    if (x->rows->len == SHARD_ROWS_MAX || (x->rows->len && ROW_HEAD + row.n + n > x->left)) {
        x->c.row = arena_copy(x->arena, row);
        return false;
    }
    const struct shard_row r = {
        .gone = gone,
        .at = (uint32_t)at,
        .key = arena_copy(x->arena, row),
        .value = arena_copy(x->arena, bytes_of(value.p + at, n)),
    };
    g_array_append_val(x->rows, r);
    x->left -= MIN(x->left, ROW_HEAD + row.n + n);
    x->c.row = r.key;
    if (cut)
        x->c.at = (uint32_t)(at + n);
    return !cut;
}

static struct bytes row_of(struct bytes internal)
{
    return bytes_of(internal.p + 2, internal.n - 2);
}

/* 1: all were taken; 0: the piece is full; an error. */
static int take_pages(struct export *x)
{
    struct bytes lo = layout_row_key(x->arena, x->shard, x->c.row), hi, key, value;
    bool all = true;

    layout_shard_bounds(x->arena, x->shard, TABLE_TOUCHED, &hi);
    struct round_iter *it = round_iter_open(&x->kv->round, lo, hi);
    while (all && round_iter_next(it, &key, &value))
        all = take(x, row_of(key), false, value);
    int err = round_iter_close(it);
    return err ? err : all;
}

static int take_touched_row(struct export *x, struct bytes row, bool *ret_taken)
{
    struct bytes value = BYTES_NONE;
    int err = round_get(&x->kv->round, layout_row_key(x->arena, x->shard, row), x->arena, &value);

    if (err && err != -ERR_NOT_FOUND)
        return err;
    *ret_taken = take(x, row, err == -ERR_NOT_FOUND, err ? BYTES_NONE : value);
    return 0;
}

static int take_touched(struct export *x)
{
    struct bytes lo = layout_touched_key(x->arena, x->shard, x->c.row), hi, key, value;
    bool taken = true;
    int err = 0;

    layout_shard_bounds(x->arena, x->shard, TABLE_TOUCHED + 1, &hi);
    struct round_iter *it = round_iter_open(&x->kv->round, lo, hi);
    while (!err && taken && round_iter_next(it, &key, &value)) {
        struct bytes touched = bytes_of(key.p + 3, key.n - 3);

        if (value.n != 8)
            err = -ERR_CORRUPT;
        else if (get_le64(value.p) > x->c.since)
            err = take_touched_row(x, touched, &taken);
    }
    int broken = round_iter_close(it);
    return err ? err : broken ? broken : taken;
}

/* Every transaction changes the counter, so it goes with every pass instead of being recorded. */
static int take_counter(struct export *x)
{
    const uint8_t row[1] = {TABLE_META};
    struct bytes none = x->c.row;
    bool taken;
    int err = take_touched_row(x, bytes_of(row, 1), &taken);

    x->c.row = none;
    return err;
}

/* --- one piece -------------------------------------------------------------------------------- */

/* The cursor behind the last row that was taken; a whole row is followed by the key just behind. */
static void go_behind(struct export *x)
{
    if (x->c.at || x->rows->len == 0)
        return;
    const struct shard_row *last = &g_array_index(x->rows, struct shard_row, x->rows->len - 1);
    if (!bytes_eq(last->key, x->c.row))
        return;
    uint8_t *p = arena_zalloc(x->arena, x->c.row.n + 1);
    memcpy(p, x->c.row.p, x->c.row.n);
    x->c.row = bytes_of(p, x->c.row.n + 1);
}

static int fill(struct export *x, const struct kv_shard *s, bool *ret_done)
{
    int err = 0;

    *ret_done = false;
    if (x->c.phase == PHASE_PAGES) {
        err = take_pages(x);
        if (err == 1)
            x->c = (struct cursor){.phase = PHASE_TOUCHED};
        return MIN(err, 0);
    }
    if (x->c.upto == 0) {
        x->c.upto = x->kv->index;
        err = take_counter(x);
    }
    if (!err)
        err = take_touched(x);
    if (err != 1)
        return err;
    *ret_done = s->state == SHARD_FROZEN && x->c.upto >= s->index;
    x->c = (struct cursor){.phase = PHASE_TOUCHED, .since = x->c.upto};
    return 0;
}

/* Who has ended by then has left no results here. Group 0's list of them ends with those that no
 * group takes for alive. */
static uint64_t sessions_known(const struct kv *kv)
{
    uint64_t newest;

    if (kv->gid != 0)
        return kv_sessions_as_of(kv);
    return kv_fencing(kv, &newest) > 0 ? newest : 0;
}

static void hand_over(struct export *x, const struct kv_shard *s, bool done,
                      struct msg_shard_piece *ret)
{
    *ret = (struct msg_shard_piece){
        .time = MAX(x->kv->time_ns, x->kv->time_floor),
        .as_of = sessions_known(x->kv),
        .last_pass = s->state == SHARD_FROZEN && x->c.phase == PHASE_TOUCHED &&
                     MAX(x->c.upto, x->c.since) >= s->index,
        .n_rows = x->rows->len,
        .rows = arena_array(x->arena, x->rows->len, sizeof(struct shard_row)),
    };
    if (x->rows->len)
        memcpy(ret->rows, x->rows->data, x->rows->len * sizeof(struct shard_row));
    if (!done)
        ret->next = encode_cursor(x->arena, &x->c);
}

int kv_export(struct kv *kv, unsigned shard, uint64_t num, struct bytes cursor, size_t bytes,
              struct arena *a, struct msg_shard_piece *ret)
{
    struct export x = {.kv = kv, .shard = shard, .arena = a, .most = bytes, .left = bytes};
    bool done;

    ASSERT(bytes >= SHARD_PIECE_LEAST && bytes <= SHARD_PIECE_BYTES);
    if (kv->broken)
        return kv->broken;
    if (shard >= kv->shards || decode_cursor(cursor, &x.c) < 0)
        return -ERR_INVALID;
    const struct kv_shard *s = kv_shard(kv, shard);
    if (s->num != num ||
        (s->state != SHARD_MOVING && s->state != SHARD_CLOSING && s->state != SHARD_FROZEN))
        return -ERR_CONFIG_NUM;
    if (MAX(x.c.since, x.c.upto) > kv->index)
        return -ERR_BUSY;
    x.resumed = x.c.row;
    x.rows = g_array_new(false, false, sizeof(struct shard_row));
    int err = fill(&x, s, &done);
    if (!err) {
        go_behind(&x);
        hand_over(&x, s, done, ret);
    }
    g_array_free(x.rows, true);
    return err;
}
