/* SPDX-License-Identifier: Apache-2.0 */
/*
 * siphash.h - SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash for names that a hostile user
 * chooses. Without the volume's key nobody can make two names of one directory collide. Pure.
 */
#pragma once

#include "cluster/base/bytes.h"

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash24(const struct siphash_key *key, struct bytes in);
