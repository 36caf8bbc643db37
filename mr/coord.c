/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator: the leader of group 0 turns the records of jobs into assignments, again and
 * again.
 *
 * A turn reads the workers' heartbeats and the active jobs, does one step of each, and writes every
 * worker's inbox that changed. It keeps nothing that a successor would need. A number from key 'c'
 * orders coordinators: each stamps the records it takes over, and every write compares the stamp.
 */
#include <poll.h>
#include <string.h>
#include "cluster/base/clock.h"
#include "mr/coord_impl.h"

#define IDLE_MS   15000
#define RETRY_MS  300
#define STEPS_MAX 10 /* of one job in one turn */

static uint64_t now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

/* --- workers ---------------------------------------------------------------------------------- */

struct coord_worker *coord_worker_of(const struct coord *c, uint32_t node)
{
    for (guint i = 0; i < c->workers->len; i++) {
        struct coord_worker *w = c->workers->pdata[i];
        if (w->node == node)
            return w;
    }
    return NULL;
}

/* By our own clock: how long its record has not changed since we wanted it to. */
enum worker_life coord_worker_life(const struct coord *c, const struct coord_worker *w)
{
    if (w->stopped)
        return WORKER_DEAD;
    if (now_ms() - w->seen_ms > c->s->o.lease_ms)
        return WORKER_DEAD;
    return w->fresh ? WORKER_ALIVE : WORKER_UNKNOWN;
}

unsigned coord_live(const struct coord *c, unsigned *ret_slots)
{
    unsigned n = 0, slots = 0;
    for (guint i = 0; i < c->workers->len; i++) {
        const struct coord_worker *w = c->workers->pdata[i];
        enum worker_life life = coord_worker_life(c, w);
        n += life == WORKER_ALIVE;
        slots += life == WORKER_DEAD ? 0 : w->slots;
    }
    if (ret_slots)
        *ret_slots = slots;
    return n;
}

static void free_worker(void *p)
{
    struct coord_worker *w = p;
    if (w->inbox)
        g_byte_array_unref(w->inbox);
    g_free(w);
}

static void see_worker(struct coord *c, uint32_t node, const struct worker_record *r)
{
    struct coord_worker *w = coord_worker_of(c, node);
    if (!w) {
        w = g_new0(struct coord_worker, 1);
        w->node = node;
        w->beat = r->beat;
        w->incarnation = r->incarnation;
        w->seen_ms = now_ms();
        g_ptr_array_add(c->workers, w);
    } else if (w->beat != r->beat || w->incarnation != r->incarnation) {
        w->beat = r->beat;
        w->incarnation = r->incarnation;
        w->seen_ms = now_ms();
        w->fresh = true;
    }
    w->slots = r->slots;
    w->stopped = r->stopped;
}

static int see_workers(struct coord *c)
{
    struct bytes lo, hi;
    struct state_pair *p;
    size_t n;
    key_registry_range(&c->arena, 'h', &lo, &hi);
    int rc = state_scan(&c->state, &c->arena, lo, hi, &p, &n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct worker_record r;
        if (p[i].key.n != KEY_REGISTRY_HEAD + 4 || dec_worker_record(p[i].value, &c->arena, &r) < 0)
            continue; /* a newer version's: it is not ours to use */
        see_worker(c, get_be32(p[i].key.p + KEY_REGISTRY_HEAD), &r);
    }
    for (guint i = 0; i < c->workers->len; i++)
        ((struct coord_worker *)c->workers->pdata[i])->used = 0;
    return rc;
}

/* --- inboxes ---------------------------------------------------------------------------------- */

static int read_inbox(struct coord *c, struct coord_worker *w)
{
    struct bytes v;
    struct inbox_record x;
    int rc = state_get(&c->state, &c->arena, key_inbox(&c->arena, w->node), &v, &w->inbox_version);
    if (rc < 0)
        return rc;
    if (v.n && dec_inbox_record(v, &c->arena, &x) == 0 && x.coordinator > c->number) {
        c->deposed = true;
        return -ERR_FAILED;
    }
    if (!w->inbox)
        w->inbox = g_byte_array_new();
    g_byte_array_set_size(w->inbox, 0);
    g_byte_array_append(w->inbox, v.p, (guint)v.n);
    return 0;
}

static int write_inbox(struct coord *c, struct coord_worker *w)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct inbox_record x = {
        .coordinator = c->number,
        .incarnation = w->incarnation,
        .awake = c->active,
        .n_jobs = c->jobs->len,
        .jobs = (struct running_record *)(void *)c->jobs->data,
    };
    x.attempts = arena_array(&c->arena, c->attempts->len, sizeof *x.attempts);
    for (guint i = 0; i < c->attempts->len; i++) {
        const struct coord_attempt *a = &g_array_index(c->attempts, struct coord_attempt, i);
        if (a->node == w->node)
            x.attempts[x.n_attempts++] = a->what;
    }
    int rc = w->inbox ? 0 : read_inbox(c, w);
    if (rc < 0)
        return rc;
    if (!w->inbox->len && !c->active)
        return 0;
    enc_inbox_record(&e, &x);
    if (w->inbox->len == e.n && memcmp(w->inbox->data, e.p, e.n) == 0)
        return 0;
    rc = state_replace(&c->state, key_inbox(&c->arena, w->node), w->inbox_version, enc_view(&e));
    /* Whatever came of it, what is there now and its version are read before the next write. */
    return rc == 0 || rc == -ERR_FAILED ? read_inbox(c, w) : rc;
}

static int write_inboxes(struct coord *c)
{
    int rc = 0;
    for (guint i = 0; i < c->workers->len && rc == 0; i++) {
        struct coord_worker *w = c->workers->pdata[i];
        if (!w->stopped)
            rc = write_inbox(c, w);
    }
    return rc;
}

/* --- turns ------------------------------------------------------------------------------------ */

/* A number above all earlier ones; who reads a higher one in a record is deposed. */
static int take_number(struct coord *c)
{
    struct bytes key = key_coordinator(&c->arena), v;
    uint64_t version;
    uint8_t p[8];
    if (c->number)
        return 0;
    int rc = state_get(&c->state, &c->arena, key, &v, &version);
    if (rc < 0)
        return rc;
    uint64_t number = (v.n == 8 ? get_le64(v.p) : 0) + 1;
    put_le64(p, number);
    rc = state_replace(&c->state, key, version, bytes_of(p, sizeof p));
    if (rc == 0) {
        c->number = number;
        service_log(c->s, LOG_INFO, "coordinator starts number=%llu", (unsigned long long)number);
    }
    return rc;
}

/* Heartbeats are wanted from now on: silence counts from here. */
static void wake_workers(struct coord *c)
{
    for (guint i = 0; i < c->workers->len; i++) {
        struct coord_worker *w = c->workers->pdata[i];
        w->seen_ms = now_ms();
        w->fresh = false;
    }
}

static int step_jobs(struct coord *c, const struct state_pair *jobs, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct bytes name =
            bytes_of(jobs[i].key.p + KEY_REGISTRY_HEAD, jobs[i].key.n - KEY_REGISTRY_HEAD);
        bool again = true;
        for (int k = 0; k < STEPS_MAX && again && rc == 0 && !c->deposed; k++) {
            guint keep_jobs = c->jobs->len, keep_attempts = c->attempts->len;
            again = false;
            rc = coord_step(c, name, jobs[i].version, &again);
            if (again) { /* what it noted is out of date */
                g_array_set_size(c->jobs, keep_jobs);
                g_array_set_size(c->attempts, keep_attempts);
            }
        }
        if (again && rc == 0) /* no inbox may be written from half a picture */
            rc = -ERR_FAILED;
    }
    return rc;
}

static int turn(struct coord *c)
{
    struct bytes lo, hi;
    struct state_pair *jobs;
    size_t n;
    g_array_set_size(c->jobs, 0);
    g_array_set_size(c->attempts, 0);
    int rc = take_number(c);
    if (rc == 0) {
        key_registry_range(&c->arena, 'l', &lo, &hi);
        rc = state_scan(&c->state, &c->arena, lo, hi, &jobs, &n);
    }
    if (rc < 0)
        return rc;
    if (!n && !c->active)
        return 0;
    if (n && !c->active) {
        rc = see_workers(c); /* their beats as they are while asleep */
        wake_workers(c);
    }
    c->active = n > 0;
    if (rc == 0)
        rc = see_workers(c);
    if (rc == 0)
        rc = step_jobs(c, jobs, n);
    if (rc == 0 && !c->deposed)
        rc = write_inboxes(c);
    return rc;
}

/* Sleeps until somebody rings or it is time to look. */
static int wait_bell(struct coord *c)
{
    struct txn t CLEANUP(txn_finish) = {0};
    int rc = client_wait_key(c->state.client, &t, key_bell(&c->arena), c->bell_version,
                             c->active ? c->s->o.tick_ms : IDLE_MS, &c->cancel);
    if (rc == 0)
        c->bell_version = t.reply.reads[0].version;
    return rc == -ERR_TIMEOUT ? 0 : rc;
}

static int lead(struct coord *c)
{
    int rc = state_init(&c->state, c->door->client, &c->cancel);
    while (rc == 0 && !c->stop && !c->deposed && !c->door->lost) {
        arena_reset(&c->arena);
        rc = turn(c);
        if (rc == -ERR_FAILED)
            rc = 0;
        else if (rc == 0)
            rc = wait_bell(c);
    }
    return rc;
}

static void *coord_main(void *arg)
{
    struct coord *c = arg;
    volume_thread_cancel(&c->cancel);
    while (!c->stop && !c->deposed) {
        int rc = door_enter(c->s, &c->door, NULL);
        if (rc == 0) {
            rc = lead(c);
            door_failed(c->s, c->door, rc);
            door_leave(TAKE(c->door));
        }
        if (rc < 0 && !c->stop) {
            if (rc != -ERR_CANCELED)
                service_log(c->s, LOG_WARN, "coordinator: %s", err_text(rc));
            struct pollfd p = {c->cancel.fd, POLLIN, 0};
            poll(&p, 1, RETRY_MS);
        }
    }
    volume_thread_cancel(NULL);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

struct coord *coord_create(struct mr_service *s)
{
    struct coord *c = g_new0(struct coord, 1);
    c->s = s;
    c->cancel.fd = -1;
    c->workers = g_ptr_array_new_with_free_func(free_worker);
    c->jobs = g_array_new(FALSE, TRUE, sizeof(struct running_record));
    c->attempts = g_array_new(FALSE, TRUE, sizeof(struct coord_attempt));
    return c;
}

int coord_start(struct coord *c)
{
    int rc = client_cancel_init(&c->cancel);
    if (rc == 0 && pthread_create(&c->thread, NULL, coord_main, c) != 0)
        rc = -ERR_NO_MEMORY;
    c->have_thread = rc == 0;
    return rc;
}

void coord_stop(struct coord *c)
{
    if (!c->have_thread)
        return;
    c->stop = true;
    client_cancel_fire(&c->cancel);
    pthread_join(c->thread, NULL);
    c->have_thread = false;
}

void coord_destroy(struct coord *c)
{
    if (!c)
        return;
    coord_stop(c);
    if (c->cancel.fd >= 0)
        client_cancel_finish(&c->cancel);
    g_ptr_array_unref(c->workers);
    g_array_unref(c->jobs);
    g_array_unref(c->attempts);
    arena_finish(&c->arena);
    g_free(c);
}
