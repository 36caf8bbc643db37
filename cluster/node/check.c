/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/check.h"
#include "cluster/kv/digest.h"
#include "cluster/node/damage.h"
#include "cluster/node/request.h"

/* One question about a kept state. */
struct check_job {
    uint64_t index;
    struct buf *question; /* its encoded message; NULL: by shard, which is begun unasked */
    struct digest *digest;
    bool done;
    int err;
    uint64_t asked_at; /* tick */
};

struct checks {
    struct group *group;
    GPtrArray *jobs; /* struct check_job *, oldest first */
};

static void job_free(gpointer p)
{
    struct check_job *j = p;
    digest_destroy(j->digest);
    buf_unref(j->question);
    g_free(j);
}

struct checks *checks_create(struct group *g)
{
    struct checks *c = g_new0(struct checks, 1);
    c->group = g;
    c->jobs = g_ptr_array_new_with_free_func(job_free);
    return c;
}

void checks_destroy(struct checks *c)
{
    if (!c)
        return;
    g_ptr_array_free(c->jobs, TRUE);
    g_free(c);
}

static struct check_job *job_at(const struct checks *c, guint i)
{
    return g_ptr_array_index(c->jobs, i);
}

static struct check_job *job_find(const struct checks *c, uint64_t index, struct bytes question)
{
    for (guint i = 0; i < c->jobs->len; i++) {
        struct check_job *j = job_at(c, i);
        if (j->index == index && bytes_eq(buf_bytes(j->question), question))
            return j;
    }
    return NULL;
}

static struct check_job *job_add(struct checks *c, uint64_t index, struct bytes question,
                                 struct digest *digest)
{
    struct check_job *j = g_new0(struct check_job, 1);
    j->index = index;
    j->question = question.n > 0 ? buf_copy(question) : NULL;
    j->digest = digest;
    j->asked_at = c->group->node->now;
    g_ptr_array_add(c->jobs, j);
    return j;
}

/* --- time ------------------------------------------------------------------------------------- */

/* When a state was last asked for, by whatever question. */
static uint64_t last_asked(const struct checks *c, uint64_t index)
{
    uint64_t at = 0;
    for (guint i = 0; i < c->jobs->len; i++)
        if (job_at(c, i)->index == index)
            at = MAX(at, job_at(c, i)->asked_at);
    return at;
}

/* States that are new are begun; those that nobody wants go, and what was asked of them. */
static void follow_kept(struct checks *c)
{
    struct group *g = c->group;
    uint64_t kept[KV_KEPT_MAX];
    unsigned n = kv_kept(g->kv, kept);
    for (unsigned i = 0; i < n; i++) {
        if (!job_find(c, kept[i], BYTES_NONE))
            job_add(c, kept[i], BYTES_NONE,
                    digest_create(BYTES_NONE, BYTES_NONE, DIGEST_SHARDS, 0, NULL, 0));
        if (g->node->now - last_asked(c, kept[i]) > TICKS(CHECK_KEEP_MS))
            kv_kept_drop(g->kv, kept[i]);
    }
    for (guint i = c->jobs->len; i-- > 0;)
        if (!kv_kept_view(g->kv, job_at(c, i)->index))
            g_ptr_array_remove_index(c->jobs, i);
}

static void job_step(struct group *g, struct check_job *j)
{
    struct store_view *view = kv_kept_view(g->kv, j->index);
    int r = digest_step(j->digest, g->store, view, CHECK_TICK_ROWS, CHECK_TICK_BYTES);
    j->done = r != 0;
    j->err = MIN(r, 0);
    if (r < 0 && !damage_is_alone(g))
        group_fatal(g, r, "group %u: read the state store in %s for a check", g->gid, g->dir);
    if (r < 0)
        node_log(g->node, LOG_ERROR,
                 "check-failed gid=%u index=%" G_GUINT64_FORMAT ": read the state store in %s: %s",
                 g->gid, j->index, g->dir, err_text(r));
    else if (j->done && !j->question)
        node_log(g->node, LOG_INFO,
                 "checked gid=%u index=%" G_GUINT64_FORMAT " rows=%" G_GUINT64_FORMAT, g->gid,
                 j->index, digest_rows(j->digest));
}

void checks_tick(struct checks *c)
{
    uint64_t kept[KV_KEPT_MAX];
    if (c->jobs->len == 0 && kv_kept(c->group->kv, kept) == 0)
        return;
    follow_kept(c);
    for (guint i = 0; i < c->jobs->len; i++)
        if (!job_at(c, i)->done) {
            job_step(c->group, job_at(c, i));
            return;
        }
}

/* --- requests --------------------------------------------------------------------------------- */

int checks_start(struct conn *c, uint64_t id, const struct msg_check *m)
{
    struct group *g = node_group(c->node, m->gid);
    if (!g)
        return -ERR_NOT_FOUND;
    if (!group_is_leader(g)) {
        conn_answer_leader(c->node, c->token, id, -ERR_NOT_LEADER, g->gid, group_hint(g), NULL);
        return 0;
    }
    struct request *r = request_create(c->node, c, id, 0, BYTES_NONE);
    if (!r)
        return -ERR_BUSY;
    group_propose(g, KV_CMD_CHECK, BYTES_NONE, r);
    return 0;
}

static bool is_overview(const struct msg_check_ask *m)
{
    return m->lo.n == 0 && m->hi.n == 0 && m->every == 0 && m->n_bounds == 0;
}

/* NULL: its bounds are not in order. */
static struct digest *digest_of(struct arena *a, const struct msg_check_ask *m)
{
    if (m->every > 0)
        return m->n_bounds > 0 ? NULL
                               : digest_create(m->lo, m->hi, DIGEST_EVERY, m->every, NULL, 0);
    struct bytes *bounds = arena_array(a, m->n_bounds + 1, sizeof(*bounds));
    struct bytes last = m->lo;
    for (uint32_t i = 0; i < m->n_bounds; i++) {
        bounds[i] = m->bounds[i].at;
        if (bytes_cmp(bounds[i], last) <= 0 || (m->hi.n > 0 && bytes_cmp(bounds[i], m->hi) >= 0))
            return NULL;
        last = bounds[i];
    }
    return digest_create(m->lo, m->hi, DIGEST_BOUNDS, 0, bounds, m->n_bounds);
}

/* A place for one more question: the oldest answer goes. False: all are being worked on. */
static bool make_room(struct checks *c)
{
    if (c->jobs->len < CHECK_JOBS_MAX)
        return true;
    for (guint i = 0; i < c->jobs->len; i++)
        if (job_at(c, i)->done && job_at(c, i)->question) {
            g_ptr_array_remove_index(c->jobs, i);
            return true;
        }
    return false;
}

static void answer(struct conn *c, uint64_t id, struct group *g, const struct check_job *j,
                   int status)
{
    struct node *n = c->node;
    struct msg_check_pieces reply = {.status = (uint16_t)-status, .applied = g->applied};
    if (j)
        reply.hashed = digest_rows(j->digest);
    if (j && status == 0) {
        unsigned count;
        const struct digest_piece *p = digest_pieces(j->digest, &count);
        reply.n_pieces = count;
        reply.pieces = arena_array(&n->scratch, count + 1, sizeof(*reply.pieces));
        for (unsigned i = 0; i < count; i++)
            reply.pieces[i] =
                (struct check_piece){p[i].at, p[i].hash, p[i].rows, p[i].keys, p[i].bytes};
    }
    CONN_ANSWER(n, c->token, check_pieces, id, &reply);
}

int checks_ask(struct conn *c, uint64_t id, const struct msg_check_ask *m, struct bytes body)
{
    struct group *g = node_group(c->node, m->gid);
    if (!g)
        return -ERR_NOT_FOUND;
    struct checks *all = g->checks;
    follow_kept(all);
    if (!kv_kept_view(g->kv, m->index)) {
        answer(c, id, g, NULL, -ERR_NOT_FOUND);
        return 0;
    }
    struct bytes question = is_overview(m) ? BYTES_NONE : body;
    struct check_job *j = job_find(all, m->index, question);
    if (!j) {
        struct digest *d = digest_of(&c->node->scratch, m);
        if (!d)
            return -ERR_INVALID;
        if (!make_room(all)) {
            digest_destroy(d);
            answer(c, id, g, NULL, -ERR_BUSY);
            return 0;
        }
        j = job_add(all, m->index, question, d);
    }
    j->asked_at = c->node->now;
    answer(c, id, g, j, j->done ? j->err : -ERR_BUSY);
    return 0;
}
