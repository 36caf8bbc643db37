/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/configs.h"

#include "cluster/kv/layout.h"

#define PENDING_HEAD 8
#define PENDING_ITEM 6

void configs_init(struct configs *s, unsigned n_shards)
{
    *s = (struct configs){0};
    config_init(&s->latest, n_shards);
}

int configs_judge(const struct configs *s, const struct msg_config_change *m, struct config *ret)
{
    if (m->num != s->latest.num)
        return -ERR_CONFIG_NUM;
    if (s->n_pending)
        return -ERR_MOVING;
    return config_change(&s->latest, m, ret);
}

/* Number of the latest and what is on its way to it: one row, small and often written while shards
 * move. */
static void put_pending(const struct configs *s, struct round *r, struct arena *a)
{
    uint8_t *p = arena_alloc(a, PENDING_HEAD + (size_t)s->n_pending * PENDING_ITEM);
    size_t n = PENDING_HEAD;

    put_le64(p, s->latest.num);
    for (unsigned i = 0; i < s->latest.n_shards; i++) {
        if (!s->pending[i])
            continue;
        put_be16(p + n, (uint16_t)i);
        put_le32(p + n + 2, s->from[i]);
        n += PENDING_ITEM;
    }
    round_put(r, layout_pending_key(a), bytes_of(p, n));
}

void configs_put(struct configs *s, const struct config *next, struct round *r, struct arena *a)
{
    CLEANUP(enc_finish) struct enc e = {0};

    ASSERT(next->num == s->latest.num + 1 && s->n_pending == 0);
    for (unsigned i = 0; i < next->n_shards; i++) {
        s->pending[i] = next->owner[i] != s->latest.owner[i];
        s->from[i] = s->latest.owner[i];
        s->n_pending += s->pending[i];
    }
    s->latest = *next;
    config_encode(next, &e);
    round_put(r, layout_config_key(a, next->num), enc_view(&e));
    if (next->num > CONFIGS_KEPT)
        round_delete(r, layout_config_key(a, next->num - CONFIGS_KEPT));
    put_pending(s, r, a);
}

int configs_moved(struct configs *s, const struct msg_config_moved *m, struct round *r,
                  struct arena *a)
{
    if (m->num != s->latest.num)
        return -ERR_CONFIG_NUM;
    if (m->num == 0)
        return -ERR_INVALID;
    for (unsigned i = 0; i < m->n_shards; i++) {
        if (m->shards[i].shard >= s->latest.n_shards)
            return -ERR_INVALID;
    }
    for (unsigned i = 0; i < m->n_shards; i++) {
        unsigned shard = m->shards[i].shard;

        s->n_pending -= s->pending[shard];
        s->pending[shard] = false;
    }
    put_pending(s, r, a);
    return 0;
}

int configs_at(const struct configs *s, uint64_t num, struct round *r, struct arena *a,
               struct config *ret)
{
    struct bytes v;

    if (num == 0) {
        config_init(ret, s->latest.n_shards);
        return 0;
    }
    int err = round_get(r, layout_config_key(a, num), a, &v);
    return err ? err : config_decode(v, ret);
}

int configs_load(struct configs *s, struct store *store, struct arena *a)
{
    struct bytes v;
    struct config c;
    int err = store->ops->get(store, NULL, layout_pending_key(a), a, &v);

    if (err == -ERR_NOT_FOUND)
        return 0;
    if (err)
        return err;
    if (v.n < PENDING_HEAD || (v.n - PENDING_HEAD) % PENDING_ITEM)
        return -ERR_CORRUPT;
    for (size_t at = PENDING_HEAD; at < v.n; at += PENDING_ITEM) {
        unsigned shard = get_be16(v.p + at);

        if (shard >= s->latest.n_shards || s->pending[shard])
            return -ERR_CORRUPT;
        s->pending[shard] = true;
        s->from[shard] = get_le32(v.p + at + 2);
        s->n_pending++;
    }
    uint64_t num = get_le64(v.p);
    err = store->ops->get(store, NULL, layout_config_key(a, num), a, &v);
    if (!err)
        err = config_decode(v, &c);
    if (err == -ERR_NOT_FOUND || (!err && (c.num != num || c.n_shards != s->latest.n_shards)))
        err = -ERR_CORRUPT;
    if (!err)
        s->latest = c;
    return err;
}
