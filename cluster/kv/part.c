/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/part.h"

#include "cluster/kv/layout.h"
#include "cluster/kv/txn.h"

static uint8_t owner(const part_map map, struct bytes key)
{
    return map[layout_shard(key)];
}

void part_of(const struct msg_txn *t, const part_map map, uint8_t part, struct arena *a,
             struct msg_txn *ret)
{
    *ret = *t;
    ret->n_compares = ret->n_reads = ret->n_writes = 0;
    ret->compares = arena_array(a, t->n_compares, sizeof(*ret->compares));
    ret->reads = arena_array(a, t->n_reads, sizeof(*ret->reads));
    ret->writes = arena_array(a, t->n_writes, sizeof(*ret->writes));
    for (uint32_t i = 0; i < t->n_compares; i++) {
        if (owner(map, t->compares[i].key) == part)
            ret->compares[ret->n_compares++] = t->compares[i];
    }
    for (uint32_t i = 0; i < t->n_reads; i++) {
        if (owner(map, t->reads[i].key) == part)
            ret->reads[ret->n_reads++] = t->reads[i];
    }
    for (uint32_t i = 0; i < t->n_writes; i++) {
        if (owner(map, t->writes[i].key) == part)
            ret->writes[ret->n_writes++] = t->writes[i];
    }
}

/* A number is 8 bytes, and is looked at by whoever checks the request. */
static struct bytes stripped(struct bytes value)
{
    return value.n > 8 ? BYTES_NONE : value;
}

void part_strip_others(const struct msg_txn *t, const part_map map, uint8_t part, struct arena *a,
                       struct msg_txn *ret)
{
    *ret = *t;
    ret->compares = arena_array(a, t->n_compares, sizeof(*ret->compares));
    ret->writes = arena_array(a, t->n_writes, sizeof(*ret->writes));
    for (uint32_t i = 0; i < t->n_compares; i++) {
        ret->compares[i] = t->compares[i];
        if (owner(map, t->compares[i].key) != part)
            ret->compares[i].value = stripped(t->compares[i].value);
    }
    for (uint32_t i = 0; i < t->n_writes; i++) {
        ret->writes[i] = t->writes[i];
        if (owner(map, t->writes[i].key) != part)
            ret->writes[i].value = stripped(t->writes[i].value);
    }
}

/* --- putting together ------------------------------------------------------------------------- */

/* The place in the whole of the part's compare or write number `failed`; UINT32_MAX: it has not so
 * many. */
static uint32_t place_of(const struct msg_txn *t, const part_map map, uint8_t part, uint32_t failed)
{
    for (uint32_t i = 0; i < t->n_compares; i++) {
        if (owner(map, t->compares[i].key) == part && failed-- == 0)
            return i;
    }
    for (uint32_t i = 0; i < t->n_writes; i++) {
        if (owner(map, t->writes[i].key) == part && failed-- == 0)
            return t->n_compares + i;
    }
    return UINT32_MAX;
}

static int merge_status(const struct msg_txn *t, const part_map map,
                        const struct msg_txn_reply *const replies[PARTS_MAX + 1], unsigned n_parts,
                        struct msg_txn_reply *ret)
{
    uint32_t first = UINT32_MAX;
    bool too_big = false, failed = false;

    for (unsigned i = 0; i < n_parts; i++) {
        const struct msg_txn_reply *r = replies[i];

        too_big |= r->status == ERR_TOO_BIG;
        if (r->status == ERR_FAILED) {
            failed = true;
            first = MIN(first, place_of(t, map, (uint8_t)i, r->failed));
        } else if (r->status != 0 && r->status != ERR_TOO_BIG) {
            return -ERR_INVALID;
        }
    }
    if (failed && !too_big && first == UINT32_MAX)
        return -ERR_INVALID;
    ret->status = too_big ? ERR_TOO_BIG : failed ? ERR_FAILED : 0;
    ret->failed = ret->status == ERR_FAILED ? first : 0;
    return 0;
}

static size_t result_size(const struct kv_result *r)
{
    size_t n = 32 + r->value.n;

    for (uint32_t i = 0; i < r->n_pairs; i++)
        n += 16 + r->pairs[i].key.n + r->pairs[i].value.n;
    return n;
}

static int merge_reads(const struct msg_txn *t, const part_map map,
                       const struct msg_txn_reply *const replies[PARTS_MAX + 1], unsigned n_parts,
                       struct arena *a, struct msg_txn_reply *ret)
{
    uint32_t taken[PARTS_MAX + 1] = {0};
    size_t size = REPLY_ROOM;

    ret->reads = arena_array(a, t->n_reads, sizeof(*ret->reads));
    for (uint32_t i = 0; i < t->n_reads; i++) {
        uint8_t part = owner(map, t->reads[i].key);

        if (part >= n_parts || taken[part] >= replies[part]->n_reads)
            return -ERR_INVALID;
        ret->reads[i] = replies[part]->reads[taken[part]++];
        size += result_size(&ret->reads[i]);
    }
    ret->n_reads = t->n_reads;
    if (size > RESULT_BYTES_MAX) {
        ret->status = ERR_TOO_BIG;
        ret->n_reads = ret->failed = 0;
    }
    return 0;
}

static int merge_deleted(const struct msg_txn *t, const part_map map,
                         const struct msg_txn_reply *const replies[PARTS_MAX + 1], unsigned n_parts,
                         struct arena *a, struct msg_txn_reply *ret)
{
    uint32_t taken[PARTS_MAX + 1] = {0};

    ret->deleted = arena_array(a, t->n_writes, sizeof(*ret->deleted));
    for (uint32_t i = 0; i < t->n_writes; i++) {
        uint8_t part = owner(map, t->writes[i].key);

        if (t->writes[i].op != KV_DELETE_RANGE)
            continue;
        if (part >= n_parts || taken[part] >= replies[part]->n_deleted)
            return -ERR_INVALID;
        ret->deleted[ret->n_deleted++] = replies[part]->deleted[taken[part]++];
    }
    return 0;
}

/* Every shard written has its version from its part. */
static int merge_versions(const struct msg_txn *t, const part_map map,
                          const struct msg_txn_reply *const replies[PARTS_MAX + 1],
                          unsigned n_parts, struct arena *a, struct msg_txn_reply *ret)
{
    uint16_t shards[VERSIONS_MAX + 1];
    unsigned n = txn_shards_written(t, shards);

    ret->versions = arena_array(a, n, sizeof(*ret->versions));
    for (unsigned i = 0; i < n; i++) {
        const struct msg_txn_reply *r = map[shards[i]] < n_parts ? replies[map[shards[i]]] : NULL;
        uint32_t at = 0;

        while (r && at < r->n_versions && r->versions[at].shard != shards[i])
            at++;
        if (!r || at == r->n_versions)
            return -ERR_INVALID;
        ret->versions[ret->n_versions++] = r->versions[at];
    }
    return 0;
}

int part_merge(const struct msg_txn *t, const part_map map,
               const struct msg_txn_reply *const replies[PARTS_MAX + 1], unsigned n_parts,
               uint64_t time, struct arena *a, struct msg_txn_reply *ret)
{
    *ret = (struct msg_txn_reply){.time = time};
    int err = merge_status(t, map, replies, n_parts, ret);

    if (!err && ret->status != ERR_TOO_BIG)
        err = merge_reads(t, map, replies, n_parts, a, ret);
    if (!err && ret->status == 0)
        err = merge_deleted(t, map, replies, n_parts, a, ret);
    if (!err && ret->status == 0)
        err = merge_versions(t, map, replies, n_parts, a, ret);
    return err;
}
