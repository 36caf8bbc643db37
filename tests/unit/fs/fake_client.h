/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_client.h - client.h on one state machine in this process: the store's exact semantics
 * without a network, and faults on demand. Several clients (mounts) may share a cluster; thread
 * safe.
 */
#pragma once

#include "tests/lib/t.h"
#include "cluster/client/client.h"

#define FAKE_SHARDS 16

struct fake_cluster;

struct fake_cluster *fake_cluster_create(void);
void fake_cluster_destroy(struct fake_cluster *k); /* after its clients */
struct client *fake_client_create(struct fake_cluster *k);

/* Before the n-th write transaction of c from now on (1: the next), hook runs once: between what an
 * operation read and its commit. It may use other clients. */
void fake_before_write(struct client *c, unsigned n, void (*hook)(void *arg), void *arg);
/* Every write is delayed until another thread had a chance, so that races happen. */
void fake_shuffle(struct fake_cluster *k, bool on);
/* The session of c ends, as if it had expired. */
void fake_expire(struct client *c);
/* The n-th write from now on (1: the next) fails with this code, unexecuted; 0: none. */
void fake_fail_write(struct client *c, unsigned n, int err);

/* Requests of the thread that made the client. */
unsigned fake_reads(const struct client *c);
unsigned fake_writes(const struct client *c);
/* Keys with this tag ('I', 'C', ...) in all shards. */
unsigned fake_count_keys(struct fake_cluster *k, char tag);
