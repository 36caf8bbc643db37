/* SPDX-License-Identifier: Apache-2.0 */
/* txn.c - building a transaction: arrays that grow in its arena. Pure. */
#include "cluster/client/client.h"

/* The next free element of one of the three lists; the old array stays in the arena until reset. */
#define TXN_GROW(t, list, cap, type)                                                               \
    ({                                                                                             \
        if ((t)->m.n_##list == (t)->cap) {                                                         \
            uint32_t cap_ = MAX(8u, (t)->cap * 2);                                                 \
            type *grown_ = arena_array(&(t)->arena, cap_, sizeof(type));                           \
            if ((t)->m.n_##list)                                                                   \
                memcpy(grown_, (t)->m.list, (t)->m.n_##list * sizeof(type));                       \
            (t)->m.list = grown_;                                                                  \
            (t)->cap = cap_;                                                                       \
        }                                                                                          \
        &(t)->m.list[(t)->m.n_##list++];                                                           \
    })

static unsigned add_compare(struct txn *t, struct kv_compare c)
{
    struct kv_compare *at = TXN_GROW(t, compares, cap_compares, struct kv_compare);

    *at = c;
    at->key = arena_copy(&t->arena, c.key);
    at->hi = arena_copy(&t->arena, c.hi);
    return t->m.n_compares - 1;
}

static unsigned add_read(struct txn *t, struct kv_read r)
{
    struct kv_read *at = TXN_GROW(t, reads, cap_reads, struct kv_read);

    *at = r;
    at->key = arena_copy(&t->arena, r.key);
    at->hi = arena_copy(&t->arena, r.hi);
    return t->m.n_reads - 1;
}

static unsigned add_write(struct txn *t, struct kv_write w)
{
    struct kv_write *at = TXN_GROW(t, writes, cap_writes, struct kv_write);

    *at = w;
    at->key = arena_copy(&t->arena, w.key);
    at->hi = arena_copy(&t->arena, w.hi);
    return t->m.n_writes - 1;
}

/* The operand of the 64-bit field operations is small and made here, so it is copied. */
static void add_field(struct txn *t, uint8_t op, struct bytes key, uint64_t off, uint64_t operand)
{
    uint8_t *p = arena_alloc(&t->arena, 8);

    put_le64(p, operand);
    add_write(t, (struct kv_write){.op = op, .key = key, .arg = off, .value = bytes_of(p, 8)});
}

void txn_reset(struct txn *t)
{
    ASSERT(!t->call);
    arena_reset(&t->arena);
    buf_unref(t->reply_buf);
    *t = (struct txn){.arena = t->arena};
}

void txn_finish(struct txn *t)
{
    ASSERT(!t->call);
    arena_finish(&t->arena);
    buf_unref(t->reply_buf);
    *t = (struct txn){0};
}

unsigned txn_absent(struct txn *t, struct bytes key)
{
    return add_compare(t, (struct kv_compare){.op = KV_ABSENT, .key = key});
}

unsigned txn_exists(struct txn *t, struct bytes key)
{
    return add_compare(t, (struct kv_compare){.op = KV_EXISTS, .key = key});
}

unsigned txn_version(struct txn *t, struct bytes key, uint64_t version)
{
    return add_compare(t, (struct kv_compare){.op = KV_VERSION, .key = key, .arg = version});
}

unsigned txn_bytes_at(struct txn *t, struct bytes key, uint64_t off, struct bytes value)
{
    return add_compare(t,
                       (struct kv_compare){.op = KV_BYTES, .key = key, .arg = off, .value = value});
}

unsigned txn_empty_range(struct txn *t, struct bytes lo, struct bytes hi)
{
    return add_compare(t, (struct kv_compare){.op = KV_EMPTY_RANGE, .key = lo, .hi = hi});
}

unsigned txn_get(struct txn *t, struct bytes key)
{
    return add_read(t, (struct kv_read){.op = KV_GET, .key = key});
}

unsigned txn_get_part(struct txn *t, struct bytes key, uint64_t off, uint64_t len)
{
    return add_read(t, (struct kv_read){.op = KV_GET, .key = key, .off = off, .len = len});
}

unsigned txn_scan(struct txn *t, struct bytes lo, struct bytes hi, uint64_t limit, bool keys_only)
{
    return add_read(
        t, (struct kv_read){.op = KV_SCAN, .key = lo, .hi = hi, .off = keys_only, .len = limit});
}

void txn_put(struct txn *t, struct bytes key, struct bytes value)
{
    add_write(t, (struct kv_write){.op = KV_PUT, .key = key, .value = value});
}

void txn_delete(struct txn *t, struct bytes key)
{
    add_write(t, (struct kv_write){.op = KV_DELETE, .key = key});
}

unsigned txn_delete_range(struct txn *t, struct bytes lo, struct bytes hi, uint64_t limit)
{
    unsigned before = 0;

    for (uint32_t i = 0; i < t->m.n_writes; i++)
        before += t->m.writes[i].op == KV_DELETE_RANGE;
    add_write(t, (struct kv_write){.op = KV_DELETE_RANGE, .key = lo, .hi = hi, .arg = limit});
    return before; /* its place in reply.deleted */
}

void txn_write(struct txn *t, struct bytes key, uint64_t off, struct bytes value)
{
    add_write(t, (struct kv_write){.op = KV_WRITE, .key = key, .arg = off, .value = value});
}

void txn_truncate(struct txn *t, struct bytes key, uint64_t len)
{
    add_write(t, (struct kv_write){.op = KV_TRUNCATE, .key = key, .arg = len});
}

void txn_add64(struct txn *t, struct bytes key, uint64_t off, int64_t delta)
{
    add_field(t, KV_ADD64, key, off, (uint64_t)delta);
}

void txn_max64(struct txn *t, struct bytes key, uint64_t off, uint64_t value)
{
    add_field(t, KV_MAX64, key, off, value);
}

void txn_time64(struct txn *t, struct bytes key, uint64_t off)
{
    add_write(t, (struct kv_write){.op = KV_TIME64, .key = key, .arg = off});
}
