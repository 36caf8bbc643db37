/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/model.h"
#include <string.h>
#include "tests/sim/hash.h"

static bool range_is_empty(const struct model_state *s, unsigned from)
{
    for (unsigned i = from; i < RANGE_END(from); i++)
        if (s->cells[i].version != 0)
            return false;
    return true;
}

static bool holds(const struct model_state *s, const struct model_part *p)
{
    const struct model_cell *c = &s->cells[p->cell];
    switch (p->op) {
    case KV_EMPTY_RANGE:
        return range_is_empty(s, p->cell);
    case KV_ABSENT:
        return c->version == 0;
    case KV_EXISTS:
        return c->version != 0;
    case KV_VERSION:
        return c->version == p->arg;
    case KV_BYTES:
        return c->version != 0 && p->arg + p->n <= c->n &&
               memcmp(c->bytes + p->arg, p->bytes, p->n) == 0;
    }
    return false;
}

static void read_cell(const struct model_cell *c, struct model_read *ret)
{
    *ret = (struct model_read){0};
    if (c->version == 0)
        return;
    ret->version = c->version;
    ret->size = c->n;
    ret->n = (uint8_t)c->n;
    memcpy(ret->bytes, c->bytes, c->n);
}

void model_scan_pair(struct model_read *r, unsigned cell, uint64_t version, struct bytes value)
{
    uint64_t h = r->n ? get_le64(r->bytes) : 0;
    h = hash_bytes(hash_u64(hash_u64(h, cell), version), value);
    put_le64(r->bytes, h);
    r->n = 8;
    r->version++;
}

static void scan(const struct model_state *s, const struct model_part *p, struct model_read *ret)
{
    *ret = (struct model_read){0};
    for (unsigned i = p->cell; i < RANGE_END(p->cell); i++) {
        const struct model_cell *c = &s->cells[i];
        if (c->version == 0)
            continue;
        if (ret->version == p->arg) {
            ret->size = 1;
            return;
        }
        model_scan_pair(ret, i, s->many ? 0 : c->version, bytes_of(c->bytes, c->n));
    }
}

static bool same_read(const struct model_read *a, const struct model_read *b)
{
    return a->version == b->version && a->size == b->size && a->n == b->n &&
           memcmp(a->bytes, b->bytes, a->n) == 0;
}

/* False: the transaction fails here. The version is set for all that was written afterwards. */
static bool write_cell(struct model_cell *c, const struct model_part *p)
{
    uint64_t end = p->arg + p->n;
    switch (p->op) {
    case KV_PUT:
        *c = (struct model_cell){.version = 1, .n = p->n};
        memcpy(c->bytes, p->bytes, p->n);
        return true;
    case KV_DELETE:
        *c = (struct model_cell){0};
        return true;
    case KV_WRITE:
        c->n = MAX(c->n, end);
        c->version = 1;
        memcpy(c->bytes + p->arg, p->bytes, p->n);
        return true;
    case KV_TRUNCATE:
        if (c->version == 0)
            return true;
        if (p->arg < c->n)
            memset(c->bytes + p->arg, 0, c->n - p->arg);
        c->n = p->arg;
        return true;
    case KV_ADD64:
    case KV_MAX64:
        if (c->version == 0 || c->n < end)
            return false;
        uint64_t was = get_le64(c->bytes + p->arg), arg = get_le64(p->bytes);
        put_le64(c->bytes + p->arg, p->op == KV_ADD64 ? was + arg : MAX(was, arg));
        return true;
    }
    return false;
}

static uint64_t delete_range(struct model_state *s, const struct model_part *p)
{
    uint64_t n = 0;
    for (unsigned i = p->cell; i < RANGE_END(p->cell) && n < p->arg; i++) {
        n += s->cells[i].version != 0;
        s->cells[i] = (struct model_cell){0};
    }
    return n;
}

/* Index of the part that does not hold, or -1. */
static int first_failure(struct model_state *s, const struct model_txn *t, uint64_t *ret_deleted)
{
    for (unsigned i = 0; i < t->n_compares; i++)
        if (!holds(s, &t->compares[i]))
            return (int)i;
    for (unsigned i = 0; i < t->n_writes; i++)
        if (t->writes[i].op == KV_DELETE_RANGE)
            *ret_deleted += delete_range(s, &t->writes[i]);
        else if (!write_cell(&s->cells[t->writes[i].cell], &t->writes[i]))
            return (int)(t->n_compares + i);
    return -1;
}

static void step_counters(struct model_state *s, const struct model_txn *t,
                          uint64_t ret_versions[MODEL_SHARDS])
{
    for (unsigned i = 0; i < t->n_writes; i++) {
        unsigned shard = CELL_SHARD(t->writes[i].cell);
        if (ret_versions[shard] == 0)
            ret_versions[shard] = ++s->counters[shard];
    }
}

/* Of many: what was answered, if it can be; or nobody knows. */
static void take_versions(const struct model_state *was, const struct model_txn *t,
                          const struct model_reply *want, uint64_t ret_versions[MODEL_SHARDS])
{
    for (unsigned i = 0; i < t->n_writes; i++)
        ret_versions[CELL_SHARD(t->writes[i].cell)] = MODEL_UNSEEN;
    for (unsigned i = 0; want && i < t->n_writes; i++) {
        unsigned shard = CELL_SHARD(t->writes[i].cell);
        uint64_t before = was->cells[t->writes[i].cell].version;
        if (want->versions[shard] > (before == MODEL_UNSEEN ? 0 : before) &&
            ret_versions[shard] != 0)
            ret_versions[shard] = want->versions[shard];
        else
            ret_versions[shard] = 0; /* does not agree */
    }
}

static void set_versions(struct model_state *s, const struct model_txn *t,
                         const uint64_t versions[MODEL_SHARDS])
{
    for (unsigned i = 0; i < t->n_writes; i++) {
        struct model_cell *c = &s->cells[t->writes[i].cell];
        /* A truncation of nothing writes nothing. */
        if (c->version != 0)
            c->version = versions[CELL_SHARD(t->writes[i].cell)];
    }
}

/* What the answer, or the success that is tried, says of versions that nobody was told. */
static void learn_versions(struct model_state *s, const struct model_txn *t,
                           const struct model_reply *want)
{
    for (unsigned i = 0; i < t->n_compares; i++) {
        struct model_cell *c = &s->cells[t->compares[i].cell];
        bool held = !want || want->status == 0 || want->failed > i;
        if (t->compares[i].op == KV_VERSION && c->version == MODEL_UNSEEN && held &&
            t->compares[i].arg != 0)
            c->version = t->compares[i].arg;
    }
    for (unsigned i = 0; want && i < t->n_reads; i++) {
        struct model_cell *c = &s->cells[t->reads[i].cell];
        if (t->reads[i].op == KV_GET && c->version == MODEL_UNSEEN && want->reads[i].version != 0)
            c->version = want->reads[i].version;
    }
}

/* In how many shards its parts lie, and whether this is one of them. */
static unsigned count_shards(const struct model_txn *t, unsigned shard, bool *ret_in,
                             bool *ret_writes)
{
    unsigned set = 0;
    for (unsigned i = 0; i < t->n_compares; i++)
        set |= 1u << CELL_SHARD(t->compares[i].cell);
    for (unsigned i = 0; i < t->n_reads; i++)
        set |= 1u << CELL_SHARD(t->reads[i].cell);
    *ret_writes = false;
    for (unsigned i = 0; i < t->n_writes; i++) {
        set |= 1u << CELL_SHARD(t->writes[i].cell);
        *ret_writes |= CELL_SHARD(t->writes[i].cell) == shard;
    }
    *ret_in = set >> shard & 1u;
    return (unsigned)__builtin_popcount(set);
}

bool model_is_timed(const struct model_txn *t, const struct model_reply *reply, unsigned shard)
{
    bool in, writes;
    unsigned n = count_shards(t, shard, &in, &writes);
    if (reply->time == 0)
        return false;
    return n == 1 ? in : writes && reply->status == 0;
}

/* Times rise along each shard. */
static bool time_agrees(const struct model_state *s, const struct model_txn *t,
                        const struct model_reply *want)
{
    if (!want || want->time == 0)
        return true;
    if (!s->many)
        return want->time > s->times[0];
    for (unsigned shard = 0; shard < MODEL_SHARDS; shard++)
        if (model_is_timed(t, want, shard) && want->time <= s->times[shard])
            return false;
    return true;
}

static void set_time(struct model_state *s, const struct model_txn *t,
                     const struct model_reply *want)
{
    if (!want || want->time == 0)
        return;
    if (!s->many)
        s->times[0] = want->time;
    for (unsigned shard = 0; s->many && shard < MODEL_SHARDS; shard++)
        if (model_is_timed(t, want, shard))
            s->times[shard] = want->time;
}

static bool answers_agree(const struct model_reply *got, const struct model_reply *want,
                          const struct model_txn *t)
{
    if (got->status != want->status || got->failed != want->failed)
        return false;
    for (unsigned i = 0; i < t->n_reads; i++)
        if (!same_read(&got->reads[i], &want->reads[i]))
            return false;
    return got->deleted == want->deleted &&
           memcmp(got->versions, want->versions, sizeof(got->versions)) == 0;
}

bool model_step(struct model_state *state, const struct model_txn *t,
                const struct model_reply *want)
{
    struct model_state was = *state, next;
    struct model_reply got = {0};
    if (!time_agrees(state, t, want))
        return false;
    if (was.many)
        learn_versions(&was, t, want);
    next = was;
    for (unsigned i = 0; i < t->n_reads; i++)
        if (t->reads[i].op == KV_SCAN)
            scan(&was, &t->reads[i], &got.reads[i]);
        else
            read_cell(&was.cells[t->reads[i].cell], &got.reads[i]);
    int failed = first_failure(&next, t, &got.deleted);
    if (failed >= 0) {
        got.status = ERR_FAILED;
        got.failed = (unsigned)failed;
        got.deleted = 0;
        next = was;
    } else {
        if (was.many)
            take_versions(&was, t, want, got.versions);
        else
            step_counters(&next, t, got.versions);
        set_versions(&next, t, got.versions);
    }
    if (want && !answers_agree(&got, want, t))
        return false;
    set_time(&next, t, want);
    *state = next;
    return true;
}

uint64_t model_hash(const struct model_state *state)
{
    uint64_t h = hash_u64(state->times[0], state->times[1]);
    for (unsigned i = 0; i < MODEL_CELLS; i++)
        h = hash_bytes(hash_u64(h, state->cells[i].version),
                       bytes_of(state->cells[i].bytes, state->cells[i].n));
    for (unsigned i = 0; i < MODEL_SHARDS; i++)
        h = hash_u64(h, state->counters[i]);
    return h;
}

/* --- printing --------------------------------------------------------------------------------- */

static void print_bytes(GString *s, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8)
        g_string_append_printf(s, "%s%" G_GUINT64_FORMAT, i ? "," : "", get_le64(p + i));
    if (n % 8)
        g_string_append_printf(s, "+%zu", n % 8);
}

static void print_part(GString *s, const char *name, const struct model_part *p)
{
    g_string_append_printf(s, " %s%u", name, p->cell);
    if (p->arg)
        g_string_append_printf(s, "@%" G_GUINT64_FORMAT, p->arg);
    if (p->n) {
        g_string_append_c(s, '=');
        print_bytes(s, p->bytes, p->n);
    }
}

void model_print(GString *s, const struct model_txn *t, const struct model_reply *reply)
{
    static const char *const compares[] = {"?", "absent", "exists", "version", "bytes", "empty"};
    static const char *const writes[] = {"?",     "put",   "delete", "delete-range",
                                         "write", "trunc", "add64",  "max64"};
    for (unsigned i = 0; i < t->n_compares; i++)
        print_part(s, compares[t->compares[i].op], &t->compares[i]);
    for (unsigned i = 0; i < t->n_reads; i++)
        print_part(s, t->reads[i].op == KV_SCAN ? "scan" : "get", &t->reads[i]);
    for (unsigned i = 0; i < t->n_writes; i++)
        print_part(s, writes[t->writes[i].op], &t->writes[i]);
    if (!reply) {
        g_string_append(s, " -> unknown");
        return;
    }
    if (reply->status != 0)
        g_string_append_printf(s, " -> FAILED %u", reply->failed);
    else
        g_string_append_printf(s, " -> OK v%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT,
                               reply->versions[0], reply->versions[1]);
    for (unsigned i = 0; i < t->n_reads; i++) {
        g_string_append_printf(s, " [v%" G_GUINT64_FORMAT " ", reply->reads[i].version);
        print_bytes(s, reply->reads[i].bytes, reply->reads[i].n);
        g_string_append_c(s, ']');
    }
}
