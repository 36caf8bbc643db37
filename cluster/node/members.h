/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members.h - under which incarnation each member was first met, kept over restarts.
 *
 * An incarnation names a data directory. A member that comes back under its id with another one has
 * lost its votes and its log; it is refused for ever (peer.h), not only until we restart.
 *
 * File <data_dir>/members, written beside and renamed:
 *   magic "RFSMEMB", version '1', u32 count, count times (u32 node, u64 incarnation), u32 crc32c.
 * Little-endian; the crc is of all before it. Valid if and only if magic, version, length and crc
 * are right and no node is named twice. Losing the last change in a crash is harmless: that member
 * is met for the first time once more. It is written after the log's first record only: where there
 * is a file of members but no log, the log was lost.
 */
#pragma once

#include "cluster/node/impl.h"

/* Reads the file; before there are peers. Absent is fine. -ERR_CORRUPT; -ERR_FORMAT: newer;
 * -ERR_IO; with text. */
NODISCARD int members_load(struct node *n, struct errmsg *msg);
/* The incarnation under which it was met, 0: never. Of a node that is no peer now it is remembered
 * until the node is removed. */
uint64_t members_met(const struct node *n, uint32_t id);
/* A member was met for the first time: writes the file; comes back before it is durable. */
void members_save(struct node *n);
/* Tries again what a full disk refused. */
void members_house(struct node *n);
