/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/shards.h"

#include "cluster/kv/layout.h"

#define ROW_HEAD 29

static bool recorded(const struct kv_shard *s)
{
    return s->state == SHARD_MOVING || s->state == SHARD_CLOSING;
}

void shards_init(struct shards *s, unsigned n, bool owned)
{
    *s = (struct shards){
        .all = g_new0(struct kv_shard, n),
        .n = n,
        .unserved = owned ? 0 : n,
    };
    for (unsigned i = 0; owned && i < n; i++)
        s->all[i].state = SHARD_OWNED;
}

void shards_finish(struct shards *s)
{
    for (unsigned i = 0; i < s->n; i++)
        g_free((void *)s->all[i].cursor.p);
    g_free(s->all);
    *s = (struct shards){0};
}

void shards_set(struct shards *s, unsigned shard, const struct kv_shard *to)
{
    struct kv_shard *now = &s->all[shard];
    struct bytes cursor = bytes_of(g_memdup2(to->cursor.p, to->cursor.n), to->cursor.n);

    s->unserved += shard_served(now);
    s->unserved -= shard_served(to);
    s->recording -= recorded(now);
    s->recording += recorded(to);
    g_free((void *)now->cursor.p);
    *now = *to;
    now->cursor = cursor;
}

void shards_put(struct shards *s, unsigned shard, const struct kv_shard *to, struct round *r,
                struct arena *a)
{
    uint8_t *p = arena_alloc(a, ROW_HEAD + to->cursor.n);

    p[0] = (uint8_t)to->state;
    put_le64(p + 1, to->num);
    put_le32(p + 9, to->peer);
    put_le64(p + 13, to->index);
    put_le64(p + 21, to->staged);
    if (to->cursor.n)
        memcpy(p + ROW_HEAD, to->cursor.p, to->cursor.n);
    round_put(r, layout_shard_key(a, shard), bytes_of(p, ROW_HEAD + to->cursor.n));
    shards_set(s, shard, to);
}

static int load_one(struct shards *s, struct bytes key, struct bytes v)
{
    unsigned shard;

    if (layout_shard_shard(key, &shard) < 0 || shard >= s->n || v.n < ROW_HEAD ||
        v.p[0] > SHARD_STAGING)
        return -ERR_CORRUPT;
    struct kv_shard to = {
        .state = (enum shard_state)v.p[0],
        .num = get_le64(v.p + 1),
        .peer = get_le32(v.p + 9),
        .index = get_le64(v.p + 13),
        .staged = get_le64(v.p + 21),
        .cursor = bytes_of(v.p + ROW_HEAD, v.n - ROW_HEAD),
    };
    shards_set(s, shard, &to);
    return 0;
}

int shards_load(struct shards *s, struct store *store, struct arena *a)
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_table_range(a, TABLE_SHARD, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value))
        err = load_one(s, key, value);
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}
