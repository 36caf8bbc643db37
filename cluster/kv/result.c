/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/result.h"

#include "cluster/base/limits.h"
#include "cluster/kv/layout.h"

#define SLOTS          4096 /* about 700 KiB when all hold small rows */
#define CACHED_ROW_MAX KIB(4)

/* --- one row ---------------------------------------------------------------------------------- */

struct result {
    uint64_t seq;
    struct bytes body;
};

static struct result result_next(struct dec *d)
{
    uint64_t seq = dec_u64(d);

    return (struct result){seq, dec_bytes(d)};
}

int result_find(struct bytes row, uint64_t seq, uint64_t acked_below, struct bytes *ret_body)
{
    if (row.n == 0)
        return RESULT_NEW;
    struct dec d = dec_of(row);
    uint64_t released = dec_u64(&d), bound = MAX(released, acked_below);
    unsigned kept = 0;

    while (dec_ok(&d) && !dec_done(&d)) {
        struct result r = result_next(&d);

        if (dec_ok(&d) && r.seq == seq) {
            *ret_body = r.body;
            return RESULT_KEPT;
        }
        kept += r.seq >= bound;
    }
    if (!dec_ok(&d))
        return -ERR_CORRUPT;
    if (seq < released)
        return RESULT_STALE;
    return kept < SESSION_WINDOW ? RESULT_NEW : RESULT_FULL;
}

void result_add(struct bytes row, uint64_t seq, uint64_t acked_below, struct bytes body,
                struct enc *ret)
{
    struct dec d = dec_of(row);
    uint64_t released = row.n ? dec_u64(&d) : 0, bound = MAX(released, acked_below);

    enc_reset(ret);
    enc_u64(ret, bound);
    while (!dec_done(&d)) {
        struct result r = result_next(&d);

        ASSERT(dec_ok(&d));
        if (r.seq < bound)
            continue;
        enc_u64(ret, r.seq);
        enc_bytes(ret, r.body);
    }
    enc_u64(ret, seq);
    enc_bytes(ret, body);
}

/* --- the cache -------------------------------------------------------------------------------- */

void results_init(struct results *r, struct round *round)
{
    *r = (struct results){.round = round, .slots = g_new0(struct results_slot, SLOTS)};
}

void results_finish(struct results *r)
{
    for (unsigned i = 0; r->slots && i < SLOTS; i++)
        enc_finish(&r->slots[i].row);
    g_free(r->slots);
    *r = (struct results){0};
}

static struct results_slot *slot_of(struct results *r, unsigned shard, uint64_t client)
{
    uint64_t h = (client * 0x9e3779b97f4a7c15u) ^ ((uint64_t)shard * 0xff51afd7ed558ccdu);

    return &r->slots[(h >> 32) % SLOTS];
}

static bool is_of(const struct results_slot *slot, unsigned shard, uint64_t client)
{
    return slot->used && slot->shard == shard && slot->client == client;
}

static void keep(struct results_slot *slot, unsigned shard, uint64_t client, struct bytes row)
{
    if (!is_of(slot, shard, client))
        slot->at = (struct round_place){0};
    slot->client = client;
    slot->shard = shard;
    slot->used = true;
    enc_reset(&slot->row);
    enc_raw(&slot->row, row.p, row.n);
}

int results_get(struct results *r, unsigned shard, uint64_t client, struct arena *a,
                struct bytes *ret_row)
{
    struct results_slot *slot = slot_of(r, shard, client);
    struct bytes row;

    if (is_of(slot, shard, client)) {
        *ret_row = enc_view(&slot->row);
        return 0;
    }
    int err = round_get(r->round, layout_result_key(a, shard, client), a, &row);
    if (err && err != -ERR_NOT_FOUND)
        return err;
    if (!err && row.n == 0)
        return -ERR_CORRUPT;
    *ret_row = err ? BYTES_NONE : row;
    if (ret_row->n <= CACHED_ROW_MAX)
        keep(slot, shard, client, *ret_row);
    return 0;
}

void results_put(struct results *r, unsigned shard, uint64_t client, struct arena *a,
                 struct bytes row)
{
    struct results_slot *slot = slot_of(r, shard, client);
    struct bytes key = layout_result_key(a, shard, client);

    if (row.n > CACHED_ROW_MAX) { /* large replies are rare, and seldom asked for again */
        round_put(r->round, key, row);
        if (is_of(slot, shard, client))
            slot->used = false;
        return;
    }
    keep(slot, shard, client, row);
    round_put_at(r->round, &slot->at, key, row);
}

void results_forget(struct results *r, uint64_t client)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (r->slots[i].client == client)
            r->slots[i].used = false;
    }
}

void results_forget_shard(struct results *r, unsigned shard)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (r->slots[i].shard == shard)
            r->slots[i].used = false;
    }
}
