/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/collect.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "mr/merge.h"

struct collector {
    uint32_t partitions;
    enum combine_op op;
    int out_fd;
    struct combiner table;     /* op != COMBINE_NONE */
    struct sort_buffer buffer; /* op == COMBINE_NONE */
    /* Runs lie one after another in one unnamed file. */
    int run_fd;
    uint64_t run_end;
    GPtrArray *runs; /* of struct spill_section[partitions] */
    struct collect_stats stats;
};

struct collector *collector_create(uint32_t partitions, enum combine_op op, size_t budget,
                                   int out_fd)
{
    struct collector *c = g_new0(struct collector, 1);
    c->partitions = partitions;
    c->op = op;
    c->out_fd = out_fd;
    c->run_fd = -1;
    c->runs = g_ptr_array_new_with_free_func(g_free);
    if (op == COMBINE_NONE)
        sort_init(&c->buffer, budget);
    else
        combine_init(&c->table, partitions, budget);
    return c;
}

void collector_destroy(struct collector *c)
{
    if (!c)
        return;
    if (c->op == COMBINE_NONE)
        sort_finish(&c->buffer);
    else
        combine_finish(&c->table);
    if (c->run_fd >= 0)
        close(c->run_fd);
    g_ptr_array_unref(c->runs);
    g_free(c);
}

void collector_get_stats(const struct collector *c, struct collect_stats *ret)
{
    *ret = c->stats;
}

static uint32_t flags_of(const struct collector *c)
{
    return c->op == COMBINE_NONE ? 0 : SPILL_COMBINED;
}

/* --- runs ------------------------------------------------------------------------------------- */

static int unnamed_file(struct errmsg *msg)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        char name[] = "run-XXXXXX";
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0)
            unlink(name);
    }
    if (fd < 0)
        return errmsg_set(msg, err_from_errno(errno), "scratch file: %s", strerror(errno));
    return fd;
}

static struct sort_buffer *buffer_of(struct collector *c)
{
    return c->op == COMBINE_NONE ? &c->buffer : &c->table.buffer;
}

static int write_items(struct collector *c, struct spill_writer *w)
{
    struct sort_buffer *s = buffer_of(c);
    sort_run(s);
    for (size_t i = 0; i < s->n_items; i++) {
        struct record r = sort_record(s, s->items[i].ref);
        int rc = spill_put(w, s->items[i].partition, &r);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void clear(struct collector *c)
{
    if (c->op == COMBINE_NONE)
        sort_clear(&c->buffer);
    else
        combine_clear(&c->table);
}

/* Merges all runs, partition by partition, into w. */
static int merge_runs(struct collector *c, struct spill_writer *w)
{
    int rc = 0;
    for (uint32_t p = 0; p < c->partitions && rc == 0; p++) {
        struct merge_source src[MERGE_WAYS];
        struct merge *m;
        struct record r;
        for (guint i = 0; i < c->runs->len; i++) {
            const struct spill_section *s = c->runs->pdata[i];
            src[i] = (struct merge_source){c->run_fd, s[p].off, s[p].bytes};
        }
        rc = merge_create(src, c->runs->len, &m);
        if (rc < 0)
            return rc;
        if (c->op == COMBINE_NONE) {
            while ((rc = merge_next(m, &r)) > 0 && (rc = spill_put(w, p, &r)) == 0)
                ;
        } else {
            int64_t sum;
            uint8_t v[8];
            while ((rc = merge_next_sum(m, &r.key, &sum)) > 0) {
                uint64_t le = htole64((uint64_t)sum);
                memcpy(v, &le, 8);
                r.value = bytes_of(v, 8);
                r.has_value = true;
                if ((rc = spill_put(w, p, &r)) < 0)
                    break;
            }
        }
        merge_destroy(m);
    }
    return rc;
}

static int keep_sections(struct collector *c, struct spill_writer *w)
{
    const struct spill_section *s;
    int rc = spill_sections(w, &s);
    if (rc < 0)
        return rc;
    g_ptr_array_add(c->runs, g_memdup2(s, c->partitions * sizeof *s));
    c->run_end = s[c->partitions - 1].off + s[c->partitions - 1].bytes;
    return 0;
}

/* As many runs as can be merged at once: make them one, in a new file. */
static int compact_runs(struct collector *c, struct errmsg *msg)
{
    int fd = unnamed_file(msg);
    if (fd < 0)
        return fd;
    struct spill_writer *w = spill_writer_create(fd, 0, c->partitions, flags_of(c));
    int rc = merge_runs(c, w);
    if (rc == 0) {
        close(c->run_fd);
        c->run_fd = fd;
        g_ptr_array_set_size(c->runs, 0);
        rc = keep_sections(c, w);
    } else {
        close(fd);
    }
    spill_writer_destroy(w);
    return rc;
}

static int write_run(struct collector *c, struct errmsg *msg)
{
    if (c->run_fd < 0) {
        int fd = unnamed_file(msg);
        if (fd < 0)
            return fd;
        c->run_fd = fd;
    }
    struct spill_writer *w = spill_writer_create(c->run_fd, c->run_end, c->partitions, flags_of(c));
    int rc = write_items(c, w);
    if (rc == 0)
        rc = keep_sections(c, w);
    spill_writer_destroy(w);
    if (rc < 0)
        return errmsg_set(msg, rc, "writing a sorted run: %s", err_text(rc));
    c->stats.runs++;
    clear(c);
    return c->runs->len == MERGE_WAYS ? compact_runs(c, msg) : 0;
}

/* --- collecting ------------------------------------------------------------------------------- */

bool parse_int64(struct bytes b, int64_t *ret)
{
    bool minus = b.n && (*b.p == '-' || *b.p == '+') ? *b.p == '-' : false;
    size_t i = b.n && (*b.p == '-' || *b.p == '+') ? 1 : 0;
    int64_t v = 0;
    if (i == b.n)
        return false;
    for (; i < b.n; i++) {
        if (b.p[i] < '0' || b.p[i] > '9')
            return false;
        int64_t d = b.p[i] - '0';
        if (__builtin_mul_overflow(v, (int64_t)10, &v) || __builtin_sub_overflow(v, d, &v))
            return false; /* collected as a negative number: INT64_MIN fits */
    }
    if (!minus && v == INT64_MIN)
        return false;
    *ret = minus ? v : -v;
    return true;
}

int sum_error(struct bytes key, struct bytes value, struct errmsg *msg)
{
    char *k = g_strndup((const char *)key.p, MIN(key.n, 60));
    char *v = g_strndup((const char *)value.p, MIN(value.n, 60));
    char *ke = g_strescape(k, NULL), *ve = g_strescape(v, NULL);
    errmsg_set(msg, -ERR_CONFIG,
               "@sum: the value \"%s\" of key \"%s\" is not a 64-bit whole number", ve, ke);
    g_free(k);
    g_free(v);
    g_free(ke);
    g_free(ve);
    return -ERR_CONFIG;
}

static int combine_one(struct collector *c, struct bytes key, uint64_t hash, int64_t value,
                       struct errmsg *msg)
{
    int rc = combine_add(&c->table, key, hash, value);
    if (rc == -ERR_BUSY) {
        rc = write_run(c, msg);
        if (rc < 0)
            return rc;
        rc = combine_add(&c->table, key, hash, value);
    }
    if (rc < 0)
        errmsg_set(msg, rc, "a sum does not fit 64 bits");
    return rc;
}

int collect_record(struct collector *c, const struct record *r, struct errmsg *msg)
{
    int64_t v = 1;
    c->stats.records++;
    if (c->op == COMBINE_SUM && !(r->has_value && parse_int64(r->value, &v)))
        return sum_error(r->key, r->value, msg);
    if (c->op != COMBINE_NONE)
        return combine_one(c, r->key, mr_hash(r->key.p, r->key.n), v, msg);
    uint32_t p = c->partitions == 1 ? 0 : mr_partition(mr_hash(r->key.p, r->key.n), c->partitions);
    if (sort_add(&c->buffer, p, r))
        return 0;
    int rc = write_run(c, msg);
    if (rc == 0 && !sort_add(&c->buffer, p, r))
        rc = errmsg_set(msg, -ERR_TOO_BIG, "a record of %zu bytes is too large",
                        r->key.n + r->value.n);
    return rc;
}

int collect_ones(struct collector *c, const struct bytes *keys, size_t n, struct errmsg *msg)
{
    uint64_t hash[COLLECT_BATCH];
    int rc = 0;
    ASSERT(n <= COLLECT_BATCH);
    if (c->op == COMBINE_NONE) {
        for (size_t i = 0; i < n && rc == 0; i++) {
            struct record r = {keys[i], {(const uint8_t *)"1", 1}, true};
            rc = collect_record(c, &r, msg);
        }
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        hash[i] = mr_hash(keys[i].p, keys[i].n);
        combine_prefetch_slot(&c->table, hash[i]);
    }
    for (size_t i = 0; i < n; i++)
        combine_prefetch_record(&c->table, hash[i]);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = combine_one(c, keys[i], hash[i], 1, msg);
    c->stats.records += n;
    return rc;
}

int collector_complete(struct collector *c, struct errmsg *msg)
{
    uint64_t end;
    int rc = 0;
    if (c->runs->len && buffer_of(c)->n_items)
        rc = write_run(c, msg);
    if (rc < 0)
        return rc;
    struct spill_writer *w = spill_writer_create(c->out_fd, 0, c->partitions, flags_of(c));
    rc = c->runs->len ? merge_runs(c, w) : write_items(c, w);
    if (rc == 0)
        rc = spill_complete(w, &end);
    if (rc == 0) {
        const struct spill_section *s;
        rc = spill_sections(w, &s);
        for (uint32_t p = 0; rc == 0 && p < c->partitions; p++)
            c->stats.spilled += s[p].records;
    }
    spill_writer_destroy(w);
    return rc < 0 ? errmsg_set(msg, rc, "writing the map output: %s", err_text(rc)) : 0;
}
