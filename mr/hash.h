/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - the one hash of mr/: partitioning, the combining table, digests of map output.
 *
 * A 64-bit multiply-and-fold hash (wyhash's idea). All nodes of a job must agree on it, because it
 * says in which partition a key lies: changing it is a change of the spill format (spill.h). Not
 * for untrusted tables shared between users; a job's keys are its owner's.
 */
#pragma once

#include <endian.h>
#include "cluster/base/bytes.h"

#define MR_HASH_A UINT64_C(0xa0761d6478bd642f)
#define MR_HASH_B UINT64_C(0xe7037ed1a0b428db)
#define MR_HASH_C UINT64_C(0x8ebc6af09c88c6e3)

static inline uint64_t hash_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return le64toh(v);
}

static inline uint64_t hash_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return le32toh(v);
}

static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t mr_hash(const uint8_t *p, size_t n)
{
    uint64_t seed = MR_HASH_A, a, b;
    size_t left = n;
    for (; left > 16; left -= 16, p += 16)
        seed = hash_mix(hash_load64(p) ^ MR_HASH_B, hash_load64(p + 8) ^ seed);
    if (left >= 8) {
        a = hash_load64(p);
        b = hash_load64(p + left - 8);
    } else if (left >= 4) {
        a = hash_load32(p);
        b = hash_load32(p + left - 4);
    } else if (left) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[left >> 1] << 8 | p[left - 1];
        b = 0;
    } else {
        a = b = 0;
    }
    return hash_mix(MR_HASH_C ^ n, hash_mix(a ^ MR_HASH_B, b ^ seed));
}

/* 0 .. partitions - 1 */
static inline uint32_t mr_partition(uint64_t hash, uint32_t partitions)
{
    return (uint32_t)(((hash >> 32) * partitions) >> 32);
}
