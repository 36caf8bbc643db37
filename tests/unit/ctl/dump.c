/* SPDX-License-Identifier: Apache-2.0 */
/* What raftfsctl dump prints of files made here, also when they are damaged. */
#include "cluster/ctl/dump.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "cluster/base/identity.h"
#include "cluster/kv/kv.h"
#include "cluster/store/wal.h"
#include "tests/lib/t.h"

#define IMAGE_V1 DATA_DIR "/wal-v1-0000000000000001.seg"
#define SHARDS   16
#define SEGMENT  KIB(16)
#define HOUR_NS  3600000000000u

static const struct dump_options everything = {.shard = -1, .keys = true, .values = true};

/* --- files to look at ------------------------------------------------------------------------- */

static struct buf *session_command(void)
{
    struct enc CLEANUP(enc_finish) e = {0};
    const struct msg_session_open m = {.nonce = 5, .name = bytes_str("a mount")};
    enc_session_open(&e, &m);
    return kv_command(KV_CMD_SESSION_OPEN, enc_view(&e));
}

static struct buf *put_command(struct bytes key, struct bytes value, uint64_t seq)
{
    struct enc CLEANUP(enc_finish) e = {0};
    struct kv_write w = {.op = KV_PUT, .key = key, .value = value};
    const struct msg_txn t = {
        .client = 1, .seq = seq, .acked_below = seq, .writes = &w, .n_writes = 1};
    enc_txn(&e, &t);
    return kv_command(KV_CMD_TXN, enc_view(&e));
}

/* Entry 1 opens a session, 2 and 3 put 7:hello and 9:\x00\\; at one o'clock, two, three. */
#define N_ENTRIES 3
static void make_entries(struct wal_entry *ret)
{
    ret[0].data = session_command();
    ret[1].data = put_command(bytes_of("\0\7hello", 7), bytes_str("world"), 1);
    ret[2].data = put_command(bytes_of("\0\11\0\\", 4), bytes_of("\xff", 1), 2);
    for (unsigned i = 0; i < N_ENTRIES; i++) {
        ret[i].index = i + 1;
        ret[i].term = 4;
        ret[i].type = 2;
        ret[i].time_ns = (i + 1) * HOUR_NS;
    }
}

static void free_entries(struct wal_entry *e)
{
    for (unsigned i = 0; i < N_ENTRIES; i++)
        buf_unref(e[i].data);
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

static void make_log(const char *dir)
{
    struct wal_entry e[N_ENTRIES];
    struct disk *disk = disk_posix_create();
    struct wal_recovery rec;
    struct wal *w;
    struct errmsg msg = {""};
    const struct wal_options o = {.segment_bytes = SEGMENT};
    make_entries(e);
    T_OK_MSG(wal_open(disk, dir, &o, &w, &rec, &msg), &msg);
    wal_hard(w, 0, 4, 2);
    for (unsigned i = 0; i < N_ENTRIES; i++) {
        int result = 1;
        wal_append(w, 0, &e[i], 1);
        wal_submit(w, on_done, &result);
        assert_int_equal(result, 0);
    }
    wal_close(w);
    wal_recovery_finish(&rec);
    disk_posix_destroy(disk);
    free_entries(e);
}

static void make_state(const char *dir)
{
    struct wal_entry e[N_ENTRIES];
    struct store *store;
    struct kv *kv;
    struct errmsg msg = {""};
    int flushed = 1;
    make_entries(e);
    T_OK_MSG(store_rocks_open(dir, &store, &msg), &msg);
    T_OK_MSG(kv_open(store, 0, SHARDS, &kv, &msg), &msg);
    for (unsigned i = 0; i < N_ENTRIES; i++) {
        const struct kv_entry entry = {e[i].index, e[i].term, e[i].time_ns, buf_bytes(e[i].data)};
        T_OK(kv_apply(kv, &entry, 1, NULL));
    }
    T_OK(kv_settle(kv));
    store->ops->flush(store, on_done, &flushed);
    assert_int_equal(flushed, 0);
    kv_close(kv);
    store->ops->close(store);
    free_entries(e);
}

/* --- looking ---------------------------------------------------------------------------------- */

typedef int dump_fn(const char *dir, const struct dump_options *o, FILE *out, struct errmsg *msg);

static char *printed; /* of the last dump; freed by the next */

static int dump(dump_fn *fn, const char *dir, const struct dump_options *o, struct errmsg *msg)
{
    size_t n;
    free(printed);
    printed = NULL;
    FILE *out = open_memstream(&printed, &n);
    assert_non_null(out);
    int err = fn(dir, o, out, msg);
    fclose(out);
    return err;
}

static const char *dump_ok(dump_fn *fn, const char *dir, const struct dump_options *o)
{
    struct errmsg msg = {""};
    T_OK_MSG(dump(fn, dir, o, &msg), &msg);
    return printed;
}

TEST(each_entry_is_told_with_time_kind_and_what_it_says)
{
    const char *dir = t_path(t_tmpdir(), "wal");
    make_log(dir);
    const char *text = dump_ok(dump_wal, dir, &everything);
    T_CONTAINS(text, "hard     gid=0 term=4 vote=2\n");
    T_CONTAINS(text, "entry    gid=0 index=1 term=4 time=1970-01-01T01:00:00.000000000Z data "
                     "length=20: session_open nonce=5 name=\"a mount\"\n");
    T_CONTAINS(text, "txn client=1 seq=1 acked_below=1 compares=[] reads=[] writes=[{ op=1 "
                     "key=\"\\x00\\x07hello\" hi=\"\" arg=0 value=\"world\" }]\n");
    T_CONTAINS(text, "group 0: term=4 vote=2 log=(0..3]\n");
    T_CONTAINS(text, "the log ends at offset 12288, next is batch 4; then zeroes (4096 bytes)\n");
}

TEST(a_shard_or_an_index_narrows_it_down)
{
    const char *dir = t_path(t_tmpdir(), "wal");
    struct dump_options o = {.shard = 9};
    make_log(dir);
    const char *text = dump_ok(dump_wal, dir, &o);
    T_CONTAINS(text, "index=3 ");
    assert_null(strstr(text, "index=2 "));
    assert_null(strstr(text, "batch 1 "));
    o = (struct dump_options){.shard = -1, .from = 2};
    text = dump_ok(dump_wal, dir, &o);
    T_CONTAINS(text, "index=2 ");
    T_CONTAINS(text, "index=3 ");
    assert_null(strstr(text, "index=1 "));
}

TEST(a_state_is_told_with_sessions_shards_keys_and_values)
{
    const char *dir = t_path(t_tmpdir(), "0");
    make_state(dir);
    assert_string_equal(dump_ok(dump_state, dir, &everything),
                        "group 0 of 16 shards, format 1\n"
                        "applied index=3 term=4 time=1970-01-01T03:00:00.000000000Z\n"
                        "session client=1 opened=1970-01-01T01:00:00.000000000Z name=a\\x20mount\n"
                        "shard 7: counter=1 keys=1 bytes=5 result_rows=1\n"
                        "  7:hello version=1 length=5 value=world\n"
                        "shard 9: counter=1 keys=1 bytes=1 result_rows=1\n"
                        "  9:\\x00\\\\ version=1 length=1 value=\\xff\n");
    const struct dump_options o = {.shard = 9, .keys = true, .json = true};
    T_CONTAINS(dump_ok(dump_state, dir, &o), "\"key\": \"9:\\\\x00\\\\\\\\\"");
    assert_null(strstr(printed, "hello"));
}

/* --- places ----------------------------------------------------------------------------------- */

static const char *make_node(void)
{
    const char *data = t_path(t_tmpdir(), "n1");
    const struct identity id = {1, 1, 1};
    assert_int_equal(g_mkdir_with_parents(t_path(data, "groups"), 0700), 0);
    make_log(t_path(data, "wal"));
    make_state(t_path(t_path(data, "groups"), "0"));
    T_OK(identity_write(data, &id, NULL));
    return data;
}

static void finds(const char *dir, enum dump_what what, const char *want)
{
    struct dump_place p;
    struct errmsg msg = {""};
    g_autofree char *real = realpath(want, NULL);
    T_OK_MSG(dump_place_open(dir, what, &p, &msg), &msg);
    assert_string_equal(p.dir, real);
    dump_place_close(&p);
}

TEST(a_data_directory_or_what_lies_in_it_may_be_named)
{
    const char *data = make_node();
    const char *group = t_path(data, "groups/0");
    finds(data, DUMP_WAL, t_path(data, "wal"));
    finds(t_path(data, "wal"), DUMP_WAL, t_path(data, "wal"));
    finds(data, DUMP_STATE, group);
    finds(group, DUMP_STATE, group);
}

TEST(a_running_node_is_refused_and_a_dump_keeps_one_away)
{
    const char *data = make_node();
    struct dump_place p;
    struct errmsg msg = {""};
    int lock;
    T_OK(identity_lock(data, &lock, NULL));
    T_ERR(ERR_LOCKED, dump_place_open(data, DUMP_WAL, &p, &msg));
    T_CONTAINS(msg.text, "a raftfsd runs on it");
    T_ERR(ERR_LOCKED, dump_place_open(t_path(data, "wal"), DUMP_WAL, &p, NULL));
    T_ERR(ERR_LOCKED, dump_place_open(t_path(data, "groups/0"), DUMP_STATE, &p, NULL));
    close(lock);
    T_OK(dump_place_open(data, DUMP_WAL, &p, NULL));
    T_ERR(ERR_LOCKED, identity_lock(data, &lock, NULL));
    dump_place_close(&p);
    T_OK(identity_lock(data, &lock, NULL));
    close(lock);
}

TEST(strangers_and_newer_formats_are_refused)
{
    const char *data = make_node();
    struct dump_place p;
    struct errmsg msg = {""};
    T_ERR(ERR_NOT_FOUND, dump_place_open(t_path(data, "nowhere"), DUMP_WAL, &p, &msg));
    T_ERR(ERR_NOT_FOUND, dump(dump_wal, data, &everything, &msg));
    T_CONTAINS(msg.text, "holds no log segments");
    T_ERR(ERR_NOT_FOUND, dump(dump_state, t_path(data, "wal"), &everything, &msg));
    T_CONTAINS(msg.text, "not a store of ours");
    t_write_file(t_path(data, "groups/0/FORMAT"), "raftfs store 2\n", 15);
    T_ERR(ERR_FORMAT, dump(dump_state, t_path(data, "groups/0"), &everything, &msg));
    T_CONTAINS(msg.text, "store format 2, this version of raftfs knows 1");
    t_write_file(t_path(data, "identity"), "raftfs-identity 2\n", 18);
    T_ERR(ERR_FORMAT, dump_place_open(data, DUMP_WAL, &p, &msg));
}

/* --- anything --------------------------------------------------------------------------------- */

static GByteArray *read_file(const char *path)
{
    char *p = NULL;
    gsize n = 0;
    if (!g_file_get_contents(path, &p, &n, NULL))
        fail_msg("cannot read %s", path);
    return g_byte_array_new_take((guint8 *)p, n);
}

/* Dumps the directory with some bits of one of its files flipped, again and again. */
static void flip(struct rng *rng, dump_fn *fn, const char *dir, const char *name, unsigned times)
{
    GByteArray *good = read_file(t_path(dir, name));
    for (unsigned i = 0; i < times && good->len > 0; i++) {
        g_autofree uint8_t *bad = g_memdup2(good->data, good->len);
        struct dump_options o = everything;
        struct errmsg msg = {""};
        unsigned flips = 1 + (unsigned)rng_below(rng, 4);
        for (unsigned k = 0; k < flips; k++)
            bad[rng_below(rng, good->len)] ^= (uint8_t)(1u << rng_below(rng, 8));
        t_write_file(t_path(dir, name), bad, good->len);
        o.json = rng_below(rng, 2);
        if (dump(fn, dir, &o, &msg) < 0 && !msg.text[0])
            fail_msg("an error without a text");
    }
    t_write_file(t_path(dir, name), good->data, good->len);
    g_byte_array_unref(good);
}

TEST(flipped_bits_in_a_log_end_in_a_text)
{
    struct rng rng = t_rng();
    const char *dir = t_path(t_tmpdir(), "wal");
    const char *image = t_path(t_tmpdir(), "image");
    make_log(dir);
    flip(&rng, dump_wal, dir, "0000000000000001.seg", 500);
    GByteArray *v1 = read_file(IMAGE_V1);
    assert_int_equal(g_mkdir_with_parents(image, 0700), 0);
    t_write_file(t_path(image, "0000000000000001.seg"), v1->data, v1->len);
    g_byte_array_unref(v1);
    dump_ok(dump_wal, image, &everything);
    flip(&rng, dump_wal, image, "0000000000000001.seg", 500);
}

TEST(flipped_bits_in_a_state_end_in_a_text)
{
    struct rng rng = t_rng();
    const char *dir = t_path(t_tmpdir(), "0");
    make_state(dir);
    GDir *d = g_dir_open(dir, 0, NULL);
    assert_non_null(d);
    for (const char *name; (name = g_dir_read_name(d)) != NULL;)
        if (strcmp(name, "LOCK") != 0 && strcmp(name, "LOG") != 0)
            flip(&rng, dump_state, dir, name, 20);
    g_dir_close(d);
    dump_ok(dump_state, dir, &everything);
    free(printed);
    printed = NULL;
}

/* Valid rows that say nonsense: the checksums are right, so RocksDB lets them pass. */
TEST(rows_of_no_sense_are_named)
{
    const char *dir = t_path(t_tmpdir(), "0");
    struct store *store;
    struct errmsg msg = {""};
    int flushed = 1;
    const struct store_write w[] = {
        {STORE_PUT, bytes_of("x", 1), BYTES_NONE},
        {STORE_PUT, bytes_of("\0\1\1", 3), bytes_of("counter", 7)},
        {STORE_PUT, bytes_of("\0\1\20k", 4), bytes_of("short", 5)},
        {STORE_PUT, bytes_of("\0\1\77?", 4), BYTES_NONE},
        {STORE_PUT, bytes_of("\xff\xff\x50", 3), BYTES_NONE},
    };
    T_OK(store_rocks_open(dir, &store, NULL));
    T_OK(store->ops->write(store, w, ARRAY_LEN(w)));
    store->ops->flush(store, on_done, &flushed);
    store->ops->close(store);
    T_ERR(ERR_CORRUPT, dump(dump_state, dir, &everything, &msg));
    T_CONTAINS(msg.text, "4 bad rows");
    T_CONTAINS(printed, "DAMAGE: row x: a key without shard and table\n");
    T_CONTAINS(printed, "DAMAGE: row \\x00\\x01\\x10k: not a value\n");
    T_CONTAINS(printed, "DAMAGE: row \\x00\\x01\\x01: not a counter\n");
    T_CONTAINS(printed, "DAMAGE: row \\xff\\xffP: not a session\n");
    T_CONTAINS(printed, "shard 1: counter=0 keys=0 bytes=0 result_rows=0 other_rows=1\n");
    free(printed);
    printed = NULL;
}

T_MAIN(T(each_entry_is_told_with_time_kind_and_what_it_says),
       T(a_shard_or_an_index_narrows_it_down),
       T(a_state_is_told_with_sessions_shards_keys_and_values),
       T(a_data_directory_or_what_lies_in_it_may_be_named),
       T(a_running_node_is_refused_and_a_dump_keeps_one_away),
       T(strangers_and_newer_formats_are_refused), T(flipped_bits_in_a_log_end_in_a_text),
       T(flipped_bits_in_a_state_end_in_a_text), T(rows_of_no_sense_are_named))
