/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kv/model.h"

#include "cluster/base/rng.h"

/* --- keys ------------------------------------------------------------------------------------- */

static struct bytes key_of(struct arena *a, unsigned shard, unsigned i)
{
    uint8_t p[3] = {0, (uint8_t)shard, (uint8_t)('a' + i)};

    return arena_copy(a, bytes_of(p, 3));
}

static unsigned shard_of(struct bytes key)
{
    return key.p[1];
}

/* Of a bound: the shard's two bytes are index 0, the next shard's are the end. */
static unsigned index_of(struct bytes key, unsigned shard)
{
    if (shard_of(key) != shard)
        return MODEL_KEYS;
    return key.n == 2 ? 0 : key.p[2] - 'a';
}

static struct model_value *value_of(struct model *m, struct bytes key)
{
    return &m->now.values[shard_of(key)][index_of(key, shard_of(key))];
}

/* --- evaluation ------------------------------------------------------------------------------- */

static bool holds(struct model *m, const struct kv_compare *c)
{
    unsigned shard = shard_of(c->key);

    if (c->op == KV_EMPTY_RANGE) {
        for (unsigned i = index_of(c->key, shard); i < index_of(c->hi, shard); i++) {
            if (m->now.values[shard][i].exists)
                return false;
        }
        return true;
    }
    const struct model_value *v = value_of(m, c->key);
    switch (c->op) {
    case KV_ABSENT:
        return !v->exists;
    case KV_EXISTS:
        return v->exists;
    case KV_VERSION:
        return (v->exists ? v->version : 0) == c->arg;
    }
    return v->exists && c->arg + c->value.n <= v->n &&
           (c->value.n == 0 || memcmp(v->p + c->arg, c->value.p, c->value.n) == 0);
}

static void read_one(struct model *m, const struct kv_read *r, struct arena *a,
                     struct kv_result *ret)
{
    unsigned shard = shard_of(r->key);

    if (r->op == KV_GET) {
        const struct model_value *v = value_of(m, r->key);
        if (!v->exists)
            return;
        size_t off = MIN(r->off, v->n), len = v->n - off;
        if (r->len)
            len = MIN(len, r->len);
        *ret = (struct kv_result){.version = v->version, .size = v->n};
        ret->value = arena_copy(a, bytes_of(v->p + off, len));
        return;
    }
    ret->pairs = arena_array(a, MODEL_KEYS, sizeof(struct kv_pair));
    for (unsigned i = index_of(r->key, shard); i < index_of(r->hi, shard); i++) {
        const struct model_value *v = &m->now.values[shard][i];
        if (!v->exists)
            continue;
        if (r->len && ret->n_pairs == r->len) {
            ret->more = 1;
            return;
        }
        struct kv_pair *pair = &ret->pairs[ret->n_pairs++];
        *pair = (struct kv_pair){.key = key_of(a, shard, i), .version = v->version};
        if (r->off == 0)
            pair->value = arena_copy(a, bytes_of(v->p, v->n));
    }
}

static void resize(struct model_value *v, size_t n)
{
    size_t old = v->exists ? v->n : 0;

    if (n > old)
        memset(v->p + old, 0, n - old);
    v->n = n;
    v->exists = true;
}

static bool number(struct model_value *v, const struct kv_write *w, uint64_t time)
{
    if (!v->exists || w->arg + 8 > v->n)
        return false;
    uint64_t x = get_le64(v->p + w->arg);
    if (w->op == KV_ADD64)
        x += get_le64(w->value.p);
    else if (w->op == KV_MAX64)
        x = MAX(x, get_le64(w->value.p));
    else
        x = time;
    put_le64(v->p + w->arg, x);
    return true;
}

static uint64_t delete_range(struct model *m, const struct kv_write *w)
{
    unsigned shard = shard_of(w->key);
    uint64_t count = 0;

    for (unsigned i = index_of(w->key, shard); i < index_of(w->hi, shard); i++) {
        struct model_value *v = &m->now.values[shard][i];
        if (v->exists && count < w->arg) {
            v->exists = false;
            count++;
        }
    }
    return count;
}

static bool write_one(struct model *m, const struct kv_write *w, uint64_t time,
                      struct msg_txn_reply *r)
{
    struct model_value *v = w->op == KV_DELETE_RANGE ? NULL : value_of(m, w->key);

    switch (w->op) {
    case KV_PUT:
        v->exists = false;
        resize(v, w->value.n);
        memcpy(v->p, w->value.p, w->value.n);
        break;
    case KV_DELETE:
        v->exists = false;
        break;
    case KV_DELETE_RANGE:
        r->deleted[r->n_deleted++].value = delete_range(m, w);
        return true;
    case KV_WRITE:
        resize(v, MAX(v->exists ? v->n : 0, w->arg + w->value.n));
        memcpy(v->p + w->arg, w->value.p, w->value.n);
        break;
    case KV_TRUNCATE:
        if (!v->exists)
            return true;
        resize(v, w->arg);
        break;
    default:
        if (!number(v, w, time))
            return false;
    }
    v->version = UINT64_MAX; /* marks: given below, when all have succeeded */
    return true;
}

static void give_versions(struct model *m, const struct msg_txn *t, struct msg_txn_reply *r)
{
    for (unsigned shard = 0; shard < MODEL_SHARDS; shard++) {
        bool written = false;

        for (unsigned i = 0; i < t->n_writes; i++)
            written |= shard_of(t->writes[i].key) == shard;
        if (!written)
            continue;
        uint64_t version = ++m->now.counters[shard];
        r->versions[r->n_versions++] = (struct kv_version){(uint16_t)shard, version};
        for (unsigned i = 0; i < MODEL_KEYS; i++) {
            struct model_value *v = &m->now.values[shard][i];
            if (v->version == UINT64_MAX)
                v->version = version;
        }
    }
}

static void execute(struct model *m, const struct msg_txn *t, uint64_t time, struct arena *a,
                    struct msg_txn_reply *r)
{
    struct model_state before = m->now;

    *r = (struct msg_txn_reply){.time = time};
    for (unsigned i = 0; i < t->n_compares && !r->status; i++) {
        if (!holds(m, &t->compares[i])) {
            r->status = ERR_FAILED;
            r->failed = i;
        }
    }
    r->n_reads = t->n_reads;
    r->reads = arena_array(a, t->n_reads, sizeof(*r->reads));
    for (unsigned i = 0; i < t->n_reads; i++)
        read_one(m, &t->reads[i], a, &r->reads[i]);
    if (r->status)
        return;
    r->deleted = arena_array(a, t->n_writes, sizeof(*r->deleted));
    r->versions = arena_array(a, MODEL_SHARDS, sizeof(*r->versions));
    for (unsigned i = 0; i < t->n_writes; i++) {
        if (write_one(m, &t->writes[i], time, r))
            continue;
        m->now = before;
        r->status = ERR_FAILED;
        r->failed = t->n_compares + i;
        r->n_deleted = 0;
        return;
    }
    give_versions(m, t, r);
}

/* --- sessions --------------------------------------------------------------------------------- */

void model_init(struct model *m)
{
    *m = (struct model){0};
    m->results =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    m->bounds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

void model_finish(struct model *m)
{
    g_hash_table_destroy(m->results);
    g_hash_table_destroy(m->bounds);
}

static struct bytes encoded(const struct msg_txn_reply *r, struct arena *a)
{
    CLEANUP(enc_finish) struct enc e = {0};

    enc_txn_reply(&e, r);
    return arena_copy(a, enc_view(&e));
}

static struct bytes keep(struct model *m, const char *name, struct bytes body)
{
    g_hash_table_insert(m->results, g_strdup(name), g_bytes_new(body.p, body.n));
    return body;
}

struct bytes model_txn(struct model *m, const struct msg_txn *t, uint64_t time, struct arena *a)
{
    unsigned shard = MODEL_SHARDS;
    struct msg_txn_reply r;

    for (unsigned i = 0; i < t->n_writes; i++)
        shard = MIN(shard, shard_of(t->writes[i].key));
    char *row = arena_printf(a, "%llu/%u", (unsigned long long)t->client, shard);
    char *name = arena_printf(a, "%s/%llu", row, (unsigned long long)t->seq);
    GBytes *kept = g_hash_table_lookup(m->results, name);
    uint64_t bound = GPOINTER_TO_SIZE(g_hash_table_lookup(m->bounds, row));
    if (t->seq < bound) {
        r = (struct msg_txn_reply){.status = ERR_STALE, .time = time};
        return encoded(&r, a);
    }
    if (kept)
        return bytes_of(g_bytes_get_data(kept, NULL), g_bytes_get_size(kept));
    g_hash_table_insert(m->bounds, g_strdup(row), GSIZE_TO_POINTER(MAX(bound, t->acked_below)));
    execute(m, t, time, a, &r);
    return keep(m, name, encoded(&r, a));
}

bool model_agrees(const struct model *m, const struct msg_txn_reply *got)
{
    for (unsigned i = 0; i < got->n_reads; i++) {
        const struct model_value *v = &m->now.values[i / MODEL_KEYS][i % MODEL_KEYS];
        const struct kv_result *r = &got->reads[i];

        if (r->version != (v->exists ? v->version : 0))
            return false;
        if (v->exists && !bytes_eq(r->value, bytes_of(v->p, v->n)))
            return false;
    }
    return got->n_reads == MODEL_SHARDS * MODEL_KEYS;
}

/* --- drawing ---------------------------------------------------------------------------------- */

static struct bytes draw_key(struct rng *rng, struct arena *a)
{
    return key_of(a, (unsigned)rng_below(rng, MODEL_SHARDS), (unsigned)rng_below(rng, MODEL_KEYS));
}

static struct bytes draw_value(struct rng *rng, struct arena *a, size_t max)
{
    size_t n = rng_below(rng, max + 1);
    uint8_t *p = arena_alloc(a, max + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_below(rng, 3); /* few, so that BYTES holds at times */
    return bytes_of(p, n);
}

static void draw_range(struct rng *rng, struct arena *a, struct bytes *ret_lo, struct bytes *ret_hi)
{
    unsigned shard = (unsigned)rng_below(rng, MODEL_SHARDS);
    unsigned lo = (unsigned)rng_below(rng, MODEL_KEYS);
    unsigned hi = (unsigned)rng_between(rng, lo, MODEL_KEYS);
    uint8_t next[2] = {0, (uint8_t)(shard + 1)};

    *ret_lo = key_of(a, shard, lo);
    ret_lo->n -= lo == 0 && rng_below(rng, 2); /* the shard's own two bytes */
    *ret_hi = hi == MODEL_KEYS ? arena_copy(a, bytes_of(next, 2)) : key_of(a, shard, hi);
}

static void draw_compare(struct rng *rng, struct arena *a, struct kv_compare *c)
{
    c->op = (uint8_t)rng_between(rng, KV_ABSENT, KV_EMPTY_RANGE);
    c->key = draw_key(rng, a);
    if (c->op == KV_VERSION) {
        c->arg = rng_below(rng, 3);
    } else if (c->op == KV_BYTES) {
        c->arg = rng_below(rng, 3);
        c->value = draw_value(rng, a, 1);
    } else if (c->op == KV_EMPTY_RANGE) {
        draw_range(rng, a, &c->key, &c->hi);
    }
}

static void draw_read(struct rng *rng, struct arena *a, struct kv_read *r)
{
    r->op = (uint8_t)rng_between(rng, KV_GET, KV_SCAN);
    if (r->op == KV_GET) {
        r->key = draw_key(rng, a);
        r->off = rng_below(rng, 3) * rng_below(rng, 10);
        r->len = rng_below(rng, 10);
    } else {
        draw_range(rng, a, &r->key, &r->hi);
        r->off = rng_below(rng, 2);
        r->len = rng_below(rng, MODEL_KEYS);
    }
}

static void draw_write(struct rng *rng, struct arena *a, struct kv_write *w)
{
    w->op = (uint8_t)rng_between(rng, KV_PUT, KV_TIME64);
    w->key = draw_key(rng, a);
    switch (w->op) {
    case KV_PUT:
        w->value = draw_value(rng, a, MODEL_VALUE_MAX);
        break;
    case KV_WRITE:
        w->arg = rng_below(rng, MODEL_VALUE_MAX / 2);
        w->value = draw_value(rng, a, MODEL_VALUE_MAX / 2);
        break;
    case KV_TRUNCATE:
        w->arg = rng_below(rng, MODEL_VALUE_MAX + 1);
        break;
    case KV_DELETE_RANGE:
        draw_range(rng, a, &w->key, &w->hi);
        w->arg = rng_between(rng, 1, MODEL_KEYS);
        break;
    case KV_ADD64:
    case KV_MAX64:
        w->value = bytes_of(arena_zalloc(a, 8), 8);
        put_le64((uint8_t *)w->value.p, rng_next(rng) >> rng_below(rng, 64));
        w->arg = rng_below(rng, 4);
        break;
    }
}

void model_draw(struct rng *rng, struct arena *a, bool writes, struct msg_txn *ret)
{
    *ret = (struct msg_txn){
        .n_compares = (uint32_t)(rng_below(rng, 2) * rng_below(rng, 3)),
        .n_reads = (uint32_t)rng_below(rng, 3),
        .n_writes = writes ? (uint32_t)rng_between(rng, 1, 8) : 0,
    };
    ret->compares = arena_array(a, ret->n_compares, sizeof(*ret->compares));
    ret->reads = arena_array(a, ret->n_reads, sizeof(*ret->reads));
    ret->writes = arena_array(a, ret->n_writes, sizeof(*ret->writes));
    for (unsigned i = 0; i < ret->n_compares; i++)
        draw_compare(rng, a, &ret->compares[i]);
    for (unsigned i = 0; i < ret->n_reads; i++)
        draw_read(rng, a, &ret->reads[i]);
    for (unsigned i = 0; i < ret->n_writes; i++)
        draw_write(rng, a, &ret->writes[i]);
}

void model_all_keys(struct arena *a, struct msg_txn *ret)
{
    *ret = (struct msg_txn){.n_reads = MODEL_SHARDS * MODEL_KEYS};
    ret->reads = arena_array(a, ret->n_reads, sizeof(*ret->reads));
    for (unsigned i = 0; i < ret->n_reads; i++)
        ret->reads[i] =
            (struct kv_read){.op = KV_GET, .key = key_of(a, i / MODEL_KEYS, i % MODEL_KEYS)};
}
