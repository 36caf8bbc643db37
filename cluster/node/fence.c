/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/fence.h"
#include "cluster/node/ask.h"
#include "cluster/node/request.h"
#include "cluster/node/serve.h"

/* As long as a coordinator tries; the client comes again. */
#define PATIENCE_MS 2000
#define TELL_MS     5000
/* Requests that wait, of all connections. */
#define WAITING_MAX 4096

struct waiting {
    struct request *request;
    uint64_t client;
    uint64_t until; /* tick */
};

/* Group 0: what another one has been told, in this leadership. */
struct told {
    struct fence *fence;
    uint32_t gid;
    uint64_t ask;    /* 0: none is under way */
    uint64_t asked;  /* the set that it is told */
    uint64_t logged; /* the set that it has; 0: not known */
};

struct fence {
    struct group *group;
    GQueue waiting;  /* struct waiting, in the order in which they came */
    uint64_t wanted; /* a set as of this one, or later, is asked for; 0: none is */
    uint64_t logged; /* ask: a SESSION_SET of ours is in the log; 0: none is */
    bool serving;    /* what waited is served now */
    /* Of group 0's leader. */
    struct told told[GROUPS_MAX];
    unsigned n_told;
    uint64_t fenced; /* of the SESSIONS_FENCED that was logged last */
};

struct fence *fence_create(struct group *g)
{
    struct fence *f = g_new0(struct fence, 1);
    f->group = g;
    g_queue_init(&f->waiting);
    return f;
}

static void drop_logged(struct fence *f)
{
    if (f->group->node->asks)
        ask_drop(f->group->node, f->logged);
    f->logged = 0;
}

/* All that is known of this leadership. */
static void forget(struct fence *f)
{
    struct node *n = f->group->node;
    for (unsigned i = 0; n->asks && i < f->n_told; i++)
        ask_drop(n, f->told[i].ask);
    f->n_told = 0;
    f->fenced = 0;
    f->wanted = 0;
    drop_logged(f);
}

void fence_destroy(struct fence *f)
{
    struct waiting *w;
    if (!f)
        return;
    while ((w = g_queue_pop_head(&f->waiting)) != NULL) {
        request_destroy(w->request);
        g_free(w);
    }
    forget(f);
    g_free(f);
}

void fence_yield(struct fence *f)
{
    struct waiting *w;
    while ((w = g_queue_pop_head(&f->waiting)) != NULL) {
        request_fail(w->request, -ERR_NOT_LEADER, group_hint(f->group), NULL);
        g_free(w);
    }
    forget(f);
}

/* --- sessions that are new here --------------------------------------------------------------- */

static void hear(struct fence *f);

bool fence_awaits(struct group *g, struct conn *c, uint64_t id, unsigned type, struct bytes body,
                  uint64_t client)
{
    struct fence *f = g->fence;
    if (g->gid == 0 || !g->leading || f->serving || client <= kv_sessions_as_of(g->kv))
        return false;
    struct request *r = g_queue_get_length(&f->waiting) < WAITING_MAX
                            ? request_create(g->node, c, id, type, body)
                            : NULL;
    if (!r) {
        conn_answer_status(g->node, c->token, id, -ERR_BUSY, 0, NULL);
        return true;
    }
    struct waiting *w = g_new0(struct waiting, 1);
    r->gid = g->gid;
    *w = (struct waiting){r, client, g->node->now + TICKS(PATIENCE_MS)};
    g_queue_push_tail(&f->waiting, w);
    hear(f);
    return true;
}

bool fence_reaches(struct group *g, uint64_t as_of)
{
    struct fence *f = g->fence;
    if (as_of <= kv_sessions_as_of(g->kv))
        return true;
    f->wanted = MAX(f->wanted, as_of);
    return false;
}

/* The connection may be gone: then nobody wants an answer. */
static void serve_waiting(struct fence *f, struct waiting *w)
{
    struct request *r = w->request;
    struct conn *c = conn_find(r->node, r->token);
    struct buf *body = buf_ref(r->body);
    unsigned type = r->type;
    uint64_t id = r->id;
    request_destroy(r);
    g_free(w);
    arena_reset(&f->group->node->scratch);
    if (c)
        serve_frame(c, type, id, buf_bytes(body));
    buf_unref(body);
}

static void serve_known(struct fence *f)
{
    uint64_t known = kv_sessions_as_of(f->group->kv);
    f->serving = true;
    for (GList *l = f->waiting.head, *next; l; l = next) {
        struct waiting *w = l->data;
        next = l->next;
        if (w->client > known)
            continue;
        g_queue_delete_link(&f->waiting, l);
        serve_waiting(f, w);
    }
    f->serving = false;
}

static void on_logged(void *ctx, int err, unsigned type, struct bytes body)
{
    struct fence *f = ctx;
    f->logged = 0;
    if (err == 0)
        serve_known(f);
}

/* Of the replica of group 0 here, as far as it has come. */
static void log_set(struct fence *f, const struct kv *kv0)
{
    struct group *g = f->group;
    struct arena a CLEANUP(arena_finish) = {0};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_set m;
    struct request *r = ask_self(g->node, on_logged, f);
    if (!r)
        return;
    kv_session_set(kv0, &a, &m);
    enc_session_set(&e, &m);
    f->logged = r->id;
    if (group_propose(g, KV_CMD_SESSION_SET, enc_view(&e), r) < 0)
        drop_logged(f); /* nobody will hear of it */
}

/* Who ended before group 0 knew of this group, or before its first configuration, ended without
 * this group being told; a set from before that would bring him back to life. A replica of group 0
 * that is being filled anew may not have come so far. */
static bool may_be_heard(const struct fence *f, const struct kv *kv0)
{
    return kv0 && kv_config(kv0)->num > 0 && kv_group(kv0, f->group->gid);
}

static bool helps_somebody(const struct fence *f, uint64_t applied)
{
    if (f->wanted > kv_sessions_as_of(f->group->kv) && f->wanted <= applied)
        return true;
    for (GList *l = f->waiting.head; l; l = l->next)
        if (((const struct waiting *)l->data)->client <= applied)
            return true;
    return false;
}

static void give_up_late(struct fence *f)
{
    struct waiting *w;
    while ((w = g_queue_peek_head(&f->waiting)) != NULL && f->group->node->now >= w->until) {
        g_queue_pop_head(&f->waiting);
        request_fail(w->request, -ERR_BUSY, 0, NULL);
        g_free(w);
    }
}

static void hear(struct fence *f)
{
    const struct group *g0 = node_group(f->group->node, 0);
    if (!f->logged && may_be_heard(f, g0->kv) && helps_somebody(f, g0->applied))
        log_set(f, g0->kv);
}

void fence_tick(struct fence *f)
{
    if (g_queue_is_empty(&f->waiting) && f->wanted == 0)
        return;
    if (f->wanted <= kv_sessions_as_of(f->group->kv))
        f->wanted = 0;
    give_up_late(f);
    serve_known(f); /* group 0 may have told us */
    hear(f);
}

/* --- sessions that ended ---------------------------------------------------------------------- */

static struct told *told_of(struct fence *f, uint32_t gid)
{
    unsigned i = 0;
    while (i < f->n_told && f->told[i].gid != gid)
        i++;
    ASSERT(i < GROUPS_MAX); /* no more are made, and none goes */
    if (i == f->n_told)
        f->told[f->n_told++] = (struct told){.fence = f, .gid = gid};
    return &f->told[i];
}

/* The set that all groups have, or a later one. */
static uint64_t least_logged(struct fence *f)
{
    unsigned n;
    uint64_t index, least = kv_sessions_as_of(f->group->kv);
    const struct kv_group *groups = kv_groups(f->group->kv, &n, &index);
    for (unsigned i = 0; i < n; i++)
        least = MIN(least, told_of(f, groups[i].gid)->logged);
    return least;
}

static void log_fenced(struct fence *f)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_sessions_fenced m = {.as_of = least_logged(f)};
    if (m.as_of <= f->fenced)
        return;
    enc_sessions_fenced(&e, &m);
    if (group_propose(f->group, KV_CMD_SESSIONS_FENCED, enc_view(&e), NULL) == 0)
        f->fenced = m.as_of;
}

/* After an error it is told again by the next fence_house. */
static void on_told(void *ctx, int err, unsigned type, struct bytes body)
{
    struct told *t = ctx;
    t->ask = 0;
    if (err < 0)
        return;
    t->logged = t->asked;
    log_fenced(t->fence);
}

static void tell(struct told *t)
{
    struct group *g = t->fence->group;
    struct arena a CLEANUP(arena_finish) = {0};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_set m;
    kv_session_set(g->kv, &a, &m);
    enc_session_set(&e, &m);
    t->asked = m.as_of;
    t->ask = ask_command(g->node, t->gid, KV_CMD_SESSION_SET, enc_view(&e), TELL_MS, on_told, t);
}

void fence_house(struct fence *f)
{
    struct group *g = f->group;
    uint64_t newest, index;
    unsigned n;
    if (g->gid != 0 || !g->leading || g->store_full || kv_fencing(g->kv, &newest) == 0)
        return;
    const struct kv_group *groups = kv_groups(g->kv, &n, &index);
    for (unsigned i = 0; i < n; i++) {
        struct told *t = told_of(f, groups[i].gid);
        if (t->ask == 0 && t->logged < newest)
            tell(t);
    }
    log_fenced(f);
}
