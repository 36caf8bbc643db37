/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/outbuf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void outbuf_init(struct outbuf *o, int fd, size_t cap)
{
    *o = (struct outbuf){.fd = fd, .cap = cap, .p = g_malloc(cap)};
}

void outbuf_finish(struct outbuf *o)
{
    g_free(o->p);
    o->p = NULL;
}

static void write_out(struct outbuf *o, const uint8_t *p, size_t n)
{
    while (n && !o->error) {
        ssize_t k = write(o->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            o->error = errno;
            return;
        }
        p += k;
        n -= (size_t)k;
    }
}

static void empty(struct outbuf *o)
{
    write_out(o, o->p, o->n);
    o->n = 0;
}

int outbuf_flush(struct outbuf *o)
{
    empty(o);
    return o->error;
}

void outbuf_raw(struct outbuf *o, const void *p, size_t n)
{
    if (o->n + n > o->cap)
        empty(o);
    if (n >= o->cap) {
        write_out(o, p, n);
        return;
    }
    if (n)
        memcpy(o->p + o->n, p, n);
    o->n += n;
}

void outbuf_record(struct outbuf *o, const struct record *r, char sep)
{
    outbuf_raw(o, r->key.p, r->key.n);
    if (r->has_value) {
        outbuf_raw(o, &sep, 1);
        outbuf_raw(o, r->value.p, r->value.n);
    }
    outbuf_raw(o, "\n", 1);
    o->lines++;
}

void outbuf_number(struct outbuf *o, struct bytes key, char sep, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)v);
    struct record r = {key, bytes_of(text, (size_t)n), true};
    outbuf_record(o, &r, sep);
}
