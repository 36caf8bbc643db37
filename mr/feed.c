/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/attempt_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "mr/split.h"
#include "mr/taskio.h"

#define CHUNK MIB(1)

/* 1: the reader went away (its end tells why); 0: sent. */
static int send_frame(struct feeder *f, enum task_frame type, const void *p, size_t n)
{
    uint8_t head[TASK_FRAME_HEAD];
    task_frame_head(head, type, n);
    struct iovec v[2] = {{head, sizeof head}, {(void *)(uintptr_t)p, n}};
    unsigned at = 0;
    while (at < 2) {
        ssize_t k = writev(f->fd, v + at, (int)(2 - at));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return 1;
        while (at < 2 && (size_t)k >= v[at].iov_len)
            k -= (ssize_t)v[at++].iov_len;
        if (at < 2) {
            v[at].iov_base = (uint8_t *)v[at].iov_base + k;
            v[at].iov_len -= (size_t)k;
        }
    }
    attempt_touch(f->a);
    return 0;
}

static int input_error(struct feeder *f, const struct split_record *s, int no)
{
    return errmsg_set(&f->msg, err_from_errno(no), "reading %.*s: %s", (int)s->path.n,
                      (const char *)s->path.p, strerror(no));
}

/* The file must still be what was planned, and the job's user allowed to read it. */
static int check_input(struct feeder *f, const struct split_record *s)
{
    struct volume_attr attr;
    int rc = volume_getattr(f->a->door->volume, s->ino, &attr);
    if (rc == -ENOENT || rc == -ESTALE ||
        (rc == 0 && (attr.data_version != s->data_version || attr.size != s->size))) {
        f->changed = true;
        return errmsg_set(&f->msg, -ERR_FAILED,
                          "input changed: %.*s is not what it was when the job began",
                          (int)s->path.n, (const char *)s->path.p);
    }
    if (rc < 0)
        return input_error(f, s, -rc);
    if (!volume_access(&attr, &f->a->who.reads, R_OK))
        return input_error(f, s, EACCES);
    return 0;
}

static int feed_data(struct feeder *f, const uint8_t *p, size_t n)
{
    f->a->bytes_in += n;
    return n ? send_frame(f, TASK_DATA, p, n) : 0;
}

static int feed_split(struct feeder *f, struct volume_file *file, const struct split_record *s,
                      uint8_t *buf)
{
    /* A whole file for a command goes as it is: it may not be text. */
    bool verbatim = f->a->spec->split == 0 && f->a->spec->map.builtin == BUILTIN_NONE;
    struct line_split l;
    int rc = 0;
    split_init(&l, s->start, s->end);
    while (rc == 0 && !l.done && !attempt_stopped(f->a)) {
        size_t from, to;
        uint64_t at = l.at;
        int64_t k = volume_read(file, buf, CHUNK, at);
        if (k < 0)
            return input_error(f, s, (int)-k);
        if (k == 0)
            break;
        split_feed(&l, buf, (size_t)k, &from, &to);
        if (verbatim) {
            from = 0;
            to = (size_t)k;
            l.done = at + (uint64_t)k >= s->size;
        }
        rc = feed_data(f, buf + from, to - from);
    }
    if (rc == 0 && !verbatim && split_needs_newline(&l))
        rc = feed_data(f, (const uint8_t *)"\n", 1);
    return rc;
}

static int feed_segment(struct feeder *f, const struct split_record *s, uint8_t *buf)
{
    struct enc head = {0};
    struct volume_file *file;
    int rc = check_input(f, s);
    if (rc < 0)
        return rc;
    int no = volume_file_open(f->a->door->volume, s->ino, O_RDONLY, &f->a->who.reads, &file);
    if (no < 0)
        return input_error(f, s, -no);
    enc_u64(&head, s->start);
    enc_u64(&head, s->end - s->start);
    enc_raw(&head, s->path.p, s->path.n);
    rc = send_frame(f, TASK_SEGMENT, head.p, head.n);
    enc_finish(&head);
    if (rc == 0)
        rc = feed_split(f, file, s, buf);
    volume_file_close(file);
    if (rc == 0) /* nothing else may have been read in between */
        rc = check_input(f, s);
    if (rc == 0)
        rc = send_frame(f, TASK_SEGMENT_END, NULL, 0);
    return rc;
}

static int feed_all(struct feeder *f)
{
    struct bytes spec = f->a->rec.spec;
    int rc = send_frame(f, TASK_SPEC, spec.p, spec.n);
    uint8_t *buf = g_malloc(CHUNK);
    for (uint32_t i = 0; i < f->n_splits && rc == 0 && !attempt_stopped(f->a); i++)
        rc = feed_segment(f, &f->splits[i], buf);
    g_free(buf);
    for (guint i = 0; f->runs && i < f->runs->len && rc == 0; i++) {
        const struct fetched_run *r = &g_array_index(f->runs, struct fetched_run, i);
        uint8_t p[16];
        put_le64(p, r->off);
        put_le64(p + 8, r->bytes);
        rc = send_frame(f, TASK_RUN, p, sizeof p);
    }
    if (rc == 0 && !attempt_stopped(f->a))
        rc = send_frame(f, TASK_END, NULL, 0);
    return rc;
}

static void *feeder_main(void *arg)
{
    struct feeder *f = arg;
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
    volume_thread_cancel(&f->a->cancel);
    int rc = feed_all(f);
    f->error = MIN(rc, 0);
    close(f->fd);
    volume_thread_cancel(NULL);
    return NULL;
}

int feeder_start(struct feeder *f)
{
    if (pthread_create(&f->thread, NULL, feeder_main, f) == 0)
        return 0;
    close(f->fd);
    return -ERR_NO_MEMORY;
}

void feeder_join(struct feeder *f)
{
    pthread_join(f->thread, NULL);
}
