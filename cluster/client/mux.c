/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mux.c - calls on one connection: sending, reading, handing over.
 *
 * Roles: `writing` is held by the thread that writes, `reader` names the ticket whose thread polls
 * and reads. Both are taken and left under `lock`; the socket is touched outside of it. A writer
 * that finds the socket full waits for room only while its own frame is not out. What others have
 * queued it then leaves in `out`, and the reader, who polls anyway, also polls for room. `kick` is
 * what makes a reader look up from its poll: to see that there is something to write, or that the
 * connection has broken.
 *
 * What a put costs beside 63 others is system calls and wake-ups, so it counts how many frames
 * leave in one write. Answers come in rounds and wake many threads at once, each of which is likely
 * to send again; left to chance they do that one after the other. So who is about to write while
 * such threads have not run yet (`awake`) lets them run first, once.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "cluster/client/impl.h"

/* A thread that writes for others after its own answer has come stops at some time. */
#define WRITES_MAX 16
#define OUT_KEEP   KIB(256) /* of a queue, when the connection lies idle */

struct queue {
    uint8_t *p;
    size_t from, to, cap; /* [from, to) is to be written */
};

struct mux {
    struct wire *wire;
    int kick; /* eventfd */

    pthread_mutex_t lock;        /* guards what follows */
    int err;                     /* not 0: broken */
    struct ticket *first, *last; /* without an answer, in the order they came */
    struct ticket *reader;
    bool writing;
    unsigned awake;     /* threads that were woken with their answers and have not run yet */
    struct queue out;   /* frames that wait for a writer */
    struct queue spare; /* empty; where the next ones are put while `out` is written */
};

/* Threads to wake once the lock is free: so none wakes up just to wait for it. The word may be gone
 * by then; to wake nobody does no harm. */
struct wakes {
    unsigned n;
    uint32_t *word[MUX_CALLS_MAX + 1];
};

/* --- waking ----------------------------------------------------------------------------------- */

static void wake_later(struct wakes *wakes, struct ticket *t)
{
    if (!t->asleep)
        return;
    ASSERT(wakes->n < ARRAY_LEN(wakes->word));
    nap_step(t->asleep);
    wakes->word[wakes->n++] = TAKE(t->asleep);
}

static void unlock_and_wake(struct mux *m, struct wakes *wakes)
{
    pthread_mutex_unlock(&m->lock);
    for (unsigned i = 0; i < wakes->n; i++)
        nap_wake(wakes->word[i]);
    wakes->n = 0;
}

/* The lock is held. */
static void kick_reader(struct mux *m)
{
    if (m->reader)
        (void)eventfd_write(m->kick, 1);
}

/* Another waiting thread becomes the reader, if there is one. The one that came last waits longest,
 * so the role changes hands least. The lock is held. */
static void pass_on_reading(struct mux *m, struct wakes *wakes)
{
    struct ticket *t = m->last;

    while (t && !t->asleep)
        t = t->prev;
    m->reader = t;
    if (t)
        wake_later(wakes, t);
}

/* The reader hears of it, and each that leaves makes the next one look. The lock is held. */
static void break_locked(struct mux *m, int err)
{
    if (m->err)
        return;
    m->err = err;
    kick_reader(m);
}

void mux_break(struct mux *m, int err)
{
    pthread_mutex_lock(&m->lock);
    break_locked(m, err);
    pthread_mutex_unlock(&m->lock);
}

/* --- tickets ---------------------------------------------------------------------------------- */

static void put_on(struct mux *m, struct ticket *t)
{
    t->mux = m;
    t->next = NULL;
    t->prev = m->last;
    *(m->last ? &m->last->next : &m->first) = t;
    m->last = t;
}

/* t->mux stays until the owner, who alone looks at it, has heard. */
static void take_off(struct mux *m, struct ticket *t)
{
    *(t->prev ? &t->prev->next : &m->first) = t->next;
    *(t->next ? &t->next->prev : &m->last) = t->prev;
}

bool mux_leave(struct ticket *t)
{
    struct mux *m = t->mux;

    if (!m)
        return false;
    pthread_mutex_lock(&m->lock);
    ASSERT(m->reader != t);
    bool answered = t->reply != NULL;
    if (!answered)
        take_off(m, t);
    t->mux = NULL;
    pthread_mutex_unlock(&m->lock);
    buf_unref(TAKE(t->reply));
    return !answered;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void queue_add(struct queue *q, struct bytes b)
{
    if (q->from == q->to)
        q->from = q->to = 0;
    if (q->to + b.n > q->cap) {
        q->cap = MAX(q->cap * 2, q->to + b.n);
        q->p = g_realloc(q->p, q->cap);
    }
    memcpy(q->p + q->to, b.p, b.n);
    q->to += b.n;
}

static void queue_finish(struct queue *q)
{
    g_free(q->p);
    *q = (struct queue){0};
}

static bool queued(const struct queue *q)
{
    return q->from < q->to;
}

static struct bytes queue_view(const struct queue *q)
{
    return bytes_of(q->p + q->from, q->to - q->from);
}

/* What could not be written goes before what has been queued since. */
static void queue_add_before(struct queue *q, struct bytes b)
{
    struct queue all = {0};

    queue_add(&all, b);
    if (queued(q))
        queue_add(&all, queue_view(q));
    queue_finish(q);
    *q = all;
}

/* Writes what is queued until nothing is or the socket is full. `writing` is ours, and nobody's at
 * the end. The lock is held, but not while it writes. t: our own ticket. */
static void write_queue(struct mux *m, const struct ticket *t, struct wakes *wakes)
{
    bool done = false;

    for (unsigned n = 0; !done && !m->err && queued(&m->out); n++) {
        struct queue q = m->out;
        int64_t r = 0;
        m->out = m->spare;
        unlock_and_wake(m, wakes);
        while (queued(&q) && (r = wire_write(m->wire, queue_view(&q))) > 0)
            q.from += (size_t)r;
        pthread_mutex_lock(&m->lock);
        if (queued(&q))
            queue_add_before(&m->out, queue_view(&q));
        q.from = q.to = 0;
        m->spare = q;
        if (r < 0 && r != -ERR_BUSY)
            break_locked(m, (int)r);
        done = r < 0 || (n >= WRITES_MAX && t->reply);
    }
    m->writing = false;
    if (queued(&m->out))
        kick_reader(m);
}

/* Those that were just woken queue their frames meanwhile. `writing` is ours; the lock is held, but
 * not meanwhile. */
static void let_others_come(struct mux *m, struct bytes *frame)
{
    if (m->awake == 0)
        return;
    pthread_mutex_unlock(&m->lock);
    (void)sched_yield();
    pthread_mutex_lock(&m->lock);
    if (queued(&m->out)) {
        queue_add(&m->out, *frame);
        frame->n = 0;
    }
}

/* The whole frame, waiting for room. */
static int write_own(struct mux *m, struct bytes *frame, uint64_t deadline_ns,
                     struct client_cancel *cancel)
{
    while (frame->n) {
        int64_t r = wire_write(m->wire, *frame);
        if (r > 0) {
            frame->p += r;
            frame->n -= (size_t)r;
            continue;
        }
        if (r == -ERR_BUSY)
            r = wire_poll(m->wire, POLLOUT, -1, deadline_ns, cancel);
        if (r < 0)
            return (int)r;
    }
    return 0;
}

int mux_send(struct mux *m, struct ticket *t, struct bytes frame, uint64_t deadline_ns,
             struct client_cancel *cancel)
{
    struct wakes wakes = {.n = 0};
    int r = 0;

    ASSERT(!t->mux && !t->reply);
    pthread_mutex_lock(&m->lock);
    if (m->err) {
        r = m->err;
        unlock_and_wake(m, &wakes);
        return r;
    }
    put_on(m, t);
    if (m->writing || queued(&m->out)) {
        queue_add(&m->out, frame);
        frame.n = 0;
    }
    if (!m->writing) {
        m->writing = true;
        if (frame.n)
            let_others_come(m, &frame);
        if (frame.n) {
            pthread_mutex_unlock(&m->lock);
            r = write_own(m, &frame, deadline_ns, cancel);
            pthread_mutex_lock(&m->lock);
        }
        if (frame.n)
            queue_add_before(&m->out, frame);
        if (r < 0 && r != -ERR_TIMEOUT && r != -ERR_CANCELED)
            break_locked(m, r);
        write_queue(m, t, &wakes);
    }
    unlock_and_wake(m, &wakes);
    return r;
}

/* --- receiving -------------------------------------------------------------------------------- */

struct answers {
    unsigned n;
    struct {
        uint64_t id;
        unsigned type;
        struct buf *body;
    } of[MUX_CALLS_MAX];
};

/* To their owners, by id. The lock is held. */
static void hand_out(struct mux *m, struct answers *a, struct wakes *wakes)
{
    for (unsigned i = 0; i < a->n; i++) {
        struct ticket *t = m->first;
        while (t && t->id != a->of[i].id)
            t = t->next;
        if (!t) {
            buf_unref(a->of[i].body);
            continue;
        }
        t->woken = t->asleep != NULL;
        m->awake += t->woken;
        wake_later(wakes, t);
        take_off(m, t);
        t->type = a->of[i].type;
        t->reply = a->of[i].body;
    }
    a->n = 0;
}

/* The whole frames that were taken in. -ERR_BUSY: there are no more. */
static int gather(struct mux *m, struct answers *a)
{
    struct frame f;
    int r = 0;

    for (a->n = 0; a->n < ARRAY_LEN(a->of); a->n++) {
        r = wire_next(m->wire, &f);
        if (r < 0)
            break;
        a->of[a->n].id = f.id;
        a->of[a->n].type = f.type;
        a->of[a->n].body = buf_copy(f.body);
    }
    return r;
}

/* All that has come, to its owners. Takes the lock. */
static void take_in(struct mux *m, struct wakes *wakes)
{
    struct answers a;
    int r = wire_read(m->wire);

    if (r == 0)
        r = gather(m, &a);
    else
        a.n = 0;
    pthread_mutex_lock(&m->lock);
    hand_out(m, &a, wakes);
    while (r == 0) {
        unlock_and_wake(m, wakes);
        r = gather(m, &a);
        pthread_mutex_lock(&m->lock);
        hand_out(m, &a, wakes);
    }
    if (r != -ERR_BUSY)
        break_locked(m, r);
}

/* The reader's turn: one poll and what it tells of. The lock is held, but not meanwhile. */
static int read_turn(struct mux *m, struct ticket *t, uint64_t deadline_ns,
                     struct client_cancel *cancel, struct wakes *wakes)
{
    bool left = !m->writing && queued(&m->out);
    eventfd_t count;

    unlock_and_wake(m, wakes);
    int ready = wire_poll(m->wire, left ? POLLIN | POLLOUT : POLLIN, m->kick, deadline_ns, cancel);
    if (ready == 0)
        (void)eventfd_read(m->kick, &count);
    if (ready > 0 && ready & POLLIN)
        take_in(m, wakes);
    else
        pthread_mutex_lock(&m->lock);
    if (ready > 0 && ready & POLLOUT && !m->writing) {
        m->writing = true;
        write_queue(m, t, wakes);
    }
    return MIN(ready, 0);
}

/* Until there is news: an answer, the reader's role, the end of the connection. The lock is held,
 * but not meanwhile. */
static int sleep_turn(struct mux *m, struct ticket *t, uint64_t deadline_ns,
                      struct client_cancel *cancel, struct wakes *wakes)
{
    uint32_t *word = cancel ? &cancel->events : &t->events;
    uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);

    t->asleep = word;
    unlock_and_wake(m, wakes);
    int r = nap(word, seen, deadline_ns, cancel);
    pthread_mutex_lock(&m->lock);
    t->asleep = NULL;
    return r;
}

int mux_recv(struct ticket *t, uint64_t deadline_ns, struct client_cancel *cancel)
{
    struct mux *m = t->mux;
    struct wakes wakes = {.n = 0};
    int r = 0;

    pthread_mutex_lock(&m->lock);
    while (!t->reply && !m->err && r == 0) {
        if (!m->reader)
            m->reader = t;
        r = (m->reader == t ? read_turn : sleep_turn)(m, t, deadline_ns, cancel, &wakes);
    }
    if (t->reply) {
        r = 0;
        t->mux = NULL;
        m->awake -= t->woken;
        t->woken = false;
    } else if (m->err) {
        r = m->err;
    }
    if (m->reader == t)
        pass_on_reading(m, &wakes);
    unlock_and_wake(m, &wakes);
    return r;
}

/* --- life ------------------------------------------------------------------------------------- */

int mux_create(struct wire *wire, struct mux **ret)
{
    struct mux *m = g_new0(struct mux, 1);

    m->wire = wire;
    pthread_mutex_init(&m->lock, NULL);
    m->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->kick < 0) {
        int r = err_from_errno(errno);
        mux_destroy(m);
        return r;
    }
    *ret = m;
    return 0;
}

void mux_destroy(struct mux *m)
{
    if (!m)
        return;
    ASSERT(!m->first);
    wire_close(m->wire);
    if (m->kick >= 0)
        (void)close(m->kick);
    queue_finish(&m->out);
    queue_finish(&m->spare);
    pthread_mutex_destroy(&m->lock);
    g_free(m);
}

bool mux_rest(struct mux *m)
{
    ASSERT(!m->first && !m->writing && !m->reader);
    if (m->err || queued(&m->out) || !wire_rest(m->wire))
        return false;
    if (m->out.cap > OUT_KEEP)
        queue_finish(&m->out);
    if (m->spare.cap > OUT_KEEP)
        queue_finish(&m->spare);
    return true;
}
