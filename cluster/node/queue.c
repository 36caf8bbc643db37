/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/queue.h"
#include "cluster/kv/locks.h"
#include "cluster/node/request.h"
#include "cluster/node/table.h"

/* Of one group at once; beyond it BUSY. */
#define HELD_MAX 4096
/* Of a PREPARE that holds nothing elsewhere; then its coordinator sends it again. */
#define PREPARE_PATIENCE_MS 800

enum held_kind {
    HELD_TXN,     /* is proposed */
    HELD_READ,    /* gets a read point */
    HELD_PREPARE, /* is proposed, and then in `proposed` until its entry is applied */
    HELD_ATTEMPT, /* a coordinator is told */
};

struct held {
    struct lock_queue *queue;
    enum held_kind kind;
    struct request *request; /* NULL: of an attempt; of one that is proposed: not owned */
    struct buf *body;        /* what t points into */
    struct bytes command;    /* of a PREPARE; in body */
    struct arena arena;
    struct msg_txn t;
    struct txid id; /* of a PREPARE or an attempt; else zero */
    struct txid by; /* whose lock it met */
    uint64_t age, until;
    bool holds; /* locks elsewhere */
    bool due;   /* waits for nobody: is tried at once */
    queue_go *go;
    void *ctx;
    GQueue *in; /* the list that it is in */
    GList link;
};

struct aged {
    struct txid id;
    uint64_t age;
};

struct lock_queue {
    struct group *group;
    GQueue held;        /* by age, the oldest first */
    GQueue trying;      /* taken from there by queue_serve; empty outside of it */
    GQueue proposed;    /* PREPAREs in the log that are not applied yet, by index */
    struct locks locks; /* of `proposed`; the owner is the struct held */
    GHashTable *ages;   /* struct aged, owned: of those that are proposed or prepared */
    GHashTable *freed;  /* struct txid, owned: marked since queue_serve */
    bool marked;        /* there is something to try */
    bool all;           /* everything */
};

static guint txid_hash(gconstpointer p)
{
    const struct txid *id = p;
    return (guint)((id->n * 0x9e3779b1u) ^ (id->term * 31) ^ ((uint64_t)id->gid << 16));
}

static gboolean txid_equal(gconstpointer a, gconstpointer b)
{
    return txid_order(a, b) == 0;
}

struct lock_queue *queue_create(struct group *g)
{
    struct lock_queue *q = g_new0(struct lock_queue, 1);
    q->group = g;
    g_queue_init(&q->held);
    g_queue_init(&q->trying);
    g_queue_init(&q->proposed);
    locks_init(&q->locks);
    /* The key is the head of a struct aged. */
    q->ages = g_hash_table_new_full(txid_hash, txid_equal, g_free, NULL);
    q->freed = g_hash_table_new_full(txid_hash, txid_equal, g_free, NULL);
    return q;
}

/* --- the lists -------------------------------------------------------------------------------- */

/* The arena's and the body's owner from here on; request and body as they were. */
static struct held *held_new(struct lock_queue *q, enum held_kind kind, struct buf *body,
                             struct request *r)
{
    struct held *h = g_new0(struct held, 1);
    h->queue = q;
    h->kind = kind;
    h->body = buf_ref(body);
    h->request = r;
    h->link.data = h;
    return h;
}

static void take_out(struct held *h)
{
    if (h->in)
        g_queue_unlink(h->in, &h->link);
    h->in = NULL;
}

static void put_by_age(struct held *h)
{
    GQueue *list = &h->queue->held;
    GList *l = list->tail;
    while (l && ((const struct held *)l->data)->age > h->age)
        l = l->prev;
    if (l)
        g_queue_insert_after_link(list, l, &h->link);
    else
        g_queue_push_head_link(list, &h->link);
    h->in = list;
}

/* The request is left to the caller. */
static void held_free(struct held *h)
{
    take_out(h);
    buf_unref(h->body);
    arena_finish(&h->arena);
    g_free(h);
}

/* What is in the log and not applied is no longer known. */
static void forget_proposed(struct lock_queue *q)
{
    while (q->proposed.head) {
        struct held *h = q->proposed.head->data;
        locks_release(&q->locks, &h->t, h);
        held_free(h);
    }
    g_hash_table_remove_all(q->ages);
}

void queue_destroy(struct lock_queue *q)
{
    if (!q)
        return;
    while (q->held.head) {
        struct held *h = q->held.head->data;
        request_destroy(h->request);
        held_free(h);
    }
    forget_proposed(q);
    locks_finish(&q->locks);
    g_hash_table_destroy(q->ages);
    g_hash_table_destroy(q->freed);
    g_free(q);
}

size_t queue_count(const struct lock_queue *q)
{
    return q->held.length;
}

/* --- who waits for whom ----------------------------------------------------------------------- */

static bool no_locks(const struct lock_queue *q)
{
    return kv_prepared(q->group->kv) == 0 && q->locks.n == 0;
}

/* Its own locks, of a PREPARE that comes twice, are none. */
static bool meets(const struct lock_queue *q, const struct msg_txn *t, const struct txid *self,
                  struct txid *ret_by)
{
    struct bytes key;
    if (no_locks(q))
        return false;
    if (kv_conflict(q->group->kv, t, ret_by, &key))
        return txid_order(ret_by, self) != 0;
    const struct held *owner = locks_conflict(&q->locks, t, &key);
    if (owner)
        *ret_by = owner->id;
    return owner && txid_order(ret_by, self) != 0;
}

static bool may_wait(const struct held *h)
{
    if (!h->holds)
        return true;
    const struct aged *by = g_hash_table_lookup(h->queue->ages, &h->by);
    if (!by)
        return false;
    return h->age != by->age ? h->age < by->age : txid_order(&h->id, &by->id) < 0;
}

static void remember_age(struct lock_queue *q, const struct held *h)
{
    struct aged *a = g_new(struct aged, 1);
    *a = (struct aged){h->id, h->age};
    g_hash_table_replace(q->ages, a, a);
}

/* --- in and out ------------------------------------------------------------------------------- */

static void propose_prepare(struct held *h)
{
    struct lock_queue *q = h->queue;
    if (group_propose(q->group, KV_CMD_PREPARE, h->command, h->request) < 0) {
        held_free(h); /* it was answered */
        return;
    }
    locks_take(&q->locks, &h->t, h);
    remember_age(q, h);
    h->in = &q->proposed;
    g_queue_push_tail_link(h->in, &h->link);
}

/* Nothing is in its way. In no list. */
static void go_on(struct held *h)
{
    struct group *g = h->queue->group;
    struct request *r = h->request;
    queue_go *go = h->go;
    void *ctx = h->ctx;
    switch (h->kind) {
    case HELD_PREPARE:
        propose_prepare(h);
        return;
    case HELD_TXN:
        if (kv_serves(g->kv, &h->t))
            (void)group_propose(g, KV_CMD_TXN, buf_bytes(h->body), r);
        else /* its shard has left */
            request_fail(r, -ERR_WRONG_GROUP, 0, NULL);
        held_free(h);
        return;
    case HELD_READ:
        held_free(h);
        group_read(g, r);
        return;
    case HELD_ATTEMPT:
        held_free(h);
        go(ctx, 0);
        return;
    }
}

static void refuse(struct held *h)
{
    struct request *r = h->request;
    queue_go *go = h->go;
    void *ctx = h->ctx;
    h->queue->group->node->counters.lock_refusals++;
    held_free(h);
    if (go)
        go(ctx, -ERR_BUSY);
    else
        request_fail(r, -ERR_BUSY, 0, NULL);
}

/* It has met a lock, for the first time. False: it may not wait. */
static bool enter(struct held *h)
{
    struct lock_queue *q = h->queue;
    if (queue_count(q) >= HELD_MAX || !may_wait(h))
        return false;
    q->group->node->counters.lock_waits++;
    put_by_age(h);
    return true;
}

static void try_again(struct held *h)
{
    struct lock_queue *q = h->queue;
    h->due = false;
    if (!kv_serves(q->group->kv, &h->t) || !meets(q, &h->t, &h->id, &h->by))
        go_on(h);
    else if (may_wait(h))
        put_by_age(h);
    else
        refuse(h);
}

/* --- transactions and reads ------------------------------------------------------------------- */

static uint64_t age_now(const struct lock_queue *q)
{
    const struct node *n = q->group->node;
    return n->env.wall_ns(n->env.ctx);
}

/* One of a client, whose patience began when it first met a lock. */
static struct held *held_of(struct lock_queue *q, enum held_kind kind, struct request *r)
{
    struct held *h = held_new(q, kind, r->body, r);
    if (r->lock_until == 0)
        r->lock_until = q->group->node->now + TICKS(LOCK_PATIENCE_MS);
    h->until = r->lock_until;
    h->age = age_now(q);
    return h;
}

/* Bytes of a txn into h->t; they were decoded before. */
static void decode(struct held *h)
{
    int err = dec_txn(buf_bytes(h->body), &h->arena, &h->t);
    ASSERT(err == 0);
}

bool queue_txn(struct group *g, struct conn *c, uint64_t id, const struct msg_txn *t,
               struct bytes body)
{
    struct lock_queue *q = g->queue;
    const struct txid nobody = {0};
    struct txid by;
    if (!g->leading || !meets(q, t, &nobody, &by))
        return false;
    struct request *r = request_create(g->node, c, id, MSG_txn, body);
    if (!r) {
        conn_answer_status(g->node, c->token, id, -ERR_BUSY, 0, NULL);
        return true;
    }
    r->gid = g->gid;
    struct held *h = held_of(q, HELD_TXN, r);
    h->by = by;
    decode(h);
    if (!enter(h))
        refuse(h);
    return true;
}

void queue_run(struct lock_queue *q, struct request *r)
{
    r->gid = q->group->gid;
    struct held *h = held_of(q, HELD_TXN, r);
    decode(h);
    if (!meets(q, &h->t, &h->id, &h->by))
        go_on(h);
    else if (!enter(h))
        refuse(h);
}

void queue_read(struct lock_queue *q, struct request *r, const struct msg_txn *t)
{
    struct held *h = held_of(q, HELD_READ, r);
    CLEANUP(enc_finish) struct enc e = {0};
    enc_txn(&e, t);
    buf_unref(h->body);
    h->body = buf_copy(enc_view(&e));
    decode(h);
    /* The lock may have gone since the read: then it is tried at once. */
    h->due = !meets(q, &h->t, &h->id, &h->by);
    q->marked |= h->due;
    if (q->group->node->now >= h->until || !enter(h))
        refuse(h);
}

/* --- PREPARE ---------------------------------------------------------------------------------- */

static struct held *find_prepare(const struct lock_queue *q, const struct txid *id)
{
    for (GList *l = q->held.head; l; l = l->next) {
        struct held *h = l->data;
        if (h->kind == HELD_PREPARE && txid_order(&h->id, id) == 0)
            return h;
    }
    return NULL;
}

/* From its own bytes: what was decoded before lives for one frame only. */
static int decode_prepare(struct held *h)
{
    struct msg_group_command m;
    struct msg_prepare p;
    if (dec_group_command(buf_bytes(h->body), &h->arena, &m) < 0 ||
        dec_prepare(m.body, &h->arena, &p) < 0 || dec_txn(p.part, &h->arena, &h->t) < 0)
        return -ERR_INVALID;
    h->command = m.body;
    h->id = (struct txid){p.gid, p.term, p.n};
    h->age = m.age;
    h->holds = m.wait != PREPARE_WAITS;
    unsigned ms = h->holds ? HOLDER_PATIENCE_MS : PREPARE_PATIENCE_MS;
    h->until = h->queue->group->node->now + TICKS(ms);
    return kv_check(h->queue->group->kv, &h->t);
}

int queue_prepare(struct group *g, struct conn *c, uint64_t id, const struct msg_group_command *m,
                  struct bytes body)
{
    struct lock_queue *q = g->queue;
    struct request *r = request_create(g->node, c, id, MSG_group_command, body);
    if (!r)
        return -ERR_BUSY;
    r->gid = g->gid;
    struct held *h = held_new(q, HELD_PREPARE, r->body, r);
    int err = decode_prepare(h);
    if (err < 0) {
        request_destroy(r);
        held_free(h);
        return err;
    }
    struct held *same = find_prepare(q, &h->id);
    if (same) { /* sent again: the answer goes there */
        request_destroy(same->request);
        same->request = r;
        held_free(h);
        return 0;
    }
    if (!meets(q, &h->t, &h->id, &h->by))
        propose_prepare(h);
    else if (m->wait == PREPARE_WAITS_NOT || !enter(h))
        refuse(h);
    return 0;
}

void queue_outcome(struct lock_queue *q, struct bytes outcome)
{
    struct msg_outcome m;
    if (q->held.length == 0 || dec_outcome(outcome, &q->group->node->scratch, &m) < 0)
        return;
    const struct txid id = {m.gid, m.term, m.n};
    struct held *h = find_prepare(q, &id);
    if (!h)
        return;
    request_fail(h->request, -ERR_STALE, 0, NULL);
    held_free(h);
}

/* --- attempts --------------------------------------------------------------------------------- */

int queue_await(struct lock_queue *q, const struct msg_txn *t, const struct lock_claim *claim,
                struct held **ret)
{
    uint64_t holder_until = q->group->node->now + TICKS(HOLDER_PATIENCE_MS);
    struct txid by;
    if (!meets(q, t, &claim->id, &by))
        return 0;
    CLEANUP(enc_finish) struct enc e = {0};
    enc_txn(&e, t);
    struct buf *body = buf_copy(enc_view(&e));
    struct held *h = held_new(q, HELD_ATTEMPT, body, NULL);
    buf_unref(body);
    decode(h);
    h->id = claim->id;
    h->by = by;
    h->age = claim->age;
    h->holds = claim->holds;
    h->until = claim->holds ? MIN(claim->until, holder_until) : claim->until;
    h->go = claim->go;
    h->ctx = claim->ctx;
    if (!enter(h)) {
        held_free(h);
        return -ERR_BUSY;
    }
    *ret = h;
    return 1;
}

void queue_leave(struct held *h)
{
    if (h)
        held_free(h);
}

/* --- what the state machine tells ------------------------------------------------------------- */

void queue_released(struct lock_queue *q, const struct txid *id)
{
    g_hash_table_remove(q->ages, id);
    if (queue_count(q) == 0)
        return;
    g_hash_table_add(q->freed, g_memdup2(id, sizeof(*id)));
    q->marked = true;
}

void queue_shard_changed(struct lock_queue *q)
{
    q->all = q->marked = queue_count(q) > 0;
}

static bool has_status(unsigned type, struct bytes body, uint16_t *ret)
{
    struct dec d = dec_of(body);
    *ret = dec_u16(&d);
    return type == MSG_txn_reply && dec_ok(&d);
}

/* Applied: prepared, so that the state machine has its locks, or refused. */
static void prepare_answered(struct lock_queue *q, unsigned type, struct bytes body)
{
    struct held *h = g_queue_peek_head(&q->proposed);
    uint16_t status;
    struct txid id = h->id;
    bool prepared = has_status(type, body, &status) &&
                    (status == 0 || status == ERR_FAILED || status == ERR_TOO_BIG);
    locks_release(&q->locks, &h->t, h);
    if (prepared)
        remember_age(q, h);
    held_free(h);
    if (!prepared)
        queue_released(q, &id);
}

/* BUSY of an entry has other reasons, too, which waiting does not mend: once it is tried again
 * without a lock in sight, which may have come and gone in one apply. */
static bool take_back(struct lock_queue *q, struct request *r, struct bytes txn)
{
    struct node *n = q->group->node;
    bool waited = r->lock_until > 0;
    if (queue_count(q) >= HELD_MAX || (waited && n->now >= r->lock_until))
        return false;
    if (!r->body) {
        r->body = buf_copy(txn);
        n->request_bytes += txn.n;
    }
    struct held *h = held_of(q, HELD_TXN, r);
    decode(h);
    h->due = !meets(q, &h->t, &h->id, &h->by);
    if ((h->due && waited) || !enter(h)) {
        held_free(h);
        return false;
    }
    q->marked |= h->due;
    return true;
}

bool queue_answered(struct lock_queue *q, struct request *r, struct bytes data, unsigned type,
                    struct bytes body)
{
    const struct held *first = g_queue_peek_head(&q->proposed);
    uint16_t status;
    if (first && first->request == r) {
        prepare_answered(q, type, body);
        return false;
    }
    if (data.n == 0 || data.p[0] != KV_CMD_TXN || !has_status(type, body, &status) ||
        status != ERR_BUSY)
        return false;
    return take_back(q, r, bytes_of(data.p + 1, data.n - 1));
}

/* --- rounds and time -------------------------------------------------------------------------- */

bool queue_has_work(const struct lock_queue *q)
{
    return q->marked;
}

void queue_serve(struct lock_queue *q)
{
    if (!q->marked)
        return;
    for (GList *l = q->held.head, *next; l; l = next) {
        struct held *h = l->data;
        next = l->next;
        if (!h->due && !q->all && !g_hash_table_contains(q->freed, &h->by))
            continue;
        take_out(h);
        h->in = &q->trying;
        g_queue_push_tail_link(h->in, &h->link);
    }
    g_hash_table_remove_all(q->freed);
    q->marked = q->all = false;
    while (q->trying.head) {
        struct held *h = q->trying.head->data;
        take_out(h);
        try_again(h);
    }
}

void queue_tick(struct lock_queue *q)
{
    uint64_t now = q->group->node->now;
    for (GList *l = q->held.head, *next; l; l = next) {
        struct held *h = l->data;
        next = l->next;
        if (now >= h->until)
            refuse(h);
    }
}

void queue_fail(struct lock_queue *q, int err)
{
    for (GList *l = q->held.head, *next; l; l = next) {
        struct held *h = l->data;
        next = l->next;
        if (!h->request)
            continue;
        request_fail(h->request, err, group_hint(q->group), NULL);
        held_free(h);
    }
    forget_proposed(q);
}

void queue_drop_conn(struct lock_queue *q, uint64_t token)
{
    for (GList *l = q->held.head, *next; l; l = next) {
        struct held *h = l->data;
        next = l->next;
        if (!h->request || h->request->token != token)
            continue;
        request_destroy(h->request);
        held_free(h);
    }
}
