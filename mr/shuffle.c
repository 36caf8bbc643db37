/* SPDX-License-Identifier: Apache-2.0 */
/* The reducer's side of the shuffle: sections of all maps into one scratch file. */
#include "mr/attempt_impl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define FETCH_BYTES    MIB(1)
#define FETCH_TRIES    4
#define FETCH_PAUSE_MS 250 /* doubled each time */
#define ASK_MS         10000

/* One question to one node; the reply's bytes live as long as *hold or *own. */
static int ask(struct attempt *a, uint32_t node, const struct msg_fetch *m, struct arena *arena,
               struct enc *own, struct buf **hold, struct msg_fetch_reply *ret)
{
    struct bytes body;
    int rc = 0;
    if (node == a->s->o.node) {
        mr_service_fetch(a->s, m, own);
        body = enc_view(own);
    } else if (a->s->o.fetch) {
        rc = a->s->o.fetch(a->s->o.ctx, node, m, own);
        body = enc_view(own);
    } else {
        struct enc q CLEANUP(enc_finish) = {0};
        unsigned type;
        enc_fetch(&q, m);
        rc = client_ask_node(a->door->client, node, MSG_fetch, enc_view(&q), ASK_MS, &type, hold);
        if (rc == 0 && type != MSG_fetch_reply)
            rc = -ERR_INVALID;
        body = buf_bytes(*hold);
    }
    if (rc == 0)
        rc = dec_fetch_reply(body, arena, ret);
    return rc < 0 ? rc : -(int)ret->status;
}

static int append(int fd, uint64_t off, struct bytes b)
{
    for (size_t at = 0; at < b.n;) {
        ssize_t k = pwrite(fd, b.p + at, b.n - at, (off_t)(off + at));
        if (k < 0 && errno != EINTR)
            return -errno;
        at += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

/* The whole section to the file's offset `at`. *ret_local: the fault is our own disk's. */
static int fetch_section(struct attempt *a, uint32_t node, struct msg_fetch m, uint64_t at,
                         uint64_t *ret_bytes, bool *ret_local)
{
    uint64_t size = 1;
    for (m.off = 0; m.off < size;) {
        struct arena arena CLEANUP(arena_finish) = {0};
        struct enc own CLEANUP(enc_finish) = {0};
        struct buf *hold CLEANUP(buf_unref) = NULL;
        struct msg_fetch_reply r = {0};
        if (attempt_stopped(a))
            return -ERR_CANCELED;
        int rc = ask(a, node, &m, &arena, &own, &hold, &r);
        if (rc < 0)
            return rc;
        if (m.off && r.size != size)
            return -ERR_CORRUPT;
        size = r.size;
        if (m.off < size && !r.data.n)
            return -ERR_CORRUPT;
        int no = append(a->file_fd, at + m.off, r.data);
        if (no < 0) {
            *ret_local = true;
            return err_from_errno(-no);
        }
        m.off += r.data.n;
        a->bytes_in += r.data.n;
        attempt_touch(a);
    }
    *ret_bytes = m.off;
    return 0;
}

/* Tells the coordinator that this map's output cannot be had. Lost if somebody else writes first:
 * the next reduce that fails will say it again. */
static void blame(struct attempt *a, struct state_task *map)
{
    struct state_task t;
    int rc =
        state_task(&a->state, &a->arena, attempt_job(a), a->epoch, TASK_MAP, map->rec.index, &t);
    if (rc < 0 || t.rec.winner != map->rec.winner)
        return;
    t.rec.blames++;
    struct state_task *one = &t;
    rc = state_put_tasks(&a->state, attempt_job(a), &a->rec, JOB_HEAD_RUN, &one, 1);
    if (rc == 0)
        service_log(a->s, LOG_WARN, "shuffle job=%s map=%u cannot be fetched", a->job,
                    map->rec.index);
}

static int fetch_map(struct attempt *a, struct state_task *map, uint64_t at, uint64_t *ret_bytes)
{
    const struct attempt_record *won = task_attempt(&map->rec, map->rec.winner);
    struct msg_fetch m = {
        .job = attempt_job(a),
        .epoch = a->epoch,
        .task = map->rec.index,
        .attempt = map->rec.winner,
        .partition = a->task,
        .len = (uint32_t)FETCH_BYTES,
    };
    bool local = false;
    int rc = -ERR_NOT_FOUND;
    for (int i = 0, pause = FETCH_PAUSE_MS; won && i < FETCH_TRIES; i++, pause *= 2) {
        rc = fetch_section(a, won->node, m, at, ret_bytes, &local);
        if (rc == 0 || rc == -ERR_CANCELED || rc == -ERR_NOT_FOUND || local)
            break;
        struct pollfd p = {a->cancel.fd, POLLIN, 0};
        poll(&p, 1, pause);
    }
    if (rc == 0 || attempt_stopped(a))
        return rc;
    if (local) {
        a->end.state = ATTEMPT_FAILED;
        return errmsg_set(&a->msg, rc, "writing fetched map output: %s", err_text(rc));
    }
    blame(a, map);
    a->end.state = ATTEMPT_LOST;
    return errmsg_set(&a->msg, rc, "fetching the output of m-%05u from node %u: %s", map->rec.index,
                      won ? won->node : 0, err_text(rc));
}

int attempt_fetch(struct attempt *a, struct state_task *maps, uint32_t n, GArray *ret)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct fetched_run r = {.off = at};
        int rc = fetch_map(a, &maps[i], at, &r.bytes);
        if (rc < 0)
            return rc;
        at += r.bytes;
        g_array_append_val(ret, r);
    }
    a->bytes_total = at;
    attempt_count(a, bytes_str("raftfs\tshuffle-bytes"), at, false);
    return 0;
}
