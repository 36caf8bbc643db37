/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/round.h"

#include "cluster/kv/layout.h"

#define ROWS_MAX  4096
#define BYTES_MAX MIB(1)

void round_init(struct round *r, struct store *store)
{
    *r = (struct round){
        .store = store,
        .batch = g_array_new(false, false, sizeof(struct store_write)),
        .rows_max = ROWS_MAX,
        .number = 1,
    };
    overlay_init(&r->rows);
}

void round_finish(struct round *r)
{
    overlay_finish(&r->rows);
    arena_finish(&r->arena);
    if (r->batch)
        g_array_free(r->batch, true);
    *r = (struct round){0};
}

/* --- rows ------------------------------------------------------------------------------------- */

int round_get(struct round *r, struct bytes key, struct arena *a, struct bytes *ret)
{
    struct overlay_slot *slot = overlay_find(&r->rows, key);

    if (!slot)
        return r->store->ops->get(r->store, NULL, key, a, ret);
    if (!slot->exists)
        return -ERR_NOT_FOUND;
    *ret = arena_copy(a, slot->data);
    return 0;
}

/* The row's slot; its key is copied when it is new. */
static struct overlay_slot *slot_of(struct round *r, struct bytes key)
{
    unsigned before = r->rows.slots->len;
    struct overlay_slot *slot = overlay_touch(&r->rows, key);

    if (r->rows.slots->len > before) {
        r->bytes += key.n;
        slot->key = arena_copy(&r->arena, key);
    }
    return slot;
}

/* Makes the row n bytes long, for the caller to fill: where it was, if there is room. */
static uint8_t *row_of(struct round *r, struct overlay_slot *slot, size_t n)
{
    uint8_t *p = (uint8_t *)slot->data.p;

    if (n > slot->room || slot->room == 0) {
        slot->room = MAX(n, 1);
        r->bytes += slot->room;
        p = arena_alloc(&r->arena, slot->room);
    }
    slot->exists = true;
    slot->data = bytes_of(p, n);
    return p;
}

static void put(struct round *r, struct overlay_slot *slot, struct bytes value)
{
    uint8_t *p = row_of(r, slot, value.n);

    if (value.n)
        memcpy(p, value.p, value.n);
}

void round_put(struct round *r, struct bytes key, struct bytes value)
{
    put(r, slot_of(r, key), value);
}

void round_put_at(struct round *r, struct round_place *at, struct bytes key, struct bytes value)
{
    if (at->number == r->number) {
        put(r, overlay_at(&r->rows, at->slot), value);
        return;
    }
    struct overlay_slot *slot = slot_of(r, key);
    *at = (struct round_place){r->number, overlay_index(&r->rows, slot)};
    put(r, slot, value);
}

void round_put_value(struct round *r, struct bytes key, uint64_t version, struct bytes data)
{
    uint8_t *p = row_of(r, slot_of(r, key), VALUE_HEAD + data.n);

    layout_value_head(p, version);
    if (data.n)
        memcpy(p + VALUE_HEAD, data.p, data.n);
}

void round_delete(struct round *r, struct bytes key)
{
    slot_of(r, key)->exists = false;
}

/* --- iterating -------------------------------------------------------------------------------- */

struct round_iter {
    struct round *round;
    GArray *rows; /* slots in the range, in order of their keys */
    unsigned at;  /* the next of them */
    struct store_iter *stored;
    struct bytes key, value; /* the store's next, if there is one */
    bool more;
    bool used; /* it was given or overruled: take another one */
};

struct round_iter *round_iter_open(struct round *r, struct bytes lo, struct bytes hi)
{
    struct round_iter *it = g_new0(struct round_iter, 1);

    it->round = r;
    it->rows = g_array_new(false, false, sizeof(unsigned));
    overlay_range(&r->rows, lo, hi, it->rows);
    it->stored = r->store->ops->iter_open(r->store, NULL, lo, hi);
    it->more = it->used = true;
    return it;
}

bool round_iter_next(struct round_iter *it, struct bytes *ret_key, struct bytes *ret_value)
{
    for (;;) {
        struct overlay_slot *slot = NULL;

        if (it->more && it->used)
            it->more = it->round->store->ops->iter_next(it->stored, &it->key, &it->value);
        it->used = false;
        if (it->at < it->rows->len)
            slot = overlay_at(&it->round->rows, g_array_index(it->rows, unsigned, it->at));
        if (!slot && !it->more)
            return false;
        int order = !slot ? -1 : !it->more ? 1 : bytes_cmp(it->key, slot->key);
        it->used = order <= 0;
        if (order < 0) {
            *ret_key = it->key;
            *ret_value = it->value;
            return true;
        }
        it->at++;
        if (slot->exists) {
            *ret_key = slot->key;
            *ret_value = slot->data;
            return true;
        }
    }
}

int round_iter_close(struct round_iter *it)
{
    int err = it->round->store->ops->iter_close(it->stored);

    g_array_free(it->rows, true);
    g_free(it);
    return err;
}

/* --- writing ---------------------------------------------------------------------------------- */

bool round_full(const struct round *r)
{
    return r->rows.slots->len >= r->rows_max || r->bytes >= BYTES_MAX;
}

static int key_order(const void *a, const void *b)
{
    return bytes_cmp(((const struct store_write *)a)->key, ((const struct store_write *)b)->key);
}

int round_write(struct round *r)
{
    if (r->rows.slots->len == 0)
        return 0;
    g_array_set_size(r->batch, 0);
    for (unsigned i = 0; i < r->rows.slots->len; i++) {
        const struct overlay_slot *slot = overlay_at(&r->rows, i);
        struct store_write w = {
            .op = slot->exists ? STORE_PUT : STORE_DELETE,
            .key = slot->key,
            .value = slot->exists ? slot->data : BYTES_NONE,
        };
        g_array_append_val(r->batch, w);
    }
    g_array_sort(r->batch, key_order);
    int err = r->store->ops->write(r->store, (const struct store_write *)(void *)r->batch->data,
                                   r->batch->len);
    if (err)
        return err;
    overlay_reset(&r->rows);
    arena_reset(&r->arena);
    r->bytes = 0;
    r->number++;
    return 0;
}
