/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture.h - a state machine on a ram_store, and short words for transactions:
 *
 *   struct kvt *f = kvt_create();
 *   struct msg_txn_reply *r = EXEC(f, COMPARE(absent(A)), WRITE(put(A, "x")));
 *   assert_int_equal(r->status, 0);
 *   kvt_destroy(f);
 *
 * EXEC is a new request of the fixture's own session, everything before it acknowledged.
 */
#pragma once

#include "tests/lib/t.h"
#include "cluster/base/buf.h"
#include "cluster/kv/kv.h"
#include "tests/unit/kv/ram_store.h"

#define KVT_SHARDS 16

struct kvt {
    struct store *store;
    struct kv *kv;
    unsigned rows;        /* that it holds back */
    uint64_t index, time; /* of the last entry */
    uint64_t client, seq; /* the fixture's session */
    struct arena arena;   /* replies live until the fixture's end */

    /* Of the last entry. */
    unsigned n_replies, reply_type;
    struct bytes reply_body;
    GString *changed; /* "key=version " of each callback */
};

/* With a session open. */
struct kvt *kvt_create(void);
/* On this store, which it takes over; no session. */
struct kvt *kvt_on(struct store *store);
void kvt_destroy(struct kvt *f);
/* A new one holds none: each entry is a batch. */
void kvt_hold_rows(struct kvt *f, unsigned rows);
/* Closes and opens the state machine on the same store; settled before, if it holds rows. */
void kvt_reopen(struct kvt *f);

/* Applies an entry of these bytes. */
int kvt_apply(struct kvt *f, struct bytes data);
uint64_t kvt_session(struct kvt *f, const char *name);      /* opens one; the client id */
unsigned kvt_close_session(struct kvt *f, uint64_t client); /* the status */
/* A command that a status answers: which. */
unsigned kvt_command(struct kvt *f, enum kv_command cmd, struct bytes body);
struct msg_txn_reply *kvt_txn(struct kvt *f, const struct msg_txn *t);
/* Of the fixture's session; seq and acked_below are filled in. */
struct msg_txn_reply *kvt_exec(struct kvt *f, struct msg_txn t);
/* kv_read, which must work. */
struct msg_txn_reply *kvt_read(struct kvt *f, struct msg_txn t);
/* The value of a key as text, NULL if absent; its version. */
const char *kvt_get(struct kvt *f, struct bytes key);
uint64_t kvt_version(struct kvt *f, struct bytes key);

#define LIST_OF(type, name, ...)                                                                   \
    .name = (struct type[]){__VA_ARGS__},                                                          \
    .n_##name = sizeof((struct type[]){__VA_ARGS__}) / sizeof(struct type)
#define COMPARE(...) LIST_OF(kv_compare, compares, __VA_ARGS__)
#define READ(...)    LIST_OF(kv_read, reads, __VA_ARGS__)
#define WRITE(...)   LIST_OF(kv_write, writes, __VA_ARGS__)
#define EXEC(f, ...) kvt_exec((f), (struct msg_txn){__VA_ARGS__})
#define AS(f, c, s, acked, ...)                                                                    \
    kvt_txn((f), &(struct msg_txn){.client = (c), .seq = (s), .acked_below = (acked), __VA_ARGS__})
#define ASK(f, ...) kvt_read((f), (struct msg_txn){__VA_ARGS__})

/* Keys: of shard 1 A < B < C < D, of shard 2 E and F, of shard 15 (the last) Z. */
#define KEY(s, name) bytes_of("\0" s name, sizeof("\0" s name) - 1)
#define A            KEY("\1", "a")
#define B            KEY("\1", "b")
#define C            KEY("\1", "c")
#define D            KEY("\1", "d")
#define E            KEY("\2", "e")
#define F            KEY("\2", "f")
#define Z            KEY("\17", "z")
#define SHARD(s)     bytes_of("\0" s, 2) /* the first key of a shard; the end of the one before */

static inline struct kv_compare absent(struct bytes key)
{
    return (struct kv_compare){.op = KV_ABSENT, .key = key};
}
static inline struct kv_compare exists(struct bytes key)
{
    return (struct kv_compare){.op = KV_EXISTS, .key = key};
}
static inline struct kv_compare version(struct bytes key, uint64_t v)
{
    return (struct kv_compare){.op = KV_VERSION, .key = key, .arg = v};
}
static inline struct kv_compare holds(struct bytes key, uint64_t off, const char *s)
{
    return (struct kv_compare){.op = KV_BYTES, .key = key, .arg = off, .value = bytes_str(s)};
}
static inline struct kv_compare empty_range(struct bytes lo, struct bytes hi)
{
    return (struct kv_compare){.op = KV_EMPTY_RANGE, .key = lo, .hi = hi};
}
static inline struct kv_read get(struct bytes key)
{
    return (struct kv_read){.op = KV_GET, .key = key};
}
static inline struct kv_read get_part(struct bytes key, uint64_t off, uint64_t len)
{
    return (struct kv_read){.op = KV_GET, .key = key, .off = off, .len = len};
}
static inline struct kv_read scan(struct bytes lo, struct bytes hi, uint64_t limit)
{
    return (struct kv_read){.op = KV_SCAN, .key = lo, .hi = hi, .len = limit};
}
static inline struct kv_read scan_keys(struct bytes lo, struct bytes hi, uint64_t limit)
{
    return (struct kv_read){.op = KV_SCAN, .key = lo, .hi = hi, .off = 1, .len = limit};
}
static inline struct kv_write put_bytes(struct bytes key, struct bytes value)
{
    return (struct kv_write){.op = KV_PUT, .key = key, .value = value};
}
static inline struct kv_write put(struct bytes key, const char *s)
{
    return put_bytes(key, bytes_str(s));
}
static inline struct kv_write del(struct bytes key)
{
    return (struct kv_write){.op = KV_DELETE, .key = key};
}
static inline struct kv_write del_range(struct bytes lo, struct bytes hi, uint64_t limit)
{
    return (struct kv_write){.op = KV_DELETE_RANGE, .key = lo, .hi = hi, .arg = limit};
}
static inline struct kv_write write_at(struct bytes key, uint64_t off, const char *s)
{
    return (struct kv_write){.op = KV_WRITE, .key = key, .arg = off, .value = bytes_str(s)};
}
static inline struct kv_write trunc_to(struct bytes key, uint64_t len)
{
    return (struct kv_write){.op = KV_TRUNCATE, .key = key, .arg = len};
}
/* `n` is kept in the fixture's arena. */
struct kv_write number(struct kvt *f, enum kv_write_op op, struct bytes key, uint64_t off,
                       uint64_t n);
/* le64 as a value. */
struct bytes le64_bytes(struct kvt *f, uint64_t n);
