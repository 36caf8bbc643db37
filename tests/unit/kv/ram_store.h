/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ram_store.h - a store for tests of the state machine that remembers its batches, so that a test
 * can ask for the state after each prefix of them, and that fails on demand. Its views are names
 * only: they show the newest state (store_mem.c has real ones).
 */
#pragma once

#include "cluster/store/store.h"

struct ram_store;

/* Free with store->ops->close. */
struct store *ram_store_create(void);
/* What a crash left: a new store with the first n batches of s. */
struct store *ram_store_prefix(struct store *s, size_t n);
size_t ram_store_batches(struct store *s);
/* Forgets the batches so far and keeps none from now on (for long runs). */
void ram_store_forget(struct store *s);

/* The n-th get / write from now on fails with -ERR_IO (1: the next); 0: none. */
void ram_store_fail(struct store *s, unsigned get, unsigned write);
unsigned ram_store_gets(struct store *s); /* gets so far */

/* All pairs of any store, in order, each with its lengths; free with g_byte_array_unref. */
GByteArray *store_dump(struct store *s);
