/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - one request until it is answered.
 *
 * The request goes to the node thought to lead. NOT_LEADER with a hint goes straight there; without
 * one, and when a node does not answer, the next node is asked, with a back-off once all were. The
 * frame never changes, so whoever executes it sees the same (client, seq).
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "cluster/client/impl.h"

int client_cancel_init(struct client_cancel *x)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return err_from_errno(errno);
    x->fd = fd;
    return 0;
}

void client_cancel_finish(struct client_cancel *x)
{
    if (x->fd >= 0)
        (void)close(x->fd);
    x->fd = -1;
}

void client_cancel_fire(struct client_cancel *x)
{
    (void)eventfd_write(x->fd, 1);
}

void client_cancel_reset(struct client_cancel *x)
{
    eventfd_t n;

    (void)eventfd_read(x->fd, &n);
}

bool cancel_fired(struct client_cancel *cancel)
{
    struct pollfd p = {.fd = cancel ? cancel->fd : -1, .events = POLLIN};

    return cancel && poll(&p, 1, 0) > 0;
}

int cancel_sleep(struct client_cancel *cancel, unsigned ms, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = cancel ? cancel->fd : -1, .events = POLLIN};

    if (deadline_ns) {
        uint64_t now = clock_mono_ns();
        if (now >= deadline_ns)
            return -ERR_TIMEOUT;
        ms = (unsigned)MIN(ms, (deadline_ns - now) / 1000000u + 1);
    }
    return poll(&p, 1, (int)ms) > 0 ? -ERR_CANCELED : 0;
}

struct client_call *call_create(struct client *c, unsigned attempt_ms)
{
    struct client_call *call = g_new0(struct client_call, 1);
    int leader = pool_find(c, __atomic_load_n(&c->leader, __ATOMIC_RELAXED));

    call->request = __atomic_add_fetch(&c->next_request, 1, __ATOMIC_RELAXED);
    call->attempt_ms = attempt_ms;
    call->node = leader >= 0 ? (unsigned)leader : (unsigned)(call->request % c->n_nodes);
    call->backoff_ms = BACKOFF_MIN_MS;
    return call;
}

void call_destroy(struct client_call *call)
{
    if (!call)
        return;
    wire_close(call->wire);
    enc_finish(&call->frame);
    buf_unref(call->reply);
    g_free(call);
}

unsigned call_status(const struct client_call *call, struct errmsg *msg)
{
    struct dec d = dec_of(buf_bytes(call->reply));
    unsigned status = dec_u16(&d); /* every answer begins with it */

    if (call->reply_type == MSG_status) {
        (void)dec_u32(&d);
        struct bytes detail = dec_bytes(&d);
        if (detail.n)
            errmsg_set(msg, 0, "%.*s", (int)MIN(detail.n, 400u), (const char *)detail.p);
    }
    return dec_ok(&d) ? status : ERR_INVALID;
}

static uint32_t leader_hint(const struct client_call *call)
{
    struct dec d = dec_of(buf_bytes(call->reply));

    if (call->reply_type != MSG_status)
        return 0;
    (void)dec_u16(&d);
    return dec_u32(&d);
}

/* The next node, and a pause once all have been asked in vain. */
static int next_node(struct client *c, struct client_call *call, uint64_t deadline_ns,
                     struct client_cancel *cancel)
{
    uint32_t asked = c->nodes[call->node].id;

    __atomic_compare_exchange_n(&c->leader, &asked, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    call->node = (call->node + 1) % c->n_nodes;
    if (++call->tried < c->n_nodes)
        return 0;
    call->tried = 0;
    unsigned ms = call->backoff_ms;
    call->backoff_ms = MIN(ms * 2, BACKOFF_MAX_MS);
    return cancel_sleep(cancel, ms, deadline_ns);
}

/* Takes a wire and writes the frame; -ERR_CANCELED, or the error of the node. */
static int send_once(struct client *c, struct client_call *call, uint64_t deadline_ns,
                     struct client_cancel *cancel, struct errmsg *msg)
{
    uint64_t attempt_ns = deadline_in(call->attempt_ms);
    int r = pool_take(c, call->node, deadline_ns, cancel, &call->wire, &call->generation, msg);

    if (r < 0)
        return r;
    call->ever_sent = true;
    call->sent_ns = clock_mono_ns();
    r = wire_send(call->wire, enc_view(&call->frame),
                  deadline_ns ? MIN(deadline_ns, attempt_ns) : attempt_ns, cancel);
    if (r < 0)
        return r;
    __atomic_fetch_add(&c->stats.bytes_out, call->frame.n, __ATOMIC_RELAXED);
    return 0;
}

static int receive_once(struct client *c, struct client_call *call, uint64_t deadline_ns,
                        struct client_cancel *cancel)
{
    uint64_t attempt_ns = call->sent_ns + (uint64_t)call->attempt_ms * 1000000u;
    struct frame f;

    do {
        int r = wire_recv(call->wire, &f, deadline_ns ? MIN(deadline_ns, attempt_ns) : attempt_ns,
                          cancel);
        if (r < 0)
            return r;
    } while (f.id != call->request);

    call->reply_type = f.type;
    call->reply = buf_copy(f.body);
    __atomic_fetch_add(&c->stats.bytes_in, f.body.n, __ATOMIC_RELAXED);
    pool_give(c, call->node, TAKE(call->wire), call->generation);
    return 0;
}

/* The connection is of no use any more; others to that node are probably neither. */
static void drop_wire(struct client *c, struct client_call *call, bool node_failed)
{
    wire_close(TAKE(call->wire));
    if (node_failed)
        pool_failed(c, call->node, call->generation);
}

void call_send(struct client *c, struct client_call *call, uint64_t deadline_ns,
               struct client_cancel *cancel)
{
    if (call->wire || call->reply)
        return;
    if (send_once(c, call, deadline_ns, cancel, NULL) < 0)
        drop_wire(c, call, true);
}

/* What an answer means for the call: true when it is final. */
static bool answer_is_final(struct client *c, struct client_call *call, int *ret_pause)
{
    unsigned status = call_status(call, NULL);
    int hint;

    switch (status) {
    case ERR_NOT_LEADER:
    case ERR_WRONG_GROUP:
    case ERR_STOPPED:
        hint = pool_find(c, leader_hint(call));
        if (hint >= 0 && (unsigned)hint != call->node && call->tried < c->n_nodes) {
            call->node = (unsigned)hint;
            call->tried++;
            *ret_pause = 0;
        } else {
            *ret_pause = 1;
        }
        break;
    case ERR_BUSY:
        *ret_pause = 2;
        break;
    default:
        __atomic_store_n(&c->leader, c->nodes[call->node].id, __ATOMIC_RELAXED);
        return true;
    }
    buf_unref(TAKE(call->reply));
    __atomic_fetch_add(&c->stats.retries, 1, __ATOMIC_RELAXED);
    return false;
}

int call_run(struct client *c, struct client_call *call, uint64_t deadline_ns,
             struct client_cancel *cancel, struct errmsg *msg)
{
    while (!call->reply) {
        bool fresh = !call->wire;
        int pause = 1, r = 0;

        if (deadline_ns && clock_mono_ns() >= deadline_ns)
            return -ERR_TIMEOUT;
        if (fresh)
            r = send_once(c, call, deadline_ns, cancel, msg);
        if (r == 0)
            r = receive_once(c, call, deadline_ns, cancel);
        if (r == -ERR_CANCELED) {
            drop_wire(c, call, false);
            return r;
        }
        if (r == 0 && answer_is_final(c, call, &pause))
            return 0;
        if (r < 0) {
            /* An idle connection that the node closed long ago says nothing about the node. */
            bool stale = r == -ERR_CLOSED && call->wire && call->tried == 0;
            drop_wire(c, call, true);
            __atomic_fetch_add(&c->stats.retries, 1, __ATOMIC_RELAXED);
            pause = stale ? 0 : 1;
            call->tried += stale;
        }
        r = pause == 1   ? next_node(c, call, deadline_ns, cancel)
            : pause == 2 ? cancel_sleep(cancel, BACKOFF_MIN_MS, deadline_ns)
                         : 0;
        if (r < 0)
            return r;
    }
    return 0;
}
