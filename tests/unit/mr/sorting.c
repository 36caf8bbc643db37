/* SPDX-License-Identifier: Apache-2.0 */
/* sort, combine, spill, merge and collect against plain references. */
#include "tests/lib/t.h"
#include "mr/collect.h"
#include "mr/merge.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/codec.h"

/* --- random records --------------------------------------------------------------------------- */

struct item {
    uint8_t key[40];
    size_t n;
    uint32_t partition, order;
    bool has_value;
};

/* Few letters and NULs, shared prefixes of all lengths: what sorts go wrong on. */
static struct item random_item(struct rng *r, uint32_t partitions, uint32_t order)
{
    struct item x = {.n = rng_below(r, sizeof x.key), .order = order};
    for (size_t i = 0; i < x.n; i++)
        x.key[i] = i < 20 && rng_below(r, 10) ? 'a' : (uint8_t)rng_below(r, 3);
    x.partition = (uint32_t)rng_below(r, partitions);
    x.has_value = rng_below(r, 5) != 0;
    return x;
}

static struct record record_of(const struct item *x, uint8_t *value)
{
    memcpy(value, &x->order, 4);
    return (struct record){{x->key, x->n}, {value, x->has_value ? 4 : 0}, x->has_value};
}

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    int c = bytes_cmp(bytes_of(x->key, x->n), bytes_of(y->key, y->n));
    return c ? c : (x->order > y->order) - (x->order < y->order);
}

static void expect(const struct item *want, struct record got)
{
    uint8_t v[4];
    struct record w = record_of(want, v);
    assert_true(bytes_eq(got.key, w.key));
    assert_int_equal(got.has_value, w.has_value);
    assert_true(bytes_eq(got.value, w.value));
}

static int scratch_file(void)
{
    int fd = open(t_tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* --- sort ------------------------------------------------------------------------------------- */

TEST(sorting_is_by_partition_then_key_bytes_and_stable)
{
    struct rng r = t_rng();
    for (int round = 0; round < 30; round++) {
        struct sort_buffer s;
        size_t n = rng_below(&r, 3000);
        struct item *x = g_new0(struct item, MAX(n, 1));
        sort_init(&s, MIB(4));
        for (size_t i = 0; i < n; i++) {
            uint8_t v[4];
            x[i] = random_item(&r, 5, (uint32_t)i);
            struct record rec = record_of(&x[i], v);
            assert_true(sort_add(&s, x[i].partition, &rec));
        }
        sort_run(&s);
        qsort(x, n, sizeof *x, by_key);
        for (size_t i = 0; i < n; i++)
            expect(&x[i], sort_record(&s, s.items[i].ref));
        sort_finish(&s);
        g_free(x);
    }
}

TEST(very_long_equal_prefixes_do_not_exhaust_the_stack)
{
    struct sort_buffer s;
    size_t n = MIB(1);
    uint8_t *key = g_malloc(n);
    memset(key, 'x', n);
    sort_init(&s, MIB(64));
    for (int i = 0; i < 9; i++) {
        key[n - 1] = (uint8_t)('z' - i);
        struct record rec = {{key, n}, BYTES_NONE, false};
        assert_true(sort_add(&s, 0, &rec));
    }
    sort_run(&s);
    for (int i = 0; i < 9; i++)
        assert_int_equal(sort_record(&s, s.items[i].ref).key.p[n - 1], 'z' - 8 + i);
    sort_finish(&s);
    g_free(key);
}

TEST(a_full_buffer_refuses_but_takes_any_first_record)
{
    struct sort_buffer s;
    uint8_t big[4000] = {0};
    struct record rec = {{big, sizeof big}, BYTES_NONE, false};
    sort_init(&s, 1000);
    assert_true(sort_add(&s, 0, &rec));
    assert_false(sort_add(&s, 0, &rec));
    sort_clear(&s);
    assert_true(sort_add(&s, 0, &rec));
    sort_finish(&s);
}

/* --- spill and merge -------------------------------------------------------------------------- */

TEST(what_is_spilled_is_read_back)
{
    struct rng r = t_rng();
    size_t n = 50000;
    struct item *x = g_new0(struct item, n);
    struct spill_writer *w;
    struct spill_index idx;
    int fd = scratch_file();
    for (size_t i = 0; i < n; i++)
        x[i] = random_item(&r, 7, (uint32_t)i);
    qsort(x, n, sizeof *x, by_key);
    w = spill_writer_create(fd, 0, 9, 0);
    for (size_t i = 0; i < n; i++) {
        uint8_t v[4];
        struct record rec = record_of(&x[i], v);
        T_OK(spill_put(w, x[i].partition, &rec));
    }
    uint64_t end;
    T_OK(spill_complete(w, &end));
    spill_writer_destroy(w);
    T_OK(spill_index_read(fd, &idx));
    assert_int_equal(idx.partitions, 9);
    size_t at = 0;
    for (uint32_t p = 0; p < 9; p++) {
        struct spill_reader rd;
        struct record rec;
        uint64_t records = 0;
        spill_reader_init(&rd, fd, idx.sections[p].off, idx.sections[p].bytes);
        while (T_COUNT(spill_next(&rd, &rec)) > 0) {
            assert_int_equal(x[at].partition, p);
            expect(&x[at++], rec);
            records++;
        }
        assert_int_equal(records, idx.sections[p].records);
        spill_reader_finish(&rd);
    }
    assert_int_equal(at, n);
    spill_index_finish(&idx);
    close(fd);
    g_free(x);
}

TEST(every_flipped_byte_of_a_spill_is_noticed)
{
    struct rng r = t_rng();
    int fd = scratch_file();
    struct spill_writer *w = spill_writer_create(fd, 0, 2, 0);
    uint64_t end;
    for (int i = 0; i < 200; i++) {
        char key[20];
        g_snprintf(key, sizeof key, "key %06d", i);
        struct record rec = {bytes_str(key), bytes_str("v"), true};
        T_OK(spill_put(w, i < 100 ? 0 : 1, &rec));
    }
    T_OK(spill_complete(w, &end));
    spill_writer_destroy(w);
    for (int round = 0; round < 300; round++) {
        struct spill_index idx;
        off_t at = (off_t)rng_below(&r, end);
        uint8_t old, bad;
        assert_int_equal(pread(fd, &old, 1, at), 1);
        bad = (uint8_t)(old ^ (1u << rng_below(&r, 8)));
        assert_int_equal(pwrite(fd, &bad, 1, at), 1);
        int rc = spill_index_read(fd, &idx);
        bool have_index = rc == 0;
        for (uint32_t p = 0; rc == 0 && p < 2; p++) {
            struct spill_reader rd;
            struct record rec;
            uint64_t n = 0;
            spill_reader_init(&rd, fd, idx.sections[p].off, idx.sections[p].bytes);
            while ((rc = spill_next(&rd, &rec)) > 0)
                n++;
            if (rc == 0 && n != idx.sections[p].records)
                rc = -ERR_CORRUPT;
            spill_reader_finish(&rd);
        }
        assert_int_equal(rc, -ERR_CORRUPT);
        if (have_index)
            spill_index_finish(&idx);
        assert_int_equal(pwrite(fd, &old, 1, at), 1);
    }
    close(fd);
}

TEST(a_merge_of_runs_is_the_sort_of_all)
{
    struct rng r = t_rng();
    for (int round = 0; round < 20; round++) {
        size_t runs = rng_below(&r, round == 0 ? 1 : 20), n = 0;
        struct item all[4000];
        struct merge_source src[20];
        int fd = scratch_file();
        uint64_t at = 0;
        for (size_t i = 0; i < runs; i++) {
            size_t first = n;
            const struct spill_section *sec;
            for (size_t k = rng_below(&r, 200); k > 0; k--, n++)
                all[n] = random_item(&r, 1, (uint32_t)n);
            qsort(all + first, n - first, sizeof *all, by_key);
            struct spill_writer *w = spill_writer_create(fd, at, 1, 0);
            for (size_t k = first; k < n; k++) {
                uint8_t v[4];
                struct record rec = record_of(&all[k], v);
                T_OK(spill_put(w, 0, &rec));
            }
            T_OK(spill_sections(w, &sec));
            src[i] = (struct merge_source){fd, sec->off, sec->bytes};
            at = sec->off + sec->bytes;
            spill_writer_destroy(w);
        }
        qsort(all, n, sizeof *all, by_key);
        struct merge *m CLEANUP(merge_destroy) = NULL;
        struct record rec;
        T_OK(merge_create(src, runs, &m));
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(merge_next(m, &rec), 1);
            expect(&all[i], rec);
        }
        assert_int_equal(merge_next(m, &rec), 0);
        assert_int_equal(merge_next(m, &rec), 0);
        close(fd);
    }
}

/* --- collecting ------------------------------------------------------------------------------- */

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Collects random words with little memory; the spill must say what a table in memory says. */
static void check_collector(enum combine_op op, uint32_t partitions, size_t budget, size_t words)
{
    struct rng r = t_rng();
    struct errmsg msg;
    int fd = scratch_file();
    GHashTable *t = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    struct collector *c = collector_create(partitions, op, budget, fd);
    assert_int_equal(chdir(t_tmpdir()), 0);
    for (size_t i = 0; i < words; i++) {
        char *k = g_strdup_printf("w%llu", (unsigned long long)rng_below(&r, words / 4 + 1));
        char v[20];
        int64_t value = op == COMBINE_SUM ? (int64_t)rng_below(&r, 2000) - 1000 : 1;
        g_snprintf(v, sizeof v, "%lld", (long long)value);
        struct record rec = {bytes_str(k), bytes_str(v), true};
        T_OK_MSG(collect_record(c, &rec, &msg), &msg);
        gssize had = (gssize)(intptr_t)g_hash_table_lookup(t, k);
        g_hash_table_insert(t, k, (gpointer)(intptr_t)(had + value));
    }
    T_OK_MSG(collector_complete(c, &msg), &msg);
    struct collect_stats st;
    collector_get_stats(c, &st);
    collector_destroy(c);
    assert_int_equal(st.records, words);
    struct spill_index x;
    T_OK(spill_index_read(fd, &x));
    guint keys = 0;
    for (uint32_t p = 0; p < partitions; p++) {
        struct spill_reader rd;
        struct record rec;
        char *last = NULL;
        int64_t sum = 0, v;
        spill_reader_init(&rd, fd, x.sections[p].off, x.sections[p].bytes);
        for (int rc = 1; rc > 0;) {
            rc = (int)T_COUNT(spill_next(&rd, &rec));
            char *k = rc ? g_strndup((const char *)rec.key.p, rec.key.n) : NULL;
            if (last && (!k || strcmp(k, last) != 0)) {
                assert_int_equal(sum, (intptr_t)g_hash_table_lookup(t, last));
                keys++;
                sum = 0;
            }
            if (k) {
                assert_true(!last || by_string(&last, &k) <= 0);
                assert_int_equal(mr_partition(mr_hash(rec.key.p, rec.key.n), partitions), p);
                if (op == COMBINE_NONE)
                    assert_true(parse_int64(rec.value, &v));
                else
                    v = (int64_t)get_le64(rec.value.p);
                sum += v;
            }
            g_free(last);
            last = k;
        }
        spill_reader_finish(&rd);
    }
    assert_int_equal(keys, g_hash_table_size(t));
    if (op != COMBINE_NONE)
        assert_int_equal(st.spilled, keys);
    spill_index_finish(&x);
    g_hash_table_unref(t);
    close(fd);
}

TEST(counts_are_right_in_memory)
{
    check_collector(COMBINE_COUNT, 4, MIB(8), 20000);
}

TEST(counts_are_right_over_many_spilled_runs)
{
    check_collector(COMBINE_COUNT, 4, 20000, 20000);
}

TEST(sums_are_right_over_more_runs_than_can_be_merged_at_once)
{
    check_collector(COMBINE_SUM, 2, 2000, 30000);
}

TEST(sorted_records_are_complete_over_many_runs)
{
    check_collector(COMBINE_NONE, 3, 30000, 20000);
}

TEST(a_value_that_is_no_number_cannot_be_summed)
{
    struct errmsg msg;
    int fd = scratch_file();
    struct collector *c = collector_create(1, COMBINE_SUM, MIB(1), fd);
    struct record rec = {bytes_str("k"), bytes_str("1.5"), true};
    T_ERR(ERR_CONFIG, collect_record(c, &rec, &msg));
    assert_string_equal(msg.text,
                        "@sum: the value \"1.5\" of key \"k\" is not a 64-bit whole number");
    collector_destroy(c);
    close(fd);
}

TEST(whole_numbers_are_read_exactly)
{
    int64_t v;
    assert_true(parse_int64(bytes_str("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_true(parse_int64(bytes_str("+9223372036854775807"), &v));
    assert_true(v == INT64_MAX);
    const char *bad[] = {"", "-", "9223372036854775808", "1 ", " 1", "1e3", "0x1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(parse_int64(bytes_str(bad[i]), &v));
}

TEST(equal_outputs_have_equal_digests_and_others_have_not)
{
    uint64_t digest[3];
    for (int i = 0; i < 3; i++) {
        struct spill_index x;
        struct errmsg msg;
        int fd = scratch_file();
        /* Twice the same in another number of runs, then one value differs. */
        struct collector *c = collector_create(3, COMBINE_COUNT, i == 1 ? 3000 : MIB(1), fd);
        for (int k = 0; k < 500; k++) {
            char key[10];
            g_snprintf(key, sizeof key, "%d", k % 100 + (i == 2 && k == 499));
            struct bytes b = bytes_str(key);
            T_OK_MSG(collect_ones(c, &b, 1, &msg), &msg);
        }
        T_OK(collector_complete(c, &msg));
        collector_destroy(c);
        T_OK(spill_index_read(fd, &x));
        digest[i] = spill_digest(x.sections, 3);
        spill_index_finish(&x);
        close(fd);
    }
    assert_true(digest[0] == digest[1]);
    assert_true(digest[0] != digest[2]);
}

T_MAIN(T(sorting_is_by_partition_then_key_bytes_and_stable),
       T(very_long_equal_prefixes_do_not_exhaust_the_stack),
       T(a_full_buffer_refuses_but_takes_any_first_record), T(what_is_spilled_is_read_back),
       T(every_flipped_byte_of_a_spill_is_noticed), T(a_merge_of_runs_is_the_sort_of_all),
       T(counts_are_right_in_memory), T(counts_are_right_over_many_spilled_runs),
       T(sums_are_right_over_more_runs_than_can_be_merged_at_once),
       T(sorted_records_are_complete_over_many_runs), T(a_value_that_is_no_number_cannot_be_summed),
       T(whole_numbers_are_read_exactly), T(equal_outputs_have_equal_digests_and_others_have_not))
