/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes' state stores: store_mem behind a layer that lets flushes and jobs take their time,
 * shows every batch to the checkers, and on a crash keeps the last flush and some of what came
 * after it.
 */
#include "cluster/store/store.h"
#include "tests/sim/sim.h"

struct state_store {
    struct store store;
    struct store *real;
    struct sim_node *sn;
    uint32_t gid;
    bool flushing;
    struct flush_event *pending; /* the end of a flush that is to come */
};

struct state_maker {
    struct store_maker maker;
    struct sim_node *sn;
    struct rng rng; /* of the jobs' times: snapshots do not change what other faults draw */
    GQueue jobs;    /* struct store_job *, the first is under way */
    bool worked;    /* it has been, its end is to come */
    bool calling;   /* its end is being told */
};

static struct state_store *state_of(struct store *s)
{
    return container_of(s, struct state_store, store);
}

/* --- the store -------------------------------------------------------------------------------- */

static int op_get(struct store *s, struct store_view *view, struct bytes key, struct arena *a,
                  struct bytes *ret)
{
    struct store *real = state_of(s)->real;
    return real->ops->get(real, view, key, a, ret);
}

static int op_write(struct store *s, const struct store_write *w, size_t n)
{
    struct state_store *st = state_of(s);
    int err = st->real->ops->write(st->real, w, n);
    if (err == 0)
        check_batch(st->sn, st->gid, w, n);
    return err;
}

static struct store_view *op_view_open(struct store *s)
{
    struct store *real = state_of(s)->real;
    return real->ops->view_open(real);
}

static void op_view_close(struct store *s, struct store_view *v)
{
    struct store *real = state_of(s)->real;
    real->ops->view_close(real, v);
}

static struct store_iter *op_iter_open(struct store *s, struct store_view *view, struct bytes lo,
                                       struct bytes hi)
{
    struct store *real = state_of(s)->real;
    return real->ops->iter_open(real, view, lo, hi);
}

/* Durable is what was there when it began (early) or, as a flush may take more along, when it
 * ended. Either way the node must count on the former only. */
struct flush_event {
    struct event event;
    struct state_store *store; /* NULL: it was closed, and done must not be called */
    store_done_fn *done;
    void *arg;
    bool early;
    int err; /* of an early one */
};

static void call_flushed(struct sim_node *sn, void *arg)
{
    struct flush_event *e = arg;
    if (!e->store)
        return;
    struct store *real = e->store->real;
    e->store->flushing = false;
    if (e->early)
        e->done(e->arg, e->err);
    else
        real->ops->flush(real, e->done, e->arg);
}

static void flush_run(struct sim *s, struct event *e)
{
    trace_line(s, "n%u flushed its state", e->node->id);
    host_enter(e->node, call_flushed, e);
}

static void flush_drop(struct event *e)
{
    struct flush_event *f = (struct flush_event *)e;
    if (f->store)
        f->store->pending = NULL;
}

static void remember_err(void *arg, int err)
{
    struct flush_event *e = arg;
    e->err = err;
}

static void op_flush(struct store *s, store_done_fn *done, void *arg)
{
    struct state_store *st = state_of(s);
    struct sim *sim = st->sn->sim;
    sim->counters.flushes++;
    if (rng_below(&sim->disk_rng, 4) == 0) {
        st->real->ops->flush(st->real, done, arg);
        return;
    }
    struct flush_event *e = EVENT_NEW(struct flush_event, flush_run);
    ASSERT(!st->flushing);
    st->flushing = true;
    e->event.drop = flush_drop;
    e->store = st;
    st->pending = e;
    e->done = done;
    e->arg = arg;
    e->early = rng_below(&sim->disk_rng, 2) == 0;
    if (e->early)
        st->real->ops->flush(st->real, remember_err, e);
    sim_post_node(st->sn, &e->event, sim_spread(&sim->disk_rng, MS(20)));
}

static int op_checkpoint(struct store *s, const char *dir, struct errmsg *msg)
{
    struct store *real = state_of(s)->real;
    return real->ops->checkpoint(real, dir, msg);
}

static void state_drop(struct state_store *st)
{
    struct rng *r = &st->sn->sim->disk_rng;
    /* Flushes happen by themselves too, and a checkpoint is one: any later prefix may survive. */
    uint64_t extra = rng_below(r, 2) ? rng_below(r, 200) : 0;
    store_mem_crash(st->real, (size_t)extra);
    if (st->pending)
        st->pending->store = NULL;
    if (st->sn->open[st->gid] == st)
        st->sn->open[st->gid] = NULL;
    g_free(st);
}

static void op_close(struct store *s)
{
    if (!s)
        return;
    state_drop(state_of(s)); /* closing is no flush */
}

static uint64_t op_approximate_bytes(struct store *s)
{
    struct store *real = state_of(s)->real;
    return real->ops->approximate_bytes(real);
}

/* --- the maker -------------------------------------------------------------------------------- */

static struct sim_node *owner_of(struct store_maker *m)
{
    return container_of(m, struct state_maker, maker)->sn;
}

static uint32_t gid_of(const char *dir)
{
    guint64 gid;
    ASSERT(g_str_has_prefix(dir, "/d/groups/"));
    ASSERT(
        g_ascii_string_to_unsigned(dir + strlen("/d/groups/"), 10, 0, SIM_GROUPS - 1, &gid, NULL));
    return (uint32_t)gid;
}

static int maker_open(struct store_maker *m, const char *dir, struct store **ret,
                      struct errmsg *msg)
{
    static struct store_ops ops;
    struct sim_node *sn = owner_of(m);
    struct store *real;
    uint32_t gid = gid_of(dir);
    if (sn->state_bad && strcmp(dir, "/d/groups/0") == 0)
        return errmsg_set(msg, -ERR_CORRUPT, "a file of the store is damaged");
    int err = sn->mem_stores->open(sn->mem_stores, dir, &real, msg);
    if (err < 0)
        return err;
    /* Iterators are the real store's own. */
    ops = *real->ops;
    ops.get = op_get;
    ops.write = op_write;
    ops.view_open = op_view_open;
    ops.view_close = op_view_close;
    ops.iter_open = op_iter_open;
    ops.flush = op_flush;
    ops.checkpoint = op_checkpoint;
    ops.close = op_close;
    ops.approximate_bytes = op_approximate_bytes;
    struct state_store *st = g_new0(struct state_store, 1);
    *st = (struct state_store){.store = {.ops = &ops}, .real = real, .sn = sn, .gid = gid};
    ASSERT(!sn->open[gid]);
    sn->open[gid] = st;
    *ret = &st->store;
    check_state(sn, gid);
    return 0;
}

static int maker_destroy(struct store_maker *m, const char *dir)
{
    struct store_maker *real = owner_of(m)->mem_stores;
    return real->destroy(real, dir);
}

static int maker_replace(struct store_maker *m, const char *from, const char *to)
{
    struct sim_node *sn = owner_of(m);
    /* Put aside: what is opened next is another one. */
    if (strcmp(from, "/d/groups/0") == 0)
        sn->state_bad = false;
    return sn->mem_stores->replace(sn->mem_stores, from, to);
}

static struct store_image *maker_image_open(struct store_maker *m, const char *dir)
{
    struct store_maker *real = owner_of(m)->mem_stores;
    return real->image_open(real, dir);
}

static int maker_image_create(struct store_maker *m, const char *dir, struct bytes tag,
                              struct store_image **ret)
{
    struct store_maker *real = owner_of(m)->mem_stores;
    return real->image_create(real, dir, tag, ret);
}

static int maker_image_resume(struct store_maker *m, const char *dir, struct arena *a,
                              struct bytes *ret_tag, uint64_t *ret_offset, struct store_image **ret)
{
    struct store_maker *real = owner_of(m)->mem_stores;
    return real->image_resume(real, dir, a, ret_tag, ret_offset, ret);
}

static int maker_peek(struct store_maker *m, const char *dir, struct bytes key, struct arena *a,
                      struct bytes *ret)
{
    struct store_maker *real = owner_of(m)->mem_stores;
    return real->peek(real, dir, key, a, ret);
}

/* --- jobs ------------------------------------------------------------------------------------- */

/* A job takes effect when it begins or when it ends: a crash in between finds it done or not. Its
 * node goes on meanwhile. */
static void job_begin(struct state_maker *m);

static void call_job_done(struct sim_node *sn, void *arg)
{
    struct state_maker *m = arg;
    struct store_job *j = g_queue_pop_head(&m->jobs);
    if (!TAKE(m->worked))
        j->work(j);
    m->calling = true;
    j->done(j);
    m->calling = false;
    job_begin(m);
}

static void job_run(struct sim *s, struct event *e)
{
    struct sim_node *sn = e->node;
    trace_line(s, "n%u ends a job on its stores", sn->id);
    host_enter(sn, call_job_done, container_of(sn->stores, struct state_maker, maker));
}

static void job_begin(struct state_maker *m)
{
    struct store_job *j = g_queue_peek_head(&m->jobs);
    struct sim *s = m->sn->sim;
    if (!j)
        return;
    s->counters.jobs++;
    if (rng_below(&m->rng, 2) == 0) {
        j->work(j);
        m->worked = true;
    }
    /* Mostly soon; now and then much happens meanwhile. */
    uint64_t mean = rng_below(&m->rng, 200) == 0 ? MS(500) : US(500);
    sim_post_node(m->sn, EVENT_NEW(struct event, job_run), sim_spread(&m->rng, mean));
}

static void maker_submit(struct store_maker *maker, struct store_job *j)
{
    struct state_maker *m = container_of(maker, struct state_maker, maker);
    j->given_up = false;
    g_queue_push_tail(&m->jobs, j);
    if (m->jobs.length == 1 && !m->calling)
        job_begin(m);
}

static void maker_poll(struct store_maker *m)
{
}

static void maker_drain(struct store_maker *maker)
{
    struct state_maker *m = container_of(maker, struct state_maker, maker);
    struct store_job *j;
    while ((j = g_queue_pop_head(&m->jobs)) != NULL) {
        j->given_up = !TAKE(m->worked);
        j->done(j);
    }
}

static void maker_free(struct store_maker *m)
{
    g_free(container_of(m, struct state_maker, maker));
}

/* --- life ------------------------------------------------------------------------------------- */

void state_init(struct sim_node *sn)
{
    sn->mem = store_mem_disk_create();
    sn->mem_stores = store_mem_maker_create(sn->mem);
    struct state_maker *m = g_new0(struct state_maker, 1);
    m->sn = sn;
    rng_seed(&m->rng, sn->sim->options.seed * SIM_NODES + sn->id);
    g_queue_init(&m->jobs);
    m->maker = *sn->mem_stores;
    m->maker.open = maker_open;
    m->maker.destroy = maker_destroy;
    m->maker.replace = maker_replace;
    m->maker.peek = maker_peek;
    m->maker.submit = maker_submit;
    m->maker.poll = maker_poll;
    m->maker.drain = maker_drain;
    m->maker.image_open = maker_image_open;
    m->maker.image_create = maker_image_create;
    m->maker.image_resume = maker_image_resume;
    m->maker.free = maker_free;
    sn->stores = &m->maker;
}

void state_abandon(struct sim_node *sn)
{
    struct state_maker *m = container_of(sn->stores, struct state_maker, maker);
    g_queue_clear(&m->jobs);
    m->worked = m->calling = false;
    for (unsigned gid = 0; gid < SIM_GROUPS; gid++)
        if (sn->open[gid])
            state_drop(sn->open[gid]);
}

struct store *state_real(struct sim_node *sn, uint32_t gid)
{
    return sn->open[gid] ? sn->open[gid]->real : NULL;
}

void state_finish(struct sim_node *sn)
{
    store_maker_destroy(sn->stores);
    store_maker_destroy(sn->mem_stores);
    store_mem_disk_destroy(sn->mem);
}
