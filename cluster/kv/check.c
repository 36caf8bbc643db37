/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - what can be said of a transaction without looking at any state. */
#include "cluster/kv/layout.h"
#include "cluster/kv/txn.h"

#define RANGES_MAX 16 /* of msg.def.h: TXN_REPLY's list `deleted` */

struct check {
    unsigned shards;
    size_t bytes; /* of the transaction, about as encoded */
};

static int check_key(struct check *c, struct bytes key)
{
    if (key.n < 2)
        return -ERR_INVALID;
    if (key.n > KEY_MAX)
        return -ERR_TOO_BIG;
    c->bytes += key.n;
    return layout_shard(key) < c->shards ? 0 : -ERR_INVALID;
}

/* [lo, hi) within one shard; hi may also be the next shard's first key: to the end. */
static int check_range(struct check *c, struct bytes lo, struct bytes hi)
{
    int err = check_key(c, lo);

    if (err)
        return err;
    if (hi.n < 2)
        return -ERR_INVALID;
    if (hi.n > KEY_MAX)
        return -ERR_TOO_BIG;
    c->bytes += hi.n;
    if (layout_shard(hi) == layout_shard(lo))
        return bytes_cmp(lo, hi) <= 0 ? 0 : -ERR_INVALID;
    return hi.n == 2 && layout_shard(hi) == layout_shard(lo) + 1 ? 0 : -ERR_INVALID;
}

static int check_extent(uint64_t off, uint64_t n)
{
    return off <= VALUE_MAX && n <= VALUE_MAX - off ? 0 : -ERR_TOO_BIG;
}

static int check_compare(struct check *c, const struct kv_compare *compare)
{
    c->bytes += compare->value.n;
    switch (compare->op) {
    case KV_ABSENT:
    case KV_EXISTS:
    case KV_VERSION:
        return check_key(c, compare->key);
    case KV_BYTES: {
        int err = check_key(c, compare->key);
        return err ? err : check_extent(compare->arg, compare->value.n);
    }
    case KV_EMPTY_RANGE:
        return check_range(c, compare->key, compare->hi);
    }
    return -ERR_INVALID;
}

static int check_read(struct check *c, const struct kv_read *read)
{
    switch (read->op) {
    case KV_GET:
        return check_key(c, read->key);
    case KV_SCAN:
        return read->off <= 1 ? check_range(c, read->key, read->hi) : -ERR_INVALID;
    }
    return -ERR_INVALID;
}

static int check_write_args(const struct kv_write *write)
{
    switch (write->op) {
    case KV_PUT:
    case KV_WRITE:
        return check_extent(write->op == KV_WRITE ? write->arg : 0, write->value.n);
    case KV_TRUNCATE:
        return check_extent(0, write->arg);
    case KV_DELETE:
        return 0;
    case KV_DELETE_RANGE:
        if (write->arg == 0)
            return -ERR_INVALID;
        return write->arg <= SCAN_ENTRIES_MAX ? 0 : -ERR_TOO_BIG;
    case KV_ADD64:
    case KV_MAX64:
        return write->value.n == 8 ? check_extent(write->arg, 8) : -ERR_INVALID;
    case KV_TIME64:
        return check_extent(write->arg, 8);
    }
    return -ERR_INVALID;
}

static int check_write(struct check *c, const struct kv_write *write)
{
    int err = write->op == KV_DELETE_RANGE ? check_range(c, write->key, write->hi)
                                           : check_key(c, write->key);

    c->bytes += write->value.n;
    return err ? err : check_write_args(write);
}

unsigned txn_shards_written(const struct msg_txn *t, uint16_t ret_shards[VERSIONS_MAX + 1])
{
    unsigned n = 0;

    for (uint32_t i = 0; i < t->n_writes && n <= VERSIONS_MAX; i++) {
        uint16_t shard = (uint16_t)layout_shard(t->writes[i].key);
        unsigned at = n;

        while (at > 0 && ret_shards[at - 1] > shard)
            at--;
        if (at > 0 && ret_shards[at - 1] == shard)
            continue;
        memmove(&ret_shards[at + 1], &ret_shards[at], (n - at) * sizeof(*ret_shards));
        ret_shards[at] = shard;
        n++;
    }
    return n;
}

static int check_request(const struct msg_txn *t)
{
    if (t->n_writes > 0 && (t->client == 0 || t->acked_below > t->seq))
        return -ERR_INVALID;
    if (t->n_compares > TXN_COMPARES_MAX || t->n_reads > TXN_READS_MAX ||
        t->n_writes > TXN_WRITES_MAX)
        return -ERR_TOO_BIG;
    return 0;
}

static int check_totals(const struct check *c, const struct msg_txn *t)
{
    uint16_t written[VERSIONS_MAX + 1];
    unsigned ranges = 0;

    for (uint32_t i = 0; i < t->n_writes; i++)
        ranges += t->writes[i].op == KV_DELETE_RANGE;
    if (c->bytes > TXN_BYTES_MAX || ranges > RANGES_MAX)
        return -ERR_TOO_BIG;
    return txn_shards_written(t, written) <= VERSIONS_MAX ? 0 : -ERR_TOO_BIG;
}

int txn_check(const struct msg_txn *t, unsigned shards)
{
    struct check c = {.shards = shards};
    int err = check_request(t);

    for (uint32_t i = 0; !err && i < t->n_compares; i++)
        err = check_compare(&c, &t->compares[i]);
    for (uint32_t i = 0; !err && i < t->n_reads; i++)
        err = check_read(&c, &t->reads[i]);
    for (uint32_t i = 0; !err && i < t->n_writes; i++)
        err = check_write(&c, &t->writes[i]);
    return err ? err : check_totals(&c, t);
}
