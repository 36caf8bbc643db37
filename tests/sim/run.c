/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run: the cluster starts; clients work while faults happen; the faults end, and everybody must
 * finish in bounded time; all replicas become equal; the histories are judged.
 */
#include "tests/sim/client.h"
#include "tests/sim/sim.h"

/* After the faults: dead clients come back (40 s), hung syncs and the longest down time pass, an
 * expired session is noticed (30 s), a few elections. */
#define FINISH_WITHIN SEC(120)
#define SETTLE_WITHIN SEC(30)
#define SEARCH_STEPS  5000000u

void sim_step(struct sim *s, uint64_t until)
{
    struct event *e;
    while (queue_next(&s->queue) <= until) {
        e = queue_pop(&s->queue);
        s->now = e->at;
        struct sim_node *sn = e->node;
        if (sn && e->life != sn->life) {
            event_free(e);
            continue;
        }
        if (sn && (sn->paused || sn->stopped)) {
            if (net_waits(s, e))
                queue_push(&s->queue, e, net_resume_at(s, e));
            else
                g_queue_push_tail(&sn->stalled, e);
            continue;
        }
        trace_mix(s, e->at ^ (sn ? sn->id : 0));
        s->counters.events++;
        e->run(s, e);
        event_free(e);
    }
    s->now = MAX(s->now, until); /* a node may have been stopped inside (host.c) */
}

struct sim *sim_create(const struct sim_options *o)
{
    struct sim *s = g_new0(struct sim, 1);
    s->options = *o;
    s->trace.verbose = o->verbose;
    trace_watch(s);
    rng_seed(&s->rng, s->options.seed);
    rng_seed(&s->reads_rng, ~s->options.seed);
    if (o->profile)
        s->profile = *o->profile;
    else
        fault_draw(s);
    s->n = s->profile.nodes;
    rng_seed(&s->net_rng, rng_next(&s->rng));
    rng_seed(&s->disk_rng, rng_next(&s->rng));
    rng_seed(&s->client_rng, rng_next(&s->rng));
    queue_init(&s->queue);
    check_init(s);
    host_init(s);
    net_init(s);
    fault_begin(s);
    for (unsigned i = 0; i < s->n; i++)
        host_restart_later(&s->nodes[i], rng_below(&s->rng, MS(500)));
    clients_init(s);
    operators_init(s);
    arranger_init(s);
    return s;
}

void sim_destroy(struct sim *s)
{
    trace_watch(NULL);
    host_finish(s);
    queue_finish(&s->queue);
    clients_finish(s);
    operators_finish(s);
    arranger_finish(s);
    net_finish(s);
    check_finish(s);
    g_free(s);
}

static void wait_idle(struct sim *s, const char *what)
{
    uint64_t deadline = s->now + FINISH_WITHIN;
    while (!clients_idle(s) || !operators_idle(s) || !arranger_idle(s)) {
        if (s->now >= deadline) {
            clients_say_busy(s);
            operators_say_busy(s);
            sim_fail(s, "no progress: %s %.0f s after the faults", what,
                     (double)FINISH_WITHIN / 1e9);
        }
        sim_step(s, s->now + MS(100));
    }
}

void sim_settle(struct sim *s)
{
    uint64_t deadline = s->now + SETTLE_WITHIN;
    while (!check_replicas_settled(s)) {
        if (s->now >= deadline)
            check_say_unsettled(s);
        CHECK(s, s->now < deadline, "the replicas have not become equal in %.0f s of peace",
              (double)SETTLE_WITHIN / 1e9);
        sim_step(s, s->now + MS(100));
    }
    check_replicas_equal(s);
}

/* What nobody knows the outcome of, and (many) the versions of, leaves too much to try. */
#define UNKNOWN_MANY 10

static bool may_be_unjudged(const struct history *h, unsigned object)
{
    unsigned unknown = 0;
    for (guint i = 0; i < h->ops->len; i++) {
        const struct hist_op *op = g_ptr_array_index(h->ops, i);
        unknown += op->object == object && op->returned == 0;
    }
    return h->many && unknown >= UNKNOWN_MANY;
}

void sim_judge(struct sim *s)
{
    for (unsigned o = 0; o < s->history->n_objects; o++) {
        GString *text = g_string_new("");
        enum linear_verdict v = history_check(s->history, o, SEARCH_STEPS, text);
        CHECK(s, v != LINEAR_VIOLATION, "object %u is not linearizable:\n%s", o, text->str);
        s->counters.unjudged += v == LINEAR_BUDGET;
        CHECK(s, v != LINEAR_BUDGET || may_be_unjudged(s->history, o),
              "object %u: the search took too long:\n%s", o, text->str);
        g_string_free(text, TRUE);
    }
}

void sim_run(const struct sim_options *o, uint64_t *ret_hash, struct sim_counters *counters)
{
    struct sim *s = sim_create(o);
    sim_step(s, s->profile.fault_time);
    fault_heal(s);
    clients_last_ops(s);
    operators_last(s);
    arranger_last(s);
    wait_idle(s, "a client or operator is not finished");
    clients_audit(s);
    wait_idle(s, "the last reads are not answered");
    sim_settle(s);
    operators_audit(s);
    wait_idle(s, "the members are not told");
    sim_judge(s);
    trace_mix(s, s->counters.events);
    *ret_hash = s->trace.hash;
    s->counters.simulated = s->now;
    count_add(counters, &s->counters);
    sim_destroy(s);
}
