/* SPDX-License-Identifier: Apache-2.0 */
/* Kept states and their hashes: what makes two replicas comparable. */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/digest.h"
#include "cluster/kv/layout.h"

/* A state machine on a store that has views. */
struct replica {
    struct store_mem_disk *disk;
    struct kvt *f;
};

static void replica_init(struct replica *r, unsigned rows_held)
{
    r->disk = store_mem_disk_create();
    struct store *s;
    T_OK(store_mem_open(r->disk, "state", &s));
    r->f = kvt_on(s);
    kvt_hold_rows(r->f, rows_held);
    r->f->client = kvt_session(r->f, "fixture");
}

static void replica_finish(struct replica *r)
{
    kvt_destroy(r->f);
    store_mem_disk_destroy(r->disk);
}

/* Keys of shards 1, 2 and 15 with random values. */
static void fill(struct replica *r, uint64_t seed, unsigned n)
{
    static const char *const shards[] = {"\0\1", "\0\2", "\0\17"};
    struct rng rng;
    rng_seed(&rng, seed);
    for (unsigned i = 0; i < n; i++) {
        char key[20], value[40];
        memcpy(key, shards[rng_below(&rng, 3)], 2);
        int k = g_snprintf(key + 2, sizeof(key) - 2, "%03u", (unsigned)rng_below(&rng, 300));
        int v = g_snprintf(value, sizeof(value), "%llu", (unsigned long long)rng_next(&rng));
        EXEC(r->f, WRITE(put_bytes(bytes_of(key, (size_t)k + 2), bytes_of(value, (size_t)v))));
    }
}

/* A check's entry; its index. */
static uint64_t check(struct replica *r)
{
    struct buf *b = kv_command(KV_CMD_CHECK, BYTES_NONE);
    struct msg_check_started m;
    T_OK(kvt_apply(r->f, buf_bytes(b)));
    buf_unref(b);
    assert_int_equal(r->f->reply_type, MSG_check_started);
    T_OK(dec_check_started(r->f->reply_body, &r->f->arena, &m));
    assert_int_equal(m.index, r->f->index);
    return m.index;
}

static const struct digest_piece *run(struct replica *r, uint64_t index, struct digest *d,
                                      unsigned rows, unsigned *ret_n)
{
    struct store_view *v = kv_kept_view(r->f->kv, index);
    int done = 0;
    assert_non_null(v);
    while (done == 0)
        done = digest_step(d, r->f->store, v, rows, MIB(1));
    assert_int_equal(done, 1);
    return digest_pieces(d, ret_n);
}

static struct digest *by_shard(void)
{
    return digest_create(BYTES_NONE, BYTES_NONE, DIGEST_SHARDS, 0, NULL, 0);
}

static void same_piece(const struct digest_piece *a, const struct digest_piece *b)
{
    assert_true(bytes_eq(a->at, b->at));
    assert_int_equal(a->hash, b->hash);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->keys, b->keys);
    assert_int_equal(a->bytes, b->bytes);
}

static void same(const struct digest *a, const struct digest *b)
{
    unsigned n, m;
    const struct digest_piece *p = digest_pieces(a, &n), *q = digest_pieces(b, &m);
    assert_int_equal(n, m);
    for (unsigned i = 0; i < n; i++)
        same_piece(&p[i], &q[i]);
}

static void raw_write(struct replica *r, struct store_write w)
{
    T_OK(r->f->store->ops->write(r->f->store, &w, 1));
}

/* --- equal replicas --------------------------------------------------------------------------- */

TEST(the_same_entries_give_the_same_hashes_however_they_were_written)
{
    struct replica a, b;
    unsigned n;
    struct digest *x = by_shard(), *y = by_shard();
    replica_init(&a, 1);
    replica_init(&b, 5000);
    fill(&a, t_seed(), 200);
    fill(&b, t_seed(), 200);
    run(&a, check(&a), x, 1000, &n);
    assert_int_equal(n, 4); /* three shards and the group's own */
    run(&b, check(&b), y, 1000, &n);
    same(x, y);
    digest_destroy(x);
    digest_destroy(y);
    replica_finish(&a);
    replica_finish(&b);
}

TEST(steps_of_any_size_give_the_same)
{
    struct replica r;
    unsigned n;
    replica_init(&r, 1);
    fill(&r, t_seed(), 100);
    uint64_t index = check(&r);
    struct digest *whole = by_shard();
    const struct digest_piece *p = run(&r, index, whole, 100000, &n);
    uint64_t keys = 0;
    for (unsigned i = 0; i < n; i++)
        keys += p[i].keys;
    assert_in_range(keys, 50, 100);
    for (unsigned rows = 1; rows < 12; rows += 3) {
        struct digest *d = by_shard();
        run(&r, index, d, rows, &n);
        same(whole, d);
        digest_destroy(d);
    }
    struct digest *tiny = by_shard();
    int done = 0;
    while (done == 0)
        done = digest_step(tiny, r.f->store, kv_kept_view(r.f->kv, index), 100, 1);
    same(whole, tiny);
    digest_destroy(tiny);
    digest_destroy(whole);
    replica_finish(&r);
}

TEST(a_kept_state_does_not_see_later_entries)
{
    struct replica r;
    unsigned n;
    replica_init(&r, 5000);
    fill(&r, 1, 50);
    uint64_t index = check(&r);
    struct digest *before = by_shard(), *after = by_shard();
    run(&r, index, before, 1000, &n);
    fill(&r, 2, 50);
    T_OK(kv_settle(r.f->kv));
    run(&r, index, after, 1000, &n);
    same(before, after);
    digest_destroy(before);
    digest_destroy(after);
    replica_finish(&r);
}

TEST(a_check_changes_nothing_but_the_applied_index)
{
    struct replica a, b;
    replica_init(&a, 5000);
    replica_init(&b, 5000);
    fill(&a, 3, 50);
    fill(&b, 3, 50);
    check(&a);
    T_OK(kvt_apply(b.f, BYTES_NONE)); /* a no-op at the same index */
    fill(&a, 4, 50);
    fill(&b, 4, 50);
    T_OK(kv_settle(a.f->kv));
    T_OK(kv_settle(b.f->kv));
    GByteArray *x = store_dump(a.f->store), *y = store_dump(b.f->store);
    assert_int_equal(x->len, y->len);
    assert_memory_equal(x->data, y->data, x->len);
    g_byte_array_unref(x);
    g_byte_array_unref(y);
    replica_finish(&a);
    replica_finish(&b);
}

/* --- replicas that differ --------------------------------------------------------------------- */

TEST(one_differing_row_changes_its_shards_piece_alone)
{
    struct replica a, b;
    unsigned n;
    replica_init(&a, 1);
    replica_init(&b, 1);
    fill(&a, 5, 100);
    fill(&b, 5, 100);
    EXEC(a.f, WRITE(put(E, "good")));
    EXEC(b.f, WRITE(put(E, "good")));
    struct bytes key = layout_data_key(&b.f->arena, E), stored;
    T_OK(b.f->store->ops->get(b.f->store, NULL, key, &b.f->arena, &stored));
    ((uint8_t *)(uintptr_t)stored.p)[stored.n - 1] ^= 1;
    raw_write(&b, (struct store_write){STORE_PUT, key, stored});
    struct digest *x = by_shard(), *y = by_shard();
    const struct digest_piece *p = run(&a, check(&a), x, 1000, &n);
    const struct digest_piece *q = run(&b, check(&b), y, 1000, &n);
    for (unsigned i = 0; i < n; i++) {
        if (get_be16(p[i].at.p) != 2)
            same_piece(&p[i], &q[i]);
        else
            assert_true(p[i].hash != q[i].hash);
    }
    digest_destroy(x);
    digest_destroy(y);
    replica_finish(&a);
    replica_finish(&b);
}

/* Do two replicas that hold just this row each have different hashes? */
static bool told_apart(struct store_write x, struct store_write y)
{
    struct replica a, b;
    unsigned n;
    struct digest *dx = by_shard(), *dy = by_shard();
    replica_init(&a, 1);
    replica_init(&b, 1);
    raw_write(&a, x);
    raw_write(&b, y);
    const struct digest_piece *p = run(&a, check(&a), dx, 1000, &n);
    const struct digest_piece *q = run(&b, check(&b), dy, 1000, &n);
    bool apart = p[0].hash != q[0].hash;
    digest_destroy(dx);
    digest_destroy(dy);
    replica_finish(&a);
    replica_finish(&b);
    return apart;
}

TEST(lengths_matter_and_where_a_key_ends)
{
    const struct bytes k = bytes_of("\0\3\20a", 4), longer = bytes_of("\0\3\20ab", 5);
    assert_false(told_apart((struct store_write){STORE_PUT, k, bytes_of("c", 1)},
                            (struct store_write){STORE_PUT, k, bytes_of("c", 1)}));
    assert_true(told_apart((struct store_write){STORE_PUT, longer, bytes_of("c", 1)},
                           (struct store_write){STORE_PUT, k, bytes_of("bc", 2)}));
    assert_true(told_apart((struct store_write){STORE_PUT, k, bytes_of("c", 1)},
                           (struct store_write){STORE_PUT, k, bytes_of("c\0", 2)}));
    assert_true(told_apart((struct store_write){STORE_PUT, k, BYTES_NONE},
                           (struct store_write){STORE_PUT, k, bytes_of("\0\0\0\0\0\0\0\0", 8)}));
}

/* One replica cuts its rows evenly; the same bounds on another one, which lacks a row and has one
 * more, differ in just the two pieces where that is. */
TEST(bounds_from_one_replica_fit_another_that_has_other_rows)
{
    struct replica a, b;
    unsigned n, m;
    struct bytes lo = bytes_of("\0\1", 2), hi = bytes_of("\0\2", 2), bounds[DIGEST_BOUNDS_MAX];
    replica_init(&a, 1);
    replica_init(&b, 1);
    fill(&a, 6, 300);
    fill(&b, 6, 300);
    struct digest *cut = digest_create(lo, hi, DIGEST_EVERY, 5, NULL, 0);
    const struct digest_piece *p = run(&a, check(&a), cut, 7, &n);
    assert_in_range(n, 8, DIGEST_BOUNDS_MAX);
    for (unsigned i = 0; i + 1 < n; i++) {
        assert_int_equal(p[i].rows, 5);
        bounds[i] = p[i + 1].at;
    }
    raw_write(&b, (struct store_write){STORE_DELETE, p[3].at, BYTES_NONE});
    uint8_t *more = (uint8_t *)(uintptr_t)arena_copy(&b.f->arena, p[6].at).p;
    struct bytes extra = arena_copy(&b.f->arena, bytes_of(more, p[6].at.n));
    ((uint8_t *)(uintptr_t)extra.p)[extra.n - 1]++; /* just behind, maybe it exists: then changed */
    raw_write(&b, (struct store_write){STORE_PUT, extra, bytes_of("planted", 7)});
    struct digest *fit = digest_create(lo, hi, DIGEST_BOUNDS, 0, bounds, n - 1);
    const struct digest_piece *q = run(&b, check(&b), fit, 7, &m);
    assert_int_equal(m, n);
    for (unsigned i = 1; i < n; i++)
        assert_true(bytes_eq(p[i].at, q[i].at));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(p[i].hash == q[i].hash, i != 3 && i != 6);
    digest_destroy(cut);
    digest_destroy(fit);
    replica_finish(&a);
    replica_finish(&b);
}

TEST(given_bounds_give_empty_pieces_too)
{
    struct replica r;
    unsigned n;
    const struct bytes bounds[] = {bytes_of("\0\1", 2), bytes_of("\0\1\20b", 4),
                                   bytes_of("\0\3", 2), bytes_of("\0\4", 2)};
    replica_init(&r, 1);
    EXEC(r.f, WRITE(put(A, "x"), put(C, "y")));
    struct digest *d = digest_create(BYTES_NONE, bytes_of("\0\5", 2), DIGEST_BOUNDS, 0, bounds, 4);
    const struct digest_piece *p = run(&r, check(&r), d, 1, &n);
    assert_int_equal(n, 5);
    assert_int_equal(p[0].rows, 0);
    assert_int_equal(p[1].keys, 1);
    assert_int_equal(p[2].keys, 1);
    assert_int_equal(p[3].rows, 0);
    assert_int_equal(p[4].rows, 0);
    assert_int_equal(p[3].hash, p[4].hash);
    digest_destroy(d);
    replica_finish(&r);
}

/* --- what is kept ----------------------------------------------------------------------------- */

TEST(the_newest_two_states_are_kept_until_they_are_dropped)
{
    struct replica r;
    uint64_t kept[KV_KEPT_MAX];
    replica_init(&r, 1);
    assert_int_equal(kv_kept(r.f->kv, kept), 0);
    uint64_t first = check(&r), second = check(&r), third = check(&r);
    assert_int_equal(kv_kept(r.f->kv, kept), 2);
    assert_int_equal(kept[0], second);
    assert_int_equal(kept[1], third);
    assert_null(kv_kept_view(r.f->kv, first));
    assert_null(kv_kept_view(r.f->kv, 0));
    kv_kept_drop(r.f->kv, second);
    assert_int_equal(kv_kept(r.f->kv, kept), 1);
    assert_int_equal(kept[0], third);
    kv_kept_drop(r.f->kv, first); /* nothing happens */
    check(&r);
    assert_int_equal(kv_kept(r.f->kv, kept), 2);
    replica_finish(&r); /* with views open */
}

T_MAIN(T(the_same_entries_give_the_same_hashes_however_they_were_written),
       T(steps_of_any_size_give_the_same), T(a_kept_state_does_not_see_later_entries),
       T(a_check_changes_nothing_but_the_applied_index),
       T(one_differing_row_changes_its_shards_piece_alone), T(lengths_matter_and_where_a_key_ends),
       T(bounds_from_one_replica_fit_another_that_has_other_rows),
       T(given_bounds_give_empty_pieces_too),
       T(the_newest_two_states_are_kept_until_they_are_dropped))
