/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/rocks.h"

#include <pthread.h>

/* What all stores of the process share. Lives as long as the process: RocksDB's default environment
 * and its threads do, too. */
static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static rocksdb_cache_t *shared_cache;
static rocksdb_env_t *shared_env;

static void make_shared(void)
{
    shared_cache = rocksdb_cache_create_lru(ROCKS_CACHE_BYTES);
    shared_env = rocksdb_create_default_env();
    rocksdb_env_set_high_priority_background_threads(shared_env, 1); /* flushes */
    rocksdb_env_set_background_threads(shared_env, 1);               /* compactions */
}

/* Blob collection begins with one part of so many garbage, and ends. */
#define BLOBS_COLLECT   3
#define BLOBS_COLLECTED 5

static rocksdb_block_based_table_options_t *table_options(void)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, shared_cache);
    rocksdb_block_based_options_set_block_size(t, KIB(8));
    /* Whole-key filter: a get of an absent key (a create's first look) reads no block. */
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    /* Filters and indexes count against the cache, or memory would grow with the data. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    return t;
}

static void set_blobs(rocksdb_options_t *o)
{
    rocksdb_options_set_enable_blob_files(o, 1);
    rocksdb_options_set_min_blob_size(o, ROCKS_BLOB_MIN);
    rocksdb_options_set_blob_file_size(o, ROCKS_BLOB_FILE);
    rocksdb_options_set_blob_compression_type(o, rocksdb_no_compression);
    /* rocks_tend_blobs begins it. Then a compaction copies what is left of the oldest half. */
    rocksdb_options_set_enable_blob_gc(o, 0);
    rocksdb_options_set_blob_gc_age_cutoff(o, 0.5);
    rocksdb_options_set_blob_gc_force_threshold(o, 0.5);
}

/* A write that has to wait holds up the node's loop, and with it every group's heartbeats. So
 * flushes and compactions may fall far behind before RocksDB slows writes down: what bounds them is
 * that all that is written has to go through the log on the same disk first. */
static void set_stalls(rocksdb_options_t *o)
{
    rocksdb_options_set_write_buffer_size(o, ROCKS_MEMTABLE_BYTES);
    rocksdb_options_set_max_write_buffer_number(o, ROCKS_MEMTABLES);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, ROCKS_L0_SLOW);
    rocksdb_options_set_level0_stop_writes_trigger(o, ROCKS_L0_STOP);
    /* Removing a large file may take long: not under a caller who closes an iterator. */
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);
}

static void set_memory(rocksdb_options_t *o)
{
    rocksdb_options_set_max_open_files(o, ROCKS_OPEN_FILES);
    /* Much smaller than a memtable of blobs, so that compactions (and with them blob collection)
     * find files to work on: only keys and references are in here. */
    rocksdb_options_set_target_file_size_base(o, MIB(4));
    rocksdb_options_set_max_bytes_for_level_base(o, MIB(32));
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_bytes_per_sync(o, MIB(1));
}

/* Closing must not wait for a flush (node.h: shutdown and crash are one path). The C API has no
 * setter. */
static rocksdb_options_t *without_closing_flush(rocksdb_options_t *o)
{
    rocksdb_options_t *ret = rocksdb_options_create();
    char *text = NULL;
    rocksdb_get_options_from_string(o, "avoid_flush_during_shutdown=true", ret, &text);
    ASSERT(!text); /* RocksDB's own name of its own option */
    rocksdb_options_destroy(o);
    return ret;
}

rocksdb_options_t *rocks_options(void)
{
    pthread_once(&shared_once, make_shared);
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_env(o, shared_env);
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    set_stalls(o);
    set_memory(o);
    set_blobs(o);
    rocksdb_block_based_table_options_t *t = table_options();
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    /* Its own log: warnings only, little of it. */
    rocksdb_options_set_info_log_level(o, 2);
    rocksdb_options_set_max_log_file_size(o, MIB(1));
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    return without_closing_flush(o);
}

void rocks_tend_blobs(rocksdb_t *db, bool *collects)
{
    uint64_t size = 0, garbage = 0;
    if (rocksdb_property_int(db, "rocksdb.live-blob-file-size", &size) != 0 ||
        rocksdb_property_int(db, "rocksdb.live-blob-file-garbage-size", &garbage) != 0)
        return;
    bool worth = garbage > size / (*collects ? BLOBS_COLLECTED : BLOBS_COLLECT);
    if (worth == *collects)
        return;
    const char *const key[] = {"enable_blob_garbage_collection"};
    const char *const value[] = {worth ? "true" : "false"};
    char *text = NULL;
    rocksdb_set_options(db, 1, key, value, &text);
    if (!text)
        *collects = worth;
    rocksdb_free(text); /* the next flush tries again */
}

static int error_code(const char *text)
{
    if (strstr(text, "No space left") || strstr(text, "Disk quota"))
        return -ERR_NO_SPACE;
    if (strstr(text, "lock hold by current process") || strstr(text, "While lock file"))
        return -ERR_LOCKED;
    if (g_str_has_prefix(text, "Corruption") || strstr(text, "No such file"))
        return -ERR_CORRUPT; /* or a file that others name is missing */
    return -ERR_IO;
}

int rocks_error(char *text, const char *what, struct errmsg *msg)
{
    int code = error_code(text);
    if (code == -ERR_LOCKED)
        errmsg_set(msg, code, "%s: in use by another process", what);
    else
        errmsg_set(msg, code, "%s: %s", what, text);
    rocksdb_free(text);
    return code;
}
