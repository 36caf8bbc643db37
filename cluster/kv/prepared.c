/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/prepared.h"

#include "cluster/kv/layout.h"

static void record_free(void *p)
{
    struct txn_record *t = p;

    g_free(t->shards);
    g_free(t);
}

void prepared_init(struct prepared *s, uint32_t gid, unsigned n_shards)
{
    *s = (struct prepared){
        .records = g_ptr_array_new_with_free_func(record_free),
        .fences = g_array_new(false, false, sizeof(struct txid)),
        .decisions = g_ptr_array_new_with_free_func(g_free),
        .touching = g_new0(unsigned, n_shards),
        .gid = gid,
    };
}

void prepared_finish(struct prepared *s)
{
    if (s->records) {
        g_ptr_array_free(s->records, true);
        g_array_free(s->fences, true);
        g_ptr_array_free(s->decisions, true);
    }
    g_free(s->touching);
    *s = (struct prepared){0};
}

/* Records and decisions both begin with their id: the place of the first not below `id`. */
static unsigned lower_bound(const GPtrArray *all, const struct txid *id)
{
    unsigned lo = 0, hi = all->len;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (txid_order(all->pdata[mid], id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void *find(const GPtrArray *all, const struct txid *id)
{
    unsigned i = lower_bound(all, id);

    return i < all->len && txid_order(all->pdata[i], id) == 0 ? all->pdata[i] : NULL;
}

_Static_assert(offsetof(struct txn_record, id) == 0 && offsetof(struct kv_decision, id) == 0,
               "both are found by their id");

/* --- participants ----------------------------------------------------------------------------- */

struct txn_record *prepared_find(const struct prepared *s, const struct txid *id)
{
    return find(s->records, id);
}

static struct txid *fence_of(const struct prepared *s, uint32_t gid)
{
    for (unsigned i = 0; i < s->fences->len; i++) {
        struct txid *f = &g_array_index(s->fences, struct txid, i);

        if (f->gid == gid)
            return f;
    }
    return NULL;
}

bool prepared_is_fenced(const struct prepared *s, const struct txid *id)
{
    const struct txid *f = fence_of(s, id->gid);

    return f && txid_order(id, f) < 0;
}

static void note_shard(struct txn_record *t, struct bytes key)
{
    uint16_t shard = (uint16_t)layout_shard(key);

    for (unsigned i = 0; i < t->n_shards; i++) {
        if (t->shards[i] == shard)
            return;
    }
    t->shards = g_renew(uint16_t, t->shards, t->n_shards + 1);
    t->shards[t->n_shards++] = shard;
}

static void note_shards(struct prepared *s, struct txn_record *t, const struct msg_txn *part)
{
    for (uint32_t i = 0; i < part->n_compares; i++)
        note_shard(t, part->compares[i].key);
    for (uint32_t i = 0; i < part->n_reads; i++)
        note_shard(t, part->reads[i].key);
    for (uint32_t i = 0; i < part->n_writes; i++)
        note_shard(t, part->writes[i].key);
    for (unsigned i = 0; i < t->n_shards; i++)
        s->touching[t->shards[i]]++;
}

static struct txn_record *remember(struct prepared *s, const struct txid *id, enum txn_fate fate)
{
    struct txn_record *t = g_new0(struct txn_record, 1);

    t->id = *id;
    t->fate = fate;
    g_ptr_array_insert(s->records, (int)lower_bound(s->records, id), t);
    return t;
}

static void hold(struct prepared *s, struct txn_record *t, uint64_t index,
                 const struct msg_txn *part, struct locks *locks)
{
    t->client = part->client;
    t->index = index;
    note_shards(s, t, part);
    locks_take(locks, part, t);
    s->n_prepared++;
}

void prepared_add(struct prepared *s, const struct txid *id, uint64_t index, struct bytes vote,
                  const struct msg_txn *part, struct bytes part_bytes, struct locks *locks,
                  struct round *r, struct arena *a)
{
    CLEANUP(enc_finish) struct enc e = {0};

    enc_u8(&e, FATE_PREPARED);
    enc_u64(&e, index);
    enc_bytes(&e, vote);
    enc_bytes(&e, part_bytes);
    round_put(r, layout_prepared_key(a, id->gid, id->term, id->n), enc_view(&e));
    hold(s, remember(s, id, FATE_PREPARED), index, part, locks);
}

static int decode_row(struct bytes v, struct arena *a, uint64_t *ret_index, struct bytes *ret_vote,
                      struct msg_txn *ret_part)
{
    struct dec d = dec_of(v);
    uint8_t fate = dec_u8(&d);
    uint64_t index = dec_u64(&d);
    struct bytes vote = dec_bytes(&d), part = dec_bytes(&d);

    if (!dec_done(&d) || fate != FATE_PREPARED || dec_txn(part, a, ret_part) < 0)
        return -ERR_CORRUPT;
    *ret_index = index;
    *ret_vote = vote;
    return 0;
}

int prepared_get(struct prepared *s, const struct txid *id, struct round *r, struct arena *a,
                 struct bytes *ret_vote, struct msg_txn *ret_part)
{
    struct bytes v;
    uint64_t index;
    int err = round_get(r, layout_prepared_key(a, id->gid, id->term, id->n), a, &v);

    if (err)
        return err == -ERR_NOT_FOUND ? -ERR_CORRUPT : err;
    return decode_row(v, a, &index, ret_vote, ret_part);
}

void prepared_settle(struct prepared *s, const struct txid *id, enum txn_fate fate,
                     const struct msg_txn *part, struct locks *locks, struct round *r,
                     struct arena *a)
{
    struct txn_record *t = prepared_find(s, id);
    uint8_t row[1] = {(uint8_t)fate};

    if (!t) {
        t = remember(s, id, fate);
    } else if (t->fate == FATE_PREPARED) {
        locks_release(locks, part, t);
        for (unsigned i = 0; i < t->n_shards; i++)
            s->touching[t->shards[i]]--;
        s->n_prepared--;
        t->n_shards = 0;
        t->fate = fate;
    }
    round_put(r, layout_prepared_key(a, id->gid, id->term, id->n), bytes_of(row, 1));
}

static void raise_fence(struct prepared *s, const struct txid *below, struct round *r,
                        struct arena *a)
{
    struct txid *f = fence_of(s, below->gid);
    uint8_t row[16];

    if (f)
        *f = *below;
    else
        g_array_append_val(s->fences, *below);
    put_le64(row, below->term);
    put_le64(row + 8, below->n);
    round_put(r, layout_fence_key(a, below->gid), bytes_of(row, sizeof(row)));
}

/* Also where the fence stands already: what was still prepared when it came may have ended since.
 */
void prepared_fence(struct prepared *s, const struct txid *below, struct round *r, struct arena *a)
{
    const struct txid lowest = {.gid = below->gid}, *f = fence_of(s, below->gid);
    int higher = txid_order(below, f ? f : &lowest);

    if (higher < 0 || txid_order(below, &lowest) <= 0)
        return;
    if (higher > 0)
        raise_fence(s, below, r, a);
    for (unsigned i = lower_bound(s->records, below); i > 0; i--) {
        const struct txn_record *t = g_ptr_array_index(s->records, i - 1);

        if (t->id.gid != below->gid)
            break;
        if (t->fate == FATE_PREPARED) /* its outcome is on the way, or can be asked for */
            continue;
        round_delete(r, layout_prepared_key(a, t->id.gid, t->id.term, t->id.n));
        g_ptr_array_remove_index(s->records, i - 1);
    }
}

/* --- coordinator ------------------------------------------------------------------------------ */

const struct kv_decision *decision_find(const struct prepared *s, const struct txid *id)
{
    return find(s->decisions, id);
}

static void add_decision(struct prepared *s, const struct kv_decision *d)
{
    g_ptr_array_insert(s->decisions, (int)lower_bound(s->decisions, &d->id),
                       g_memdup2(d, sizeof(*d)));
}

void decision_add(struct prepared *s, const struct kv_decision *d, struct round *r, struct arena *a)
{
    uint8_t row[8 + 4 * GROUPS_MAX];

    put_le64(row, d->time);
    for (unsigned i = 0; i < d->n_gids; i++)
        put_le32(row + 8 + 4 * (size_t)i, d->gids[i]);
    round_put(r, layout_decision_key(a, d->id.term, d->id.n),
              bytes_of(row, 8 + 4 * (size_t)d->n_gids));
    add_decision(s, d);
}

void decision_end(struct prepared *s, const struct txid *id, struct round *r, struct arena *a)
{
    unsigned i = lower_bound(s->decisions, id);

    if (!decision_find(s, id))
        return;
    round_delete(r, layout_decision_key(a, id->term, id->n));
    g_ptr_array_remove_index(s->decisions, i);
}

/* --- opening ---------------------------------------------------------------------------------- */

struct loading {
    struct prepared *s;
    struct locks *locks;
    struct arena *a;
};

static int load_record(struct loading *l, struct bytes key, struct bytes v)
{
    struct bytes vote;
    struct msg_txn part;
    struct txid id;
    uint64_t index;

    if (layout_prepared_id(key, &id.gid, &id.term, &id.n) < 0 || v.n == 0)
        return -ERR_CORRUPT;
    if (v.p[0] != FATE_PREPARED) {
        if (v.n != 1 || v.p[0] > FATE_ABORTED)
            return -ERR_CORRUPT;
        remember(l->s, &id, (enum txn_fate)v.p[0]);
        return 0;
    }
    int err = decode_row(v, l->a, &index, &vote, &part);
    if (!err)
        hold(l->s, remember(l->s, &id, FATE_PREPARED), index, &part, l->locks);
    return err;
}

static int load_decision(struct loading *l, struct bytes key, struct bytes v)
{
    struct kv_decision d = {.id.gid = l->s->gid};

    if (layout_decision_id(key, &d.id.term, &d.id.n) < 0 || v.n < 8 || (v.n - 8) % 4 ||
        v.n > 8 + 4 * GROUPS_MAX)
        return -ERR_CORRUPT;
    d.time = get_le64(v.p);
    for (size_t at = 8; at < v.n; at += 4)
        d.gids[d.n_gids++] = get_le32(v.p + at);
    add_decision(l->s, &d);
    return 0;
}

static int load_fence(struct loading *l, struct bytes key, struct bytes v)
{
    struct txid f;

    if (layout_fence_gid(key, &f.gid) < 0 || v.n != 16)
        return -ERR_CORRUPT;
    f.term = get_le64(v.p);
    f.n = get_le64(v.p + 8);
    g_array_append_val(l->s->fences, f);
    return 0;
}

static int load_table(struct loading *l, struct store *store, enum kv_table table,
                      int (*one)(struct loading *l, struct bytes key, struct bytes v))
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_table_range(l->a, table, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value))
        err = one(l, key, value);
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}

int prepared_load(struct prepared *s, struct locks *locks, struct store *store, struct arena *a)
{
    struct loading l = {s, locks, a};
    int err = load_table(&l, store, TABLE_PREPARED, load_record);

    if (!err)
        err = load_table(&l, store, TABLE_DECISION, load_decision);
    if (!err)
        err = load_table(&l, store, TABLE_FENCE, load_fence);
    return err;
}
