/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/take.h"
#include "cluster/kv/export.h"
#include "cluster/node/ask.h"
#include "cluster/node/damage.h"
#include "cluster/node/fence.h"
#include "cluster/node/request.h"

/* Enough to hide the waiting of one behind the others; more make no better use of a disk. */
#define TAKES_MAX 4
/* A piece delays what comes behind it on the links and in the log, so it is a fraction of what
 * would be the fastest. */
#define PIECE_BYTES KIB(256)
/* A piece with fewer bytes was not full: it ended the pages, or a pass over what was written
 * meanwhile. Two in a row: a whole pass fitted into one piece. */
#define SHORT_BYTES (PIECE_BYTES / 2)
/* So many passes have not caught up with the writers: the next one ends it, however long it is. */
#define PASSES_MAX 12
#define STEP_MS    5000
#define AGAIN_MS   500

enum step {
    STEP_BEGIN,
    STEP_PULL,
    STEP_STAGE,
    STEP_CLOSE,
    STEP_FREEZE,
    STEP_INSTALL,
    STEP_DELETE,
    STEP_MOVED,
    STEP_NONE, /* over; it is forgotten when the configuration here says so, too */
};

/* One shard that comes. */
struct take {
    struct takes *all;
    unsigned shard;
    uint64_t num; /* of the configuration that wants it */
    uint32_t from;
    enum step step;    /* that is under way, or is next */
    uint64_t ask;      /* 0: none is under way */
    uint64_t again_at; /* tick */
    bool was_short;    /* the last piece */
    bool caught_up, frozen;
    unsigned n_passes;
    uint64_t time, as_of; /* of the last piece, for INSTALL */
};

struct takes {
    struct group *group;
    GPtrArray *all; /* struct take */
};

struct takes *takes_create(struct group *g)
{
    struct takes *t = g_new0(struct takes, 1);
    t->group = g;
    t->all = g_ptr_array_new_with_free_func(g_free);
    return t;
}

void takes_yield(struct takes *t)
{
    struct node *n = t->group->node;
    for (guint i = 0; i < t->all->len; i++) {
        struct take *k = g_ptr_array_index(t->all, i);
        if (k->ask && n->asks)
            ask_drop(n, k->ask);
    }
    g_ptr_array_set_size(t->all, 0);
}

void takes_destroy(struct takes *t)
{
    if (!t)
        return;
    takes_yield(t);
    g_ptr_array_free(t->all, TRUE);
    g_free(t);
}

unsigned takes_under_way(const struct takes *t)
{
    unsigned n = 0;
    for (guint i = 0; i < t->all->len; i++)
        n += ((const struct take *)g_ptr_array_index(t->all, i))->step != STEP_NONE;
    return n;
}

/* --- steps ------------------------------------------------------------------------------------ */

static void on_done(void *ctx, int err, unsigned type, struct bytes body);

static const struct kv_shard *shard_here(const struct take *k)
{
    return kv_shard(k->all->group->kv, k->shard);
}

/* What comes after what is known to be done; of a move that another leader began, from the state
 * alone. */
static enum step first_step(const struct take *k)
{
    const struct kv_shard *s = shard_here(k);
    if (s->num != k->num)
        return STEP_BEGIN;
    return s->state == SHARD_STAGING ? STEP_PULL : STEP_DELETE;
}

/* The step is at the old owner. */
static void ask_old(struct take *k, enum kv_command cmd)
{
    struct group *g = k->all->group;
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_shard_move m = {(uint16_t)k->shard, k->num, g->gid};
    enc_shard_move(&e, &m);
    k->ask = ask_command(g->node, k->from, cmd, enc_view(&e), STEP_MS, on_done, k);
}

/* From the beginning, also when all is here already and only the time is not known any more. */
static void ask_piece(struct take *k)
{
    struct group *g = k->all->group;
    const struct kv_shard *s = shard_here(k);
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_shard_pull m = {
        .gid = k->from,
        .shard = (uint16_t)k->shard,
        .num = k->num,
        .cursor = s->num == k->num ? s->cursor : BYTES_NONE,
    };
    enc_shard_pull(&e, &m);
    k->ask = ask_group(g->node, k->from, MSG_shard_pull, enc_view(&e), STEP_MS, on_done, k);
}

/* The step is an entry of this group. */
static void log_here(struct take *k, enum kv_command cmd, struct bytes body)
{
    struct group *g = k->all->group;
    struct request *r = ask_self(g->node, on_done, k);
    if (!r) {
        k->again_at = g->node->now + TICKS(AGAIN_MS);
        return;
    }
    k->ask = r->id;
    if (group_propose(g, cmd, body, r) == 0)
        return;
    ask_drop(g->node, k->ask); /* not logged: nobody will hear of it */
    k->ask = 0;
    k->again_at = g->node->now + 1;
}

/* Not before this group has heard of the sessions that the old owner knows to have ended. */
static void log_install(struct take *k)
{
    struct group *g = k->all->group;
    if (!fence_reaches(g, k->as_of)) {
        k->again_at = g->node->now + 1;
        return;
    }
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_shard_install m = {(uint16_t)k->shard, k->num, k->time, k->as_of};
    enc_shard_install(&e, &m);
    log_here(k, KV_CMD_MOVE_INSTALL, enc_view(&e));
}

static void tell_moved(struct take *k)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct shard_id shard = {(uint16_t)k->shard};
    const struct msg_config_moved m = {.num = k->num, .n_shards = 1, .shards = &shard};
    enc_config_moved(&e, &m);
    k->ask = ask_command(k->all->group->node, 0, KV_CMD_MOVED, enc_view(&e), STEP_MS, on_done, k);
}

static void take_step(struct take *k)
{
    if (k->step == STEP_STAGE)
        k->step = STEP_PULL; /* a piece that could not be logged is asked for again */
    switch (k->step) {
    case STEP_BEGIN:
        ask_old(k, KV_CMD_MOVE_BEGIN);
        break;
    case STEP_PULL:
        ask_piece(k);
        break;
    case STEP_CLOSE:
        ask_old(k, KV_CMD_MOVE_CLOSE);
        break;
    case STEP_FREEZE:
        ask_old(k, KV_CMD_MOVE_FREEZE);
        break;
    case STEP_INSTALL:
        log_install(k);
        break;
    case STEP_DELETE:
        ask_old(k, KV_CMD_MOVE_DELETE);
        break;
    case STEP_MOVED:
        tell_moved(k);
        break;
    case STEP_STAGE:
    case STEP_NONE:
        break;
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

static bool is_short(const struct msg_shard_piece *p)
{
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_rows; i++)
        n += p->rows[i].key.n + p->rows[i].value.n;
    return n < SHORT_BYTES && p->n_rows < SHARD_ROWS_MAX;
}

/* Is it time to end it? */
static bool has_caught_up(struct take *k, const struct msg_shard_piece *p)
{
    bool was_short = k->was_short;
    k->was_short = is_short(p);
    k->n_passes += k->was_short;
    return (was_short && k->was_short) || k->n_passes >= PASSES_MAX;
}

static void stage(struct take *k, const struct msg_shard_piece *p)
{
    const struct kv_shard *s = shard_here(k);
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_shard_stage m = {
        .shard = (uint16_t)k->shard,
        .num = k->num,
        .peer = k->from,
        .seq = s->num == k->num ? s->staged : 0,
        .next = p->next,
        .n_rows = p->n_rows,
        .rows = p->rows,
    };
    k->time = p->time;
    k->as_of = p->as_of;
    k->caught_up |= has_caught_up(k, p);
    k->step = STEP_STAGE;
    enc_shard_stage(&e, &m);
    log_here(k, KV_CMD_MOVE_STAGE, enc_view(&e));
}

/* 1: a step is under way; 0: the next is to be taken; an error. */
static int got_piece(struct take *k, unsigned type, struct bytes body)
{
    struct arena a CLEANUP(arena_finish) = {0};
    const struct kv_shard *s = shard_here(k);
    struct msg_shard_piece p;
    if (type != MSG_shard_piece || dec_shard_piece(body, &a, &p) < 0 || p.status != 0)
        return -ERR_INVALID;
    if (s->num == k->num && (s->state != SHARD_STAGING || s->cursor.n == 0)) {
        k->time = p.time; /* all is here: it was frozen when it was asked for that */
        k->as_of = p.as_of;
        k->step = first_step(k) == STEP_DELETE ? STEP_DELETE : STEP_INSTALL;
        return 0;
    }
    stage(k, &p);
    return 1;
}

static enum step after_stage(struct take *k)
{
    if (shard_here(k)->cursor.n == 0)
        return STEP_INSTALL;
    return k->caught_up && !k->frozen ? STEP_CLOSE : STEP_PULL;
}

static void taken(struct take *k)
{
    node_log(k->all->group->node, LOG_INFO,
             "took gid=%u shard=%u from=%u config=%" G_GUINT64_FORMAT, k->all->group->gid, k->shard,
             k->from, k->num);
}

static enum step next_step(struct take *k)
{
    switch (k->step) {
    case STEP_BEGIN:
        return STEP_PULL;
    case STEP_FREEZE:
        k->frozen = true;
        return STEP_PULL;
    case STEP_STAGE:
        return after_stage(k);
    case STEP_CLOSE:
        return STEP_FREEZE;
    case STEP_INSTALL:
        return STEP_DELETE;
    case STEP_DELETE:
        return STEP_MOVED;
    case STEP_MOVED:
        taken(k);
        return STEP_NONE;
    case STEP_PULL:
    case STEP_NONE:
        break;
    }
    ASSERT(false); /* no such step ends so */
    return STEP_NONE;
}

static const struct kv *controller(const struct takes *t)
{
    return node_group(t->group->node, 0)->kv;
}

static void start_takes(struct takes *t);

static void try_again(struct take *k, int err)
{
    struct node *n = k->all->group->node;
    /* BUSY is no failure: there is more, or a transaction is just ending. */
    k->again_at = n->now + (err == -ERR_BUSY ? 1 : TICKS(AGAIN_MS));
    if (err == -ERR_BUSY || err == -ERR_TIMEOUT)
        return;
    node_log(n, LOG_WARN, "take gid=%u shard=%u from=%u config=%" G_GUINT64_FORMAT " step=%d: %s",
             k->all->group->gid, k->shard, k->from, k->num, (int)k->step, err_text(err));
    k->step = first_step(k);
}

static void on_done(void *ctx, int err, unsigned type, struct bytes body)
{
    struct take *k = ctx;
    struct takes *t = k->all;
    k->ask = 0;
    if (err == 0 && k->step == STEP_PULL)
        err = got_piece(k, type, body);
    else if (err == 0)
        k->step = next_step(k);
    if (err == -ERR_BUSY && k->step == STEP_DELETE)
        err = 0; /* at once: there is more */
    if (err < 0)
        try_again(k, err);
    else if (err == 0)
        take_step(k);
    if (k->step == STEP_NONE && controller(t))
        start_takes(t);
}

/* --- which ------------------------------------------------------------------------------------ */

static bool is_wanted(const struct takes *t, unsigned shard, uint64_t num, uint32_t *ret_from)
{
    const struct kv *kv = controller(t);
    const struct config *c = kv_config(kv);
    return c->num == num && c->owner[shard] == t->group->gid &&
           kv_config_is_pending(kv, shard, ret_from);
}

static bool is_known(const struct takes *t, unsigned shard)
{
    for (guint i = 0; i < t->all->len; i++)
        if (((const struct take *)g_ptr_array_index(t->all, i))->shard == shard)
            return true;
    return false;
}

static void start_takes(struct takes *t)
{
    const struct config *c = kv_config(controller(t));
    unsigned busy = takes_under_way(t);
    uint32_t from;
    for (unsigned shard = 0; shard < c->n_shards && busy < TAKES_MAX; shard++) {
        if (!is_wanted(t, shard, c->num, &from) || is_known(t, shard))
            continue;
        struct take *k = g_new0(struct take, 1);
        *k = (struct take){.all = t, .shard = shard, .num = c->num, .from = from};
        k->step = first_step(k);
        g_ptr_array_add(t->all, k);
        take_step(k);
        busy++;
    }
}

static void forget_ended(struct takes *t)
{
    for (guint i = t->all->len; i > 0; i--) {
        struct take *k = g_ptr_array_index(t->all, i - 1);
        uint32_t from;
        if (is_wanted(t, k->shard, k->num, &from))
            continue;
        if (k->ask)
            ask_drop(t->group->node, k->ask);
        g_ptr_array_remove_index_fast(t->all, i - 1);
    }
}

void takes_tick(struct takes *t)
{
    struct group *g = t->group;
    const struct kv *kv = controller(t);
    if (!kv || (kv_config_pending(kv) == 0 && t->all->len == 0))
        return;
    if (!g->leading || g->paused || g->store_full)
        return;
    forget_ended(t);
    for (guint i = 0; i < t->all->len; i++) {
        struct take *k = g_ptr_array_index(t->all, i);
        if (k->ask == 0 && g->node->now >= k->again_at)
            take_step(k);
    }
    start_takes(t);
}

/* --- the old owner ---------------------------------------------------------------------------- */

int serve_shard_pull(struct conn *c, uint64_t id, struct bytes body)
{
    struct node *n = c->node;
    struct msg_shard_pull m;
    if (dec_shard_pull(body, &n->scratch, &m) < 0)
        return -ERR_INVALID;
    struct group *g = node_group(n, m.gid);
    if (!g) {
        conn_answer_leader(n, c->token, id, -ERR_NOT_LEADER, m.gid, 0, NULL);
        return 0;
    }
    struct request *r = request_create(n, c, id, MSG_shard_pull, body);
    if (!r)
        return -ERR_BUSY;
    group_read(g, r);
    return 0;
}

void read_shard_pull(struct group *g, struct request *r, const struct raft_read *read)
{
    struct node *n = g->node;
    struct msg_shard_pull m;
    struct msg_shard_piece piece = {0};
    int err = dec_shard_pull(buf_bytes(r->body), &n->scratch, &m);
    if (err == 0)
        err = kv_export(g->kv, m.shard, m.num, m.cursor, PIECE_BYTES, &n->scratch, &piece);
    if (err == -ERR_IO || err == -ERR_CORRUPT)
        group_fatal(g, err, "group %u: read the state store in %s", g->gid, g->dir);
    if (!group_read_holds(g, read, r))
        return;
    if (err < 0) {
        request_fail(r, err, 0, NULL);
        return;
    }
    CONN_ANSWER(n, r->token, shard_piece, r->id, &piece);
    request_destroy(r);
}
