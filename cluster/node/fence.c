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

/* Group 0: one group is told one set. */
struct told {
    struct fence *fence;
    uint32_t gid;
    uint64_t ask; /* 0: it has answered */
};

struct fence {
    struct group *group;
    GQueue waiting;  /* struct waiting, in the order in which they came */
    uint64_t logged; /* ask: a SESSION_SET of ours is in the log; 0: none is */
    bool serving;    /* what waited is served now */
    /* Of group 0's leader: a round of telling; n_told 0: none is under way. */
    struct told told[GROUPS_MAX];
    unsigned n_told, n_left;
    uint64_t as_of;
};

struct fence *fence_create(struct group *g)
{
    struct fence *f = g_new0(struct fence, 1);
    f->group = g;
    g_queue_init(&f->waiting);
    return f;
}

static void end_round(struct fence *f)
{
    struct node *n = f->group->node;
    for (unsigned i = 0; n->asks && i < f->n_told; i++)
        ask_drop(n, f->told[i].ask);
    f->n_told = 0;
}

static void drop_logged(struct fence *f)
{
    if (f->group->node->asks)
        ask_drop(f->group->node, f->logged);
    f->logged = 0;
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
    drop_logged(f);
    end_round(f);
    g_free(f);
}

void fence_yield(struct fence *f)
{
    struct waiting *w;
    while ((w = g_queue_pop_head(&f->waiting)) != NULL) {
        request_fail(w->request, -ERR_NOT_LEADER, group_hint(f->group), NULL);
        g_free(w);
    }
    drop_logged(f);
    end_round(f);
}

/* --- sessions that are new here --------------------------------------------------------------- */

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
    fence_tick(f);
    return true;
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

/* Those that were waiting when the set was applied; what comes meanwhile is known. */
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

static bool helps_somebody(const struct fence *f, uint64_t applied)
{
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

void fence_tick(struct fence *f)
{
    struct group *g = f->group, *g0 = node_group(g->node, 0);
    if (g_queue_is_empty(&f->waiting))
        return;
    give_up_late(f);
    if (!f->logged && g0->kv && kv_config(g0->kv)->num > 0 && helps_somebody(f, g0->applied))
        log_set(f, g0->kv);
}

/* --- sessions that ended ---------------------------------------------------------------------- */

static void log_fenced(struct fence *f)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_sessions_fenced m = {.as_of = f->as_of};
    enc_sessions_fenced(&e, &m);
    (void)group_propose(f->group, KV_CMD_SESSIONS_FENCED, enc_view(&e), NULL);
}

static void on_told(void *ctx, int err, unsigned type, struct bytes body)
{
    struct told *t = ctx;
    struct fence *f = t->fence;
    t->ask = 0;
    if (err < 0) {
        end_round(f); /* the next one asks them all again */
        return;
    }
    if (--f->n_left > 0)
        return;
    f->n_told = 0;
    log_fenced(f);
}

/* A group that is made while they are told has no set that is older than its own making. */
void fence_house(struct fence *f)
{
    struct group *g = f->group;
    struct arena a CLEANUP(arena_finish) = {0};
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_session_set m;
    uint64_t index;
    unsigned n;
    if (g->gid != 0 || !g->leading || g->store_full || f->n_told > 0 ||
        kv_fencing(g->kv, &index) == 0)
        return;
    const struct kv_group *groups = kv_groups(g->kv, &n, &index);
    kv_session_set(g->kv, &a, &m);
    enc_session_set(&e, &m);
    f->as_of = m.as_of;
    f->n_told = f->n_left = n;
    for (unsigned i = 0; i < n; i++) {
        f->told[i] = (struct told){.fence = f, .gid = groups[i].gid};
        f->told[i].ask = ask_command(g->node, groups[i].gid, KV_CMD_SESSION_SET, false,
                                     enc_view(&e), TELL_MS, on_told, &f->told[i]);
    }
}
