/* SPDX-License-Identifier: Apache-2.0 */
/* What only the store on the real disk can show: crashes of the process, its directory's files. */
#include "tests/lib/t.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/base/codec.h"
#include "cluster/store/store.h"

static struct store *open_store(const char *dir)
{
    struct store *s = NULL;
    struct errmsg msg = {""};
    T_OK_MSG(store_rocks_open(dir, &s, &msg), &msg);
    return s;
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static int flush(struct store *s)
{
    int result = 1;
    s->ops->flush(s, on_done, &result);
    return result;
}

/* --- kill -9 ---------------------------------------------------------------------------------- */

#define BATCH_KEYS 5

/* Batch n puts n under BATCH_KEYS keys, one of them with a value for a blob file. */
static int write_batch(struct store *s, uint64_t n)
{
    static char big[40000];
    struct store_write w[BATCH_KEYS];
    char keys[BATCH_KEYS][8], text[24];
    snprintf(text, sizeof(text), "%020llu", (unsigned long long)n);
    memcpy(big, text, 20);
    for (unsigned i = 0; i < BATCH_KEYS; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key%u", i);
        w[i] = (struct store_write){STORE_PUT, bytes_str(keys[i]),
                                    i == 0 ? bytes_of(big, sizeof(big)) : bytes_of(text, 20)};
    }
    return s->ops->write(s, w, BATCH_KEYS);
}

static void nobody_sleeps(void *arg)
{
}

/* Its flushes run on a thread. */
static struct store_maker *threaded_maker(void)
{
    struct store_maker *m = store_rocks_maker_create();
    m->wake = nobody_sleeps;
    return m;
}

#define CHILD   "--write-for-ever" /* DIR FD */
#define PENDING 1

/* The child: writes for ever, with a flush under way most of the time, and tells up to which batch
 * each of them counts. It is a program of its own: RocksDB's threads do not survive a fork. */
static NORETURN void write_for_ever(const char *dir, int report)
{
    struct store *s = NULL;
    struct store_maker *m = threaded_maker();
    uint64_t begun = 0;
    int result = 0;
    if (m->open(m, dir, &s, NULL) < 0)
        _exit(1);
    for (uint64_t n = 1;; n++) {
        if (write_batch(s, n) < 0)
            _exit(2);
        m->poll(m);
        if (result == PENDING)
            continue;
        if (result < 0 || (begun > 0 && write(report, &begun, sizeof(begun)) != sizeof(begun)))
            _exit(3);
        begun = n;
        result = PENDING;
        s->ops->flush(s, on_done, &result);
    }
}

/* The one number that all keys hold. */
static uint64_t number_in(struct store *s)
{
    struct arena a = {0};
    uint64_t first = 0;
    for (unsigned i = 0; i < BATCH_KEYS; i++) {
        char key[8], text[24] = "";
        struct bytes v = BYTES_NONE;
        snprintf(key, sizeof(key), "key%u", i);
        T_OK(s->ops->get(s, NULL, bytes_str(key), &a, &v));
        assert_true(v.n >= 20);
        memcpy(text, v.p, 20);
        uint64_t n = g_ascii_strtoull(text, NULL, 10);
        if (i == 0)
            first = n;
        assert_int_equal(n, first);
    }
    arena_finish(&a);
    return first;
}

TEST(a_killed_process_leaves_whole_batches_and_all_that_were_flushed)
{
    for (unsigned round = 1; round <= 3; round++) {
        const char *dir = t_path(t_tmpdir(), "store");
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        char fd[12];
        snprintf(fd, sizeof(fd), "%d", fds[1]);
        if (child == 0) {
            execl("/proc/self/exe", "store-rocks", CHILD, dir, fd, NULL);
            _exit(4);
        }
        close(fds[1]);
        uint64_t flushed = 0, n;
        for (unsigned k = 0; k < 3 * round; k++) {
            assert_int_equal(read(fds[0], &n, sizeof(n)), sizeof(n));
            flushed = n;
        }
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(fds[0], &n, sizeof(n)) == sizeof(n))
            flushed = n;
        close(fds[0]);
        struct store *s = open_store(dir);
        assert_true(number_in(s) >= flushed);
        s->ops->close(s);
    }
}

/* --- a flush beside writes ---------------------------------------------------------------------
 */

static void count_wake(void *arg)
{
    g_atomic_int_inc((gint *)arg);
}

TEST(a_flush_completes_in_a_poll_after_its_wake_and_writes_pass_meanwhile)
{
    const char *dir = t_path(t_tmpdir(), "store");
    gint wakes = 0;
    struct store_maker *m = store_rocks_maker_create();
    struct store *s = NULL;
    m->wake = count_wake;
    m->wake_arg = &wakes;
    T_OK(m->open(m, dir, &s, NULL));
    for (int round = 1; round <= 3; round++) {
        int result = PENDING;
        T_OK(write_batch(s, (uint64_t)round));
        s->ops->flush(s, on_done, &result);
        assert_int_equal(result, PENDING); /* never before poll */
        T_OK(write_batch(s, 100 + (uint64_t)round));
        while (g_atomic_int_get(&wakes) < round)
            g_thread_yield();
        assert_int_equal(result, PENDING);
        m->poll(m);
        assert_int_equal(result, 0);
        m->poll(m); /* once only: it would find no done to call */
    }
    s->ops->close(s);
    s = open_store(dir);
    assert_true(number_in(s) >= 3);
    s->ops->close(s);
    store_maker_destroy(m);
}

TEST(closing_drops_the_completion_of_a_flush)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store_maker *m = threaded_maker();
    for (unsigned i = 0; i < 20; i++) {
        struct store *s = NULL;
        T_OK(m->open(m, dir, &s, NULL));
        int result = PENDING;
        T_OK(write_batch(s, 9));
        s->ops->flush(s, on_done, &result);
        s->ops->close(s);
        m->poll(m);
        assert_int_equal(result, PENDING);
    }
    store_maker_destroy(m);
}

/* --- jobs ------------------------------------------------------------------------------------- */

struct test_job {
    struct store_job job;
    GString *order;
    char name;
    gint *gate; /* waits until it is set */
    bool given_up;
};

static void job_work(struct store_job *j)
{
    struct test_job *t = container_of(j, struct test_job, job);
    while (t->gate && !g_atomic_int_get(t->gate))
        g_thread_yield();
    g_string_append_c(t->order, t->name);
}

static void job_done(struct store_job *j)
{
    struct test_job *t = container_of(j, struct test_job, job);
    g_string_append_printf(t->order, "(%c)", t->name);
    t->given_up = j->given_up;
}

static struct test_job job_of(GString *order, char name, gint *gate)
{
    return (struct test_job){{.work = job_work, .done = job_done}, order, name, gate, false};
}

TEST(jobs_run_in_order_beside_their_owner_and_end_in_its_poll)
{
    GString *order = g_string_new(NULL);
    gint gate = 0, wakes = 0;
    struct store_maker *m = store_rocks_maker_create();
    m->wake = count_wake;
    m->wake_arg = &wakes;
    struct test_job a = job_of(order, 'a', &gate), b = job_of(order, 'b', NULL);
    m->submit(m, &a.job);
    m->submit(m, &b.job);
    m->poll(m);
    assert_string_equal(order->str, "");
    g_atomic_int_set(&gate, 1);
    while (g_atomic_int_get(&wakes) < 2)
        g_thread_yield();
    assert_string_equal(order->str, "ab");
    m->poll(m);
    assert_string_equal(order->str, "ab(a)(b)");
    m->poll(m);
    store_maker_destroy(m);
    g_string_free(order, TRUE);
}

static void *open_gate(void *gate)
{
    g_usleep(1000);
    g_atomic_int_set((gint *)gate, 1);
    return NULL;
}

TEST(a_drain_waits_for_the_job_under_way_and_gives_up_the_others)
{
    GString *order = g_string_new(NULL);
    gint gate = 0;
    struct store_maker *m = threaded_maker();
    struct test_job a = job_of(order, 'a', &gate), b = job_of(order, 'b', &gate);
    m->submit(m, &a.job);
    m->submit(m, &b.job);
    GThread *later = g_thread_new("gate", open_gate, &gate);
    m->drain(m);
    g_thread_join(later);
    /* The first may not have begun either. */
    assert_true(strcmp(order->str, "a(a)(b)") == 0 || strcmp(order->str, "(a)(b)") == 0);
    assert_true(b.given_up);
    assert_int_equal(a.given_up, order->str[0] == '(');
    store_maker_destroy(m);
    g_string_free(order, TRUE);
}

struct cp_job {
    struct store_job job;
    struct store *store;
    const char *dir;
    int result, err;
};

static void cp_work(struct store_job *j)
{
    struct cp_job *c = container_of(j, struct cp_job, job);
    c->result = c->store->ops->checkpoint(c->store, c->dir, NULL);
}

static void cp_done(struct store_job *j)
{
    struct cp_job *c = container_of(j, struct cp_job, job);
    c->err = c->result;
}

TEST(a_checkpoint_made_beside_writes_is_the_state_after_one_of_them)
{
    const char *dir = t_tmpdir();
    struct store_maker *m = threaded_maker();
    struct store *s = NULL;
    struct cp_job c = {{.work = cp_work, .done = cp_done}, NULL, t_path(dir, "cp"), 0, 1};
    T_OK(m->open(m, t_path(dir, "store"), &s, NULL));
    c.store = s;
    uint64_t n = 1;
    T_OK(write_batch(s, n));
    m->submit(m, &c.job);
    while (c.err > 0) {
        T_OK(write_batch(s, ++n));
        m->poll(m);
    }
    T_OK(c.err);
    s->ops->close(s);
    struct store *copy = open_store(t_path(dir, "cp"));
    uint64_t at = number_in(copy);
    assert_true(at >= 1 && at <= n);
    copy->ops->close(copy);
    struct arena a = {0};
    struct bytes v;
    T_OK(m->peek(m, t_path(dir, "cp"), bytes_str("key1"), &a, &v));
    assert_int_equal(v.n, 20);
    const char *text = arena_printf(&a, "%.*s", (int)v.n, (const char *)v.p);
    assert_int_equal(g_ascii_strtoull(text, NULL, 10), at);
    arena_finish(&a);
    store_maker_destroy(m);
}

TEST(closing_flushes_nothing)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir);
    T_OK(write_batch(s, 1));
    T_OK(flush(s));
    T_OK(write_batch(s, 2));
    s->ops->close(s);
    s = open_store(dir);
    assert_int_equal(number_in(s), 1);
    s->ops->close(s);
}

/* --- the directory ---------------------------------------------------------------------------- */

TEST(a_store_in_use_is_refused_by_name)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir), *again = NULL;
    struct errmsg msg = {""};
    T_ERR(ERR_LOCKED, store_rocks_open(dir, &again, &msg));
    T_CONTAINS(msg.text, dir);
    T_CONTAINS(msg.text, "in use");
    s->ops->close(s);
}

TEST(the_format_file_is_written_first_and_a_newer_one_refused)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir);
    struct errmsg msg = {""};
    s->ops->close(s);
    t_write_file(t_path(dir, "FORMAT"), "raftfs store 2\n", 15);
    T_ERR(ERR_FORMAT, store_rocks_open(dir, &s, &msg));
    T_CONTAINS(msg.text, "format 2");
    t_write_file(t_path(dir, "FORMAT"), "what", 4);
    T_ERR(ERR_CORRUPT, store_rocks_open(dir, &s, &msg));
}

TEST(a_directory_with_other_files_is_left_alone)
{
    const char *dir = t_tmpdir();
    struct store *s = NULL;
    struct errmsg msg = {""};
    t_write_file(t_path(dir, "thesis.tex"), "x", 1);
    T_ERR(ERR_FORMAT, store_rocks_open(dir, &s, &msg));
    T_CONTAINS(msg.text, "not empty");
}

TEST(a_damaged_table_is_reported_as_corrupt)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir);
    struct errmsg msg = {""};
    struct arena a = {0};
    struct bytes v;
    T_OK(write_batch(s, 1));
    T_OK(flush(s));
    s->ops->close(s);
    GDir *d = g_dir_open(dir, 0, NULL);
    for (const char *name = g_dir_read_name(d); name; name = g_dir_read_name(d))
        if (g_str_has_suffix(name, ".sst")) {
            static const char garbage[200];
            FILE *f = fopen(t_path(dir, name), "r+e");
            assert_non_null(f);
            fwrite(garbage, 1, sizeof(garbage), f);
            fclose(f);
        }
    g_dir_close(d);
    int err = store_rocks_open(dir, &s, &msg);
    if (err == 0) {
        err = s->ops->get(s, NULL, bytes_str("key1"), &a, &v);
        s->ops->close(s);
    }
    assert_int_equal(err, -ERR_CORRUPT);
    arena_finish(&a);
}

TEST(a_replacement_interrupted_between_two_renames_is_healed)
{
    const char *parent = t_tmpdir(), *dir = t_path(parent, "store");
    struct store *s = open_store(dir);
    T_OK(write_batch(s, 7));
    T_OK(flush(s));
    s->ops->close(s);
    assert_int_equal(rename(dir, t_path(parent, "store.old")), 0);
    s = open_store(dir);
    assert_int_equal(number_in(s), 7);
    s->ops->close(s);
}

TEST(memory_stays_bounded_under_a_heavy_load)
{
    /* 400 MB of values in blob files and 100,000 small keys: what is held is memtables and cache.
     */
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir);
    static char value[65536];
    struct rng rng = t_rng();
    for (unsigned i = 0; i < 6000; i++) {
        char big[16], small[4][24];
        struct store_write w[5];
        snprintf(big, sizeof(big), "b%05u", (unsigned)rng_below(&rng, 2000));
        w[0] = (struct store_write){STORE_PUT, bytes_str(big), bytes_of(value, sizeof(value))};
        for (unsigned k = 0; k < 4; k++) {
            snprintf(small[k], sizeof(small[k]), "s%016llx", (unsigned long long)rng_next(&rng));
            w[k + 1] = (struct store_write){STORE_PUT, bytes_str(small[k]), bytes_of(value, 100)};
        }
        T_OK(s->ops->write(s, w, 5));
    }
    char *text = NULL;
    assert_true(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    const char *rss = strstr(text, "VmHWM:");
    assert_non_null(rss);
    uint64_t kib = g_ascii_strtoull(rss + 6, NULL, 10);
    print_message("peak resident: %llu MiB\n", (unsigned long long)kib / 1024);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(kib < 250 * 1024); /* of 300 MiB that raftfsd may have; a slow disk holds more */
#endif
    g_free(text);
    s->ops->close(s);
}

/* --- blobs ------------------------------------------------------------------------------------ */

#define BLOB_BYTES 65536

static void blob_key(char key[16], unsigned i)
{
    snprintf(key, 16, "b%08x", i * 2654435761u); /* in no order */
}

/* 16 MiB and a flush, as the node does: 256 blobs, number `from` and those that follow. */
static void write_blobs(struct store *s, struct rng *rng, unsigned from)
{
    static uint8_t value[BLOB_BYTES];
    for (unsigned i = from; i < from + 256; i++) {
        char key[16];
        blob_key(key, i);
        put_le64(value, rng_next(rng));
        const struct store_write w = {STORE_PUT, bytes_str(key), bytes_of(value, sizeof(value))};
        T_OK(s->ops->write(s, &w, 1));
    }
    T_OK(flush(s));
}

/* By all threads of the process. */
static uint64_t bytes_written(void)
{
    char *text = NULL;
    assert_true(g_file_get_contents("/proc/self/io", &text, NULL, NULL));
    const char *at = strstr(text, "wchar:");
    assert_non_null(at);
    uint64_t n = g_ascii_strtoull(at + 6, NULL, 10);
    g_free(text);
    return n;
}

TEST(a_store_that_grows_writes_its_blobs_once)
{
    struct store *s = open_store(t_path(t_tmpdir(), "store"));
    struct rng rng = t_rng();
    uint64_t before = bytes_written();
    for (unsigned i = 0; i < 16; i++)
        write_blobs(s, &rng, i * 256);
    s->ops->close(s); /* ends what is under way */
    uint64_t n = bytes_written() - before;
    print_message("%llu MiB written for 256 MiB\n", (unsigned long long)n / MIB(1));
    assert_true(n < MIB(256) + MIB(32));
}

static uint64_t blob_files_bytes(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    uint64_t sum = 0;
    assert_non_null(d);
    for (const char *name; (name = g_dir_read_name(d));) {
        struct stat st;
        if (g_str_has_suffix(name, ".blob") && stat(t_path(dir, name), &st) == 0)
            sum += (uint64_t)st.st_size;
    }
    g_dir_close(d);
    return sum;
}

TEST(what_is_left_of_blob_files_full_of_garbage_is_collected)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir);
    struct rng rng = t_rng();
    /* Of each 256 three quarters are written again in the next round: 140 MiB of 512 stay. */
    for (unsigned i = 0; i < 32; i++)
        write_blobs(s, &rng, i * 64);
    /* Compactions run beside: until they have caught up. */
    const uint64_t until = clock_mono_ns() + UINT64_C(20000000000);
    while (blob_files_bytes(dir) > MIB(300) && clock_mono_ns() < until)
        write_blobs(s, &rng, 31 * 64);
    assert_true(blob_files_bytes(dir) <= MIB(300));
    s->ops->close(s);
}

TEST(what_is_deleted_gives_its_space_back_after_one_flush)
{
    const char *dir = t_path(t_tmpdir(), "store");
    struct store *s = open_store(dir);
    struct rng rng = t_rng();
    for (unsigned i = 0; i < 8; i++)
        write_blobs(s, &rng, i * 256);
    for (unsigned i = 0; i < 8 * 256; i++) {
        char key[16];
        blob_key(key, i);
        const struct store_write w = {STORE_DELETE, bytes_str(key), BYTES_NONE};
        T_OK(s->ops->write(s, &w, 1));
    }
    T_OK(flush(s));
    T_EVENTUALLY(blob_files_bytes(dir) == 0);
    s->ops->close(s);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], CHILD) == 0)
        write_for_ever(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        T(a_killed_process_leaves_whole_batches_and_all_that_were_flushed),
        T(a_flush_completes_in_a_poll_after_its_wake_and_writes_pass_meanwhile),
        T(closing_drops_the_completion_of_a_flush),
        T(jobs_run_in_order_beside_their_owner_and_end_in_its_poll),
        T(a_drain_waits_for_the_job_under_way_and_gives_up_the_others),
        T(a_checkpoint_made_beside_writes_is_the_state_after_one_of_them),
        T(closing_flushes_nothing),
        T(a_store_in_use_is_refused_by_name),
        T(the_format_file_is_written_first_and_a_newer_one_refused),
        T(a_directory_with_other_files_is_left_alone),
        T(a_damaged_table_is_reported_as_corrupt),
        T(a_replacement_interrupted_between_two_renames_is_healed),
        T(memory_stays_bounded_under_a_heavy_load),
        T(a_store_that_grows_writes_its_blobs_once),
        T(what_is_deleted_gives_its_space_back_after_one_flush),
        T(what_is_left_of_blob_files_full_of_garbage_is_collected),
    };
    return t_run(argc, argv, tests, ARRAY_LEN(tests));
}
