/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/attempt_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define CHUNK MIB(1)

int output_open(struct output *o, struct attempt *a)
{
    struct volume_attr attr;
    *o = (struct output){.a = a};
    char *name = g_strdup_printf("%s.%u", a->name, a->number);
    int rc = volume_create(a->door->volume, a->rec.work_dir, name, &a->who.owner, 0644, O_WRONLY,
                           &o->file, &attr);
    if (rc < 0) {
        g_free(name);
        return rc;
    }
    a->out_name = name;
    a->end.out_ino = attr.ino;
    o->p = g_malloc(CHUNK);
    return 0;
}

static void write_out(struct output *o)
{
    for (size_t at = 0; at < o->n && !o->error;) {
        int64_t k = volume_write(o->file, o->p + at, o->n - at, o->off, &o->a->who.owner);
        if (k <= 0) {
            o->error = k < 0 ? (int)k : -EIO;
            break;
        }
        at += (size_t)k;
        o->off += (uint64_t)k;
    }
    o->n = 0;
}

void output_add(struct output *o, const uint8_t *p, size_t n)
{
    for (const uint8_t *q = p, *end = p + n; (q = memchr(q, '\n', (size_t)(end - q))); q++)
        o->lines++;
    while (n) {
        size_t k = MIN(n, CHUNK - o->n);
        memcpy(o->p + o->n, p, k);
        o->n += k;
        p += k;
        n -= k;
        if (o->n == CHUNK)
            write_out(o);
    }
}

int output_close(struct output *o)
{
    if (!o->file)
        return 0;
    write_out(o);
    if (!o->error)
        o->error = volume_fsync(o->file);
    if (!o->error)
        o->error = volume_flush(o->file);
    volume_file_close(TAKE(o->file));
    g_free(TAKE(o->p));
    return o->error;
}
