/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/combine.h"

#include <string.h>
#include "cluster/base/codec.h"
#include "cluster/base/err.h"

#define SLOTS_FIRST 4096

void combine_init(struct combiner *c, uint32_t partitions, size_t budget)
{
    *c = (struct combiner){.partitions = partitions, .n_slots = SLOTS_FIRST};
    sort_init(&c->buffer, budget);
    c->slots = g_new0(struct combine_slot, c->n_slots);
}

void combine_finish(struct combiner *c)
{
    sort_finish(&c->buffer);
    g_free(c->slots);
    c->slots = NULL;
}

void combine_clear(struct combiner *c)
{
    sort_clear(&c->buffer);
    memset(c->slots, 0, c->n_slots * sizeof *c->slots);
    c->n_used = 0;
}

static void double_slots(struct combiner *c)
{
    size_t n = c->n_slots * 2;
    struct combine_slot *slots = g_new0(struct combine_slot, n);
    for (size_t i = 0; i < c->n_slots; i++) {
        if (!c->slots[i].ref)
            continue;
        struct record r = sort_record(&c->buffer, c->slots[i].ref - 1);
        size_t at = mr_hash(r.key.p, r.key.n) & (n - 1);
        while (slots[at].ref)
            at = (at + 1) & (n - 1);
        slots[at] = c->slots[i];
    }
    g_free(c->slots);
    c->slots = slots;
    c->n_slots = n;
}

static int insert(struct combiner *c, size_t at, struct bytes key, uint64_t hash, int64_t value)
{
    uint8_t v[8];
    uint32_t ref;
    put_le64(v, (uint64_t)value);
    struct record r = {key, {v, 8}, true};
    if (!sort_add_ref(&c->buffer, mr_partition(hash, c->partitions), &r, &ref))
        return -ERR_BUSY;
    c->slots[at] = (struct combine_slot){(uint32_t)(hash >> 32), ref + 1};
    if (++c->n_used * 2 > c->n_slots)
        double_slots(c);
    return 0;
}

int combine_add(struct combiner *c, struct bytes key, uint64_t hash, int64_t value)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    size_t at = hash & (c->n_slots - 1);
    for (; c->slots[at].ref; at = (at + 1) & (c->n_slots - 1)) {
        if (c->slots[at].tag != tag)
            continue;
        struct record r = sort_record(&c->buffer, c->slots[at].ref - 1);
        if (r.key.n != key.n || memcmp(r.key.p, key.p, key.n) != 0)
            continue;
        uint8_t *v = sort_value(&c->buffer, c->slots[at].ref - 1);
        int64_t sum;
        if (__builtin_add_overflow((int64_t)hash_load64(v), value, &sum))
            return -ERR_TOO_BIG;
        uint64_t le = htole64((uint64_t)sum);
        memcpy(v, &le, 8);
        return 0;
    }
    return insert(c, at, key, hash, value);
}
