/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/merge.h"

#include <endian.h>
#include <string.h>
#include "mr/hash.h"

struct run {
    struct spill_reader reader;
    struct record rec;
    uint64_t prefix; /* first 8 bytes of the key, big endian, zero padded */
    bool ended;
};

struct merge {
    struct run *runs;
    size_t n;
    size_t *loser; /* loser[0]: the winner; loser[1..n): losers of the inner matches */
    bool started;
    uint8_t *key; /* of merge_next_sum's group */
    size_t key_cap;
    bool have; /* the winner's record is not consumed yet */
};

static int advance(struct run *r)
{
    int rc = spill_next(&r->reader, &r->rec);
    if (rc < 0)
        return rc;
    r->ended = rc == 0;
    if (rc) {
        uint64_t v = 0;
        if (r->rec.key.n)
            memcpy(&v, r->rec.key.p, MIN(r->rec.key.n, 8));
        r->prefix = be64toh(v);
    }
    return 0;
}

/* Does run a come before run b? */
static bool before(const struct merge *m, size_t a, size_t b)
{
    const struct run *x = &m->runs[a], *y = &m->runs[b];
    if (x->ended || y->ended)
        return !x->ended || (y->ended && a < b);
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix;
    int c = bytes_cmp(x->rec.key, y->rec.key);
    return c ? c < 0 : a < b;
}

/* Plays run `a` from its leaf to the root; losers stay behind. */
static void replay(struct merge *m, size_t a)
{
    for (size_t node = (a + m->n) / 2; node > 0; node /= 2) {
        if (before(m, m->loser[node], a)) {
            size_t t = m->loser[node];
            m->loser[node] = a;
            a = t;
        }
    }
    m->loser[0] = a;
}

/* Winner of the subtree at `node`; fills the losers below. Depth is log2(MERGE_WAYS). */
static size_t build(struct merge *m, size_t node)
{
    if (node >= m->n)
        return node - m->n;
    size_t a = build(m, node * 2), b = build(m, node * 2 + 1);
    bool first = before(m, a, b);
    m->loser[node] = first ? b : a;
    return first ? a : b;
}

int merge_create(const struct merge_source *s, size_t n, struct merge **ret)
{
    ASSERT(n <= MERGE_WAYS);
    struct merge *m = g_new0(struct merge, 1);
    int rc = 0;
    m->n = n;
    m->runs = g_new0(struct run, MAX(n, 1));
    m->loser = g_new0(size_t, MAX(n, 1));
    for (size_t i = 0; i < n; i++)
        spill_reader_init(&m->runs[i].reader, s[i].fd, s[i].off, s[i].bytes);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = advance(&m->runs[i]);
    if (rc < 0) {
        merge_destroy(m);
        return rc;
    }
    if (n)
        m->loser[0] = build(m, 1);
    *ret = m;
    return 0;
}

void merge_destroy(struct merge *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++)
        spill_reader_finish(&m->runs[i].reader);
    g_free(m->runs);
    g_free(m->loser);
    g_free(m->key);
    g_free(m);
}

int merge_next(struct merge *m, struct record *ret)
{
    if (!m->n)
        return 0;
    size_t w = m->loser[0];
    if (m->started && !m->have) {
        int rc = advance(&m->runs[w]);
        if (rc < 0)
            return rc;
        replay(m, w);
        w = m->loser[0];
    }
    m->started = true;
    m->have = false;
    if (m->runs[w].ended) {
        m->have = true;
        return 0;
    }
    *ret = m->runs[w].rec;
    return 1;
}

int merge_next_sum(struct merge *m, struct bytes *ret_key, int64_t *ret_sum)
{
    struct record r;
    int rc = merge_next(m, &r);
    if (rc <= 0)
        return rc;
    if (!r.has_value || r.value.n != 8)
        return -ERR_CORRUPT;
    int64_t sum = (int64_t)hash_load64(r.value.p);
    if (m->key_cap < r.key.n) {
        m->key_cap = r.key.n * 2;
        m->key = g_realloc(m->key, m->key_cap);
    }
    size_t n = r.key.n;
    if (n)
        memcpy(m->key, r.key.p, n);
    while ((rc = merge_next(m, &r)) > 0) {
        if (r.key.n != n || (n && memcmp(r.key.p, m->key, n) != 0)) {
            m->have = true; /* the next group's first: give it again */
            break;
        }
        if (!r.has_value || r.value.n != 8)
            return -ERR_CORRUPT;
        if (__builtin_add_overflow(sum, (int64_t)hash_load64(r.value.p), &sum))
            return -ERR_TOO_BIG;
    }
    if (rc < 0)
        return rc;
    *ret_key = bytes_of(m->key, n);
    *ret_sum = sum;
    return 1;
}
