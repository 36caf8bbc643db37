/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/digest.h"

#include "cluster/kv/layout.h"

#define HASH_START    0x6a09e667f3bcc908u
#define HASH_MULTIPLY 0x9e3779b97f4a7c15u /* odd: a bijection */

struct digest {
    struct arena arena;
    struct bytes lo, hi;
    enum digest_cut cut;
    uint64_t every;
    const struct bytes *bounds;
    unsigned n_bounds;

    GByteArray *last; /* the key of the last row seen; empty: none yet */
    bool done;
    GArray *pieces; /* struct digest_piece */
    uint64_t rows;
};

/* --- the hash --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * HASH_MULTIPLY;
    return h ^ (h >> 32);
}

static uint64_t mix_bytes(uint64_t h, struct bytes b)
{
    size_t i = 0;
    for (; b.n - i >= 8; i += 8)
        h = mix(h, get_le64(b.p + i));
    if (i < b.n) {
        uint8_t tail[8] = {0};
        memcpy(tail, b.p + i, b.n - i);
        h = mix(h, get_le64(tail));
    }
    return h;
}

static void add_row(struct digest_piece *p, struct bytes key, struct bytes value)
{
    p->hash = mix(p->hash, (uint64_t)key.n << 32 | value.n);
    p->hash = mix_bytes(mix_bytes(p->hash, key), value);
    p->rows++;
    p->keys += key.n >= 3 && key.p[2] == TABLE_DATA;
    p->bytes += key.n + value.n;
}

/* --- pieces ----------------------------------------------------------------------------------- */

static struct digest_piece *piece_begin(struct digest *d, struct bytes at)
{
    const struct digest_piece fresh = {.at = arena_copy(&d->arena, at), .hash = HASH_START};
    g_array_append_val(d->pieces, fresh);
    return &g_array_index(d->pieces, struct digest_piece, d->pieces->len - 1);
}

static struct digest_piece *piece_last(const struct digest *d)
{
    return &g_array_index(d->pieces, struct digest_piece, d->pieces->len - 1);
}

/* Does this row lie behind the last piece's end? */
static bool piece_ends(const struct digest *d, struct bytes key)
{
    const struct digest_piece *p = piece_last(d);
    if (d->pieces->len >= DIGEST_PIECES_MAX)
        return false;
    if (d->cut == DIGEST_EVERY)
        return p->rows >= d->every;
    if (d->cut == DIGEST_SHARDS)
        return !bytes_has_prefix(key, p->at);
    return d->pieces->len <= d->n_bounds && bytes_cmp(key, d->bounds[d->pieces->len - 1]) >= 0;
}

static void take_row(struct digest *d, struct bytes key, struct bytes value)
{
    struct bytes at = d->cut == DIGEST_SHARDS ? bytes_of(key.p, MIN(key.n, 2)) : key;
    if (d->cut == DIGEST_BOUNDS)
        while (piece_ends(d, key))
            piece_begin(d, d->bounds[d->pieces->len - 1]);
    else if (d->pieces->len == 0 || piece_ends(d, key))
        piece_begin(d, at);
    add_row(piece_last(d), key, value);
    d->rows++;
}

static void finish(struct digest *d)
{
    while (d->cut == DIGEST_BOUNDS && d->pieces->len <= d->n_bounds)
        piece_begin(d, d->bounds[d->pieces->len - 1]);
    d->done = true;
}

/* --- life ------------------------------------------------------------------------------------- */

struct digest *digest_create(struct bytes lo, struct bytes hi, enum digest_cut cut, uint64_t every,
                             const struct bytes *bounds, unsigned n_bounds)
{
    ASSERT(every > 0 || cut != DIGEST_EVERY);
    ASSERT(n_bounds <= DIGEST_BOUNDS_MAX);
    struct digest *d = g_new0(struct digest, 1);
    struct bytes *copy = arena_array(&d->arena, n_bounds, sizeof(*copy));
    for (unsigned i = 0; i < n_bounds; i++)
        copy[i] = arena_copy(&d->arena, bounds[i]);
    d->lo = arena_copy(&d->arena, lo);
    d->hi = arena_copy(&d->arena, hi);
    d->cut = cut;
    d->every = every;
    d->bounds = copy;
    d->n_bounds = n_bounds;
    d->last = g_byte_array_new();
    d->pieces = g_array_new(FALSE, FALSE, sizeof(struct digest_piece));
    if (cut == DIGEST_BOUNDS)
        piece_begin(d, lo);
    return d;
}

void digest_destroy(struct digest *d)
{
    if (!d)
        return;
    arena_finish(&d->arena);
    g_byte_array_unref(d->last);
    g_array_free(d->pieces, TRUE);
    g_free(d);
}

int digest_step(struct digest *d, struct store *store, struct store_view *view, unsigned rows_max,
                size_t bytes_max)
{
    struct bytes key, value, from = d->lo;
    size_t bytes = 0;
    bool more = true;
    if (d->done)
        return 1;
    /* No iterator is kept between steps: it would hold files and memory of its own. The row that
     * was seen last is the first one now. */
    bool again = d->last->len > 0;
    if (again)
        from = bytes_of(d->last->data, d->last->len);
    struct store_iter *it = store->ops->iter_open(store, view, from, d->hi);
    for (unsigned rows = 0; rows < rows_max && bytes < bytes_max;) {
        more = store->ops->iter_next(it, &key, &value);
        if (!more)
            break;
        if (again && bytes_eq(key, bytes_of(d->last->data, d->last->len))) {
            again = false;
            continue;
        }
        again = false;
        take_row(d, key, value);
        rows++;
        bytes += key.n + value.n;
        if (rows == rows_max || bytes >= bytes_max) {
            g_byte_array_set_size(d->last, 0);
            g_byte_array_append(d->last, key.p, (guint)key.n);
        }
    }
    int err = store->ops->iter_close(it);
    if (err < 0)
        return err;
    if (!more)
        finish(d);
    return d->done;
}

uint64_t digest_rows(const struct digest *d)
{
    return d->rows;
}

const struct digest_piece *digest_pieces(const struct digest *d, unsigned *ret_n)
{
    *ret_n = d->pieces->len;
    return (const struct digest_piece *)(void *)d->pieces->data;
}
