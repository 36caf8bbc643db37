/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/hash.h"
#include <string.h>

#define MULTIPLIER 0x9e3779b97f4a7c15u

uint64_t hash_u64(uint64_t h, uint64_t v)
{
    h = (h ^ v) * MULTIPLIER;
    return h ^ (h >> 29);
}

static uint64_t load(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_LE(v);
}

static uint64_t lane(uint64_t h, const uint8_t *p)
{
    h = (h ^ load(p)) * MULTIPLIER;
    return h ^ (h >> 32);
}

/* Whole states are hashed, again and again: four multiplications at a time. */
static uint64_t hash_long(uint64_t h, const uint8_t *p, size_t n)
{
    uint64_t a = h, b = h + 1, c = h + 2, d = h + 3;
    for (size_t i = 0; i < n; i += 32) {
        a = lane(a, p + i);
        b = lane(b, p + i + 8);
        c = lane(c, p + i + 16);
        d = lane(d, p + i + 24);
    }
    return hash_u64(hash_u64(hash_u64(hash_u64(0, a), b), c), d);
}

uint64_t hash_bytes(uint64_t h, struct bytes b)
{
    size_t i = b.n / 32 * 32;
    h = hash_u64(h, b.n);
    if (i > 0)
        h = hash_long(h, b.p, i);
    for (; i + 8 <= b.n; i += 8)
        h = hash_u64(h, load(b.p + i));
    for (; i < b.n; i++)
        h = hash_u64(h, b.p[i]);
    return h;
}
