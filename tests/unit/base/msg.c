/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include "cluster/base/msg.h"

/* --- random content for every message, made from the field lists themselves --------------------
 */

static struct bytes random_bytes(struct rng *r, struct arena *a)
{
    size_t n = (size_t)rng_below(r, rng_chance(r, 100000) ? 300 : 12);
    uint8_t *p = arena_alloc(a, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_next(r);
    return bytes_of(p, n);
}

#define RANDOM_U8        (uint8_t) rng_next(r)
#define RANDOM_U16       (uint16_t) rng_next(r)
#define RANDOM_U32       (uint32_t) rng_next(r)
#define RANDOM_U64       rng_next(r)
#define RANDOM_BYTES     random_bytes(r, a)
#define FILL(kind, name) m->name = RANDOM_##kind;
#define FILL_LIST(type, name, max)                                                                 \
    m->n_##name = (uint32_t)rng_below(r, MIN((max), 5) + 1);                                       \
    m->name = arena_array(a, m->n_##name, sizeof(*m->name));                                       \
    for (uint32_t i = 0; i < m->n_##name; i++)                                                     \
        fill_##type(r, a, &m->name[i]);
#define FILL_PART(name, fields)                                                                    \
    static void fill_##name(struct rng *r, struct arena *a, struct name *m)                        \
    {                                                                                              \
        fields(FILL, FILL_LIST)                                                                    \
    }
MSG_PARTS(FILL_PART)
#define FILL_MSG(name, number, fields)                                                             \
    static void fill_msg_##name(struct rng *r, struct arena *a, struct msg_##name *m)              \
    {                                                                                              \
        fields(FILL, FILL_LIST)                                                                    \
    }
MSG_LIST(FILL_MSG)

/* --- one table of all messages -----------------------------------------------------------------
 */

struct kind {
    const char *name;
    unsigned type;
    void (*encode_random)(struct rng *r, struct arena *a, struct enc *e);
    int (*recode)(struct bytes in, struct arena *a, struct enc *ret); /* decode, encode again */
};

#define KIND_FUNCTIONS(name, number, fields)                                                       \
    static void encode_random_##name(struct rng *r, struct arena *a, struct enc *e)                \
    {                                                                                              \
        struct msg_##name m;                                                                       \
        fill_msg_##name(r, a, &m);                                                                 \
        enc_##name(e, &m);                                                                         \
    }                                                                                              \
    static int recode_##name(struct bytes in, struct arena *a, struct enc *ret)                    \
    {                                                                                              \
        struct msg_##name m;                                                                       \
        int err = dec_##name(in, a, &m);                                                           \
        if (err == 0)                                                                              \
            enc_##name(ret, &m);                                                                   \
        return err;                                                                                \
    }
MSG_LIST(KIND_FUNCTIONS)

static const struct kind kinds[] = {
#define KIND(name, number, fields) {#name, MSG_##name, encode_random_##name, recode_##name},
    MSG_LIST(KIND)};

#define FOR_EACH_KIND(k) for (const struct kind *k = kinds; k < kinds + ARRAY_LEN(kinds); k++)

/* A copy in memory of its own size, so that a sanitizer sees a read one byte too far. */
static struct bytes exact_copy(struct bytes b)
{
    uint8_t *p = g_malloc(b.n ? b.n : 1);
    if (b.n)
        memcpy(p, b.p, b.n);
    return bytes_of(p, b.n);
}

static void free_bytes(struct bytes b)
{
    g_free((void *)(uintptr_t)b.p);
}

TEST(every_message_is_the_same_after_encode_decode_encode)
{
    struct rng r = t_rng();
    FOR_EACH_KIND(k)
    for (int round = 0; round < 100; round++) {
        CLEANUP(arena_finish) struct arena a = {0};
        CLEANUP(enc_finish) struct enc first = {0};
        CLEANUP(enc_finish) struct enc second = {0};
        k->encode_random(&r, &a, &first);
        struct bytes in = exact_copy(enc_view(&first));
        if (k->recode(in, &a, &second) != 0)
            fail_msg("%s does not decode", k->name);
        assert_int_equal(first.n, second.n);
        assert_memory_equal(first.p, second.p, first.n);
        free_bytes(in);
    }
}

TEST(every_proper_prefix_of_a_message_is_refused)
{
    struct rng r = t_rng();
    FOR_EACH_KIND(k)
    for (int round = 0; round < 3; round++) {
        CLEANUP(arena_finish) struct arena a = {0};
        CLEANUP(enc_finish) struct enc e = {0};
        CLEANUP(enc_finish) struct enc again = {0};
        k->encode_random(&r, &a, &e);
        for (size_t n = 0; n < e.n; n++) {
            struct bytes in = exact_copy(bytes_of(e.p, n));
            T_ERR(ERR_INVALID, k->recode(in, &a, &again));
            free_bytes(in);
        }
    }
}

TEST(a_trailing_byte_is_refused)
{
    struct rng r = t_rng();
    FOR_EACH_KIND(k)
    {
        CLEANUP(arena_finish) struct arena a = {0};
        CLEANUP(enc_finish) struct enc e = {0};
        CLEANUP(enc_finish) struct enc again = {0};
        k->encode_random(&r, &a, &e);
        enc_u8(&e, 0);
        T_ERR(ERR_INVALID, k->recode(enc_view(&e), &a, &again));
    }
}

TEST(flipped_bits_decode_to_something_else_or_are_refused)
{
    struct rng r = t_rng();
    FOR_EACH_KIND(k)
    for (int round = 0; round < 100; round++) {
        CLEANUP(arena_finish) struct arena a = {0};
        CLEANUP(enc_finish) struct enc e = {0};
        CLEANUP(enc_finish) struct enc again = {0};
        k->encode_random(&r, &a, &e);
        for (uint64_t flips = rng_between(&r, 1, 4); flips; flips--)
            e.p[rng_below(&r, e.n)] ^= (uint8_t)(1u << rng_below(&r, 8));
        struct bytes in = exact_copy(enc_view(&e));
        /* The encoding has no slack: what decodes at all is the one encoding of its content. */
        if (k->recode(in, &a, &again) == 0)
            assert_true(bytes_eq(enc_view(&again), in));
        GString *s = g_string_new(NULL);
        msg_print(s, k->type, in);
        g_string_free(s, TRUE);
        free_bytes(in);
    }
}

TEST(random_bytes_never_crash_a_decoder)
{
    struct rng r = t_rng();
    FOR_EACH_KIND(k)
    for (int round = 0; round < 300; round++) {
        CLEANUP(arena_finish) struct arena a = {0};
        CLEANUP(enc_finish) struct enc again = {0};
        uint8_t noise[200];
        size_t n = (size_t)rng_below(&r, sizeof(noise));
        for (size_t i = 0; i < n; i++)
            noise[i] = rng_chance(&r, 700000) ? 0 : (uint8_t)rng_next(&r);
        struct bytes in = exact_copy(bytes_of(noise, n));
        int err = k->recode(in, &a, &again);
        assert_true(err == 0 || err == -ERR_INVALID);
        free_bytes(in);
    }
}

TEST(a_count_over_its_maximum_is_refused)
{
    CLEANUP(arena_finish) struct arena a = {0};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_reply m = {0}, back;
    m.n_live = 4096;
    m.live = arena_array(&a, m.n_live, sizeof(*m.live));
    enc_session_reply(&e, &m);
    T_OK(dec_session_reply(enc_view(&e), &a, &back));
    assert_int_equal(back.n_live, 4096);

    size_t count_at = 2 + 8;
    assert_int_equal(get_le32(e.p + count_at), 4096);
    put_le32(e.p + count_at, 4097);
    enc_bytes(&e, BYTES_NONE);
    enc_u64(&e, 0); /* so that 4097 elements are there */
    T_ERR(ERR_INVALID, dec_session_reply(enc_view(&e), &a, &back));
}

TEST(a_hostile_count_allocates_nothing)
{
    CLEANUP(arena_finish) struct arena a = {0};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_txn back;
    for (int i = 0; i < 3; i++)
        enc_u64(&e, 0);
    enc_u32(&e, TXN_COMPARES_MAX); /* within the maximum, but nothing follows */
    T_ERR(ERR_INVALID, dec_txn(enc_view(&e), &a, &back));
    assert_null(a.head);
}

TEST(decoded_bytes_are_borrowed_from_the_input)
{
    CLEANUP(arena_finish) struct arena a = {0};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_wait m = {.key = bytes_str("key"), .version = 5, .timeout_ms = 7}, back;
    enc_wait(&e, &m);
    T_OK(dec_wait(enc_view(&e), &a, &back));
    assert_ptr_equal(back.key.p, e.p + 4);
    assert_null(a.head);
}

TEST(a_printed_message_is_one_line_with_escaped_and_cut_bytes)
{
    CLEANUP(enc_finish) struct enc e = {0};
    uint8_t big[100];
    memset(big, 'x', sizeof(big));
    struct kv_write w = {.op = KV_PUT, .key = bytes_str("a\n\"b"), .value = bytes_of(big, 100)};
    struct msg_txn m = {.client = 1, .seq = 2, .n_writes = 1, .writes = &w};
    enc_txn(&e, &m);
    GString *s = g_string_new(NULL);
    assert_true(msg_print(s, MSG_txn, enc_view(&e)));
    char *x = g_strnfill(64, 'x');
    char *want =
        g_strdup_printf("txn client=1 seq=2 acked_below=0 compares=[] reads=[] writes=[{ op=1 "
                        "key=\"a\\x0a\\\"b\" hi=\"\" arg=0 value=\"%s\"+36 }]",
                        x);
    assert_string_equal(s->str, want);
    g_free(x);
    g_free(want);
    g_string_free(s, TRUE);
}

TEST(a_type_has_a_name_and_a_stranger_none)
{
    assert_string_equal(msg_name(MSG_raft_wire), "raft_wire");
    assert_string_equal(msg_name(65000), "?");
    GString *s = g_string_new(NULL);
    assert_false(msg_print(s, 65000, BYTES_NONE));
    assert_false(msg_print(s, MSG_txn, bytes_str("x")));
    g_string_free(s, TRUE);
}

/* --- frames ------------------------------------------------------------------------------------
 */

static struct enc two_frames(void)
{
    struct enc e = {0};
    struct msg_wait wait = {.key = bytes_str("k"), .version = 1};
    struct msg_keepalive keepalive = {.client = 9};
    FRAME(&e, wait, 77, &wait);
    FRAME(&e, keepalive, 78, &keepalive);
    return e;
}

TEST(frames_are_taken_one_by_one_from_a_stream)
{
    CLEANUP(enc_finish) struct enc e = two_frames();
    CLEANUP(arena_finish) struct arena a = {0};
    struct frame f;
    size_t used, second;
    T_OK(frame_parse(enc_view(&e), &f, &used));
    assert_int_equal(f.type, MSG_wait);
    assert_true(f.id == 77);
    struct msg_wait m;
    T_OK(dec_wait(f.body, &a, &m));
    T_OK(frame_parse(bytes_of(e.p + used, e.n - used), &f, &second));
    assert_int_equal(f.type, MSG_keepalive);
    assert_true(f.id == 78);
    assert_int_equal(used + second, e.n);
}

TEST(a_partial_frame_asks_for_the_right_number_of_bytes)
{
    CLEANUP(enc_finish) struct enc e = two_frames();
    struct frame f;
    size_t whole, used;
    T_OK(frame_parse(enc_view(&e), &f, &whole));
    for (size_t n = 0; n < whole; n++) {
        struct bytes in = exact_copy(bytes_of(e.p, n));
        T_ERR(ERR_BUSY, frame_parse(in, &f, &used));
        assert_int_equal(used, n < FRAME_HEAD ? FRAME_HEAD : whole);
        free_bytes(in);
    }
}

TEST(any_flipped_bit_of_a_frame_is_found)
{
    CLEANUP(enc_finish) struct enc e = two_frames();
    struct frame f;
    size_t whole, used;
    T_OK(frame_parse(enc_view(&e), &f, &whole));
    for (size_t bit = 0; bit < whole * 8; bit++) {
        e.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        T_ERR(ERR_INVALID, frame_parse(bytes_of(e.p, whole), &f, &used));
        e.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Sets one header byte and makes the header's checksum right again. */
static int parse_with(size_t at, uint8_t value)
{
    CLEANUP(enc_finish) struct enc e = two_frames();
    struct frame f;
    size_t used;
    e.p[at] = value;
    put_le32(e.p + 28, crc32c(0, e.p, 28));
    return frame_parse(enc_view(&e), &f, &used);
}

TEST(a_header_with_a_right_checksum_must_still_be_right)
{
    assert_int_equal(parse_with(0, 'R'), 0);
    assert_int_equal(parse_with(0, 'X'), -ERR_INVALID);
    assert_int_equal(parse_with(4, FRAME_VERSION + 1), -ERR_INVALID);
    assert_int_equal(parse_with(5, 1), -ERR_INVALID);
    assert_int_equal(parse_with(24, 1), -ERR_INVALID);
    assert_int_equal(parse_with(11, 0xff),
                     -ERR_INVALID); /* a body of gigabytes is not waited for */
}

TEST(a_stranger_is_refused_at_the_first_byte)
{
    struct frame f;
    size_t used;
    T_ERR(ERR_INVALID, frame_parse(bytes_str("G"), &f, &used));
    T_ERR(ERR_BUSY, frame_parse(BYTES_NONE, &f, &used));
    assert_int_equal(used, FRAME_HEAD);
}

TEST(a_body_of_the_maximum_passes)
{
    CLEANUP(enc_finish) struct enc e = {0};
    size_t at = frame_begin(&e);
    uint8_t *big = g_malloc0(FRAME_BODY_MAX);
    enc_raw(&e, big, FRAME_BODY_MAX);
    frame_end(&e, at, MSG_status, 1);
    struct frame f;
    size_t used;
    T_OK(frame_parse(enc_view(&e), &f, &used));
    assert_int_equal(f.body.n, FRAME_BODY_MAX);
    g_free(big);
}

T_MAIN(T(every_message_is_the_same_after_encode_decode_encode),
       T(every_proper_prefix_of_a_message_is_refused), T(a_trailing_byte_is_refused),
       T(flipped_bits_decode_to_something_else_or_are_refused),
       T(random_bytes_never_crash_a_decoder), T(a_count_over_its_maximum_is_refused),
       T(a_hostile_count_allocates_nothing), T(decoded_bytes_are_borrowed_from_the_input),
       T(a_printed_message_is_one_line_with_escaped_and_cut_bytes),
       T(a_type_has_a_name_and_a_stranger_none), T(frames_are_taken_one_by_one_from_a_stream),
       T(a_partial_frame_asks_for_the_right_number_of_bytes),
       T(any_flipped_bit_of_a_frame_is_found),
       T(a_header_with_a_right_checksum_must_still_be_right),
       T(a_stranger_is_refused_at_the_first_byte), T(a_body_of_the_maximum_passes))
