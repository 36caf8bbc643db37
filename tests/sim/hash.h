/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h - a fast 64-bit hash for traces, states and search memory; the same on every machine. */
#pragma once

#include "cluster/base/bytes.h"

uint64_t hash_u64(uint64_t h, uint64_t v);
uint64_t hash_bytes(uint64_t h, struct bytes b);
