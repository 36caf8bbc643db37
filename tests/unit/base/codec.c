/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include "cluster/base/codec.h"

TEST(crc32c_of_the_check_string_is_e3069283)
{
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

/* RFC 3720 B.4. */
TEST(crc32c_gives_the_vectors_of_the_iscsi_rfc)
{
    uint8_t data[32] = {0};
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = i;
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x46dd794e);
}

TEST(crc32c_in_pieces_is_that_of_the_whole)
{
    struct rng r = t_rng();
    uint8_t data[5000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)rng_next(&r);
    for (int round = 0; round < 100; round++) {
        size_t cut = (size_t)rng_below(&r, sizeof(data) + 1);
        uint32_t crc = crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut);
        assert_int_equal(crc, crc32c(0, data, sizeof(data)));
    }
}

TEST(numbers_are_little_endian_in_the_order_written)
{
    CLEANUP(enc_finish) struct enc e = {0};
    enc_u8(&e, 1);
    enc_u16(&e, 0x0302);
    enc_u32(&e, 0x07060504);
    enc_u64(&e, 0x0f0e0d0c0b0a0908);
    enc_bytes(&e, bytes_str("hi"));
    static const uint8_t want[] = {1,  2,  3,  4,  5, 6, 7, 8, 9,   10, 11,
                                   12, 13, 14, 15, 2, 0, 0, 0, 'h', 'i'};
    assert_int_equal(e.n, sizeof(want));
    assert_memory_equal(e.p, want, sizeof(want));

    struct dec d = dec_of(enc_view(&e));
    assert_int_equal(dec_u8(&d), 1);
    assert_int_equal(dec_u16(&d), 0x0302);
    assert_int_equal(dec_u32(&d), 0x07060504);
    assert_true(dec_u64(&d) == 0x0f0e0d0c0b0a0908);
    assert_true(bytes_eq(dec_bytes(&d), bytes_str("hi")));
    assert_true(dec_done(&d));
}

TEST(a_read_past_the_end_spoils_all_that_follow)
{
    struct dec d = dec_of(bytes_str("abc"));
    assert_int_equal(dec_u32(&d), 0);
    assert_false(dec_ok(&d));
    assert_int_equal(dec_u8(&d), 0);
    assert_int_equal(dec_raw(&d, 1).n, 0);
    assert_false(dec_done(&d));
}

TEST(a_length_beyond_the_input_gives_no_bytes)
{
    static const uint8_t in[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    struct dec d = dec_of(bytes_of(in, sizeof(in)));
    assert_int_equal(dec_bytes(&d).n, 0);
    assert_false(dec_ok(&d));
}

TEST(an_empty_input_is_done_at_once)
{
    struct dec d = dec_of(BYTES_NONE);
    assert_int_equal(dec_raw(&d, 0).n, 0);
    assert_true(dec_done(&d));
    assert_int_equal(dec_u8(&d), 0);
    assert_false(dec_done(&d));
}

TEST(what_is_left_over_is_not_done)
{
    struct dec d = dec_of(bytes_str("ab"));
    dec_u8(&d);
    assert_true(dec_ok(&d));
    assert_false(dec_done(&d));
}

TEST(big_endian_numbers_sort_as_bytes)
{
    uint8_t a[8], b[8];
    put_be64(a, 255);
    put_be64(b, 256);
    assert_true(memcmp(a, b, 8) < 0);
    assert_true(get_be64(b) == 256);
    put_be32(a, 0x01020304);
    assert_int_equal(a[0], 1);
    assert_int_equal(get_be32(a), 0x01020304);
    put_be16(a, 0x0102);
    assert_int_equal(a[0], 1);
    assert_int_equal(get_be16(a), 0x0102);
}

T_MAIN(T(crc32c_of_the_check_string_is_e3069283), T(crc32c_gives_the_vectors_of_the_iscsi_rfc),
       T(crc32c_in_pieces_is_that_of_the_whole), T(numbers_are_little_endian_in_the_order_written),
       T(a_read_past_the_end_spoils_all_that_follow), T(a_length_beyond_the_input_gives_no_bytes),
       T(an_empty_input_is_done_at_once), T(what_is_left_over_is_not_done),
       T(big_endian_numbers_sort_as_bytes))
