/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/txn.h"

#include "cluster/kv/layout.h"

/* As encoded, without the bytes: one read's result; one pair of a scan. */
#define RESULT_HEAD 32
#define PAIR_HEAD   16

/* Functions here return 0, a negative error of the store, or a positive status: the transaction's
 * outcome, if it is not OK. */

/* The key's slot, with its state loaded. */
static int load(struct txn_run *r, struct bytes client_key, struct overlay_slot **ret)
{
    struct bytes key = layout_data_key(r->arena, client_key), stored;
    struct overlay_slot *slot = overlay_find(r->overlay, key);

    if (slot) {
        *ret = slot;
        return 0;
    }
    slot = overlay_touch(r->overlay, key);
    int err = round_get(r->round, key, r->arena, &stored);
    if (err == 0) {
        err = layout_value_decode(stored, &slot->version, &slot->data);
        slot->exists = err == 0;
    }
    if (err && err != -ERR_NOT_FOUND)
        return err;
    *ret = slot;
    return 0;
}

/* The key's slot for a write that does not look at the old value: costs no get. */
static struct overlay_slot *touch(struct txn_run *r, struct bytes client_key)
{
    return overlay_touch(r->overlay, layout_data_key(r->arena, client_key));
}

/* --- compares --------------------------------------------------------------------------------- */

static bool holds_bytes(const struct overlay_slot *slot, uint64_t off, struct bytes want)
{
    if (!slot->exists || off > slot->data.n || want.n > slot->data.n - off)
        return false;
    return want.n == 0 || memcmp(slot->data.p + off, want.p, want.n) == 0;
}

static int compare_range(struct txn_run *r, const struct kv_compare *c)
{
    struct bytes lo, hi, key, value;

    layout_data_range(r->arena, c->key, c->hi, &lo, &hi);
    if (bytes_cmp(lo, hi) >= 0)
        return 0;
    struct round_iter *it = round_iter_open(r->round, lo, hi);
    bool found = round_iter_next(it, &key, &value);
    int err = round_iter_close(it);
    if (err)
        return err;
    return found ? ERR_FAILED : 0;
}

static int compare(struct txn_run *r, const struct kv_compare *c)
{
    struct overlay_slot *slot;
    bool holds = false;

    if (c->op == KV_EMPTY_RANGE)
        return compare_range(r, c);
    int err = load(r, c->key, &slot);
    if (err)
        return err;
    switch (c->op) {
    case KV_ABSENT:
        holds = !slot->exists;
        break;
    case KV_EXISTS:
        holds = slot->exists;
        break;
    case KV_VERSION:
        holds = slot->version == c->arg;
        break;
    case KV_BYTES:
        holds = holds_bytes(slot, c->arg, c->value);
        break;
    }
    return holds ? 0 : ERR_FAILED;
}

/* --- reads ------------------------------------------------------------------------------------ */

static bool take(size_t *left, size_t n)
{
    if (n > *left)
        return false;
    *left -= n;
    return true;
}

static int read_get(struct txn_run *r, const struct kv_read *read, struct kv_result *ret)
{
    struct overlay_slot *slot;
    int err = load(r, read->key, &slot);

    if (err || !slot->exists)
        return err;
    uint64_t off = MIN(read->off, slot->data.n);
    uint64_t len = slot->data.n - off;
    if (read->len && read->len < len)
        len = read->len;
    if (!take(&r->reply_left, len))
        return ERR_TOO_BIG;
    ret->version = slot->version;
    ret->size = slot->data.n;
    ret->value = bytes_of(slot->data.p + off, len);
    return 0;
}

/* One pair copied out of the iterator. */
static int scan_pair(struct txn_run *r, bool values, struct bytes key, struct bytes stored,
                     struct kv_pair *ret)
{
    struct bytes data;
    int err = layout_value_decode(stored, &ret->version, &data);

    if (err)
        return err;
    ret->key = layout_client_key(r->arena, key);
    ret->value = values ? arena_copy(r->arena, data) : BYTES_NONE;
    return 0;
}

/* Ends at the limit of entries, when SCAN_BYTES_MAX are gathered, or when the reply is full. */
static int scan_pairs(struct txn_run *r, const struct kv_read *read, struct round_iter *it,
                      GArray *pairs, bool *ret_more)
{
    uint64_t limit = read->len ? MIN(read->len, SCAN_ENTRIES_MAX) : SCAN_ENTRIES_MAX;
    struct bytes key, stored;
    size_t bytes = 0;

    while (round_iter_next(it, &key, &stored)) {
        bool values = read->off == 0;
        size_t cost = PAIR_HEAD + key.n + (values ? stored.n : 0);
        struct kv_pair pair = {0};

        *ret_more = pairs->len == limit || bytes >= SCAN_BYTES_MAX || !take(&r->reply_left, cost);
        if (*ret_more)
            return 0;
        int err = scan_pair(r, values, key, stored, &pair);
        if (err)
            return err;
        g_array_append_val(pairs, pair);
        bytes += cost;
    }
    return 0;
}

static int read_scan(struct txn_run *r, const struct kv_read *read, struct kv_result *ret)
{
    struct bytes lo, hi;
    bool more = false;

    layout_data_range(r->arena, read->key, read->hi, &lo, &hi);
    if (bytes_cmp(lo, hi) >= 0)
        return 0;
    GArray *pairs = g_array_new(false, false, sizeof(struct kv_pair));
    struct round_iter *it = round_iter_open(r->round, lo, hi);
    int err = scan_pairs(r, read, it, pairs, &more);
    int broken = round_iter_close(it);
    if (!err)
        err = broken;
    if (!err) {
        ret->more = more;
        ret->n_pairs = pairs->len;
        ret->pairs = arena_array(r->arena, pairs->len, sizeof(struct kv_pair));
        if (pairs->len)
            memcpy(ret->pairs, pairs->data, pairs->len * sizeof(struct kv_pair));
    }
    g_array_free(pairs, true);
    return err;
}

static int run_reads(struct txn_run *r)
{
    const struct msg_txn *t = r->txn;
    int err = 0;

    if (t->n_reads == 0)
        return 0;
    r->reply->reads = arena_array(r->arena, t->n_reads, sizeof(struct kv_result));
    r->reply->n_reads = t->n_reads;
    for (uint32_t i = 0; !err && i < t->n_reads; i++) {
        struct kv_result *ret = &r->reply->reads[i];

        err = t->reads[i].op == KV_GET ? read_get(r, &t->reads[i], ret)
                                       : read_scan(r, &t->reads[i], ret);
    }
    return err;
}

/* --- writes ----------------------------------------------------------------------------------- */

/* Makes the slot's value the transaction's own and n bytes long: the old bytes as far as they go,
 * then zeros. Room doubles, so appending in many small writes costs no more than twice the value.
 */
static int own(struct txn_run *r, struct overlay_slot *slot, size_t n, uint8_t **ret)
{
    size_t old = slot->exists ? MIN(slot->data.n, n) : 0;
    uint8_t *p;

    if (slot->room >= n && slot->room > 0) {
        p = (uint8_t *)slot->data.p;
    } else {
        size_t room = slot->room ? MAX(n, MIN(2 * slot->room, VALUE_MAX)) : MAX(n, 1);

        if (!take(&r->work_left, room))
            return ERR_TOO_BIG;
        p = arena_alloc(r->arena, room);
        if (old)
            memcpy(p, slot->data.p, old);
        slot->room = room;
    }
    memset(p + old, 0, n - old);
    slot->data = bytes_of(p, n);
    slot->exists = slot->dirty = true;
    *ret = p;
    return 0;
}

static int write_at(struct txn_run *r, const struct kv_write *w)
{
    struct overlay_slot *slot;
    uint8_t *p;
    int err = load(r, w->key, &slot);

    if (err)
        return err;
    size_t size = slot->exists ? slot->data.n : 0;
    err = own(r, slot, MAX(size, w->arg + w->value.n), &p);
    if (!err && w->value.n)
        memcpy(p + w->arg, w->value.p, w->value.n);
    return err;
}

static int write_truncate(struct txn_run *r, const struct kv_write *w)
{
    struct overlay_slot *slot;
    uint8_t *p;
    int err = load(r, w->key, &slot);

    return err || !slot->exists ? err : own(r, slot, w->arg, &p);
}

/* ADD64, MAX64, TIME64. */
static int write_number(struct txn_run *r, const struct kv_write *w)
{
    struct overlay_slot *slot;
    uint8_t *p;
    int err = load(r, w->key, &slot);

    if (err)
        return err;
    if (!slot->exists || slot->data.n < 8 || w->arg > slot->data.n - 8)
        return ERR_FAILED;
    err = own(r, slot, slot->data.n, &p);
    if (err)
        return err;
    p += w->arg;
    if (w->op == KV_ADD64)
        put_le64(p, get_le64(p) + get_le64(w->value.p));
    else if (w->op == KV_MAX64)
        put_le64(p, MAX(get_le64(p), get_le64(w->value.p)));
    else
        put_le64(p, r->time);
    return 0;
}

static void write_put(struct txn_run *r, const struct kv_write *w)
{
    struct overlay_slot *slot = touch(r, w->key);

    slot->data = w->value;
    slot->room = 0;
    slot->exists = slot->dirty = true;
}

static void drop(struct overlay_slot *slot)
{
    slot->data = BYTES_NONE;
    slot->room = 0;
    slot->exists = false;
    slot->dirty = true;
}

/* Both the store's keys and the overlay's, in one order; where both have a key the overlay is
 * right. */
static uint64_t drop_range(struct txn_run *r, const struct kv_write *w, struct round_iter *it)
{
    struct bytes key = BYTES_NONE, value;
    bool stored = round_iter_next(it, &key, &value);
    unsigned at = 0;
    uint64_t count = 0;

    while (count < w->arg && (stored || at < r->range->len)) {
        struct overlay_slot *slot = NULL;
        int order = -1;

        if (at < r->range->len) {
            slot = overlay_at(r->overlay, g_array_index(r->range, unsigned, at));
            order = stored ? bytes_cmp(key, slot->key) : 1;
        }
        if (order < 0)
            slot = overlay_touch(r->overlay, arena_copy(r->arena, key));
        else
            at++;
        if (order < 0 || slot->exists) {
            drop(slot);
            count++;
        }
        if (order <= 0)
            stored = round_iter_next(it, &key, &value);
    }
    return count;
}

static int write_delete_range(struct txn_run *r, const struct kv_write *w)
{
    struct msg_txn_reply *reply = r->reply;
    uint64_t count = 0;
    struct bytes lo, hi;
    int err = 0;

    layout_data_range(r->arena, w->key, w->hi, &lo, &hi);
    if (bytes_cmp(lo, hi) < 0) {
        overlay_range(r->overlay, lo, hi, r->range);
        struct round_iter *it = round_iter_open(r->round, lo, hi);
        count = drop_range(r, w, it);
        err = round_iter_close(it);
    }
    reply->deleted[reply->n_deleted++] = (struct counter){.value = count};
    return err;
}

static int run_write(struct txn_run *r, const struct kv_write *w)
{
    switch (w->op) {
    case KV_PUT:
        write_put(r, w);
        return 0;
    case KV_DELETE:
        drop(touch(r, w->key));
        return 0;
    case KV_DELETE_RANGE:
        return write_delete_range(r, w);
    case KV_WRITE:
        return write_at(r, w);
    case KV_TRUNCATE:
        return write_truncate(r, w);
    }
    return write_number(r, w);
}

static int run_writes(struct txn_run *r, uint32_t *ret_failed)
{
    const struct msg_txn *t = r->txn;
    unsigned ranges = 0;
    int err = 0;

    for (uint32_t i = 0; i < t->n_writes; i++)
        ranges += t->writes[i].op == KV_DELETE_RANGE;
    if (ranges)
        r->reply->deleted = arena_array(r->arena, ranges, sizeof(struct counter));
    for (uint32_t i = 0; !err && i < t->n_writes; i++) {
        err = run_write(r, &t->writes[i]);
        if (err == ERR_FAILED)
            *ret_failed = t->n_compares + i;
    }
    return err;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int run_all(struct txn_run *r, uint32_t *ret_failed)
{
    const struct msg_txn *t = r->txn;
    int outcome = 0;

    for (uint32_t i = 0; !outcome && i < t->n_compares; i++) {
        outcome = compare(r, &t->compares[i]);
        *ret_failed = i;
    }
    if (outcome < 0)
        return outcome;
    int err = run_reads(r); /* also of a transaction that FAILED: they say why */
    if (err || outcome)
        return err ? err : outcome;
    return run_writes(r, ret_failed);
}

int kv_txn_run(struct txn_run *r, struct msg_txn_reply *ret)
{
    size_t limit = r->txn->n_writes || r->part ? RESULT_BYTES_MAX : READ_BYTES_MAX;
    uint32_t failed = 0;

    *ret = (struct msg_txn_reply){.time = r->time};
    r->reply = ret;
    r->reply_left = limit - REPLY_ROOM - (size_t)r->txn->n_reads * RESULT_HEAD;
    r->work_left = TXN_WORK_MAX;
    int outcome = run_all(r, &failed);
    if (outcome < 0)
        return outcome;
    ret->status = (uint16_t)outcome;
    if (outcome == ERR_FAILED)
        ret->failed = failed;
    if (outcome == ERR_TOO_BIG)
        ret->n_reads = 0;
    if (outcome)
        ret->n_deleted = 0;
    return 0;
}
