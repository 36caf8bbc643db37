/* SPDX-License-Identifier: Apache-2.0 */
/* Data: buffered writes, flush, append, truncate, holes, unlinked files, sessions. */
#include <linux/falloc.h>
#include "tests/unit/fs/volume_t.h"

struct world {
    struct fake_cluster *k;
    struct mount a, b;
};

static struct world begin(void)
{
    struct world w = {.k = fake_cluster_create()};
    w.a = mount_on(w.k);
    w.b = mount_on(w.k);
    return w;
}

static void end(struct world *w)
{
    mount_end(&w->a);
    mount_end(&w->b);
    fake_cluster_destroy(w->k);
}

static struct volume_file *create(struct volume *v, const char *name, int flags)
{
    struct volume_file *f;
    struct volume_attr a;
    T_OK(volume_create(v, FS_ROOT, name, &root, 0644, flags, &f, &a));
    return f;
}

static void resize(struct volume *v, fs_ino ino, uint64_t size)
{
    struct volume_attr a = {.size = size}, got;
    T_OK(volume_setattr(v, ino, &root, VOLUME_SIZE, &a, &got));
    assert_int_equal(got.size, size);
}

/* A byte of the file as this mount reads it. */
static int byte_at(struct volume *v, fs_ino ino, uint64_t off)
{
    struct volume_file *f = open_file(v, ino, O_RDONLY);
    uint8_t c = 0xee;
    int64_t n = volume_read(f, &c, 1, off);
    volume_file_close(f);
    return n == 1 ? c : n == 0 ? -1 : -2;
}

TEST(a_write_is_seen_here_at_once_and_there_after_the_flush)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    fs_ino ino = volume_file_ino(f);
    put(f, "hello", 0);
    assert_string_equal(text_of(w.a.v, ino), "hello");
    assert_int_equal(attr_of(w.a.v, ino).size, 5);
    T_OK(volume_flush(f));
    assert_string_equal(text_of(w.b.v, ino), "hello");
    assert_int_equal(attr_of(w.b.v, ino).size, 5);
    volume_file_close(f);
    end(&w);
}

TEST(a_small_file_costs_two_requests)
{
    struct world w = begin();
    make_file(w.a.v, FS_ROOT, "warm");
    unsigned reads = fake_reads(w.a.client), writes = fake_writes(w.a.client);
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "hello", 0);
    T_OK(volume_flush(f));
    volume_file_close(f);
    assert_int_equal(fake_writes(w.a.client), writes + 2);
    assert_int_equal(fake_reads(w.a.client), reads);
    end(&w);
}

TEST(reading_a_small_file_costs_two_requests)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "hello", 0);
    T_OK(volume_flush(f));
    char text[4096] = {0};
    unsigned reads = fake_reads(w.b.client);
    struct volume_file *g = open_file(w.b.v, volume_file_ino(f), O_RDONLY);
    assert_int_equal(volume_read(g, text, sizeof(text), 0), 5);
    assert_int_equal(fake_reads(w.b.client), reads + 2);
    volume_file_close(f);
    volume_file_close(g);
    end(&w);
}

TEST(a_reader_sees_a_file_grow_elsewhere)
{
    struct world w = begin();
    char text[16] = {0};
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "one", 0);
    T_OK(volume_flush(f));
    struct volume_file *g = open_file(w.b.v, volume_file_ino(f), O_RDONLY);
    assert_int_equal(volume_read(g, text, sizeof(text), 3), 0);
    put(f, "two", 3);
    T_OK(volume_flush(f));
    assert_int_equal(volume_read(g, text, sizeof(text), 3), 3);
    volume_file_close(f);
    volume_file_close(g);
    end(&w);
}

TEST(a_sync_of_a_clean_file_asks_nothing)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "hello", 0);
    T_OK(volume_fsync(f));
    unsigned writes = fake_writes(w.a.client);
    T_OK(volume_fsync(f));
    T_OK(volume_flush(f));
    assert_int_equal(fake_writes(w.a.client), writes);
    volume_file_close(f);
    end(&w);
}

TEST(the_flusher_writes_what_nobody_flushed)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "hello", 0);
    T_EVENTUALLY(attr_of(w.b.v, volume_file_ino(f)).size == 5);
    volume_file_close(f);
    end(&w);
}

TEST(a_large_file_comes_back_as_it_was_written)
{
    struct world w = begin();
    size_t n = MIB(21) + 12345;
    uint8_t *data = g_malloc(n), *got = g_malloc(n);
    struct rng r = t_rng();
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(rng_next(&r) >> 40);
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    for (size_t off = 0; off < n; off += MIN(n - off, 777777)) {
        size_t part = MIN(n - off, 777777);
        assert_int_equal(volume_write(f, data + off, part, off, &root), part);
    }
    T_OK(volume_flush(f));
    struct volume_file *g = open_file(w.b.v, volume_file_ino(f), O_RDONLY);
    for (size_t off = 0; off < n; off += MIN(n - off, 555555)) {
        size_t part = MIN(n - off, 555555);
        assert_int_equal(volume_read(g, got + off, part, off), part);
    }
    assert_memory_equal(data, got, n);
    assert_int_equal(volume_read(g, got, 100, n), 0);
    volume_file_close(f);
    volume_file_close(g);
    g_free(data);
    g_free(got);
    end(&w);
}

TEST(holes_read_zeros_and_cost_nothing)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    fs_ino ino = volume_file_ino(f);
    put(f, "x", UINT64_C(1) << 40);
    T_OK(volume_flush(f));
    assert_int_equal(attr_of(w.b.v, ino).size, (UINT64_C(1) << 40) + 1);
    assert_int_equal(byte_at(w.b.v, ino, 12345), 0);
    assert_int_equal(byte_at(w.b.v, ino, (UINT64_C(1) << 40) - 1), 0);
    assert_int_equal(byte_at(w.b.v, ino, UINT64_C(1) << 40), 'x');
    assert_int_equal(fake_count_keys(w.k, 'C'), 1);
    volume_file_close(f);
    end(&w);
}

TEST(what_a_truncate_cut_never_comes_back)
{
    static const uint64_t cuts[] = {0, 1, 100, KIB(64), KIB(64) + 1, KIB(128), KIB(200), MIB(17)};
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    fs_ino ino = volume_file_ino(f);
    size_t n = MIB(18);
    uint8_t *data = g_malloc(n);
    memset(data, 'z', n);
    for (unsigned i = 0; i < ARRAY_LEN(cuts); i++) {
        assert_int_equal(volume_write(f, data, n, 0, &root), n);
        resize(w.a.v, ino, cuts[i]);
        assert_int_equal(byte_at(w.b.v, ino, cuts[i]), -1);
        resize(w.b.v, ino, n);
        assert_int_equal(cuts[i] ? byte_at(w.b.v, ino, cuts[i] - 1) : 'z', 'z');
        assert_int_equal(byte_at(w.b.v, ino, cuts[i]), 0);
        assert_int_equal(byte_at(w.a.v, ino, KIB(64) + cuts[i]), 0);
        assert_int_equal(byte_at(w.a.v, ino, n - 1), 0);
        assert_int_equal(fake_count_keys(w.k, 'C'), (cuts[i] + FS_BLOCK - 1) / FS_BLOCK);
    }
    volume_file_close(f);
    g_free(data);
    end(&w);
}

TEST(what_a_crash_left_behind_the_end_is_not_shown)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    fs_ino ino = volume_file_ino(f);
    put(f, "start", 0);
    T_OK(volume_flush(f));
    /* hi is raised, blocks are written in two requests; the one that would set the size fails. */
    char *block = g_malloc(MIB(1));
    memset(block, 'g', MIB(1));
    fake_fail_write(w.a.client, 4, -ERR_IO);
    assert_int_equal(volume_write(f, block, MIB(1), KIB(256), &root), MIB(1));
    T_ERRNO(EIO, volume_flush(f));
    assert_int_equal(attr_of(w.b.v, ino).size, 5);
    assert_true(fake_count_keys(w.k, 'C') > 1);
    resize(w.b.v, ino, MIB(1));
    assert_int_equal(byte_at(w.b.v, ino, KIB(256)), 0);
    assert_int_equal(byte_at(w.b.v, ino, MIB(1) - 1), 0);
    assert_string_equal(text_of(w.b.v, ino), "start");
    volume_file_close(f);
    g_free(block);
    end(&w);
}

struct race {
    struct mount *m;
    fs_ino ino;
    uint64_t arg;
};

static void cut_in_between(void *arg)
{
    struct race *r = arg;
    resize(r->m->v, r->ino, r->arg);
}

TEST(a_flush_that_races_with_a_truncate_shows_no_old_bytes)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    struct race r = {&w.b, volume_file_ino(f), 0};
    char *old = g_malloc(KIB(300));
    memset(old, 'o', KIB(300));
    assert_int_equal(volume_write(f, old, KIB(300), 0, &root), KIB(300));
    T_OK(volume_flush(f));
    put(f, "new", KIB(300));
    fake_before_write(w.a.client, 1, cut_in_between, &r);
    T_OK(volume_flush(f));
    assert_int_equal(attr_of(w.b.v, r.ino).size, KIB(300) + 3);
    assert_int_equal(byte_at(w.b.v, r.ino, 0), 0);
    assert_int_equal(byte_at(w.b.v, r.ino, KIB(300) - 1), 0);
    assert_int_equal(byte_at(w.b.v, r.ino, KIB(300)), 'n');
    volume_file_close(f);
    g_free(old);
    end(&w);
}

/* The other mount grows the file, cuts it back to the old size and dies before it frees blocks. */
static void grow_and_cut_in_between(void *arg)
{
    struct race *r = arg;
    struct volume_attr a = attr_of(r->m->v, r->ino);
    struct volume_file *g = open_file(r->m->v, r->ino, O_WRONLY);
    put(g, "secret", r->arg);
    T_OK(volume_flush(g));
    fake_fail_write(r->m->client, 2, -ERR_IO);
    T_OK(volume_setattr(r->m->v, r->ino, &root, VOLUME_SIZE, &a, &a));
    volume_file_close(g);
}

TEST(a_page_of_a_large_file_is_one_request)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "end", GIB(1));
    T_OK(volume_fsync(f));
    unsigned reads = fake_reads(w.a.client), writes = fake_writes(w.a.client);
    put(f, "one", MIB(3));
    put(f, "two", MIB(500));
    T_OK(volume_fsync(f));
    assert_int_equal(fake_writes(w.a.client), writes + 1);
    assert_int_equal(fake_reads(w.a.client), reads);
    assert_int_equal(byte_at(w.b.v, volume_file_ino(f), MIB(500)), 't');
    volume_file_close(f);
    end(&w);
}

TEST(a_size_that_came_back_is_not_the_same_data)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    struct race r = {&w.b, volume_file_ino(f), KIB(200)};
    put(f, "start", 0);
    T_OK(volume_flush(f));
    char *data = g_malloc(KIB(200));
    memset(data, 'e', KIB(200));
    assert_int_equal(volume_write(f, data, KIB(200), KIB(300), &root), KIB(200));
    g_free(data);
    /* hi, one request of blocks, and */
    fake_before_write(w.a.client, 3, grow_and_cut_in_between, &r); /* the one that sets the size */
    T_OK(volume_flush(f));
    assert_int_equal(attr_of(w.b.v, r.ino).size, KIB(500));
    assert_int_equal(byte_at(w.b.v, r.ino, KIB(200)), 0);
    assert_int_equal(byte_at(w.b.v, r.ino, KIB(300)), 'e');
    volume_file_close(f);
    end(&w);
}

static void write_in_between(void *arg)
{
    struct race *r = arg;
    struct volume_file *g = open_file(r->m->v, r->ino, O_WRONLY);
    put(g, "other", r->arg);
    T_OK(volume_flush(g));
    volume_file_close(g);
}

TEST(two_mounts_that_grow_a_file_keep_both_writes)
{
    struct world w = begin();
    for (unsigned far = 0; far < 2; far++) {
        uint64_t base = far ? MIB(2) : 0;
        struct volume_file *f = create(w.a.v, far ? "far" : "near", O_RDWR);
        struct race r = {&w.b, volume_file_ino(f), base + 100};
        put(f, "mine", base + 50);
        fake_before_write(w.a.client, 1, write_in_between, &r);
        T_OK(volume_flush(f));
        assert_int_equal(attr_of(w.b.v, r.ino).size, base + 105);
        assert_int_equal(byte_at(w.b.v, r.ino, base + 50), 'm');
        assert_int_equal(byte_at(w.b.v, r.ino, base + 100), 'o');
        assert_int_equal(byte_at(w.b.v, r.ino, base + 60), 0);
        volume_file_close(f);
    }
    end(&w);
}

static void append_in_between(void *arg)
{
    struct race *r = arg;
    struct volume_file *g = open_file(r->m->v, r->ino, O_WRONLY | O_APPEND);
    put(g, "B", 0);
    volume_file_close(g);
}

TEST(appends_of_two_mounts_lose_nothing)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "log", O_WRONLY | O_APPEND);
    struct race r = {&w.b, volume_file_ino(f), 0};
    put(f, "A", 999);
    fake_before_write(w.a.client, 1, append_in_between, &r);
    put(f, "A", 0);
    assert_string_equal(text_of(w.b.v, r.ino), "ABA");
    assert_string_equal(text_of(w.a.v, r.ino), "ABA");
    volume_file_close(f);
    end(&w);
}

TEST(an_append_is_one_request)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "log", O_WRONLY | O_APPEND);
    put(f, "one", 0);
    unsigned reads = fake_reads(w.a.client), writes = fake_writes(w.a.client);
    put(f, "two", 0);
    assert_int_equal(fake_writes(w.a.client), writes + 1);
    assert_int_equal(fake_reads(w.a.client), reads);
    volume_file_close(f);
    end(&w);
}

TEST(a_synchronous_handle_is_durable_when_the_write_returns)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_WRONLY | O_SYNC);
    put(f, "now", 0);
    assert_string_equal(text_of(w.b.v, volume_file_ino(f)), "now");
    volume_file_close(f);
    end(&w);
}

TEST(punched_and_zeroed_ranges_read_zeros)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    fs_ino ino = volume_file_ino(f);
    char *data = g_malloc(KIB(512));
    memset(data, 'd', KIB(512));
    assert_int_equal(volume_write(f, data, KIB(512), 0, &root), KIB(512));
    T_OK(volume_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, KIB(300)));
    assert_int_equal(byte_at(w.b.v, ino, 99), 'd');
    assert_int_equal(byte_at(w.b.v, ino, 100), 0);
    assert_int_equal(byte_at(w.b.v, ino, KIB(200)), 0);
    assert_int_equal(byte_at(w.b.v, ino, KIB(300) + 99), 0);
    assert_int_equal(byte_at(w.b.v, ino, KIB(300) + 100), 'd');
    T_OK(volume_fallocate(f, FALLOC_FL_ZERO_RANGE, KIB(500), KIB(100)));
    assert_int_equal(byte_at(w.b.v, ino, KIB(500)), 0);
    assert_int_equal(attr_of(w.b.v, ino).size, KIB(600));
    T_OK(volume_fallocate(f, FALLOC_FL_KEEP_SIZE, 0, MIB(1)));
    assert_int_equal(attr_of(w.b.v, ino).size, KIB(600));
    T_OK(volume_fallocate(f, 0, 0, MIB(1)));
    assert_int_equal(attr_of(w.b.v, ino).size, MIB(1));
    T_ERRNO(EOPNOTSUPP, volume_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, KIB(64)));
    volume_file_close(f);
    g_free(data);
    end(&w);
}

TEST(a_write_by_others_drops_setuid)
{
    struct world w = begin();
    struct volume_attr a = {.mode = 06755}, got;
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    fs_ino ino = volume_file_ino(f);
    T_OK(volume_setattr(w.b.v, ino, &root, VOLUME_MODE, &a, &got));
    assert_int_equal(attr_of(w.a.v, ino).mode & 07777, 06755);
    put(f, "x", 0);
    assert_int_equal(attr_of(w.b.v, ino).mode & 07777, 06755);
    assert_int_equal(volume_write(f, "y", 1, 0, &user), 1);
    assert_int_equal(attr_of(w.b.v, ino).mode & 07777, 0755);
    volume_file_close(f);
    end(&w);
}

TEST(setattr_comes_after_what_was_written)
{
    struct world w = begin();
    struct volume_attr a = {.mtime_ns = 1234567890, .atime_ns = (uint64_t)-5000000000}, got;
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "x", 0);
    T_OK(volume_setattr(w.a.v, volume_file_ino(f), &root, VOLUME_MTIME | VOLUME_ATIME, &a, &got));
    T_OK(volume_flush(f));
    volume_file_close(f);
    got = attr_of(w.b.v, find(w.b.v, FS_ROOT, "f"));
    assert_int_equal(got.mtime_ns, 1234567890);
    assert_int_equal((int64_t)got.atime_ns, -5000000000);
    assert_true(got.ctime_ns > got.btime_ns);
    end(&w);
}

TEST(chown_drops_setuid_of_files_only)
{
    struct world w = begin();
    struct volume_attr a = {.mode = 06755, .uid = 5}, got;
    fs_ino f = make_file(w.a.v, FS_ROOT, "f"), d = make_dir(w.a.v, FS_ROOT, "d");
    T_OK(volume_setattr(w.a.v, f, &root, VOLUME_MODE, &a, &got));
    T_OK(volume_setattr(w.a.v, f, &root, VOLUME_UID, &a, &got));
    assert_int_equal(got.mode & 07777, 0755);
    assert_int_equal(got.uid, 5);
    T_OK(volume_setattr(w.a.v, d, &root, VOLUME_MODE, &a, &got));
    T_OK(volume_setattr(w.a.v, d, &root, VOLUME_UID, &a, &got));
    assert_int_equal(got.mode & 07777, 06755);
    end(&w);
}

/* --- unlinked files --------------------------------------------------------------------------- */

TEST(an_unlinked_file_lives_while_it_is_open_anywhere)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR), *g;
    fs_ino ino = volume_file_ino(f);
    put(f, "still here", 0);
    T_OK(volume_flush(f));
    g = open_file(w.b.v, ino, O_RDONLY);
    volume_file_close(f);
    T_OK(volume_unlink(w.a.v, FS_ROOT, "f", &root));
    assert_int_equal(attr_of(w.b.v, ino).nlink, 0);
    /* Another file's end shows that the reclaimer of a has been through a round since. */
    for (unsigned i = 0; i < 2; i++) {
        make_file(w.a.v, FS_ROOT, "round");
        fs_ino gone = find(w.a.v, FS_ROOT, "round");
        T_OK(volume_unlink(w.a.v, FS_ROOT, "round", &root));
        struct volume_attr a;
        T_EVENTUALLY(volume_getattr(w.a.v, gone, &a) == -ESTALE);
    }
    char text[32] = {0};
    assert_int_equal(volume_read(g, text, sizeof(text), 0), 10);
    assert_string_equal(text, "still here");
    struct volume_file *again;
    T_ERRNO(ESTALE, volume_file_open(w.a.v, ino, O_RDONLY, &root, &again));
    volume_file_close(g);
    struct volume_attr a;
    T_EVENTUALLY(volume_getattr(w.a.v, ino, &a) == -ESTALE);
    assert_int_equal(fake_count_keys(w.k, 'C'), 0);
    assert_int_equal(fake_count_keys(w.k, 'O'), 0);
    end(&w);
}

TEST(all_blocks_of_an_unlinked_file_go)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    char *data = g_malloc(MIB(40));
    memset(data, 'd', MIB(40));
    assert_int_equal(volume_write(f, data, MIB(40), 0, &root), MIB(40));
    put(f, "x", GIB(300));
    T_OK(volume_flush(f));
    T_OK(volume_setxattr(w.a.v, volume_file_ino(f), "user.x", "1", 1, 0, &root));
    assert_int_equal(fake_count_keys(w.k, 'C'), 641);
    T_OK(volume_unlink(w.a.v, FS_ROOT, "f", &root));
    put(f, "still", 0);
    assert_int_equal(attr_of(w.a.v, volume_file_ino(f)).nlink, 0);
    volume_file_close(f);
    T_EVENTUALLY(fake_count_keys(w.k, 'O') == 0);
    assert_int_equal(fake_count_keys(w.k, 'C'), 0);
    assert_int_equal(fake_count_keys(w.k, 'X'), 0);
    assert_int_equal(fake_count_keys(w.k, 'I'), 1);
    g_free(data);
    end(&w);
}

TEST(orphans_of_a_mount_that_ended_are_found)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    put(f, "x", 0);
    T_OK(volume_flush(f));
    T_OK(volume_unlink(w.a.v, FS_ROOT, "f", &root));
    fake_expire(w.a.client); /* with the file open */
    make_file(w.b.v, FS_ROOT, "g");
    T_OK(volume_unlink(w.b.v, FS_ROOT, "g", &root));
    T_EVENTUALLY(fake_count_keys(w.k, 'I') == 1 && fake_count_keys(w.k, 'O') == 0);
    volume_file_close(f);
    end(&w);
}

/* --- errors and sessions ---------------------------------------------------------------------- */

TEST(a_failed_flush_is_told_to_each_handle_once)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    struct volume_file *g = open_file(w.a.v, volume_file_ino(f), O_RDWR);
    put(f, "lost", 0);
    fake_fail_write(w.a.client, 1, -ERR_NO_SPACE);
    T_ERRNO(ENOSPC, volume_fsync(f));
    T_OK(volume_fsync(f));
    assert_int_equal(volume_write(g, "x", 1, 0, &root), -ENOSPC);
    put(g, "kept", 0);
    T_OK(volume_fsync(g));
    assert_string_equal(text_of(w.b.v, volume_file_ino(f)), "kept");
    volume_file_close(f);
    volume_file_close(g);
    end(&w);
}

TEST(buffers_and_handles_end_with_their_session)
{
    struct world w = begin();
    struct volume_file *f = create(w.a.v, "f", O_RDWR);
    struct volume_attr a;
    put(f, "unsaved", 0);
    fake_expire(w.a.client);
    T_ERRNO(EIO, volume_fsync(f));
    T_ERRNO(EIO, volume_fsync(f));
    assert_int_equal(volume_write(f, "x", 1, 0, &root), -EIO);
    char c;
    assert_int_equal(volume_read(f, &c, 1, 0), -EIO);
    assert_int_equal(attr_of(w.b.v, volume_file_ino(f)).size, 0);
    /* Later operations have a new session. */
    T_OK(volume_mkdir(w.a.v, FS_ROOT, "d", &root, 0755, &a));
    struct volume_file *g = open_file(w.a.v, volume_file_ino(f), O_RDWR);
    put(g, "saved", 0);
    T_OK(volume_fsync(g));
    volume_file_close(g);
    assert_string_equal(text_of(w.b.v, find(w.b.v, FS_ROOT, "f")), "saved");
    volume_file_close(f);
    end(&w);
}

T_MAIN(T(a_write_is_seen_here_at_once_and_there_after_the_flush),
       T(a_small_file_costs_two_requests), T(reading_a_small_file_costs_two_requests),
       T(a_reader_sees_a_file_grow_elsewhere), T(a_sync_of_a_clean_file_asks_nothing),
       T(the_flusher_writes_what_nobody_flushed), T(a_large_file_comes_back_as_it_was_written),
       T(holes_read_zeros_and_cost_nothing), T(what_a_truncate_cut_never_comes_back),
       T(what_a_crash_left_behind_the_end_is_not_shown),
       T(a_flush_that_races_with_a_truncate_shows_no_old_bytes),
       T(a_page_of_a_large_file_is_one_request), T(a_size_that_came_back_is_not_the_same_data),
       T(two_mounts_that_grow_a_file_keep_both_writes), T(appends_of_two_mounts_lose_nothing),
       T(an_append_is_one_request), T(a_synchronous_handle_is_durable_when_the_write_returns),
       T(punched_and_zeroed_ranges_read_zeros), T(a_write_by_others_drops_setuid),
       T(setattr_comes_after_what_was_written), T(chown_drops_setuid_of_files_only),
       T(an_unlinked_file_lives_while_it_is_open_anywhere), T(all_blocks_of_an_unlinked_file_go),
       T(orphans_of_a_mount_that_ended_are_found), T(a_failed_flush_is_told_to_each_handle_once),
       T(buffers_and_handles_end_with_their_session))
