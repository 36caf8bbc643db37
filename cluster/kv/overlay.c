/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/overlay.h"

#include "cluster/base/codec.h"

#define PLACES_MIN 64 /* a power of two */
/* A table grown beyond this by one large transaction is given back. A full round (round.c) fits. */
#define PLACES_KEEP 16384

static void places_alloc(struct overlay *o, uint32_t n)
{
    g_free(o->places);
    o->places = g_new0(struct overlay_place, n);
    o->n_places = n;
    o->round = 1;
}

void overlay_init(struct overlay *o)
{
    *o = (struct overlay){.slots = g_array_new(false, false, sizeof(struct overlay_slot))};
    places_alloc(o, PLACES_MIN);
}

void overlay_finish(struct overlay *o)
{
    if (o->slots)
        g_array_free(o->slots, true);
    g_free(o->places);
    *o = (struct overlay){0};
}

void overlay_reset(struct overlay *o)
{
    g_array_set_size(o->slots, 0);
    if (o->n_places > PLACES_KEEP || o->round == UINT32_MAX)
        places_alloc(o, PLACES_MIN);
    else
        o->round++;
}

static uint32_t key_hash(struct bytes key)
{
    return crc32c(0, key.p, key.n);
}

/* The place of the key, or the free one where it belongs. */
static struct overlay_place *place_of(struct overlay *o, struct bytes key, uint32_t hash)
{
    uint32_t mask = o->n_places - 1;

    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct overlay_place *place = &o->places[i];

        if (place->round != o->round)
            return place;
        struct overlay_slot *slot = overlay_at(o, place->slot);
        if (slot->hash == hash && bytes_eq(slot->key, key))
            return place;
    }
}

struct overlay_slot *overlay_find(struct overlay *o, struct bytes key)
{
    struct overlay_place *place = place_of(o, key, key_hash(key));

    return place->round == o->round ? overlay_at(o, place->slot) : NULL;
}

static void places_grow(struct overlay *o)
{
    places_alloc(o, o->n_places * 4);
    for (unsigned i = 0; i < o->slots->len; i++) {
        struct overlay_slot *slot = overlay_at(o, i);

        *place_of(o, slot->key, slot->hash) = (struct overlay_place){o->round, i};
    }
}

struct overlay_slot *overlay_touch(struct overlay *o, struct bytes key)
{
    struct overlay_slot slot = {.key = key, .hash = key_hash(key)};

    if (o->slots->len >= o->n_places / 2)
        places_grow(o);
    struct overlay_place *place = place_of(o, key, slot.hash);
    if (place->round != o->round) {
        *place = (struct overlay_place){o->round, o->slots->len};
        g_array_append_val(o->slots, slot);
    }
    return overlay_at(o, place->slot);
}

static int slot_order(const void *a, const void *b, void *arg)
{
    struct overlay *o = arg;

    return bytes_cmp(overlay_at(o, *(const unsigned *)a)->key,
                     overlay_at(o, *(const unsigned *)b)->key);
}

void overlay_range(struct overlay *o, struct bytes lo, struct bytes hi, GArray *ret_slots)
{
    g_array_set_size(ret_slots, 0);
    for (unsigned i = 0; i < o->slots->len; i++) {
        struct bytes key = overlay_at(o, i)->key;

        if (bytes_cmp(key, lo) >= 0 && bytes_cmp(key, hi) < 0)
            g_array_append_val(ret_slots, i);
    }
    g_array_sort_with_data(ret_slots, slot_order, o);
}
