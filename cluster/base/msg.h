/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.h - structs, encoders, decoders and printers made from msg.def.h.
 *
 * For each part and message NAME: struct msg_NAME (parts: struct NAME), and
 *   void enc_NAME(struct enc *, const struct msg_NAME *)
 *   int  dec_NAME(struct bytes, struct arena *, struct msg_NAME *ret)   -ERR_INVALID
 *   void print_NAME(GString *, const struct msg_NAME *)                 one line, for traces and logs
 * Lists are arrays in the arena; BYTES are borrowed from the input. Printers escape bytes and cut
 * values at 64 bytes. All pure. Encoders assert the maxima of lists and frame_end FRAME_BODY_MAX: who
 * fills a message from input checks first.
 */
#pragma once

#include <glib.h>
#include "cluster/base/arena.h"
#include "cluster/base/codec.h"
#include "cluster/base/err.h"
#include "cluster/base/limits.h"
#include "cluster/base/msg.def.h"

#define MSG_TYPE_U8    uint8_t
#define MSG_TYPE_U16   uint16_t
#define MSG_TYPE_U32   uint32_t
#define MSG_TYPE_U64   uint64_t
#define MSG_TYPE_BYTES struct bytes

#define MSG_FIELD(kind, name)           MSG_TYPE_##kind name;
#define MSG_FIELD_LIST(type, name, max) uint32_t n_##name; struct type *name;

#define MSG_PART(name, fields) struct name { fields(MSG_FIELD, MSG_FIELD_LIST) };
MSG_PARTS(MSG_PART)
#undef MSG_PART

#define MSG_STRUCT(name, number, fields) struct msg_##name { fields(MSG_FIELD, MSG_FIELD_LIST) };
MSG_LIST(MSG_STRUCT)
#undef MSG_STRUCT

enum msg_type {
#define MSG_ENUM(name, number, fields) MSG_##name = (number),
    MSG_LIST(MSG_ENUM)
#undef MSG_ENUM
};

#define MSG_PROTO(name, number, fields)                                                            \
    void enc_##name(struct enc *e, const struct msg_##name *m);                                    \
    NODISCARD int dec_##name(struct bytes in, struct arena *a, struct msg_##name *ret);            \
    void print_##name(GString *s, const struct msg_##name *m);
MSG_LIST(MSG_PROTO)
#undef MSG_PROTO

const char *msg_name(unsigned type); /* "txn", or "?" */
/* Prints any message from its type and encoded body; false if it does not decode. */
bool msg_print(GString *s, unsigned type, struct bytes body);

/*
 * Frame: a fixed header before each message body.
 *
 *   offset size
 *   0      4    magic "RFS1"
 *   4      1    version (1)
 *   5      1    flags, 0
 *   6      2    message type
 *   8      4    body length, at most FRAME_BODY_MAX
 *   12     4    crc32c of the body (0 over TLS is not special: always checked)
 *   16     8    request id: chosen by the asker, echoed by the answer
 *   24     4    reserved, 0
 *   28     4    crc32c of bytes 0..27
 *
 * A header is valid if and only if magic, version, reserved fields and crc are right and the length
 * is within the limit; so the length is trusted before the body is read.
 */
#define FRAME_HEAD    32
#define FRAME_VERSION 1

struct frame {
    uint16_t type;
    uint64_t id;
    struct bytes body;
};

/* Appends header and body of message `type` made by fn(e, m): FRAME(e, txn, id, &m). */
#define FRAME(e, name, id, m)                                                                      \
    do {                                                                                           \
        size_t at_ = frame_begin(e);                                                               \
        enc_##name((e), (m));                                                                      \
        frame_end((e), at_, MSG_##name, (id));                                                     \
    } while (0)
size_t frame_begin(struct enc *e);
void frame_end(struct enc *e, size_t at, unsigned type, uint64_t id);

/* Looks at the start of `in`. 0 and a borrowed frame, *ret_used its length; or -ERR_BUSY: more bytes
 * needed (*ret_used then is the total length wanted, FRAME_HEAD while even that is unknown); or
 * -ERR_INVALID: not a frame of ours, close the connection. */
NODISCARD int frame_parse(struct bytes in, struct frame *ret, size_t *ret_used);
