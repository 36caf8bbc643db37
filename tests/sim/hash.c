/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/hash.h"
#include "cluster/base/codec.h"

uint64_t hash_u64(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

uint64_t hash_bytes(uint64_t h, struct bytes b)
{
    size_t i = 0;
    h = hash_u64(h, b.n);
    for (; i + 8 <= b.n; i += 8)
        h = hash_u64(h, get_le64(b.p + i));
    for (; i < b.n; i++)
        h = hash_u64(h, b.p[i]);
    return h;
}
