/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything here is made from the field lists of msg.def.h: for each part and message one put_
 * (encode), one get_ (decode) and one show_ (print) function, and the public functions around them.
 */
#include "cluster/base/msg.h"

#define SHOWN_BYTES_MAX 64

/* --- fields ----------------------------------------------------------------------------------- */

#define PUT_U8(e, v)    enc_u8((e), (v))
#define PUT_U16(e, v)   enc_u16((e), (v))
#define PUT_U32(e, v)   enc_u32((e), (v))
#define PUT_U64(e, v)   enc_u64((e), (v))
#define PUT_BYTES(e, v) enc_bytes((e), (v))

#define GET_U8(d)    dec_u8(d)
#define GET_U16(d)   dec_u16(d)
#define GET_U32(d)   dec_u32(d)
#define GET_U64(d)   dec_u64(d)
#define GET_BYTES(d) dec_bytes(d)

#define SHOW_U8(s, v)    show_number((s), (v))
#define SHOW_U16(s, v)   show_number((s), (v))
#define SHOW_U32(s, v)   show_number((s), (v))
#define SHOW_U64(s, v)   show_number((s), (v))
#define SHOW_BYTES(s, v) show_bytes((s), (v))

/* The least bytes a field takes in a message. */
#define LEAST_U8    1
#define LEAST_U16   2
#define LEAST_U32   4
#define LEAST_U64   8
#define LEAST_BYTES 4

static void show_number(GString *s, uint64_t v)
{
    g_string_append_printf(s, "%llu", (unsigned long long)v);
}

static void show_bytes(GString *s, struct bytes b)
{
    g_string_append_c(s, '"');
    for (size_t i = 0; i < MIN(b.n, SHOWN_BYTES_MAX); i++) {
        uint8_t c = b.p[i];
        if (c == '"' || c == '\\')
            g_string_append_printf(s, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f)
            g_string_append_c(s, (char)c);
        else
            g_string_append_printf(s, "\\x%02x", c);
    }
    g_string_append_c(s, '"');
    if (b.n > SHOWN_BYTES_MAX)
        g_string_append_printf(s, "+%zu", b.n - SHOWN_BYTES_MAX);
}

/* --- parts: encode, decode, print ------------------------------------------------------------- */

#define LEAST_FIELD(kind, name)     +LEAST_##kind
#define LEAST_LIST(type, name, max) +4
#define LEAST_PART(name, fields)    enum { LEAST_SIZE_##name = 0 fields(LEAST_FIELD, LEAST_LIST) };
MSG_PARTS(LEAST_PART)

#define PUT_FIELD(kind, name) PUT_##kind(e, m->name);
#define PUT_LIST(type, name, max)                                                                  \
    ASSERT(m->n_##name <= (max));                                                                  \
    enc_u32(e, m->n_##name);                                                                       \
    for (uint32_t i = 0; i < m->n_##name; i++)                                                     \
        put_##type(e, &m->name[i]);

/* A count is believed only if so many elements can be in what is left, so a hostile one cannot make
 * us allocate more than a small multiple of the bytes it was sent with. */
static uint32_t get_count(struct dec *d, uint32_t max, size_t least)
{
    uint32_t n = dec_u32(d);
    if (n > max || n > d->n / least) {
        d->bad = true;
        d->n = 0;
        return 0;
    }
    return n;
}

#define GET_FIELD(kind, name) m->name = GET_##kind(d);
#define GET_LIST(type, name, max)                                                                  \
    m->n_##name = get_count(d, (max), LEAST_SIZE_##type);                                          \
    m->name = m->n_##name ? arena_array(a, m->n_##name, sizeof(*m->name)) : NULL;                  \
    for (uint32_t i = 0; i < m->n_##name && !d->bad; i++)                                          \
        get_##type(d, a, &m->name[i]);

#define SHOW_FIELD(kind, name)                                                                     \
    g_string_append(s, " " #name "=");                                                             \
    SHOW_##kind(s, m->name);
#define SHOW_LIST(type, name, max)                                                                 \
    g_string_append(s, " " #name "=[");                                                            \
    for (uint32_t i = 0; i < m->n_##name; i++) {                                                   \
        g_string_append(s, "{");                                                                   \
        show_##type(s, &m->name[i]);                                                               \
        g_string_append(s, " }");                                                                  \
    }                                                                                              \
    g_string_append(s, "]");

#define PUT_PART(name, fields)                                                                     \
    static void put_##name(struct enc *e, const struct name *m)                                    \
    {                                                                                              \
        fields(PUT_FIELD, PUT_LIST)                                                                \
    }
MSG_PARTS(PUT_PART)

#define GET_PART(name, fields)                                                                     \
    static void get_##name(struct dec *d, struct arena *a, struct name *m)                         \
    {                                                                                              \
        fields(GET_FIELD, GET_LIST)                                                                \
    }
MSG_PARTS(GET_PART)

#define SHOW_PART(name, fields)                                                                    \
    static void show_##name(GString *s, const struct name *m)                                      \
    {                                                                                              \
        fields(SHOW_FIELD, SHOW_LIST)                                                              \
    }
MSG_PARTS(SHOW_PART)

/* --- messages --------------------------------------------------------------------------------- */

#define ENC_MSG(name, number, fields)                                                              \
    void enc_##name(struct enc *e, const struct msg_##name *m)                                     \
    {                                                                                              \
        fields(PUT_FIELD, PUT_LIST)                                                                \
    }
MSG_LIST(ENC_MSG)

#define GET_MSG(name, number, fields)                                                              \
    static void get_msg_##name(struct dec *d, struct arena *a, struct msg_##name *m)               \
    {                                                                                              \
        fields(GET_FIELD, GET_LIST)                                                                \
    }
MSG_LIST(GET_MSG)

#define DEC_MSG(name, number, fields)                                                              \
    int dec_##name(struct bytes in, struct arena *a, struct msg_##name *ret)                       \
    {                                                                                              \
        struct dec d = dec_of(in);                                                                 \
        struct msg_##name m;                                                                       \
        get_msg_##name(&d, a, &m);                                                                 \
        if (!dec_done(&d))                                                                         \
            return -ERR_INVALID;                                                                   \
        *ret = m;                                                                                  \
        return 0;                                                                                  \
    }
MSG_LIST(DEC_MSG)

#define PRINT_MSG(name, number, fields)                                                            \
    void print_##name(GString *s, const struct msg_##name *m)                                      \
    {                                                                                              \
        g_string_append(s, #name);                                                                 \
        fields(SHOW_FIELD, SHOW_LIST)                                                              \
    }
MSG_LIST(PRINT_MSG)

const char *msg_name(unsigned type)
{
    switch (type) {
#define NAME_CASE(name, number, fields)                                                            \
    case MSG_##name:                                                                               \
        return #name;
        MSG_LIST(NAME_CASE)
    }
    return "?";
}

/* A function for each message: a switch of blocks would need the stack of all of them at once. */
#define DECODE_AND_PRINT(name, number, fields)                                                     \
    static bool decode_and_print_##name(GString *s, struct arena *a, struct bytes body)            \
    {                                                                                              \
        struct msg_##name m;                                                                       \
        if (dec_##name(body, a, &m) < 0)                                                           \
            return false;                                                                          \
        print_##name(s, &m);                                                                       \
        return true;                                                                               \
    }
MSG_LIST(DECODE_AND_PRINT)

bool msg_print(GString *s, unsigned type, struct bytes body)
{
    CLEANUP(arena_finish) struct arena a = {0};
    switch (type) {
#define PRINT_CASE(name, number, fields)                                                           \
    case MSG_##name:                                                                               \
        return decode_and_print_##name(s, &a, body);
        MSG_LIST(PRINT_CASE)
    }
    return false;
}

/* --- frames ----------------------------------------------------------------------------------- */

static const uint8_t magic[4] = {'R', 'F', 'S', '1'};

size_t frame_begin(struct enc *e)
{
    static const uint8_t zero[FRAME_HEAD];
    size_t at = e->n;
    enc_raw(e, zero, sizeof(zero));
    return at;
}

void frame_end(struct enc *e, size_t at, unsigned type, uint64_t id)
{
    ASSERT(at + FRAME_HEAD <= e->n && type <= UINT16_MAX);
    uint8_t *h = e->p + at;
    size_t body = e->n - at - FRAME_HEAD;
    ASSERT(body <= FRAME_BODY_MAX);
    memcpy(h, magic, sizeof(magic));
    h[4] = FRAME_VERSION;
    h[6] = (uint8_t)type;
    h[7] = (uint8_t)(type >> 8);
    put_le32(h + 8, (uint32_t)body);
    put_le32(h + 12, crc32c(0, h + FRAME_HEAD, body));
    put_le64(h + 16, id);
    put_le32(h + 28, crc32c(0, h, 28));
}

int frame_parse(struct bytes in, struct frame *ret, size_t *ret_used)
{
    /* A stranger (a browser, a port scan) is turned away at its first bytes. */
    size_t seen = MIN(in.n, sizeof(magic));
    if (seen && memcmp(in.p, magic, seen) != 0)
        return -ERR_INVALID;
    if (in.n < FRAME_HEAD) {
        *ret_used = FRAME_HEAD;
        return -ERR_BUSY;
    }
    const uint8_t *h = in.p;
    uint32_t body = get_le32(h + 8);
    if (get_le32(h + 28) != crc32c(0, h, 28) || h[4] != FRAME_VERSION || h[5] != 0 ||
        get_le32(h + 24) != 0 || body > FRAME_BODY_MAX)
        return -ERR_INVALID;
    *ret_used = FRAME_HEAD + (size_t)body;
    if (in.n < FRAME_HEAD + (size_t)body)
        return -ERR_BUSY;
    if (get_le32(h + 12) != crc32c(0, h + FRAME_HEAD, body))
        return -ERR_INVALID;
    *ret = (struct frame){
        .type = (uint16_t)(h[6] | (h[7] << 8)),
        .id = get_le64(h + 16),
        .body = bytes_of(h + FRAME_HEAD, body),
    };
    return 0;
}
