/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kv/ram_store.h"

struct pair {
    struct bytes key, value; /* one allocation each */
};

struct ram_store {
    struct store base;
    GArray *pairs;      /* struct pair, ascending */
    GPtrArray *batches; /* GArray of struct store_write with own bytes; NULL: not kept */
    unsigned fail_get, fail_write, gets;
};

struct store_iter {
    struct ram_store *s;
    struct bytes hi;
    unsigned at;
};

static struct ram_store *ram(struct store *s)
{
    return container_of(s, struct ram_store, base);
}

static struct bytes own(struct bytes b)
{
    return bytes_of(g_memdup2(b.p, b.n), b.n);
}

static struct pair *at(struct ram_store *s, unsigned i)
{
    return &g_array_index(s->pairs, struct pair, i);
}

static unsigned lower_bound(struct ram_store *s, struct bytes key)
{
    unsigned lo = 0, hi = s->pairs->len;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (bytes_cmp(at(s, mid)->key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void pair_clear(void *p)
{
    struct pair *pair = p;

    g_free((void *)pair->key.p);
    g_free((void *)pair->value.p);
}

static bool fails(unsigned *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

static int ram_get(struct store *base, struct store_view *view, struct bytes key, struct arena *a,
                   struct bytes *ret)
{
    struct ram_store *s = ram(base);
    unsigned i = lower_bound(s, key);

    s->gets++;
    if (fails(&s->fail_get))
        return -ERR_IO;
    if (i == s->pairs->len || !bytes_eq(at(s, i)->key, key))
        return -ERR_NOT_FOUND;
    *ret = arena_copy(a, at(s, i)->value);
    return 0;
}

static void write_one(struct ram_store *s, const struct store_write *w)
{
    unsigned i = lower_bound(s, w->key);
    bool found = i < s->pairs->len && bytes_eq(at(s, i)->key, w->key);
    struct pair pair = {own(w->key), own(w->value)};

    if (w->op == STORE_DELETE_RANGE) {
        pair_clear(&pair);
        g_array_remove_range(s->pairs, i, lower_bound(s, w->value) - i);
        return;
    }
    if (found)
        g_array_remove_index(s->pairs, i);
    if (w->op == STORE_PUT)
        g_array_insert_val(s->pairs, i, pair);
    else
        pair_clear(&pair);
}

static void batch_free(void *p)
{
    GArray *batch = p;

    for (unsigned i = 0; i < batch->len; i++) {
        struct store_write *w = &g_array_index(batch, struct store_write, i);
        g_free((void *)w->key.p);
        g_free((void *)w->value.p);
    }
    g_array_free(batch, true);
}

static int ram_write(struct store *base, const struct store_write *w, size_t n)
{
    struct ram_store *s = ram(base);
    GArray *batch = g_array_new(false, false, sizeof(*w));

    if (fails(&s->fail_write)) {
        g_array_free(batch, true);
        return -ERR_IO;
    }
    for (size_t i = 0; i < n; i++) {
        write_one(s, &w[i]);
        struct store_write copy = {w[i].op, own(w[i].key), own(w[i].value)};
        g_array_append_val(batch, copy);
    }
    if (s->batches)
        g_ptr_array_add(s->batches, batch);
    else
        batch_free(batch);
    return 0;
}

static struct store_iter *ram_iter_open(struct store *base, struct store_view *view,
                                        struct bytes lo, struct bytes hi)
{
    struct store_iter *it = g_new(struct store_iter, 1);

    *it = (struct store_iter){ram(base), own(hi), lower_bound(ram(base), lo)};
    return it;
}

static bool ram_iter_next(struct store_iter *it, struct bytes *ret_key, struct bytes *ret_value)
{
    if (it->at == it->s->pairs->len)
        return false;
    struct pair *pair = at(it->s, it->at);
    if (it->hi.n && bytes_cmp(pair->key, it->hi) >= 0)
        return false;
    it->at++;
    *ret_key = pair->key;
    *ret_value = pair->value;
    return true;
}

static int ram_iter_close(struct store_iter *it)
{
    g_free((void *)it->hi.p);
    g_free(it);
    return 0;
}

static struct store_view *ram_view_open(struct store *base)
{
    return g_malloc(1);
}

static void ram_view_close(struct store *base, struct store_view *view)
{
    g_free(view);
}

static void ram_close(struct store *base)
{
    struct ram_store *s = ram(base);

    g_array_free(s->pairs, true);
    if (s->batches)
        g_ptr_array_free(s->batches, true);
    g_free(s);
}

static const struct store_ops ram_ops = {
    .get = ram_get,
    .write = ram_write,
    .view_open = ram_view_open,
    .view_close = ram_view_close,
    .iter_open = ram_iter_open,
    .iter_next = ram_iter_next,
    .iter_close = ram_iter_close,
    .close = ram_close,
};

struct store *ram_store_create(void)
{
    struct ram_store *s = g_new0(struct ram_store, 1);

    s->base.ops = &ram_ops;
    s->pairs = g_array_new(false, false, sizeof(struct pair));
    g_array_set_clear_func(s->pairs, pair_clear);
    s->batches = g_ptr_array_new_with_free_func(batch_free);
    return &s->base;
}

struct store *ram_store_prefix(struct store *base, size_t n)
{
    struct store *copy = ram_store_create();

    ASSERT(n <= ram_store_batches(base));
    for (unsigned i = 0; i < n; i++) {
        GArray *batch = g_ptr_array_index(ram(base)->batches, i);
        ram_write(copy, &g_array_index(batch, struct store_write, 0), batch->len);
    }
    return copy;
}

size_t ram_store_batches(struct store *base)
{
    return ram(base)->batches->len;
}

void ram_store_forget(struct store *base)
{
    g_ptr_array_free(ram(base)->batches, true);
    ram(base)->batches = NULL;
}

void ram_store_fail(struct store *base, unsigned get, unsigned write)
{
    ram(base)->fail_get = get;
    ram(base)->fail_write = write;
}

unsigned ram_store_gets(struct store *base)
{
    return ram(base)->gets;
}

static void dump_bytes(GByteArray *out, struct bytes b)
{
    uint8_t len[4] = {(uint8_t)(b.n >> 24), (uint8_t)(b.n >> 16), (uint8_t)(b.n >> 8),
                      (uint8_t)b.n};

    g_byte_array_append(out, len, sizeof(len));
    if (b.n)
        g_byte_array_append(out, b.p, (guint)b.n);
}

GByteArray *store_dump(struct store *s)
{
    GByteArray *out = g_byte_array_new();
    struct store_iter *it = s->ops->iter_open(s, NULL, BYTES_NONE, BYTES_NONE);
    struct bytes key, value;

    while (s->ops->iter_next(it, &key, &value)) {
        dump_bytes(out, key);
        dump_bytes(out, value);
    }
    ASSERT(s->ops->iter_close(it) == 0);
    return out;
}
