/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbuf.h - lines gathered into large writes to a blocking descriptor. One thread.
 *
 * Fails stickily: after a failed write everything else is swallowed and outbuf_flush tells.
 */
#pragma once

#include "mr/record.h"

struct outbuf {
    int fd;
    int error; /* errno of the first failed write; 0 */
    size_t n, cap;
    uint8_t *p;
    uint64_t lines;
};

void outbuf_init(struct outbuf *o, int fd, size_t cap);
void outbuf_finish(struct outbuf *o); /* does not flush */
void outbuf_raw(struct outbuf *o, const void *p, size_t n);
/* key, and if there is a value the separator and the value, and a newline. */
void outbuf_record(struct outbuf *o, const struct record *r, char sep);
void outbuf_number(struct outbuf *o, struct bytes key, char sep, int64_t v);
/* 0 or a positive errno. */
NODISCARD int outbuf_flush(struct outbuf *o);
