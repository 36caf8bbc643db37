/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the only door of fs/ and mr/ into the cluster: a blocking client for many threads.
 *
 * A client is one mount's (or one daemon's) identity: a session with the cluster, a pool of
 * connections to the nodes, and what it knows of shards and leaders. A thread runs a transaction
 * top to bottom: takes an idle connection, sends, waits in poll for the answer; no other thread is
 * involved (DESIGN 4.4, hand-overs). Only when more requests are under way than there are
 * connections do they share them: then one thread's read or write may serve others, too. A thread
 * may have several under way at once with txn_start/txn_wait.
 *
 * Retries: an unanswered or refused request (NOT_LEADER, WRONG_GROUP, BUSY, lost connection, no
 * answer) is sent again under the same (client, seq), to another node if need be, with back-off,
 * until it is answered, its deadline passes or it is cancelled. So a transaction that returned 0 or
 * -ERR_FAILED was executed exactly once; after -ERR_TIMEOUT or -ERR_CANCELED it may still be
 * executed, once, and its seq stays outstanding until the client hears an answer in the background.
 * After other errors it may have been executed, once, if an attempt before the one that was refused
 * got no answer (say, a leader died and the next one has no space).
 *
 * Reads (transactions without writes) are linearizable wherever they are served. They are asked of
 * the leader, or with `read-from any` of the node that answers fastest, and of the leader if that
 * one does not.
 *
 * Sessions: opened at the first write, kept alive by one background thread, closed by
 * client_destroy. When the cluster says NO_SESSION the session is lost: `on_session_lost` is called
 * once (on some client thread), every later write fails with -ERR_NO_SESSION until
 * client_new_session.
 *
 * Threads: everything here may be called from any thread, except that one txn belongs to one thread
 * at a time, and who starts one waits for it. At most SESSION_WINDOW writes of a client are under
 * way; a thread that needs a place waits for one, after taking the answers of those it has started
 * itself. So threads never wait for each other here, unless one that has started a txn blocks on
 * something that a thread inside txn_run holds: do not. The client's own thread blocks all signals.
 * Errors: negative codes of err.h.
 */
#pragma once

#include "cluster/base/buf.h"
#include "cluster/base/msg.h"

struct client;

struct client_options {
    const char *conf; /* raftfs.conf(5): cluster, ca, cert, key, peer, read-from */
    const char *name; /* shown in the session list, e.g. "raftfs host:/mnt/kv" */
    void (*on_session_lost)(void *ctx);
    void *ctx;
};

/* Reads the conf; does not connect yet. -ERR_CONFIG and others with text. */
NODISCARD int client_create(const struct client_options *o, struct client **ret,
                            struct errmsg *msg);
/* Ends the session if it can within a second. No thread may be inside. */
void client_destroy(struct client *c);
/* Tries to reach a leader within timeout_ms: 0, or -ERR_UNREACHABLE with the reason per node in
 * msg. What waiting does not cure and all nodes say (-ERR_TLS, -ERR_WRONG_CLUSTER, -ERR_FORMAT) is
 * answered at once. For mains that want to say what is wrong before they go to the background. */
NODISCARD int client_probe(struct client *c, unsigned timeout_ms, struct errmsg *msg);

uint64_t client_session(struct client *c); /* 0: none open */
/* Opens one (again); -ERR_TIMEOUT after 10 s. */
NODISCARD int client_new_session(struct client *c);
uint16_t client_shards(struct client *c); /* of the cluster; known after client_probe */
/* Live sessions as (id in value, name in name), linearizable; array and names live in `a`.
 * -ERR_TIMEOUT after 10 s. */
NODISCARD int client_sessions(struct client *c, struct arena *a, struct counter **ret,
                              size_t *ret_n);

/*
 * Cancellation: a thread that may be interrupted passes its own client_cancel; another thread's
 * client_cancel_fire makes the waiting call return -ERR_CANCELED. Reset before each use.
 */
struct client_cancel {
    int fd;          /* eventfd, readable from fire to reset: for a thread that polls */
    uint32_t fired;  /* atomic; the same */
    uint32_t events; /* atomic; steps at each event: for a thread that sleeps on it */
};
NODISCARD int client_cancel_init(struct client_cancel *x);
void client_cancel_finish(struct client_cancel *x);
void client_cancel_fire(struct client_cancel *x);
void client_cancel_reset(struct client_cancel *x);

/*
 * A transaction: build, run, read the answer. Keys are copied into the txn; values are borrowed
 * until the run has ended. Zero is a valid empty txn: `struct txn t = {0};`.
 */
struct txn {
    uint64_t session; /* run its writes only under this one, else -ERR_NO_SESSION; 0: whichever is
                         open */
    struct arena arena;
    struct msg_txn m; /* arrays grow in the arena */
    uint32_t cap_compares, cap_reads, cap_writes;
    struct msg_txn_reply reply; /* valid after 0 or -ERR_FAILED; points into reply_buf and arena */
    struct buf *reply_buf;
    struct client_call *call; /* between start and wait */
};
void txn_reset(struct txn *t); /* empty again; keeps memory */
void txn_finish(struct txn *t);
static inline UNUSED void txn_finish_p(struct txn *t)
{
    txn_finish(t);
}

/* Each returns the item's index: of compares for reply.failed, of reads for reply.reads[i]. */
unsigned txn_absent(struct txn *t, struct bytes key);
unsigned txn_exists(struct txn *t, struct bytes key);
unsigned txn_version(struct txn *t, struct bytes key, uint64_t version);
unsigned txn_bytes_at(struct txn *t, struct bytes key, uint64_t off, struct bytes value);
unsigned txn_empty_range(struct txn *t, struct bytes lo, struct bytes hi);
unsigned txn_get(struct txn *t, struct bytes key);
unsigned txn_get_part(struct txn *t, struct bytes key, uint64_t off, uint64_t len);
unsigned txn_scan(struct txn *t, struct bytes lo, struct bytes hi, uint64_t limit, bool keys_only);
void txn_put(struct txn *t, struct bytes key, struct bytes value);
void txn_delete(struct txn *t, struct bytes key);
unsigned txn_delete_range(struct txn *t, struct bytes lo, struct bytes hi, uint64_t limit);
void txn_write(struct txn *t, struct bytes key, uint64_t off, struct bytes value);
void txn_truncate(struct txn *t, struct bytes key, uint64_t len);
void txn_add64(struct txn *t, struct bytes key, uint64_t off, int64_t delta);
void txn_max64(struct txn *t, struct bytes key, uint64_t off, uint64_t value);
void txn_time64(struct txn *t, struct bytes key, uint64_t off);

/* deadline_ms 0: no deadline. cancel may be NULL. 0, -ERR_FAILED (reply.failed tells which), or an
 * error without a reply. */
NODISCARD int txn_run(struct client *c, struct txn *t, unsigned deadline_ms,
                      struct client_cancel *cancel);
/* The same in two halves, for several at once; every started txn must be waited for, by the same
 * thread. The first half does not wait for the session or the window: a write that cannot go out at
 * once does so in the second. */
NODISCARD int txn_start(struct client *c, struct txn *t);
NODISCARD int txn_wait(struct client *c, struct txn *t, unsigned deadline_ms,
                       struct client_cancel *cancel);

/* Waits until the version of key differs from `version`: its new value is reply read 0 of `t`. At
 * the end of timeout_ms (half a second later if the node does not say so) -ERR_TIMEOUT. Survives
 * fail-over by asking again. */
NODISCARD int client_wait_key(struct client *c, struct txn *t, struct bytes key, uint64_t version,
                              unsigned timeout_ms, struct client_cancel *cancel);

/* One request to one node by id (mr's FETCH, NODE_STATUS), one answer; no retry, but for an idle
 * connection that turns out closed. The body of the answer is in *ret (unref it); it has at least
 * the two bytes of a status. -ERR_UNREACHABLE, -ERR_TIMEOUT, ... */
NODISCARD int client_ask_node(struct client *c, uint32_t node, unsigned type, struct bytes body,
                              unsigned timeout_ms, unsigned *ret_type, struct buf **ret);
/* The same, and msg says why it failed. */
NODISCARD int client_ask_node_msg(struct client *c, uint32_t node, unsigned type, struct bytes body,
                                  unsigned timeout_ms, unsigned *ret_type, struct buf **ret,
                                  struct errmsg *msg);
/* The nodes of the conf, in its order, then members that were added since and heard of. */
unsigned client_nodes(struct client *c, uint32_t *ret_ids, unsigned max);
const char *client_node_address(struct client *c, uint32_t node);
uint64_t client_cluster(struct client *c);

/* Counters since creation (for /.raftfs/metrics). */
struct client_stats {
    uint64_t txns, retries, reconnects, bytes_out, bytes_in;
};
void client_get_stats(struct client *c, struct client_stats *ret);
