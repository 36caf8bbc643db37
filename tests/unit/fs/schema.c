/* SPDX-License-Identifier: Apache-2.0 */
/* The format of keys and values, byte by byte: what a change here breaks is stored on disks. */
#include <errno.h>
#include "tests/lib/t.h"
#include "fs/schema.h"

static void is_hex(struct bytes b, const char *hex)
{
    GString *s = g_string_new(NULL);
    for (size_t i = 0; i < b.n; i++)
        g_string_append_printf(s, "%02x", b.p[i]);
    assert_string_equal(s->str, hex);
    g_string_free(s, TRUE);
}

TEST(siphash_gives_its_authors_vectors)
{
    static const uint64_t want[] = {
        UINT64_C(0x726fdb47dd0e0e31), UINT64_C(0x74f839c593dc67fd), UINT64_C(0x0d6c8009d9a94f5a),
        UINT64_C(0x85676696d7fb7e2d), UINT64_C(0xcf2794e0277187b7), UINT64_C(0x18765564cd99a68d),
        UINT64_C(0xcbc9466e58fee3ce), UINT64_C(0xab0200f58b01d137), UINT64_C(0x93f5f5799a932462),
    };
    struct siphash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint8_t in[16];
    for (uint8_t i = 0; i < sizeof(in); i++)
        in[i] = i;
    for (unsigned n = 0; n < ARRAY_LEN(want); n++)
        assert_true(siphash24(&key, bytes_of(in, n)) == want[n]);
    assert_true(siphash24(&key, bytes_of(in, 15)) == UINT64_C(0xa129ca6149be45e5));
}

TEST(an_inode_number_names_its_shard)
{
    fs_ino ino = ino_make(1023, INO_MOUNTS - 1, INO_COUNTERS - 1);
    assert_true(ino == UINT64_MAX >> 1);
    assert_int_equal(ino_shard(ino), 1023);
    assert_int_equal(ino_shard(ino_make(5, 77, 123)), 5);
    assert_int_equal(ino_make(0, 0, 1), FS_ROOT);
}

TEST(keys_have_their_golden_bytes)
{
    fs_ino ino = ino_make(0x102, 3, 4);
    struct key k;
    k = key_inode(ino);
    is_hex(key_view(&k), "010249"
                         "20400000c0000004");
    k = key_dentry(ino, 0x1122334455667788, "ab");
    is_hex(key_view(&k), "010245"
                         "20400000c0000004"
                         "1122334455667788"
                         "6162");
    k = key_block(7, ino, 0x01020304);
    is_hex(key_view(&k), "000743"
                         "20400000c0000004"
                         "01020304");
    k = key_xattr(ino, "user.x");
    is_hex(key_view(&k), "010258"
                         "20400000c0000004"
                         "757365722e78");
    k = key_lock(ino);
    is_hex(key_view(&k), "01024c"
                         "20400000c0000004");
    k = key_orphan(ino);
    is_hex(key_view(&k), "01024f"
                         "20400000c0000004");
    k = key_super();
    is_hex(key_view(&k), "00005673");
    k = key_answer(1, 2);
    is_hex(key_view(&k), "00005661"
                         "0000000000000001"
                         "0000000000000002");
}

static const struct inode sample = {
    .ino = 9,
    .mode = 0100755,
    .uid = 1,
    .gid = 2,
    .nlink = 3,
    .size = 4,
    .data_version = 5,
    .hi = 6,
    .atime = 7,
    .mtime = 8,
    .ctime = 9,
    .btime = 10,
    .rdev = 11,
    .parent = 12,
    .entries = 13,
};

TEST(an_inode_has_its_golden_bytes)
{
    uint8_t value[INODE_SIZE];
    inode_encode(&sample, value);
    is_hex(bytes_of(value, sizeof(value)), "01080000ed0100000100000002000000"
                                           "0300000000000000"
                                           "0400000000000000"
                                           "0500000000000000"
                                           "0600000000000000"
                                           "0700000000000000"
                                           "0800000000000000"
                                           "0900000000000000"
                                           "0a00000000000000"
                                           "0b00000000000000"
                                           "0c00000000000000"
                                           "0d00000000000000"
                                           "000000000000000000000000000000000000000000000000");
}

TEST(an_inode_survives_the_round_trip)
{
    uint8_t value[INODE_SIZE + 3];
    struct inode n;
    inode_encode(&sample, value);
    memcpy(value + INODE_SIZE, "abc", 3);
    T_OK(inode_decode(9, bytes_of(value, sizeof(value)), &n));
    assert_int_equal(n.target.n, 3);
    n.target = BYTES_NONE;
    uint8_t again[INODE_SIZE];
    inode_encode(&n, again);
    assert_memory_equal(again, value, INODE_SIZE);
    assert_int_equal(n.mode, sample.mode);
}

TEST(an_inode_of_another_format_is_refused)
{
    uint8_t value[INODE_SIZE];
    struct inode n;
    inode_encode(&sample, value);
    assert_int_equal(inode_decode(9, bytes_of(value, INODE_SIZE - 1), &n), -EIO);
    value[0] = 2;
    assert_int_equal(inode_decode(9, bytes_of(value, INODE_SIZE), &n), -EIO);
}

TEST(a_newer_volume_is_refused_with_a_reason)
{
    struct superblock s = {.format = FS_FORMAT, .shards = 256, .name_key = {1, 2}}, got;
    struct errmsg msg;
    uint8_t value[SUPERBLOCK_SIZE];
    superblock_encode(&s, value);
    T_OK_MSG(superblock_decode(bytes_of(value, sizeof(value)), &got, &msg), &msg);
    assert_int_equal(got.shards, 256);
    s.format++;
    superblock_encode(&s, value);
    T_ERR(ERR_FORMAT, superblock_decode(bytes_of(value, sizeof(value)), &got, &msg));
    T_CONTAINS(msg.text, "format 2");
    memset(value, 0, sizeof(value));
    T_ERR(ERR_FORMAT, superblock_decode(bytes_of(value, sizeof(value)), &got, &msg));
}

TEST(dentries_and_keys_of_scans_are_parsed)
{
    struct key k = key_dentry(77, 0x1234567890, "name"), b = key_block(3, 77, 42);
    uint64_t hash;
    uint32_t block, type;
    struct bytes name;
    fs_ino ino;
    uint8_t value[DENTRY_SIZE];
    assert_int_equal(key_parse_dentry(key_view(&k), &hash, &name), 0);
    assert_true(hash == 0x1234567890 && bytes_eq(name, bytes_str("name")));
    assert_int_equal(key_parse_block(key_view(&b), &block), 0);
    assert_int_equal(block, 42);
    assert_int_equal(key_parse_block(key_view(&k), &block), -EIO);
    assert_int_equal(key_parse_dentry(key_view(&b), &hash, &name), -EIO);
    dentry_encode(77, 0040755, value);
    assert_int_equal(dentry_decode(bytes_of(value, sizeof(value)), &ino, &type), 0);
    assert_true(ino == 77 && type == 0040000);
}

TEST(a_range_of_dentries_begins_behind_its_cookie)
{
    struct key lo, hi, before = key_dentry(77, 99, "zzz"), behind = key_dentry(77, 100, "");
    struct key next = key_dentry(78, 0, "");
    range_dentries(77, 99, &lo, &hi);
    assert_true(bytes_cmp(key_view(&before), key_view(&lo)) < 0);
    assert_true(bytes_cmp(key_view(&behind), key_view(&lo)) >= 0);
    assert_true(bytes_cmp(key_view(&next), key_view(&hi)) >= 0);
}

TEST(the_first_blocks_lie_with_the_inode_and_the_rest_by_stripes)
{
    fs_ino ino = ino_make(200, 1, 1);
    assert_int_equal(schema_block_shard(ino, 0, 256), 200);
    assert_int_equal(schema_block_shard(ino, 1, 256), 200);
    unsigned first = schema_block_shard(ino, 2, 256), second = schema_block_shard(ino, 256, 256);
    assert_int_equal(schema_block_shard(ino, 255, 256), first);
    assert_int_equal(schema_block_shard(ino, 511, 256), second);
    /* Fixed for good: data would not be found again. */
    assert_int_equal(first, 62);
    assert_int_equal(second, 50);
}

TEST(a_name_hash_leaves_small_cookies_to_the_caller)
{
    struct siphash_key key = {1, 2};
    char name[16];
    for (unsigned i = 0; i < 1000; i++) {
        g_snprintf(name, sizeof(name), "%u", i);
        uint64_t h = schema_name_hash(&key, name);
        assert_true(h >= NAME_HASH_MIN && h >> 63 == 0);
    }
}

T_MAIN(T(siphash_gives_its_authors_vectors), T(an_inode_number_names_its_shard),
       T(keys_have_their_golden_bytes), T(an_inode_has_its_golden_bytes),
       T(an_inode_survives_the_round_trip), T(an_inode_of_another_format_is_refused),
       T(a_newer_volume_is_refused_with_a_reason), T(dentries_and_keys_of_scans_are_parsed),
       T(a_range_of_dentries_begins_behind_its_cookie),
       T(the_first_blocks_lie_with_the_inode_and_the_rest_by_stripes),
       T(a_name_hash_leaves_small_cookies_to_the_caller))
