/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/sort.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

void sort_init(struct sort_buffer *s, size_t budget)
{
    *s = (struct sort_buffer){.budget = budget};
}

void sort_finish(struct sort_buffer *s)
{
    g_free(s->base);
    g_free(s->items);
    *s = (struct sort_buffer){0};
}

void sort_clear(struct sort_buffer *s)
{
    s->used = 0;
    s->n_items = 0;
}

static void store32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

/* Bytes of the key from `depth` on as a number; what lies beyond its end counts as zeros. */
static uint64_t key_chunk(const struct sort_buffer *s, uint32_t ref, size_t depth)
{
    const uint8_t *p = s->base + ref;
    size_t n = sort_load32(p);
    uint64_t v = 0;
    if (depth < n)
        memcpy(&v, p + SORT_HEAD + depth, MIN(n - depth, 8));
    return be64toh(v);
}

static bool grow(struct sort_buffer *s, size_t need)
{
    size_t want = s->used + need;
    bool first = s->n_items == 0;
    if (!first && want + (s->n_items + 1) * sizeof *s->items > s->budget)
        return false;
    if (want > UINT32_MAX)
        return false;
    if (want > s->cap) {
        s->cap = MAX(MAX(s->cap * 2, want), KIB(64));
        s->base = g_realloc(s->base, s->cap);
    }
    if (s->n_items == s->cap_items) {
        s->cap_items = MAX(s->cap_items * 2, 1024);
        s->items = g_renew(struct sort_item, s->items, s->cap_items);
    }
    return true;
}

bool sort_add_ref(struct sort_buffer *s, uint32_t partition, const struct record *r,
                  uint32_t *ret_ref)
{
    size_t need = (SORT_HEAD + r->key.n + r->value.n + 3) & ~(size_t)3;
    if (!grow(s, need))
        return false;
    uint32_t ref = (uint32_t)s->used;
    uint8_t *p = s->base + ref;
    store32(p, (uint32_t)r->key.n);
    store32(p + 4, r->has_value ? (uint32_t)r->value.n + 1 : 0);
    if (r->key.n)
        memcpy(p + SORT_HEAD, r->key.p, r->key.n);
    if (r->value.n)
        memcpy(p + SORT_HEAD + r->key.n, r->value.p, r->value.n);
    s->used += need;
    s->items[s->n_items++] = (struct sort_item){key_chunk(s, ref, 0), ref, partition};
    *ret_ref = ref;
    return true;
}

bool sort_add(struct sort_buffer *s, uint32_t partition, const struct record *r)
{
    uint32_t ref;
    return sort_add_ref(s, partition, r, &ref);
}

/* --- the sort --------------------------------------------------------------------------------- */

static void swap_items(struct sort_item *a, struct sort_item *b)
{
    struct sort_item t = *a;
    *a = *b;
    *b = t;
}

static uint64_t pivot_of(const struct sort_item *v, size_t n, uint64_t *seed)
{
    uint64_t c[3];
    for (int i = 0; i < 3; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        c[i] = v[(*seed >> 33) % n].chunk;
    }
    uint64_t lo = MIN(c[0], c[1]), hi = MAX(c[0], c[1]);
    return c[2] < lo ? lo : MIN(c[2], hi);
}

/* Three-way by chunk: [0, *lt) less, [*lt, *gt) equal, [*gt, n) greater than the pivot. */
static void partition3(struct sort_item *v, size_t n, uint64_t pivot, size_t *ret_lt,
                       size_t *ret_gt)
{
    size_t lt = 0, i = 0, gt = n;
    while (i < gt) {
        if (v[i].chunk < pivot)
            swap_items(&v[lt++], &v[i++]);
        else if (v[i].chunk > pivot)
            swap_items(&v[i], &v[--gt]);
        else
            i++;
    }
    *ret_lt = lt;
    *ret_gt = gt;
}

/* By chunk alone; used where all chunks differ. */
static void sort_chunks(struct sort_item *v, size_t n, uint64_t *seed)
{
    while (n > 16) {
        size_t lt, gt;
        partition3(v, n, pivot_of(v, n, seed), &lt, &gt);
        if (lt < n - gt) {
            sort_chunks(v, lt, seed);
            v += gt;
            n -= gt;
        } else {
            sort_chunks(v + gt, n - gt, seed);
            n = lt;
        }
    }
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j && v[j - 1].chunk > v[j].chunk; j--)
            swap_items(&v[j - 1], &v[j]);
}

static void sort_keys(const struct sort_buffer *s, struct sort_item *v, size_t n, size_t depth,
                      uint64_t *seed);

/* Keys this deep share a long prefix: plain comparisons cost no more, and recursion stays bounded.
 */
#define DEPTH_MAX 512

static int compare_items(const void *a, const void *b, void *arg)
{
    const struct sort_item *x = a, *y = b;
    const struct sort_buffer *s = arg;
    int c = bytes_cmp(sort_record(s, x->ref).key, sort_record(s, y->ref).key);
    return c ? c : (x->ref > y->ref) - (x->ref < y->ref);
}

/* All of v have the same first depth + 8 bytes (zero padded): those whose key ends there come
 * first, shortest first and in the order they were added; the others go on with their next 8 bytes.
 */
static void sort_equal(const struct sort_buffer *s, struct sort_item *v, size_t n, size_t depth,
                       uint64_t *seed)
{
    size_t ended = 0;
    if (n < 2)
        return;
    if (depth >= DEPTH_MAX) {
        qsort_r(v, n, sizeof *v, compare_items, (void *)(uintptr_t)s);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t len = sort_load32(s->base + v[i].ref);
        if (len > depth + 8)
            continue;
        v[i].chunk = len << 32 | v[i].ref;
        swap_items(&v[ended++], &v[i]);
    }
    sort_chunks(v, ended, seed);
    for (size_t i = ended; i < n; i++)
        v[i].chunk = key_chunk(s, v[i].ref, depth + 8);
    sort_keys(s, v + ended, n - ended, depth + 8, seed);
}

static void sort_keys(const struct sort_buffer *s, struct sort_item *v, size_t n, size_t depth,
                      uint64_t *seed)
{
    while (n > 1) {
        size_t lt, gt;
        partition3(v, n, pivot_of(v, n, seed), &lt, &gt);
        sort_equal(s, v + lt, gt - lt, depth, seed);
        if (lt < n - gt) {
            sort_keys(s, v, lt, depth, seed);
            v += gt;
            n -= gt;
        } else {
            sort_keys(s, v + gt, n - gt, depth, seed);
            n = lt;
        }
    }
}

/* Counting sort by partition, so that each partition's keys can be sorted on their own. */
static size_t *group_partitions(struct sort_buffer *s, uint32_t partitions)
{
    size_t *start = g_new0(size_t, partitions + 1);
    struct sort_item *out = g_new(struct sort_item, s->n_items);
    for (size_t i = 0; i < s->n_items; i++)
        start[s->items[i].partition + 1]++;
    for (uint32_t p = 0; p < partitions; p++)
        start[p + 1] += start[p];
    size_t *at = g_memdup2(start, partitions * sizeof *start);
    for (size_t i = 0; i < s->n_items; i++)
        out[at[s->items[i].partition]++] = s->items[i];
    g_free(at);
    g_free(s->items);
    s->items = out;
    s->cap_items = s->n_items;
    return start;
}

void sort_run(struct sort_buffer *s)
{
    uint64_t seed = s->n_items;
    uint32_t partitions = 0;
    if (s->n_items == 0)
        return;
    for (size_t i = 0; i < s->n_items; i++)
        partitions = MAX(partitions, s->items[i].partition + 1);
    size_t *start = group_partitions(s, partitions);
    for (uint32_t p = 0; p < partitions; p++)
        sort_keys(s, s->items + start[p], start[p + 1] - start[p], 0, &seed);
    g_free(start);
}
