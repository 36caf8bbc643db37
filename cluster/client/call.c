/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - one request until it is answered.
 *
 * The request goes to the node thought to lead. NOT_LEADER with a hint goes straight there; without
 * one, and when a node fails, the next node is asked, with a back-off once all were. WRONG_GROUP,
 * of a shard that moves, is asked again where the node says that it lies or goes to, after a pause,
 * for as long as it takes. The frame never changes, so whoever executes it sees the same (client,
 * seq).
 *
 * Two failures are told apart from a node's failing. A connection that lay idle and turns out
 * closed says that the node was restarted some time ago: the same node is asked again at once on a
 * fresh one. And silence: an overloaded leader is silent, and to send it more would not help; so is
 * one that hangs or is cut off, and its connections stay open. The other nodes know the difference,
 * since a leader that hangs is replaced: they are asked (leader.c) while the request stays where it
 * is, and only if one names another leader it is sent there.
 */
#include "cluster/client/impl.h"

struct client_call *call_create(struct client *c, unsigned expect)
{
    struct client_call *call = g_new0(struct client_call, 1);

    call->owner = c;
    call->shard = LOCATE_GROUP_0;
    call->expect = expect;
    call->kind = CALL_LARGE;
    call->answer_max = FRAME_BODY_MAX;
    call->ticket.id = __atomic_add_fetch(&c->next_request, 1, __ATOMIC_RELAXED);
    call->attempt_ms = ATTEMPT_MS;
    call->patience_ms = PATIENCE_MS;
    call->backoff_ms = BACKOFF_MIN_MS;
    call_aim(c, call);
    return call;
}

void call_aim(struct client *c, struct client_call *call)
{
    call->group = leader_group(c, call);
    int leader = pool_find(c, __atomic_load_n(&call->group->leader, __ATOMIC_RELAXED));
    int nearest = call->anywhere ? nearest_node(c) : -1;

    call->anywhere = nearest >= 0;
    if (nearest >= 0)
        call->node = (unsigned)nearest;
    else
        call->node = leader >= 0 ? (unsigned)leader : (unsigned)(call->ticket.id % client_known(c));
}

void call_destroy(struct client_call *call)
{
    if (!call)
        return;
    pool_quit(call->owner, call, false);
    enc_finish(&call->frame);
    buf_unref(call->reply);
    g_free(call);
}

unsigned call_status(const struct client_call *call)
{
    struct dec d = dec_of(buf_bytes(call->reply));

    return dec_u16(&d); /* every answer begins with it, receive_frame has looked */
}

/* Who leads the group that has the call's shard, as this answer says; 0: it does not. */
static uint32_t leader_hint(struct client *c, struct client_call *call)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_status m;

    if (call->reply_type != MSG_status || dec_status(buf_bytes(call->reply), &a, &m) < 0)
        return 0;
    if (m.status == ERR_NOT_LEADER)
        leader_learn_group(c, call, m.gid);
    return m.leader;
}

static void count_retry(struct client *c)
{
    __atomic_fetch_add(&c->stats.retries, 1, __ATOMIC_RELAXED);
}

/* Calls that failed together should not come back together: half of the pause is each one's own. */
static int back_off(struct client_call *call, uint64_t deadline_ns, struct client_cancel *cancel)
{
    unsigned ms = call->backoff_ms;

    call->backoff_ms = MIN(ms * 2, BACKOFF_MAX_MS);
    call->stale_tried = false;
    return cancel_sleep(cancel, ms - (unsigned)(call->ticket.id * 7 % (ms / 2)), deadline_ns);
}

/* The nearest node did not answer, or would not: from now on it is a request like others. */
static void leave_nearest(struct client *c, struct client_call *call)
{
    if (call->anywhere)
        nearest_failed(c, call->node);
    call->anywhere = false;
}

/* The next node, and a pause once all have been asked in vain. */
static int next_node(struct client *c, struct client_call *call, uint64_t deadline_ns,
                     struct client_cancel *cancel)
{
    leader_doubt(call->group, c->nodes[call->node].id);
    call->node = (call->node + 1) % client_known(c);
    if (++call->tried < client_known(c))
        return 0;
    call->tried = 0;
    return back_off(call, deadline_ns, cancel);
}

/* Takes a connection and sends the frame. */
static int send_once(struct client *c, struct client_call *call, uint64_t deadline_ns,
                     struct client_cancel *cancel, struct errmsg *msg)
{
    int r = pool_take(c, call, deadline_ns, cancel, msg);

    if (r < 0)
        return r;
    call->ever_sent = true;
    call->sent_ns = clock_mono_ns();
    call->hearsay_ns = call->sent_ns + call->patience_ms * UINT64_C(1000000);
    r = pool_send(call, deadline_first(deadline_ns, deadline_in(call->attempt_ms)), cancel);
    if (r < 0) {
        pool_quit(c, call, false);
        return r;
    }
    __atomic_fetch_add(&c->stats.bytes_out, call->frame.n, __ATOMIC_RELAXED);
    return 0;
}

/* The answer, which ends the call's use of the connection. After -ERR_TIMEOUT and -ERR_CANCELED it
 * may still come. */
static int receive_frame(struct client *c, struct client_call *call, uint64_t deadline_ns,
                         struct client_cancel *cancel)
{
    int r = mux_recv(&call->ticket, deadline_ns, cancel);

    if (r < 0)
        return r;
    unsigned type = call->ticket.type;
    struct buf *reply = TAKE(call->ticket.reply);
    if ((call->expect && type != call->expect && type != MSG_status) || reply->len < 2) {
        buf_unref(reply);
        return -ERR_INVALID;
    }
    call->reply_type = type;
    call->reply = reply;
    __atomic_fetch_add(&c->stats.bytes_in, reply->len, __ATOMIC_RELAXED);
    pool_give(c, call);
    return 0;
}

/* The answer of this attempt, however long that takes within its bounds. -ERR_NOT_LEADER:
 * call->node now is one that is said to lead. */
static int receive(struct client *c, struct client_call *call, uint64_t deadline_ns,
                   struct client_cancel *cancel)
{
    uint64_t attempt_ns = call->sent_ns + call->attempt_ms * UINT64_C(1000000);
    unsigned other;

    for (;;) {
        uint64_t until_ns = deadline_first(deadline_ns, attempt_ns);
        bool ask = !call->went_by_word && client_known(c) > 1;
        int r = receive_frame(c, call, ask ? MIN(until_ns, call->hearsay_ns) : until_ns, cancel);
        if (r != -ERR_TIMEOUT || deadline_over(until_ns))
            return r;
        r = leader_elsewhere(c, call, until_ns, cancel, &other);
        if (r < 0)
            return r;
        call->hearsay_ns = clock_mono_ns() + call->patience_ms * UINT64_C(500000);
        if (r > 0) {
            pool_quit(c, call, true);
            count_retry(c);
            call->went_by_word = !call->anywhere;
            leave_nearest(c, call);
            call->node = other;
            return -ERR_NOT_LEADER;
        }
    }
}

/* An attempt ended without an answer. */
static int recover(struct client *c, struct client_call *call, int err, uint64_t deadline_ns,
                   struct client_cancel *cancel)
{
    bool stale = err == -ERR_CLOSED && call->reused && !call->stale_tried;

    count_retry(c);
    if (err == -ERR_TIMEOUT) /* its other connections may well be all right */
        pool_quit(c, call, true);
    else
        pool_failed(c, call);
    if (stale) {
        call->stale_tried = true;
        return 0;
    }
    if (call->anywhere) {
        unsigned node = call->node;
        leave_nearest(c, call);
        call_aim(c, call);
        if (call->node != node)
            return 0;
    }
    return next_node(c, call, deadline_ns, cancel);
}

/* The group that was asked does not have the shard (any more, or not yet). */
static int try_other_group(struct client *c, struct client_call *call, uint64_t deadline_ns,
                           struct client_cancel *cancel)
{
    int r = back_off(call, deadline_ns, cancel);

    if (r == 0)
        r = leader_of_other_group(c, call, deadline_ns, cancel);
    if (r == -ERR_CANCELED || deadline_over(deadline_ns))
        return r == -ERR_CANCELED ? r : -ERR_TIMEOUT;
    if (r < 0)
        return next_node(c, call, deadline_ns, cancel);
    call_aim(c, call);
    return 0;
}

/* Another node is to be asked. */
static int follow_hint(struct client *c, struct client_call *call, int hint, uint64_t deadline_ns,
                       struct client_cancel *cancel)
{
    if (hint < 0 || (unsigned)hint == call->node || call->tried >= client_known(c))
        return next_node(c, call, deadline_ns, cancel);
    leader_learn(call->group, c->nodes[hint].id);
    call->node = (unsigned)hint;
    call->tried++;
    return 0;
}

/* What an answer means. 1: it is final; 0: to be sent again. */
static int judge(struct client *c, struct client_call *call, uint64_t deadline_ns,
                 struct client_cancel *cancel)
{
    unsigned status = call_status(call);
    int hint = -1;

    switch (status) {
    case ERR_NOT_LEADER:
    case ERR_STOPPED:
        leave_nearest(c, call);
        hint = leader_named(c, leader_hint(c, call), call->node, deadline_ns, cancel);
        break;
    case ERR_WRONG_GROUP:
        leave_nearest(c, call);
        break;
    case ERR_TIMEOUT:
        if (call->timeout_is_answer)
            return 1;
        break;
    case ERR_BUSY:
        break;
    case 0:
    case ERR_FAILED:
        if (!call->anywhere)
            leader_learn(call->group, c->nodes[call->node].id);
        else if (call->kind == CALL_SMALL)
            nearest_answered(c, call->node, clock_mono_ns() - call->sent_ns);
        return 1;
    default:
        return 1;
    }
    buf_unref(TAKE(call->reply));
    count_retry(c);
    if (status == ERR_WRONG_GROUP)
        return try_other_group(c, call, deadline_ns, cancel);
    if (status == ERR_BUSY || status == ERR_TIMEOUT)
        return back_off(call, deadline_ns, cancel);
    return follow_hint(c, call, hint, deadline_ns, cancel);
}

void call_send(struct client *c, struct client_call *call, uint64_t deadline_ns,
               struct client_cancel *cancel)
{
    int r = send_once(c, call, deadline_first(deadline_ns, deadline_in(call->attempt_ms)), cancel,
                      NULL);

    if (r < 0)
        count_retry(c);
    if (r < 0 && r != -ERR_TIMEOUT && r != -ERR_CANCELED)
        pool_failed(c, call);
}

int call_run(struct client *c, struct client_call *call, uint64_t deadline_ns,
             struct client_cancel *cancel)
{
    while (!call->reply) {
        int r = 0;

        if (deadline_over(deadline_ns))
            return -ERR_TIMEOUT;
        if (!call->conn)
            r = send_once(c, call, deadline_ns, cancel, NULL);
        if (r == 0)
            r = receive(c, call, deadline_ns, cancel);
        if (r == -ERR_CANCELED || (r == -ERR_TIMEOUT && deadline_over(deadline_ns)))
            return r;
        if (r == 0)
            r = judge(c, call, deadline_ns, cancel);
        else if (r != -ERR_NOT_LEADER)
            r = recover(c, call, r, deadline_ns, cancel);
        else
            r = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int call_ask(struct client *c, struct client_call *call, unsigned node, uint64_t deadline_ns,
             struct client_cancel *cancel, struct errmsg *msg)
{
    int r;

    call->node = node;
    do {
        struct errmsg why = {0};
        r = send_once(c, call, deadline_ns, cancel, &why);
        if (r == 0)
            r = receive_frame(c, call, deadline_ns, cancel);
        if (r == 0)
            return 0;
        if (why.text[0])
            errmsg_set(msg, r, "%s", why.text);
        else
            errmsg_set(msg, r, "node n%u at %s: %s", c->nodes[node].id, c->nodes[node].address,
                       err_text(r));
        bool stale = r == -ERR_CLOSED && call->reused && !call->stale_tried;
        call->stale_tried = true;
        if (r == -ERR_TIMEOUT || r == -ERR_CANCELED)
            pool_quit(c, call, false);
        else
            pool_failed(c, call);
        if (!stale)
            return r;
    } while (true);
}
