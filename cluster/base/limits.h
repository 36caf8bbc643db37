/* SPDX-License-Identifier: Apache-2.0 */
/* limits.h - every limit of cluster/, with its reason. Relations are asserted at the end. */
#pragma once

#include "cluster/base/defs.h"

/* Shards are fixed when a cluster is made; two key bytes would allow 65536, the controller plans
 * over all of them for each change, so keep it small. */
#define SHARDS_DEFAULT 256
#define SHARDS_MAX     1024

/* Groups besides group 0, ever (a gid is not used again), and what they are called. Each replica keeps
 * a state store open (a memtable, some files); one NODE_STATUS tells of all. */
#define GROUPS_MAX 64
#define GID_MAX    65535

/* Nodes of a cluster: raft's vote bit sets and `status` stay readable. */
#define NODES_MAX  64
#define VOTERS_MAX 9 /* more voters only cost latency */

/* A key: shard, tag and a 255-byte file name fit four times. */
#define KEY_MAX 1024
/* A value: a file block is 64 KiB; an O_APPEND of 1 MiB is one transaction of blocks. */
#define VALUE_MAX MIB(1)
/* A transaction as encoded: 1 MiB of payload in 64 KiB blocks, their keys, and the inode. */
#define TXN_BYTES_MAX    (MIB(1) + KIB(256))
#define TXN_COMPARES_MAX 64
#define TXN_READS_MAX    64
#define TXN_WRITES_MAX   512
/* Rows in one piece of a shard that moves. */
#define SHARD_ROWS_MAX 4096
/* Transactions over several groups whose end one FORGET logs. */
#define TXIDS_ENDED_MAX 1024
/* A scan's reply must fit a frame; clients page. */
#define SCAN_BYTES_MAX   MIB(1)
#define SCAN_ENTRIES_MAX 4096
/* A result kept for a retry (3.3): larger reads must be asked without writes. */
#define RESULT_BYTES_MAX KIB(64)

/* One frame on the wire: a batch of appends or one snapshot chunk plus headers. */
#define FRAME_BODY_MAX MIB(4)
/* A client may have so many requests outstanding, in any order (DESIGN 3.3). */
#define SESSION_WINDOW 64
/* Mounts at once; further ones are told BUSY. One SESSION_REPLY lists them all. */
#define SESSIONS_MAX 4096

/* Replication: one append message and what may be in flight to one follower. */
#define APPEND_BYTES_MAX     MIB(1)
#define APPEND_ENTRIES_MAX   1024
#define INFLIGHT_MSGS_MAX    64
#define INFLIGHT_BYTES_MAX   MIB(8)
#define UNCOMMITTED_BYTES_MAX MIB(32) /* back-pressure to clients beyond it: BUSY */
#define SNAPSHOT_CHUNK       KIB(512)

/* Connections a node accepts; idle ones cost about 40 KiB of TLS state each. */
#define CONNECTIONS_MAX       4096
/* Output queued for one connection; beyond it a peer's message is dropped (raft repeats it), a
 * client's connection is closed. */
#define CONN_OUT_BYTES_MAX    MIB(32)
#define HANDSHAKE_TIMEOUT_MS  5000

/* Times. Ticks are what raft counts; the node's host calls node_tick each TICK_MS. */
#define TICK_MS               20
#define HEARTBEAT_TICKS       6  /* 120 ms: two frames each make 17 a second per pair of nodes */
#define ELECTION_TICKS        30 /* 600 .. 1200 ms, drawn anew for each term */
#define SESSION_TIMEOUT_MS    30000
#define SESSION_KEEPALIVE_MS  5000

_Static_assert(TXN_BYTES_MAX + KIB(64) < FRAME_BODY_MAX, "a transaction fits a frame");
_Static_assert(APPEND_BYTES_MAX + TXN_BYTES_MAX + KIB(64) < FRAME_BODY_MAX, "an append fits a frame");
_Static_assert(SCAN_BYTES_MAX + VALUE_MAX < FRAME_BODY_MAX, "a scan fits a frame");
_Static_assert(SNAPSHOT_CHUNK < FRAME_BODY_MAX, "a chunk fits a frame");
_Static_assert(VALUE_MAX < TXN_BYTES_MAX, "the largest value can be put");
_Static_assert(HEARTBEAT_TICKS * 3 < ELECTION_TICKS, "three lost heartbeats start no election");
