/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h - a small seeded generator (xoshiro256**, seeded by splitmix64): same seed, same numbers.
 * Not for secrets: those come from OpenSSL's RAND_bytes. rng_seed_os seeds from getrandom(2).
 */
#pragma once

#include "cluster/base/defs.h"

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
void rng_seed_os(struct rng *r);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);            /* 0 .. n-1, n > 0 */
uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi); /* both inclusive */
bool rng_chance(struct rng *r, unsigned per_million);
