/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/round.h"

#include "cluster/kv/layout.h"

void round_init(struct round *r, struct store *store)
{
    *r = (struct round){
        .store = store,
        .batch = g_array_new(false, false, sizeof(struct store_write)),
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

int round_get(struct round *r, struct bytes key, struct arena *a, struct bytes *ret)
{
    struct overlay_slot *slot = round_empty(r) ? NULL : overlay_find(&r->rows, key);

    if (!slot)
        return r->store->ops->get(r->store, NULL, key, a, ret);
    if (!slot->exists)
        return -ERR_NOT_FOUND;
    *ret = slot->data;
    return 0;
}

/* The row's slot; its key is copied when it is new. */
static struct overlay_slot *slot_of(struct round *r, struct bytes key)
{
    struct overlay_slot *slot = overlay_find(&r->rows, key);

    if (slot)
        return slot;
    r->bytes += key.n;
    return overlay_touch(&r->rows, arena_copy(&r->arena, key));
}

void round_put(struct round *r, struct bytes key, struct bytes value)
{
    struct overlay_slot *slot = slot_of(r, key);

    slot->exists = true;
    slot->data = arena_copy(&r->arena, value);
    r->bytes += value.n;
}

void round_put_value(struct round *r, struct bytes key, uint64_t version, struct bytes data)
{
    struct overlay_slot *slot = slot_of(r, key);
    uint8_t *p = arena_alloc(&r->arena, VALUE_HEAD + data.n);

    layout_value_head(p, version);
    if (data.n)
        memcpy(p + VALUE_HEAD, data.p, data.n);
    slot->exists = true;
    slot->data = bytes_of(p, VALUE_HEAD + data.n);
    r->bytes += VALUE_HEAD + data.n;
}

void round_delete(struct round *r, struct bytes key)
{
    struct overlay_slot *slot = slot_of(r, key);

    slot->exists = false;
    slot->data = BYTES_NONE;
}

int round_write(struct round *r)
{
    g_array_set_size(r->batch, 0);
    for (unsigned i = 0; i < r->rows.slots->len; i++) {
        const struct overlay_slot *slot = overlay_at(&r->rows, i);
        struct store_write w = {
            .op = slot->exists ? STORE_PUT : STORE_DELETE,
            .key = slot->key,
            .value = slot->data,
        };
        g_array_append_val(r->batch, w);
    }
    int err = r->store->ops->write(r->store, (const struct store_write *)(void *)r->batch->data,
                                   r->batch->len);
    if (err)
        return err;
    overlay_reset(&r->rows);
    arena_reset(&r->arena);
    r->bytes = 0;
    return 0;
}
